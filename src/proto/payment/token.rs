//! What a processor gives in exchange for a card.

use std::fmt;

use crate::proto::card::may_hold_number;

/// A processor's name for a card that it was sent: it authorises nothing by itself, and a charge by
/// it can be repeated after a crash, when the card is long wiped.
///
/// Cannot be read in logs: whoever has it and the merchant's key can charge it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The longest that is taken, in bytes.
    pub const LONGEST: usize = 128;

    /// Takes letters, digits, `_`, `-` and `.`; `None` for anything else, and for what may be a card
    /// number.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::LONGEST).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        (fits && text.bytes().all(plain) && !may_hold_number(text)).then(|| Self(text.to_owned()))
    }

    /// As the processor wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_plain_word_and_no_card_number() {
        for fine in ["pm_1PqXyZ2eZvKYlo2C", "8415995487234100", "tok-1.a"] {
            assert_eq!(Token::new(fine).unwrap().as_str(), fine);
        }
        for wrong in ["", "a b", "a/b", "4242424242424242", "pm_4242424242424242"] {
            assert!(Token::new(wrong).is_none(), "{wrong}");
        }
        assert!(Token::new(&"x".repeat(129)).is_none());
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = Token::new("pm_secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }
}
