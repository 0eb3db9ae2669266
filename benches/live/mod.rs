//! Daemons that run, and the load that is put on them: what the benches share that measure processes.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod calls;
pub(crate) mod daemons;
pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod histogram;
pub(crate) mod load;
pub(crate) mod ng;
pub(crate) mod process;
pub(crate) mod set_up_floor;
pub(crate) mod speech;

use std::process::ExitCode;

use process::Cores;

/// Runs a bench on the core of the load, or what this program is as a child of itself.
pub(crate) fn main(bench: impl FnOnce(Cores) -> ExitCode) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let child = match arguments.first().map(String::as_str) {
        Some(floor::ARGUMENT) => Some(floor::run(argument(&arguments, 1), argument(&arguments, 2))),
        Some(set_up_floor::ARGUMENT) => Some(set_up_floor::run(
            argument(&arguments, 1),
            argument(&arguments, 2),
        )),
        _ => None,
    };
    match child {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("the floor: {error}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let Some(cores) = Cores::of_this_host() else {
        eprintln!("two cores are needed: one for the load, one for what it measures");
        return ExitCode::FAILURE;
    };
    process::stay_on(cores.load);
    process::raise_descriptors();
    bench(cores)
}

fn argument(arguments: &[String], number: usize) -> &str {
    arguments.get(number).map_or("", String::as_str)
}
