//! Capturing, cancelling, reversing and refunding. Adyen takes each and decides later.
//!
//! Sources: <https://docs.adyen.com/api-explorer/Checkout/71/post/payments/(paymentPspReference)/captures>,
//! `…/cancels`, `…/reversals`, `…/refunds`;
//! <https://docs.adyen.com/development-resources/api-idempotency> (keys are kept at least seven days).

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Adyen, Refusal, counted, unpayable};
use crate::processor::{
    Operation, OperationKind, Outcome, Purpose,
    api::{
        operation_age, operation_not_looked_up, refused, short_operation_reference, unclear,
        will_not,
    },
    client::{Heading, JSON},
    response::Response,
    words,
};

/// How long an operation is asked for again: well within the week that Adyen keeps a key.
const REPLAY_FOR: Duration = Duration::from_secs(6 * 24 * 60 * 60);

impl Adyen {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let Some((path, body)) = self.operation(operation) else {
            return unpayable(&operation.charge);
        };
        let key = short_operation_reference(operation);
        let heading = Heading {
            media: JSON,
            fields: &[("X-API-Key", self.key.expose()), ("Idempotency-Key", &key)],
        };
        match self.api.post(&path, heading, body).await {
            Ok(response) => understand(&response, operation),
            Err(error) => error.into(),
        }
    }

    /// Whether it was taken is all that Adyen can be asked: what became of it comes by notification.
    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        if operation_age(operation) >= REPLAY_FOR {
            return operation_not_looked_up(format!(
                "Adyen cannot be asked for a reference; find {} in its Customer Area",
                short_operation_reference(operation)
            ));
        }
        match self.request_operation(operation).await {
            // That the question was not taken tells nothing of the first.
            Outcome::Failed { reason, .. } => operation_not_looked_up(reason),
            answer => answer,
        }
    }

    /// Path and JSON; nothing where the amount cannot be written.
    fn operation(&self, operation: &Operation) -> Option<(String, String)> {
        let mut body = json!({
            "merchantAccount": self.merchant_account,
            "reference": short_operation_reference(operation),
        });
        let what = match (operation.kind, operation.charge.purpose) {
            (OperationKind::Settle, _) => "captures",
            (OperationKind::Void, Purpose::Authorise) => "cancels",
            // A charge that captures itself may have done so: this one is right in both cases.
            (OperationKind::Void, Purpose::Charge) => "reversals",
            (OperationKind::Refund, _) => "refunds",
        };
        if operation.kind != OperationKind::Void {
            let currency = &operation.charge.currency;
            let value = counted(operation.amount_minor, currency)?;
            body["amount"] = json!({ "currency": currency, "value": value });
        }
        let path = format!("/payments/{}/{what}", operation.processor_reference);
        Some((path, body.to_string()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    payment_psp_reference: String,
    psp_reference: String,
    reference: Option<String>,
    status: String,
}

fn understand(response: &Response, operation: &Operation) -> Outcome {
    let status = response.status;
    if status == 201 {
        let ours = short_operation_reference(operation);
        return match serde_json::from_slice::<Taken>(&response.body) {
            Ok(taken)
                if taken.status == "received"
                    && taken.payment_psp_reference == operation.processor_reference
                    && taken.reference.as_ref().is_none_or(|found| *found == ours) =>
            {
                Outcome::Pending {
                    processor_reference: words::reference_or_withheld(&taken.psp_reference),
                    code: "received".to_owned(),
                }
            }
            Ok(_) => unclear("is not about this operation", status),
            Err(_) => unclear("is not the JSON of an operation", status),
        };
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) else {
        return match status {
            401 | 403 => refused("the key is not taken", status, false),
            429 => refused("too many requests", status, true),
            _ => unclear("cannot be read", status),
        };
    };
    let code = words::code_or_withheld(&refusal.error_code);
    match (status, refusal.error_code.as_str()) {
        // The key is in use, or was used otherwise: what was done under it is not said.
        (_, "704") => unclear("says that there is such a request already (704)", status),
        (401 | 403, _) => refused(&code, status, false),
        (400 | 404 | 422, _) => will_not(&code),
        (429, _) => refused(&code, status, true),
        _ => unclear(&format!("says {code}"), status),
    }
}

#[cfg(test)]
mod tests;
