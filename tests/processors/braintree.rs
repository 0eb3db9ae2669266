//! Braintree's GraphQL API: single-use payment methods, charges and a search. It executes no GraphQL: it
//! knows operations by their names, and `tests/peers/run processors` holds the documents against the schema.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    BRAINTREE_ACCOUNT, BRAINTREE_KEY, BRAINTREE_PUBLIC_KEY, Entry, Handled, Reply, Request, Stage,
    State, decline_of, is_card_number, is_digits, is_month,
};

#[derive(Default)]
pub(crate) struct Books {
    /// Card numbers by payment method; `None` once it is consumed.
    methods: BTreeMap<String, Option<String>>,
    transactions: Vec<Value>,
    /// Bodies as they came, for whoever reads them against the schema.
    pub(crate) asked: Vec<Value>,
}

pub(super) fn stage(request: &Request) -> Stage {
    if request.body.contains("mutation Tokenise(") {
        Stage::Card
    } else if request.body.contains("mutation Charge(") {
        Stage::Token
    } else {
        Stage::LookUp
    }
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
    state.braintree.asked.push(body.clone());
    match stage {
        Stage::Card => tokenise(&mut state.braintree, input),
        Stage::Token => charge(state, input),
        Stage::LookUp if text(&asked["query"]).contains("query Find(") => find(state, input),
        Stage::LookUp | Stage::Operation => Err("an operation that is not known".to_owned()),
    }
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

fn charge(state: &mut State, input: &Value) -> Result<Reply, String> {
    let input = object(input, &["paymentMethodId", "transaction"], &[])?;
    let needed = ["amount", "merchantAccountId", "orderId", "paymentInitiator"];
    let asked = object(&input["transaction"], &needed, &[])?;
    let (amount, reference) = (text(&asked["amount"]), text(&asked["orderId"]));
    let cents = amount
        .split_once('.')
        .filter(|(_, cents)| is_digits(cents, 2))
        .and_then(|(whole, cents)| format!("{whole}{cents}").parse::<u64>().ok());
    let (Some(cents @ 1..), 1..=255) = (cents, reference.len()) else {
        return Err("amount or order id".to_owned());
    };
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
        None => "SUBMITTED_FOR_SETTLEMENT",
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
    });
    books.transactions.push(made.clone());
    state.ledger.push(Entry {
        reference,
        amount: cents,
        currency: "EUR".to_owned(),
        charged: declined.is_none(),
        id,
    });
    let data = json!({ "chargeCreditCard": { "transaction": made } });
    Ok(Reply::json(200, &json!({ "data": data })))
}

fn find(state: &State, input: &Value) -> Result<Reply, String> {
    let wanted = &object(input, &["orderId"], &[])?["orderId"];
    let wanted = &object(wanted, &["is"], &[])?["is"];
    let edges: Vec<Value> = state
        .braintree
        .transactions
        .iter()
        .filter(|transaction| !state.stale && transaction["orderId"] == *wanted)
        .map(|transaction| json!({ "node": transaction }))
        .collect();
    let found = json!({ "search": { "transactions": { "edges": edges } } });
    Ok(Reply::json(200, &json!({ "data": found })))
}
