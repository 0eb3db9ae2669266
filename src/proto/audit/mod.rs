//! What the compliance log says (PCI DSS 10.2.1, 10.2.2), in which bytes, and how it is checked.
//!
//! People appear by the id of the key that they used, never by name: names live in the journal.

mod canonical;
mod entry;
mod requirement;
mod verifier;

pub use canonical::{NotCanonical, canonical};
pub use entry::{Entry, EntryHash, LONGEST_ENTRY, NotAHash, Unfit};
pub use verifier::{Fault, Step, Verified, Verifier};

use serde::{Deserialize, Serialize};

use super::{
    field::Field,
    id::{AttemptId, CallId, EndpointName, KeyId, MessageId, OperationId, PaymentId},
    leg::Leg,
    payment::OperationKind,
    proof::MaskingProof,
};

/// Who did it (PCI DSS 10.2.2: user identification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Actor {
    /// The gateway itself.
    Gateway,
    /// Whoever holds this API key.
    Key {
        /// The key's id, never the key.
        id: KeyId,
    },
    /// A person in the panel, entered by this link.
    Panel {
        /// The link's id.
        id: KeyId,
    },
    /// A signalling peer (NG).
    Peer {
        /// Its address.
        address: String,
    },
    /// Somebody at the machine's console (the command line).
    Console {
        /// The operating system's user id.
        uid: u32,
    },
    /// Nobody that is known.
    Anonymous,
}

/// Success or failure (PCI DSS 10.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Success {
    /// It was done.
    Success,
    /// It was refused or failed.
    Failure,
}

/// One entry before the log adds sequence, time, node, build and links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub actor: Actor,
    /// From where: a socket address, `console` or `gateway` (PCI DSS 10.2.2: origination).
    pub origin: String,
    /// Whether it was done.
    pub success: Success,
    /// What, and on what (PCI DSS 10.2.2: affected data or component).
    pub event: Event,
}

/// What happened. Nothing here can hold a digit beyond the last four.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Event {
    LogStarted,
    LogStopped,
    Configuration {
        hash: String,
        change: String,
    },
    SecretMemory {
        kind: String,
    },
    ApiKeyCreated {
        key: KeyId,
        role: String,
    },
    ApiKeyRevoked {
        key: KeyId,
    },
    PanelLinkCreated {
        key: KeyId,
    },
    SignIn {
        key: KeyId,
    },
    SignInRefused {
        reason: String,
    },
    SignOut {
        key: KeyId,
    },
    AccessRefused {
        action: String,
        reason: String,
    },
    AuditRead {
        range: String,
    },
    CallStarted {
        call: CallId,
    },
    CallEnded {
        call: CallId,
        proof: MaskingProof,
    },
    PaymentCreated {
        payment: PaymentId,
        call: CallId,
        amount_minor: u64,
        currency: String,
    },
    ArmingRequested {
        payment: PaymentId,
        call: CallId,
    },
    Armed {
        call: CallId,
        holder: String,
    },
    ArmRefused {
        call: CallId,
        reason: String,
    },
    Disarmed {
        call: CallId,
    },
    DisarmRefused {
        call: CallId,
        reason: String,
    },
    MaskingTightened {
        call: CallId,
        guard: String,
    },
    SourceContested {
        call: CallId,
        leg: Leg,
    },
    KeyCodeRefused {
        call: CallId,
        reason: String,
    },
    CaptureOpened {
        payment: PaymentId,
        field: Field,
    },
    CaptureCompleted {
        payment: PaymentId,
        field: Field,
    },
    CaptureClosed {
        payment: PaymentId,
        field: Field,
        reason: String,
    },
    ChargeIntent {
        payment: PaymentId,
        attempt: AttemptId,
        amount_minor: u64,
        currency: String,
    },
    ChargeSending {
        payment: PaymentId,
        attempt: AttemptId,
    },
    ChargeResult {
        payment: PaymentId,
        attempt: AttemptId,
        outcome: String,
        code: String,
    },
    ChargeUnknown {
        payment: PaymentId,
        attempt: AttemptId,
        reason: String,
    },
    /// A settlement, void or refund is about to be sent.
    OperationSending {
        payment: PaymentId,
        operation: OperationId,
        kind: OperationKind,
        amount_minor: u64,
        currency: String,
    },
    /// How it ended, or that it is open.
    OperationResult {
        payment: PaymentId,
        operation: OperationId,
        kind: OperationKind,
        outcome: String,
        code: String,
    },
    PaymentCancelled {
        payment: PaymentId,
        reason: String,
    },
    CardWiped {
        payment: PaymentId,
        reason: String,
    },
    CallbackReplayed {
        message: MessageId,
        payment: PaymentId,
        endpoint: EndpointName,
    },
    CallbackDropped {
        message: MessageId,
        payment: PaymentId,
        endpoint: EndpointName,
    },
    ControlFailure {
        control: String,
        cause: String,
        call: Option<CallId>,
    },
}
