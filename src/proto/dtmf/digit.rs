//! The second decision: is this a digit? Strict, after ITU-T Q.24: 40 ms are taken, 23 ms are not;
//! pauses of 30 ms part two presses, interruptions of 10 ms do not.

use std::f32::consts::TAU;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::bank::{Bank, COLUMNS_HZ, Fit, HOP, RATE_HZ, ROWS_HZ, Window};

/// Least share that one pair explains of a window of 10 ms. A tone at the corners of what must be
/// taken (1.5 % + 2 Hz off, twist, noise 10 dB down) explains 0.75.
const LEAST_SHARE: f32 = 0.68;
/// Hops that must tell the same pair. A clean tone of T ms is told for T - 4 ms, one at the corners
/// for T - 8 ms: 26 ms lie between 23 and 40.
const LEAST_HOPS: u32 = 13;
/// Hops without it that do not end a press (24 ms): an interruption of 10 ms is seen as up to
/// 20 ms, a pause of 30 ms as at least 30.
const BRIDGE_HOPS: u32 = 12;
/// Most that may be lost within a press: 60 ms. Two presses of one key that hide a pause in such a
/// loss become one, a digit is missing and the field is asked again; one press taken for two could
/// complete a field with a wrong digit.
const BRIDGE_LOST_SAMPLES: u32 = 480;
/// From a pair's first told hop back to where it began: a window of 10 ms is told when four fifths
/// of it are tone.
const HEAD_SAMPLES: i64 = 64;
/// Hops between two phases that are compared (8 ms: ±62.5 Hz are told apart).
const PHASE_HOPS: usize = 4;
/// Least share of the phases' products that agree: a voice glides, a key does not.
const LEAST_COHERENCE: f32 = 0.9;
/// Least share of the energy in the two tones over a whole run (8 dB of signal to noise). Vowels
/// reach the share of one window, hardly ever this one.
const LEAST_PURITY: f32 = 0.88;
/// Hops after which a window of 10 ms lies in the tone as a whole.
const HEAD_HOPS: usize = 4;
/// Furthest that a tone may be from its frequency: 1.5 % + 2 Hz and 1.8 % are taken (AT&T and NTT
/// in Q.24), 3 % are not.
const MOST_DETUNE: f32 = 0.018;
/// See [`MOST_DETUNE`].
const MOST_DETUNE_HZ: f32 = 2.5;
/// Twist (column over row) over a whole tone: -8 to +4 dB and 1 dB for noise.
const TWIST: (f32, f32) = (0.126, 3.16);
/// Twist of one window: noise moves it further.
const WINDOW_TWIST: (f32, f32) = (0.04, 10.0);
/// Least power of the stronger tone: a sine of -45 dBm0 (peak of 0 dBm0: 22,656 in mu-law).
const LEAST_POWER: f32 = 125.0 * 125.0;

/// Telephone-event codes of the pad (RFC 4733 §3.2), row by row.
const CODES: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

/// What one hop told.
pub(super) enum Told {
    /// Nothing new.
    Nothing,
    /// A press was recognised.
    Press {
        /// Its telephone-event code.
        code: u8,
        /// Where its tone began, in samples.
        start: i64,
    },
}

/// Sum of products of phases [`PHASE_HOPS`] apart.
#[derive(Default, Zeroize)]
struct Drift {
    real: f32,
    imaginary: f32,
    size: f32,
}

impl Drift {
    /// Adds `now` times the conjugate of `before`, turned back by what a tone at `hz` advances.
    fn add(&mut self, now: [f32; 2], before: [f32; 2]) {
        // A wave a cos + b sin is the real part of (a - ib) e^(iwt).
        let (nr, ni) = (now[0], -now[1]);
        let (br, bi) = (before[0], -before[1]);
        let (real, imaginary) = (nr * br + ni * bi, ni * br - nr * bi);
        self.real += real;
        self.imaginary += imaginary;
        self.size += (power(now) + power(before)) / 2.0;
    }

    /// How far from `hz` the tone is, where the phases agree.
    fn detune_hz(&self, hz: f64) -> Option<f32> {
        let sum = (self.real * self.real + self.imaginary * self.imaginary).sqrt();
        if sum < LEAST_COHERENCE * self.size || sum == 0.0 {
            return None;
        }
        let samples = (PHASE_HOPS * HOP) as f64;
        let expected = (hz * samples / RATE_HZ).fract() as f32 * TAU;
        let turned = (self.imaginary.atan2(self.real) - expected + 1.5 * TAU).rem_euclid(TAU);
        Some((turned - TAU / 2.0) / TAU * (RATE_HZ / samples) as f32)
    }
}

fn is_near(detune_hz: f32, hz: f64) -> bool {
    detune_hz.abs() <= MOST_DETUNE * hz as f32 + MOST_DETUNE_HZ
}

/// Share of a tone's power that a window of 10 ms keeps `detune_hz` beside it.
fn kept(detune_hz: f32) -> f32 {
    let half_turn = TAU / 2.0 * detune_hz * (Window::W10.hops() * HOP) as f32 / RATE_HZ as f32;
    if half_turn.abs() < 1e-3 {
        return 1.0;
    }
    (half_turn.sin() / half_turn).powi(2)
}

/// One pair for as long as it goes on.
#[derive(Default, Zeroize)]
struct Run {
    row: usize,
    column: usize,
    /// Hops that told it; 0 when there is none.
    told: u32,
    /// Hops since it was last told.
    silent: u32,
    /// Samples lost since it was last told.
    lost: u32,
    start: i64,
    row_power: f32,
    column_power: f32,
    row_drift: Drift,
    column_drift: Drift,
    /// Sum of the shares that the pair explained, and of how many hops, once windows are full.
    explained: f32,
    /// See `explained`.
    full: u32,
    /// Latest amplitudes, one a hop.
    waves: [[[f32; 2]; 2]; PHASE_HOPS],
    /// Hops in a row that told it.
    unbroken: usize,
}

