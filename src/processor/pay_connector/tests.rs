//! What each answer of a connector means. The whole way, over TLS and with faults, is in
//! `tests/faults.rs`.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{charge, response};

#[test]
fn each_answer_has_its_outcome() {
    for (status, body, outcome) in [
        (
            200,
            json!({ "charge_id": "ch-1", "error_code": null }),
            "approved",
        ),
        (200, json!({ "charge_id": "ch-1" }), "approved"),
        (
            200,
            json!({ "charge_id": "ch-1", "error_code": "" }),
            "approved",
        ),
        (
            200,
            json!({ "charge_id": 17, "error_code": null }),
            "approved",
        ),
        (
            200,
            json!({ "charge_id": null, "error_code": "declined" }),
            "declined",
        ),
        (200, json!({ "error_code": 51 }), "declined"),
        (
            200,
            json!({ "charge_id": "ch-1", "error_code": "declined" }),
            "unknown",
        ),
        (
            200,
            json!({ "charge_id": null, "error_code": null }),
            "unknown",
        ),
        (200, json!({ "charge_id": "" }), "unknown"),
        (200, json!({ "charge_id": true }), "unknown"),
        (200, json!([]), "unknown"),
        (201, json!({ "charge_id": "ch-1" }), "unknown"),
        (302, json!({}), "unknown"),
        (400, json!({ "error_code": "declined" }), "unknown"),
        (401, json!({}), "failed"),
        (403, json!({}), "failed"),
        (404, json!({}), "failed"),
        (405, json!({}), "failed"),
        (413, json!({}), "failed"),
        (415, json!({}), "failed"),
        (429, json!({}), "failed"),
        (500, json!({ "charge_id": "ch-1" }), "unknown"),
        (503, json!({}), "unknown"),
    ] {
        let found = understand(&response(status, &body));
        assert_eq!(found.as_str(), outcome, "{status} {body}");
    }
}

#[test]
fn each_code_that_is_understood_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (code, expected) in [
        ("insufficient_funds", TryAgain),
        ("processing_error", TryAgain),
        ("try_again_later", TryAgain),
        ("incorrect_number", ReEnter(Field::PaymentCardNumber)),
        ("invalid_number", ReEnter(Field::PaymentCardNumber)),
        ("expired_card", ReEnter(Field::ExpirationDate)),
        ("invalid_expiry", ReEnter(Field::ExpirationDate)),
        ("incorrect_cvc", ReEnter(Field::SecurityCode)),
        ("invalid_cvc", ReEnter(Field::SecurityCode)),
        ("call_issuer", CallIssuer),
        ("do_not_retry", DoNotRetry),
        ("fraudulent", DoNotRetry),
        ("lost_card", DoNotRetry),
        ("stolen_card", DoNotRetry),
        ("pickup_card", DoNotRetry),
        ("51", OtherCard),
        ("card_declined", OtherCard),
    ] {
        let body = json!({ "error_code": code });
        assert_eq!(
            understand(&response(200, &body)),
            Outcome::Declined {
                advice: expected,
                code: code.to_owned(),
            }
        );
    }
}

#[test]
fn only_the_connectors_own_word_means_that_there_is_no_charge() {
    let own = json!({ "error_code": "no_such_transaction" });
    assert!(has_no_such_charge(&response(404, &own)));
    assert!(!has_no_such_charge(&response(200, &own)));
    assert!(!has_no_such_charge(&response(
        404,
        &json!({ "error_code": "not_found" })
    )));
    assert!(!has_no_such_charge(&response(404, &json!("not found"))));
}

#[test]
fn amounts_have_the_decimals_of_their_currency() {
    for (minor, currency, expected) in [
        (1250, "EUR", "12.50"),
        (5, "EUR", "0.05"),
        (100, "USD", "1.00"),
        (500, "JPY", "500"),
        (5124, "KWD", "5.124"),
        (7, "KWD", "0.007"),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        let opening = format!("{}\"end\":0}}", opening(&charge));
        assert!(opening.contains(&format!("\"chargeAmount\":{expected},")));
        let parsed: Value = serde_json::from_str(&opening).unwrap();
        assert!(parsed["chargeAmount"].is_number(), "{opening}");
    }
}
