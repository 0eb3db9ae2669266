//! What Checkout.com signs, and what each of its events means.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use crate::processor::Advice;

const KEY: &str = "5df07100-a31f-4223-8f8c-9fcc6ff5ce6d";
const OTHER_KEY: &str = "5df07100-a31f-4223-8f8c-000000000000";
const ATTEMPT: &str = "att_01JD0000000000000000000000";
const OPERATION: &str = "op_acme_n1_01JD0000000000000000000000";

fn signature(key: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(keys: &[&str], signature: &str, body: &str) -> Result<Option<Notification>, Forged> {
    let keys: Vec<_> = keys.iter().map(|key| Secret::new(key).unwrap()).collect();
    let reader = CheckoutNotifications::new(&keys).ok().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("cko-signature", signature.parse().unwrap());
    let mut told = reader.read(&headers, body.as_bytes(), Timestamp::UNIX_EPOCH)?;
    Ok(told.pop().unwrap())
}

/// As its documentation has them.
fn event(kind: &str, code: &str) -> Value {
    json!({
        "id": "evt_fkfqht6yonme7bk7jawrgzbbxq", "type": kind, "version": "1.0.29",
        "timestamp": "2023-05-24T09:12:32.357+00:00",
        "data": {
            "id": "pay_vti5layihapu5bhbn5tjtk6eem", "action_id": "act_uqlj3642dyyuroivzdwfg2fysq",
            "reference": ATTEMPT, "amount": 1250, "currency": "EUR", "response_code": code,
            "metadata": {},
        },
    })
}

fn told(event: &Value) -> Option<Notification> {
    let body = event.to_string();
    read(&[KEY], &signature(KEY, &body), &body).unwrap()
}

#[test]
fn an_event_is_believed_by_either_key_and_as_it_was_signed() {
    let body = event("payment_approved", "10000").to_string();
    let right = signature(KEY, &body);
    for keys in [&[KEY][..], &[OTHER_KEY, KEY], &[KEY, OTHER_KEY]] {
        assert!(read(keys, &right, &body).unwrap().is_some(), "{keys:?}");
    }
    let changed = body.replace("1250", "1251");
    for (signature, body) in [
        (right.as_str(), &changed),
        (&signature(OTHER_KEY, &body), &body),
        (&right[2..], &body),
        ("", &body),
    ] {
        let found = read(&[KEY], signature, body);
        assert_eq!(found, Err(Forged::OtherSignature), "{signature}");
    }
    assert_eq!(read(&[KEY], "!", &body), Err(Forged::Unsigned));
    assert!(CheckoutNotifications::new(&[Secret::new("short").unwrap()]).is_err());
}

#[test]
fn each_event_has_its_outcome() {
    use OperationKind::{Refund, Settle, Void};
    for (kind, about, outcome) in [
        ("payment_approved", About::Charge, "approved"),
        ("payment_declined", About::Charge, "declined"),
        ("payment_captured", About::Operation(Settle), "approved"),
        (
            "payment_capture_declined",
            About::Operation(Settle),
            "declined",
        ),
        ("payment_voided", About::Operation(Void), "approved"),
        ("payment_void_declined", About::Operation(Void), "declined"),
        ("payment_refunded", About::Operation(Refund), "approved"),
        (
            "payment_refund_declined",
            About::Operation(Refund),
            "declined",
        ),
    ] {
        let told = told(&event(kind, "20051")).unwrap();
        assert_eq!(
            (told.about, told.outcome.as_str()),
            (about, outcome),
            "{kind}"
        );
        let own = match about {
            About::Charge => "pay_vti5layihapu5bhbn5tjtk6eem",
            About::Operation(_) => "act_uqlj3642dyyuroivzdwfg2fysq",
        };
        assert_eq!(
            (told.reference.as_str(), told.processor_reference.as_str()),
            (ATTEMPT, own)
        );
        let amount = (about != About::Operation(Void)).then(|| (1250, "EUR".to_owned()));
        assert_eq!(told.amount, amount, "{kind}");
    }
    let declined = told(&event("payment_declined", "20051")).unwrap().outcome;
    let (advice, code) = (Advice::TryAgain, "20051".to_owned());
    assert_eq!(declined, Outcome::Declined { advice, code });
    let part = told(&event("payment_approved", "10010")).unwrap().outcome;
    assert_eq!(part.as_str(), "pending");
}

#[test]
fn an_operation_is_known_by_its_own_reference_where_it_is_told() {
    let mut refunded = event("payment_refunded", "10000");
    refunded["data"]["metadata"] = json!({ "operation": OPERATION });
    assert_eq!(told(&refunded).unwrap().reference, OPERATION);
}

#[test]
fn what_is_of_another_kind_or_program_is_not_ours() {
    let mut other = event("payment_approved", "10000");
    other["data"]["reference"] = json!("ORD-5023-4E89");
    for event in [
        other,
        event("payment_pending", "10000"),
        json!({}),
        json!([]),
    ] {
        assert_eq!(told(&event), None, "{event}");
    }
    let mut peso = event("payment_approved", "10000");
    peso["data"]["currency"] = json!("CLP");
    peso["data"]["amount"] = json!(1251);
    assert_eq!(told(&peso).unwrap().amount, Some((0, "CLP".to_owned())));
}
