//! Request bodies, read by hand: serde's messages quote what they found, and what a client sends by
//! mistake may be a card number.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use serde_json::{Map, Value};

use super::{
    digits::could_be_card,
    links::Target,
    problem::{FIELDS, Problem, Slug, name_of},
};
use crate::{
    gateway::{links::Sought, payments::NewPayment},
    proto::{
        field::Field,
        link::{SpokenCode, SpokenCodeError},
        party::{AgentAddress, AgentAddressError, CallReferenceError},
        payment::Purpose,
    },
};

/// Most bytes of a body.
pub(super) const BODY_LIMIT: usize = 16 * 1024;
/// Largest amount: eleven digits, so that no card number passes for one.
const LARGEST_AMOUNT: u64 = 99_999_999_999;
/// Longest text in a body, in characters.
const LONGEST_TEXT: usize = 200;

/// Reads a body that has to be JSON.
pub(super) async fn json_bytes(
    headers: &HeaderMap,
    body: Body,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    if declared.as_deref() != Some("application/json") {
        return Err(Problem::new(
            Slug::MediaType,
            "the header Content-Type is missing or names another type; send `Content-Type: application/json`",
        ));
    }
    bytes(headers, body, BODY_LIMIT, patience).await
}

/// Reads a body of whatever kind.
pub(super) async fn bytes(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Slug::TooLarge,
            format!("the body is larger than {limit} bytes"),
        )
    };
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(patience, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(
            Slug::BrokenOff,
            "the body broke off before its end, or its chunks cannot be read; send it again",
        )),
        Err(_) => Err(Problem::new(
            Slug::TooSlow,
            format!(
                "the body did not arrive within {} seconds; send it again",
                patience.as_secs()
            ),
        )),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.to_string().contains("length limit") {
            return true;
        }
        source = inner.source();
    }
    false
}

/// Members of a payment, of which the first two are not asked for where the path names the call.
const NEW_PAYMENT: [&str; 9] = [
    "call",
    "link",
    "amount",
    "currency",
    "purpose",
    "reference",
    "description",
    "leg",
    "fields",
];

/// Reads `POST /v1/payments`.
pub(super) fn new_payment(bytes: &[u8]) -> Result<(Target, NewPayment), Problem> {
    let object = object(bytes, &NEW_PAYMENT)?;
    let text = Text(&object);
    let target = match text.optional("link")? {
        None => {
            // A SIP Call-ID may well be a row of digits: it is looked up, not kept.
            let expected = "the id of a call that GET /v1/calls lists, or `link` in its place";
            Target::Call(text.required("call", expected)?)
        }
        Some(link) if object.get("call").is_none_or(Value::is_null) => Target::Link(link),
        Some(_) => {
            return Err(invalid("link", "`link` came with `call`; send one of them"));
        }
    };
    Ok((target, payment_on(String::new(), &object)?))
}

/// Reads `POST /v1/links`: what is sought, for whoever is at `own` if it does not say, and whether the code
/// is asked for.
pub(super) fn new_link(bytes: &[u8], own: Option<AgentAddress>) -> Result<(Sought, bool), Problem> {
    let object = object(bytes, &["call", "agent", "reference", "confirm"])?;
    let text = Text(&object);
    let asks_code = match text.optional("confirm")?.as_deref() {
        None | Some("match") => false,
        Some("code") => true,
        Some(_) => {
            return Err(invalid(
                "confirm",
                "`confirm` is neither `match` nor `code`",
            ));
        }
    };
    let sought = match (
        text.optional("call")?,
        text.optional("agent")?,
        text.optional("reference")?,
    ) {
        (Some(call), None, None) => Sought::Call(call),
        (None, Some(agent), None) => Sought::Agent(
            agent
                .parse()
                .map_err(|error: AgentAddressError| invalid("agent", error.to_string()))?,
        ),
        (None, None, Some(reference)) => Sought::Reference(
            reference
                .parse()
                .map_err(|error: CallReferenceError| invalid("reference", error.to_string()))?,
        ),
        (None, None, None) => Sought::Agent(own.ok_or_else(|| {
            invalid(
                "agent",
                "nothing to look by; send `call`, `agent` or `reference`",
            )
        })?),
        _ => {
            return Err(invalid(
                "agent",
                "more than one of `call`, `agent` and `reference`; send one of them",
            ));
        }
    };
    Ok((sought, asks_code))
}

