//! What does not get through: keys, strangers, floods, what cannot be read.

use super::*;
use crate::proto::digit::KeyClass;

const RELAY: &str = "application/dtmf-relay";

#[tokio::test]
async fn keys_of_an_armed_call_stay_here_and_count_once() {
    let world = World::new(25_300..=25_319).await;
    let (caller, _) = world.call("armed").await;
    world.arm("armed").await;
    let mut number = 1;
    for (kind, body) in [
        (RELAY, "Signal=5\r\nDuration=160\r\n"),
        ("application/dtmf", "7"),
        ("Application/DTMF-Relay", "Signal=#\r\n"),
        // No key, and stays here all the same.
        (RELAY, "Signal=55\r\n"),
        ("text/plain", "4242"),
    ] {
        number += 1;
        let info = world
            .trunk
            .within("INFO", number, &caller, "X-Digits: 5\r\n", (kind, body));
        for _ in 0..2 {
            // The network may repeat it.
            world.trunk.send(&info).await;
            world.trunk.hear("SIP/2.0 200").await;
        }
    }
    for method in ["MESSAGE", "NOTIFY"] {
        number += 1;
        let fields = "Event: kpml\r\nSubscription-State: active\r\n";
        let told = world.trunk.within(
            method,
            number,
            &caller,
            fields,
            ("application/kpml-response+xml", "<kpml digits=\"5\"/>"),
        );
        world.trunk.send(&told).await;
        world.trunk.hear("SIP/2.0 200").await;
    }
    world.pbx.hears_nothing().await;
    let pressed = world.house.media.pressed.lock().unwrap().clone();
    assert_eq!(pressed, [KeyClass::Digit, KeyClass::Digit, KeyClass::Hash]);
}

#[tokio::test]
async fn keys_of_any_other_call_pass_and_so_do_the_agents() {
    let world = World::new(25_320..=25_339).await;
    let (caller, agent) = world.call("open").await;
    let body_of = "Signal=5\r\nDuration=160\r\n";
    world
        .trunk
        .send(&world.trunk.within("INFO", 2, &caller, "", (RELAY, body_of)))
        .await;
    let ours = world.pbx.hear("INFO ").await;
    assert_eq!(body(&ours), body_of);
    assert_eq!(header(&ours, "Content-Type"), RELAY);
    world.pbx.answers(&ours, "200 OK", "").await;
    world.trunk.hear("SIP/2.0 200").await;
    world.arm("open").await;
    world
        .pbx
        .send(&world.pbx.within("INFO", 1, &agent, "", (RELAY, body_of)))
        .await;
    assert_eq!(body(&world.trunk.hear("INFO ").await), body_of);
    assert!(world.house.media.pressed.lock().unwrap().is_empty());
    let sent = world.house.media.commands();
    assert!(
        sent.contains(&MediaCommand::Arm(Holder::Ng)),
        "control: it is armed"
    );
}

#[tokio::test]
async fn the_other_end_cannot_press_a_callers_keys() {
    let world = World::new(25_340..=25_359).await;
    let (caller, _) = world.call("forged").await;
    world.arm("forged").await;
    // The PBX, with all that it would have to know of the trunk's dialog.
    world
        .pbx
        .send(
            &world
                .pbx
                .within("INFO", 9, &caller, "", (RELAY, "Signal=5\r\n")),
        )
        .await;
    world.pbx.hear("SIP/2.0 481").await;
    assert!(world.house.media.pressed.lock().unwrap().is_empty());
    // Nor may it have what the caller was answered.
    let options = world.trunk.within("OPTIONS", 2, &caller, "", ("", ""));
    world.trunk.send(&options).await;
    world.trunk.hear("SIP/2.0 200").await;
    world.pbx.send(&options).await;
    world.pbx.hear("SIP/2.0 481").await;
}

/// Secret memory that is full.
struct NoSlots;

impl SlotSource for NoSlots {
    fn acquire(&self) -> Option<KeySlot> {
        None
    }
}

