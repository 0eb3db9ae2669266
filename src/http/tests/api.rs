//! Calls and payments, and every refusal.

use super::*;

#[tokio::test]
async fn a_payment_goes_from_creation_to_its_end() {
    let gateway = Gateway::start();
    let calls: Value = gateway
        .get("/v1/calls")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        calls["calls"].as_array().unwrap().len(),
        1,
        "another tenant's call shows"
    );
    let id = calls["calls"][0]["id"].as_str().unwrap();
    for name in [id, "call-1@pbx", "call-1%40pbx"] {
        let call = gateway
            .get(&format!("/v1/calls/{name}"))
            .send()
            .await
            .unwrap();
        assert_eq!(call.json::<Value>().await.unwrap()["id"], id);
    }

    let response = gateway
        .create("k", &new_payment("INV-1"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let payment: Value = response.json().await.unwrap();
    assert_eq!(payment["amount_minor"], 1250);
    assert_eq!(
        location,
        format!("/v1/payments/{}", payment["id"].as_str().unwrap())
    );
    let got: Value = gateway
        .get(&location)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(got, payment);

    let field = json!({"field": "security-code"});
    let response = gateway
        .post(&format!("{location}/capture"), &field)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(
        response.json::<Value>().await.unwrap()["capturing"],
        "security-code"
    );

    let complete = gateway
        .post(&format!("{location}/complete"), &json!({}))
        .send()
        .await;
    let missing = problem(complete.unwrap(), 409, "fields-missing").await;
    assert_eq!(missing["fields"].as_array().unwrap().len(), 3);
    assert!(
        missing["detail"]
            .as_str()
            .unwrap()
            .contains("payment-card-number")
    );

    let cancel = format!("{location}/cancel");
    assert_eq!(
        gateway
            .post(&cancel, &json!({}))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    problem(
        gateway.post(&cancel, &json!({})).send().await.unwrap(),
        409,
        "wrong-state",
    )
    .await;

    let listed = gateway
        .get("/v1/payments?call=call-1@pbx")
        .send()
        .await
        .unwrap();
    assert_eq!(
        listed.json::<Value>().await.unwrap()["payments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_charge_that_is_still_under_way_is_answered_with_202() {
    let gateway = Gateway::start();
    let id = gateway.payment("submitting").await;
    let path = format!("/v1/payments/{id}/complete");
    let response = gateway
        .client
        .post(gateway.url(&path))
        .bearer_auth(AGENT)
        .send()
        .await;
    assert_eq!(response.unwrap().status(), 202);
}

#[tokio::test]
async fn an_amount_is_an_integer_or_a_string_of_digits_and_nothing_else() {
    let gateway = Gateway::start();
    for (n, good) in [json!(1), json!(1250), json!("1250"), json!("007")]
        .iter()
        .enumerate()
    {
        let mut body = new_payment("x");
        body["amount"] = good.clone();
        let response = gateway
            .create(&format!("k{n}"), &body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201, "{good}");
    }
    for bad in [
        json!(12.5),
        json!(1250.0),
        json!(-1),
        json!(0),
        json!("12.50"),
        json!("12,50"),
        json!(""),
        json!("+5"),
        json!(" 5"),
        json!("1e3"),
        json!(true),
        json!([1]),
        json!(null),
        json!(4_242_424_242_424_242_u64),
        json!(PAN),
        json!("٤٢"),
    ] {
        let mut body = new_payment("x");
        body["amount"] = bad.clone();
        let response = gateway.create("k", &body).send().await.unwrap();
        let refused = problem(response, 422, "invalid-field").await;
        assert_eq!(refused["member"], "amount", "{bad}");
    }
}

#[tokio::test]
async fn every_unusable_body_is_told_apart_and_none_comes_back() {
    let gateway = Gateway::start();
    let send = |body: String| {
        gateway
            .client
            .post(gateway.url("/v1/payments"))
            .bearer_auth(AGENT)
            .header("Idempotency-Key", "k")
            .header("Content-Type", "application/json; charset=utf-8")
            .body(body)
            .send()
    };
    for (body, at) in [
        (format!("{{\"amount\": {PAN},\n oops}}"), "line 2, column 2"),
        (format!("{{\"call\": \"{PAN}"), "ends too early, at line 1"),
        (String::new(), "empty"),
        ("\u{0}".into(), "line 1"),
        ("[".repeat(10_000), "line 1"),
    ] {
        let refused = problem(send(body).await.unwrap(), 400, "malformed-json").await;
        assert!(
            refused["detail"].as_str().unwrap().contains(at),
            "{refused}"
        );
    }
    for (member, value, slug) in [
        ("reference", json!("4242-4242 4242.4242"), "card-digits"),
        ("reference", json!(PAN), "card-digits"),
        ("description", json!(format!("card {PAN}")), "card-digits"),
        (
            "reference",
            json!(4_242_424_242_424_242_u64),
            "invalid-field",
        ),
        ("reference", json!(""), "invalid-field"),
        ("reference", json!("x".repeat(300)), "invalid-field"),
        ("reference", json!("a\u{7}b"), "invalid-field"),
        ("currency", json!(PAN), "invalid-field"),
        ("currency", json!("eur"), "invalid-field"),
        ("call", json!(null), "invalid-field"),
        ("fields", json!([PAN]), "invalid-field"),
        ("fields", json!("security-code"), "invalid-field"),
        (PAN, json!(1), "invalid-field"),
        ("ammount", json!(1), "invalid-field"),
    ] {
        let mut body = new_payment("x");
        body[member] = value;
        let refused = problem(send(body.to_string()).await.unwrap(), 422, slug).await;
        assert!(!refused.to_string().contains("4242"), "{refused}");
    }
    problem(send("[1]".into()).await.unwrap(), 422, "invalid-field").await;
    assert_eq!(gateway.fake.lock().created, 0);
    assert!(
        gateway.fake.lock().idempotency.is_empty(),
        "a refused body must not use up the key"
    );
}

#[tokio::test]
async fn an_unknown_call_with_card_digits_is_refused_without_them() {
    let gateway = Gateway::start();
    let mut body = new_payment("x");
    body["call"] = json!(PAN);
    problem(
        gateway.create("k", &body).send().await.unwrap(),
        404,
        "unknown-call",
    )
    .await;
    for path in [format!("/v1/calls/{PAN}"), "/v1/calls/%ff".into()] {
        problem(
            gateway.get(&path).send().await.unwrap(),
            404,
            "unknown-call",
        )
        .await;
    }
    for path in [PAN, "pay_acme_n1_01JD0000000000000000000000", "%ff"] {
        let response = gateway
            .get(&format!("/v1/payments/{path}"))
            .send()
            .await
            .unwrap();
        problem(response, 404, "unknown-payment").await;
    }
}

#[tokio::test]
async fn every_refusal_of_the_payments_has_its_status_and_kind() {
    let gateway = Gateway::start();
    for (reference, status, slug) in [
        ("wrong-leg", 422, "wrong-leg"),
        ("caller-unknown", 422, "caller-unknown"),
        ("has-payment", 409, "call-has-payment"),
        ("cannot-arm", 409, "cannot-arm"),
        ("invalid", 422, "invalid-field"),
        ("draining", 503, "draining"),
        ("not-recordable", 503, "not-recordable"),
        ("overloaded", 503, "overloaded"),
    ] {
        // The same key each time: a refusal frees it.
        let response = gateway
            .create("one", &new_payment(reference))
            .send()
            .await
            .unwrap();
        let refused = problem(response, status, slug).await;
        assert_eq!(refused["payment"].is_string(), reference == "has-payment");
    }
}

#[tokio::test]
async fn what_the_router_refuses_is_a_problem_too() {
    let gateway = Gateway::start();
    let nowhere = gateway
        .get(&format!("/nowhere/{PAN}"))
        .send()
        .await
        .unwrap();
    problem(nowhere, 404, "not-found").await;
    let put = gateway
        .client
        .put(gateway.url("/v1/payments"))
        .send()
        .await
        .unwrap();
    let allow = put.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    problem(put, 405, "method-not-allowed").await;
    let plain = gateway
        .client
        .post(gateway.url("/v1/payments"))
        .bearer_auth(AGENT)
        .header("Idempotency-Key", "k")
        .body("{}")
        .send();
    problem(plain.await.unwrap(), 415, "media-type").await;
    let query = gateway
        .get("/v1/payments?call=a&call=b")
        .send()
        .await
        .unwrap();
    problem(query, 400, "malformed-query").await;
}

#[tokio::test]
async fn a_request_sent_twice_makes_one_payment() {
    let gateway = Gateway::start();
    let first = gateway
        .create("same", &new_payment("A"))
        .send()
        .await
        .unwrap();
    let first = first.text().await.unwrap();
    let again = gateway
        .create("same", &new_payment("A"))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert!(again.headers().contains_key("location"));
    assert_eq!(again.text().await.unwrap(), first);
    let other = gateway
        .create("same", &new_payment("B"))
        .send()
        .await
        .unwrap();
    problem(other, 422, "idempotency-conflict").await;
    assert_eq!(gateway.fake.lock().created, 1);

    // Of two at once one is carried out, and the other is told so while it lasts.
    let payment = new_payment("slow");
    let mut race = tokio::task::JoinSet::new();
    race.spawn(gateway.create("race", &payment).send());
    race.spawn(gateway.create("race", &payment).send());
    let first = race.join_next().await.unwrap().unwrap().unwrap();
    problem(first, 409, "idempotency-in-progress").await;
    gateway.fake.slow.add_permits(1);
    let second = race.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(second.status(), 201);
    assert_eq!(gateway.fake.lock().created, 2);
}

#[tokio::test]
async fn an_idempotency_key_is_needed_and_is_not_kept_as_it_came() {
    let gateway = Gateway::start();
    let none = gateway
        .post("/v1/payments", &new_payment("x"))
        .send()
        .await
        .unwrap();
    problem(none, 400, "idempotency-key").await;
    for bad in ["a b", "", &"x".repeat(256)] {
        let response = gateway.create(bad, &new_payment("x")).send().await.unwrap();
        problem(response, 400, "idempotency-key").await;
    }
    assert_eq!(
        gateway
            .create(PAN, &new_payment("x"))
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    assert!(
        gateway
            .fake
            .lock()
            .idempotency
            .keys()
            .all(|key| !key.contains(PAN))
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_its_payment_half_way() {
    let gateway = Gateway::start();
    let slow = tokio::spawn(gateway.create("k", &new_payment("slow")).send());
    until("begun", || !gateway.fake.lock().idempotency.is_empty()).await;
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    gateway.fake.slow.add_permits(1);
    until("kept", || {
        let inner = gateway.fake.lock();
        inner
            .idempotency
            .values()
            .all(|(_, answer)| answer.is_some())
    })
    .await;
    let again = gateway
        .create("k", &new_payment("slow"))
        .send()
        .await
        .unwrap();
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(gateway.fake.lock().created, 1);
}

#[tokio::test]
async fn a_panic_is_answered_without_its_words() {
    let gateway = Gateway::start();
    let response = gateway
        .create("k", &new_payment("panic"))
        .send()
        .await
        .unwrap();
    problem(response, 500, "internal").await;
    assert_eq!(gateway.get("/v1/calls").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn another_tenants_payment_is_not_there() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    for path in [
        format!("/v1/payments/{id}"),
        format!("/v1/payments/{id}/events"),
    ] {
        let stranger = gateway
            .client
            .get(gateway.url(&path))
            .bearer_auth("tw_other");
        problem(stranger.send().await.unwrap(), 404, "unknown-payment").await;
    }
    for action in ["capture", "complete", "cancel"] {
        let stranger = gateway
            .client
            .post(gateway.url(&format!("/v1/payments/{id}/{action}")))
            .json(&json!({"field": "security-code"}))
            .bearer_auth("tw_other");
        problem(stranger.send().await.unwrap(), 404, "unknown-payment").await;
    }
}
