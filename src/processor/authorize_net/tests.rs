//! What each answer of Authorize.Net means. The whole way, over TLS and with faults, is in `tests/faults.rs`.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    super::{Advice, testing::charge},
    *,
};
use crate::proto::field::Field;

fn response(status: u16, body: &Value) -> Response {
    Response {
        status,
        date: None,
        body: Zeroizing::new(format!("\u{feff}{body}").into_bytes()),
    }
}

fn answer(code: &str, reason: &str) -> Value {
    let (ok, list) = match code {
        "1" | "4" => (
            "Ok",
            json!({ "messages": [{ "code": reason, "description": "d" }] }),
        ),
        _ => (
            "Error",
            json!({ "errors": [{ "errorCode": reason, "errorText": "t" }] }),
        ),
    };
    let mut transaction = list;
    transaction["responseCode"] = json!(code);
    transaction["transId"] = json!("40012345678");
    transaction["accountNumber"] = json!("XXXX4242");
    json!({
        "transactionResponse": transaction, "refId": reference(&charge(1)),
        "messages": { "resultCode": ok, "message": [{ "code": "E00027", "text": "t" }] },
    })
}

fn word(status: u16, body: &Value) -> &'static str {
    charged(&response(status, body), &charge(1)).as_str()
}

fn details(status: &str, reason: u64) -> Value {
    json!({
        "transaction": {
            "transId": "40012345678", "transactionType": "authCaptureTransaction",
            "transactionStatus": status, "responseCode": 1, "responseReasonCode": reason,
            "authAmount": 12.5, "settleAmount": 12.5, "order": { "invoiceNumber": reference(&charge(1)) },
        },
        "messages": { "resultCode": "Ok", "message": [{ "code": "I00001", "text": "t" }] },
    })
}

#[test]
fn each_response_code_has_its_outcome() {
    for (code, reason, outcome) in [
        ("1", "1", "approved"),
        ("2", "2", "declined"),
        ("3", "19", "declined"),
        ("3", "13", "failed"),
        ("4", "252", "pending"),
        ("4", "253", "pending"),
        ("4", "193", "pending"),
        ("5", "1", "pending"),
        ("6", "1", "unknown"),
        ("", "1", "unknown"),
    ] {
        assert_eq!(word(200, &answer(code, reason)), outcome, "{code} {reason}");
    }
    let mut other = answer("1", "1");
    other["refId"] = json!("ELSE");
    assert_eq!(word(200, &other), "unknown");
    other["refId"] = json!(null);
    assert_eq!(word(200, &other), "unknown");
    let mut nameless = answer("1", "1");
    nameless["transactionResponse"]["transId"] = json!(null);
    assert_eq!(word(200, &nameless), "unknown");
    // The account is in test mode: nothing is charged.
    nameless["transactionResponse"]["transId"] = json!("0");
    assert_eq!(word(200, &nameless), "failed");
    for (status, outcome) in [
        (401, "failed"),
        (403, "failed"),
        (429, "failed"),
        (400, "unknown"),
        (500, "unknown"),
        (503, "unknown"),
    ] {
        assert_eq!(word(status, &answer("1", "1")), outcome, "{status}");
    }
    for body in [json!("<html>"), json!({}), json!([])] {
        assert_eq!(word(200, &body), "unknown", "{body}");
    }
}

#[test]
fn an_approval_is_read_with_and_without_a_byte_order_mark() {
    let text = answer("1", "1").to_string();
    for body in [text.clone(), format!("\u{feff}{text}")] {
        let response = Response {
            status: 200,
            date: None,
            body: Zeroizing::new(body.into_bytes()),
        };
        let approved = Outcome::Approved {
            processor_reference: "40012345678".to_owned(),
            code: "1:1".to_owned(),
        };
        assert_eq!(charged(&response, &charge(1)), approved);
    }
}

#[test]
fn each_error_of_a_whole_request_has_its_outcome() {
    for (code, outcome) in [
        ("E00001", "unknown"),
        ("E00002", "failed"),
        ("E00003", "failed"),
        ("E00004", "failed"),
        ("E00005", "failed"),
        ("E00006", "failed"),
        ("E00007", "failed"),
        ("E00008", "failed"),
        ("E00009", "failed"),
        ("E00010", "failed"),
        ("E00011", "failed"),
        ("E00013", "failed"),
        ("E00014", "failed"),
        ("E00015", "failed"),
        ("E00016", "failed"),
        ("E00027", "unknown"),
        ("E00045", "failed"),
        ("E00053", "failed"),
        ("E00059", "failed"),
        ("E00104", "failed"),
        ("E99999", "unknown"),
    ] {
        let message = json!({ "code": code, "text": "t" });
        for transaction in [json!(null), json!({})] {
            let body = json!({
                "transactionResponse": transaction,
                "messages": { "resultCode": "Error", "message": [message] },
            });
            assert_eq!(word(200, &body), outcome, "{code}");
        }
        let ok = json!({ "messages": { "resultCode": "Ok", "message": [message] } });
        assert_eq!(word(200, &ok), "unknown", "{code}");
    }
}

