//! Audio and events that came too late, on seeded lines.

use super::{
    Listener, Order,
    signal::{Dice, MS, Tone, add_white, speech, through},
};
use crate::proto::{codec::Law, dtmf::late::brings_to_light};

const PACKET: usize = 160;

/// A line of `length` samples over noise, with tones from sample to sample.
fn line(length: usize, tones: &[(Tone, usize, usize)], dice: &mut Dice) -> Vec<i16> {
    let mut samples = vec![0.0; length];
    add_white(&mut samples, -45.0, dice);
    for (tone, from, until) in tones {
        tone.add(&mut samples[*from..*until], dice);
    }
    through(Law::Mu, &samples)
}

/// Packets of 20 ms; those that `late` names come so many packets late.
fn hear(samples: &[i16], late: &[(usize, usize)]) -> (Listener, Order) {
    let mut ear = Listener::default();
    let mut order = Order::Kept;
    for (n, packet) in samples.chunks(PACKET).enumerate() {
        if late.iter().any(|(lost, _)| *lost == n) {
            ear.gap(packet.len());
        } else {
            ear.audio(packet);
        }
        for (lost, _) in late.iter().filter(|(lost, by)| lost + by == n) {
            let from = lost * PACKET;
            if ear.late(&samples[from..from + PACKET], from) == Order::Broken {
                order = Order::Broken;
            }
        }
    }
    (ear, order)
}

#[test]
fn a_press_that_the_late_packets_complete_counts() {
    let mut dice = Dice::new(70);
    for _ in 0..300 {
        let tone = Tone::any(&mut dice);
        let from = 2_000 + dice.below(PACKET);
        let until = from + 40 * MS + dice.below(40 * MS);
        let samples = line(8_000, &[(tone, from, until)], &mut dice);
        // All that holds the tone, or one packet of it.
        let (first, last) = (from / PACKET, (until - 1) / PACKET);
        let by = 4 + dice.below(6);
        let all: Vec<_> = (first..=last).map(|n| (n, by)).collect();
        let (ear, order) = hear(&samples, &all);
        assert_eq!((ear.heard.codes, order), (vec![tone.code()], Order::Kept));
        let one = first + dice.below(last + 1 - first);
        let (ear, order) = hear(&samples, &[(one, by)]);
        assert_eq!((ear.heard.codes, order), (vec![tone.code()], Order::Kept));
    }
}

#[test]
fn what_never_came_is_never_heard() {
    let mut dice = Dice::new(71);
    let samples = line(8_000, &[(Tone::plain(1, 1), 2_000, 2_480)], &mut dice);
    // Behind the history, and without its packets at all.
    for by in [20, 1_000] {
        let (ear, order) = hear(&samples, &[(12, by), (13, by), (14, by), (15, by)]);
        assert_eq!((ear.heard.codes, order), (vec![], Order::Kept));
    }
    let mut ear = Listener::default();
    ear.gap(4_000);
    assert_eq!(ear.late(&samples[2_000..2_480], 2_000), Order::Kept);
    assert_eq!(ear.heard.codes, [5], "the control");
    let mut ear = Listener::default();
    ear.gap(4_000);
    ear.state.history.close();
    assert_eq!(ear.late(&samples[2_000..2_480], 2_000), Order::Kept);
    assert_eq!(ear.heard.codes, [0; 0], "the timeline has jumped");
}

#[test]
fn a_press_that_belongs_before_one_that_counted_breaks_the_order() {
    let mut dice = Dice::new(72);
    for _ in 0..100 {
        let (one, two) = (Tone::any(&mut dice), Tone::any(&mut dice));
        let tones = [(one, 1_600, 2_080), (two, 2_560, 3_040)];
        let samples = line(8_000, &tones, &mut dice);
        // Both packets of the first one come when the second one has been told.
        let (ear, order) = hear(&samples, &[(10, 9), (11, 8), (12, 8)]);
        assert_eq!((ear.heard.codes, order), (vec![two.code()], Order::Broken));
        // Before it is told they come in time.
        let (ear, order) = hear(&samples, &[(10, 5), (11, 4), (12, 4)]);
        let both = vec![one.code(), two.code()];
        assert_eq!((ear.heard.codes, order), (both, Order::Kept));
    }
}

#[test]
fn one_press_that_a_long_loss_made_two_breaks_the_order() {
    let mut dice = Dice::new(73);
    let tones = [(Tone::plain(2, 2), 1_600, 3_200)];
    let samples = line(8_000, &tones, &mut dice);
    let lost = [13, 14, 15, 16].map(|n| (n, 17 - n + 3));
    let (ear, order) = hear(&samples, &lost);
    assert_eq!((ear.heard.codes, order), (vec![9, 9], Order::Broken));
}

#[test]
fn two_presses_that_a_loss_made_one_are_two_again() {
    let mut dice = Dice::new(74);
    for _ in 0..100 {
        let key = Tone::any(&mut dice);
        // The pause between them is in the packets that come late.
        let tones = [(key, 1_600, 2_080), (key, 2_400, 2_880)];
        let samples = line(8_000, &tones, &mut dice);
        let lost = [(13, 8), (14, 7)];
        let (ear, order) = hear(&samples, &[]);
        assert_eq!(
            (ear.heard.codes.len(), order),
            (2, Order::Kept),
            "the control"
        );
        let (ear, order) = hear(&samples, &lost.map(|(n, _)| (n, 1_000)));
        assert_eq!(
            (ear.heard.codes.len(), order),
            (1, Order::Kept),
            "the control"
        );
        let (ear, order) = hear(&samples, &lost);
        assert_eq!((ear.heard.codes.len(), order), (2, Order::Kept));
    }
}

