//! The test cards in the caller's wallet. Only the caller's process ever asks for one.

use anyhow::{Result, bail};

use crate::proto::field::Field;

/// A test card: published numbers that no bank has issued.
pub(super) struct Card {
    number: &'static [u8],
    expiry: &'static [u8],
    code: &'static [u8],
}

/// Names, and numbers as the sandbox processor knows them.
const WALLET: &[(&str, &[u8])] = &[
    ("approved", b"4242424242424242"),
    ("mastercard", b"5555555555554444"),
    ("amex", b"378282246310005"),
    ("discover", b"6011111111111117"),
    ("jcb", b"3566002020360505"),
    ("diners", b"30569309025904"),
    ("declined", b"4000000000000002"),
    ("insufficient-funds", b"4000000000009995"),
    ("lost", b"4000000000009987"),
    ("expired", b"4000000000000069"),
    ("wrong-code", b"4000000000000127"),
    ("processing-error", b"4000000000000119"),
];

impl Card {
    /// What to key for a field, as ASCII.
    pub(super) fn digits(&self, field: Field) -> Result<&'static [u8]> {
        Ok(match field {
            Field::PaymentCardNumber => self.number,
            Field::ExpirationDate => self.expiry,
            Field::SecurityCode => self.code,
            Field::PostalCode => b"90210",
            // The Federal Reserve's own number, from ABA's documentation.
            Field::BankRoutingNumber => b"011000015",
            Field::BankAccountNumber => b"000123456789",
        })
    }
}

/// The card of that name.
pub(super) fn by_name(name: &str) -> Result<Card> {
    let Some((_, number)) = WALLET.iter().find(|(known, _)| *known == name) else {
        bail!(
            "found no test card {name:?}; there are: {}",
            names().join(", ")
        );
    };
    Ok(Card {
        number,
        expiry: b"1239",
        code: if name == "amex" { b"7391" } else { b"739" },
    })
}

/// The names of the cards.
pub(crate) fn names() -> Vec<&'static str> {
    WALLET.iter().map(|(name, _)| *name).collect()
}
