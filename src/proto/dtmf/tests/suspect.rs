//! The agent hears none of a tone, however short, detuned, twisted or quiet.

use std::{fs, path::Path};

use super::{
    Listener,
    signal::{Dice, MS, Tone, add_babble, add_white, speech, through},
};
use crate::proto::{codec::Law, dtmf::OutputCheck};

/// The shortest look-ahead.
const LOOK_AHEAD: usize = 12 * MS;

/// How many samples of `burst` (in `samples`) would have left by the time that they were suspected:
/// what is not suspected within the look-ahead is gone.
fn leaked(samples: &[i16], burst: std::ops::Range<usize>, step: usize) -> usize {
    let mut ear = Listener::default();
    let mut masked = vec![false; samples.len()];
    let mut released = 0;
    let mut fed = 0;
    let mut leaked = 0;
    for stretch in samples.chunks(step) {
        let verdict = ear.audio(stretch);
        fed += stretch.len();
        if let Some(suspect) = verdict.suspect() {
            let end = (suspect.end as usize).min(samples.len());
            for sample in &mut masked[suspect.start as usize..end] {
                *sample = true;
            }
        }
        while released + LOOK_AHEAD <= fed {
            leaked += usize::from(!masked[released] && burst.contains(&released));
            released += 1;
        }
    }
    leaked
}

struct Bursts {
    count: usize,
    snr_db: f64,
    shortest_ms: f64,
    longest_ms: f64,
    levels: (f64, f64),
    twist_db: f64,
    detune: f64,
    babble: bool,
}

/// How many of `count` random bursts leaked anything.
fn leaky(bursts: &Bursts, dice: &mut Dice) -> usize {
    let mut leaky = 0;
    for n in 0..bursts.count {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = Tone {
            dbm0: dice.between(bursts.levels.0, bursts.levels.1),
            twist_db: dice.between(-bursts.twist_db, bursts.twist_db),
            row_detune: dice.between(-bursts.detune, bursts.detune),
            column_detune: dice.between(-bursts.detune, bursts.detune),
            ..Tone::plain(n / 2 % 4, n / 8 % 4)
        };
        let length = (dice.between(bursts.shortest_ms, bursts.longest_ms) * 8.0) as usize;
        let onset = 60 * MS + dice.below(160);
        let mut samples = vec![0.0; onset + length + 30 * MS];
        let noise = tone.dbm0 - bursts.snr_db;
        if bursts.babble {
            add_babble(&mut samples, noise, dice);
        } else {
            add_white(&mut samples, noise, dice);
        }
        tone.add(&mut samples[onset..onset + length], dice);
        // By single samples: the look-ahead is measured to the sample.
        if leaked(&through(law, &samples), onset..onset + length, 1) > 0 {
            leaky += 1;
        }
    }
    leaky
}

#[test]
fn of_any_burst_from_3_ms_nothing_is_heard_at_20_db() {
    let mut dice = Dice::new(1);
    let bursts = Bursts {
        count: 3200,
        snr_db: 20.0,
        shortest_ms: 3.0,
        longest_ms: 60.0,
        levels: (-50.0, -3.0),
        twist_db: 15.0,
        detune: 0.04,
        babble: false,
    };
    let leaky = leaky(&bursts, &mut dice);
    assert!(leaky <= 3, "{leaky} of {} bursts leaked", bursts.count);
}

#[test]
fn of_the_shortest_bursts_nothing_is_heard_at_20_db() {
    let mut dice = Dice::new(2);
    let bursts = Bursts {
        count: 1600,
        snr_db: 20.0,
        shortest_ms: 3.0,
        longest_ms: 8.0,
        levels: (-50.0, -3.0),
        twist_db: 15.0,
        detune: 0.04,
        babble: false,
    };
    let leaky = leaky(&bursts, &mut dice);
    assert!(leaky <= 1, "{leaky} of {} bursts leaked", bursts.count);
}

