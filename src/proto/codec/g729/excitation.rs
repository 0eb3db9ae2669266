//! What drives the filter: a stretch of its own past, four pulses, and the gains of both (§3.7 to
//! §3.9). Both ends make it alike.

use zeroize::Zeroize;

use super::{
    SUBFRAME,
    math::{of_db, to_db},
    tables::{GAINS_FIRST, GAINS_FIRST_SENT, GAINS_SECOND, GAINS_SECOND_SENT, THIRDS},
};

/// Shortest and longest lag.
pub(super) const LAGS: std::ops::RangeInclusive<usize> = 20..=143;
/// Samples of the past that the longest lag and its filter reach back to.
pub(super) const PAST: usize = 154;
/// Taps of the filter on either side.
const TAPS: usize = 10;

pub(super) type Subframe = [f32; SUBFRAME];

/// A lag in thirds of a sample: whole samples, and -1, 0 or 1 third.
#[derive(Clone, Copy)]
pub(super) struct Lag {
    pub(super) whole: usize,
    pub(super) third: i32,
}

impl Lag {
    /// Of the first half of a frame, in 8 bits.
    pub(super) fn of_first(index: u16) -> Self {
        let index = i32::from(index & 255);
        if index < 197 {
            let whole = (index + 2) / 3 + 19;
            Self {
                whole: whole.unsigned_abs() as usize,
                third: index - 3 * whole + 58,
            }
        } else {
            Self {
                whole: (index - 112).unsigned_abs() as usize,
                third: 0,
            }
        }
    }

    /// See [`Lag::of_first`].
    pub(super) const fn first(self) -> u16 {
        if self.whole < 85 || (self.whole == 85 && self.third < 0) {
            (3 * self.whole as i32 - 58 + self.third) as u16
        } else {
            self.whole as u16 + 112
        }
    }

    /// The ten whole lags that the second half of the frame may have, by the first's.
    pub(super) fn around(self) -> std::ops::RangeInclusive<usize> {
        let least = self.whole.saturating_sub(5).clamp(*LAGS.start(), 134);
        least..=least + 9
    }

    /// Of the second half, in 5 bits.
    pub(super) fn of_second(index: u16, around: &std::ops::RangeInclusive<usize>) -> Self {
        let index = i32::from(index & 31);
        let step = (index + 2) / 3 - 1;
        Self {
            whole: around.start().saturating_add_signed(step as isize),
            third: index - 2 - 3 * step,
        }
    }

    /// See [`Lag::of_second`].
    pub(super) const fn second(self, around: &std::ops::RangeInclusive<usize>) -> u16 {
        let steps = self.whole as i32 - *around.start() as i32;
        (3 * steps + 2 + self.third) as u16
    }

    /// One for an even count of bits among the upper six of the first lag's index (§3.7.2).
    pub(super) const fn parity(index: u16) -> u16 {
        ((index & 255) >> 2).count_ones() as u16 & 1 ^ 1
    }
}

/// Writes the excitation's own past, one lag ago, at a place of it.
pub(super) fn repeat(excitation: &mut [f32], at: usize, lag: Lag) {
    let (whole, third) = match lag.third {
        0 => (lag.whole, 0),
        1 => (lag.whole + 1, 2),
        _ => (lag.whole, 1),
    };
    for n in at..at + SUBFRAME {
        let from = n - whole;
        let mut sum = 0.0;
        for i in 0..TAPS {
            sum += excitation[from - i] * tap(third + 3 * i);
            sum += excitation[from + 1 + i] * tap(3 - third + 3 * i);
        }
        excitation[n] = sum;
    }
}

fn tap(place: usize) -> f32 {
    static ALL: [f32; 31] = {
        let mut out = [0.0; 31];
        let mut n = 0;
        while n < 31 {
            out[n] = THIRDS[n] as f32 / 32_768.0;
            n += 1;
        }
        out
    };
    ALL[place]
}

/// Four pulses, one on each track: their places in 13 bits, their signs in 4 (§3.8).
pub(super) fn pulses(places: u16, signs: u16) -> Subframe {
    let mut code = [0.0; SUBFRAME];
    let on = |shift: u32| usize::from(places >> shift & 7);
    let last = 3 + usize::from(places >> 9 & 1);
    let places = [5 * on(0), 5 * on(3) + 1, 5 * on(6) + 2, 5 * on(10) + last];
    for (number, place) in places.into_iter().enumerate() {
        code[place] = if signs >> number & 1 == 1 { 1.0 } else { -1.0 };
    }
    code
}

