//! The ideal listener: Bayes over the ten pairs of tones, in whitened noise.
//!
//! He is told more than any real one could know: when each tone began and ended, its level, twist,
//! detune and rise, and the noise without it. Only the digit and the two phases
//! are hidden from him. So what he does not get, nobody gets.

#![expect(
    clippy::needless_range_loop,
    reason = "samples and regressors are indices of several arrays at once"
)]

use std::f64::consts::TAU;

use tonewall::proto::codec::Law;

use super::{
    presses::{COLUMNS_HZ, PLACES, Press},
    signal::{RATE_HZ, ROWS_HZ},
};

/// Order of the prediction that whitens.
const ORDER: usize = 12;
/// Samples before a tone that tell the noise: 200 ms.
const NOISE: usize = 1_600;
/// Samples of a tone up to which the noise is whitened exactly: 10 ms.
const FEW: usize = 80;
/// Samples before the tone that are then whitened with it.
const CONTEXT: usize = 32;
/// Cosine and sine of each row and each column, and of the neutral sound.
const WAVES: usize = 2 * (ROWS_HZ.len() + COLUMNS_HZ.len() + 1);
/// What replaces a key sounds like this: Hz and peak. It is known to tell nothing.
const NEUTRAL: (f64, f64) = (400.0, 1_600.0);

/// What he made of one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guess {
    /// 1 for the right digit, 0 for a wrong one; 0.1 where nothing was heard, for a guess.
    pub(crate) right: f64,
    /// log2 of ten times the probability that he gave to the right digit.
    pub(crate) bits: f64,
    /// Samples of the tone that he heard.
    pub(crate) heard: usize,
    /// 1 or 0 for his best guess, even where he heard nothing.
    pub(crate) blind: f64,
}

/// Linear prediction of the noise, of every order up to [`ORDER`]: a sample with fewer neighbours
/// heard before it is predicted from those.
struct Whitener {
    correlation: [f64; ORDER + 1],
    predictors: [[f64; ORDER]; ORDER + 1],
    errors: [f64; ORDER + 1],
}

impl Whitener {
    /// From the noise alone, by Levinson and Durbin.
    fn new(noise: &[f64]) -> Self {
        let mut correlation = [0.0; ORDER + 1];
        let whole = noise.len().saturating_sub(ORDER);
        for (at, sample) in noise.iter().enumerate() {
            // All lags at once, but for the last few samples.
            let lags = if at < whole {
                ORDER + 1
            } else {
                noise.len() - at
            };
            for (sum, later) in correlation.iter_mut().zip(&noise[at..at + lags]) {
                *sum += sample * later;
            }
        }
        correlation
            .iter_mut()
            .for_each(|sum| *sum /= noise.len().max(1) as f64);
        // A little white noise keeps a predictor of a pure tone from being singular.
        correlation[0] *= 1.000_01;
        let mut predictors = [[0.0; ORDER]; ORDER + 1];
        let mut errors = [correlation[0]; ORDER + 1];
        for order in 1..=ORDER {
            let last = predictors[order - 1];
            if errors[order - 1] <= 0.0 {
                continue;
            }
            let mut sum = correlation[order];
            for tap in 0..order - 1 {
                sum -= last[tap] * correlation[order - 1 - tap];
            }
            let reflection = sum / errors[order - 1];
            let mut next = last;
            for tap in 0..order - 1 {
                next[tap] = last[tap] - reflection * last[order - 2 - tap];
            }
            next[order - 1] = reflection;
            predictors[order] = next;
            errors[order] = errors[order - 1] * (1.0 - reflection * reflection);
        }
        Self {
            correlation,
            predictors,
            errors,
        }
    }

    /// Correlation of the predicted noise at all lags up to `most`.
    fn correlation(&self, most: usize) -> Vec<f64> {
        let mut all = self.correlation.to_vec();
        for lag in all.len()..=most {
            let taps = self.predictors[ORDER].iter().enumerate();
            all.push(taps.map(|(tap, weight)| weight * all[lag - 1 - tap]).sum());
        }
        all
    }
}