#[tokio::test]
async fn a_key_that_there_is_no_place_for_is_lost_and_not_told() {
    let pages = logs::Pages::default();
    // The stack logs what it sees.
    let _guard = logs::listen(&pages, false);
    let world = World::of(House::new(26_040..=26_059), NoSlots, |_| {}).await;
    let (caller, _) = world.call("no-slot").await;
    world.arm("no-slot").await;
    let key = (RELAY, "Signal=5\r\n");
    let info = world.trunk.within("INFO", 2, &caller, "", key);
    world.trunk.send(&info).await;
    world.trunk.hear("SIP/2.0 200").await;
    world.pbx.hears_nothing().await;
    assert!(world.house.media.pressed.lock().unwrap().is_empty());
    let text = pages.text();
    assert!(
        text.contains("Content-Type: application/dtmf-relay"),
        "control"
    );
    assert!(!text.contains("Signal=5"));
}

#[tokio::test]
async fn of_several_bodies_the_session_description_passes() {
    let world = World::new(26_060..=26_079).await;
    let parts = |kind: &str| {
        format!(
            "--b\r\nContent-Type: application/isup\r\n\r\nx\r\n\
             --b\r\nContent-Type: {kind}\r\n\r\n{}\r\n--b--\r\n",
            sdp(4_000)
        )
    };
    let invite = |call_id: &str, body: &str| {
        let invite = world.trunk.invite(call_id, "", body);
        invite.replace("application/sdp", "multipart/mixed;boundary=b")
    };
    let none = invite("none", &parts("application/x-sdp"));
    world.trunk.send(&none).await;
    let refused = world.trunk.hear("SIP/2.0 415").await;
    assert_eq!(header(&refused, "Accept"), "application/sdp");
    let packed = world
        .trunk
        .invite("packed", "Content-Encoding: gzip\r\n", &sdp(4_000));
    world.trunk.send(&packed).await;
    let refused = loop {
        let heard = world.trunk.hear("SIP/2.0 415").await;
        if heard.contains("Call-ID: packed") {
            break heard;
        }
    };
    assert_eq!(header(&refused, "Accept-Encoding"), "identity");
    let several = world.trunk.invite("several", "", "BODY");
    let body = parts("application/sdp");
    let several = several.split("Content-Type").next().unwrap().to_owned();
    let several = with_body(&several, "multipart/mixed;boundary=b", &body);
    world.trunk.send(&several).await;
    let ours = world.pbx.hear("INVITE ").await;
    assert_eq!(header(&ours, "Content-Type"), "application/sdp");
    assert!(ours.contains("m=audio") && !ours.contains("isup"), "{ours}");
    // The answer, likewise.
    let answer = world.pbx.answer(&ours, "200 OK", "", "");
    let answer = answer.replace("Content-Length: 0\r\n\r\n", "");
    let answer = with_body(&answer, "multipart/mixed;boundary=b", &body);
    world.pbx.send(&answer).await;
    let taken = loop {
        let heard = world.trunk.hear_within(PATIENCE).await.unwrap();
        if heard.starts_with("SIP/2.0 200") {
            break heard;
        }
    };
    assert!(
        taken.contains("m=audio") && !taken.contains("isup"),
        "{taken}"
    );
}

#[tokio::test]
async fn a_stranger_hears_nothing() {
    let world = World::new(25_360..=25_379).await;
    let stranger = Phone::new([127, 0, 0, 4], world.trunk.gateway).await;
    stranger.send(&stranger.invite("s", "", &sdp(4_000))).await;
    stranger.hears_nothing().await;
    assert_eq!(world.server.refused()[0], ("source", 1));
    assert_eq!(world.house.calls.count(), 0);
}

#[tokio::test]
async fn what_two_readers_could_understand_differently_is_refused() {
    let world = World::new(25_380..=25_399).await;
    let good = world.trunk.invite("f", "", &sdp(4_000));
    for (bad, status) in [
        (
            good.replace("Max-Forwards", "Content-Length: 0\r\nMax-Forwards"),
            400,
        ),
        (good.replace("Content-Length: ", "Content-Length: x"), 400),
        (good.replace("Content-Length: ", "Content-Length: 9"), 400),
        (good.replace(" SIP/2.0\r\nVia", " SIP/7.0\r\nVia"), 505),
        (good.replace("Max-Forwards: 70", "Max-Forwards: 0"), 483),
        (
            good.replace("Max-Forwards", "Require: nothing-known\r\nMax-Forwards"),
            420,
        ),
        (good.replace("application/sdp", "application/isup"), 415),
        (
            good.replace(
                "Max-Forwards",
                &format!("X-Long: {}\r\nMax-Forwards", "x".repeat(20_000)),
            ),
            513,
        ),
        (
            good.replace("INVITE sip", "PUBLISH sip")
                .replace("1 INVITE", "1 PUBLISH"),
            405,
        ),
    ] {
        let bad = bad.replace("z9hG4bK-f", &format!("z9hG4bK-f{status}{}", bad.len()));
        world.trunk.send(&bad).await;
        world.trunk.hear(&format!("SIP/2.0 {status} ")).await;
    }
    world.pbx.hears_nothing().await;
    assert_eq!(world.house.calls.count(), 0);
}

