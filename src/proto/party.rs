//! Whose call it is, as far as signalling tells: what an agent's desktop finds its call by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest text of either kind, in bytes.
const LONGEST: usize = 255;
/// Most digits that a user may have: a telephone number's (ITU-T E.164). Card numbers are longer, or as
/// long as a number that has its `+`.
const NUMBER_DIGITS: usize = 15;
/// As many digits as the shortest card number has (ISO/IEC 7812).
const CARD_DIGITS: usize = 12;

/// An agent's own address (RFC 3261's address-of-record): a user and, where it is told, a host. Read from
/// `sip:4711@pbx.example`, `"Alice" <sips:alice@pbx.example:5061>`, `tel:+49-30-123`, `4711@pbx.example`
/// or `4711`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentAddress {
    /// As it was written: users are told apart by case (RFC 3261 section 19.1.4).
    user: Box<str>,
    /// Lower case, without a port.
    host: Option<Box<str>>,
}

/// Why a text is no address of an agent. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentAddressError {
    /// Empty, too long, or of other characters.
    #[error(
        "no address of an agent; expected such as sip:4711@pbx.example, tel:+4930123 or 4711, of {LONGEST} printable ASCII characters at most"
    )]
    Shape,
    /// More digits than a telephone number has.
    #[error(
        "an address with {0} digits, which could be a card number; expected fewer than {CARD_DIGITS}, or a number of at most {NUMBER_DIGITS} with its +"
    )]
    Digits(usize),
}

impl AgentAddress {
    /// Whether a call of `heard` is one of this address. Where this one names no host, any will do.
    #[must_use]
    pub fn covers(&self, heard: &Self) -> bool {
        self.user == heard.user && (self.host.is_none() || self.host == heard.host)
    }
}

impl FromStr for AgentAddress {
    type Err = AgentAddressError;

    fn from_str(text: &str) -> Result<Self, AgentAddressError> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST {
            return Err(AgentAddressError::Shape);
        }
        // A name-addr (RFC 3261 section 25.1); what follows its `>` are parameters of the header field.
        let address = match text.rsplit_once('<') {
            Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
            None => text,
        };
        let (scheme, rest) = match address.split_once(':') {
            Some((scheme, rest))
                if ["sip", "sips"]
                    .iter()
                    .any(|s| scheme.eq_ignore_ascii_case(s)) =>
            {
                (Scheme::Sip, rest)
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel") => (Scheme::Tel, rest),
            _ => (Scheme::Sip, address),
        };
        let rest = rest.split('?').next().unwrap_or_default();
        let (user, host) = match (scheme, rest.rsplit_once('@')) {
            (Scheme::Sip, Some((user, host))) => (user, Some(host_of(host)?)),
            (Scheme::Sip | Scheme::Tel, _) => (rest, None),
        };
        // Parameters, of the user too (RFC 3966), and a password are no part of who somebody is.
        let user = user.split([';', ':']).next().unwrap_or_default();
        let user: String = match scheme {
            Scheme::Tel => user.chars().filter(|c| !"-.()".contains(*c)).collect(),
            Scheme::Sip => user.to_owned(),
        };
        let plain = |c: char| c.is_ascii_graphic() && !"<>\"@,".contains(c);
        if user.is_empty() || !user.chars().all(plain) {
            return Err(AgentAddressError::Shape);
        }
        let digits = user.bytes().filter(u8::is_ascii_digit).count();
        if digits > NUMBER_DIGITS || (digits >= CARD_DIGITS && !user.starts_with('+')) {
            return Err(AgentAddressError::Digits(digits));
        }
        Ok(Self {
            user: user.into(),
            host,
        })
    }
}

#[derive(Clone, Copy)]
enum Scheme {
    Sip,
    Tel,
}

/// A host without port and parameters.
fn host_of(text: &str) -> Result<Box<str>, AgentAddressError> {
    let host = text.split([';', '?']).next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address),
        None => host.split(':').next(),
    };
    let host = host.unwrap_or_default().trim_end_matches('.');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(AgentAddressError::Shape);
    }
    Ok(host.to_ascii_lowercase().into())
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            None => f.write_str(&self.user),
            Some(host) if host.contains(':') => write!(f, "{}@[{host}]", self.user),
            Some(host) => write!(f, "{}@{host}", self.user),
        }
    }
}

