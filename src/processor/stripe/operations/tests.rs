//! What Stripe's answers to operations, and its books, mean.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{operation, response};

fn intent(status: &str, received: u64) -> Value {
    json!({ "object": "payment_intent", "id": "pi_1", "status": status, "amount_received": received })
}

fn refund(status: &str, of: &Operation) -> Value {
    json!({
        "object": "refund", "id": "re_1", "status": status, "amount": of.amount_minor,
        "payment_intent": "pi_1", "metadata": { "tonewall_operation": of.id.to_string() },
    })
}

#[test]
fn each_operation_goes_to_what_it_is_of() {
    for (kind, path, form) in [
        (
            OperationKind::Settle,
            "/v1/payment_intents/pi_1/capture",
            "amount_to_capture=250",
        ),
        (
            OperationKind::Void,
            "/v1/payment_intents/pi_1/cancel",
            "cancellation_reason=requested_by_customer",
        ),
        (
            OperationKind::Refund,
            "/v1/refunds",
            "payment_intent=pi_1&amount=250&metadata%5Btonewall_operation%5D=op_acme_n1_",
        ),
    ] {
        let (found, body) = request(&operation(kind, "pi_1")).unwrap();
        assert_eq!(found, path);
        assert!(body.starts_with(form), "{body}");
    }
    let mut other = operation(OperationKind::Refund, "pi_1");
    other.charge.currency = "XXZ".to_owned();
    assert!(request(&other).is_none());
}

#[test]
fn each_answer_has_its_outcome() {
    let [settle, void, back] = OperationKind::ALL.map(|kind| operation(kind, "pi_1"));
    let error =
        |kind: &str| json!({ "error": { "type": kind, "code": "charge_already_refunded" } });
    for (of, status, body, expected) in [
        (&settle, 200, intent("succeeded", 250), "approved"),
        // Another amount was captured, or nothing was.
        (&settle, 200, intent("succeeded", 1250), "unknown"),
        (&settle, 200, intent("requires_capture", 0), "unknown"),
        (&settle, 200, intent("processing", 0), "pending"),
        (&void, 200, intent("canceled", 0), "approved"),
        (&void, 200, intent("requires_capture", 0), "unknown"),
        (&back, 200, refund("succeeded", &back), "approved"),
        (&back, 200, refund("pending", &back), "pending"),
        (&back, 200, refund("requires_action", &back), "pending"),
        (&back, 200, refund("failed", &back), "declined"),
        (&back, 200, refund("canceled", &back), "declined"),
        (&back, 200, intent("succeeded", 250), "unknown"),
        (&back, 200, json!({}), "unknown"),
        (&back, 400, error("invalid_request_error"), "declined"),
        (&back, 402, error("card_error"), "declined"),
        (&back, 401, error("invalid_request_error"), "failed"),
        (&back, 403, error("invalid_request_error"), "failed"),
        (&back, 429, error("rate_limit"), "failed"),
        // What was done under the key is not said.
        (&back, 409, error("idempotency_error"), "unknown"),
        (&back, 400, error("idempotency_error"), "unknown"),
        (&back, 500, error("api_error"), "unknown"),
        (&back, 502, json!("Bad gateway"), "unknown"),
    ] {
        let outcome = understand(&response(status, &body), of);
        assert_eq!(outcome.as_str(), expected, "HTTP {status} {body}");
    }
}

#[test]
fn another_refund_is_not_taken_for_this_one() {
    let ours = operation(OperationKind::Refund, "pi_1");
    for (member, value) in [
        ("object", json!("charge")),
        ("amount", json!(251)),
        ("payment_intent", json!("pi_2")),
        ("metadata", json!({ "tonewall_operation": "op_acme_n1_x" })),
        ("metadata", json!({})),
    ] {
        let mut body = refund("succeeded", &ours);
        body[member] = value;
        let outcome = understand(&response(200, &body), &ours);
        assert_eq!(outcome.as_str(), "unknown", "{body}");
        let refunds: Refunds =
            serde_json::from_value(json!({ "data": [body], "has_more": false })).unwrap();
        assert!(matches!(refunds.books(&ours), Some(OnTheBooks::Missing)));
    }
}

#[test]
fn refunds_that_were_not_all_read_tell_nothing_of_one_that_is_not_among_them() {
    let ours = operation(OperationKind::Refund, "pi_1");
    let read = |data: Value, has_more: bool| -> Refunds {
        serde_json::from_value(json!({ "data": data, "has_more": has_more })).unwrap()
    };
    assert!(read(json!([]), true).books(&ours).is_none());
    let found = read(json!([refund("succeeded", &ours)]), true).books(&ours);
    assert!(matches!(
        found,
        Some(OnTheBooks::As(Outcome::Approved { .. }))
    ));
}
