//! What each answer of Adyen means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{charge, response};

fn answer(result: &str) -> Value {
    json!({
        "pspReference": "NC6HT9CRT65ZGN82", "resultCode": result,
        "merchantReference": short_reference(&charge(1)),
    })
}

fn word(status: u16, body: &Value) -> &'static str {
    understand(&response(status, body), &charge(1)).as_str()
}

#[test]
fn each_result_code_has_its_outcome() {
    for (result, outcome) in [
        ("Authorised", "approved"),
        ("Pending", "pending"),
        ("Received", "pending"),
        ("PartiallyAuthorised", "pending"),
        ("Refused", "declined"),
        ("Cancelled", "declined"),
        ("Error", "declined"),
        ("ChallengeShopper", "declined"),
        ("IdentifyShopper", "declined"),
        ("PresentToShopper", "declined"),
        ("RedirectShopper", "declined"),
        ("AuthenticationFinished", "unknown"),
        ("AuthenticationNotRequired", "unknown"),
        ("Success", "unknown"),
    ] {
        assert_eq!(word(200, &answer(result)), outcome, "{result}");
    }
    let mut other = answer("Authorised");
    other["merchantReference"] = json!("att_else");
    assert_eq!(word(200, &other), "unknown");
    let mut nameless = answer("Authorised");
    nameless["pspReference"] = Value::Null;
    assert_eq!(word(200, &nameless), "unknown");
    assert_eq!(word(200, &json!({})), "unknown");
}

#[test]
fn each_reason_of_refusal_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (reason, expected) in [
        ("2", OtherCard),
        ("3", CallIssuer),
        ("4", TryAgain),
        ("5", DoNotRetry),
        ("6", ReEnter(Field::ExpirationDate)),
        ("7", OtherCard),
        ("8", ReEnter(Field::PaymentCardNumber)),
        ("9", TryAgain),
        ("10", OtherCard),
        ("11", OtherCard),
        ("12", TryAgain),
        ("14", DoNotRetry),
        ("15", TryAgain),
        ("16", TryAgain),
        ("17", OtherCard),
        ("18", OtherCard),
        ("19", OtherCard),
        ("20", DoNotRetry),
        ("21", TryAgain),
        ("22", DoNotRetry),
        ("23", OtherCard),
        ("24", ReEnter(Field::SecurityCode)),
        ("25", OtherCard),
        ("26", DoNotRetry),
        ("27", OtherCard),
        ("28", OtherCard),
        ("29", OtherCard),
        ("31", DoNotRetry),
        ("32", OtherCard),
        ("38", OtherCard),
        ("46", DoNotRetry),
    ] {
        let mut body = answer("Refused");
        body["refusalReasonCode"] = json!(reason);
        assert_eq!(
            understand(&response(200, &body), &charge(1)),
            Outcome::Declined {
                advice: expected,
                code: format!("Refused:{reason}"),
            }
        );
    }
}

#[test]
fn each_error_has_its_outcome() {
    for (status, code, outcome) in [
        (401, "000", "failed"),
        (403, "901", "failed"),
        (400, "702", "failed"),
        (422, "100", "failed"),
        (422, "101", "declined"),
        (422, "103", "declined"),
        (422, "129", "declined"),
        (422, "704", "unknown"),
        (409, "704", "unknown"),
        (429, "x", "failed"),
        (500, "905", "unknown"),
        (503, "x", "unknown"),
    ] {
        let body = json!({ "status": status, "errorCode": code, "message": "m", "errorType": "t" });
        assert_eq!(word(status, &body), outcome, "{status} {code}");
    }
    for (status, outcome) in [
        (401, "failed"),
        (429, "failed"),
        (422, "unknown"),
        (502, "unknown"),
    ] {
        assert_eq!(word(status, &json!("<html>")), outcome, "{status}");
    }
}

#[test]
fn amounts_are_in_the_unit_that_adyen_counts_in() {
    for (minor, currency, expected) in [
        (1250, "EUR", Some(1250)),
        (500, "JPY", Some(500)),
        (5120, "KWD", Some(5120)),
        (5, "CLP", Some(500)),
        (5, "ISK", Some(500)),
        (500, "IDR", Some(5)),
        (501, "IDR", None),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        assert_eq!(amount(&charge), expected, "{minor} {currency}");
    }
}
