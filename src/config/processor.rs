//! `[processor]`: who charges the cards.

use std::{fmt, path::PathBuf};

use serde::Deserialize;

use super::Span;
use crate::processor::{Adyen, Checkout, Connection, Deadlines, Mode, Site, Stripe, Trust};

/// `[processor]`. Which keys belong to which processor is checked after it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Processor {
    /// Which processor.
    pub kind: ProcessorKind,
    /// Sandbox only: 64 hexadecimal digits; it then tells HMACs of the cards it received.
    pub digest_key: Option<String>,
    /// Whether money moves. Named for every processor but the sandbox.
    pub mode: Option<Mode>,
    /// Where its API is, where that is not what its adapter knows.
    pub url: Option<Site>,
    /// File with the merchant's key and nothing else.
    pub key_file: Option<PathBuf>,
    /// Pay connector: who asks, for HTTP Basic.
    pub username: Option<String>,
    /// Pay connector: where a charge can be looked up.
    pub look_up_url: Option<Site>,
    /// Pay connector: how long after a charge a look-up may still miss it.
    pub consistency_delay: Option<Span>,
    /// Adyen: the merchant account.
    pub merchant_account: Option<String>,
    /// Checkout.com: the account's public key.
    pub public_key: Option<String>,
    /// Checkout.com: the processing channel.
    pub processing_channel: Option<String>,
    /// Stripe: what the cardholder's statement says after the account's own prefix.
    pub descriptor: Option<String>,
    /// That a charge without an answer is left to a person, where the processor cannot be asked.
    pub manual_reconcile: bool,
    /// PEM file with the only authorities that the processor's certificate may come from.
    pub roots: Option<PathBuf>,
    /// PEM file with our certificate, where the processor asks for one.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub client_key: Option<PathBuf>,
    /// For the TCP connection.
    pub connect_timeout: Option<Span>,
    /// For the TLS handshake.
    pub handshake_timeout: Option<Span>,
    /// From the request's last byte to the answer's first.
    pub first_byte_timeout: Option<Span>,
    /// For all of a request.
    pub whole_timeout: Option<Span>,
}

/// The processors that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessorKind {
    /// The embedded one: real TLS, test cards only, no money.
    #[default]
    Sandbox,
    /// Stripe.
    Stripe,
    /// Adyen Checkout.
    Adyen,
    /// Checkout.com.
    CheckoutCom,
    /// A connector of the merchant's own.
    PayConnector,
}

impl ProcessorKind {
    /// As it is written in the file, and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Stripe => "stripe",
            Self::Adyen => "adyen",
            Self::CheckoutCom => "checkout-com",
            Self::PayConnector => "pay-connector",
        }
    }
}

