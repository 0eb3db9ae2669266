//! A reference model: the same rules written as a clerk would follow them, on plain text.

use proptest::prelude::*;

use super::*;
use crate::proto::card::published::by_six_digits;

struct Clerk {
    settings: CaptureSettings,
    open: bool,
    keyed: String,
    attempts_left: u8,
    silence_ends: u64,
    to_tell: Option<(u64, u8, Option<Brand>)>,
    said: Vec<(u64, Said)>,
}

const fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// The brand, when all numbers that begin so are of it.
fn brand_of(text: &str) -> Option<Brand> {
    let known = &text[..text.len().min(6)];
    let unit = 10u32.pow(6 - u32::try_from(known.len()).unwrap());
    let first = known.parse::<u32>().ok()? * unit;
    let brand = by_six_digits(first)?;
    (first..first + unit)
        .all(|iin| by_six_digits(iin) == Some(brand))
        .then_some(brand)
}

fn luhn(text: &str) -> bool {
    let double = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let backwards = text.bytes().rev().map(|byte| usize::from(byte - b'0'));
    let sum = |(place, digit)| if place % 2 == 1 { double[digit] } else { digit };
    backwards.enumerate().map(sum).sum::<usize>() % 10 == 0
}

fn lengths(brand: Option<Brand>) -> Vec<usize> {
    match brand {
        Some(Brand::Visa) => vec![13, 16, 19],
        Some(Brand::Mastercard) => vec![16],
        Some(Brand::Amex) => vec![15],
        Some(Brand::Discover) => vec![16, 19],
        Some(Brand::Jcb | Brand::Unionpay) => (16..=19).collect(),
        Some(Brand::Diners) => vec![14, 16, 19],
        Some(Brand::Maestro) | None => (12..=19).collect(),
    }
}

fn ends_by_itself(text: &str) -> bool {
    let brand = brand_of(text);
    let ends_when_right = match brand {
        Some(Brand::Visa | Brand::Discover | Brand::Jcb) => 16,
        Some(Brand::Diners) => 14,
        _ => usize::MAX,
    };
    Some(&text.len()) == lengths(brand).last() || (text.len() == ends_when_right && luhn(text))
}

fn mistake_in(text: &str, accepted: &[Brand]) -> Option<Rejection> {
    let Some(brand) = brand_of(text) else {
        let all_of = |text: &str| {
            format!("{text:0<6}").parse().unwrap()..=format!("{text:9<6}").parse().unwrap()
        };
        let known = &text[..text.len().min(6)];
        let possible = all_of(known).any(|iin: u32| by_six_digits(iin).is_some());
        return Some(if possible {
            Rejection::TooShort
        } else {
            Rejection::UnknownBrand
        });
    };
    let lengths = lengths(Some(brand));
    if !accepted.contains(&brand) {
        Some(Rejection::BrandNotAccepted)
    } else if !lengths.contains(&text.len()) {
        Some(Rejection::TooShort)
    } else if !luhn(text) {
        Some(Rejection::CheckDigit)
    } else {
        None
    }
}

impl Clerk {
    fn new(settings: CaptureSettings) -> Self {
        let attempts_left = settings.attempts.max(1);
        let mut clerk = Self {
            open: true,
            keyed: String::new(),
            attempts_left,
            silence_ends: ms(settings.first_digit_timeout),
            to_tell: None,
            said: Vec::new(),
            settings,
        };
        clerk.say(0, opened(attempts_left));
        clerk
    }

    fn say(&mut self, at: u64, said: Said) {
        self.said.push((at, said));
    }

    fn close(&mut self, at: u64, said: Said) {
        self.say(at, said);
        self.open = false;
    }

    /// Everything that happens by itself up to and including `until`.
    fn wait_until(&mut self, until: u64) {
        while self.open {
            let overall = ms(self.settings.overall_timeout);
            let silence = self.silence_ends;
            let tell_at = self.to_tell.map_or(u64::MAX, |(at, ..)| at);
            let next = overall.min(silence).min(tell_at);
            if next > until {
                return;
            }
            if let Some((at, count, brand)) = self.to_tell.filter(|(at, ..)| *at == next) {
                self.to_tell = None;
                self.say(at, Said::Event(CaptureEventKind::Progress { count, brand }));
            } else if self.keyed.is_empty() {
                let first = silence < overall;
                let which = if first {
                    CaptureTimeout::FirstDigit
                } else {
                    CaptureTimeout::Overall
                };
                self.close(next, timed_out(which));
            } else if overall < silence {
                self.close(next, timed_out(CaptureTimeout::Overall));
            } else if lengths(brand_of(&self.keyed)).contains(&self.keyed.len()) {
                self.end(next);
            } else {
                self.close(next, timed_out(CaptureTimeout::InterDigit));
            }
        }
    }

    fn press(&mut self, at: u64, symbol: char) {
        self.wait_until(at);
        match symbol {
            _ if !self.open => {}
            '0'..='9' => {
                self.keyed.push(symbol);
                if ends_by_itself(&self.keyed) {
                    return self.end(at);
                }
                self.silence_ends = at + ms(self.settings.inter_digit_timeout);
                let count = u8::try_from(self.keyed.len()).unwrap();
                self.to_tell = Some((at / 250 * 250 + 250, count, brand_of(&self.keyed)));
            }
            '#' if self.settings.hash_ends && !self.keyed.is_empty() => self.end(at),
            '*' if self.settings.star_clears && !self.keyed.is_empty() => {
                self.say(at, Said::Event(CaptureEventKind::Cleared));
                self.start_again(at);
            }
            _ => {}
        }
    }

