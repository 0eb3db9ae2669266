//! The figures as tables, and the goals.

use crate::{
    common::report::{Report, Table},
    live::{
        daemons::Kind,
        figures::{Delay, Figures},
        ng::Ways,
    },
    rows::{Outcome, Row, Shown},
};

/// Relaying: of the floor and of rtpengine, at [`RELAY_FROM`] calls and more.
const RELAY_OF_FLOOR: f64 = 1.3;
const RELAY_OF_RTPENGINE: f64 = 0.6;
const RELAY_FROM: usize = 500;
/// Masking every call, of rtpengine, at [`MASKED_CALLS`] calls: one way, both ways.
const MASKED_OF_RTPENGINE: [f64; 2] = [0.25, 0.2];
const MASKED_CALLS: usize = 500;
/// Where every call is armed and nothing may be lost.
const ALL_ARMED: [usize; 2] = [1_000, 2_000];
/// The share of rtpengine that the floor may be, or the machine tells nothing.
const FLOOR_OF_RTPENGINE: f64 = 0.5;
/// What may be added to the floor's delay: at p50 when idle, and at p99, microseconds. A busy
/// gateway naps for a millisecond where that makes packets cheaper.
const P50_US: f64 = 100.0;
const P99_US: f64 = 1_000.0 + 1_000.0;
/// To its p99 where every call is armed, beside the look-ahead.
const ARMED_P99_US: f64 = 2_000.0;
const LOOK_AHEAD_US: f64 = 12_000.0;
/// Memory a call, kB: relayed, armed.
const MEMORY_KB: [f64; 2] = [4.0, 16.0];

/// All outcomes of a run.
pub(crate) struct Results<'a>(pub(crate) &'a [Outcome]);

impl<'a> Results<'a> {
    pub(crate) fn of(&self, row: Row, is: impl Fn(&Kind) -> bool) -> Option<&'a Figures> {
        let mut outcomes = self.0.iter();
        outcomes
            .find(|outcome| outcome.row == row && is(&outcome.kind))?
            .figures()
    }

    pub(crate) fn floor(&self, calls: usize) -> Option<&'a Figures> {
        self.of(Row::relay(calls), |kind| *kind == Kind::Floor(None))
    }

    /// rtpengine's better setting: the one that keeps up, and of two the cheaper.
    pub(crate) fn rtpengine(&self, row: Row) -> Option<&'a Figures> {
        let of_row = self.0.iter().filter(|outcome| outcome.row == row);
        let settings = of_row.filter(|outcome| outcome.kind.is_rtpengine());
        settings.filter_map(Outcome::figures).min_by(|a, b| {
            (a.is_overloaded(), a.cpu_us)
                .partial_cmp(&(b.is_overloaded(), b.cpu_us))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for outcome in self.0 {
            if !rows.contains(&outcome.row) {
                rows.push(outcome.row);
            }
        }
        rows
    }

    /// Calls of every relayed row.
    pub(crate) fn calls(&self) -> Vec<usize> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.armed == 0)
            .map(|row| row.calls)
            .collect()
    }

    /// Bytes a call, in kB, by what a row of more calls takes more than one of fewer.
    fn memory_kb(&self, row: impl Fn(usize) -> Row, kind: &Kind) -> Option<(f64, usize, usize)> {
        let resident = |calls: usize| {
            let figures = self.of(row(calls), |other| other == kind)?;
            Some((calls, figures.resident_kib))
        };
        let known: Vec<(usize, f64)> = self.calls().into_iter().filter_map(resident).collect();
        // A small row tells more of the start than of the calls.
        let first = known.iter().find(|(calls, _)| *calls >= RELAY_FROM)?;
        let last = known.last().filter(|last| last.0 > first.0)?;
        let more = (last.1 - first.1) * 1.024 / (last.0 - first.0) as f64;
        Some((more, first.0, last.0))
    }
}

/// The tables.
pub(crate) fn say(results: &Results<'_>, kinds: &[Kind], report: &mut Report) {
    for (title, is) in [
        ("Relayed", (|row| row.armed == 0) as fn(&Row) -> bool),
        ("Armed, one way", |row| {
            row.armed > 0 && row.ways == Ways::One
        }),
        ("Armed, both ways", |row| {
            row.armed > 0 && row.ways == Ways::Both
        }),
    ] {
        let rows: Vec<Row> = results.rows().into_iter().filter(is).collect();
        if rows.is_empty() {
            continue;
        }
        report.say(&format!("## {title}\n\n{}", table(results, &rows, kinds)));
    }
    report.say(&format!("## Memory a call\n\n{}", memory(results, kinds)));
}

