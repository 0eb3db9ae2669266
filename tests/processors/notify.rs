//! What processors tell by themselves, signed as each of them signs: on time, late, twice, before their answer,
//! and by somebody else.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{ADYEN_ACCOUNT, Kind, Processor};

/// The key that each signs by, as its portal shows it.
pub(crate) const fn notification_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Adyen => "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        Kind::Stripe => "whsec_simulated_signing_secret",
        Kind::Checkout => "simulated-signature-key",
        _ => panic!("it tells nothing"),
    }
}

/// A key of somebody else's.
pub(crate) const fn other_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Adyen => "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
        Kind::Stripe => "whsec_of_another_endpoint",
        _ => "signature-key-of-another-action",
    }
}

/// What is told.
#[derive(Debug, Clone)]
pub(crate) struct Telling {
    pub(crate) event: &'static str,
    pub(crate) success: bool,
    /// Our reference.
    pub(crate) reference: String,
    /// The processor's own.
    pub(crate) own: String,
    /// Its reference of the charge, of what is no charge.
    pub(crate) original: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) account: String,
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) header: Option<(&'static str, String)>,
    pub(crate) body: String,
}

impl Processor {
    /// Of the newest charge on its books.
    pub(crate) fn of_charge(&self, event: &'static str, success: bool) -> Telling {
        let state = self.state();
        let entry = state.ledger.last().unwrap().clone();
        Telling {
            event,
            success,
            reference: entry.reference,
            own: entry.id,
            original: String::new(),
            amount: entry.amount,
            currency: entry.currency,
            account: ADYEN_ACCOUNT.to_owned(),
        }
    }

    /// Of the newest settlement, void or refund.
    pub(crate) fn of_operation(&self, event: &'static str, success: bool) -> Telling {
        let charge = self.of_charge(event, success);
        let state = self.state();
        let done = state.done.last().unwrap().clone();
        let serial = state.done.len();
        Telling {
            reference: done.reference,
            own: match self.kind {
                Kind::Adyen => format!("OP6HT9CRT65ZGN{serial:02}"),
                Kind::Stripe => format!("re_{serial}"),
                _ => format!("act_{serial:04}"),
            },
            original: done.charge,
            amount: done.amount,
            ..charge
        }
    }

    /// Signed by `key`, now.
    pub(crate) fn sign(&self, told: &Telling, key: &str) -> Signed {
        match self.kind {
            Kind::Adyen => adyen(told, key),
            Kind::Stripe => stripe(told, key),
            Kind::Checkout => checkout(told, key),
            _ => panic!("it tells nothing"),
        }
    }

    pub(crate) fn signed(&self, told: &Telling) -> Signed {
        self.sign(told, notification_key(self.kind))
    }
}

fn mac(key: &[u8], said: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(said.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A standard webhook, as its description has it.
fn adyen(told: &Telling, key: &str) -> Signed {
    let key: Vec<u8> = (0..key.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap())
        .collect();
    let (amount, success) = (told.amount.to_string(), told.success.to_string());
    let said = [
        &told.own,
        &told.original,
        &told.account,
        &told.reference,
        &amount,
        &told.currency,
        told.event,
        &success,
    ];
    let signature = BASE64_STANDARD.encode(mac(&key, &said.join(":")));
    let mut item = json!({
        "additionalData": { "hmacSignature": signature, "cardSummary": "8210" },
        "amount": { "currency": told.currency, "value": told.amount },
        "eventCode": told.event,
        "eventDate": "2026-11-23T22:00:00+01:00",
        "merchantAccountCode": told.account,
        "merchantReference": told.reference,
        "paymentMethod": "visa",
        "pspReference": told.own,
        "reason": if told.success { "033899:8210:12/2030" } else { "Refused" },
        "success": success,
    });
    if !told.original.is_empty() {
        item["originalReference"] = json!(told.original);
    }
    let body =
        json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": item }] });
    Signed {
        header: None,
        body: body.to_string(),
    }
}

fn stripe(told: &Telling, key: &str) -> Signed {
    let refund = told.event.contains("refund");
    let status = match (refund, told.success) {
        (_, true) => "succeeded",
        (true, false) => "failed",
        (false, false) => "requires_payment_method",
    };
    let mut object = json!({
        "id": told.own, "amount": told.amount, "currency": told.currency.to_lowercase(),
        "status": status, "object": if refund { "refund" } else { "payment_intent" },
    });
    if refund {
        object["metadata"] = json!({ "tonewall_operation": told.reference });
        object["payment_intent"] = json!(told.original);
    } else {
        object["metadata"] = json!({ "tonewall_attempt": told.reference });
        object["last_payment_error"] = json!({ "type": "card_error", "code": "card_declined" });
    }
    let event: Value = json!({
        "id": "evt_1", "object": "event", "api_version": "2024-06-20", "livemode": false,
        "type": told.event, "data": { "object": object },
    });
    let (body, at) = (event.to_string(), Timestamp::now().as_second());
    let signature = hex(&mac(key.as_bytes(), &format!("{at}.{body}")));
    Signed {
        header: Some(("Stripe-Signature", format!("t={at},v1={signature}"))),
        body,
    }
}

fn checkout(told: &Telling, key: &str) -> Signed {
    let of_charge = told.original.is_empty();
    let payment = if of_charge { &told.own } else { &told.original };
    let event = json!({
        "id": "evt_fkfqht6yonme7bk7jawrgzbbxq", "type": told.event, "version": "1.0.29",
        "data": {
            "id": payment, "action_id": told.own, "reference": told.reference,
            "amount": told.amount, "currency": told.currency,
            "response_code": if told.success { "10000" } else { "20005" },
        },
    });
    let body = event.to_string();
    Signed {
        header: Some(("Cko-Signature", hex(&mac(key.as_bytes(), &body)))),
        body,
    }
}
