//! The OpenAPI document says what the router does, and the schemas what the types do.

use std::collections::BTreeSet;

use super::*;
use crate::{
    gateway::payments::{FieldStatus, PaymentEvent, PaymentState},
    http::{
        openapi::complete_document,
        problem::{FIELDS, name_of},
    },
    processor::{Advice, Outcome},
    proto::{capture::Rejection, card::Brand, field::Field},
};

pub(super) fn document() -> Value {
    serde_json::to_value(complete_document()).unwrap()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_document_names_no_other() {
    let gateway = Gateway::start();
    let served: Value = gateway
        .client
        .get(gateway.url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(served, document());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let expected = [
        "delete /v1/calls/{id}/prepared",
        "delete /v1/links/{id}",
        "get /",
        "get /charges.js",
        "get /favicon.svg",
        "get /format.js",
        "get /livez",
        "get /openapi.json",
        "get /panel.css",
        "get /panel.js",
        "get /panel/enter",
        "get /readyz",
        "get /v1/calls",
        "get /v1/calls/{id}",
        "get /v1/calls/{id}/prepared",
        "get /v1/events",
        "get /v1/links/{id}",
        "get /v1/payments",
        "get /v1/payments/{id}",
        "get /v1/payments/{id}/events",
        "get /v1/session",
        "get /v1/shadow",
        "get /v1/shadow/{trunk}",
        "get /v1/shadow/{trunk}/picture.svg",
        "post /notifications/{processor}",
        "post /panel/leave",
        "post /v1/links",
        "post /v1/links/{id}/confirm",
        "post /v1/links/{id}/read-out",
        "post /v1/payments",
        "post /v1/payments/{id}/cancel",
        "post /v1/payments/{id}/capture",
        "post /v1/payments/{id}/complete",
        "post /v1/payments/{id}/refund",
        "post /v1/payments/{id}/settle",
        "post /v1/payments/{id}/void",
        "put /v1/calls/{id}/prepared",
    ];
    let mut listed = BTreeSet::new();
    for (path, item) in served["paths"].as_object().unwrap() {
        let methods: BTreeSet<_> = item.as_object().unwrap().keys().cloned().collect();
        listed.extend(methods.iter().map(|method| format!("{method} {path}")));
        // The router knows exactly these methods: another is refused, and Allow lists them.
        let url = gateway.url(&path.replace("{id}", "x"));
        let response = gateway.client.patch(url).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allow = response.headers()["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<_> = allow
            .split(',')
            .filter(|m| *m != "head")
            .map(ToOwned::to_owned)
            .collect();
        assert_eq!(allowed, methods, "{path}");
    }
    assert_eq!(listed, expected.map(ToOwned::to_owned).into());
    // Routes come in only together with their part of the document.
    for source in [include_str!("../openapi.rs"), include_str!("../mod.rs")] {
        assert!(!source.contains(&[".rou", "te("].concat()));
    }
}

#[test]
fn the_document_tells_refusals_security_and_the_stream() {
    let document = document();
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["api_key"]["scheme"], "bearer");
    assert_eq!(schemes["panel_cookie"]["name"], "__Host-tonewall");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(
                operation["summary"].is_string() && operation["operationId"].is_string(),
                "{name}"
            );
            let responses = operation["responses"].as_object().unwrap();
            let mut needed = Vec::new();
            if path.starts_with("/v1/") {
                needed.extend(["401", "403", "429", "500", "503"]);
            }
            if operation["requestBody"].is_object() {
                needed.extend(["400", "408", "413", "415", "422"]);
            }
            for status in needed {
                let response = &responses[status];
                let content = &response["content"]["application/problem+json"];
                assert!(
                    content["schema"]["$ref"].is_string(),
                    "{name} {status}: {response}"
                );
                assert!(
                    response["description"].as_str().unwrap().contains('`'),
                    "{name} {status}"
                );
            }
            for response in responses.values() {
                assert!(response["description"].is_string());
            }
        }
    }
    for path in ["/v1/events", "/v1/payments/{id}/events"] {
        let stream = &document["paths"][path]["get"];
        assert!(stream["responses"]["200"]["content"]["text/event-stream"].is_object());
        let names: Vec<_> = stream["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["name"])
            .collect();
        assert!(
            names.contains(&&json!("Last-Event-ID")) && names.contains(&&json!("last_event_id"))
        );
    }
    let create = &document["paths"]["/v1/payments"]["post"]["parameters"][0];
    assert_eq!(
        (&create["name"], &create["required"]),
        (&json!("Idempotency-Key"), &json!(true))
    );
    all_references_resolve(&document, &document);
}

fn all_references_resolve(value: &Value, document: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                assert!(document.pointer(&target[1..]).is_some(), "{target}");
            }
            members
                .values()
                .for_each(|member| all_references_resolve(member, document));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| all_references_resolve(item, document)),
        _ => {}
    }
}

