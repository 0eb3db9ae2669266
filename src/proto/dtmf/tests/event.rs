//! One press is counted once: by events however mangled, and by both sources together.

use super::{
    Listener,
    signal::{Dice, MS, Tone, add_white, through},
};
use crate::proto::codec::Law;

const PACKET: i64 = 160;

/// One event packet on its way.
#[derive(Clone, Copy)]
struct Packet {
    start: i64,
    until: i64,
    end: bool,
    timestamp: u32,
}

/// The packets of one press: updates every 20 ms, the end three times. With when each is sent.
fn packets(start: i64, length: i64, timestamp: u32) -> Vec<(i64, Packet)> {
    let mut packets = Vec::new();
    let mut until = 0;
    while until < length {
        until = (until + PACKET).min(length);
        let packet = Packet {
            start,
            until: start + until,
            end: until == length,
            timestamp,
        };
        packets.push((start + until, packet));
    }
    let (at, last) = packets[packets.len() - 1];
    packets.extend([(at + PACKET, last), (at + 2 * PACKET, last)]);
    packets
}

fn hear(ear: &mut Listener, code: u8, packet: Packet) {
    ear.event(
        code,
        packet.start,
        packet.until,
        packet.end,
        packet.timestamp,
    );
}

/// Plays audio in packets of 20 ms, and the events when they come.
fn play(ear: &mut Listener, samples: &[i16], code: u8, mut events: Vec<(i64, Packet)>) {
    events.sort_by_key(|&(at, _)| at);
    let mut events = events.into_iter().peekable();
    let mut at = 0;
    for stretch in samples.chunks(PACKET as usize) {
        ear.audio(stretch);
        at += stretch.len() as i64;
        while let Some((_, packet)) = events.next_if(|&(due, _)| due <= at) {
            hear(ear, code, packet);
        }
    }
    for (_, packet) in events {
        hear(ear, code, packet);
    }
}

#[test]
fn any_nonempty_choice_of_an_events_packets_in_any_order_is_one_press() {
    let mut dice = Dice::new(30);
    for _ in 0..2000 {
        let all = packets(800, 800, 77);
        let mut some: Vec<_> = all.iter().filter(|_| dice.below(2) == 0).copied().collect();
        if some.is_empty() {
            some.push(all[dice.below(all.len())]);
        }
        for n in (1..some.len()).rev() {
            some.swap(n, dice.below(n + 1));
        }
        let mut ear = Listener::default();
        for (_, packet) in some {
            hear(&mut ear, 5, packet);
        }
        assert_eq!(ear.heard.codes, [5]);
    }
}

#[test]
fn a_new_timestamp_is_a_new_press_even_where_all_ends_were_lost() {
    let mut ear = Listener::default();
    for n in 0..10 {
        let start = n * 800;
        for (_, packet) in packets(start, 400, start as u32) {
            if !packet.end {
                hear(&mut ear, 4, packet);
            }
        }
    }
    assert_eq!(ear.heard.codes, [4; 10]);
}

#[test]
fn segments_of_a_long_event_are_one_press() {
    // At 48 kHz a segment ends after 1.365 s; its last update may be lost.
    for lost in 0..3 {
        for reversed in [false, true] {
            let mut ear = Listener::default();
            let segment = 10_880;
            let mut all = Vec::new();
            for n in 0..3 {
                let start = n * segment;
                for update in 1..=segment / PACKET - if n < 2 { lost } else { 0 } {
                    all.push(Packet {
                        start,
                        until: start + update * PACKET,
                        end: false,
                        timestamp: (start * 6) as u32,
                    });
                }
            }
            if reversed && lost == 0 {
                all.reverse();
            }
            for packet in all {
                hear(&mut ear, 9, packet);
            }
            assert_eq!(ear.heard.codes, [9], "{lost} lost, reversed {reversed}");
        }
    }
}

#[test]
fn an_event_after_an_end_is_a_new_press_even_without_a_pause() {
    let mut ear = Listener::default();
    for (_, packet) in packets(0, 800, 1).into_iter().chain(packets(800, 800, 2)) {
        hear(&mut ear, 9, packet);
    }
    assert_eq!(ear.heard.codes, [9, 9]);
}

