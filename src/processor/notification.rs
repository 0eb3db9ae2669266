//! Notifications that processors send by themselves: who may read them, and by which keys they are known.
//!
//! They come from anybody who finds the address, so nothing of them reaches the card plane: an adapter has a
//! reader of its own, which has keys and no connection.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret;
use crate::proto::payment::Notification;

/// Reads what one processor sends.
pub trait ReadNotifications: Send + Sync {
    /// What a request tells, in its order; `None` in the place of what is about something else. Nothing of it
    /// is known to be true but what the processor's signature covers.
    ///
    /// # Errors
    /// [`Forged`]: it is not the processor who sent it, or not now.
    fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Option<Notification>>, Forged>;
}

/// Nothing shows that the processor has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// There is no signature, or none that can be read.
    #[error("a notification without a signature")]
    Unsigned,
    /// By another key, or of something else.
    #[error("a notification whose signature is not the processor's")]
    OtherSignature,
    /// It was signed at another time, so it may have been overheard.
    #[error("a notification that was signed at another time")]
    Stale,
}

/// The text is no key of this processor's; it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct NotAKey(pub(super) &'static str);

/// One key, or two while one is being replaced.
pub(super) struct Keys(Vec<Zeroizing<Vec<u8>>>);

impl Keys {
    /// Reads each with `bytes`, which takes what the processor shows.
    pub(super) fn new(
        secrets: &[Secret],
        bytes: impl Fn(&str) -> Option<Vec<u8>>,
        expected: &'static str,
    ) -> Result<Self, NotAKey> {
        let keys: Option<Vec<_>> = secrets
            .iter()
            .map(|secret| bytes(secret.expose()).map(Zeroizing::new))
            .collect();
        keys.filter(|keys| !keys.is_empty())
            .map(Self)
            .ok_or(NotAKey(expected))
    }

    /// Whether `signature` is the HMAC-SHA256 of the parts by one of the keys, found out in constant time.
    pub(super) fn signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.0.iter().any(|key| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
            for part in parts {
                mac.update(part);
            }
            mac.verify_slice(signature).is_ok()
        })
    }
}

/// The bytes of hexadecimal digits, two each.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// A header's value as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Our reference as a processor repeats it, where it may be one of ours.
pub(super) fn our_reference(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let ours = (text.starts_with("att_") || text.starts_with("op_")) && text.len() <= 128;
    (ours && text.bytes().all(plain)).then(|| text.to_owned())
}

/// An amount as the journal counts it. What a processor cannot have been asked for becomes 0, which nobody
/// ever asks for.
pub(super) fn told_amount(minor: Option<u64>, currency: &str) -> Option<(u64, String)> {
    Some((minor.unwrap_or(0), currency.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3, test case 2.
    #[test]
    fn a_signature_is_by_either_key_and_of_these_bytes() {
        let keys = |texts: &[&str]| {
            let secrets: Vec<_> = texts.iter().map(|t| Secret::new(t).unwrap()).collect();
            Keys::new(&secrets, |text| Some(text.as_bytes().to_vec()), "a key")
        };
        let right = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let right = from_hex(right).unwrap();
        let said: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        for known in [&["Jefe"][..], &["other", "Jefe"], &["Jefe", "other"]] {
            assert!(keys(known).ok().unwrap().signed(&said, &right), "{known:?}");
        }
        let other = keys(&["other"]).ok().unwrap();
        assert!(!other.signed(&said, &right));
        let jefe = keys(&["Jefe"]).ok().unwrap();
        assert!(!jefe.signed(&said[..1], &right));
        assert!(!jefe.signed(&said, &right[..31]) && !jefe.signed(&said, &[]));
        assert!(keys(&[]).is_err());
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(from_hex("00fFa9"), Some(vec![0, 255, 169]));
        for wrong in ["0", "0g", "\u{e9}", "+1", " 1"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_may_be_ours_is_taken_for_our_reference() {
        for ours in ["att_01JD0000000000000000000000", "op_acme_n-1_01JD"] {
            assert_eq!(our_reference(ours).as_deref(), Some(ours));
        }
        for other in ["", "INV-1", "att 1", "att_1:2", "pay_1", "op_\u{e9}"] {
            assert_eq!(our_reference(other), None, "{other}");
        }
    }
}
