//! Whole calls as clients of rtpengine drive them: forks, transfers, blocks, statistics.

use super::{
    arming::{armed_row, payment},
    rtpengine::{list, told},
    *,
};
use crate::{media::MediaCommand, proto::call::Holder};

#[tokio::test]
async fn a_fork_that_comes_to_nothing_leaves_the_call_to_the_others() {
    let house = House::new(26_300..=26_319);
    for branch in ["x1", "x2"] {
        house.ask(offer("c1").with("via-branch", branch)).await;
    }
    house.ask(answer("c1").with("via-branch", "x1")).await;
    let cancelled = message("delete", "c1")
        .with("from-tag", "a")
        .with("via-branch", "x2");
    let reply = house.ask(cancelled).await;
    assert_eq!(result(&reply), "ok");
    assert!(reply.get("totals").is_some(), "{reply:?}");
    assert_eq!(house.calls.count(), 1);
    let other_tag = message("delete", "c1")
        .with("from-tag", "a")
        .with("to-tag", "b-of-a-fork");
    house.ask(other_tag).await;
    assert_eq!(house.calls.count(), 1, "nobody in the call has this tag");
    let hung_up = message("delete", "c1")
        .with("from-tag", "b")
        .with("to-tag", "a")
        .with("via-branch", "of-the-bye");
    house.ask(hung_up).await;
    assert_eq!(house.calls.count(), 0);
}

#[tokio::test]
async fn the_last_branch_takes_the_call_with_it() {
    let house = House::new(26_320..=26_339);
    house.ask(offer("c1").with("via-branch", "x1")).await;
    let refused = message("delete", "c1")
        .with("from-tag", "a")
        .with("via-branch", "x1");
    house.ask(refused).await;
    assert_eq!(house.calls.count(), 0);
}

/// An offer of somebody new to the end with the tag `a`.
fn transfer() -> Dict {
    message("offer", "c1")
        .with("from-tag", "c")
        .with("to-tag", "a")
        .with("sdp", sdp(9000, "0 101"))
}

#[tokio::test]
async fn a_transfer_puts_somebody_else_in_a_legs_place() {
    let house = House::new(26_340..=26_359);
    let id = house.call("c1").await;
    let reply = house.ask(transfer()).await;
    assert_eq!(result(&reply), "ok", "{reply:?}");
    assert_eq!(house.calls.leg_of_tag(&id, "c"), Some(Leg::Agent));
    assert_eq!(house.calls.leg_of_tag(&id, "b"), None);
    assert_eq!(house.media.leg(Leg::Agent).unwrap().rtp.port(), 9000);
    assert_eq!(house.calls.count(), 1);
}

#[tokio::test]
async fn nobody_joins_or_taps_a_call_while_a_payment_holds_it() {
    let house = House::new(26_360..=26_379);
    let id = house.call("c1").await;
    let held = armed_row("c1", payment());
    house.store.rows.lock().unwrap().push(held);
    house.calls.set_armed(&id, true);
    let told = house.media.commands().len();
    let fork = message("answer", "c1")
        .with("from-tag", "a")
        .with("to-tag", "c")
        .with("sdp", sdp(9000, "0 101"));
    for message in [transfer(), fork] {
        let reply = house.ask(message).await;
        assert!(reason(&reply).contains("payment"), "{reply:?}");
    }
    for command in [
        "start recording",
        "start forwarding",
        "subscribe request",
        "play DTMF",
    ] {
        let reply = house
            .ask(message(command, "c1").with("from-tag", "a"))
            .await;
        assert!(reason(&reply).contains("not supported"), "{reply:?}");
    }
    assert_eq!(house.media.commands().len(), told, "nothing is changed");
    let events = house.audit.events();
    let refused = events
        .iter()
        .filter(|event| matches!(event, Event::AccessRefused { .. }));
    assert_eq!(refused.count(), 6);
    // The same ends may talk on: a re-INVITE of theirs is none of it.
    assert_eq!(
        result(&house.ask(offer("c1").with("to-tag", "b")).await),
        "ok"
    );
    assert_eq!(result(&house.ask(answer("c1")).await), "ok");
}

