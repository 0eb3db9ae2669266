//! Adyen's own example, and what each kind of notification means.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::processor::Advice;

/// The key and the signature of the example in Adyen's documentation and in the tests of its libraries.
const KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
const SIGNATURE: &str = "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=";
/// Of another example, in the tests of its library for PHP.
const OTHER_KEY: &str = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00";
const OTHER_SIGNATURE: &str = "Ny9gS2veKo5E4w8/OL6xz1/wvT/hYkAXy1xNc/QvO4I=";
const REFERENCE: &str = "att_01JD0000000000000000000000";

fn reader(keys: &[&str]) -> AdyenNotifications {
    let keys: Vec<_> = keys.iter().map(|key| Secret::new(key).unwrap()).collect();
    let reader = AdyenNotifications::new(&keys, "TestMerchant".to_owned(), Mode::Test);
    reader.ok().unwrap()
}

fn example(signature: &str) -> Value {
    json!({
        "live": "false",
        "notificationItems": [{ "NotificationRequestItem": {
            "additionalData": { "hmacSignature": signature },
            "amount": { "value": 1130, "currency": "EUR" },
            "pspReference": "7914073381342284",
            "eventCode": "AUTHORISATION",
            "eventDate": "2019-05-06T17:15:34.121+02:00",
            "merchantAccountCode": "TestMerchant",
            "merchantReference": "TestPayment-1407325143704",
            "paymentMethod": "visa",
            "success": "true",
        }}],
    })
}

fn read(reader: &AdyenNotifications, body: &Value) -> Result<Vec<Option<Notification>>, Forged> {
    let body = body.to_string();
    reader.read(&HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH)
}

