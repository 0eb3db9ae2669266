//! The event stream.

use super::*;
use crate::proto::id::PaymentId;

/// Reads a stream until what came holds `until`, and returns all of it.
pub(super) async fn read_until(response: &mut reqwest::Response, until: &str) -> String {
    let mut text = String::new();
    while !text.contains(until) {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await;
        match chunk
            .unwrap_or_else(|_| panic!("no {until:?} in {text:?}"))
            .unwrap()
        {
            Some(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            None => panic!("the stream ended without {until:?}: {text:?}"),
        }
    }
    text
}

fn touch(gateway: &Gateway, id: &str, name: &'static str) {
    let id: PaymentId = id.parse().unwrap();
    gateway.fake.change(name, &id, |_| {});
}

#[tokio::test]
async fn a_stream_tells_what_was_missed_and_then_what_comes() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    for name in ["step.2", "step.3", "step.4"] {
        touch(&gateway, &id, name);
    }
    let header = gateway.get("/v1/events").header("Last-Event-ID", "2");
    let query = gateway.get("/v1/events?last_event_id=2");
    let both = gateway
        .get("/v1/events?last_event_id=1")
        .header("Last-Event-ID", "2");
    for (name, request) in ["live.0", "live.1", "live.2"]
        .into_iter()
        .zip([header, query, both])
    {
        let mut response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let missed = read_until(&mut response, "step.4").await;
        assert!(
            !missed.contains("step.2") && missed.contains("id: 3\nevent: step.3"),
            "{missed}"
        );
        touch(&gateway, &id, name);
        let live = read_until(&mut response, name).await;
        let data = live
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["payment"]["id"], id);
    }
}

#[tokio::test]
async fn without_a_number_only_what_comes_is_told() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let mut response = gateway.get("/v1/events").send().await.unwrap();
    let hello = read_until(&mut response, "\n\n").await;
    assert!(hello.contains("retry: 2000"), "{hello}");
    touch(&gateway, &id, "live");
    assert!(
        !read_until(&mut response, "event: live")
            .await
            .contains("payment.created")
    );
}

#[tokio::test]
async fn what_can_no_longer_be_replayed_is_a_reset() {
    let mut fake = Fake::new();
    fake.oldest = 5;
    let gateway = Gateway::start_with(fake, |_| {});
    let mut response = gateway
        .get("/v1/events?last_event_id=3")
        .send()
        .await
        .unwrap();
    read_until(&mut response, "event: reset").await;
    for bad in ["-1", "x", PAN, "1.5", "99999999999999999999999"] {
        let refused = gateway
            .get("/v1/events")
            .header("Last-Event-ID", bad)
            .send()
            .await
            .unwrap();
        if bad == PAN {
            assert_eq!(refused.status(), 200);
        } else {
            problem(refused, 400, "malformed-query").await;
        }
    }
}

#[tokio::test]
async fn a_reader_that_fell_behind_is_told_to_start_anew() {
    let gateway = Gateway::start();
    let id = gateway.payment("INV-1").await;
    let mut response = gateway.get("/v1/events").send().await.unwrap();
    read_until(&mut response, "\n\n").await;
    // No await in between: the reader cannot keep up with what holds 64.
    for _ in 0..200 {
        touch(&gateway, &id, "burst");
    }
    read_until(&mut response, "event: reset").await;
    touch(&gateway, &id, "after");
    read_until(&mut response, "event: after").await;
}

#[tokio::test]
async fn a_stream_tells_only_its_own_tenants_and_its_own_payments_events() {
    let gateway = Gateway::start();
    let mine = gateway.payment("INV-1").await;
    let stranger = json!({"call": "call-2@pbx", "amount": 1, "currency": "EUR", "reference": "B"});
    let made = gateway
        .client
        .post(gateway.url("/v1/payments"))
        .bearer_auth("tw_other")
        .header("Idempotency-Key", "b")
        .json(&stranger)
        .send();
    let theirs = made.await.unwrap().json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = gateway.payment("INV-2").await;

    let mut all = gateway
        .get("/v1/events?last_event_id=0")
        .send()
        .await
        .unwrap();
    let path = format!("/v1/payments/{mine}/events?last_event_id=0");
    let mut one = gateway.get(&path).send().await.unwrap();
    touch(&gateway, &theirs, "theirs");
    touch(&gateway, &second, "second");
    touch(&gateway, &mine, "last");
    let all = read_until(&mut all, "event: last").await;
    assert!(!all.contains(&theirs) && all.contains(&second), "{all}");
    let one = read_until(&mut one, "event: last").await;
    assert!(
        one.contains(&mine) && !one.contains(&second) && !one.contains(&theirs),
        "{one}"
    );
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_and_a_revoked_keys_stream_ends() {
    let gateway = Gateway::start_with(Fake::new(), |settings| {
        settings.heartbeat = Duration::from_millis(50);
    });
    let mut response = gateway.get("/v1/events").send().await.unwrap();
    read_until(&mut response, "\n\n").await;
    read_until(&mut response, ":").await;
    for row in &mut gateway.fake.lock().keys {
        row.revoked = Some(jiff::Timestamp::now());
    }
    let ended = tokio::time::timeout(PATIENCE, async {
        while response.chunk().await.unwrap().is_some() {}
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn at_shutdown_streams_end_whole_and_the_server_returns() {
    let mut gateway = Gateway::start();
    let mut response = gateway.get("/v1/events").send().await.unwrap();
    read_until(&mut response, "\n\n").await;
    gateway.stop.take().unwrap().send(()).unwrap();
    // A whole ending, not a connection that broke off.
    let ended = tokio::time::timeout(PATIENCE, async {
        while response.chunk().await.unwrap().is_some() {}
    });
    ended.await.unwrap();
    let served = tokio::time::timeout(PATIENCE, gateway.served)
        .await
        .unwrap();
    served.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let gateway = Gateway::start_with(Fake::new(), |settings| {
        settings.connections = 1;
        settings.stall_timeout = Duration::from_millis(300);
    });
    // With one connection in all, the next is served only once this one has been taken away.
    let payment = gateway.fake.add_payment("acme");
    let head =
        format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {AGENT}\r\n\r\n");
    let (stuck, answer) = raw(&gateway, &head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        assert!(tokio::time::Instant::now() < until, "it keeps its place");
        // More than the buffers of both ends hold.
        for _ in 0..60 {
            gateway.fake.change("payment.updated", &payment, |payment| {
                payment.advice = "x".repeat(50_000);
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (_, answer) = raw(&gateway, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    drop(stuck);
}

#[tokio::test]
async fn one_key_has_a_quarter_of_the_connections_as_streams() {
    let gateway = Gateway::start_with(Fake::new(), |settings| settings.connections = 8);
    let mut first = gateway.get("/v1/events").send().await.unwrap();
    let second = gateway.get("/v1/events").send().await.unwrap();
    let third = gateway.get("/v1/events").send().await.unwrap();
    assert!(third.headers().contains_key("retry-after"));
    let refused = problem(third, 503, "overloaded").await;
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("has 2 event streams open"),
        "{refused}"
    );
    let others = gateway.client.get(gateway.url("/v1/events"));
    let other = others.bearer_auth("tw_integration").send().await.unwrap();
    assert_eq!(other.status(), 200);
    // An ended stream gives its place back.
    drop(second);
    let until = tokio::time::Instant::now() + PATIENCE;
    while gateway.get("/v1/events").send().await.unwrap().status() != 200 {
        assert!(tokio::time::Instant::now() < until, "no place came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    read_until(&mut first, "\n\n").await;
}
