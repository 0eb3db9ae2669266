//! Making API keys and panel links.
//!
//! A secret is `tw_` and 43 characters of base64url: 256 random bits. What is stored is its
//! SHA-256, and a secret is looked up by that hash. So there is nothing to compare in constant
//! time: how long the look-up takes depends on the hash alone, and whoever could steer the hash
//! towards a stored one could invert SHA-256. A slow password hash would add nothing either, as
//! 256 random bits cannot be guessed.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use ulid::Ulid;
use zeroize::{Zeroize, Zeroizing};

use super::{KeyKind, KeyRow, Role};
use crate::proto::{
    id::{KeyId, Node, Tenant},
    party::AgentAddress,
};

/// What every secret begins with, so that scanners of source code and logs can find one.
const PREFIX: &str = "tw_";
/// `PREFIX` and 32 bytes in base64url without padding.
const LENGTH: usize = PREFIX.len() + 43;
/// Longest label, in characters.
const LONGEST_LABEL: usize = 80;

/// The secret of a key: shown once when it is made, then only as its hash. Wiped when dropped.
pub struct KeySecret(Zeroizing<String>);

/// The text is not a secret of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected tw_ and 43 characters of A-Z, a-z, 0-9, '-' and '_'")]
pub struct NotASecret;

impl KeySecret {
    /// Lends the text, to be printed once or sent once.
    pub fn expose<T>(&self, to: impl FnOnce(&str) -> T) -> T {
        to(&self.0)
    }

    /// What is stored and looked up.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    fn random() -> Self {
        let mut bytes: [u8; 32] = rand::random();
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        bytes.zeroize();
        Self(text)
    }
}

impl FromStr for KeySecret {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let body = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.len() != LENGTH || !body.bytes().all(allowed) {
            return Err(NotASecret);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewKey {
    pub tenant: Tenant,
    /// The node that makes it.
    pub node: Node,
    pub role: Role,
    pub label: String,
    /// The agent whose session it becomes.
    pub agent: Option<AgentAddress>,
    pub kind: KeyKind,
    /// How long it is good for; `None` until it is revoked.
    pub ttl: Option<Duration>,
}

/// A key that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Its label does not read well in a list.
    #[error(
        "the label has {0} characters or holds a control character; expected 1 to {LONGEST_LABEL} that can be printed"
    )]
    Label(usize),
    /// It would end after the end of time.
    #[error("the key would expire beyond the year 9999; give it less time")]
    Expiry,
    /// A link or a session that never ends.
    #[error("a {0} has to expire; give it a time to live")]
    Endless(KeyKind),
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "API key",
            Self::PanelLink => "panel link",
            Self::PanelSession => "panel session",
        })
    }
}

/// Makes a key: the secret, to be shown once, and the row, to be put into the journal.
pub fn create(new: NewKey, at: Timestamp) -> Result<(KeySecret, KeyRow), KeyError> {
    let characters = new.label.chars().count();
    if !(1..=LONGEST_LABEL).contains(&characters) || new.label.chars().any(char::is_control) {
        return Err(KeyError::Label(characters));
    }
    let expires = match (new.ttl, new.kind) {
        (Some(ttl), _) => Some(at.checked_add(ttl).map_err(|_| KeyError::Expiry)?),
        (None, KeyKind::Api) => None,
        (None, kind @ (KeyKind::PanelLink | KeyKind::PanelSession)) => {
            return Err(KeyError::Endless(kind));
        }
    };
    let secret = KeySecret::random();
    let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let serial = Ulid::from_parts(milliseconds, rand::random());
    let row = KeyRow {
        id: KeyId::new(new.tenant, new.node, serial),
        kind: new.kind,
        role: new.role,
        label: new.label,
        agent: new.agent,
        secret_hash: secret.hash(),
        created: at,
        expires,
        revoked: None,
    };
    Ok((secret, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kind: KeyKind, ttl: Option<Duration>) -> NewKey {
        NewKey {
            tenant: "acme".parse().unwrap(),
            node: "n1".parse().unwrap(),
            role: Role::Agent,
            label: "Ana".to_owned(),
            agent: None,
            kind,
            ttl,
        }
    }

    #[test]
    fn a_secret_reads_back_and_hashes_to_its_row() {
        let (secret, row) = create(new(KeyKind::Api, None), Timestamp::UNIX_EPOCH).unwrap();
        let text = secret.expose(str::to_owned);
        assert_eq!(text.len(), 46);
        let read: KeySecret = text.parse().unwrap_or_else(|_| panic!("{}", text.len()));
        assert_eq!(read.hash(), row.secret_hash);
        assert_eq!(row.expires, None);
    }

    #[test]
    fn two_secrets_differ() {
        let make = || KeySecret::random().hash();
        assert_ne!(make(), make());
    }

    #[test]
    fn what_is_no_secret_is_refused_before_it_is_hashed() {
        for bad in [
            "",
            "tw_",
            "tw_short",
            &"x".repeat(46),
            &format!("tw_{}", " ".repeat(43)),
        ] {
            assert!(bad.parse::<KeySecret>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_link_has_to_expire_and_a_label_to_be_printable() {
        let at = Timestamp::UNIX_EPOCH;
        let endless = create(new(KeyKind::PanelLink, None), at).map(|(_, row)| row);
        assert_eq!(endless, Err(KeyError::Endless(KeyKind::PanelLink)));
        let mut labelled = new(KeyKind::Api, Some(Duration::from_secs(60)));
        assert_eq!(
            create(labelled.clone(), at).unwrap().1.expires,
            Some(at + Duration::from_secs(60))
        );
        labelled.label = "a\u{1b}[2J".to_owned();
        assert!(create(labelled, at).is_err());
    }
}
