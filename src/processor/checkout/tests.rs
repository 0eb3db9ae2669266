//! What each answer of Checkout.com means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{charge, response};

fn payment(status: &str, approved: bool, code: Option<&str>) -> Value {
    json!({
        "id": "pay_1", "status": status, "approved": approved, "amount": 1250, "currency": "EUR",
        "reference": short_reference(&charge(1)), "response_code": code,
    })
}

#[test]
fn each_status_of_a_payment_has_its_outcome() {
    for (status, approved, code, outcome) in [
        ("Authorized", true, Some("10000"), "approved"),
        ("Captured", true, None, "approved"),
        ("Partially Captured", true, None, "approved"),
        ("Paid", true, Some("10000"), "approved"),
        // Part of the amount.
        ("Authorized", true, Some("10010"), "pending"),
        // One of the two is wrong.
        ("Authorized", false, Some("10000"), "unknown"),
        ("Pending", false, None, "pending"),
        ("Declined", false, Some("20005"), "declined"),
        ("Canceled", false, None, "failed"),
        ("Expired", false, None, "failed"),
        ("Voided", true, None, "failed"),
        ("Refunded", true, None, "unknown"),
        ("Card Verified", true, Some("10000"), "unknown"),
        ("Something New", true, None, "unknown"),
    ] {
        let found = understand(&response(201, &payment(status, approved, code)), &charge(1));
        assert_eq!(found.as_str(), outcome, "{status} {approved} {code:?}");
    }
}

#[test]
fn a_payment_of_another_charge_tells_nothing() {
    let changes: [fn(&mut Value); 4] = [
        |payment| payment["amount"] = json!(1251),
        |payment| payment["currency"] = json!("USD"),
        |payment| payment["reference"] = json!("att_else"),
        |payment| payment["reference"] = json!(null),
    ];
    for change in changes {
        let mut other = payment("Authorized", true, Some("10000"));
        change(&mut other);
        let found = understand(&response(201, &other), &charge(1));
        assert_eq!(found.as_str(), "unknown", "{other}");
    }
}

#[test]
fn each_refusal_of_a_charge_has_its_outcome() {
    let body = json!({ "error_type": "request_invalid", "error_codes": ["token_expired"] });
    for (status, outcome) in [
        (401, "failed"),
        (403, "failed"),
        (422, "failed"),
        (429, "failed"),
        (400, "unknown"),
        (404, "unknown"),
        (500, "unknown"),
        (502, "unknown"),
    ] {
        let found = understand(&response(status, &body), &charge(1));
        assert_eq!(found.as_str(), outcome, "{status}");
    }
    for body in [json!("<html>"), json!({}), json!([])] {
        for status in [200, 201, 202, 422, 500] {
            let found = understand(&response(status, &body), &charge(1));
            assert_eq!(found.as_str(), "unknown", "{status} {body}");
        }
    }
}

#[test]
fn a_card_that_is_not_taken_is_declined_or_failed_and_never_unknown() {
    for (status, code, expected) in [
        (422, "card_number_invalid", "declined"),
        (422, "card_expired", "declined"),
        (422, "cvv_invalid", "declined"),
        (422, "processing_channel_id_invalid", "failed"),
        (401, "", "failed"),
        (429, "too_many_requests", "failed"),
        (500, "x", "failed"),
    ] {
        let body = json!({ "error_codes": [code] });
        let Submitted::Ended(found) = tokenised(&response(status, &body)) else {
            panic!("{status} {code}")
        };
        assert_eq!(found.as_str(), expected, "{status} {code}");
    }
    let made = json!({ "type": "card", "token": "tok_1", "bin": "424242", "last4": "4242" });
    let Submitted::Tokenised(token) = tokenised(&response(201, &made)) else {
        panic!("no token")
    };
    assert_eq!(token.as_str(), "tok_1");
    for wrong in [json!({ "token": "4242424242424242" }), json!([]), json!({})] {
        let found = tokenised(&response(201, &wrong));
        assert!(
            matches!(found, Submitted::Ended(Outcome::Failed { .. })),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn each_decline_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (code, expected) in [
        ("20001", CallIssuer),
        ("20005", OtherCard),
        ("20014", ReEnter(Field::PaymentCardNumber)),
        ("20051", TryAgain),
        ("20054", ReEnter(Field::ExpirationDate)),
        ("20057", CallIssuer),
        ("20059", DoNotRetry),
        ("20061", CallIssuer),
        ("20065", CallIssuer),
        ("20068", TryAgain),
        ("20087", ReEnter(Field::SecurityCode)),
        ("20091", TryAgain),
        ("20093", DoNotRetry),
        ("20096", TryAgain),
        ("20100", ReEnter(Field::ExpirationDate)),
        ("30004", DoNotRetry),
        ("30015", ReEnter(Field::PaymentCardNumber)),
        ("30041", DoNotRetry),
        ("30043", DoNotRetry),
        ("40101", DoNotRetry),
        ("20999", OtherCard),
    ] {
        assert_eq!(advice(Some(code)), expected, "{code}");
    }
    assert_eq!(advice(None), OtherCard);
}

#[test]
fn amounts_are_in_the_unit_that_checkout_counts_in() {
    for (currency, minor, sent) in [
        ("EUR", 1_250, Some(1_250)),
        ("JPY", 1_250, Some(1_250)),
        ("KWD", 1_234, Some(1_234)),
        ("CLP", 1_250, Some(125_000)),
        ("XXX", 1_250, None),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        assert_eq!(amount(&charge), sent, "{currency}");
    }
}

#[test]
fn a_key_of_the_other_mode_or_kind_is_refused_and_not_repeated() {
    let adapter = |mode, key: &str, public_key: &str| {
        let connection = Connection {
            site: Checkout::site(mode).parse().unwrap(),
            trust: super::super::Trust::default(),
            deadlines: super::super::Deadlines::default(),
            mode,
        };
        Checkout::new(CheckoutSettings {
            connection,
            key: Secret::new(key).unwrap(),
            public_key: public_key.to_owned(),
            processing_channel: "pc_1".to_owned(),
        })
        .map(drop)
    };
    assert!(adapter(Mode::Test, "sk_sbox_a1b2", "pk_sbox_a1b2").is_ok());
    assert!(adapter(Mode::Live, "sk_a1b2", "pk_a1b2").is_ok());
    for (mode, key, public_key, named) in [
        (Mode::Test, "sk_a1b2", "pk_sbox_a1b2", "key_file"),
        (Mode::Live, "sk_sbox_a1b2", "pk_a1b2", "key_file"),
        (Mode::Test, "pk_sbox_a1b2", "pk_sbox_a1b2", "key_file"),
        (Mode::Test, "sk_sbox_a1b2", "pk_a1b2", "public_key"),
        (Mode::Live, "sk_a1b2", "pk_sbox_a1b2", "public_key"),
        (Mode::Live, "sk_a1b2", "sk_a1b2", "public_key"),
    ] {
        let error = adapter(mode, key, public_key).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains("a1b2"), "{error}");
    }
}
