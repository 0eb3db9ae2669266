//! What each answer of Stripe means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};

use super::*;
use crate::processor::testing::{charge, response};

fn intent(status: &str) -> Value {
    json!({
        "object": "payment_intent", "id": "pi_1", "status": status, "amount": 1250, "currency": "eur",
        "metadata": { "tonewall_attempt": charge(1).attempt.to_string() }, "last_payment_error": null,
    })
}

fn error(kind: &str, code: Option<&str>, decline: Option<&str>) -> Value {
    json!({ "error": { "type": kind, "code": code, "decline_code": decline, "message": "no" } })
}

fn word(outcome: &Outcome) -> &'static str {
    outcome.as_str()
}

#[test]
fn each_status_of_an_intent_has_its_outcome() {
    for (status, outcome) in [
        ("succeeded", "approved"),
        ("requires_capture", "approved"),
        ("processing", "pending"),
        ("requires_action", "declined"),
        ("canceled", "failed"),
        ("requires_confirmation", "unknown"),
        ("requires_payment_method", "unknown"),
        ("something_new", "unknown"),
    ] {
        let found = understand(&response(200, &intent(status)), &charge(1));
        assert_eq!(word(&found), outcome, "{status}");
    }
    let mut refused = intent("requires_payment_method");
    refused["last_payment_error"] = error("card_error", None, Some("lost_card"))["error"].clone();
    assert_eq!(
        understand(&response(200, &refused), &charge(1)),
        Outcome::Declined {
            advice: Advice::DoNotRetry,
            code: "lost_card".to_owned(),
        }
    );
}

#[test]
fn an_intent_of_another_charge_tells_nothing() {
    let changes: [fn(&mut Value); 5] = [
        |intent| intent["amount"] = json!(1251),
        |intent| intent["currency"] = json!("usd"),
        |intent| intent["metadata"]["tonewall_attempt"] = json!("att_else"),
        |intent| intent["metadata"] = json!({}),
        |intent| intent["object"] = json!("charge"),
    ];
    for change in changes {
        let mut other = intent("succeeded");
        change(&mut other);
        let found = understand(&response(200, &other), &charge(1));
        assert_eq!(word(&found), "unknown", "{other}");
    }
}

#[test]
fn each_refusal_of_a_charge_has_its_outcome() {
    for (status, kind, outcome) in [
        (402, "card_error", "declined"),
        (402, "api_error", "unknown"),
        (400, "invalid_request_error", "failed"),
        (401, "invalid_request_error", "failed"),
        (403, "invalid_request_error", "failed"),
        (404, "invalid_request_error", "failed"),
        (400, "idempotency_error", "unknown"),
        (409, "idempotency_error", "unknown"),
        (429, "rate_limit_error", "failed"),
        (500, "api_error", "unknown"),
        (503, "api_error", "unknown"),
    ] {
        let body = error(kind, Some("x"), None);
        let found = understand(&response(status, &body), &charge(1));
        assert_eq!(word(&found), outcome, "{status} {kind}");
    }
    for body in [json!("<html>"), json!({}), json!({ "error": "no" })] {
        for status in [200, 400, 402, 429, 500] {
            let found = understand(&response(status, &body), &charge(1));
            assert_eq!(word(&found), "unknown", "{status} {body}");
        }
    }
}

