//! Stripe: payment methods, payment intents, searches; idempotency as version 1 of its API has it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Done, Entry, Fault, Handled, Reply, Request, STRIPE_KEY, Stage, State, decline_of,
    is_card_number, is_digits, is_month,
};

#[derive(Default)]
pub(crate) struct Books {
    /// Card numbers by payment method; `None` once it is used up.
    methods: BTreeMap<String, Option<String>>,
    intents: BTreeMap<String, Value>,
    refunds: Vec<Value>,
    /// What was answered under an idempotency key, and to which body.
    keys: BTreeMap<String, (String, Reply)>,
}

pub(super) fn stage(request: &Request) -> Stage {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/payment_methods") => Stage::Card,
        ("POST", "/v1/refunds") => Stage::Operation,
        ("POST", path) if path.starts_with("/v1/payment_intents/") => Stage::Operation,
        ("POST", _) => Stage::Token,
        _ => Stage::LookUp,
    }
}

pub(super) fn handle(state: &mut State, request: &Request, fault: Option<Fault>) -> Handled {
    let stage = stage(request);
    let reply = reply(state, request, stage, fault);
    Handled { stage, reply }
}

fn reply(state: &mut State, request: &Request, stage: Stage, fault: Option<Fault>) -> Reply {
    if request.header("authorization") != format!("Bearer {STRIPE_KEY}") {
        return state.violate("stripe: authorization");
    }
    if request.header("stripe-version") != "2024-06-20" {
        return state.violate("stripe: version");
    }
    if stage == Stage::LookUp {
        return look_up(state, request);
    }
    if request.header("content-type") != "application/x-www-form-urlencoded" {
        return state.violate("stripe: content type");
    }
    let key = request.header("idempotency-key").to_owned();
    if key.is_empty() || key.len() > 255 {
        return state.violate("stripe: idempotency key");
    }
    if let Some((body, reply)) = state.stripe.keys.get(&key) {
        return if *body == request.body {
            reply.clone()
        } else {
            Reply::json(400, &json!({ "error": { "type": "idempotency_error" } }))
        };
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect();
    let reply = match request.path.as_str() {
        "/v1/payment_methods" => method(state, &form),
        "/v1/payment_intents" => intent(state, &form),
        "/v1/refunds" => refund(state, &form),
        path if stage == Stage::Operation => operation(state, path, &form),
        path => state.violate(format!("stripe: path {path}")),
    };
    // What was done is stored under its key, an error of the server's too.
    let stored = match fault {
        Some(Fault::Error500) => Reply::json(500, &json!({ "error": { "type": "api_error" } })),
        _ => reply.clone(),
    };
    state
        .stripe
        .keys
        .insert(key, (request.body.clone(), stored));
    reply
}

fn only(form: &BTreeMap<String, String>, needed: &[&str], may: &[&str]) -> Result<(), String> {
    for key in needed {
        if !form.contains_key(*key) {
            return Err(format!("stripe: {key} is missing"));
        }
    }
    for key in form.keys() {
        if !needed.contains(&key.as_str()) && !may.contains(&key.as_str()) {
            return Err(format!("stripe: {key} is not known"));
        }
    }
    Ok(())
}

fn method(state: &mut State, form: &BTreeMap<String, String>) -> Reply {
    let needed = ["type", "card[number]", "card[exp_month]", "card[exp_year]"];
    if let Err(what) = only(form, &needed, &["card[cvc]"]) {
        return state.violate(what);
    }
    let number = &form["card[number]"];
    let cvc = form.get("card[cvc]");
    if form["type"] != "card"
        || !is_card_number(number)
        || !is_month(&form["card[exp_month]"])
        || !is_digits(&form["card[exp_year]"], 4)
        || cvc.is_some_and(|cvc| !is_digits(cvc, 3) && !is_digits(cvc, 4))
    {
        return state.violate("stripe: a field of the card");
    }
    let id = format!("pm_{}", state.stripe.methods.len() + 1);
    state
        .stripe
        .methods
        .insert(id.clone(), Some(number.clone()));
    Reply::json(
        200,
        &json!({ "id": id, "object": "payment_method", "type": "card" }),
    )
}

fn intent(state: &mut State, form: &BTreeMap<String, String>) -> Reply {
    let needed = [
        "amount",
        "currency",
        "payment_method",
        "payment_method_types[]",
        "payment_method_options[card][moto]",
        "confirm",
        "error_on_requires_action",
        "capture_method",
        "description",
        "metadata[tonewall_attempt]",
        "metadata[reference]",
    ];
    if let Err(what) = only(form, &needed, &["statement_descriptor_suffix"]) {
        return state.violate(what);
    }
    let currency = &form["currency"];
    let amount = form["amount"].parse::<u64>().unwrap_or(0);
    if form["confirm"] != "true"
        || form["payment_method_options[card][moto]"] != "true"
        || form["error_on_requires_action"] != "true"
        || form["payment_method_types[]"] != "card"
        || amount == 0
        || currency.len() != 3
        || !currency.bytes().all(|byte| byte.is_ascii_lowercase())
    {
        return state.violate("stripe: a field of the intent");
    }
    let method = state.stripe.methods.get_mut(&form["payment_method"]);
    let Some(number) = method.and_then(Option::take) else {
        return state.violate("stripe: a payment method that is not there or was used");
    };
    let reference = form["metadata[tonewall_attempt]"].clone();
    let id = format!("pi_{}", state.stripe.intents.len() + 1);
    let declined = decline_of(&number);
    let (status, received) = match (declined, form["capture_method"].as_str()) {
        (Some(_), _) => ("requires_payment_method", 0),
        (None, "automatic") => ("succeeded", amount),
        (None, "manual") => ("requires_capture", 0),
        _ => return state.violate("stripe: capture_method"),
    };
    let mut intent = json!({
        "id": id, "object": "payment_intent", "amount": amount, "currency": currency,
        "status": status, "amount_received": received,
        "metadata": { "tonewall_attempt": reference, "reference": form["metadata[reference]"] },
        "last_payment_error": null,
    });
    let error = declined.map(
        |decline| json!({ "type": "card_error", "code": "card_declined", "decline_code": decline }),
    );
    if let Some(error) = &error {
        intent["last_payment_error"] = error.clone();
    }
    state.stripe.intents.insert(id.clone(), intent.clone());
    state.ledger.push(Entry {
        reference,
        amount,
        currency: currency.to_ascii_uppercase(),
        charged: declined.is_none(),
        id,
    });
    match error {
        Some(error) => Reply::json(402, &json!({ "error": error })),
        None => Reply::json(200, &intent),
    }
}

fn unexpected(code: &str) -> Reply {
    let error = json!({ "type": "invalid_request_error", "code": code });
    Reply::json(400, &json!({ "error": error }))
}

/// Capturing and cancelling.
fn operation(state: &mut State, path: &str, form: &BTreeMap<String, String>) -> Reply {
    let parts = path["/v1/payment_intents/".len()..].split_once('/');
    let Some((id, action @ ("capture" | "cancel"))) = parts else {
        return state.violate(format!("stripe: path {path}"));
    };
    let needed = match action {
        "capture" => "amount_to_capture",
        _ => "cancellation_reason",
    };
    if let Err(what) = only(form, &[needed], &[]) {
        return state.violate(what);
    }
    let Some(intent) = state.stripe.intents.get(id).cloned() else {
        return state.violate("stripe: an intent that is not there");
    };
    if intent["status"] != "requires_capture" {
        return unexpected("payment_intent_unexpected_state");
    }
    let whole = intent["amount"].as_u64().unwrap();
    let (kind, amount, status, received) = match action {
        "capture" => {
            let amount = form[needed].parse::<u64>().unwrap_or(0);
            if amount == 0 {
                return state.violate("stripe: amount_to_capture");
            }
            ("settle", amount, "succeeded", amount)
        }
        _ => ("void", whole, "canceled", 0),
    };
    let done = Done {
        // Neither carries a reference of ours: there is one of each at most.
        reference: format!("{kind} of {id}"),
        kind,
        amount,
        charge: id.to_owned(),
    };
    if state.operate(done, true).is_err() {
        return unexpected("amount_too_large");
    }
    let intent = state.stripe.intents.get_mut(id).unwrap();
    intent["status"] = json!(status);
    intent["amount_received"] = json!(received);
    Reply::json(200, intent)
}

fn refund(state: &mut State, form: &BTreeMap<String, String>) -> Reply {
    let needed = ["payment_intent", "amount", "metadata[tonewall_operation]"];
    if let Err(what) = only(form, &needed, &[]) {
        return state.violate(what);
    }
    let id = form["payment_intent"].clone();
    let amount = form["amount"].parse::<u64>().unwrap_or(0);
    let Some(intent) = state.stripe.intents.get(&id).cloned() else {
        return state.violate("stripe: a refund of an intent that is not there");
    };
    if amount == 0 {
        return state.violate("stripe: amount of a refund");
    }
    if intent["status"] != "succeeded" {
        return unexpected("charge_not_captured");
    }
    let reference = form["metadata[tonewall_operation]"].clone();
    let done = Done {
        reference: reference.clone(),
        kind: "refund",
        amount,
        charge: id.clone(),
    };
    let settled_by_hand = state
        .done
        .iter()
        .any(|one| one.charge == id && one.kind == "settle");
    if state.operate(done, settled_by_hand).is_err() {
        return unexpected("charge_already_refunded");
    }
    let refund = json!({
        "id": format!("re_{}", state.done.len()), "object": "refund", "status": "succeeded",
        "amount": amount, "payment_intent": id, "metadata": { "tonewall_operation": reference },
    });
    state.stripe.refunds.push(refund.clone());
    Reply::json(200, &refund)
}

fn refunds(state: &mut State, query: &str) -> Reply {
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let Some(intent) = query.get("payment_intent") else {
        return state.violate("stripe: refunds of what");
    };
    let refunds = state.stripe.refunds.iter();
    let found: Vec<_> = refunds
        .filter(|refund| refund["payment_intent"] == intent.as_str())
        .collect();
    Reply::json(
        200,
        &json!({ "object": "list", "data": found, "has_more": false }),
    )
}

fn look_up(state: &mut State, request: &Request) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == "/v1/refunds" {
        return refunds(state, query);
    }
    let Some(wanted) = path.strip_prefix("/v1/payment_intents/") else {
        return state.violate(format!("stripe: path {path}"));
    };
    if wanted != "search" {
        return match state.stripe.intents.get(wanted) {
            Some(intent) => Reply::json(200, intent),
            None => Reply::json(
                404,
                &json!({ "error": { "type": "invalid_request_error" } }),
            ),
        };
    }
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let reference = query.get("query").and_then(|query| {
        query
            .strip_prefix("metadata['tonewall_attempt']:'")?
            .strip_suffix('\'')
    });
    let Some(reference) = reference else {
        return state.violate("stripe: a search for something else");
    };
    let stale = state.stale;
    let found: Vec<&Value> = state
        .stripe
        .intents
        .values()
        .filter(|intent| !stale && intent["metadata"]["tonewall_attempt"] == reference)
        .collect();
    Reply::json(
        200,
        &json!({ "object": "search_result", "data": found, "has_more": false }),
    )
}
