//! Shadow mode: what is counted, and that nothing else changes.

use super::*;
use crate::proto::shadow::{Carried, LEVEL_DBM0, Masked, SNR_DB, TWIST_DB, Tally};

const CODES: [u8; 16] = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15];

/// How a press travels.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// As events, and audio stops.
    Event,
    /// In-band.
    Tone,
    /// In-band, and as events from 40 ms on, as gateways send them.
    Both,
}

/// A caller on a line with some noise.
struct Caller {
    world: World,
    noise: f64,
    random: u64,
    left: Vec<Vec<u8>>,
}

impl Caller {
    fn new(shadow: bool, noise: f64) -> Self {
        let mut world = World::answered();
        if shadow {
            world.command(Command::Shadow);
        }
        let mut caller = Self {
            world,
            noise,
            random: 1,
            left: Vec::new(),
        };
        caller.pause(20);
        caller
    }

    fn line(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1_442_695_040_888_963_407);
        // Uniform, of the power of a sine of this peak.
        let share = (self.random >> 40) as f64 / (1 << 24) as f64;
        self.noise * 1.5f64.sqrt() * (2.0 * share - 1.0)
    }

    fn packet(&mut self, key: Option<(usize, usize)>) -> Vec<u8> {
        let mut packet = Vec::with_capacity(160);
        for n in 0..160 {
            let mut sample = self.line();
            if let Some((place, from)) = key {
                let t = TAU * (from + n) as f64 / 8_000.0;
                let (row, column) = (ROWS_HZ[place / 4], COLUMNS_HZ[place % 4]);
                sample += 6_000.0 * ((row * t).sin() + (column * t).sin());
            }
            packet.push(Law::Mu.encode(sample as i16));
        }
        packet
    }

    fn pause(&mut self, packets: usize) {
        for _ in 0..packets {
            let packet = self.packet(None);
            self.left.extend(self.world.audio(0, &packet));
        }
    }

    /// 80 ms, and a pause that parts the masks of two keys.
    fn press(&mut self, place: usize, how: How) {
        let begin = self.world.timestamp;
        for packet in 0..4 {
            let last = packet == 3;
            if how != How::Event {
                let audio = self.packet(Some((place, usize::from(packet) * 160)));
                let datagram = self.world.datagram(0, self.world.timestamp, &audio);
                self.left.extend(self.world.give(&datagram));
            }
            if how == How::Event || (how == How::Both && packet >= 2) {
                for _ in 0..if last { 3 } else { 1 } {
                    let payload = event(CODES[place], last, (packet + 1) * 160);
                    let datagram = self.world.datagram(EVENT, begin, &payload);
                    self.left.extend(self.world.give(&datagram));
                }
            }
            self.world.timestamp = self.world.timestamp.wrapping_add(160);
            self.left.extend(self.world.wait(20));
        }
        self.pause(8);
    }

    fn tally(mut self) -> Tally {
        self.world.command(Command::HangUp);
        let tally = self.world.said.iter().find_map(|output| match output {
            Output::Shadowed(tally) => Some(**tally),
            _ => None,
        });
        tally.unwrap()
    }
}

/// A call with every way to press a key.
fn whole_call(shadow: bool, noise: f64, place_of: impl Fn(usize) -> usize) -> Caller {
    let mut caller = Caller::new(shadow, noise);
    let ways = [How::Event, How::Tone, How::Both];
    for (n, how) in ways.into_iter().cycle().take(18).enumerate() {
        caller.press(place_of(n), how);
    }
    caller.pause(60);
    caller
}

#[test]
fn each_press_is_counted_once_with_who_told_it_also_on_a_noisy_line() {
    // Without noise, and with noise 16 dB below the tones.
    for noise in [8.0, 1_340.0] {
        let tally = whole_call(true, noise, |n| n % 16).tally();
        let presses = tally.presses;
        assert_eq!(
            (presses.by_event, presses.by_tone, presses.doubles),
            (12, 12, 6),
            "noise {noise}"
        );
        assert_eq!(presses.total(), 18);
        assert_eq!((tally.calls, tally.keyed_calls), (1, 1));
        assert_eq!(tally.measures.calls, 1);
        let level = tally.measures.level.mean(&LEVEL_DBM0).unwrap();
        assert!((level + 8.5).abs() < 1.0, "{level}");
        assert_eq!(tally.measures.twist.mean(&TWIST_DB), Some(0.0));
        let snr = tally.measures.snr.mean(&SNR_DB).unwrap();
        let expected = if noise < 10.0 { 30.0 } else { 16.0 };
        assert!((snr - expected).abs() <= 1.5, "{snr} dB");
        if noise < 10.0 {
            assert_eq!(tally.listening.keys.count, 18);
            assert_eq!(tally.listening.alarms, Masked::default());
            assert_eq!(tally.listening.losses, Masked::default());
        } else {
            // So much noise is suspect itself, and its masks join those of the keys.
            assert!(tally.listening.keys.samples >= 18 * 4 * 160);
        }
    }
}

#[test]
fn two_calls_that_differ_in_their_keys_only_are_counted_alike() {
    // All keys, and each key alone, so that no mean hides what it depends on.
    let one = whole_call(true, 8.0, |n| n % 16).tally();
    assert_eq!((one.presses.total(), one.measures.calls), (18, 1));
    for place in 0..16 {
        let other = whole_call(true, 8.0, |_| place).tally();
        assert_eq!(other, one, "place {place}");
    }
}

