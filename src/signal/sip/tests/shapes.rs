//! Keys of an armed call in every shape: none gets to the other end, nor to the stack.

use super::*;
use crate::proto::digit::KeyClass::{self, Digit, Hash, Star};

const RELAY: &str = "Content-Type: application/dtmf-relay\r\n";

/// A request with its body and with what its fields say of it, as they are.
fn raw(
    world: &World,
    (method, number): (&str, u32),
    dialog: &Dialog2,
    fields: &str,
    body: &str,
) -> String {
    let bare = world.trunk.within(method, number, dialog, fields, ("", ""));
    bare.replace("Content-Length: 0\r\n", "") + body
}

/// What of an INFO's fields and body makes which key.
fn infos() -> Vec<(String, &'static str, Option<KeyClass>)> {
    let of = |fields: &str, body: &'static str, key| (fields.to_owned(), body, key);
    let told = |body: &str| format!("Content-Length: {}\r\n", body.len());
    let parts = "--b\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=JQ\r\n--b--";
    vec![
        of(RELAY, "Signal=5\r\nDuration=160\r\n", Some(Digit)),
        of(
            "c: application/dtmf-relay\r\nl: 8\r\n",
            "Signal=*",
            Some(Star),
        ),
        of("Content-Type:\r\n application/dtmf\r\n", "#", Some(Hash)),
        of(
            "CONTENT-TYPE : Application/DTMF-Relay ;\r\n x=y\r\n",
            "signal=7",
            Some(Digit),
        ),
        // Cut off by what is told of its length.
        of(
            &format!("{RELAY}Content-Length: 7\r\n"),
            "Signal=JQ\r\n",
            None,
        ),
        of(&format!("{RELAY}Content-Encoding: gzip\r\n"), "JQJQ", None),
        of(RELAY, "Signal=JQ\r\n", None),
        of("Content-Type: application/sdp\r\n", "Signal=JQ\r\n", None),
        of(
            "Content-Type: application/vnd.nortelnetworks.digits\r\n",
            "d=JQ",
            None,
        ),
        of("Content-Type: audio/telephone-event\r\n", "JQ", None),
        of(
            "Content-Type: message/sipfrag\r\n",
            "INFO sip:JQ SIP/2.0",
            None,
        ),
        of(
            &format!(
                "Content-Type: multipart/mixed;boundary=b\r\n{}",
                told(parts)
            ),
            parts,
            None,
        ),
        of("", "Signal=JQ", None),
        of(
            "Signal: JQ\r\nX-DTMF:\r\n JQ\r\nInfo-Package: dtmf;JQ\r\ns: JQ\r\n",
            "",
            None,
        ),
    ]
}

