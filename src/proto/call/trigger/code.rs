//! What an agent may dial, and how far keys are that.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};

use super::pin::{self, Pin};

/// `*`.
const STAR: u8 = 10;
/// `#`.
const HASH: u8 = 11;
/// Most digits of an amount: nobody is charged a hundred million by telephone, and no card number is
/// that short.
const AMOUNT_DIGITS: usize = 8;
/// Most keys of a code, of which the last is `#`.
const LONGEST: usize = 8;
/// Most keys of all that can be dialled: a code, an amount and a PIN, each with what ends it.
pub(super) const LONGEST_DIALLED: usize = LONGEST + AMOUNT_DIGITS + 1 + pin::MOST + 1;
/// How long after a key the next one of the code has to come.
pub const CODE_PATIENCE: Duration = Duration::from_secs(3);

/// What an agent dials to start a payment: `*` and `#` around digits, such as `*77#`. With an amount
/// it is `*77*1999#`, in minor units.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCode {
    /// Telephone-event codes up to the `#`, without it.
    keys: Vec<u8>,
}

/// Why something is no code of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a * , one to six digits and a #, such as \"*77#\": a code that begins otherwise would keep back each digit an agent dials"
)]
pub struct KeyCodeError;

/// A code, and the PIN that has to come with it, if any: `*77*PIN#`, and `*77*1999*PIN#` with an
/// amount. The last row of digits is the PIN, always.
pub struct AgentCode {
    /// What every dialling begins with.
    pub code: KeyCode,
    /// Without it nothing starts.
    pub pin: Option<Pin>,
}

/// What an agent has dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialled {
    /// The code alone: start what is prepared for this call.
    Code,
    /// With an amount, in minor units.
    Amount(u64),
    /// The code, and it starts nothing.
    Refused(CodeRefusal),
}

/// Why a code that was dialled starts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum CodeRefusal {
    /// It came without the PIN.
    #[error("it was dialled without a PIN, and one is configured")]
    NoPin,
    /// With another one, or with something that is none.
    #[error("wrong PIN")]
    WrongPin,
    /// Too often: no code is heard any more on this call.
    #[error("wrong PIN, too often: no code is heard any more on this call")]
    LastWrongPin,
    /// The caller could hear the PIN: it was dialled in tones, or as events that cannot be kept back.
    /// It was not looked at.
    #[error(
        "the caller could hear the PIN, for the telephone sends tones or events that cannot be kept back; change the PIN, and have it send telephone-events of the audio's clock rate alone, or SIP INFO"
    )]
    PinHeard,
}

impl FromStr for KeyCode {
    type Err = KeyCodeError;

    fn from_str(text: &str) -> Result<Self, KeyCodeError> {
        let digits = text
            .strip_prefix('*')
            .and_then(|rest| rest.strip_suffix('#'))
            .filter(|digits| (1..=LONGEST - 2).contains(&digits.len()))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(KeyCodeError)?;
        let digits = digits.bytes().map(|byte| byte - b'0');
        Ok(Self {
            keys: std::iter::once(STAR).chain(digits).collect(),
        })
    }
}

impl KeyCode {
    /// What the agent dials where something goes with it, with a word in each one's place:
    /// `*77*AMOUNT*PIN#`.
    #[must_use]
    pub fn spelled(&self, with: &[&str]) -> String {
        let code = self.to_string();
        let begin = code.trim_end_matches('#');
        let with: String = with.iter().map(|word| format!("*{word}")).collect();
        format!("{begin}{with}#")
    }
}

impl fmt::Display for KeyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*")?;
        for digit in &self.keys[1..] {
            write!(f, "{digit}")?;
        }
        f.write_str("#")
    }
}

impl fmt::Debug for KeyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for KeyCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How far keys are the code's.
pub(super) enum Reading {
    /// They are no beginning of it.
    Not,
    /// More have to come.
    Begins,
    /// More have to come, and these may hold a PIN: nobody gets them, whatever comes.
    Hidden,
    Is(Dialled),
}

impl AgentCode {
    /// `heard`: the caller could hear them.
    pub(super) fn read(&self, typed: &[u8], heard: bool) -> Reading {
        let keys = self.code.keys.as_slice();
        let Some(rest) = typed.strip_prefix(keys) else {
            return if keys.starts_with(typed) {
                Reading::Begins
            } else {
                Reading::Not
            };
        };
        match (rest, &self.pin) {
            ([], _) => Reading::Begins,
            ([HASH], None) => Reading::Is(Dialled::Code),
            ([HASH], Some(_)) => Reading::Is(Dialled::Refused(CodeRefusal::NoPin)),
            ([STAR, dialled @ .., HASH], Some(_)) if heard && !dialled.is_empty() => {
                Reading::Is(Dialled::Refused(CodeRefusal::PinHeard))
            }
            ([STAR, dialled @ .., HASH], Some(pin)) => Reading::Is(with_pin(dialled, pin)),
            ([STAR, ..], Some(_)) => Reading::Hidden,
            ([STAR], None) => Reading::Begins,
            ([STAR, digits @ .., HASH], None) => {
                amount(digits).map_or(Reading::Not, |amount| Reading::Is(Dialled::Amount(amount)))
            }
            ([STAR, digits @ ..], None) if amount(digits).is_some() => Reading::Begins,
            _ => Reading::Not,
        }
    }
}

/// An amount of as many digits as one may have.
fn amount(digits: &[u8]) -> Option<u64> {
    if !(1..=AMOUNT_DIGITS).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |amount: u64, digit| {
        (*digit <= 9).then(|| 10 * amount + u64::from(*digit))
    })
}

/// What stands between the code's `*` and its `#`: the PIN, or an amount, a `*` and the PIN.
fn with_pin(dialled: &[u8], pin: &Pin) -> Dialled {
    let (ordered, keys) = match dialled.iter().position(|key| *key == STAR) {
        None => (Some(Dialled::Code), dialled),
        Some(at) => {
            let ordered = amount(&dialled[..at]).map(Dialled::Amount);
            (ordered, &dialled[at + 1..])
        }
    };
    match (pin.is(keys), ordered) {
        (true, Some(ordered)) => ordered,
        (true, None) | (false, _) => Dialled::Refused(CodeRefusal::WrongPin),
    }
}
