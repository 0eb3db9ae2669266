//! How a receiver knows that a message is ours: an HMAC with a secret that both have.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// What a secret's text begins with (Standard Webhooks).
const PREFIX: &str = "whsec_";
/// Bytes that a secret may have (Standard Webhooks: 24 to 64).
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret that signs, wiped when it is dropped. It shows itself nowhere.
///
/// ```compile_fail
/// fn show(secret: &tonewall::proto::callback::SigningSecret) -> String {
///     format!("{secret:?}")
/// }
/// ```
pub struct SigningSecret(Zeroizing<Vec<u8>>);

/// The text is no secret; it is not repeated.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "expected whsec_ and 24 to 64 random bytes in base64, on one line (`echo \"whsec_$(openssl rand -base64 32)\"` makes one)"
)]
pub struct NotASecret;

impl SigningSecret {
    /// Reads `whsec_` and base64, as Standard Webhooks writes secrets.
    ///
    /// # Errors
    /// [`NotASecret`] without the prefix, in other characters, or with fewer than 24 bytes or more
    /// than 64.
    pub fn parse(text: &str) -> Result<Self, NotASecret> {
        let coded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(coded).map_err(|_| NotASecret)?);
        if !BYTES.contains(&bytes.len()) {
            return Err(NotASecret);
        }
        Ok(Self(bytes))
    }

    /// `v1,` and the HMAC-SHA256, in base64, of id, timestamp and body with a full stop between two.
    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature`: one signature a secret, so that while a secret is being replaced a
/// receiver that has either believes it. `timestamp` is when this try is made, in seconds since 1970,
/// as `webhook-timestamp` says it; receivers refuse what is minutes old.
#[must_use]
pub fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    id: &str,
    timestamp: i64,
    body: &str,
) -> String {
    let signed: Vec<String> = secrets
        .into_iter()
        .map(|secret| secret.sign(id, timestamp, body))
        .collect();
    signed.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks test themselves by.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signed(secrets: &[SigningSecret]) -> String {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        signatures(secrets, id, 1_614_265_330, "{\"test\": 2432232314}")
    }

    #[test]
    fn the_known_example_is_signed_as_others_sign_it() {
        let secret = SigningSecret::parse(SECRET).ok().unwrap();
        assert_eq!(signed(&[secret]), SIGNED);
    }

    #[test]
    fn while_a_secret_is_being_replaced_both_sign() {
        let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let secrets = [new, SECRET].map(|text| SigningSecret::parse(text).ok().unwrap());
        let both = signed(&secrets);
        let (by_new, by_old) = both.split_once(' ').unwrap();
        assert_eq!(by_old, SIGNED);
        assert!(by_new.starts_with("v1,") && by_new != SIGNED, "{both}");
    }

    #[test]
    fn a_secret_is_long_enough_and_written_as_libraries_read_it() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for good in [24, 32, 64] {
            assert!(SigningSecret::parse(&of(good)).is_ok(), "{good}");
        }
        for bad in [
            of(23),
            of(65),
            String::new(),
            "whsec_".to_owned(),
            SECRET.trim_start_matches("whsec_").to_owned(),
            SECRET.replace('9', " "),
            format!("{SECRET}!"),
            SECRET.replace("whsec_", "WHSEC_"),
        ] {
            let error = SigningSecret::parse(&bad).err().unwrap().to_string();
            assert!(error.contains("whsec_") && !error.contains("MfKQ"), "{bad}");
        }
    }
}
