//! Braintree's GraphQL API: single-use payment methods, charges and a search. It executes no GraphQL: it
//! knows operations by their names, and `tests/peers/run processors` holds the documents against the schema.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    BRAINTREE_ACCOUNT, BRAINTREE_KEY, BRAINTREE_PUBLIC_KEY, Done, Entry, Handled, Reply, Request,
    Stage, State, decline_of, is_card_number, is_digits, is_month,
};

#[derive(Default)]
pub(crate) struct Books {
    /// Card numbers by payment method; `None` once it is consumed.
    methods: BTreeMap<String, Option<String>>,
    transactions: Vec<Value>,
    /// Transactions that were authorised only.
    set_aside: BTreeSet<String>,
    refunds: usize,
}

pub(super) fn stage(request: &Request) -> Stage {
    if request.body.contains("mutation Tokenise(") {
        Stage::Card
    } else if ["Charge", "Authorise"]
        .map(|name| is(request, name))
        .contains(&true)
    {
        Stage::Token
    } else if request.body.contains("\"mutation ") {
        Stage::Operation
    } else {
        Stage::LookUp
    }
}

fn is(request: &Request, name: &str) -> bool {
    request.body.contains(&format!("mutation {name}("))
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    let stage = stage(request);
    Handled {
        stage,
        reply: reply(state, request, stage)
            .unwrap_or_else(|what| state.violate(format!("braintree: {what}"))),
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

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn refused(code: &str) -> Reply {
    let error = json!({
        "message": "refused", "path": ["input"],
        "extensions": { "errorClass": "VALIDATION", "errorType": "user_error", "legacyCode": code },
    });
    Reply::json(200, &json!({ "data": null, "errors": [error] }))
}

fn reply(state: &mut State, request: &Request, stage: Stage) -> Result<Reply, String> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/graphql") {
        return Err(format!("{} {}", request.method, request.path));
    }
    let keys = BASE64_STANDARD.encode(format!("{BRAINTREE_PUBLIC_KEY}:{BRAINTREE_KEY}"));
    for (name, value) in [
        ("authorization", format!("Basic {keys}").as_str()),
        ("braintree-version", "2019-01-01"),
        ("content-type", "application/json"),
    ] {
        if request.header(name) != value {
            return Err(format!("the header {name}"));
        }
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let asked = object(&body, &["query", "variables"], &[])?;
    let input = &object(&asked["variables"], &["input"], &[])?["input"];
    let query = text(&asked["query"]);
    let reply = match stage {
        Stage::Card => tokenise(&mut state.braintree, input),
        Stage::Token => charge(state, input, is(request, "Charge")),
        Stage::Operation => operation(state, request, input),
        Stage::LookUp => find(state, &query, input),
    }?;
    let mut body: Value = serde_json::from_str(&reply.body).unwrap();
    only_asked_for(&mut body["data"], &query);
    Ok(Reply::json(reply.status, &body))
}

fn tokenise(books: &mut Books, input: &Value) -> Result<Reply, String> {
    let input = object(input, &["creditCard", "options"], &[])?;
    let needed = ["number", "expirationMonth", "expirationYear"];
    let card = object(&input["creditCard"], &needed, &["cvv"])?;
    let number = text(&card["number"]);
    let cvv = card.get("cvv").map(text);
    if input["options"] != json!({ "validate": true })
        || !is_card_number(&number)
        || !is_month(&text(&card["expirationMonth"]))
        || !is_digits(&text(&card["expirationYear"]), 4)
        || cvv.is_some_and(|cvv| !is_digits(&cvv, 3) && !is_digits(&cvv, 4))
    {
        return Err("a field of the card".to_owned());
    }
    let id = format!("tokencc_bc_simulated_{:04}_hp6", books.methods.len() + 1);
    books.methods.insert(id.clone(), Some(number));
    let method = json!({ "id": id, "usage": "SINGLE_USE" });
    let data = json!({ "tokenizeCreditCard": { "paymentMethod": method } });
    Ok(Reply::json(
        200,
        &json!({ "data": data, "extensions": { "requestId": "a-uuid" } }),
    ))
}

fn charge(state: &mut State, input: &Value, capture: bool) -> Result<Reply, String> {
    let input = object(input, &["paymentMethodId", "transaction"], &[])?;
    let needed = ["amount", "merchantAccountId", "orderId", "paymentInitiator"];
    let asked = object(&input["transaction"], &needed, &[])?;
    let (amount, reference) = (text(&asked["amount"]), text(&asked["orderId"]));
    let cents = cents(&asked["amount"])?;
    if !(1..=255).contains(&reference.len()) {
        return Err("order id".to_owned());
    }
    if asked["paymentInitiator"] != "MOTO" || asked["merchantAccountId"] != BRAINTREE_ACCOUNT {
        return Err("the initiator or the account".to_owned());
    }
    let books = &mut state.braintree;
    let Some(method) = books.methods.get_mut(&text(&input["paymentMethodId"])) else {
        return Err("a payment method that is not there".to_owned());
    };
    let Some(number) = method.take() else {
        return Ok(refused("91564"));
    };
    let id = format!("dHJhbnNhY3Rpb25fc2lt{:04}", books.transactions.len() + 1);
    let declined = decline_of(&number);
    let status = match declined {
        None if capture => "SUBMITTED_FOR_SETTLEMENT",
        None => "AUTHORIZED",
        Some(_) => "PROCESSOR_DECLINED",
    };
    let mut event = json!({ "status": status });
    if let Some(declined) = declined {
        let code = match declined {
            "incorrect_cvc" => "2010",
            "expired_card" => "2004",
            "insufficient_funds" => "2001",
            "lost_card" => "2053",
            _ => "2000",
        };
        event["processorResponse"] = json!({ "legacyCode": code });
    }
    let made = json!({
        "id": id, "orderId": reference, "status": status,
        "amount": { "value": amount, "currencyCode": "EUR" }, "statusHistory": [event],
        "refunds": [],
    });
    books.transactions.push(made.clone());
    if !capture {
        books.set_aside.insert(id.clone());
    }
    state.ledger.push(Entry {
        reference,
        amount: cents,
        currency: "EUR".to_owned(),
        charged: declined.is_none(),
        id,
    });
    let name = if capture {
        "chargeCreditCard"
    } else {
        "authorizeCreditCard"
    };
    let data = json!({ name: { "transaction": made } });
    Ok(Reply::json(200, &json!({ "data": data })))
}

fn operation(state: &mut State, request: &Request, input: &Value) -> Result<Reply, String> {
    let (kind, needed) = if is(request, "Capture") {
        ("settle", &["transactionId", "transaction"][..])
    } else if is(request, "Reverse") {
        ("void", &["transactionId"][..])
    } else if is(request, "Refund") {
        ("refund", &["transactionId", "refund"][..])
    } else {
        return Err("an operation that is not known".to_owned());
    };
    let input = object(input, needed, &[])?;
    let charge = text(&input["transactionId"]);
    let known = state.ledger.iter().find(|entry| entry.id == charge);
    let whole = known.ok_or("a transaction that is not there")?.amount;
    let (amount, reference) = match kind {
        "settle" => {
            let asked = object(&input["transaction"], &["amount"], &[])?;
            (cents(&asked["amount"])?, format!("settle of {charge}"))
        }
        "refund" => {
            let asked = object(&input["refund"], &["amount", "orderId"], &[])?;
            (cents(&asked["amount"])?, text(&asked["orderId"]))
        }
        _ => (whole, format!("void of {charge}")),
    };
    let set_aside = state.braintree.set_aside.contains(&charge);
    let mut done = Done {
        reference: reference.clone(),
        kind,
        amount,
        charge: charge.clone(),
    };
    let mut operated = state.operate(done.clone(), set_aside);
    if (kind, operated) == ("void", Err("settled")) {
        // What has settled is reversed by a refund of all of it.
        done.kind = "refund";
        operated = state.operate(done.clone(), set_aside);
    }
    if operated.is_err() {
        return Ok(refused("91506"));
    }
    let written = format!("{}.{:02}", amount / 100, amount % 100);
    let money = json!({ "value": written, "currencyCode": "EUR" });
    let books = &mut state.braintree;
    let mut known = books.transactions.iter_mut();
    let known = known.find(|known| known["id"] == charge.as_str()).unwrap();
    let made = match done.kind {
        "settle" => {
            known["status"] = json!("SUBMITTED_FOR_SETTLEMENT");
            known["amount"] = money;
            known.clone()
        }
        "void" => {
            known["status"] = json!("VOIDED");
            known.clone()
        }
        _ => {
            books.refunds += 1;
            let order = match kind {
                "refund" => json!(reference),
                _ => known["orderId"].clone(),
            };
            let refund = json!({
                "id": format!("cmVmdW5kX3NpbQ{:04}", books.refunds), "orderId": order,
                "status": "SUBMITTED_FOR_SETTLEMENT", "amount": money,
            });
            known["refunds"]
                .as_array_mut()
                .unwrap()
                .push(refund.clone());
            let mut refund = refund;
            refund["refundedTransaction"] = json!({ "id": charge });
            refund
        }
    };
    let data = match kind {
        "settle" => json!({ "captureTransaction": { "transaction": made } }),
        "void" => json!({ "reverseTransaction": { "reversal": made } }),
        _ => json!({ "refundTransaction": { "refund": made } }),
    };
    Ok(Reply::json(200, &json!({ "data": data })))
}

fn cents(amount: &Value) -> Result<u64, String> {
    let amount = text(amount);
    let split = amount
        .split_once('.')
        .filter(|(_, cents)| is_digits(cents, 2));
    let cents = split.and_then(|(whole, cents)| format!("{whole}{cents}").parse::<u64>().ok());
    cents.filter(|cents| *cents > 0).ok_or("amount".to_owned())
}

fn find(state: &State, query: &str, input: &Value) -> Result<Reply, String> {
    let mut known = state.braintree.transactions.iter();
    if query.starts_with("query Read(") {
        let mut known = known.find(|known| known["id"] == *input).cloned();
        if let Some(known) = known.as_mut().filter(|_| state.stale) {
            let captured = !state.braintree.set_aside.contains(&text(input));
            known["status"] = json!(if captured {
                "SUBMITTED_FOR_SETTLEMENT"
            } else {
                "AUTHORIZED"
            });
            known["refunds"] = json!([]);
        }
        return Ok(Reply::json(200, &json!({ "data": { "node": known } })));
    }
    if !query.starts_with("query Find(") {
        return Err("a query that is not known".to_owned());
    }
    let wanted = &object(input, &["orderId"], &[])?["orderId"];
    let wanted = &object(wanted, &["is"], &[])?["is"];
    let edges: Vec<Value> = known
        .filter(|one| !state.stale && one["orderId"] == *wanted)
        .map(|one| json!({ "node": one }))
        .collect();
    let found = json!({ "search": { "transactions": { "edges": edges } } });
    Ok(Reply::json(200, &json!({ "data": found })))
}

/// No member that was not asked for.
fn only_asked_for(value: &mut Value, query: &str) {
    match value {
        Value::Object(members) => {
            let is_asked_for = |name: &str| {
                let mut words = query.split(|c: char| !c.is_ascii_alphanumeric());
                words.any(|word| word == name)
            };
            members.retain(|name, _| is_asked_for(name));
            for member in members.values_mut() {
                only_asked_for(member, query);
            }
        }
        Value::Array(list) => {
            for one in list {
                only_asked_for(one, query);
            }
        }
        _ => {}
    }
}
