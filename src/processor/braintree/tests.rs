//! What each answer of Braintree means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};

use super::{
    super::{
        Advice,
        testing::{charge, response},
    },
    answer::{declined, rejected},
    *,
};
use crate::proto::field::Field;

fn transaction(status: &str) -> Value {
    json!({
        "id": "dHJhbnNhY3Rpb25fYTFiMmMzZA", "orderId": charge(1).attempt.to_string(), "status": status,
        "amount": { "value": "12.50", "currencyCode": "EUR" }, "statusHistory": [{ "status": status }],
    })
}

fn of_charge(transaction: &Value) -> Value {
    json!({ "data": { "chargeCreditCard": { "transaction": transaction } } })
}

fn of_search(transactions: &[Value]) -> Value {
    let edges: Vec<_> = transactions.iter().map(|t| json!({ "node": t })).collect();
    json!({ "data": { "search": { "transactions": { "edges": edges } } } })
}

fn error(class: &str, code: Option<&str>) -> Value {
    json!({ "message": "m", "extensions": { "errorClass": class, "legacyCode": code } })
}

fn word(status: u16, body: &Value) -> &'static str {
    charged(&response(status, body), &charge(1)).as_str()
}

#[test]
fn each_status_of_a_transaction_has_its_outcome() {
    for (status, outcome) in [
        ("SUBMITTED_FOR_SETTLEMENT", "approved"),
        ("SETTLEMENT_PENDING", "approved"),
        ("SETTLING", "approved"),
        ("SETTLED", "approved"),
        ("AUTHORIZING", "pending"),
        ("AUTHORIZED", "pending"),
        ("PROCESSOR_DECLINED", "declined"),
        ("GATEWAY_REJECTED", "declined"),
        ("FAILED", "declined"),
        ("VOIDED", "failed"),
        ("AUTHORIZATION_EXPIRED", "failed"),
        ("SETTLEMENT_DECLINED", "unknown"),
        ("SETTLEMENT_CONFIRMED", "unknown"),
        ("SOMETHING_NEW", "unknown"),
    ] {
        let body = of_charge(&transaction(status));
        assert_eq!(word(200, &body), outcome, "{status}");
        let found = found(
            &response(200, &of_search(&[transaction(status)])),
            &charge(1),
        );
        assert_eq!(found.unwrap().as_str(), outcome, "{status}, found");
    }
}

#[test]
fn what_was_to_be_set_aside_is_approved_once_it_is_authorised() {
    let aside = Charge {
        purpose: Purpose::Authorise,
        ..charge(1)
    };
    let body =
        json!({ "data": { "authorizeCreditCard": { "transaction": transaction("AUTHORIZED") } } });
    assert_eq!(charged(&response(200, &body), &aside).as_str(), "approved");
    assert_eq!(word(200, &body), "pending", "a charge is not captured");
}

#[test]
fn a_transaction_of_another_charge_tells_nothing() {
    let changes: [fn(&mut Value); 6] = [
        |t| t["amount"]["value"] = json!("12.51"),
        |t| t["amount"]["currencyCode"] = json!("USD"),
        |t| t["amount"] = json!(null),
        |t| t["orderId"] = json!("att_else"),
        |t| t["orderId"] = json!(null),
        |t| t["status"] = json!(null),
    ];
    for change in changes {
        let mut other = transaction("SETTLED");
        change(&mut other);
        assert_eq!(word(200, &of_charge(&other)), "unknown", "{other}");
        let found = found(&response(200, &of_search(&[other])), &charge(1));
        assert_eq!(found.unwrap().as_str(), "unknown");
    }
}

#[test]
fn each_error_of_a_charge_has_its_outcome() {
    for (class, code, outcome) in [
        ("AUTHENTICATION", None, "failed"),
        ("AUTHORIZATION", None, "failed"),
        ("UNSUPPORTED_CLIENT", None, "failed"),
        ("RESOURCE_LIMIT", None, "failed"),
        ("VALIDATION", Some("81503"), "failed"),
        ("VALIDATION", None, "failed"),
        // Consumed, unknown (any more), locked: by a charge, it may be.
        ("VALIDATION", Some("91564"), "unknown"),
        ("VALIDATION", Some("91565"), "unknown"),
        ("VALIDATION", Some("91566"), "unknown"),
        ("VALIDATION", Some("91731"), "unknown"),
        ("VALIDATION", Some("91732"), "unknown"),
        ("VALIDATION", Some("91733"), "unknown"),
        ("NOT_FOUND", None, "unknown"),
        ("INTERNAL", None, "unknown"),
        ("SERVICE_AVAILABILITY", None, "unknown"),
        ("SOMETHING_NEW", None, "unknown"),
    ] {
        for data in [json!(null), json!({ "chargeCreditCard": null })] {
            let body = json!({ "data": data, "errors": [error(class, code)] });
            assert_eq!(word(200, &body), outcome, "{class} {code:?}");
        }
    }
    let mixed = [error("VALIDATION", None), error("INTERNAL", None)];
    assert_eq!(word(200, &json!({ "errors": mixed })), "unknown");
    assert_eq!(
        word(200, &json!({ "errors": [{ "message": "m" }] })),
        "unknown"
    );
    // A transaction is one, whatever is said beside it.
    let mut both = of_charge(&transaction("SETTLING"));
    both["errors"] = json!([error("VALIDATION", None)]);
    assert_eq!(word(200, &both), "approved");
    for (status, outcome) in [
        (401, "failed"),
        (403, "failed"),
        (429, "failed"),
        (400, "unknown"),
        (500, "unknown"),
        (503, "unknown"),
    ] {
        assert_eq!(word(status, &json!({})), outcome, "{status}");
    }
    for body in [
        json!("<html>"),
        json!({}),
        json!([]),
        json!({ "data": null }),
    ] {
        assert_eq!(word(200, &body), "unknown", "{body}");
    }
}

