//! One entry as it stands in a log, and its bytes.
//!
//! An entry is one line: its length in bytes (8 hexadecimal digits), a space, its hash (64), a
//! space, canonical JSON (RFC 8785), a line feed. The JSON names the hash of the entry before it.
//! The hash guards the line as a CRC would and links the log as well, so there is no CRC; a line
//! reads in any pager, and `cut -c75-` leaves what `jq` takes.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Record,
    canonical::{NotCanonical, canonical},
};
use crate::proto::id::{Node, Tenant};

/// Longest JSON of an entry, in bytes (what an entry bundle of C2SP tlog-tiles can hold).
pub const LONGEST_ENTRY: usize = 65_535;
/// Length and hash, each with the space after it.
const HEADER: usize = 8 + 1 + 64 + 1;

/// SHA-256 of an entry: over a zero byte and its canonical JSON (the leaf hash of RFC 6962 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryHash([u8; 32]);

/// The text is not a hash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected 64 hexadecimal digits in lower case")]
pub struct NotAHash;

impl EntryHash {
    /// What the first entry of a log names as the hash before it.
    pub const START: Self = Self([0; 32]);

    /// The hash of an entry's canonical JSON.
    #[must_use]
    pub fn of(json: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(json);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (two, byte) in text.chunks_exact_mut(2).zip(self.0) {
            two.copy_from_slice(&[byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]));
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for EntryHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NotAHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// Lower case only: a hash has one spelling, so that a changed bit is never another spelling.
const fn nibble(digit: u8) -> Result<u8, NotAHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotAHash),
    }
}

impl TryFrom<String> for EntryHash {
    type Error = NotAHash;
    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<EntryHash> for String {
    fn from(hash: EntryHash) -> Self {
        hash.to_string()
    }
}

/// A record with all that the log adds (PCI DSS 10.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in its log; the first is 1.
    pub sequence: u64,
    /// The hash of the entry before it; [`EntryHash::START`] in the first.
    pub previous: EntryHash,
    /// When, to the microsecond, in UTC (RFC 3339).
    #[serde(with = "microseconds")]
    pub time: Timestamp,
    /// Whose log; `None` in the node's own.
    pub tenant: Option<Tenant>,
    /// Which gateway wrote it.
    pub node: Node,
    /// Which run of the gateway: new at each start.
    pub boot: String,
    /// Which build of the gateway.
    pub build: String,
    /// SHA-256 of the configuration in force.
    pub configuration: String,
    /// The requirement of PCI DSS that it serves.
    pub requirement: Cow<'static, str>,
    /// Who, what, from where and whether it was done.
    #[serde(flatten)]
    pub record: Record,
}

/// Why a record cannot become an entry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// It holds a number that readers would round.
    #[error(transparent)]
    Number(#[from] NotCanonical),
    /// It is too long.
    #[error("the entry has {0} bytes; expected at most {LONGEST_ENTRY}")]
    TooLong(usize),
    /// It is not JSON at all.
    #[error("the entry has no JSON form: {0}")]
    Json(String),
}

impl Entry {
    /// The line that goes on disk, and the hash that the next entry names.
    pub fn to_line(&self) -> Result<(Vec<u8>, EntryHash), Unfit> {
        let value = serde_json::to_value(self).map_err(|e| Unfit::Json(e.to_string()))?;
        let json = canonical(&value)?;
        if json.len() > LONGEST_ENTRY {
            return Err(Unfit::TooLong(json.len()));
        }
        let hash = EntryHash::of(&json);
        let mut line = format!("{:08x} {hash} ", json.len()).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        Ok((line, hash))
    }
}

/// The parts of one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The hash that the line claims.
    pub(super) hash: EntryHash,
    /// The JSON.
    pub(super) json: &'a [u8],
    /// Bytes of the whole line.
    pub(super) length: usize,
}

/// Why bytes do not begin with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotALine {
    /// They end before the line does.
    Torn,
    /// They do not have its form.
    Garbled,
}

impl<'a> Line<'a> {
    /// Reads the line that `bytes` begin with.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NotALine> {
        let header = bytes.get(..HEADER).ok_or(NotALine::Torn)?;
        let mut length = 0usize;
        for digit in &header[..8] {
            length = length << 4 | usize::from(nibble(*digit).map_err(|_| NotALine::Garbled)?);
        }
        let hash = std::str::from_utf8(&header[9..HEADER - 1]).map_err(|_| NotALine::Garbled)?;
        let hash = hash.parse().map_err(|_| NotALine::Garbled)?;
        if header[8] != b' ' || header[HEADER - 1] != b' ' || length > LONGEST_ENTRY {
            return Err(NotALine::Garbled);
        }
        let json = bytes.get(HEADER..HEADER + length).ok_or(NotALine::Torn)?;
        match bytes.get(HEADER + length) {
            Some(b'\n') => Ok(Self {
                hash,
                json,
                length: HEADER + length + 1,
            }),
            Some(_) => Err(NotALine::Garbled),
            None => Err(NotALine::Torn),
        }
    }
}

/// Times with exactly six decimals: one moment, one spelling.
mod microseconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{time:.6}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