#[test]
fn of_tones_down_to_minus_60_dbm0_nothing_is_heard() {
    let mut dice = Dice::new(3);
    let bursts = Bursts {
        count: 800,
        snr_db: 20.0,
        shortest_ms: 10.0,
        longest_ms: 60.0,
        levels: (-60.0, -50.0),
        twist_db: 15.0,
        detune: 0.04,
        babble: false,
    };
    let leaky = leaky(&bursts, &mut dice);
    assert!(leaky <= 1, "{leaky} of {} bursts leaked", bursts.count);
}

#[test]
fn in_noise_999_of_1000_tones_are_suspected_within_the_look_ahead() {
    for (snr_db, babble) in [(20.0, false), (15.0, false), (15.0, true), (10.0, false)] {
        let mut dice = Dice::new(4);
        let bursts = Bursts {
            count: 2000,
            snr_db,
            shortest_ms: 23.0,
            longest_ms: 60.0,
            levels: (-35.0, -3.0),
            twist_db: 8.0,
            detune: 0.018,
            babble,
        };
        let leaky = leaky(&bursts, &mut dice);
        println!(
            "SNR {snr_db} dB, babble {babble}: {leaky} of {} leaked",
            bursts.count
        );
        assert!(leaky <= 2, "{leaky} of {} bursts leaked", bursts.count);
    }
}

#[test]
fn in_noise_of_5_db_few_tones_are_suspected_late() {
    for babble in [false, true] {
        let mut dice = Dice::new(6);
        let bursts = Bursts {
            count: 1000,
            snr_db: 5.0,
            shortest_ms: 40.0,
            longest_ms: 60.0,
            levels: (-35.0, -3.0),
            twist_db: 8.0,
            detune: 0.018,
            babble,
        };
        let leaky = leaky(&bursts, &mut dice);
        println!("babble {babble}: {leaky} of {} leaked", bursts.count);
        // Of those that rise out of the noise a smaller share has to be a pair: without that, 150.
        assert!(leaky <= 50, "{leaky} of {} tones leaked", bursts.count);
    }
}

#[test]
fn speech_is_mostly_left_alone() {
    let mut dice = Dice::new(5);
    let samples = through(Law::Mu, &speech(60, -20.0, &mut dice));
    let (masked, digits, _, alarms_behind) = look(&samples);
    println!("{:.2} % masked", masked * 100.0);
    assert_eq!((digits, alarms_behind), (0, 0));
    // The formants of this voice lie in the bands of the keys far more often than a person's, of
    // whose speech 2 to 6 % are masked.
    assert!(masked < 0.30, "{:.1} % masked", masked * 100.0);
}

/// What share of `samples` is suspect, how many digits and how many alarms of the check are in it,
/// and how many alarms in what passes the mask.
fn look(samples: &[i16]) -> (f64, usize, usize, usize) {
    let mut ear = Listener::default();
    let mut passed = samples.to_vec();
    let mut masked = 0;
    let mut masked_until = 0;
    for stretch in samples.chunks(160) {
        if let Some(suspect) = ear.audio(stretch).suspect() {
            let end = (suspect.end as usize).min(samples.len());
            passed[suspect.start as usize..end].fill(0);
            let from = (suspect.start as usize).max(masked_until);
            masked += end.saturating_sub(from);
            masked_until = masked_until.max(end);
        }
    }
    (
        masked as f64 / samples.len() as f64,
        ear.heard.codes.len(),
        alarms(samples),
        alarms(&passed),
    )
}

fn alarms(samples: &[i16]) -> usize {
    let mut check = OutputCheck::default();
    samples
        .chunks(160)
        .filter(|stretch| check.listen(stretch))
        .count()
}