impl Run {
    fn begin(fit: &Fit, end: i64) -> Self {
        Self {
            row: fit.row,
            column: fit.column,
            start: end - HEAD_SAMPLES,
            ..Self::default()
        }
    }

    fn is(&self, fit: &Fit) -> bool {
        self.told > 0 && self.row == fit.row && self.column == fit.column
    }

    fn tell(&mut self, fit: &Fit) {
        // Lost audio between two hops that tell the same pair was the same tone.
        self.told += 1 + self.lost / HOP as u32;
        if self.silent > 0 || self.lost > 0 {
            self.unbroken = 0;
        }
        (self.silent, self.lost) = (0, 0);
        if self.unbroken >= HEAD_HOPS {
            self.explained += fit.explained;
            self.full += 1;
        }
        self.row_power += power(fit.row_wave);
        self.column_power += power(fit.column_wave);
        let at = self.unbroken % PHASE_HOPS;
        if self.unbroken >= PHASE_HOPS {
            let [row, column] = self.waves[at];
            self.row_drift.add(fit.row_wave, row);
            self.column_drift.add(fit.column_wave, column);
        }
        self.waves[at] = [fit.row_wave, fit.column_wave];
        self.unbroken += 1;
    }

    /// True when it has been silent for too long.
    fn miss(&mut self) -> bool {
        self.silent += 1;
        self.silent > BRIDGE_HOPS
    }

    fn is_press(&self) -> bool {
        if self.told < LEAST_HOPS || self.full == 0 {
            return false;
        }
        let (row_hz, column_hz) = (ROWS_HZ[self.row], COLUMNS_HZ[self.column]);
        let (Some(row), Some(column)) = (
            self.row_drift.detune_hz(row_hz),
            self.column_drift.detune_hz(column_hz),
        ) else {
            return false;
        };
        let twist = self.column_power / kept(column) * kept(row) / self.row_power;
        (TWIST.0..=TWIST.1).contains(&twist)
            && is_near(row, row_hz)
            && is_near(column, column_hz)
            && self.purity(row, column) >= LEAST_PURITY
    }

    /// Share of the energy in the two tones where they really are: what the fit at the nominal
    /// frequencies misses of a tone `detune` beside them is added again.
    fn purity(&self, row_detune_hz: f32, column_detune_hz: f32) -> f32 {
        let fitted = self.row_power + self.column_power;
        let whole =
            self.row_power / kept(row_detune_hz) + self.column_power / kept(column_detune_hz);
        self.explained / self.full as f32 * whole / fitted
    }
}

/// Recognises presses in tones. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Digits {
    /// What may become a press.
    candidate: Run,
    /// The last press, while its tone goes on.
    press: Run,
}

impl Digits {
    /// Judges the hop that was pushed last; it ends at sample `end`.
    pub(super) fn judge(&mut self, bank: &Bank, end: i64) -> Told {
        let Some(mut fit) = bank.fit(LEAST_SHARE) else {
            if self.candidate.told == 0 && self.press.told == 0 {
                return Told::Nothing;
            }
            return self.judge_fit(None, end);
        };
        let told = self.judge_fit(Some(&fit).filter(|fit| is_tonal(fit)), end);
        fit.zeroize();
        told
    }

    fn judge_fit(&mut self, fit: Option<&Fit>, end: i64) -> Told {
        if let Some(fit) = fit
            && self.press.is(fit)
        {
            self.press.tell(fit);
            self.candidate.zeroize();
            return Told::Nothing;
        }
        if self.press.told > 0 && self.press.miss() {
            self.press.zeroize();
        }
        let Some(fit) = fit else {
            if self.candidate.told > 0 && self.candidate.miss() {
                self.candidate.zeroize();
            }
            return Told::Nothing;
        };
        if !self.candidate.is(fit) {
            self.candidate.zeroize();
            self.candidate = Run::begin(fit, end);
        }
        self.candidate.tell(fit);
        if !self.candidate.is_press() {
            return Told::Nothing;
        }
        self.press.zeroize();
        self.press = std::mem::take(&mut self.candidate);
        Told::Press {
            code: CODES[self.press.row][self.press.column],
            start: self.press.start,
        }
    }

    /// `samples` of a hop were lost. The loss itself ends nothing, unless it is too long to know
    /// what was in it.
    pub(super) fn lose(&mut self, samples: u32) {
        for run in [&mut self.candidate, &mut self.press] {
            if run.told > 0 {
                run.lost = run.lost.saturating_add(samples);
                if run.lost > BRIDGE_LOST_SAMPLES {
                    run.zeroize();
                }
            }
        }
    }

    /// Whether a press goes on, or what may become one.
    pub(super) fn key_is_down(&self) -> bool {
        self.press.told > 0 || self.candidate.told >= LEAST_HOPS / 4
    }

    /// Whether the last recognised press still goes on.
    pub(super) fn press_goes_on(&self) -> bool {
        self.press.told > 0
    }
}

fn power(wave: [f32; 2]) -> f32 {
    wave[0] * wave[0] + wave[1] * wave[1]
}

fn is_tonal(fit: &Fit) -> bool {
    let (row, column) = (power(fit.row_wave), power(fit.column_wave));
    fit.explained >= LEAST_SHARE
        && column >= WINDOW_TWIST.0 * row
        && column <= WINDOW_TWIST.1 * row
        && row.max(column) >= LEAST_POWER
}
