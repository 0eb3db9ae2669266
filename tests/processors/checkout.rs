//! Checkout.com: tokens, payments, the list of payments; idempotency as its pages describe it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    CHECKOUT_CHANNEL, CHECKOUT_KEY, CHECKOUT_PUBLIC_KEY, Done, Entry, Handled, Reply, Request,
    Stage, State, decline_of, is_card_number, is_digits,
};

#[derive(Default)]
pub(crate) struct Books {
    /// Card numbers by token; `None` once it is used up.
    tokens: BTreeMap<String, Option<String>>,
    payments: BTreeMap<String, Value>,
    /// What was answered under an idempotency key, where it was done.
    keys: BTreeMap<String, Reply>,
    /// Payments that wait to be captured.
    manual: BTreeSet<String>,
    /// What was done with which payment.
    actions: Vec<(String, Value)>,
}

pub(super) fn stage(request: &Request) -> Stage {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/tokens") => Stage::Card,
        ("POST", path) if path.starts_with("/payments/") => Stage::Operation,
        ("POST", _) => Stage::Token,
        _ => Stage::LookUp,
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    let stage = stage(request);
    let reply = match stage {
        Stage::Card => token(state, request),
        Stage::Token => payment(state, request),
        Stage::Operation => operation(state, request),
        Stage::LookUp => look_up(state, request),
    };
    Handled {
        stage,
        reply: reply.unwrap_or_else(|what| state.violate(format!("checkout: {what}"))),
    }
}

