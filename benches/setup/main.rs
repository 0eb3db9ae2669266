//! Setting calls up and deleting them: cycles of offer, answer and delete over NG, beside standing
//! calls, of this gateway, of Debian's rtpengine in two settings, and of the floor: the system calls
//! of a call's sockets.
//!
//! `cargo bench --bench setup -- [--quick] [--check] [--allow-missing] [--seed N] [--beside PROGRAM]`

#[path = "../common/mod.rs"]
mod common;
#[path = "../live/mod.rs"]
mod live;

mod controls;
mod figures;
mod load;
mod rounds;
mod tables;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use common::{options::Options, report::Report};
use live::{
    daemons::{self, Kind},
    process::Cores,
};
use load::Pace;
use rounds::{Contestant, in_turns};
use tables::{Phase, Results};

/// Calls that are up all the while.
const STANDING: usize = 3_500;
/// Cycles under way where they follow each other.
const AT_ONCE: usize = 32;
/// Cycles a second that everybody gets.
const USUAL: f64 = 1_000.0;
/// From a command's turn to that of the next.
const GAP: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct SetUpOptions {
    #[command(flatten)]
    common: Options,
    /// Another build of the gateway, measured in turn with this one
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Cycles a second at which the goals are looked at
    #[arg(long, default_value_t = tables::GOAL_RATE)]
    rate: f64,
}

fn main() -> ExitCode {
    live::main(|cores| run(&SetUpOptions::parse(), cores))
}

fn run(options: &SetUpOptions, cores: Cores) -> ExitCode {
    let quick = options.common.quick;
    let seed = options.common.seed();
    let mut report = Report::new("setup", quick);
    let (times, rounds, long) = if quick {
        (seconds(0.3, 1.0), 3, seconds(0.5, 5.0))
    } else {
        (seconds(0.5, 3.0), 5, seconds(1.0, 30.0))
    };
    report.say(&format!(
        "# Setting calls up\n\n{} run, seed {seed}; beside {STANDING} standing calls; medians of {rounds} \
         stretches of {:.0} s in turns; {}.",
        if quick { "Quick" } else { "Full" },
        times.1.as_secs_f64(),
        cores.machine()
    ));
    let mut kinds = vec![Kind::SetUpFloor(None), Kind::Tonewall];
    kinds.extend(options.beside.clone().map(Kind::Beside));
    if daemons::is_rtpengine_there(&options.common, &mut report) {
        kinds.extend([Kind::Rtpengine, Kind::RtpengineOneThread]);
    }
    let finish = |report: Report, svg: &str| report.finish(svg, options.common.check);
    if !controls::pass(cores, seed, &mut report) {
        report.goal(false, "VOID: every control is seen".to_owned());
        return finish(report, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
    }
    let mut contestants = Vec::new();
    for kind in &kinds {
        eprintln!("setup: {STANDING} standing calls of {}", kind.name());
        match Contestant::start(kind, cores, STANDING) {
            Ok(one) => contestants.push(one),
            Err(error) => report.goal(false, format!("{} can be set up: {error}", kind.name())),
        }
    }

    eprintln!("setup: as fast as it goes, {AT_ONCE} cycles at a time");
    let paces = vec![Some(Pace::Closed(AT_ONCE)); contestants.len()];
    let fast = in_turns(&mut contestants, &paces, times, rounds, cores, seed);
    eprintln!("setup: {USUAL} cycles a second");
    let paces = vec![Some(Pace::Open(USUAL, GAP)); contestants.len()];
    let usual = in_turns(&mut contestants, &paces, times, rounds, cores, seed);
    let rate = options.rate;
    eprintln!("setup: {rate} cycles a second");
    let paces: Vec<Option<Pace>> = fast
        .iter()
        .map(|slices| figures::keeps_up(slices, rate).then_some(Pace::Open(rate, GAP)))
        .collect();
    let goal = in_turns(&mut contestants, &paces, long, 1, cores, seed);

    let phases = [
        Phase::new(format!("As fast as it goes, {AT_ONCE} at a time"), &fast),
        Phase::new(format!("{USUAL} cycles a second"), &usual),
        Phase::new(
            format!("{rate} cycles a second, {:.0} s", long.1.as_secs_f64()),
            &goal,
        ),
    ];
    let results = Results {
        kinds: contestants.iter().map(|one| one.kind.clone()).collect(),
        held: contestants
            .iter()
            .map(|one| (one.before, one.held()))
            .collect(),
        phases,
        rate,
    };
    tables::say(&results, &mut report);
    if !tables::judge(&results, &mut report) {
        report.say("**This run is VOID: quote nothing of it but ratios, as provisional.**");
    }
    let svg = tables::picture(&results);
    finish(report, &svg)
}

const fn seconds(warm: f64, measured: f64) -> (Duration, Duration) {
    (millis(warm), millis(measured))
}

const fn millis(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1e3) as u64)
}
