//! What each answer of CyberSource means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{charge, response};

fn answer(status: &str) -> Value {
    json!({
        "id": "6869460219566537303955", "status": status,
        "clientReferenceInformation": { "code": short_reference(&charge(1)) },
        "orderInformation": {
            "amountDetails": { "authorizedAmount": "12.50", "currency": "EUR" },
        },
    })
}

fn word(status: u16, body: &Value) -> &'static str {
    understand(&response(status, body), &charge(1)).as_str()
}

#[test]
fn each_status_of_a_payment_has_its_outcome() {
    for (status, outcome) in [
        ("AUTHORIZED", "approved"),
        ("PARTIAL_AUTHORIZED", "pending"),
        ("AUTHORIZED_PENDING_REVIEW", "pending"),
        ("AUTHORIZED_RISK_DECLINED", "pending"),
        ("PENDING_REVIEW", "pending"),
        ("PENDING", "pending"),
        ("TRANSMITTED", "pending"),
        ("DECLINED", "declined"),
        ("PENDING_AUTHENTICATION", "declined"),
        ("AUTHENTICATION_FAILED", "declined"),
        ("INVALID_REQUEST", "unknown"),
        ("SERVER_ERROR", "unknown"),
        ("VOIDED", "unknown"),
        ("SOMETHING_NEW", "unknown"),
    ] {
        assert_eq!(word(201, &answer(status)), outcome, "{status}");
        // Only this HTTP status says that there is a transaction.
        assert_eq!(word(200, &answer(status)), "unknown", "{status}");
    }
    for body in [json!({}), json!([]), json!("<html>")] {
        assert_eq!(word(201, &body), "unknown", "{body}");
    }
}

#[test]
fn a_payment_of_another_charge_or_without_an_id_tells_nothing() {
    let changes: [fn(&mut Value); 4] = [
        |answer| answer["clientReferenceInformation"]["code"] = json!("att_else"),
        |answer| answer["clientReferenceInformation"] = Value::Null,
        |answer| answer["id"] = Value::Null,
        |answer| answer["id"] = json!(""),
    ];
    for change in changes {
        let mut other = answer("AUTHORIZED");
        change(&mut other);
        assert_eq!(word(201, &other), "unknown", "{other}");
    }
}

#[test]
fn another_amount_than_was_asked_for_is_neither_a_payment_nor_none() {
    for (details, outcome) in [
        (
            json!({ "authorizedAmount": "12.50", "currency": "EUR" }),
            "approved",
        ),
        (
            json!({ "authorizedAmount": "12.5", "currency": "EUR" }),
            "approved",
        ),
        (json!({ "authorizedAmount": "12.500" }), "approved"),
        (json!({}), "approved"),
        (
            json!({ "authorizedAmount": "10.00", "currency": "EUR" }),
            "pending",
        ),
        (
            json!({ "authorizedAmount": "1250", "currency": "EUR" }),
            "pending",
        ),
        (
            json!({ "authorizedAmount": "12.50", "currency": "USD" }),
            "pending",
        ),
        (json!({ "authorizedAmount": "" }), "pending"),
    ] {
        let mut found = answer("AUTHORIZED");
        found["orderInformation"]["amountDetails"] = details;
        assert_eq!(word(201, &found), outcome, "{found}");
    }
    for (minor, currency, text, same) in [
        (1250, "JPY", "1250", true),
        (1250, "JPY", "1250.00", true),
        (1250, "JPY", "125", false),
        (1200, "EUR", "12", true),
        (1234, "KWD", "1.234", true),
        (1, "XXX", "1", false),
    ] {
        assert_eq!(
            is_amount(text, minor, currency),
            same,
            "{minor} {currency} {text}"
        );
    }
}

