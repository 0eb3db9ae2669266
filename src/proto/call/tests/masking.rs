//! What leaves towards the agent while a call is armed.

use super::*;

#[test]
fn a_tone_is_masked_whatever_the_packet_time_and_whenever_it_begins() {
    for packet in [1, 40, 80, 160, 240, 479, 480, 481, 800] {
        for onset in [0, 1, 37, 150] {
            let mut world = World::armed();
            let sent = five(0, 2_400);
            let audio = [voice(4_800 + onset), sent.clone(), voice(4_800)].concat();
            let left: Vec<_> = audio
                .chunks(packet)
                .flat_map(|c| world.audio(0, c))
                .collect();
            assert_no_tone(&left, &sent);
            assert_seamless(&left);
            let voices: HashSet<Vec<u8>> = voice(4_800).windows(32).map(<[u8]>::to_vec).collect();
            let heard = left
                .iter()
                .filter(|d| d.windows(32).any(|w| voices.contains(w)));
            assert!(
                heard.count() * 2 > left.len(),
                "packets of {packet}: the voice is lost"
            );
            assert_eq!(
                world.proof().keys_heard,
                1,
                "packets of {packet}, onset {onset}"
            );
        }
    }
}

#[test]
fn events_that_differ_in_the_digit_only_leave_the_same() {
    let hear = |code: u8| {
        let mut world = World::armed();
        let mut left = world.key(code, 5, None);
        left.extend(world.speak(2));
        left.extend(world.key(code, 5, Some(&voice(160))));
        // Three in one packet, in a stretch without audio.
        let packed = [
            event(code, true, 800),
            event(code, true, 900),
            event(code, true, 700),
        ];
        let datagram = world.datagram(EVENT, world.timestamp, packed.as_flattened());
        left.extend(world.give(&datagram));
        world.timestamp = world.timestamp.wrapping_add(2_400);
        left.extend(world.speak(3));
        let datagram = world.datagram(FOREIGN_EVENT, 99, &event(code, false, 960));
        left.extend(world.give(&datagram));
        let datagram = world.datagram(113, 99, &event(code, true, 960));
        left.extend(world.give(&datagram));
        left.extend(world.speak(20));
        left
    };
    assert_eq!(hear(1), hear(9));
}

#[test]
fn many_events_in_one_packet_do_not_shift_the_mask_of_the_tone_after_them() {
    for events in [1, 3, 30, 370] {
        let mut world = World::armed();
        world.wait(100);
        let packed: Vec<u8> = (0..events).flat_map(|_| event(5, true, 65_535)).collect();
        let datagram = world.datagram(EVENT, world.timestamp, &packed);
        world.give(&datagram);
        // What it claimed has passed.
        world.timestamp = world.timestamp.wrapping_add(1_200);
        let mut left = world.speak(50);
        let sent = five(0, 1_600);
        left.extend(sent.chunks(160).flat_map(|c| world.audio(0, c)));
        assert_no_tone(&left, &sent);
    }
}

#[test]
fn every_press_of_a_packet_is_counted() {
    let mut world = World::armed();
    let packed: Vec<u8> = (0..8).flat_map(|code| event(code, true, 400)).collect();
    let datagram = world.datagram(EVENT, world.timestamp, &packed);
    world.give(&datagram);
    assert_eq!(world.proof().keys_heard, 8);
}

#[test]
fn a_long_key_in_a_clock_of_its_own_is_counted_once() {
    for beside in [false, true] {
        let mut world = World::armed();
        // 3 s at 48 kHz: three segments (RFC 4733 section 2.5.1.3).
        for packet in 1..=150u32 {
            let segment = (packet - 1) / 68;
            let begin = 5_000u32.wrapping_add(segment * 68 * 960);
            let duration = (packet - segment * 68) * 960;
            if beside {
                world.speak(1);
            } else {
                world.wait(20);
            }
            let payload = event(5, packet == 150, duration as u16);
            let datagram = world.datagram(FOREIGN_EVENT, begin, &payload);
            world.give(&datagram);
        }
        assert_eq!(world.proof().keys_heard, 1, "audio beside it: {beside}");
    }
}

