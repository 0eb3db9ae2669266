//! What the API takes and gives.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PaymentState;
use crate::{
    journal::NotBegun,
    processor::Outcome,
    proto::{
        audit::Actor,
        capture::Rejection,
        card::{Brand, Last4},
        field::Field,
        id::{CallId, OperationId, PaymentId, Tenant},
        payment::{Balance, OperationKind, Purpose, TooMany},
    },
};

/// Who asks: decided by `http`'s authentication, written into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Principal {
    pub tenant: Tenant,
    pub actor: Actor,
    pub origin: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewPayment {
    /// Our call id, or the signalling's.
    pub call: String,
    /// The caller's signalling tag. Refused when it is the agent's leg (Twilio users attach to the wrong
    /// leg); needed where the call does not tell which leg is the caller's.
    pub leg: Option<String>,
    pub amount_minor: u64,
    pub currency: String,
    /// Whether the money is taken or set aside.
    pub purpose: Purpose,
    pub reference: String,
    pub description: Option<String>,
    /// Which fields `complete` needs; card number, expiry and security code where empty.
    pub fields: Vec<Field>,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum FieldStatus {
    Missing,
    Capturing,
    Complete,
    /// The last try ended without a value: see `problem`.
    Problem,
}

/// A field as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FieldView {
    pub status: FieldStatus,
    pub required: bool,
    /// Digits keyed so far.
    pub count: u8,
    pub brand: Option<Brand>,
    pub last4: Option<Last4>,
    /// `•••• •••• •••• 4242`, `••••`: what to show.
    pub masked: Option<String>,
    pub attempts_left: Option<u8>,
    pub rejection: Option<Rejection>,
    /// One sentence for the agent: what went wrong and what to do.
    pub problem: Option<String>,
}

/// A payment as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PaymentView {
    pub id: PaymentId,
    pub call: CallId,
    pub state: PaymentState,
    pub amount_minor: u64,
    pub currency: String,
    /// Whether the money is taken or set aside. Absent, with the two below it, in answers that an older
    /// build kept.
    #[serde(default)]
    pub purpose: Purpose,
    /// Where the money is, of what was approved.
    #[serde(default)]
    pub balance: Option<Balance>,
    /// What was done with the charge since, oldest first.
    #[serde(default)]
    pub operations: Vec<OperationView>,
    pub reference: String,
    pub description: Option<String>,
    pub armed: bool,
    /// The line is too noisy to tell keys from it: the agent does not hear the caller while armed.
    /// Absent in answers that an older build kept.
    #[serde(default)]
    pub caller_muted: bool,
    pub capturing: Option<Field>,
    pub fields: BTreeMap<Field, FieldView>,
    pub outcome: Option<Outcome>,
    /// One sentence for the agent: what to do next.
    pub advice: String,
    pub attempts: u32,
    pub sandbox: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A settlement, void or refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OperationView {
    pub id: OperationId,
    pub kind: OperationKind,
    pub state: OperationState,
    pub amount_minor: u64,
    pub currency: String,
    pub reason: Option<String>,
    /// Nothing while it is on its way.
    pub outcome: Option<Outcome>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It is on its way.
    Sending,
    /// It was done.
    Done,
    /// The processor will not do it.
    Refused,
    /// Nothing was done.
    Failed,
    /// The processor has it and will do it or not.
    Pending,
    /// It may have been done.
    Unknown,
}

impl OperationState {
    /// Whether it is still to be found out what becomes of it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Sending | Self::Pending | Self::Unknown => true,
            Self::Done | Self::Refused | Self::Failed => false,
        }
    }
}

/// What is to be done with a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOrder {
    /// What.
    pub kind: OperationKind,
    /// Minor units; all that there is where it is not named.
    pub amount_minor: Option<u64>,
    /// The merchant's own words.
    pub reason: Option<String>,
    /// The most that whoever asks may move at a time, by currency; no bound where there is none.
    pub limits: Option<BTreeMap<String, u64>>,
    /// The request's idempotency key, as the journal keeps it: the same is done once, also across a crash.
    pub key: Option<String>,
}

/// One thing that happened, in the order of `id`, written down once for everybody who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    /// Grows by one with each event of this process; replayed from `Last-Event-ID`.
    pub id: u64,
    /// `payment.created`, `payment.capture`, `payment.updated`, `payment.ended`, `call.started`, `call.updated`,
    /// `call.key-code`, `call.key-code-refused`, `call.ended`.
    pub name: &'static str,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which payment it is about, and that one's state after it.
    pub payment: Option<(PaymentId, PaymentState)>,
    /// All of it as JSON: `id`, `name`, `tenant`, `call` and the payment after it.
    pub data: String,
}

#[derive(Serialize)]
struct Written<'a> {
    id: u64,
    name: &'a str,
    tenant: &'a Tenant,
    call: &'a CallId,
    payment: Option<&'a PaymentView>,
}

impl PaymentEvent {
    /// Writes down what happened to `call` and to `payment`, if it is about one.
    ///
    /// # Errors
    /// Never, as long as what a view holds has a JSON form.
    pub(crate) fn new(
        id: u64,
        name: &'static str,
        call: &CallId,
        payment: Option<&PaymentView>,
    ) -> serde_json::Result<Self> {
        let tenant = call.tenant();
        let data = serde_json::to_string(&Written {
            id,
            name,
            tenant,
            call,
            payment,
        })?;
        Ok(Self {
            id,
            name,
            tenant: tenant.clone(),
            payment: payment.map(|payment| (payment.id.clone(), payment.state)),
            data,
        })
    }
}

/// Why a request is refused. Each variant is an HTTP status and a `problem+json` type.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PaymentError {
    #[error("no call {0:?} is up; GET /v1/calls lists those that are")]
    UnknownCall(String),
    #[error("no payment {0} here")]
    UnknownPayment(String),
    #[error(
        "leg {0:?} is the agent's; a payment hears the caller: name the caller's leg or leave `leg` out"
    )]
    WrongLeg(String),
    #[error(
        "which end of the call is the caller is not known: name the caller's tag as `leg`, or have it known for every call by media.caller or tonewall-caller"
    )]
    CallerUnknown,
    #[error("the call already has payment {0}; complete or cancel it first")]
    CallHasPayment(PaymentId),
    #[error("the call cannot be armed: {0}")]
    CannotArm(String),
    #[error("the payment is {state:?}; {action} needs it {needed}")]
    WrongState {
        state: PaymentState,
        action: &'static str,
        needed: &'static str,
    },
    #[error("{0}")]
    NotAllowed(NotBegun),
    #[error("{0}")]
    TooMany(#[from] TooMany),
    #[error("this processor cannot {0}")]
    Unable(&'static str),
    #[error("still missing: {0:?}; capture each, then complete")]
    FieldsMissing(Vec<Field>),
    #[error("{field}: {found}; expected {expected}")]
    Invalid {
        field: &'static str,
        found: String,
        expected: String,
    },
    #[error("the gateway is draining and takes no new payments; use another node")]
    Draining,
    #[error("the gateway cannot keep the records that a payment needs: {0}")]
    NotRecordable(String),
    #[error("busy: {0}")]
    Overloaded(String),
}

/// Events, with those since `Last-Event-ID` first.
pub struct Subscription {
    /// What was missed; `None` when the id is older than what is kept: ask for the state anew.
    pub replay: Option<Vec<Arc<PaymentEvent>>>,
    /// What comes.
    pub live: tokio::sync::broadcast::Receiver<Arc<PaymentEvent>>,
}
