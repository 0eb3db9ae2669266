//! Access Worldpay: `/api/payments` and the payment queries, as its OpenAPI descriptions have them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Entry, Handled, Reply, Request, Stage, State, WORLDPAY_ENTITY, WORLDPAY_KEY,
    WORLDPAY_NARRATIVE, WORLDPAY_USER, decline_of, is_card_number, is_digits,
};

#[derive(Default)]
pub(crate) struct Books {
    payments: Vec<Value>,
}

pub(super) fn stage(request: &Request) -> Stage {
    match request.method.as_str() {
        "POST" => Stage::Card,
        _ => Stage::LookUp,
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    let stage = stage(request);
    let reply = match stage {
        Stage::Card => payment(state, request),
        Stage::Token | Stage::Operation | Stage::LookUp => query(state, request),
    };
    Handled {
        stage,
        reply: reply.unwrap_or_else(|what| state.violate(format!("worldpay: {what}"))),
    }
}

fn authorized(request: &Request) -> Result<(), String> {
    let pair = BASE64_STANDARD.encode(format!("{WORLDPAY_USER}:{WORLDPAY_KEY}"));
    if request.header("authorization") == format!("Basic {pair}") {
        Ok(())
    } else {
        Err("authorization".to_owned())
    }
}

/// The members of an object, none missing and none unknown.
fn object<'a>(
    value: &'a Value,
    needed: &[&str],
    may: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or("no object")?;
    if let Some(missing) = needed.iter().find(|name| !object.contains_key(**name)) {
        return Err(format!("{missing} is missing"));
    }
    let known = |name: &String| needed.contains(&name.as_str()) || may.contains(&name.as_str());
    match object.keys().find(|name| !known(name)) {
        Some(unknown) => Err(format!("{unknown} is not known")),
        None => Ok(object),
    }
}

fn payment(state: &mut State, request: &Request) -> Result<Reply, String> {
    authorized(request)?;
    if request.path != "/api/payments" || request.header("content-type") != "application/json" {
        return Err(format!("{} {}", request.method, request.path));
    }
    if request.header("wp-api-version") != "2024-06-01" {
        return Err("version".to_owned());
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let needed = ["transactionReference", "merchant", "channel", "instruction"];
    let payment = object(&body, &needed, &[])?;
    let merchant = object(&payment["merchant"], &["entity"], &[])?;
    let needed = [
        "method",
        "narrative",
        "value",
        "settlement",
        "paymentInstrument",
    ];
    let instruction = object(&payment["instruction"], &needed, &[])?;
    let narrative = object(&instruction["narrative"], &["line1"], &[])?;
    let value = object(&instruction["value"], &["currency", "amount"], &[])?;
    let settlement = object(&instruction["settlement"], &["auto"], &[])?;
    let card = ["type", "cardNumber", "expiryDate"];
    let card = object(&instruction["paymentInstrument"], &card, &["cvc"])?;
    let expiry = object(&card["expiryDate"], &["month", "year"], &[])?;

    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if merchant["entity"] != WORLDPAY_ENTITY
        || payment["channel"] != "moto"
        || instruction["method"] != "card"
        || narrative["line1"] != WORLDPAY_NARRATIVE
        || settlement["auto"] != true
    {
        return Err("a field of the payment".to_owned());
    }
    let number = text(&card["cardNumber"]);
    let month = expiry["month"].as_u64();
    let year = expiry["year"].as_u64();
    if card["type"] != "plain"
        || !is_card_number(&number)
        || !month.is_some_and(|month| (1..=12).contains(&month))
        || !year.is_some_and(|year| (2000..=2099).contains(&year))
        || card.get("cvc").is_some_and(|cvc| !is_digits(&text(cvc), 3))
    {
        return Err("a field of the card".to_owned());
    }
    let reference = text(&payment["transactionReference"]);
    let currency = text(&value["currency"]);
    let amount = value["amount"].as_u64();
    let amount = amount.filter(|amount| (1..=i32::MAX as u64).contains(amount));
    let (Some(amount), 3, 1..=64) = (amount, currency.len(), reference.len()) else {
        return Err("amount, currency or reference".to_owned());
    };
    if state
        .ledger
        .iter()
        .any(|entry| entry.reference == reference)
    {
        return Err("a reference that was used".to_owned());
    }

    let id = format!("payv0A4Hx2eY1-5P2_CpV7q{:04}", state.ledger.len());
    let declined = decline_of(&number);
    state.worldpay.payments.push(json!({
        "paymentId": id, "transactionReference": reference, "entity": WORLDPAY_ENTITY,
        "lastEvent": if declined.is_none() { "settlementRequested" } else { "authorizationRefused" },
        "value": { "currency": currency, "amount": amount },
    }));
    state.ledger.push(Entry {
        reference: reference.clone(),
        amount,
        currency,
        charged: declined.is_none(),
        id: id.clone(),
    });
    let mut answer = json!({
        "outcome": "sentForSettlement", "transactionReference": reference, "paymentId": id,
        "riskFactors": [{ "type": "cvc", "risk": "matched" }],
        "paymentInstrument": { "type": "card/plain+masked", "lastFour": number[number.len() - 4..] },
    });
    if let Some(decline) = declined {
        let (code, description) = match decline {
            "expired_card" => ("33", "CARD EXPIRED"),
            "insufficient_funds" => ("51", "LIMIT EXCEEDED"),
            "lost_card" => ("41", "LOST CARD"),
            _ => ("5", "REFUSED"),
        };
        answer["outcome"] = json!("refused");
        answer["refusalCode"] = json!(code);
        answer["refusalDescription"] = json!(description);
        if decline == "incorrect_cvc" {
            answer["riskFactors"][0]["risk"] = json!("notMatched");
        }
    }
    Ok(Reply::json(201, &answer))
}

fn query(state: &State, request: &Request) -> Result<Reply, String> {
    authorized(request)?;
    let accepts = "application/vnd.worldpay.payment-queries-v1.hal+json";
    if request.header("accept") != accepts {
        return Err("what is accepted".to_owned());
    }
    let query = request.path.strip_prefix("/paymentQueries/payments?");
    let query = query.ok_or_else(|| format!("a query of {}", request.path))?;
    let mut query = form_urlencoded::parse(query.as_bytes());
    let (Some((name, wanted)), None) = (query.next(), query.next()) else {
        return Err("other parameters than the reference".to_owned());
    };
    if name != "transactionReference" {
        return Err(format!("a query by {name}"));
    }
    let found: Vec<&Value> = state
        .worldpay
        .payments
        .iter()
        .filter(|payment| !state.stale && payment["transactionReference"] == *wanted)
        .collect();
    Ok(Reply::json(
        200,
        &json!({ "_links": {}, "_embedded": { "payments": found } }),
    ))
}
