//! Keys as people press them, and the noise and voices over them.

use std::{f64::consts::TAU, sync::LazyLock};

use rand::{RngExt, rngs::StdRng};
use tonewall::proto::codec::Law;

use super::signal::{self, RATE_HZ, ROWS_HZ};

/// Columns that digits have.
pub(crate) const COLUMNS_HZ: [f64; 3] = {
    let [first, second, third, _] = signal::COLUMNS_HZ;
    [first, second, third]
};
/// Row and column of the digits 0 to 9.
pub(crate) const PLACES: [(usize, usize); 10] = [
    (3, 1),
    (0, 0),
    (0, 1),
    (0, 2),
    (1, 0),
    (1, 1),
    (1, 2),
    (2, 0),
    (2, 1),
    (2, 2),
];
/// Voices of a babble.
const VOICES: usize = 8;

/// What lies under the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Noise {
    White,
    Babble,
}

impl Noise {
    /// For tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::White => "white",
            Self::Babble => "babble",
        }
    }
}

/// One digit as a tone; times are samples.
#[derive(Debug, Clone)]
pub(crate) struct Press {
    pub(crate) digit: u8,
    pub(crate) from: usize,
    pub(crate) until: usize,
    /// Real frequency over nominal frequency, of the row.
    pub(crate) row_detune: f64,
    /// The same of the column.
    pub(crate) column_detune: f64,
    /// Peak of the row's sine.
    pub(crate) row_peak: f64,
    /// Peak of the column's.
    pub(crate) column_peak: f64,
    /// Samples until the tone has its full level; 0 is a hard onset.
    pub(crate) ramp: usize,
}

impl Press {
    /// Level of the tone at a sample, 0 to 1.
    pub(crate) fn envelope(&self, at: usize) -> f64 {
        if at < self.from || at >= self.until {
            0.0
        } else if at - self.from < self.ramp {
            (at - self.from + 1) as f64 / (self.ramp + 1) as f64
        } else {
            1.0
        }
    }

    /// Adds the tone at random phases.
    pub(crate) fn add(&self, audio: &mut [f64], rng: &mut StdRng) {
        self.add_at(1, audio, rng);
    }

    /// The same to audio of so many times 8 kHz.
    pub(crate) fn add_at(&self, times: usize, audio: &mut [f64], rng: &mut StdRng) {
        let (row, column) = PLACES[usize::from(self.digit)];
        let rate_hz = RATE_HZ * times as f64;
        let row_step = TAU * ROWS_HZ[row] * self.row_detune / rate_hz;
        let column_step = TAU * COLUMNS_HZ[column] * self.column_detune / rate_hz;
        let (row_phase, column_phase) = (rng.random_range(0.0..TAU), rng.random_range(0.0..TAU));
        for at in times * self.from..(times * self.until).min(audio.len()) {
            let n = (at - times * self.from) as f64;
            audio[at] += self.envelope(at / times)
                * (self.row_peak * (row_phase + row_step * n).sin()
                    + self.column_peak * (column_phase + column_step * n).sin());
        }
    }
}

/// `length` samples of noise of this mean square.
pub(crate) fn noise(kind: Noise, length: usize, power: f64, rng: &mut StdRng) -> Vec<f64> {
    let mut audio = match kind {
        Noise::White => white(length, rng),
        Noise::Babble => babble(length, rng),
    };
    let own: f64 = audio.iter().map(|s| s * s).sum::<f64>() / length.max(1) as f64;
    let scale = (power / own.max(1e-9)).sqrt();
    audio.iter_mut().for_each(|sample| *sample *= scale);
    audio
}

fn white(length: usize, rng: &mut StdRng) -> Vec<f64> {
    let mut audio = Vec::with_capacity(length + 1);
    while audio.len() < length {
        let radius = (-2.0 * (1.0 - rng.random_range(0.0..1.0f64)).ln()).sqrt();
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        audio.extend([radius * sin, radius * cos]);
    }
    audio.truncate(length);
    audio
}

/// The sentences of `fixtures/speech`, one after another.
static SPEECH: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let codes = signal::speech("");
    codes
        .iter()
        .map(|code| f64::from(Law::Mu.decode(*code)))
        .collect()
});

/// Many people at once: the fixtures' sentences over each other, each voice at a speed of its own.
fn babble(length: usize, rng: &mut StdRng) -> Vec<f64> {
    let mut audio = vec![0.0; length];
    for _ in 0..VOICES {
        let speed = rng.random_range(0.8..1.25);
        let mut at = rng.random_range(0.0..SPEECH.len() as f64);
        for sample in &mut audio {
            let (whole, share) = (at as usize % SPEECH.len(), at.fract());
            let next = SPEECH[(whole + 1) % SPEECH.len()];
            *sample += SPEECH[whole] * (1.0 - share) + next * share;
            at += speed;
        }
    }
    audio
}
