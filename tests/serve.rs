//! `tonewall serve` as operators and programs meet it: payments, crashes, draining, TLS.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{fs, path::Path, time::Duration};

use common::{
    APPROVED, CODE, EXPIRY, Ends, Gateway, How, Options, call_sdp,
    pay::{capture, complete, digest, id, open, until},
    play, play_of,
};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};
use tonewall::proto::codec::Law;

/// How often the packets hold a press of a key: as event, and as tone (20 ms of both frequencies).
async fn keys_heard(ends: &Ends, from: usize) -> (usize, usize) {
    let got = ends.agent_got.lock().await;
    let packets = &got[from..];
    let events = packets
        .iter()
        .filter(|packet| packet[1] & 0x7f == 101)
        .count();
    let audio = packets.iter().filter(|packet| packet[1] & 0x7f == 0);
    let tones = audio.filter(|packet| is_tone(&packet[12..])).count();
    (events, tones)
}

fn is_tone(payload: &[u8]) -> bool {
    let samples: Vec<f64> = payload
        .iter()
        .map(|code| f64::from(Law::Mu.decode(*code)))
        .collect();
    let power = samples.iter().map(|s| s * s).sum::<f64>() / samples.len() as f64;
    let at = |hz: f64| {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let phase = std::f64::consts::TAU * hz * n as f64 / 8_000.0;
            sine += sample * phase.sin();
            cosine += sample * phase.cos();
        }
        2.0 * (sine * sine + cosine * cosine) / (samples.len() as f64).powi(2)
    };
    let best = |hz: [f64; 4]| hz.map(at).into_iter().fold(0.0, f64::max);
    let (row, column) = (
        best([697.0, 770.0, 852.0, 941.0]),
        best([1209.0, 1336.0, 1477.0, 1633.0]),
    );
    power > 200.0 * 200.0 && row > 0.2 * power && column > 0.2 * power
}

