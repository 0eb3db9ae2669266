//! Tones and noise of the decoder and dsp benches, the same everywhere for the seed that is printed.

use std::f64::consts::TAU;

use super::signal::{COLUMNS_HZ, RATE_HZ, ROWS_HZ, power_of};

/// The pad, row by row.
pub(crate) const KEYS: &[u8; 16] = b"123A456B789C*0#D";

/// Splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Two of mean 0 and power 1.
    fn normal(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.between(1e-12, 1.0).ln()).sqrt();
        let (sin, cos) = self.between(0.0, TAU).sin_cos();
        [radius * cos, radius * sin]
    }
}

/// A tone of a key.
#[derive(Clone, Copy)]
pub(crate) struct Tone {
    /// Place in [`KEYS`].
    pub(crate) key: usize,
    /// Level of the stronger of the two, dBm0.
    pub(crate) dbm0: f64,
    /// Column over row.
    pub(crate) twist_db: f64,
    /// Of the row, Hz.
    pub(crate) row_off_hz: f64,
    /// Of the column, Hz.
    pub(crate) column_off_hz: f64,
}

impl Tone {
    pub(crate) fn plain(key: usize) -> Self {
        Self {
            key,
            dbm0: -10.0,
            twist_db: 0.0,
            row_off_hz: 0.0,
            column_off_hz: 0.0,
        }
    }

    pub(crate) fn any(dice: &mut Dice) -> Self {
        Self::plain(dice.below(16))
    }

    /// Nominal frequencies.
    pub(crate) fn hz(&self) -> (f64, f64) {
        (ROWS_HZ[self.key / 4], COLUMNS_HZ[self.key % 4])
    }

    /// Moved off by shares of its frequencies, and by so many Hz more in the same direction.
    pub(crate) fn off(mut self, row: f64, column: f64, hz: f64) -> Self {
        let (row_hz, column_hz) = self.hz();
        let moved = |share: f64, nominal: f64| match share {
            0.0 => 0.0,
            share => share * nominal + hz * share.signum(),
        };
        self.row_off_hz = moved(row, row_hz);
        self.column_off_hz = moved(column, column_hz);
        self
    }

    pub(crate) fn name(&self) -> char {
        char::from(KEYS[self.key])
    }

    fn amplitudes(&self) -> (f64, f64) {
        let strong = (2.0 * power_of(self.dbm0)).sqrt();
        let weak = strong * 10_f64.powf(-self.twist_db.abs() / 20.0);
        if self.twist_db > 0.0 {
            (weak, strong)
        } else {
            (strong, weak)
        }
    }

    /// Level of both together, dBm0.
    pub(crate) fn total_dbm0(&self) -> f64 {
        let (row, column) = self.amplitudes();
        10.0 * ((row * row + column * column) / 2.0 / power_of(0.0)).log10()
    }

    /// Adds it to `samples`, at phases of the dice.
    pub(crate) fn add(&self, samples: &mut [f64], dice: &mut Dice) {
        let (row, column) = self.amplitudes();
        let (row_hz, column_hz) = self.hz();
        add_sine(samples, row_hz + self.row_off_hz, row, dice);
        add_sine(samples, column_hz + self.column_off_hz, column, dice);
    }
}

fn add_sine(samples: &mut [f64], hz: f64, amplitude: f64, dice: &mut Dice) {
    let phase = dice.between(0.0, TAU);
    let (mut one, mut two) = (
        (phase - TAU * hz / RATE_HZ).sin(),
        (phase - 2.0 * TAU * hz / RATE_HZ).sin(),
    );
    let twice = 2.0 * (TAU * hz / RATE_HZ).cos();
    for sample in samples {
        let now = twice * one - two;
        (two, one) = (one, now);
        *sample += amplitude * now;
    }
}

/// Adds white noise.
pub(crate) fn add_white(samples: &mut [f64], dbm0: f64, dice: &mut Dice) {
    let amplitude = power_of(dbm0).sqrt();
    for two in samples.chunks_mut(2) {
        for (sample, normal) in two.iter_mut().zip(dice.normal()) {
            *sample += amplitude * normal;
        }
    }
}
