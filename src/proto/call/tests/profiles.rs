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

pub(super) fn masked(profile: Profile, fill: Fill) -> World {
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
        from: world.from,
        settings: CaptureSettings::default(),
        slot: plain::slot(),
    });
}

pub(super) fn close_field(world: &mut World) {
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
        // A voice does not open it again, however quiet the line is now; nor is a key told.
        let mut left = world.speak(300);
        left.extend(world.key(5, 15, None));
        left.extend(world.speak(10));
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
fn noise_is_learnt_neither_from_silence_that_was_inserted_nor_from_what_was_masked() {
    let mut seed = 9;
    println!("seed {seed}");
    let loudest_after_an_arming = |packets: usize, seed: &mut u64| {
        let mut world = masked(Profile::Fast, Fill::Noise);
        world.command(Command::Arm(Holder::Ng));
        let hiss: Vec<u8> = noise(400.0, packets * 160, seed);
        for audio in hiss.chunks(160) {
            world.audio(0, audio);
        }
        let left = world.key(5, 12, None);
        // Between the fade and the neutral sound.
        let filled = payloads(&left)[48..3 * 160].to_vec();
        let levels = filled
            .into_iter()
            .map(|code| Law::Mu.decode(code).unsigned_abs());
        levels.max().unwrap()
    };
    // The first frame is half silence, and what came last before a mask is never learnt.
    assert_eq!(loudest_after_an_arming(2, &mut seed), 0);
    assert!(loudest_after_an_arming(4, &mut seed) > 100, "void");
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
