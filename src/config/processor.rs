//! `[processor]`: who charges the cards.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;

use super::Span;
use crate::{
    processor::{
        Adyen, AuthorizeNet, Braintree, Checkout, Connection, CyberSource, Deadlines, Mode, Site,
        Stripe, Trust, Worldpay,
    },
    proto::currency::currency_exponent,
};

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
    /// Pay connector and Worldpay: who asks, for HTTP Basic.
    pub username: Option<String>,
    /// Pay connector: where a charge can be looked up.
    pub look_up_url: Option<Site>,
    /// Pay connector: how long after a charge a look-up may still miss it.
    pub consistency_delay: Option<Span>,
    /// Adyen: the merchant account.
    pub merchant_account: Option<String>,
    /// Authorize.Net: the API login id.
    pub api_login_id: Option<String>,
    /// Braintree: the merchant account of each currency.
    pub merchant_accounts: BTreeMap<String, String>,
    /// Checkout.com and Braintree: the account's public key.
    pub public_key: Option<String>,
    /// Checkout.com: the processing channel.
    pub processing_channel: Option<String>,
    /// Worldpay: the entity.
    pub entity: Option<String>,
    /// CyberSource: the merchant.
    pub merchant_id: Option<String>,
    /// CyberSource: the name of the shared secret.
    pub key_id: Option<String>,
    /// What the cardholder's statement says; Stripe: after the account's own prefix.
    pub descriptor: Option<String>,
    /// That a charge without an answer is left to a person, where the processor cannot be asked.
    pub manual_reconcile: bool,
    /// The processor's own notifications, where they are to be read.
    pub notifications: Option<Notifications>,
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

