//! Capturing, voiding and refunding. Checkout.com takes each, and its list of a payment's actions says what
//! became of it.
//!
//! Sources: <https://api-reference.checkout.com/#operation/captureAPayment>, `…/voidAPayment`,
//! `…/refundAPayment`, `…/getPaymentActions`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Checkout, LIST_LAG, Refusal, counted, unpayable};
use crate::processor::{
    Mode, Operation, OperationKind, Outcome,
    api::{
        OnTheBooks, operation_age, operation_outcome, refused, short_operation_reference, unclear,
        will_not,
    },
    client::{Heading, JSON},
    response::Response,
    words,
};

impl Checkout {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let Some((path, body)) = request(operation) else {
            return unpayable(&operation.charge);
        };
        let key = operation.id.to_string();
        let heading = Heading {
            media: JSON,
            fields: &[
                ("Authorization", self.authorization.expose()),
                ("Cko-Idempotency-Key", &key),
            ],
        };
        match self.api.post(&path, heading, body).await {
            Ok(response) => understand(&response),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        let books = self.books(operation).await;
        let mut again = None;
        if matches!(books, OnTheBooks::Missing) && operation_age(operation) < self.replay_for() {
            // Under its key the first is answered again, or done now if it never came.
            match self.request_operation(operation).await {
                taken @ Outcome::Pending { .. } => return taken,
                answer => again = Some(answer),
            }
        }
        operation_outcome(operation, again, books, LIST_LAG)
    }

    /// Well within the time that a key is kept.
    const fn replay_for(&self) -> Duration {
        match self.mode {
            Mode::Test => Duration::from_secs(60),
            Mode::Live => Duration::from_secs(12 * 60 * 60),
        }
    }

    async fn books(&self, operation: &Operation) -> OnTheBooks {
        let path = format!("/payments/{}/actions", operation.processor_reference);
        let fields = [("Authorization", self.authorization.expose())];
        let response = match self.api.get(&path, &fields).await {
            Ok(response) if response.status == 200 => response,
            Ok(response) => {
                return OnTheBooks::Unread(format!("it was answered HTTP {}", response.status));
            }
            Err(error) => return OnTheBooks::Unread(error.to_string()),
        };
        let Ok(actions) = serde_json::from_slice::<Vec<Action>>(&response.body) else {
            return OnTheBooks::Unread("the answer is no list of actions".to_owned());
        };
        let ours = actions.iter().find(|action| action.is(operation));
        ours.map_or(OnTheBooks::Missing, |action| {
            OnTheBooks::As(action.outcome())
        })
    }
}

/// Path and JSON; nothing where the amount cannot be written.
fn request(operation: &Operation) -> Option<(String, String)> {
    let mut body = json!({
        "reference": short_operation_reference(operation),
        "metadata": { "operation": operation.id.to_string() },
    });
    let what = match operation.kind {
        OperationKind::Settle => "captures",
        OperationKind::Void => "voids",
        OperationKind::Refund => "refunds",
    };
    if operation.kind != OperationKind::Void {
        body["amount"] = counted(operation.amount_minor, &operation.charge.currency)?.into();
    }
    let path = format!("/payments/{}/{what}", operation.processor_reference);
    Some((path, body.to_string()))
}

#[derive(Deserialize)]
struct Taken {
    action_id: String,
}

fn understand(response: &Response) -> Outcome {
    let status = response.status;
    if status == 202 {
        return match serde_json::from_slice::<Taken>(&response.body) {
            Ok(taken) => Outcome::Pending {
                processor_reference: words::reference_or_withheld(&taken.action_id),
                code: "accepted".to_owned(),
            },
            Err(_) => unclear("is not the JSON of an action", status),
        };
    }
    match (status, serde_json::from_slice::<Refusal>(&response.body)) {
        (401, _) => refused("the key is not taken", status, false),
        (429, _) => refused("too many requests", status, true),
        (403 | 404 | 422, Ok(refusal)) => will_not(&refusal.code()),
        // What the payment's state does not allow comes without a body.
        (403 | 404, Err(_)) => will_not("not_allowed"),
        _ => unclear("cannot be read", status),
    }
}

#[derive(Deserialize)]
struct Action {
    id: String,
    r#type: String,
    approved: Option<bool>,
    amount: Option<u64>,
    reference: Option<String>,
    response_code: Option<String>,
}

impl Action {
    fn is(&self, operation: &Operation) -> bool {
        let (kind, amount) = match operation.kind {
            OperationKind::Settle => ("Capture", self.amount),
            OperationKind::Refund => ("Refund", self.amount),
            OperationKind::Void => ("Void", None),
        };
        let amount_fits = amount.is_none_or(|amount| {
            Some(amount) == counted(operation.amount_minor, &operation.charge.currency)
        });
        self.r#type == kind
            && amount_fits
            && self.reference == Some(short_operation_reference(operation))
    }

    fn outcome(&self) -> Outcome {
        let code = self.response_code.as_deref().unwrap_or("no_code");
        let processor_reference = words::reference_or_withheld(&self.id);
        let code_word = words::code_or_withheld(code);
        match self.approved {
            Some(true) => Outcome::Approved {
                processor_reference,
                code: code_word,
            },
            Some(false) => will_not(code),
            None => Outcome::Pending {
                processor_reference,
                code: code_word,
            },
        }
    }
}

#[cfg(test)]
mod tests;
