//! Capturing, cancelling and refunding a payment intent.
//!
//! Sources: <https://docs.stripe.com/api/payment_intents/capture>,
//! <https://docs.stripe.com/api/payment_intents/cancel>, <https://docs.stripe.com/api/refunds>.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;

use super::{Refusal, Stripe, counted, unpayable};
use crate::processor::{
    Operation, OperationKind, Outcome,
    api::{ON_ITS_WAY, OnTheBooks, operation_age, operation_outcome, refused, unclear, will_not},
    client::{FORM, Heading},
    response::Response,
    words,
};

/// How long an operation is asked for again: well within the day that Stripe keeps a key.
const REPLAY_FOR: Duration = Duration::from_secs(12 * 60 * 60);
/// Our reference at a refund.
const REFERENCE: &str = "tonewall_operation";
/// Most refunds of a charge that are read.
const LISTED: &str = "100";

impl Stripe {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let Some((path, body)) = request(operation) else {
            return unpayable(&operation.charge);
        };
        let key = operation.id.to_string();
        let heading = Heading {
            media: FORM,
            fields: &self.fields(&key),
        };
        match self.api.post(&path, heading, body).await {
            Ok(response) => understand(&response, operation),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        let mut again = None;
        if operation_age(operation) < REPLAY_FOR {
            // Under its key the first is answered again, or done now if it never came.
            let answer = self.request_operation(operation).await;
            if matches!(answer, Outcome::Approved { .. } | Outcome::Pending { .. }) {
                return answer;
            }
            again = Some(answer);
        }
        operation_outcome(operation, again, self.books(operation).await, ON_ITS_WAY)
    }

    async fn books(&self, operation: &Operation) -> OnTheBooks {
        let intent = &operation.processor_reference;
        let path = match operation.kind {
            OperationKind::Settle | OperationKind::Void => format!("/v1/payment_intents/{intent}"),
            OperationKind::Refund => {
                format!("/v1/refunds?payment_intent={intent}&limit={LISTED}")
            }
        };
        let response = match self.api.get(&path, &self.fields("")[..2]).await {
            Ok(response) if response.status == 200 => response,
            Ok(response) => {
                return OnTheBooks::Unread(format!("it was answered HTTP {}", response.status));
            }
            Err(error) => return OnTheBooks::Unread(error.to_string()),
        };
        let books = match operation.kind {
            OperationKind::Settle | OperationKind::Void => {
                let intent = serde_json::from_slice::<Intent>(&response.body).ok();
                intent.and_then(|intent| intent.books(operation))
            }
            OperationKind::Refund => {
                let refunds = serde_json::from_slice::<Refunds>(&response.body).ok();
                refunds.and_then(|refunds| refunds.books(operation))
            }
        };
        books.unwrap_or_else(|| OnTheBooks::Unread("the answer is none of this charge".to_owned()))
    }
}

/// Path and form; nothing where the amount cannot be written.
fn request(operation: &Operation) -> Option<(String, String)> {
    let intent = &operation.processor_reference;
    let amount = counted(operation.amount_minor, &operation.charge.currency)?.to_string();
    let mut form = Serializer::new(String::new());
    let path = match operation.kind {
        OperationKind::Settle => {
            form.append_pair("amount_to_capture", &amount);
            format!("/v1/payment_intents/{intent}/capture")
        }
        OperationKind::Void => {
            form.append_pair("cancellation_reason", "requested_by_customer");
            format!("/v1/payment_intents/{intent}/cancel")
        }
        OperationKind::Refund => {
            form.append_pair("payment_intent", intent)
                .append_pair("amount", &amount)
                .append_pair(&format!("metadata[{REFERENCE}]"), &operation.id.to_string());
            "/v1/refunds".to_owned()
        }
    };
    Some((path, form.finish()))
}

