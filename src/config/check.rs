//! What a configuration that parses may still have wrong: values that cannot work, alone or together.

use std::time::Duration;

use super::Config;
use crate::proto::currency::currency_exponent;

/// Fewest calls that a report of shadow mode may go on by.
const LEAST_SHADOWED_CALLS: u64 = 5;

/// Longest nap of a media worker.
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// Most of six bits.
const MOST_DSCP: u8 = 63;
/// Fewest bytes that a media socket can do with: 100 ms of G.711 as the system counts.
const LEAST_SOCKET_BUFFER: usize = 8_192;

/// The key that cannot stay as it is, with what was found, what was expected and what to do.
type Found = Result<(), (&'static str, String)>;

const fn fail(key: &'static str, problem: String) -> Found {
    Err((key, problem))
}

impl Config {
    /// Whether it can work.
    pub(super) fn check(&self) -> Found {
        self.check_api()?;
        self.check_ng()?;
        self.sip.settings()?;
        self.check_media()?;
        self.check_times()?;
        self.check_listeners()?;
        self.check_capture()?;
        self.processor.check()?;
        self.check_shadow()?;
        self.check_triggers()?;
        if let Err(problem) = self.links.voice() {
            return fail("links.voice", problem);
        }
        self.callbacks.check()?;
        self.operations.check()?;
        self.limits.check()?;
        self.check_secrets()
    }

    fn check_api(&self) -> Found {
        if self.api.tls_certificate.is_some() != self.api.tls_key.is_some() {
            return fail(
                "api.tls_key",
                "found one of tls_certificate and tls_key; both are needed, or neither on a loopback address".to_owned(),
            );
        }
        if !self.api.listen.ip().is_loopback() && self.api.tls_certificate.is_none() {
            return fail(
                "api.listen",
                format!(
                    "found {}; plain HTTP is served on loopback addresses only: set api.tls_certificate and api.tls_key",
                    self.api.listen
                ),
            );
        }
        Ok(())
    }

    fn check_ng(&self) -> Found {
        let ng = [Some(self.ng.udp), self.ng.tcp, self.ng.http, self.ng.https];
        if self.ng.allow.is_empty()
            && let Some(open) = ng.iter().flatten().find(|a| !a.ip().is_loopback())
        {
            return fail(
                "ng.allow",
                format!(
                    "found none, with the NG protocol at {open}: it has no authentication, so name the addresses that may control calls"
                ),
            );
        }
        let files = [
            &self.ng.tls_certificate,
            &self.ng.tls_key,
            &self.ng.client_ca,
        ];
        let named = files.iter().filter(|file| file.is_some()).count();
        if self.ng.https.is_some() && named < files.len() {
            return fail(
                "ng.https",
                format!(
                    "found {named} of tls_certificate, tls_key and client_ca; all three are needed, for whoever controls calls has to show a certificate"
                ),
            );
        }
        if self.ng.https.is_none() && named > 0 {
            return fail(
                "ng.https",
                "found none, with certificates for it; name an address, or leave tls_certificate, tls_key and client_ca out".to_owned(),
            );
        }
        if self.ng.max_calls == 0 {
            return fail("ng.max_calls", "found 0; expected 1 or more".to_owned());
        }
        Ok(())
    }

    fn check_media(&self) -> Found {
        if !self.media.port_min.is_multiple_of(2) || self.media.port_min < 1_024 {
            return fail(
                "media.port_min",
                format!(
                    "found {}; RTP takes even ports from 1024 on (RFC 3550 section 11)",
                    self.media.port_min
                ),
            );
        }
        if self.media.port_max < self.media.port_min.saturating_add(3) {
            return fail(
                "media.port_max",
                format!(
                    "found {}; a call takes four ports from media.port_min ({}) on",
                    self.media.port_max, self.media.port_min
                ),
            );
        }
        if self.media.nap.0 > LONGEST_NAP {
            return fail(
                "media.nap",
                format!(
                    "found {:?}; expected {LONGEST_NAP:?} at most, for every packet of a busy gateway may be late by it",
                    self.media.nap.0
                ),
            );
        }
        if self.media.dscp > MOST_DSCP {
            return fail(
                "media.dscp",
                format!(
                    "found {}; expected 0 to {MOST_DSCP}: the code point, not the byte that holds it (46 is expedited forwarding)",
                    self.media.dscp
                ),
            );
        }
        if let Some(bytes) = self.media.socket_buffer
            && bytes < LEAST_SOCKET_BUFFER
        {
            return fail(
                "media.socket_buffer",
                format!(
                    "found {bytes} bytes; expected {LEAST_SOCKET_BUFFER} or more, or nothing for the system's own"
                ),
            );
        }
        self.check_interfaces()?;
        if self.media.address.is_unspecified() && self.media.advertise.is_none() {
            return fail(
                "media.advertise",
                format!(
                    "found none, with media.address {}; name the address that the ends of a call reach this host at",
                    self.media.address
                ),
            );
        }
        Ok(())
    }

    /// Two that bind one address would take each other's ports.
    fn check_interfaces(&self) -> Found {
        let mut bound = vec![self.media.address];
        for other in &self.media.interfaces {
            if self.media.address.is_unspecified() {
                return fail(
                    "media.address",
                    format!(
                        "found {} beside other addresses, whose ports it takes; name one",
                        self.media.address
                    ),
                );
            }
            if bound.contains(&other.address) {
                return fail(
                    "media.interfaces",
                    format!(
                        "found {} twice; each address stands in one network",
                        other.address
                    ),
                );
            }
            if other.address.is_unspecified() {
                return fail(
                    "media.interfaces",
                    format!(
                        "found {}; with several addresses each is named by itself",
                        other.address
                    ),
                );
            }
            bound.push(other.address);
        }
        Ok(())
    }

    fn check_times(&self) -> Found {
        for (key, span) in [
            ("ng.idle_timeout", self.ng.idle_timeout),
            (
                "capture.first_digit_timeout",
                self.capture.first_digit_timeout,
            ),
            (
                "capture.inter_digit_timeout",
                self.capture.inter_digit_timeout,
            ),
            ("capture.overall_timeout", self.capture.overall_timeout),
        ] {
            if span.0.is_zero() {
                return fail(
                    key,
                    "found no time at all; expected a second or more".into(),
                );
            }
        }
        Ok(())
    }

    /// No two may listen at one address.
    fn check_listeners(&self) -> Found {
        let listeners = [
            ("api.listen", Some(self.api.listen)),
            ("metrics.listen", Some(self.metrics.listen)),
            ("ng.tcp", self.ng.tcp),
            ("ng.http", self.ng.http),
            ("ng.https", self.ng.https),
        ];
        for (n, (key, address)) in listeners.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else {
                continue;
            };
            let other = listeners[..n]
                .iter()
                .find(|(_, other)| *other == Some(address));
            if let Some((other, _)) = other {
                return fail(
                    key,
                    format!(
                        "found {address}, where {other} listens too; the API, metrics and each transport of the NG protocol have listeners of their own"
                    ),
                );
            }
        }
        Ok(())
    }

    fn check_capture(&self) -> Found {
        if !(1..=10).contains(&self.capture.attempts) {
            return fail(
                "capture.attempts",
                format!("found {}; expected 1 to 10", self.capture.attempts),
            );
        }
        if self.capture.accepted_brands.is_empty() {
            return fail(
                "capture.accepted_brands",
                "found none; name at least one brand or leave the key out".to_owned(),
            );
        }
        Ok(())
    }

    fn check_shadow(&self) -> Found {
        if self.shadow.least_calls < LEAST_SHADOWED_CALLS {
            return fail(
                "shadow.least_calls",
                format!(
                    "found {}; expected {LEAST_SHADOWED_CALLS} or more, so that no report tells of a single call",
                    self.shadow.least_calls
                ),
            );
        }
        if self.shadow.period.0 < Duration::from_secs(1) {
            return fail(
                "shadow.period",
                format!(
                    "found {:?}; expected a second or more, as in \"1h\"",
                    self.shadow.period.0
                ),
            );
        }
        Ok(())
    }

    fn check_triggers(&self) -> Found {
        match &self.triggers.currency {
            Some(currency) if currency_exponent(currency).is_none() => fail(
                "triggers.currency",
                format!(
                    "found {currency:?}; expected an ISO 4217 code of three capital letters, such as \"EUR\""
                ),
            ),
            _ => Ok(()),
        }
    }

    fn check_secrets(&self) -> Found {
        if self.secrets.slots < 4 || self.secrets.request_slots < 1 {
            return fail(
                "secrets.slots",
                format!(
                    "found {} and {} request slots; a payment takes four slots and one request slot",
                    self.secrets.slots, self.secrets.request_slots
                ),
            );
        }
        Ok(())
    }
}
