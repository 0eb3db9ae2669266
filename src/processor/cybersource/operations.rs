//! Capturing, reversing and refunding. CyberSource has no idempotency: each is asked for once, and what has no
//! answer is searched for by our reference.
//!
//! Sources: <https://developer.cybersource.com/api-reference-assets/index.html#payments_capture>, `…_reversal`,
//! `…_refund`.

use serde::Deserialize;
use serde_json::json;

use super::{
    CyberSource, SEARCH_LAG,
    answer::{Reference, Refusal, why_not_signed_in},
};
use crate::{
    processor::{
        Operation, OperationKind, Outcome,
        api::{
            OnTheBooks, operation_outcome, refused, short_operation_reference, unclear, will_not,
        },
        response::Response,
        words,
    },
    proto::currency::{currency_exponent, decimal},
};

impl CyberSource {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let Some((path, body)) = request(operation) else {
            return Outcome::Failed {
                reason: "nothing was sent: the charge has no reference or currency that CyberSource knows"
                    .to_owned(),
                retryable: false,
            };
        };
        match self.post(&path, body).await {
            Ok(response) => understand(&response, operation),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        operation_outcome(operation, None, self.books(operation).await, SEARCH_LAG)
    }

    async fn books(&self, operation: &Operation) -> OnTheBooks {
        let reference = short_operation_reference(operation);
        let found = match self.search(&reference).await {
            Ok(found) => found,
            Err(why) => return OnTheBooks::Unread(why),
        };
        match found.of(&reference).as_slice() {
            [] if found.is_empty() => OnTheBooks::Missing,
            [] => OnTheBooks::Unread("the search found something else".to_owned()),
            [one] => match one.outcome_of_operation(operation) {
                Some(outcome) => OnTheBooks::As(outcome),
                None => OnTheBooks::Unread("what was found does not say what was done".to_owned()),
            },
            _ => OnTheBooks::Unread(
                "there is more than one transaction of this reference".to_owned(),
            ),
        }
    }
}

/// Path and JSON; nothing where the charge cannot be named or its amount not be written.
fn request(operation: &Operation) -> Option<(String, String)> {
    let currency = &operation.charge.currency;
    currency_exponent(currency)?;
    let amounts = json!({
        "totalAmount": decimal(operation.amount_minor, currency),
        "currency": currency,
    });
    let reference = short_operation_reference(operation);
    let mut body = json!({
        "clientReferenceInformation": { "code": reference, "transactionId": reference },
    });
    let path = match (operation.kind, &operation.settlement_reference) {
        (OperationKind::Settle, _) => ("payments", &operation.processor_reference, "captures"),
        (OperationKind::Void, _) => ("payments", &operation.processor_reference, "reversals"),
        (OperationKind::Refund, Some(capture)) => ("captures", capture, "refunds"),
        (OperationKind::Refund, None) => ("payments", &operation.processor_reference, "refunds"),
    };
    match operation.kind {
        OperationKind::Void => {
            body["reversalInformation"] = json!({ "amountDetails": amounts, "reason": "void" });
        }
        OperationKind::Settle | OperationKind::Refund => {
            body["orderInformation"] = json!({ "amountDetails": amounts });
        }
    }
    let (of, id, what) = path;
    // Its ids are digits. A word that stands in the place of one names nothing.
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| (format!("/pts/v2/{of}/{id}/{what}"), body.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    id: Option<String>,
    status: String,
    client_reference_information: Option<Reference>,
}

fn understand(response: &Response, operation: &Operation) -> Outcome {
    let status = response.status;
    if status != 201 {
        return not_taken(response);
    }
    let Ok(taken) = serde_json::from_slice::<Taken>(&response.body) else {
        return unclear("is not the JSON of an operation", status);
    };
    let reference = taken.client_reference_information.as_ref();
    let ours = short_operation_reference(operation);
    if reference.and_then(|found| found.code.as_ref()) != Some(&ours) {
        return unclear("is about another operation", status);
    }
    let id = taken.id.as_deref().filter(|id| !id.is_empty());
    match (operation.kind, taken.status.as_str(), id) {
        // What goes with the next batch is all that is ever told of a capture and a refund.
        (OperationKind::Settle | OperationKind::Refund, "PENDING" | "TRANSMITTED", Some(id))
        | (OperationKind::Void, "REVERSED", Some(id)) => Outcome::Approved {
            processor_reference: words::reference_or_withheld(id),
            code: words::code_or_withheld(&taken.status),
        },
        (_, "DECLINED", _) => will_not(&taken.status),
        (_, said, _) => unclear(&format!("says {}", words::code_or_withheld(said)), status),
    }
}

fn not_taken(response: &Response) -> Outcome {
    let status = response.status;
    match status {
        401 => return refused(&why_not_signed_in(response), status, false),
        403 => return refused("the key may not do this", status, false),
        429 => return refused("too many requests", status, true),
        _ => {}
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) else {
        return unclear("cannot be read", status);
    };
    let reason = refusal.reason.as_deref().unwrap_or_default();
    let is_request = refusal.status.as_deref() == Some("INVALID_REQUEST");
    match (status, reason) {
        // What was done under the reference is not said.
        (_, "DUPLICATE_REQUEST") => unclear("says that there is such a request already", status),
        (400, "PROCESSOR_UNAVAILABLE") if is_request => refused(reason, status, true),
        // Settled, reversed or refunded already, more than there is, too old.
        (400, _) if is_request => will_not(reason),
        _ => unclear(&format!("says {}", words::code_or_withheld(reason)), status),
    }
}

#[cfg(test)]
mod tests;