#[test]
fn a_shadowed_call_leaves_the_same_bytes_at_the_same_times() {
    let play = |shadow: bool| {
        let mut caller = whole_call(shadow, 300.0, |n| n % 16);
        let undeclared = caller.world.datagram(77, 5, &[9; 40]);
        let mut padded = caller.world.datagram(0, 9, &[1, 2, 3, 4]);
        padded[0] |= 1 << 5;
        padded[15] = 2;
        for datagram in [&undeclared, &padded, &undeclared, &vec![0x80; 11]] {
            let left = caller.world.give(datagram);
            caller.left.extend(left);
        }
        // And across an arming: what leaves then, and after it, is the same too.
        caller.world.command(Command::Arm(Holder::Ng));
        caller.press(3, How::Both);
        caller.world.command(Command::Release(Holder::Ng));
        caller.pause(60);
        assert!(!caller.world.call.is_armed());
        caller.press(5, How::Both);
        (caller.left, caller.world.call.poll_timeout())
    };
    let (shadowed, plain) = (play(true), play(false));
    assert!(plain.0.len() > 200);
    assert_eq!(shadowed, plain);
}

#[test]
fn what_is_keyed_while_armed_is_not_counted_and_what_comes_after_is() {
    let mut caller = Caller::new(true, 8.0);
    assert!(caller.world.call.is_shadowed());
    caller.press(1, How::Both);
    caller.world.command(Command::Arm(Holder::Ng));
    assert!(!caller.world.call.is_shadowed());
    for place in 0..16 {
        caller.press(place, How::Both);
    }
    caller.world.command(Command::Release(Holder::Ng));
    caller.pause(60);
    assert!(caller.world.call.is_shadowed());
    caller.press(2, How::Both);
    let tally = caller.tally();
    assert_eq!(tally.presses.total(), 2);
    // What was armed in between is no loss either.
    assert_eq!((tally.packets.lost, tally.listening.losses.count), (0, 0));
}

#[test]
fn losses_disorder_and_what_is_carried_are_counted() {
    let mut caller = Caller::new(true, 8.0);
    caller.world.sequence = caller.world.sequence.wrapping_add(2);
    caller.world.timestamp = caller.world.timestamp.wrapping_add(320);
    caller.pause(1);
    let (packet, next) = (caller.packet(None), caller.packet(None));
    let first = caller.world.datagram(8, caller.world.timestamp, &packet);
    caller.world.timestamp = caller.world.timestamp.wrapping_add(160);
    let second = caller.world.datagram(0, caller.world.timestamp, &next);
    caller.world.timestamp = caller.world.timestamp.wrapping_add(160);
    for datagram in [&second, &first, &second] {
        caller.world.give(datagram);
    }
    let undeclared = caller.world.datagram(77, 0, &[0; 10]);
    caller.world.give(&undeclared);
    let packets = caller.tally().packets;
    assert_eq!(
        (packets.came, packets.lost, packets.late, packets.repeated),
        (25, 2, 1, 1)
    );
    let carried = |carried: Carried| packets.carried[carried as usize];
    assert_eq!(carried(Carried::Pcmu), 23);
    assert_eq!(carried(Carried::Pcma), 1);
    assert_eq!(carried(Carried::Undeclared), 1);
}

#[test]
fn packets_that_there_is_no_time_for_are_counted_and_are_no_loss() {
    let mut caller = Caller::new(true, 8.0);
    for _ in 0..10 {
        caller.world.call.spare_shadow();
        caller.pause(1);
    }
    caller.pause(20);
    let tally = caller.tally();
    assert_eq!((tally.packets.came, tally.packets.unheard), (50, 10));
    assert_eq!(tally.packets.lost, 0);
    assert_eq!(tally.listening.losses, Masked::default());
    assert_eq!(tally.listening.audio, 40 * 160);
}

#[test]
fn a_call_that_is_not_shadowed_or_never_sends_tells_nothing() {
    for shadow in [false, true] {
        let mut world = World::answered();
        if shadow {
            world.command(Command::Shadow);
        } else {
            world.speak(20);
        }
        world.command(Command::HangUp);
        assert_eq!(world.count(|o| matches!(o, Output::Shadowed(_))), 0);
    }
}

#[test]
fn an_info_tells_a_press_of_its_own_or_one_that_the_media_tells_and_goes_on_as_it_is() {
    let mut caller = Caller::new(true, 8.0);
    let info = |caller: &mut Caller, key: u8| {
        let body = [b"Signal=", &[key][..], b"\r\nDuration=160\r\n"].concat();
        let mut sent = body.clone();
        let forward = caller.world.call.handle_info(&mut sent, caller.world.now);
        assert_eq!((forward, sent), (Ok(InfoForward::Relay), body));
    };
    // Place 0 is the key 1.
    caller.press(0, How::Both);
    info(&mut caller, b'1');
    caller.pause(20);
    info(&mut caller, b'7');
    caller.pause(60);
    let presses = caller.tally().presses;
    assert_eq!(
        (presses.by_event, presses.by_tone, presses.by_info),
        (1, 1, 2)
    );
    assert_eq!((presses.doubles, presses.total()), (2, 2));
}
