//! Processors as their documentation has them: HTTPS servers that check every header and field, keep
//! a ledger, and do wrong as they are told.
//!
//! They hold test cards in ordinary memory, which nothing of the gateway does.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "tests may")]

mod adyen;
mod authorize_net;
mod braintree;
mod checkout;
mod connector;
mod cybersource;
mod line;
mod notify;
mod stripe;
mod worldpay;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use notify::{Signed, Telling, notification_key, other_key};

pub(crate) use line::Request;

/// Which processor is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stripe,
    Adyen,
    Checkout,
    Worldpay,
    CyberSource,
    Braintree,
    AuthorizeNet,
    Connector,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Stripe,
        Self::Adyen,
        Self::Checkout,
        Self::Worldpay,
        Self::CyberSource,
        Self::Braintree,
        Self::AuthorizeNet,
        Self::Connector,
    ];
}

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Connections are reset before anything is said.
    Refuse,
    /// The handshake ends in an alert.
    TlsAlert,
    /// The certificate is for somebody else.
    WrongName,
    /// The certificate is past its date.
    Expired,
    /// The connection is reset before anything is done.
    ResetBefore,
    /// It is done, and the connection is reset in the place of the answer.
    ResetAfter,
    /// It is done, and no answer comes.
    Hang,
    /// It is done, and the answer is a server's error.
    Error500,
    /// It is done, and the answer ends in its middle.
    HalfBody,
    /// It is done, and the answer comes byte by byte, too slowly.
    Drip,
    /// It is done, and the answer is no JSON.
    BadJson,
    /// Nothing is done: too many requests.
    Busy429,
    /// Nothing is done: not available.
    Busy503,
}

impl Fault {
    pub(crate) const ALL: [Self; 13] = [
        Self::Refuse,
        Self::TlsAlert,
        Self::WrongName,
        Self::Expired,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Hang,
        Self::Error500,
        Self::HalfBody,
        Self::Drip,
        Self::BadJson,
        Self::Busy429,
        Self::Busy503,
    ];

    /// Whether it meets whoever connects, before there is a request.
    pub(crate) const fn is_at_the_door(self) -> bool {
        matches!(
            self,
            Self::Refuse | Self::TlsAlert | Self::WrongName | Self::Expired
        )
    }
}

/// Which request a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The one that holds the card.
    Card,
    /// The charge by a token.
    Token,
    /// A look-up.
    LookUp,
    /// A settlement, void or refund.
    Operation,
}

/// What a processor has on its books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Our reference.
    pub(crate) reference: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    /// Whether the money has moved.
    pub(crate) charged: bool,
    /// The processor's own reference.
    pub(crate) id: String,
}

/// A settlement, void or refund that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// Our reference.
    pub(crate) reference: String,
    pub(crate) kind: &'static str,
    pub(crate) amount: u64,
    /// The processor's own reference of the charge.
    pub(crate) charge: String,
}

/// What an answer says.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string(),
        }
    }
}

/// What a handler made of a request.
pub(crate) struct Handled {
    pub(crate) stage: Stage,
    pub(crate) reply: Reply,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) ledger: Vec<Entry>,
    pub(crate) done: Vec<Done>,
    /// What was wrong with requests: nothing ever may be.
    pub(crate) violations: Vec<String>,
    /// Faults of requests to come, of each stage in turn.
    faults: BTreeMap<u8, VecDeque<Fault>>,
    /// What meets whoever connects.
    door: Option<Fault>,
    door_is_for_one: bool,
    /// Whether look-ups miss what is on the books.
    pub(crate) stale: bool,
    /// How far its clock is ahead.
    pub(crate) clock: SignedDuration,
    /// What requests held that is as secret as the card.
    pub(crate) secrets: Vec<String>,
    /// Whether what was captured has not settled yet: it can be voided, and not be refunded.
    pub(crate) batch_is_open: bool,
    pub(crate) requests: usize,
    /// All of them as they came, for whoever holds them against what others know.
    pub(crate) asked: Vec<Asked>,
    pub(crate) stripe: stripe::Books,
    pub(crate) adyen: adyen::Books,
    pub(crate) checkout: checkout::Books,
    pub(crate) worldpay: worldpay::Books,
    pub(crate) cybersource: cybersource::Books,
    pub(crate) braintree: braintree::Books,
    pub(crate) authorize_net: authorize_net::Books,
}

