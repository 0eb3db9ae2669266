//! What a bad network does to an armed stream. What leaves is compared with what was said: each frame
//! is a stretch of the caller's audio without a single sample of tone, bit for bit, or one of two
//! constants. No detector takes part in that, so none can be wrong with it.

use std::collections::{HashMap, VecDeque};

use crate::proto::{capture::CaptureSettings, rtp::write_red, secret::plain};

use super::*;

/// A neutral sound's period, and no more than that is taken for one.
const SOUND_PERIOD: usize = 20;

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// A key, and from which sample to which it sounds.
#[derive(Clone, Copy)]
struct Tone(u8, usize, usize);

/// An armed call whose caller is noise and tones, and all that left.
struct Line {
    world: World,
    codes: Vec<u8>,
    tone: Vec<bool>,
    packets: Vec<Vec<u8>>,
    left: Vec<Vec<u8>>,
    at: u64,
}

impl Line {
    /// `packets` of `samples` each.
    fn new(packets: usize, samples: usize, tones: &[Tone], seed: u64) -> Self {
        let mut dice = Dice(seed);
        let length = packets * samples;
        let mut audio: Vec<f64> = (0..length).map(|_| dice.below(161) as f64 - 80.0).collect();
        let mut tone = vec![false; length];
        for Tone(key, from, until) in tones {
            let (row, column) = match key {
                0 => (3, 1),
                key => (usize::from(key - 1) / 3, usize::from(key - 1) % 3),
            };
            for n in *from..*until {
                let t = (n - from) as f64 / 8_000.0;
                audio[n] += 4_000.0 * (TAU * ROWS_HZ[row] * t + seed as f64).sin()
                    + 4_000.0 * (TAU * COLUMNS_HZ[column] * t + 2.0 * seed as f64).sin();
                tone[n] = true;
            }
        }
        let codes: Vec<u8> = audio.iter().map(|a| Law::Mu.encode(*a as i16)).collect();
        let mut world = World::answered();
        world.command(Command::Arm(Holder::Ng));
        let packets = codes
            .chunks(samples)
            .map(|codes| {
                let datagram = world.datagram(0, world.timestamp, codes);
                world.timestamp = world.timestamp.wrapping_add(samples as u32);
                datagram
            })
            .collect();
        Self {
            world,
            codes,
            tone,
            packets,
            left: Vec::new(),
            at: 0,
        }
    }

    /// Packets by number at their times, in milliseconds.
    fn deliver(&mut self, mut arrivals: Vec<(u64, usize)>) {
        arrivals.sort_by_key(|(at, _)| *at);
        for (at, number) in arrivals {
            self.pass_to(at);
            let left = self.world.give(&self.packets[number]);
            self.left.extend(left);
        }
    }

    fn pass_to(&mut self, at: u64) {
        let left = self.world.wait((at - self.at) as u32);
        self.left.extend(left);
        self.at = at;
    }

    /// Samples that left and are neither the caller's without a tone, nor a constant.
    fn leaked(&self) -> usize {
        leaked(&self.codes, &self.tone, &self.left)
    }

    /// Samples of the caller that left.
    fn spoken(&self) -> usize {
        let fill = |datagram: &&Vec<u8>| !is_constant(&datagram[12..]);
        let spoken = self.left.iter().filter(fill);
        spoken.map(|datagram| datagram.len() - 12).sum()
    }

    fn keys(&mut self) -> u32 {
        self.world.proof().keys_heard
    }

    fn open_field(&mut self) {
        let Holder::Payment(of) = payment('A') else {
            unreachable!("a payment's own");
        };
        self.world.command(Command::Arm(payment('A')));
        self.world.command(Command::OpenCapture {
            payment: of,
            field: Field::PaymentCardNumber,
            from: Leg::Caller,
            settings: CaptureSettings::default(),
            slot: plain::slot(),
        });
    }

    /// Fields that failed because their keys may not be in order.
    fn lost_fields(&self) -> usize {
        self.world.count(|output| {
            matches!(output, Output::Capture(event)
                if event.kind == CaptureEventKind::Failed { reason: CaptureFailure::MediaLost })
        })
    }
}

