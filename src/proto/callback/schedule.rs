//! What comes of a try: delivered, another try later, or a dead letter.

use std::time::Duration;

/// Pauses between tries, the first after the first try; the last is repeated. Before jitter, twenty
/// tries take three days.
const PAUSES: [u64; 9] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600];
/// Tries in all.
const TRIES: u32 = 20;
/// The longest pause that a receiver may ask for by `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_hours(6);
/// What a receiver answers that wants no more (Standard Webhooks): it is not asked twice.
const GONE: u16 = 410;

/// When a message is tried again, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The pause after the first try, the second, and so on; the last is repeated.
    pub pauses: Vec<Duration>,
    /// Tries in all; after the last of them the message is a dead letter.
    pub tries: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            pauses: PAUSES.map(Duration::from_secs).to_vec(),
            tries: TRIES,
        }
    }
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status, and for how long it asks to be left alone (`Retry-After`, RFC 9110 §10.2.3).
    Status(u16, Option<Duration>),
    /// Nothing that is an answer; whether the receiver has the message is not known.
    Nothing,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has been taken.
    Delivered,
    /// Another try after this pause.
    Again(Duration),
    /// No more tries: a person decides.
    Dead,
}

impl Schedule {
    /// What is next after try number `tries` (the first is 1). `random` spreads those that failed
    /// together: each pause is between four and six fifths of its length.
    ///
    /// Only 2xx is taken. A redirection is none of it: it is not followed, for what is signed for one
    /// place is not sent to another.
    #[must_use]
    pub fn next(&self, tries: u32, answer: Answer, random: u32) -> Next {
        let asked = match answer {
            Answer::Status(200..=299, _) => return Next::Delivered,
            Answer::Status(GONE, _) => return Next::Dead,
            Answer::Status(_, asked) => asked.unwrap_or_default().min(LONGEST_ASKED),
            Answer::Nothing => Duration::ZERO,
        };
        if tries >= self.tries {
            return Next::Dead;
        }
        let place = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = self.pauses.get(place).or(self.pauses.last());
        let pause = pause.copied().unwrap_or_default();
        let jitter = 0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX);
        Next::Again(pause.mul_f64(jitter).max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u32 = u32::MAX / 2;

    #[test]
    fn twenty_tries_take_three_days_and_then_it_is_a_dead_letter() {
        let schedule = Schedule::default();
        let mut waited = Duration::ZERO;
        let mut last = Duration::ZERO;
        for tries in 1..20 {
            let Next::Again(pause) = schedule.next(tries, Answer::Nothing, MIDDLE) else {
                panic!("no more after try {tries}");
            };
            assert!(pause + Duration::from_millis(1) >= last, "{pause:?}");
            waited += pause;
            last = pause;
        }
        assert_eq!(schedule.next(20, Answer::Nothing, MIDDLE), Next::Dead);
        let hours = waited.as_secs() / 3_600;
        assert!((72..76).contains(&hours), "{hours} h");
        assert!(last.as_secs().abs_diff(6 * 3_600) < 2, "{last:?}");
    }

    #[test]
    fn a_pause_is_spread_by_a_fifth_to_either_side() {
        let schedule = Schedule::default();
        let pause = |random| match schedule.next(1, Answer::Status(500, None), random) {
            Next::Again(pause) => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!(pause(0), Duration::from_secs(4));
        assert_eq!(pause(u32::MAX), Duration::from_secs(6));
    }

    #[test]
    fn only_2xx_is_taken_and_a_redirection_is_not_followed() {
        let schedule = Schedule::default();
        for status in [200, 201, 202, 204, 299] {
            let next = schedule.next(1, Answer::Status(status, None), 0);
            assert_eq!(next, Next::Delivered, "{status}");
        }
        for status in [
            100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503,
        ] {
            let next = schedule.next(1, Answer::Status(status, None), 0);
            assert!(matches!(next, Next::Again(_)), "{status}: {next:?}");
        }
    }

    #[test]
    fn who_says_gone_is_not_asked_again() {
        let next = Schedule::default().next(1, Answer::Status(410, None), 0);
        assert_eq!(next, Next::Dead);
    }

    #[test]
    fn who_asks_for_a_longer_pause_gets_it_within_bounds() {
        let schedule = Schedule::default();
        let next = |asked| {
            let asked = Some(Duration::from_secs(asked));
            schedule.next(1, Answer::Status(429, asked), MIDDLE)
        };
        assert_eq!(next(90), Next::Again(Duration::from_secs(90)));
        assert_eq!(next(86_400), Next::Again(LONGEST_ASKED));
        assert!(matches!(next(1), Next::Again(pause) if pause.as_secs() >= 4));
    }
}