/// Enough of JSON Schema to hold a value against what the document says of it.
fn holds(value: &Value, schema: &Value, document: &Value, at: &str) {
    if let Some(Value::String(target)) = schema.get("$ref") {
        return holds(value, document.pointer(&target[1..]).unwrap(), document, at);
    }
    if let Some(Value::Array(options)) = schema.get("oneOf") {
        let named = options
            .iter()
            .find(|option| (option["type"] == "null") == value.is_null());
        return holds(
            value,
            named.unwrap_or_else(|| panic!("{at}: {value} in {schema}")),
            document,
            at,
        );
    }
    if let Some(Value::Array(words)) = schema.get("enum") {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let (Value::Object(members), Some(each)) = (value, schema.get("additionalProperties")) {
        for (name, member) in members {
            holds(member, each, document, &format!("{at}.{name}"));
        }
        return;
    }
    if let Value::Object(members) = value {
        let properties = schema["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("{at}: {schema}"));
        for (name, member) in members {
            let schema = properties
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is not told"));
            holds(member, schema, document, &format!("{at}.{name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(
                members.contains_key(name.as_str().unwrap()),
                "{at}.{name} is missing"
            );
        }
    }
    if let Value::Array(items) = value {
        items
            .iter()
            .for_each(|item| holds(item, &schema["items"], document, at));
    }
}

pub(super) fn holds_as(value: &impl serde::Serialize, name: &str) {
    let document = document();
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "{name} is not in the document");
    holds(
        &serde_json::to_value(value).unwrap(),
        schema,
        &document,
        name,
    );
}

#[tokio::test]
async fn what_is_sent_is_what_the_document_says() {
    let gateway = Gateway::start();
    let id: crate::proto::id::PaymentId = gateway.payment("INV-1").await.parse().unwrap();
    let outcomes = [
        Outcome::Approved {
            processor_reference: "r".into(),
            code: "c".into(),
        },
        Outcome::Declined {
            advice: Advice::TryAgain,
            code: "c".into(),
        },
        Outcome::Declined {
            advice: Advice::OtherCard,
            code: "c".into(),
        },
        Outcome::Declined {
            advice: Advice::ReEnter(Field::SecurityCode),
            code: "c".into(),
        },
        Outcome::Declined {
            advice: Advice::CallIssuer,
            code: "c".into(),
        },
        Outcome::Declined {
            advice: Advice::DoNotRetry,
            code: "c".into(),
        },
        Outcome::Failed {
            reason: "r".into(),
            retryable: true,
        },
        Outcome::Pending {
            processor_reference: "p".into(),
            code: "c".into(),
        },
        Outcome::Unknown { reason: "r".into() },
    ];
    for outcome in outcomes {
        gateway.fake.change("payment.updated", &id, |payment| {
            payment.outcome = Some(outcome)
        });
    }
    for brand in [
        Brand::Visa,
        Brand::Mastercard,
        Brand::Amex,
        Brand::Discover,
        Brand::Jcb,
        Brand::Diners,
        Brand::Unionpay,
        Brand::Maestro,
    ] {
        gateway.fake.change("payment.updated", &id, |payment| {
            let field = payment.fields.get_mut(&Field::PaymentCardNumber).unwrap();
            field.brand = Some(brand);
            field.last4 = "4242".to_owned().try_into().ok();
            field.masked = Some("•••• 4242".into());
        });
    }
    for state in [
        PaymentState::Arming,
        PaymentState::Open,
        PaymentState::Capturing,
        PaymentState::Submitting,
        PaymentState::Approved,
        PaymentState::Declined,
        PaymentState::Failed,
        PaymentState::Unknown,
        PaymentState::Cancelled,
    ] {
        gateway
            .fake
            .change("payment.updated", &id, |payment| payment.state = state);
    }
    for status in [
        FieldStatus::Missing,
        FieldStatus::Capturing,
        FieldStatus::Complete,
        FieldStatus::Problem,
    ] {
        for rejection in [
            Rejection::TooShort,
            Rejection::CheckDigit,
            Rejection::UnknownBrand,
            Rejection::BrandNotAccepted,
            Rejection::InvalidDate,
            Rejection::Expired,
            Rejection::CodeLength,
        ] {
            gateway.fake.change("payment.updated", &id, |payment| {
                let field = payment.fields.get_mut(&Field::ExpirationDate).unwrap();
                (field.status, field.rejection) = (status, Some(rejection));
            });
        }
    }
    let events: Vec<PaymentEvent> = gateway.fake.lock().events.clone();
    assert!(events.len() > 40);
    for event in &events {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        holds_as(&data, "PaymentEvent");
    }
    for (path, name) in [
        ("/v1/calls", "CallList"),
        ("/v1/payments", "PaymentList"),
        ("/v1/session", "Session"),
    ] {
        let value: Value = gateway
            .get(path)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        holds_as(&value, name);
    }
    let refused = gateway.get("/v1/payments/x").send().await.unwrap();
    holds_as(&problem(refused, 404, "unknown-payment").await, "Problem");
    holds_as(&new_payment("x"), "NewPayment");
    for field in FIELDS {
        assert_eq!(serde_json::to_value(field).unwrap(), name_of(field));
        holds_as(&json!({"field": field}), "Capture");
    }
}