#[tokio::test]
async fn a_flood_is_sent_away_and_calls_that_are_up_go_on() {
    let world = World::with(25_400..=25_419, |settings| {
        (settings.requests_per_second, settings.burst) = (1, 3);
    })
    .await;
    let (caller, _) = world.call("up").await;
    let mut away = 0;
    for n in 0..20 {
        let options = world.trunk.invite(&format!("o{n}"), "", "");
        let options = options
            .replace("INVITE sip", "OPTIONS sip")
            .replace("1 INVITE", "1 OPTIONS");
        world.trunk.send(&options).await;
        let heard = world.trunk.hear("SIP/2.0 ").await;
        if heard.starts_with("SIP/2.0 503") {
            assert_eq!(header(&heard, "Retry-After"), "5");
            away += 1;
        }
    }
    assert!((15..=19).contains(&away), "{away}");
    world
        .trunk
        .send(&world.trunk.within("BYE", 2, &caller, "", ("", "")))
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    world.pbx.hear("BYE ").await;
}

#[tokio::test]
async fn a_flood_of_what_begins_nothing_is_bounded_too() {
    let world = World::with(26_220..=26_229, |settings| {
        (settings.requests_per_second, settings.burst) = (1, 2);
    })
    .await;
    let ack = world.trunk.invite("flood", "", "").replace("INVITE", "ACK");
    for _ in 0..300 {
        world.trunk.send(&ack).await;
    }
    tokio::time::sleep(QUIET).await;
    let [_, _, (_, limited), ..] = world.server.refused();
    // A hundred at once, and fifty a second.
    assert!((20..=200).contains(&limited), "{limited}");
}

#[tokio::test]
async fn a_gateway_that_must_not_serve_sends_calls_past_itself() {
    for bypass in [None, Some("192.0.2.77:5070".parse().unwrap())] {
        let ports = if bypass.is_some() {
            25_440..=25_449
        } else {
            25_450..=25_459
        };
        let world = World::with(ports, |settings| settings.peers[0].bypass = bypass).await;
        world.serves.store(false, Ordering::Relaxed);
        world
            .trunk
            .send(&world.trunk.invite("past", "", &sdp(4_000)))
            .await;
        if bypass.is_some() {
            let moved = world.trunk.hear("SIP/2.0 302").await;
            assert_eq!(header(&moved, "Contact"), "<sip:100@192.0.2.77:5070>");
        } else {
            let full = world.trunk.hear("SIP/2.0 503").await;
            assert!(has(&full, "Retry-After"), "{full}");
        }
        world.pbx.hears_nothing().await;
        assert_eq!(world.house.calls.count(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_masked_is_refused_with_a_description_that_cannot_be_read() {
    let world = World::new(25_460..=25_479).await;
    let srtp = sdp(4_000).replace("RTP/AVP", "RTP/SAVP");
    world
        .trunk
        .send(&world.trunk.invite("srtp", "", &srtp))
        .await;
    world.trunk.hear("SIP/2.0 488").await;
    world.pbx.hears_nothing().await;
    world.is_empty().await;
}

#[tokio::test]
async fn a_call_id_that_is_up_does_not_begin_another_call() {
    let world = World::new(25_480..=25_499).await;
    world.call("twice").await;
    let other = world.pbx.invite("twice", "", &sdp(4_000));
    world.pbx.send(&other).await;
    world.pbx.hear("SIP/2.0 482").await;
    assert_eq!(world.house.calls.count(), 1);
}
