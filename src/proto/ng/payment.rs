//! `tonewall-payment`: a payment on a call, asked for by its signalling.

use super::value::canonical;
use crate::proto::ng::Value;

/// What a payment is to be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentOrder {
    /// `tonewall-amount`, in minor units (cents).
    pub amount_minor: u64,
    /// `tonewall-currency` (ISO 4217).
    pub currency: String,
    /// `tonewall-reference`.
    pub reference: String,
    /// `tonewall-description`.
    pub description: Option<String>,
}

/// `block DTMF` with the key `tonewall-payment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    /// SIP Call-ID.
    pub call_id: String,
    /// What was asked for, or why it is nothing that is done. It is refused where it can be recorded.
    pub order: Result<PaymentOrder, PaymentKeyError>,
}

/// Why the keys are no order. Never holds a value of the request: an amount may be a card number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymentKeyError {
    /// Another word than `start`.
    #[error(
        "tonewall-payment is not \"start\": fields are opened, and a payment is completed or cancelled, by the API and the agent's panel only"
    )]
    Word,
    /// A key is missing.
    #[error(
        "tonewall-payment has no {0}; expected tonewall-amount in minor units (cents), tonewall-currency and tonewall-reference"
    )]
    Missing(&'static str),
    /// No amount.
    #[error("tonewall-amount is no whole number of minor units (cents)")]
    Amount,
}

/// Reads the keys. `get` finds one as text.
pub(super) fn order<'a>(
    get: impl Fn(&str) -> Option<&'a Value>,
) -> Result<PaymentOrder, PaymentKeyError> {
    let text = |key: &str| get(key).and_then(Value::to_text);
    let needed = |key: &'static str| text(key).ok_or(PaymentKeyError::Missing(key));
    let word = text("tonewall-payment").unwrap_or_default();
    if canonical(&word) != "start" {
        return Err(PaymentKeyError::Word);
    }
    let amount = needed("tonewall-amount")?;
    Ok(PaymentOrder {
        amount_minor: amount.trim().parse().map_err(|_| PaymentKeyError::Amount)?,
        currency: needed("tonewall-currency")?,
        reference: needed("tonewall-reference")?,
        description: text("tonewall-description"),
    })
}
