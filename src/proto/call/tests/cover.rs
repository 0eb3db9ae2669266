//! How the mask of a whole field begins and ends.

use crate::proto::{
    dtmf::tests::signal::Dice,
    mask::{Fill, Guard, Profile},
};

use super::{
    continuous::sounds,
    profiles::{close_field, masked, open_field},
    reports::sender_report,
    *,
};

/// Armed with [`Profile::Continuous`], and a field open.
fn covered() -> World {
    let mut world = masked(Profile::Continuous, Fill::Tone);
    world.command(Command::Arm(payment('A')));
    world.speak(20);
    open_field(&mut world);
    world
}

/// All that left so far.
fn left(world: &World) -> Vec<Vec<u8>> {
    let tape = world.tape.iter();
    tape.map(|(_, datagram)| datagram.clone()).collect()
}

fn is_covered(world: &mut World) -> bool {
    let armed = world.call.stream.armed_mut();
    armed.is_some_and(|armed| armed.is_covered())
}

#[test]
fn the_mask_begins_one_packet_after_what_left_last() {
    for early_ms in [0, 5, 13, 19, 20, 35] {
        let mut world = masked(Profile::Continuous, Fill::Tone);
        world.command(Command::Arm(payment('A')));
        world.speak(20);
        let datagram = world.datagram(0, world.timestamp, &voice(160));
        world.give(&datagram);
        let last = world.tape.last().unwrap().0;
        world.wait(early_ms);
        open_field(&mut world);
        let opened = world.now.instant;
        let from = world.tape.len();
        world.wait(100);
        let first = world.tape[from].0;
        let due = (last + 20 * MILLISECOND).max(opened);
        assert_eq!(first, due, "opened {early_ms} ms after a packet");
    }
}

#[test]
fn the_mask_stays_while_a_key_is_down_and_where_the_field_is_opened_again() {
    let mut world = covered();
    world.speak(50);
    let begin = world.timestamp;
    let hold = |world: &mut World, packet: u16, end| {
        let datagram = world.datagram(EVENT, begin, &event(5, end, packet * 160));
        world.give(&datagram);
        world.timestamp = world.timestamp.wrapping_add(160);
        world.wait(20);
    };
    hold(&mut world, 1, false);
    close_field(&mut world);
    for packet in 2..60 {
        hold(&mut world, packet, false);
        assert!(is_covered(&mut world), "a key is down");
    }
    hold(&mut world, 60, true);
    world.speak(20);
    assert!(!is_covered(&mut world), "it came up");

    let mut world = covered();
    let from = world.tape.len();
    world.speak(20);
    close_field(&mut world);
    world.speak(10);
    open_field(&mut world);
    world.speak(10);
    close_field(&mut world);
    // 200 ms open and 280 ms beyond: 300 ms after the first close are long past.
    for _ in 0..14 {
        assert!(is_covered(&mut world), "opened again meanwhile");
        world.speak(1);
    }
    // One mask, for its beat goes on; less than 2 s have passed.
    let codes = payloads(&left(&world)[from..]);
    assert_eq!(sounds(&codes), [(0, 120)]);
    world.speak(3);
    assert!(!is_covered(&mut world));
}

#[test]
fn a_release_waits_for_the_end_of_the_mask() {
    let mut world = covered();
    world.speak(20);
    // Neither on the beat of the mask nor on that of the caller.
    world.wait(7);
    world.command(Command::Release(payment('A')));
    let mut after_ms = 0;
    while world.call.is_armed() {
        if after_ms % 20 == 13 {
            let quiet = [Law::Mu.silence(); 160];
            let datagram = world.datagram(0, world.timestamp, &quiet);
            world.timestamp = world.timestamp.wrapping_add(160);
            world.give(&datagram);
        }
        world.wait(1);
        after_ms += 1;
    }
    // The first beat of the mask after 300 ms.
    assert!((313..=360).contains(&after_ms), "after {after_ms} ms");
    world.speak(20);
    assert_seamless(&left(&world));
}

#[test]
fn no_key_from_before_the_mask_is_told_behind_it() {
    // 80 ms after its beginning a key is told for 120 ms.
    for packets in [2, 5, 7, 9] {
        let mut world = masked(Profile::Continuous, Fill::Tone);
        world.command(Command::Arm(payment('A')));
        world.speak(20);
        world.key(5, packets, None);
        open_field(&mut world);
        let from = world.tape.len();
        world.speak(40);
        let codes = payloads(&left(&world)[from..]);
        assert_eq!(sounds(&codes), [(0, 120)], "a key of {packets} packets");
    }
}

