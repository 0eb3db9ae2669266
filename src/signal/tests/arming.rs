//! `block DTMF` and what a crash leaves behind.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{reason, result, settings, settle, tenant};
use crate::{
    journal::ArmedRow,
    media::{MediaCommand, MediaEvent, MediaEventKind},
    proto::{
        audit::{Actor, Event, Success},
        call::{ArmRefusal, CodeRefusal, Dialled, Holder},
        id::PaymentId,
        leg::Leg,
        mask::Guard,
        ng::{CallerSide, Dict},
    },
    signal::fakes::*,
};

pub(super) fn payment() -> Holder {
    let serial = ulid::Ulid::from_parts(1, 1);
    Holder::Payment(PaymentId::new(tenant(), "node-1".parse().unwrap(), serial))
}

pub(super) fn armed_row(call_id: &str, holder: Holder) -> ArmedRow {
    ArmedRow {
        tenant: tenant(),
        signalling_id: call_id.to_owned(),
        holder,
        caller_tag: None,
        since: Timestamp::now(),
    }
}

fn arms(house: &House) -> usize {
    let commands = house.media.commands();
    commands
        .iter()
        .filter(|command| matches!(command, MediaCommand::Arm(_)))
        .count()
}

#[tokio::test]
async fn a_call_of_unmaskable_codecs_says_so_and_is_not_armed() {
    let house = House::new(22_120..=22_139);
    let unmaskable = sdp(4000, "103") + "a=rtpmap:103 ISAC/16000\r\n";
    house
        .ask(
            message("offer", "c1")
                .with("from-tag", "a")
                .with("sdp", unmaskable.clone()),
        )
        .await;
    let view = house.calls.find(&tenant(), "c1").unwrap();
    assert_eq!(view.refusal, Some(ArmRefusal::NotAnswered.to_string()));
    let answer = message("answer", "c1")
        .with("from-tag", "a")
        .with("to-tag", "b")
        .with("sdp", unmaskable);
    house.ask(answer).await;
    let view = house.calls.find(&tenant(), "c1").unwrap();
    assert_eq!(view.refusal, Some(ArmRefusal::Codec.to_string()));
    let reply = house.ask(message("block DTMF", "c1")).await;
    assert!(reason(&reply).contains("PCMU"), "{reply:?}");
    assert!(house.store.holders().is_empty());
    assert!(
        house
            .audit
            .has(|event| matches!(event, Event::ArmRefused { .. }))
    );
}

#[tokio::test]
async fn block_dtmf_is_acknowledged_only_once_the_media_plane_has_armed() {
    let house = House::new(22_240..=22_259);
    house.call("c1").await;
    let reply = house.ask(message("block DTMF", "c1")).await;
    assert_eq!(result(&reply), "ok");
    assert_eq!(reply.words("tonewall-masked"), ["a"]);
    assert!(house.calls.find(&tenant(), "c1").unwrap().armed);
    assert_eq!(
        house.store.holders(),
        [Holder::Ng],
        "durable before it is acknowledged"
    );
    let records = house.audit.0.lock().unwrap().clone();
    let armed = records
        .iter()
        .find(|record| matches!(record.event, Event::Armed { .. }))
        .unwrap();
    assert_eq!(
        armed.actor,
        Actor::Peer {
            address: PEER.to_string()
        }
    );
    assert_eq!(armed.success, Success::Success);
    assert_eq!(
        result(&house.ask(message("block DTMF", "c1")).await),
        "ok",
        "twice is once"
    );
    assert_eq!(arms(&house), 1);
}

#[tokio::test]
async fn block_dtmf_that_is_refused_or_unanswered_is_an_error_and_leaves_nothing() {
    let house = House::new(22_260..=22_279);
    house.call("c1").await;
    for (arming, word) in [
        (Arming::Refuses(ArmRefusal::Incident), "heard a tone"),
        (Arming::IsSilent, "did not confirm"),
    ] {
        *house.media.arming.lock().unwrap() = arming;
        let reply = house.ask(message("block DTMF", "c1")).await;
        assert!(reason(&reply).contains(word), "{reply:?}");
        assert!(house.store.holders().is_empty());
    }
    assert!(
        house
            .media
            .commands()
            .contains(&MediaCommand::Release(Holder::Ng))
    );
}