fn understand(response: &Response, operation: &Operation) -> Outcome {
    let status = response.status;
    if status == 200 {
        let outcome = match operation.kind {
            OperationKind::Settle | OperationKind::Void => {
                let intent = serde_json::from_slice::<Intent>(&response.body).ok();
                intent.and_then(|intent| intent.outcome(operation))
            }
            OperationKind::Refund => {
                let refund = serde_json::from_slice::<Refund>(&response.body).ok();
                refund
                    .filter(|refund| refund.is_of(operation))
                    .map(|refund| refund.outcome())
            }
        };
        return outcome.unwrap_or_else(|| unclear("is not about this operation", status));
    }
    let Ok(Refusal { error }) = serde_json::from_slice(&response.body) else {
        return unclear("cannot be read", status);
    };
    match (status, error.kind.as_str()) {
        (400 | 402 | 404, "invalid_request_error" | "card_error") => will_not(&error.code()),
        (401 | 403, _) => refused(&error.code(), status, false),
        (429, _) => refused(&error.code(), status, true),
        _ => unclear(&format!("says {}", error.code()), status),
    }
}

#[derive(Deserialize)]
struct Intent {
    object: String,
    id: String,
    status: String,
    amount_received: u64,
}

impl Intent {
    /// Nothing where it is another one.
    fn books(&self, operation: &Operation) -> Option<OnTheBooks> {
        if self.object != "payment_intent" || self.id != operation.processor_reference {
            return None;
        }
        let done = || Outcome::Approved {
            processor_reference: words::reference_or_withheld(&self.id),
            code: words::code_or_withheld(&self.status),
        };
        let amount = counted(operation.amount_minor, &operation.charge.currency);
        Some(match (operation.kind, self.status.as_str()) {
            (OperationKind::Settle, "succeeded") if Some(self.amount_received) == amount => {
                OnTheBooks::As(done())
            }
            (OperationKind::Void, "canceled") => OnTheBooks::As(done()),
            (_, "processing") => OnTheBooks::As(Outcome::Pending {
                processor_reference: words::reference_or_withheld(&self.id),
                code: "processing".to_owned(),
            }),
            // Whatever else became of the charge, this it was not.
            _ => OnTheBooks::Missing,
        })
    }

    fn outcome(&self, operation: &Operation) -> Option<Outcome> {
        match self.books(operation)? {
            OnTheBooks::As(outcome) => Some(outcome),
            OnTheBooks::Missing | OnTheBooks::Unread(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Refunds {
    data: Vec<Refund>,
    has_more: bool,
}

impl Refunds {
    /// Nothing where there are more of them than were read.
    fn books(&self, operation: &Operation) -> Option<OnTheBooks> {
        match self.data.iter().find(|refund| refund.is_of(operation)) {
            Some(refund) => Some(OnTheBooks::As(refund.outcome())),
            None => (!self.has_more).then_some(OnTheBooks::Missing),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Refund {
    object: String,
    pub(super) id: String,
    status: String,
    pub(super) amount: u64,
    payment_intent: Option<String>,
    pub(super) metadata: Metadata,
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) tonewall_operation: Option<String>,
}

impl Refund {
    fn is_of(&self, operation: &Operation) -> bool {
        self.object == "refund"
            && self.payment_intent.as_ref() == Some(&operation.processor_reference)
            && Some(self.amount) == counted(operation.amount_minor, &operation.charge.currency)
            && self.metadata.tonewall_operation == Some(operation.id.to_string())
    }

    pub(super) fn outcome(&self) -> Outcome {
        let processor_reference = words::reference_or_withheld(&self.id);
        match self.status.as_str() {
            "succeeded" => Outcome::Approved {
                processor_reference,
                code: "succeeded".to_owned(),
            },
            "failed" | "canceled" => will_not(&self.status),
            // `pending`, `requires_action`, and whatever comes to stand beside them.
            status => Outcome::Pending {
                processor_reference,
                code: words::code_or_withheld(status),
            },
        }
    }
}

#[cfg(test)]
mod tests;
