//! The fast bank decides as the slow one does.

use std::{fs, path::Path};

use super::{
    reference::Reference,
    signal::{Dice, MS, Tone, add_babble, add_white, speech, through},
};
use crate::proto::{
    codec::Law,
    dtmf::{
        bank::{Bank, HOP, Twist, Window},
        suspect::{BURST_JUMP, ONSET_JUMP, Suspicion, WIDE, WIDEST},
    },
};

/// Shares of a window's energy are told apart to this; nearer to a threshold both answers are right.
/// What single precision rounds, and what rounding the sums of hops to halves does to a window that
/// is next to silent (the smallest step of mu-law is 8).
fn tolerance(energy: f64) -> f64 {
    1e-4 + 1.0 / energy.max(1.0).sqrt()
}

/// How often each decision was made the other way beyond the tolerance, and how often each said yes.
#[derive(Default, Debug)]
struct Differences {
    hops: usize,
    yes: usize,
    different: Vec<String>,
}

impl Differences {
    /// `slow` tells the share for limits of the twist; where it is just within them, either will do.
    fn compare(
        &mut self,
        what: &str,
        fast: bool,
        slow: &dyn Fn(Twist) -> f64,
        (twist, energy, least): (Twist, f64, f32),
    ) {
        let bend = 1.0 + tolerance(energy) as f32;
        let narrower = Twist {
            least: twist.least * bend,
            most: twist.most / bend,
        };
        let wider = Twist {
            least: twist.least / bend,
            most: twist.most * bend,
        };
        let (certain, possible) = (slow(narrower), slow(wider));
        self.yes += usize::from(fast);
        let least = f64::from(least);
        let right = if fast {
            possible >= least - tolerance(energy)
        } else {
            certain < least + tolerance(energy)
        };
        if !right {
            let difference = format!("{what} in hop {}: {fast}, {certain} of {least}", self.hops);
            self.different.push(difference);
        }
    }

    fn hear(&mut self, samples: &[i16]) {
        let thresholds = Suspicion::Fast.thresholds();
        let least_shares = thresholds.least_shares;
        let (mut bank, mut reference) = (Bank::default(), Reference::default());
        (0..16).for_each(|_| reference.push(&[0; HOP]));
        for hop in samples.chunks_exact(HOP) {
            let hop = hop.try_into().expect("a chunk of a hop");
            bank.push(hop);
            reference.push(hop);
            self.hops += 1;
            let mut any = false;
            for (n, window) in Window::ALL.into_iter().enumerate() {
                let fast = bank.nominal(window, WIDE, least_shares[n]);
                let energy = reference.energy(window.samples());
                let slow = |twist| reference.nominal(window, twist);
                let name = format!("window of {} hops", window.hops());
                self.compare(&name, fast, &slow, (WIDE, energy, least_shares[n]));
                any |= fast;
            }
            assert!(
                bank.is_suspicious(least_shares) || !any,
                "the cheap bound passes over what a window tells"
            );
            if !any {
                let fast = bank.fine(WIDE, thresholds.least_fine_share);
                let energy = reference.energy(3 * HOP);
                let slow = |twist| reference.fine(twist);
                self.compare(
                    "fine grid",
                    fast,
                    &slow,
                    (WIDE, energy, thresholds.least_fine_share),
                );
            }
            let fast = bank.onset(WIDEST, ONSET_JUMP, thresholds.least_onset_share);
            let slow = |twist| reference.onset(twist, f64::from(ONSET_JUMP));
            self.compare(
                "onset",
                fast,
                &slow,
                (WIDEST, 1e6, thresholds.least_onset_share),
            );
            let fast = bank.burst(WIDEST, BURST_JUMP, thresholds.least_burst_share);
            let slow = |twist| reference.burst(twist, f64::from(BURST_JUMP));
            self.compare(
                "burst",
                fast,
                &slow,
                (WIDEST, 1e6, thresholds.least_burst_share),
            );
            let (slow, energy) = (reference.fit(), reference.energy(Window::W10.samples()));
            let fast = bank.fit(0.6);
            let told = fast.as_ref().is_some_and(|fit| fit.explained >= 0.6);
            self.compare("fit", told, &|_| slow.share, (WIDE, energy, 0.6));
            if let Some(fit) = fast
                && slow.share > 0.6 + tolerance(energy)
            {
                let apart = (f64::from(fit.explained) - slow.share).abs();
                assert!(apart < tolerance(energy), "{apart} of {energy}");
                assert_eq!((fit.row, fit.column), (slow.row, slow.column));
            }
        }
    }

    fn check(&self) {
        println!("{} hops, {} times yes", self.hops, self.yes);
        assert!(self.different.is_empty(), "{:#?}", self.different);
    }
}

