//! Counts of times, in buckets of 1.6 % and finer.

/// Buckets of one doubling.
const STEPS: u64 = 64;
/// Doublings above [`STEPS`]: up to 4.4 s in units of 64 ns.
const DOUBLINGS: u64 = 20;
/// Nanoseconds of a unit.
const UNIT_NS: u64 = 64;

/// Times that were counted.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; (STEPS * (DOUBLINGS + 1)) as usize],
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, ns: u64) {
        let units = ns / UNIT_NS;
        let doubling = (units / STEPS).checked_ilog2().map_or(0, |log| log + 1);
        let bucket = match doubling {
            0 => units,
            above => u64::from(above) * STEPS + (units >> (above - 1)) - STEPS,
        };
        let last = self.counts.len() - 1;
        self.counts[(bucket as usize).min(last)] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The time, in microseconds, that `share` of what was counted did not exceed; `None` of nothing.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        let wanted = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
                let end = match doubling {
                    0 => step + 1,
                    above => (STEPS + step + 1) << (above - 1),
                };
                return Some((end * UNIT_NS) as f64 / 1_000.0);
            }
        }
        None
    }
}