/// A stretch of audio as it can be listened to.
pub(crate) struct Audio<'a> {
    /// As the agent's telephone decodes it.
    pub(crate) samples: &'a [f64],
    /// What decoding does not tell: mean square of each sample's rounding.
    pub(crate) rounding: &'a [f64],
    /// Which samples came as they were.
    pub(crate) heard: &'a [bool],
    /// The noise alone, as he is told of it.
    pub(crate) noise: &'a [f64],
}

/// Mean square of the rounding of each codeword: a twelfth of the step squared.
pub(crate) fn rounding(law: Law) -> [f64; 256] {
    let mut values: Vec<i16> = (0..=255).map(|code| law.decode(code)).collect();
    values.sort_unstable();
    values.dedup();
    std::array::from_fn(|code| {
        let value = law.decode(code as u8);
        let at = values.partition_point(|other| *other < value);
        let low = values[at.saturating_sub(1)];
        let high = values[(at + 1).min(values.len() - 1)];
        let spans = if at == 0 || at + 1 == values.len() {
            1.0
        } else {
            2.0
        };
        ((f64::from(high) - f64::from(low)) / spans).powi(2) / 12.0
    })
}

/// Listens to one key. `quiet_from` is where the noise before it begins at the earliest.
pub(crate) fn listen(audio: &Audio, press: &Press, quiet_from: usize) -> Guess {
    let until = press.until.min(audio.samples.len());
    let heard = (press.from..until).filter(|at| audio.heard[*at]).count();
    if heard == 0 {
        return Guess {
            right: 0.1,
            bits: 0.0,
            heard,
            blind: 0.0,
        };
    }
    let noise_from = quiet_from.max(press.from.saturating_sub(NOISE));
    let whitener = Whitener::new(&audio.noise[noise_from..press.from]);
    let products = if heard <= FEW {
        regress_exactly(audio, press, until, &whitener)
    } else {
        regress(audio, press, until, &whitener)
    };
    let mut logs = [0.0; 10];
    for (log, (row, column)) in logs.iter_mut().zip(PLACES) {
        let first = 2 * ROWS_HZ.len() + 2 * column;
        let of = [2 * row, 2 * row + 1, first, first + 1];
        *log = evidence(&products, &of, &precisions(press, 1.0));
    }
    guess(&logs, press.digit, heard)
}

/// The guess that follows from the logs of the digits' probabilities.
fn guess(logs: &[f64; 10], digit: u8, heard: usize) -> Guess {
    let most = logs.iter().copied().fold(f64::MIN, f64::max);
    let whole: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    let own = logs[usize::from(digit)];
    let best = logs.iter().filter(|log| **log >= own).count() == 1;
    let right = if best { 1.0 } else { 0.0 };
    Guess {
        right,
        bits: ((own - most) - whole.ln()) / std::f64::consts::LN_2 + 10_f64.log2(),
        heard,
        blind: right,
    }
}

/// Pieces that [`listen_around`] listens to, each by itself: 5 ms.
const PIECE: usize = 40;
/// Samples around a piece, each side, of which the noise alone is told.
const NEAR: usize = 400;
/// What is left of a key may be weaker by this, as power, up to [`WEAKER`] times over; and what stands
/// beside it louder than is told, up to [`LOUDER`] times over.
const STEP: f64 = 10.0;
/// See [`STEP`].
const WEAKER: usize = 6;
/// See [`STEP`].
const LOUDER: usize = 3;
/// How probable his best digit has to be for him to say it; else he says that he heard nothing.
const LEAST_SURE: f64 = 0.5;

