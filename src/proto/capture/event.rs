//! What a capture asks for and what may be told of it. Nothing here can hold a hidden digit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::{
    card::{Brand, Last4, Rejection},
    field::Field,
    id::PaymentId,
};

/// Which keys do what, and how long the caller may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSettings {
    /// Brands that the merchant takes; a card of another is refused with its name.
    pub accepted_brands: Vec<Brand>,
    /// Whether `#` ends a field.
    pub hash_ends: bool,
    /// Whether `*` clears what was keyed so far.
    pub star_clears: bool,
    /// How long until the first key.
    pub first_digit_timeout: Duration,
    /// How long between keys; a field that may be complete by then is taken as complete, any other
    /// is closed.
    pub inter_digit_timeout: Duration,
    /// How long for the whole field, tries included.
    pub overall_timeout: Duration,
    /// How many times the caller may key a field before the agent has to ask for it anew; 0 is
    /// taken as 1.
    pub attempts: u8,
    /// Fewest digits of a postal code.
    pub min_postal_code_length: u8,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            accepted_brands: Brand::ALL.to_vec(),
            hash_ends: true,
            star_clears: true,
            first_digit_timeout: Duration::from_secs(30),
            inter_digit_timeout: Duration::from_secs(6),
            overall_timeout: Duration::from_secs(180),
            attempts: 3,
            min_postal_code_length: 4,
        }
    }
}

/// One thing that happened to a field, as the agent may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureEvent {
    /// Which payment.
    pub payment: PaymentId,
    /// Which field.
    pub field: Field,
    /// What happened.
    #[serde(flatten)]
    pub kind: CaptureEventKind,
}

/// What happened to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CaptureEventKind {
    /// The caller may key now. Told once; after [`CaptureEventKind::Rejected`] with tries left the
    /// field is open without it.
    Opened {
        /// Tries left, this one included.
        attempts_left: u8,
    },
    /// Keys so far, told on a grid of 250 ms.
    Progress {
        /// How many digits.
        count: u8,
        /// The brand, once the first digits tell it.
        brand: Option<Brand>,
    },
    /// The caller cleared the field; it stays open.
    Cleared,
    /// The field is complete and checked.
    Complete {
        /// How many digits.
        count: u8,
        /// The brand of a card number.
        brand: Option<Brand>,
        /// The last four digits of a card or account number.
        last4: Option<Last4>,
    },
    /// What was keyed cannot be right; wiped. Open again while tries are left.
    Rejected {
        /// Why.
        reason: Rejection,
        /// Tries left after this one; 0 closes the field.
        attempts_left: u8,
    },
    /// A time-out closed the field; wiped.
    TimedOut {
        /// Which.
        timeout: CaptureTimeout,
    },
    /// The field was closed before it was complete (another field, cancel, hang-up); wiped.
    Cancelled,
    /// The gateway could not hear or keep the field; wiped. The caller has to be asked again.
    Failed {
        /// Why.
        reason: CaptureFailure,
    },
}

/// Which time-out closed a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureTimeout {
    /// No key at all.
    FirstDigit,
    /// No further key.
    InterDigit,
    /// The field as a whole took too long.
    Overall,
}

/// Why the gateway could not take a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureFailure {
    /// No slot of secret memory is free.
    SecretMemoryFull,
    /// The caller's media changed in the middle of the field (another source).
    MediaChanged,
    /// Two sources competed for being the caller when the call began: which is the caller is not known.
    Contested,
    /// Audio was lost while a key was down, so a digit may be missing.
    MediaLost,
    /// The card plane did not take the field.
    CardPlaneBusy,
    /// The output check heard a tone: the leg is muted and nothing more is captured.
    Incident,
    /// The call is not armed by this payment.
    NotArmed,
}
