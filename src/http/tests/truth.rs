//! The document against the listener: each status and each refusal that it names occurs at that
//! address, and none occurs that it does not name.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder, Response};

use super::{document::document, fake::Keys, *};
use crate::{http::Slug, proto::id::PaymentId};

/// `POST /v1/payments 201`, or `POST /v1/payments 409 wrong-state`.
type Answers = BTreeSet<String>;

/// What the document promises.
fn promised() -> Answers {
    let mut promised = Answers::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            for (status, response) in operation["responses"].as_object().unwrap() {
                if response["content"]["application/problem+json"].is_null() {
                    promised.insert(format!("{name} {status}"));
                    continue;
                }
                let words = response["description"].as_str().unwrap().split('`');
                let slugs = words.filter(|word| slug(word).is_some());
                promised.extend(slugs.map(|slug| format!("{name} {status} {slug}")));
            }
        }
    }
    promised
}

fn slug(word: &str) -> Option<&'static Slug> {
    let uri = format!("urn:tonewall:problem:{word}");
    Slug::ALL.iter().find(|slug| slug.uri() == uri)
}

/// Every operation, as method and path, and whether it asks who asks.
fn operations() -> Vec<(String, String, bool)> {
    let mut operations = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let guarded = path.starts_with("/v1/") || path == "/panel/leave";
            operations.push((method.to_uppercase(), path.clone(), guarded));
        }
    }
    operations
}

const OPERATIONS: [&str; 3] = [
    "/v1/payments/{id}/settle",
    "/v1/payments/{id}/void",
    "/v1/payments/{id}/refund",
];
const PREPARED: &str = "/v1/calls/{id}/prepared";
const LINK: &str = "/v1/links/{id}";
const READ_OUT: &str = "/v1/links/{id}/read-out";
const NOTIFICATIONS: &str = "/notifications/{processor}";
const CONFIRM: &str = "/v1/links/{id}/confirm";

fn prepared(reference: &str) -> Value {
    let mut order = new_payment(reference);
    order.as_object_mut().unwrap().remove("call");
    order
}

/// An agent's, where agents do such things.
fn key(path: &str) -> &'static str {
    if OPERATIONS.contains(&path) {
        "tw_supervisor"
    } else {
        AGENT
    }
}

struct Survey {
    gateway: Gateway,
    payment: PaymentId,
    link: String,
    seen: Answers,
}

impl Survey {
    fn start(adjust: impl FnOnce(&mut Settings)) -> Self {
        let gateway = Gateway::start_with(Fake::new(), adjust);
        let payment = gateway.fake.add_payment("acme");
        Self {
            gateway,
            payment,
            link: "link_acme_n1_01JD0000000000000000000000".to_owned(),
            seen: Answers::new(),
        }
    }

    fn url(&self, path: &str) -> String {
        let id = if path.starts_with("/v1/calls/") {
            "call-1@pbx".to_owned()
        } else if path.starts_with("/v1/links/") {
            self.link.clone()
        } else {
            self.payment.to_string()
        };
        let path = path
            .replace("{id}", &id)
            .replace("{trunk}", "quiet")
            .replace("{processor}", "adyen");
        self.gateway.url(&path)
    }

