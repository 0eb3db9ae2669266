//! What two ends hear of each other.

use super::*;

#[tokio::test]
async fn a_call_goes_through_and_neither_side_sees_the_others_hosts() {
    let world = World::new(25_000..=25_019).await;
    world
        .trunk
        .send(
            &world
                .trunk
                .invite("c1", "X-Account: 7\r\nSubject: hi\r\n", &sdp(4_000)),
        )
        .await;
    world.trunk.hear("SIP/2.0 100").await;
    let invite = world.pbx.hear("INVITE ").await;
    assert!(
        !invite.contains("127.0.0.2") && !invite.contains("127.0.0.9"),
        "{invite}"
    );
    assert!(
        !invite.contains("X-Account") && invite.contains("Subject: hi"),
        "{invite}"
    );
    assert!(
        invite.starts_with(&format!("INVITE sip:100@{} SIP/2.0", world.pbx.address)),
        "{invite}"
    );
    assert!(
        header(&invite, "From").starts_with("\"Caller\" <sip:4930123@127.0.0.1"),
        "{invite}"
    );
    assert_eq!(header(&invite, "Max-Forwards"), "69");
    assert_ne!(header(&invite, "Call-ID"), "c1");
    assert!(body(&invite).contains("c=IN IP4 203.0.113.1"), "{invite}");

    world
        .pbx
        .answers(&invite, "183 Progress", &sdp(6_000))
        .await;
    let early = world.trunk.hear("SIP/2.0 183").await;
    assert!(body(&early).contains("203.0.113.1"), "{early}");
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    assert!(
        !taken.contains("127.0.0.3") && !taken.contains("127.0.0.9"),
        "{taken}"
    );
    assert_eq!(tag(header(&early, "To")), tag(header(&taken, "To")));
    world.pbx.hear("ACK ").await;
    let view = world.view("c1").unwrap();
    assert!(view.answered && view.refusal.is_none(), "{view:?}");

    let dialog = Dialog2::of_answer(&taken);
    world
        .trunk
        .send(&world.trunk.within("ACK", 1, &dialog, "", ("", "")))
        .await;
    world
        .trunk
        .send(
            &world
                .trunk
                .within("BYE", 2, &dialog, "Reason: Q.850;cause=16\r\n", ("", "")),
        )
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    assert_eq!(header(&bye, "Reason"), "Q.850;cause=16");
    world.pbx.answers(&bye, "200 OK", "").await;
    world.is_empty().await;
}

#[tokio::test]
async fn the_customer_is_on_the_trunk_whoever_called() {
    let world = World::new(25_020..=25_039).await;
    world
        .pbx
        .send(&world.pbx.invite("out", "", &sdp(4_000)))
        .await;
    let invite = world.trunk.hear("INVITE ").await;
    world.trunk.answers(&invite, "200 OK", &sdp(6_000)).await;
    world.pbx.hear("SIP/2.0 200").await;
    world.trunk.hear("ACK ").await;
    let caller = world.house.media.leg(Leg::Caller).unwrap();
    assert_eq!(caller.rtp.port(), 6_000);
    assert_eq!(world.view("out").unwrap().refusal, None);
}

