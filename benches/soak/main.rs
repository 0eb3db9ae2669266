//! Hours in minutes: calls that are relayed, armed and disarmed at 60 % of what a core carries, for as
//! long as one has patience. Memory and descriptors may not grow, no packet may be lost, and the delay
//! has to stay what it was.
//!
//! `cargo bench --bench soak -- [--minutes N] [--calls N] [--check] [--quick] [--seed N]`

#[path = "../common/mod.rs"]
mod common;
#[path = "../live/mod.rs"]
mod live;

mod controls;
mod judge;
mod long;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use common::{
    options::Options,
    report::{Report, Table},
    tones::Dice,
};
use judge::Sample;
use live::{
    daemons::Kind,
    load::{Length, Load},
    process::Cores,
    speech::Speech,
};
use long::Long;

#[derive(Parser)]
struct SoakOptions {
    #[command(flatten)]
    common: Options,
    /// How long
    #[arg(long)]
    minutes: Option<f64>,
    /// How many calls, instead of 60 % of what is found to be reachable
    #[arg(long)]
    calls: Option<usize>,
}

fn main() -> ExitCode {
    live::main(|cores| run(&SoakOptions::parse(), cores))
}

fn run(options: &SoakOptions, cores: Cores) -> ExitCode {
    let quick = options.common.quick;
    let seed = options.common.seed();
    let minutes = options.minutes.unwrap_or(if quick { 1.0 } else { 30.0 });
    let mut report = Report::new("soak", quick);
    report.say(&format!(
        "# Soak\n\n{minutes} minutes, seed {seed}; {}.",
        cores.machine()
    ));
    let finish = |report: Report, svg: &str| report.finish(svg, options.common.check);
    let mut dice = Dice::new(seed);
    let speech = Speech::new(&mut dice);
    let load = match Load::new(cores) {
        Ok(load) => load,
        Err(error) => {
            eprintln!("the load cannot be made: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut long = Long {
        cores,
        seed,
        speech: &speech,
        load,
    };
    let empty = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    // On a busy host even the control without a fault is void. What follows is told all the same.
    if !controls::pass(&mut long, &mut report) {
        report.goal(false, "VOID: every control is seen".to_owned());
    }
    let calls = match options.calls.map_or_else(|| long.share_of_reachable(), Ok) {
        Ok(calls) => calls,
        Err(error) => {
            report.goal(
                false,
                format!("a load that can be carried is found: {error}"),
            );
            return finish(report, empty);
        }
    };
    report.say(&format!(
        "{calls} calls; 1 of {} is armed at a time.",
        long::ARMED_ONE_OF
    ));
    let time = Duration::from_secs_f64(minutes * 60.0);
    match long.soak(&Kind::Tonewall, calls, time, LENGTH) {
        Ok(samples) => {
            report.say(&table(&samples));
            for (reached, what) in judge::verdicts(&samples) {
                report.goal(reached, what);
            }
            let svg = judge::picture(&samples);
            finish(report, &svg)
        }
        Err(error) => {
            report.goal(false, format!("the soak comes to its end: {error}"));
            finish(report, empty)
        }
    }
}

/// Of a slice: armings and releases take place in the first part, which is not measured.
const LENGTH: Length = Length {
    warm: Duration::from_secs(4),
    measured: Duration::from_secs(6),
};

/// A line a minute.
fn table(samples: &[Sample]) -> String {
    let mut table = Table::new(&[
        "minute",
        "resident MB",
        "descriptors",
        "lost",
        "relayed p50 / p99 / p99.9 us",
        "masked p99.9 ms",
        "us/packet",
        "core",
        "void slices",
    ]);
    for minute in judge::minutes(samples) {
        table.row(minute);
    }
    table.markdown()
}
