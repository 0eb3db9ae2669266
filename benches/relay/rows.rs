//! The rows: how many calls, how many of them armed, and the daemons measured in turn.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{
    calls::Calls,
    common::{jobs, tones::Dice},
    daemons::{Daemon, Kind},
    figures::{self, Figures},
    floor::Fault,
    histogram::Histogram,
    load::{Length, Load, Slice},
    ng::{self, Ways},
    process::Cores,
    speech::Speech,
};

/// What is asked of all daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) calls: usize,
    /// Per cent of the calls.
    pub(crate) armed: usize,
    pub(crate) ways: Ways,
}

impl Row {
    pub(crate) const fn relay(calls: usize) -> Self {
        Self {
            calls,
            armed: 0,
            ways: Ways::One,
        }
    }

    pub(crate) const fn armed(calls: usize, armed: usize, ways: Ways) -> Self {
        Self { calls, armed, ways }
    }

    pub(crate) fn name(&self) -> String {
        let ways = match (self.armed, self.ways) {
            (0, _) => return format!("{} relayed", self.calls),
            (_, Ways::One) => "one way",
            (_, Ways::Both) => "both ways",
        };
        format!("{}, {} % armed {ways}", self.calls, self.armed)
    }

    /// What is masked of a call.
    pub(crate) fn ways_of(&self, call: usize) -> Option<Ways> {
        // Spread evenly, and over calls with tones and with events alike.
        let is_armed = (call * self.armed) / 100 != ((call + 1) * self.armed) / 100;
        is_armed.then_some(self.ways)
    }
}

/// What a row has shown of a daemon.
pub(crate) enum Shown {
    Figures(Box<Figures>),
    /// It was not measured, for this reason.
    Not(String),
}

pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) kind: Kind,
    pub(crate) shown: Shown,
}

impl Outcome {
    pub(crate) fn figures(&self) -> Option<&Figures> {
        match &self.shown {
            Shown::Figures(figures) => Some(figures),
            Shown::Not(_) => None,
        }
    }
}

pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) cores: Cores,
    pub(crate) speech: &'a Speech,
    pub(crate) load: Load,
    pub(crate) length: Length,
    pub(crate) rounds: usize,
}

/// A daemon in its row.
struct Contestant<'a> {
    kind: Kind,
    daemon: Daemon,
    calls: Calls<'a>,
    slices: Vec<Slice>,
}

