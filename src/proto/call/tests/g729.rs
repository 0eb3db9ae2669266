//! What is only of G.729: its frames, its silence, losses in it, and the mask of a field.

use super::{
    codecs::{G729, PACKET, Talk, assert_nothing_of, assert_seamless_in, breath, keyed},
    *,
};
use crate::proto::{
    codec::Encoder,
    mask::{Fill, Masking, Profile},
};

/// Breath, a key of 80 ms, and breath.
fn keyed_once() -> Vec<i16> {
    keyed(
        852.0,
        1_209.0,
        40 * PACKET,
        10 * PACKET + 77..14 * PACKET + 77,
    )
}

#[test]
fn packets_of_g729_of_any_length_are_masked_and_leave_in_the_same_length() {
    for ms in [10, 20, 30, 40, 50, 60] {
        let mut talk = Talk::armed(G729);
        let said: Vec<i16> = keyed_once().into_iter().step_by(2).collect();
        for samples in said.chunks_exact(8 * ms) {
            let mut payload = [0; 60];
            let bytes = talk.encoder.encode(samples, &mut payload);
            assert_eq!(bytes, ms);
            let timestamp = talk.world.timestamp;
            let datagram = talk.world.datagram(G729.0, timestamp, &payload[..bytes]);
            talk.pass(ms as u32);
            talk.left.extend(talk.world.give(&datagram));
            let waited = talk.world.wait(ms as u32);
            talk.left.extend(waited);
        }
        assert_nothing_of(&talk, G729, 852.0, 1_209.0);
        let sizes = talk.left.iter().map(|datagram| datagram.len() - 12);
        // The first may be as long as those before the arming.
        assert!(sizes.skip(1).all(|size| size == ms), "{ms} ms");
        for pair in talk.left.windows(2).skip(1) {
            let (before, after) = (header_of(&pair[0]), header_of(&pair[1]));
            let ticks = after.timestamp.wrapping_sub(before.timestamp);
            assert_eq!(ticks as usize, 8 * ms);
        }
    }
}

#[test]
fn silence_that_a_caller_in_g729_only_describes_is_heard_and_never_sent_on() {
    // A description of noise at -50 dBm0, alone and behind a frame of speech; then nothing for 100 ms.
    const DESCRIBED: [u8; 2] = [0b0101_1010, 0b1001_0100];
    for alone in [true, false] {
        let mut talk = Talk::armed(G729);
        talk.say(&breath(6 * PACKET));
        if alone {
            talk.send(&DESCRIBED);
        } else {
            let speech = talk.encode(&breath(PACKET));
            talk.send(&[&speech[..10], &DESCRIBED].concat());
        }
        talk.pass(100);
        talk.left.extend(talk.world.wait(100));
        talk.say(&keyed(697.0, 1_477.0, 12 * PACKET, 0..1_280));
        assert_nothing_of(&talk, G729, 697.0, 1_477.0);
        assert_eq!(talk.world.proof().packets_refused, 0);
        assert_seamless_in(&talk.left, AudioCodec::G729);
        let bytes = AudioCodec::G729.bytes_of(160);
        assert!(
            talk.left
                .iter()
                .all(|datagram| datagram.len() == 12 + bytes)
        );
    }
}

#[test]
fn an_event_beside_g729_is_captured_and_what_leaves_is_the_same_for_every_key() {
    let left = |code: u8| {
        let mut talk = Talk::armed(G729);
        talk.say(&breath(6 * PACKET));
        let begin = talk.world.timestamp;
        for number in 1..=5_u16 {
            let payload = event(code, number == 5, number * 160);
            let datagram = talk.world.datagram(EVENT, begin, &payload);
            talk.left.extend(talk.world.give(&datagram));
            talk.pass(20);
            let waited = talk.world.wait(20);
            talk.left.extend(waited);
        }
        talk.say(&breath(12 * PACKET));
        assert_eq!(talk.world.proof().keys_heard, 1);
        talk.left
    };
    let first = left(0);
    assert!(first.len() > 15);
    assert!((1..16).all(|code| left(code) == first));
}

#[test]
fn a_packet_of_g729_that_is_lost_in_a_key_does_not_let_it_leave() {
    for lost in [9, 10, 11, 12, 13] {
        for (row, column) in [(770.0, 1_209.0), (941.0, 1_633.0), (697.0, 1_477.0)] {
            let mut talk = Talk::armed(G729);
            let said = keyed(row, column, 30 * PACKET, 9 * PACKET + 100..14 * PACKET);
            for (number, packet) in said.chunks_exact(PACKET).enumerate() {
                let payload = talk.encode(packet);
                if number == lost {
                    let timestamp = talk.world.timestamp;
                    let _ = talk.world.datagram(G729.0, timestamp, &payload);
                    talk.pass(20);
                    let waited = talk.world.wait(20);
                    talk.left.extend(waited);
                } else {
                    talk.send(&payload);
                }
            }
            assert_nothing_of(&talk, G729, row, column);
        }
    }
}

#[test]
fn behind_the_mask_of_a_field_g729_leaves_the_same_bytes_whatever_is_said_and_keyed() {
    let left = |said: &[i16]| {
        let mut world = World::unanswered();
        world.call = Call::new(Masking {
            profile: Profile::Continuous,
            fill: Fill::Tone,
        });
        let mut talk = Talk::open_in(G729, world);
        talk.say(&breath(10 * PACKET));
        talk.world.command(Command::Arm(payment('A')));
        profiles::open_field(&mut talk.world);
        talk.left.clear();
        talk.say(said);
        talk.left
    };
    let first = left(&breath(60 * PACKET));
    assert!(first.len() >= 58, "{} packets", first.len());
    for (row, column, from) in [(697.0, 1_209.0, 5_000), (941.0, 1_633.0, 7_777)] {
        let said = keyed(row, column, 60 * PACKET, from..from + 1_280);
        assert!(left(&said) == first, "{row} + {column}");
    }
}

#[test]
fn an_encoder_that_begins_anew_anywhere_in_a_key_and_tells_nobody_shows_nothing_of_it() {
    for restart in 7..15 {
        for (number, row) in ROWS_HZ.into_iter().enumerate() {
            for (other, column) in COLUMNS_HZ.into_iter().enumerate() {
                let shift = 20 * (4 * number + other);
                let said = keyed(row, column, 30 * PACKET, 9 * PACKET + shift..14 * PACKET);
                let mut talk = Talk::armed(G729);
                let (before, after) = said.split_at(restart * PACKET);
                talk.say(before);
                talk.encoder = Encoder::new(AudioCodec::G729);
                talk.say(after);
                assert_nothing_of(&talk, G729, row, column);
            }
        }
    }
}