    /// A good request but for who asks.
    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.gateway.client.request(method, self.url(path));
        match path {
            "/v1/payments" => request
                .header("Idempotency-Key", format!("k{}", self.seen.len()))
                .json(&new_payment("INV-1")),
            "/v1/payments/{id}/capture" => request.json(&json!({"field": "security-code"})),
            "/v1/links" => request.json(&json!({"call": "call-1@pbx"})),
            path if OPERATIONS.contains(&path) => request
                .header("Idempotency-Key", format!("k{}", self.seen.len()))
                .json(&json!({})),
            CONFIRM => request.json(&json!({"code": "0000"})),
            PREPARED => request.json(&prepared("INV-1")),
            NOTIFICATIONS => request.body("signed"),
            _ => request,
        }
    }

    fn asked_by_agent(&self, method: &str, path: &str) -> RequestBuilder {
        self.ask(method, path).bearer_auth(key(path))
    }

    async fn see(&mut self, method: &str, path: &str, response: Response) {
        let mut answer = format!("{method} {path} {}", response.status().as_u16());
        let kind = response.headers().get("content-type");
        if kind.is_some_and(|kind| kind == "application/problem+json") {
            let problem: Value = response.json().await.unwrap();
            let uri = problem["type"].as_str().unwrap();
            answer += " ";
            answer += uri.strip_prefix("urn:tonewall:problem:").unwrap();
        }
        self.seen.insert(answer);
    }

    async fn send(&mut self, method: &str, path: &str, request: RequestBuilder) {
        let response = request.send().await.unwrap();
        self.see(method, path, response).await;
    }

    async fn send_as_agent(&mut self, method: &str, path: &str) {
        let request = self.asked_by_agent(method, path);
        self.send(method, path, request).await;
    }

    async fn send_body(&mut self, (method, path): (&str, &str), body: Value) {
        let request = self.asked_by_agent(method, path).json(&body);
        self.send(method, path, request).await;
    }

    /// What a request of these bytes is answered.
    async fn send_raw(&mut self, (method, path): (&str, &str), headers: &str, body: &str) {
        let url = self.url(path);
        let at = url.find("/v1/").or_else(|| url.find("/notifications/"));
        let at = &url[at.unwrap()..];
        let head = format!(
            "{method} {at} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: r\r\n\
             Content-Type: application/json\r\n{headers}\r\n\r\n{body}",
            key(path)
        );
        let (_stream, answer) = raw(&self.gateway, &head).await;
        let status = answer.split(' ').nth(1).unwrap();
        let (_, rest) = answer.split_once("urn:tonewall:problem:").expect(&answer);
        let slug = rest.split('"').next().unwrap();
        self.seen.insert(format!("{method} {path} {status} {slug}"));
    }

    fn link(&self, secret: &str) -> RequestBuilder {
        self.ask("GET", &format!("/panel/enter?link={secret}"))
    }
}

#[tokio::test]
async fn every_answer_in_the_document_occurs_and_no_other() {
    let mut seen = successes().await;
    seen.extend(refusals_of_who_asks().await);
    seen.extend(failures().await);
    seen.extend(refusals_of_bodies().await);
    seen.extend(refusals_of_what_is_asked().await);
    seen.extend(links().await);
    seen.extend(notifications().await);
    let promised = promised();
    let never: Vec<_> = promised.difference(&seen).collect();
    assert!(never.is_empty(), "promised and never seen: {never:#?}");
    let unsaid: Vec<_> = seen.difference(&promised).collect();
    assert!(unsaid.is_empty(), "seen and not promised: {unsaid:#?}");
}

async fn successes() -> Answers {
    let mut survey = Survey::start(|_| {});
    let cancel = "/v1/payments/{id}/cancel";
    let later = [
        "/panel/enter",
        "/panel/leave",
        "/v1/payments/{id}/complete",
        cancel,
        LINK,
        READ_OUT,
        CONFIRM,
    ];
    for (method, path, _) in operations() {
        if !later.contains(&path.as_str()) {
            survey.send_as_agent(&method, &path).await;
        }
    }
    survey.send_as_agent("POST", cancel).await;
    survey.send_as_agent("GET", PREPARED).await;
    survey.gateway.fake.lock().shadows = Some(shadow::reports());
    for path in ["/v1/shadow/{trunk}", "/v1/shadow/{trunk}/picture.svg"] {
        let request = survey.ask("GET", path).bearer_auth("tw_integration");
        survey.send("GET", path, request).await;
    }
    for link in ["straight", "elsewhere", "leaving"] {
        let fake = &survey.gateway.fake;
        fake.add_key(KeyKind::PanelLink, Role::Agent, "acme", link);
    }
    let ahead = survey.link("straight").header("Sec-Purpose", "prefetch");
    let straight = survey.link("straight").header("Sec-Fetch-Site", "none");
    let elsewhere = survey.link("elsewhere");
    for request in [ahead, straight, elsewhere] {
        survey.send("GET", "/panel/enter", request).await;
    }
    let entered = survey.link("leaving").send().await.unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    let leave = survey.ask("POST", "/panel/leave").header("Cookie", cookie);
    let leave = leave
        .header("X-Tonewall", "panel")
        .header("Sec-Fetch-Site", "same-origin");
    survey.send("POST", "/panel/leave", leave).await;

    let complete = "/v1/payments/{id}/complete";
    let fake = Arc::clone(&survey.gateway.fake);
    let payment = fake.add_payment("acme");
    fake.change("payment.updated", &payment, |p| {
        p.reference = "submitting".into();
    });
    survey.payment = payment;
    survey.send_as_agent("POST", complete).await;
    survey.payment = fake.add_payment("acme");
    fake.change("payment.updated", &survey.payment, |p| p.fields.clear());
    survey.send_as_agent("POST", complete).await;
    survey.seen
}

