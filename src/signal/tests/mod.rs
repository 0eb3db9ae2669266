mod arming;
mod clients;
mod links;
mod rtpengine;
mod shadow;
mod storm;

use std::time::{Duration, Instant};

use super::{fakes::*, *};
use crate::proto::{
    audit::Event,
    encoding::{AudioCodec, Encoding},
    id::Tenant,
    leg::Leg,
    ng::{CallerSide, Dict, Value},
    proof::MaskingProof,
};

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn result(reply: &Dict) -> String {
    reply.text("result").unwrap()
}

fn reason(reply: &Dict) -> String {
    assert_eq!(result(reply), "error", "{reply:?}");
    reply.text("error-reason").unwrap()
}

/// Lets what was spawned run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_offer_and_its_answer_connect_two_legs() {
    let house = House::new(22_000..=22_019);
    let offer = house.ask(offer("c1")).await;
    let answer = house.ask(answer("c1")).await;
    assert!(
        offer
            .text("sdp")
            .unwrap()
            .contains("c=IN IP4 203.0.113.1\r\n")
    );
    assert_ne!(port_of(&offer), port_of(&answer), "one pair of ports a leg");

    let view = house.calls.find(&tenant(), "c1").unwrap();
    assert!(
        view.answered && !view.armed && view.refusal.is_none(),
        "{view:?}"
    );
    assert_eq!(view.caller_tag.as_deref(), Some("a"));
    assert_eq!(view.agent_tag.as_deref(), Some("b"));
    assert_eq!(
        house.calls.find(&tenant(), &view.id.to_string()),
        Some(view.clone())
    );
    assert_eq!(house.calls.list(&tenant()).len(), 1);
    assert_eq!(house.calls.leg_of_tag(&view.id, "b"), Some(Leg::Agent));
    assert_eq!(house.calls.list(&"other".parse().unwrap()), []);

    let caller = house.media.leg(Leg::Caller).unwrap();
    assert_eq!(caller.rtp, "198.51.100.1:4000".parse().unwrap());
    assert_eq!(caller.rtcp, "198.51.100.1:4001".parse().unwrap());
    assert_eq!(
        caller.payload_types,
        [
            (0, Encoding::Audio(AudioCodec::Pcmu)),
            (8, Encoding::Audio(AudioCodec::Pcma)),
            (101, Encoding::TelephoneEvent(8000))
        ]
    );
    let sockets = house.media.sockets.lock().unwrap();
    let (caller, agent) = &sockets[&view.id];
    assert_eq!(
        agent.rtp.local_addr().unwrap().port(),
        port_of(&offer),
        "the offer goes to the agent"
    );
    assert_eq!(caller.rtp.local_addr().unwrap().port(), port_of(&answer));
}

#[tokio::test]
async fn ports_stay_the_same_whoever_offers_again() {
    let house = House::new(22_020..=22_039);
    let first_offer = house.ask(offer("c1")).await;
    let first_answer = house.ask(answer("c1")).await;
    let again = house.ask(offer("c1").with("to-tag", "b")).await;
    assert_eq!(port_of(&again), port_of(&first_offer));

    let from_agent = message("offer", "c1")
        .with("from-tag", "b")
        .with("to-tag", "a")
        .with("sdp", sdp(6002, "0 101"));
    let from_agent = house.ask(from_agent).await;
    assert_eq!(
        port_of(&from_agent),
        port_of(&first_answer),
        "an offer to the caller"
    );
    assert_eq!(house.media.leg(Leg::Agent).unwrap().rtp.port(), 6002);
    let to_agent = message("answer", "c1")
        .with("from-tag", "b")
        .with("to-tag", "a")
        .with("sdp", sdp(4002, "0 101"));
    let to_agent = house.ask(to_agent).await;
    assert_eq!(port_of(&to_agent), port_of(&first_offer));
    assert_eq!(house.media.leg(Leg::Caller).unwrap().rtp.port(), 4002);
    assert_eq!(house.calls.count(), 1);
}

#[tokio::test]
async fn an_unchanged_leg_is_not_told_again() {
    let house = House::new(22_040..=22_059);
    house.call("c1").await;
    house.ask(offer("c1").with("to-tag", "b")).await;
    assert_eq!(house.media.commands().len(), 2);
}

#[tokio::test]
async fn hold_keeps_the_media_that_was_agreed() {
    let house = House::new(22_060..=22_079);
    house.call("c1").await;
    let held = sdp(4000, "0 8 101").replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
    let reply = house
        .ask(
            message("offer", "c1")
                .with("from-tag", "a")
                .with("sdp", held),
        )
        .await;
    assert!(reply.text("sdp").unwrap().contains("0.0.0.0"));
    assert!(house.calls.find(&tenant(), "c1").unwrap().answered);
    assert_eq!(house.media.commands().len(), 2);
}

