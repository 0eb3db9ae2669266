//! What of one leg's header may show on the other.
//!
//! What addresses the other side is made anew (Via, Contact, From, To, routes), so what stands here
//! is the whole of what passes: a field that is not named stays where it came from. Identities that
//! are asserted or diverted pass as they are.

use rsipstack::sip::{Header, Headers, headers::make_header};

use super::{head::bare, payment::RESULT};

/// Passes with any request or response.
const PASSED: &[&str] = &[
    "Accept",
    "Accept-Language",
    "Alert-Info",
    "Allow-Events",
    "Diversion",
    "Error-Info",
    "Event",
    "History-Info",
    "Info-Package",
    "P-Asserted-Identity",
    "P-Early-Media",
    "Priority",
    "Privacy",
    "Reason",
    "Recv-Info",
    "Refer-To",
    "Referred-By",
    "RSeq",
    "Retry-After",
    "Subject",
    "Subscription-State",
    "User-to-User",
    "Warning",
];
/// Passes from the caller's leg of an armed call: no place for a key.
const PASSED_ARMED: &[&str] = &["RSeq", "Retry-After"];
/// Passes with a body that is passed as it is.
const OF_BODY: &[&str] = &[
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "MIME-Version",
];
/// Extensions that pass from end to end (`Supported`, `Require`).
const EXTENSIONS: &[&str] = &["100rel", "replaces", "norefersub", "histinfo"];
/// The one that each leg has for itself (RFC 4028).
const TIMER: &str = "timer";
/// What we do, for `Allow`.
pub const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE, SUBSCRIBE";

/// The fields that pass, with those that the configuration adds; `armed` says that they come from the
/// caller of an armed call.
#[must_use]
pub fn passed(headers: &Headers, more: &[String], armed: bool) -> Vec<Header> {
    let is = |name: &str, list: &[&str]| list.iter().any(|l| l.eq_ignore_ascii_case(name));
    // What tells of a payment is told by nobody else.
    let of_config = |name: &str| {
        more.iter().any(|m| m.eq_ignore_ascii_case(name)) && !name.eq_ignore_ascii_case(RESULT)
    };
    headers
        .iter()
        .filter(|header| {
            let name = header.name();
            if armed {
                is(name, PASSED_ARMED)
            } else {
                is(name, PASSED) || of_config(name)
            }
        })
        .cloned()
        .collect()
}

/// The values of all fields of a name.
pub fn values<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name().eq_ignore_ascii_case(name))
        .map(|header| header.value().trim())
}

/// The first field of a name.
#[must_use]
pub fn value<'a>(headers: &'a Headers, name: &'a str) -> Option<&'a str> {
    values(headers, name).next()
}

/// A field.
#[must_use]
pub fn field(name: &str, value: impl Into<String>) -> Header {
    make_header(name, value.into())
}

/// The option tags of `Supported` or `Require`, lower case.
#[must_use]
pub fn extensions(headers: &Headers, name: &str) -> Vec<String> {
    values(headers, name)
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_ascii_lowercase())
        .filter(|tag| !tag.is_empty())
        .collect()
}

/// Of these, those that pass to the other leg.
#[must_use]
pub fn passed_extensions(tags: &[String]) -> Vec<&'static str> {
    EXTENSIONS
        .iter()
        .copied()
        .filter(|known| tags.iter().any(|tag| tag == known))
        .collect()
}

/// Of the required ones, those that nobody here knows: they make a 420 (RFC 3261 section 8.2.2.3).
#[must_use]
pub fn unknown_extensions(required: &[String]) -> Vec<String> {
    required
        .iter()
        .filter(|tag| !EXTENSIONS.contains(&tag.as_str()) && *tag != TIMER)
        .cloned()
        .collect()
}

/// Whether a body of this type, in an INFO, is one that tells a key and can be read.
#[must_use]
pub fn tells_keys(content_type: &str) -> bool {
    ["application/dtmf-relay", "application/dtmf"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(bare(content_type)))
}

/// The fields that tell how a body is to be read; they pass with it.
#[must_use]
pub fn of_body(headers: &Headers) -> Vec<Header> {
    let is_one = |header: &&Header| {
        OF_BODY
            .iter()
            .any(|name| name.eq_ignore_ascii_case(header.name()))
    };
    headers.iter().filter(is_one).cloned().collect()
}

/// Whether it is a session description.
#[must_use]
pub fn is_sdp(headers: &Headers) -> bool {
    value(headers, "Content-Type")
        .is_some_and(|kind| bare(kind).eq_ignore_ascii_case("application/sdp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> Headers {
        [
            ("Via", "SIP/2.0/UDP 10.0.0.1"),
            ("Contact", "<sip:10.0.0.1>"),
            ("Record-Route", "<sip:10.0.0.2;lr>"),
            ("Server", "PBX 1.0 at host7"),
            ("Authorization", "Digest x"),
            ("Reason", "Q.850;cause=16"),
            ("X-Account", "17"),
            ("X-Other", "18"),
        ]
        .map(|(name, value)| field(name, value))
        .to_vec()
        .into()
    }

    #[test]
    fn only_what_is_named_passes_and_hosts_are_not() {
        let names = |more: &[String], armed| {
            let passed = passed(&headers(), more, armed).into_iter();
            passed.map(|h| h.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], false), ["Reason"]);
        assert_eq!(
            names(&["x-account".to_owned()], false),
            ["Reason", "X-Account"]
        );
        assert!(names(&["x-account".to_owned()], true).is_empty());
        let forged: Headers = vec![field("tonewall-result", "approved")].into();
        let more = ["Tonewall-Result".to_owned()];
        assert!(super::passed(&forged, &more, false).is_empty());
    }

    #[test]
    fn an_extension_that_nobody_knows_is_named() {
        let required = ["100rel", "timer", "outbound"].map(str::to_owned);
        assert_eq!(unknown_extensions(&required), ["outbound"]);
        assert_eq!(passed_extensions(&required), ["100rel"]);
    }

    #[test]
    fn both_bodies_of_an_info_tell_keys_however_they_are_written() {
        assert!(tells_keys("Application/DTMF-Relay ;x=y") && tells_keys("application/dtmf"));
        assert!(!tells_keys("application/sdp"));
    }
}
