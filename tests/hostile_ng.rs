//! A client of NG that is allowed to control calls and means ill, while a card is keyed: whatever it
//! sends, the agent hears no key, the processor gets what the caller keyed, and what was refused is on
//! record.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;
#[path = "leak/agent.rs"]
mod overheard;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    APPROVED, CODE, EXPIRY, Ends, Gateway, How, Options, call_sdp,
    pay::{capture, complete, digest, open, until},
    play,
};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, sync::Mutex};

const CALL: &str = "hostile@test.invalid";

fn mixed(number: usize) -> How {
    if number.is_multiple_of(2) {
        How::Event
    } else {
        How::Tone
    }
}

/// A command on the call, with more keys.
fn command(name: &str, more: &Value) -> Value {
    let mut command = json!({"command": name, "call-id": CALL});
    let keys = command.as_object_mut().unwrap();
    keys.extend(more.as_object().unwrap().clone());
    command
}

/// What would release, reveal, record, fork or charge: each is refused, by an error or a warning.
fn refused(ports: (u16, u16)) -> Vec<Value> {
    let mut all = Vec::new();
    for more in [
        json!({}),
        json!({"flags": ["all"]}),
        json!({"from-tag": "caller"}),
        json!({"from-tag": "agent", "flags": ["directional"]}),
        json!({"flags": ["all", "directional", "force", "reset"], "DTMF-security": "off"}),
    ] {
        all.push(command("unblock DTMF", &more));
        all.push(command("Unblock_dtmf", &more));
    }
    for more in [
        json!({"DTMF-security": "off"}),
        json!({"DTMF-security": "off", "from-tag": "caller", "flags": ["directional"]}),
    ] {
        all.push(command("block DTMF", &more));
    }
    for name in [
        "start recording",
        "pause recording",
        "stop recording",
        "start forwarding",
        "stop forwarding",
        "play media",
        "stop media",
        "play DTMF",
        "publish",
        "subscribe request",
        "subscribe answer",
        "unsubscribe",
        "inject start",
        "inject stop",
        "connect",
        "transform",
        "create",
        "create answer",
        "mesh",
        "cli",
    ] {
        let more = json!({"from-tag": "caller", "to-tag": "agent", "code": "5", "digit": "5",
            "flags": ["all", "egress", "directional", "SIPREC", "inject-DTMF"],
            "file": "/tmp/x.wav", "sdp": call_sdp(ports.1)});
        all.push(command(name, &more));
    }
    // Somebody in the place of an end, and a third.
    for more in [
        json!({"from-tag": "caller", "to-tag": "recorder"}),
        json!({"from-tag": "agent", "to-tag": "recorder"}),
        json!({"from-tag": "stranger", "to-tag": "agent"}),
    ] {
        let mut more = more;
        more["sdp"] = json!(call_sdp(ports.1));
        all.push(command("answer", &more));
    }
    for more in [
        json!({"from-tag": "recorder", "to-tag": "caller"}),
        json!({"from-tag": "recorder", "to-tag": "agent"}),
        json!({"from-tag": "stranger", "to-tag": "recorder"}),
        json!({"from-tag": "stranger", "flags": ["directional", "record-call"], "record-call": "on"}),
    ] {
        let mut more = more;
        more["sdp"] = json!(call_sdp(ports.0));
        all.push(command("offer", &more));
    }
    for word in ["start", "capture", "complete", "cancel", "off", ""] {
        let more = json!({"tonewall-payment": word, "tonewall-amount": "1", "tonewall-currency": "EUR",
            "tonewall-reference": "MINE", "tonewall-field": "security-code"});
        all.push(command("block DTMF", &more));
    }
    all
}

