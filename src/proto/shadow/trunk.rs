//! When what was heard on a trunk is told: in whole periods, and never of few calls.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Measures, Tally, TrunkName};

/// When a trunk's report goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRules {
    /// At the ends of periods of this length, counted from 1970 in UTC.
    pub period: Duration,
    /// With as many calls at least as ended since it last did; the measures with as many calls that
    /// entered theirs. So whoever reads a report before and after one call sees no difference, or
    /// one that is many calls' together.
    pub least_calls: u64,
}

impl PublishRules {
    /// The period that `at` lies in, counted from 1970.
    fn period_of(&self, at: Timestamp) -> i64 {
        let seconds = i64::try_from(self.period.as_secs()).unwrap_or(i64::MAX);
        at.as_second().div_euclid(seconds.max(1))
    }
}

/// What was heard on one trunk: what is told of it, and what waits to be.
///
/// What waits has no way out but [`Trunk::publish`]: it is not serialised either.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trunk {
    /// Its name.
    pub name: TrunkName,
    /// Since when it is listened to.
    pub since: Timestamp,
    /// Until when what is told reaches.
    pub until: Timestamp,
    /// What is told.
    pub told: Tally,
    #[serde(skip)]
    waiting: Tally,
    /// When the first of the calls that wait ended.
    #[serde(skip)]
    waits_since: Option<Timestamp>,
}

impl Trunk {
    /// A trunk whose first call has ended at `now`.
    #[must_use]
    pub fn new(name: TrunkName, now: Timestamp) -> Self {
        Self {
            name,
            since: now,
            until: now,
            told: Tally::default(),
            waiting: Tally::default(),
            waits_since: None,
        }
    }

    /// Adds what was heard on a call that has ended. True when what is told has changed: a period
    /// had ended before.
    pub fn add(&mut self, call: &Tally, now: Timestamp, rules: &PublishRules) -> bool {
        let told = self.publish(now, rules);
        self.waiting.add(call);
        self.waits_since.get_or_insert(now);
        told
    }

    /// Tells what waits, where a period has ended and it is of enough calls. True when it did.
    pub fn publish(&mut self, now: Timestamp, rules: &PublishRules) -> bool {
        let Some(since) = self.waits_since else {
            return false;
        };
        if rules.period_of(now) <= rules.period_of(since) || self.waiting.calls < rules.least_calls
        {
            return false;
        }
        let measures = std::mem::take(&mut self.waiting.measures);
        self.told.add(&self.waiting);
        self.waiting = Tally::default();
        self.waits_since = None;
        if measures.calls >= rules.least_calls {
            self.told.measures.add(&measures);
        } else {
            self.waiting.measures = measures;
        }
        self.until = now;
        true
    }

    /// How many calls' measures are told.
    #[must_use]
    pub const fn measures(&self) -> &Measures {
        &self.told.measures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::shadow::ToneSums;

    const RULES: PublishRules = PublishRules {
        period: Duration::from_secs(3_600),
        least_calls: 20,
    };

    fn at(clock: &str) -> Timestamp {
        format!("2026-11-22T{clock}Z").parse().unwrap()
    }

    fn call(tones: u32) -> Tally {
        let mut sums = ToneSums::default();
        for _ in 0..tones {
            sums.add(-10.0, 0.0, 30.0);
        }
        let mut tally = Tally {
            calls: 1,
            measures: sums.means(),
            ..Tally::default()
        };
        tally.presses.by_tone = u64::from(tones);
        tally
    }

    fn trunk() -> Trunk {
        Trunk::new("t".parse().unwrap(), at("10:00:00"))
    }

    #[test]
    fn one_call_more_is_seen_neither_before_the_period_ends_nor_alone_after_it() {
        let mut trunk = trunk();
        for second in 0..20 {
            let now = at(&format!("10:10:{second:02}"));
            assert!(!trunk.add(&call(16), now, &RULES));
            assert!(!trunk.publish(now, &RULES));
        }
        assert!(!trunk.publish(at("10:59:59"), &RULES));
        assert_eq!(trunk.told, Tally::default());
        assert!(trunk.publish(at("11:00:00"), &RULES));
        let before = trunk.told;
        assert_eq!((before.calls, before.presses.total()), (20, 320));
        assert_eq!(trunk.measures().calls, 20);
        // The one call, and whole days after it.
        assert!(!trunk.add(&call(16), at("11:30:00"), &RULES));
        assert!(!trunk.publish(at("23:59:59"), &RULES));
        assert_eq!(trunk.told, before);
        let json = serde_json::to_string(&trunk).unwrap();
        let read: Trunk = serde_json::from_str(&json).unwrap();
        assert_eq!(read.waiting, Tally::default(), "what waits is not written");
    }

    #[test]
    fn a_call_that_ends_as_a_period_begins_belongs_to_the_new_one() {
        let mut trunk = trunk();
        for _ in 0..20 {
            trunk.add(&call(1), at("10:59:59"), &RULES);
        }
        assert!(trunk.add(&call(1), at("11:00:00"), &RULES));
        assert_eq!(trunk.told.calls, 20);
    }

    #[test]
    fn measures_wait_until_as_many_calls_have_entered_theirs() {
        let mut trunk = trunk();
        let hours = ["10:30:00", "11:30:00", "12:30:00"];
        let mut told = Vec::new();
        for hour in hours {
            for n in 0..20 {
                let tones = if n < 10 { 16 } else { 2 };
                trunk.add(&call(tones), at(hour), &RULES);
            }
            told.push((trunk.told.calls, trunk.measures().calls));
        }
        trunk.publish(at("13:00:00"), &RULES);
        told.push((trunk.told.calls, trunk.measures().calls));
        assert_eq!(told, [(0, 0), (20, 0), (40, 20), (60, 20)]);
    }
}
