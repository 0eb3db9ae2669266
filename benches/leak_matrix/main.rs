//! The leak matrix: whether what the agent gets tells the digits, case by case, for this gateway and
//! for Debian's rtpengine beside it.
//!
//! Both are driven by the same NG commands, and get the same packets over loopback UDP in real time.
//!
//! `cargo bench --bench leak_matrix -- [--quick] [--check] [--allow-missing] [--seed N]`

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/common/gateway.rs"]
#[allow(dead_code, reason = "the bench uses its part of the tests' gateway")]
mod product;

mod agent;
mod call;
mod caller;
mod daemons;
mod judges;
mod ng;
mod picture;
mod rows;
mod tables;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::Mutex,
    thread,
};

use clap::Parser;
use rand::{SeedableRng, rngs::StdRng};

use agent::Agent;
use caller::Script;
use common::{jobs, options::Options, peers::Peers, report::Report};
use daemons::{Daemon, Kind};
use judges::Heard;
use rows::{Happening, Row};

/// Calls at once, with each daemon.
const AT_ONCE: usize = 20;

/// What became of a row with one daemon.
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    /// Place among the rows.
    pub(crate) row: usize,
    pub(crate) heard: Heard,
    pub(crate) masked_ms: f64,
    pub(crate) delay_ms: Option<f64>,
    /// Share of the voice that came through.
    pub(crate) voice: f64,
    pub(crate) unended_events: usize,
    pub(crate) packets: usize,
    pub(crate) refused: Option<String>,
    pub(crate) crashed: bool,
}

impl Outcome {
    /// Whether the row is red.
    pub(crate) fn is_red(&self) -> bool {
        self.crashed || self.heard.leaks()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed();
    let digits = if options.quick { 24 } else { 100 };
    let mut report = Report::new("leak_matrix", options.quick);
    let version = daemons::rtpengine_version();
    report.say(&format!(
        "# The leak matrix\n\n{} run, seed {seed}, {digits} digits a row.",
        if options.quick { "Quick" } else { "Full" }
    ));
    let peers = Peers::find();
    let mut missing: Vec<&str> = peers.missing().iter().map(|peer| peer.name()).collect();
    let mut kinds = vec![Kind::Tonewall];
    if let Some(version) = &version {
        report.say(&format!("rtpengine: {version}."));
        kinds.push(Kind::Rtpengine);
    } else {
        println!(
            "!!! RTPENGINE IS NOT THERE: nothing is said of it. Install rtpengine-daemon and run again."
        );
        missing.push("rtpengine");
    }
    for name in missing {
        if options.allow_missing {
            report.say(&format!("**{name} was missing.**"));
        } else {
            report.goal(false, format!("{name} is there"));
        }
    }

    let rows: Vec<Row> = rows::controls().into_iter().chain(rows::rows()).collect();
    let run = Run {
        rows: &rows,
        digits,
        seed,
        peers: &peers,
    };
    let outcomes = run.all(&kinds);
    tables::say(&rows, &outcomes, &mut report);
    tables::judge(&rows, &outcomes, &mut report);
    let svg = picture::svg(&rows, &outcomes, &kinds);
    report.finish(&svg, options.check)
}

struct Run<'a> {
    rows: &'a [Row],
    digits: usize,
    seed: u64,
    peers: &'a Peers,
}

impl Run<'_> {
    fn all(&self, kinds: &[Kind]) -> Vec<Outcome> {
        let mut shared: Vec<(Kind, Mutex<Daemon>)> = kinds
            .iter()
            .map(|kind| (*kind, Mutex::new(Daemon::start(*kind))))
            .collect();
        let mut outcomes: Vec<Outcome> = Vec::new();
        let numbers: Vec<usize> = (0..self.rows.len()).collect();
        for wave in numbers.chunks(AT_ONCE) {
            let done = self.wave(wave, &shared);
            let died: Vec<Kind> = shared
                .iter_mut()
                .filter_map(|(kind, daemon)| {
                    let daemon = daemon.get_mut().expect("no call panicked with it");
                    let died = !ng::is_alive(daemon.ng());
                    if died {
                        daemon.restart();
                    }
                    died.then_some(*kind)
                })
                .collect();
            // Which of the calls it died of shows when each has a daemon of its own.
            let done = thread::scope(|scope| {
                let done = done.into_iter().map(|outcome| {
                    let again = died.contains(&outcome.kind) && !self.rows[outcome.row].alone;
                    scope.spawn(move || match again {
                        true => self.alone(outcome.row, outcome.kind),
                        false => outcome,
                    })
                });
                let calls: Vec<_> = done.collect();
                let calls = calls.into_iter();
                calls
                    .map(|call| call.join().expect("no call panics"))
                    .collect::<Vec<_>>()
            });
            for outcome in done {
                tables::progress(&self.rows[outcome.row], &outcome);
                outcomes.push(outcome);
            }
            if std::io::stderr().is_terminal() {
                let percent = 100 * outcomes.len() / (self.rows.len() * kinds.len());
                eprint!("\rleak_matrix: {percent} %\r");
                let _ = std::io::stderr().flush();
            }
        }
        outcomes
    }

    /// Some rows at once, with every daemon.
    fn wave(&self, wave: &[usize], shared: &[(Kind, Mutex<Daemon>)]) -> Vec<Outcome> {
        thread::scope(|scope| {
            let mut calls = Vec::new();
            for &row in wave {
                for (kind, daemon) in shared {
                    let call = move || {
                        if self.rows[row].alone {
                            self.alone(row, *kind)
                        } else {
                            self.one(row, *kind, daemon)
                        }
                    };
                    calls.push(scope.spawn(call));
                }
            }
            let calls = calls.into_iter();
            calls
                .map(|call| call.join().expect("no call panics"))
                .collect()
        })
    }

    fn alone(&self, row: usize, kind: Kind) -> Outcome {
        self.one(row, kind, &Mutex::new(Daemon::start(kind)))
    }

    /// The same packets whichever the daemon is.
    fn one(&self, number: usize, kind: Kind, daemon: &Mutex<Daemon>) -> Outcome {
        let row = &self.rows[number];
        let mut rng = StdRng::seed_from_u64(jobs::seed_of(self.seed, number as u64));
        let script = Script::new(row, self.digits, &mut rng);
        let call_id = format!("matrix-{number}-{:08x}", rand::random::<u32>());
        let taken = call::play(row, &script, daemon, &call_id);
        let agent = Agent::new(&taken.received, &script, row.law);
        let counted = script.counted_from..script.presses.len();
        Outcome {
            kind,
            row: number,
            heard: Heard::new(row, &script, &agent, self.peers),
            masked_ms: agent.masked_ms(&script, &counted),
            // A recorder's clock is its own.
            delay_ms: agent
                .delay_ms()
                .filter(|_| row.happening != Happening::Recording),
            voice: agent.voice(&script),
            unended_events: agent.unended_events(),
            packets: agent.packets,
            refused: taken.refused,
            crashed: taken.crashed,
        }
    }
}