/// What is carried out, or ignored, and may not help.
fn useless(ports: (u16, u16)) -> Vec<Value> {
    let everything = json!([
        "inject-DTMF",
        "detect-DTMF",
        "record-call",
        "always-transcode",
        "allow-transcoding",
        "loop-protect",
        "reset",
        "force",
        "egress",
        "all",
        "directional",
        "no-rtcp-attribute",
        "codec-strip-telephone-event",
        "codec-transcode-PCMA",
        "media-handover",
        "strict-source",
        "symmetric",
        "unidirectional",
        "pierce-NAT",
        "generate-RTCP"
    ]);
    let mut all = vec![
        json!({"command": "ping"}),
        json!({"command": "list", "limit": 1000}),
        command("query", &json!({})),
        command("unblock media", &json!({"flags": ["all"]})),
        command("unsilence media", &json!({"from-tag": "caller"})),
        command("delete", &json!({"from-tag": "stranger"})),
        command(
            "delete",
            &json!({"from-tag": "caller", "to-tag": "other-fork"}),
        ),
    ];
    for word in ["drop", "silence", "tone", "random", "zero", "DTMF"] {
        all.push(command(
            "block DTMF",
            &json!({"DTMF-security": word, "digit": "5", "delay-buffer": 0, "trigger": "#",
                "trigger-end": "*", "DTMF-security-trigger": "off", "flags": ["detect-DTMF"]}),
        ));
        all.push(command(
            "block DTMF",
            &json!({"DTMF-security": word, "from-tag": "agent"}),
        ));
    }
    // As the ends themselves would offer anew, with every flag there is.
    for (from, to, port) in [("caller", "agent", ports.0), ("agent", "caller", ports.1)] {
        all.push(command(
            "offer",
            &json!({"from-tag": from, "to-tag": to, "sdp": call_sdp(port), "flags": everything,
                "replace": ["origin", "session-connection"], "record-call": "yes",
                "DTMF-security": "off", "DTMF-log-dest": "127.0.0.1:9", "delay-buffer": 0,
                "media-address": "192.0.2.66", "tonewall-caller": if from == "caller" { "answerer" } else { "offerer" },
                "metadata": "x", "tonewall-payment": "cancel",
                "codec": {"strip": ["telephone-event"], "transcode": ["telephone-event", "PCMA"]}}),
        ));
    }
    all
}

/// Sends all of them again and again until told to stop; counts the refusals.
async fn harass(gateway: &Gateway, ports: (u16, u16), stop: &AtomicBool, count: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        for command in refused(ports) {
            let reply = gateway.ng(&command).await;
            let is_refused = reply["result"] == "error" || reply["warning"].is_string();
            assert!(is_refused, "{command}\n{reply}");
            assert_ne!(reply["error-reason"], "Unrecognized command", "{command}");
            count.fetch_add(1, Ordering::SeqCst);
        }
        for command in useless(ports) {
            gateway.ng(&command).await;
        }
    }
}

/// What an end's new description leads to, with its answer from the other.
async fn offer_again(gateway: &Gateway, from: &str, to: &str, sdp: &str, answer: &str) {
    let offer = json!({"from-tag": from, "to-tag": to, "sdp": sdp});
    gateway.ng(&command("offer", &offer)).await;
    let answer = json!({"from-tag": from, "to-tag": to, "sdp": answer});
    gateway.ng(&command("answer", &answer)).await;
}

/// Presses keys, whoever hears them.
async fn press(ends: &Ends, text: &str) {
    let start = (ends.position() / 160 + 10) * 160;
    ends.key_at(start, text, mixed).await;
}