async fn refusals_of_who_asks() -> Answers {
    let mut survey = Survey::start(|_| {});
    let fake = &survey.gateway.fake;
    fake.add_key(KeyKind::PanelSession, Role::Agent, "acme", "session");
    for (method, path, _) in operations().into_iter().filter(|(.., guarded)| *guarded) {
        let nobody = survey.ask(&method, &path);
        survey.send(&method, &path, nobody).await;
        let forged = survey.ask(&method, &path);
        let forged = forged
            .header("Cookie", "tonewall=session")
            .header("Sec-Fetch-Site", "cross-site");
        survey.send(&method, &path, forged).await;
        if path != "/v1/session" {
            let auditor = survey.ask(&method, &path).bearer_auth("tw_auditor");
            survey.send(&method, &path, auditor).await;
        }
    }
    let unknown = survey.link("unknown");
    survey.send("GET", "/panel/enter", unknown).await;
    let without = survey.ask("GET", "/panel/enter");
    survey.send("GET", "/panel/enter", without).await;
    while survey.link("x").send().await.unwrap().status() != 429 {}
    for (method, path, guarded) in operations() {
        if guarded || path == "/panel/enter" {
            let guess = match guarded {
                true => survey.ask(&method, &path).bearer_auth("tw_guess"),
                false => survey.link("x"),
            };
            let response = guess.send().await.unwrap();
            // One more may be tried every six seconds.
            let response = match response.status().as_u16() {
                429 => response,
                _ => {
                    let again = survey.ask(&method, &path).bearer_auth("tw_guess");
                    again.send().await.unwrap()
                }
            };
            survey.see(&method, &path, response).await;
        }
    }
    survey.seen
}

/// The journal cannot be read, does not answer, or makes the program panic.
async fn failures() -> Answers {
    let mut seen = Answers::new();
    for keys in [Keys::Unreadable, Keys::Stalled, Keys::Panicking] {
        let mut survey = Survey::start(|settings| {
            settings.request_timeout = Duration::from_millis(100);
        });
        survey.gateway.fake.lock().keys_are = Some(keys);
        for (method, path, guarded) in operations() {
            if guarded {
                survey.send_as_agent(&method, &path).await;
            }
        }
        let link = survey.link("x");
        survey.send("GET", "/panel/enter", link).await;
        survey.send_as_agent("POST", NOTIFICATIONS).await;
        seen.extend(survey.seen);
    }
    let mut survey = Survey::start(|_| {});
    let mut state = state(survey.gateway.fake.clone(), Arc::default());
    state.ready = Arc::new(|| Err("the media workers have not started".into()));
    let bound = bind(Settings::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let url = format!("{}/readyz", bound.url());
    tokio::spawn(bound.serve(state, std::future::pending()));
    let unready = survey.gateway.client.get(url);
    survey.send("GET", "/readyz", unready).await;
    seen.extend(survey.seen);
    seen
}

async fn refusals_of_bodies() -> Answers {
    let mut survey = Survey::start(|settings| {
        settings.body_timeout = Duration::from_millis(100);
    });
    for (method, path) in [
        ("POST", "/v1/payments"),
        ("POST", "/v1/payments/{id}/capture"),
        ("POST", "/v1/links"),
        ("POST", CONFIRM),
        ("PUT", PREPARED),
        ("POST", OPERATIONS[0]),
        ("POST", OPERATIONS[1]),
        ("POST", OPERATIONS[2]),
    ] {
        let large = " ".repeat(20_000);
        for body in ["{", "[]", large.as_str()] {
            // The kind of a body that is sent before stands.
            let request = survey.gateway.client.request(
                Method::from_bytes(method.as_bytes()).unwrap(),
                survey.url(path),
            );
            let request = request
                .bearer_auth(key(path))
                .header("Idempotency-Key", "b");
            let request = request.header("Content-Type", "application/json");
            survey
                .send(method, path, request.body(body.to_owned()))
                .await;
        }
        let text = survey.gateway.client.request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            survey.url(path),
        );
        let text = text.bearer_auth(key(path)).header("Idempotency-Key", "t");
        survey.send(method, path, text.body("a=b")).await;
        let at = (method, path);
        survey.send_raw(at, "Content-Length: 10", "{").await;
        survey
            .send_raw(at, "Transfer-Encoding: chunked", "zz\r\n{}\r\n")
            .await;
    }
    survey.seen
}