/// Silence, or a sound that is told by its period: no key has it. The edges of both.
fn is_constant(payload: &[u8]) -> bool {
    let silence = Law::Mu.silence();
    let quiet = payload.iter().take_while(|code| **code == silence).count();
    let rest = &payload[quiet..];
    let sound: Vec<i16> = rest.iter().map(|code| Law::Mu.decode(*code)).collect();
    let level = 1_600.0 * (TAU / SOUND_PERIOD as f64).sin();
    sound.iter().enumerate().all(|(n, sample)| {
        let before = n.checked_sub(SOUND_PERIOD).map(|before| sound[before]);
        *sample == 0 || before.is_none_or(|before| before == *sample)
    }) && sound
        .iter()
        .all(|sample| f64::from(sample.abs()) <= 1_650.0)
        && sound
            .windows(2)
            .all(|w| f64::from((w[1] - w[0]).abs()) <= level + 60.0)
}

fn leaked(codes: &[u8], tone: &[bool], left: &[Vec<u8>]) -> usize {
    const LEAST: usize = 16;
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, window) in codes.windows(LEAST).enumerate() {
        places.entry(window).or_default().push(at);
    }
    let said = |stretch: &[u8]| {
        let places = stretch.get(..LEAST).and_then(|head| places.get(head));
        places.into_iter().flatten().any(|at| {
            let all = *at..*at + stretch.len();
            codes.get(all.clone()) == Some(stretch) && tone[all].iter().all(|tone| !tone)
        })
    };
    let mut leaked = 0;
    for datagram in left {
        let payload = &datagram[12..];
        // The first frame begins with the look-ahead's silence.
        let silence = payload
            .iter()
            .take_while(|code| **code == Law::Mu.silence());
        let spoken = &payload[silence.count()..];
        if !is_constant(payload) && !said(payload) && !said(spoken) {
            let windows = spoken.windows(LEAST).filter(|window| !said(window));
            leaked += windows.count().max(1);
        }
    }
    leaked
}

fn in_order(packets: std::ops::Range<usize>, every: u64) -> Vec<(u64, usize)> {
    packets.map(|n| (n as u64 * every, n)).collect()
}

#[test]
fn what_measures_leaks_here_finds_2_ms_of_a_tone_wherever_they_are() {
    let mut line = Line::new(60, 160, &[Tone(5, 4_000, 4_800)], 1);
    line.deliver(in_order(0..60, 20));
    assert_eq!(line.leaked(), 0);
    let spoken = |line: &Line, n: usize| !is_constant(&line.left[n][12..]);
    for n in (0..line.left.len()).filter(|n| *n > 0) {
        for at in [0, 1, 77, 144] {
            let mut left = line.left.clone();
            left[n][12 + at..][..16].copy_from_slice(&line.codes[4_100..4_116]);
            let found = leaked(&line.codes, &line.tone, &left);
            assert!(
                found > 0,
                "2 ms at {at} of packet {n}, {}",
                spoken(&line, n)
            );
        }
    }
    let all: Vec<_> = line.packets.clone();
    assert!(leaked(&line.codes, &line.tone, &all) > 700);
}

#[test]
fn a_leg_in_order_is_delayed_by_the_look_ahead_alone() {
    for samples in [80, 160, 240, 480] {
        let mut line = Line::new(40, samples, &[], 2);
        for n in 0..40 {
            line.deliver(vec![(n as u64 * samples as u64 / 8, n)]);
            assert_eq!(line.world.call.poll_timeout(), None);
            // Its end waits for the look-ahead, and the end of the one before leaves.
            assert_eq!(line.left.len(), n + 1, "packet {n} of {samples}");
        }
        assert_seamless(&line.left);
        assert_eq!(line.leaked(), 0);
        assert!(line.spoken() >= 39 * samples);
    }
}