#[test]
fn the_fast_bank_decides_as_the_slow_one_on_random_tones_and_noise() {
    let mut dice = Dice::new(60);
    let mut differences = Differences::default();
    for n in 0..60 {
        let law = if n % 2 == 0 { Law::Mu } else { Law::A };
        let tone = Tone {
            dbm0: dice.between(-60.0, -3.0),
            twist_db: dice.between(-16.0, 16.0),
            row_detune: dice.between(-0.04, 0.04),
            column_detune: dice.between(-0.04, 0.04),
            ..Tone::any(&mut dice)
        };
        let onset = 20 * MS + dice.below(160);
        let length = dice.below(60 * MS);
        let mut samples = vec![0.0; onset + length + 40 * MS];
        let noise = tone.dbm0 - dice.between(-5.0, 40.0);
        match dice.below(3) {
            0 => add_babble(&mut samples, noise, &mut dice),
            1 => add_white(&mut samples, noise, &mut dice),
            _ => {}
        }
        tone.add(&mut samples[onset..onset + length], &mut dice);
        differences.hear(&through(law, &samples));
    }
    differences.check();
    assert!(differences.yes > 300);
}

#[test]
fn the_fast_bank_decides_as_the_slow_one_on_speech() {
    let mut dice = Dice::new(61);
    let mut differences = Differences::default();
    differences.hear(&through(Law::Mu, &speech(3, -14.0, &mut dice)));
    differences.check();
}

#[test]
fn the_fast_bank_decides_as_the_slow_one_on_recordings() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut differences = Differences::default();
    for name in [
        "dtmf/talking",
        "dtmf/noisy",
        "dtmf/leak",
        "dtmf/sharp",
        "speech/caller-request",
    ] {
        let bytes = fs::read(fixtures.join(format!("{name}.wav"))).expect("readable");
        let data = bytes.windows(4).position(|chunk| chunk == b"data");
        let codes = &bytes[data.expect("a WAV file has a data chunk") + 8..];
        let samples: Vec<i16> = codes.iter().map(|code| Law::Mu.decode(*code)).collect();
        differences.hear(&samples[..samples.len().min(8000)]);
    }
    differences.check();
}

/// A sliding sum forgets what has left, however loud it was, and however long it slides.
#[test]
fn nothing_of_what_has_left_the_windows_remains() {
    let mut dice = Dice::new(62);
    let mut quiet = vec![0.0; 60 * MS];
    Tone {
        dbm0: -58.0,
        ..Tone::plain(2, 1)
    }
    .add(&mut quiet, &mut dice);
    let quiet = through(Law::Mu, &quiet);
    let loud: Vec<i16> = (0..3 * 8000)
        .map(|_| [i16::MIN, i16::MAX][dice.below(2)])
        .collect();
    // As many hops as bring the phases round.
    assert_eq!(loud.len() / HOP % 500, 0);
    let (mut fresh, mut used) = (Bank::default(), Bank::default());
    for hop in loud.chunks_exact(HOP) {
        used.push(hop.try_into().expect("a chunk of a hop"));
    }
    for (n, hop) in quiet.chunks_exact(HOP).enumerate() {
        let hop = hop.try_into().expect("a chunk of a hop");
        fresh.push(hop);
        used.push(hop);
        if n < 16 {
            continue;
        }
        let [one, two] = [&fresh, &used].map(|bank| bank.fit(0.5).expect("a tone"));
        assert_eq!(one.explained.to_bits(), two.explained.to_bits(), "hop {n}");
        assert_eq!(one.row_wave, two.row_wave);
        assert_eq!(one.column_wave, two.column_wave);
    }
}

#[test]
fn a_window_rises_over_the_quietest_10_ms_of_the_32_ms_before_it() {
    // 60 ms of noise, of which each hop has an amplitude of its own; then one louder hop.
    let rises = |before: &dyn Fn(usize) -> i16, factor| {
        let mut bank = Bank::default();
        (0..30).for_each(|n| bank.push(&[before(n); HOP]));
        (0..3).for_each(|_| bank.push(&[1000; HOP]));
        bank.rises(Window::W6, factor)
    };
    assert!(rises(&|_| 700, 2.0), "3 dB over what was steady");
    assert!(!rises(&|_| 720, 2.0));
    assert!(!rises(&|_| 5000, 0.1), "louder before");
    // Hops 14 to 29 are the 32 ms before.
    let quiet = |first: usize, hops: usize| {
        move |n| {
            if (first..first + hops).contains(&n) {
                300
            } else {
                5000
            }
        }
    };
    assert!(rises(&quiet(14, 5), 2.0) && rises(&quiet(25, 5), 2.0));
    assert!(!rises(&quiet(20, 4), 2.0), "8 ms");
    assert!(!rises(&quiet(8, 6), 2.0), "too long ago");
}
