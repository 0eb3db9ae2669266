//! What each answer to an operation means. The whole way, with faults, is in `tests/operations.rs`.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::{
    processor::{response::Response, testing::charge},
    proto::card::Last4,
};

fn operation(kind: OperationKind) -> Operation {
    Operation {
        id: format!("op_acme_n1_{}", ulid::Ulid::from_parts(0, 7))
            .parse()
            .unwrap(),
        kind,
        charge: charge(1),
        processor_reference: "4001".to_owned(),
        amount_minor: 400,
        settlement_reference: None,
        last4: Last4::of(&[4, 2, 4, 2, 4, 2]),
    }
}

fn response(body: &Value) -> Response {
    Response {
        status: 200,
        date: None,
        body: Zeroizing::new(format!("\u{feff}{body}").into_bytes()),
    }
}

#[test]
fn each_answer_to_an_operation_has_its_outcome() {
    for (code, reason, outcome) in [
        ("1", "1", "approved"),
        // Done already: by whom is for the details to say.
        ("1", "310", "unknown"),
        ("1", "311", "unknown"),
        ("3", "311", "unknown"),
        ("2", "2", "declined"),
        ("3", "16", "declined"),
        ("3", "33", "declined"),
        ("3", "54", "declined"),
        ("3", "55", "declined"),
        ("3", "47", "declined"),
        // What is keyed wrong in a charge is not to be mended here.
        ("3", "8", "declined"),
        ("3", "13", "failed"),
        ("3", "11", "unknown"),
        ("3", "9999", "unknown"),
        ("2", "141", "unknown"),
        ("3", "120", "unknown"),
        ("3", "19", "failed"),
        ("4", "253", "pending"),
        ("9", "1", "unknown"),
    ] {
        for kind in OperationKind::ALL {
            let list = match code {
                "1" | "4" => json!({ "messages": [{ "code": reason }] }),
                _ => json!({ "errors": [{ "errorCode": reason }] }),
            };
            let mut transaction = list;
            transaction["responseCode"] = json!(code);
            transaction["transId"] = json!("4002");
            let mut body = json!({
                "transactionResponse": transaction, "refId": ours(&operation(kind)),
                "messages": { "resultCode": "Ok", "message": [] },
            });
            let found = operated(&response(&body), &operation(kind));
            assert_eq!(found.as_str(), outcome, "{code} {reason}");
            body["refId"] = json!("ELSE");
            let found = operated(&response(&body), &operation(kind));
            assert_eq!(found.as_str(), "unknown", "{code} {reason} of another");
        }
    }
}

#[test]
fn details_show_what_became_of_an_operation() {
    use OperationKind::{Refund, Settle, Void};
    for (kind, status, found) in [
        (Settle, "capturedPendingSettlement", "approved"),
        (Settle, "settledSuccessfully", "approved"),
        (Settle, "authorizedPendingCapture", "missing"),
        (Settle, "voided", "missing"),
        (Settle, "expired", "missing"),
        (Settle, "FDSPendingReview", "pending"),
        (Settle, "settlementError", "unread"),
        (Void, "FDSPendingReview", "missing"),
        (Void, "expired", "missing"),
        (Void, "couldNotVoid", "unread"),
        (Void, "voided", "approved"),
        (Void, "authorizedPendingCapture", "missing"),
        (Void, "settledSuccessfully", "missing"),
        (Refund, "refundPendingSettlement", "approved"),
        (Refund, "refundSettledSuccessfully", "approved"),
        (Refund, "underReview", "pending"),
        (Refund, "declined", "declined"),
        (Refund, "voided", "declined"),
        (Refund, "generalError", "declined"),
        (Refund, "communicationError", "declined"),
        (Refund, "settlementError", "unread"),
        (Refund, "failedReview", "declined"),
    ] {
        let mut transaction = json!({
            "transId": "4001", "transactionType": "authOnlyTransaction",
            "transactionStatus": status, "authAmount": 12.5, "settleAmount": 4.0,
            "responseReasonCode": 54,
        });
        if kind == Refund {
            transaction["transId"] = json!("4002");
            transaction["refTransId"] = json!("4001");
            transaction["transactionType"] = json!("refundTransaction");
            transaction["order"] = json!({ "invoiceNumber": ours(&operation(kind)) });
        }
        let word = |transaction: &Value| {
            let body = json!({
                "transaction": transaction, "messages": { "resultCode": "Ok", "message": [] },
            });
            match shown(&response(&body), &operation(kind)) {
                OnTheBooks::As(outcome) => outcome.as_str(),
                OnTheBooks::Missing => "missing",
                OnTheBooks::Unread(_) => "unread",
            }
        };
        assert_eq!(word(&transaction), found, "{kind:?} {status}");
        let others: &[(&str, Value)] = match kind {
            Refund => &[
                ("refTransId", json!("9")),
                ("transactionType", json!("authCaptureTransaction")),
                ("order", json!({ "invoiceNumber": "ELSE" })),
                ("order", json!(null)),
            ],
            _ => &[("transId", json!("9"))],
        };
        for (member, value) in others {
            let mut other = transaction.clone();
            other[member] = value.clone();
            assert_eq!(
                word(&other),
                "unread",
                "{kind:?} {status} of another {member}"
            );
        }
        let amounts = [json!(4.01), json!(null)];
        for amount in amounts
            .iter()
            .filter(|_| found == "approved" && kind != Void)
        {
            let mut other = transaction.clone();
            other["settleAmount"] = amount.clone();
            assert_eq!(word(&other), "unread", "{kind:?} {status} of {amount}");
        }
    }
}

#[test]
fn details_that_are_refused_show_nothing() {
    for kind in OperationKind::ALL {
        let body =
            json!({ "messages": { "resultCode": "Error", "message": [{ "code": "E00011" }] } });
        assert!(matches!(
            shown(&response(&body), &operation(kind)),
            OnTheBooks::Unread(_)
        ));
    }
}

#[test]
fn a_refund_names_the_cards_last_four_or_is_not_sent() {
    let refund = operation(OperationKind::Refund);
    let text = request(&refund).unwrap();
    let mut from = 0;
    for part in [
        "refId",
        "transactionType\":\"refundTransaction",
        "amount\":\"4.00",
        "payment",
        "cardNumber\":\"4242\"",
        "expirationDate\":\"XXXX\"",
        "refTransId\":\"4001\"",
        "order",
        "transactionSettings",
    ] {
        let at = text[from..].find(part);
        from += at.unwrap_or_else(|| panic!("{part} is not behind what it follows: {text}"));
    }
    let without = Operation {
        last4: None,
        ..refund
    };
    assert!(request(&without).unwrap_err().contains("last four"));
    for kind in [OperationKind::Settle, OperationKind::Void] {
        let operation = Operation {
            kind,
            ..without.clone()
        };
        assert!(request(&operation).is_ok());
        // It would stand in the request as it is.
        let odd = Operation {
            processor_reference: "4\",".to_owned(),
            ..operation
        };
        assert!(request(&odd).is_err());
    }
}
