//! Which call a desktop's payments are for.

use super::*;
use crate::proto::audit::Event;

impl Gateway {
    /// The cookie of a panel's session, which may be an agent's own.
    pub(super) fn session(&self, secret: &str, agent: Option<&str>) -> String {
        self.fake
            .add_key(KeyKind::PanelSession, Role::Agent, "acme", secret);
        let mut inner = self.fake.lock();
        let row = inner.keys.last_mut().unwrap();
        row.agent = agent.map(|agent| agent.parse().unwrap());
        format!("tonewall={secret}")
    }

    /// A link that a program begins.
    pub(super) async fn new_link(&self, body: Value) -> String {
        let answer = self.post("/v1/links", &body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let link: Value = answer.json().await.unwrap();
        assert_eq!(
            location,
            format!("/v1/links/{}", link["id"].as_str().unwrap())
        );
        link["id"].as_str().unwrap().to_owned()
    }

    /// The code that was read out last.
    pub(super) fn heard(&self) -> String {
        let read = self.fake.lines.read.lock().unwrap();
        read.last().unwrap().1.into()
    }

    async fn by_panel(&self, session: &str, path: &str, body: &Value) -> reqwest::Response {
        let request = self.client.post(self.url(path)).json(body);
        let request = request
            .header("Cookie", format!("tonewall={session}"))
            .header("X-Tonewall", "panel")
            .header("Sec-Fetch-Site", "same-origin")
            .header("Idempotency-Key", format!("{body}"));
        request.send().await.unwrap()
    }

    /// Has a panel's session hear and type the code of a call.
    pub(super) async fn link_by_code(&self, session: &str, call: &str) {
        let link = self
            .by_panel(session, "/v1/links", &json!({"call": call}))
            .await;
        let link: Value = link.json().await.unwrap();
        assert_eq!(link["state"], "found");
        let path = format!("/v1/links/{}", link["id"].as_str().unwrap());
        let read = self
            .by_panel(session, &format!("{path}/read-out"), &json!({}))
            .await;
        assert_eq!(read.status(), 202);
        let typed = json!({"code": self.heard()});
        let confirmed = self
            .by_panel(session, &format!("{path}/confirm"), &typed)
            .await;
        let link: Value = confirmed.json().await.unwrap();
        assert_eq!(link["state"], "confirmed");
    }
}

#[tokio::test]
async fn a_panel_takes_no_payment_on_a_call_that_it_has_no_confirmed_link_to() {
    let gateway = Gateway::start();
    gateway.session("desk", None);
    let second = gateway.fake.add_call("acme", "call-3@pbx");
    let pay = |call: &str, reference: &str| {
        let mut body = new_payment(reference);
        body["call"] = json!(call);
        body
    };
    let refused = gateway
        .by_panel("desk", "/v1/payments", &pay("call-1@pbx", "a"))
        .await;
    problem(refused, 409, "link-unconfirmed").await;
    assert_eq!(gateway.fake.lock().created, 0);
    gateway.link_by_code("desk", "call-1@pbx").await;
    // The other call is still not its own, and neither is the call another desk's.
    let refused = gateway
        .by_panel("desk", "/v1/payments", &pay(&second.to_string(), "b"))
        .await;
    problem(refused, 409, "link-unconfirmed").await;
    gateway.session("other-desk", None);
    let refused = gateway
        .by_panel("other-desk", "/v1/payments", &pay("call-1@pbx", "c"))
        .await;
    problem(refused, 409, "link-unconfirmed").await;
    let taken = gateway
        .by_panel("desk", "/v1/payments", &pay("call-1@pbx", "d"))
        .await;
    assert_eq!(taken.status(), 201);
    // A program names the call and is believed.
    let taken = gateway.create("e", &pay(&second.to_string(), "e"));
    assert_eq!(taken.send().await.unwrap().status(), 201);
    // Nothing of the link outlives the call.
    gateway.fake.lines.end_all();
    let refused = gateway
        .by_panel("desk", "/v1/payments", &pay("call-1@pbx", "f"))
        .await;
    problem(refused, 409, "link-unconfirmed").await;
}

#[tokio::test]
async fn a_session_of_an_agents_own_finds_that_agents_call_and_a_claim_to_be_another_needs_the_code()
 {
    let gateway = Gateway::start();
    gateway.session("desk", Some("sip:470@pbx"));
    let state = async |body: Value| {
        let link = gateway.by_panel("desk", "/v1/links", &body).await;
        let link: Value = link.json().await.unwrap();
        link["state"].as_str().unwrap().to_owned()
    };
    // Of the two calls that the fake begins with, 470's is acme's and 471's another tenant's.
    assert_eq!(state(json!({})).await, "confirmed");
    assert_eq!(state(json!({"agent": "470@PBX"})).await, "confirmed");
    assert_eq!(state(json!({"agent": "470"})).await, "found");
    assert_eq!(state(json!({"call": "call-1@pbx"})).await, "found");
    assert_eq!(state(json!({"reference": "call-1@pbx"})).await, "found");
    assert_eq!(state(json!({"confirm": "code"})).await, "found");
    assert_eq!(state(json!({"agent": "471@pbx"})).await, "looking");
    gateway.fake.add_call("acme", "call-3@pbx");
    assert_eq!(state(json!({"agent": "472@pbx"})).await, "found");
    let who = gateway
        .client
        .get(gateway.url("/v1/session"))
        .header("Cookie", "tonewall=desk");
    let who: Value = who.send().await.unwrap().json().await.unwrap();
    assert_eq!(who["agent"], "470@pbx");
}

#[tokio::test]
async fn a_program_is_believed_where_one_call_fits_unless_it_asks_for_the_code() {
    let gateway = Gateway::start();
    for (body, state) in [
        (json!({"agent": "470"}), "confirmed"),
        (json!({"reference": "call-1@pbx"}), "confirmed"),
        (
            json!({"call": "call-1@pbx", "confirm": "match"}),
            "confirmed",
        ),
        (json!({"agent": "470", "confirm": "code"}), "found"),
        (json!({"agent": "999"}), "looking"),
    ] {
        let link = gateway.post("/v1/links", &body).send().await.unwrap();
        let link: Value = link.json().await.unwrap();
        assert_eq!(link["state"], state, "{body}");
        assert_eq!(link["call"].is_null(), state == "looking");
    }
    for body in [
        json!({}),
        json!({"agent": "470", "call": "call-1@pbx"}),
        json!({"agent": PAN}),
        json!({"agent": "a b"}),
        json!({"reference": "r", "confirm": "never"}),
        json!({"agents": "470"}),
        json!({"agent": 470}),
    ] {
        let answer = gateway.post("/v1/links", &body).send().await.unwrap();
        problem(answer, 422, "invalid-field").await;
    }
    let both = json!({"call": "call-1@pbx", "link": "x", "amount": 1, "currency": "EUR", "reference": "R"});
    let answer = gateway.create("k", &both).send().await.unwrap();
    problem(answer, 422, "invalid-field").await;
}

#[tokio::test]
async fn nobody_elses_link_can_be_seen_used_or_ended() {
    let gateway = Gateway::start();
    let link = gateway.new_link(json!({"call": "call-1@pbx"})).await;
    let path = format!("/v1/links/{link}");
    for stranger in ["tw_integration", "tw_other"] {
        let seen = gateway.client.get(gateway.url(&path)).bearer_auth(stranger);
        problem(seen.send().await.unwrap(), 404, "unknown-link").await;
        let ended = gateway
            .client
            .delete(gateway.url(&path))
            .bearer_auth(stranger);
        problem(ended.send().await.unwrap(), 404, "unknown-link").await;
        let paid = json!({"link": link, "amount": 1, "currency": "EUR", "reference": "R"});
        let paid = gateway
            .client
            .post(gateway.url("/v1/payments"))
            .bearer_auth(stranger)
            .header("Idempotency-Key", "k")
            .json(&paid);
        problem(paid.send().await.unwrap(), 404, "unknown-link").await;
    }
    assert_eq!(gateway.get(&path).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn three_wrong_codes_are_on_record_and_none_of_them_is() {
    let gateway = Gateway::start();
    let link = gateway
        .new_link(json!({"call": "call-1@pbx", "confirm": "code"}))
        .await;
    let read = gateway.post(&format!("/v1/links/{link}/read-out"), &json!({}));
    assert_eq!(read.send().await.unwrap().status(), 202);
    let right = gateway.heard();
    let wrong = if right == "0000" { "0001" } else { "0000" };
    let path = format!("/v1/links/{link}/confirm");
    for (status, slug) in [
        (422, "wrong-code"),
        (422, "wrong-code"),
        (409, "link-ended"),
    ] {
        let typed = gateway.post(&path, &json!({"code": wrong}));
        problem(typed.send().await.unwrap(), status, slug).await;
    }
    let late = gateway.post(&path, &json!({"code": right}));
    problem(late.send().await.unwrap(), 409, "link-ended").await;
    let inner = gateway.fake.lock();
    let refused = |event: &Event| matches!(event, Event::AccessRefused { action, .. } if action.contains("link"));
    let records: Vec<_> = inner
        .records
        .iter()
        .filter(|(_, record)| refused(&record.event))
        .collect();
    // One for the wrong codes and one for who came after the end: neither tells a code.
    assert!(!records.is_empty());
    let told = format!("{records:?}");
    assert!(!told.contains(&right) && !told.contains(wrong), "{told}");
}
