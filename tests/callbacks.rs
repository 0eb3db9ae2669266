//! Callbacks over real TLS to a receiver that does wrong as it is told, from the real journal: each message
//! is taken once by its id, in order, and none is lost; and `tonewall serve` with them.
#![allow(clippy::unwrap_used, reason = "tests may")]

#[path = "callbacks/receiver.rs"]
mod receiver;

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{Gateway, Options, pay::id, play};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use receiver::{Came, Fault, PATIENCE, Receiver};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tonewall::{
    callbacks::{Callbacks, Endpoint, Patience, SecretFiles},
    journal::{CallbackRow, CallbackState, Journal, PaymentRow},
    processor::Trust,
    proto::{
        callback::{CallbackEvent, Schedule},
        id::{CallId, PaymentId, Tenant},
    },
};
use ulid::Ulid;

/// A secret of a receiver that wants one in its address.
const QUERY: &str = "s3cret-of-the-query";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

/// Tries that follow each other quickly, and so many that no fault of a script makes a dead letter.
fn schedule(tries: u32) -> Schedule {
    Schedule {
        pauses: [10, 20, 40].map(Duration::from_millis).to_vec(),
        tries,
    }
}

fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(10),
        whole: Duration::from_secs(2),
    }
}

fn endpoint(name: &str, receiver: &Receiver) -> Endpoint {
    Endpoint {
        name: name.parse().unwrap(),
        target: receiver.url().try_into().unwrap(),
        secrets: SecretFiles {
            current: receiver.file("secret", SECRET),
            previous: None,
        },
        events: CallbackEvent::ALL.into(),
        allow_private: true,
        trust: Trust {
            roots: Some(receiver.roots()),
            identity: None,
        },
    }
}

/// A gateway's outbox: a journal, and what sends from it.
struct Outbox {
    file: PathBuf,
    journal: Journal,
    callbacks: Callbacks,
    task: JoinHandle<()>,
}

impl Outbox {
    async fn start(file: &Path, endpoints: &[Endpoint], tries: u32) -> Self {
        let journal = Journal::open(file).unwrap();
        let callbacks =
            Callbacks::open(&tenant(), endpoints, &schedule(tries), patience()).unwrap();
        callbacks.prepare(&journal).await.unwrap();
        Self {
            file: file.to_owned(),
            task: tokio::spawn(callbacks.clone().run(journal.clone())),
            journal,
            callbacks,
        }
    }

    /// Breaks off in the middle of whatever it does, as a crash would; its file is left.
    async fn crash(self) -> PathBuf {
        self.task.abort();
        let _ = self.task.await;
        self.file
    }

    async fn put(&self, payment: u128, state: &str) {
        let node = || "n1".parse().unwrap();
        let row = PaymentRow {
            purpose: tonewall::proto::payment::Purpose::Charge,
            id: PaymentId::new(tenant(), node(), Ulid::from_parts(1, payment)),
            call: CallId::new(tenant(), node(), Ulid::from_parts(2, payment)),
            state: state.to_owned(),
            amount_minor: 1250,
            currency: "EUR".to_owned(),
            reference: format!("INV-{payment}"),
            description: None,
            brand: None,
            last4: None,
            created: Timestamp::now(),
            updated: Timestamp::now(),
            signalling_id: Some(format!("call-{payment}@pbx")),
            sandbox: Some(true),
        };
        self.journal.put_payment(row).await.unwrap();
    }

    async fn in_state(&self, state: CallbackState) -> Vec<CallbackRow> {
        let rows = self.journal.callbacks(tenant(), state, 10_000).await;
        rows.unwrap()
    }