/// Lets each pulse echo at the lag, where that is shorter than the subframe (§3.8).
pub(super) fn sharpen(code: &mut Subframe, lag: Lag, sharpness: f32) {
    for n in lag.whole..SUBFRAME {
        code[n] += sharpness * code[n - lag.whole];
    }
}

/// How strong the echo is, by the gain of the subframe before.
pub(super) const fn sharpness(gain: f32) -> f32 {
    gain.clamp(0.2, 0.8)
}

/// Gain of the past, and the correction of the pulses' predicted gain.
pub(super) type Gains = (f32, f32);

/// All pairs of the two codebooks.
pub(super) static GAINS: [[Gains; 16]; 8] = {
    let mut all = [[(0.0, 0.0); 16]; 8];
    let mut one = 0;
    while one < 8 {
        let mut other = 0;
        while other < 16 {
            let (a, b) = (GAINS_FIRST[one], GAINS_SECOND[other]);
            all[one][other] = (
                (a[0] as f32 + b[0] as f32) / 16_384.0,
                (a[1] as f32 + b[1] as f32) / 8_192.0,
            );
            other += 1;
        }
        one += 1;
    }
    all
};

/// The gains that these indices stand for as they are sent.
pub(super) fn gains(first: u16, second: u16) -> Gains {
    let row = |sent: &[u16], index: u16| sent.iter().position(|sent| *sent == index).unwrap_or(0);
    let first = row(&GAINS_FIRST_SENT, first & 7);
    let second = row(&GAINS_SECOND_SENT, second & 15);
    GAINS[first][second]
}

/// Foretells the pulses' gain by the last four corrections (§3.9.1).
#[derive(Zeroize)]
pub(super) struct GainMemory {
    /// In dB, newest first.
    corrections: [f64; 4],
}

impl GainMemory {
    const WEIGHTS: [f64; 4] = [0.68, 0.58, 0.34, 0.19];
    const MEAN_DB: f64 = 30.0;

    pub(super) const fn new() -> Self {
        Self {
            corrections: [-14.0; 4],
        }
    }

    /// The gain that these pulses are expected to have.
    pub(super) fn predict(&self, code: &Subframe) -> f32 {
        let energy: f32 = code.iter().map(|pulse| pulse * pulse).sum();
        let mean = f64::from(energy) / SUBFRAME as f64;
        let weighted = self.corrections.iter().zip(Self::WEIGHTS);
        let predicted: f64 = weighted
            .map(|(correction, weight)| correction * weight)
            .sum();
        // A ratio of powers has half the decibels.
        of_db(predicted + Self::MEAN_DB - to_db(mean) / 2.0) as f32
    }

    pub(super) fn push(&mut self, correction: f32) {
        self.corrections.rotate_right(1);
        self.corrections[0] = to_db(f64::from(correction).max(1e-4));
    }

    /// A subframe never came (§4.4.3).
    pub(super) fn fade(&mut self) {
        let mean = self.corrections.iter().sum::<f64>() / 4.0;
        self.corrections.rotate_right(1);
        self.corrections[0] = (mean - 4.0).max(-14.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lag_is_told_and_understood() {
        for index in 0..=255 {
            let lag = Lag::of_first(index);
            assert_eq!(lag.first(), index);
            assert!((19..=143).contains(&lag.whole) && lag.third.abs() <= 1);
            let around = lag.around();
            assert!(LAGS.contains(around.start()) && LAGS.contains(around.end()));
            for index in 1..31 {
                let second = Lag::of_second(index, &around);
                assert!(around.contains(&second.whole));
                assert_eq!(second.second(&around), index);
            }
        }
    }

    #[test]
    fn a_past_of_one_lag_is_repeated() {
        for third in [-1, 0, 1] {
            let lag = Lag { whole: 57, third };
            let period = 57.0 + third as f32 / 3.0;
            let mut excitation: Vec<f32> = (0..PAST + SUBFRAME)
                .map(|n| (std::f32::consts::TAU * n as f32 / period).sin())
                .collect();
            let wanted = excitation[PAST..].to_vec();
            excitation[PAST..].fill(0.0);
            repeat(&mut excitation, PAST, lag);
            for (wanted, got) in wanted.iter().zip(&excitation[PAST..]) {
                assert!((wanted - got).abs() < 0.02, "{third}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn every_pair_of_gains_is_told_and_understood() {
        for (one, row) in GAINS.iter().enumerate() {
            for (other, pair) in row.iter().enumerate() {
                let told = gains(GAINS_FIRST_SENT[one], GAINS_SECOND_SENT[other]);
                assert_eq!(told, *pair);
            }
        }
    }
}
