//! What the sandbox remembers: outcomes and HMACs, no card.

use std::{collections::HashMap, fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

use super::operations::Operation;

/// The key under which `GET /v1/received` shows what was sent. For tests.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestKey(Vec<u8>);

/// The text is no digest key.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("found {0} characters; expected 32 to 128 hexadecimal digits, an even number")]
pub struct NotADigestKey(usize);

/// One charge as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Our reference: the attempt.
    pub reference: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// HMAC-SHA256 over the ASCII digits of the card number, in hexadecimal.
    pub pan_hmac: String,
    /// The same over MMYY.
    pub expiry_hmac: String,
    /// The same over the security code; `None` where none was sent.
    pub code_hmac: Option<String>,
}

/// A charge that was done, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    pub(super) reference: String,
    pub(super) status: &'static str,
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Minor units.
    #[serde(skip)]
    pub(super) amount: u64,
    /// Whether the money is taken at once.
    #[serde(skip)]
    pub(super) capture: bool,
    /// Of the whole request, to tell a repetition from another charge.
    #[serde(skip)]
    pub(super) fingerprint: String,
}

/// All that the sandbox remembers.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) charges: HashMap<String, Entry>,
    pub(super) received: Vec<Received>,
    pub(super) operations: HashMap<String, Operation>,
}

impl DigestKey {
    /// HMAC-SHA256 over `parts`, each with its length before it, in hexadecimal.
    pub(super) fn fingerprint(&self, parts: &[&str]) -> String {
        let mut mac = self.mac();
        for part in parts {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes())
    }

    /// HMAC-SHA256 over ASCII digits, in hexadecimal.
    #[must_use]
    pub fn digest(&self, digits: &str) -> String {
        let mut mac = self.mac();
        mac.update(digits.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    pub(super) fn random() -> Self {
        Self(rand::random::<[u8; 32]>().to_vec())
    }

    /// The key as it is given on a command line.
    pub(super) fn to_hex(&self) -> String {
        hex(&self.0)
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey")
    }
}

impl FromStr for DigestKey {
    type Err = NotADigestKey;

    fn from_str(text: &str) -> Result<Self, NotADigestKey> {
        let wrong = || NotADigestKey(text.chars().count());
        if !text.is_ascii() || !(32..=128).contains(&text.len()) || text.len() % 2 == 1 {
            return Err(wrong());
        }
        let bytes = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_key_reads_back_as_it_was_given() {
        let text = "00112233445566778899aabbccddeeff";
        let key: DigestKey = text.parse().unwrap();
        assert_eq!(key.to_hex(), text);
    }

    #[test]
    fn what_is_no_digest_key_is_refused() {
        for bad in ["", "00", &"0".repeat(33), &"g".repeat(32), &"é".repeat(16)] {
            assert!(bad.parse::<DigestKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_digest_is_hmac_sha256() {
        // RFC 4231 §4.7, test case 6.
        let key = DigestKey([0xaa; 131].to_vec());
        assert_eq!(
            key.digest("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
