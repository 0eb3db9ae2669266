//! What of an answer may be passed on: words that cannot hold a card.

use super::Outcome;
use crate::proto::card::may_hold_number;

/// Longest code and longest reference that are passed on, in bytes.
const LONGEST_CODE: usize = 64;
const LONGEST_REFERENCE: usize = 128;
/// Most digits of a code: fewer than of any card number's hidden part.
const MOST_DIGITS: usize = 6;
/// As many digits of the card in a row, and more than its last four are repeated.
const REPEATED: usize = 7;
/// What stands in the place of a word that is not passed on.
const WITHHELD: &str = "withheld";

/// A processor's code: a word or two of letters, with few digits.
pub(super) fn code(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/ ".contains(&byte);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let fits = (1..=LONGEST_CODE).contains(&text.len()) && digits <= MOST_DIGITS;
    (fits && text.bytes().all(plain)).then(|| text.to_owned())
}

/// A processor's reference of a charge: letters and digits, no card number.
pub(super) fn reference(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let fits = (1..=LONGEST_REFERENCE).contains(&text.len());
    (fits && text.bytes().all(plain) && !may_hold_number(text)).then(|| text.to_owned())
}

/// The same, or a word that says that there is one: the money has moved whatever it is called.
pub(super) fn reference_or_withheld(text: &str) -> String {
    reference(text).unwrap_or_else(|| WITHHELD.to_owned())
}

/// The same for a code.
pub(super) fn code_or_withheld(text: &str) -> String {
    code(text).unwrap_or_else(|| WITHHELD.to_owned())
}

/// Whether a text repeats part of a number, given as values 0 to 9, whatever stands in between.
pub(super) fn repeats(text: &str, number: &[u8]) -> bool {
    let digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| byte - b'0')
        .collect();
    number
        .windows(REPEATED)
        .any(|part| digits.windows(REPEATED).any(|found| found == part))
}

/// The outcome with each word of the processor's replaced that `repeats` the card.
pub(super) fn without(outcome: Outcome, mut repeats: impl FnMut(&str) -> bool) -> Outcome {
    let mut clean = |text: String| {
        if repeats(&text) {
            WITHHELD.to_owned()
        } else {
            text
        }
    };
    match outcome {
        Outcome::Approved {
            processor_reference,
            code,
        } => Outcome::Approved {
            processor_reference: clean(processor_reference),
            code: clean(code),
        },
        Outcome::Pending {
            processor_reference,
            code,
        } => Outcome::Pending {
            processor_reference: clean(processor_reference),
            code: clean(code),
        },
        Outcome::Declined { advice, code } => Outcome::Declined {
            advice,
            code: clean(code),
        },
        Outcome::Failed { reason, retryable } => Outcome::Failed {
            reason: clean(reason),
            retryable,
        },
        Outcome::Unknown { reason } => Outcome::Unknown {
            reason: clean(reason),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: [u8; 16] = [4, 7, 1, 6, 8, 3, 5, 1, 7, 3, 9, 8, 4, 2, 4, 2];

    #[test]
    fn codes_and_references_of_processors_pass_and_card_numbers_do_not() {
        for fine in [
            "card_declined",
            "2 Refused",
            "not_a_test_card",
            "AUTHORIZED",
            "a/b:c-d.e",
        ] {
            assert_eq!(code(fine).as_deref(), Some(fine));
        }
        for wrong in ["", "1234567", "4242424242424242", "x\ny", "caf\u{e9}"] {
            assert_eq!(code(wrong), None, "{wrong:?}");
        }
        for fine in [
            "pi_3MtwBwLkdIwHu7ix28a3tqPa",
            "NC6HT9CRT65ZGN82",
            "993617895204576J",
        ] {
            assert_eq!(reference(fine).as_deref(), Some(fine));
        }
        for wrong in ["4716835173984242", "x-4716835173984242", "a b", "<a>", ""] {
            assert_eq!(reference(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_part_of_the_number_beyond_its_last_four_is_found_through_whatever_separates_it() {
        for repeated in [
            "4716835173984242",
            "id-4716 8351-7398",
            "173984242",
            "x8351739y",
        ] {
            assert!(repeats(repeated, &NUMBER), "{repeated}");
        }
        for fine in ["4242", "471683", "984242", "pi_1234567890", ""] {
            assert!(!repeats(fine, &NUMBER), "{fine}");
        }
    }

    #[test]
    fn only_what_repeats_the_card_is_withheld_and_an_approval_stays_one() {
        let outcome = Outcome::Approved {
            processor_reference: "r4716835".to_owned(),
            code: "ok".to_owned(),
        };
        let clean = without(outcome, |text| repeats(text, &NUMBER));
        assert_eq!(
            clean,
            Outcome::Approved {
                processor_reference: "withheld".to_owned(),
                code: "ok".to_owned(),
            }
        );
    }
}
