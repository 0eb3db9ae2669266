//! What a request may say. A card number that somebody pastes into it is refused unseen.

use std::collections::BTreeSet;

use super::{NewPayment, OperationOrder, PaymentError};
use crate::proto::{currency::currency_exponent, field::Field, payment::Request};

/// The largest amount, in minor units.
const MAX_AMOUNT_MINOR: u64 = 99_999_999;
/// The longest reference and the longest description, in characters.
const MAX_REFERENCE: usize = 64;
const MAX_DESCRIPTION: usize = 200;
/// A card number has at least so many digits (ISO/IEC 7812-1).
const FEWEST_CARD_DIGITS: usize = 12;

/// Checks everything that needs nothing but the request.
pub(super) fn validate(new: &NewPayment) -> Result<(), PaymentError> {
    if !(1..=MAX_AMOUNT_MINOR).contains(&new.amount_minor) {
        return Err(invalid(
            "amount",
            // Not echoed: too large an amount may be a card number.
            if new.amount_minor == 0 {
                "0"
            } else {
                "a larger amount"
            },
            "1 to 99,999,999 in minor units (cents)",
        ));
    }
    if currency_exponent(&new.currency).is_none() {
        let shown = match new.currency.as_str() {
            text if text.len() <= 3 && text.chars().all(|c| c.is_ascii_alphabetic()) => text,
            _ => "something else",
        };
        return Err(invalid(
            "currency",
            shown,
            "an ISO 4217 code of three capital letters, such as EUR",
        ));
    }
    text("reference", &new.reference, MAX_REFERENCE, true)?;
    if let Some(description) = &new.description {
        text("description", description, MAX_DESCRIPTION, false)?;
    }
    Ok(())
}

/// Checks what is to be done with a charge.
pub(super) fn order(order: &OperationOrder) -> Result<(), PaymentError> {
    if order
        .amount_minor
        .is_some_and(|minor| minor > MAX_AMOUNT_MINOR)
    {
        return Err(invalid(
            "amount",
            // Not echoed: too large an amount may be a card number.
            "a larger amount",
            "1 to 99,999,999 in minor units (cents)",
        ));
    }
    match &order.reason {
        Some(reason) => text("reason", reason, MAX_DESCRIPTION, false),
        None => Ok(()),
    }
}

/// The fields that `complete` will need.
pub(super) fn required(new: &NewPayment) -> BTreeSet<Field> {
    if new.fields.is_empty() {
        return Request::default_fields();
    }
    new.fields.iter().copied().collect()
}

fn text(field: &'static str, text: &str, most: usize, ascii: bool) -> Result<(), PaymentError> {
    let length = text.chars().count();
    let expected = format!(
        "1 to {most} printable{} characters",
        if ascii { " ASCII" } else { "" }
    );
    if length == 0 || length > most {
        return Err(invalid(field, format!("{length} characters"), expected));
    }
    let printable = |c: char| !c.is_control() && (!ascii || c.is_ascii());
    if !text.chars().all(printable) {
        return Err(invalid(field, "other characters", expected));
    }
    if may_hold_card_number(text) {
        return Err(invalid(
            field,
            "a run of digits that may be a card number (not shown here, and not kept)",
            "a text without 12 or more digits in a row; card numbers are only ever keyed by the caller",
        ));
    }
    Ok(())
}

/// Twelve or more digits in a row, or grouped as cards print them: by single spaces or hyphens,
/// the first group of four and none shorter than three (so that a date is none).
fn may_hold_card_number(text: &str) -> bool {
    let runs = text.split(|c: char| !c.is_numeric() && c != ' ' && c != '-');
    runs.into_iter().any(|run| {
        let groups: Vec<usize> = run
            .split([' ', '-'])
            .map(|group| group.chars().count())
            .collect();
        groups.iter().any(|digits| *digits >= FEWEST_CARD_DIGITS)
            || (0..groups.len()).any(|first| printed_card(&groups[first..]))
    })
}

fn printed_card(groups: &[usize]) -> bool {
    let [4, rest @ ..] = groups else { return false };
    let rest: usize = rest
        .iter()
        .take_while(|digits| (3..=6).contains(*digits))
        .sum();
    4 + rest >= FEWEST_CARD_DIGITS
}

/// Text of a request as an error may repeat it.
pub(super) fn echo(text: &str) -> String {
    if may_hold_card_number(text) {
        return "(not shown: a long run of digits)".to_owned();
    }
    text.chars().take(80).collect()
}

pub(super) fn invalid(
    field: &'static str,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> PaymentError {
    PaymentError::Invalid {
        field,
        found: found.into(),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::payment::Purpose;

    fn request() -> NewPayment {
        NewPayment {
            call: "a".to_owned(),
            leg: None,
            amount_minor: 1250,
            purpose: Purpose::Charge,
            currency: "EUR".to_owned(),
            reference: "INV-2026-11-22-000123".to_owned(),
            description: None,
            fields: Vec::new(),
        }
    }

    #[test]
    fn a_pasted_card_number_is_refused_and_not_echoed() {
        for pasted in [
            "4242424242424242",
            "INV 4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "3782 822463 10005",
            "x424242424242y",
        ] {
            for place in 0..2 {
                let mut new = request();
                match place {
                    0 => new.reference = pasted.to_owned(),
                    _ => new.description = Some(pasted.to_owned()),
                }
                let refused = validate(&new).unwrap_err().to_string();
                assert!(
                    !refused.contains("4242") && !refused.contains("3782"),
                    "{refused}"
                );
                assert!(refused.contains("card number"), "{refused}");
            }
        }
        let mut new = request();
        new.amount_minor = 4_242_424_242_424_242;
        assert!(!validate(&new).unwrap_err().to_string().contains("4242"));
        new = request();
        new.currency = "4242424242424242".to_owned();
        assert!(!validate(&new).unwrap_err().to_string().contains("4242"));
        assert!(!echo("4242 4242 4242 4242").contains("4242"));
    }

    #[test]
    fn dates_and_numbered_invoices_pass() {
        for fine in [
            "INV-1",
            "2026-11-22-000123",
            "2026-11-22 10:15 order 4711",
            "12345678901",
            "PO 1234/5678/9012",
        ] {
            let mut new = request();
            new.reference = fine.to_owned();
            assert!(validate(&new).is_ok(), "{fine}");
        }
    }

    #[test]
    fn amounts_currencies_and_lengths_have_bounds() {
        let with = |change: fn(&mut NewPayment)| {
            let mut new = request();
            change(&mut new);
            validate(&new)
        };
        assert!(with(|new| new.amount_minor = 1).is_ok());
        assert!(with(|new| new.amount_minor = 99_999_999).is_ok());
        assert!(with(|new| new.amount_minor = 0).is_err());
        assert!(with(|new| new.amount_minor = 100_000_000).is_err());
        for bad in ["eur", "EU", "XXX", "", "EURO"] {
            let mut new = request();
            new.currency = bad.to_owned();
            assert!(validate(&new).is_err(), "{bad}");
        }
        assert!(with(|new| new.reference.clear()).is_err());
        assert!(with(|new| new.reference = "x".repeat(65)).is_err());
        assert!(with(|new| new.reference = "a\nb".to_owned()).is_err());
    }
}
