//! Stripe's events, signed with the secret of a webhook endpoint.
//!
//! Sources: <https://docs.stripe.com/webhooks>, <https://docs.stripe.com/webhooks/signature>,
//! <https://docs.stripe.com/api/events/types>.

use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{Intent, operations::Refund, uncounted};
use crate::{
    processor::{
        Mode, OperationKind, Secret,
        notification::{
            Forged, Keys, NotAKey, ReadNotifications, from_hex, header, our_reference, told_amount,
        },
        words,
    },
    proto::payment::{About, Notification},
};

/// How far the time of signing may be from now, as Stripe's libraries have it.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Reads them.
pub struct StripeNotifications {
    keys: Keys,
    mode: Mode,
}

impl StripeNotifications {
    /// `keys` are signing secrets of the endpoint.
    ///
    /// # Errors
    /// [`NotAKey`] where one does not begin with `whsec_`.
    pub fn new(keys: &[Secret], mode: Mode) -> Result<Self, NotAKey> {
        // The key is the whole text.
        let bytes = |text: &str| {
            let rest = text.strip_prefix("whsec_")?;
            (rest.len() >= 16).then(|| text.as_bytes().to_vec())
        };
        let expected = "whsec_ and the rest, as Stripe shows the endpoint's signing secret";
        Ok(Self {
            keys: Keys::new(keys, bytes, expected)?,
            mode,
        })
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Forged> {
        let value = header(headers, "stripe-signature").ok_or(Forged::Unsigned)?;
        let parts = || {
            value
                .split(',')
                .filter_map(|part| part.trim().split_once('='))
        };
        let time = parts().find(|(name, _)| *name == "t").map(|(_, time)| time);
        let time = time.ok_or(Forged::Unsigned)?;
        let signatures = parts().filter(|(name, _)| *name == "v1");
        let signed = signatures
            .filter_map(|(_, hex)| from_hex(hex))
            .any(|signature| self.keys.signed(&[time.as_bytes(), b".", body], &signature));
        if !signed {
            return Err(Forged::OtherSignature);
        }
        let at = time
            .parse()
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok());
        let off = at.map(|at| now.duration_since(at).abs());
        if off.is_none_or(|off| off > TOLERANCE) {
            return Err(Forged::Stale);
        }
        Ok(())
    }

    fn of_ours(&self, event: Event) -> Option<Notification> {
        if event.livemode != (self.mode == Mode::Live) {
            return None;
        }
        let object = event.data.object;
        let currency = object["currency"].as_str()?.to_ascii_uppercase();
        let told = |reference: &str, about, id: &str, amount, outcome| {
            Some(Notification {
                reference: our_reference(reference)?,
                about,
                processor_reference: words::reference_or_withheld(id),
                amount: told_amount(uncounted(amount, &currency), &currency),
                outcome,
                event: words::code_or_withheld(&event.kind),
            })
        };
        match event.kind.as_str() {
            // That one was cancelled is no news: it may be our own doing.
            "payment_intent.succeeded"
            | "payment_intent.amount_capturable_updated"
            | "payment_intent.processing"
            | "payment_intent.payment_failed" => {
                let intent: Intent = serde_json::from_value(object).ok()?;
                let reference = intent.metadata.tonewall_attempt.as_deref()?;
                let outcome = intent.outcome();
                told(reference, About::Charge, &intent.id, intent.amount, outcome)
            }
            "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
                let refund: Refund = serde_json::from_value(object).ok()?;
                let reference = refund.metadata.tonewall_operation.as_deref()?;
                let about = About::Operation(OperationKind::Refund);
                told(
                    reference,
                    about,
                    &refund.id,
                    refund.amount,
                    refund.outcome(),
                )
            }
            _ => None,
        }
    }
}

impl ReadNotifications for StripeNotifications {
    fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Option<Notification>>, Forged> {
        self.verify(headers, body, now)?;
        let event = serde_json::from_slice(body).ok();
        Ok(vec![event.and_then(|event| self.of_ours(event))])
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

#[cfg(test)]
mod tests;