async fn refusals_of_what_is_asked() -> Answers {
    let mut survey = Survey::start(|_| {});
    for (path, query) in [
        ("/v1/payments", "?call=a&call=b"),
        ("/v1/events", "?last_event_id=x"),
        ("/v1/payments/{id}/events", "?last_event_id=x"),
    ] {
        let url = survey.url(path) + query;
        let request = survey.gateway.client.get(url).bearer_auth(AGENT);
        survey.send("GET", path, request).await;
    }
    let call = survey.gateway.get("/v1/calls/nobody");
    survey.send("GET", "/v1/calls/{id}", call).await;
    for reference in [
        "wrong-leg",
        "caller-unknown",
        "has-payment",
        "cannot-arm",
        "draining",
        "4242 4242 4242 4242",
    ] {
        survey
            .send_body(("POST", "/v1/payments"), new_payment(reference))
            .await;
        if reference != "draining" {
            survey
                .send_body(("PUT", PREPARED), prepared(reference))
                .await;
        }
    }
    for method in ["GET", "PUT", "DELETE"] {
        let url = survey.gateway.url("/v1/calls/nobody/prepared");
        let method_of = Method::from_bytes(method.as_bytes()).unwrap();
        let request = survey.gateway.client.request(method_of, url);
        let request = request.bearer_auth(AGENT).json(&prepared("INV-1"));
        survey.send(method, PREPARED, request).await;
    }
    let nobody = json!({"call": "nobody", "amount": 1, "currency": "EUR", "reference": "R"});
    survey.send_body(("POST", "/v1/payments"), nobody).await;
    let keyless = survey.gateway.post("/v1/payments", &new_payment("INV-1"));
    survey.send("POST", "/v1/payments", keyless).await;
    let begun = tokio::spawn(survey.gateway.create("one", &new_payment("slow")).send());
    until("begun", || {
        let inner = survey.gateway.fake.lock();
        inner
            .idempotency
            .values()
            .any(|(_, answer)| answer.is_none())
    })
    .await;
    for reference in ["slow", "other"] {
        let again = survey.gateway.create("one", &new_payment(reference));
        survey.send("POST", "/v1/payments", again).await;
    }
    begun.abort();
    survey.gateway.fake.slow.add_permits(1);

    let complete = "/v1/payments/{id}/complete";
    survey.send_as_agent("POST", complete).await;
    let fake = Arc::clone(&survey.gateway.fake);
    let mine = survey.payment.clone();
    survey.payment = fake.add_payment("acme");
    fake.change("payment.updated", &survey.payment, |payment| {
        payment.reference = "too many".into();
    });
    survey.send_as_agent("POST", complete).await;
    survey.payment = mine;
    let cancelled = survey.asked_by_agent("POST", "/v1/payments/{id}/cancel");
    assert_eq!(cancelled.send().await.unwrap().status(), 200);
    let actions = ["capture", "complete", "cancel"];
    for action in actions {
        let path = format!("/v1/payments/{{id}}/{action}");
        survey.send_as_agent("POST", &path).await;
    }
    for path in OPERATIONS {
        refusals_of_an_operation(&mut survey, path).await;
    }
    survey.payment = "pay_acme_n1_01JD0000000000000000000000".parse().unwrap();
    for path in OPERATIONS {
        survey.send_as_agent("POST", path).await;
    }
    for path in ["/v1/payments/{id}", "/v1/payments/{id}/events"] {
        survey.send_as_agent("GET", path).await;
    }
    for action in actions {
        let path = format!("/v1/payments/{{id}}/{action}");
        survey.send_as_agent("POST", &path).await;
    }
    survey.seen
}

