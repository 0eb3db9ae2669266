//! Settling, voiding and refunding: who may, and how often.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{Gateway, PAN, problem};
use crate::proto::{audit::Event, payment::OperationKind};

impl Gateway {
    fn operate(&self, key: &str, once: &str, path: &str, body: &Value) -> RequestBuilder {
        self.client
            .post(self.url(path))
            .bearer_auth(key)
            .header("Idempotency-Key", once)
            .json(body)
    }
}

#[tokio::test]
async fn a_supervisor_and_an_integration_settle_void_and_refund() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    for (n, key) in ["tw_supervisor", "tw_integration"].into_iter().enumerate() {
        for kind in ["settle", "void", "refund"] {
            let path = format!("/v1/payments/{id}/{kind}");
            let answer = gateway.operate(key, &format!("{kind}-{n}"), &path, &json!({}));
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let payment: Value = answer.json().await.unwrap();
            let last = payment["operations"].as_array().unwrap().last().unwrap();
            assert_eq!(
                (&last["kind"], &last["state"]),
                (&json!(kind), &json!("done"))
            );
        }
    }
    let orders = gateway.fake.lock().orders.clone();
    assert_eq!(orders.len(), 6);
    assert!(
        orders
            .iter()
            .all(|order| order.limits.is_none() && order.amount_minor.is_none())
    );
}

#[tokio::test]
async fn an_agent_does_what_the_configuration_says_up_to_its_limit_and_what_is_refused_is_on_record()
 {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let refund = format!("/v1/payments/{id}/refund");
    let body = json!({ "amount": 4999, "reason": "the box was broken" });
    let done = gateway
        .operate(super::AGENT, "r-1", &refund, &body)
        .send()
        .await;
    assert_eq!(done.unwrap().status(), StatusCode::OK);
    let order = gateway.fake.lock().orders.pop().unwrap();
    assert_eq!(order.kind, OperationKind::Refund);
    assert_eq!(order.amount_minor, Some(4999));
    assert_eq!(order.reason.as_deref(), Some("the box was broken"));
    assert_eq!(order.limits.unwrap()["EUR"], 5000);

    let body = json!({ "amount": 5001 });
    let refused = gateway
        .operate(super::AGENT, "r-2", &refund, &body)
        .send()
        .await;
    problem(refused.unwrap(), 403, "over-limit").await;
    for kind in ["settle", "void"] {
        let path = format!("/v1/payments/{id}/{kind}");
        let refused = gateway
            .operate(super::AGENT, kind, &path, &json!({}))
            .send()
            .await;
        problem(refused.unwrap(), 403, "role-refused").await;
    }
    let records = gateway.fake.lock().records.clone();
    let refusals: Vec<_> = records
        .iter()
        .filter_map(|(_, record)| match &record.event {
            Event::AccessRefused { action, .. } => Some(action.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        refusals,
        [
            "POST /v1/payments/{id}/refund",
            "POST /v1/payments/{id}/settle",
            "POST /v1/payments/{id}/void",
        ]
    );
    assert_eq!(
        gateway.fake.lock().orders.len(),
        1,
        "only the refund beyond the limit came through"
    );
}

#[tokio::test]
async fn nobody_else_moves_money() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let path = format!("/v1/payments/{id}/refund");
    for (key, status) in [
        ("tw_auditor", 403),
        ("tw_administrator", 403),
        ("tw_other", 404),
        ("tw_nobody", 401),
    ] {
        let answer = gateway
            .operate(key, "k", &path, &json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{key}");
    }
    assert!(gateway.fake.lock().orders.is_empty());
}

#[tokio::test]
async fn the_same_request_is_carried_out_once_and_another_under_its_key_is_refused() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let path = format!("/v1/payments/{id}/refund");
    let body = json!({ "amount": 100 });
    for _ in 0..3 {
        let answer = gateway
            .operate("tw_supervisor", "once", &path, &body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key("location"));
    }
    assert_eq!(gateway.fake.lock().orders.len(), 1);
    for (path, body) in [
        (path.clone(), json!({ "amount": 101 })),
        (format!("/v1/payments/{id}/void"), body.clone()),
    ] {
        let answer = gateway
            .operate("tw_supervisor", "once", &path, &body)
            .send()
            .await
            .unwrap();
        problem(answer, 422, "idempotency-conflict").await;
    }
    let bare = gateway
        .client
        .post(gateway.url(&path))
        .bearer_auth("tw_supervisor")
        .json(&body);
    problem(bare.send().await.unwrap(), 400, "idempotency-key").await;
    assert_eq!(gateway.fake.lock().orders.len(), 1);
}

#[tokio::test]
async fn what_is_open_is_answered_as_accepted_and_what_the_charge_does_not_allow_as_a_conflict() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let path = format!("/v1/payments/{id}/void");
    let body = json!({ "reason": "pending" });
    let answer = gateway
        .operate("tw_supervisor", "a", &path, &body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body = json!({ "reason": "voided before" });
    // A refusal frees the key.
    for _ in 0..2 {
        let answer = gateway
            .operate("tw_supervisor", "b", &path, &body)
            .send()
            .await
            .unwrap();
        let told = problem(answer, 409, "not-allowed").await;
        assert!(
            told["detail"].as_str().unwrap().contains("voided"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_used_does_nothing_and_no_card_number_comes_back() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let path = format!("/v1/payments/{id}/refund");
    for (n, body) in [
        json!({ "amount": -1 }),
        json!({ "amount": 1.5 }),
        json!({ "amount": PAN }),
        json!({ "reason": PAN }),
        json!({ "amount_minor": 5 }),
        json!([]),
    ]
    .iter()
    .enumerate()
    {
        let answer = gateway.operate("tw_supervisor", &format!("k{n}"), &path, body);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status().as_u16() / 100, 4, "{body}");
        assert!(!answer.text().await.unwrap().contains(PAN));
    }
    assert!(gateway.fake.lock().orders.is_empty());
}
