//! A processor's API as an adapter uses it: one way for cards, another for all else.

use std::{fmt, fs, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use ulid::Ulid;
use zeroize::Zeroizing;

use super::{
    Advice, Charge, Deadlines, EndpointError, Operation, Outcome, Site, Trust,
    card::{CardView, Composed, Piece},
    client::{Client, Fields, Heading},
    exchange::{Endpoint, ExchangeError},
    response::Response,
    words,
};
use crate::audit_log::Recorded;

/// Longer than a request can be on its way.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(5 * 60);

/// Whether money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// None does: the processor's test environment, and test cards only.
    Test,
    /// It does.
    Live,
}

/// How a processor is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where its API is.
    pub site: Site,
    /// By which certificates it is known.
    pub trust: Trust,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// Whether money moves.
    pub mode: Mode,
}

/// A key of the merchant's. It cannot be shown:
///
/// ```compile_fail
/// fn show(key: &tonewall::processor::Secret) -> String {
///     format!("{key:?}")
/// }
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Reads the first and only line of a file.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it, never what is in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        Self::new(text.trim()).ok_or_else(|| {
            format!(
                "{}: found {}; expected the processor's key alone, on one line",
                path.display(),
                if text.trim().is_empty() {
                    "nothing"
                } else {
                    "spaces or characters that no key has"
                }
            )
        })
    }

    /// `None` where it could not stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// A key and what stands before it in a header.
    pub(super) fn composed(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The value of `Authorization` for HTTP Basic (RFC 7617), with this as the password.
    pub(super) fn basic(&self, name: &str) -> Self {
        let pair = Zeroizing::new(format!("{name}:{}", self.expose()));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
        Self::composed(format!("Basic {}", *encoded))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// Both ways to one site.
pub(super) struct Api {
    endpoint: Endpoint,
    client: Client,
}

impl Api {
    pub(super) fn new(connection: &Connection) -> Result<Self, EndpointError> {
        let (site, deadlines) = (&connection.site, connection.deadlines);
        let tls = connection.trust.client()?;
        Ok(Self {
            client: Client::new(site, tls.clone(), deadlines)?,
            endpoint: Endpoint::new(site.clone(), tls, deadlines)?,
        })
    }

    pub(super) async fn warm(&self) {
        self.endpoint.warm().await;
    }

    /// Sends a card. `body` is text with holes.
    pub(super) async fn post_card(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        path: &str,
        heading: Heading<'_>,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let endpoint = &self.endpoint;
        endpoint
            .post_card(recorded, card, path, heading, body)
            .await
    }

    /// Sends what holds no card.
    pub(super) async fn post(
        &self,
        path: &str,
        heading: Heading<'_>,
        body: String,
    ) -> Result<Response, ExchangeError> {
        self.client.post(path, heading, body).await
    }

    /// Sends a card, with fields that are made of the body that holds it.
    pub(super) async fn post_signed_card(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        path: &str,
        sign: impl FnOnce(&Composed<'_>) -> Fields,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let endpoint = &self.endpoint;
        endpoint
            .post_signed_card(recorded, card, path, sign, body)
            .await
    }

    /// Sends what holds a key and no card, in parts, by the way that wipes what it sent.
    pub(super) async fn post_secret(
        &self,
        path: &str,
        heading: Heading<'_>,
        body: &[&str],
    ) -> Result<Response, ExchangeError> {
        self.endpoint.post_secret(path, heading, body).await
    }

    /// Asks.
    pub(super) async fn get(
        &self,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Response, ExchangeError> {
        self.client.get(path, fields).await
    }
}

/// Our reference of an attempt where a processor takes no more than 40 characters: the part of its id
/// that is unique.
pub(super) fn short_reference(charge: &Charge) -> String {
    format!("att_{}", serial(&charge.attempt.to_string()))
}

/// The same of an operation.
pub(super) fn short_operation_reference(operation: &Operation) -> String {
    format!("op_{}", serial(&operation.id.to_string()))
}

/// How long ago the attempt was meant; nothing where the clock has gone back since.
pub(super) fn age(charge: &Charge) -> Duration {
    age_of(&charge.attempt.to_string())
}

/// The same of an operation.
pub(super) fn operation_age(operation: &Operation) -> Duration {
    age_of(&operation.id.to_string())
}

/// The part of an id that is unique: its ULID, 26 characters.
pub(super) fn serial(id: &str) -> &str {
    id.rsplit('_').next().unwrap_or(id)
}

fn age_of(id: &str) -> Duration {
    let meant = Ulid::from_string(serial(id)).map_or(0, |serial| serial.timestamp_ms());
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    Duration::from_millis(now.saturating_sub(meant))
}

/// What is said where the processor will not do what was asked: trying the same again leads nowhere.
pub(super) fn will_not(code: &str) -> Outcome {
    Outcome::Declined {
        advice: Advice::DoNotRetry,
        code: words::code_or_withheld(code),
    }
}

/// What a processor's books show of an operation.
pub(super) enum OnTheBooks {
    /// That it ended so, or is under way.
    As(Outcome),
    /// Nothing.
    Missing,
    /// They could not be read.
    Unread(String),
}

/// What became of an operation: `again` is what was answered to the same request where it was sent once more
/// just now, and was neither done nor taken by that; `books` were read after it. That they show nothing counts
/// `lag` after the operation was meant.
pub(super) fn operation_outcome(
    operation: &Operation,
    again: Option<Outcome>,
    books: OnTheBooks,
    lag: Duration,
) -> Outcome {
    match (books, again) {
        (OnTheBooks::As(outcome), _) => outcome,
        (OnTheBooks::Unread(why), _) => operation_not_looked_up(why),
        (OnTheBooks::Missing, Some(declined @ Outcome::Declined { .. })) => declined,
        (OnTheBooks::Missing, Some(unknown @ Outcome::Unknown { .. })) => unknown,
        (OnTheBooks::Missing, _) if operation_age(operation) < lag => {
            operation_not_looked_up("it is not on the books, and may be on its way")
        }
        (OnTheBooks::Missing, _) => Outcome::Failed {
            reason: "the processor has no such operation: nothing was done".to_owned(),
            retryable: true,
        },
    }
}

/// An amount in the unit that a processor counts in, where its currency has `decimals` of them and
/// ISO 4217 has `standard`; `None` where it cannot be written so.
pub(super) fn rescaled(minor: u64, standard: u8, decimals: u8) -> Option<u64> {
    let scale = |exponent: u8| 10_u64.checked_pow(u32::from(exponent));
    if decimals >= standard {
        minor.checked_mul(scale(decimals - standard)?)
    } else {
        let scale = scale(standard - decimals)?;
        minor.is_multiple_of(scale).then_some(minor / scale)
    }
}

/// Minor units of an amount that is written in major ones, as a text or a number of JSON; `None` for
/// anything else, and for what does not come out even.
pub(super) fn minor(value: &Value, decimals: u8) -> Option<u64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (major, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (kept, rest) = fraction
        .split_at_checked(usize::from(decimals))
        .unwrap_or((fraction, ""));
    if major.is_empty() || rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let digits = format!("{major}{kept:0<width$}", width = usize::from(decimals));
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// What is said where nothing was done.
pub(super) fn refused(why: &str, status: u16, retryable: bool) -> Outcome {
    Outcome::Failed {
        reason: format!("the processor did nothing: {why} (HTTP {status})"),
        retryable,
    }
}

/// What is said where an answer does not tell what was done.
pub(super) fn unclear(what: &str, status: u16) -> Outcome {
    Outcome::Unknown {
        reason: format!("the processor's answer (HTTP {status}) {what}"),
    }
}

/// What is said where a charge could not be looked up.
pub(super) fn not_looked_up(why: impl fmt::Display) -> Outcome {
    Outcome::Unknown {
        reason: format!("the charge could not be looked up: {why}"),
    }
}

/// The same of an operation.
pub(super) fn operation_not_looked_up(why: impl fmt::Display) -> Outcome {
    Outcome::Unknown {
        reason: format!("the operation could not be looked up: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::testing::charge;

    #[test]
    fn a_key_is_one_line_and_no_error_repeats_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "sk_test_abc\n").unwrap();
        let secret = Secret::read(&file).unwrap();
        assert_eq!(secret.expose(), "sk_test_abc");
        for (text, found) in [
            ("\n", "nothing"),
            ("a\nb", "spaces"),
            ("schl\u{fc}ssel", "characters"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Secret::read(&file).err().unwrap();
            assert!(error.contains(found) && error.contains("key"), "{error}");
            assert!(!error.contains("ssel"), "{error}");
        }
        assert!(
            Secret::read(&folder.path().join("none"))
                .err()
                .unwrap()
                .contains("none")
        );
    }

    #[test]
    fn a_short_reference_is_unique_as_the_attempt_is() {
        let (one, two) = (short_reference(&charge(1)), short_reference(&charge(2)));
        assert_ne!(one, two);
        assert_eq!(one.len(), 30);
    }

    #[test]
    fn amounts_are_rescaled_exactly_or_not_at_all() {
        assert_eq!(rescaled(1250, 2, 2), Some(1250));
        assert_eq!(rescaled(5, 0, 2), Some(500));
        assert_eq!(rescaled(1200, 2, 0), Some(12));
        assert_eq!(rescaled(1250, 2, 0), None);
        assert_eq!(rescaled(u64::MAX, 0, 2), None);
    }

    #[test]
    fn amounts_in_major_units_are_read_exactly_or_not_at_all() {
        for (value, decimals, read) in [
            (serde_json::json!("12.50"), 2, Some(1250)),
            (serde_json::json!("0.05"), 2, Some(5)),
            (serde_json::json!("500"), 0, Some(500)),
            (serde_json::json!("1.234"), 3, Some(1234)),
            (serde_json::json!(12.5), 2, Some(1250)),
            (serde_json::json!(12), 2, Some(1200)),
            (serde_json::json!("12.500"), 2, Some(1250)),
            (serde_json::json!("500.00"), 0, Some(500)),
            (serde_json::json!("12.501"), 2, None),
            (serde_json::json!("-1.00"), 2, None),
            (serde_json::json!("1e3"), 2, None),
            (serde_json::json!(1e30), 2, None),
            (serde_json::json!(".5"), 2, None),
            (serde_json::json!(""), 2, None),
            (serde_json::json!(null), 2, None),
        ] {
            assert_eq!(minor(&value, decimals), read, "{value} {decimals}");
        }
    }

    #[test]
    fn a_key_stands_behind_its_name_in_http_basic() {
        let key = Secret::new("93b7").unwrap();
        assert_eq!(key.basic("v4nd").expose(), "Basic djRuZDo5M2I3");
    }
}