#[test]
fn an_event_after_a_pause_does_not_fill_the_pause() {
    let mut world = World::armed();
    world.speak(3);
    world.wait(3_000);
    world.timestamp = world.timestamp.wrapping_add(24_000);
    let left = world.key(5, 10, None);
    assert!(left.len() <= 11, "{} packets in 200 ms", left.len());
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn a_source_whose_numbers_begin_anew_is_heard_again() {
    let mut world = World::armed();
    world.speak(5);
    world.sequence = world.sequence.wrapping_sub(5_000);
    let left = world.speak(30);
    assert!(left.len() >= 20, "{} packets left", left.len());
    assert_seamless(&left[1..]);
    world.ssrc = 7;
    world.sequence = 9;
    let left = world.speak(30);
    assert!(left.len() >= 20, "{} packets left", left.len());
    assert!(left.iter().all(|datagram| header_of(datagram).ssrc == 7));
}

#[test]
fn a_second_source_is_not_heard_beside_the_first_not_even_right_after_arming() {
    let mut world = World::armed();
    for _ in 0..4 {
        let stranger = write_header(0, false, world.sequence, 1, 99);
        assert!(
            world
                .give(&[&stranger[..], &five(0, 160)].concat())
                .is_empty()
        );
        world.sequence = world.sequence.wrapping_add(1);
    }
    let left = world.speak(5);
    assert!(left.iter().all(|datagram| header_of(datagram).ssrc == SSRC));
}

#[test]
fn of_what_is_not_understood_nothing_leaves_and_the_stream_goes_on() {
    for payload_type in [9, 13, 18, 96, 113, 121] {
        let mut world = World::armed();
        world.speak(1);
        let told = event(5, true, 800);
        let left: Vec<_> = (0..20)
            .flat_map(|_| world.audio(payload_type, &told.repeat(40)))
            .collect();
        assert!(left.len() >= 15);
        assert_seamless(&left);
        assert!(!left.iter().any(|d| d[12..].windows(4).any(|w| w == told)));
    }
}

#[test]
fn a_tone_in_the_other_law_is_masked_and_the_voice_passes() {
    let mut world = World::armed();
    let other = |codes: &[u8]| -> Vec<u8> {
        let encode = |code: &u8| Law::A.encode(Law::Mu.decode(*code));
        codes.iter().map(encode).collect()
    };
    let back = |codes: &[u8]| -> Vec<u8> {
        let encode = |code: &u8| Law::Mu.encode(Law::A.decode(*code));
        codes.iter().map(encode).collect()
    };
    world.speak(3);
    let sent = other(&five(0, 1_600));
    let mut left = world.audio(0, &voice(160));
    left.extend(sent.chunks(160).flat_map(|c| world.audio(8, c)));
    let after: Vec<_> = (0..20)
        .flat_map(|_| world.audio(8, &other(&voice(160))))
        .collect();
    assert_no_tone(&left, &back(&sent));
    assert_no_tone(&after, &back(&sent));
    let spoken = back(&other(&voice(160)));
    let voices: HashSet<&[u8]> = spoken.windows(32).collect();
    assert!(
        after
            .last()
            .unwrap()
            .windows(32)
            .any(|w| voices.contains(w))
    );
    left.extend(after);
    assert!(
        left.iter()
            .all(|datagram| header_of(datagram).payload_type == 0)
    );
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn an_event_that_either_side_named_is_never_taken_for_audio() {
    let mut world = World::answered();
    let mut odd = leg(4_000);
    odd.payload_types = vec![
        (0, Encoding::Audio(AudioCodec::Pcmu)),
        (EVENT, Encoding::Audio(AudioCodec::Pcmu)),
    ];
    world.command(Command::SetLeg(Leg::Caller, odd));
    world.speak(2);
    world.command(Command::Arm(Holder::Ng));
    let left = [world.key(5, 5, None), world.speak(5)].concat();
    let told = event(5, false, 160);
    assert!(!left.iter().any(|d| d[12..].windows(4).any(|w| w == told)));
    assert_eq!(world.proof().keys_heard, 1);
}

#[test]
fn what_leaves_follows_a_codec_that_the_agent_takes_no_longer() {
    let mut world = World::armed();
    let mut left = world.speak(5);
    let mut agent = leg(4_002);
    agent.payload_types = vec![(8, Encoding::Audio(AudioCodec::Pcma))];
    world.command(Command::SetLeg(Leg::Agent, agent));
    let after = world.speak(20);
    assert!(after.iter().all(|d| header_of(d).payload_type == 8));
    let encode = |code: &u8| Law::A.encode(Law::Mu.decode(*code));
    let spoken: Vec<u8> = voice(320).iter().map(encode).collect();
    let voices: HashSet<&[u8]> = spoken.windows(32).collect();
    for datagram in &after {
        let whole = datagram.windows(32).any(|w| voices.contains(w));
        assert!(whole, "what waited is written anew too");
    }
    left.extend(after);
    assert_seamless(&left);
}
