//! Packets of codecs with a memory that come when their place was filled: for the ear, not for the
//! agent.

use super::{
    codecs::{
        G722, G729, OPUS, PACKET, PCMU, Talk, assert_nothing_of, assert_seamless_in, breath, keyed,
    },
    *,
};

/// A talk in which some packets come `late` milliseconds behind the one that follows them, or never.
fn say_late(talk: &mut Talk, said: &[i16], held: std::ops::Range<usize>, late: Option<usize>) {
    let mut waiting = Vec::new();
    for (number, packet) in said.chunks_exact(PACKET).enumerate() {
        let payload = talk.encode(packet);
        let timestamp = talk.world.timestamp;
        let datagram = talk.world.datagram(talk.codec.0, timestamp, &payload);
        talk.pass(20);
        if held.contains(&number) {
            waiting.push(datagram);
        } else {
            let left = talk.world.give(&datagram);
            talk.left.extend(left);
        }
        let waited = talk.world.wait(20);
        talk.left.extend(waited);
        if late.is_some_and(|late| number == held.end - 1 + late / 20) {
            for datagram in waiting.drain(..) {
                assert!(talk.world.give(&datagram).is_empty(), "it was due before");
            }
        }
    }
}

#[test]
fn a_key_is_heard_in_any_codec_whichever_of_its_packets_come_too_late_and_does_not_leave() {
    for codec in [G722, OPUS, G729] {
        let mut missed = 0;
        for (late, count) in [(100, 1), (100, 2), (200, 3), (280, 1)] {
            for first in 7..17 {
                let number = 3 * first + count;
                let (row, column) = (ROWS_HZ[number % 4], COLUMNS_HZ[number / 4 % 4]);
                let from = 9 * PACKET + number * 9;
                let said = keyed(row, column, 40 * PACKET, from..from + 1_280);
                let keys = |late| {
                    let mut talk = Talk::armed(codec);
                    say_late(&mut talk, &said, first..first + count, late);
                    assert_nothing_of(&talk, codec, row, column);
                    assert_seamless_in(&talk.left, codec.1);
                    talk.world.proof().keys_heard
                };
                let which = format!("{codec:?}: {count} from {first}, {late} ms late");
                assert_eq!(keys(Some(late)), 1, "{which}");
                missed += 1 - keys(None);
            }
        }
        assert!(missed > 4, "{codec:?}: without them {missed} are missed");
    }
}

#[test]
fn a_key_is_heard_once_where_a_late_packet_is_decoded_among_those_of_another_codec() {
    for (first, second) in [(G722, G729), (G729, G722), (PCMU, G729), (G722, PCMU)] {
        for held in 7..10 {
            let mut talk = Talk::armed(first);
            let said = keyed(770.0, 1_477.0, 40 * PACKET, 8 * PACKET..12 * PACKET);
            let (before, after) = said.split_at(10 * PACKET);
            let packets = before.chunks_exact(PACKET);
            let datagrams = packets.map(|packet| {
                let payload = talk.encode(packet);
                let timestamp = talk.world.timestamp;
                talk.pass(20);
                talk.world.datagram(first.0, timestamp, &payload)
            });
            let mut datagrams: Vec<Vec<u8>> = datagrams.collect();
            let late = datagrams.remove(held);
            for datagram in datagrams {
                talk.left.extend(talk.world.give(&datagram));
                talk.left.extend(talk.world.wait(20));
            }
            talk.speaks(second);
            talk.say(&after[..6 * PACKET]);
            assert!(talk.world.give(&late).is_empty());
            talk.say(&after[6 * PACKET..]);
            assert_nothing_of(&talk, first, 770.0, 1_477.0);
            let keys = talk.world.proof().keys_heard;
            assert_eq!(keys, 1, "{first:?}, {second:?}, {held}");
        }
    }
}

#[test]
fn what_comes_late_in_a_clock_that_is_not_counted_any_more_is_heard_nowhere() {
    // 60 ms of a key, in numbers that in the other clock would be those of a loss.
    let mut talk = Talk::armed(OPUS);
    talk.say(&breath(20 * PACKET));
    let lost = talk.world.timestamp;
    let late = talk.world.datagram(PCMU.0, lost, &five(0, 480));
    talk.pass(60);
    talk.say(&breath(8 * PACKET));
    assert!(talk.world.give(&late).is_empty());
    talk.say(&breath(20 * PACKET));
    assert_eq!(talk.world.proof().keys_heard, 0);
}

#[test]
fn behind_a_source_that_took_over_a_late_packet_is_decoded_among_its_own() {
    let mut talk = Talk::armed(G729);
    talk.say(&breath(100 * PACKET));
    talk.pass(200);
    talk.left.extend(talk.world.wait(200));
    talk.world.ssrc += 1;
    talk.speaks(G729);
    talk.say(&breath(20 * PACKET));
    let said = keyed(770.0, 1_209.0, 40 * PACKET, 10 * PACKET..14 * PACKET);
    talk.left.clear();
    say_late(&mut talk, &said, 11..12, Some(100));
    assert_nothing_of(&talk, G729, 770.0, 1_209.0);
    assert_eq!(talk.world.proof().keys_heard, 1);
}