#[tokio::test]
async fn media_is_kept_back_by_leg_and_said_so() {
    let house = House::new(26_380..=26_399);
    house.call("c1").await;
    let block = message("block media", "c1").with("from-tag", "b");
    assert_eq!(result(&house.ask(block).await), "ok");
    assert!(
        house
            .media
            .commands()
            .ends_with(&[MediaCommand::Block(Leg::Agent, true)])
    );
    let body = format!("{:?}", house.ask(message("query", "c1")).await);
    assert_eq!(body.matches("blocked").count(), 1, "{body}");
    assert_eq!(
        result(&house.ask(message("unblock media", "c1")).await),
        "ok"
    );
    let released = [Leg::Caller, Leg::Agent].map(|leg| MediaCommand::Block(leg, false));
    assert!(house.media.commands().ends_with(&released));
    let silence = message("silence media", "c1").with("from-tag", "a");
    assert_eq!(result(&house.ask(silence).await), "ok");
    let silenced = [MediaCommand::Silence(Leg::Caller, true)];
    assert!(house.media.commands().ends_with(&silenced));
    let stray = message("block media", "c1").with("from-tag", "z");
    assert!(reason(&house.ask(stray).await).contains("No leg"));
    let nowhere = message("block media", "c9");
    assert_eq!(reason(&house.ask(nowhere).await), "Unknown call-ID");
}

#[tokio::test]
async fn any_dtmf_security_but_off_masks_and_another_word_is_refused() {
    let house = House::new(26_400..=26_419);
    house.call("c1").await;
    let block = |word| message("block DTMF", "c1").with("DTMF-security", word);
    for word in ["drop", "silence", "tone", "random", "zero", "DTMF"] {
        let reply = house.ask(block(word)).await;
        assert_eq!(result(&reply), "ok", "{word}: {reply:?}");
        assert_eq!(reply.words("tonewall-masked"), ["a"], "{word}");
    }
    assert!(reason(&house.ask(block("whisper")).await).contains("DTMF-security"));
    assert!(house.calls.list(&tenant())[0].armed);
    // Until the caller dials the trigger, a relay that knows it would let everything pass.
    for (trigger, keys) in [
        ("trigger", "12"),
        ("trigger", ""),
        ("DTMF-security-trigger", "silence"),
    ] {
        let reply = house.ask(block("off").with(trigger, keys)).await;
        assert_eq!(
            reply.words("tonewall-masked"),
            ["a"],
            "{trigger}: {reply:?}"
        );
    }
    assert!(house.calls.list(&tenant())[0].armed);
    assert_eq!(result(&house.ask(block("off")).await), "ok");
    assert!(
        house
            .media
            .commands()
            .ends_with(&[MediaCommand::Release(Holder::Ng)])
    );
}

#[tokio::test]
async fn statistics_tell_what_a_receiver_would() {
    let house = House::new(26_420..=26_439);
    house.call("c1").await;
    {
        let mut stats = house.media.stats.lock().unwrap();
        let begin = std::time::Instant::now();
        stats.caller.packets = 90;
        stats.caller.reception.set_clock(8000);
        for number in (0..100_u16).filter(|number| number % 10 != 5) {
            let datagram =
                crate::proto::rtp::write_header(0, false, number, u32::from(number) * 160, 77);
            let at = begin + Duration::from_millis(u64::from(number) * 20);
            stats.caller.reception.packet(&datagram, at);
        }
    }
    let body = house.ask(message("delete", "c1")).await;
    let inner = |dict: &Dict, key: &str| match dict.get(key) {
        Some(Value::Dict(inner)) => inner.clone(),
        other => panic!("{key}: {other:?}"),
    };
    let source = inner(&inner(&body, "ssrc"), "77");
    assert_eq!(source.get("cumulative-loss"), Some(&Value::Integer(10)));
    assert_eq!(source.get("last-rtp-seq"), Some(&Value::Integer(99)));
    let quality = inner(&source, "average-mos");
    assert_eq!(quality.get("packet-loss"), Some(&Value::Integer(10)));
    assert_eq!(quality.get("jitter"), Some(&Value::Integer(0)));
    let Some(Value::Integer(mos)) = quality.get("mos") else {
        panic!("{quality:?}");
    };
    assert!(
        (30..38).contains(mos),
        "{mos}: a tenth of the packets is missing"
    );
}

/// A message as OpenSIPS' module writes it: the description first, no `supports`, `received-from` always,
/// tags of a block only where the script asks for a direction, and never its flag.
fn of_opensips(command: &str, keys: Dict) -> Dict {
    let received = list(&["IP4", "192.0.2.99"]);
    keys.iter()
        .fold(Dict::new(), |all, (key, value)| {
            all.with(key.to_owned(), value.clone())
        })
        .with("call-id", "c1")
        .with("received-from", received)
        .with("command", command.to_owned())
}

