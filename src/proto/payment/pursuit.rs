//! When to ask again what became of an operation whose outcome is open.

use std::time::{Duration, Instant};

use super::{FIRST_LOOK_UP, LONGEST_PAUSE, LOOK_UP_FOR, Outcome};

/// The longest pause where the processor has the operation and is at it: it may take days.
const LONGEST_PENDING_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long a processor that has the operation may take to decide before a person has to look.
const PENDING_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The questions about one operation.
#[derive(Debug)]
pub struct Pursuit {
    since: Instant,
    tries: u32,
}

impl Pursuit {
    /// Nothing was asked yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            since: now,
            tries: 0,
        }
    }

    /// How long to wait before the next question; `None` where the operation is decided, or where it is left
    /// to a person.
    pub fn pause(&mut self, outcome: &Outcome, now: Instant) -> Option<Duration> {
        let (longest, patience) = match outcome {
            Outcome::Approved { .. } | Outcome::Declined { .. } | Outcome::Failed { .. } => {
                return None;
            }
            Outcome::Unknown { .. } => (LONGEST_PAUSE, LOOK_UP_FOR),
            Outcome::Pending { .. } => (LONGEST_PENDING_PAUSE, PENDING_FOR),
        };
        if now.saturating_duration_since(self.since) >= patience {
            return None;
        }
        let pause = FIRST_LOOK_UP.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        Some(pause.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Outcome {
        Outcome::Unknown {
            reason: "silence".to_owned(),
        }
    }

    fn pending() -> Outcome {
        Outcome::Pending {
            processor_reference: "r".to_owned(),
            code: "received".to_owned(),
        }
    }

    /// Seconds of all pauses, until it is left to a person.
    fn pauses(outcome: &Outcome) -> Vec<u64> {
        let mut now = Instant::now();
        let mut pursuit = Pursuit::new(now);
        let mut found = Vec::new();
        while let Some(pause) = pursuit.pause(outcome, now) {
            found.push(pause.as_secs());
            now += pause;
        }
        found
    }

    #[test]
    fn what_is_unknown_is_asked_for_soon_then_ever_more_slowly_and_after_a_day_by_a_person() {
        let pauses = pauses(&unknown());
        assert_eq!(pauses[..9], [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert!(pauses[9..].iter().all(|pause| *pause == 300));
        let all: u64 = pauses.iter().sum();
        assert!((86_400..86_400 + 300).contains(&all), "{all}");
    }

    #[test]
    fn what_the_processor_has_may_take_a_week() {
        let pauses = pauses(&pending());
        assert_eq!(pauses.iter().max(), Some(&3600));
        let all: u64 = pauses.iter().sum();
        assert!((604_800..604_800 + 3600).contains(&all), "{all}");
    }

    #[test]
    fn what_is_decided_is_not_asked_for() {
        let now = Instant::now();
        for outcome in [
            Outcome::Approved {
                processor_reference: "r".to_owned(),
                code: "ok".to_owned(),
            },
            Outcome::Failed {
                reason: "refused".to_owned(),
                retryable: true,
            },
        ] {
            assert_eq!(Pursuit::new(now).pause(&outcome, now), None);
        }
    }
}