impl fmt::Display for ProcessorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The key that cannot stay as it is, with what was found, what was expected and what to do.
type Wrong = (&'static str, String);

/// A key that only some processors have.
struct Key {
    name: &'static str,
    is_there: bool,
    of: &'static [ProcessorKind],
    /// Those of them that cannot do without.
    needed_by: &'static [ProcessorKind],
}

impl Processor {
    /// Whether it can work.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.check_digest_key()?;
        self.check_keys()?;
        if self.kind == ProcessorKind::Sandbox {
            return Ok(());
        }
        if self.client_certificate.is_some() != self.client_key.is_some() {
            return Err((
                "processor.client_key",
                "found one of client_certificate and client_key; both are needed, or neither"
                    .to_owned(),
            ));
        }
        self.check_words()?;
        self.check_times()?;
        self.check_reconciliation()?;
        self.connection().map(|_| ())
    }

    /// How the processor is reached; nothing for the sandbox, which is a process of our own.
    ///
    /// # Errors
    /// The key that is missing or wrong, and what to do.
    pub fn connection(&self) -> Result<Connection, Wrong> {
        let Some(mode) = self.mode else {
            return Err((
                "processor.mode",
                "found none; expected \"test\" (test cards only, no money moves) or \"live\""
                    .to_owned(),
            ));
        };
        let default = Deadlines::default();
        let or = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        Ok(Connection {
            site: self.site(mode)?,
            trust: Trust {
                roots: self.roots.clone(),
                identity: self.client_certificate.clone().zip(self.client_key.clone()),
            },
            deadlines: Deadlines {
                connect: or(self.connect_timeout, default.connect),
                handshake: or(self.handshake_timeout, default.handshake),
                first_byte: or(self.first_byte_timeout, default.first_byte),
                whole: or(self.whole_timeout, default.whole),
            },
            mode,
        })
    }

    fn site(&self, mode: Mode) -> Result<Site, Wrong> {
        let known = match (self.kind, mode) {
            (ProcessorKind::Stripe, _) => Some(Stripe::SITE),
            (ProcessorKind::Adyen, Mode::Test) => Some(Adyen::TEST_SITE),
            (ProcessorKind::CheckoutCom, mode) => Some(Checkout::site(mode)),
            (ProcessorKind::Adyen, Mode::Live)
            | (ProcessorKind::PayConnector | ProcessorKind::Sandbox, _) => None,
        };
        match (&self.url, known) {
            (Some(site), _) => {
                let text = site.to_string();
                let (of_test, of_live) = match self.kind {
                    ProcessorKind::Adyen => (
                        text.contains("checkout-test.adyen.com"),
                        text.contains(".adyenpayments.com"),
                    ),
                    ProcessorKind::CheckoutCom => {
                        let of_test = text.contains("api.sandbox.checkout.com");
                        (of_test, text.contains("api.checkout.com"))
                    }
                    ProcessorKind::Sandbox
                    | ProcessorKind::Stripe
                    | ProcessorKind::PayConnector => (false, false),
                };
                let crossed = match mode {
                    Mode::Test => of_live,
                    Mode::Live => of_test,
                };
                if crossed {
                    return Err((
                        "processor.url",
                        format!("found {text}, which is of the other mode; change processor.mode or the address"),
                    ));
                }
                Ok(site.clone())
            }
            (None, Some(known)) => known.parse().map_err(|error| ("processor.url", error)),
            (None, None) => Err((
                "processor.url",
                match self.kind {
                    ProcessorKind::Adyen => "found none; live payments go to an address of your own, such as \"https://PREFIX-checkout-live.adyenpayments.com/checkout/v71\"".to_owned(),
                    _ => "found none; expected the address that charges are sent to, such as \"https://pay.example.com/charge\"".to_owned(),
                },
            )),
        }
    }

    fn check_digest_key(&self) -> Result<(), Wrong> {
        match &self.digest_key {
            Some(key) if key.len() != 64 || !key.bytes().all(|b| b.is_ascii_hexdigit()) => Err((
                "processor.digest_key",
                "expected 64 hexadecimal digits (`openssl rand -hex 32` makes some)".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// No key is silently of no use, and none that is needed is missing.
    fn check_keys(&self) -> Result<(), Wrong> {
        use ProcessorKind as K;
        const REAL: &[ProcessorKind] = &[K::Stripe, K::Adyen, K::CheckoutCom, K::PayConnector];
        let key = |name, is_there, of, needed_by| Key {
            name,
            is_there,
            of,
            needed_by,
        };
        let keys = [
            key(
                "digest_key",
                self.digest_key.is_some(),
                &[K::Sandbox][..],
                &[][..],
            ),
            key("mode", self.mode.is_some(), REAL, REAL),
            key("url", self.url.is_some(), REAL, &[]),
            key("key_file", self.key_file.is_some(), REAL, REAL),
            key("username", self.username.is_some(), &[K::PayConnector], &[]),
            key(
                "look_up_url",
                self.look_up_url.is_some(),
                &[K::PayConnector],
                &[],
            ),
            key(
                "consistency_delay",
                self.consistency_delay.is_some(),
                &[K::PayConnector],
                &[],
            ),
            key(
                "merchant_account",
                self.merchant_account.is_some(),
                &[K::Adyen],
                &[K::Adyen],
            ),
            key(
                "public_key",
                self.public_key.is_some(),
                &[K::CheckoutCom],
                &[K::CheckoutCom],
            ),
            key(
                "processing_channel",
                self.processing_channel.is_some(),
                &[K::CheckoutCom],
                &[K::CheckoutCom],
            ),
            key("descriptor", self.descriptor.is_some(), &[K::Stripe], &[]),
            key(
                "manual_reconcile",
                self.manual_reconcile,
                &[K::Adyen, K::PayConnector],
                &[],
            ),
            key("roots", self.roots.is_some(), REAL, &[]),
            key(
                "client_certificate",
                self.client_certificate.is_some(),
                REAL,
                &[],
            ),
            key("client_key", self.client_key.is_some(), REAL, &[]),
            key("connect_timeout", self.connect_timeout.is_some(), REAL, &[]),
            key(
                "handshake_timeout",
                self.handshake_timeout.is_some(),
                REAL,
                &[],
            ),
            key(
                "first_byte_timeout",
                self.first_byte_timeout.is_some(),
                REAL,
                &[],
            ),
            key("whole_timeout", self.whole_timeout.is_some(), REAL, &[]),
        ];
        for key in keys {
            if key.is_there && !key.of.contains(&self.kind) {
                let of: Vec<_> = key.of.iter().map(|kind| kind.as_str()).collect();
                return Err((
                    "processor",
                    format!(
                        "found {}, which {} does not have (it is of {}); take it out",
                        key.name,
                        self.kind,
                        of.join(", ")
                    ),
                ));
            }
            if !key.is_there && key.needed_by.contains(&self.kind) {
                return Err((
                    "processor",
                    format!(
                        "found no {}, which {} needs; see docs/processors.md",
                        key.name, self.kind
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_words(&self) -> Result<(), Wrong> {
        let word = |text: &str| {
            (1..=80).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        for (key, found) in [
            ("processor.merchant_account", &self.merchant_account),
            ("processor.public_key", &self.public_key),
            ("processor.processing_channel", &self.processing_channel),
            ("processor.username", &self.username),
        ] {
            if found.as_ref().is_some_and(|found| !word(found)) {
                return Err((
                    key,
                    "expected 1 to 80 characters of ASCII without spaces".to_owned(),
                ));
            }
        }
        if self
            .username
            .as_ref()
            .is_some_and(|name| name.contains(':'))
        {
            return Err((
                "processor.username",
                "found a colon, which HTTP Basic cannot carry".to_owned(),
            ));
        }
        let fits = |text: &String| {
            (2..=22).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic())
                && text.bytes().any(|byte| byte.is_ascii_alphabetic())
                && !text.contains(['<', '>', '\\', '\'', '"', '*'])
        };
        match &self.descriptor {
            Some(text) if !fits(text) => Err((
                "processor.descriptor",
                "expected 2 to 22 characters of ASCII with a letter among them and none of < > \\ ' \" *".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), Wrong> {
        for (key, span) in [
            ("processor.connect_timeout", self.connect_timeout),
            ("processor.handshake_timeout", self.handshake_timeout),
            ("processor.first_byte_timeout", self.first_byte_timeout),
            ("processor.whole_timeout", self.whole_timeout),
        ] {
            let within = |span: Span| (100..=40_000).contains(&span.0.as_millis());
            if span.is_some_and(|span| !within(span)) {
                return Err((key, "expected between \"100ms\" and \"40s\"".to_owned()));
            }
        }
        Ok(())
    }

    /// A processor that cannot be asked what became of a charge is taken only by whoever knows it.
    fn check_reconciliation(&self) -> Result<(), Wrong> {
        let can_be_asked = match self.kind {
            ProcessorKind::Sandbox | ProcessorKind::Stripe | ProcessorKind::CheckoutCom => true,
            ProcessorKind::Adyen => false,
            ProcessorKind::PayConnector => self.look_up_url.is_some(),
        };
        if can_be_asked || self.manual_reconcile {
            return Ok(());
        }
        let other = match self.kind {
            ProcessorKind::PayConnector => "set look_up_url, or ",
            _ => "",
        };
        Err((
            "processor.manual_reconcile",
            format!(
                "{} cannot be asked what became of a charge whose answer was lost, so such a payment stays unknown until a person finds out: {other}say that you know by manual_reconcile = true",
                self.kind
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::super::Config;

    const STRIPE: &str = "kind = \"stripe\"\nmode = \"test\"\nkey_file = \"/k\"";
    const ADYEN: &str = "kind = \"adyen\"\nmode = \"test\"\nkey_file = \"/k\"\nmerchant_account = \"Shop\"\nmanual_reconcile = true";
    const CHECKOUT: &str = "kind = \"checkout-com\"\nmode = \"live\"\nkey_file = \"/k\"\npublic_key = \"pk_1\"\nprocessing_channel = \"pc_1\"";
    const CONNECTOR: &str = "kind = \"pay-connector\"\nmode = \"live\"\nkey_file = \"/k\"\nurl = \"https://pay.example.com/charge\"\nlook_up_url = \"https://pay.example.com/charges\"";

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("data_dir = \"/d\"\n[processor]\n{text}\n");
        Config::parse(&text, Path::new("t.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn each_processor_has_a_shortest_section() {
        for (text, site) in [
            (STRIPE, "https://api.stripe.com"),
            (ADYEN, "https://checkout-test.adyen.com/v71"),
            (CHECKOUT, "https://api.checkout.com"),
            (CONNECTOR, "https://pay.example.com/charge"),
        ] {
            let connection = parse(text).unwrap().processor.connection().unwrap();
            assert_eq!(connection.site.to_string(), site);
        }
        let quick = parse(&format!("{STRIPE}\nwhole_timeout = \"12s\"")).unwrap();
        let deadlines = quick.processor.connection().unwrap().deadlines;
        assert_eq!(deadlines.whole, Duration::from_secs(12));
    }

    #[test]
    fn what_is_missing_of_no_use_or_of_the_other_mode_is_named() {
        for (text, named) in [
            ("kind = \"stripe\"".to_owned(), "no mode"),
            (
                "kind = \"stripe\"\nmode = \"test\"".to_owned(),
                "no key_file",
            ),
            ("kind = \"stripe\"\nmode = \"sandbox\"".to_owned(), "live"),
            (
                format!("{STRIPE}\nmerchant_account = \"x\""),
                "merchant_account",
            ),
            (
                format!("{STRIPE}\ndigest_key = \"{}\"", "0".repeat(64)),
                "digest_key",
            ),
            ("kind = \"sandbox\"\nmode = \"live\"".to_owned(), "mode"),
            (STRIPE.replace("stripe", "worldpay"), "worldpay"),
            (
                format!("{STRIPE}\nurl = \"http://api.stripe.com\""),
                "https://",
            ),
            (
                format!("{STRIPE}\nclient_key = \"/k\""),
                "client_certificate",
            ),
            (format!("{STRIPE}\ndescriptor = \"*\""), "descriptor"),
            (
                format!("{STRIPE}\nwhole_timeout = \"41s\""),
                "whole_timeout",
            ),
            (ADYEN.replace("test", "live"), "adyenpayments.com"),
            (
                format!(
                    "{ADYEN}\nurl = \"https://x-checkout-live.adyenpayments.com/checkout/v71\""
                ),
                "other mode",
            ),
            (
                ADYEN.replace("manual_reconcile = true", ""),
                "manual_reconcile",
            ),
            (CHECKOUT.replace("public_key", "#"), "no public_key"),
            (
                CHECKOUT.replace("processing_channel", "#"),
                "no processing_channel",
            ),
            (
                format!("{CHECKOUT}\nurl = \"https://x.api.sandbox.checkout.com\""),
                "other mode",
            ),
            (CHECKOUT.replace("pc_1", "a b"), "processing_channel"),
            (CONNECTOR.replace("look_up_url", "#"), "look_up_url"),
            (format!("{CONNECTOR}\nusername = \"a:b\""), "colon"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