#[tokio::test]
async fn block_dtmf_before_the_answer_is_an_error() {
    let house = House::new(22_280..=22_299);
    house.ask(offer("c1")).await;
    let reply = house.ask(message("block DTMF", "c1")).await;
    assert!(reason(&reply).contains("no answer yet"), "{reply:?}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_armed() {
    let house = House::new(22_300..=22_319);
    house.call("c1").await;
    *house.store.broken.lock().unwrap() = true;
    assert!(reason(&house.ask(message("block DTMF", "c1")).await).contains("cannot be kept"));
    assert_eq!(arms(&house), 0);
}

#[tokio::test]
async fn a_block_of_the_agents_leg_says_that_only_the_caller_is_masked() {
    let house = House::new(22_320..=22_339);
    house.call("c1").await;
    let both = message("block DTMF", "c1").with("from-tag", "b");
    assert!(house.ask(both.clone()).await.text("warning").is_none());
    let one = both.with("flags", vec!["directional".into()]);
    assert!(
        house
            .ask(one)
            .await
            .text("warning")
            .unwrap()
            .contains("only the caller")
    );
}

#[tokio::test]
async fn the_flag_block_dtmf_arms_as_soon_as_both_ends_agreed() {
    let house = House::new(22_340..=22_359);
    house
        .ask(offer("c1").with("flags", vec!["block-DTMF".into()]))
        .await;
    assert_eq!(house.store.holders(), [Holder::Ng], "durable already");
    assert_eq!(arms(&house), 0);
    let reply = house.ask(answer("c1")).await;
    assert!(reply.text("warning").is_none(), "{reply:?}");
    assert!(house.calls.find(&tenant(), "c1").unwrap().armed);
}

#[tokio::test]
async fn unblock_releases_what_block_holds() {
    let house = House::new(22_360..=22_379);
    let id = house.call("c1").await;
    house.ask(message("block DTMF", "c1")).await;
    let reply = house.ask(message("unblock DTMF", "c1")).await;
    assert!(
        result(&reply) == "ok" && reply.text("warning").is_none(),
        "{reply:?}"
    );
    assert!(house.store.holders().is_empty());
    house.calls.handle_media(&MediaEvent {
        call: id.clone(),
        kind: MediaEventKind::Disarmed,
    });
    settle().await;
    assert!(!house.calls.find(&tenant(), "c1").unwrap().armed);
    assert!(
        house
            .audit
            .has(|event| *event == Event::Disarmed { call: id.clone() })
    );
}

#[tokio::test]
async fn unblock_never_releases_a_payment() {
    let house = House::new(22_380..=22_399);
    let id = house.call("c1").await;
    house
        .store
        .rows
        .lock()
        .unwrap()
        .push(armed_row("c1", payment()));
    house.calls.handle_media(&MediaEvent {
        call: id.clone(),
        kind: MediaEventKind::Armed(payment()),
    });
    let reply = house
        .ask(message("unblock DTMF", "c1").with("flags", vec!["all".into()]))
        .await;
    assert_eq!(result(&reply), "ok");
    assert!(
        reply.text("warning").unwrap().contains("stays armed"),
        "{reply:?}"
    );
    assert_eq!(house.store.holders(), [payment()]);
    let released = |command: &MediaCommand| matches!(command, MediaCommand::Release(holder) if *holder != Holder::Ng);
    assert!(!house.media.commands().iter().any(released));
    assert!(house.calls.find(&tenant(), "c1").unwrap().armed);
    assert!(
        house
            .audit
            .has(|event| matches!(event, Event::DisarmRefused { .. }))
    );
}

#[tokio::test]
async fn a_call_that_was_armed_before_a_crash_starts_armed() {
    let house = House::new(22_400..=22_419);
    house
        .store
        .rows
        .lock()
        .unwrap()
        .push(armed_row("c1", payment()));
    house.ask(offer("c1")).await;
    assert!(
        house.calls.find(&tenant(), "c1").unwrap().armed,
        "marked from the start"
    );
    assert_eq!(arms(&house), 0);
    house.ask(answer("c1")).await;
    let commands = house.media.commands();
    let [.., arm, second_leg] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(*arm, MediaCommand::Arm(Holder::Recovered));
    assert!(
        matches!(second_leg, MediaCommand::SetLeg(Leg::Agent, _)),
        "no packet passes before it is armed"
    );
    house.ask(offer("c1").with("to-tag", "b")).await;
    assert_eq!(arms(&house), 1, "once");
    let reply = house.ask(message("unblock DTMF", "c1")).await;
    assert!(reply.text("warning").is_some());
    house.ask(message("delete", "c1")).await;
    assert!(
        house.store.holders().is_empty(),
        "nothing of it is armed any more"
    );
}

#[tokio::test]
async fn a_call_that_was_armed_before_is_refused_where_it_cannot_be_masked() {
    let house = House::new(22_420..=22_439);
    house
        .store
        .rows
        .lock()
        .unwrap()
        .push(armed_row("c1", payment()));
    let unmaskable = sdp(4000, "103") + "a=rtpmap:103 ISAC/16000\r\n";
    let reply = house
        .ask(
            message("offer", "c1")
                .with("from-tag", "a")
                .with("sdp", unmaskable),
        )
        .await;
    assert!(reason(&reply).contains("armed before"), "{reply:?}");
    assert_eq!(house.calls.count(), 0);
}

#[tokio::test]
async fn what_a_noisy_line_is_tightened_to_is_recorded() {
    let house = House::new(22_460..=22_479);
    let call = house.call("c1").await;
    for guard in [Guard::Strict, Guard::Mute] {
        house.calls.handle_media(&MediaEvent {
            call: call.clone(),
            kind: MediaEventKind::Tightened(guard),
        });
        settle().await;
        let recorded = |event: &Event| match event {
            Event::MaskingTightened {
                call: of,
                guard: to,
            } => *of == call && to == guard.as_str(),
            _ => false,
        };
        assert!(house.audit.has(recorded), "{guard:?}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_armed_again_is_ended() {
    let house = House::new(22_440..=22_459);
    house
        .store
        .rows
        .lock()
        .unwrap()
        .push(armed_row("c1", payment()));
    *house.media.arming.lock().unwrap() = Arming::Refuses(ArmRefusal::Codec);
    house.ask(offer("c1")).await;
    let reply = house.ask(answer("c1")).await;
    assert!(reason(&reply).contains("armed before"), "{reply:?}");
    settle().await;
    assert_eq!(house.calls.count(), 0);
    assert!(
        house
            .audit
            .has(|event| matches!(event, Event::ControlFailure { .. }))
    );
    assert_eq!(
        house.store.holders().len(),
        1,
        "offered anew, it starts armed again"
    );
}

#[tokio::test]
async fn where_the_journal_cannot_be_read_a_call_starts_armed() {
    let house = House::new(22_460..=22_479);
    *house.store.broken.lock().unwrap() = true;
    house.call("c1").await;
    assert!(
        house
            .media
            .commands()
            .contains(&MediaCommand::Arm(Holder::Recovered))
    );
}

#[tokio::test]
async fn a_flag_block_dtmf_that_cannot_be_done_is_on_record() {
    let house = House::new(22_920..=22_939);
    let unmaskable = sdp(4000, "103") + "a=rtpmap:103 ISAC/16000\r\n";
    let offer = message("offer", "c1")
        .with("from-tag", "a")
        .with("flags", vec!["block-DTMF".into()])
        .with("sdp", unmaskable);
    house.ask(offer).await;
    let reply = house.ask(answer("c1")).await;
    assert!(reply.text("warning").unwrap().contains("not blocked"));
    assert!(
        house
            .audit
            .has(|event| matches!(event, Event::ArmRefused { .. }))
    );
}

#[tokio::test]
async fn a_call_first_heard_of_in_its_middle_is_masked_both_ways_for_either_end_may_be_the_caller()
{
    let house = House::new(22_940..=22_959);
    // After a restart: the agent's end refreshes the session.
    let by = |command, sdp| {
        message(command, "c1")
            .with("from-tag", "b")
            .with("to-tag", "a")
            .with("sdp", sdp)
    };
    let refreshed = house.ask(by("offer", sdp(6000, "0 101"))).await;
    assert_eq!(result(&refreshed), "ok");
    let answered = house.ask(by("answer", sdp(4000, "0 101"))).await;
    assert_eq!(result(&answered), "ok", "it keeps its voice");
    let view = house.calls.find(&tenant(), "c1").unwrap();
    assert_eq!((view.refusal, view.sides_known), (None, false));
    let reply = house.ask(message("block DTMF", "c1")).await;
    assert_masks_both(&house, &reply);

    let mut settings = settings();
    settings.maskable_only = false;
    let armed_before = House::with(settings, 22_960..=22_979);
    let row = armed_row("c1", payment());
    armed_before.store.rows.lock().unwrap().push(row);
    let isac = "a=rtpmap:103 ISAC/16000\r\n";
    let refreshed = by("offer", sdp(6000, "0 103 101") + isac);
    assert_eq!(result(&armed_before.ask(refreshed).await), "ok");
    let unmaskable = by("answer", sdp(4000, "103") + isac);
    let reply = armed_before.ask(unmaskable).await;
    assert!(reason(&reply).contains("masked"), "{reply:?}");
    let answered = armed_before.ask(by("answer", sdp(4000, "0 101"))).await;
    assert_eq!(result(&answered), "ok");
    let commands = armed_before.media.commands();
    assert_eq!(commands[0], MediaCommand::MaskBoth);
    assert!(commands.contains(&MediaCommand::Arm(Holder::Recovered)));
}

/// Both tags are told, no tag is kept as the caller's, and the media plane knew before any media.
fn assert_masks_both(house: &House, reply: &Dict) {
    let masked = reply.get("tonewall-masked").unwrap().to_words();
    assert_eq!(
        BTreeSet::from_iter(masked),
        ["a", "b"].map(str::to_owned).into()
    );
    assert!(reply.text("warning").unwrap().contains("not known"));
    assert_eq!(house.media.commands()[0], MediaCommand::MaskBoth);
    let rows = house.store.rows.lock().unwrap();
    assert!(rows.iter().all(|row| row.caller_tag.is_none()));
}

#[tokio::test]
async fn where_nothing_tells_who_is_the_caller_both_legs_are_masked() {
    for (setting, word) in [
        (CallerSide::Unknown, None),
        (CallerSide::Offerer, Some("unknown")),
    ] {
        let mut settings = settings();
        settings.caller = setting;
        let house = House::with(settings, 23_000..=23_019);
        let offer = offer("c1");
        let offer = match word {
            Some(word) => offer.with("tonewall-caller", word),
            None => offer,
        };
        house.ask(offer).await;
        house.ask(answer("c1")).await;
        assert!(!house.calls.find(&tenant(), "c1").unwrap().sides_known);
        let reply = house.ask(message("block DTMF", "c1")).await;
        assert_masks_both(&house, &reply);
    }
    let mut settings = settings();
    settings.caller = CallerSide::Unknown;
    let house = House::with(settings, 23_000..=23_019);
    house
        .ask(offer("c1").with("tonewall-caller", "offerer"))
        .await;
    house.ask(answer("c1")).await;
    assert!(house.calls.find(&tenant(), "c1").unwrap().sides_known);
    assert!(!house.media.commands().contains(&MediaCommand::MaskBoth));
}

#[tokio::test]
async fn a_call_armed_before_and_offered_anew_by_the_agents_end_is_masked_on_the_callers_leg() {
    for from in ["a", "b"] {
        let house = House::new(22_980..=22_999);
        let row = ArmedRow {
            caller_tag: Some("a".to_owned()),
            ..armed_row("c1", payment())
        };
        house.store.rows.lock().unwrap().push(row);
        let to = if from == "a" { "b" } else { "a" };
        for (command, port) in [("offer", 6000), ("answer", 4000)] {
            let message = message(command, "c1")
                .with("from-tag", from)
                .with("to-tag", to)
                .with("sdp", sdp(port, "0 101"));
            assert_eq!(result(&house.ask(message).await), "ok");
        }
        let view = house.calls.find(&tenant(), "c1").unwrap();
        assert_eq!(view.caller_tag.as_deref(), Some("a"), "offered by {from}");
        assert!(view.armed && view.refusal.is_none());
        assert_eq!(arms(&house), 1);
    }
}

#[tokio::test]
async fn a_key_code_that_is_refused_is_on_record_and_one_that_is_not_is_no_refusal() {
    let house = House::new(27_730..=27_749);
    let id = house.call("c1").await;
    let dialled = |dialled| {
        house.calls.handle_media(&MediaEvent {
            call: id.clone(),
            kind: MediaEventKind::Dialled(dialled),
        });
    };
    dialled(Dialled::Code);
    dialled(Dialled::Amount(1_999));
    let is_refusal = |event: &Event| matches!(event, Event::KeyCodeRefused { .. });
    assert!(!house.audit.has(is_refusal));
    dialled(Dialled::Refused(CodeRefusal::WrongPin));
    settle().await;
    let records = house.audit.0.lock().unwrap().clone();
    let refused = records.iter().find(|record| is_refusal(&record.event));
    let refused = refused.unwrap();
    assert_eq!(
        (&refused.actor, refused.success, refused.event.requirement()),
        (&Actor::Gateway, Success::Failure, "10.2.1.4")
    );
    assert_eq!(
        refused.event,
        Event::KeyCodeRefused {
            call: id.clone(),
            reason: "wrong PIN".to_owned()
        }
    );
}
