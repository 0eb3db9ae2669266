//! How attempts and payments stand.

use serde::{Deserialize, Serialize};

use crate::proto::field::Field;

/// How an attempt ended. Every attempt ends as one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// The money is authorised.
    Approved {
        /// The processor's own reference.
        processor_reference: String,
        /// The processor's code, for support.
        code: String,
    },
    /// The processor or issuer said no; no charge stands.
    Declined {
        /// What the agent should do next.
        advice: Advice,
        /// The processor's code, for support.
        code: String,
    },
    /// Nothing was sent, or the processor surely did nothing: safe to try again.
    Failed {
        /// Why, in words for a person.
        reason: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// The processor has it and has not decided yet: it may stand. A look-up resolves it.
    Pending {
        /// The processor's own reference.
        processor_reference: String,
        /// The processor's code, for support.
        code: String,
    },
    /// It was sent and no answer came: it may stand. A look-up or a person resolves it.
    Unknown {
        /// Why, in words for a person.
        reason: String,
    },
}

impl Outcome {
    /// Lower-case word used in records and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Approved { .. } => "approved",
            Self::Declined { .. } => "declined",
            Self::Failed { .. } => "failed",
            Self::Pending { .. } => "pending",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether it is still open how the attempt ends: it may stand.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Pending { .. } | Self::Unknown { .. } => true,
            Self::Approved { .. } | Self::Declined { .. } | Self::Failed { .. } => false,
        }
    }
}

/// What to do after a decline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "advice", content = "field", rename_all = "kebab-case")]
pub enum Advice {
    /// The same card may work now or later.
    TryAgain,
    /// Ask for another card.
    OtherCard,
    /// Ask for this field again.
    ReEnter(Field),
    /// The customer has to call the issuer.
    CallIssuer,
    /// Do not try this card again.
    DoNotRetry,
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum PaymentState {
    Arming,
    Open,
    Capturing,
    Submitting,
    Approved,
    /// Declined; still armed where a field or a card is to be asked for again.
    Declined,
    Failed,
    Unknown,
    Cancelled,
}

impl PaymentState {
    /// Lower-case word used in rows, records and metrics; the serde form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arming => "arming",
            Self::Open => "open",
            Self::Capturing => "capturing",
            Self::Submitting => "submitting",
            Self::Approved => "approved",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that [`as_str`](Self::as_str) gives this word for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Arming,
            Self::Open,
            Self::Capturing,
            Self::Submitting,
            Self::Approved,
            Self::Declined,
            Self::Failed,
            Self::Unknown,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }
}
