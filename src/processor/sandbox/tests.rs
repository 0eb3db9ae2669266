//! The whole way: fields into the card plane, real TLS, the sandbox's server, its answer.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::*;
use crate::{
    media::SlotSource,
    processor::{
        Advice, CardPlane, CardPlaneSettings, Deadlines, Outcome,
        testing::{
            Memory, Tokens, charge, key_memory, payment, recorded, request_memory, test_card,
        },
    },
    proto::field::Field,
    secret_memory::Slab,
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f";

struct Bench {
    plane: CardPlane,
    fields: Memory,
    requests: Memory,
    client: reqwest::Client,
    url: String,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Deadlines::default()).await
    }

    async fn with(deadlines: Deadlines) -> Self {
        let arguments = ServeArgs {
            digest_key: Some(KEY.parse().unwrap()),
        };
        let server = Server::bind(arguments, Duration::from_millis(200))
            .await
            .unwrap();
        let address = server.address.clone();
        tokio::spawn(server.run());
        Self::at(&address, deadlines)
    }

    fn at(address: &SandboxAddress, deadlines: Deadlines) -> Self {
        // Two providers are linked in, so whoever does not name one needs a default.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let adapter = Sandbox::new(address, deadlines).unwrap();
        let requests = request_memory();
        let plane = CardPlane::start(
            CardPlaneSettings::default(),
            adapter,
            Arc::new(requests.clone()),
            Arc::new(Tokens::default()),
        );
        let ca = reqwest::Certificate::from_pem(address.ca_pem.as_bytes()).unwrap();
        Self {
            plane: plane.unwrap(),
            fields: key_memory(),
            requests,
            client: reqwest::Client::builder()
                .tls_certs_only([ca])
                .build()
                .unwrap(),
            url: format!("https://localhost:{}", address.port),
        }
    }

    async fn pay(&self, serial: u64, pan: &str, code: Option<&str>) -> Outcome {
        self.pay_until(serial, pan, "1239", code).await
    }

    async fn pay_until(&self, serial: u64, pan: &str, expiry: &str, code: Option<&str>) -> Outcome {
        let sink = self.plane.sink();
        let payment = payment(serial);
        let pan = self.fields.field(Field::PaymentCardNumber, pan);
        sink.store(&payment, pan).unwrap();
        let expiry = self.fields.field(Field::ExpirationDate, expiry);
        sink.store(&payment, expiry).unwrap();
        if let Some(code) = code {
            let code = self.fields.field(Field::SecurityCode, code);
            sink.store(&payment, code).unwrap();
        }
        let submitted = self.plane.submit(recorded(), charge(serial)).await;
        submitted.unwrap()
    }

    async fn received(&self) -> Vec<Received> {
        #[derive(serde::Deserialize)]
        struct Answer {
            received: Vec<Received>,
        }
        let answer = self.client.get(format!("{}/v1/received", self.url)).send();
        let answer: Answer = answer.await.unwrap().json().await.unwrap();
        answer.received
    }

    async fn post(&self, body: &str) -> (u16, String) {
        let post = self.client.post(format!("{}/v1/charges", self.url));
        let answer = post.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn is_approved(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Approved { processor_reference, code }
        if processor_reference.starts_with("sbx_") && code == "approved")
}

