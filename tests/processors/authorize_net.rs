//! Authorize.Net's JSON API: charges, the list of unsettled transactions and their details. It reads the
//! members in the order in which they came, for that has to be the schema's.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, json};

use super::{
    AUTHORIZE_NET_KEY, AUTHORIZE_NET_LOGIN, Done, Entry, Handled, Reply, Request, Stage, State,
    decline_of, is_card_number, is_digits, is_month,
};

/// JSON whose members keep their order.
#[derive(Debug)]
enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    /// A text, or a number or a truth as it is written.
    Text(String),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Text(number.to_string()))
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
                Ok(Json::Text(truth.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Json::List(all))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = map.next_entry()? {
                    all.push(one);
                }
                Ok(Json::Object(all))
            }
        }
        from.deserialize_any(Any)
    }
}

impl Json {
    /// The members, which have to be these, in this order; those that end in `?` may be missing.
    fn members(&self, names: &[&str]) -> Result<Vec<Option<&Self>>, String> {
        let Self::Object(members) = self else {
            return Err(format!("no object with {names:?}"));
        };
        let mut rest = members.iter().peekable();
        let mut found = Vec::new();
        for name in names {
            let (name, may_be_missing) = match name.strip_suffix('?') {
                Some(name) => (name, true),
                None => (*name, false),
            };
            match rest.next_if(|(found, _)| found == name) {
                Some((_, value)) => found.push(Some(value)),
                None if may_be_missing => found.push(None),
                None => return Err(format!("{name} is not in its place")),
            }
        }
        match rest.next() {
            Some((name, _)) => Err(format!("{name} is not known here")),
            None => Ok(found),
        }
    }

