//! `tonewall serve` with a real adapter: a card keyed on a call goes to the processor, here a simulator of it,
//! and nowhere else; what is wrong with the configuration keeps the gateway from starting.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;
mod processors;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    time::Duration,
};

use common::{
    EXPIRY, Ends, Gateway, How, Options,
    pay::{capture, complete, id, until},
    play,
};
use processors::{
    ADYEN_ACCOUNT, AUTHORIZE_NET_KEY, AUTHORIZE_NET_LOGIN, CYBERSOURCE_KEY_ID,
    CYBERSOURCE_MERCHANT, Fault, Kind, Processor as Simulator, Stage,
};
use serde_json::{Value, json};

/// A published test card whose number stands nowhere else in these tests.
const NUMBER: &str = "5200828282828210";
const CODE: &str = "913";

fn section(simulator: &Simulator) -> String {
    let kind = match simulator.kind {
        Kind::Stripe => "kind = \"stripe\"".to_owned(),
        Kind::Adyen => format!(
            "kind = \"adyen\"\nmerchant_account = {ADYEN_ACCOUNT:?}\nmanual_reconcile = true"
        ),
        Kind::CyberSource => format!(
            "kind = \"cybersource\"\nkey_id = {CYBERSOURCE_KEY_ID:?}\nmerchant_id = {CYBERSOURCE_MERCHANT:?}\ndescriptor = \"ORDER\""
        ),
        Kind::AuthorizeNet => format!(
            "kind = \"authorize-net\"\napi_login_id = {AUTHORIZE_NET_LOGIN:?}\nmanual_reconcile = true"
        ),
        Kind::Checkout | Kind::Worldpay | Kind::Braintree | Kind::Connector => {
            panic!("its tests are in faults.rs")
        }
    };
    format!(
        "[processor]\n{kind}\nmode = \"test\"\nurl = {:?}\nkey_file = {:?}\nroots = {:?}\nfirst_byte_timeout = \"4s\"\n",
        simulator.url(),
        simulator.key_file(),
        simulator.roots(),
    )
}

/// The configuration with another `[processor]`, which stands between tables.
fn with_section(text: &str, section: &str) -> String {
    let (before, rest) = text.split_once("[processor]").unwrap();
    let after = rest.find("\n[").map_or("", |at| &rest[at + 1..]);
    format!("{before}{section}{after}")
}

async fn start(simulator: &Simulator) -> Gateway {
    let options = Options {
        level: Some("trace"),
        ..Options::default()
    };
    let mut gateway = Gateway::start(options).await;
    gateway.signal("KILL");
    gateway.until_ended().await;
    gateway.edit_config(|text| with_section(&text, &section(simulator)));
    gateway.restart().await;
    gateway
}

/// A payment whose card the caller has keyed.
async fn keyed(gateway: &Gateway, ends: &Ends, call: &str) -> Value {
    let new = json!({
        "call": call, "amount": 1250, "currency": "EUR", "reference": "simulated-reference",
    });
    let payment = gateway.post("/v1/payments", new).await;
    assert_eq!(payment["sandbox"], true, "test mode moves no money");
    for field in [
        ("payment-card-number", NUMBER),
        ("expiration-date", EXPIRY),
        ("security-code", CODE),
    ] {
        let view = capture(gateway, ends, id(&payment), field, |_| How::Event).await;
        assert_eq!(view["status"], "complete", "{view}");
    }
    payment
}

/// Where a text stands in memory that the process can write, once for each time; `None` where that
/// cannot be read.
fn found_in_memory(pid: u32, text: &str) -> Option<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        // What cannot be read is secret memory, or gone.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        let parts = bytes.windows(text.len());
        let times = parts.filter(|part| *part == text.as_bytes()).count();
        found.extend(std::iter::repeat_n(line.to_owned(), times));
    }
    Some(found)
}

/// The card as text, and as the words that a hash function makes of it where they are whole: each four digits
/// the other way round, wherever the first word begins.
fn forms_of_the_card() -> Vec<String> {
    let mut forms = vec![NUMBER.to_owned(), NUMBER[6..].to_owned()];
    for first in 0..4 {
        let words = NUMBER.as_bytes()[first..].chunks_exact(4);
        let turned = words.flat_map(|word| word.iter().rev().copied()).collect();
        forms.push(String::from_utf8(turned).unwrap());
    }
    forms
}

fn is_not_in_memory(gateway: &Gateway, simulator: &Simulator, when: &str) {
    // A control: the same search finds what is no secret.
    match found_in_memory(gateway.pid(), "simulated-reference") {
        Some(found) => assert!(!found.is_empty(), "the search finds nothing at all"),
        None => {
            eprintln!("SKIPPED: the gateway's memory cannot be read (be root to search it)");
            return;
        }
    }
    let secrets = simulator.state().secrets.clone();
    for secret in forms_of_the_card().into_iter().chain(secrets) {
        let found = found_in_memory(gateway.pid(), &secret).unwrap();
        assert!(found.is_empty(), "{when}: a secret stands in {found:#?}");
    }
}