#[tokio::test]
async fn every_card_of_the_table_does_what_the_table_says() {
    let declined = |advice, code: &str| Outcome::Declined {
        advice,
        code: code.to_owned(),
    };
    let bench = Bench::new().await;
    for (serial, pan) in [
        "4242424242424242",
        "5555555555554444",
        "378282246310005",
        "6011111111111117",
        "3566002020360505",
        "30569309025904",
        "6200000000000005",
        "4000000000005001",
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = bench.pay(serial as u64, pan, Some("123")).await;
        assert!(is_approved(&outcome), "{pan}: {outcome:?}");
        let looked_up = bench.plane.look_up(&charge(serial as u64)).await;
        assert_eq!(looked_up, outcome);
    }
    for (serial, pan, advice, code) in [
        (20, "4000000000000002", Advice::OtherCard, "card_declined"),
        (
            21,
            "4000000000009995",
            Advice::TryAgain,
            "insufficient_funds",
        ),
        (22, "4000000000009987", Advice::DoNotRetry, "lost_card"),
        (
            23,
            "4000000000000069",
            Advice::ReEnter(Field::ExpirationDate),
            "expired_card",
        ),
        (
            24,
            "4000000000000127",
            Advice::ReEnter(Field::SecurityCode),
            "incorrect_cvc",
        ),
        (25, "4000000000003220", Advice::CallIssuer, "call_issuer"),
        (26, "4111111111111111", Advice::OtherCard, "not_a_test_card"),
    ] {
        let outcome = bench.pay(serial, pan, Some("123")).await;
        assert_eq!(outcome, declined(advice, code), "{pan}");
        // Until then a card that must not be tried again is remembered.
        bench.plane.call_ended(&charge(serial).call);
        assert_eq!(bench.plane.look_up(&charge(serial)).await, outcome);
    }
    let outcome = bench.pay(30, "4000000000000119", Some("123")).await;
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                retryable: true,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(bench.requests.taken(), 0);
}

#[tokio::test]
async fn a_connection_that_is_reset_or_silent_is_unknown_until_it_is_looked_up() {
    let bench = Bench::with(Deadlines {
        first_byte: Duration::from_secs(2),
        ..Deadlines::default()
    })
    .await;
    for (serial, pan, done) in [
        (1, "4000000000005019", true),
        (2, "4000000000005027", false),
        (3, "4000000000005035", true),
    ] {
        let outcome = bench.pay(serial, pan, Some("123")).await;
        assert!(
            matches!(outcome, Outcome::Unknown { .. }),
            "{pan}: {outcome:?}"
        );
        let looked_up = bench.plane.look_up(&charge(serial)).await;
        if done {
            assert!(is_approved(&looked_up), "{pan}: {looked_up:?}");
        } else {
            assert!(
                matches!(
                    looked_up,
                    Outcome::Failed {
                        retryable: true,
                        ..
                    }
                ),
                "{pan}: {looked_up:?}"
            );
        }
    }
    assert_eq!(bench.fields.taken(), 0);
}

#[tokio::test]
async fn what_was_sent_is_what_was_keyed() {
    let bench = Bench::new().await;
    bench.pay(1, "4242424242424242", Some("987")).await;
    bench.pay(2, "378282246310005", None).await;
    let key: DigestKey = KEY.parse().unwrap();
    let expected = |serial, pan, code: Option<&str>| Received {
        reference: charge(serial).attempt.to_string(),
        amount: 1250,
        currency: "EUR".to_owned(),
        pan_hmac: key.digest(pan),
        expiry_hmac: key.digest("1239"),
        code_hmac: code.map(|code| key.digest(code)),
    };
    assert_eq!(
        bench.received().await,
        [
            expected(1, "4242424242424242", Some("987")),
            expected(2, "378282246310005", None)
        ]
    );
}

#[tokio::test]
async fn an_expiry_date_that_is_past_is_to_be_keyed_again() {
    let bench = Bench::new().await;
    let outcome = bench
        .pay_until(1, "4242424242424242", "0120", Some("123"))
        .await;
    assert_eq!(
        outcome,
        Outcome::Declined {
            advice: Advice::ReEnter(Field::ExpirationDate),
            code: "expired_card".to_owned()
        }
    );
    assert_eq!(
        bench.plane.held(&payment(1)).await,
        [Field::PaymentCardNumber]
    );
}

#[tokio::test]
async fn the_same_reference_is_charged_once() {
    let bench = Bench::new().await;
    let first = bench.pay(1, "4242424242424242", Some("123")).await;
    let second = bench.pay(1, "4242424242424242", Some("123")).await;
    assert!(is_approved(&first));
    assert_eq!(first, second);
    let other_card = bench.pay(1, "5555555555554444", Some("123")).await;
    assert!(
        matches!(&other_card, Outcome::Unknown { reason } if reason.contains("reference_reused")),
        "{other_card:?}"
    );
    assert_eq!(bench.received().await.len(), 1);
}