#[tokio::test]
async fn the_caller_may_be_whoever_was_called() {
    let mut settings = settings();
    settings.caller = CallerSide::Answerer;
    let house = House::with(settings, 22_080..=22_099);
    house.call("by-setting").await;
    house
        .ask(offer("by-key").with("tonewall-caller", "offerer"))
        .await;
    let by_setting = house.calls.find(&tenant(), "by-setting").unwrap();
    assert_eq!(by_setting.caller_tag.as_deref(), Some("b"));
    let by_key = house.calls.find(&tenant(), "by-key").unwrap();
    assert_eq!(by_key.caller_tag.as_deref(), Some("a"));
}

#[tokio::test]
async fn rtcp_mux_is_agreed_with_each_end_for_itself() {
    let house = House::new(22_100..=22_119);
    let mux = |port| sdp(port, "0") + "a=rtcp-mux\r\n";
    let offered = message("offer", "c1")
        .with("from-tag", "a")
        .with("sdp", mux(4000));
    let accepted = offered.with("rtcp-mux", vec!["accept".into()]);
    let offered = house.ask(accepted).await;
    assert!(offered.text("sdp").unwrap().contains("a=rtcp-mux"));
    let answered = house.ask(answer("c1")).await;
    assert!(
        answered.text("sdp").unwrap().contains("a=rtcp-mux"),
        "the caller's own leg is muxed"
    );
    let caller = house.media.leg(Leg::Caller).unwrap();
    assert_eq!(caller.rtcp, caller.rtp);
    let agent = house.media.leg(Leg::Agent).unwrap();
    assert_eq!(
        agent.rtcp.port(),
        agent.rtp.port() + 1,
        "the agent did not accept it"
    );
}

#[tokio::test]
async fn unknown_calls_get_the_strings_that_clients_know() {
    let house = House::new(22_140..=22_159);
    assert_eq!(reason(&house.ask(answer("c")).await), "Unknown call-id");
    assert_eq!(
        reason(&house.ask(message("query", "c")).await),
        "Unknown call-id"
    );
    assert_eq!(
        reason(&house.ask(message("block DTMF", "c")).await),
        "Unknown call-ID"
    );
    assert_eq!(
        reason(&house.ask(message("unblock DTMF", "c")).await),
        "Unknown call-ID"
    );
    let deleted = house
        .ask(message("delete", "c").with("from-tag", "x"))
        .await;
    assert_eq!(result(&deleted), "ok");
    assert_eq!(
        deleted.text("warning").as_deref(),
        Some("Call-ID not found or tags didn't match")
    );
    let fatal = message("delete", "c").with("flags", vec!["fatal".into()]);
    assert_eq!(
        reason(&house.ask(fatal).await),
        "Call-ID not found or tags didn't match"
    );
}

#[tokio::test]
async fn tags_that_fit_no_leg_change_nothing() {
    let house = House::new(22_160..=22_179);
    house.call("c1").await;
    let third = message("offer", "c1")
        .with("from-tag", "z")
        .with("sdp", sdp(9000, "0"));
    assert!(reason(&house.ask(third).await).contains("two legs"));
    let stray = message("answer", "c1")
        .with("from-tag", "z")
        .with("to-tag", "b")
        .with("sdp", sdp(9000, "0"));
    assert!(reason(&house.ask(stray).await).contains("no offer"));
    let delete = house
        .ask(message("delete", "c1").with("from-tag", "z"))
        .await;
    assert!(delete.text("warning").is_some());
    assert_eq!(house.calls.count(), 1);
    assert_eq!(house.media.commands().len(), 2);
}

#[tokio::test]
async fn an_answer_from_another_branch_takes_the_agents_leg() {
    let house = House::new(22_180..=22_199);
    let id = house.call("c1").await;
    let other = message("answer", "c1")
        .with("from-tag", "a")
        .with("to-tag", "b2")
        .with("sdp", sdp(7000, "0 101"));
    house.ask(other).await;
    assert_eq!(house.calls.leg_of_tag(&id, "b2"), Some(Leg::Agent));
    assert_eq!(house.media.leg(Leg::Agent).unwrap().rtp.port(), 7000);
}