#[test]
fn a_card_that_is_not_taken_is_declined_or_failed_and_never_unknown() {
    let ended = |status: u16, body: &Value| match tokenised(&response(status, body)) {
        Submitted::Ended(outcome) => outcome,
        Submitted::Tokenised(_) => panic!("{body}"),
    };
    for (code, field) in [
        ("81714", Field::PaymentCardNumber),
        ("81715", Field::PaymentCardNumber),
        ("81716", Field::PaymentCardNumber),
        ("81750", Field::PaymentCardNumber),
        ("81709", Field::ExpirationDate),
        ("81710", Field::ExpirationDate),
        ("81711", Field::ExpirationDate),
        ("81712", Field::ExpirationDate),
        ("81713", Field::ExpirationDate),
        ("81706", Field::SecurityCode),
        ("81707", Field::SecurityCode),
        ("81736", Field::SecurityCode),
    ] {
        let body = json!({ "errors": [error("VALIDATION", Some(code))] });
        let expected = Outcome::Declined {
            advice: Advice::ReEnter(field),
            code: format!("VALIDATION:{code}"),
        };
        assert_eq!(ended(200, &body), expected);
    }
    for (status, class, again) in [
        (200, "VALIDATION", false),
        (200, "AUTHENTICATION", false),
        (200, "INTERNAL", true),
        (200, "SERVICE_AVAILABILITY", true),
        (200, "RESOURCE_LIMIT", true),
        (401, "", false),
        (429, "", true),
        (500, "", true),
    ] {
        let found = ended(status, &json!({ "errors": [error(class, None)] }));
        let Outcome::Failed { retryable, .. } = found else {
            panic!("{status} {class}: {found:?}")
        };
        assert_eq!(retryable, again, "{status} {class}");
    }
    let made = |id: &str, usage: &str| {
        let method = json!({ "id": id, "usage": usage });
        json!({ "data": { "tokenizeCreditCard": { "paymentMethod": method } } })
    };
    let Submitted::Tokenised(token) =
        tokenised(&response(200, &made("tokencc_bc_a1_b2", "SINGLE_USE")))
    else {
        panic!("no token")
    };
    assert_eq!(token.as_str(), "tokencc_bc_a1_b2");
    for wrong in [
        made("tokencc_bc_a1", "MULTI_USE"),
        made("4242424242424242", "SINGLE_USE"),
        json!({ "data": { "tokenizeCreditCard": null } }),
        json!({}),
    ] {
        assert_eq!(ended(200, &wrong).as_str(), "failed", "{wrong}");
    }
}

#[test]
fn each_decline_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter, TryAgain};
    for (code, expected) in [
        ("2000", OtherCard),
        ("2001", TryAgain),
        ("2002", CallIssuer),
        ("2003", CallIssuer),
        ("2004", ReEnter(Field::ExpirationDate)),
        ("2005", ReEnter(Field::PaymentCardNumber)),
        ("2006", ReEnter(Field::ExpirationDate)),
        ("2007", OtherCard),
        ("2008", ReEnter(Field::PaymentCardNumber)),
        ("2009", ReEnter(Field::PaymentCardNumber)),
        ("2010", ReEnter(Field::SecurityCode)),
        ("2011", CallIssuer),
        ("2012", DoNotRetry),
        ("2013", DoNotRetry),
        ("2014", DoNotRetry),
        ("2015", CallIssuer),
        ("2016", DoNotRetry),
        ("2017", DoNotRetry),
        ("2018", DoNotRetry),
        ("2020", CallIssuer),
        ("2021", CallIssuer),
        ("2024", OtherCard),
        ("2038", OtherCard),
        ("2041", CallIssuer),
        ("2043", CallIssuer),
        ("2044", CallIssuer),
        ("2047", DoNotRetry),
        ("2051", ReEnter(Field::PaymentCardNumber)),
        ("2053", DoNotRetry),
        ("2057", CallIssuer),
        ("2060", ReEnter(Field::SecurityCode)),
        ("2999", OtherCard),
        ("3000", TryAgain),
    ] {
        let mut declined = transaction("PROCESSOR_DECLINED");
        declined["statusHistory"][0]["processorResponse"] = json!({ "legacyCode": code });
        let expected = Outcome::Declined {
            advice: expected,
            code: format!("PROCESSOR_DECLINED:{code}"),
        };
        let found = charged(&response(200, &of_charge(&declined)), &charge(1));
        assert_eq!(found, expected);
    }
    for code in [
        "2025", "2026", "2027", "2028", "2030", "2040", "2045", "2055",
    ] {
        let Outcome::Failed { reason, retryable } = declined(code) else {
            panic!("{code}")
        };
        assert!(!retryable && reason.contains(code), "{reason}");
    }
}

