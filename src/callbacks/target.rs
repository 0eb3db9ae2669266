//! Where an endpoint is.

use std::{fmt, net::IpAddr};

use reqwest::Url;
use serde::Deserialize;

/// Longest address, in bytes.
const LONGEST: usize = 1_024;

/// An address that messages are sent to, as in `https://crm.example.com/hooks/tonewall`. Shown without
/// its query, which may hold a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Target(Url);

impl Target {
    /// Whether what is sent there can be read on its way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// The address, where it is named by one and needs no look-up. The parser has written every way to
    /// spell an IPv4 address (`0x7f.1`, `2130706433`) as the one with three full stops by now.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        let host = self.0.host_str()?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        bare.unwrap_or(host).parse().ok()
    }

    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.0.query().is_some() { "?..." } else { "" };
        write!(
            f,
            "{}{}{query}",
            self.0.origin().ascii_serialization(),
            self.0.path()
        )
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    /// Nothing of what was found is repeated: a user name, a password or a token may stand in it.
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |found: &str| {
            Err(format!(
                "found {found}; expected https:// (or http://, with allow_http) with a host and, if need be, a port, a path and a query, such as \"https://crm.example.com/hooks\""
            ))
        };
        if text.len() > LONGEST {
            return wrong("more than 1,024 characters");
        }
        let Ok(url) = Url::parse(&text) else {
            return wrong("no address");
        };
        if !matches!(url.scheme(), "https" | "http") {
            return wrong("another scheme");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("a user name or a password");
        }
        if url.fragment().is_some() {
            return wrong("a fragment (#)");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return wrong("no host");
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        Target::try_from(text.to_owned())
    }

    #[test]
    fn an_address_has_a_host_and_neither_user_nor_fragment() {
        for good in [
            "https://crm.example.com",
            "https://crm.example.com:8443/hooks?tenant=acme",
            "http://crm.example.com/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(target(good).is_ok(), "{good}");
        }
        for (bad, named) in [
            ("https://user@crm.example.com/", "a user name"),
            ("https://:secret@crm.example.com/", "a user name"),
            ("https://crm.example.com/#x", "fragment"),
            ("ftp://crm.example.com/", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("crm.example.com", "no address"),
            ("https://", "no address"),
            (
                &*format!("https://crm.example.com/{}", "x".repeat(1_024)),
                "1,024",
            ),
        ] {
            let error = target(bad).unwrap_err();
            assert!(error.contains(named), "{bad}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_spelt() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for spelt in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "%31%32%37.0.0.1",
            "127。0。0。1",
        ] {
            let found = target(&format!("https://{spelt}/")).unwrap().literal();
            assert_eq!(found, Some(loopback), "{spelt}");
        }
        let v6 = target("https://[::ffff:10.0.0.1]/").unwrap().literal();
        assert_eq!(v6, Some("::ffff:10.0.0.1".parse().unwrap()));
        assert_eq!(target("https://crm.example.com/").unwrap().literal(), None);
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        let shown = target("https://crm.example.com:8443/hooks?token=s3cret").unwrap();
        for text in [shown.to_string(), format!("{shown:?}")] {
            assert!(
                text.contains("https://crm.example.com:8443/hooks?..."),
                "{text}"
            );
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
