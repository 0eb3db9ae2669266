//! The short code that the gateway reads out to an agent.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// Digits of a code.
pub const CODE_DIGITS: usize = 4;

/// Four digits, which whoever hears the call types into the desktop that asks for it. It opens a form for
/// a minute, and nothing else.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpokenCode([u8; CODE_DIGITS]);

/// Not such a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no code; expected the {CODE_DIGITS} digits that were read out")]
pub struct SpokenCodeError;

impl SpokenCode {
    /// The code of a number below 10,000: what a generator of random numbers gives.
    #[must_use]
    pub fn of(number: u16) -> Self {
        let digit = |place: u16| u8::try_from(number / place % 10).unwrap_or(0);
        Self([digit(1_000), digit(100), digit(10), digit(1)])
    }

    /// Digits, each 0 to 9.
    #[must_use]
    pub const fn digits(&self) -> [u8; CODE_DIGITS] {
        self.0
    }
}

impl PartialEq for SpokenCode {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SpokenCode {}

/// It does not show itself: who reads a log has not heard the call.
impl std::fmt::Debug for SpokenCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpokenCode(..)")
    }
}

impl FromStr for SpokenCode {
    type Err = SpokenCodeError;

    fn from_str(text: &str) -> Result<Self, SpokenCodeError> {
        let digits: [u8; CODE_DIGITS] = text.as_bytes().try_into().map_err(|_| SpokenCodeError)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(SpokenCodeError);
        }
        Ok(Self(digits.map(|digit| digit - b'0')))
    }
}

impl TryFrom<String> for SpokenCode {
    type Error = SpokenCodeError;

    fn try_from(text: String) -> Result<Self, SpokenCodeError> {
        text.parse()
    }
}

impl From<SpokenCode> for String {
    fn from(code: SpokenCode) -> Self {
        code.0
            .iter()
            .map(|digit| char::from(b'0' + digit))
            .collect()
    }
}
