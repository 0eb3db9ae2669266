//! Whose RTP and RTCP are taken: what another source sends to a leg, from the leg's own address.

use super::{profiles::open_field, *};

const STRANGER: u32 = 0x0bad_0bad;

/// A packet of another source, `n`th in its row.
fn forged(payload_type: u8, n: u16, payload: &[u8]) -> Vec<u8> {
    let header = write_header(payload_type, false, n, u32::from(n) * 160, STRANGER);
    [&header, payload].concat()
}

/// A report of a source about nobody.
fn report_of(ssrc: u32) -> Vec<u8> {
    [vec![0x80, 201, 0, 1], ssrc.to_be_bytes().to_vec()].concat()
}

impl World {
    /// Whether a datagram is relayed, or what comes of it.
    fn takes(&mut self, from: Leg, channel: Channel, datagram: &[u8]) -> bool {
        let mut datagram = datagram.to_vec();
        let (now, out) = (self.now, &mut self.out);
        let forward = self
            .call
            .handle_media(from, channel, &mut datagram, now, out);
        self.drain();
        match forward {
            Ok(_) => true,
            Err(refused) => {
                assert_eq!(refused, Refused::Source);
                assert!(self.left().is_empty());
                false
            }
        }
    }

    fn failed_as_contested(&self) -> usize {
        let reason = CaptureFailure::Contested;
        self.count(|output| {
            matches!(output, Output::Capture(event) if event.kind == CaptureEventKind::Failed { reason })
        })
    }

    fn contests(&self, leg: Leg) -> usize {
        self.count(|output| matches!(output, Output::Contested(of) if *of == leg))
    }
}

#[test]
fn nothing_of_another_source_is_relayed_either_way_while_the_first_one_sends() {
    let mut world = World::answered();
    let agent = world.datagram(0, 7, &voice(160));
    world.speak(300);
    assert!(world.takes(Leg::Agent, Channel::Rtp, &agent));
    for n in 0..100 {
        world.speak(1);
        assert!(world.takes(Leg::Agent, Channel::Rtp, &agent));
        for leg in [Leg::Caller, Leg::Agent] {
            assert!(!world.takes(leg, Channel::Rtp, &forged(0, n, &voice(160))));
            let key = forged(EVENT, n, &event(5, false, 160));
            assert!(!world.takes(leg, Channel::Rtp, &key));
            assert!(!world.takes(leg, Channel::Rtcp, &report_of(STRANGER)));
            // Multiplexed (RFC 5761), too, and a goodbye without anybody's name.
            assert!(!world.takes(leg, Channel::Rtp, &report_of(STRANGER)));
            assert!(!world.takes(leg, Channel::Rtcp, &[0x80, 203, 0, 0]));
            assert!(
                world.takes(leg, Channel::Rtcp, &report_of(SSRC)),
                "the control"
            );
        }
    }
}

#[test]
fn a_transfer_is_followed_once_the_old_source_is_silent() {
    for leg in [Leg::Caller, Leg::Agent] {
        let mut world = World::answered();
        let first = world.datagram(0, 7, &voice(160));
        assert!(world.takes(leg, Channel::Rtp, &first));
        world.wait(100);
        let taken =
            [1, 2, 3, 4].map(|n| world.takes(leg, Channel::Rtp, &forged(0, n, &voice(160))));
        assert_eq!(taken, [false, false, true, true], "{leg:?}");
        assert!(!world.takes(leg, Channel::Rtp, &first));
        assert_eq!(world.contests(leg), 0);
    }
}

#[test]
fn after_an_arming_the_source_is_the_same_as_before() {
    let mut world = World::armed();
    world.speak(300);
    for n in 0..50 {
        // Not taken, and nothing leaves because of it.
        assert!(world.give(&forged(0, n, &voice(160))).is_empty());
        world.speak(1);
    }
    world.release();
    assert!(!world.takes(Leg::Caller, Channel::Rtp, &forged(0, 60, &voice(160))));
    assert_eq!(world.speak(3).len(), 3);
}

#[test]
fn keys_that_another_source_forges_are_neither_taken_nor_relayed_nor_noticed_by_a_field() {
    let mut world = World::armed();
    world.speak(300);
    world.command(Command::Arm(payment('A')));
    open_field(&mut world);
    let progress = |world: &World| {
        world.count(|output| {
            matches!(output, Output::Capture(event)
                if matches!(event.kind, CaptureEventKind::Progress { .. }))
        })
    };
    for n in 0..100 {
        let key = forged(EVENT, n, &event((n % 10) as u8, true, 800));
        assert!(world.give(&key).is_empty());
        world.speak(1);
    }
    assert_eq!((progress(&world), world.failed_as_contested()), (0, 0));
    world.key(4, 4, None);
    world.speak(20);
    assert!(progress(&world) > 0, "the control");
}

#[test]
fn a_contested_set_up_refuses_captures_until_signalling_names_another_place() {
    for armed_before in [false, true] {
        let mut world = World::answered();
        if armed_before {
            world.command(Command::Arm(payment('A')));
            open_field(&mut world);
        }
        for n in 0..10 {
            world.speak(1);
            world.give(&forged(0, n, &voice(160)));
        }
        assert_eq!(world.contests(Leg::Caller), 1, "told once");
        assert_eq!(world.failed_as_contested(), usize::from(armed_before));
        world.command(Command::Arm(payment('A')));
        let before = world.failed_as_contested();
        open_field(&mut world);
        assert_eq!(world.failed_as_contested(), before + 1);
        world.command(Command::SetLeg(Leg::Caller, leg(4_000)));
        open_field(&mut world);
        assert_eq!(world.failed_as_contested(), before + 2, "nothing new");
        world.command(Command::SetLeg(Leg::Caller, leg(4_100)));
        open_field(&mut world);
        assert_eq!(world.failed_as_contested(), before + 2);
    }
}

#[test]
fn a_contested_agents_leg_is_told_and_takes_no_field_away() {
    let mut world = World::answered();
    world.command(Command::Arm(payment('A')));
    let agents = world.datagram(0, 7, &voice(160));
    for n in 0..10 {
        world.takes(Leg::Agent, Channel::Rtp, &agents);
        world.takes(Leg::Agent, Channel::Rtp, &forged(0, n, &voice(160)));
    }
    assert_eq!(
        (world.contests(Leg::Agent), world.contests(Leg::Caller)),
        (1, 0)
    );
    open_field(&mut world);
    assert_eq!(world.failed_as_contested(), 0);
}