fn refused(code: &str) -> Reply {
    let body = json!({
        "request_id": "0HL80RJLS76I7", "error_type": "request_invalid", "error_codes": [code],
    });
    Reply::json(422, &body)
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

fn posted(request: &Request, key: &str) -> Result<Value, String> {
    if request.header("authorization") != format!("Bearer {key}") {
        return Err("the key".to_owned());
    }
    if request.header("content-type") != "application/json" {
        return Err("content type".to_owned());
    }
    serde_json::from_str(&request.body).map_err(|error| error.to_string())
}

fn token(state: &mut State, request: &Request) -> Result<Reply, String> {
    let body = posted(request, CHECKOUT_PUBLIC_KEY)?;
    let needed = ["type", "number", "expiry_month", "expiry_year"];
    let card = object(&body, &needed, &["cvv"])?;
    let number = card["number"].as_str().unwrap_or_default().to_owned();
    let month = card["expiry_month"].as_u64();
    let year = card["expiry_year"].as_u64();
    let cvv = card.get("cvv").map(|cvv| cvv.as_str().unwrap_or_default());
    if card["type"] != "card"
        || !is_card_number(&number)
        || !month.is_some_and(|month| (1..=12).contains(&month))
        || !year.is_some_and(|year| (2000..=2099).contains(&year))
        || cvv.is_some_and(|cvv| !is_digits(cvv, 3) && !is_digits(cvv, 4))
    {
        return Err("a field of the card".to_owned());
    }
    let books = &mut state.checkout;
    let token = format!("tok_ubfjqmiwundwlkvxtiqhsz{:04}", books.tokens.len() + 1);
    let made = json!({
        "type": "card", "token": token, "expires_on": "2030-01-01T00:00:00Z", "expiry_month": month,
        "expiry_year": year, "scheme": "VISA", "last4": number[number.len() - 4..],
        "bin": number[..6],
    });
    books.tokens.insert(token, Some(number));
    Ok(Reply::json(201, &made))
}

fn payment(state: &mut State, request: &Request) -> Result<Reply, String> {
    if request.path != "/payments" {
        return Err(format!("path {}", request.path));
    }
    let body = posted(request, CHECKOUT_KEY)?;
    let key = request.header("cko-idempotency-key").to_owned();
    if key.is_empty() {
        return Err("idempotency key".to_owned());
    }
    if let Some(reply) = state.checkout.keys.get(&key) {
        return Ok(reply.clone());
    }
    let needed = [
        "source",
        "amount",
        "currency",
        "processing_channel_id",
        "payment_type",
        "reference",
    ];
    let payment = object(&body, &needed, &["metadata", "capture"])?;
    let capture = payment["capture"].as_bool().ok_or("capture")?;
    let source = object(&payment["source"], &["type", "token"], &[])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (reference, currency) = (text(&payment["reference"]), text(&payment["currency"]));
    let amount = payment["amount"].as_u64().filter(|amount| *amount > 0);
    let (Some(amount), 3, 1..=80) = (amount, currency.len(), reference.len()) else {
        return Err("amount, currency or reference".to_owned());
    };
    if source["type"] != "token"
        || payment["payment_type"] != "MOTO"
        || payment["processing_channel_id"] != CHECKOUT_CHANNEL
    {
        return Err("a field of the payment".to_owned());
    }
    let books = &mut state.checkout;
    let Some(number) = books.tokens.get_mut(&text(&source["token"])) else {
        return Err("a token that is not there".to_owned());
    };
    // What is not processed is not kept under its key.
    let Some(number) = number.take() else {
        return Ok(refused("token_used"));
    };
    let id = format!("pay_ubfjqmiwundwlkvxtiqhsz{:04}", books.payments.len() + 1);
    let declined = decline_of(&number);
    let code = match declined {
        None => "10000",
        Some("incorrect_cvc") => "20087",
        Some("expired_card") => "20054",
        Some("insufficient_funds") => "20051",
        Some("lost_card") => "30041",
        Some(_) => "20005",
    };
    let made = json!({
        "id": id, "amount": amount, "currency": currency, "approved": declined.is_none(),
        "status": if declined.is_none() { "Authorized" } else { "Declined" },
        "response_code": code, "reference": reference, "payment_type": "MOTO",
    });
    let reply = Reply::json(201, &made);
    books.payments.insert(id.clone(), made);
    if !capture {
        books.manual.insert(id.clone());
    }
    books.keys.insert(key, reply.clone());
    state.ledger.push(Entry {
        reference,
        amount,
        currency,
        charged: declined.is_none(),
        id,
    });
    Ok(reply)
}

/// Taken; the list of actions tells what became of it.
fn operation(state: &mut State, request: &Request) -> Result<Reply, String> {
    let (id, what) = request.path["/payments/".len()..]
        .split_once('/')
        .ok_or("path")?;
    let body = posted(request, CHECKOUT_KEY)?;
    let key = request.header("cko-idempotency-key").to_owned();
    if key.is_empty() {
        return Err("idempotency key".to_owned());
    }
    if let Some(reply) = state.checkout.keys.get(&key) {
        return Ok(reply.clone());
    }
    let (kind, action) = match what {
        "captures" => ("settle", "Capture"),
        "voids" => ("void", "Void"),
        "refunds" => ("refund", "Refund"),
        _ => return Err(format!("path {}", request.path)),
    };
    let needed: &[&str] = if kind == "void" {
        &["reference"]
    } else {
        &["reference", "amount"]
    };
    let asked = object(&body, needed, &["metadata"])?;
    let charge = state.ledger.iter().find(|entry| entry.id == id);
    let charge = charge.ok_or("a payment that is not there")?.amount;
    let amount = match asked.get("amount") {
        None => charge,
        Some(amount) => amount
            .as_u64()
            .filter(|amount| *amount > 0)
            .ok_or("amount")?,
    };
    let reference = asked["reference"].as_str().unwrap_or_default().to_owned();
    let set_aside = state.checkout.manual.contains(id);
    let done = Done {
        reference: reference.clone(),
        kind,
        amount,
        charge: id.to_owned(),
    };
    if let Err(code) = state.operate(done, set_aside) {
        return Ok(refused(code));
    }
    let action_id = format!("act_{:04}", state.done.len());
    let id = id.to_owned();
    state.checkout.actions.push((
        id,
        json!({
            "id": action_id, "type": action, "approved": true, "amount": amount,
            "reference": reference, "response_code": "10000",
        }),
    ));
    let reply = Reply::json(
        202,
        &json!({ "action_id": action_id, "reference": reference }),
    );
    state.checkout.keys.insert(key, reply.clone());
    Ok(reply)
}

fn look_up(state: &mut State, request: &Request) -> Result<Reply, String> {
    if request.header("authorization") != format!("Bearer {CHECKOUT_KEY}") {
        return Err("the key".to_owned());
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if let Some(id) = path
        .strip_prefix("/payments/")
        .and_then(|rest| rest.strip_suffix("/actions"))
    {
        let actions = state.checkout.actions.iter();
        let found: Vec<_> = actions
            .filter(|(of, _)| of == id)
            .map(|(_, action)| action)
            .collect();
        return Ok(Reply::json(200, &json!(found)));
    }
    if let Some(id) = path.strip_prefix("/payments/") {
        return Ok(match state.checkout.payments.get(id) {
            Some(payment) => Reply::json(200, payment),
            None => Reply::json(404, &json!({})),
        });
    }
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let Some(reference) = query.get("reference").filter(|_| path == "/payments") else {
        return Err("a list of something else".to_owned());
    };
    let stale = state.stale;
    let found: Vec<&Value> = state
        .checkout
        .payments
        .values()
        .filter(|payment| !stale && payment["reference"] == reference.as_str())
        .collect();
    Ok(Reply::json(
        200,
        &json!({ "limit": 2, "skip": 0, "total_count": found.len(), "data": found }),
    ))
}