/// Listens from so many samples before a key to so many after it, to whatever a codec with a memory
/// makes of it there. What is left of the key may be of any level, and the neutral sound may be over
/// it. Phases hold within a piece, or all through the key.
pub(crate) fn listen_around(
    audio: &Audio,
    press: &Press,
    (before, after): (usize, usize),
) -> Guess {
    let last = audio.samples.len();
    let told = |from: usize, until: usize| {
        let piece = Press {
            from,
            until,
            ramp: if from == press.from { press.ramp } else { 0 },
            ..press.clone()
        };
        let near = from.saturating_sub(NEAR)..(until + NEAR).min(last);
        let whitener = Whitener::new(&audio.noise[near]);
        over_nothing(&regress(audio, &piece, until, &whitener), press)
    };
    let pieces = |from: usize, until: usize| {
        let until = until.min(last);
        let starts = (from..until).step_by(PIECE);
        let logs = starts.map(|at| told(at, (at + PIECE).min(until)));
        logs.fold([0.0; 10], |sums, logs| {
            std::array::from_fn(|n| sums[n] + logs[n])
        })
    };
    let outside = [
        pieces(press.from.saturating_sub(before), press.from),
        pieces(press.until, press.until + after),
    ];
    let inside = [
        pieces(press.from, press.until),
        told(press.from, press.until.min(last)),
    ];
    let logs = std::array::from_fn(|n| {
        let either = sum_of_logs(inside.iter().map(|logs| logs[n])) - 2_f64.ln();
        outside[0][n] + outside[1][n] + either
    });
    let heard = press.until - press.from + before + after;
    let guess = guess(&logs, press.digit, heard);
    let whole = sum_of_logs(logs.iter().copied());
    let is_sure = |log: &f64| (log - whole).exp() >= LEAST_SURE;
    if logs.iter().any(is_sure) {
        return guess;
    }
    Guess {
        right: 0.1,
        heard: 0,
        ..guess
    }
}

/// Log of how much more probable each digit makes the audio than no digit does, whatever the level of
/// either and of the noise: a codec adds some, and a gate opens in the middle of it.
fn over_nothing(products: &Products, press: &Press) -> [f64; 10] {
    const NEUTRAL_WAVES: [usize; 2] = [WAVES - 2, WAVES - 1];
    let neutral = [2.0 / NEUTRAL.1.powi(2); 2];
    let samples = products.samples as f64;
    // Of noise that is so many steps louder, without what is fitted.
    let noise: [f64; LOUDER + 1] = std::array::from_fn(|louder| {
        let louder = louder as i32;
        -samples / 2.0 * f64::from(louder) * STEP.ln() - products.energy / 2.0 / STEP.powi(louder)
    });
    let (fitted, spread) = fit(products, &NEUTRAL_WAVES, &neutral);
    let nothing = sum_of_logs(
        (0..=LOUDER).map(|louder| noise[louder] + fitted / STEP.powi(louder as i32) - spread),
    );
    PLACES.map(|(row, column)| {
        let first = 2 * ROWS_HZ.len() + 2 * column;
        let [a, b] = NEUTRAL_WAVES;
        let of = [2 * row, 2 * row + 1, first, first + 1, a, b];
        // Both weaker tones and louder noise make more of what is known beforehand.
        let fits: [(f64, f64); WEAKER + LOUDER + 1] = std::array::from_fn(|steps| {
            let [p, q, r, s] = precisions(press, STEP.powi(-(steps as i32)));
            let known = (p * q * r * s).ln() / 2.0;
            let (fitted, spread) = fit(products, &of, &[p, q, r, s, neutral[0], neutral[1]]);
            (fitted, known - spread)
        });
        let of_louder = |louder: usize| {
            let fits = &fits[louder..=louder + WEAKER];
            let logs = fits
                .iter()
                .map(|(fitted, spread)| noise[louder] + fitted / STEP.powi(louder as i32) + spread);
            sum_of_logs(logs)
        };
        let digit = sum_of_logs((0..=LOUDER).map(of_louder)) - nothing;
        // No tone at all is as probable as each of the levels.
        sum_of_logs([digit, 0.0].into_iter()) - ((WEAKER + 2) as f64).ln()
    })
}