impl TryFrom<String> for AgentAddress {
    type Error = AgentAddressError;

    fn try_from(text: String) -> Result<Self, AgentAddressError> {
        text.parse()
    }
}

impl From<AgentAddress> for String {
    fn from(address: AgentAddress) -> Self {
        address.to_string()
    }
}

/// What another system calls the call (an interaction id, a UCID): compared, and never told again, for it
/// may be any row of digits.
#[derive(Clone, PartialEq, Eq)]
pub struct CallReference(Box<str>);

impl fmt::Debug for CallReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallReference(..)")
    }
}

/// Why a text is no reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no reference of a call; expected 1 to {LONGEST} bytes without control characters")]
pub struct CallReferenceError;

impl FromStr for CallReference {
    type Err = CallReferenceError;

    fn from_str(text: &str) -> Result<Self, CallReferenceError> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(CallReferenceError);
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> AgentAddress {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for text in [
            "4711@pbx.example",
            "sip:4711@pbx.example",
            "SIPS:4711@PBX.example:5061;transport=tcp",
            "\"Alice <night>\" <sip:4711@pbx.example>;tag=x",
            "<sip:4711;phone-context=x@pbx.example.?subject=a>",
            "sip:4711:secret@pbx.example",
        ] {
            assert_eq!(address(text), address("sip:4711@pbx.example"), "{text}");
        }
        assert_eq!(
            address("tel:+49-30-(123)45;ext=6").to_string(),
            "+493012345"
        );
        assert_eq!(
            address("sip:a@[2001:DB8::1]:5060").to_string(),
            "a@[2001:db8::1]"
        );
        let kept = serde_json::to_string(&address("<sip:4711@PBX>")).unwrap();
        assert_eq!(kept, "\"4711@pbx\"");
        assert_eq!(
            serde_json::from_str::<AgentAddress>(&kept).unwrap(),
            address("4711@pbx")
        );
    }

    #[test]
    fn without_a_host_any_host_will_do_and_never_another_user() {
        let here = address("4711@pbx.example");
        assert!(address("4711").covers(&here));
        assert!(here.covers(&here));
        assert!(!here.covers(&address("4711@other.example")));
        // Which host it is was asked for and is not known.
        assert!(!here.covers(&address("4711")));
        assert!(!address("471").covers(&here));
        assert!(!address("Alice").covers(&address("alice@pbx")));
    }

    #[test]
    fn what_is_no_address_or_could_be_a_card_is_refused_without_being_repeated() {
        for text in [
            "",
            " ",
            "sip:",
            "sip:@pbx",
            "a@",
            "a b@pbx",
            "a@p b",
            "a\u{7}@pbx",
            "\u{fc}@pbx",
            "<>",
        ] {
            assert_eq!(
                text.parse::<AgentAddress>(),
                Err(AgentAddressError::Shape),
                "{text:?}"
            );
        }
        for text in [
            "4242424242424242",
            "424242424242",
            "+4242424242424242",
            "sip:4242424242424242@a",
        ] {
            let error = text.parse::<AgentAddress>().unwrap_err();
            assert!(matches!(error, AgentAddressError::Digits(_)));
            assert!(!error.to_string().contains("4242"), "{error}");
        }
        assert!("+424242424242424".parse::<AgentAddress>().is_ok());
        assert!("a".repeat(256).parse::<AgentAddress>().is_err());
        for text in ["", "  ", "a\nb"] {
            assert!(text.parse::<CallReference>().is_err());
        }
        let reference = |text: &str| text.parse::<CallReference>().unwrap();
        assert!(reference(" 00001001021373378473 ") == reference("00001001021373378473"));
        assert!(reference("a") != reference("A"));
        assert!(!format!("{:?}", reference("4242")).contains("4242"));
    }
}
