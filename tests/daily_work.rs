//! What is done with charges from day to day, at a real gateway with the embedded sandbox: by API, by role and by
//! the command line.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{
    APPROVED, CODE, DECLINED, EXPIRY, Ends, Gateway, How, Options,
    pay::{capture, complete, id, until},
    play,
};
use serde_json::{Value, json};

/// A payment of 100.00 EUR, of which everything is keyed.
async fn keyed(gateway: &Gateway, ends: &Ends, call: &str, purpose: &str, card: &str) -> String {
    let new = json!({
        "call": call, "amount": 10_000, "currency": "EUR", "reference": format!("of {purpose}"),
        "purpose": purpose,
    });
    let payment = gateway.post("/v1/payments", new).await;
    key_card(gateway, ends, id(&payment), card).await;
    id(&payment).to_owned()
}

async fn key_card(gateway: &Gateway, ends: &Ends, payment: &str, card: &str) {
    for field in [
        ("payment-card-number", card),
        ("expiration-date", EXPIRY),
        ("security-code", CODE),
    ] {
        let view = capture(gateway, ends, payment, field, |_| How::Event).await;
        assert_eq!(view["status"], "complete", "{view}");
    }
}

/// An approved one.
async fn approved(gateway: &Gateway, ends: &Ends, call: &str, purpose: &str) -> String {
    let payment = keyed(gateway, ends, call, purpose, APPROVED).await;
    let ended = complete(gateway, &payment).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    payment
}

