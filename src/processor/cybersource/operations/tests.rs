//! What is asked of CyberSource after a charge, and what its answers mean.

use serde_json::{Value, json};

use super::*;
use crate::processor::{
    cybersource::answer::Found,
    testing::{self, response},
};

fn operation(kind: OperationKind) -> Operation {
    testing::operation(kind, "6869460219566537303955")
}

fn taken(status: &str) -> Value {
    let reference = short_operation_reference(&operation(OperationKind::Settle));
    json!({
        "id": "6869460219566537300001", "status": status,
        "clientReferenceInformation": { "code": reference },
    })
}

#[test]
fn each_operation_goes_to_what_it_is_of() {
    let settled = Operation {
        settlement_reference: Some("6869460219566537300001".to_owned()),
        ..operation(OperationKind::Refund)
    };
    for (operation, path, amounts) in [
        (
            operation(OperationKind::Settle),
            "/pts/v2/payments/6869460219566537303955/captures",
            "/orderInformation/amountDetails",
        ),
        (
            operation(OperationKind::Void),
            "/pts/v2/payments/6869460219566537303955/reversals",
            "/reversalInformation/amountDetails",
        ),
        (
            operation(OperationKind::Refund),
            "/pts/v2/payments/6869460219566537303955/refunds",
            "/orderInformation/amountDetails",
        ),
        (
            settled,
            "/pts/v2/captures/6869460219566537300001/refunds",
            "/orderInformation/amountDetails",
        ),
    ] {
        let (found, body) = request(&operation).unwrap();
        assert_eq!(found, path);
        let body: Value = serde_json::from_str(&body).unwrap();
        let amount = json!({ "totalAmount": "2.50", "currency": "EUR" });
        assert_eq!(body.pointer(amounts), Some(&amount), "{body}");
    }
    for reference in ["", "withheld", "68/../1"] {
        let nameless = Operation {
            processor_reference: reference.to_owned(),
            ..operation(OperationKind::Settle)
        };
        assert!(request(&nameless).is_none(), "{reference}");
    }
}

#[test]
fn each_status_of_an_operation_has_its_outcome() {
    use OperationKind::{Refund, Settle, Void};
    for (kind, status, outcome) in [
        (Settle, "PENDING", "approved"),
        (Settle, "TRANSMITTED", "approved"),
        (Refund, "PENDING", "approved"),
        (Void, "REVERSED", "approved"),
        (Void, "PENDING", "unknown"),
        (Refund, "REVERSED", "unknown"),
        (Settle, "DECLINED", "declined"),
        (Settle, "INVALID_REQUEST", "unknown"),
    ] {
        let found = understand(&response(201, &taken(status)), &operation(kind));
        assert_eq!(found.as_str(), outcome, "{kind:?} {status}");
    }
    let changes: [fn(&mut Value); 3] = [
        |taken| taken["id"] = Value::Null,
        |taken| taken["clientReferenceInformation"]["code"] = json!("op_else"),
        |taken| taken["clientReferenceInformation"] = Value::Null,
    ];
    for change in changes {
        let mut other = taken("PENDING");
        change(&mut other);
        let found = understand(&response(201, &other), &operation(Settle));
        assert_eq!(found.as_str(), "unknown", "{other}");
    }
}

#[test]
fn each_refusal_of_an_operation_has_its_outcome() {
    for (status, said, reason, outcome) in [
        (400, "INVALID_REQUEST", "EXCEEDS_AUTH_AMOUNT", "declined"),
        (400, "INVALID_REQUEST", "AUTH_ALREADY_REVERSED", "declined"),
        (400, "INVALID_REQUEST", "PROCESSOR_UNAVAILABLE", "failed"),
        (400, "INVALID_REQUEST", "DUPLICATE_REQUEST", "unknown"),
        (400, "", "", "unknown"),
        (401, "", "", "failed"),
        (403, "", "", "failed"),
        (429, "", "", "failed"),
        (404, "NOT_FOUND", "", "unknown"),
        (502, "SERVER_ERROR", "SYSTEM_ERROR", "unknown"),
    ] {
        let body = json!({ "status": said, "reason": reason });
        let found = understand(&response(status, &body), &operation(OperationKind::Settle));
        assert_eq!(found.as_str(), outcome, "{status} {said} {reason}");
    }
}

#[test]
fn an_operation_that_was_searched_for_is_what_its_own_service_says() {
    use OperationKind::{Refund, Settle, Void};
    for (kind, service, result, amount, outcome) in [
        (Settle, "ics_bill", "1", "2.50", Some("approved")),
        (Void, "ics_auth_reversal", "1", "2.50", Some("approved")),
        (Refund, "ics_credit", "1", "2.50", Some("approved")),
        (Refund, "ics_credit", "0", "2.50", Some("declined")),
        (Refund, "ics_credit", "-1", "2.50", None),
        (Refund, "ics_credit", "1", "2.51", None),
        (Refund, "ics_bill", "1", "2.50", None),
        (Settle, "ics_auth", "1", "2.50", None),
    ] {
        let operation = operation(kind);
        let reference = short_operation_reference(&operation);
        let body = json!({ "totalCount": 1, "_embedded": { "transactionSummaries": [{
            "id": "6869460219566537300001",
            "clientReferenceInformation": { "code": reference },
            "orderInformation": { "amountDetails": { "totalAmount": amount, "currency": "EUR" } },
            "applicationInformation": { "applications": [
                { "name": service, "rCode": result, "reasonCode": "100" },
            ] },
        }] } });
        let found: Found = serde_json::from_value(body).unwrap();
        let ours = found.of(&reference);
        let outcome_of = ours[0].outcome_of_operation(&operation);
        let word = outcome_of.as_ref().map(Outcome::as_str);
        assert_eq!(word, outcome, "{kind:?} {service} {result} {amount}");
    }
}
