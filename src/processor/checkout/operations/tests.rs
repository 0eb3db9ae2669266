//! What Checkout.com is asked for after a charge, and what its answers and its list of actions mean.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{operation, response};

fn action(of: &Operation) -> Value {
    let kind = match of.kind {
        OperationKind::Settle => "Capture",
        OperationKind::Void => "Void",
        OperationKind::Refund => "Refund",
    };
    json!({
        "id": "act_1", "type": kind, "approved": true, "amount": of.amount_minor,
        "reference": short_operation_reference(of), "response_code": "10000",
    })
}

fn read(value: Value) -> Action {
    serde_json::from_value(value).unwrap()
}

#[test]
fn each_operation_goes_to_what_it_is_of() {
    for (kind, path, amount) in [
        (
            OperationKind::Settle,
            "/payments/pay_1/captures",
            json!(250),
        ),
        (OperationKind::Void, "/payments/pay_1/voids", Value::Null),
        (OperationKind::Refund, "/payments/pay_1/refunds", json!(250)),
    ] {
        let (found, body) = request(&operation(kind, "pay_1")).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found.as_str(), &body["amount"]), (path, &amount));
    }
}

#[test]
fn each_answer_has_its_outcome() {
    let refusal = json!({ "error_type": "request_invalid", "error_codes": ["amount_invalid"] });
    for (status, body, expected) in [
        (
            202,
            json!({ "action_id": "act_1", "reference": "x" }),
            "pending",
        ),
        (202, json!({}), "unknown"),
        (401, json!({}), "failed"),
        (429, json!({}), "failed"),
        (403, refusal.clone(), "declined"),
        (404, refusal.clone(), "declined"),
        (422, refusal.clone(), "declined"),
        (403, Value::Null, "declined"),
        (404, Value::Null, "declined"),
        (422, Value::Null, "unknown"),
        (500, refusal, "unknown"),
        (200, json!({ "action_id": "act_1" }), "unknown"),
    ] {
        let outcome = understand(&response(status, &body));
        assert_eq!(outcome.as_str(), expected, "HTTP {status} {body}");
    }
}

#[test]
fn an_action_tells_what_became_of_it_and_of_nothing_else() {
    for kind in OperationKind::ALL {
        let ours = operation(kind, "pay_1");
        for (approved, expected) in [
            (json!(true), "approved"),
            (json!(false), "declined"),
            (Value::Null, "pending"),
        ] {
            let mut body = action(&ours);
            body["approved"] = approved;
            let found = read(body);
            assert!(found.is(&ours));
            assert_eq!(found.outcome().as_str(), expected);
        }
        for (member, value) in [
            ("type", json!("Authorization")),
            ("reference", json!("op_other")),
            ("reference", Value::Null),
        ] {
            let mut body = action(&ours);
            body[member] = value;
            assert!(!read(body.clone()).is(&ours), "{body}");
        }
        let mut body = action(&ours);
        body["amount"] = json!(251);
        // A void is of all, whatever that was.
        assert_eq!(read(body).is(&ours), kind == OperationKind::Void);
    }
}