    fn start_again(&mut self, at: u64) {
        self.keyed.clear();
        self.to_tell = None;
        self.silence_ends = at + ms(self.settings.first_digit_timeout);
    }

    fn end(&mut self, at: u64) {
        let Some(reason) = mistake_in(&self.keyed, &self.settings.accepted_brands) else {
            self.say(at, Said::Field(digits(&self.keyed)));
            let count = u8::try_from(self.keyed.len()).unwrap();
            let last4 = &self.keyed[self.keyed.len() - 4..];
            let complete = complete(count, brand_of(&self.keyed), Some(last4));
            return self.close(at, complete);
        };
        self.attempts_left -= 1;
        self.say(at, rejected(reason, self.attempts_left));
        self.start_again(at);
        self.open = self.attempts_left > 0;
    }
}

/// What callers key: cards of all brands, cards with a slip, scraps, and the other keys.
fn keys() -> impl Strategy<Value = String> {
    let cards = prop::sample::select(vec![
        "4242424242424242",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "6011111111111117",
        "3566002020360505",
        "30569309025904",
        "6200000000000005",
        "6759649826438453",
        "4000000000000000006",
        "4222222222222",
    ]);
    let piece = prop_oneof![
        4 => cards.clone().prop_map(str::to_owned),
        2 => (cards, 0usize..13, "[0-9]").prop_map(|(card, place, digit)| {
            let mut card = card.to_owned();
            card.replace_range(place..=place, &digit);
            card
        }),
        2 => "[0-9]{1,19}",
        2 => "[#*]",
        1 => "[A-D]",
    ];
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
}

/// Milliseconds before a key: mostly a person's, now and then a long silence.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![60 => 40u64..600, 20 => Just(250), 2 => 2500u64..6500, 1 => Just(6000), 1 => 8000u64..35_000]
}

fn settings() -> impl Strategy<Value = CaptureSettings> {
    let brands = prop_oneof![
        3 => Just(Brand::ALL.to_vec()),
        1 => prop::sample::subsequence(Brand::ALL.to_vec(), 1..8),
    ];
    (
        brands,
        any::<bool>(),
        any::<bool>(),
        0u8..5,
        8u64..40,
        1u64..7,
        5u64..200,
    )
        .prop_map(
            |(accepted_brands, hash_ends, star_clears, attempts, first, inter, overall)| {
                CaptureSettings {
                    accepted_brands,
                    hash_ends,
                    star_clears,
                    attempts,
                    first_digit_timeout: Duration::from_secs(first),
                    inter_digit_timeout: Duration::from_secs(inter),
                    overall_timeout: Duration::from_secs(overall),
                    min_postal_code_length: 4,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_capture_says_what_the_model_says_and_when(
        settings in settings(),
        keys in keys(),
        pauses in prop::collection::vec(pause(), 80),
    ) {
        let mut line = Line::open(Field::PaymentCardNumber, settings.clone(), None);
        let mut clerk = Clerk::new(settings);
        for (symbol, pause) in keys.chars().zip(pauses.into_iter().cycle()) {
            line.wait_ms(pause);
            line.press(symbol);
            clerk.press(line.elapsed_ms(), symbol);
        }
        line.wait_ms(1_000_000);
        clerk.wait_until(line.elapsed_ms());
        prop_assert!(!line.capture.is_open());
        prop_assert_eq!(line.said, clerk.said);
    }

    #[test]
    fn whatever_is_keyed_a_field_ends_once_and_its_news_follows_its_field(
        field in prop::sample::select(vec![
            Field::PaymentCardNumber, Field::ExpirationDate, Field::SecurityCode,
            Field::PostalCode, Field::BankRoutingNumber, Field::BankAccountNumber,
        ]),
        brand in prop::option::of(prop::sample::select(Brand::ALL.to_vec())),
        settings in settings(),
        keys in "[0-9#*A]{0,60}",
        steps in prop::collection::vec((pause(), any::<bool>()), 60),
    ) {
        let tries = usize::from(settings.attempts.max(1));
        let mut line = Line::open(field, settings, brand);
        for (symbol, (pause, timer_is_late)) in keys.chars().zip(steps) {
            if timer_is_late { line.sleep_ms(pause) } else { line.wait_ms(pause) }
            line.press(symbol);
            line.capture.handle_timeout(line.now);
            line.drain();
        }
        line.wait_ms(1_000_000);
        prop_assert!(!line.capture.is_open() && line.capture.slot_mut().is_none());

        let said = line.heard();
        let is_end = |said: &Said| match said {
            Said::Event(kind) => match kind {
                CaptureEventKind::Complete { .. } | CaptureEventKind::TimedOut { .. } => true,
                CaptureEventKind::Rejected { attempts_left, .. } => *attempts_left == 0,
                _ => false,
            },
            Said::Field(_) => false,
        };
        prop_assert_eq!(said.iter().filter(|said| is_end(said)).count(), 1);
        prop_assert!(said.last().is_some_and(is_end));
        let opens = |said: &&Said| matches!(said, Said::Event(CaptureEventKind::Opened { .. }));
        prop_assert_eq!(said.iter().filter(opens).count(), 1);
        let slips = |said: &&Said| matches!(said, Said::Event(CaptureEventKind::Rejected { .. }));
        prop_assert!(said.iter().filter(slips).count() <= tries);
        for (n, one) in said.iter().enumerate() {
            if matches!(one, Said::Field(_)) {
                let next = said.get(n + 1);
                let complete = matches!(next, Some(Said::Event(CaptureEventKind::Complete { .. })));
                prop_assert!(complete);
            }
        }
    }
}