async fn refusals_of_an_operation(survey: &mut Survey, path: &str) {
    for body in [
        json!({"reason": "pending"}),
        json!({"reason": "voided before"}),
        json!({"reason": "draining"}),
        json!({"reason": "4242 4242 4242 4242"}),
        json!({"amount": "x"}),
    ] {
        survey.send_body(("POST", path), body).await;
    }
    let operate = |key: &str, once: Option<&str>, reason: &str| {
        let request = survey.gateway.client.post(survey.url(path));
        let body = json!({"reason": reason, "amount": 90_000});
        let request = request.bearer_auth(key).json(&body);
        match once {
            Some(once) => request.header("Idempotency-Key", once.to_owned() + path),
            None => request,
        }
    };
    let keyless = operate("tw_supervisor", None, "x");
    let by_agent = operate(AGENT, Some("over"), "x");
    let orders = || survey.gateway.fake.lock().orders.len();
    let before = orders();
    let begun = tokio::spawn(operate("tw_supervisor", Some("slow"), "slow").send());
    let again = ["slow", "other"].map(|reason| operate("tw_supervisor", Some("slow"), reason));
    until("begun", || orders() > before).await;
    for request in [keyless, by_agent].into_iter().chain(again) {
        survey.send("POST", path, request).await;
    }
    // Let go, so that the next one is seen to begin.
    survey.gateway.fake.slow.add_permits(1);
    assert_eq!(begun.await.unwrap().unwrap().status(), 200);
}

async fn notifications() -> Answers {
    let mut survey = Survey::start(|settings| {
        settings.body_timeout = Duration::from_millis(100);
    });
    let large = " ".repeat(65 * 1024);
    for body in ["forged", large.as_str()] {
        let request = survey.ask("POST", NOTIFICATIONS).body(body.to_owned());
        survey.send("POST", NOTIFICATIONS, request).await;
    }
    let other = survey.gateway.url("/notifications/stripe");
    let other = survey.gateway.client.post(other);
    survey.send("POST", NOTIFICATIONS, other).await;
    let at = ("POST", NOTIFICATIONS);
    survey.send_raw(at, "Content-Length: 10", "{").await;
    survey
        .send_raw(at, "Transfer-Encoding: chunked", "zz\r\n{}\r\n")
        .await;
    survey.seen
}

async fn links() -> Answers {
    let mut survey = Survey::start(|_| {});
    let all = [
        ("GET", LINK),
        ("POST", READ_OUT),
        ("POST", CONFIRM),
        ("DELETE", LINK),
    ];
    for (method, path) in all {
        survey.send_as_agent(method, path).await;
    }
    let nobody = json!({"call": "nobody"});
    survey.send_body(("POST", "/v1/links"), nobody).await;
    let of_link =
        |link: &str| json!({"link": link, "amount": 1, "currency": "EUR", "reference": "R"});
    let payments = ("POST", "/v1/payments");
    let unknown = of_link(&survey.link);
    survey.send_body(payments, unknown).await;
    let panel = survey.ask("PUT", PREPARED);
    let panel = panel
        .header("Cookie", survey.gateway.session("desk", None))
        .header("X-Tonewall", "panel")
        .header("Sec-Fetch-Site", "same-origin");
    survey.send("PUT", PREPARED, panel).await;

    survey.link = survey
        .gateway
        .new_link(json!({"call": "call-1@pbx", "confirm": "code"}))
        .await;
    let found = of_link(&survey.link);
    survey.send_body(payments, found).await;
    survey.send_as_agent("POST", CONFIRM).await;
    survey.send_as_agent("POST", READ_OUT).await;
    survey.send_as_agent("POST", CONFIRM).await;
    let code = survey.gateway.heard();
    survey
        .send_body(("POST", CONFIRM), json!({"code": code}))
        .await;
    survey.send_as_agent("GET", LINK).await;
    survey.send_as_agent("DELETE", LINK).await;

    survey.link = survey.gateway.new_link(json!({"call": "call-1@pbx"})).await;
    survey.send_as_agent("POST", READ_OUT).await;
    survey.gateway.fake.lines.end_all();
    let ended = of_link(&survey.link);
    survey.send_body(payments, ended).await;
    survey.send_as_agent("POST", READ_OUT).await;
    survey.send_as_agent("POST", CONFIRM).await;
    survey.seen
}