/// Log of a sum, of the logs of its parts.
fn sum_of_logs(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::MIN, f64::max);
    most + logs.map(|log| (log - most).exp()).sum::<f64>().ln()
}

/// Weighted products of the whitened waves with each other and with the whitened audio.
struct Products {
    gram: [[f64; WAVES]; WAVES],
    told: [f64; WAVES],
    /// Of the whitened audio itself.
    energy: f64,
    samples: usize,
}

impl Products {
    const NONE: Self = Self {
        gram: [[0.0; WAVES]; WAVES],
        told: [0.0; WAVES],
        energy: 0.0,
        samples: 0,
    };

    fn add(&mut self, wave: &[f64; WAVES], sample: f64, variance: f64) {
        self.energy += sample * sample / variance;
        self.samples += 1;
        for i in 0..WAVES {
            let weighted = wave[i] / variance;
            self.told[i] += weighted * sample;
            for j in i..WAVES {
                self.gram[i][j] += weighted * wave[j];
            }
        }
    }
}

/// The waves of all tones at one sample.
fn waves(press: &Press, at: usize) -> [f64; WAVES] {
    let mut wave = [0.0; WAVES];
    let level = press.envelope(at);
    if level > 0.0 {
        let seconds = (at - press.from) as f64 / RATE_HZ;
        for (tone, hz) in hertz(press).into_iter().enumerate() {
            let (sin, cos) = (TAU * hz * seconds).sin_cos();
            (wave[2 * tone], wave[2 * tone + 1]) = (level * cos, level * sin);
        }
    }
    wave
}

/// The same at every sample of the press, each turned on from the one before.
fn all_waves(press: &Press, until: usize) -> Vec<[f64; WAVES]> {
    let mut unit = [0.0; WAVES];
    let mut turn = [(1.0, 0.0); WAVES / 2];
    for (tone, (hz, turn)) in hertz(press).into_iter().zip(&mut turn).enumerate() {
        unit[2 * tone] = 1.0;
        let (sin, cos) = (TAU * hz / RATE_HZ).sin_cos();
        *turn = (cos, sin);
    }
    let at_level = |at| {
        let level = press.envelope(at);
        let now = unit.map(|wave| wave * level);
        for (wave, (cos, sin)) in unit.chunks_exact_mut(2).zip(turn) {
            (wave[0], wave[1]) = (wave[0] * cos - wave[1] * sin, wave[0] * sin + wave[1] * cos);
        }
        now
    };
    (press.from..until).map(at_level).collect()
}

/// The tones of all waves, Hz.
fn hertz(press: &Press) -> [f64; WAVES / 2] {
    let rows = ROWS_HZ.map(|hz| hz * press.row_detune);
    let columns = COLUMNS_HZ.map(|hz| hz * press.column_detune);
    let mut all = [NEUTRAL.0; WAVES / 2];
    let tones = rows.iter().chain(&columns);
    all.iter_mut().zip(tones).for_each(|(to, hz)| *to = *hz);
    all
}

