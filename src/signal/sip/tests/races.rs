//! What crosses on its way, comes twice, comes late or does not come; and that nothing is left of it.

use super::*;

/// An ACK of a refusal, or a CANCEL: with the branch and the number of its INVITE.
fn of_invite(method: &str, invite: &str, to: Option<&str>) -> String {
    let fields = invite.split("Content-Type").next().unwrap();
    let fields = fields.split("Content-Length").next().unwrap();
    let made = fields
        .replace("INVITE sip", &format!("{method} sip"))
        .replace(" INVITE", &format!(" {method}"));
    let made = match to {
        Some(to) => made.replace(header(&made, "To"), to),
        None => made,
    };
    with_body(&made, "", "")
}

impl World {
    fn entry(&self, leg: Leg) -> Arc<DialogEntry> {
        let all = self.server.ua.dialogs.lock();
        let found = all.values().find(|entry| entry.leg == leg);
        Arc::clone(found.expect("a dialog of this leg"))
    }

    /// As if the clock were so much further on.
    async fn later(&self, seconds: u64) {
        let now = std::time::Instant::now() + Duration::from_secs(seconds);
        let events = self.entry(Leg::Caller).events.clone();
        events.send(bridge::Event::Time(now)).await.unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_offer_that_was_taken_meanwhile_is_told_as_taken() {
    let world = World::new(25_700..=25_719).await;
    let (caller, _) = world.call("cross").await;
    for (number, taken) in [(2, true), (3, false)] {
        let offer = sdp(4_002);
        let again = world
            .trunk
            .within("INVITE", number, &caller, "", ("application/sdp", &offer));
        world.trunk.send(&again).await;
        world.trunk.hear("SIP/2.0 100").await;
        let ours = world.pbx.hear("INVITE ").await;
        world.pbx.answers(&ours, "180 Ringing", "").await;
        world.trunk.hear("SIP/2.0 180").await;
        world.trunk.send(&of_invite("CANCEL", &again, None)).await;
        let heard = world.trunk.hear("SIP/2.0 200").await;
        assert!(heard.contains("CANCEL"), "{heard}");
        let cancel = world.pbx.hear("CANCEL ").await;
        world.pbx.answers(&cancel, "200 OK", "").await;
        if taken {
            world.pbx.answers(&ours, "200 OK", &sdp(6_002)).await;
            world.pbx.hear("ACK ").await;
            let heard = world.trunk.hear("SIP/2.0 200").await;
            assert!(heard.contains("INVITE"), "{heard}");
            world
                .trunk
                .send(&world.trunk.within("ACK", number, &caller, "", ("", "")))
                .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            world.pbx.answers(&ours, "487 Request Terminated", "").await;
            world.pbx.hear("ACK ").await;
            let heard = world.trunk.hear("SIP/2.0 487").await;
            let ack = of_invite("ACK", &again, Some(header(&heard, "To")));
            world.trunk.send(&ack).await;
        }
    }
    assert!(world.view("cross").is_some(), "the call goes on");
    world.trunk.hears_nothing().await;
}

#[tokio::test]
async fn an_offer_by_update_waits_for_another_by_update() {
    let world = World::new(25_720..=25_739).await;
    let (caller, agent) = world.call("updates").await;
    let offer = sdp(4_002);
    let ours = world
        .trunk
        .within("UPDATE", 2, &caller, "", ("application/sdp", &offer));
    world.trunk.send(&ours).await;
    world.pbx.hear("UPDATE ").await;
    let theirs = world
        .pbx
        .within("UPDATE", 1, &agent, "", ("application/sdp", &sdp(6_002)));
    world.pbx.send(&theirs).await;
    world.pbx.hear("SIP/2.0 491").await;
    let twice = world
        .trunk
        .within("UPDATE", 3, &caller, "", ("application/sdp", &offer));
    world.trunk.send(&twice).await;
    let early = world.trunk.hear("SIP/2.0 500").await;
    assert!(has(&early, "Retry-After"), "{early}");
}

#[tokio::test]
async fn a_second_end_that_takes_a_forked_call_is_hung_up() {
    let world = World::new(25_740..=25_759).await;
    world
        .trunk
        .send(&world.trunk.invite("fork", "", &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    world.pbx.hear("ACK ").await;
    world.trunk.hear("SIP/2.0 200").await;
    let second = world.pbx.answer(&invite, "200 OK", "", &sdp(6_008));
    let second = second.replace("tag=answered", "tag=second");
    world.pbx.send(&second).await;
    let ack = world.pbx.hear("ACK ").await;
    assert_eq!(tag(header(&ack, "To")), "second");
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    let bye = world.pbx.hear("BYE ").await;
    assert_eq!(tag(header(&bye, "To")), "second");
    assert_eq!(header(&bye, "CSeq"), "2 BYE");
    assert_eq!(tag(header(&bye, "From")), tag(header(&invite, "From")));
    world.pbx.answers(&bye, "200 OK", "").await;
    assert!(world.view("fork").is_some_and(|view| view.answered));
    assert_eq!(world.house.media.leg(Leg::Agent).unwrap().rtp.port(), 6_000);
}

#[tokio::test]
async fn an_answer_counts_from_whom_was_asked_only() {
    let world = World::new(25_760..=25_779).await;
    world
        .trunk
        .send(&world.trunk.invite("whose", "", &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    // The trunk, with all that it would have to know of the PBX's dialog.
    world.trunk.answers(&invite, "200 OK", &sdp(6_008)).await;
    world.trunk.hears_nothing().await;
    assert!(!world.view("whose").unwrap().answered);
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    world.trunk.hear("SIP/2.0 200").await;
}

#[tokio::test]
async fn a_session_is_refreshed_and_one_without_a_sign_of_life_is_hung_up() {
    let world = World::new(25_780..=25_799).await;
    world
        .trunk
        .send(&world.trunk.invite("life", "", &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    let fields = "Require: timer\r\nSession-Expires: 90;refresher=uac\r\n";
    let answer = world.pbx.answer(&invite, "200 OK", fields, &sdp(6_000));
    world.pbx.send(&answer).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    world.pbx.hear("ACK ").await;
    // Until the ACK came, an INVITE of ours would cross it.
    world.later(46).await;
    world.pbx.hears_nothing().await;
    let caller = Dialog2::of_answer(&taken);
    world
        .trunk
        .send(&world.trunk.within("ACK", 1, &caller, "", ("", "")))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.later(51).await;
    let refresh = world.pbx.hear("INVITE ").await;
    assert_eq!(header(&refresh, "Session-Expires"), "90;refresher=uac");
    assert_eq!(body(&refresh), body(&invite), "what it knows already");
    // An offer of the caller's would cross it.
    let offer = sdp(4_002);
    let again = world
        .trunk
        .within("INVITE", 2, &caller, "", ("application/sdp", &offer));
    world.trunk.send(&again).await;
    let pending = world.trunk.hear("SIP/2.0 491").await;
    world
        .trunk
        .send(&of_invite("ACK", &again, Some(header(&pending, "To"))))
        .await;
    world.pbx.answers(&refresh, "491 Request Pending", "").await;
    world.pbx.hear("ACK ").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.later(5).await;
    let refresh = world.pbx.hear("INVITE ").await;
    let longer = "Session-Expires: 200;refresher=uac\r\n";
    let answer = world.pbx.answer(&refresh, "200 OK", longer, &sdp(6_000));
    world.pbx.send(&answer).await;
    world.pbx.hear("ACK ").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.later(99).await;
    world.pbx.hears_nothing().await;
    world.trunk.hears_nothing().await;
    world.later(169).await;
    // It is asked, and has not answered by then.
    let mut heard = [
        world.pbx.hear_within(PATIENCE).await.unwrap(),
        world.trunk.hear("BYE ").await,
    ];
    heard.sort();
    assert!(heard[0].starts_with("BYE "), "{heard:?}");
}

#[tokio::test]
async fn what_rang_for_an_invite_that_is_over_is_not_told_to_the_next() {
    let world = World::new(25_800..=25_819).await;
    world
        .trunk
        .send(&world.trunk.invite("anew", "", &sdp(4_000)))
        .await;
    let first = world.pbx.hear("INVITE ").await;
    world.pbx.answers(&first, "180 Ringing", "").await;
    world.trunk.hear("SIP/2.0 180").await;
    let small = "Min-SE: 3600\r\n";
    let small = world
        .pbx
        .answer(&first, "422 Session Interval Too Small", small, "");
    world.pbx.send(&small).await;
    world.pbx.hear("ACK ").await;
    let second = world.pbx.hear("INVITE ").await;
    assert_eq!(header(&second, "To"), header(&first, "To"));
    assert!(!header(&second, "To").contains("tag="), "{second}");
    let line = |invite: &str| invite.lines().next().unwrap().to_owned();
    assert_eq!(line(&second), line(&first));
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
}

#[tokio::test]
async fn nothing_is_left_of_a_call_that_fails_at_any_step() {
    let mut port = 25_820;
    for step in [
        "unreadable offer",
        "refused",
        "unreadable answer",
        "cancelled unheard",
        "given up while it rings",
        "acknowledged without the answer",
        "ended by the gateway while it rings",
    ] {
        let world = World::new(port..=port + 9).await;
        port += 10;
        let call_id = step.replace(' ', "-");
        let offer = match step {
            "unreadable offer" => "nonsense".to_owned(),
            "acknowledged without the answer" => String::new(),
            _ => sdp(4_000),
        };
        let invite = world.trunk.invite(&call_id, "", &offer);
        world.trunk.send(&invite).await;
        if step == "unreadable offer" {
            world.trunk.hear("SIP/2.0 488").await;
            world.is_empty().await;
            continue;
        }
        let ours = world.pbx.hear("INVITE ").await;
        match step {
            "refused" => world.pbx.answers(&ours, "486 Busy Here", "").await,
            "unreadable answer" => {
                world.pbx.answers(&ours, "200 OK", "nonsense").await;
                world.pbx.hear("ACK ").await;
                let bye = world.pbx.hear("BYE ").await;
                world.pbx.answers(&bye, "200 OK", "").await;
            }
            "cancelled unheard" => {
                world.trunk.send(&of_invite("CANCEL", &invite, None)).await;
                world.pbx.answers(&ours, "180 Ringing", "").await;
                let cancel = world.pbx.hear("CANCEL ").await;
                world.pbx.answers(&cancel, "200 OK", "").await;
                world.pbx.answers(&ours, "487 Request Terminated", "").await;
            }
            "given up while it rings" => {
                world.pbx.answers(&ours, "180 Ringing", "").await;
                let ringing = world.trunk.hear("SIP/2.0 180").await;
                let dialog = Dialog2::of_answer(&ringing);
                let bye = world.trunk.within("BYE", 2, &dialog, "", ("", ""));
                world.trunk.send(&bye).await;
                let cancel = world.pbx.hear("CANCEL ").await;
                world.pbx.answers(&cancel, "200 OK", "").await;
                world.pbx.answers(&ours, "487 Request Terminated", "").await;
            }
            "acknowledged without the answer" => {
                world.pbx.answers(&ours, "200 OK", &sdp(6_000)).await;
                let taken = world.trunk.hear("SIP/2.0 200").await;
                let dialog = Dialog2::of_answer(&taken);
                let ack = world.trunk.within("ACK", 1, &dialog, "", ("", ""));
                world.trunk.send(&ack).await;
                world.pbx.hear("ACK ").await;
                let bye = world.pbx.hear("BYE ").await;
                world.pbx.answers(&bye, "200 OK", "").await;
                let bye = world.trunk.hear("BYE ").await;
                world.trunk.answers(&bye, "200 OK", "").await;
            }
            _ => {
                world.pbx.answers(&ours, "180 Ringing", "").await;
                world.trunk.hear("SIP/2.0 180").await;
                world.house.calls.end_all().await;
                let cancel = world.pbx.hear("CANCEL ").await;
                world.pbx.answers(&cancel, "200 OK", "").await;
                world.pbx.answers(&ours, "487 Request Terminated", "").await;
            }
        }
        world.is_empty().await;
        let left = world.house.media.sockets.lock().unwrap().len();
        assert_eq!(left, 0, "{step}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_sent_away_with_a_time_to_come_back() {
    let world = World::full(25_900..=25_919, 1).await;
    for call_id in ["fit-1", "fit-2", "over"] {
        world.trunk.send(&world.trunk.invite(call_id, "", "")).await;
        if call_id != "over" {
            world.pbx.hear("INVITE ").await;
        }
    }
    let heard = loop {
        let heard = world.trunk.hear("SIP/2.0 ").await;
        if heard.contains("Call-ID: over") {
            break heard;
        }
    };
    assert!(
        heard.starts_with("SIP/2.0 503") && has(&heard, "Retry-After"),
        "{heard}"
    );
    // The media plane takes no more, either.
    let world = World::new(25_920..=25_939).await;
    *world.house.media.full.lock().unwrap() = true;
    world
        .trunk
        .send(&world.trunk.invite("full", "", &sdp(4_000)))
        .await;
    let heard = world.trunk.hear("SIP/2.0 503").await;
    assert!(has(&heard, "Retry-After"), "{heard}");
    world.is_empty().await;
    assert_eq!(world.server.refused()[4], ("not-served", 1));
}