/// Descriptions of both ends that would blind a relay that believes them, while keys are pressed; then
/// the true ones again. What a thief's socket gets when the agent's media is led there.
async fn mislead(gateway: &Gateway, ends: &Ends) -> Vec<Vec<u8>> {
    let (caller, agent) = (call_sdp(ends.ports.0), call_sdp(ends.ports.1));
    for lie in [
        caller.replace("RTP/AVP 0 101", "RTP/AVP 8"),
        caller.replace("101", "96"),
        caller.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"),
        caller.replace(&format!("audio {}", ends.ports.0), "audio 0"),
        caller.replace("a=sendrecv", "a=inactive"),
        caller.replace("RTP/AVP 0 101", "RTP/AVP 103") + "a=rtpmap:103 ISAC/16000\r\n",
        caller.replace("PCMU/8000", "CN/8000"),
    ] {
        offer_again(gateway, "caller", "agent", &lie, &agent).await;
        press(ends, "77").await;
        offer_again(gateway, "caller", "agent", &caller, &agent).await;
    }
    let thief = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = thief.local_addr().unwrap().port();
    let stolen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let into = Arc::clone(&stolen);
    let task = tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, _)) = thief.recv_from(&mut buffer).await {
            into.lock().await.push(buffer[..length].to_vec());
        }
    });
    offer_again(gateway, "agent", "caller", &call_sdp(port), &caller).await;
    press(ends, "7777").await;
    offer_again(gateway, "agent", "caller", &agent, &caller).await;
    // In the caller's place: the field that is open takes nothing of two places.
    offer_again(gateway, "caller", "agent", &call_sdp(port), &agent).await;
    offer_again(gateway, "caller", "agent", &caller, &agent).await;
    task.abort();
    let stolen = stolen.lock().await;
    stolen.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_ng_client_in_mid_capture_reveals_nothing_forges_nothing_and_is_on_record() {
    let gateway = Arc::new(
        Gateway::start(Options {
            ng: "payments = true",
            ..Options::default()
        })
        .await,
    );
    let ends = play(&gateway, CALL).await;
    // Control: what is not armed can be overheard.
    ends.key("59", mixed).await;
    let before = ends.agent_got.lock().await.clone();
    assert_eq!(overheard::keys(&before).chars().count(), 2);

    let order = json!({"tonewall-payment": "start", "tonewall-amount": "1250",
        "tonewall-currency": "EUR", "tonewall-reference": "NG-1"});
    let begun = gateway.ng(&command("block DTMF", &order)).await;
    assert_eq!(begun["result"], "ok", "{begun}");
    assert_eq!(begun["tonewall-masked"], json!(["caller"]));
    let payment = begun["tonewall-payment"].as_str().unwrap().to_owned();
    let view = gateway.get(&format!("/v1/payments/{payment}")).await;
    assert_eq!(view["reference"], "NG-1", "{view}");
    let armed = ends.agent_got.lock().await.len();

    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let harassing = {
        let (gateway, stop, count) = (Arc::clone(&gateway), Arc::clone(&stop), Arc::clone(&count));
        let ports = ends.ports;
        tokio::spawn(async move { harass(&gateway, ports, &stop, &count).await })
    };
    let number = capture(
        &gateway,
        &ends,
        &payment,
        ("payment-card-number", APPROVED),
        mixed,
    )
    .await;
    assert_eq!(number["status"], "complete", "{number}");
    open(&gateway, &payment, "expiration-date").await;
    while count.load(Ordering::SeqCst) < 2 * refused(ends.ports).len() {
        assert!(!harassing.is_finished(), "it failed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::SeqCst);
    harassing.await.unwrap();

    let stolen = mislead(&gateway, &ends).await;
    assert!(
        stolen.len() > 20,
        "the agent's media went there: {}",
        stolen.len()
    );
    let audio: Vec<Vec<u8>> = stolen.into_iter().filter(|p| p[1] & 0x7f < 64).collect();
    assert_eq!(overheard::keys(&audio), "", "and told nothing");

    until(&gateway, &payment, |view| {
        view["fields"]["expiration-date"]["status"] == "problem"
    })
    .await;
    for field in [("expiration-date", EXPIRY), ("security-code", CODE)] {
        let view = capture(&gateway, &ends, &payment, field, mixed).await;
        assert_eq!(view["status"], "complete", "{view}");
    }
    let done = complete(&gateway, &payment).await;
    assert_eq!(done["state"], "approved", "{done}");
    let heard = ends.agent_got.lock().await[armed..].to_vec();
    assert_eq!(overheard::keys(&heard), "", "the agent heard keys");
    let received = gateway.received().await;
    assert_eq!(received.len(), 1, "one charge");
    assert_eq!(received[0]["pan_hmac"], digest(APPROVED));
    assert_eq!(received[0]["expiry_hmac"], digest(EXPIRY));
    assert_eq!(received[0]["code_hmac"], digest(CODE));

    // What became of it is told to signalling, also once the call is over.
    until(&gateway, &payment, |view| view["armed"] == false).await;
    for _ in 0..2 {
        let told = gateway.ng(&command("query", &json!({}))).await;
        let told = &told["tonewall-payment"];
        assert_eq!(told["state"], "approved", "{told}");
        assert_eq!(told["id"], payment.as_str());
        assert_eq!(told["last4"], "4242");
        gateway.ng(&command("delete", &json!({}))).await;
    }
    let count = count.load(Ordering::SeqCst);
    let data = gateway.data();
    let (read, log) = gateway.command(&[
        "audit",
        "show",
        "--json",
        "--tenant",
        "default",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert!(read, "{log}");
    let of_ng = log.lines().filter(|line| {
        let refusal = line.contains("access-refused") || line.contains("disarm-refused");
        refusal && line.contains("127.0.0.1:")
    });
    let recorded = of_ng.count();
    println!("{count} refusals, {recorded} on record");
    assert!(
        recorded >= count,
        "{recorded} of {count} refusals are on record"
    );
    assert!(!log.contains(APPROVED) && !gateway.log().contains(APPROVED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_ng_needs_a_setting_and_follows_the_rules_of_the_api() {
    let closed = Gateway::start(Options::default()).await;
    let ends = play(&closed, CALL).await;
    let order = |amount: &str, currency: &str, reference: &str| {
        command(
            "block DTMF",
            &json!({"tonewall-payment": "start", "tonewall-amount": amount,
                "tonewall-currency": currency, "tonewall-reference": reference}),
        )
    };
    let reply = closed.ng(&order("100", "EUR", "R-1")).await;
    let reason = reply["error-reason"].as_str().unwrap();
    assert!(reason.contains("ng.payments"), "{reply}");
    ends.hang_up(&closed).await;

    let gateway = Gateway::start(Options {
        ng: "payments = true",
        ..Options::default()
    })
    .await;
    let ends = play(&gateway, CALL).await;
    for (amount, currency, reference, words) in [
        ("0", "EUR", "R-1", "1 to 99,999,999"),
        ("4242424242424242", "EUR", "R-1", "a larger amount"),
        ("12.50", "EUR", "R-1", "whole number"),
        ("-5", "EUR", "R-1", "whole number"),
        ("100", "euro", "R-1", "ISO 4217"),
        ("100", "EUR", APPROVED, "card number"),
        ("100", "EUR", "", "reference"),
    ] {
        let reply = gateway.ng(&order(amount, currency, reference)).await;
        let reason = reply["error-reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{amount} {currency}: {reply}");
        assert!(!reason.contains("4242"), "{reply}");
    }
    assert_eq!(gateway.counted("tonewall_calls_armed").await, 0);
    // As an unmodified Kamailio of the newer kind passes a script's words.
    let flags =
        "tonewall-payment=start tonewall-amount=990 tonewall-currency=EUR tonewall-reference=R-2";
    let begun = gateway
        .ng(&command("block DTMF", &json!({"rtpp-flags": flags})))
        .await;
    assert_eq!(begun["result"], "ok", "{begun}");
    let again = gateway.ng(&order("990", "EUR", "R-3")).await;
    assert!(
        again["error-reason"]
            .as_str()
            .unwrap()
            .contains("already has payment"),
        "{again}"
    );
    ends.hang_up(&gateway).await;
}
