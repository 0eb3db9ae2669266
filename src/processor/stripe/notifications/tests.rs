//! What Stripe signs, and what each of its events means.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::processor::Outcome;

const KEY: &str = "whsec_test_secret_of_an_endpoint";
const OTHER_KEY: &str = "whsec_test_secret_of_another_one";
const AT: i64 = 1_764_000_000;
const ATTEMPT: &str = "att_acme_n1_01JD0000000000000000000000";

fn reader(keys: &[&str]) -> StripeNotifications {
    let keys: Vec<_> = keys.iter().map(|key| Secret::new(key).unwrap()).collect();
    StripeNotifications::new(&keys, Mode::Test).ok().unwrap()
}

fn signature(key: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_at(
    keys: &[&str],
    value: &str,
    body: &str,
    now: i64,
) -> Result<Option<Notification>, Forged> {
    let mut headers = HeaderMap::new();
    headers.insert("stripe-signature", value.parse().unwrap());
    let now = Timestamp::from_second(now).unwrap();
    let mut told = reader(keys).read(&headers, body.as_bytes(), now)?;
    assert_eq!(told.len(), 1);
    Ok(told.pop().unwrap())
}

fn told(event: &Value) -> Option<Notification> {
    let body = event.to_string();
    let value = format!("t={AT},v1={}", signature(KEY, AT, &body));
    read_at(&[KEY], &value, &body, AT).unwrap()
}

fn intent(kind: &str, status: &str) -> Value {
    json!({ "object": "event", "type": kind, "livemode": false, "data": { "object": {
        "object": "payment_intent", "id": "pi_1", "status": status, "amount": 1250,
        "currency": "eur", "metadata": { "tonewall_attempt": ATTEMPT },
        "last_payment_error": { "type": "card_error", "decline_code": "insufficient_funds" },
    }}})
}

#[test]
fn an_event_is_believed_by_either_key_within_five_minutes_and_as_it_was_signed() {
    let body = intent("payment_intent.succeeded", "succeeded").to_string();
    let by = |key: &str| signature(key, AT, &body);
    let right = format!("t={AT},v1={},v0=00", by(KEY));
    for keys in [&[KEY][..], &[OTHER_KEY, KEY], &[KEY, OTHER_KEY]] {
        assert!(read_at(keys, &right, &body, AT).unwrap().is_some());
    }
    // Stripe signs with both secrets while one is being replaced.
    let both = format!("t={AT},v1={},v1={}", by(OTHER_KEY), by(KEY));
    assert!(read_at(&[KEY], &both, &body, AT + 300).is_ok());
    assert!(read_at(&[KEY], &right, &body, AT - 300).is_ok());
    for now in [AT + 301, AT - 301] {
        assert_eq!(read_at(&[KEY], &right, &body, now), Err(Forged::Stale));
    }
    let changed = body.replace("1250", "1251");
    let later = right.replace(&AT.to_string(), &(AT + 1).to_string());
    for (value, body) in [
        (right.as_str(), changed.as_str()),
        (&later, &body),
        (&format!("t={AT},v1={}", by(OTHER_KEY)), &body),
        (&format!("t={AT},v0={}", by(KEY)), &body),
        (&format!("t={AT},v1="), &body),
        (&format!("t={AT}"), &body),
    ] {
        assert_eq!(
            read_at(&[KEY], value, body, AT),
            Err(Forged::OtherSignature),
            "{value}"
        );
    }
    for value in [format!("v1={}", by(KEY)), String::new()] {
        assert_eq!(read_at(&[KEY], &value, &body, AT), Err(Forged::Unsigned));
    }
    let none = reader(&[KEY]).read(&HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH);
    assert_eq!(none, Err(Forged::Unsigned));
}

#[test]
fn each_event_has_its_outcome() {
    for (kind, status, outcome) in [
        ("payment_intent.succeeded", "succeeded", "approved"),
        (
            "payment_intent.amount_capturable_updated",
            "requires_capture",
            "approved",
        ),
        ("payment_intent.processing", "processing", "pending"),
        (
            "payment_intent.payment_failed",
            "requires_payment_method",
            "declined",
        ),
    ] {
        let told = told(&intent(kind, status)).unwrap();
        assert_eq!(
            (told.outcome.as_str(), told.about),
            (outcome, About::Charge)
        );
        assert_eq!(told.amount, Some((1250, "EUR".to_owned())));
        assert_eq!(
            (told.reference.as_str(), told.event.as_str()),
            (ATTEMPT, kind)
        );
    }
    let operation = "op_acme_n1_01JD0000000000000000000000";
    for (kind, status, outcome) in [
        ("refund.created", "pending", "pending"),
        ("refund.updated", "succeeded", "approved"),
        ("charge.refund.updated", "failed", "declined"),
        ("refund.failed", "failed", "declined"),
    ] {
        let told = told(
            &json!({ "type": kind, "livemode": false, "data": { "object": {
                "object": "refund", "id": "re_1", "status": status, "amount": 400, "currency": "eur",
                "payment_intent": "pi_1", "metadata": { "tonewall_operation": operation },
            }}}),
        );
        let told = told.unwrap();
        let about = About::Operation(OperationKind::Refund);
        assert_eq!(
            (told.outcome.as_str(), told.about),
            (outcome, about),
            "{kind}"
        );
        assert_eq!(
            (told.reference.as_str(), told.processor_reference.as_str()),
            (operation, "re_1")
        );
        assert_eq!(told.amount, Some((400, "EUR".to_owned())));
    }
    let Outcome::Declined { code, .. } = told(&intent(
        "payment_intent.payment_failed",
        "requires_payment_method",
    ))
    .unwrap()
    .outcome
    else {
        panic!("not declined");
    };
    assert_eq!(code, "insufficient_funds");
}

#[test]
fn what_is_of_another_mode_kind_or_program_is_not_ours() {
    let fine = || intent("payment_intent.succeeded", "succeeded");
    let mut live = fine();
    live["livemode"] = json!(true);
    let mut other = fine();
    other["data"]["object"]["metadata"] = json!({});
    let cancelled = intent("payment_intent.canceled", "canceled");
    for event in [live, other, cancelled, json!({}), json!({ "type": "x" })] {
        assert_eq!(told(&event), None, "{event}");
    }
    let mut forint = fine();
    forint["data"]["object"]["currency"] = json!("isk");
    // Counted with two decimals: nobody was asked for half a króna.
    assert_eq!(told(&forint).unwrap().amount, Some((0, "ISK".to_owned())));
}

#[test]
fn a_key_is_as_stripe_shows_it_and_no_error_repeats_it() {
    for wrong in ["whsec_", "whsec_short", "sk_test_0123456789abcdef"] {
        let keys = [Secret::new(wrong).unwrap()];
        let error = StripeNotifications::new(&keys, Mode::Test).err().unwrap();
        let error = error.to_string();
        assert!(
            error.contains("signing secret") && !error.contains("short"),
            "{error}"
        );
    }
}