/// Reads `POST /v1/links/{id}/confirm`.
pub(super) fn code(bytes: &[u8]) -> Result<SpokenCode, Problem> {
    let object = object(bytes, &["code"])?;
    let code = Text(&object).required("code", "the four digits that were read out, as text")?;
    code.parse()
        .map_err(|error: SpokenCodeError| invalid("code", error.to_string()))
}

/// Reads `PUT /v1/calls/{id}/prepared`.
pub(super) fn prepared(bytes: &[u8], call: String) -> Result<NewPayment, Problem> {
    payment_on(call, &object(bytes, &NEW_PAYMENT[2..])?)
}

fn purpose(text: &Text<'_>) -> Result<Purpose, Problem> {
    match text.optional("purpose")?.as_deref() {
        None | Some("charge") => Ok(Purpose::Charge),
        Some("authorise") => Ok(Purpose::Authorise),
        Some(_) => Err(invalid(
            "purpose",
            "`purpose` is neither `charge` nor `authorise`",
        )),
    }
}

/// Reads `POST /v1/payments/{id}/settle` and the others: amount and reason.
pub(super) fn operation(bytes: &[u8]) -> Result<(Option<u64>, Option<String>), Problem> {
    // Nothing at all is all of it, for no reason.
    if bytes.is_empty() {
        return Ok((None, None));
    }
    let object = object(bytes, &["amount", "reason"])?;
    let amount_minor = match object.get("amount") {
        None | Some(Value::Null) => None,
        named => Some(amount(named)?),
    };
    Ok((amount_minor, Text(&object).free("reason")?))
}

fn payment_on(call: String, object: &Map<String, Value>) -> Result<NewPayment, Problem> {
    let text = Text(object);
    Ok(NewPayment {
        call,
        leg: text.optional("leg")?,
        amount_minor: amount(object.get("amount"))?,
        currency: currency(&text)?,
        purpose: purpose(&text)?,
        reference: text.free("reference")?.ok_or_else(|| {
            invalid(
                "reference",
                "`reference` is missing; expected your own reference as text",
            )
        })?,
        description: text.free("description")?,
        fields: match object.get("fields") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(names)) => fields(names)?,
            Some(other) => return Err(wrong_type("fields", other, "an array of field names")),
        },
    })
}

/// Reads `POST /v1/payments/{id}/capture`.
pub(super) fn capture(bytes: &[u8]) -> Result<Field, Problem> {
    let object = object(bytes, &["field"])?;
    let name = Text(&object).required("field", "one of the fields' names")?;
    field("field", &name)
}

fn object(bytes: &[u8], members: &[&str]) -> Result<Map<String, Value>, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let what = if bytes.is_empty() {
            "the body is empty".to_owned()
        } else if error.is_eof() {
            format!(
                "the JSON ends too early, at line {}, column {}",
                error.line(),
                error.column()
            )
        } else {
            format!(
                "the JSON cannot be read at line {}, column {}",
                error.line(),
                error.column()
            )
        };
        Problem::new(
            Slug::MalformedJson,
            format!("{what}; expected an object with {}", members.join(", ")),
        )
    })?;
    let Value::Object(object) = value else {
        return Err(Problem::new(
            Slug::InvalidField,
            format!(
                "the body is {}; expected an object with {}",
                kind(&value),
                members.join(", ")
            ),
        ));
    };
    // A misspelt optional member would otherwise be lost in silence.
    if let Some(unknown) = object.keys().find(|key| !members.contains(&key.as_str())) {
        let plain = unknown.len() <= 40
            && unknown
                .bytes()
                .all(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'-');
        let named = if plain {
            format!("`{unknown}`")
        } else {
            "one of the members".to_owned()
        };
        return Err(Problem::new(
            Slug::InvalidField,
            format!(
                "{named} is not known here; expected only {}",
                members.join(", ")
            ),
        ));
    }
    Ok(object)
}