#[tokio::test]
async fn a_call_of_opensips_is_carried_from_offer_to_delete() {
    let house = House::new(26_440..=26_459);
    let offer = Dict::new()
        .with("sdp", sdp(4000, "0 101"))
        .with("ICE", "remove")
        .with("flags", list(&["trust-address", "symmetric"]))
        .with("replace", list(&["origin", "session-connection"]))
        .with("from-tag", "a");
    let reply = house.ask(of_opensips("offer", offer)).await;
    assert_eq!(result(&reply), "ok");
    let answer = Dict::new()
        .with("sdp", sdp(6000, "0 101"))
        .with("replace", list(&["origin", "session-connection"]))
        .with("from-tag", "a")
        .with("to-tag", "b");
    let reply = house.ask(of_opensips("answer", answer)).await;
    assert!(
        reply
            .text("sdp")
            .unwrap()
            .contains("o=- 1 1 IN IP4 203.0.113.1")
    );
    let directional = Dict::new().with("from-tag", "a");
    let reply = house.ask(of_opensips("block DTMF", directional)).await;
    assert_eq!(reply.words("tonewall-masked"), ["a"]);
    let reply = house.ask(of_opensips("unblock DTMF", Dict::new())).await;
    assert_eq!(result(&reply), "ok");
    let body = house.ask(of_opensips("query", Dict::new())).await;
    for key in ["totals", "ssrc", "tags"] {
        assert!(body.get(key).is_some(), "{key}");
    }
    let reply = house.ask(of_opensips("delete", Dict::new())).await;
    assert_eq!(result(&reply), "ok");
    assert_eq!(house.calls.count(), 0);
}

#[tokio::test]
async fn a_full_node_tells_clients_without_load_limit_in_the_words_they_know() {
    let mut none = settings();
    none.max_calls = 0;
    let house = House::with(none, 26_460..=26_479);
    let offer = Dict::new()
        .with("sdp", sdp(4000, "0"))
        .with("from-tag", "a");
    let reply = house.ask(of_opensips("offer", offer.clone())).await;
    assert_eq!(reason(&reply), "Parallel session limit reached");
    let supports = of_opensips("offer", offer).with("supports", list(&["load limit"]));
    assert_eq!(result(&house.ask(supports).await), "load limit");
}

#[tokio::test]
async fn a_late_offer_is_made_by_the_called_end_and_answered_by_the_caller() {
    let house = House::new(26_480..=26_499);
    // The INVITE had no description: the 200 brings the offer, the ACK the answer.
    let in_the_200 = message("offer", "c1")
        .with("from-tag", "b")
        .with("to-tag", "a")
        .with("tonewall-caller", "answerer")
        .with("sdp", sdp(6000, "0 101"));
    assert_eq!(result(&house.ask(in_the_200).await), "ok");
    let in_the_ack = message("answer", "c1")
        .with("from-tag", "b")
        .with("to-tag", "a")
        .with("sdp", sdp(4000, "0 101"));
    assert_eq!(result(&house.ask(in_the_ack).await), "ok");
    assert_eq!(house.media.leg(Leg::Agent).unwrap().rtp.port(), 6000);
    assert_eq!(house.media.leg(Leg::Caller).unwrap().rtp.port(), 4000);
}

#[tokio::test]
async fn a_hold_by_direction_is_handed_on_and_answered() {
    let house = House::new(26_500..=26_519);
    house.call("c1").await;
    for (said, answered) in [("sendonly", "recvonly"), ("inactive", "inactive")] {
        let held = sdp(4000, "0 8 101") + &format!("a={said}\r\n");
        let offer = message("offer", "c1")
            .with("from-tag", "a")
            .with("to-tag", "b")
            .with("sdp", held);
        let told_agent = told(&house, offer).await;
        assert!(told_agent.contains(&format!("a={said}\n")), "{told_agent}");
        let taken = sdp(6000, "0 101") + &format!("a={answered}\r\n");
        let answer = message("answer", "c1")
            .with("from-tag", "a")
            .with("to-tag", "b")
            .with("sdp", taken);
        let told_caller = told(&house, answer).await;
        assert!(
            told_caller.contains(&format!("a={answered}\n")),
            "{told_caller}"
        );
    }
    assert_eq!(
        house.media.commands().len(),
        2,
        "the media stays where it was"
    );
}