/// Reasons of declines, by the number that searches have for them.
const DECLINES: [(&str, &str, Advice); 33] = {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    [
        ("EXPIRED_CARD", "202", ReEnter(Field::ExpirationDate)),
        ("PROCESSOR_DECLINED", "203", OtherCard),
        ("INSUFFICIENT_FUND", "204", TryAgain),
        ("STOLEN_LOST_CARD", "205", DoNotRetry),
        ("ISSUER_UNAVAILABLE", "207", TryAgain),
        ("UNAUTHORIZED_CARD", "208", CallIssuer),
        ("CVN_NOT_MATCH", "209", ReEnter(Field::SecurityCode)),
        ("EXCEEDS_CREDIT_LIMIT", "210", CallIssuer),
        ("INVALID_CVN", "211", ReEnter(Field::SecurityCode)),
        ("BLACKLISTED_CUSTOMER", "221", DoNotRetry),
        ("SUSPENDED_ACCOUNT", "222", CallIssuer),
        ("INVALID_ACCOUNT", "231", ReEnter(Field::PaymentCardNumber)),
        ("GENERAL_DECLINE", "233", OtherCard),
        ("PROCESSOR_ERROR", "236", TryAgain),
        ("CV_FAILED", "", ReEnter(Field::SecurityCode)),
        ("CONTACT_PROCESSOR", "", CallIssuer),
        ("ALLOWABLE_PIN_RETRIES_EXCEEDED", "", CallIssuer),
        ("BLOCKED_BY_CARDHOLDER", "", DoNotRetry),
        ("DECISION_PROFILE_REJECT", "", DoNotRetry),
        ("SCORE_EXCEEDS_THRESHOLD", "", DoNotRetry),
        ("CUSTOMER_WATCHLIST_MATCH", "", DoNotRetry),
        ("ADDRESS_COUNTRY_WATCHLIST_MATCH", "", DoNotRetry),
        ("EMAIL_COUNTRY_WATCHLIST_MATCH", "", DoNotRetry),
        ("IP_COUNTRY_WATCHLIST_MATCH", "", DoNotRetry),
        ("AVS_FAILED", "", OtherCard),
        ("DECLINED_CHECK", "", OtherCard),
        ("PAYMENT_REFUSED", "", OtherCard),
        ("PENDING_AUTHENTICATION", "", OtherCard),
        ("DECISION_PROFILE_REVIEW", "", OtherCard),
        ("CONSUMER_AUTHENTICATION_REQUIRED", "", OtherCard),
        ("CONSUMER_AUTHENTICATION_FAILED", "", OtherCard),
        ("ACH_VERIFICATION_FAILED", "", OtherCard),
        ("SOMETHING_NEW", "", OtherCard),
    ]
};

#[test]
fn each_reason_of_a_decline_has_its_advice() {
    for (reason, number, advice) in DECLINES {
        let mut declined = answer("DECLINED");
        declined["errorInformation"] = json!({ "reason": reason, "message": "m" });
        assert_eq!(
            understand(&response(201, &declined), &charge(1)),
            Outcome::Declined {
                advice,
                code: format!("DECLINED:{reason}"),
            }
        );
        if number.is_empty() {
            continue;
        }
        let searched = summary(&[("ics_auth", "0", number)]);
        assert_eq!(
            found(&searched),
            Outcome::Declined {
                advice,
                code: reason.to_owned(),
            }
        );
    }
    // What is the merchant's to put right is no decline of the card.
    let mut wrong = answer("DECLINED");
    wrong["errorInformation"] = json!({ "reason": "INVALID_MERCHANT_CONFIGURATION" });
    assert_eq!(word(201, &wrong), "failed");
    // No reason at all is a decline all the same.
    assert_eq!(word(201, &answer("DECLINED")), "declined");
}