#[test]
fn around_an_onset_no_order_of_packets_shows_a_tone_and_each_key_counts_once() {
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut tones = Vec::new();
        let mut at = 8_000 + dice.below(160) as usize;
        for _ in 0..5 {
            let until = at + 480 + dice.below(480) as usize;
            tones.push(Tone(dice.below(10) as u8, at, until));
            at = until + 480 + dice.below(480) as usize;
        }
        let packets = at / 160 + 50;
        let mut line = Line::new(packets, 160, &tones, seed);
        let mut arrivals = Vec::new();
        for n in 0..packets {
            let sent = n as u64 * 20;
            arrivals.push((sent + dice.below(60), n));
            if dice.below(10) == 0 {
                arrivals.push((sent + dice.below(90), n));
            }
        }
        line.deliver(arrivals);
        line.pass_to(packets as u64 * 20 + 200);
        assert_eq!(line.leaked(), 0, "seed {seed}");
        assert_seamless(&line.left);
        assert_eq!(line.keys(), 5, "seed {seed}");
    }
}

#[test]
fn whichever_packet_of_a_tone_is_late_or_lost_none_shows_it_and_a_late_one_is_heard() {
    for late in [None, Some(3), Some(30), Some(80), Some(200)] {
        for onset in [4_000, 4_037, 4_159] {
            for (lost, count) in (24..32).flat_map(|n| [(n, 1), (n, 2), (n, 3)]) {
                let mut line = Line::new(70, 160, &[Tone(9, onset, onset + 640)], 3);
                let mut arrivals = in_order(0..70, 20);
                for (at, n) in &mut arrivals {
                    if (lost..lost + count).contains(n) {
                        // Behind all others, if at all.
                        *at = late.map_or(u64::MAX, |late| (lost + count) as u64 * 20 + late);
                    }
                }
                arrivals.retain(|(at, _)| *at < u64::MAX);
                line.deliver(arrivals);
                let which = format!("{count} from {lost}, late by {late:?}, onset {onset}");
                assert_eq!(line.leaked(), 0, "{which}");
                assert_seamless(&line.left);
                let keys = line.keys();
                if late.is_some() {
                    assert_eq!(keys, 1, "{which}");
                } else {
                    assert!(keys <= 1, "{which}");
                }
            }
        }
    }
}

#[test]
fn numbers_that_jump_or_begin_anew_in_a_tone_stall_nothing_and_show_nothing() {
    for (jump, depth) in [
        (70_u16, 0),
        (2_000, 0),
        (30_000, 0),
        (70, 50),
        (2_000, 50),
        (30_000, 50),
    ]
    .into_iter()
    .chain([(0_u16.wrapping_sub(500), 0), (0_u16.wrapping_sub(500), 50)])
    {
        for cut in 50..57 {
            let mut line = Line::new(120, 160, &[Tone(2, 8_100, 8_900)], 4);
            for packet in &mut line.packets[cut..] {
                let [high, low] = &mut packet[2..4] else {
                    unreachable!("a slice of two");
                };
                let sequence = u16::from_be_bytes([*high, *low]).wrapping_add(jump);
                [*high, *low] = sequence.to_be_bytes();
            }
            let mut arrivals = in_order(0..120, 20);
            // One that is late beforehand.
            arrivals[10].0 += 20 + depth;
            // The caller that begins anew is followed after a pause.
            if jump > 40_000 {
                arrivals[cut..].iter_mut().for_each(|(at, _)| *at += 120);
            }
            line.deliver(arrivals);
            assert_eq!(line.leaked(), 0, "a jump by {jump} at {cut}");
            let end = &line.left[line.left.len() - 30..];
            assert!(
                end.iter().all(|d| !is_constant(&d[12..])),
                "{jump} at {cut} stalls"
            );
        }
    }
}

#[test]
fn a_tone_at_either_end_of_an_arming_does_not_leave_with_packets_held() {
    for cut in 58..80 {
        for late in [1, 25, 70] {
            // One that is late beforehand, one that is late where the last holder goes.
            let tones = [Tone(4, 9_600, 10_400), Tone(8, 11_200, 12_000)];
            let mut line = Line::new(160, 160, &tones, 5);
            let mut arrivals = in_order(0..160, 20);
            arrivals[10].0 += 20 + 40;
            arrivals[cut - 1].0 += 20 + late;
            let after = arrivals.split_off(cut + 1);
            line.deliver(arrivals.clone());
            line.world.command(Command::Release(Holder::Ng));
            let at = line.at;
            let mut held = false;
            for (n, arrival) in after.into_iter().enumerate() {
                line.deliver(vec![(arrival.0.max(at), arrival.1)]);
                held |= n == 0 && line.world.call.poll_timeout().is_some();
            }
            assert_eq!(line.leaked(), 0, "released at {cut}, late by {late}");
            assert!(held && !line.world.call.is_armed());
            assert_seamless(&line.left);
        }
    }
}