#[test]
fn whatever_comes_late_no_wrong_keys_are_taken_for_right() {
    let mut dice = Dice::new(75);
    let (mut broken, mut told_late, mut wrong) = (0, 0, 0);
    for _ in 0..2_000 {
        let mut at = 1_600;
        let mut tones = Vec::new();
        for _ in 0..6 {
            let until = at + 45 * MS + dice.below(100 * MS);
            tones.push((Tone::any(&mut dice), at, until));
            at = until + 40 * MS + dice.below(60 * MS);
        }
        let samples = line(at + 4_800, &tones, &mut dice);
        let loss = dice.below(30);
        let mut late = Vec::new();
        for n in 0..at / PACKET {
            if dice.below(100) < loss {
                late.push((n, 1 + dice.below(14)));
            }
        }
        let keyed: Vec<u8> = tones.iter().map(|(tone, ..)| tone.code()).collect();
        let (ear, order) = hear(&samples, &late);
        if order == Order::Broken {
            broken += 1;
        } else if ear.heard.codes != keyed {
            wrong += 1;
        }
        let never: Vec<_> = late.iter().map(|(n, _)| (*n, 1_000)).collect();
        told_late += usize::from(hear(&samples, &never).0.heard.codes != keyed);
    }
    println!(
        "of 2000 lines {broken} are asked again, {wrong} wrong; {told_late} without late packets"
    );
    assert_eq!(wrong, 0);
    assert!(told_late > 200, "the control: {told_late}");
}

#[test]
fn after_a_late_packet_the_ear_is_as_if_nothing_had_been_late() {
    let mut dice = Dice::new(76);
    let mut samples = speech(4, -16.0, &mut dice);
    Tone::plain(0, 3).add(&mut samples[8_000..8_800], &mut dice);
    let samples = through(Law::A, &samples);
    let (mut whole, mut late) = (Listener::default(), Listener::default());
    for (n, packet) in samples.chunks(PACKET).enumerate() {
        let one = whole.audio(packet);
        let other = if n % 9 == 4 {
            late.gap(packet.len())
        } else {
            late.audio(packet)
        };
        // From 25 ms after the hole until the next one, both suspect the same.
        if n > 10 && n % 9 == 8 {
            assert_eq!(one, other, "packet {n}");
        }
        if n % 9 == 5 {
            let from = (n - 1) * PACKET;
            let lost = &samples[from..from + PACKET];
            assert_eq!(late.late(lost, from), Order::Kept);
        }
    }
    assert_eq!(late.heard.codes, whole.heard.codes);
}

#[test]
fn events_that_are_late_count_in_their_order_only() {
    let mut ear = Listener::default();
    ear.audio(&[0; 1_600]);
    ear.event(5, 800, 1_200, true, 800);
    assert_eq!(
        ear.late_event(5, 800, 960, 800),
        Order::Kept,
        "the same press"
    );
    assert_eq!(ear.late_event(7, 1_300, 1_500, 1_300), Order::Kept);
    assert_eq!(ear.heard.codes, [5, 7]);
    assert_eq!(ear.late_event(3, 100, 500, 100), Order::Broken);
    assert_eq!(ear.heard.codes, [5, 7]);
}

#[test]
fn an_event_and_the_late_tone_of_one_press_are_one_press() {
    let mut dice = Dice::new(77);
    for event_first in [true, false] {
        let samples = line(8_000, &[(Tone::plain(1, 1), 1_600, 2_400)], &mut dice);
        let mut ear = Listener::default();
        for (n, packet) in samples.chunks(PACKET).enumerate() {
            if (10..15).contains(&n) {
                ear.gap(packet.len());
            } else {
                ear.audio(packet);
            }
            if n == if event_first { 15 } else { 18 } {
                ear.event(5, 1_840, 2_400, true, 1_840);
            }
            if n == 17 {
                assert_eq!(ear.late(&samples[1_600..2_400], 1_600), Order::Kept);
            }
        }
        assert_eq!(ear.heard.codes, [5], "event first: {event_first}");
    }
}

#[test]
fn what_was_filled_brings_to_light_only_a_press_near_it_that_began_behind_the_head_of_what_is_known()
 {
    let filled = 5_000..5_160;
    for (start, until, begin, expected) in [
        // It ends in what was filled, begins in it, or within 64 ms behind it.
        (4_600, 5_001, 3_000, true),
        (4_600, 5_000, 3_000, false),
        (5_100, 5_500, 3_000, true),
        (5_671, 6_000, 3_000, true),
        (5_672, 6_000, 3_000, false),
        // One that sounded within 10 ms of the beginning was heard before.
        (4_980, 5_300, 4_900, true),
        (4_979, 5_300, 4_900, false),
    ] {
        let brought = brings_to_light(&filled, start, until, begin);
        assert_eq!(brought, expected, "{start} to {until}, from {begin} on");
    }
}

#[test]
fn what_was_heard_is_not_overwritten_by_what_comes_for_its_place() {
    let mut dice = Dice::new(78);
    let tone = line(800, &[(Tone::plain(1, 1), 0, 800)], &mut dice);
    let mut ear = Listener::default();
    ear.packets(&line(4_000, &[], &mut dice));
    assert_eq!(ear.late(&tone, 2_400), Order::Kept);
    assert!(ear.heard.codes.is_empty());
}