#[test]
fn events_that_are_no_keys_are_suspect_and_not_counted() {
    let mut ear = Listener::default();
    for code in 16..=255 {
        let verdict = ear.event(code, 1600, 1760, false, u32::from(code));
        let suspect = verdict.suspect().unwrap();
        assert!(suspect.start <= 1600 && suspect.end >= 1760);
    }
    assert_eq!(ear.heard.codes, [0; 0]);
}

#[test]
fn all_sixteen_events_are_counted() {
    let mut ear = Listener::default();
    for code in 0..16 {
        ear.event(
            code,
            i64::from(code) * 1600,
            i64::from(code) * 1600 + 160,
            true,
            code.into(),
        );
    }
    assert_eq!(ear.heard.codes, (0..16).collect::<Vec<u8>>());
}

#[test]
fn a_key_is_down_until_its_end_or_three_packets_without_news() {
    let mut ear = Listener::default();
    ear.event(1, 0, 160, false, 0);
    ear.event(1, 0, 320, false, 0);
    ear.gap(320);
    assert!(ear.state.events.key_is_down(320));
    ear.gap(480);
    assert!(ear.state.events.key_is_down(ear.state.heard as i64));
    ear.gap(160);
    assert!(!ear.state.events.key_is_down(ear.state.heard as i64));
    ear.event(2, 960, 1120, false, 960);
    assert!(ear.state.events.key_is_down(960));
    ear.event(2, 960, 1280, true, 960);
    assert!(!ear.state.events.key_is_down(960));
}

#[test]
fn audio_under_an_event_is_suspect() {
    let mut ear = Listener::default();
    ear.audio(&[0; 160]);
    ear.event(1, 160, 320, false, 0);
    assert_eq!(
        ear.audio(&[0; 160])
            .suspect()
            .map(|s| s.start <= 160 && s.end >= 320),
        Some(true)
    );
}

/// N presses of one key by both sources; `head` is how much later the event begins than its tone.
struct Dialling {
    presses: usize,
    on: usize,
    off: usize,
    head: i64,
    /// Of each tone, how much is left in the audio.
    left: usize,
    /// How much later events come than their time says.
    delay: i64,
}

fn dialled(
    dialling: &Dialling,
    lost_tones: &[usize],
    lost_events: &[usize],
    dice: &mut Dice,
) -> usize {
    let lead = 800 + dice.below(160);
    let period = dialling.on + dialling.off;
    let mut samples = vec![0.0; lead + dialling.presses * period + 4800];
    add_white(&mut samples, -45.0, dice);
    let tone = Tone::any(dice);
    let mut events = Vec::new();
    for n in 0..dialling.presses {
        let at = lead + n * period;
        if !lost_tones.contains(&n) {
            tone.add(&mut samples[at..at + dialling.left], dice);
        }
        if !lost_events.contains(&n) {
            let start = at as i64 + dialling.head;
            for (due, packet) in packets(start, dialling.on as i64, start as u32) {
                events.push((due + dialling.delay, packet));
            }
        }
    }
    let mut ear = Listener::default();
    play(&mut ear, &through(Law::Mu, &samples), tone.code(), events);
    ear.heard.codes.len()
}

#[test]
fn rapid_presses_of_one_key_by_both_sources_are_counted_once_each() {
    let mut dice = Dice::new(31);
    for head in [-20, 0, 25, 40, 60] {
        for delay in [-50, 0, 20, 60, 150, 300] {
            for presses in 1..8 {
                let dialling = Dialling {
                    presses,
                    on: 50 * MS,
                    off: 50 * MS,
                    head: head * MS as i64,
                    left: 50 * MS,
                    delay: delay * MS as i64,
                };
                let counted = dialled(&dialling, &[], &[], &mut dice);
                assert_eq!(counted, presses, "head {head} ms, delay {delay} ms");
            }
        }
    }
}

#[test]
fn a_press_that_one_source_lost_is_counted_by_the_other() {
    let mut dice = Dice::new(32);
    for head in [0, 30, 60] {
        for _ in 0..50 {
            let dialling = Dialling {
                presses: 6,
                on: 60 * MS,
                off: 60 * MS,
                head: head * MS as i64,
                left: 60 * MS,
                delay: 0,
            };
            let (tone, event) = (dice.below(3), 3 + dice.below(3));
            assert_eq!(
                dialled(&dialling, &[tone], &[event], &mut dice),
                6,
                "head {head} ms"
            );
        }
    }
}

