//! What the profiles of masking promise beyond the usual one.

use crate::proto::{
    capture::CaptureSettings,
    mask::{Fill, Guard, Profile},
    secret::plain,
};

use super::{reports::sender_report, *};

const PROFILES: [Profile; 4] = [
    Profile::Fast,
    Profile::Strict,
    Profile::Strictest,
    Profile::Continuous,
];

fn masked(profile: Profile, fill: Fill) -> World {
    let mut world = World::answered_and_masked(Masking { profile, fill });
    world.speak(30);
    world
}

pub(super) fn open_field(world: &mut World) {
    let Holder::Payment(payment) = payment('A') else {
        unreachable!("a payment's own");
    };
    world.command(Command::OpenCapture {
        payment,
        field: Field::PaymentCardNumber,
        settings: CaptureSettings::default(),
        slot: plain::slot(),
    });
}

fn close_field(world: &mut World) {
    let Holder::Payment(payment) = payment('A') else {
        unreachable!("a payment's own");
    };
    world.command(Command::CloseCapture(payment));
}

/// White noise of this amplitude, the same for the same seed.
fn noise(amplitude: f64, samples: usize, seed: &mut u64) -> Vec<u8> {
    (0..samples)
        .map(|_| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            let uniform = (*seed >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
            Law::Mu.encode((uniform * amplitude) as i16)
        })
        .collect()
}

fn guards(world: &World) -> Vec<Guard> {
    let guards = world.said.iter().filter_map(|output| match output {
        Output::Tightened(guard) => Some(*guard),
        _ => None,
    });
    guards.collect()
}

fn payloads(left: &[Vec<u8>]) -> Vec<u8> {
    left.iter()
        .flat_map(|datagram| datagram[12..].to_vec())
        .collect()
}

#[test]
fn a_tone_is_masked_and_given_back_without_a_break_with_every_profile_and_fill() {
    for profile in PROFILES {
        for fill in [Fill::Tone, Fill::Noise, Fill::Silence] {
            for packet in [80, 160, 480] {
                let mut world = masked(profile, fill);
                let mut left = Vec::new();
                world.command(Command::Arm(Holder::Ng));
                let sent = five(0, 1_600);
                for audio in [voice(4_800), sent.clone(), voice(4_800)]
                    .concat()
                    .chunks(packet)
                {
                    left.extend(world.audio(0, audio));
                }
                assert_no_tone(&left, &sent);
                world.command(Command::Release(Holder::Ng));
                let voices: HashSet<Vec<u8>> =
                    voice(4_800).windows(32).map(<[u8]>::to_vec).collect();
                for _ in 0..60 * 160 / packet {
                    left.extend(world.audio(0, &voice(packet)));
                }
                assert!(!world.call.is_armed());
                let last = world.audio(0, &voice(packet));
                assert_eq!(last[0][12..], voice(packet), "bit for bit again");
                left.extend(last);
                assert_seamless(&left);
                let heard = left
                    .iter()
                    .filter(|d| d.windows(32).any(|w| voices.contains(w)));
                assert!(
                    heard.count() * 2 > left.len(),
                    "{profile:?}: the voice is lost"
                );
            }
        }
    }
}

#[test]
fn what_fills_a_mask_does_not_depend_on_what_it_hides() {
    let mut seed = 77;
    println!("seed {seed}");
    let background: Vec<u8> = noise(60.0, 16_000, &mut seed);
    for fill in [Fill::Tone, Fill::Noise, Fill::Silence] {
        let hear = |beside: &dyn Fn(usize) -> Vec<u8>| {
            let mut world = masked(Profile::Fast, fill);
            world.command(Command::Arm(Holder::Ng));
            let mut quiet = background.chunks(160);
            let mut left = Vec::new();
            for _ in 0..2 {
                for audio in quiet.by_ref().take(40) {
                    left.extend(world.audio(0, audio));
                }
                let begin = world.timestamp;
                for packet in 1..=6u16 {
                    let datagram =
                        world.datagram(EVENT, begin, &event(5, packet == 6, packet * 160));
                    left.extend(world.give(&datagram));
                    left.extend(world.audio(0, &beside(usize::from(packet))));
                }
            }
            left.extend(quiet.take(15).flat_map(|audio| world.audio(0, audio)));
            left
        };
        let voiced = hear(&|n| tone(210.0, 330.0, 40.0 * n as f64, 0, 160));
        let silent = hear(&|_| vec![0xff; 160]);
        assert!(voiced == silent, "{fill:?}");
        let distinct: HashSet<u8> = payloads(&silent[41..43]).into_iter().collect();
        assert_eq!(distinct.len() > 2, fill == Fill::Noise);
    }
}

