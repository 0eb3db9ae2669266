//! The API over a real loopback listener, with a fake gateway behind it.

mod api;
mod document;
mod fake;
mod limits;
mod links;
mod look;
mod operations;
mod shadow;
mod sign_in;
mod stream;
mod truth;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use self::fake::Fake;
use super::{OperationRules, Refusals, ServeError, Settings, State, Timeouts, bind};
use crate::{
    journal::{KeyKind, Role},
    proto::payment::{Abilities, OperationKind},
};

const AGENT: &str = "tw_agent_secret";
const PAN: &str = "4242424242424242";

/// How long something may take on a host that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// A served fake with a call and a key of every role.
struct Gateway {
    fake: Arc<Fake>,
    refusals: Arc<Refusals>,
    address: SocketAddr,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl Gateway {
    fn start() -> Self {
        Self::start_with(Fake::new(), |_| {})
    }

    fn start_with(fake: Fake, adjust: impl FnOnce(&mut Settings)) -> Self {
        // Somebody else in the process may have installed it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let fake = Arc::new(fake);
        fake.add_call("acme", "call-1@pbx");
        fake.add_call("other", "call-2@pbx");
        fake.add_key(KeyKind::Api, Role::Agent, "acme", AGENT);
        fake.add_key(KeyKind::Api, Role::Supervisor, "acme", "tw_supervisor");
        fake.add_key(KeyKind::Api, Role::Integration, "acme", "tw_integration");
        fake.add_key(KeyKind::Api, Role::Auditor, "acme", "tw_auditor");
        fake.add_key(
            KeyKind::Api,
            Role::Administrator,
            "acme",
            "tw_administrator",
        );
        fake.add_key(KeyKind::Api, Role::Agent, "other", "tw_other");
        let mut settings = Settings::new("127.0.0.1:0".parse().unwrap());
        adjust(&mut settings);
        let refusals = Arc::new(Refusals::default());
        let state = state(fake.clone(), refusals.clone());
        let bound = bind(settings).unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(state, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            fake,
            refusals,
            address,
            client,
            stop: Some(stop),
            served,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(AGENT)
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .bearer_auth(AGENT)
            .json(body)
    }

    fn create(&self, key: &str, body: &Value) -> reqwest::RequestBuilder {
        self.post("/v1/payments", body)
            .header("Idempotency-Key", key)
    }

    async fn payment(&self, reference: &str) -> String {
        let response = self
            .create(reference, &new_payment(reference))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201);
        let payment: Value = response.json().await.unwrap();
        payment["id"].as_str().unwrap().to_owned()
    }
}

fn state(fake: Arc<Fake>, refusals: Arc<Refusals>) -> State {
    State {
        service: fake,
        node: "n1".parse().unwrap(),
        sandbox: true,
        abilities: Abilities {
            authorise: true,
            settle_part: true,
            void_charge: true,
            refund: true,
            refund_part: true,
        },
        timeouts: Timeouts {
            first_digit_seconds: 30,
            inter_digit_seconds: 10,
            overall_seconds: 120,
        },
        always_code: false,
        operations: OperationRules {
            agents: [OperationKind::Refund].into(),
            agent_refunds: Some([("EUR".to_owned(), 5000)].into()),
            ..OperationRules::default()
        },
        ready: Arc::new(|| Ok(())),
        refusals,
    }
}

fn new_payment(reference: &str) -> Value {
    json!({"call": "call-1@pbx", "amount": 1250, "currency": "EUR", "reference": reference})
}

/// Asserts that a response is a problem of this kind, and returns it.
async fn problem(response: reqwest::Response, status: u16, slug: &str) -> Value {
    let head = format!("{response:?}");
    let kind = response
        .headers()
        .get("content-type")
        .map(|v| v.to_str().unwrap().to_owned());
    let got = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{head} {text}");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        problem["type"],
        format!("urn:tonewall:problem:{slug}"),
        "{text}"
    );
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{text}");
    assert!(!text.contains(PAN), "{text}");
    problem
}

/// Sends bytes and reads what comes first; nothing where the connection is ended.
async fn raw(gateway: &Gateway, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer));
    let length = read.await.expect("an answer").unwrap_or(0);
    (
        stream,
        String::from_utf8_lossy(&answer[..length]).into_owned(),
    )
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < until, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