#[test]
fn a_head_that_a_gateway_left_in_the_audio_is_not_counted_again() {
    let mut dice = Dice::new(33);
    for left in [3, 10, 20, 25, 30, 40, 55, 60] {
        for _ in 0..20 {
            let dialling = Dialling {
                presses: 4,
                on: 100 * MS,
                off: 60 * MS,
                head: left as i64 * MS as i64,
                left: left * MS,
                delay: 20 * MS as i64,
            };
            assert_eq!(dialled(&dialling, &[], &[], &mut dice), 4, "{left} ms left");
        }
    }
}

#[test]
fn two_presses_by_one_source_are_two() {
    let mut dice = Dice::new(34);
    let dialling = Dialling {
        presses: 2,
        on: 50 * MS,
        off: 50 * MS,
        head: 0,
        left: 50 * MS,
        delay: 0,
    };
    assert_eq!(dialled(&dialling, &[0, 1], &[], &mut dice), 2);
    assert_eq!(dialled(&dialling, &[], &[0, 1], &mut dice), 2);
}

#[test]
fn a_tone_that_breaks_off_under_its_event_is_one_press() {
    let mut dice = Dice::new(35);
    let tone = Tone::any(&mut dice);
    let mut samples = vec![0.0; 600 * MS];
    tone.add(&mut samples[100 * MS..200 * MS], &mut dice);
    tone.add(&mut samples[260 * MS..400 * MS], &mut dice);
    let mut ear = Listener::default();
    let events = packets(100 * MS as i64, 300 * MS as i64, 800);
    play(&mut ear, &through(Law::A, &samples), tone.code(), events);
    assert_eq!(ear.heard.codes.len(), 1);
}

#[test]
fn rapid_presses_of_one_key_by_three_sources_are_counted_once_each() {
    let mut dice = Dice::new(36);
    for info_late_ms in [-200, -40, 0, 60, 150, 400, 1_200] {
        for presses in 1..7 {
            let (on, period) = (50 * MS, 100 * MS);
            let lead = 2_400 + dice.below(160);
            let mut samples = vec![0.0; lead + presses * period + 16_000];
            add_white(&mut samples, -45.0, &mut dice);
            let tone = Tone::any(&mut dice);
            let (mut events, mut infos) = (Vec::new(), Vec::new());
            for n in 0..presses {
                let at = lead + n * period;
                tone.add(&mut samples[at..at + on], &mut dice);
                events.extend(packets(at as i64, on as i64, at as u32));
                infos.push(at as i64 + info_late_ms * MS as i64);
            }
            events.sort_by_key(|&(at, _)| at);
            let (mut events, mut infos) =
                (events.into_iter().peekable(), infos.into_iter().peekable());
            let mut ear = Listener::default();
            let mut at = 0;
            for stretch in through(Law::Mu, &samples).chunks(PACKET as usize) {
                at += stretch.len() as i64;
                ear.state.came_ms = at as u64 / MS as u64;
                while infos.next_if(|due| *due <= at).is_some() {
                    ear.info(tone.code());
                }
                ear.audio(stretch);
                while let Some((_, packet)) = events.next_if(|&(due, _)| due <= at) {
                    hear(&mut ear, tone.code(), packet);
                }
            }
            let counted = ear.heard.codes.len();
            assert_eq!(counted, presses, "INFO {info_late_ms} ms late");
        }
    }
}

#[test]
fn an_event_is_suspect_from_5_ms_before_it_until_25_ms_after_what_is_known_of_it() {
    let mut ear = Listener::default();
    ear.packets(&[0; 1_600]);
    let verdict = ear.event(5, 1_000, 1_480, false, 7);
    assert_eq!(verdict.suspect(), Some(960..1_680));
    // It goes on, though nothing says so for two packets.
    for heard in [1_760, 1_920] {
        let verdict = ear.audio(&[0; 160]);
        assert_eq!(verdict.suspect(), Some(heard - 160..heard + 200));
    }
}

#[test]
fn a_loss_is_suspect_from_5_ms_before_it() {
    let mut ear = Listener::default();
    ear.packets(&[0; 1_600]);
    assert_eq!(ear.gap(160).suspect(), Some(1_560..1_760));
}