/// A call, armed, whose caller tells keys in every shape; all that the gateway and the stack log.
async fn told(world: &World, call_id: &str) -> Vec<KeyClass> {
    let (caller, agent) = world.call(call_id).await;
    world.arm(call_id).await;
    let mut number = 1;
    let mut expected = Vec::new();
    for (fields, body, key) in infos() {
        number += 1;
        let info = raw(world, ("INFO", number), &caller, &fields, body);
        world.trunk.send(&info).await;
        let answer = world.trunk.hear("SIP/2.0 ").await;
        assert!(answer.starts_with("SIP/2.0 200"), "{info}\n{answer}");
        expected.extend(key);
    }
    let kpml = "Event: kpml\r\nSubscription-State: active;JQ\r\n";
    for (method, fields, body) in [
        (
            "NOTIFY",
            format!("{kpml}c: application/kpml-response+xml\r\n"),
            "<kpml digits=\"JQ\"/>",
        ),
        (
            "NOTIFY",
            format!("{kpml}c: audio/telephone-event\r\n"),
            "JQ",
        ),
        ("MESSAGE", "Content-Type: text/plain\r\n".to_owned(), "JQ"),
        ("MESSAGE", RELAY.to_owned(), "Signal=JQ"),
        ("SUBSCRIBE", "Event: JQ\r\n".to_owned(), ""),
        ("OPTIONS", RELAY.to_owned(), "Signal=JQ"),
        ("UPDATE", "Subject: JQ\r\n".to_owned(), ""),
    ] {
        number += 1;
        let request = raw(world, (method, number), &caller, &fields, body);
        world.trunk.send(&request).await;
        world.trunk.hear("SIP/2.0 200").await;
    }
    // What claims more than it holds is not even read.
    let long = format!("{RELAY}Content-Length: 90\r\n");
    let info = raw(world, ("INFO", number + 1), &caller, &long, "Signal=JQ");
    world.trunk.send(&info).await;
    world.trunk.hear("SIP/2.0 400").await;

    // In what a session is described by, and in responses.
    let offer = sdp(4_002)
        .replace("s=-", "s=JQ\r\ni=JQ")
        .replace("o=-", "o=JQ")
        + "a=ptime:20\r\na=x-keys:JQ\r\n";
    let fields = "Content-Type: application/sdp\r\nReason: JQ\r\nContact: <sip:x@127.0.0.2>\r\n";
    let fields = fields.replace("Contact: <sip:x@127.0.0.2>\r\n", "");
    let again = raw(world, ("INVITE", number + 2), &caller, &fields, &offer);
    world.trunk.send(&again).await;
    let ours = world.pbx.hear("INVITE ").await;
    assert!(
        !ours.contains("JQ") && body(&ours).contains("a=ptime:20"),
        "{ours}"
    );
    world.pbx.answers(&ours, "200 OK", &sdp(6_000)).await;
    world.trunk.hear("SIP/2.0 200").await;
    world
        .trunk
        .send(&raw(
            world,
            ("ACK", number + 2),
            &caller,
            RELAY,
            "Signal=JQ",
        ))
        .await;
    world.pbx.hear("ACK ").await;
    let info = world.pbx.within("INFO", 1, &agent, "", ("a/b", "x"));
    world.pbx.send(&info).await;
    let ours = world.trunk.hear("INFO ").await;
    let answer = world
        .trunk
        .answer(&ours, "299 JQ", "Warning: 399 JQ\r\nSubject: JQ\r\n", "")
        .replace(
            "Content-Length: 0\r\n",
            "Content-Type: application/dtmf\r\nContent-Length: 2\r\n",
        )
        + "JQ";
    world.trunk.send(&answer).await;
    let passed = world.pbx.hear("SIP/2.0 299").await;
    assert!(!passed.contains("JQ"), "{passed}");
    let bye = raw(
        world,
        ("BYE", number + 3),
        &caller,
        "Reason: JQ\r\nc: application/dtmf\r\n",
        "J",
    );
    world.trunk.send(&bye).await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    assert!(!bye.contains("Reason") && body(&bye).is_empty(), "{bye}");
    world.pbx.hears_nothing().await;
    expected
}

#[tokio::test]
async fn no_shape_of_a_key_gets_to_the_other_end_and_each_that_can_be_read_counts_once() {
    let world = World::new(25_600..=25_619).await;
    let expected = told(&world, "shapes").await;
    let pressed = world.house.media.pressed.lock().unwrap().clone();
    assert_eq!(pressed, expected);
}

#[tokio::test]
async fn not_even_the_stack_sees_a_key_of_an_armed_call() {
    let pages = logs::Pages::default();
    // The stack logs each message that it gets: it is not silenced here.
    let _guard = logs::listen(&pages, false);
    let world = World::new(25_620..=25_639).await;
    world
        .trunk
        .send(&world.trunk.invite("open-JQ", "", ""))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    // Until something answers, it is sent again.
    world.pbx.answers(&invite, "180 Ringing", "").await;
    world.trunk.hear("SIP/2.0 180").await;
    let text = pages.text();
    assert!(
        text.contains("rsipstack") && text.contains("open-JQ"),
        "control"
    );
    told(&world, "unseen").await;
    let whole = pages.text();
    let text = whole.split("Call-ID: unseen").skip(1).collect::<String>();
    // The status line of a response is needed; its words go no further.
    let text = text.replace("299 JQ", "");
    // Ids of ours are drawn: 26 letters and digits, in which anything may stand.
    let mut parts = text.split("call_acme_node-1_");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| {
        text + part.get(26..).unwrap_or_default()
    });
    let place = text.find("JQ").unwrap_or(text.len());
    let around = text.get(place.saturating_sub(400)..(place + 40).min(text.len()));
    assert_eq!(place, text.len(), "{}", around.unwrap_or_default());
    assert!(!text.contains("Signal=5") && !text.contains("signal=7"));
}