/// A request as it came.
#[derive(Serialize)]
pub(crate) struct Asked {
    method: String,
    path: String,
    pub(crate) body: String,
}

/// A processor that listens.
#[derive(Clone)]
pub(crate) struct Processor {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    folder: Arc<TempDir>,
}

/// Keys that the processors know.
pub(crate) const STRIPE_KEY: &str = "sk_test_simulated";
pub(crate) const ADYEN_KEY: &str = "adyen-simulated";
pub(crate) const ADYEN_ACCOUNT: &str = "SimulatedShop";
pub(crate) const CHECKOUT_KEY: &str = "sk_sbox_simulated";
pub(crate) const CHECKOUT_PUBLIC_KEY: &str = "pk_sbox_simulated";
pub(crate) const CHECKOUT_CHANNEL: &str = "pc_simulated";
pub(crate) const WORLDPAY_USER: &str = "shop";
pub(crate) const WORLDPAY_KEY: &str = "worldpay-simulated";
pub(crate) const WORLDPAY_ENTITY: &str = "default";
pub(crate) const WORLDPAY_NARRATIVE: &str = "Simulated Shop";
pub(crate) const CYBERSOURCE_MERCHANT: &str = "simulated_moto";
pub(crate) const CYBERSOURCE_KEY_ID: &str = "08c94330-0000-4000-8000-e1e43be5efda";
pub(crate) const CYBERSOURCE_KEY: &str = "c2ltdWxhdGVkLXNoYXJlZC1zZWNyZXQtMDEyMzQ1Njc=";
pub(crate) const BRAINTREE_PUBLIC_KEY: &str = "public-simulated";
pub(crate) const BRAINTREE_KEY: &str = "braintree-simulated";
/// Its merchant account in EUR, which is what it charges in.
pub(crate) const BRAINTREE_ACCOUNT: &str = "simulated_eur";
pub(crate) const AUTHORIZE_NET_LOGIN: &str = "simulatedLogin";
pub(crate) const AUTHORIZE_NET_KEY: &str = "simulated0000key";
pub(crate) const CONNECTOR_USER: &str = "tonewall";
pub(crate) const CONNECTOR_KEY: &str = "connector-simulated";

impl Processor {
    pub(crate) async fn start(kind: Kind) -> Self {
        let folder = TempDir::new().unwrap();
        let identities = line::Identities::fresh();
        std::fs::write(folder.path().join("roots.pem"), &identities.ca_pem).unwrap();
        let state = Arc::<Mutex<State>>::default();
        let port = line::serve(kind, identities, state.clone()).await;
        Self {
            kind,
            port,
            state,
            folder: Arc::new(folder),
        }
    }

    /// PEM file with its authority.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A file with the key that it knows.
    pub(crate) fn key_file(&self) -> PathBuf {
        let key = match self.kind {
            Kind::Stripe => STRIPE_KEY,
            Kind::Adyen => ADYEN_KEY,
            Kind::Checkout => CHECKOUT_KEY,
            Kind::Worldpay => WORLDPAY_KEY,
            Kind::CyberSource => CYBERSOURCE_KEY,
            Kind::Braintree => BRAINTREE_KEY,
            Kind::AuthorizeNet => AUTHORIZE_NET_KEY,
            Kind::Connector => CONNECTOR_KEY,
        };
        let file = self.folder.path().join("key");
        std::fs::write(&file, key).unwrap();
        file
    }

