//! An agent's desktop finds its call, as panels and programs meet it: over real calls, of which the code that
//! is read out is heard at the agent's end.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::time::Duration;

use common::{Ends, Gateway, How, Options, play_with};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

const DIGITS: [&[u8]; 10] = [
    include_bytes!("../fixtures/voice/0.ulaw"),
    include_bytes!("../fixtures/voice/1.ulaw"),
    include_bytes!("../fixtures/voice/2.ulaw"),
    include_bytes!("../fixtures/voice/3.ulaw"),
    include_bytes!("../fixtures/voice/4.ulaw"),
    include_bytes!("../fixtures/voice/5.ulaw"),
    include_bytes!("../fixtures/voice/6.ulaw"),
    include_bytes!("../fixtures/voice/7.ulaw"),
    include_bytes!("../fixtures/voice/8.ulaw"),
    include_bytes!("../fixtures/voice/9.ulaw"),
];

/// The digits that an end has heard, in their order: PCMU carries the recordings sample for sample.
async fn digits(got: &Mutex<Vec<Vec<u8>>>) -> String {
    let got = got.lock().await;
    let audio = got.iter().filter(|packet| packet[1] & 0x7f == 0);
    // Both zeros of mu-law sound alike, and one of them does not survive being decoded and encoded.
    let plain = |byte: &u8| if *byte == 0x7f { 0xff } else { *byte };
    let heard: Vec<u8> = audio.flat_map(|p| p[12..].iter().map(plain)).collect();
    let mut found = Vec::new();
    for (digit, recording) in DIGITS.iter().enumerate() {
        let recording: Vec<u8> = recording.iter().map(plain).collect();
        let places = heard.windows(recording.len()).enumerate();
        found.extend(
            places
                .filter(|(_, window)| *window == recording)
                .map(|(place, _)| (place, digit)),
        );
    }
    found.sort_unstable();
    found.iter().map(|(_, digit)| digit.to_string()).collect()
}

/// What an end hears once it was read a code.
async fn code_heard_by(ends: &Ends) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let heard = digits(&ends.agent_got).await;
        if let Some((first, second)) = heard.split_at_checked(4)
            && second.len() == 4
        {
            assert_eq!(first, second, "it is said twice");
            return first.to_owned();
        }
        assert!(Instant::now() < until, "the agent has heard {heard:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The panel, as its page speaks to the gateway.
struct Panel<'a> {
    gateway: &'a Gateway,
    cookie: String,
}

