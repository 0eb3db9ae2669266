//! Counts in fixed buckets.

use serde::{Deserialize, Serialize};

/// Most buckets of a scale.
const MOST_BUCKETS: usize = 32;

/// Buckets around `first`, `first + step` and so on: a value belongs to the nearest, and what lies
/// beyond the ends to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Middle of the first bucket, dB.
    pub first: i32,
    /// Width of a bucket, dB.
    pub step: i32,
    /// How many there are, at most 32.
    pub buckets: usize,
}

/// Level of a press: -50 dBm0 and below to +6 dBm0 and above.
pub const LEVEL_DBM0: Scale = Scale {
    first: -50,
    step: 2,
    buckets: 29,
};
/// Twist, column over row: -12 dB and below to +8 dB and above.
pub const TWIST_DB: Scale = Scale {
    first: -12,
    step: 1,
    buckets: 21,
};
/// Signal to noise: 3 dB and below to 30 dB and above. G.711 itself makes noise 33 to 38 dB below,
/// which differs a little from key to key.
pub const SNR_DB: Scale = Scale {
    first: 3,
    step: 3,
    buckets: 10,
};

impl Scale {
    /// Middle of a bucket, dB.
    #[must_use]
    pub const fn middle(&self, bucket: usize) -> i32 {
        self.first + self.step * bucket as i32
    }

    fn bucket(&self, value: f32) -> usize {
        let place = ((value - self.first as f32) / self.step as f32).round();
        // Not a number becomes 0: there is no such value from a press.
        (place.max(0.0) as usize).min(self.buckets - 1)
    }
}

/// Counts on a [`Scale`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram([u64; MOST_BUCKETS]);

impl Histogram {
    /// Counts a value.
    pub fn enter(&mut self, scale: &Scale, value: f32) {
        self.0[scale.bucket(value)] += 1;
    }

    /// Adds the counts of another on the same scale.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours += theirs;
        }
    }

    /// The counts of a scale's buckets, from its first on.
    #[must_use]
    pub fn counts(&self, scale: &Scale) -> &[u64] {
        &self.0[..scale.buckets]
    }

    /// How many values there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Their mean, by the middles of the buckets; `None` where there are none.
    #[must_use]
    pub fn mean(&self, scale: &Scale) -> Option<f64> {
        let total = self.total();
        let counts = self.counts(scale).iter().enumerate();
        let sum: f64 = counts
            .map(|(bucket, count)| *count as f64 * f64::from(scale.middle(bucket)))
            .sum();
        (total > 0).then(|| sum / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_to_the_nearest_bucket_and_the_ends_are_open() {
        for (value, bucket) in [
            (-99.0, 0),
            (-51.0, 0),
            (-48.9, 1),
            (-13.1, 18),
            (-12.9, 19),
            (5.1, 28),
            (99.0, 28),
            (f32::NAN, 0),
            (f32::INFINITY, 28),
        ] {
            let mut histogram = Histogram::default();
            histogram.enter(&LEVEL_DBM0, value);
            let counts = histogram.counts(&LEVEL_DBM0);
            assert_eq!(counts.iter().position(|n| *n == 1), Some(bucket), "{value}");
        }
        for scale in [LEVEL_DBM0, TWIST_DB, SNR_DB] {
            assert!(scale.buckets <= MOST_BUCKETS);
        }
    }
}
