//! Values that TOML has no type for.

use std::{fmt, time::Duration};

use axum::http::Uri;
use serde::Deserialize;

/// A length of time, written as in `"20s"`, `"250ms"` or `"2m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "found {text:?}; expected a length of time like \"20s\", \"250ms\" or \"2m\""
                )
            })
    }
}

/// An address for browsers, as in `"https://pay.example.com"`: scheme, host and, if need be, a port.
/// In lower case and without a slash at its end, as browsers write an origin (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(String);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = text.strip_suffix('/').unwrap_or(&text).to_ascii_lowercase();
        let uri = url.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
        // Elsewhere browsers keep from the panel what it needs.
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let scheme = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://").filter(|_| here));
        match scheme {
            Some(authority) if !host.is_empty() && !authority.contains(['/', '?', '#', '@']) => {
                Ok(Self(url))
            }
            _ => Err(format!(
                "found {text:?}; expected https:// and a host, without a path, such as \"https://pay.example.com\" (http:// for this machine only)"
            )),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        assert_eq!(
            Span::try_from("20s".to_owned()),
            Ok(Span(Duration::from_secs(20)))
        );
        for wrong in ["20", "-5s", "soon", ""] {
            let error = Span::try_from(wrong.to_owned()).unwrap_err();
            assert!(error.contains("20s") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn an_address_for_browsers_is_an_origin() {
        for (written, read) in [
            ("https://pay.example.com", "https://pay.example.com"),
            (
                "https://Pay.Example.com:8443/",
                "https://pay.example.com:8443",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(Url::try_from(written.to_owned()).unwrap().to_string(), read);
        }
        for wrong in [
            "pay.example.com",
            "http://pay.example.com",
            "https://",
            "https://pay.example.com/panel",
            "https://me@pay.example.com",
            "https://pay.example.com?x",
            "ftp://pay.example.com",
            "",
        ] {
            let error = Url::try_from(wrong.to_owned()).unwrap_err();
            assert!(error.contains("expected https://"), "{wrong}: {error}");
        }
    }
}