    /// Where charges go.
    pub(crate) fn url(&self) -> String {
        let path = match self.kind {
            Kind::Stripe | Kind::Checkout | Kind::Worldpay | Kind::CyberSource => "",
            Kind::Adyen => "/v71",
            Kind::Braintree => "/graphql",
            Kind::AuthorizeNet => "/xml/v1/request.api",
            Kind::Connector => "/charge",
        };
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next request of this stage meets this.
    pub(crate) fn will(&self, stage: Stage, fault: Fault) {
        let mut state = self.state();
        if stage == Stage::Card && fault.is_at_the_door() {
            state.door = Some(fault);
            return;
        }
        let faults = state.faults.entry(stage as u8).or_default();
        faults.push_back(fault);
    }

    /// Whoever connects from here on is let in.
    pub(crate) fn open_the_door(&self) {
        self.state().door = None;
    }
}

impl State {
    fn next_fault(&mut self, stage: Stage) -> Option<Fault> {
        self.faults.get_mut(&(stage as u8))?.pop_front()
    }

    fn peek(&self, stage: Stage) -> Option<Fault> {
        self.faults.get(&(stage as u8))?.front().copied()
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) -> Reply {
        let what = what.into();
        self.violations.push(what.clone());
        Reply::json(
            400,
            &serde_json::json!({ "error": { "type": "invalid_request_error", "code": "violation", "message": what } }),
        )
    }

    /// Does something with a charge, where its processor's rules allow it: `set_aside` tells of a charge that
    /// was not to be settled at once. The refusal names what does not allow it.
    fn operate(&mut self, done: Done, set_aside: bool) -> Result<(), &'static str> {
        let charge = self.ledger.iter().find(|entry| entry.id == done.charge);
        let Some(charge) = charge.filter(|entry| entry.charged) else {
            return Err("no_such_charge");
        };
        let sum = |kind: &str| {
            let of_kind = self
                .done
                .iter()
                .filter(|one| one.charge == done.charge && one.kind == kind);
            of_kind.map(|one| one.amount).sum::<u64>()
        };
        let settled = if set_aside {
            sum("settle")
        } else {
            charge.amount
        };
        let allowed = match done.kind {
            _ if sum("void") > 0 => Err("voided"),
            "settle" if settled > 0 => Err("settled"),
            "settle" if done.amount > charge.amount => Err("too_much"),
            "void" if settled > 0 && !self.batch_is_open => Err("settled"),
            "refund" if self.batch_is_open => Err("not_settled"),
            "refund" if done.amount + sum("refund") > settled => Err("too_much"),
            _ => Ok(()),
        };
        if allowed.is_ok() {
            self.done.push(done);
        }
        allowed
    }

    /// How often an operation of ours was done.
    pub(crate) fn operations(&self, reference: &str) -> usize {
        let ours = self.done.iter().filter(|one| one.reference == reference);
        ours.count()
    }

    /// The books' entries under one of our references.
    pub(crate) fn charges(&self, reference: &str) -> usize {
        let charged = self.ledger.iter().filter(|entry| entry.charged);
        charged.filter(|entry| entry.reference == reference).count()
    }
}

/// What a processor thinks of a card: `None` is fine, else its word for the decline.
pub(crate) fn decline_of(number: &str) -> Option<&'static str> {
    match number {
        "4000000000000002" => Some("generic_decline"),
        "4000000000000127" => Some("incorrect_cvc"),
        "4000000000000069" => Some("expired_card"),
        "4000000000009995" => Some("insufficient_funds"),
        "4000000000009987" => Some("lost_card"),
        _ => None,
    }
}

/// Digits, as many as a card number has, with a right check digit.
pub(crate) fn is_card_number(text: &str) -> bool {
    let sum: u32 = text
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0')) * (1 + place as u32 % 2);
            digit / 10 + digit % 10
        })
        .sum();
    (12..=19).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && sum.is_multiple_of(10)
}

/// The month of an expiry date: two digits.
pub(crate) fn is_month(text: &str) -> bool {
    text.len() == 2 && ("01"..="12").contains(&text)
}

pub(crate) fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit())
}

/// How slowly an answer drips: a byte each.
const DRIP: Duration = Duration::from_millis(40);
