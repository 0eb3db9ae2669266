//! What each answer of Worldpay means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value as Json, json};

use super::*;
use crate::processor::testing::{charge, response};

fn answer(outcome: &str) -> Json {
    json!({
        "outcome": outcome, "transactionReference": short_reference(&charge(1)),
        "paymentId": "payv0A4Hx2eY1-5P2_CpV7qy0",
    })
}

fn word(status: u16, body: &Json) -> &'static str {
    understand(&response(status, body), &charge(1)).as_str()
}

#[test]
fn each_outcome_of_a_payment_has_ours() {
    for (found, outcome) in [
        ("sentForSettlement", "approved"),
        // It was asked to be settled.
        ("authorized", "pending"),
        ("sentForCancellation", "pending"),
        ("refused", "declined"),
        ("fraudHighRisk", "declined"),
        ("3dsDeviceDataRequired", "declined"),
        ("3dsChallenged", "declined"),
        ("3dsAuthenticationFailed", "declined"),
        ("3dsUnavailable", "declined"),
        ("sentForRefund", "unknown"),
        ("sentForPartialRefund", "unknown"),
        ("somethingNew", "unknown"),
    ] {
        for status in [201, 202] {
            assert_eq!(word(status, &answer(found)), outcome, "{status} {found}");
        }
        assert_eq!(word(200, &answer(found)), "unknown", "{found}");
    }
    let mut other = answer("sentForSettlement");
    other["transactionReference"] = json!("att_else");
    assert_eq!(word(201, &other), "unknown");
    other["transactionReference"] = Json::Null;
    assert_eq!(word(201, &other), "unknown");
    for body in [json!({}), json!([]), json!("<html>")] {
        assert_eq!(word(201, &body), "unknown", "{body}");
    }
    // Part of the amount is neither a payment nor none.
    let mut partial = answer("refused");
    partial["refusalCode"] = json!("10");
    assert_eq!(word(201, &partial), "pending");
}

#[test]
fn a_payment_without_an_id_is_called_by_our_reference() {
    let mut nameless = answer("sentForSettlement");
    nameless["paymentId"] = Json::Null;
    for (body, reference) in [
        (answer("sentForSettlement"), "payv0A4Hx2eY1-5P2_CpV7qy0"),
        (nameless, &short_reference(&charge(1))),
    ] {
        let approved = Outcome::Approved {
            processor_reference: reference.to_owned(),
            code: "sentForSettlement".to_owned(),
        };
        assert_eq!(understand(&response(201, &body), &charge(1)), approved);
    }
}

#[test]
fn each_refusal_code_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (code, expected) in [
        ("1", CallIssuer),
        ("2", CallIssuer),
        ("3", OtherCard),
        ("4", DoNotRetry),
        ("5", OtherCard),
        ("6", OtherCard),
        ("7", DoNotRetry),
        ("8", OtherCard),
        ("12", OtherCard),
        ("13", OtherCard),
        ("14", ReEnter(Field::PaymentCardNumber)),
        ("15", ReEnter(Field::PaymentCardNumber)),
        ("19", TryAgain),
        ("20", TryAgain),
        ("33", ReEnter(Field::ExpirationDate)),
        ("34", DoNotRetry),
        ("41", DoNotRetry),
        ("43", DoNotRetry),
        ("46", DoNotRetry),
        ("51", TryAgain),
        ("54", ReEnter(Field::ExpirationDate)),
        ("55", ReEnter(Field::SecurityCode)),
        ("56", ReEnter(Field::PaymentCardNumber)),
        ("57", CallIssuer),
        ("59", DoNotRetry),
        ("61", CallIssuer),
        ("62", CallIssuer),
        ("63", DoNotRetry),
        ("65", CallIssuer),
        ("75", ReEnter(Field::SecurityCode)),
        ("76", DoNotRetry),
        ("82", ReEnter(Field::SecurityCode)),
        ("83", DoNotRetry),
        ("85", OtherCard),
        ("91", TryAgain),
        ("96", TryAgain),
        ("97", DoNotRetry),
    ] {
        let mut body = answer("refused");
        body["refusalCode"] = json!(code);
        let declined = Outcome::Declined {
            advice: expected,
            code: format!("refused:{code}"),
        };
        assert_eq!(understand(&response(201, &body), &charge(1)), declined);
    }
}

#[test]
fn a_plain_refusal_with_a_wrong_code_asks_for_the_code_and_the_schemes_word_counts_first() {
    let advice_of = |body: &Json| match understand(&response(201, body), &charge(1)) {
        Outcome::Declined { advice, .. } => advice,
        other => panic!("{other:?}"),
    };
    let mut body = answer("refused");
    body["refusalCode"] = json!("5");
    body["riskFactors"] = json!([
        { "type": "avs", "detail": "postcode", "risk": "notMatched" },
        { "type": "cvc", "risk": "notChecked" },
    ]);
    assert_eq!(advice_of(&body), Advice::OtherCard);
    body["riskFactors"][1]["risk"] = json!("notMatched");
    assert_eq!(advice_of(&body), Advice::ReEnter(Field::SecurityCode));
    body["refusalCode"] = json!("33");
    assert_eq!(advice_of(&body), Advice::ReEnter(Field::ExpirationDate));
    for (code, expected) in [
        ("01", Advice::ReEnter(Field::ExpirationDate)),
        ("02", Advice::ReEnter(Field::ExpirationDate)),
        ("03", Advice::DoNotRetry),
        ("21", Advice::DoNotRetry),
    ] {
        body["advice"] = json!({ "code": code });
        assert_eq!(advice_of(&body), expected, "{code}");
    }
}