/// One item about `reference`, signed.
fn signed(event: &str, success: bool, change: impl FnOnce(&mut Value)) -> Value {
    let mut item = json!({
        "amount": { "value": 1250, "currency": "EUR" },
        "pspReference": "NC6HT9CRT65ZGN82",
        "eventCode": event,
        "merchantAccountCode": "TestMerchant",
        "merchantReference": REFERENCE,
        "success": success.to_string(),
    });
    change(&mut item);
    let of = |pointer: &str| item.pointer(pointer).map(text).unwrap_or_default();
    let fields = [
        "/pspReference",
        "/originalReference",
        "/merchantAccountCode",
        "/merchantReference",
        "/amount/value",
        "/amount/currency",
        "/eventCode",
        "/success",
    ];
    let mut mac = Hmac::<Sha256>::new_from_slice(&from_hex(KEY).unwrap()).unwrap();
    mac.update(fields.map(of).join(":").as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    item["additionalData"] = json!({ "hmacSignature": signature });
    json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": item }] })
}

fn told(event: &str, success: bool, change: impl FnOnce(&mut Value)) -> Option<Notification> {
    let body = signed(event, success, change);
    read(&reader(&[KEY]), &body).unwrap().pop().unwrap()
}

#[test]
fn the_published_examples_are_believed_by_either_key_and_no_other() {
    for (signature, key, other) in [
        (SIGNATURE, KEY, OTHER_KEY),
        (OTHER_SIGNATURE, OTHER_KEY, KEY),
    ] {
        let body = example(signature);
        for keys in [&[key][..], &[key, other], &[other, key]] {
            // It is about somebody else's payment.
            assert_eq!(read(&reader(keys), &body), Ok(vec![None]), "{keys:?}");
        }
        let by_other = read(&reader(&[other]), &body);
        assert_eq!(by_other, Err(Forged::OtherSignature));
    }
}

#[test]
fn each_signed_field_that_is_changed_makes_it_forged() {
    let reader = reader(&[KEY]);
    for (pointer, other) in [
        ("/amount/value", json!(1131)),
        ("/amount/currency", json!("USD")),
        ("/pspReference", json!("7914073381342285")),
        ("/eventCode", json!("REFUND")),
        ("/merchantAccountCode", json!("OtherMerchant")),
        ("/merchantReference", json!(REFERENCE)),
        ("/success", json!("false")),
        ("/originalReference", json!("X")),
        ("/additionalData/hmacSignature", json!(OTHER_SIGNATURE)),
    ] {
        let mut body = example(SIGNATURE);
        let item = body.pointer_mut("/notificationItems/0/NotificationRequestItem");
        let item = item.unwrap();
        if pointer == "/originalReference" {
            item["originalReference"] = other;
        } else {
            *item.pointer_mut(pointer).unwrap() = other;
        }
        assert_eq!(
            read(&reader, &body),
            Err(Forged::OtherSignature),
            "{pointer}"
        );
    }
    let mut second = example(SIGNATURE);
    let forged = example(OTHER_SIGNATURE)["notificationItems"][0].clone();
    second["notificationItems"]
        .as_array_mut()
        .unwrap()
        .push(forged);
    assert_eq!(read(&reader, &second), Err(Forged::OtherSignature));
    for unsigned in [
        json!({}),
        json!({ "live": "false", "notificationItems": [] }),
        example("!"),
    ] {
        assert_eq!(
            read(&reader, &unsigned),
            Err(Forged::Unsigned),
            "{unsigned}"
        );
    }
    let mut without = example(SIGNATURE);
    without["notificationItems"][0]["NotificationRequestItem"]["additionalData"] = json!({});
    assert_eq!(read(&reader, &without), Err(Forged::Unsigned));
}

#[test]
fn each_kind_of_notification_has_its_outcome() {
    use OperationKind::{Refund, Settle, Void};
    for (event, success, about, outcome) in [
        ("AUTHORISATION", true, About::Charge, "approved"),
        ("AUTHORISATION", false, About::Charge, "declined"),
        ("CAPTURE", true, About::Operation(Settle), "approved"),
        ("CAPTURE", false, About::Operation(Settle), "declined"),
        ("CAPTURE_FAILED", true, About::Operation(Settle), "declined"),
        ("CANCELLATION", true, About::Operation(Void), "approved"),
        ("CANCELLATION", false, About::Operation(Void), "declined"),
        ("CANCEL_OR_REFUND", true, About::Operation(Void), "approved"),
        ("REFUND", true, About::Operation(Refund), "approved"),
        ("REFUND", false, About::Operation(Refund), "declined"),
        ("REFUND_FAILED", true, About::Operation(Refund), "declined"),
        (
            "REFUNDED_REVERSED",
            true,
            About::Operation(Refund),
            "declined",
        ),
    ] {
        let told = told(event, success, |_| {}).unwrap();
        let found = (told.about, told.outcome.as_str(), told.event.as_str());
        assert_eq!(found, (about, outcome, event), "{event} {success}");
        assert_eq!(told.reference, REFERENCE);
        let amount = (about != About::Operation(Void)).then(|| (1250, "EUR".to_owned()));
        assert_eq!(told.amount, amount, "{event}");
    }
    for other in [
        "REPORT_AVAILABLE",
        "CHARGEBACK",
        "AUTHORISATION_ADJUSTMENT",
        "EXPIRE",
    ] {
        assert_eq!(told(other, true, |_| {}), None, "{other}");
    }
}

#[test]
fn a_reason_chooses_the_advice_and_what_a_success_has_in_its_place_goes_nowhere() {
    for (reason, advice) in [
        ("Not enough balance", Advice::TryAgain),
        (
            "CVC Declined",
            Advice::ReEnter(crate::proto::field::Field::SecurityCode),
        ),
        ("FRAUD", Advice::DoNotRetry),
        ("Refused", Advice::OtherCard),
    ] {
        let told = told("AUTHORISATION", false, |item| {
            item["reason"] = json!(reason)
        })
        .unwrap();
        let code = reason.to_owned();
        assert_eq!(told.outcome, Outcome::Declined { advice, code });
    }
    // Authorisation code, last four, expiry.
    let told = told("AUTHORISATION", true, |item| {
        item["reason"] = json!("874574:1935:11/2012")
    });
    assert!(!format!("{told:?}").contains("1935"), "{told:?}");
}

#[test]
fn what_is_of_another_account_mode_or_program_is_not_ours() {
    type Change = fn(&mut Value);
    let others: [Change; 4] = [
        |item| item["merchantAccountCode"] = json!("OtherMerchant"),
        |item| item["merchantReference"] = json!("INV-1"),
        |item| item["merchantReference"] = json!("att_1:1250:EUR"),
        |item| item["success"] = json!("perhaps"),
    ];
    for other in others {
        assert_eq!(told("AUTHORISATION", true, other), None);
    }
    let mut live = signed("AUTHORISATION", true, |_| {});
    live["live"] = json!("true");
    assert_eq!(read(&reader(&[KEY]), &live), Ok(vec![None]));
}

#[test]
fn amounts_are_in_the_journals_unit_whatever_adyen_counts_in() {
    for (value, currency, minor) in [
        (500, "JPY", 500),
        (500, "CLP", 5),
        // Nobody was asked for a part of a peso.
        (501, "CLP", 0),
        (5, "IDR", 500),
        (5, "XXQ", 0),
    ] {
        let amount = json!({ "value": value, "currency": currency });
        let told = told("AUTHORISATION", true, |item| item["amount"] = amount).unwrap();
        assert_eq!(
            told.amount,
            Some((minor, currency.to_owned())),
            "{value} {currency}"
        );
    }
}

#[test]
fn a_key_is_as_adyen_shows_it_and_no_error_repeats_it() {
    for wrong in ["44782DEF", &KEY.replace('4', "x"), &format!("{KEY}00")] {
        let keys = [Secret::new(wrong).unwrap()];
        let error = AdyenNotifications::new(&keys, "x".to_owned(), Mode::Test);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("64 hexadecimal") && !error.contains("2DEF"),
            "{error}"
        );
    }
}