/// How one caller keys.
#[derive(Debug, Clone)]
struct Keying {
    digits: [usize; 3],
    /// Linear amplitudes of row and column.
    levels: (f64, f64),
    /// In packets of 20 ms.
    length: usize,
    tones: bool,
    events: bool,
    /// Milliseconds that packets are late by turns.
    late: u32,
    /// Every so many packets one is lost.
    lost: usize,
    /// Other packets between: none, RTCP, strangers and what nobody understands.
    disturbed: bool,
}

/// A field with three keys at the same moments, closed at the same moment: when what left.
fn field(profile: Profile, fill: Fill, keying: &Keying) -> (Vec<(Duration, Vec<u8>)>, World) {
    const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
    const COLUMNS: [f64; 3] = [1_209.0, 1_336.0, 1_477.0];
    let mut world = masked(profile, fill);
    world.command(Command::Arm(payment('A')));
    world.speak(50);
    open_field(&mut world);
    let opened = world.now.instant;
    let from = world.tape.len();
    let mut began = 0;
    for packet in 0..165 {
        if packet == 150 {
            close_field(&mut world);
        }
        let press = [20, 60, 100]
            .iter()
            .position(|at| (*at..*at + keying.length).contains(&packet));
        let late = if packet % 3 == 1 { keying.late } else { 0 };
        world.wait(late);
        let is_lost = keying.lost > 0 && packet % keying.lost == 0;
        if let Some(press) = press {
            let (at, digit) = (packet - [20, 60, 100][press], keying.digits[press]);
            if at == 0 {
                began = world.timestamp;
            }
            if keying.events {
                let last = at + 1 == keying.length;
                let code = digit as u8;
                for _ in 0..if last { 3 } else { 1 } {
                    let payload = event(code, last, (at as u16 + 1) * 160);
                    let datagram = world.datagram(EVENT, began, &payload);
                    world.give(&datagram);
                }
            }
            if keying.tones {
                let (row, column) = match digit {
                    0 => (3, 1),
                    _ => ((digit - 1) / 3, (digit - 1) % 3),
                };
                let audio: Vec<u8> = (at * 160..(at + 1) * 160)
                    .map(|n| {
                        let t = TAU * n as f64 / 8_000.0;
                        let (r, c) = ((ROWS[row] * t).sin(), (COLUMNS[column] * t).sin());
                        Law::Mu.encode((keying.levels.0 * r + keying.levels.1 * c) as i16)
                    })
                    .collect();
                let datagram = world.datagram(0, world.timestamp, &audio);
                if !is_lost {
                    world.give(&datagram);
                }
            }
        } else {
            let datagram = world.datagram(0, world.timestamp, &voice(160));
            if !is_lost {
                world.give(&datagram);
            }
        }
        if keying.disturbed {
            let mut report = sender_report(world.timestamp, packet as u32, 7);
            world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
            let unknown = world.datagram(99, world.timestamp, &[9; 33]);
            world.give(&unknown);
            world.give(&[&write_header(0, false, 5, 5, 5)[..], &five(0, 160)].concat());
            world.give(&[0; 40]);
        }
        world.timestamp = world.timestamp.wrapping_add(160);
        world.wait(20 - late);
    }
    let left = world.tape[from..]
        .iter()
        .map(|(at, datagram)| (at.duration_since(opened), datagram.clone()))
        .collect();
    (left, world)
}

const PLAIN: Keying = Keying {
    digits: [5, 5, 5],
    levels: (6_000.0, 6_000.0),
    length: 5,
    tones: true,
    events: false,
    late: 0,
    lost: 0,
    disturbed: false,
};

