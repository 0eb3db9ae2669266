//! A payment by API, keyed by the caller.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::{Duration, Instant};

use super::{
    Ends, Gateway, How,
    gateway::{DIGEST_KEY, PATIENCE},
};

/// A payment's id.
pub(crate) fn id(payment: &Value) -> &str {
    payment["id"].as_str().expect("an id")
}

/// HMAC under the tests' digest key, as the sandbox tells it.
pub(crate) fn digest(digits: &str) -> String {
    let key: Vec<u8> = (0..DIGEST_KEY.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&DIGEST_KEY[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
    mac.update(digits.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks again until the payment is as wanted; panics with its last state when patience is over.
pub(crate) async fn until(
    gateway: &Gateway,
    payment: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let view = gateway.get(&format!("/v1/payments/{payment}")).await;
        if wanted(&view) {
            return view;
        }
        assert!(Instant::now() < until, "still not: {view:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Opens a field and waits until its keys are listened for.
pub(crate) async fn open(gateway: &Gateway, payment: &str, field: &str) {
    let path = format!("/v1/payments/{payment}/capture");
    gateway.post(&path, json!({ "field": field })).await;
    until(gateway, payment, |view| view["capturing"] == field).await;
}

/// Captures a field to its end, good or not, and answers its view.
pub(crate) async fn capture(
    gateway: &Gateway,
    ends: &Ends,
    payment: &str,
    (field, keys): (&str, &str),
    how: impl Fn(usize) -> How,
) -> Value {
    open(gateway, payment, field).await;
    ends.key(keys, how).await;
    let view = until(gateway, payment, |view| view["capturing"] != field).await;
    view["fields"][field].clone()
}

/// Completes and waits for the last word.
pub(crate) async fn complete(gateway: &Gateway, payment: &str) -> Value {
    gateway
        .post(&format!("/v1/payments/{payment}/complete"), json!({}))
        .await;
    until(gateway, payment, |view| {
        view["state"] != "submitting" && view["state"] != "unknown"
    })
    .await
}