#[test]
fn a_stream_is_not_given_back_while_a_packet_is_held() {
    let mut line = Line::new(100, 160, &[], 6);
    let mut arrivals = in_order(0..60, 20);
    arrivals[10].0 += 20 + 40;
    line.deliver(arrivals);
    line.world.command(Command::Release(Holder::Ng));
    // The 300 ms end at 1,480, while 73 is missing, and it is tried again 20 ms later.
    line.deliver(in_order(60..73, 20));
    line.deliver(vec![(1_465, 74)]);
    line.pass_to(1_490);
    assert!(line.world.call.is_armed());
    line.deliver(vec![(1_495, 73)]);
    line.pass_to(1_501);
    assert!(!line.world.call.is_armed());
    // A frame for each packet; the 12 ms behind the last one were dropped.
    assert_eq!(line.left.len(), 75);
    line.deliver(
        in_order(75..100, 20)
            .into_iter()
            .map(|(at, n)| (at + 10, n))
            .collect(),
    );
    assert_eq!((line.left.len(), line.leaked()), (100, 0));
    assert_seamless(&line.left);
}

#[test]
fn a_stream_given_back_counts_each_packet_once_however_it_came() {
    let mut line = Line::new(140, 160, &[], 7);
    let mut arrivals = in_order(0..70, 20);
    // Overtaken, much too late, and twice.
    arrivals[10].0 += 25;
    arrivals[30].0 += 200;
    arrivals.extend([(900, 40), (901, 41), (1_000, 42)]);
    line.deliver(arrivals);
    line.world.command(Command::Release(Holder::Ng));
    line.deliver(in_order(70..140, 20));
    assert!(!line.world.call.is_armed());
    let mut report = reports::sender_report(line.world.timestamp, 140, 140 * 160);
    let told = line.world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
    let word = |at: usize| u32::from_be_bytes(told[0][at..at + 4].try_into().unwrap());
    assert_eq!(word(20), line.left.len() as u32);
    let octets: usize = line.left.iter().map(|datagram| datagram.len() - 12).sum();
    assert_eq!(word(24), octets as u32);
}

#[test]
fn another_packet_time_in_mid_call_leaves_no_seam() {
    for (before, after) in [
        (80, 160),
        (160, 240),
        (240, 480),
        (480, 160),
        (160, 80),
        (480, 80),
    ] {
        for swapped in [false, true] {
            let tones = [Tone(3, 20_000, 20_800), Tone(7, 26_400, 27_200)];
            let mut line = Line::new(480, 80, &tones, 8);
            let (mut at, mut n) = (0, 0);
            line.packets.clear();
            let mut arrivals = Vec::new();
            while at + 480 <= line.codes.len() {
                let samples = if !(19_200..=25_000).contains(&at) {
                    before
                } else {
                    after
                };
                let codes = line.codes[at..at + samples].to_vec();
                let timestamp = line.world.timestamp.wrapping_add(at as u32);
                line.packets.push(line.world.datagram(0, timestamp, &codes));
                at += samples;
                let overtaken = if swapped && n % 5 == 2 { 61 } else { 0 };
                arrivals.push((at as u64 / 8 + overtaken, n));
                n += 1;
            }
            line.deliver(arrivals);
            line.pass_to(line.at + 100);
            let which = format!("{before} to {after}, swapped: {swapped}");
            assert_eq!(line.leaked(), 0, "{which}");
            assert_seamless(&line.left);
            // No sample is repeated or left out: what left is what came, behind 12 ms of silence.
            let left: Vec<u8> = line.left.iter().flat_map(|d| d[12..].to_vec()).collect();
            let mut wrong = VecDeque::new();
            for (n, code) in left.iter().enumerate().skip(96) {
                if line.codes[n - 96] != *code {
                    wrong.push_back(n - 96);
                }
            }
            let near = |n: &usize| {
                let near = |tone: &Tone| *n + 1_200 > tone.1 && *n < tone.2 + 1_600;
                tones.iter().any(near) || (swapped && *n < 3_000)
            };
            assert!(wrong.iter().all(near), "{which}: {wrong:?}");
            assert!(left.len() + 960 > line.codes.len(), "{which}");
            assert_eq!(line.keys(), 2, "{which}");
        }
    }
}

