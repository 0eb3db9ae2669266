//! Where a processor's API is.

use std::{fmt, str::FromStr};

use axum::http::Uri;
use serde::Deserialize;

const HTTPS: u16 = 443;

/// An address as in `https://api.example.com/v1`: a host and, if need be, a port and a path. Nothing
/// but https: what is sent there is a card.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Site {
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

impl Site {
    /// An address on this machine.
    pub(super) fn loopback(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            path: String::new(),
        }
    }

    /// As a certificate names it; an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Host` (RFC 9110 §7.2).
    pub(super) fn authority(&self) -> String {
        match self.port {
            HTTPS => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// What every path begins with.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Site {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let site = || {
            let uri: Uri = text.parse().ok()?;
            let plain = uri.scheme_str() == Some("https")
                && uri.query().is_none()
                && !text.contains(['@', '#']);
            let host = uri.host().filter(|host| plain && !host.is_empty())?;
            Some(Self {
                host: host.to_ascii_lowercase(),
                port: uri.port_u16().unwrap_or(HTTPS),
                path: uri.path().trim_end_matches('/').to_owned(),
            })
        };
        site().ok_or_else(|| {
            format!(
                "found {text:?}; expected https:// with a host and, if need be, a port and a path, such as \"https://pay.example.com/charge\""
            )
        })
    }
}

impl TryFrom<String> for Site {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_with_a_host() {
        for (text, host, port, path) in [
            ("https://api.example.com", "api.example.com", 443, ""),
            (
                "https://API.example.com/v71/",
                "api.example.com",
                443,
                "/v71",
            ),
            ("https://[::1]:8443/a/b", "::1", 8443, "/a/b"),
        ] {
            let site: Site = text.parse().unwrap();
            assert_eq!((site.host(), site.port(), site.path()), (host, port, path));
        }
        for wrong in [
            "http://api.example.com",
            "https://",
            "https://u:p@api.example.com",
            "https://api.example.com/?key=1",
            "api.example.com",
        ] {
            let error = wrong.parse::<Site>().unwrap_err();
            assert!(error.contains("expected https://"), "{wrong}: {error}");
        }
    }
}
