//! Names of trunks.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name, in characters.
const LONGEST: usize = 64;
/// As many digits as the shortest card number has (ISO/IEC 7812).
const CARD_DIGITS: usize = 12;

/// What a report calls a trunk: a name that signalling gave, or the address that its calls come
/// from. 1 to 64 characters, none of them a control character, and fewer digits than a card number
/// has, so that nothing that might be one gets into reports and file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrunkName(String);

/// Why a text is no name of a trunk. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrunkNameError {
    /// Empty, or too long.
    #[error("a name of {0} characters; expected 1 to {LONGEST}")]
    Length(usize),
    /// A control character.
    #[error("a name with a control character; expected letters, digits and signs")]
    Control,
    /// Too many digits.
    #[error(
        "a name with {0} digits, which could be a card number; expected fewer than {CARD_DIGITS}"
    )]
    Digits(usize),
}

impl TrunkName {
    /// The trunk of all calls that came after as many trunks as are told apart.
    #[must_use]
    pub fn others() -> Self {
        Self("other trunks".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrunkName {
    type Err = TrunkNameError;

    fn from_str(text: &str) -> Result<Self, TrunkNameError> {
        let length = text.chars().count();
        if !(1..=LONGEST).contains(&length) {
            return Err(TrunkNameError::Length(length));
        }
        if text.chars().any(char::is_control) {
            return Err(TrunkNameError::Control);
        }
        // Digits of other scripts count too: a card number can be pasted in them.
        let digits = text.chars().filter(|c| c.is_numeric()).count();
        if digits >= CARD_DIGITS && text.parse::<IpAddr>().is_err() {
            return Err(TrunkNameError::Digits(digits));
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<IpAddr> for TrunkName {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

impl TryFrom<String> for TrunkName {
    type Error = TrunkNameError;

    fn try_from(text: String) -> Result<Self, TrunkNameError> {
        text.parse()
    }
}

impl From<TrunkName> for String {
    fn from(name: TrunkName) -> Self {
        name.0
    }
}

impl fmt::Display for TrunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_printable_and_no_card_number() {
        for good in [
            "carrier-a",
            "Köln <1> & \"2\"/../x",
            "192.168.100.200",
            "2001:db8:1234:5678:9abc:def0:1234:5678",
            "+49 30 1234567",
        ] {
            assert_eq!(good.parse::<TrunkName>().unwrap().as_str(), good);
        }
        for (bad, error) in [
            (String::new(), TrunkNameError::Length(0)),
            ("x".repeat(65), TrunkNameError::Length(65)),
            ("a\nb".to_owned(), TrunkNameError::Control),
            ("4242424242424242".to_owned(), TrunkNameError::Digits(16)),
            ("4242.4242-4242x4242".to_owned(), TrunkNameError::Digits(16)),
            ("٤٢٤٢٤٢٤٢٤٢٤٢".to_owned(), TrunkNameError::Digits(12)),
        ] {
            let found = bad.parse::<TrunkName>().unwrap_err();
            assert_eq!(found, error);
            let json = serde_json::to_string(&bad).unwrap();
            assert!(serde_json::from_str::<TrunkName>(&json).is_err());
        }
    }
}