impl<'a> Run<'a> {
    /// Every row on every kind; where one does not keep up, it is spared what is more of the same.
    pub(crate) fn all(&mut self, rows: &[Row], kinds: &[Kind]) -> Vec<Outcome> {
        let began = Instant::now();
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let mut now = Vec::new();
            for kind in kinds {
                match given_up(&outcomes, *row, kind) {
                    Some(reason) => outcomes.push(Outcome {
                        row: *row,
                        kind: kind.clone(),
                        shown: Shown::Not(reason),
                    }),
                    None => now.push(kind.clone()),
                }
            }
            let passed = began.elapsed();
            let left = match number {
                0 => String::new(),
                done => {
                    let left = passed / done as u32 * (rows.len() - done) as u32;
                    format!(", about {:.0} min left", left.as_secs_f64() / 60.0)
                }
            };
            eprintln!(
                "relay: row {} of {}: {} ({} s{left})",
                number + 1,
                rows.len(),
                row.name(),
                passed.as_secs()
            );
            outcomes.extend(self.row(*row, &now));
        }
        outcomes
    }

    /// One row: A B C C B A A B C ...
    pub(crate) fn row(&mut self, row: Row, kinds: &[Kind]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut contestants = Vec::new();
        for kind in kinds {
            match self.set_up(row, kind) {
                Ok(contestant) => {
                    contestant.daemon.pause();
                    contestants.push(contestant);
                }
                Err(reason) => outcomes.push(Outcome {
                    row,
                    kind: kind.clone(),
                    shown: Shown::Not(reason),
                }),
            }
        }
        for round in 0..self.rounds {
            // The same for each of the round, so that all get the same packets at the same times.
            let seed = jobs::seed_of(self.seed, round as u64);
            for turn in 0..contestants.len() {
                let place = match round % 2 {
                    0 => turn,
                    _ => contestants.len() - 1 - turn,
                };
                let one = &mut contestants[place];
                one.daemon.go_on();
                let slice = self
                    .load
                    .play(&mut one.calls, &one.daemon, self.length, seed);
                one.daemon.pause();
                match slice {
                    Ok(slice) => {
                        progress(&one.kind, &slice);
                        one.slices.push(slice);
                    }
                    Err(error) => eprintln!("  {}: {error}", one.kind.name()),
                }
            }
        }
        for one in contestants {
            one.daemon.go_on();
            outcomes.push(Outcome {
                row,
                kind: one.kind,
                shown: match one.slices.as_slice() {
                    [] => Shown::Not("died".to_owned()),
                    slices => Shown::Figures(Box::new(Figures::of(slices))),
                },
            });
        }
        outcomes
    }

    fn set_up(&self, row: Row, kind: &Kind) -> Result<Contestant<'a>, String> {
        // The floor masks nothing; and a gateway that masks the caller's side relays the agent's,
        // however it is asked.
        let masked = |call| match kind {
            Kind::Floor(Some(Fault::Reframe)) => Some(Ways::Both),
            Kind::Floor(_) => None,
            Kind::Tonewall | Kind::Beside(_) => row.ways_of(call).map(|_| Ways::One),
            Kind::Rtpengine | Kind::RtpengineOneThread => row.ways_of(call),
        };
        let armed = |call| match kind {
            Kind::Floor(_) => None,
            _ => row.ways_of(call),
        };
        let daemon = Daemon::start(kind, self.cores.daemon);
        let ports = ng::set_up(daemon.ng(), self.load.ends(), row.calls, armed)?;
        let mut dice = Dice::new(self.seed);
        Ok(Contestant {
            kind: kind.clone(),
            calls: Calls::new(self.speech, &mut dice, &ports, masked),
            daemon,
            slices: Vec::new(),
        })
    }

    /// One slice of relaying, by a daemon of its own.
    pub(crate) fn once(&mut self, calls: usize, kind: &Kind) -> Result<Slice, String> {
        let mut one = self.set_up(Row::relay(calls), kind)?;
        let slice = self
            .load
            .play(&mut one.calls, &one.daemon, self.length, self.seed);
        slice.map_err(|error| error.to_string())
    }
}

/// Why a kind need not be asked for a row: it did not keep up with fewer such calls.
fn given_up(outcomes: &[Outcome], row: Row, kind: &Kind) -> Option<String> {
    let alike = outcomes.iter().filter(|outcome| {
        let (same_ways, less) = (outcome.row.ways == row.ways, outcome.row.calls < row.calls);
        let same = outcome.row.armed == row.armed && (same_ways || row.armed == 0);
        outcome.kind == *kind && same && less
    });
    let overloaded = alike
        .filter(|outcome| {
            outcome
                .figures()
                .is_none_or(|figures| figures.is_overloaded() && figures.void.is_none())
        })
        .min_by_key(|outcome| outcome.row.calls)?;
    Some(format!("does not keep up with {}", overloaded.row.calls))
}

fn progress(kind: &Kind, slice: &Slice) {
    let delay = |times: &Histogram| {
        times.quantile_us(0.5).map_or_else(String::new, |p50| {
            let p99 = times.quantile_us(0.99).unwrap_or_default();
            format!(", p50 {p50:.0} p99 {p99:.0} us")
        })
    };
    let arrivals = &slice.arrivals;
    let void = figures::void(slice).map_or_else(String::new, |why| format!("; VOID: {why}"));
    let altered = match arrivals.altered {
        0 => String::new(),
        altered => format!(", {altered} altered"),
    };
    eprintln!(
        "  {:<20} {:6.2} us a packet, {} of {} lost{altered}{}{}{void}",
        kind.name(),
        slice.cpu.ns as f64 / 1_000.0 / slice.delivered.max(1) as f64,
        arrivals.lost,
        arrivals.expected,
        delay(&arrivals.relayed),
        delay(&arrivals.masked),
    );
    let _ = io::stderr().flush();
}

/// How long the slices of a run take together, about.
pub(crate) fn estimate(rows: usize, kinds: usize, rounds: usize, length: Length) -> Duration {
    let slice = length.warm + length.measured + Duration::from_millis(400);
    slice * (rows * kinds * rounds) as u32
}