fn keyings() -> Vec<Keying> {
    let other = |change: &dyn Fn(&mut Keying)| {
        let mut keying = PLAIN.clone();
        change(&mut keying);
        keying
    };
    vec![
        other(&|k| k.digits = [1, 0, 9]),
        other(&|k| k.levels = (90.0, 60.0)),
        other(&|k| k.levels = (9_000.0, 2_000.0)),
        other(&|k| k.length = 3),
        other(&|k| k.length = 12),
        other(&|k| k.events = true),
        other(&|k| (k.tones, k.events) = (false, true)),
        other(&|k| (k.tones, k.events, k.digits) = (false, true, [7, 8, 2])),
        other(&|k| k.late = 13),
        other(&|k| k.lost = 4),
        other(&|k| k.disturbed = true),
        // Nobody keys anything, and nobody says anything.
        other(&|k| (k.tones, k.events) = (false, false)),
        other(&|k| k.lost = 1),
    ]
}

#[test]
fn behind_the_mask_of_a_field_every_datagram_and_its_time_are_the_same_whatever_the_caller_does() {
    for fill in [Fill::Tone, Fill::Noise, Fill::Silence] {
        let (plain, world) = field(Profile::Continuous, fill, &PLAIN);
        let pressed = world.said.iter().filter_map(|output| match output {
            Output::Capture(event) => match event.kind {
                CaptureEventKind::Progress { count, .. } => Some(count),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(pressed.max(), Some(3), "the keys were heard");
        // 3 s of the field and 300 ms beyond.
        assert!(plain.len() >= 164, "{} packets", plain.len());
        for pair in plain.windows(2) {
            assert_eq!(pair[1].0 - pair[0].0, Duration::from_millis(20));
        }
        let packets: Vec<_> = plain.iter().map(|(_, packet)| packet.clone()).collect();
        assert_seamless(&packets);
        for keying in keyings() {
            let (other, _) = field(Profile::Continuous, fill, &keying);
            assert_eq!(plain.len(), other.len(), "{keying:?}");
            assert!(plain == other, "{fill:?}, {keying:?}");
        }
    }
}

#[test]
fn without_the_mask_of_a_field_the_same_callers_are_told_apart() {
    let (plain, _) = field(Profile::Strictest, Fill::Tone, &PLAIN);
    let differ = |keying: &Keying| field(Profile::Strictest, Fill::Tone, keying).0 != plain;
    let told_apart = keyings().into_iter().filter(differ).count();
    assert!(told_apart >= 6, "{told_apart} callers");
}

#[test]
fn after_the_mask_of_a_field_the_voice_is_heard_again_and_numbers_go_on() {
    let (_, mut world) = field(Profile::Continuous, Fill::Tone, &PLAIN);
    world.speak(30);
    let packets: Vec<_> = world
        .tape
        .iter()
        .map(|(_, packet)| packet.clone())
        .collect();
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
    let packets: Vec<_> = world
        .tape
        .iter()
        .map(|(_, packet)| packet.clone())
        .collect();
    let rtp: Vec<_> = packets.into_iter().filter(|p| p[1] & 0x7f == 0).collect();
    assert_seamless(&rtp);
}

#[test]
fn a_noisy_line_tightens_the_look_ahead_by_one_insertion_of_silence() {
    let mut seed = 5;
    println!("seed {seed}");
    let mut world = masked(Profile::Fast, Fill::Tone);
    world.command(Command::Arm(Holder::Ng));
    // A uniform amplitude of A has a power of A^2 / 3: here 7.5 dB below the expected key.
    let sent = noise(2_600.0, 56_000, &mut seed);
    let before = world.timestamp;
    let mut left = Vec::new();
    for audio in sent.chunks(160) {
        left.extend(world.audio(0, audio));
    }
    assert_eq!(guards(&world), [Guard::Strict]);
    assert_seamless(&left);
    let heard = payloads(&left);
    // 12 ms of silence, then what was sent; from one place on 8 ms later. What is masked is silent.
    let is_at = |at: usize, late: usize| {
        let spoken = at.checked_sub(late).map_or(0xff, |at| sent[at]);
        heard[at] == spoken || heard[at] == 0xff
    };
    let inserted = (0..heard.len())
        .find(|at| !is_at(*at, 96))
        .expect("it is later at last");
    assert!(
        (32_000..48_000).contains(&inserted),
        "after {inserted} samples"
    );
    let inserted = inserted / 160 * 160;
    assert_eq!(heard[inserted..inserted + 64], [0xff; 64]);
    assert!((inserted + 64..heard.len()).all(|at| is_at(at, 160)));
    let passed = (0..heard.len()).filter(|at| heard[*at] != 0xff).count();
    assert!(passed * 10 > heard.len() * 8, "{passed} of {}", heard.len());
    // What is said now leaves behind what waits.
    let told = world.give_on(
        Leg::Caller,
        Channel::Rtcp,
        &mut sender_report(world.timestamp, 1, 2),
    );
    let next = header_of(left.last().unwrap()).timestamp.wrapping_add(160);
    let waiting = (96 + 64 + world.timestamp.wrapping_sub(before)) - heard.len() as u32;
    assert_eq!(
        u32::from_be_bytes(told[0][16..20].try_into().unwrap()),
        next.wrapping_add(waiting)
    );
}

#[test]
fn noise_as_loud_as_a_key_mutes_the_caller_until_the_release() {
    let mut seed = 6;
    println!("seed {seed}");
    let mut world = masked(Profile::Fast, Fill::Tone);
    for _ in 0..2 {
        let said = world.said.len();
        world.command(Command::Arm(Holder::Ng));
        for audio in noise(14_000.0, 56_000, &mut seed).chunks(160) {
            world.audio(0, audio);
        }
        // A voice does not open it again, however quiet the line is now.
        let left = world.speak(300);
        assert!(payloads(&left).iter().all(|code| *code == 0xff));
        let told = world.said[said..]
            .iter()
            .filter(|o| matches!(o, Output::Tightened(_)));
        assert_eq!(told.count(), 1, "nothing looser follows");
        assert!(guards(&world).ends_with(&[Guard::Mute]));
        world.release();
        let left = world.speak(1);
        assert_eq!(left[0][12..], voice(160));
    }
    let packets: Vec<_> = world
        .tape
        .iter()
        .map(|(_, packet)| packet.clone())
        .collect();
    assert_seamless(&packets);
}

#[test]
fn a_voice_on_a_quiet_line_tightens_nothing() {
    let mut world = masked(Profile::Fast, Fill::Tone);
    world.command(Command::Arm(Holder::Ng));
    let mut seed = 7;
    println!("seed {seed}");
    // Syllables of 140 ms at -13 dBm0, 60 ms apart, over a line at -50 dBm0.
    for n in 0..200 {
        let amplitude = if n % 10 < 7 { 6_000.0 } else { 90.0 };
        let audio = noise(amplitude, 160, &mut seed);
        world.audio(0, &audio);
    }
    assert_eq!(guards(&world), []);
}

#[test]
fn a_key_held_down_is_no_noise() {
    let mut world = masked(Profile::Fast, Fill::Tone);
    world.command(Command::Arm(Holder::Ng));
    world.speak(50);
    for packet in 0..400 {
        world.audio(0, &five(packet * 160, 160));
    }
    assert_eq!(guards(&world), []);
}

#[test]
fn packets_with_header_extensions_leave_armed_without_them() {
    let mut world = World::armed();
    let mut left = Vec::new();
    for n in 0..20u8 {
        // The level of the audio (RFC 6464) in an element of one byte (RFC 8285).
        let extension = [0xbe, 0xde, 0, 1, 0x10, 0x80 | n, 0, 0];
        let payload = [&extension[..], &voice(160)].concat();
        let mut datagram = world.datagram(0, world.timestamp, &payload);
        datagram[0] |= 1 << 4;
        world.timestamp = world.timestamp.wrapping_add(160);
        left.extend(world.give(&datagram));
        world.wait(20);
    }
    assert!(left.len() >= 19);
    assert_seamless(&left);
    for datagram in &left {
        assert_eq!((datagram[0], datagram.len()), (0x80, 172));
        assert_eq!(header_of(datagram).payload, 12..172);
    }
    let spoken = voice(160);
    assert!(payloads(&left).windows(32).any(|w| w == &spoken[..32]));
}