#[tokio::test]
async fn a_deleted_call_lingers_for_a_second_delete() {
    let house = House::new(22_200..=22_203);
    let id = house.call("c1").await;
    house.media.stats.lock().unwrap().caller.packets = 20;
    let first = house
        .ask(message("delete", "c1").with("from-tag", "a"))
        .await;
    settle().await;
    assert_eq!(house.calls.count(), 0);
    let Some(Value::Dict(totals)) = first.get("totals") else {
        panic!("no totals in {first:?}");
    };
    assert!(
        matches!(totals.get("rtp"), Some(Value::Dict(rtp)) if rtp.get("packets") == Some(&Value::Integer(20)))
    );
    for command in ["delete", "query"] {
        assert_eq!(house.ask(message(command, "c1")).await, first, "{command}");
    }
    assert!(house.audit.has(|event| *event
        == Event::CallEnded {
            call: id.clone(),
            proof: MaskingProof::default()
        }));
    assert_eq!(house.ports.free(), 0, "both pairs rest");
    house
        .calls
        .upkeep(Instant::now() + Duration::from_secs(31))
        .await;
    assert_eq!(
        reason(&house.ask(message("query", "c1")).await),
        "Unknown call-id"
    );
    assert!(
        !house
            .audit
            .has(|event| matches!(event, Event::ControlFailure { .. }))
    );
}

#[tokio::test]
async fn a_hang_up_that_no_worker_took_is_sent_again() {
    let house = House::new(22_900..=22_919);
    house.call("c1").await;
    *house.media.busy.lock().unwrap() = true;
    house.ask(message("delete", "c1")).await;
    assert_eq!(house.calls.ending(), 1);
    *house.media.busy.lock().unwrap() = false;
    house.calls.upkeep(Instant::now()).await;
    settle().await;
    assert_eq!(house.calls.ending(), 0, "its sockets are closed");
}

#[tokio::test]
async fn the_statistics_have_the_shape_that_clients_read() {
    let house = House::new(22_220..=22_239);
    house.call("c1").await;
    let body = house.ask(message("query", "c1")).await;
    for key in ["created", "last-signal", "ssrc", "tags", "totals"] {
        assert!(body.get(key).is_some(), "{key} in {body:?}");
    }
    let dict = |value: Option<&Value>| match value {
        Some(Value::Dict(dict)) => dict.clone(),
        other => panic!("{other:?}"),
    };
    let first = |value: Option<&Value>| match value {
        Some(Value::List(items)) => dict(items.first()),
        other => panic!("{other:?}"),
    };
    let leg = dict(dict(body.get("tags")).get("a"));
    let media = first(leg.get("medias"));
    assert_eq!(media.text("type").as_deref(), Some("audio"));
    let stream = first(media.get("streams"));
    assert_eq!(stream.text("local-address").as_deref(), Some("203.0.113.1"));
    assert_eq!(
        dict(stream.get("endpoint")).text("port").as_deref(),
        Some("4000")
    );
    assert_eq!(
        first(leg.get("subscriptions")).text("tag").as_deref(),
        Some("b")
    );
    let listed = house.ask(Dict::new().with("command", "list")).await;
    assert_eq!(listed.words("calls"), ["c1"]);
}

#[tokio::test]
async fn a_full_or_draining_node_sends_new_calls_elsewhere_and_keeps_those_it_has() {
    let mut settings = settings();
    settings.max_calls = 1;
    let house = House::with(settings, 22_480..=22_499);
    house.call("c1").await;
    let knows = |call_id: &str| offer(call_id).with("supports", vec!["load limit".into()]);
    assert_eq!(result(&house.ask(knows("c2")).await), "load limit");
    assert_eq!(
        reason(&house.ask(offer("c2")).await),
        "Parallel session limit reached"
    );
    house.ask(message("delete", "c1")).await;
    house.call("c3").await;

    house.calls.drain();
    assert_eq!(result(&house.ask(knows("c4")).await), "load limit");
    assert_eq!(
        reason(&house.ask(offer("c4")).await),
        "Parallel session limit reached"
    );
    assert_eq!(
        result(&house.ask(offer("c3").with("to-tag", "b")).await),
        "ok"
    );
    assert_eq!(result(&house.ask(message("block DTMF", "c3")).await), "ok");
}

#[tokio::test]
async fn without_ports_or_workers_a_client_is_sent_elsewhere() {
    let house = House::new(22_500..=22_503);
    house.call("c1").await;
    assert_eq!(reason(&house.ask(offer("c2")).await), "Ran out of ports");
    assert_eq!(house.calls.count(), 1);
    let busy = House::new(22_510..=22_519);
    *busy.media.full.lock().unwrap() = true;
    assert_eq!(
        reason(&busy.ask(offer("c1")).await),
        "Parallel session limit reached"
    );
}