#[test]
fn a_sound_under_way_ends_with_the_mask() {
    let mut world = covered();
    let from = world.tape.len();
    // A beat begins 2 s after the opening, and the mask ends 40 ms later.
    world.speak(87);
    close_field(&mut world);
    while is_covered(&mut world) {
        world.speak(1);
    }
    let until = world.tape.len();
    world.speak(30);
    let codes = |world: &World, span: std::ops::Range<usize>| {
        let datagrams = world.tape[span].iter().map(|(_, d)| d.clone());
        payloads(&datagrams.collect::<Vec<_>>())
    };
    let behind = sounds(&codes(&world, from..until));
    assert!(behind.len() == 2 && behind[1].1 < 120, "void: {behind:?}");
    let after = codes(&world, until..world.tape.len());
    assert_eq!(sounds(&after), []);
}

#[test]
fn a_source_that_takes_over_behind_the_mask_shows_after_it() {
    let mut world = covered();
    let from = world.tape.len();
    world.speak(20);
    world.wait(150);
    (world.ssrc, world.sequence) = (7, 9);
    world.speak(3);
    let failed = |output: &Output| {
        matches!(output, Output::Capture(event)
            if matches!(event.kind, CaptureEventKind::Failed { reason: CaptureFailure::MediaChanged }))
    };
    assert_eq!(world.count(failed), 1);
    while is_covered(&mut world) {
        world.speak(1);
    }
    let until = world.tape.len();
    world.speak(20);
    let ssrc = |(_, datagram): &(Instant, Vec<u8>)| header_of(datagram).ssrc;
    assert!(
        world.tape[from..until]
            .iter()
            .all(|left| ssrc(left) == SSRC)
    );
    assert!(world.tape[until..].iter().all(|left| ssrc(left) == 7));
    assert_seamless(&left(&world));
}

#[test]
fn behind_the_mask_noise_tightens_nothing_and_after_it_does() {
    let mut dice = Dice::new(9);
    let mut world = covered();
    let mut shout = |world: &mut World| {
        let noise = (0..160).map(|_| Law::Mu.encode(dice.below(28_000) as i16 - 14_000));
        let noise: Vec<u8> = noise.collect();
        world.audio(0, &noise);
    };
    for _ in 0..350 {
        shout(&mut world);
    }
    let muted = |output: &Output| matches!(output, Output::Tightened(Guard::Mute));
    assert_eq!(world.count(muted), 0);
    close_field(&mut world);
    for _ in 0..20 {
        shout(&mut world);
    }
    assert_eq!(world.count(muted), 1, "what was heard meanwhile counts");
}

#[test]
fn after_the_mask_of_a_field_the_voice_is_heard_again_and_numbers_go_on() {
    let mut world = covered();
    for _ in 0..3 {
        world.speak(30);
        for audio in five(0, 960).chunks(160) {
            world.audio(0, audio);
        }
    }
    world.speak(20);
    let progress = world.said.iter().filter_map(|output| match output {
        Output::Capture(event) => match event.kind {
            CaptureEventKind::Progress { count, .. } => Some(count),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(progress.max(), Some(3), "keys are heard behind it");
    close_field(&mut world);
    world.speak(45);
    let packets = left(&world);
    assert_seamless(&packets);
    let heard = payloads(&packets[packets.len() - 10..]);
    let spoken = voice(160);
    assert!(heard.windows(32).any(|w| w == &spoken[40..72]));
    // What is reported then is of the numbers that leave.
    let told = world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut sender_report(world.timestamp, 1, 2),
    );
    assert_eq!(
        u32::from_be_bytes(told[0][20..24].try_into().unwrap()),
        packets.len() as u32
    );
    world.command(Command::Release(payment('A')));
    for _ in 0..60 {
        world.speak(1);
    }
    assert!(!world.call.is_armed());
    let packets = left(&world);
    let rtp: Vec<_> = packets.into_iter().filter(|p| p[1] & 0x7f == 0).collect();
    assert_seamless(&rtp);
}