fn table(results: &Results<'_>, rows: &[Row], kinds: &[Kind]) -> String {
    let mut table = Table::new(&[
        "calls",
        "daemon",
        "us/packet",
        "program + kernel",
        "x floor",
        "x rtpengine",
        "core",
        "lost",
        "relayed p50 / p99 / p99.9 us",
        "masked p50 / p99 / p99.9 ms",
        "load: core, late p99 us, late packets",
        "others",
    ]);
    for row in rows {
        for kind in kinds {
            let outcome = results.0.iter();
            let outcome = outcome.filter(|outcome| outcome.row == *row && outcome.kind == *kind);
            for outcome in outcome {
                let mut cells = vec![row.name(), kind.name().to_owned()];
                match &outcome.shown {
                    Shown::Not(reason) => cells.push(reason.clone()),
                    Shown::Figures(figures) => cells.extend(line(results, *row, figures)),
                }
                table.row(cells);
            }
        }
    }
    table.markdown()
}

fn line(results: &Results<'_>, row: Row, figures: &Figures) -> Vec<String> {
    let times = |other: Option<&Figures>| {
        other.map_or_else(
            || "-".to_owned(),
            |other| format!("{:.2}", figures.cpu_us / other.cpu_us),
        )
    };
    let delay = |delay: Option<Delay>, unit: f64, places: usize| {
        delay.map_or_else(
            || "-".to_owned(),
            |Delay { p50, p99, p999 }| {
                let [p50, p99, p999] = [p50, p99, p999].map(|us| format!("{:.places$}", us / unit));
                format!("{p50} / {p99} / {p999}")
            },
        )
    };
    let mut lost = match figures.lost {
        0 => "0".to_owned(),
        lost => format!("{lost} ({:.3} %)", 100.0 * figures.loss()),
    };
    for (count, what) in [
        (figures.daemon_drops, "had no room in its sockets"),
        (figures.altered, "altered"),
        (figures.twice, "twice"),
    ] {
        if count > 0 {
            lost += &format!(", {count} {what}");
        }
    }
    if figures.unrecognised > 0.0 {
        lost += &format!(
            ", {:.1} % of masked streams not recognised",
            100.0 * figures.unrecognised
        );
    }
    let void = figures
        .void
        .as_ref()
        .map_or_else(String::new, |why| format!("**VOID: {why}** "));
    vec![
        format!("{void}{:.2}", figures.cpu_us),
        format!(
            "{:.2} + {:.2}",
            figures.user_us,
            figures.cpu_us - figures.user_us
        ),
        times(results.floor(row.calls)),
        times(results.rtpengine(row)),
        format!("{:.0} %", 100.0 * figures.core),
        lost,
        delay(figures.relayed, 1.0, 0),
        delay(figures.masked, 1_000.0, 2),
        format!(
            "{:.0} %, {:.0}, {:.1} %",
            100.0 * figures.load_core,
            figures.load_late_us,
            100.0 * figures.disturbed
        ),
        format!("{:.0} %", 100.0 * figures.foreign),
    ]
}

fn memory(results: &Results<'_>, kinds: &[Kind]) -> String {
    let mut table = Table::new(&[
        "daemon",
        "relayed, kB",
        "armed one way, kB",
        "armed both ways, kB",
    ]);
    for kind in kinds {
        let cell = |row: &dyn Fn(usize) -> Row| {
            let slope = results.memory_kb(row, kind);
            slope.map_or_else(
                || "-".to_owned(),
                |(kb, from, to)| format!("{kb:.1} ({from} to {to} calls)"),
            )
        };
        table.row(vec![
            kind.name().to_owned(),
            cell(&Row::relay),
            cell(&|calls| Row::armed(calls, 100, Ways::One)),
            cell(&|calls| Row::armed(calls, 100, Ways::Both)),
        ]);
    }
    table.markdown()
}

