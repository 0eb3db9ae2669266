//! Signals: tones, noise, lines.

use std::f64::consts::TAU;

use crate::proto::{
    codec::Law,
    dtmf::bank::{COLUMNS_HZ, RATE_HZ, ROWS_HZ},
};

/// Samples of a millisecond.
pub(in crate::proto) const MS: usize = 8;

/// Splitmix64: the same numbers everywhere for the seed that is printed.
pub(in crate::proto) struct Dice(u64);

impl Dice {
    pub(in crate::proto) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed)
    }

    pub(in crate::proto) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(in crate::proto) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(in crate::proto) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of mean 0 and power 1.
    pub(in crate::proto) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.between(1e-12, 1.0).ln()).sqrt();
        radius * self.between(0.0, TAU).cos()
    }
}

/// A tone of a key, on a line.
#[derive(Clone, Copy)]
pub(in crate::proto) struct Tone {
    pub(in crate::proto) row: usize,
    pub(in crate::proto) column: usize,
    /// Of both tones together.
    pub(in crate::proto) dbm0: f64,
    /// Column over row.
    pub(in crate::proto) twist_db: f64,
    /// Of the row, as a share.
    pub(in crate::proto) row_detune: f64,
    /// Of the column.
    pub(in crate::proto) column_detune: f64,
}

impl Tone {
    pub(in crate::proto) fn plain(row: usize, column: usize) -> Self {
        Self {
            row,
            column,
            dbm0: -10.0,
            twist_db: 0.0,
            row_detune: 0.0,
            column_detune: 0.0,
        }
    }

    pub(in crate::proto) fn any(dice: &mut Dice) -> Self {
        Self::plain(dice.below(4), dice.below(4))
    }

    pub(in crate::proto) fn code(&self) -> u8 {
        b"\x01\x02\x03\x0c\x04\x05\x06\x0d\x07\x08\x09\x0e\x0a\x00\x0b\x0f"
            [self.row * 4 + self.column]
    }

    /// Adds it to `samples`, at phases of the dice.
    pub(in crate::proto) fn add(&self, samples: &mut [f64], dice: &mut Dice) {
        let power = power_of(self.dbm0);
        let twist = 10_f64.powf(self.twist_db / 10.0);
        let row = (2.0 * power / (1.0 + twist)).sqrt();
        let column = (2.0 * power * twist / (1.0 + twist)).sqrt();
        let row_step = TAU * ROWS_HZ[self.row] * (1.0 + self.row_detune) / RATE_HZ;
        let column_step = TAU * COLUMNS_HZ[self.column] * (1.0 + self.column_detune) / RATE_HZ;
        let (row_phase, column_phase) = (dice.between(0.0, TAU), dice.between(0.0, TAU));
        for (n, sample) in samples.iter_mut().enumerate() {
            let n = n as f64;
            *sample += row * (row_phase + row_step * n).sin()
                + column * (column_phase + column_step * n).sin();
        }
    }
}

/// Mean square of a level.
pub(in crate::proto) fn power_of(dbm0: f64) -> f64 {
    (Law::Mu.peak_of_0_dbm0().powi(2) / 2.0) * 10_f64.powf(dbm0 / 10.0)
}

/// Adds white noise.
pub(in crate::proto) fn add_white(samples: &mut [f64], dbm0: f64, dice: &mut Dice) {
    let amplitude = power_of(dbm0).sqrt();
    for sample in samples {
        *sample += amplitude * dice.normal();
    }
}

/// Adds something like many voices: noise through slowly moving resonances, syllables of 4 Hz.
pub(in crate::proto) fn add_babble(samples: &mut [f64], dbm0: f64, dice: &mut Dice) {
    let mut voices = vec![0.0; samples.len()];
    for _ in 0..4 {
        let (mut y1, mut y2) = (0.0, 0.0);
        let mut hz = dice.between(250.0, 1800.0);
        let syllable = dice.between(0.0, TAU);
        for (n, voice) in voices.iter_mut().enumerate() {
            hz = (hz + dice.normal() * 2.0).clamp(200.0, 2500.0);
            let radius = 0.97;
            let y = dice.normal() + 2.0 * radius * (TAU * hz / RATE_HZ).cos() * y1
                - radius * radius * y2;
            (y2, y1) = (y1, y);
            *voice += y * (1.0 + (syllable + TAU * 4.0 * n as f64 / RATE_HZ).sin());
        }
    }
    let power = voices.iter().map(|v| v * v).sum::<f64>() / voices.len() as f64;
    let scale = (power_of(dbm0) / power).sqrt();
    for (sample, voice) in samples.iter_mut().zip(voices) {
        *sample += scale * voice;
    }
}

/// Something like one voice: pulses at a gliding pitch through three formants that move from vowel
/// to vowel, with pauses.
pub(in crate::proto) fn speech(seconds: usize, dbm0: f64, dice: &mut Dice) -> Vec<f64> {
    let mut out = vec![0.0; seconds * 8000];
    let mut state = [[0.0_f64; 2]; 3];
    let (mut pitch, mut formants, mut loud) = (120.0_f64, [500.0, 1500.0, 2500.0], 0.0_f64);
    let (mut target, mut target_pitch, mut target_loud) = (formants, pitch, 1.0);
    let (mut phase, mut left) = (0.0_f64, 0);
    for sample in &mut out {
        if left == 0 {
            left = 400 + dice.below(2000);
            target = [
                dice.between(250.0, 900.0),
                dice.between(800.0, 2300.0),
                dice.between(2200.0, 3000.0),
            ];
            target_pitch = dice.between(80.0, 300.0);
            target_loud = if dice.below(5) == 0 {
                0.0
            } else {
                dice.between(0.3, 1.0)
            };
        }
        left -= 1;
        pitch += (target_pitch - pitch) * 0.0005;
        loud += (target_loud - loud) * 0.005;
        phase += pitch / RATE_HZ;
        let mut x = dice.normal() * 0.02;
        if phase >= 1.0 {
            phase -= 1.0;
            x += 1.0;
        }
        let mut y = 0.0;
        for (i, s) in state.iter_mut().enumerate() {
            formants[i] += (target[i] - formants[i]) * 0.002;
            let radius = 1.0 - 0.02 * (1.0 + i as f64);
            let next = x + 2.0 * radius * (TAU * formants[i] / RATE_HZ).cos() * s[0]
                - radius * radius * s[1];
            *s = [next, s[0]];
            y += next / (1.0 + i as f64);
        }
        *sample = y * loud;
    }
    let power = out.iter().map(|v| v * v).sum::<f64>() / out.len() as f64;
    let scale = (power_of(dbm0) / power).sqrt();
    for sample in &mut out {
        *sample *= scale;
    }
    out
}

/// Through a law, as every caller's audio comes.
pub(in crate::proto) fn through(law: Law, samples: &[f64]) -> Vec<i16> {
    samples
        .iter()
        .map(|&s| law.decode(law.encode(s.round().clamp(-32768.0, 32767.0) as i16)))
        .collect()
}