#[test]
fn each_decline_has_its_advice() {
    use Advice::{CallIssuer, DoNotRetry, OtherCard, ReEnter};
    for (reason, expected) in [
        ("2", OtherCard),
        ("3", CallIssuer),
        ("4", DoNotRetry),
        ("27", OtherCard),
        ("41", DoNotRetry),
        ("44", ReEnter(Field::SecurityCode)),
        ("45", ReEnter(Field::SecurityCode)),
        ("65", ReEnter(Field::SecurityCode)),
        ("191", OtherCard),
        ("250", DoNotRetry),
        ("251", DoNotRetry),
        ("254", DoNotRetry),
        ("315", ReEnter(Field::PaymentCardNumber)),
        ("316", ReEnter(Field::ExpirationDate)),
        ("317", ReEnter(Field::ExpirationDate)),
        ("999", OtherCard),
    ] {
        let expected = Outcome::Declined {
            advice: expected,
            code: format!("2:{reason}"),
        };
        let found = charged(&response(200, &answer("2", reason)), &charge(1));
        assert_eq!(found, expected);
        let found = detailed(
            &response(200, &details("declined", reason.parse().unwrap())),
            &charge(1),
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn each_error_of_a_transaction_has_its_outcome() {
    use Advice::{OtherCard, ReEnter};
    for (reason, advice) in [
        ("6", ReEnter(Field::PaymentCardNumber)),
        ("7", ReEnter(Field::ExpirationDate)),
        ("8", ReEnter(Field::ExpirationDate)),
        ("17", OtherCard),
        ("28", OtherCard),
        ("37", ReEnter(Field::PaymentCardNumber)),
        ("78", ReEnter(Field::SecurityCode)),
        ("128", OtherCard),
    ] {
        let found = charged(&response(200, &answer("3", reason)), &charge(1));
        let code = format!("3:{reason}");
        assert_eq!(found, Outcome::Declined { advice, code });
    }
    for reason in "19 20 21 22 23 25 26 57 58 59 60 61 62 63".split(' ') {
        let found = charged(&response(200, &answer("3", reason)), &charge(1));
        let (advice, code) = (Advice::TryAgain, format!("3:{reason}"));
        assert_eq!(found, Outcome::Declined { advice, code });
    }
    for reason in "5 13 24 29 30 31 34 35 38 39 43 49 66 84 87 103 116".split(' ') {
        let found = charged(&response(200, &answer("3", reason)), &charge(1));
        assert!(
            matches!(
                found,
                Outcome::Failed {
                    retryable: false,
                    ..
                }
            ),
            "{reason}: {found:?}"
        );
    }
    assert_eq!(word(200, &answer("3", "999")), "unknown");
}

#[test]
fn a_charge_whose_void_failed_or_that_is_there_already_is_never_declined() {
    for reason in [
        "11", "36", "120", "121", "122", "127", "141", "145", "152", "165", "318",
    ] {
        for code in ["2", "3"] {
            assert_eq!(
                word(200, &answer(code, reason)),
                "unknown",
                "{code} {reason}"
            );
        }
        for status in ["declined", "generalError", "communicationError"] {
            let body = details(status, reason.parse().unwrap());
            let found = detailed(&response(200, &body), &charge(1));
            assert_eq!(found.as_str(), "unknown", "{status} {reason}");
        }
    }
}

#[test]
fn each_status_of_a_transaction_that_is_found_has_its_outcome() {
    for (status, outcome) in [
        ("authorizedPendingCapture", "pending"),
        ("capturedPendingSettlement", "approved"),
        ("communicationError", "unknown"),
        ("refundSettledSuccessfully", "unknown"),
        ("refundPendingSettlement", "unknown"),
        ("approvedReview", "pending"),
        ("declined", "declined"),
        ("couldNotVoid", "unknown"),
        ("expired", "failed"),
        ("generalError", "unknown"),
        ("pendingFinalSettlement", "approved"),
        ("pendingSettlement", "approved"),
        ("failedReview", "failed"),
        ("settledSuccessfully", "approved"),
        ("settlementError", "unknown"),
        ("underReview", "pending"),
        ("updatingSettlement", "approved"),
        ("voided", "failed"),
        ("FDSPendingReview", "pending"),
        ("FDSAuthorizedPendingReview", "pending"),
        ("returnedItem", "unknown"),
        ("chargeback", "unknown"),
        ("chargebackReversal", "unknown"),
        ("authorizedPendingRelease", "pending"),
        ("somethingNew", "unknown"),
    ] {
        let found = detailed(&response(200, &details(status, 1)), &charge(1));
        assert_eq!(found.as_str(), outcome, "{status}");
    }
    let changes: [fn(&mut Value); 6] = [
        |body| body["transaction"]["authAmount"] = json!(12.51),
        |body| body["transaction"]["authAmount"] = json!(null),
        |body| body["transaction"]["order"]["invoiceNumber"] = json!("ELSE"),
        |body| body["transaction"]["order"] = json!(null),
        |body| body["transaction"]["transactionType"] = json!("refundTransaction"),
        |body| body["messages"]["resultCode"] = json!("Error"),
    ];
    for change in changes {
        let mut other = details("settledSuccessfully", 1);
        change(&mut other);
        let found = detailed(&response(200, &other), &charge(1));
        assert_eq!(found.as_str(), "unknown", "{other}");
    }
}

#[test]
fn what_was_to_be_set_aside_is_approved_once_it_is_authorised() {
    let aside = Charge {
        purpose: Purpose::Authorise,
        ..charge(1)
    };
    assert!(around_card(&aside).0.contains("\"authOnlyTransaction\""));
    let mut body = details("authorizedPendingCapture", 1);
    assert_eq!(detailed(&response(200, &body), &aside).as_str(), "unknown");
    body["transaction"]["transactionType"] = json!("authOnlyTransaction");
    assert_eq!(detailed(&response(200, &body), &aside).as_str(), "approved");
}

#[test]
fn the_list_tells_of_the_one_transaction_of_our_invoice_number() {
    let list = |transactions: Value, result: &str| {
        let body = json!({
            "transactions": transactions,
            "messages": { "resultCode": result, "message": [{ "code": "I00001", "text": "t" }] },
        });
        listed(&response(200, &body))
    };
    let one = |id: &str, invoice: &str| json!({ "transId": id, "invoiceNumber": invoice });
    let id = |transactions: Value| list(transactions, "Ok").unwrap().id_of("OURS");
    assert_eq!(id(json!([])), Ok(None));
    assert_eq!(id(json!([one("1", "ELSE"), { "transId": "2" }])), Ok(None));
    assert_eq!(
        id(json!([one("1", "ELSE"), one("2", "OURS")])),
        Ok(Some("2".to_owned()))
    );
    assert!(id(json!([one("1", "OURS"), one("2", "OURS")])).is_err());
    assert!(id(json!([one("1\"", "OURS")])).is_err());
    assert!(list(json!([]), "Error").is_err());
    // None at all is told without a list.
    let none = json!({ "messages": { "resultCode": "Ok", "message": [{ "code": "I00004", "text": "t" }] } });
    assert_eq!(
        listed(&response(200, &none)).unwrap().id_of("OURS"),
        Ok(None)
    );
    assert!(listed(&response(500, &none)).is_err());
}

#[test]
fn our_reference_is_short_and_keeps_all_that_is_random() {
    let at = |milliseconds: u64, random: u128| {
        let serial = ulid::Ulid::from_parts(milliseconds, random);
        let id = format!("att_acme_n1_{serial}");
        let charge = Charge {
            attempt: id.parse().unwrap(),
            ..charge(1)
        };
        reference(&charge)
    };
    const NOW: u64 = 1_790_000_000_000;
    assert_eq!(at(NOW, 7).len(), 20);
    for bit in 0..80 {
        assert_ne!(at(NOW, 0), at(NOW, 1 << bit), "random bit {bit}");
    }
    for bit in 0..20 {
        assert_ne!(at(NOW, 7), at(NOW ^ (1 << bit), 7), "time bit {bit}");
    }
}

#[test]
fn the_members_of_the_request_stand_in_the_order_of_the_schema() {
    let (before, after) = around_card(&charge(1));
    let whole = format!("{before}4242{after}");
    let mut from = 0;
    for name in [
        "refId",
        "transactionRequest",
        "transactionType",
        "amount",
        "currencyCode",
        "payment",
        "creditCard",
        "cardNumber",
        "order",
        "invoiceNumber",
        "description",
        "retail",
        "marketType",
        "transactionSettings",
        "setting",
    ] {
        let at = whole[from..].find(&format!("\"{name}\":"));
        from += at.unwrap_or_else(|| panic!("{name} is not behind what it follows"));
    }
    assert!(whole.contains("\"amount\":\"12.50\""), "{whole}");
}

#[test]
fn a_key_that_is_none_is_refused_and_not_repeated() {
    let adapter = |key: &str| {
        let connection = Connection {
            site: AuthorizeNet::site(Mode::Test).parse().unwrap(),
            trust: super::super::Trust::default(),
            deadlines: super::super::Deadlines::default(),
            mode: Mode::Test,
        };
        AuthorizeNet::new(AuthorizeNetSettings {
            connection,
            api_login_id: "login".to_owned(),
            key: Secret::new(key).unwrap(),
        })
        .map(drop)
    };
    assert!(adapter("4Ktq966gC55GAX7S").is_ok());
    for wrong in ["4Ktq966gC55GAX7S1", "4Ktq\"966g", "4Ktq\\966g"] {
        let error = adapter(wrong).unwrap_err().to_string();
        assert!(
            error.contains("key_file") && !error.contains("4Ktq"),
            "{error}"
        );
    }
}