#[tokio::test]
async fn fifty_payments_at_once_end_with_fifty_right_outcomes_and_leave_nothing() {
    let bench = Arc::new(Bench::new().await);
    let payments: Vec<_> = (0..50)
        .map(|serial| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let pan = ["4242424242424242", "4000000000000002", "4000000000005001"]
                    [serial as usize % 3];
                (serial, bench.pay(serial, pan, Some("123")).await)
            })
        })
        .collect();
    for payment in payments {
        let (serial, outcome) = payment.await.unwrap();
        assert_eq!(is_approved(&outcome), serial % 3 != 1, "{outcome:?}");
    }
    assert_eq!(bench.received().await.len(), 50);
    assert_eq!((bench.fields.taken(), bench.requests.taken()), (0, 0));
}

#[tokio::test]
async fn a_card_goes_from_the_real_slab_to_the_processor_and_every_slot_is_free_again() {
    const KEYS: usize = 8;
    let slab = Arc::new(Slab::map(KEYS, 1, false).unwrap());
    let server = Server::bind(ServeArgs::default(), Duration::ZERO)
        .await
        .unwrap();
    let adapter = Sandbox::new(&server.address, Deadlines::default()).unwrap();
    tokio::spawn(server.run());
    let plane = CardPlane::start(
        CardPlaneSettings::default(),
        adapter,
        slab.clone(),
        Arc::new(Tokens::default()),
    )
    .unwrap();
    for field in [
        Field::PaymentCardNumber,
        Field::ExpirationDate,
        Field::SecurityCode,
    ] {
        let slot = SlotSource::acquire(slab.as_ref()).unwrap();
        plane
            .sink()
            .store(&payment(1), test_card(slot, field))
            .unwrap();
    }
    assert_eq!(plane.held(&payment(1)).await.len(), 3);
    assert_eq!(slab.free_key_slots(), KEYS - 3);
    let outcome = plane.submit(recorded(), charge(1)).await.unwrap();
    assert!(is_approved(&outcome), "{outcome:?}");
    assert_eq!(slab.free_key_slots(), KEYS);
    assert_eq!(slab.free_request_slots(), 1);
}

#[tokio::test]
async fn the_security_code_and_the_request_outlive_no_answer_and_no_silence() {
    let quick = Deadlines {
        first_byte: Duration::from_millis(300),
        ..Deadlines::default()
    };
    let bench = Bench::with(quick).await;
    for (serial, (pan, ends, kept)) in [
        ("4242424242424242", "approved", 0),
        ("4000000000000002", "declined", 0),
        ("4000000000009995", "declined", 2),
        ("4000000000000127", "declined", 2),
        ("4000000000000119", "failed", 0),
        ("4000000000005019", "unknown", 0),
        ("4000000000005035", "unknown", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let serial = serial as u64;
        let outcome = bench.pay(serial, pan, Some("123")).await;
        assert_eq!(outcome.as_str(), ends, "{outcome:?}");
        let left = (bench.fields.taken(), bench.requests.taken());
        assert_eq!(left, (kept, 0), "{outcome:?}");
        let held = bench.plane.held(&payment(serial)).await;
        assert!(!held.contains(&Field::SecurityCode), "{outcome:?}");
        bench.plane.wipe(&payment(serial));
        assert_eq!(bench.plane.held(&payment(serial)).await, []);
    }
    let nobody = SandboxAddress {
        port: 1,
        ca_pem: Identity::fresh().unwrap().ca_pem,
    };
    let adapter = Sandbox::new(&nobody, Deadlines::default()).unwrap();
    let requests = Arc::new(bench.requests.clone());
    let plane = CardPlane::start(
        CardPlaneSettings::default(),
        adapter,
        requests,
        Arc::new(Tokens::default()),
    )
    .unwrap();
    let refused = Bench { plane, ..bench };
    let outcome = refused.pay(99, "4242424242424242", Some("123")).await;
    assert_eq!(outcome.as_str(), "failed", "{outcome:?}");
    assert_eq!((refused.fields.taken(), refused.requests.taken()), (0, 0));
}

#[tokio::test]
async fn a_request_that_is_not_right_is_refused_without_repeating_it() {
    let bench = Bench::new().await;
    let right = r#"{"reference":"r","amount":1,"currency":"EUR","channel":"moto","card":
        {"number":"4242424242424242","expiry_month":"12","expiry_year":"2039"}}"#;
    for (from, to, status, code) in [
        ("moto", "ecommerce", 422, "channel_must_be_moto"),
        ("\"channel\":\"moto\",", "", 400, "invalid_request"),
        ("\"r\"", "\"\"", 422, "invalid_reference"),
        (":1,", ":0,", 422, "invalid_amount"),
        (":1,", ":-1,", 400, "invalid_request"),
        ("EUR", "eur", 422, "invalid_currency"),
        (
            "4242424242424242",
            "4242x24242424242",
            422,
            "invalid_number",
        ),
        ("\"12\"", "\"13\"", 422, "invalid_expiry"),
        ("\"2039\"", "\"39\"", 422, "invalid_expiry"),
        (
            "\"4242424242424242\"",
            "4242424242424242",
            400,
            "invalid_request",
        ),
        (
            "\"2039\"",
            "\"2039\",\"security_code\":\"1\"",
            422,
            "invalid_security_code",
        ),
        (
            "\"2039\"",
            "\"2039\",\"track\":\"1\"",
            400,
            "invalid_request",
        ),
    ] {
        let (found, body) = bench.post(&right.replacen(from, to, 1)).await;
        assert_eq!((found, body.contains(code)), (status, true), "{to}: {body}");
        assert!(!body.contains("4242"), "{body}");
    }
    assert_eq!(bench.received().await, []);
    assert_eq!(bench.post(right).await.0, 200);
    assert_eq!(bench.post(&"x".repeat(20_000)).await.0, 413);
}