impl<'a> Panel<'a> {
    async fn enter(gateway: &'a Gateway, agent: &[&str]) -> Self {
        let config = gateway.config();
        let config = config.to_str().unwrap();
        let arguments = [&["keys", "panel", "--config", config, "--json"], agent].concat();
        let (done, said) = gateway.command(&arguments);
        assert!(done, "{said}");
        let said: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        let straight = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let entered = straight
            .get(said["link"].as_str().unwrap())
            .header("Sec-Fetch-Site", "none")
            .send()
            .await
            .unwrap();
        let cookie = entered.headers()["set-cookie"].to_str().unwrap();
        Self {
            gateway,
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self
            .gateway
            .http
            .request(
                method.parse().unwrap(),
                format!("{}{path}", self.gateway.base),
            )
            .header("Cookie", &self.cookie)
            .header("X-Tonewall", "panel")
            .header("Sec-Fetch-Site", "same-origin")
            .header("Idempotency-Key", format!("{path}{body}"))
            .json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn pay(&self, call: &str) -> (u16, Value) {
        let body = json!({"call": call, "amount": 1250, "currency": "EUR", "reference": call});
        self.ask("POST", "/v1/payments", body).await
    }
}

fn slug(problem: &Value) -> &str {
    problem["type"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_an_agents_own_takes_payments_on_that_agents_call_and_on_no_other() {
    let gateway = Gateway::start(Options::default()).await;
    let panel = Panel::enter(&gateway, &["--agent", "4711"]).await;
    let (_, who) = panel.ask("GET", "/v1/session", Value::Null).await;
    assert_eq!(who["agent"], "4711");
    let (status, link) = panel.ask("POST", "/v1/links", json!({})).await;
    assert_eq!((status, &link["state"]), (201, &json!("looking")), "{link}");
    let agent = |address: &str| json!({"tonewall-agent": address});
    let own = play_with(&gateway, "own", "offerer", agent("sip:4711@pbx.example")).await;
    let _others = play_with(&gateway, "others", "offerer", agent("sip:4712@pbx.example")).await;
    let path = format!("/v1/links/{}", link["id"].as_str().unwrap());
    let (_, link) = panel.ask("GET", &path, Value::Null).await;
    assert_eq!(
        (&link["state"], &link["call"]),
        (&json!("confirmed"), &json!(own.id)),
        "{link}"
    );
    let (status, problem) = panel.pay("others").await;
    assert_eq!(
        (status, slug(&problem)),
        (409, "link-unconfirmed"),
        "{problem}"
    );
    let (status, payment) = panel.pay("own").await;
    assert_eq!(
        (status, &payment["armed"]),
        (201, &json!(true)),
        "{payment}"
    );
    let (status, _) = panel
        .ask(
            "POST",
            &format!("/v1/payments/{}/cancel", payment["id"].as_str().unwrap()),
            json!({}),
        )
        .await;
    assert_eq!(status, 200);
    own.hang_up(&gateway).await;
    let (_, link) = panel.ask("GET", &path, Value::Null).await;
    assert_eq!(link["state"], "ended", "{link}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_code_that_the_agent_hears_tells_which_of_two_calls_it_is() {
    let gateway = Gateway::start(Options::default()).await;
    let same = json!({"tonewall-agent": "sip:4711@pbx.example"});
    let first = play_with(&gateway, "first", "offerer", same.clone()).await;
    let second = play_with(&gateway, "second", "offerer", same).await;
    let panel = Panel::enter(&gateway, &["--agent", "sip:4711@pbx.example"]).await;
    let (_, link) = panel.ask("POST", "/v1/links", json!({})).await;
    assert_eq!(
        (&link["state"], &link["candidates"]),
        (&json!("several"), &json!(2)),
        "{link}"
    );
    let path = format!("/v1/links/{}", link["id"].as_str().unwrap());
    let (status, link) = panel
        .ask("POST", &format!("{path}/read-out"), json!({}))
        .await;
    assert_eq!((status, &link["state"]), (202, &json!("reading")), "{link}");
    let codes = [code_heard_by(&first).await, code_heard_by(&second).await];
    assert_ne!(codes[0], codes[1]);
    let typed = json!({"code": codes[1]});
    let (_, link) = panel.ask("POST", &format!("{path}/confirm"), typed).await;
    assert_eq!(
        (&link["state"], &link["call"]),
        (&json!("confirmed"), &json!(second.id)),
        "{link}"
    );
    assert_eq!(panel.pay("first").await.0, 409);
    assert_eq!(panel.pay("second").await.0, 201);
    // No caller has heard anything of it, and each is heard again: this call's keys pass.
    for ends in [&first, &second] {
        assert_eq!(digits(&ends.caller_got).await, "");
    }
    let before = first.agent_got.lock().await.len();
    first.key("5", |_| How::Event).await;
    first.until_heard(20).await;
    let got = first.agent_got.lock().await;
    assert!(got[before..].iter().any(|packet| packet[1] & 0x7f == 101));
    drop(got);
    let log = gateway.log();
    assert!(
        codes
            .iter()
            .all(|code| !log.contains(&format!("\"{code}\"")))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_picks_a_call_from_the_list_has_to_hear_it() {
    let gateway = Gateway::start(Options::default()).await;
    let ends = play_with(&gateway, "picked", "offerer", json!({})).await;
    let panel = Panel::enter(&gateway, &[]).await;
    let (_, link) = panel
        .ask("POST", "/v1/links", json!({"call": "picked"}))
        .await;
    assert_eq!(link["state"], "found", "{link}");
    assert_eq!(panel.pay("picked").await.0, 409);
    let path = format!("/v1/links/{}", link["id"].as_str().unwrap());
    panel
        .ask("POST", &format!("{path}/read-out"), json!({}))
        .await;
    let code = code_heard_by(&ends).await;
    // A guess is one of three.
    let wrong = if code == "0000" { "0001" } else { "0000" };
    let confirm = format!("{path}/confirm");
    let (status, problem) = panel.ask("POST", &confirm, json!({"code": wrong})).await;
    assert_eq!((status, slug(&problem)), (422, "wrong-code"), "{problem}");
    let (status, _) = panel.ask("POST", &confirm, json!({"code": code})).await;
    assert_eq!(status, 200);
    assert_eq!(panel.pay("picked").await.0, 201);
    // A program names it and is believed.
    let refused = gateway
        .request(
            "POST",
            "/v1/payments",
            Some(json!({"call": "picked", "amount": 1, "currency": "EUR", "reference": "R"})),
        )
        .await;
    assert_eq!(refused.0, 409, "the call has its payment: {}", refused.1);
    assert_eq!(slug(&refused.1), "call-has-payment");
}
