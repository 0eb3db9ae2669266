//! Adyen Checkout: `/payments`, as its OpenAPI description of version 71 has it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    ADYEN_ACCOUNT, ADYEN_KEY, Done, Entry, Handled, Reply, Request, Stage, State, decline_of,
    is_card_number, is_digits, is_month,
};

#[derive(Default)]
pub(crate) struct Books {
    /// What was answered under an idempotency key, and to which body.
    keys: BTreeMap<String, (String, Reply)>,
    /// Payments that wait to be captured.
    manual: BTreeSet<String>,
}

pub(super) fn stage(request: &Request) -> Stage {
    match request.path.strip_prefix("/v71/payments/") {
        Some(_) => Stage::Operation,
        None => Stage::Card,
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    Handled {
        stage: stage(request),
        reply: reply(state, request).unwrap_or_else(|what| state.violate(format!("adyen: {what}"))),
    }
}

/// The members of an object, none missing and none unknown.
fn object<'a>(
    value: &'a Value,
    needed: &[&str],
    may: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or("no object")?;
    for name in needed {
        if !object.contains_key(*name) {
            return Err(format!("{name} is missing"));
        }
    }
    for name in object.keys() {
        if !needed.contains(&name.as_str()) && !may.contains(&name.as_str()) {
            return Err(format!("{name} is not known"));
        }
    }
    Ok(object)
}

fn reply(state: &mut State, request: &Request) -> Result<Reply, String> {
    if request.method != "POST" {
        return Err(format!("{} {}", request.method, request.path));
    }
    if request.header("x-api-key") != ADYEN_KEY {
        return Err("the key".to_owned());
    }
    if request.header("content-type") != "application/json" {
        return Err("content type".to_owned());
    }
    let key = request.header("idempotency-key").to_owned();
    if key.is_empty() || key.len() > 64 {
        return Err("idempotency key".to_owned());
    }
    if let Some((body, reply)) = state.adyen.keys.get(&key) {
        return Ok(if *body == request.body {
            reply.clone()
        } else {
            Reply::json(422, &json!({ "status": 422, "errorCode": "704" }))
        });
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let reply = match request.path.strip_prefix("/v71/payments") {
        Some("") => payment(state, &body)?,
        Some(path) => operation(state, path, &body)?,
        None => return Err(format!("path {}", request.path)),
    };
    state
        .adyen
        .keys
        .insert(key, (request.body.clone(), reply.clone()));
    Ok(reply)
}

/// Taken, and done at once; the answer tells only that it was taken.
fn operation(state: &mut State, path: &str, body: &Value) -> Result<Reply, String> {
    let (psp, what) = path[1..].split_once('/').ok_or("path")?;
    let kind = match what {
        "captures" => "settle",
        "cancels" | "reversals" => "void",
        "refunds" => "refund",
        _ => return Err(format!("path {path}")),
    };
    let may: &[&str] = if kind == "void" { &[] } else { &["amount"] };
    let operation = object(
        body,
        &[&["merchantAccount", "reference"], may].concat(),
        &[],
    )?;
    if operation["merchantAccount"] != ADYEN_ACCOUNT {
        return Err("the account".to_owned());
    }
    let charge = state.ledger.iter().find(|entry| entry.id == psp);
    let charge = charge.ok_or("a payment that is not there")?.clone();
    let amount = match operation.get("amount") {
        None => charge.amount,
        Some(amount) => {
            let amount = object(amount, &["currency", "value"], &[])?;
            if amount["currency"] != charge.currency.as_str() {
                return Err("the currency".to_owned());
            }
            amount["value"]
                .as_u64()
                .filter(|value| *value > 0)
                .ok_or("amount")?
        }
    };
    let set_aside = state.adyen.manual.contains(psp);
    // A reversal is right whether it was captured or not; a cancellation is not.
    if (what == "reversals") == set_aside && kind == "void" {
        return Err("a reversal is for what captures itself".to_owned());
    }
    let done = Done {
        reference: operation["reference"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        kind,
        amount,
        charge: psp.to_owned(),
    };
    if let Err(code) = state.operate(done, set_aside || what == "reversals") {
        let refused = json!({ "status": 422, "errorCode": "167", "message": code, "errorType": "validation" });
        return Ok(Reply::json(422, &refused));
    }
    let serial = state.done.len();
    Ok(Reply::json(
        201,
        &json!({
            "merchantAccount": ADYEN_ACCOUNT, "paymentPspReference": psp, "status": "received",
            "reference": operation["reference"], "pspReference": format!("OP6HT9CRT65ZGN{serial:02}"),
        }),
    ))
}

fn payment(state: &mut State, body: &Value) -> Result<Reply, String> {
    let needed = [
        "amount",
        "merchantAccount",
        "paymentMethod",
        "reference",
        "returnUrl",
        "shopperInteraction",
    ];
    let may = ["merchantOrderReference", "metadata", "additionalData"];
    let payment = object(body, &needed, &may)?;
    let manual = match payment.get("additionalData") {
        None => false,
        Some(data) => object(data, &["manualCapture"], &[])?["manualCapture"] == "true",
    };
    let amount = object(&payment["amount"], &["currency", "value"], &[])?;
    let card = ["type", "number", "expiryMonth", "expiryYear"];
    let card = object(&payment["paymentMethod"], &card, &["cvc"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if payment["merchantAccount"] != ADYEN_ACCOUNT || payment["shopperInteraction"] != "Moto" {
        return Err("the account or the interaction".to_owned());
    }
    let number = text(&card["number"]);
    if card["type"] != "scheme"
        || !is_card_number(&number)
        || !is_month(&text(&card["expiryMonth"]))
        || !is_digits(&text(&card["expiryYear"]), 4)
        || card.get("cvc").is_some_and(|cvc| !is_digits(&text(cvc), 3))
    {
        return Err("a field of the card".to_owned());
    }
    let reference = text(&payment["reference"]);
    let currency = text(&amount["currency"]);
    let value = amount["value"].as_u64().filter(|value| *value > 0);
    let (Some(value), 3, 1..=80) = (value, currency.len(), reference.len()) else {
        return Err("amount or reference".to_owned());
    };
    let psp = format!("NC6HT9CRT65ZGN{:02}", state.ledger.len());
    if manual {
        state.adyen.manual.insert(psp.clone());
    }
    let declined = decline_of(&number);
    state.ledger.push(Entry {
        reference: reference.clone(),
        amount: value,
        currency,
        charged: declined.is_none(),
        id: psp.clone(),
    });
    let mut answer = json!({
        "pspReference": psp, "merchantReference": reference,
        "resultCode": if declined.is_none() { "Authorised" } else { "Refused" },
    });
    if let Some(decline) = declined {
        let (code, reason) = match decline {
            "incorrect_cvc" => ("24", "CVC Declined"),
            "expired_card" => ("6", "Expired Card"),
            "insufficient_funds" => ("12", "Not enough balance"),
            "lost_card" => ("5", "Blocked Card"),
            _ => ("2", "Refused"),
        };
        answer["refusalReasonCode"] = json!(code);
        answer["refusalReason"] = json!(reason);
    }
    Ok(Reply::json(200, &answer))
}