/// Set in the child that [`a_child_serves_until_its_parent_lets_go`] starts, which is this test
/// program itself with only [`child_entry`] to run.
const IN_CHILD: &str = "TONEWALL_TEST_SANDBOX_CHILD";

#[test]
fn child_entry() {
    if std::env::var_os(IN_CHILD).is_none() {
        return;
    }
    serve(ServeArgs::default()).unwrap();
}

#[tokio::test]
async fn a_child_serves_until_its_parent_lets_go() {
    let directory = tempfile::tempdir().unwrap();
    let wrapper = wrap_this_program(directory.path());
    let mut child = SandboxChild::spawn(&wrapper, None).await.unwrap();
    let bench = Bench::at(child.address(), Deadlines::default());
    let outcome = bench.pay(1, "4242424242424242", Some("123")).await;
    assert!(is_approved(&outcome), "{outcome:?}");
    let url = format!("{}/v1/received", bench.url);
    let received = bench.client.get(url).send().await.unwrap();
    assert_eq!(received.status().as_u16(), 404);

    child.let_go();
    let ended = tokio::time::timeout(Duration::from_secs(10), child.ended()).await;
    assert!(ended.unwrap().is_ok());
    let outcome = bench.pay(2, "4242424242424242", Some("123")).await;
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                retryable: true,
                ..
            }
        ),
        "{outcome:?}"
    );
}

/// A script that runs [`child_entry`] and lets through what it prints, without the test harness's
/// own lines.
fn wrap_this_program(directory: &std::path::Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n{IN_CHILD}=1 '{}' --exact processor::sandbox::tests::child_entry \
         --nocapture <&0 | grep --line-buffered -o '{{\"port.*}}'\n",
        program.display()
    );
    let path = directory.join("sandbox.sh");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_child_that_says_something_else_or_nothing_is_refused() {
    for program in ["/bin/echo", "/bin/true"] {
        let spawned = SandboxChild::spawn(std::path::Path::new(program), None).await;
        assert!(matches!(spawned, Err(SandboxError::FirstLine { .. })));
    }
    let spawned = SandboxChild::spawn(std::path::Path::new("/nonexistent"), None).await;
    assert!(matches!(spawned, Err(SandboxError::Start(_))));
}
