//! The four digits that may be shown (PCI DSS 3.4.1).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The last four digits of a card or account number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Last4([u8; 4]);

/// The text is not four digits.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected four digits")]
pub struct NotLast4;

impl Last4 {
    /// The last four of `digits` (values 0 to 9), if there are more than four.
    #[must_use]
    pub fn of(digits: &[u8]) -> Option<Self> {
        let tail: [u8; 4] = *digits.last_chunk()?;
        (digits.len() > 4 && tail.iter().all(|d| *d < 10)).then_some(Self(tail))
    }
}

impl fmt::Display for Last4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|d| write!(f, "{d}"))
    }
}

impl TryFrom<String> for Last4 {
    type Error = NotLast4;
    fn try_from(text: String) -> Result<Self, NotLast4> {
        let digits: [u8; 4] = text.as_bytes().try_into().map_err(|_| NotLast4)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(NotLast4);
        }
        Ok(Self(digits.map(|d| d - b'0')))
    }
}

impl From<Last4> for String {
    fn from(last4: Last4) -> Self {
        last4.to_string()
    }
}
