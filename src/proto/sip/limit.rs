//! How many requests a source may send: a bucket of tokens each.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Most sources that are told apart.
const MOST_SOURCES: usize = 4_096;

/// Buckets by source.
#[derive(Debug)]
pub struct Buckets {
    per_second: u32,
    burst: u32,
    sources: HashMap<IpAddr, (f64, Instant)>,
}

impl Buckets {
    /// `per_second` requests for long, `burst` at once; both at least 1.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            burst: burst.max(1),
            sources: HashMap::new(),
        }
    }

    /// Whether a request of this source may be taken now.
    pub fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let (rate, full) = (f64::from(self.per_second), f64::from(self.burst));
        if self.sources.len() >= MOST_SOURCES && !self.sources.contains_key(&source) {
            // A bucket that has had time to fill tells nothing.
            let whole = Duration::from_secs_f64(full / rate);
            self.sources
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < whole);
            if self.sources.len() >= MOST_SOURCES {
                return false;
            }
        }
        let (tokens, at) = self.sources.entry(source).or_insert((full, now));
        let passed = now.saturating_duration_since(*at).as_secs_f64();
        *tokens = (*tokens + passed * rate).min(full);
        *at = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_its_rate_whatever_others_do() {
        let start = Instant::now();
        let mut buckets = Buckets::new(10, 5);
        let [loud, quiet] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let taken = (0..100).filter(|_| buckets.admit(loud, start)).count();
        assert_eq!(taken, 5);
        assert!(buckets.admit(quiet, start));
        let mut taken = 0;
        for ms in 0..1_000 {
            taken += u32::from(buckets.admit(loud, start + Duration::from_millis(ms)));
        }
        assert!((9..=11).contains(&taken), "{taken}");
    }

    #[test]
    fn the_number_of_sources_is_bounded_and_old_ones_make_room() {
        let start = Instant::now();
        let mut buckets = Buckets::new(10, 5);
        let source = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..5_000 {
            buckets.admit(source(n), start);
        }
        assert_eq!(buckets.sources.len(), MOST_SOURCES);
        assert!(!buckets.admit(source(6_000), start));
        assert!(buckets.admit(source(6_000), start + Duration::from_secs(1)));
    }
}
