//! Calls that the called peer sends elsewhere, and calls to numbers.

use super::*;

impl World {
    async fn following(ports: std::ops::RangeInclusive<u16>, redirects: u8) -> Self {
        Self::with(ports, |settings| settings.peers[1].redirects = redirects).await
    }

    /// Sends a call of the trunk to the PBX's end, which names these places.
    async fn moved(&self, call_id: &str, contacts: &str) -> String {
        let sent = self.trunk.invite(call_id, "Subject: hi\r\n", &sdp(4_000));
        self.trunk.send(&sent).await;
        let invite = self.pbx.hear("INVITE ").await;
        self.pbx.moves(&invite, contacts).await;
        invite
    }
}

impl Phone {
    async fn moves(&self, invite: &str, contacts: &str) {
        let moved = self.answer(invite, "302 Moved Temporarily", "", "");
        let own = format!("Contact: <sip:100@{}>", self.address);
        self.send(&moved.replace(&own, &format!("Contact: {contacts}")))
            .await;
        self.hear("ACK ").await;
    }
}

#[tokio::test]
async fn a_redirection_within_the_peer_is_followed_and_the_call_comes_up() {
    let world = World::following(27_300..=27_319, 3).await;
    let other = Phone::new([127, 0, 0, 3], world.pbx.gateway).await;
    let contacts = format!(
        "<sip:low@{}>;q=0.1, <sip:200@{}>;q=0.9",
        world.pbx.address, other.address
    );
    let first = world.moved("moved", &contacts).await;
    let invite = other.hear("INVITE ").await;
    assert!(
        invite.starts_with(&format!("INVITE sip:200@{} SIP/2.0", other.address)),
        "{invite}"
    );
    assert_eq!(header(&invite, "CSeq"), "2 INVITE");
    assert_eq!(header(&invite, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(tag(header(&invite, "To")), "", "{invite}");
    assert_eq!(header(&invite, "Subject"), "hi");
    assert_eq!(header(&invite, "Max-Forwards"), "69");
    assert_eq!(invite.matches("Max-Forwards").count(), 1);
    assert_eq!(body(&invite), body(&first));
    other.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    assert!(!taken.contains("127.0.0.3"), "{taken}");
    other.hear("ACK ").await;
    world.pbx.hears_nothing().await;
    assert!(world.view("moved").unwrap().answered);
    let caller = Dialog2::of_answer(&taken);
    world
        .trunk
        .send(&world.trunk.within("ACK", 1, &caller, "", ("", "")))
        .await;
    world
        .trunk
        .send(&world.trunk.within("BYE", 2, &caller, "", ("", "")))
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = other.hear("BYE ").await;
    other.answers(&bye, "200 OK", "").await;
    world.is_empty().await;
}

#[tokio::test]
async fn a_place_that_is_not_the_peers_is_not_tried_and_the_caller_is_told() {
    let world = World::following(27_500..=27_549, 3).await;
    let stranger = Phone::new([127, 0, 0, 4], world.pbx.gateway).await;
    for (number, contact) in [
        format!("<sip:1@{}>", stranger.address),
        // The other side, whose end keys cards.
        format!("<sip:1@{}>", world.trunk.address),
        format!("<sip:1@{}>", world.pbx.gateway),
        format!("<sip:1@{}?Replaces=x>", world.pbx.address),
        format!("<sip:1@{};maddr=127.0.0.4>", world.pbx.address),
        format!("<sips:1@{}>", world.pbx.address),
        "<sip:1@pbx.example>".to_owned(),
        "<tel:+4930>".to_owned(),
        "nonsense".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let call_id = format!("away{number}");
        world.moved(&call_id, contact).await;
        let moved = world.trunk.hear("SIP/2.0 302").await;
        assert!(moved.contains(contact), "{contact}: {moved}");
        let ack = world
            .trunk
            .invite(&call_id, "", "")
            .replace("INVITE", "ACK");
        world
            .trunk
            .send(&ack.replace(header(&ack, "To"), header(&moved, "To")))
            .await;
    }
    stranger.hears_nothing().await;
    world.is_empty().await;
}

#[tokio::test]
async fn loops_end_and_so_do_endless_redirections() {
    let world = World::following(27_340..=27_359, 3).await;
    let at = world.pbx.address;
    // Back to where it came from.
    world.moved("loop", &format!("<sip:100@{at}>")).await;
    world.trunk.hear("SIP/2.0 302").await;
    // To the gateway, which stands where the peer may be, too.
    let world = World::with(27_550..=27_569, |settings| {
        settings.peers[1].redirects = 3;
        settings.peers[1].sources = Networks::parse(["127.0.0.0/30"]).unwrap();
        settings.peers[0].sources = Networks::parse(["127.0.0.2"]).unwrap();
    });
    let world = world.await;
    let here = world.pbx.gateway;
    world.moved("here", &format!("<sip:100@{here}>")).await;
    world.trunk.hear("SIP/2.0 302").await;
    let world = World::following(27_360..=27_379, 3).await;
    let at = world.pbx.address;
    world.moved("endless", &format!("<sip:1@{at}>")).await;
    for user in 1..=3 {
        let invite = world.pbx.hear("INVITE ").await;
        assert!(
            invite.starts_with(&format!("INVITE sip:{user}@{at} ")),
            "{invite}"
        );
        world
            .pbx
            .moves(&invite, &format!("<sip:{}@{at}>", user + 1))
            .await;
    }
    world.trunk.hear("SIP/2.0 302").await;
    world.pbx.hears_nothing().await;
}

#[tokio::test]
async fn the_next_place_is_tried_where_one_is_in_vain_unless_it_spoke_for_all() {
    let world = World::following(27_380..=27_399, 5).await;
    let at = world.pbx.address;
    for (call_id, status, goes_on) in [("busy", "486 Busy", true), ("all", "603 Decline", false)] {
        world
            .moved(call_id, &format!("<sip:1@{at}>, <sip:2@{at}>"))
            .await;
        let invite = world.pbx.hear("INVITE sip:1@").await;
        world.pbx.answers(&invite, status, "").await;
        world.pbx.hear("ACK ").await;
        if goes_on {
            let invite = world.pbx.hear("INVITE sip:2@").await;
            world.pbx.answers(&invite, "404 Not Found", "").await;
            world.pbx.hear("ACK ").await;
            world.trunk.hear("SIP/2.0 404").await;
        } else {
            loop {
                let heard = world.trunk.hear("SIP/2.0 ").await;
                if heard.starts_with("SIP/2.0 603") {
                    break;
                }
                assert!(heard.starts_with("SIP/2.0 404"), "repeated: {heard}");
            }
        }
        world.pbx.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_not_tried_elsewhere() {
    let world = World::following(27_400..=27_419, 3).await;
    let sent = world.trunk.invite("gone", "", &sdp(4_000));
    world.trunk.send(&sent).await;
    let invite = world.pbx.hear("INVITE ").await;
    world.pbx.answers(&invite, "180 Ringing", "").await;
    world.trunk.hear("SIP/2.0 180").await;
    let cancel = sent
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    let cancel = with_body(cancel.split("Content-Type").next().unwrap(), "", "");
    world.trunk.send(&cancel).await;
    world.pbx.hear("CANCEL ").await;
    world
        .pbx
        .moves(&invite, &format!("<sip:1@{}>", world.pbx.address))
        .await;
    world.pbx.hears_nothing().await;
}

#[tokio::test]
async fn a_global_number_is_called_at_the_dial_peer_and_a_local_one_is_not() {
    let world = World::new(27_420..=27_439).await;
    let to = format!("sip:100@{}", world.trunk.gateway);
    for (number, called) in [
        ("tel:+49-30-123", Some("+4930123")),
        ("tel:0301;phone-context=+49", None),
        ("tel:+4930;ext=7", None),
        ("fax:+4930", None),
    ] {
        let call_id = format!("n{}", number.len());
        let sent = world
            .trunk
            .invite(&call_id, "", &sdp(4_000))
            .replace(&to, number);
        world.trunk.send(&sent).await;
        match called {
            Some(user) => {
                let invite = world.pbx.hear("INVITE ").await;
                let line = format!("INVITE sip:{user}@{} SIP/2.0", world.pbx.address);
                assert!(invite.starts_with(&line), "{invite}");
                let to = format!("<sip:{user}@{}>", world.pbx.address);
                assert_eq!(header(&invite, "To"), to);
                world.pbx.answers(&invite, "486 Busy", "").await;
                world.pbx.hear("ACK ").await;
                let busy = world.trunk.hear("SIP/2.0 486").await;
                let ack = world
                    .trunk
                    .invite(&call_id, "", "")
                    .replace("INVITE", "ACK");
                let ack = ack.replace(&to, number);
                world
                    .trunk
                    .send(&ack.replace(header(&ack, "To"), header(&busy, "To")))
                    .await;
            }
            None => loop {
                let heard = world.trunk.hear("SIP/2.0 ").await;
                if heard.contains(&format!("Call-ID: {call_id}\r\n")) {
                    assert!(heard.starts_with("SIP/2.0 416"), "{heard}");
                    break;
                }
            },
        }
    }
    world.pbx.hears_nothing().await;
}
