//! CyberSource REST: payments and transaction searches, with the digest and the signature of each request
//! verified by another implementation than the gateway's.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use serde_json::{Map, Value, json};

use super::{
    CYBERSOURCE_KEY, CYBERSOURCE_KEY_ID, CYBERSOURCE_MERCHANT, Done, Entry, Handled, Reply,
    Request, Stage, State, decline_of, is_card_number, is_digits, is_month,
};

/// How old a request may be.
const FRESH: SignedDuration = SignedDuration::from_mins(5);

#[derive(Default)]
pub(crate) struct Books {
    transactions: Vec<Value>,
    /// Payments that were only set aside.
    set_aside: BTreeSet<String>,
    /// Captures of these, and of which.
    captures: BTreeMap<String, String>,
}

pub(super) fn stage(request: &Request) -> Stage {
    match request.path.as_str() {
        "/pts/v2/payments" => Stage::Card,
        path if path.starts_with("/pts/v2/") => Stage::Operation,
        _ => Stage::LookUp,
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    let stage = stage(request);
    let reply = match signed(state, request) {
        Ok(true) => match stage {
            Stage::Card => payment(state, request),
            Stage::Operation => operation(state, request),
            Stage::Token | Stage::LookUp => search(state, request),
        },
        Ok(false) => Ok(Reply::json(
            401,
            &json!({ "response": { "rmsg": "Authentication Failed" } }),
        )),
        Err(what) => Err(what),
    };
    Handled {
        stage,
        reply: reply.unwrap_or_else(|what| state.violate(format!("cybersource: {what}"))),
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// RFC 2104, of its definition.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8, text: &[u8]| {
        let key: Vec<u8> = block.iter().map(|byte| byte ^ pad).collect();
        sha256(&[&key, text].concat())
    };
    padded(0x5c, &padded(0x36, text))
}

/// Whether a request is signed by the merchant, and is of now; an error where it is put together wrongly.
fn signed(state: &mut State, request: &Request) -> Result<bool, String> {
    if request.header("v-c-merchant-id") != CYBERSOURCE_MERCHANT {
        return Err("the merchant".to_owned());
    }
    if request.header("content-type") != "application/json" {
        return Err("content type".to_owned());
    }
    let digest = BASE64_STANDARD.encode(sha256(request.body.as_bytes()));
    if request.header("digest") != format!("SHA-256={digest}") {
        return Err("the digest is not that of the body".to_owned());
    }
    let parts: BTreeMap<&str, &str> = request
        .header("signature")
        .split(", ")
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let names = "host date request-target digest v-c-merchant-id";
    if parts.get("keyid") != Some(&CYBERSOURCE_KEY_ID)
        || parts.get("algorithm") != Some(&"HmacSHA256")
        || parts.get("headers") != Some(&names)
    {
        return Err(format!("the parts of the signature: {parts:?}"));
    }
    let lines: Vec<String> = names
        .split(' ')
        .map(|name| match name {
            "request-target" => {
                let method = request.method.to_lowercase();
                format!("request-target: {method} {}", request.path)
            }
            name => format!("{name}: {}", request.header(name)),
        })
        .collect();
    if stage(request) == Stage::Card {
        state.secrets.push(digest);
    }
    let key = BASE64_STANDARD.decode(CYBERSOURCE_KEY).unwrap();
    let right = BASE64_STANDARD.encode(hmac(&key, lines.join("\n").as_bytes()));
    // Base64 may end in the sign that separates names from values.
    let found = request.header("signature");
    if !found.ends_with(&format!("signature=\"{right}\"")) {
        return Err("the signature is not that of the request".to_owned());
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(request.header("date"));
    let date = date.map_err(|error| error.to_string())?;
    let now = Timestamp::now() + state.clock;
    Ok(now.duration_since(date).abs() < FRESH)
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
    if request.method != "POST" {
        return Err(request.method.clone());
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let needed = [
        "clientReferenceInformation",
        "processingInformation",
        "orderInformation",
        "paymentInformation",
    ];
    let payment = object(&body, &needed, &["merchantInformation"])?;
    let needed = ["code", "transactionId"];
    let client = object(
        &payment["clientReferenceInformation"],
        &needed,
        &["comments"],
    )?;
    let needed = ["capture", "commerceIndicator"];
    let processing = object(
        &payment["processingInformation"],
        &needed,
        &["authorizationOptions"],
    )?;
    let order = object(
        &payment["orderInformation"],
        &["amountDetails"],
        &["billTo"],
    )?;
    let amounts = object(&order["amountDetails"], &["totalAmount", "currency"], &[])?;
    let card = object(&payment["paymentInformation"], &["card"], &[])?;
    let needed = ["number", "expirationMonth", "expirationYear"];
    let card = object(&card["card"], &needed, &["securityCode", "type"])?;

    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let indicator = text(&processing["commerceIndicator"]);
    let capture = processing["capture"].as_bool();
    let (Some(capture), true) = (capture, indicator.eq_ignore_ascii_case("moto")) else {
        return Err("what is to be done".to_owned());
    };
    if let Some(options) = processing.get("authorizationOptions") {
        let options = object(options, &["ignoreAvsResult"], &[])?;
        options["ignoreAvsResult"].as_bool().ok_or("no flag")?;
    }
    let descriptor = &payment["merchantInformation"]["merchantDescriptor"];
    object(descriptor, &["name"], &[])?;
    let number = text(&card["number"]);
    let code = card.get("securityCode").map(&text);
    if !is_card_number(&number)
        || !is_month(&text(&card["expirationMonth"]))
        || !is_digits(&text(&card["expirationYear"]), 4)
        || code.is_some_and(|code| !is_digits(&code, 3) && !is_digits(&code, 4))
    {
        return Err("a field of the card".to_owned());
    }
    let reference = text(&client["code"]);
    let currency = text(&amounts["currency"]);
    let total = text(&amounts["totalAmount"]);
    let amount = total.parse::<f64>().map_err(|error| error.to_string())?;
    if amount <= 0.0 || currency.len() != 3 || !(1..=50).contains(&reference.len()) {
        return Err("amount, currency or reference".to_owned());
    }
    if text(&client["transactionId"]).len() > 30 {
        return Err("a transaction id that is too long".to_owned());
    }
    if state
        .ledger
        .iter()
        .any(|entry| entry.reference == reference)
    {
        return Err("a reference that was used".to_owned());
    }

    let id = format!("686946021956653730{:04}", state.ledger.len());
    let declined = decline_of(&number);
    let (reason, number_of_reason) = match declined {
        None => ("", "100"),
        Some("incorrect_cvc") => ("INVALID_CVN", "211"),
        Some("expired_card") => ("EXPIRED_CARD", "202"),
        Some("insufficient_funds") => ("INSUFFICIENT_FUND", "204"),
        Some("lost_card") => ("STOLEN_LOST_CARD", "205"),
        Some(_) => ("PROCESSOR_DECLINED", "203"),
    };
    let result = if declined.is_none() { "1" } else { "0" };
    let mut services =
        vec![json!({ "name": "ics_auth", "rCode": result, "reasonCode": number_of_reason })];
    if declined.is_none() && capture {
        services.push(json!({ "name": "ics_bill", "rCode": "1", "reasonCode": "100" }));
    }
    state.cybersource.transactions.push(json!({
        "id": id,
        "clientReferenceInformation": { "code": reference },
        "orderInformation": { "amountDetails": { "totalAmount": total, "currency": currency } },
        "applicationInformation": { "applications": services },
    }));
    let cents = (amount * 100.0).round() as u64;
    if !capture {
        state.cybersource.set_aside.insert(id.clone());
    }
    state.ledger.push(Entry {
        reference: reference.clone(),
        amount: cents,
        currency: currency.clone(),
        charged: declined.is_none(),
        id: id.clone(),
    });
    let mut answer = json!({
        "id": id, "submitTimeUtc": "2030-01-01T00:00:00Z",
        "status": if declined.is_none() { "AUTHORIZED" } else { "DECLINED" },
        "clientReferenceInformation": { "code": reference },
    });
    if declined.is_none() {
        answer["orderInformation"] =
            json!({ "amountDetails": { "authorizedAmount": total, "currency": currency } });
        answer["processorInformation"] = json!({ "approvalCode": "831000", "responseCode": "00" });
    } else {
        answer["errorInformation"] = json!({ "reason": reason, "message": "no" });
    }
    Ok(Reply::json(201, &answer))
}

fn operation(state: &mut State, request: &Request) -> Result<Reply, String> {
    let path: Vec<&str> = request.path.split('/').collect();
    let ["", "pts", "v2", of, id, what] = path[..] else {
        return Err(format!("{} {}", request.method, request.path));
    };
    let information = match what {
        "reversals" => "reversalInformation",
        _ => "orderInformation",
    };
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let body = object(&body, &["clientReferenceInformation", information], &[])?;
    let client = object(
        &body["clientReferenceInformation"],
        &["code"],
        &["transactionId"],
    )?;
    let told = object(&body[information], &["amountDetails"], &["reason"])?;
    let amounts = object(&told["amountDetails"], &["totalAmount", "currency"], &[])?;
    let total = amounts["totalAmount"].as_str().unwrap_or_default();
    let amount = total.parse::<f64>().map_err(|error| error.to_string())?;
    let cents = (amount * 100.0).round() as u64;
    let reference = client["code"].as_str().unwrap_or_default();
    let known = |found: &Value| found["clientReferenceInformation"]["code"] == reference;
    let books = &state.cybersource;
    if reference.is_empty() || books.transactions.iter().any(known) {
        return Err("a reference that was used, or none".to_owned());
    }

    let payment = match of {
        "captures" => books
            .captures
            .get(id)
            .ok_or("a capture that is not there")?,
        _ => id,
    };
    let set_aside = books.set_aside.contains(payment);
    let (kind, status, service) = match (of, what) {
        ("payments", "captures") => ("settle", "PENDING", "ics_bill"),
        ("payments", "reversals") => ("void", "REVERSED", "ics_auth_reversal"),
        ("captures", "refunds") => ("refund", "PENDING", "ics_credit"),
        ("payments", "refunds") if !set_aside => ("refund", "PENDING", "ics_credit"),
        _ => return Err(format!("{what} of {of}")),
    };
    let done = Done {
        reference: reference.to_owned(),
        kind,
        amount: cents,
        charge: payment.to_owned(),
    };
    if state.operate(done, set_aside).is_err() {
        return Ok(Reply::json(
            400,
            &json!({ "status": "INVALID_REQUEST", "reason": "EXCEEDS_AUTH_AMOUNT" }),
        ));
    }
    let books = &mut state.cybersource;
    let ours = format!("68694602195665375{:05}", books.transactions.len());
    if kind == "settle" {
        books.captures.insert(ours.clone(), id.to_owned());
    }
    books.transactions.push(json!({
        "id": ours,
        "clientReferenceInformation": { "code": reference },
        "orderInformation": { "amountDetails": amounts },
        "applicationInformation": {
            "applications": [{ "name": service, "rCode": "1", "reasonCode": "100" }],
        },
    }));
    Ok(Reply::json(
        201,
        &json!({
            "id": ours, "status": status, "clientReferenceInformation": { "code": reference },
        }),
    ))
}

fn search(state: &State, request: &Request) -> Result<Reply, String> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/tss/v2/searches") {
        return Err(format!("{} {}", request.method, request.path));
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let may = ["save", "name", "timezone", "offset", "limit"];
    let search = object(&body, &["query", "sort"], &may)?;
    let query = search["query"].as_str().unwrap_or_default();
    let wanted = query.strip_prefix("clientReferenceInformation.code:");
    let wanted = wanted.ok_or("a search for something else")?;
    let found: Vec<&Value> = state
        .cybersource
        .transactions
        .iter()
        .filter(|found| !state.stale && found["clientReferenceInformation"]["code"] == wanted)
        .collect();
    let mut answer = json!({
        "searchId": "a9ca721b", "save": false, "totalCount": found.len(), "count": found.len(),
        "offset": 0, "limit": 10,
    });
    if !found.is_empty() {
        answer["_embedded"] = json!({ "transactionSummaries": found });
    }
    Ok(Reply::json(201, &answer))
}
