//! What the slices of a soak tell together.

use std::time::Duration;

use crate::{
    common::bars::bars,
    live::{
        figures::{self, Delay, median},
        load::Slice,
    },
};

/// Resident memory that may come on top between the second fifth and the last, kB.
const MORE_KB: f64 = 2_000.0;
/// How many times its beginning the delay at p99.9 may be in the end, and microseconds more.
const CREEP: (f64, f64) = (1.3, 500.0);
/// Share of the slices that may be void.
const MOST_VOID: f64 = 0.2;

/// A slice.
pub(crate) struct Sample {
    /// When it was over.
    pub(crate) at: Duration,
    resident_kb: f64,
    descriptors: usize,
    /// Lost, altered, or twice; or without room in the daemon's sockets.
    lost: u64,
    relayed: Option<Delay>,
    masked: Option<Delay>,
    cpu_us: f64,
    core: f64,
    void: Option<String>,
}

impl Sample {
    pub(crate) fn of(slice: &Slice, at: Duration, descriptors: usize) -> Self {
        let arrivals = &slice.arrivals;
        Self {
            at,
            resident_kb: slice.resident_kib as f64 * 1.024,
            descriptors,
            lost: arrivals.lost + arrivals.altered + arrivals.twice + slice.daemon_drops,
            relayed: Delay::of(&arrivals.relayed),
            masked: Delay::of(&arrivals.masked),
            cpu_us: slice.cpu.ns as f64 / 1e3 / slice.delivered.max(1) as f64,
            core: slice.cpu.ns as f64 / slice.wall.as_nanos() as f64,
            void: figures::void(slice),
        }
    }
}

type DelayOf = fn(&Sample) -> Option<Delay>;

/// What has to hold, and whether it does.
pub(crate) fn verdicts(samples: &[Sample]) -> Vec<(bool, String)> {
    let void: Vec<&String> = samples.iter().filter_map(|one| one.void.as_ref()).collect();
    let valid: Vec<&Sample> = samples.iter().filter(|one| one.void.is_none()).collect();
    let share = void.len() as f64 / samples.len().max(1) as f64;
    let why = void.first().map_or("too short", |why| why.as_str());
    let unfit = format!("VOID: {} of {} slices: {why}", void.len(), samples.len());
    if samples.len() < 5 {
        return vec![(false, unfit)];
    }
    // Memory and descriptors do not depend on how well the load kept time.
    let all: Vec<&Sample> = samples.iter().collect();
    let kb = |one: &Sample| one.resident_kb;
    let (early, late) = (fifth(&all, 1, kb), fifth(&all, 4, kb));
    let descriptors = |one: &Sample| one.descriptors as f64;
    let (few, many) = (fifth(&all, 1, descriptors), fifth(&all, 4, descriptors));
    let mut verdicts = vec![
        (
            late - early <= MORE_KB,
            format!(
                "{:.0} kB more resident than at first, at most {MORE_KB}",
                late - early
            ),
        ),
        (
            many <= few,
            format!("{many} descriptors, {few} at first; none more allowed"),
        ),
    ];
    if valid.len() < 5 || share > MOST_VOID {
        verdicts.push((false, unfit));
        return verdicts;
    }
    let lost: u64 = valid.iter().map(|one| one.lost).sum();
    verdicts.push((lost == 0, format!("{lost} packets lost, none allowed")));
    let delays: [(&str, DelayOf); 2] =
        [("relayed", |one| one.relayed), ("masked", |one| one.masked)];
    for (name, of) in delays {
        if valid.iter().any(|one| of(one).is_none()) {
            continue;
        }
        let p999 = |one: &Sample| of(one).map_or(f64::INFINITY, |delay| delay.p999);
        let (early, late) = (fifth(&valid, 0, p999), fifth(&valid, 4, p999));
        let most = early * CREEP.0 + CREEP.1;
        verdicts.push((
            late <= most,
            format!(
                "{name}: p99.9 {late:.0} us in the end, {early:.0} at first, at most {most:.0}"
            ),
        ));
    }
    verdicts
}

/// The median of a fifth of at least five slices.
fn fifth(samples: &[&Sample], number: usize, of: impl Fn(&Sample) -> f64) -> f64 {
    let (from, to) = (samples.len() * number / 5, samples.len() * (number + 1) / 5);
    median(samples[from..to].iter().map(|one| of(one)).collect())
}

/// A row for each minute.
pub(crate) fn minutes(samples: &[Sample]) -> Vec<Vec<String>> {
    let minute = |one: &Sample| one.at.as_secs() / 60;
    samples
        .chunk_by(|a, b| minute(a) == minute(b))
        .map(row)
        .collect()
}

fn row(some: &[Sample]) -> Vec<String> {
    let middle = |of: &dyn Fn(&Sample) -> Option<f64>| {
        let values: Vec<f64> = some.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| median(values))
    };
    let number = |value: Option<f64>, places: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
    };
    let relayed = |of: fn(Delay) -> f64| number(middle(&|one| one.relayed.map(of)), 0);
    let void = some.iter().filter(|one| one.void.is_some()).count();
    vec![
        (some[0].at.as_secs() / 60 + 1).to_string(),
        number(middle(&|one| Some(one.resident_kb / 1e3)), 2),
        number(middle(&|one| Some(one.descriptors as f64)), 0),
        some.iter().map(|one| one.lost).sum::<u64>().to_string(),
        format!(
            "{} / {} / {}",
            relayed(|delay| delay.p50),
            relayed(|delay| delay.p99),
            relayed(|delay| delay.p999)
        ),
        number(middle(&|one| one.masked.map(|delay| delay.p999 / 1e3)), 2),
        number(middle(&|one| Some(one.cpu_us)), 2),
        format!("{} %", number(middle(&|one| Some(100.0 * one.core)), 0)),
        format!("{void} of {}", some.len()),
    ]
}

/// A line of the minute that has passed.
pub(crate) fn progress(samples: &[Sample]) {
    if let Some(row) = minutes(samples).pop() {
        let last = samples.last().and_then(|one| one.void.as_deref());
        eprintln!("  minute {}: {}", row.join(", "), last.unwrap_or("fine"));
    }
}

/// Resident memory by the minute.
pub(crate) fn picture(samples: &[Sample]) -> String {
    let minute = |one: &Sample| one.at.as_secs() / 60;
    let values: Vec<(String, f64)> = samples
        .chunk_by(|a, b| minute(a) == minute(b))
        .map(|some| {
            let name = format!("minute {}", minute(&some[0]) + 1);
            let kb = some.iter().map(|one| one.resident_kb).collect();
            (name, median(kb) / 1e3)
        })
        .collect();
    let first = values.first().map_or(0.0, |(_, mb)| *mb);
    bars(
        "Resident memory of a soak",
        "MB, minute by minute",
        &values,
        first + MORE_KB / 1e3,
    )
}
