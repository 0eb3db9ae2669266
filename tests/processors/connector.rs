//! A pay connector: the charge of the usual form, and look-ups.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    CONNECTOR_KEY, CONNECTOR_USER, Entry, Handled, Reply, Request, Stage, State, decline_of,
    is_card_number, is_digits, is_month,
};

pub(super) fn stage(request: &Request) -> Stage {
    match request.method.as_str() {
        "POST" => Stage::Card,
        _ => Stage::LookUp,
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    let stage = stage(request);
    let reply = match stage {
        Stage::Card => charge(state, request),
        Stage::Token | Stage::LookUp | Stage::Operation => look_up(state, request),
    };
    Handled {
        stage,
        reply: reply.unwrap_or_else(|what| state.violate(format!("connector: {what}"))),
    }
}

fn authorized(request: &Request) -> Result<(), String> {
    let pair = BASE64_STANDARD.encode(format!("{CONNECTOR_USER}:{CONNECTOR_KEY}"));
    if request.header("authorization") == format!("Basic {pair}") {
        Ok(())
    } else {
        Err("authorization".to_owned())
    }
}

fn charge(state: &mut State, request: &Request) -> Result<Reply, String> {
    authorized(request)?;
    if request.path != "/charge" || request.header("content-type") != "application/json" {
        return Err("path or content type".to_owned());
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let known = [
        "transaction_id",
        "method",
        "cardnumber",
        "cvv",
        "description",
        "chargeAmount",
        "expiry_month",
        "expiry_year",
        "currency_code",
        "parameters",
    ];
    let object = body.as_object().ok_or("no object")?;
    for name in object.keys() {
        if !known.contains(&name.as_str()) {
            return Err(format!("{name} is not known"));
        }
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let number = text("cardnumber");
    if text("method") != "credit-card"
        || !is_card_number(&number)
        || !is_month(&text("expiry_month"))
        || !is_digits(&text("expiry_year"), 2)
        || (!body["cvv"].is_null() && !is_digits(&text("cvv"), 3))
    {
        return Err("a field of the card".to_owned());
    }
    let reference = text("transaction_id");
    let amount = body["chargeAmount"]
        .as_f64()
        .ok_or("chargeAmount is no number")?;
    if reference.is_empty() || amount <= 0.0 || text("currency_code").len() != 3 {
        return Err("amount, currency or reference".to_owned());
    }
    if state
        .ledger
        .iter()
        .any(|entry| entry.reference == reference)
    {
        return Err("a reference that was used".to_owned());
    }
    let declined = decline_of(&number);
    let id = format!("ch-{}", state.ledger.len() + 1);
    state.ledger.push(Entry {
        reference,
        amount: (amount * 100.0).round() as u64,
        currency: text("currency_code"),
        charged: declined.is_none(),
        id: id.clone(),
    });
    Ok(told(&id, declined))
}

fn told(id: &str, declined: Option<&str>) -> Reply {
    let answer = match declined {
        None => json!({ "charge_id": id, "error_code": null, "error_message": null }),
        Some(code) => json!({ "charge_id": null, "error_code": code, "error_message": "no" }),
    };
    Reply::json(200, &answer)
}

fn look_up(state: &mut State, request: &Request) -> Result<Reply, String> {
    authorized(request)?;
    let wanted = request.path.strip_prefix("/charges/").ok_or("a path")?;
    let entry = state.ledger.iter().find(|entry| entry.reference == wanted);
    Ok(match entry.filter(|_| !state.stale) {
        Some(entry) if entry.charged => told(&entry.id, None),
        Some(_) => told("", Some("card_declined")),
        None => Reply::json(404, &json!({ "error_code": "no_such_transaction" })),
    })
}