async fn operate(gateway: &Gateway, payment: &str, what: &str, body: Value) -> (u16, Value) {
    let path = format!("/v1/payments/{payment}/{what}");
    gateway.request("POST", &path, Some(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_set_aside_settled_in_part_refunded_in_part_and_none_of_it_is_forgotten() {
    let mut gateway = Gateway::start(Options::default()).await;
    let ends = play(&gateway, "aside").await;
    let payment = approved(&gateway, &ends, "aside", "authorise").await;
    let view = gateway.get(&format!("/v1/payments/{payment}")).await;
    assert_eq!(view["balance"]["standing"], "authorised", "{view}");

    let (status, view) = operate(&gateway, &payment, "settle", json!({ "amount": 9_000 })).await;
    assert_eq!(
        (status, &view["balance"]["settled_minor"]),
        (200, &json!(9_000)),
        "{view}"
    );
    let (status, view) = operate(&gateway, &payment, "void", json!({})).await;
    assert_eq!(status, 409, "{view}");
    assert!(
        view["detail"]
            .as_str()
            .unwrap()
            .contains("refund it instead"),
        "{view}"
    );

    // The processor refuses one, and keeps silent about another that it has done.
    let (status, view) = operate(&gateway, &payment, "refund", json!({ "amount": 402 })).await;
    assert_eq!(
        (status, &view["operations"][1]["state"]),
        (200, &json!("refused")),
        "{view}"
    );
    let reason = "the box was broken";
    let silent = json!({ "amount": 504, "reason": reason });
    let (status, view) = operate(&gateway, &payment, "refund", silent).await;
    assert_eq!(
        (status, &view["operations"][2]["state"]),
        (202, &json!("unknown")),
        "{view}"
    );
    assert_eq!(view["balance"]["refunding_minor"], 504, "{view}");
    let view = until(&gateway, &payment, |view| {
        view["operations"][2]["state"] == "done"
    })
    .await;
    assert_eq!(view["balance"]["refunded_minor"], 504, "{view}");
    assert_eq!(view["balance"]["standing"], "part-refunded", "{view}");

    gateway.kill();
    gateway.restart().await;
    let again = gateway.get(&format!("/v1/payments/{payment}")).await;
    for member in ["balance", "operations", "purpose"] {
        assert_eq!(again[member], view[member], "after a crash");
    }

    let config = gateway.config();
    let config = config.to_str().unwrap();
    let command = |args: &[&str]| {
        let (fine, said) = gateway.command(&[&["payments"], args, &["--config", config]].concat());
        assert!(fine, "{said}");
        said
    };
    let listed = command(&["list", "--state", "approved"]);
    assert!(
        listed.contains(&payment) && listed.contains("part-refunded"),
        "{listed}"
    );
    assert_eq!(
        command(&["list", "--state", "failed"]).trim(),
        "no such payment"
    );
    let shown = command(&["show", &payment]);
    for words in [
        "settled 90.00 EUR",
        "refunded 5.04 EUR",
        "ending in 4242",
        reason,
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let exported = command(&["export", "--since", "2020-01-01"]);
    let mut lines = exported.split("\r\n");
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("payment,created,state,standing"),
        "{exported}"
    );
    let row = lines.next().unwrap();
    assert!(
        row.starts_with(&payment) && row.contains(",100.00,EUR,90.00,5.04,of authorise,"),
        "{exported}"
    );
    assert_eq!(
        command(&["export", "--until", "2020-01-01"])
            .lines()
            .count(),
        1
    );

    let data = gateway.data();
    let data = data.to_str().unwrap();
    let (_, log) = gateway.command(&["audit", "show", "--data-dir", data, "--tenant", "default"]);
    assert_eq!(log.matches("operation-sending").count(), 3, "{log}");
    assert_eq!(log.matches("operation-result").count(), 4, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_are_found_and_each_role_moves_what_the_configuration_lets_it() {
    let mut gateway = Gateway::start(Options::default()).await;
    gateway.kill();
    gateway.edit_config(|text| {
        format!(
            "{text}\n[operations]\nagents = [\"refund\"]\n[operations.refund_limits]\nagents = {{ EUR = 5000 }}\n"
        )
    });
    gateway.restart().await;
    let ends = play(&gateway, "charged").await;
    let payment = approved(&gateway, &ends, "charged", "charge").await;
    let config = gateway.config();
    let config = config.to_str().unwrap();
    let key = |role: &str| {
        let create = ["keys", "create", "--role", role, "--label", role, "--json"];
        let (fine, made) = gateway.command(&[&create[..], &["--config", config]].concat());
        assert!(fine, "{made}");
        let made: Value = serde_json::from_str(&made).unwrap();
        made["secret"].as_str().unwrap().to_owned()
    };
    let (agent, supervisor) = (key("agent"), key("supervisor"));
    let by = async |key: &str, once: &str, what: &str, body: Value| {
        let answer = gateway
            .http
            .post(format!("{}/v1/payments/{payment}/{what}", gateway.base))
            .bearer_auth(key)
            .header("Idempotency-Key", once)
            .json(&body);
        answer.send().await.unwrap().status().as_u16()
    };
    assert_eq!(by(&agent, "a", "void", json!({})).await, 403);
    assert_eq!(
        by(&agent, "b", "refund", json!({ "amount": 5001 })).await,
        403
    );
    assert_eq!(
        by(&agent, "c", "refund", json!({ "amount": 5000 })).await,
        200
    );
    for _ in 0..2 {
        assert_eq!(by(&supervisor, "d", "refund", json!({})).await, 200, "once");
    }
    let found = async |query: &str| {
        let found = gateway.get(&format!("/v1/payments?{query}")).await;
        found["payments"].as_array().unwrap().len()
    };
    assert_eq!(
        found("state=approved&last4=4242&reference=of%20charge").await,
        1
    );
    for nothing in [
        "state=failed",
        "last4=4241",
        "reference=x",
        "until=2020-01-01T00:00:00Z",
    ] {
        assert_eq!(found(nothing).await, 0, "{nothing}");
    }
    let view = gateway.get(&format!("/v1/payments/{payment}")).await;
    assert_eq!(view["balance"]["standing"], "refunded", "{view}");
    assert_eq!(view["operations"].as_array().unwrap().len(), 2, "{view}");
    let (status, _) = gateway.request("GET", "/v1/payments?limit=201", None).await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_card_is_not_sent_twice_on_a_call_and_no_call_tries_cards_without_end() {
    const STOLEN: &str = "4000000000009987";
    let gateway = Gateway::start(Options {
        more: "[limits]\nattempts_per_call = 3\n",
        ..Options::default()
    })
    .await;
    let ends = play(&gateway, "thief").await;
    let first = keyed(&gateway, &ends, "thief", "charge", STOLEN).await;
    let ended = complete(&gateway, &first).await;
    assert_eq!(
        ended["outcome"]["advice"]["advice"], "do-not-retry",
        "{ended}"
    );

    let second = keyed(&gateway, &ends, "thief", "charge", STOLEN).await;
    let declined = complete(&gateway, &second).await;
    assert_eq!(
        declined["outcome"]["code"], "barred_on_this_call",
        "{declined}"
    );
    assert_eq!(
        declined["outcome"]["advice"]["advice"], "other-card",
        "{declined}"
    );
    key_card(&gateway, &ends, &second, DECLINED).await;
    let declined = complete(&gateway, &second).await;
    assert_eq!(declined["outcome"]["code"], "card_declined", "{declined}");

    // The fourth try.
    key_card(&gateway, &ends, &second, APPROVED).await;
    let path = format!("/v1/payments/{second}/complete");
    let (status, refused) = gateway.request("POST", &path, Some(json!({}))).await;
    assert_eq!(
        (status, &refused["title"]),
        (429, &json!("As many charges were tried as may be")),
        "{refused}"
    );
    let view = gateway.get(&format!("/v1/payments/{second}")).await;
    assert_eq!(
        (&view["state"], &view["attempts"]),
        (&json!("open"), &json!(2)),
        "{view}"
    );
    let data = gateway.data();
    let data = data.to_str().unwrap();
    let (_, log) = gateway.command(&["audit", "show", "--data-dir", data, "--tenant", "default"]);
    assert!(log.contains("3 charges were tried on this call"), "{log}");

    // Another call may try both.
    let ends = play(&gateway, "owner").await;
    let third = keyed(&gateway, &ends, "owner", "charge", STOLEN).await;
    let ended = complete(&gateway, &third).await;
    assert_eq!(ended["outcome"]["code"], "lost_card", "{ended}");
    approved(&gateway, &ends, "owner", "charge").await;
}