#[tokio::test]
async fn of_many_deleted_calls_the_oldest_are_forgotten_and_no_port_is_kept() {
    let house = House::new(22_710..=22_769);
    let ports = house.ports.free();
    let calls = crate::signal::ended::MOST + 3;
    for n in 0..calls {
        let call = format!("c{n}");
        house.call(&call).await;
        house.ask(message("delete", &call)).await;
        settle().await;
        assert_eq!(house.calls.ending(), 0, "its ports rest");
    }
    // They rest for longer than this test.
    assert_eq!(house.ports.free(), ports - 2 * calls);
    assert!(house.media.sockets.lock().unwrap().is_empty());
    for n in 0..calls {
        let query = house.ask(message("query", &format!("c{n}"))).await;
        let told = query.get("totals").is_some();
        assert_eq!(told, n >= 3, "call {n}");
    }
}

#[tokio::test]
async fn a_call_that_nobody_deletes_ends_when_no_packet_comes() {
    let house = House::new(22_520..=22_539);
    house.call("c1").await;
    let mut changes = house.calls.subscribe();
    house.media.stats.lock().unwrap().idle_seconds = 599;
    house.calls.upkeep(Instant::now()).await;
    assert_eq!(house.calls.count(), 1);
    house.media.stats.lock().unwrap().idle_seconds = 600;
    house.calls.upkeep(Instant::now()).await;
    assert_eq!(house.calls.count(), 0);
    assert!(
        matches!(changes.try_recv(), Ok(CallChange::Ended(view)) if view.signalling_id == "c1")
    );
}

#[tokio::test]
async fn subscribers_learn_of_starts_and_ends() {
    let house = House::new(22_540..=22_559);
    let mut changes = house.calls.subscribe();
    let id = house.call("c1").await;
    house.ask(message("delete", "c1")).await;
    assert!(matches!(changes.try_recv(), Ok(CallChange::Started(view)) if view.id == id));
    assert!(matches!(changes.try_recv(), Ok(CallChange::Changed(view)) if view.answered));
    assert!(matches!(changes.try_recv(), Ok(CallChange::Ended(view)) if view.answered));
    assert!(
        house
            .audit
            .has(|event| *event == Event::CallStarted { call: id.clone() })
    );
}

#[tokio::test]
async fn bad_descriptions_start_no_call() {
    let house = House::new(22_560..=22_579);
    let with = |sdp: &str| {
        message("offer", "c1")
            .with("from-tag", "a")
            .with("sdp", sdp)
    };
    let good = sdp(4000, "0");
    for (sdp, word) in [
        ("nonsense", "Failed to parse SDP"),
        (&good.replace("RTP/AVP", "RTP/SAVP"), "RTP/SAVP"),
        (&good.replace("m=audio", "m=video"), "m=audio"),
        (
            &good.replace("IP4 198.51.100.1\r\na=", "IP6 2001:db8::1\r\na="),
            "IPv6",
        ),
    ] {
        let reply = house.ask(with(sdp)).await;
        assert!(reason(&reply).contains(word), "{word}: {reply:?}");
    }
    let srtp = with(&good).with("transport-protocol", "UDP/TLS/RTP/SAVPF");
    assert!(reason(&house.ask(srtp).await).contains("transport-protocol"));
    assert_eq!(house.calls.count(), 0);
    assert_eq!(house.ports.free(), 10);
}

#[tokio::test]
async fn the_sip_source_address_overrides_the_description_when_told() {
    let house = House::new(22_580..=22_599);
    let nat = offer("c1")
        .with("flags", vec!["SIP-source-address".into()])
        .with("received-from", vec!["IP4".into(), "192.0.2.77".into()]);
    house.ask(nat).await;
    assert_eq!(
        house.media.leg(Leg::Caller).unwrap().rtp,
        "192.0.2.77:4000".parse().unwrap()
    );
}

#[tokio::test]
async fn a_first_offer_that_the_media_plane_does_not_take_leaves_nothing_behind() {
    let house = House::new(23_680..=23_699);
    *house.media.full.lock().unwrap() = true;
    let refused = house.ask(offer("c1")).await;
    assert_ne!(result(&refused), "ok");
    assert_eq!(house.calls.count(), 0);
    assert!(
        !house
            .audit
            .has(|event| matches!(event, Event::CallStarted { .. }))
    );
    *house.media.full.lock().unwrap() = false;
    // A worker that takes a call has its first leg's media too: nothing is left to be refused.
    *house.media.busy.lock().unwrap() = true;
    assert_eq!(result(&house.ask(offer("c1")).await), "ok");
    assert!(house.media.leg(Leg::Caller).is_some());
}
