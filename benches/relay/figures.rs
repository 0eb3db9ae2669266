//! From slices to figures: medians, and what makes a slice void.

use std::time::Duration;

use crate::{histogram::Histogram, load::Slice};

/// A core that the load is this busy on is the load's limit, not the daemon's.
const BUSIEST_LOAD: f64 = 0.9;
/// Share of the packets that the load may have been late with.
const MOST_DISTURBED: f64 = 0.2;
/// What other programs may take of a core.
const MOST_FOREIGN: f64 = 0.1;
/// How late the load's slots may be, 99 of 100, microseconds.
const LATEST_US: f64 = 2_000.0;
/// How far a clock may be set within a slice.
const LARGEST_STEP: Duration = Duration::from_micros(500);
/// Packets lost above which a daemon does not keep up.
const OVERLOADED: f64 = 0.01;

/// Delay, microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delay {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Delay {
    fn of(times: &Histogram) -> Option<Self> {
        Some(Self {
            p50: times.quantile_us(0.5)?,
            p99: times.quantile_us(0.99)?,
            p999: times.quantile_us(0.999)?,
        })
    }
}

/// Medians over the slices of one daemon in one row.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Microseconds of a core for each datagram that came out.
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    /// Share of a core.
    pub(crate) core: f64,
    pub(crate) relayed: Option<Delay>,
    pub(crate) masked: Option<Delay>,
    /// Of all slices together.
    pub(crate) expected: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) altered: u64,
    pub(crate) daemon_drops: u64,
    /// Share of masked streams of which no word was recognised.
    pub(crate) unrecognised: f64,
    pub(crate) resident_kib: f64,
    /// The load's own: share of its core, and how late 99 of 100 slots were at most.
    pub(crate) load_core: f64,
    pub(crate) load_late_us: f64,
    /// Share of packets that it was late with, so that they do not count as delays.
    pub(crate) disturbed: f64,
    /// Share of the busier core that other programs took.
    pub(crate) foreign: f64,
    /// Why these are no figures.
    pub(crate) void: Option<String>,
}

impl Figures {
    /// Of at least one slice.
    pub(crate) fn of(slices: &[Slice]) -> Self {
        let voids: Vec<String> = slices.iter().filter_map(void).collect();
        let sum = |count: fn(&Slice) -> u64| slices.iter().map(count).sum::<u64>();
        let median = |of: &dyn Fn(&Slice) -> f64| median(slices.iter().map(of).collect());
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let delay = |of: fn(&Slice) -> &Histogram| {
            let delays: Vec<Delay> = slices
                .iter()
                .filter_map(|slice| Delay::of(of(slice)))
                .collect();
            let middle = |of: fn(&Delay) -> f64| self::median(delays.iter().map(of).collect());
            (!delays.is_empty()).then(|| Delay {
                p50: middle(|delay| delay.p50),
                p99: middle(|delay| delay.p99),
                p999: middle(|delay| delay.p999),
            })
        };
        Self {
            cpu_us: median(&cpu_us),
            user_us: median(&|slice| cpu_us(slice) * slice.cpu.user_share()),
            core: median(&|slice| slice.cpu.ns as f64 / slice.wall.as_nanos() as f64),
            relayed: delay(|slice| &slice.arrivals.relayed),
            masked: delay(|slice| &slice.arrivals.masked),
            expected: sum(|slice| slice.arrivals.expected),
            lost: sum(|slice| slice.arrivals.lost),
            twice: sum(|slice| slice.arrivals.twice),
            altered: sum(|slice| slice.arrivals.altered),
            daemon_drops: sum(|slice| slice.daemon_drops),
            unrecognised: share(
                sum(|slice| slice.arrivals.unrecognised),
                sum(|slice| slice.arrivals.masked_streams),
            ),
            resident_kib: median(&|slice| slice.resident_kib as f64),
            load_core: median(&load_core),
            load_late_us: median(&late_us),
            disturbed: median(&disturbed),
            foreign: median(&foreign),
            void: (2 * voids.len() > slices.len()).then(|| voids[0].clone()),
        }
    }

    pub(crate) fn loss(&self) -> f64 {
        self.lost as f64 / self.expected.max(1) as f64
    }

    /// Whether it does not keep up with what is sent.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.loss() > OVERLOADED
    }

    /// Whether other programs took more of a core than figures to quote can bear.
    pub(crate) fn is_crowded(&self) -> bool {
        self.foreign > MOST_FOREIGN
    }
}

fn cpu_us(slice: &Slice) -> f64 {
    slice.cpu.ns as f64 / 1_000.0 / slice.delivered.max(1) as f64
}

fn load_core(slice: &Slice) -> f64 {
    slice.own_cpu.as_secs_f64() / slice.wall.as_secs_f64()
}

fn late_us(slice: &Slice) -> f64 {
    slice.late.quantile_us(0.99).unwrap_or(f64::INFINITY)
}

fn disturbed(slice: &Slice) -> f64 {
    let arrivals = &slice.arrivals;
    let counted = arrivals.relayed.total() + arrivals.masked.total();
    arrivals.disturbed as f64 / (arrivals.disturbed + counted).max(1) as f64
}

fn foreign(slice: &Slice) -> f64 {
    slice.foreign[0].max(slice.foreign[1])
}

/// Why a slice says nothing of the daemon: the load was the bottleneck, or cannot vouch for its times.
pub(crate) fn void(slice: &Slice) -> Option<String> {
    let late = late_us(slice);
    if slice.own_drops > 0 {
        Some(format!("the load itself lost {} packets", slice.own_drops))
    } else if load_core(slice) > BUSIEST_LOAD {
        Some(format!(
            "the load took {:.0} % of its core",
            100.0 * load_core(slice)
        ))
    } else if late > LATEST_US {
        Some(format!("the load was late: {:.1} ms", late / 1_000.0))
    } else if disturbed(slice) > MOST_DISTURBED {
        Some(format!(
            "the load was late with {:.0} % of the packets",
            100.0 * disturbed(slice)
        ))
    } else if slice.clock_step > LARGEST_STEP {
        Some(format!("the clock was set by {:?}", slice.clock_step))
    } else if slice.arrivals.strange > 0 {
        Some(format!(
            "{} datagrams came from nowhere",
            slice.arrivals.strange
        ))
    } else {
        None
    }
}

/// Of at least one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