    async fn until(&self, state: CallbackState, count: usize) -> Vec<CallbackRow> {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.in_state(state).await;
            if rows.len() == count {
                return rows;
            }
            assert!(Instant::now() < until, "{state:?}: {rows:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// As Standard Webhooks says that receivers do: a signature of the three with the secret is among those
/// that came, and the time is no further off than five minutes.
fn verifies(came: &Came, secret: &str) -> bool {
    let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
    let timestamp = came.header("webhook-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{timestamp}.{}", came.id(), came.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let off = Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    let signed = came.header("webhook-signature");
    off.abs() < 300 && signed.split(' ').any(|one| one == expected)
}

/// Each payment's events as they were first taken, by id.
fn first_taken(receiver: &Receiver) -> BTreeMap<String, Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut of = BTreeMap::<String, Vec<String>>::new();
    for came in receiver.taken() {
        if seen.insert(came.id().to_owned()) {
            let body = came.json();
            let payment = body["data"]["id"].as_str().unwrap().to_owned();
            let event = body["type"].as_str().unwrap().to_owned();
            of.entry(payment).or_default().push(event);
        }
    }
    of
}

const STORY: [&str; 3] = ["unknown", "declined", "approved"];

fn told_in_full(payments: usize, receiver: &Receiver) -> bool {
    let told = first_taken(receiver);
    told.len() == payments && told.values().all(|events| events.len() == STORY.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_taken_once_by_its_id_and_in_order_whatever_goes_wrong() {
    let seed = std::env::var("TONEWALL_SEED").ok();
    let seed = seed.map_or_else(|| rand::rng().next_u64(), |seed| seed.parse().unwrap());
    println!("TONEWALL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let receiver = Receiver::start().await;
    for _ in 0..40 {
        let fault = Fault::ALL[rng.random_range(0..Fault::ALL.len())];
        receiver.book().script.push_back(fault);
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let outbox = Outbox::start(&file, &[endpoint("crm", &receiver)], 100).await;
    let payments = 20;
    for state in STORY {
        for payment in 0..payments {
            outbox.put(payment, state).await;
        }
    }
    let payments = usize::try_from(payments).unwrap();
    let delivered = outbox
        .until(CallbackState::Delivered, payments * STORY.len())
        .await;
    assert!(outbox.in_state(CallbackState::Waiting).await.is_empty());
    assert!(outbox.in_state(CallbackState::Dead).await.is_empty());

    let told = first_taken(&receiver);
    assert_eq!(told.len(), payments);
    let story = STORY.map(|state| format!("payment.{state}"));
    for (payment, events) in told {
        assert_eq!(events, story, "{payment}");
    }
    let came = receiver.book().came.clone();
    let mut bodies = BTreeMap::new();
    for came in &came {
        assert_eq!(came.path, "/hooks", "no redirection is followed");
        assert_eq!(came.header("content-type"), "application/json");
        assert!(verifies(came, SECRET), "{came:?}");
        let body = bodies.entry(came.id().to_owned()).or_insert(&came.body);
        assert_eq!(**body, came.body, "one id, one body");
    }
    let ids: BTreeSet<String> = delivered.iter().map(|row| row.id.to_string()).collect();
    assert!(ids.iter().eq(bodies.keys()), "each once by its id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_at_a_crash_is_sent_again_by_the_next_process() {
    let receiver = Receiver::start().await;
    receiver.book().always = Some(Fault::Hang);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let endpoints = [endpoint("crm", &receiver)];
    let outbox = Outbox::start(&file, &endpoints, 100).await;
    for payment in 0..5 {
        for state in STORY {
            outbox.put(payment, state).await;
        }
    }
    receiver
        .until("five are under way", |book| book.came.len() >= 5)
        .await;
    let file = outbox.crash().await;
    let before: BTreeSet<String> = receiver
        .book()
        .came
        .iter()
        .map(|c| c.id().to_owned())
        .collect();
    receiver.book().always = None;
    let outbox = Outbox::start(&file, &endpoints, 100).await;
    outbox.until(CallbackState::Delivered, 15).await;
    assert!(told_in_full(5, &receiver));
    let taken: BTreeSet<String> = receiver.taken().iter().map(|c| c.id().to_owned()).collect();
    assert_eq!(taken.len(), 15);
    assert!(before.is_subset(&taken), "under the ids that they had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_hangs_holds_up_no_other() {
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.book().always = Some(Fault::Hang);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let endpoints = [endpoint("slow", &slow), endpoint("quick", &quick)];
    let outbox = Outbox::start(&file, &endpoints, 100).await;
    for state in STORY {
        for payment in 0..20 {
            outbox.put(payment, state).await;
        }
    }
    outbox.until(CallbackState::Delivered, 60).await;
    assert!(told_in_full(20, &quick));
    assert!(slow.taken().is_empty());
    assert!(slow.book().connections > 0);
    let of_slow = outbox.in_state(CallbackState::Waiting).await;
    assert_eq!(of_slow.len(), 60, "none of them is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_secret_is_replaced_receivers_with_either_believe_the_messages() {
    let receiver = Receiver::start().await;
    let current = receiver.file("secret", SECRET);
    let previous = receiver.file("previous", "");
    std::fs::remove_file(&previous).unwrap();
    let endpoint = Endpoint {
        secrets: SecretFiles {
            current: current.clone(),
            previous: Some(previous.clone()),
        },
        ..endpoint("crm", &receiver)
    };
    // The receiver's file of that name was written anew.
    std::fs::write(&current, SECRET).unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let outbox = Outbox::start(&file, &[endpoint], 100).await;
    let told = async |payment: u128| {
        outbox.put(payment, "approved").await;
        let count = usize::try_from(payment).unwrap();
        receiver
            .until("it is taken", |book| book.came.len() == count)
            .await;
        let came = receiver.taken().pop().unwrap();
        (verifies(&came, SECRET), verifies(&came, NEW_SECRET))
    };
    assert_eq!(told(1).await, (true, false), "before");
    std::fs::rename(&current, &previous).unwrap();
    std::fs::write(&current, NEW_SECRET).unwrap();
    let said = outbox.callbacks.reload().unwrap();
    assert!(said.contains("two sign"), "{said}");
    assert_eq!(told(2).await, (true, true), "meanwhile");
    std::fs::remove_file(&previous).unwrap();
    let _ = outbox.callbacks.reload();
    assert_eq!(told(3).await, (false, true), "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_lets_later_ones_pass_and_is_replayed_under_its_id() {
    let receiver = Receiver::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    // Three tries, then it is dead; `Gone` is dead at once.
    let outbox = Outbox::start(&file, &[endpoint("crm", &receiver)], 3).await;
    let fail = [Fault::Status(500), Fault::Reset, Fault::Status(307)];
    receiver.book().script.extend(fail);
    outbox.put(1, "unknown").await;
    outbox.put(1, "approved").await;
    outbox.until(CallbackState::Delivered, 1).await;
    receiver.book().script.push_back(Fault::Status(410));
    outbox.put(2, "failed").await;
    let dead = outbox.until(CallbackState::Dead, 2).await;
    let seen: Vec<_> = dead
        .iter()
        .map(|row| (row.event, row.tries, row.problem.as_deref().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            (
                CallbackEvent::Unknown,
                3,
                "HTTP 307: redirections are not followed"
            ),
            (CallbackEvent::Failed, 1, "HTTP 410")
        ]
    );
    let (_, totals) = &outbox.callbacks.totals()[0];
    assert_eq!((totals.delivered, totals.failed, totals.died), (1, 4, 2));

    let id = dead[0].id.clone();
    let replay = outbox.journal.replay_callback(id.clone(), Timestamp::now());
    assert!(replay.await.unwrap());
    outbox.until(CallbackState::Delivered, 2).await;
    let last = receiver.taken().pop().unwrap();
    assert_eq!(last.id(), id.to_string());
    assert_eq!(last.json()["type"], "payment.unknown");
    assert!(verifies(&last, SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_inside_is_connected_to_unless_it_is_allowed() {
    let receiver = Receiver::start().await;
    let outside_only = Endpoint {
        allow_private: false,
        ..endpoint("crm", &receiver)
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let outbox = Outbox::start(&file, &[outside_only], 2).await;
    outbox.put(1, "approved").await;
    let dead = outbox.until(CallbackState::Dead, 1).await;
    let problem = dead[0].problem.as_deref().unwrap();
    assert!(
        problem.contains("no public address (loopback)"),
        "{problem}"
    );
    assert_eq!(receiver.book().connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_show_the_right_certificate_is_told_nothing() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let distrusted = Endpoint {
        trust: Trust {
            roots: Some(other.roots()),
            identity: None,
        },
        ..endpoint("crm", &receiver)
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let outbox = Outbox::start(&file, &[distrusted], 2).await;
    outbox.put(1, "approved").await;
    let dead = outbox.until(CallbackState::Dead, 1).await;
    let problem = dead[0].problem.as_deref().unwrap();
    assert!(problem.contains("certificate"), "{problem}");
    assert!(receiver.book().came.is_empty());
}

#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    // Nobody listens there. The test runs anew, for a process does not change its own environment.
    let proxy = "http://127.0.0.1:9";
    let run = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "while_a_secret_is_replaced_receivers_with_either_believe_the_messages",
        ])
        .envs(["HTTPS_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, proxy)))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// The configuration of a gateway that tells the receiver.
fn section(receiver: &Receiver) -> String {
    format!(
        "[[callbacks.endpoints]]\nname = \"crm\"\nurl = \"{}?token={QUERY}\"\nsecret_file = {:?}\nprevious_secret_file = {:?}\nroots = {:?}\nallow_private = true\n",
        receiver.url(),
        receiver.file("secret", SECRET),
        receiver.roots().with_file_name("previous"),
        receiver.roots(),
    )
}

/// A payment that is cancelled at once.
async fn cancelled(gateway: &Gateway, call: &str) -> String {
    let ends = play(gateway, call).await;
    let payment = gateway.payment(call).await;
    let payment = id(&payment).to_owned();
    let path = format!("/v1/payments/{payment}/cancel");
    gateway.post(&path, json!({})).await;
    ends.hang_up(gateway).await;
    payment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_tells_its_merchant_and_dead_letters_are_worked_on_by_the_command_line() {
    let receiver = Receiver::start().await;
    let mut gateway = Gateway::start(Options {
        level: Some("trace"),
        ..Options::default()
    })
    .await;
    gateway.kill();
    gateway.edit_config(|text| format!("{text}\n{}", section(&receiver)));
    gateway.restart().await;
    let config = gateway.config();
    let config = config.to_str().unwrap();
    let (good, said) = gateway.command(&["check", "--config", config]);
    assert!(
        good && said.contains("callbacks       crm at https://localhost") && !said.contains(QUERY),
        "{said}"
    );

    let payment = cancelled(&gateway, "told@pbx").await;
    receiver
        .until("it is told", |book| book.came.len() == 1)
        .await;
    let came = receiver.taken().pop().unwrap();
    assert!(verifies(&came, SECRET), "{came:?}");
    assert_eq!(came.path, format!("/hooks?token={QUERY}"));
    let body = came.json();
    assert_eq!(body["type"], "payment.cancelled");
    for (key, value) in [
        ("id", json!(payment)),
        ("signalling_id", json!("told@pbx")),
        ("ended", json!(true)),
        ("amount_minor", json!(1250)),
        ("sandbox", json!(true)),
        ("outcome", Value::Null),
    ] {
        assert_eq!(body["data"][key], value, "{key}");
    }

    // Gone, so a dead letter at once; killed and started again it still is one.
    receiver.book().script.push_back(Fault::Status(410));
    let payment = cancelled(&gateway, "dead@pbx").await;
    let dead = "tonewall_callbacks_total{endpoint=\"crm\",result=\"dead\"}";
    gateway.until_counted(dead, 1, "dead letters").await;
    gateway.kill();
    gateway.restart().await;
    let letters = "tonewall_callbacks_dead{endpoint=\"crm\"}";
    gateway.until_counted(letters, 1, "dead letters").await;
    let callbacks =
        |args: &[&str]| gateway.command(&[&["callbacks"], args, &["--config", config]].concat());
    let (done, listed) = callbacks(&["list", "--json"]);
    assert!(done, "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["payment"], payment);
    assert_eq!(listed[0]["problem"], "HTTP 410");
    let message = listed[0]["id"].as_str().unwrap();
    let (done, shown) = callbacks(&["show", message]);
    assert!(
        done && shown.contains("payment.cancelled to crm: dead, 1 tries"),
        "{shown}"
    );
    let (done, said) = callbacks(&["replay", message]);
    assert!(done && said.contains("1 to be sent again"), "{said}");
    receiver
        .until("it is sent again", |book| {
            book.came
                .iter()
                .any(|came| came.taken && came.id() == message)
        })
        .await;
    let (done, said) = callbacks(&["drop", message]);
    assert!(!done && said.contains("only dead letters"), "{said}");

    // A secret is replaced without a restart.
    std::fs::rename(
        receiver.roots().with_file_name("secret"),
        receiver.roots().with_file_name("previous"),
    )
    .unwrap();
    receiver.file("secret", NEW_SECRET);
    gateway.signal("HUP");
    gateway
        .until_log("secrets of callbacks to crm reloaded, two sign")
        .await;
    receiver.book().script.push_back(Fault::Status(410));
    let payment = cancelled(&gateway, "rotated@pbx").await;
    gateway.until_counted(letters, 1, "dead letters").await;
    let came = receiver.book().came.last().cloned().unwrap();
    assert_eq!(came.json()["data"]["id"], payment);
    assert!(
        verifies(&came, SECRET) && verifies(&came, NEW_SECRET),
        "{came:?}"
    );
    let (done, said) = callbacks(&["drop", "--all"]);
    assert!(done && said.contains("1 dropped"), "{said}");
    let (_, listed) = callbacks(&["list"]);
    assert_eq!(listed.trim(), "none");

    let data = gateway.data();
    let data = data.to_str().unwrap();
    let until = Instant::now() + PATIENCE;
    for event in ["callback-replayed", "callback-dropped"] {
        loop {
            let (_, shown) =
                gateway.command(&["audit", "show", "--data-dir", data, "--tenant", "default"]);
            if shown.contains(event) {
                break;
            }
            assert!(Instant::now() < until, "no {event}:\n{shown}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    let (folder, log) = gateway.stop();
    for secret in [SECRET, NEW_SECRET] {
        let coded = &secret["whsec_".len()..];
        assert!(!log.contains(coded), "a secret stands in the log");
        assert!(!log.contains(QUERY), "a query stands in the log");
        let found = files_with(folder.path(), coded.as_bytes());
        assert!(found.is_empty(), "a secret stands in {found:?}");
    }
}

/// Files below a folder that hold these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if path.is_file() {
            let held = std::fs::read(&path).unwrap();
            if held.windows(bytes.len()).any(|part| part == bytes) {
                found.push(path);
            }
        }
    }
    found
}

/// `tests/peers/run callbacks` installs the package.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python package standardwebhooks: tests/peers/run callbacks"]
async fn the_library_of_standard_webhooks_believes_the_messages() {
    const VERIFY: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
asked = json.load(sys.stdin)
for secret in asked['secrets']:
    Webhook(secret).verify(asked['body'], asked['headers'])
for change in ('body', 'webhook-id', 'webhook-timestamp'):
    body, headers = asked['body'], dict(asked['headers'])
    if change == 'body':
        body = body.replace('1250', '1251')
    else:
        last = headers[change][-1]
        headers[change] = headers[change][:-1] + ('1' if last != '1' else '2')
    try:
        Webhook(asked['secrets'][0]).verify(body, headers)
    except Exception:
        continue
    sys.exit('a changed ' + change + ' is believed')
print('believed')
";
    let receiver = Receiver::start().await;
    let endpoint = Endpoint {
        secrets: SecretFiles {
            current: receiver.file("new", NEW_SECRET),
            previous: Some(receiver.file("old", SECRET)),
        },
        ..endpoint("crm", &receiver)
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let outbox = Outbox::start(&file, &[endpoint], 100).await;
    outbox.put(1, "approved").await;
    outbox.until(CallbackState::Delivered, 1).await;
    let came = receiver.taken().pop().unwrap();
    let asked = json!({
        "secrets": [SECRET, NEW_SECRET], "body": came.body, "headers": came.headers,
    });
    let question = folder.path().join("question.json");
    std::fs::write(&question, asked.to_string()).unwrap();
    let verified = Command::new("python3")
        .args(["-c", VERIFY])
        .stdin(std::fs::File::open(question).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    let wrong = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && said.contains("believed"),
        "{said}{wrong}"
    );
}
