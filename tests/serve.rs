//! `tonewall serve` and the commands beside it, as operators, programs and auditors meet them.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use common::{
    APPROVED, CODE, EXPIRY, Ends, Gateway, How, Options, call_sdp,
    pay::{capture, complete, digest, open, until},
    play,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonewall::proto::codec::Law;

fn tonewall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tonewall"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn gateway(ports: u16) -> Gateway {
    Gateway::start(Options {
        ports,
        ..Options::default()
    })
    .await
}

async fn until_log(gateway: &Gateway, words: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    while !gateway.log().contains(words) {
        assert!(
            Instant::now() < until,
            "{words:?} is not in the log:\n{}",
            gateway.log()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

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

fn id(payment: &Value) -> &str {
    payment["id"].as_str().unwrap()
}

#[test]
fn help_tells_what_there_is_and_check_explains_a_good_file() {
    let help = tonewall(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for words in [
        "Takes card payments on live phone calls",
        "serve",
        "check",
        "demo",
        "keys",
        "audit",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(
        !help.contains("sandbox-processor") && !help.contains("demo-end"),
        "{help}"
    );
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
    let serve = text(&tonewall(&["serve", "--help"]).stdout);
    assert!(
        serve.contains("--config <FILE>") && serve.contains("TONEWALL_CONFIG"),
        "{serve}"
    );
    let nothing = tonewall(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("Usage: tonewall"));
    let unknown = tonewall(&["srve"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("'serve'"),
        "{}",
        text(&unknown.stderr)
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tonewall.toml");
    let named = file.to_str().unwrap();
    let absent = tonewall(&["check", "--config", named]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("cannot read") && text(&absent.stderr).contains(named));
    fs::write(
        &file,
        "data_dir = \"/var/lib/tonewall\"\n[media]\nport_max = 30399\n",
    )
    .unwrap();
    let good = tonewall(&["check", "--config", named]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let good = text(&good.stdout);
    for words in [
        "can be used",
        "/var/lib/tonewall",
        "loopback only",
        "room for 100 calls",
        "SANDBOX",
    ] {
        assert!(good.contains(words), "{words}: {good}");
    }
    fs::write(&file, "data_dir = \"/d\"\n[media]\nport_mox = 1\n").unwrap();
    let bad = tonewall(&["check", "--config", named]);
    assert_eq!(bad.status.code(), Some(1));
    let bad = text(&bad.stderr);
    assert!(
        bad.contains("line 3") && bad.contains("port_mox") && bad.contains("port_max"),
        "{bad}"
    );
    // Plain HTTP where others can listen is no way to start.
    let data = folder.path().join("data");
    fs::write(
        &file,
        format!("data_dir = {data:?}\n[api]\nlisten = \"0.0.0.0:0\"\n"),
    )
    .unwrap();
    let open = tonewall(&["serve", "--config", named]);
    assert_eq!(open.status.code(), Some(1));
    let open = text(&open.stderr);
    assert!(
        open.contains("plain HTTP is served on loopback addresses only"),
        "{open}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_goes_from_call_to_approval_and_what_is_wrong_is_told() {
    let gateway = gateway(22_000).await;
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
    let until_disarmed = Instant::now() + Duration::from_secs(5);
    while gateway.get("/v1/calls/pay-1").await["armed"] == true {
        assert!(Instant::now() < until_disarmed, "the call stays armed");
        sleep(Duration::from_millis(50)).await;
    }
    // Nobody holds the call now: the agent hears keys again, and this test's ears are good.
    let from = ends.agent_got.lock().await.len();
    ends.key("12", |key| [How::Event, How::Tone][key]).await;
    let (events, tones) = keys_heard(&ends, from).await;
    assert!(events > 0 && tones > 0, "{events} events, {tones} tones");

    // Hung up when the whole card is there: wiped, not charged.
    let payment = gateway.payment("pay-1").await;
    card(&gateway, &ends, id(&payment), How::Tone).await;
    ends.hang_up(&gateway).await;
    let gone = until(&gateway, id(&payment), Duration::from_secs(5), |view| {
        view["state"] == "cancelled"
    })
    .await;
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

    let metrics = gateway.metrics().await;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let labels = line
            .split_once('{')
            .map_or("", |(_, labels)| labels.rsplit_once('}').unwrap().0);
        let run = labels
            .as_bytes()
            .windows(4)
            .any(|run| run.iter().all(u8::is_ascii_digit));
        assert!(!run, "a row of digits in a label: {line}");
    }
    for series in [
        "tonewall_payments_total{state=\"approved\"} 1",
        "tonewall_payments_total{state=\"cancelled\"} 2",
        "tonewall_incidents_total 0",
    ] {
        assert!(metrics.contains(series), "{series}:\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_the_call_armed_and_the_payment_cancelled_with_words() {
    let mut gateway = gateway(22_600).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_running_calls_end_and_takes_no_new_ones() {
    let mut gateway = gateway(23_200).await;
    gateway.kill();
    gateway.edit_config(|text| text.replace("drain_timeout = \"2s\"", "drain_timeout = \"8s\""));
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
    until_log(&gateway, "draining: no new calls").await;

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

    let (agent, caller) = (
        ends.agent_got.lock().await.len(),
        ends.caller_got.lock().await.len(),
    );
    sleep(Duration::from_secs(1)).await;
    assert!(
        ends.agent_got.lock().await.len() >= agent + 40,
        "the running call has lost its voice"
    );
    assert!(
        ends.caller_got.lock().await.len() >= caller + 40,
        "the running call has lost its voice"
    );
    ends.hang_up(&gateway).await;
    let status = gateway.until_ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert!(
        told.elapsed() < Duration::from_secs(7),
        "waited on though the last call had ended"
    );
    drop(stream);

    // A call that does not end does not hold it up for longer than drain_timeout.
    gateway.edit_config(|text| text.replace("drain_timeout = \"8s\"", "drain_timeout = \"2s\""));
    gateway.restart().await;
    let _ends = play(&gateway, "drain-3").await;
    gateway.signal("TERM");
    let told = Instant::now();
    let status = gateway.until_ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    let took = told.elapsed();
    assert!(
        took > Duration::from_millis(1_900) && took < Duration::from_secs(4),
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
    let mut gateway = gateway(23_800).await;
    gateway.signal("HUP");
    until_log(
        &gateway,
        "no certificate to reload; nothing else has changed",
    )
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
    until_log(
        &gateway,
        "certificate reloaded; needs a restart: drain_timeout, [capture]",
    )
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
    until_log(&gateway, "certificate not reloaded, the old one stays").await;
    until_log(&gateway, "the file cannot be used").await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_panel_links_work_while_the_gateway_runs_and_stand_in_the_log() {
    let gateway = gateway(24_400).await;
    let config = gateway.config();
    let config = config.to_str().unwrap();
    let keys = |args: &[&str]| gateway.command(&[&["keys"], args, &["--config", config]].concat());
    let (done, made) = keys(&[
        "create",
        "--role",
        "auditor",
        "--label",
        "Ms Ledger",
        "--json",
    ]);
    assert!(done, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let (key, secret) = (id(&made), made["secret"].as_str().unwrap());
    let session = || {
        gateway
            .http
            .get(format!("{}/v1/session", gateway.base))
            .bearer_auth(secret)
            .send()
    };
    let calls = || {
        gateway
            .http
            .get(format!("{}/v1/calls", gateway.base))
            .bearer_auth(secret)
            .send()
    };
    assert_eq!(session().await.unwrap().status(), 200);
    assert_eq!(
        calls().await.unwrap().status(),
        403,
        "an auditor takes no payments"
    );
    let (_, listed) = keys(&["list"]);
    assert!(
        listed.contains(key) && listed.contains("Ms Ledger") && listed.contains("auditor"),
        "{listed}"
    );
    assert!(!listed.contains(secret), "the list shows a secret");
    let (done, said) = keys(&["revoke", key]);
    assert!(done && said.contains("opens nothing any more"), "{said}");
    assert_eq!(
        session().await.unwrap().status(),
        401,
        "a revoked key works"
    );
    let (done, said) = keys(&["revoke", key]);
    assert!(
        !done && said.contains("no live key") && said.contains("tonewall keys list"),
        "{said}"
    );

    let (done, made) = keys(&["panel", "--json"]);
    assert!(done, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let straight = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let enter = || {
        straight
            .get(made["link"].as_str().unwrap())
            .header("Sec-Fetch-Site", "none")
            .send()
    };
    let entered = enter().await.unwrap();
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let again = enter().await.unwrap();
    assert_eq!(again.status(), 401);
    let again = again.text().await.unwrap();
    assert!(
        again.contains("this link was used") && again.contains("`tonewall keys panel`"),
        "{again}"
    );
    let by_cookie = straight
        .get(format!("{}/v1/session", gateway.base))
        .header("Cookie", cookie);
    let by_cookie = by_cookie
        .header("Sec-Fetch-Site", "same-origin")
        .send()
        .await
        .unwrap();
    assert_eq!(by_cookie.status(), 200);

    // What the command line did is taken over within a second.
    sleep(Duration::from_millis(2_500)).await;
    let data = gateway.data();
    let data = data.to_str().unwrap();
    let (done, shown) =
        gateway.command(&["audit", "show", "--data-dir", data, "--tenant", "default"]);
    assert!(done, "{shown}");
    for event in ["api-key-created", "api-key-revoked"] {
        let line = shown
            .lines()
            .find(|line| line.contains(event) && line.contains(key));
        let line = line.unwrap_or_else(|| panic!("no {event} of {key}:\n{shown}"));
        assert!(
            line.contains("by console") && line.contains("uid="),
            "{line}"
        );
    }
    for event in ["panel-link-created", "sign-in"] {
        assert!(
            shown.lines().any(|line| line.contains(event)),
            "{event}:\n{shown}"
        );
    }
    assert!(!shown.contains(secret), "the log shows a secret");
    let (_, nodes) = gateway.command(&["audit", "show", "--data-dir", data]);
    assert!(
        nodes.contains("sign-in-refused") && nodes.contains("panel link"),
        "{nodes}"
    );
    assert!(nodes.contains("log-started"), "{nodes}");
}

/// The file of a log's first entries.
fn segment(data: &Path, log: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "log")
                && path.to_str().unwrap().contains(log)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().next().expect("a log file")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_verify_finds_what_was_changed_and_passes_what_was_not() {
    let gateway = gateway(25_000).await;
    let ends = play(&gateway, "audit-1").await;
    let payment = gateway.payment("audit-1").await;
    gateway
        .post(&format!("/v1/payments/{}/cancel", id(&payment)), json!({}))
        .await;
    ends.hang_up(&gateway).await;
    let verify = |data: &Path| {
        let output = tonewall(&["audit", "verify", "--data-dir", data.to_str().unwrap()]);
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    // Also while the gateway writes.
    let (code, report) = verify(&gateway.data());
    assert_eq!(code, Some(0), "{report}");
    let (folder, _) = gateway.stop();
    let data = folder.path().join("data");
    let (code, report) = verify(&data);
    assert_eq!(code, Some(0), "{report}");
    for words in [
        "no entry is changed, missing or reordered",
        "tenant default",
        "node",
        "not anchored",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }

    type Change = (&'static str, fn(Vec<u8>) -> Vec<u8>, &'static str);
    fn lines(bytes: Vec<u8>, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let mut lines: Vec<_> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        assert!(lines.len() > 3, "too few entries");
        change(&mut lines);
        lines.concat()
    }
    let changes: [Change; 4] = [
        (
            "a flipped bit",
            |mut bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                bytes
            },
            "changed",
        ),
        (
            "a missing entry",
            |bytes| lines(bytes, |lines| drop(lines.remove(1))),
            "missing or reordered",
        ),
        (
            "two entries in the wrong order",
            |bytes| lines(bytes, |lines| lines.swap(1, 2)),
            "reordered",
        ),
        (
            "the last entry missing",
            |bytes| lines(bytes, |lines| drop(lines.pop())),
            "missing",
        ),
    ];
    for log in ["default", "node"] {
        for (name, change, words) in &changes {
            let copy = tempfile::tempdir().unwrap();
            let status = Command::new("cp")
                .arg("-r")
                .arg(&data)
                .arg(copy.path())
                .status()
                .unwrap();
            assert!(status.success());
            let copied = copy.path().join("data");
            let file = segment(&copied.join("audit"), log);
            fs::write(&file, change(fs::read(&file).unwrap())).unwrap();
            let (code, report) = verify(&copied);
            assert_eq!(code, Some(1), "{name} of {log} is not found: {report}");
            assert!(
                report.contains("DAMAGED") && report.contains(words),
                "{name} of {log}: {report}"
            );
        }
    }
    let (code, report) = verify(&data);
    assert_eq!(code, Some(0), "{report}");
    let (code, report) = verify(folder.path());
    assert_eq!(code, Some(1));
    assert!(
        report.contains("no audit log at") && report.contains("data_dir"),
        "{report}"
    );
}