    /// The same where all have to be there.
    fn all<const N: usize>(&self, names: [&str; N]) -> Result<[&Self; N], String> {
        let found = self.members(&names)?;
        let found: Vec<_> = found.into_iter().flatten().collect();
        found
            .try_into()
            .map_err(|_| "a member is missing".to_owned())
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Object(_) | Self::List(_) => Err("no text".to_owned()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Books {
    /// What details are told of, the latest last; with the amount in minor units.
    transactions: Vec<Value>,
    /// Card, amount and invoice number of what was approved, with its id.
    approved: Vec<(String, String)>,
}

pub(super) fn stage(request: &Request) -> Stage {
    if !request.body.starts_with("{\"createTransactionRequest\"") {
        Stage::LookUp
    } else if request.body.contains("\"refTransId\"") {
        Stage::Operation
    } else {
        Stage::Card
    }
}

pub(super) fn handle(state: &mut State, request: &Request) -> Handled {
    Handled {
        stage: stage(request),
        reply: reply(state, request)
            .unwrap_or_else(|what| state.violate(format!("authorize.net: {what}"))),
    }
}

/// As the API answers: behind a byte order mark, with HTTP 200.
fn told(mut body: Value, result: &str, code: &str) -> Reply {
    body["messages"] =
        json!({ "resultCode": result, "message": [{ "code": code, "text": "in words" }] });
    Reply {
        status: 200,
        body: format!("\u{feff}{body}"),
    }
}

fn reply(state: &mut State, request: &Request) -> Result<Reply, String> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/xml/v1/request.api") {
        return Err(format!("{} {}", request.method, request.path));
    }
    if request.header("content-type") != "application/json" {
        return Err("content type".to_owned());
    }
    let body: Json = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    let Json::Object(whole) = &body else {
        return Err("no object".to_owned());
    };
    let [(name, body)] = whole.as_slice() else {
        return Err("more than one request".to_owned());
    };
    match name.as_str() {
        "createTransactionRequest" if stage(request) == Stage::Operation => operation(state, body),
        "createTransactionRequest" => charge(state, body),
        "getUnsettledTransactionListRequest" => list(state, body),
        "getTransactionDetailsRequest" => details(state, body),
        other => Err(format!("{other} is not known")),
    }
}

fn check_credentials(credentials: &Json) -> Result<(), String> {
    let [name, key] = credentials.all(["name", "transactionKey"])?;
    if (name.text()?, key.text()?) != (AUTHORIZE_NET_LOGIN, AUTHORIZE_NET_KEY) {
        return Err("the credentials".to_owned());
    }
    Ok(())
}

fn charge(state: &mut State, body: &Json) -> Result<Reply, String> {
    let [credentials, ref_id, asked] =
        body.all(["merchantAuthentication", "refId", "transactionRequest"])?;
    check_credentials(credentials)?;
    let ref_id = ref_id.text()?;
    let [kind, amount, currency, payment, order, retail, settings] = asked.all([
        "transactionType",
        "amount",
        "currencyCode",
        "payment",
        "order",
        "retail",
        "transactionSettings",
    ])?;
    let [card] = payment.all(["creditCard"])?;
    let card = card.members(&["cardNumber", "expirationDate", "cardCode?"])?;
    let [Some(number), Some(expiry), code] = card.as_slice() else {
        return Err("the card".to_owned());
    };
    let (number, expiry) = (number.text()?, expiry.text()?);
    let code = code.map(Json::text).transpose()?;
    let [invoice, description] = order.all(["invoiceNumber", "description"])?;
    let invoice = invoice.text()?;
    let [market] = retail.all(["marketType"])?;
    let [Json::List(settings)] = settings.all(["setting"])? else {
        return Err("no settings".to_owned());
    };
    let mut set = Vec::new();
    for setting in settings {
        let [name, value] = setting.all(["settingName", "settingValue"])?;
        set.push((name.text()?, value.text()?));
    }
    let date = expiry.split_once('-');
    let cents = amount
        .text()?
        .split_once('.')
        .filter(|(_, cents)| is_digits(cents, 2));
    let cents = cents.and_then(|(whole, cents)| format!("{whole}{cents}").parse::<u64>().ok());
    let kind = kind.text()?;
    let (Some(cents @ 1..), "authCaptureTransaction" | "authOnlyTransaction", "EUR", "1") =
        (cents, kind, currency.text()?, market.text()?)
    else {
        return Err("type, amount, currency or market".to_owned());
    };
    if !is_card_number(number)
        || number.len() > 16
        || !date.is_some_and(|(year, month)| is_digits(year, 4) && is_month(month))
        || code.is_some_and(|code| !is_digits(code, 3) && !is_digits(code, 4))
    {
        return Err("a field of the card".to_owned());
    }
    if set != [("allowPartialAuth", "false"), ("duplicateWindow", "28800")]
        || ref_id != invoice
        || invoice.len() != 20
        || description.text()?.len() > 255
    {
        return Err("a setting, the invoice number or the description".to_owned());
    }
    let same = format!("{number} {cents} {invoice}");
    let books = &mut state.authorize_net;
    let known = books.approved.iter().find(|(known, _)| *known == same);
    if let Some((_, id)) = known {
        let transaction = json!({
            "responseCode": "3", "transId": id, "errors": [{ "errorCode": "11", "errorText": "t" }],
        });
        let body = json!({ "transactionResponse": transaction, "refId": ref_id });
        return Ok(told(body, "Error", "E00027"));
    }
    let id = format!("4001234{:04}", books.transactions.len() + 1);
    let declined = decline_of(number);
    let (response, reason) = match declined {
        None => ("1", "1"),
        Some("incorrect_cvc") => ("2", "65"),
        Some("expired_card") => ("2", "317"),
        Some("insufficient_funds") => ("3", "19"),
        Some("lost_card") => ("2", "4"),
        Some(_) => ("2", "2"),
    };
    let mut transaction = json!({
        "responseCode": response, "authCode": "HH5414", "avsResultCode": "P", "cvvResultCode": "P",
        "transId": id, "testRequest": "0", "accountType": "Visa",
        "accountNumber": format!("XXXX{}", &number[number.len() - 4..]),
    });
    let (list, word, text) = match declined {
        None => ("messages", "code", "description"),
        Some(_) => ("errors", "errorCode", "errorText"),
    };
    transaction[list] = json!([{ word: reason, text: "in words" }]);
    let status = match response {
        "1" if kind == "authOnlyTransaction" => "authorizedPendingCapture",
        "1" => "capturedPendingSettlement",
        "2" => "declined",
        _ => "generalError",
    };
    books.transactions.push(json!({
        "transId": id, "transactionType": kind, "transactionStatus": status,
        "submitTimeUTC": "2030-01-01T00:00:00Z", "responseCode": 1,
        "responseReasonCode": reason.parse::<u64>().unwrap(),
        "order": { "invoiceNumber": invoice }, "authAmount": cents as f64 / 100.0,
        "settleAmount": cents as f64 / 100.0,
    }));
    if declined.is_none() {
        books.approved.push((same, id.clone()));
    }
    state.ledger.push(Entry {
        reference: invoice.to_owned(),
        amount: cents,
        currency: "EUR".to_owned(),
        charged: declined.is_none(),
        id,
    });
    let body = json!({ "transactionResponse": transaction, "refId": ref_id });
    Ok(match declined {
        None => told(body, "Ok", "I00001"),
        Some(_) => told(body, "Error", "E00027"),
    })
}

/// A capture of what was authorised, a void, a refund: in the order of the schema.
fn operation(state: &mut State, body: &Json) -> Result<Reply, String> {
    let [credentials, ref_id, asked] =
        body.all(["merchantAuthentication", "refId", "transactionRequest"])?;
    check_credentials(credentials)?;
    let ref_id = ref_id.text()?;
    let Json::Object(members) = asked else {
        return Err("no transaction".to_owned());
    };
    let kind = members.first().ok_or("no type")?.1.text()?;
    let (kind, cents, of) = match kind {
        "priorAuthCaptureTransaction" => {
            let [_, amount, of] = asked.all(["transactionType", "amount", "refTransId"])?;
            ("settle", Some(amount), of)
        }
        "voidTransaction" => {
            let [_, of] = asked.all(["transactionType", "refTransId"])?;
            ("void", None, of)
        }
        "refundTransaction" => {
            let [_, amount, payment, of, order, settings] = asked.all([
                "transactionType",
                "amount",
                "payment",
                "refTransId",
                "order",
                "transactionSettings",
            ])?;
            let [card] = payment.all(["creditCard"])?;
            let [number, expiry] = card.all(["cardNumber", "expirationDate"])?;
            let [invoice] = order.all(["invoiceNumber"])?;
            settings.all(["setting"])?;
            if (number.text()?, expiry.text()?, invoice.text()?) != ("4242", "XXXX", ref_id) {
                return Err("the last four or the invoice number".to_owned());
            }
            ("refund", Some(amount), of)
        }
        other => return Err(format!("{other} is not known")),
    };
    let of = of.text()?.to_owned();
    let known = state.ledger.iter().find(|entry| entry.id == of);
    let whole = known.ok_or("a transaction that is not there")?.amount;
    let cents = match cents {
        None => whole,
        Some(amount) => {
            let split = amount.text()?.split_once('.');
            let split = split
                .filter(|(_, cents)| is_digits(cents, 2))
                .ok_or("amount")?;
            format!("{}{}", split.0, split.1)
                .parse()
                .map_err(|_| "amount")?
        }
    };
    let mut known = state.authorize_net.transactions.iter();
    let known = known.find(|known| known["transId"] == of.as_str()).unwrap();
    let set_aside = known["transactionType"] == "authOnlyTransaction";
    let reference = match kind {
        "refund" => ref_id.to_owned(),
        kind => format!("{kind} of {of}"),
    };
    let done = Done {
        reference,
        kind,
        amount: cents,
        charge: of.clone(),
    };
    let answer = |response: &str, id: &str, list: Value| {
        let mut transaction = list;
        transaction["responseCode"] = json!(response);
        transaction["transId"] = json!(id);
        json!({ "transactionResponse": transaction, "refId": ref_id })
    };
    let refusal = state.operate(done, set_aside);
    let again = match (kind, refusal) {
        ("void", Err("voided")) => Some("310"),
        ("settle", Err("settled")) => Some("311"),
        _ => None,
    };
    if let Some(code) = again {
        let messages = json!({ "messages": [{ "code": code, "description": "d" }] });
        return Ok(told(answer("1", &of, messages), "Ok", "I00001"));
    }
    if refusal.is_err() {
        let errors = json!({ "errors": [{ "errorCode": "54", "errorText": "t" }] });
        return Ok(told(answer("3", "0", errors), "Error", "E00027"));
    }
    let books = &mut state.authorize_net;
    let number = books.transactions.len() + 1;
    let mut known = books.transactions.iter_mut();
    let known = known.find(|known| known["transId"] == of.as_str()).unwrap();
    let id = match kind {
        "settle" => {
            known["transactionStatus"] = json!("capturedPendingSettlement");
            known["settleAmount"] = json!(cents as f64 / 100.0);
            of
        }
        "void" => {
            known["transactionStatus"] = json!("voided");
            of
        }
        _ => {
            let id = format!("4001234{number:04}");
            books.transactions.push(json!({
                "transId": id, "refTransId": of, "transactionType": "refundTransaction",
                "transactionStatus": "refundPendingSettlement",
                "submitTimeUTC": "2030-01-01T00:00:00Z", "order": { "invoiceNumber": ref_id },
                "authAmount": cents as f64 / 100.0, "settleAmount": cents as f64 / 100.0,
            }));
            id
        }
    };
    let messages = json!({ "messages": [{ "code": "1", "description": "d" }] });
    Ok(told(answer("1", &id, messages), "Ok", "I00001"))
}

fn list(state: &State, body: &Json) -> Result<Reply, String> {
    let [credentials, sorting, paging] =
        body.all(["merchantAuthentication", "sorting", "paging"])?;
    check_credentials(credentials)?;
    let [by, descending] = sorting.all(["orderBy", "orderDescending"])?;
    let [limit, page] = paging.all(["limit", "offset"])?;
    let number = |json: &Json| {
        json.text()?
            .parse::<usize>()
            .map_err(|error| error.to_string())
    };
    let (limit, page) = (number(limit)?, number(page)?);
    if (by.text()?, descending.text()?) != ("submitTimeUTC", "true")
        || !(1..=1000).contains(&limit)
        || page == 0
    {
        return Err("sorting or paging".to_owned());
    }
    let transactions = state.authorize_net.transactions.iter().rev();
    let found: Vec<Value> = transactions
        .filter(|_| !state.stale)
        .skip((page - 1) * limit)
        .take(limit)
        .map(|known| {
            json!({
                "transId": known["transId"], "submitTimeUTC": known["submitTimeUTC"],
                "transactionStatus": known["transactionStatus"],
                "invoiceNumber": known["order"]["invoiceNumber"], "accountType": "Visa",
                "accountNumber": "XXXX4242", "settleAmount": known["authAmount"],
            })
        })
        .collect();
    Ok(match found.len() {
        0 => told(json!({}), "Ok", "I00004"),
        total => {
            let body = json!({ "transactions": found, "totalNumInResultSet": total });
            told(body, "Ok", "I00001")
        }
    })
}

fn details(state: &State, body: &Json) -> Result<Reply, String> {
    let [credentials, id] = body.all(["merchantAuthentication", "transId"])?;
    check_credentials(credentials)?;
    let id = id.text()?;
    let mut known = state.authorize_net.transactions.iter();
    Ok(match known.find(|known| known["transId"] == id) {
        Some(known) => told(json!({ "transaction": known }), "Ok", "I00001"),
        None => told(json!({}), "Error", "E00040"),
    })
}