#[tokio::test]
async fn an_info_counts_in_its_dialog_and_in_its_turn_only() {
    let world = World::new(25_640..=25_659).await;
    let (mut caller, _) = world.call("turns").await;
    world.arm("turns").await;
    let key = ("application/dtmf", "5");
    let mut other = Dialog2 {
        local: caller.local.replace("from-turns", "from-other"),
        ..caller.clone()
    };
    // Its number would make those of the caller old.
    let info = world.trunk.within("INFO", 90, &other, "", key);
    world.trunk.send(&info).await;
    world.trunk.hear("SIP/2.0 481").await;
    other = Dialog2 {
        remote: format!("{}x", caller.remote),
        ..caller.clone()
    };
    let info = world.trunk.within("INFO", 91, &other, "", key);
    world.trunk.send(&info).await;
    world.trunk.hear("SIP/2.0 481").await;
    assert!(world.house.media.pressed.lock().unwrap().is_empty());
    for (number, status) in [(7, 200), (6, 500), (1, 500), (8, 200)] {
        // Another branch: a request of its own to the stack.
        caller.call_id = "turns".to_owned();
        let info = world.trunk.within("INFO", number, &caller, "", key);
        world.trunk.send(&info).await;
        world.trunk.hear(&format!("SIP/2.0 {status}")).await;
    }
    // The number of another request, and one that was taken, by another branch.
    let options = world.trunk.within("OPTIONS", 9, &caller, "", ("", ""));
    world.trunk.send(&options).await;
    world.trunk.hear("SIP/2.0 200").await;
    for number in [9, 8] {
        let info = world.trunk.within("INFO", number, &caller, "", key);
        let info = info.replace("z9hG4bK-", "z9hG4bK-again");
        world.trunk.send(&info).await;
        world.trunk.hear("SIP/2.0 500").await;
    }
    assert_eq!(*world.house.media.pressed.lock().unwrap(), [Digit, Digit]);
    world.pbx.hears_nothing().await;
}

#[tokio::test]
async fn keys_count_of_a_customer_who_was_called_and_before_the_ack() {
    let world = World::new(25_660..=25_679).await;
    let key = ("application/dtmf", "5");
    world
        .pbx
        .send(&world.pbx.invite("out", "", &sdp(4_000)))
        .await;
    let invite = world.trunk.hear("INVITE ").await;
    let caller = Dialog2::of_invite(&invite);
    world.trunk.answers(&invite, "180 Ringing", "").await;
    world.pbx.hear("SIP/2.0 180").await;
    // Nothing is armed yet, and nobody has taken the call.
    world
        .trunk
        .send(&world.trunk.within("INFO", 1, &caller, "", key))
        .await;
    world.trunk.hear("SIP/2.0 480").await;
    world.trunk.answers(&invite, "200 OK", &sdp(6_000)).await;
    world.pbx.hear("SIP/2.0 200").await;
    world.trunk.hear("ACK ").await;
    world.arm("out").await;
    // The PBX has not acknowledged.
    world
        .trunk
        .send(&world.trunk.within("INFO", 2, &caller, "", key))
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    assert_eq!(*world.house.media.pressed.lock().unwrap(), [Digit]);
    while let Some(heard) = world.pbx.hear_within(QUIET).await {
        assert!(heard.starts_with("SIP/2.0 200"), "{heard}");
    }
}
