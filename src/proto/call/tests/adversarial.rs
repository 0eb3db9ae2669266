//! Tones as somebody would send them who wants them heard. What leaves an armed call is judged by a fit
//! of sines that shares nothing with the detectors; on a call that is not armed the same judge has to
//! hear the same tones.

use std::{fs, path::Path};

use crate::proto::{
    dtmf::tests::signal::{Dice, MS, Tone, power_of},
    mask::Guard,
};

use super::*;

const RATE_HZ: f64 = 8_000.0;
/// Of the sound that replaces keys.
const NEUTRAL_HZ: f64 = 400.0;
/// White noise under everything, dBm0.
const NOISE_DBM0: f64 = -50.0;
/// 100 ms.
const KEY: usize = 100 * MS;
/// Before and after what is sent.
const QUIET: usize = 200 * MS;

/// Fits sines to each stretch of what leaves.
struct Judge {
    /// Orthonormal over a window: the neutral sound first, which is no news, then the tones.
    base: Vec<Vec<f64>>,
    window: usize,
    /// Share of what is not the neutral sound that the tones have to explain.
    explained: f64,
}

impl Judge {
    /// For tones of these frequencies in windows of 4 ms.
    fn of(hz: &[f64]) -> Self {
        Self::over(4 * MS, 0.9, hz)
    }

    fn over(window: usize, explained: f64, hz: &[f64]) -> Self {
        let mut base: Vec<Vec<f64>> = Vec::new();
        for hz in [NEUTRAL_HZ].iter().chain(hz) {
            for quarter in [0.0, 0.25] {
                let angle = |n: usize| TAU * (hz * n as f64 / RATE_HZ + quarter);
                let mut wave: Vec<f64> = (0..window).map(|n| angle(n).sin()).collect();
                for other in &base {
                    let along = dot(&wave, other);
                    wave.iter_mut()
                        .zip(other)
                        .for_each(|(a, b)| *a -= along * b);
                }
                let length = dot(&wave, &wave).sqrt();
                wave.iter_mut().for_each(|a| *a /= length);
                base.push(wave);
            }
        }
        Self {
            base,
            window,
            explained,
        }
    }

    fn of_tone(tone: &Tone) -> Self {
        Self::of(&frequencies(tone))
    }