#[tokio::test]
async fn a_2xx_that_comes_again_is_acknowledged_again() {
    let world = World::new(25_040..=25_059).await;
    world
        .trunk
        .send(&world.trunk.invite("again", "", &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    for _ in 0..3 {
        world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
        let ack = world.pbx.hear("ACK ").await;
        assert_eq!(header(&ack, "CSeq"), "1 ACK");
    }
    // We repeat ours as well, until its ACK.
    for _ in 0..2 {
        world.trunk.hear("SIP/2.0 200").await;
    }
}

#[tokio::test]
async fn a_cancel_ends_the_call_also_where_it_crosses_the_answer() {
    let world = World::new(25_060..=25_079).await;
    for (call_id, crossed) in [("x1", false), ("x2", true)] {
        let invite = world.trunk.invite(call_id, "", &sdp(4_000));
        world.trunk.send(&invite).await;
        let ours = world.pbx.hear("INVITE ").await;
        world.pbx.answers(&ours, "180 Ringing", "").await;
        world.trunk.hear("SIP/2.0 180").await;
        let cancel = invite
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL");
        let cancel = with_body(cancel.split("Content-Type").next().unwrap(), "", "");
        world.trunk.send(&cancel).await;
        let mut heard = [
            world.trunk.hear("SIP/2.0 ").await,
            world.trunk.hear("SIP/2.0 ").await,
        ];
        heard.sort();
        assert!(
            heard[0].starts_with("SIP/2.0 200") && heard[0].contains("1 CANCEL"),
            "{heard:?}"
        );
        assert!(
            heard[1].starts_with("SIP/2.0 487") && heard[1].contains("1 INVITE"),
            "{heard:?}"
        );
        let ack = invite
            .replace("INVITE sip", "ACK sip")
            .replace("1 INVITE", "1 ACK");
        let ack = ack.replace(header(&ack, "To"), header(&heard[1], "To"));
        world
            .trunk
            .send(&with_body(
                ack.split("Content-Type").next().unwrap(),
                "",
                "",
            ))
            .await;

        let cancel = world.pbx.hear("CANCEL ").await;
        let branch = |message: &str| {
            header(message, "Via")
                .split("branch=")
                .nth(1)
                .map(str::to_owned)
        };
        assert_eq!(
            branch(&cancel),
            branch(&ours),
            "the CANCEL is of that INVITE"
        );
        world.pbx.answers(&cancel, "200 OK", "").await;
        if crossed {
            world.pbx.answers(&ours, "200 OK", &sdp(6_000)).await;
            world.pbx.hear("ACK ").await;
            let bye = world.pbx.hear("BYE ").await;
            world.pbx.answers(&bye, "200 OK", "").await;
        } else {
            world.pbx.answers(&ours, "487 Request Terminated", "").await;
            world.pbx.hear("ACK ").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test]
async fn a_cancel_before_anything_came_back_waits_for_a_sign_of_the_other_end() {
    let world = World::new(25_080..=25_099).await;
    let invite = world.trunk.invite("early", "", &sdp(4_000));
    world.trunk.send(&invite).await;
    let ours = world.pbx.hear("INVITE ").await;
    let cancel = invite
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    world
        .trunk
        .send(&with_body(
            cancel.split("Content-Type").next().unwrap(),
            "",
            "",
        ))
        .await;
    world.trunk.hear("SIP/2.0 ").await;
    // RFC 3261 section 9.1. The INVITE itself may come again.
    while let Some(heard) = world.pbx.hear_within(QUIET).await {
        assert!(heard.starts_with("INVITE "), "{heard}");
    }
    world.pbx.answers(&ours, "180 Ringing", "").await;
    loop {
        let heard = world.pbx.hear_within(PATIENCE).await.expect("the CANCEL");
        if heard.starts_with("CANCEL ") {
            break;
        }
    }
}

#[tokio::test]
async fn an_offer_may_come_late() {
    let world = World::new(25_100..=25_119).await;
    world.trunk.send(&world.trunk.invite("late", "", "")).await;
    let invite = world.pbx.hear("INVITE ").await;
    assert_eq!(body(&invite), "");
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    assert!(body(&taken).contains("203.0.113.1"), "{taken}");
    world.pbx.hears_nothing().await;
    let dialog = Dialog2::of_answer(&taken);
    let answer = sdp(4_000);
    let ack = world
        .trunk
        .within("ACK", 1, &dialog, "", ("application/sdp", &answer));
    world.trunk.send(&ack).await;
    let ack = world.pbx.hear("ACK ").await;
    assert!(body(&ack).contains("203.0.113.1"), "{ack}");
    let view = world.view("late").unwrap();
    assert!(view.answered && view.refusal.is_none(), "{view:?}");
    assert_eq!(
        world.house.media.leg(Leg::Caller).unwrap().rtp.port(),
        4_000
    );
}

#[tokio::test]
async fn either_end_may_offer_again_and_a_second_offer_meanwhile_has_to_wait() {
    let world = World::new(25_120..=25_139).await;
    let (caller, agent) = world.call("hold").await;
    let held = sdp(6_002) + "a=sendonly\r\n";
    let again = world
        .pbx
        .within("INVITE", 1, &agent, "", ("application/sdp", &held));
    world.pbx.send(&again).await;
    let ours = world.trunk.hear("INVITE ").await;
    assert!(
        body(&ours).contains("a=sendonly") && body(&ours).contains("203.0.113.1"),
        "{ours}"
    );
    assert_eq!(tag(header(&ours, "To")), "from-hold");
    let offer = sdp(4_002);
    let glare = world
        .trunk
        .within("INVITE", 2, &caller, "", ("application/sdp", &offer));
    world.trunk.send(&glare).await;
    let pending = world.trunk.hear("SIP/2.0 491").await;
    assert_eq!(header(&pending, "CSeq"), "2 INVITE");
    world
        .trunk
        .send(
            &world
                .trunk
                .answer(&ours, "200 OK", "", &(sdp(4_000) + "a=recvonly\r\n")),
        )
        .await;
    world.trunk.hear("ACK ").await;
    let taken = world.pbx.hear("SIP/2.0 ").await;
    let taken = if taken.starts_with("SIP/2.0 100") {
        world.pbx.hear("SIP/2.0 200").await
    } else {
        taken
    };
    assert!(body(&taken).contains("a=recvonly"), "{taken}");
    world
        .pbx
        .send(&world.pbx.within("ACK", 1, &agent, "", ("", "")))
        .await;
    assert_eq!(world.house.media.leg(Leg::Agent).unwrap().rtp.port(), 6_002);

    let update = world
        .trunk
        .within("UPDATE", 3, &caller, "", ("application/sdp", &sdp(4_004)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.trunk.send(&update).await;
    let ours = world.pbx.hear("UPDATE ").await;
    world.pbx.answers(&ours, "200 OK", &sdp(6_002)).await;
    world.trunk.hear("SIP/2.0 200").await;
    assert_eq!(
        world.house.media.leg(Leg::Caller).unwrap().rtp.port(),
        4_004
    );
}

#[tokio::test]
async fn a_reliable_provisional_response_is_acknowledged_by_the_far_end_itself() {
    let world = World::new(25_140..=25_159).await;
    world
        .trunk
        .send(
            &world
                .trunk
                .invite("rel", "Supported: 100rel\r\n", &sdp(4_000)),
        )
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    assert!(header(&invite, "Supported").contains("100rel"), "{invite}");
    let ringing = world.pbx.answer(
        &invite,
        "183 Progress",
        "Require: 100rel\r\nRSeq: 77\r\n",
        &sdp(6_000),
    );
    world.pbx.send(&ringing).await;
    let first = world.trunk.hear("SIP/2.0 183").await;
    // Lost, say: the stack does not repeat it, we do.
    let second = world.trunk.hear("SIP/2.0 183").await;
    assert_eq!(
        (header(&first, "RSeq"), header(&second, "RSeq")),
        ("77", "77")
    );
    let dialog = Dialog2::of_answer(&first);
    let prack = world
        .trunk
        .within("PRACK", 2, &dialog, "RAck: 77 1 INVITE\r\n", ("", ""));
    world.trunk.send(&prack).await;
    let ours = world.pbx.hear("PRACK ").await;
    let number = header(&invite, "CSeq").split(' ').next().unwrap();
    assert_eq!(header(&ours, "RAck"), format!("77 {number} INVITE"));
    world.pbx.answers(&ours, "200 OK", "").await;
    world.trunk.hear("SIP/2.0 200").await;
    world.trunk.hears_nothing().await;
}

#[tokio::test]
async fn a_refusal_and_a_redirection_come_back_as_they_are() {
    let world = World::new(25_160..=25_179).await;
    for (call_id, status) in [
        ("busy", "486 Busy Here"),
        ("moved", "302 Moved Temporarily"),
    ] {
        let invite = world.trunk.invite(call_id, "", &sdp(4_000));
        world.trunk.send(&invite).await;
        let ours = world.pbx.hear("INVITE ").await;
        world.pbx.answers(&ours, status, "").await;
        world.pbx.hear("ACK ").await;
        let refused = world.trunk.hear(&format!("SIP/2.0 {status}")).await;
        assert_eq!(
            refused.contains("Contact: <sip:100@127.0.0.3"),
            call_id == "moved",
            "{refused}"
        );
        let ack = invite
            .replace("INVITE sip", "ACK sip")
            .replace("1 INVITE", "1 ACK");
        let ack = ack.replace(header(&ack, "To"), header(&refused, "To"));
        world
            .trunk
            .send(&with_body(
                ack.split("Content-Type").next().unwrap(),
                "",
                "",
            ))
            .await;
        world.is_empty().await;
    }
}

#[tokio::test]
async fn a_trunk_that_asks_who_we_are_is_told_and_nobody_else_is() {
    let secret = Secret::new("us".to_owned(), "pass word".to_owned());
    let world = World::with(25_180..=25_199, |settings| {
        settings.peers[0].secret = Some(secret);
    })
    .await;
    world
        .pbx
        .send(&world.pbx.invite("auth", "", &sdp(4_000)))
        .await;
    let invite = world.trunk.hear("INVITE ").await;
    let asks =
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
    world
        .trunk
        .send(&world.trunk.answer(&invite, "401 Unauthorized", asks, ""))
        .await;
    world.trunk.hear("ACK ").await;
    let again = world.trunk.hear("INVITE ").await;
    let told = header(&again, "Authorization");
    assert!(
        told.contains("username=\"us\"") && !told.contains("pass word"),
        "{told}"
    );
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    world.trunk.answers(&again, "200 OK", &sdp(6_000)).await;
    let ack = world.trunk.hear("ACK ").await;
    assert_eq!(header(&ack, "CSeq"), "2 ACK");
    let taken = world.pbx.hear("SIP/2.0 200").await;
    let dialog = Dialog2::of_answer(&taken);
    world
        .pbx
        .send(&world.pbx.within("ACK", 1, &dialog, "", ("", "")))
        .await;
    world
        .pbx
        .send(&world.pbx.within("BYE", 2, &dialog, "", ("", "")))
        .await;
    let bye = world.trunk.hear("BYE ").await;
    assert_eq!(header(&bye, "CSeq"), "3 BYE");
}

#[tokio::test]
async fn a_session_has_a_timer_on_the_leg_that_wants_one() {
    let world = World::new(25_200..=25_219).await;
    let fields = "Supported: timer\r\nSession-Expires: 300\r\n";
    world
        .trunk
        .send(&world.trunk.invite("timer", fields, &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    assert_eq!(
        header(&invite, "Session-Expires"),
        "1800",
        "each leg has its own"
    );
    let longer = world.pbx.answer(
        &invite,
        "422 Session Interval Too Small",
        "Min-SE: 3600\r\n",
        "",
    );
    world.pbx.send(&longer).await;
    world.pbx.hear("ACK ").await;
    let invite = world.pbx.hear("INVITE ").await;
    assert_eq!(header(&invite, "Session-Expires"), "3600");
    assert!(body(&invite).contains("203.0.113.1"), "{invite}");
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    assert_eq!(header(&taken, "Session-Expires"), "300;refresher=uac");
    assert_eq!(header(&taken, "Require"), "timer");
    world
        .trunk
        .send(
            &world
                .trunk
                .invite("short", "Session-Expires: 60\r\n", &sdp(4_000)),
        )
        .await;
    loop {
        let heard = world.trunk.hear("SIP/2.0 ").await;
        if heard.contains("Call-ID: short") {
            assert!(
                heard.starts_with("SIP/2.0 422") && heard.contains("Min-SE: 90"),
                "{heard}"
            );
            break;
        }
    }
}

#[tokio::test]
async fn a_transfer_passes_to_the_other_end() {
    let world = World::new(25_220..=25_239).await;
    let (_, agent) = world.call("refer").await;
    let refer = world.pbx.within(
        "REFER",
        1,
        &agent,
        "Refer-To: <sip:200@127.0.0.3>\r\n",
        ("", ""),
    );
    world.pbx.send(&refer).await;
    let ours = world.trunk.hear("REFER ").await;
    assert_eq!(header(&ours, "Refer-To"), "<sip:200@127.0.0.3>");
    world.trunk.answers(&ours, "202 Accepted", "").await;
    world.pbx.hear("SIP/2.0 202").await;
}

#[tokio::test]
async fn a_call_that_the_gateway_ends_is_hung_up_on_both_legs() {
    let world = World::new(25_240..=25_259).await;
    world.call("gone").await;
    world.house.calls.end_all().await;
    world.trunk.hear("BYE ").await;
    world.pbx.hear("BYE ").await;
}