/// For a few samples: by the whole covariance of noise and rounding, which are not alike (the rounding
/// grows with the tone).
fn regress_exactly(audio: &Audio, press: &Press, until: usize, whitener: &Whitener) -> Products {
    let context = press.from.saturating_sub(CONTEXT);
    let places: Vec<usize> = (context..until).filter(|at| audio.heard[*at]).collect();
    let correlation = whitener.correlation(until - context);
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(places.len());
    let mut white: Vec<([f64; WAVES], f64)> = Vec::with_capacity(places.len());
    let mut products = Products::NONE;
    for (i, &at) in places.iter().enumerate() {
        let mut row = Vec::with_capacity(i + 1);
        for j in 0..i {
            let dot: f64 = row
                .iter()
                .zip(&lower[j])
                .map(|(a, b): (&f64, &f64)| a * b)
                .sum();
            row.push((correlation[at - places[j]] - dot) / lower[j][j]);
        }
        let known: f64 = row.iter().map(|a| a * a).sum();
        let own = correlation[0] + audio.rounding[at] - known;
        // Rounding alone is never 0.
        let root = own.max(audio.rounding[at]).sqrt();
        let (mut wave, mut sample) = (waves(press, at), audio.samples[at]);
        for (weight, (other, heard)) in row.iter().zip(&white) {
            sample -= weight * heard;
            for (wave, other) in wave.iter_mut().zip(other) {
                *wave -= weight * other;
            }
        }
        wave.iter_mut().for_each(|wave| *wave /= root);
        sample /= root;
        row.push(root);
        lower.push(row);
        products.add(&wave, sample, 1.0);
        white.push((wave, sample));
    }
    products
}

/// For many samples: by linear prediction, from as many neighbours as were heard.
fn regress(audio: &Audio, press: &Press, until: usize, whitener: &Whitener) -> Products {
    let all = all_waves(press, until);
    let mut products = Products::NONE;
    for at in (press.from..until).filter(|at| audio.heard[*at]) {
        let before = (0..at).rev().take(ORDER);
        let order = before.take_while(|n| audio.heard[*n]).count();
        let predictor = &whitener.predictors[order];
        let mut sample = audio.samples[at];
        let mut variance = whitener.errors[order] + audio.rounding[at];
        let mut wave = all[at - press.from];
        for tap in 0..order {
            let back = at - 1 - tap;
            sample -= predictor[tap] * audio.samples[back];
            variance += predictor[tap].powi(2) * audio.rounding[back];
            if back >= press.from {
                for (wave, before) in wave.iter_mut().zip(&all[back - press.from]) {
                    *wave -= predictor[tap] * before;
                }
            }
        }
        products.add(&wave, sample, variance);
    }
    products
}

/// What is known of the four amplitudes beforehand, for tones this much weaker in power than the
/// press: they are Gaussian, of the power that the tone has.
fn precisions(press: &Press, power: f64) -> [f64; 4] {
    [
        press.row_peak,
        press.row_peak,
        press.column_peak,
        press.column_peak,
    ]
    .map(|peak| 2.0 / (peak.powi(2) * power))
}

/// Log of the probability of the audio given the waves of `of`, but for what does not depend on them.
fn evidence(products: &Products, of: &[usize], precisions: &[f64]) -> f64 {
    let (fitted, spread) = fit(products, of, precisions);
    fitted - spread
}

/// Half of the energy that the waves of `of` explain, and half of the log of the determinant.
fn fit(products: &Products, of: &[usize], precisions: &[f64]) -> (f64, f64) {
    const MOST: usize = 6;
    let Products { gram, told, .. } = products;
    let mut lower = [[0.0; MOST]; MOST];
    let mut solved = [0.0; MOST];
    let (mut fitted, mut root) = (0.0, 1.0);
    // Cholesky, and the forward half of the solution.
    for i in 0..of.len() {
        for j in 0..=i {
            let (a, b) = (of[i].min(of[j]), of[i].max(of[j]));
            let mut sum = gram[a][b] + if i == j { precisions[i] } else { 0.0 };
            for k in 0..j {
                sum -= lower[i][k] * lower[j][k];
            }
            lower[i][j] = if i == j {
                sum.sqrt()
            } else {
                sum / lower[j][j]
            };
        }
        let mut sum = told[of[i]];
        for k in 0..i {
            sum -= lower[i][k] * solved[k];
        }
        solved[i] = sum / lower[i][i];
        fitted += solved[i].powi(2) / 2.0;
        root *= lower[i][i];
    }
    (fitted, root.ln())
}