#[test]
fn each_refusal_has_its_outcome() {
    for (status, said, reason, outcome) in [
        (400, "INVALID_REQUEST", "MISSING_FIELD", "failed"),
        (400, "INVALID_REQUEST", "INVALID_DATA", "failed"),
        (400, "INVALID_REQUEST", "INVALID_AMOUNT", "failed"),
        (
            400,
            "INVALID_REQUEST",
            "INVALID_MERCHANT_CONFIGURATION",
            "failed",
        ),
        (400, "INVALID_REQUEST", "PROCESSOR_UNAVAILABLE", "failed"),
        (400, "INVALID_REQUEST", "INVALID_CARD", "declined"),
        (400, "INVALID_REQUEST", "INVALID_CARD_TYPE", "declined"),
        (400, "INVALID_REQUEST", "CARD_TYPE_NOT_ACCEPTED", "declined"),
        (400, "INVALID_REQUEST", "DUPLICATE_REQUEST", "unknown"),
        (400, "", "INVALID_DATA", "unknown"),
        (401, "", "", "failed"),
        (403, "", "", "failed"),
        (429, "", "", "failed"),
        (404, "INVALID_REQUEST", "NOT_FOUND", "unknown"),
        (500, "SERVER_ERROR", "SYSTEM_ERROR", "unknown"),
        (502, "SERVER_ERROR", "SYSTEM_ERROR", "unknown"),
        (502, "SERVER_ERROR", "SERVER_TIMEOUT", "unknown"),
        (502, "SERVER_ERROR", "SERVICE_TIMEOUT", "unknown"),
        (502, "SERVER_ERROR", "PROCESSOR_TIMEOUT", "unknown"),
    ] {
        let body = json!({ "status": said, "reason": reason, "message": "m" });
        assert_eq!(word(status, &body), outcome, "{status} {said} {reason}");
    }
    for body in [
        json!("<html>"),
        json!({ "response": { "rmsg": "Resource not found" } }),
    ] {
        for status in [200, 202, 400, 404, 500, 502] {
            assert_eq!(word(status, &body), "unknown", "{status} {body}");
        }
    }
}

#[test]
fn a_field_of_the_card_that_is_not_taken_is_asked_for_again() {
    let card = "paymentInformation.card";
    for (fields, expected) in [
        (
            vec![format!("{card}.number")],
            Some(Field::PaymentCardNumber),
        ),
        (
            vec![format!("{card}.expirationYear")],
            Some(Field::ExpirationDate),
        ),
        (
            vec![format!("{card}.expirationMonth")],
            Some(Field::ExpirationDate),
        ),
        (
            vec![format!("{card}.securityCode")],
            Some(Field::SecurityCode),
        ),
        (vec![format!("{card}.type")], None),
        (vec!["orderInformation.billTo.country".to_owned()], None),
        (
            vec![
                format!("{card}.number"),
                "orderInformation.billTo".to_owned(),
            ],
            None,
        ),
    ] {
        let details: Vec<_> = fields
            .iter()
            .map(|field| json!({ "field": field, "reason": "INVALID_DATA" }))
            .collect();
        let body = json!({
            "status": "INVALID_REQUEST", "reason": "INVALID_DATA", "details": details,
        });
        let found = understand(&response(400, &body), &charge(1));
        match expected {
            Some(field) => assert_eq!(
                found,
                Outcome::Declined {
                    advice: Advice::ReEnter(field),
                    code: "INVALID_DATA".to_owned(),
                }
            ),
            None => assert_eq!(found.as_str(), "failed", "{fields:?}"),
        }
    }
}

#[test]
fn a_signature_that_is_not_taken_is_the_clocks_fault_where_the_clock_is_off() {
    let refused_at = |date: Option<Timestamp>| {
        let refusal = Response {
            date,
            ..response(
                401,
                &json!({ "response": { "rmsg": "Authentication Failed" } }),
            )
        };
        match understand(&refusal, &charge(1)) {
            Outcome::Failed { reason, retryable } => {
                assert!(!retryable && reason.contains("did nothing"), "{reason}");
                reason
            }
            other => panic!("{other:?}"),
        }
    };
    let now = Timestamp::now();
    for (date, said) in [
        (None, "key"),
        (Some(now), "key"),
        (Some(now - SignedDuration::from_secs(30)), "key"),
        (Some(now + SignedDuration::from_mins(10)), "600 s behind"),
        (Some(now - SignedDuration::from_mins(10)), "600 s ahead"),
    ] {
        let reason = refused_at(date);
        assert!(
            // A second may pass before it is looked at.
            reason.contains(said)
                || reason.contains(&said.replace("600", "599"))
                || reason.contains(&said.replace("600", "601")),
            "{said}: {reason}"
        );
        assert_eq!(reason.contains("the clock"), said != "key", "{reason}");
    }
}