#[test]
fn a_senders_clock_that_drifts_does_no_harm() {
    // 5 ms in a second, where 0.1 ms are usual: the gateway follows whatever comes.
    for per_mille in [-5_i64, 5] {
        let tones = [Tone(6, 40_000, 40_800)];
        let mut line = Line::new(1_500, 160, &tones, 9);
        let mut arrivals = Vec::new();
        for n in 0..1_500_i64 {
            let at = 100 + n * 20 + n * 20 * per_mille / 1_000;
            // Some are overtaken on the way.
            arrivals.push(((at + if n % 50 == 20 { 25 } else { 0 }) as u64, n as usize));
        }
        line.deliver(arrivals);
        assert_eq!(line.left.len(), 1_500);
        assert_eq!(line.leaked(), 0);
        assert_seamless(&line.left);
        assert!(line.spoken() + 160 * 20 > line.codes.len());
        assert_eq!(line.keys(), 1);
    }
}

#[test]
fn a_key_that_comes_behind_a_later_one_fails_the_field_and_none_is_taken_wrong() {
    for broken in [false, true] {
        let tones = [Tone(4, 4_000, 4_640), Tone(2, 5_120, 5_760)];
        let mut line = Line::new(80, 160, &tones, 10);
        line.open_field();
        let mut arrivals = in_order(0..80, 20);
        for (at, n) in &mut arrivals {
            if (25..29).contains(n) {
                *at = if broken { 37 * 20 + 1 } else { 31 * 20 + 1 };
            }
        }
        line.deliver(arrivals);
        assert_eq!(line.leaked(), 0);
        assert_eq!(line.lost_fields(), usize::from(broken));
        assert_eq!(line.keys(), if broken { 1 } else { 2 });
    }
}

#[test]
fn a_key_that_redundancy_brings_behind_a_later_one_fails_the_field_also_where_it_was_held() {
    for held in [false, true] {
        let tones = [Tone(4, 4_000, 4_640), Tone(2, 5_120, 5_760)];
        let mut line = Line::new(80, 160, &tones, 12);
        let mut caller = leg(4_000);
        caller.payload_types.push((RED, Encoding::Red));
        line.world.command(Command::SetLeg(Leg::Caller, caller));
        line.open_field();
        // The first key is lost; what repeats it comes after the second.
        let blocks: Vec<_> = (25..29)
            .map(|n| (0, (39 - n as u16) * 160, line.packets[n][12..].to_vec()))
            .collect();
        let blocks: Vec<_> = blocks
            .iter()
            .map(|(of, at, b)| (*of, *at, &b[..]))
            .collect();
        let red = write_red(&blocks, (0, &line.packets[39][12..]));
        line.packets[39].truncate(12);
        line.packets[39][1] = RED;
        line.packets[39].extend(red);
        let mut arrivals = in_order(0..80, 20);
        arrivals.retain(|(_, n)| !(25..29).contains(n));
        for (at, n) in &mut arrivals {
            match n {
                // After one that is overtaken, the next ones are waited for.
                5 => *at += 25,
                38 if held => *at += 25,
                _ => {}
            }
        }
        line.deliver(arrivals);
        assert_eq!(line.leaked(), 0);
        assert_eq!((line.lost_fields(), line.keys()), (1, 1), "held: {held}");
    }
}

#[test]
fn an_event_under_a_number_that_came_before_is_heard() {
    let mut line = Line::new(30, 160, &[], 11);
    line.deliver(in_order(0..10, 20));
    let number = u16::from_be_bytes([line.packets[9][2], line.packets[9][3]]);
    let begin = header_of(&line.packets[9]).timestamp;
    for duration in [160, 320, 480] {
        let header = write_header(EVENT, false, number, begin, SSRC);
        let packet = [&header[..], &event(7, duration == 480, duration)].concat();
        line.world.give(&packet);
    }
    line.deliver(in_order(10..30, 20));
    assert_eq!((line.keys(), line.leaked()), (1, 0));
}
