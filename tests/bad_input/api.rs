//! Requests of the API that cannot be used.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Healthy,
    common::{APPROVED, Gateway, PATIENCE},
};

pub(crate) async fn is_refused_in_words(gateway: &Gateway, healthy: &Healthy) {
    let good =
        json!({"call": healthy.plain.id, "amount": 1250, "currency": "EUR", "reference": "R"});
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body.to_string()
    };
    let without = |member: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(member);
        body.to_string()
    };
    let pan = APPROVED;
    let create: Vec<(String, u16, &str)> = vec![
        (
            String::new(),
            400,
            "the body is empty; expected an object with call, link, amount",
        ),
        ("{".into(), 400, "ends too early, at line 1, column 1"),
        (
            "{\"call\": call}".into(),
            400,
            "cannot be read at line 1, column 10",
        ),
        ("[".repeat(5_000), 400, "JSON"),
        ("\u{feff}{}".into(), 400, "line 1"),
        ("[]".into(), 422, "the body is an array; expected an object"),
        ("null".into(), 422, "the body is null; expected an object"),
        ("x".repeat(20_000), 413, "larger than 16384 bytes"),
        (
            without("call"),
            422,
            "`call` is missing; expected the id of a call",
        ),
        (
            without("amount"),
            422,
            "`amount` is missing; expected an integer of minor units",
        ),
        (
            without("currency"),
            422,
            "`currency` is missing; expected three letters",
        ),
        (
            without("reference"),
            422,
            "`reference` is missing; expected your own reference",
        ),
        (
            with("call", json!(7)),
            422,
            "`call` is a number; expected text",
        ),
        (
            with("call", json!("nobody")),
            404,
            "GET /v1/calls lists those that are",
        ),
        (with("amount", json!(-1)), 422, "`amount` is negative"),
        (
            with("amount", json!(12.5)),
            422,
            "has a fraction; expected an integer",
        ),
        (with("amount", json!(0)), 422, "expected 1 to"),
        (
            with("amount", json!("12,50")),
            422,
            "text but not digits only",
        ),
        (with("amount", json!([])), 422, "`amount` is an array"),
        (with("amount", json!(99_999_999_999_u64)), 422, "amount"),
        (
            with("currency", json!("euro")),
            422,
            "not a currency code; expected three letters",
        ),
        (
            with("currency", json!("ZZZ")),
            422,
            "expected an ISO 4217 code",
        ),
        (
            with("reference", json!("")),
            422,
            "`reference` is empty; fill it",
        ),
        (
            with("reference", json!("a\u{0}b")),
            422,
            "control characters",
        ),
        (
            with("reference", json!(format!("INV {pan}"))),
            422,
            "could be a card number",
        ),
        (
            with("description", json!({})),
            422,
            "`description` is an object; expected text",
        ),
        (
            with("fields", json!("all")),
            422,
            "`fields` is text; expected an array",
        ),
        (
            with("fields", json!(["pin"])),
            422,
            "names no field; expected payment-card-number",
        ),
        (
            with("leg", json!(1)),
            422,
            "`leg` is a number; expected text",
        ),
        (
            with("ammount", json!(1)),
            422,
            "`ammount` is not known here; expected only call, link, amount",
        ),
    ];
    let post = |path: &str, body: String| {
        let request = gateway
            .http
            .post(format!("{}{path}", gateway.base))
            .bearer_auth(&gateway.secret);
        request
            .header("Content-Type", "application/json")
            .body(body)
    };
    let payments = gateway
        .get(&format!("/v1/payments?call={}", healthy.armed.id))
        .await;
    let payment = payments["payments"][0]["id"].as_str().unwrap().to_owned();
    let mut requests = Vec::new();
    for (number, (body, status, words)) in create.into_iter().enumerate() {
        let request = post("/v1/payments", body).header("Idempotency-Key", format!("bad-{number}"));
        requests.push((request, status, words));
    }
    let capture = format!("/v1/payments/{payment}/capture");
    let url = |path: &str| format!("{}{path}", gateway.base);
    let get = |path: &str| gateway.http.get(url(path)).bearer_auth(&gateway.secret);
    requests.extend([
        (
            post("/v1/payments", good.to_string()),
            400,
            "Idempotency-Key is missing",
        ),
        (
            post("/v1/payments", good.to_string()).header("Idempotency-Key", "a b"),
            400,
            "without spaces",
        ),
        (post(&capture, "{}".into()), 422, "`field` is missing"),
        (
            post(&capture, "{\"field\": \"pin\"}".into()),
            422,
            "names no field; expected payment-card-number",
        ),
        (
            post("/v1/payments/nonsense/capture", "{}".into()),
            404,
            "GET /v1/payments lists them",
        ),
        (
            post(&format!("/v1/payments/{payment}/complete"), String::new()),
            409,
            "still missing: payment-card-number",
        ),
        (get("/v1/payments/pay_x"), 404, "no id of a payment"),
        (get("/v1/calls/%ff%fe"), 404, "no such call is up"),
        (
            get("/v1/payments?call=a&call=b"),
            400,
            "the query cannot be read; expected",
        ),
        (get("/v1/elsewhere"), 404, ""),
        (
            gateway
                .http
                .delete(url("/v1/payments"))
                .bearer_auth(&gateway.secret),
            405,
            "",
        ),
        (
            gateway.http.get(url("/v1/calls")),
            401,
            "Authorization: Bearer",
        ),
        (
            gateway.http.get(url("/v1/calls")).bearer_auth("tw_wrong"),
            401,
            "tonewall keys",
        ),
        (
            gateway
                .http
                .post(url("/v1/payments"))
                .bearer_auth(&gateway.secret)
                .header("Idempotency-Key", "t")
                .body("a=b"),
            415,
            "send `Content-Type: application/json`",
        ),
    ]);
    for (request, status, words) in requests {
        let answer = request.send().await.unwrap();
        let found = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let body = answer.text().await.unwrap();
        assert_eq!(found, status, "expected {words:?}: {body}");
        assert_eq!(kind.unwrap(), "application/problem+json", "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "expected {words:?}: {body}"
        );
        assert!(!body.contains(pan), "the card number is repeated");
    }
    // What is no HTTP at all.
    let address = gateway.base.strip_prefix("http://").unwrap();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("the connection is ended").unwrap();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}