/// A transaction with services, their results and reasons.
fn summary(services: &[(&str, &str, &str)]) -> Value {
    let applications: Vec<_> = services
        .iter()
        .map(|(name, code, reason)| json!({ "name": name, "rCode": code, "reasonCode": reason }))
        .collect();
    json!({
        "id": "6869460219566537303955",
        "clientReferenceInformation": { "code": short_reference(&charge(1)) },
        "orderInformation": { "amountDetails": { "totalAmount": "12.50", "currency": "EUR" } },
        "applicationInformation": { "applications": applications },
    })
}

fn found(summary: &Value) -> Outcome {
    let summary: Summary = serde_json::from_value(summary.clone()).unwrap();
    summary.outcome(&charge(1))
}

#[test]
fn each_result_of_a_transaction_that_was_searched_for_has_its_outcome() {
    let captured = ("ics_bill", "1", "100");
    for (services, outcome) in [
        (vec![("ics_auth", "1", "100"), captured], "approved"),
        (vec![("ics_auth", "1", "100")], "pending"),
        (
            vec![("ics_auth", "1", "100"), ("ics_bill", "0", "150")],
            "pending",
        ),
        (vec![("ics_auth", "1", "110"), captured], "pending"),
        (vec![("ics_auth", "0", "110")], "pending"),
        (vec![("ics_auth", "0", "200")], "pending"),
        (vec![("ics_auth", "0", "201")], "pending"),
        (vec![("ics_auth", "0", "230")], "pending"),
        (vec![("ics_auth", "0", "480")], "pending"),
        (vec![("ics_auth", "0", "481")], "pending"),
        (vec![("ics_auth", "0", "520")], "pending"),
        (vec![("ics_auth", "0", "203")], "declined"),
        (vec![("ics_auth", "0", "299")], "declined"),
        (vec![("ics_auth", "0", "234")], "failed"),
        (vec![("ics_auth", "-1", "150")], "unknown"),
        (vec![("ics_auth", "-1", "151")], "unknown"),
        (vec![captured], "unknown"),
        (vec![("ics_credit", "1", "100")], "unknown"),
        (vec![], "unknown"),
    ] {
        let outcome_of = found(&summary(&services));
        assert_eq!(outcome_of.as_str(), outcome, "{services:?}");
    }
}

#[test]
fn what_was_only_to_be_set_aside_is_approved_without_a_capture() {
    let set_aside = Charge {
        purpose: Purpose::Authorise,
        ..charge(1)
    };
    let summary: Summary = serde_json::from_value(summary(&[("ics_auth", "1", "100")])).unwrap();
    assert_eq!(summary.outcome(&set_aside).as_str(), "approved");
    assert_eq!(summary.outcome(&charge(1)).as_str(), "pending");
}

#[test]
fn a_transaction_of_another_reference_or_amount_is_not_this_charge() {
    let whole = summary(&[("ics_auth", "1", "100"), ("ics_bill", "1", "100")]);
    let search = |summary: &Value| -> Found {
        let body = json!({ "totalCount": 1, "_embedded": { "transactionSummaries": [summary] } });
        serde_json::from_value(body).unwrap()
    };
    assert_eq!(search(&whole).of(&short_reference(&charge(1))).len(), 1);
    assert!(search(&whole).of(&short_reference(&charge(2))).is_empty());
    assert!(!search(&whole).is_empty());
    for (member, value) in [
        ("totalAmount", json!("12.51")),
        ("currency", json!("USD")),
        ("totalAmount", Value::Null),
    ] {
        let mut other = whole.clone();
        other["orderInformation"]["amountDetails"][member] = value;
        assert_eq!(found(&other).as_str(), "unknown", "{other}");
    }
    // Nothing counts only where it is said.
    for (body, empty) in [
        (json!({ "totalCount": 0 }), true),
        (
            json!({ "totalCount": 0, "_embedded": { "transactionSummaries": [] } }),
            true,
        ),
        (json!({ "totalCount": 3 }), false),
    ] {
        let found: Found = serde_json::from_value(body).unwrap();
        assert_eq!(found.is_empty(), empty);
    }
    assert!(serde_json::from_value::<Found>(json!({})).is_err());
}