#[test]
fn each_error_has_its_outcome() {
    for (status, name, outcome) in [
        (400, "bodyDoesNotMatchSchema", "failed"),
        (400, "entityIsNotConfigured", "failed"),
        (401, "accessDenied", "failed"),
        (403, "accessDenied", "failed"),
        (404, "urlContainsInvalidValue", "failed"),
        (406, "headerHasInvalidValue", "failed"),
        (415, "unsupportedMediaType", "failed"),
        (429, "tooManyRequests", "failed"),
        (409, "conflict", "unknown"),
        (500, "internalErrorOccurred", "unknown"),
        (503, "serviceUnavailable", "unknown"),
    ] {
        let body = json!({ "errorName": name, "message": "m" });
        assert_eq!(word(status, &body), outcome, "{status} {name}");
    }
    for (status, outcome) in [
        (401, "failed"),
        (429, "failed"),
        (400, "unknown"),
        (404, "unknown"),
        (502, "unknown"),
    ] {
        assert_eq!(word(status, &json!("<html>")), outcome, "{status}");
    }
}

#[test]
fn a_field_of_the_card_that_is_not_taken_is_asked_for_again() {
    let card = "$.instruction.paymentInstrument";
    for (paths, expected) in [
        (
            vec![format!("{card}.cardNumber")],
            Some(Field::PaymentCardNumber),
        ),
        (
            vec![format!("{card}.expiryDate.year")],
            Some(Field::ExpirationDate),
        ),
        (vec![format!("{card}.cvc")], Some(Field::SecurityCode)),
        (vec![format!("{card}.type")], None),
        (vec!["$.instruction.value.currency".to_owned()], None),
        (
            vec![format!("{card}.cvc"), "$.merchant.entity".to_owned()],
            None,
        ),
        (vec![], None),
    ] {
        let wrong: Vec<_> = paths
            .iter()
            .map(|path| json!({ "errorName": "fieldHasInvalidValue", "jsonPath": path }))
            .collect();
        let body = json!({ "errorName": "bodyDoesNotMatchSchema", "validationErrors": wrong });
        let found = understand(&response(400, &body), &charge(1));
        match expected {
            Some(field) => assert_eq!(
                found,
                Outcome::Declined {
                    advice: Advice::ReEnter(field),
                    code: "bodyDoesNotMatchSchema".to_owned(),
                }
            ),
            None => assert_eq!(found.as_str(), "failed", "{paths:?}"),
        }
    }
}

#[test]
fn each_last_event_of_a_payment_that_is_looked_up_has_its_outcome() {
    let payment = |event: &str| FoundPayment {
        payment_id: Some("pay1".to_owned()),
        transaction_reference: Some(short_reference(&charge(1))),
        last_event: Some(event.to_owned()),
        value: Some(Value {
            currency: "EUR".to_owned(),
            amount: 1250,
        }),
    };
    for (event, outcome) in [
        ("authorizationSucceeded", "approved"),
        ("saleSucceeded", "approved"),
        ("settlementRequested", "approved"),
        ("settlementRequestSubmitted", "approved"),
        ("authorizationRefused", "declined"),
        ("saleRefused", "declined"),
        ("authorizationRequested", "pending"),
        ("saleRequested", "pending"),
        ("settlementFailed", "pending"),
        ("settlementTimedOut", "pending"),
        ("cancellationRequested", "pending"),
        ("cancellationRequestSubmitted", "pending"),
        ("cancellationFailed", "pending"),
        ("cancellationTimedOut", "pending"),
        ("reversalRequested", "pending"),
        ("reversalRequestSubmitted", "pending"),
        ("reversalFailed", "pending"),
        ("reversalTimedOut", "pending"),
        ("authorizationFailed", "unknown"),
        ("authorizationTimedOut", "unknown"),
        ("saleFailed", "unknown"),
        ("saleTimedOut", "unknown"),
        ("refundRequested", "unknown"),
        ("refundRequestSubmitted", "unknown"),
        ("refundFailed", "unknown"),
        ("refundTimedOut", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(payment(event).outcome().as_str(), outcome, "{event}");
    }
    assert!(payment("saleSucceeded").is_of(&charge(1)));
    let changes: [fn(&mut FoundPayment); 4] = [
        |payment| payment.transaction_reference = Some("att_else".to_owned()),
        |payment| payment.transaction_reference = None,
        |payment| payment.value = None,
        |payment| payment.value.as_mut().unwrap().amount += 1,
    ];
    for change in changes {
        let mut other = payment("saleSucceeded");
        change(&mut other);
        assert!(!other.is_of(&charge(1)));
    }
}

#[test]
fn amounts_are_minor_units_of_currencies_whose_decimals_are_beyond_doubt() {
    for (minor, currency, expected) in [
        (1250, "EUR", Some(1250)),
        (500, "JPY", Some(500)),
        (5120, "KWD", Some(5120)),
        (i32::MAX as u64, "GBP", Some(i32::MAX as u64)),
        (i32::MAX as u64 + 1, "GBP", None),
        (500, "CLP", None),
        (500, "CVE", None),
        (500, "IDR", None),
        (500, "ISK", None),
        (500, "UGX", None),
        (500, "XXX", None),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        assert_eq!(amount(&charge), expected, "{minor} {currency}");
    }
}
