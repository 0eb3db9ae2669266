//! From stretches to figures: medians, and what makes a stretch void.

use std::time::Duration;

use crate::{
    live::figures::{Delay, median},
    rounds::Slice,
};

/// A core that the load is this busy on is the load's limit, not the daemon's.
const BUSIEST_LOAD: f64 = 0.9;
/// What other programs may take of a core.
const MOST_FOREIGN: f64 = 0.1;
/// How late the load may be with what is due, 99 of 100, microseconds.
const LATEST_US: f64 = 500.0;
/// How far a clock may be set within a stretch.
const LARGEST_STEP: Duration = Duration::from_micros(500);

/// Medians over the stretches of one daemon.
pub(crate) struct Figures {
    /// Cycles a second.
    pub(crate) rate: f64,
    /// Microseconds of a core for each cycle.
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    /// Share of a core.
    pub(crate) core: f64,
    /// Of offer, answer, delete.
    pub(crate) delays: [Option<Delay>; 3],
    /// Of all stretches together.
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    pub(crate) refusal: Option<String>,
    pub(crate) load_core: f64,
    pub(crate) load_late_us: f64,
    /// Share of the busier core that other programs took.
    pub(crate) foreign: f64,
    /// Why these are no figures.
    pub(crate) void: Option<String>,
}

impl Figures {
    /// `None` of no stretch.
    pub(crate) fn of(slices: &[Slice]) -> Option<Self> {
        if slices.is_empty() {
            return None;
        }
        let median = |of: &dyn Fn(&Slice) -> f64| median(slices.iter().map(of).collect());
        let voids: Vec<String> = slices.iter().filter_map(void).collect();
        let delay = |step: usize| {
            let delays: Option<Vec<Delay>> = slices
                .iter()
                .map(|slice| Delay::of(&slice.replies.times[step]))
                .collect();
            let delays = delays?;
            let middle = |of: fn(&Delay) -> f64| {
                crate::live::figures::median(delays.iter().map(of).collect())
            };
            Some(Delay {
                p50: middle(|delay| delay.p50),
                p99: middle(|delay| delay.p99),
                p999: middle(|delay| delay.p999),
            })
        };
        Some(Self {
            rate: median(&rate),
            cpu_us: median(&cpu_us),
            user_us: median(&|slice| cpu_us(slice) * slice.cpu.user_share()),
            core: median(&|slice| slice.cpu.ns as f64 / slice.wall.as_nanos() as f64),
            delays: [0, 1, 2].map(delay),
            refused: slices.iter().map(|slice| slice.replies.refused).sum(),
            unanswered: slices.iter().map(|slice| slice.replies.unanswered).sum(),
            refusal: slices
                .iter()
                .find_map(|slice| slice.replies.refusal.clone()),
            load_core: median(&load_core),
            load_late_us: median(&late_us),
            foreign: median(&foreign),
            void: (2 * voids.len() > slices.len()).then(|| voids[0].clone()),
        })
    }

    /// The slowest command's.
    pub(crate) fn p99_us(&self) -> f64 {
        let p99 = |delay: &Option<Delay>| delay.map_or(f64::INFINITY, |delay| delay.p99);
        self.delays.iter().map(p99).fold(0.0, f64::max)
    }
}

/// Whether a daemon that was as fast as in these stretches can be offered a rate.
pub(crate) fn keeps_up(fast: &[Slice], wanted: f64) -> bool {
    !fast.is_empty() && median(fast.iter().map(rate).collect()) >= wanted
}

fn rate(slice: &Slice) -> f64 {
    slice.replies.cycles as f64 / slice.wall.as_secs_f64()
}

pub(crate) fn cpu_us(slice: &Slice) -> f64 {
    slice.cpu.ns as f64 / 1e3 / slice.replies.cycles.max(1) as f64
}

fn load_core(slice: &Slice) -> f64 {
    slice.own_cpu.as_secs_f64() / slice.wall.as_secs_f64()
}

fn late_us(slice: &Slice) -> f64 {
    slice
        .replies
        .late
        .quantile_us(0.99)
        .unwrap_or(f64::INFINITY)
}

fn foreign(slice: &Slice) -> f64 {
    slice.foreign[0].max(slice.foreign[1])
}

/// Why a stretch says nothing of the daemon.
pub(crate) fn void(slice: &Slice) -> Option<String> {
    let late = late_us(slice);
    if slice.own_drops > 0 {
        Some(format!("the load itself lost {} replies", slice.own_drops))
    } else if load_core(slice) > BUSIEST_LOAD {
        let share = 100.0 * load_core(slice);
        Some(format!("the load took {share:.0} % of its core"))
    } else if late > LATEST_US {
        Some(format!("the load was late: {:.1} ms", late / 1e3))
    } else if slice.clock_step > LARGEST_STEP {
        Some(format!("the clock was set by {:?}", slice.clock_step))
    } else if foreign(slice) > MOST_FOREIGN {
        let share = 100.0 * foreign(slice);
        Some(format!("other programs took {share:.0} % of a core"))
    } else {
        None
    }
}