struct Text<'a>(&'a Map<String, Value>);

impl Text<'_> {
    fn optional(&self, member: &'static str) -> Result<Option<String>, Problem> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                let text = text.trim();
                if text.is_empty() {
                    return Err(invalid(
                        member,
                        format!("`{member}` is empty; fill it or leave it out"),
                    ));
                }
                if text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control) {
                    return Err(invalid(
                        member,
                        format!(
                            "`{member}` is too long or holds control characters; expected at most {LONGEST_TEXT} printable characters"
                        ),
                    ));
                }
                Ok(Some(text.to_owned()))
            }
            Some(other) => Err(wrong_type(member, other, "text")),
        }
    }

    fn required(&self, member: &'static str, expected: &str) -> Result<String, Problem> {
        self.optional(member)?.ok_or_else(|| {
            invalid(
                member,
                format!("`{member}` is missing; expected {expected}"),
            )
        })
    }

    /// Text that is kept and shown: no card number may be put there.
    fn free(&self, member: &'static str) -> Result<Option<String>, Problem> {
        let text = self.optional(member)?;
        if text.as_deref().is_some_and(could_be_card) {
            return Err(Problem::new(
                Slug::CardDigits,
                format!(
                    "`{member}` holds 12 or more digits in a row, which could be a card number; it was not kept. Use fewer digits, and let the customer key the card"
                ),
            )
            .member(member));
        }
        Ok(text)
    }
}

fn amount(value: Option<&Value>) -> Result<u64, Problem> {
    const EXPECTED: &str =
        "an integer of minor units (1250 for 12.50 EUR), or the same as a string of digits";
    let amount = match value {
        None | Some(Value::Null) => {
            return Err(invalid(
                "amount",
                format!("`amount` is missing; expected {EXPECTED}"),
            ));
        }
        Some(Value::Number(number)) => number.as_u64().ok_or_else(|| {
            invalid(
                "amount",
                format!("`amount` is negative, too large or has a fraction; expected {EXPECTED}"),
            )
        })?,
        Some(Value::String(text)) => {
            let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
                invalid(
                    "amount",
                    format!("`amount` is text but not digits only; expected {EXPECTED}"),
                )
            })?
        }
        Some(other) => return Err(wrong_type("amount", other, EXPECTED)),
    };
    if amount == 0 || amount > LARGEST_AMOUNT {
        return Err(invalid(
            "amount",
            format!("`amount` is out of range; expected 1 to {LARGEST_AMOUNT} minor units"),
        ));
    }
    Ok(amount)
}

fn currency(text: &Text<'_>) -> Result<String, Problem> {
    const EXPECTED: &str = "three letters of ISO 4217, such as EUR";
    let currency = text.required("currency", EXPECTED)?;
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(invalid(
            "currency",
            format!("`currency` is not a currency code; expected {EXPECTED}"),
        ));
    }
    Ok(currency)
}

fn fields(names: &[Value]) -> Result<Vec<Field>, Problem> {
    let mut fields = Vec::new();
    for name in names {
        let Value::String(name) = name else {
            return Err(wrong_type("fields", name, "names of fields in the array"));
        };
        let field = field("fields", name)?;
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(fields)
}

fn field(member: &'static str, name: &str) -> Result<Field, Problem> {
    FIELDS
        .into_iter()
        .find(|field| name_of(*field) == name)
        .ok_or_else(|| {
            let names = FIELDS.map(name_of).join(", ");
            invalid(
                member,
                format!("`{member}` names no field; expected {names}"),
            )
        })
}

fn invalid(member: &'static str, detail: impl AsRef<str>) -> Problem {
    Problem::new(Slug::InvalidField, detail).member(member)
}

fn wrong_type(member: &'static str, found: &Value, expected: &str) -> Problem {
    invalid(
        member,
        format!("`{member}` is {}; expected {expected}", kind(found)),
    )
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