/// `[processor.notifications]`: by which keys they are known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// Files with a key each and nothing else: one, or two while one is being replaced.
    pub key_files: Vec<PathBuf>,
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
    /// Access Worldpay.
    Worldpay,
    /// CyberSource, by HTTP signature.
    #[serde(rename = "cybersource")]
    CyberSource,
    /// Braintree.
    Braintree,
    /// Authorize.Net.
    AuthorizeNet,
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
            Self::Worldpay => "worldpay",
            Self::CyberSource => "cybersource",
            Self::Braintree => "braintree",
            Self::AuthorizeNet => "authorize-net",
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
        self.check_notifications()?;
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
            (ProcessorKind::Worldpay, mode) => Some(Worldpay::site(mode)),
            (ProcessorKind::CyberSource, mode) => Some(CyberSource::site(mode)),
            (ProcessorKind::Braintree, mode) => Some(Braintree::site(mode)),
            (ProcessorKind::AuthorizeNet, mode) => Some(AuthorizeNet::site(mode)),
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
                    ProcessorKind::Worldpay => (
                        text.contains("try.access.worldpay.com"),
                        text.contains("//access.worldpay.com"),
                    ),
                    // In some countries it has addresses of its own, such as api.in.cybersource.com.
                    ProcessorKind::CyberSource => {
                        let is_its = text.contains(".cybersource.com");
                        (
                            is_its && text.contains("//apitest."),
                            is_its && text.contains("//api."),
                        )
                    }
                    ProcessorKind::Braintree => (
                        text.contains("sandbox.braintree-api.com"),
                        text.contains("payments.braintree-api.com"),
                    ),
                    ProcessorKind::AuthorizeNet => (
                        text.contains("apitest.authorize.net"),
                        text.contains("api.authorize.net") || text.contains("api2.authorize.net"),
                    ),
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
        const REAL: &[ProcessorKind] = &[
            K::Stripe,
            K::Adyen,
            K::CheckoutCom,
            K::Worldpay,
            K::CyberSource,
            K::Braintree,
            K::AuthorizeNet,
            K::PayConnector,
        ];
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
            key(
                "username",
                self.username.is_some(),
                &[K::Worldpay, K::PayConnector],
                &[K::Worldpay],
            ),
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
                "api_login_id",
                self.api_login_id.is_some(),
                &[K::AuthorizeNet],
                &[K::AuthorizeNet],
            ),
            key(
                "merchant_accounts",
                !self.merchant_accounts.is_empty(),
                &[K::Braintree],
                &[K::Braintree],
            ),
            key(
                "public_key",
                self.public_key.is_some(),
                &[K::CheckoutCom, K::Braintree],
                &[K::CheckoutCom, K::Braintree],
            ),
            key(
                "processing_channel",
                self.processing_channel.is_some(),
                &[K::CheckoutCom],
                &[K::CheckoutCom],
            ),
            key(
                "entity",
                self.entity.is_some(),
                &[K::Worldpay],
                &[K::Worldpay],
            ),
            key(
                "merchant_id",
                self.merchant_id.is_some(),
                &[K::CyberSource],
                &[K::CyberSource],
            ),
            key(
                "key_id",
                self.key_id.is_some(),
                &[K::CyberSource],
                &[K::CyberSource],
            ),
            key(
                "descriptor",
                self.descriptor.is_some(),
                &[K::Stripe, K::Worldpay, K::CyberSource],
                &[K::Worldpay],
            ),
            key(
                "manual_reconcile",
                self.manual_reconcile,
                &[K::Adyen, K::AuthorizeNet, K::PayConnector],
                &[],
            ),
            key(
                "notifications",
                self.notifications.is_some(),
                &[K::Stripe, K::Adyen, K::CheckoutCom],
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
            ("processor.merchant_id", &self.merchant_id),
            ("processor.key_id", &self.key_id),
            ("processor.api_login_id", &self.api_login_id),
        ] {
            if found.as_ref().is_some_and(|found| !word(found)) {
                return Err((
                    key,
                    "expected 1 to 80 characters of ASCII without spaces".to_owned(),
                ));
            }
        }
        for (key, name) in [
            ("processor.username", &self.username),
            ("processor.public_key", &self.public_key),
        ] {
            if name.as_ref().is_some_and(|name| name.contains(':')) {
                return Err((
                    key,
                    "found a colon, which HTTP Basic cannot carry".to_owned(),
                ));
            }
        }
        if let Some((currency, _)) = self
            .merchant_accounts
            .iter()
            .find(|(currency, account)| currency_exponent(currency).is_none() || !word(account))
        {
            return Err((
                "processor.merchant_accounts",
                format!(
                    "found {currency:?}; expected currencies as in ISO 4217, each with the id of its merchant account, such as {{ EUR = \"shop_eur\" }}"
                ),
            ));
        }
        self.check_entity()?;
        self.check_descriptor()
    }

    /// As Worldpay's API takes it.
    fn check_entity(&self) -> Result<(), Wrong> {
        let fits = |text: &String| {
            let plain = |byte: u8| byte == b' ' || byte.is_ascii_alphanumeric();
            (1..=32).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(' ')
        };
        match &self.entity {
            Some(text) if !fits(text) => Err((
                "processor.entity",
                "expected 1 to 32 letters, digits and spaces of ASCII, as Worldpay has set it up"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// As the processors' APIs take it.
    fn check_descriptor(&self) -> Result<(), Wrong> {
        let lengths = match self.kind {
            ProcessorKind::Worldpay => 1..=24,
            _ => 2..=22,
        };
        let plain = |byte: u8| match self.kind {
            ProcessorKind::Worldpay => byte.is_ascii_alphanumeric() || b" ,./-".contains(&byte),
            _ => {
                let printed = byte == b' ' || byte.is_ascii_graphic();
                printed && !b"<>\\'\"*".contains(&byte)
            }
        };
        let fits = |text: &String| {
            lengths.contains(&text.len())
                && text.bytes().all(plain)
                && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        };
        match &self.descriptor {
            Some(text) if !fits(text) => Err((
                "processor.descriptor",
                match self.kind {
                    ProcessorKind::Worldpay => "expected 1 to 24 letters, digits, spaces and , . / - of ASCII with a letter among them".to_owned(),
                    _ => "expected 2 to 22 characters of ASCII with a letter among them and none of < > \\ ' \" *".to_owned(),
                },
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

    fn check_notifications(&self) -> Result<(), Wrong> {
        match &self.notifications {
            Some(section) if !(1..=2).contains(&section.key_files.len()) => Err((
                "processor.notifications.key_files",
                format!(
                    "found {}; expected one file, or two while a key is being replaced",
                    section.key_files.len()
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A processor that cannot be asked what became of a charge is taken only by whoever knows it.
    fn check_reconciliation(&self) -> Result<(), Wrong> {
        let can_be_asked = match self.kind {
            ProcessorKind::Sandbox
            | ProcessorKind::Stripe
            | ProcessorKind::CheckoutCom
            | ProcessorKind::Worldpay
            | ProcessorKind::CyberSource
            | ProcessorKind::Braintree => true,
            // It tells by itself.
            ProcessorKind::Adyen => self.notifications.is_some(),
            // It tells of what it has, and not that it has none.
            ProcessorKind::AuthorizeNet => false,
            ProcessorKind::PayConnector => self.look_up_url.is_some(),
        };
        if can_be_asked || self.manual_reconcile {
            return Ok(());
        }
        let other = match self.kind {
            ProcessorKind::PayConnector => "set look_up_url, or ",
            ProcessorKind::Adyen => "have its notifications read by [processor.notifications], or ",
            _ => "",
        };
        Err((
            "processor.manual_reconcile",
            format!(
                "{} cannot be asked what became of every charge whose answer was lost, so such a payment may stay unknown until a person finds out: {other}say that you know by manual_reconcile = true",
                self.kind
            ),
        ))
    }
}

#[cfg(test)]
mod tests;
