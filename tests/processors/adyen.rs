//! Adyen Checkout: `/payments`, as its OpenAPI description of version 71 has it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    ADYEN_ACCOUNT, ADYEN_KEY, Entry, Handled, Reply, Request, Stage, State, decline_of,
    is_card_number, is_digits, is_month,
};

#[derive(Default)]
pub(crate) struct Books {
    /// What was answered under an idempotency key, and to which body.
    keys: BTreeMap<String, (String, Reply)>,
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    Handled {
        stage: Stage::Card,
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
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/v71/payments") {
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
    let needed = [
        "amount",
        "merchantAccount",
        "paymentMethod",
        "reference",
        "returnUrl",
        "shopperInteraction",
    ];
    let payment = object(&body, &needed, &["merchantOrderReference", "metadata"])?;
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
    let psp = format!("NC6HT9CRT65ZGN{:02}", state.ledger.len() % 100);
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
    let reply = Reply::json(200, &answer);
    state
        .adyen
        .keys
        .insert(key, (request.body.clone(), reply.clone()));
    Ok(reply)
}
