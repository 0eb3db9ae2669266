//! Calls on which it is not known who is the caller.

use super::{
    profiles::{close_field, open_field},
    *,
};

/// A call in doubt, with this leg's packets.
fn in_doubt(from: Leg, masking: Masking) -> World {
    let mut world = World::unanswered();
    world.call = Call::new(masking);
    world.from = from;
    world.command(Command::MaskBoth);
    world.command(Command::SetLeg(Leg::Caller, leg(4_000)));
    world.command(Command::SetLeg(Leg::Agent, leg(4_002)));
    world
}

/// Keys of every kind before, in and after two armings, one of them with a field.
fn converse(world: &mut World) {
    world.speak(20);
    world.audio(0, &five(0, 160));
    world.speak(3);
    world.key(3, 4, None);
    // An event that the arming cuts.
    let begin = world.timestamp;
    let cut = world.datagram(EVENT, begin, &event(9, false, 160));
    world.give(&cut);
    world.command(Command::Arm(Holder::Ng));
    world.speak(5);
    for packet in 0..5 {
        world.audio(0, &five(packet * 160, 160));
    }
    world.speak(10);
    world.key(7, 5, None);
    let silence = voice(160);
    world.key(8, 5, Some(&silence));
    // A packet is lost.
    let _ = world.datagram(0, world.timestamp, &silence);
    world.timestamp = world.timestamp.wrapping_add(160);
    world.speak(30);
    let report = sender_report(world.timestamp, 70, 9_000);
    for mut datagram in [
        report.clone(),
        [report, vec![0x80, 204, 0, 1, 5, 5, 5, 5]].concat(),
    ] {
        let left = world.give_on(world.from, Channel::Rtcp, &mut datagram);
        assert_eq!(left.len(), 1);
    }
    world.release();
    world.speak(10);
    world.command(Command::Arm(payment('A')));
    open_field(world);
    for _ in 0..4 {
        world.key(4, 4, None);
        for packet in 0..4 {
            world.audio(0, &five(packet * 160, 160));
        }
        world.speak(5);
    }
    close_field(world);
    world.speak(30);
    world.command(Command::Release(payment('A')));
    world.speak(60);
    let report = sender_report(world.timestamp, 300, 90_000);
    world.give_on(world.from, Channel::Rtcp, &mut report.clone());
}

/// Digits of the field that were told.
fn keyed(world: &World) -> u8 {
    let counts = world.said.iter().filter_map(|output| match output {
        Output::Capture(event) => match event.kind {
            CaptureEventKind::Progress { count, .. } => Some(count),
            _ => None,
        },
        _ => None,
    });
    counts.max().unwrap_or(0)
}

fn failed(world: &World) -> usize {
    world.count(|output| match output {
        Output::Capture(event) => matches!(event.kind, CaptureEventKind::Failed { .. }),
        _ => false,
    })
}

#[test]
fn in_doubt_either_leg_is_heard_and_masked_as_the_caller_alone_would_be() {
    for profile in [Profile::Fast, Profile::Strictest, Profile::Continuous] {
        let masking = Masking {
            profile,
            ..Masking::default()
        };
        let mut known = World::answered_and_masked(masking);
        converse(&mut known);
        assert!(known.tape.len() > 200 && keyed(&known) == 8, "void");
        for from in [Leg::Caller, Leg::Agent] {
            let mut world = in_doubt(from, masking);
            let start = world.now.instant;
            converse(&mut world);
            let tape = |world: &World, start| -> Vec<(Duration, Vec<u8>)> {
                let since =
                    |(at, left): &(Instant, Vec<u8>)| (at.duration_since(start), left.clone());
                world.tape.iter().map(since).collect()
            };
            let first = known.tape[0].0;
            let expected = tape(&known, first);
            assert!(
                tape(&world, start) == expected,
                "{profile:?}, from the {from:?}"
            );
            assert_eq!(keyed(&world), 8);
            assert!(!world.call.is_armed());
            let (proof, other) = (world.proof(), known.call.proof);
            assert_eq!(proof.keys_heard, other.keys_heard);
        }
    }
}

#[test]
fn in_doubt_neither_leg_gets_a_key_of_the_other_while_both_press() {
    let mut world = in_doubt(Leg::Agent, Masking::default());
    world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    let mut towards_agent = Vec::new();
    for packet in 0..10 {
        let tone = five(packet * 160, 160);
        let header = write_header(0, false, packet as u16, packet as u32 * 160, 77);
        let mut of_caller = [&header[..], &tone].concat();
        towards_agent.extend(world.give_on(Leg::Caller, Channel::Rtp, &mut of_caller));
        world.audio(0, &tone);
    }
    let towards_caller: Vec<_> = world.tape.iter().map(|(_, left)| left.clone()).collect();
    assert!(towards_caller.len() > 10 && towards_agent.len() > 5, "void");
    assert_no_tone(&towards_caller, &five(0, 1_600));
    assert_no_tone(&towards_agent, &five(0, 1_600));
    assert!(world.call.hides(Leg::Caller) && world.call.hides(Leg::Agent));
    assert!(world.proof().keys_heard >= 2);
}

#[test]
fn a_field_takes_the_keys_of_the_leg_that_was_named_and_no_others() {
    for from in [Leg::Caller, Leg::Agent] {
        let mut world = in_doubt(from.other(), Masking::default());
        world.speak(5);
        world.command(Command::Arm(payment('A')));
        world.from = from;
        open_field(&mut world);
        world.from = from.other();
        world.key(4, 4, None);
        world
            .call
            .handle_press(Key::from_event(5).unwrap(), world.now);
        world.drain();
        let by_sip = u8::from(from == Leg::Caller);
        world.wait(300);
        assert_eq!(keyed(&world), by_sip, "not those of the other");
        // What is wrong with the other's source is no matter of the field's.
        world.call.contest(from.other());
        world.drain();
        assert_eq!(failed(&world), 0);
        world.command(Command::SetLeg(from, leg(5_000)));
        assert_eq!(failed(&world), 1, "whoever is there now is asked anew");
    }
}

#[test]
fn a_field_of_the_agents_leg_fails_where_only_the_callers_is_heard() {
    let mut world = World::answered();
    world.speak(5);
    world.command(Command::Arm(payment('A')));
    world.from = Leg::Agent;
    open_field(&mut world);
    let failed = world.count(|output| {
        let Output::Capture(event) = output else {
            return false;
        };
        let reason = CaptureFailure::NotArmed;
        event.kind == CaptureEventKind::Failed { reason }
    });
    assert_eq!(failed, 1);
}

#[test]
fn a_doubt_that_comes_while_the_call_is_armed_masks_from_the_next_packet_on() {
    let mut world = World::answered();
    world.from = Leg::Agent;
    world.speak(5);
    world.command(Command::Arm(Holder::Ng));
    world.command(Command::MaskBoth);
    let from = world.tape.len();
    for packet in 0..10 {
        world.audio(0, &five(packet * 160, 160));
    }
    let left: Vec<_> = world.tape[from..]
        .iter()
        .map(|(_, left)| left.clone())
        .collect();
    assert!(left.len() > 5, "void");
    assert_no_tone(&left, &five(0, 1_600));
    world.release();
}
