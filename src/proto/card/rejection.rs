//! Why what was keyed cannot be right.

use serde::{Deserialize, Serialize};

use crate::proto::secret::KeySlot;

/// Why what was keyed cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    /// Too few digits before the end key.
    TooShort,
    /// The check digit does not fit (Luhn, or ABA for a routing number), or there are more digits
    /// than any such number has.
    CheckDigit,
    /// No brand has such first digits.
    UnknownBrand,
    /// A brand that the merchant does not take.
    BrandNotAccepted,
    /// No such month, or a year that no card has.
    InvalidDate,
    /// The card has expired.
    Expired,
    /// The security code is not as long as this card's brand has it.
    CodeLength,
}

/// A slot that did not pass its check, given back to be cleared or dropped.
pub struct Refused {
    /// The slot, as it was keyed.
    pub slot: KeySlot,
    /// What is wrong with it.
    pub reason: Rejection,
}