/// The goals; false when the run is void.
pub(crate) fn judge(results: &Results<'_>, report: &mut Report) -> bool {
    let is_tonewall = |kind: &Kind| *kind == Kind::Tonewall;
    let tonewall = |row: Row| results.of(row, is_tonewall);
    let mut valid = true;
    let mut void = |report: &mut Report, why: String| {
        report.goal(false, format!("VOID: {why}"));
        valid = false;
    };
    if let Some(crowded) = results
        .0
        .iter()
        .find(|outcome| outcome.figures().is_some_and(Figures::is_crowded))
    {
        let figures = crowded.figures();
        let share = figures.map_or(0.0, |figures| 100.0 * figures.foreign);
        let row = crowded.row.name();
        void(
            report,
            format!(
                "other programs took {share:.0} % of a core ({row}, {}); run it on a quiet machine",
                crowded.kind.name()
            ),
        );
    }
    for calls in results.calls() {
        let row = Row::relay(calls);
        if let (Some(floor), Some(rtpengine)) = (results.floor(calls), results.rtpengine(row))
            && calls >= RELAY_FROM
            && !rtpengine.is_overloaded()
        {
            let share = floor.cpu_us / rtpengine.cpu_us;
            if share > FLOOR_OF_RTPENGINE {
                void(
                    report,
                    format!(
                        "{}: the floor is {share:.2} of rtpengine, more than {FLOOR_OF_RTPENGINE}",
                        row.name()
                    ),
                );
            }
        }
    }

    let ratio = |report: &mut Report, row: Row, other: Option<&Figures>, name, most: f64| {
        if let (Some(own), Some(other)) = (tonewall(row), other)
            && own.void.is_none()
            && other.void.is_none()
        {
            let ratio = own.cpu_us / other.cpu_us;
            let how = match other.is_overloaded() {
                true => ", which does not keep up",
                false => "",
            };
            report.goal(
                ratio <= most && !own.is_overloaded(),
                format!("{}: {ratio:.2} of {name}{how}, at most {most}", row.name()),
            );
        }
    };
    for calls in results.calls() {
        let row = Row::relay(calls);
        let floor = results.floor(calls);
        if calls >= RELAY_FROM {
            ratio(report, row, floor, "the floor", RELAY_OF_FLOOR);
            ratio(
                report,
                row,
                results.rtpengine(row),
                "rtpengine",
                RELAY_OF_RTPENGINE,
            );
        }
        relay_delay(
            report,
            row,
            tonewall(row),
            floor,
            results.calls()[0] == calls,
        );
    }
    for (ways, most) in [Ways::One, Ways::Both].into_iter().zip(MASKED_OF_RTPENGINE) {
        let row = Row::armed(MASKED_CALLS, 100, ways);
        ratio(report, row, results.rtpengine(row), "rtpengine", most);
    }
    for calls in ALL_ARMED {
        let row = Row::armed(calls, 100, Ways::One);
        if let (Some(own), Some(floor)) = (tonewall(row), results.floor(calls))
            && own.void.is_none()
            && let (Some(masked), Some(bare)) = (own.masked, floor.relayed)
        {
            report.goal(
                own.lost == 0,
                format!("{}: {} lost, none allowed", row.name(), own.lost),
            );
            let most = bare.p99 + LOOK_AHEAD_US + ARMED_P99_US;
            report.goal(
                masked.p99 <= most,
                format!(
                    "{}: p99 {:.1} ms behind, at most {:.1}",
                    row.name(),
                    masked.p99 / 1_000.0,
                    most / 1_000.0
                ),
            );
        }
    }
    let armed = |calls| Row::armed(calls, 100, Ways::One);
    for (slope, most, what) in [
        (
            results.memory_kb(Row::relay, &Kind::Tonewall),
            MEMORY_KB[0],
            "relayed",
        ),
        (
            results.memory_kb(armed, &Kind::Tonewall),
            MEMORY_KB[1],
            "armed",
        ),
    ] {
        if let Some((kb, from, to)) = slope {
            report.goal(
                kb <= most,
                format!("{kb:.1} kB a call {what} ({from} to {to} calls), at most {most}"),
            );
        }
    }
    valid
}

fn relay_delay(
    report: &mut Report,
    row: Row,
    own: Option<&Figures>,
    floor: Option<&Figures>,
    idle: bool,
) {
    let (Some(own), Some(floor)) = (own, floor) else {
        return;
    };
    let (Some(delay), Some(bare)) = (own.relayed, floor.relayed) else {
        return;
    };
    if own.void.is_some() || floor.void.is_some() {
        return;
    }
    if floor.lost == 0 {
        report.goal(
            own.lost == 0 && own.altered == 0 && own.twice == 0,
            format!(
                "{}: {} lost, {} altered, {} twice; none allowed",
                row.name(),
                own.lost,
                own.altered,
                own.twice
            ),
        );
    }
    if idle {
        report.goal(
            delay.p50 <= bare.p50 + P50_US,
            format!(
                "{}: p50 {:.0} us, the floor's {:.0} and {P50_US} at most",
                row.name(),
                delay.p50,
                bare.p50
            ),
        );
    }
    report.goal(
        delay.p99 <= bare.p99 + P99_US,
        format!(
            "{}: p99 {:.0} us, the floor's {:.0} and {P99_US} at most",
            row.name(),
            delay.p99,
            bare.p99
        ),
    );
}