/// A recording of `fixtures/`, which is the same on every machine.
fn recording(name: &str) -> Vec<i16> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let bytes = fs::read(fixtures.join(format!("{name}.wav"))).expect("readable");
    let data = bytes.windows(4).position(|chunk| chunk == b"data");
    let codes = &bytes[data.expect("a WAV file has a data chunk") + 8..];
    codes.iter().map(|code| Law::Mu.decode(*code)).collect()
}

/// FNV-1a over every verdict on what was recorded.
fn digest_of_verdicts(recordings: impl Iterator<Item = Vec<i16>>) -> u64 {
    let mut ear = Listener::default();
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for samples in recordings {
        for stretch in samples.chunks(160) {
            let suspect = ear.audio(stretch).suspect().unwrap_or_default();
            for byte in [suspect.start, suspect.end]
                .map(u64::to_le_bytes)
                .as_flattened()
            {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    digest
}

#[test]
fn the_usual_suspicion_is_the_one_that_its_figures_were_measured_with() {
    let names = [
        "dtmf/talking",
        "dtmf/noisy",
        "dtmf/leak",
        "dtmf/sharp",
        "speech/caller-request",
    ];
    assert_eq!(
        digest_of_verdicts(names.into_iter().map(recording)),
        10_408_863_466_734_444_773
    );
}

/// A recording of keys in bursts of 2 to 5 ms with 3 to 14 ms of a hiss between: one a burst that
/// rises out of what the last one left suspect.
fn in_trains(samples: &[i16], dice: &mut Dice) -> Vec<i16> {
    let mut rest = samples;
    let mut train = Vec::with_capacity(samples.len());
    while !rest.is_empty() {
        let length = rest.len().min(16 + dice.below(25));
        let (burst, behind) = rest.split_at(length);
        train.extend(burst);
        let (pause, behind) = behind.split_at(behind.len().min(24 + dice.below(89)));
        train.extend(pause.iter().map(|_| dice.below(41) as i16 - 20));
        rest = behind;
    }
    train
}

#[test]
fn trains_of_bursts_are_suspected_as_when_the_figures_were_measured() {
    let mut dice = Dice::new(12);
    let names = ["dtmf/sharp", "dtmf/plain", "dtmf/twist-high", "dtmf/quiet"];
    let trains = names.map(|name| in_trains(&recording(name), &mut dice));
    assert_eq!(
        digest_of_verdicts(trains.into_iter()),
        5_784_920_355_927_357_226
    );
}

/// Key over noise in dB as an ear takes it after 6 s of noise, and whether a key was heard.
fn key_over_noise(noise_dbm0: f64, key_dbm0: Option<f64>, lossy: bool) -> (f64, bool) {
    let mut dice = Dice::new(13);
    let mut samples = vec![0.0; 6_000 * MS];
    add_white(&mut samples, noise_dbm0, &mut dice);
    if let Some(dbm0) = key_dbm0 {
        let tone = Tone {
            dbm0,
            ..Tone::plain(1, 1)
        };
        tone.add(&mut samples[5_200 * MS..5_300 * MS], &mut dice);
    }
    let mut ear = Listener::default();
    for (n, stretch) in through(Law::Mu, &samples).chunks(160).enumerate() {
        // 60 ms of each 500.
        if lossy && n % 25 < 3 {
            ear.gap(stretch.len());
        } else {
            ear.audio(stretch);
        }
    }
    let key = ear.state.floor.key_over_noise().expect("6 s were heard");
    (10.0 * f64::from(key.ratio).log10(), key.measured)
}

#[test]
fn the_key_that_was_heard_is_held_against_the_noise_and_losses_are_no_silence() {
    for lossy in [false, true] {
        let (usual, measured) = key_over_noise(-33.0, None, lossy);
        // Expected at -13 dBm0.
        assert!((usual - 20.0).abs() < 2.0 && !measured, "{usual}, {lossy}");
        let (heard, measured) = key_over_noise(-33.0, Some(-22.0), lossy);
        assert!((heard - 11.0).abs() < 2.0 && measured, "{heard}, {lossy}");
    }
}