async fn card(gateway: &Gateway, ends: &Ends, payment: &str, how: How) {
    for field in [
        ("payment-card-number", APPROVED),
        ("expiration-date", EXPIRY),
        ("security-code", CODE),
    ] {
        let view = capture(gateway, ends, payment, field, |_| how).await;
        assert_eq!(view["status"], "complete", "{view}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_goes_from_call_to_approval_and_what_is_wrong_is_told() {
    let gateway = Gateway::start(Options::default()).await;
    let ends = play(&gateway, "pay-1").await;
    let ask = |body: Value| gateway.request("POST", "/v1/payments", Some(body));
    let new =
        |call: &str| json!({"call": call, "amount": 1250, "currency": "EUR", "reference": "T-1"});

    let (status, problem) = ask(new("nobody")).await;
    assert_eq!(
        (status, &problem["type"]),
        (404, &json!("urn:tonewall:problem:unknown-call")),
        "{problem}"
    );
    let mut on_agent = new("pay-1");
    on_agent["leg"] = json!("agent");
    let (status, problem) = ask(on_agent).await;
    assert_eq!(status, 422, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("is the agent's; a payment hears the caller")
    );

    let payment = gateway.payment("pay-1").await;
    assert_eq!(
        (&payment["state"], &payment["armed"]),
        (&json!("open"), &json!(true)),
        "{payment}"
    );
    let (status, problem) = ask(new("pay-1")).await;
    assert_eq!(
        (status, &problem["payment"]),
        (409, &payment["id"]),
        "{problem}"
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("complete or cancel it first"),
        "{problem}"
    );

    card(&gateway, &ends, id(&payment), How::Event).await;
    let ended = complete(&gateway, id(&payment)).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    assert_eq!(
        ended["fields"]["payment-card-number"]["masked"], "•••• •••• •••• 4242",
        "{ended}"
    );
    let received = gateway.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["pan_hmac"], digest(APPROVED));
    assert_eq!(received[0]["expiry_hmac"], digest(EXPIRY));
    assert_eq!(received[0]["code_hmac"], digest(CODE));
    let (status, problem) = gateway
        .request(
            "POST",
            &format!("/v1/payments/{}/cancel", id(&ended)),
            Some(json!({})),
        )
        .await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(keys_heard(&ends, 0).await, (0, 0));

    // Cancelled in the middle of a field, on the same call.
    let payment = gateway.payment("pay-1").await;
    open(&gateway, id(&payment), "payment-card-number").await;
    ends.key("424242", |_| How::Tone).await;
    let cancelled = gateway
        .post(&format!("/v1/payments/{}/cancel", id(&payment)), json!({}))
        .await;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    gateway.until_disarmed().await;
    // Nobody holds the call now: the agent hears keys again, and this test's ears are good.
    let from = ends.agent_got.lock().await.len();
    ends.key("12", |key| [How::Event, How::Tone][key]).await;
    let (events, tones) = keys_heard(&ends, from).await;
    assert!(events > 0 && tones > 0, "{events} events, {tones} tones");

    // Hung up when the whole card is there: wiped, not charged.
    let payment = gateway.payment("pay-1").await;
    card(&gateway, &ends, id(&payment), How::Tone).await;
    ends.hang_up(&gateway).await;
    let gone = until(&gateway, id(&payment), |view| view["state"] == "cancelled").await;
    assert!(
        gone["advice"]
            .as_str()
            .unwrap()
            .contains("nothing was charged"),
        "{gone}"
    );
    let (status, problem) = gateway
        .request(
            "POST",
            &format!("/v1/payments/{}/complete", id(&payment)),
            Some(json!({})),
        )
        .await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(
        gateway.received().await.len(),
        1,
        "the sandbox got a card of a call that was hung up"
    );

    for (series, expected) in [
        ("tonewall_payments_total{state=\"approved\"}", 1),
        ("tonewall_payments_total{state=\"cancelled\"}", 2),
        ("tonewall_incidents_total", 0),
    ] {
        gateway.until_counted(series, expected, "payments").await;
    }
    let metrics = gateway.metrics().await;
    // The bounds of a histogram's buckets are constants.
    let told = |line: &&str| !line.starts_with('#') && !line.contains("_bucket{le=");
    for line in metrics.lines().filter(told) {
        let labels = line
            .split_once('{')
            .map_or("", |(_, labels)| labels.rsplit_once('}').unwrap().0);
        let run = labels
            .as_bytes()
            .windows(4)
            .any(|run| run.iter().all(u8::is_ascii_digit));
        assert!(!run, "a row of digits in a label: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_the_call_armed_and_the_payment_cancelled_with_words() {
    let mut gateway = Gateway::start(Options::default()).await;
    let before = play(&gateway, "crash-1").await;
    let payment = gateway.payment("crash-1").await;
    open(&gateway, id(&payment), "payment-card-number").await;
    before
        .key("424242", |key| [How::Event, How::Tone][key % 2])
        .await;
    gateway.kill();
    gateway.restart().await;

    let found = gateway.get(&format!("/v1/payments/{}", id(&payment))).await;
    assert_eq!(found["state"], "cancelled", "{found}");
    let advice = found["advice"].as_str().unwrap();
    assert!(
        advice.contains("Start a new payment and ask for the card again"),
        "{advice}"
    );

    let after = play(&gateway, "crash-1").await;
    assert_eq!(gateway.get("/v1/calls/crash-1").await["armed"], true);
    after
        .key("4242424242", |key| [How::Event, How::Tone][key % 2])
        .await;
    assert_eq!(
        keys_heard(&after, 0).await,
        (0, 0),
        "(events, tones) at the agent after the crash"
    );
    assert!(
        after.agent_got.lock().await.len() > 50,
        "the agent hears nothing at all"
    );
    assert!(
        after.caller_got.lock().await.len() > 50,
        "the caller hears nothing at all"
    );
    let unblocked = gateway
        .ng(&json!({"command": "unblock DTMF", "call-id": "crash-1", "from-tag": "caller"}))
        .await;
    assert!(
        unblocked["warning"]
            .as_str()
            .unwrap()
            .contains("armed when the gateway restarted"),
        "{unblocked}"
    );

    let again = gateway.payment("crash-1").await;
    card(&gateway, &after, id(&again), How::Tone).await;
    let ended = complete(&gateway, id(&again)).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    assert_eq!(keys_heard(&after, 0).await, (0, 0));
    // The hang-up ends it: a later call of this Call-ID is like any other.
    after.hang_up(&gateway).await;
    drop(before);
    let later = play(&gateway, "crash-1").await;
    assert_eq!(gateway.get("/v1/calls/crash-1").await["armed"], false);
    later.hang_up(&gateway).await;
}

/// The payment that somebody has begun on a call, once the call is armed for it.
async fn begun(gateway: &Gateway, call: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let payments = gateway.get(&format!("/v1/payments?call={call}")).await;
        if let [payment] = payments["payments"].as_array().unwrap().as_slice()
            && payment["state"] == "open"
        {
            return payment.clone();
        }
        assert!(Instant::now() < until, "no payment begins: {payments}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_the_agent_dials_starts_the_payment_that_waits_and_a_caller_who_dials_it_none()
{
    let gateway = Gateway::start(Options::default()).await;
    let ends = play(&gateway, "dial-1").await;
    let at = "/v1/calls/dial-1/prepared";
    let (status, _) = gateway.request("GET", at, None).await;
    assert_eq!(status, 204);
    let order = json!({"amount": 1999, "currency": "EUR", "reference": "INV-7"});
    let (status, waits) = gateway.request("PUT", at, Some(order.clone())).await;
    assert_eq!(
        (status, &waits["key_code"]),
        (200, &json!("*77#")),
        "{waits}"
    );
    assert_eq!(gateway.get(at).await, waits);
    let payments = async || gateway.get("/v1/payments?call=dial-1").await["payments"].clone();

    ends.key("*77#", |_| How::Event).await;
    assert_eq!(payments().await, json!([]), "it was the caller");
    ends.dial("*77#");
    let payment = begun(&gateway, "dial-1").await;
    assert_eq!(payment["amount_minor"], 1999);
    assert_eq!(payment["reference"], "INV-7");
    assert_eq!(gateway.get("/v1/calls/dial-1").await["armed"], true);
    let (status, _) = gateway.request("GET", at, None).await;
    assert_eq!(status, 204, "it waits no longer");
    let events = ends.caller_got.lock().await;
    assert_eq!(
        events
            .iter()
            .filter(|packet| packet[1] & 0x7f == 101)
            .count(),
        0
    );
    drop(events);

    let heard = ends.agent_got.lock().await.len();
    card(&gateway, &ends, id(&payment), How::Event).await;
    let ended = complete(&gateway, id(&payment)).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    assert_eq!(keys_heard(&ends, heard).await, (0, 0));

    let (status, _) = gateway.request("PUT", at, Some(order.clone())).await;
    assert_eq!(status, 200);
    let (status, _) = gateway.request("DELETE", at, None).await;
    assert_eq!(status, 204);
    ends.dial("*77#5");
    ends.until_heard(200).await;
    assert_eq!(payments().await.as_array().unwrap().len(), 1, "none waits");
    ends.hang_up(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_the_agent_dials_in_tones_starts_the_payment_that_waits_and_one_with_a_pin_none()
 {
    let mut gateway = Gateway::start(Options::default()).await;
    let order = json!({"amount": 1999, "currency": "EUR", "reference": "INV-9"});
    let ends = play(&gateway, "aloud-1").await;
    let (status, waits) = gateway
        .request("PUT", "/v1/calls/aloud-1/prepared", Some(order.clone()))
        .await;
    assert_eq!(status, 200, "{waits}");
    ends.key("*77#", |_| How::Tone).await;
    ends.dial_by("*77#", How::Tone);
    let payment = begun(&gateway, "aloud-1").await;
    assert_eq!(payment["reference"], "INV-9");
    let heard = ends.agent_got.lock().await.len();
    card(&gateway, &ends, id(&payment), How::Tone).await;
    let ended = complete(&gateway, id(&payment)).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    assert_eq!(keys_heard(&ends, heard).await, (0, 0));
    ends.hang_up(&gateway).await;

    gateway.kill();
    let pin = gateway.folder.path().join("pin");
    fs::write(&pin, "28461937\n").unwrap();
    gateway.edit_config(|text| text + &format!("\n[triggers]\npin_file = {pin:?}\n"));
    gateway.restart().await;
    let ends = play(&gateway, "pin-1").await;
    let at = "/v1/calls/pin-1/prepared";
    let (status, waits) = gateway.request("PUT", at, Some(order)).await;
    assert_eq!(
        (status, &waits["key_code"]),
        (200, &json!("*77*PIN#")),
        "{waits}"
    );
    ends.dial_by("*77*28461937#", How::Tone);
    gateway.until_log("the caller could hear the PIN").await;
    // What another way tells within three seconds would be the same code.
    ends.until_heard(200).await;
    ends.dial("*77*28461938#");
    gateway.until_log("wrong PIN").await;
    let none = gateway.get("/v1/payments?call=pin-1").await;
    assert_eq!(none["payments"], json!([]));
    ends.dial("*77*28461937#");
    let until = Instant::now() + Duration::from_secs(60);
    while gateway.get("/v1/calls/pin-1").await["armed"] != true {
        assert!(Instant::now() < until, "no payment begins");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let got = ends.caller_got.lock().await.clone();
    let events = got.iter().filter(|packet| packet[1] & 0x7f == 101);
    assert_eq!(events.count(), 0, "of events the caller gets none");
    let (_, shown) = gateway.command(&[
        "audit",
        "show",
        "--data-dir",
        gateway.data().to_str().unwrap(),
        "--tenant",
        "default",
    ]);
    assert_eq!(shown.matches("key-code-refused").count(), 2, "{shown}");
    for text in [&shown, &gateway.log()] {
        assert!(
            !text.contains("28461937") && !text.contains("28461938"),
            "{text}"
        );
    }
    ends.hang_up(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_tells_who_is_the_caller_neither_end_gets_a_key_and_the_named_one_pays() {
    let gateway = Gateway::start(Options::default()).await;
    for named in ["caller", "agent"] {
        let signalling_id = format!("doubt-{named}");
        let ends = play_of(&gateway, &signalling_id, "unknown").await;
        let call = gateway.get(&format!("/v1/calls/{signalling_id}")).await;
        assert_eq!(call["sides_known"], false);
        let mut order = json!({
            "call": signalling_id, "amount": 1999, "currency": "EUR", "reference": "INV-8",
        });
        let (status, refused) = gateway
            .request("POST", "/v1/payments", Some(order.clone()))
            .await;
        assert_eq!(status, 422);
        assert!(
            refused["type"]
                .as_str()
                .unwrap()
                .ends_with("caller-unknown"),
            "{refused}"
        );
        order["leg"] = json!(named);
        let (status, payment) = gateway.request("POST", "/v1/payments", Some(order)).await;
        assert_eq!(status, 201, "{payment}");
        let events = async |got: &Mutex<Vec<Vec<u8>>>| {
            let got = got.lock().await;
            got.iter().filter(|packet| packet[1] & 0x7f == 101).count()
        };
        let heard = ends.agent_got.lock().await.len();
        if named == "caller" {
            card(&gateway, &ends, id(&payment), How::Tone).await;
            ends.dial("5");
        } else {
            for (field, keys) in [
                ("payment-card-number", APPROVED),
                ("expiration-date", EXPIRY),
                ("security-code", CODE),
            ] {
                open(&gateway, id(&payment), field).await;
                // Not whose keys they are.
                ends.key("98", |_| How::Tone).await;
                ends.dial(keys);
                let ended = until(&gateway, id(&payment), |view| view["capturing"] != field).await;
                assert_eq!(ended["fields"][field]["status"], "complete", "{ended}");
            }
        }
        ends.until_heard(60).await;
        let ended = complete(&gateway, id(&payment)).await;
        assert_eq!(ended["state"], "approved", "{ended}");
        assert_eq!(keys_heard(&ends, heard).await, (0, 0));
        assert_eq!(events(&ends.caller_got).await, 0);
        // Both are free again.
        while gateway.get(&format!("/v1/calls/{signalling_id}")).await["armed"] == true {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ends.dial("5");
        ends.key("5", |_| How::Event).await;
        ends.until_heard(60).await;
        assert!(events(&ends.caller_got).await > 0 && events(&ends.agent_got).await > 0);
        ends.hang_up(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_running_calls_end_and_takes_no_new_ones() {
    let mut gateway = Gateway::start(Options::default()).await;
    gateway.kill();
    gateway.edit_config(|text| text.replace("drain_timeout = \"2s\"", "drain_timeout = \"40s\""));
    gateway.restart().await;
    let live = gateway
        .http
        .get(format!("{}/livez", gateway.base))
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
    let ends = play(&gateway, "drain-1").await;
    // A panel that watches must not hold the process up.
    let stream = gateway
        .http
        .get(format!("{}/v1/events", gateway.base))
        .bearer_auth(&gateway.secret);
    let stream = stream.send().await.unwrap();
    gateway.signal("TERM");
    let told = Instant::now();
    gateway.until_log("draining: no new calls").await;

    let offer = |more: Value| {
        let mut offer = json!({"command": "offer", "call-id": "drain-2", "from-tag": "x", "sdp": call_sdp(4_000)});
        offer
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        offer
    };
    let refused = gateway.ng(&offer(json!({}))).await;
    assert_eq!(
        refused["error-reason"], "Parallel session limit reached",
        "{refused}"
    );
    let refused = gateway
        .ng(&offer(json!({"supports": ["load limit"]})))
        .await;
    assert_eq!(refused["result"], "load limit", "{refused}");
    let ready = gateway
        .http
        .get(format!("{}/readyz", gateway.base))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("draining"));
    let live = gateway
        .http
        .get(format!("{}/livez", gateway.base))
        .send()
        .await
        .unwrap();
    assert_eq!(live.status(), 200);
    let (status, problem) = gateway
        .request(
            "POST",
            "/v1/payments",
            Some(json!({"call": "drain-1", "amount": 1, "currency": "EUR", "reference": "D"})),
        )
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (503, &json!("urn:tonewall:problem:draining")),
        "{problem}"
    );

    // The running call keeps its voice.
    ends.until_heard(50).await;
    ends.hang_up(&gateway).await;
    let status = gateway.until_ended().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert!(
        told.elapsed() < Duration::from_secs(30),
        "waited on though the last call had ended"
    );
    drop(stream);

    // A call that does not end does not hold it up for longer than drain_timeout.
    gateway.edit_config(|text| text.replace("drain_timeout = \"40s\"", "drain_timeout = \"2s\""));
    gateway.restart().await;
    let _ends = play(&gateway, "drain-3").await;
    gateway.signal("TERM");
    let told = Instant::now();
    let status = gateway.until_ended().await;
    assert_eq!(status.code(), Some(0));
    let took = told.elapsed();
    assert!(
        took > Duration::from_millis(1_900) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

/// A certificate for 127.0.0.1, made here, and a client that trusts nothing else.
fn certificate(folder: &Path) -> reqwest::Client {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let ca = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_served_and_sighup_reloads_the_certificate_and_says_what_it_cannot() {
    let mut gateway = Gateway::start(Options::default()).await;
    gateway.signal("HUP");
    gateway
        .until_log("no certificate to reload; nothing else has changed")
        .await;
    gateway.kill();
    let folder = gateway.folder.path().to_owned();
    let first = certificate(&folder);
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    gateway.edit_config(|text| {
        text.replace(
            "[api]\n",
            &format!("[api]\ntls_certificate = {cert:?}\ntls_key = {key:?}\n"),
        )
    });
    let plain = std::mem::replace(&mut gateway.http, first.clone());
    let plain_base = gateway.base.clone();
    gateway.base = plain_base.replace("http:", "https:");
    gateway.restart().await;
    assert_eq!(gateway.get("/v1/calls").await, json!({"calls": []}));
    let unencrypted = plain.get(format!("{plain_base}/livez")).send().await;
    assert!(
        unencrypted.map_or(true, |answer| !answer.status().is_success()),
        "plain HTTP beside TLS"
    );

    let second = certificate(&folder);
    gateway.edit_config(|text| {
        text.replace("drain_timeout = \"2s\"", "drain_timeout = \"3s\"")
            + "\n[capture]\nattempts = 2\n"
    });
    gateway.signal("HUP");
    gateway
        .until_log("certificate of the API reloaded; needs a restart: drain_timeout, [capture]")
        .await;
    let live = |client: reqwest::Client| client.get(format!("{}/livez", gateway.base)).send();
    assert_eq!(
        live(second.clone()).await.unwrap().status(),
        200,
        "the new certificate"
    );
    fs::write(&cert, "hello").unwrap();
    gateway.edit_config(|text| text + "\n[capturing]\n");
    gateway.signal("HUP");
    gateway
        .until_log("certificate of the API not reloaded, the old one stays")
        .await;
    gateway.until_log("the file cannot be used").await;
    assert_eq!(
        live(second).await.unwrap().status(),
        200,
        "the certificate before the bad one"
    );
    let (_, shown) = gateway.command(&[
        "audit",
        "show",
        "--data-dir",
        gateway.data().to_str().unwrap(),
    ]);
    for words in [
        "configuration",
        "no certificate to reload",
        "needs a restart: drain_timeout, [capture]",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

/// A certificate and its key, of this authority.
fn issued(
    issuer: &rcgen::Issuer<'_, rcgen::KeyPair>,
    purpose: rcgen::ExtendedKeyUsagePurpose,
) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, issuer).unwrap().pem();
    (pem, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn ng_is_served_over_tcp_and_over_tls_to_who_has_a_certificate() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let folder = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let (certificate, key) = issued(&issuer, rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let files = (
        file("c.pem", &certificate),
        file("k.pem", &key),
        file("ca.pem", &ca),
    );
    let free = || {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let (tcp, https) = (free(), free());
    let doors = format!(
        "tcp = \"{tcp}\"\nhttps = \"{https}\"\ntls_certificate = {:?}\ntls_key = {:?}\nclient_ca = {:?}",
        files.0, files.1, files.2
    );
    let gateway = Gateway::start(Options {
        ng: doors.leak(),
        ..Options::default()
    })
    .await;

    let mut stream = tokio::net::TcpStream::connect(tcp).await.unwrap();
    stream
        .write_all(b"0_1 d7:command4:pinge0_2 {\"command\":\"ping\"}")
        .await
        .unwrap();
    let mut replies = [0; 41];
    stream.read_exact(&mut replies).await.unwrap();
    // In the order in which they are ready.
    let replies = std::str::from_utf8(&replies).unwrap();
    for reply in ["0_1 d6:result4:ponge", "0_2 {\"result\":\"pong\"}"] {
        assert!(replies.contains(reply), "{replies}");
    }

    let ping = |shows: Option<(String, String)>| {
        let root = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let mut client = reqwest::Client::builder().tls_certs_only([root]).no_proxy();
        if let Some((certificate, key)) = shows {
            let pem = format!("{certificate}{key}");
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        let request = client.build().unwrap().post(format!("https://{https}/ng"));
        let request = request.body("9_1 d7:command4:pinge");
        async move { request.send().await?.text().await }
    };
    let client = issued(&issuer, rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let pong = ping(Some(client.clone())).await.unwrap();
    assert_eq!(pong, "9_1 d6:result4:ponge");
    assert!(ping(None).await.is_err(), "without a certificate");
    let series = "tonewall_control_refused_total{door=\"ng\",reason=\"certificate\"}";
    gateway.until_counted(series, 1, "refusals").await;

    let mut others = rcgen::CertificateParams::new(Vec::new()).unwrap();
    others.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let others = others.self_signed(&rcgen::KeyPair::generate().unwrap());
    file("ca.pem", &others.unwrap().pem());
    gateway.signal("HUP");
    gateway.until_log("certificate of the NG reloaded").await;
    assert!(
        ping(Some(client)).await.is_err(),
        "of an authority that went"
    );
}
