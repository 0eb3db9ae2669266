//! Relaying and masking at load: packets lost, added delay, CPU and memory, of this gateway, of
//! Debian's rtpengine in two settings, and of the floor: a bare loop of system calls.
//!
//! All are set up by the same NG commands and get the same timed packets, in turn.
//!
//! `cargo bench --bench relay -- [--quick] [--check] [--allow-missing] [--seed N] [--calls N,...]
//! [--beside PROGRAM]`

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod controls;
mod daemons;
mod figures;
mod floor;
mod histogram;
mod load;
mod ng;
mod picture;
mod process;
mod rows;
mod speech;
mod tables;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use common::{options::Options, report::Report, tones::Dice};
use daemons::Kind;
use load::{Length, Load};
use ng::Ways;
use process::Cores;
use rows::{Row, Run};
use speech::Speech;
use tables::Results;

#[derive(Parser)]
struct RelayOptions {
    #[command(flatten)]
    common: Options,
    /// How many calls, from few to many
    #[arg(long, value_delimiter = ',')]
    calls: Option<Vec<usize>>,
    /// Only relaying
    #[arg(long)]
    relay_only: bool,
    /// Another build of the gateway, measured in turn with this one
    #[arg(long)]
    beside: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(floor::ARGUMENT) {
        let address = arguments.next().unwrap_or_default();
        return match floor::run(&address, arguments.next().as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the floor: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let options = RelayOptions::parse();
    let Some(cores) = Cores::of_this_host() else {
        eprintln!("relay needs two cores: one for the load, one for what it measures");
        return ExitCode::FAILURE;
    };
    process::stay_on(cores.load);
    process::raise_descriptors();
    run(&options, cores)
}

fn run(options: &RelayOptions, cores: Cores) -> ExitCode {
    let quick = options.common.quick;
    let seed = options.common.seed();
    let mut report = Report::new("relay", quick);
    let (length, rounds) = if quick {
        (length(400, 1_200), 3)
    } else {
        (length(800, 2_000), 5)
    };
    report.say(&format!(
        "# Relaying and masking at load\n\n{} run, seed {seed}; medians of {rounds} slices of {:.1} s \
         in turns; {}.",
        if quick { "Quick" } else { "Full" },
        length.measured.as_secs_f64(),
        machine(cores)
    ));
    let mut kinds = vec![Kind::Floor(None), Kind::Tonewall];
    kinds.extend(options.beside.clone().map(Kind::Beside));
    if let Some(version) = daemons::rtpengine_version() {
        report.say(&format!("rtpengine: {version}."));
        kinds.extend([Kind::Rtpengine, Kind::RtpengineOneThread]);
    } else {
        println!(
            "!!! RTPENGINE IS NOT THERE: nothing is said of it. Install rtpengine-daemon and run again."
        );
        if options.common.allow_missing {
            report.say("**rtpengine was missing.**");
        } else {
            report.goal(false, "rtpengine is there".to_owned());
        }
    }

    let mut dice = Dice::new(seed);
    let speech = Speech::new(&mut dice);
    let load = match Load::new(cores) {
        Ok(load) => load,
        Err(error) => {
            eprintln!("the load cannot be made: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut run = Run {
        seed,
        cores,
        speech: &speech,
        load,
        length,
        rounds,
    };
    if !controls::pass(&mut run, &mut report) {
        report.goal(false, "VOID: every control is seen".to_owned());
        return report.finish(
            "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
            options.common.check,
        );
    }
    let mut outcomes = Vec::new();
    let rows = rows(options);
    let masking: Vec<Kind> = kinds[1..].to_vec();
    for (armed, kinds) in [(false, &kinds), (true, &masking)] {
        let rows: Vec<Row> = rows
            .iter()
            .filter(|row| (row.armed > 0) == armed)
            .copied()
            .collect();
        let slices = rows::estimate(rows.len(), kinds.len(), rounds, length);
        eprintln!("relay: {} rows, {} s or less", rows.len(), slices.as_secs());
        outcomes.extend(run.all(&rows, kinds));
    }
    let results = Results(&outcomes);
    tables::say(&results, &kinds, &mut report);
    if !tables::judge(&results, &mut report) {
        report.say("**This run is VOID: quote nothing of it but ratios, as provisional.**");
    }
    report.finish(&picture::svg(&results, &kinds), options.common.check)
}

const fn length(warm: u64, measured: u64) -> Length {
    Length {
        warm: Duration::from_millis(warm),
        measured: Duration::from_millis(measured),
    }
}

fn rows(options: &RelayOptions) -> Vec<Row> {
    let quick = options.common.quick;
    let usual: &[usize] = if quick {
        &[100, 500, 1_000]
    } else {
        &[100, 500, 1_000, 2_000, 4_000]
    };
    let calls = options.calls.as_deref().unwrap_or(usual);
    let mut rows: Vec<Row> = calls.iter().map(|calls| Row::relay(*calls)).collect();
    if options.relay_only {
        return rows;
    }
    for ways in [Ways::One, Ways::Both] {
        for armed in [1, 10, 100] {
            rows.extend(calls.iter().map(|calls| Row::armed(*calls, armed, ways)));
        }
    }
    if quick {
        // The rows of the goals.
        rows.retain(|row| {
            let goal = row.calls == 500 || row.calls == 1_000 && row.ways == Ways::One;
            row.armed == 0 || row.armed == 100 && (goal || options.calls.is_some())
        });
    }
    rows
}

/// What the figures are of.
fn machine(cores: Cores) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .unwrap_or("an unknown CPU");
    format!(
        "{}, Linux {}, daemon on core {}, load on core {}",
        model.trim(),
        read("/proc/sys/kernel/osrelease").trim(),
        cores.daemon,
        cores.load
    )
}