/// Neither the card nor the merchant's key, which the log of everything might show.
fn is_not_in_files(folder: &Path, secrets: &[String]) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            is_not_in_files(&entry.path(), secrets);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            for part in secrets {
                let part = part.as_bytes();
                let holds = bytes.windows(part.len()).any(|found| found == part);
                assert!(!holds, "a secret stands in {:?}", entry.path());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_goes_from_the_caller_to_stripe_and_is_found_nowhere_else() {
    // What happened to a token moves no money.
    a_card_is_found_nowhere_else(Kind::Stripe, "failed").await;
}

/// The digest of a body that holds a card is signed and sent with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_goes_from_the_caller_to_cybersource_and_neither_it_nor_its_digest_is_found_elsewhere()
 {
    a_card_is_found_nowhere_else(Kind::CyberSource, "unknown").await;
}

/// `unanswered` is what a payment is told to be whose card was sent and not answered.
async fn a_card_is_found_nowhere_else(kind: Kind, unanswered: &str) {
    let simulator = Simulator::start(kind).await;
    let gateway = start(&simulator).await;
    let mut payments = Vec::new();
    for call in ["one", "two"] {
        let ends = play(&gateway, call).await;
        let payment = keyed(&gateway, &ends, call).await;
        payments.push((ends, payment));
    }

    let ended = complete(&gateway, id(&payments[0].1)).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    let charged = {
        let state = simulator.state();
        assert_eq!(state.violations, Vec::<String>::new());
        assert_eq!(state.ledger.len(), 1);
        state.ledger[0].clone()
    };
    assert_eq!(
        (charged.amount, charged.currency.as_str(), charged.charged),
        (1250, "EUR", true)
    );
    assert_eq!(ended["outcome"]["processor_reference"], charged.id);

    // The processor has the other card, and does not answer.
    simulator.will(Stage::Card, Fault::Hang);
    let before = simulator.state().requests;
    let path = format!("/v1/payments/{}/complete", id(&payments[1].1));
    let (answer, ()) = tokio::join!(gateway.request("POST", &path, Some(json!({}))), async {
        while simulator.state().requests == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        is_not_in_memory(&gateway, &simulator, "while the answer is waited for");
    });
    assert_eq!(answer.1["state"], unanswered, "{answer:?}");
    if unanswered == "failed" {
        assert_eq!(simulator.state().ledger.len(), 1, "charged without a token");
    } else {
        let found = until(&gateway, id(&payments[1].1), |view| {
            view["state"] == "approved"
        })
        .await;
        let id = simulator.state().ledger[1].id.clone();
        assert_eq!(found["outcome"]["processor_reference"], id, "{found}");
    }
    assert_eq!(simulator.state().violations, Vec::<String>::new());
    is_not_in_memory(&gateway, &simulator, "after both");
    let mut secrets = simulator.state().secrets.clone();
    secrets.push(NUMBER[6..15].to_owned());
    secrets.push(fs::read_to_string(simulator.key_file()).unwrap());
    is_not_in_files(gateway.folder.path(), &secrets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_goes_beside_the_card_stays_where_it_was_and_is_copied_nowhere() {
    let simulator = Simulator::start(Kind::AuthorizeNet).await;
    let gateway = start(&simulator).await;
    let before = found_in_memory(gateway.pid(), AUTHORIZE_NET_KEY);
    let ends = play(&gateway, "lost").await;
    let payment = keyed(&gateway, &ends, "lost").await;
    simulator.will(Stage::Card, Fault::ResetAfter);
    let path = format!("/v1/payments/{}/complete", id(&payment));
    let unknown = gateway.post(&path, json!({})).await;
    assert_eq!(unknown["state"], "unknown", "{unknown}");
    // It is sent with the list, and with the details.
    until(&gateway, id(&payment), |view| view["state"] == "approved").await;
    {
        let state = simulator.state();
        assert_eq!(state.violations, Vec::<String>::new());
        assert_eq!((state.ledger.len(), state.requests), (1, 3));
    }
    is_not_in_memory(&gateway, &simulator, "after a charge and its look-up");
    let secrets = [NUMBER[6..15].to_owned(), AUTHORIZE_NET_KEY.to_owned()];
    is_not_in_files(gateway.folder.path(), &secrets);
    if let Some(before) = before {
        assert_eq!(
            before.len(),
            1,
            "the one that the adapter holds: {before:#?}"
        );
        let after = found_in_memory(gateway.pid(), AUTHORIZE_NET_KEY).unwrap();
        assert_eq!(after.len(), 1, "the key was copied: {after:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_finds_out_of_an_unknown_charge_is_believed_recorded_and_told() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let mut gateway = start(&simulator).await;
    gateway.kill();
    // A merchant that cannot be reached: what is to be told stays to be seen.
    let secret = gateway.folder.path().join("whsec");
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let merchant = format!(
        "[[callbacks.endpoints]]\nname = \"crm\"\nurl = \"https://localhost:9/\"\nsecret_file = {secret:?}\n"
    );
    gateway.edit_config(|text| format!("{text}\n{merchant}"));
    gateway.restart().await;
    let ends = play(&gateway, "lost").await;
    let payment = keyed(&gateway, &ends, "lost").await;
    simulator.will(Stage::Card, Fault::ResetAfter);
    let path = format!("/v1/payments/{}/complete", id(&payment));
    let unknown = gateway.post(&path, json!({})).await;
    assert_eq!(unknown["state"], "unknown", "{unknown}");

    let config = gateway.config();
    let command = |args: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        gateway.command(&[&["payments"], args, &config].concat())
    };
    let (fine, listed) = command(&["unresolved"]);
    assert!(fine && listed.contains(id(&payment)), "{listed}");
    gateway
        .until_counted("tonewall_payments_unresolved", 1, "what waits for a person")
        .await;
    for wrong in [
        &["--charged", NUMBER][..],
        &["--charged", "x", "--not-charged"],
        &[],
    ] {
        let (fine, said) = command(&[&["resolve", id(&payment)], wrong].concat());
        assert!(!fine, "{said}");
    }
    let (fine, said) = command(&["resolve", id(&payment), "--charged", "NC6HT9CRT65ZGN00"]);
    assert!(fine, "{said}");
    // Once is enough.
    let (fine, said) = command(&["resolve", id(&payment), "--not-charged"]);
    assert!(!fine && said.contains("has ended: approved"), "{said}");
    let (fine, listed) = command(&["unresolved"]);
    assert!(
        fine && listed.contains("every charge and every operation has its outcome"),
        "{listed}"
    );

    let config = config.to_str().unwrap();
    let waiting = ["callbacks", "list", "--state", "waiting", "--json"];
    let (fine, listed) = gateway.command(&[&waiting[..], &["--config", config]].concat());
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let events: Vec<_> = (0..2).map(|n| &listed[n]["event"]).collect();
    assert!(fine && listed.as_array().unwrap().len() == 2, "{listed}");
    assert_eq!(events, ["payment.unknown", "payment.approved"], "{listed}");
    assert_eq!(listed[1]["payment"], id(&payment));

    let told = until(&gateway, id(&payment), |view| view["state"] == "approved").await;
    assert_eq!(
        told["outcome"]["processor_reference"], "NC6HT9CRT65ZGN00",
        "{told}"
    );
    // A refund that Adyen has taken, and of which it tells by notification only.
    let path = format!("/v1/payments/{}/refund", id(&payment));
    let refunded = gateway.post(&path, json!({ "amount": 250 })).await;
    assert_eq!(refunded["operations"][0]["state"], "pending", "{refunded}");
    let operation = id(&refunded["operations"][0]).to_owned();
    let (fine, listed) = command(&["unresolved"]);
    assert!(fine && listed.contains(&operation), "{listed}");
    gateway
        .until_counted("tonewall_payments_unresolved", 0, "what waits for a person")
        .await;
    gateway
        .until_counted(
            "tonewall_operations_unresolved",
            1,
            "what waits for a person",
        )
        .await;
    let resolve = ["resolve", id(&payment), "--operation", operation.as_str()];
    let (fine, said) = command(&[&resolve[..], &["--done", "OP6HT9CRT65ZGN01"]].concat());
    assert!(fine && said.contains("is done"), "{said}");
    let (fine, said) = command(&[&resolve[..], &["--not-done"]].concat());
    assert!(!fine && said.contains("has ended: approved"), "{said}");
    let told = gateway.get(&format!("/v1/payments/{}", id(&payment))).await;
    assert_eq!(told["balance"]["refunded_minor"], 250, "{told}");
    gateway
        .until_counted(
            "tonewall_operations_unresolved",
            0,
            "what waits for a person",
        )
        .await;

    let data = gateway.data();
    let data = data.to_str().unwrap();
    let shown = ["audit", "show", "--data-dir", data, "--tenant", "default"];
    let by_console = |log: &str| {
        log.lines()
            .any(|line| line.contains("operation-result") && line.contains("console"))
            && log
                .lines()
                .any(|line| line.contains("found by a person") && line.contains("charge-result"))
    };
    let patience = std::time::Instant::now() + common::PATIENCE;
    while !by_console(&gateway.command(&shown).1) {
        assert!(std::time::Instant::now() < patience, "not in the log");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_stops_the_start_and_the_sandbox_does_not_step_in() {
    let simulator = Simulator::start(Kind::Stripe).await;
    let mut gateway = Gateway::start(Options::default()).await;
    gateway.signal("KILL");
    gateway.until_ended().await;
    let right = section(&simulator);
    let key = simulator.key_file();
    for (section, word) in [
        (right.replace("/key\"", "/none\""), "cannot be read"),
        (right.replace("\"test\"", "\"live\""), "sk_live_"),
        (right.replace("/roots.pem", "/key"), "no certificate"),
    ] {
        gateway.edit_config(|text| with_section(&text, &section));
        let run = Command::new(env!("CARGO_BIN_EXE_tonewall"))
            .arg("serve")
            .arg("--config")
            .arg(gateway.config())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains(word), "{said}");
        let secret = fs::read_to_string(&key).unwrap();
        assert!(!said.contains(&secret), "{said}");
    }
}
