//! What each answer to an operation means. The whole way, with faults, is in `tests/operations.rs`.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::processor::testing::charge;

fn operation(kind: OperationKind) -> Operation {
    Operation {
        id: format!("op_acme_n1_{}", ulid::Ulid::from_parts(0, 7))
            .parse()
            .unwrap(),
        kind,
        charge: charge(1),
        processor_reference: "dHJhbnM".to_owned(),
        amount_minor: 400,
        settlement_reference: None,
        last4: None,
    }
}

fn response(body: &Value) -> Response {
    Response {
        status: 200,
        date: None,
        body: Zeroizing::new(body.to_string().into_bytes()),
    }
}

fn payment(kind: OperationKind, status: &str) -> Value {
    let money = json!({ "value": "4.00", "currencyCode": "EUR" });
    match kind {
        OperationKind::Refund => json!({
            "id": "cmVm", "orderId": operation(kind).id.to_string(), "status": status, "amount": money,
            "refundedTransaction": { "id": "dHJhbnM" },
        }),
        _ => json!({ "id": "dHJhbnM", "status": status, "amount": money, "refunds": [] }),
    }
}

fn told(kind: OperationKind, payment: &Value) -> &'static str {
    let data = match kind {
        OperationKind::Settle => json!({ "captureTransaction": { "transaction": payment } }),
        OperationKind::Void => json!({ "reverseTransaction": { "reversal": payment } }),
        OperationKind::Refund => json!({ "refundTransaction": { "refund": payment } }),
    };
    done(&response(&json!({ "data": data })), &operation(kind)).as_str()
}

fn read_back(kind: OperationKind, payment: &Value) -> &'static str {
    let node = match kind {
        OperationKind::Refund => {
            let mut charge = self::payment(OperationKind::Settle, "SETTLED");
            charge["refunds"] = json!([payment]);
            charge
        }
        _ => payment.clone(),
    };
    read_node(kind, &node)
}

fn read_node(kind: OperationKind, node: &Value) -> &'static str {
    let body = json!({ "data": { "node": node } });
    match on_the_books(&response(&body), &operation(kind)) {
        OnTheBooks::As(outcome) => outcome.as_str(),
        OnTheBooks::Missing => "missing",
        OnTheBooks::Unread(_) => "unread",
    }
}

#[test]
fn each_status_after_an_operation_has_its_outcome() {
    use OperationKind::{Refund, Settle, Void};
    for (kind, status, answered, found) in [
        (Settle, "SUBMITTED_FOR_SETTLEMENT", "approved", "approved"),
        (Settle, "SETTLEMENT_PENDING", "approved", "approved"),
        (Settle, "SETTLING", "approved", "approved"),
        (Settle, "SETTLED", "approved", "approved"),
        (Settle, "SETTLEMENT_DECLINED", "declined", "declined"),
        (Settle, "AUTHORIZED", "unknown", "missing"),
        (Settle, "VOIDED", "unknown", "missing"),
        (Settle, "AUTHORIZATION_EXPIRED", "unknown", "missing"),
        (Settle, "SETTLEMENT_CONFIRMED", "unknown", "unread"),
        (Settle, "FAILED", "unknown", "unread"),
        (Void, "VOIDED", "approved", "approved"),
        (Void, "AUTHORIZATION_EXPIRED", "unknown", "missing"),
        (Void, "SETTLING", "unknown", "missing"),
        (Void, "ANOTHER", "unknown", "unread"),
        (Void, "AUTHORIZED", "unknown", "missing"),
        (Void, "SETTLED", "unknown", "missing"),
        (Refund, "SUBMITTED_FOR_SETTLEMENT", "approved", "approved"),
        (Refund, "SETTLING", "approved", "approved"),
        (Refund, "SETTLED", "approved", "approved"),
        (Refund, "SETTLEMENT_PENDING", "pending", "pending"),
        (Refund, "AUTHORIZED", "pending", "pending"),
        (Refund, "PROCESSOR_DECLINED", "declined", "declined"),
        (Refund, "GATEWAY_REJECTED", "declined", "declined"),
        (Refund, "FAILED", "declined", "declined"),
        (Refund, "SETTLEMENT_DECLINED", "declined", "declined"),
        (Refund, "VOIDED", "declined", "declined"),
    ] {
        assert_eq!(
            told(kind, &payment(kind, status)),
            answered,
            "{kind:?} {status}"
        );
        assert_eq!(
            read_back(kind, &payment(kind, status)),
            found,
            "{kind:?} {status}"
        );
    }
}

