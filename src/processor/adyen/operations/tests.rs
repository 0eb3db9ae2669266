//! What Adyen is asked for after a charge, and what its answers mean.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{operation, response};

const PAYMENT: &str = "NC6HT9CRT65ZGN82";

fn taken(of: &Operation) -> Value {
    json!({
        "merchantAccount": "Shop", "paymentPspReference": PAYMENT, "pspReference": "OP6HT9CRT65ZGN01",
        "reference": short_operation_reference(of), "status": "received",
    })
}

#[test]
fn whatever_is_taken_is_decided_later() {
    for kind in OperationKind::ALL {
        let ours = operation(kind, PAYMENT);
        let outcome = understand(&response(201, &taken(&ours)), &ours);
        let expected = Outcome::Pending {
            processor_reference: "OP6HT9CRT65ZGN01".to_owned(),
            code: "received".to_owned(),
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn what_is_about_something_else_says_nothing_of_it() {
    let ours = operation(OperationKind::Refund, PAYMENT);
    for (member, value) in [
        ("paymentPspReference", json!("NC6HT9CRT65ZGN83")),
        ("reference", json!("op_other")),
        ("status", json!("refused")),
        ("pspReference", Value::Null),
    ] {
        let mut body = taken(&ours);
        body[member] = value;
        let outcome = understand(&response(201, &body), &ours);
        assert_eq!(outcome.as_str(), "unknown", "{body}");
    }
}

#[test]
fn each_refusal_has_its_outcome() {
    let ours = operation(OperationKind::Refund, PAYMENT);
    let error = |code: &str| json!({ "status": 422, "errorCode": code, "errorType": "validation" });
    for (status, body, expected) in [
        (422, error("168"), "declined"),
        (400, error("702"), "declined"),
        (404, error("167"), "declined"),
        (401, error("000"), "failed"),
        (403, error("010"), "failed"),
        (429, error("1"), "failed"),
        // Its key was used: what was done under it is not said.
        (422, error("704"), "unknown"),
        (500, error("905"), "unknown"),
        (401, json!("no"), "failed"),
        (403, json!("no"), "failed"),
        (429, json!("no"), "failed"),
        (422, json!("no"), "unknown"),
        (502, json!("no"), "unknown"),
    ] {
        let outcome = understand(&response(status, &body), &ours);
        assert_eq!(outcome.as_str(), expected, "HTTP {status} {body}");
    }
}