#[test]
fn a_card_that_is_not_taken_is_declined_or_failed_and_never_unknown() {
    for (status, kind, outcome) in [
        (402, "card_error", "declined"),
        (400, "invalid_request_error", "failed"),
        (401, "invalid_request_error", "failed"),
        (409, "idempotency_error", "failed"),
        (429, "rate_limit_error", "failed"),
        (500, "api_error", "failed"),
    ] {
        let body = error(kind, Some("incorrect_number"), None);
        let Submitted::Ended(found) = tokenised(&response(status, &body)) else {
            panic!("{status} {kind}")
        };
        assert_eq!(word(&found), outcome, "{status} {kind}");
    }
    let method = json!({ "object": "payment_method", "id": "pm_1" });
    let Submitted::Tokenised(token) = tokenised(&response(200, &method)) else {
        panic!("no token")
    };
    assert_eq!(token.as_str(), "pm_1");
    for wrong in [
        json!({ "object": "payment_method", "id": "4242424242424242" }),
        json!({ "object": "card", "id": "pm_1" }),
        json!([]),
    ] {
        let found = tokenised(&response(200, &wrong));
        assert!(
            matches!(found, Submitted::Ended(Outcome::Failed { .. })),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn each_decline_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (decline, expected) in [
        ("approve_with_id", TryAgain),
        ("authentication_required", OtherCard),
        ("call_issuer", CallIssuer),
        ("card_not_supported", OtherCard),
        ("card_velocity_exceeded", CallIssuer),
        ("currency_not_supported", OtherCard),
        ("do_not_honor", OtherCard),
        ("do_not_try_again", DoNotRetry),
        ("duplicate_transaction", DoNotRetry),
        ("expired_card", ReEnter(Field::ExpirationDate)),
        ("fraudulent", DoNotRetry),
        ("generic_decline", OtherCard),
        ("incorrect_number", ReEnter(Field::PaymentCardNumber)),
        ("incorrect_cvc", ReEnter(Field::SecurityCode)),
        ("insufficient_funds", TryAgain),
        ("invalid_account", CallIssuer),
        ("invalid_amount", OtherCard),
        ("invalid_cvc", ReEnter(Field::SecurityCode)),
        ("invalid_expiry_month", ReEnter(Field::ExpirationDate)),
        ("invalid_expiry_year", ReEnter(Field::ExpirationDate)),
        ("invalid_number", ReEnter(Field::PaymentCardNumber)),
        ("issuer_not_available", TryAgain),
        ("lost_card", DoNotRetry),
        ("merchant_blacklist", DoNotRetry),
        ("no_action_taken", CallIssuer),
        ("not_permitted", CallIssuer),
        ("pickup_card", DoNotRetry),
        ("processing_error", TryAgain),
        ("reenter_transaction", TryAgain),
        ("restricted_card", DoNotRetry),
        ("revocation_of_all_authorizations", DoNotRetry),
        ("revocation_of_authorization", DoNotRetry),
        ("security_violation", DoNotRetry),
        ("service_not_allowed", CallIssuer),
        ("stolen_card", DoNotRetry),
        ("stop_payment_order", DoNotRetry),
        ("testmode_decline", OtherCard),
        ("transaction_not_allowed", CallIssuer),
        ("try_again_later", TryAgain),
        ("withdrawal_count_limit_exceeded", CallIssuer),
    ] {
        let body = error("card_error", Some("card_declined"), Some(decline));
        assert_eq!(
            understand(&response(402, &body), &charge(1)),
            Outcome::Declined {
                advice: expected,
                code: decline.to_owned(),
            }
        );
    }
    // Without a code of the issuer Stripe's own counts; the network's word outweighs both.
    let mut body = error("card_error", Some("incorrect_cvc"), None);
    let advice = |body: &Value| match understand(&response(402, body), &charge(1)) {
        Outcome::Declined { advice, .. } => advice,
        other => panic!("{other:?}"),
    };
    assert_eq!(advice(&body), ReEnter(Field::SecurityCode));
    body["error"]["advice_code"] = json!("do_not_try_again");
    assert_eq!(advice(&body), DoNotRetry);
}

#[test]
fn amounts_are_in_the_unit_that_stripe_counts_in() {
    for (minor, currency, expected) in [
        (1250, "EUR", Some(1250)),
        (500, "JPY", Some(500)),
        (5, "ISK", Some(500)),
        (5, "UGX", Some(500)),
        (500, "MGA", Some(5)),
        (501, "MGA", None),
        (5120, "KWD", Some(5120)),
        (5124, "KWD", None),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        assert_eq!(amount(&charge), expected, "{minor} {currency}");
    }
}

#[test]
fn a_key_is_of_the_mode_or_refused_without_being_shown() {
    assert!(check_key("sk_test_abc", Mode::Test).is_ok());
    assert!(check_key("rk_live_abc", Mode::Live).is_ok());
    for (key, mode) in [
        ("sk_live_abc", Mode::Test),
        ("rk_test_abc", Mode::Live),
        ("pk_test_abc", Mode::Test),
        ("abc", Mode::Live),
    ] {
        let error = check_key(key, mode).unwrap_err().to_string();
        assert!(
            error.contains("expected") && !error.contains("abc"),
            "{error}"
        );
    }
}