#[test]
fn what_has_settled_is_reversed_by_a_refund_of_all_of_it() {
    let void = OperationKind::Void;
    let refund = |value: &str, status: &str| {
        json!({
            "id": "cmVm", "orderId": "o", "status": status,
            "amount": { "value": value, "currencyCode": "EUR" },
            "refundedTransaction": { "id": "dHJhbnM" },
        })
    };
    assert_eq!(told(void, &refund("4.00", "SETTLING")), "approved");
    assert_eq!(told(void, &refund("4.00", "FAILED")), "declined");
    assert_eq!(told(void, &refund("4.01", "SETTLING")), "unknown");
    let mut of_another = refund("4.00", "SETTLING");
    of_another["refundedTransaction"]["id"] = json!("else");
    assert_eq!(told(void, &of_another), "unknown");

    for (refunds, found) in [
        (json!([]), "missing"),
        (json!([refund("1.00", "SETTLED")]), "missing"),
        (json!([refund("4.00", "FAILED")]), "declined"),
        (
            json!([refund("4.00", "FAILED"), refund("4.00", "SETTLED")]),
            "approved",
        ),
        (
            json!([refund("4.00", "SETTLED"), refund("4.00", "FAILED")]),
            "approved",
        ),
        (json!(null), "unread"),
    ] {
        let mut settled = payment(void, "SETTLED");
        settled["refunds"] = refunds.clone();
        assert_eq!(read_back(void, &settled), found, "{refunds}");
    }
}

#[test]
fn another_amount_charge_or_order_id_tells_nothing() {
    use OperationKind::{Refund, Settle, Void};
    let money = |value: &str, currency: &str| json!({ "value": value, "currencyCode": currency });
    for (kind, member, value, found) in [
        (Settle, "id", json!("else"), "unread"),
        (Settle, "amount", money("4.01", "EUR"), "unread"),
        (Settle, "amount", money("4.00", "USD"), "unread"),
        (Settle, "amount", json!(null), "unread"),
        (Void, "id", json!("else"), "unread"),
        (Refund, "orderId", json!("op_else"), "missing"),
        (Refund, "orderId", json!(null), "missing"),
        (Refund, "amount", money("4.01", "EUR"), "unread"),
        (Refund, "amount", money("4.00", "USD"), "unread"),
    ] {
        let status = if kind == Void { "VOIDED" } else { "SETTLED" };
        let mut other = payment(kind, status);
        other[member] = value;
        assert_eq!(told(kind, &other), "unknown", "{other}");
        assert_eq!(read_back(kind, &other), found, "{other}");
    }
    let mut of_another = payment(Refund, "SETTLED");
    of_another["refundedTransaction"]["id"] = json!("else");
    assert_eq!(told(Refund, &of_another), "unknown");
    // Of two with one order id neither is believed, nor that there are none where they are not told.
    let mut charge = payment(Settle, "SETTLED");
    let refund = payment(Refund, "SETTLED");
    for (refunds, found) in [
        (json!([]), "missing"),
        (json!([refund]), "approved"),
        (json!([refund, refund]), "unread"),
        (json!(null), "unread"),
    ] {
        charge["refunds"] = refunds;
        assert_eq!(read_node(Refund, &charge), found);
    }
    charge["id"] = json!("else");
    charge["refunds"] = json!([refund]);
    assert_eq!(read_node(Refund, &charge), "unread");
}

#[test]
fn each_error_of_an_operation_has_its_outcome() {
    for (class, outcome) in [
        ("VALIDATION", "declined"),
        ("NOT_FOUND", "declined"),
        ("AUTHENTICATION", "failed"),
        ("AUTHORIZATION", "failed"),
        ("RESOURCE_LIMIT", "failed"),
        ("INTERNAL", "unknown"),
        ("SERVICE_AVAILABILITY", "unknown"),
    ] {
        let errors = json!([{ "message": "m", "extensions": { "errorClass": class } }]);
        let body = json!({ "data": null, "errors": errors });
        for kind in OperationKind::ALL {
            let found = done(&response(&body), &operation(kind));
            assert_eq!(found.as_str(), outcome, "{class}");
            let books = on_the_books(&response(&body), &operation(kind));
            assert!(matches!(books, OnTheBooks::Unread(_)), "{class}");
        }
    }
    for kind in OperationKind::ALL {
        assert_eq!(read_node(kind, &json!(null)), "unread", "not there");
    }
}