#[test]
fn each_rejection_by_the_gateway_has_its_advice() {
    use Advice::{DoNotRetry, OtherCard, ReEnter};
    for (reason, expected) in [
        ("AVS", OtherCard),
        ("AVS_AND_CVV", ReEnter(Field::SecurityCode)),
        ("CVV", ReEnter(Field::SecurityCode)),
        ("EXCESSIVE_RETRY", DoNotRetry),
        ("FRAUD", DoNotRetry),
        ("PAYMENT_METHOD_BLOCKED", DoNotRetry),
        ("RISK_THRESHOLD", DoNotRetry),
        ("THREE_D_SECURE", OtherCard),
        ("TOKEN_ISSUANCE", OtherCard),
        ("TOO_MANY_CONFIRMATION_ATTEMPTS", OtherCard),
        ("UNION_PAY_ENROLLMENT_REQUIRED", OtherCard),
    ] {
        let mut body = transaction("GATEWAY_REJECTED");
        body["statusHistory"][0]["gatewayRejectionReason"] = json!(reason);
        let expected = Outcome::Declined {
            advice: expected,
            code: format!("GATEWAY_REJECTED:{reason}"),
        };
        assert_eq!(
            charged(&response(200, &of_charge(&body)), &charge(1)),
            expected
        );
    }
    assert_eq!(rejected("DUPLICATE").as_str(), "unknown");
    assert_eq!(rejected("APPLICATION_INCOMPLETE").as_str(), "failed");
    assert_eq!(rejected("MANUAL_TRANSACTIONS_DISABLED").as_str(), "failed");
}

#[test]
fn a_search_tells_of_one_transaction_and_passes_over_its_rejected_duplicate() {
    let look = |body: &Value| found(&response(200, body), &charge(1));
    assert!(look(&of_search(&[])).is_none());
    let mut duplicate = transaction("GATEWAY_REJECTED");
    duplicate["statusHistory"][0]["gatewayRejectionReason"] = json!("DUPLICATE");
    let both = of_search(&[duplicate, transaction("SETTLED")]);
    assert_eq!(look(&both).unwrap().as_str(), "approved");
    let two = of_search(&[transaction("SETTLED"), transaction("FAILED")]);
    assert_eq!(look(&two).unwrap().as_str(), "unknown");
    let mut troubled = of_search(&[]);
    troubled["errors"] = json!([error("SERVICE_AVAILABILITY", None)]);
    for body in [
        troubled,
        json!({}),
        json!({ "data": { "search": null } }),
        of_search(&[json!(null)]),
    ] {
        assert_eq!(look(&body).unwrap().as_str(), "unknown", "{body}");
    }
    for status in [401, 429, 500] {
        let found = found(&response(status, &json!({})), &charge(1));
        assert_eq!(found.unwrap().as_str(), "unknown", "{status}");
    }
}

#[test]
fn a_charge_goes_to_the_account_of_its_currency_or_nowhere() {
    let adapter = Braintree::new(BraintreeSettings {
        connection: Connection {
            site: Braintree::site(Mode::Test).parse().unwrap(),
            trust: super::super::Trust::default(),
            deadlines: super::super::Deadlines::default(),
            mode: Mode::Test,
        },
        public_key: "v4nd".to_owned(),
        key: Secret::new("93b7").unwrap(),
        merchant_accounts: [("EUR", "eur"), ("JPY", "jpy")]
            .map(|(currency, account)| (currency.to_owned(), account.to_owned()))
            .into(),
    })
    .unwrap();
    for (currency, minor, account, amount) in [
        ("EUR", 1250, "eur", "12.50"),
        ("EUR", 5, "eur", "0.05"),
        ("JPY", 1250, "jpy", "1250"),
    ] {
        let charge = Charge {
            amount_minor: minor,
            currency: currency.to_owned(),
            ..charge(1)
        };
        let transaction = adapter.transaction(&charge).unwrap();
        assert_eq!(transaction["merchantAccountId"], account);
        assert_eq!(transaction["amount"], amount);
        assert_eq!(transaction["paymentInitiator"], "MOTO");
    }
    let charge = Charge {
        currency: "USD".to_owned(),
        ..charge(1)
    };
    let refused = adapter.transaction(&charge).unwrap_err();
    assert!(
        matches!(&refused, Outcome::Failed { retryable: false, reason } if reason.contains("USD")),
        "{refused:?}"
    );
}