    /// Whether any window of what left holds the tones, 10 dB or more above the noise.
    fn hears(&self, left: &[Vec<u8>]) -> bool {
        let heard = decoded(left);
        let floor = 10.0 * power_of(NOISE_DBM0) * self.window as f64;
        heard.windows(self.window).any(|window| {
            let parts: Vec<f64> = self
                .base
                .iter()
                .map(|wave| dot(wave, window).powi(2))
                .collect();
            let rest = dot(window, window) - parts[0] - parts[1];
            rest > floor && parts[2..].iter().sum::<f64>() >= self.explained * rest
        })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn frequencies(tone: &Tone) -> [f64; 2] {
    [
        ROWS_HZ[tone.row] * (1.0 + tone.row_detune),
        COLUMNS_HZ[tone.column] * (1.0 + tone.column_detune),
    ]
}

/// As the agent's telephone plays it.
fn decoded(left: &[Vec<u8>]) -> Vec<f64> {
    let samples = left.iter().flat_map(|datagram| {
        let header = header_of(datagram);
        let law = match header.payload_type {
            8 => Law::A,
            _ => Law::Mu,
        };
        let codes = datagram[header.payload].to_vec();
        codes
            .into_iter()
            .map(move |code| f64::from(law.decode(code)))
    });
    samples.collect()
}

fn noise(samples: usize, dice: &mut Dice) -> Vec<f64> {
    let amplitude = power_of(NOISE_DBM0).sqrt();
    (0..samples).map(|_| amplitude * dice.normal()).collect()
}

fn encoded(law: Law, samples: &[f64]) -> Vec<u8> {
    let codes = samples
        .iter()
        .map(|sample| law.encode(sample.round() as i16));
    codes.collect()
}

/// Noise, and a tone of `length` samples that begins `onset` samples into it.
fn line(tone: &Tone, onset: usize, length: usize, dice: &mut Dice) -> Vec<f64> {
    let mut samples = noise((onset + length + QUIET).next_multiple_of(480), dice);
    tone.add(&mut samples[onset..onset + length], dice);
    samples
}

/// Sends audio in mu-law.
fn send(world: &mut World, samples: &[f64], packet: usize) -> Vec<Vec<u8>> {
    let codes = encoded(Law::Mu, samples);
    let packets = codes.chunks(packet);
    packets.flat_map(|codes| world.audio(0, codes)).collect()
}

/// The judge hears `samples` unless the call is armed.
fn assert_masked(judge: &Judge, samples: &[f64], packet: usize, what: &str) {
    let control = send(&mut World::answered(), samples, packet);
    assert!(
        judge.hears(&control),
        "{what}: not heard where it is not masked"
    );
    let left = send(&mut World::armed(), samples, packet);
    assert!(!judge.hears(&left), "{what}: heard by the agent");
    assert_seamless(&left);
}

#[test]
fn a_tone_that_begins_one_sample_before_a_packet_ends_is_masked() {
    let mut dice = Dice::new(1);
    for packet in [80, 160, 240, 480] {
        // The packet's edge, and the edge of what the look-ahead makes of it.
        for edge in [0, Guard::Fast.look_ahead_samples()] {
            for beside in [0, 1, 2, 15, 16] {
                let onset = 8 * 480 + edge - beside;
                let tone = Tone::any(&mut dice);
                let samples = line(&tone, onset, KEY, &mut dice);
                let what = format!("packets of {packet}, {beside} samples before {edge}");
                assert_masked(&Judge::of_tone(&tone), &samples, packet, &what);
                let codes = encoded(Law::Mu, &samples);
                let left = send(&mut World::armed(), &samples, packet);
                assert_no_tone(&left, &codes[onset..onset + KEY]);
            }
        }
    }
}

#[test]
fn trains_of_bursts_of_5_ms_are_masked() {
    let mut dice = Dice::new(2);
    for gap in [2, 5, 8, 13, 20, 37, 80] {
        for _ in 0..6 {
            let tone = Tone::any(&mut dice);
            let mut samples = noise(QUIET + dice.below(160), &mut dice);
            for _ in 0..30 {
                let mut burst = noise(5 * MS, &mut dice);
                tone.add(&mut burst, &mut dice);
                samples.extend(burst);
                samples.extend(noise(gap * MS, &mut dice));
            }
            samples.extend(noise(QUIET, &mut dice));
            let what = format!("a burst every {} ms", gap + 5);
            assert_masked(&Judge::of_tone(&tone), &samples, 160, &what);
        }
    }
}

#[test]
fn keys_that_follow_each_other_without_a_pause_are_masked() {
    let mut dice = Dice::new(3);
    for length in [23, 40, 61, 100] {
        let tones: Vec<Tone> = (0..12).map(|_| Tone::any(&mut dice)).collect();
        let mut samples = noise(QUIET + dice.below(160), &mut dice);
        for tone in &tones {
            let mut key = noise(length * MS, &mut dice);
            tone.add(&mut key, &mut dice);
            samples.extend(key);
        }
        samples.extend(noise(QUIET, &mut dice));
        for tone in &tones {
            let what = format!("keys of {length} ms");
            assert_masked(&Judge::of_tone(tone), &samples, 160, &what);
        }
    }
}

#[test]
fn two_keys_at_once_are_masked() {
    let mut dice = Dice::new(4);
    for _ in 0..24 {
        let tones = [Tone::any(&mut dice), Tone::any(&mut dice)];
        let mut hz: Vec<f64> = tones.iter().flat_map(frequencies).collect();
        hz.sort_by(f64::total_cmp);
        hz.dedup();
        let onset = QUIET + dice.below(160);
        let mut samples = noise((onset + KEY + QUIET).next_multiple_of(480), &mut dice);
        // A keypad makes each of them once.
        for hz in &hz {
            let phase = dice.between(0.0, TAU);
            for (n, sample) in samples[onset..onset + KEY].iter_mut().enumerate() {
                *sample += 5_000.0 * (phase + TAU * hz * n as f64 / RATE_HZ).sin();
            }
        }
        let judge = Judge::over(8 * MS, 0.9, &hz);
        assert_masked(&judge, &samples, 160, &format!("{hz:?}"));
        let codes = encoded(Law::Mu, &samples);
        let left = send(&mut World::armed(), &samples, 160);
        assert_no_tone(&left, &codes[onset..onset + KEY]);
    }
}

#[test]
fn a_tone_that_rises_over_20_ms_is_masked() {
    let mut dice = Dice::new(5);
    for rise in [5, 10, 20] {
        for _ in 0..12 {
            let tone = Tone::any(&mut dice);
            let onset = QUIET + dice.below(160);
            let mut key = vec![0.0; KEY];
            tone.add(&mut key, &mut dice);
            for (n, sample) in key.iter_mut().enumerate() {
                *sample *= (n as f64 / (rise * MS) as f64).min(1.0);
            }
            let mut samples = noise(onset + KEY + QUIET, &mut dice);
            let place = samples[onset..].iter_mut().zip(&key);
            place.for_each(|(sample, key)| *sample += key);
            let what = format!("a rise of {rise} ms");
            assert_masked(&Judge::of_tone(&tone), &samples, 160, &what);
        }
    }
}

#[test]
fn a_tone_under_loud_speech_is_masked() {
    let speech =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speech/caller-request.wav"))
            .unwrap();
    let speech: Vec<f64> = speech[58..]
        .iter()
        .map(|code| f64::from(Law::Mu.decode(*code)))
        .collect();
    let power = dot(&speech, &speech) / speech.len() as f64;
    let mut dice = Dice::new(6);
    let mut keys = 0;
    while keys < 24 {
        let tone = Tone::any(&mut dice);
        // Speech moves: a longer window, and half of what is there, tell a tone in it.
        let judge = Judge::over(20 * MS, 0.5, &frequencies(&tone));
        let from = dice.below(speech.len() - KEY - 3 * QUIET);
        let mut samples = speech[from..from + KEY + 3 * QUIET].to_vec();
        if judge.hears(&send(&mut World::answered(), &samples, 160)) {
            // A voice that the judge takes for the tone proves nothing.
            continue;
        }
        keys += 1;
        // 10 dB below the tone: speech is called loud at -20 dBm0.
        let scale = (power_of(-20.0) / power).sqrt();
        samples.iter_mut().for_each(|sample| *sample *= scale);
        let onset = QUIET + dice.below(160);
        tone.add(&mut samples[onset..onset + KEY], &mut dice);
        assert_masked(&judge, &samples, 160, &format!("speech from {from}"));
    }
}

#[test]
fn a_tone_4_percent_off_is_masked() {
    let mut dice = Dice::new(7);
    for row_detune in [-0.04, -0.035, 0.0, 0.035, 0.04] {
        for column_detune in [-0.04, -0.035, 0.0, 0.035, 0.04] {
            for _ in 0..3 {
                let tone = Tone {
                    row_detune,
                    column_detune,
                    ..Tone::any(&mut dice)
                };
                let onset = QUIET + dice.below(160);
                let samples = line(&tone, onset, KEY, &mut dice);
                let what = format!("{row_detune} and {column_detune} off");
                assert_masked(&Judge::of_tone(&tone), &samples, 160, &what);
                let codes = encoded(Law::Mu, &samples);
                let left = send(&mut World::armed(), &samples, 160);
                assert_no_tone(&left, &codes[onset..onset + KEY]);
            }
        }
    }
}

#[test]
fn a_tone_with_15_db_of_twist_is_masked() {
    let mut dice = Dice::new(8);
    for twist_db in [-15.0, -12.0, 12.0, 15.0] {
        for _ in 0..16 {
            let tone = Tone {
                twist_db,
                ..Tone::any(&mut dice)
            };
            let onset = QUIET + dice.below(160);
            let samples = line(&tone, onset, KEY, &mut dice);
            let what = format!("twist {twist_db} dB");
            assert_masked(&Judge::of_tone(&tone), &samples, 160, &what);
            let codes = encoded(Law::Mu, &samples);
            let left = send(&mut World::armed(), &samples, 160);
            assert_no_tone(&left, &codes[onset..onset + KEY]);
        }
    }
}

#[test]
fn tones_of_a_caller_whose_clock_drifts_are_masked() {
    let mut dice = Dice::new(9);
    // Of a thousand packets, so many come a millisecond early or late: 1 % and 0.1 %.
    for (every, wait) in [(5, 19), (5, 21), (50, 19), (50, 21)] {
        let tone = Tone::any(&mut dice);
        let mut samples = Vec::new();
        for _ in 0..40 {
            let onset = QUIET + dice.below(160);
            samples.extend(line(&tone, onset, KEY, &mut dice));
        }
        let hear = |world: &mut World| {
            let codes = encoded(Law::Mu, &samples);
            let mut left = Vec::new();
            for (n, codes) in codes.chunks_exact(160).enumerate() {
                let datagram = world.datagram(0, world.timestamp, codes);
                world.timestamp = world.timestamp.wrapping_add(160);
                left.extend(world.give(&datagram));
                left.extend(world.wait(if n % every == 0 { wait } else { 20 }));
            }
            left
        };
        let judge = Judge::of_tone(&tone);
        assert!(judge.hears(&hear(&mut World::answered())));
        let mut world = World::armed();
        assert!(
            !judge.hears(&hear(&mut world)),
            "{wait} ms every {every} packets"
        );
        assert_eq!(world.proof().keys_heard, 40);
    }
}

#[test]
fn a_tone_in_which_the_codec_changes_is_masked() {
    let mut dice = Dice::new(10);
    for (first, second) in [((0, Law::Mu), (8, Law::A)), ((8, Law::A), (0, Law::Mu))] {
        for renegotiated in [false, true] {
            for switch in [1, 2, 3] {
                let tone = Tone::any(&mut dice);
                let onset = 8 * 160 - dice.below(160);
                let samples = line(&tone, onset, KEY, &mut dice);
                let hear = |world: &mut World| {
                    let mut left = Vec::new();
                    for (n, samples) in samples.chunks_exact(160).enumerate() {
                        if n == 8 + switch && renegotiated {
                            let mut caller = leg(4_000);
                            caller.payload_types.rotate_left(1);
                            caller.payload_types.retain(|(kind, _)| *kind != first.0);
                            world.command(Command::SetLeg(Leg::Caller, caller));
                        }
                        let (kind, law) = if n < 8 + switch { first } else { second };
                        left.extend(world.audio(kind, &encoded(law, samples)));
                    }
                    left
                };
                let judge = Judge::of_tone(&tone);
                assert!(judge.hears(&hear(&mut World::answered())));
                let left = hear(&mut World::armed());
                assert!(
                    !judge.hears(&left),
                    "to {} after {switch} packets, renegotiated: {renegotiated}",
                    second.0
                );
            }
        }
    }
}

#[test]
fn nothing_of_a_tone_leaves_after_the_arming() {
    let mut dice = Dice::new(11);
    for packet in [80, 160, 240, 480] {
        // The tone begins so many samples before the arming, or after it.
        for ahead in [-481_i32, -97, -1, 0, 1, 95, 96, 97, 159, 160, 161, 480] {
            let tone = Tone::any(&mut dice);
            let arming = 8 * 480;
            let onset = (arming - ahead) as usize;
            let samples = line(&tone, onset, 2 * KEY, &mut dice);
            let judge = Judge::of_tone(&tone);
            let mut world = World::answered();
            let before = send(&mut world, &samples[..arming as usize], packet);
            assert_eq!(judge.hears(&before), ahead >= 4 * MS as i32, "control");
            world.command(Command::Arm(Holder::Ng));
            assert!(world.call.is_armed());
            let after = send(&mut world, &samples[arming as usize..], packet);
            let what = format!("packets of {packet}, {ahead} samples before the arming");
            assert!(!judge.hears(&after), "{what}");
            let codes = encoded(Law::Mu, &samples);
            let rest = onset.max(arming as usize)..onset + 2 * KEY;
            assert_no_tone(&after, &codes[rest]);
        }
    }
}

#[test]
fn a_tone_that_begins_before_the_release_is_done_is_masked_to_its_end() {
    let mut dice = Dice::new(12);
    let mut begun_unarmed = 0;
    // The release is done 300 ms after it is asked for, or later.
    for begins_ms in (0..420).step_by(7) {
        let tone = Tone::any(&mut dice);
        let onset = begins_ms * MS + dice.below(8);
        let samples = line(&tone, onset, KEY, &mut dice);
        let codes = encoded(Law::Mu, &samples);
        let judge = Judge::of_tone(&tone);
        let mut world = World::armed();
        let before = noise(QUIET, &mut dice);
        send(&mut world, &before, 160);
        world.command(Command::Release(Holder::Ng));
        let mut left = Vec::new();
        let mut armed_at_onset = false;
        for (n, codes) in codes.chunks_exact(160).enumerate() {
            left.extend(world.audio(0, codes));
            if (n * 160..(n + 1) * 160).contains(&onset) {
                armed_at_onset = world.call.is_armed();
            }
        }
        if armed_at_onset {
            assert!(
                !judge.hears(&left),
                "begins {begins_ms} ms after the release"
            );
            assert_no_tone(&left, &codes[onset..onset + KEY]);
        } else {
            begun_unarmed += 1;
            assert!(judge.hears(&left), "control");
        }
    }
    assert!((1..60).contains(&begun_unarmed), "{begun_unarmed}");
}

#[test]
fn a_tone_in_the_first_packet_after_silence_that_was_not_sent_is_masked() {
    let mut dice = Dice::new(13);
    for silent_ms in [40, 100, 300, 2_000] {
        for within in [0, 1, 80, 159] {
            let tone = Tone::any(&mut dice);
            let before = noise(QUIET, &mut dice);
            let samples = line(&tone, within, KEY, &mut dice);
            let hear = |world: &mut World| {
                send(world, &before, 160);
                world.wait(silent_ms);
                world.timestamp = world.timestamp.wrapping_add(silent_ms * MS as u32);
                send(world, &samples, 160)
            };
            let judge = Judge::of_tone(&tone);
            assert!(judge.hears(&hear(&mut World::answered())), "control");
            let left = hear(&mut World::armed());
            assert!(!judge.hears(&left), "{silent_ms} ms, {within} samples in");
            let codes = encoded(Law::Mu, &samples);
            assert_no_tone(&left, &codes[within..within + KEY]);
        }
    }
}
