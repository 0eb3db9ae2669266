//! Checkout.com's webhooks, signed with the key of the workflow's action.
//!
//! Nothing in them says when they were signed: one that was overheard could be sent again, and would tell again
//! what it told. Sources: <https://www.checkout.com/docs/workflows>,
//! <https://www.checkout.com/docs/developer-resources/webhooks/manage-webhooks/set-up-your-webhook-receiver>,
//! <https://www.checkout.com/docs/developer-resources/webhooks/webhook-event-types/payment_captured> and beside it.

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use super::{advice, uncounted};
use crate::{
    processor::{
        OperationKind, Outcome, Secret,
        api::will_not,
        notification::{
            Forged, Keys, NotAKey, ReadNotifications, from_hex, header, our_reference, told_amount,
        },
        words,
    },
    proto::payment::{About, Notification},
};

/// Reads them.
pub struct CheckoutNotifications {
    keys: Keys,
}

impl CheckoutNotifications {
    /// `keys` are signature keys, as the workflow was given them.
    ///
    /// # Errors
    /// [`NotAKey`] where one is shorter than 16 characters.
    pub fn new(keys: &[Secret]) -> Result<Self, NotAKey> {
        let bytes = |text: &str| (text.len() >= 16).then(|| text.as_bytes().to_vec());
        let expected = "the signature key of the webhook's action, 16 characters or more";
        let keys = Keys::new(keys, bytes, expected)?;
        Ok(Self { keys })
    }
}

impl ReadNotifications for CheckoutNotifications {
    fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        _now: Timestamp,
    ) -> Result<Vec<Option<Notification>>, Forged> {
        let signature = header(headers, "cko-signature").and_then(from_hex);
        if !self
            .keys
            .signed(&[body], &signature.ok_or(Forged::Unsigned)?)
        {
            return Err(Forged::OtherSignature);
        }
        let event: Option<Event> = serde_json::from_slice(body).ok();
        Ok(vec![event.and_then(|event| event.of_ours())])
    }
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    /// The payment's.
    id: String,
    action_id: Option<String>,
    reference: Option<String>,
    amount: u64,
    currency: String,
    response_code: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    operation: Option<String>,
}

impl Event {
    fn of_ours(&self) -> Option<Notification> {
        use OperationKind::{Refund, Settle, Void};
        let (about, done) = match self.r#type.as_str() {
            "payment_approved" => (About::Charge, true),
            "payment_declined" => (About::Charge, false),
            "payment_captured" => (About::Operation(Settle), true),
            "payment_capture_declined" => (About::Operation(Settle), false),
            "payment_voided" => (About::Operation(Void), true),
            "payment_void_declined" => (About::Operation(Void), false),
            "payment_refunded" => (About::Operation(Refund), true),
            "payment_refund_declined" => (About::Operation(Refund), false),
            _ => return None,
        };
        let data = &self.data;
        let (own, reference) = match about {
            About::Charge => (Some(&data.id), data.reference.as_deref()),
            // The payment's reference may stand in the place of the operation's.
            About::Operation(_) => {
                let ours = data.metadata.operation.as_deref();
                (data.action_id.as_ref(), ours.or(data.reference.as_deref()))
            }
        };
        let processor_reference = words::reference_or_withheld(own.map_or("", String::as_str));
        let code = data.response_code.as_deref().unwrap_or(&self.r#type);
        let outcome = match about {
            // Part of the amount: neither a payment nor none.
            _ if code == "10010" => Outcome::Pending {
                processor_reference: processor_reference.clone(),
                code: code.to_owned(),
            },
            _ if done => Outcome::Approved {
                processor_reference: processor_reference.clone(),
                code: words::code_or_withheld(code),
            },
            About::Charge => Outcome::Declined {
                advice: advice(data.response_code.as_deref()),
                code: words::code_or_withheld(code),
            },
            About::Operation(_) => will_not(code),
        };
        let of_all = about == About::Operation(Void);
        let amount = (!of_all)
            .then(|| told_amount(uncounted(data.amount, &data.currency), &data.currency))
            .flatten();
        Some(Notification {
            reference: our_reference(reference?)?,
            about,
            processor_reference,
            amount,
            outcome,
            event: words::code_or_withheld(&self.r#type),
        })
    }
}

#[cfg(test)]
mod tests;
