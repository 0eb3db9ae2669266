//! Adyen's standard webhooks, by which it settles what it has only taken.
//!
//! The signature covers eight fields of an item and nothing else: `live`, `reason` and `additionalData` could
//! be anybody's, so they choose words at most. Sources:
//! <https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures>,
//! <https://docs.adyen.com/development-resources/webhooks/webhook-types>,
//! <https://docs.adyen.com/api-explorer/Webhooks/latest/post/AUTHORISATION> and beside it,
//! <https://docs.adyen.com/development-resources/refusal-reasons>.

use axum::http::HeaderMap;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{advice, uncounted};
use crate::{
    processor::{
        Mode, OperationKind, Outcome, Secret,
        api::will_not,
        notification::{
            Forged, Keys, NotAKey, ReadNotifications, from_hex, our_reference, told_amount,
        },
        words,
    },
    proto::payment::{About, Notification},
};

/// Reads them.
pub struct AdyenNotifications {
    keys: Keys,
    merchant_account: String,
    mode: Mode,
}

impl AdyenNotifications {
    /// `keys` are as the Customer Area shows them.
    ///
    /// # Errors
    /// [`NotAKey`] where one is not 64 hexadecimal digits.
    pub fn new(keys: &[Secret], merchant_account: String, mode: Mode) -> Result<Self, NotAKey> {
        let bytes = |text: &str| from_hex(text).filter(|bytes| bytes.len() == 32);
        let expected =
            "64 hexadecimal digits, as Adyen's Customer Area shows the webhook's HMAC key";
        Ok(Self {
            keys: Keys::new(keys, bytes, expected)?,
            merchant_account,
            mode,
        })
    }

    fn verify(&self, item: &Item) -> Result<(), Forged> {
        let signature = item.additional_data.as_ref();
        let signature = signature.and_then(|data| data.hmac_signature.as_deref());
        let signature = BASE64_STANDARD
            .decode(signature.ok_or(Forged::Unsigned)?)
            .map_err(|_| Forged::Unsigned)?;
        let plain = item.signed(str::to_owned);
        if self.keys.signed(&[plain.as_bytes()], &signature) {
            return Ok(());
        }
        // Some of Adyen's libraries sign other people's references with their colons escaped.
        let escaped = item.signed(|field| field.replace('\\', "\\\\").replace(':', "\\:"));
        if escaped != plain && self.keys.signed(&[escaped.as_bytes()], &signature) {
            return Ok(());
        }
        Err(Forged::OtherSignature)
    }

    fn of_ours(&self, item: &Item, live: bool) -> Option<Notification> {
        let ours = live == (self.mode == Mode::Live)
            && item.merchant_account_code == self.merchant_account
            // With a colon in one of them the fields could be cut elsewhere under the same signature.
            && !item.fields().iter().any(|field| field.contains([':', '\\']));
        if !ours {
            return None;
        }
        let success = match text(&item.success).as_str() {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        let (about, done) = match item.event_code.as_str() {
            "AUTHORISATION" => (About::Charge, success),
            "CAPTURE" => (About::Operation(OperationKind::Settle), success),
            "CAPTURE_FAILED" => (About::Operation(OperationKind::Settle), false),
            "CANCELLATION" | "CANCEL_OR_REFUND" => (About::Operation(OperationKind::Void), success),
            "REFUND" => (About::Operation(OperationKind::Refund), success),
            "REFUND_FAILED" | "REFUNDED_REVERSED" => {
                (About::Operation(OperationKind::Refund), false)
            }
            _ => return None,
        };
        let processor_reference = words::reference_or_withheld(&item.psp_reference);
        // Of what was done it is no reason: of a charge it holds the card's expiry.
        let reason = item.reason.as_deref().filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or(&item.event_code);
        let outcome = match about {
            _ if done => Outcome::Approved {
                processor_reference: processor_reference.clone(),
                code: words::code_or_withheld(&item.event_code),
            },
            About::Charge => Outcome::Declined {
                advice: advice(reason_code(reason)),
                code: words::code_or_withheld(reason),
            },
            About::Operation(_) => will_not(reason),
        };
        let of_all = about == About::Operation(OperationKind::Void);
        let amount = (!of_all).then_some(&item.amount).and_then(|amount| {
            let value = text(&amount.value).parse().ok();
            let minor = value.and_then(|value| uncounted(value, &amount.currency));
            told_amount(minor, &amount.currency)
        });
        Some(Notification {
            reference: our_reference(&item.merchant_reference)?,
            about,
            processor_reference,
            amount,
            outcome,
            event: words::code_or_withheld(&item.event_code),
        })
    }
}

impl ReadNotifications for AdyenNotifications {
    fn read(
        &self,
        _headers: &HeaderMap,
        body: &[u8],
        _now: Timestamp,
    ) -> Result<Vec<Option<Notification>>, Forged> {
        let Ok(told) = serde_json::from_slice::<Body>(body) else {
            return Err(Forged::Unsigned);
        };
        if told.notification_items.is_empty() {
            return Err(Forged::Unsigned);
        }
        let live = text(&told.live) == "true";
        let items = told.notification_items.iter();
        items
            .map(|one| {
                let item = &one.item;
                self.verify(item).map(|()| self.of_ours(item, live))
            })
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    live: Value,
    notification_items: Vec<Wrapped>,
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(rename = "NotificationRequestItem")]
    item: Item,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    additional_data: Option<AdditionalData>,
    amount: Amount,
    event_code: String,
    merchant_account_code: String,
    #[serde(default)]
    merchant_reference: String,
    #[serde(default)]
    original_reference: String,
    psp_reference: String,
    reason: Option<String>,
    success: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalData {
    hmac_signature: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    currency: String,
    value: Value,
}

impl Item {
    /// What the signature covers, in its order.
    fn fields(&self) -> [String; 8] {
        [
            self.psp_reference.clone(),
            self.original_reference.clone(),
            self.merchant_account_code.clone(),
            self.merchant_reference.clone(),
            text(&self.amount.value),
            self.amount.currency.clone(),
            self.event_code.clone(),
            text(&self.success),
        ]
    }

    fn signed(&self, each: impl Fn(&str) -> String) -> String {
        self.fields().map(|field| each(&field)).join(":")
    }
}

/// A text, number or truth value as it is signed.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The `refusalReasonCode` of a reason, which notifications tell by its words only.
fn reason_code(reason: &str) -> Option<&'static str> {
    Some(match reason.to_ascii_lowercase().as_str() {
        "referral" => "3",
        "acquirer error" => "4",
        "blocked card" => "5",
        "expired card" => "6",
        "invalid card number" => "8",
        "issuer unavailable" => "9",
        "not enough balance" => "12",
        "acquirer fraud" => "14",
        "cancelled" => "15",
        "shopper cancelled" => "16",
        "fraud" => "20",
        "not submitted" => "21",
        "fraud-cancelled" => "22",
        "cvc declined" => "24",
        "revocation of auth" => "26",
        "issuer suspected fraud" => "31",
        "closed account" => "46",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
