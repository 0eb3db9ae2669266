//! The second decision: is this a digit? Strict, after ITU-T Q.24: 40 ms are taken, 23 ms are not;
//! pauses of 30 ms part two presses, interruptions of 10 ms do not.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::bank::{Bank, COLUMNS_HZ, Fit, HOP, RATE_HZ, ROWS_HZ, Window};

/// Least share that one pair explains of a window of 10 ms. A tone at the corners of what must be
/// taken (1.5 % + 2 Hz off, twist) explains 0.66 of it in noise 7 dB down.
const LEAST_SHARE: f32 = 0.5;
/// Hops that must tell the same pair. A clean tone of T ms is told for T ms, one at the corners and
/// in noise for T - 6 ms: 30 ms lie between 23 and 40.
const LEAST_HOPS: u32 = 15;
/// Hops without it that do not end a press (24 ms): an interruption is seen as long as it is, and up
/// to 6 ms longer in noise, so that 10 ms are ridden over, and a pause of 30 ms is none.
const BRIDGE_HOPS: u32 = 12;
/// Most that may be lost within a press: 60 ms. Two presses of one key that hide a pause in such a
/// loss become one, a digit is missing and the field is asked again; one press taken for two could
/// complete a field with a wrong digit.
const BRIDGE_LOST_SAMPLES: u32 = 480;
/// From a pair's first told hop back to where it began: a window of 10 ms is told when half of it is
/// tone.
const HEAD_SAMPLES: i64 = 48;
/// Hops between two phases that are compared (8 ms: ±62.5 Hz are told apart).
const PHASE_HOPS: usize = 4;
/// Least share of the phases' products that agree: a voice glides, a key does not.
const LEAST_COHERENCE: f32 = 0.9;
/// The same of both tones together, each by its power: noise blurs the fainter one.
const LEAST_JOINT_COHERENCE: f32 = 0.96;
/// Least share of the energy in the two tones over a whole run (8 dB of signal to noise). Vowels
/// reach the share of one window, hardly ever this one.
const LEAST_PURITY: f32 = 0.88;
/// The same where noise was there before, which is then taken away, one hop later: 5.6 dB.
const LEAST_NOISY_PURITY: f32 = 0.78;
/// Most that is neither in the two tones nor noise that was there before, as a share of what is not
/// noise: so much, and so many times the share of noise, for noise is never quite the same.
const MOST_UNEXPLAINED: (f32, f32) = (0.05, 0.5);
/// Most of a window that noise can be which was there before. Where there was more, a voice was
/// speaking, and it counts for nothing.
const MOST_NOISE: f32 = 0.21;
/// Most that the loudest full window of a run is louder than the faintest: 4.8 dB.
const MOST_SWELL: f32 = 3.0;
/// Hops over which the quietest 10 ms count as the noise that was there before: this many to twice
/// as many (32 to 64 ms).
const NOISE_HOPS: u32 = 24;
/// Hops after which a window of 10 ms lies in the tone as a whole.
const HEAD_HOPS: usize = 4;
/// Least number of windows that do.
const LEAST_FULL: u32 = 7;
/// Furthest that a tone may be from its frequency: 1.5 % + 2 Hz and 1.8 % are taken (AT&T and NTT
/// in Q.24), 3 % are not.
const MOST_DETUNE: f32 = 0.018;
/// See [`MOST_DETUNE`].
const MOST_DETUNE_HZ: f32 = 2.5;
/// Twist (column over row) over a whole tone: -8 to +4 dB and 2 dB for noise.
const TWIST: (f32, f32) = (0.1, 4.0);
/// Twist of one window: noise moves it further.
const WINDOW_TWIST: (f32, f32) = (0.04, 10.0);
/// Mean square of a sine of 0 dBm0.
const MILLIWATT: f32 = 22_656.0 * 22_656.0 / 2.0;
/// Least share beside the tones that is told apart: 40 dB below.
const LEAST_NOISE: f32 = 1e-4;
/// Least power of the stronger tone: a sine of -45 dBm0 (peak of 0 dBm0: 22,656 in mu-law).
const LEAST_POWER: f32 = 125.0 * 125.0;

/// Telephone-event codes of the pad (RFC 4733 §3.2), row by row.
pub(super) const CODES: [[u8; 4]; 4] =
    [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

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
        /// How it sounded.
        measure: PressMeasure,
    },
}

/// How a press by tone sounded, by the windows that lay in it as a whole. Which key it was is not in
/// it, though a line that passes some tones better than others makes it depend on the key: it is
/// meant for means over many presses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Zeroize)]
pub struct PressMeasure {
    /// Power of both tones together, dBm0 (a sine of full scale has +3.17; ITU-T G.711).
    pub level_dbm0: f32,
    /// Column over row, dB.
    pub twist_db: f32,
    /// Both tones over all else, dB; at most 40.
    pub snr_db: f32,
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

    /// What of `size` agrees.
    fn agreed(&self) -> f32 {
        (self.real * self.real + self.imaginary * self.imaginary).sqrt()
    }

    /// How far from `hz` the tone is, where the phases agree.
    fn detune_hz(&self, hz: f64) -> Option<f32> {
        let sum = self.agreed();
        if sum < LEAST_COHERENCE * self.size || sum == 0.0 {
            return None;
        }
        let samples = (PHASE_HOPS * HOP) as f64;
        let expected = (hz * samples / RATE_HZ).fract() as f32;
        let turned = turns(self.real, self.imaginary) - expected;
        Some((turned - (turned + 0.5).floor()) * (RATE_HZ / samples) as f32)
    }
}

/// The angle of a point, in turns, to 1e-4 of a turn. Of operations that every processor rounds
/// alike, which the library's functions of angles are not.
fn turns(real: f32, imaginary: f32) -> f32 {
    let (x, y) = (real.abs(), imaginary.abs());
    let (low, high) = if x > y { (y, x) } else { (x, y) };
    if high == 0.0 {
        return 0.0;
    }
    let slope = low / high;
    let square = slope * slope;
    // Within an eighth of a turn (Abramowitz and Stegun 4.4.49).
    let eighth = slope
        * (0.999_866
            + square
                * (-0.330_299_5
                    + square * (0.180_141 + square * (-0.085_133 + square * 0.020_835_1))))
        / std::f32::consts::TAU;
    let quarter = if y > x { 0.25 - eighth } else { eighth };
    let half = if real < 0.0 { 0.5 - quarter } else { quarter };
    if imaginary < 0.0 { -half } else { half }
}

fn is_near(detune_hz: f32, hz: f64) -> bool {
    detune_hz.abs() <= MOST_DETUNE * hz as f32 + MOST_DETUNE_HZ
}

/// Share of a tone's power that a window of 10 ms keeps `detune_hz` beside it: (sin x / x)^2 for
/// half the turn that it makes there, at most 2, as a series.
fn kept(detune_hz: f32) -> f32 {
    let half_turn =
        std::f32::consts::PI * detune_hz * Window::W10.samples() as f32 / RATE_HZ as f32;
    let square = (half_turn * half_turn).min(4.0);
    1.0 - square / 3.0
        * (1.0 - square * 2.0 / 15.0 * (1.0 - square / 14.0 * (1.0 - square * 2.0 / 45.0)))
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
    /// Energy of 10 ms of the noise that was there before it.
    noise: f32,
    /// How many windows were full.
    full: u32,
    /// Sum of the shares that the pair explained of these, and of their energies.
    explained: f32,
    /// See `explained`.
    energy: f32,
    /// Energies of the faintest and of the loudest of them.
    faintest: f32,
    /// See `faintest`.
    loudest: f32,
    /// Latest amplitudes, one a hop.
    waves: [[[f32; 2]; 2]; PHASE_HOPS],
    /// Hops in a row that told it.
    unbroken: usize,
}

impl Run {
    fn begin(fit: &Fit, end: i64, noise: f32) -> Self {
        Self {
            noise,
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
            self.full += 1;
            self.explained += fit.explained;
            self.energy += fit.energy;
            if self.full == 1 || fit.energy < self.faintest {
                self.faintest = fit.energy;
            }
            if fit.energy > self.loudest {
                self.loudest = fit.energy;
            }
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

    /// Wipes it, where there is anything to wipe.
    fn end(&mut self) {
        if self.told > 0 {
            self.zeroize();
        }
    }

    /// True when it has been silent for too long.
    fn miss(&mut self) -> bool {
        self.silent += 1;
        self.silent > BRIDGE_HOPS
    }

    fn is_press(&self) -> bool {
        if self.told < LEAST_HOPS || self.full < LEAST_FULL {
            return false;
        }
        let (row_hz, column_hz) = (ROWS_HZ[self.row], COLUMNS_HZ[self.column]);
        let (Some(row), Some(column)) = (
            self.row_drift.detune_hz(row_hz),
            self.column_drift.detune_hz(column_hz),
        ) else {
            return false;
        };
        let agreed = self.row_drift.agreed() + self.column_drift.agreed();
        let size = self.row_drift.size + self.column_drift.size;
        let twist = self.column_power / kept(column) * kept(row) / self.row_power;
        agreed >= LEAST_JOINT_COHERENCE * size
            && (TWIST.0..=TWIST.1).contains(&twist)
            && is_near(row, row_hz)
            && is_near(column, column_hz)
            && self.loudest <= MOST_SWELL * self.faintest
            && self.is_pure(row, column)
    }

    /// How it sounded so far. Tells nothing that a decision is made by.
    fn measure(&self) -> PressMeasure {
        let off = |drift: &Drift, hz| drift.detune_hz(hz).map_or(1.0, kept);
        let row = self.row_power / off(&self.row_drift, ROWS_HZ[self.row]);
        let column = self.column_power / off(&self.column_drift, COLUMNS_HZ[self.column]);
        let full = self.full as f32;
        let fitted = self.row_power + self.column_power;
        let tones = (self.explained / full * (row + column) / fitted).min(1.0 - LEAST_NOISE);
        let mean_square = self.energy / full / Window::W10.samples() as f32;
        PressMeasure {
            level_dbm0: decibel(tones * mean_square / MILLIWATT),
            twist_db: decibel(column / row),
            snr_db: decibel(tones / (1.0 - tones)),
        }
    }

    /// Whether the two tones, where they really are, make up the energy: what the fit at the nominal
    /// frequencies misses of a tone `detune` beside them is added again, and the noise that was
    /// there before is taken away.
    fn is_pure(&self, row_detune_hz: f32, column_detune_hz: f32) -> bool {
        let fitted = self.row_power + self.column_power;
        let whole =
            self.row_power / kept(row_detune_hz) + self.column_power / kept(column_detune_hz);
        let purity = self.explained / self.full as f32 * whole / fitted;
        if purity >= LEAST_PURITY {
            return true;
        }
        let noise = self.noise * self.full as f32 / self.energy;
        let explained = 1.0 - MOST_UNEXPLAINED.0 - MOST_UNEXPLAINED.1 * noise;
        self.told > LEAST_HOPS
            && noise <= MOST_NOISE
            && purity >= LEAST_NOISY_PURITY
            && purity >= explained * (1.0 - noise)
    }
}

/// The quietest 10 ms of late: what noise there is.
#[derive(Default, Zeroize)]
struct Noise {
    /// Least energy of the hops of this stretch, and of the one before.
    least: [f32; 2],
    hops: u32,
    /// Hops until a window holds nothing that was lost, or from before the first sample.
    unknown: u32,
}

impl Noise {
    fn new() -> Self {
        Self {
            unknown: Window::W10.hops() as u32,
            ..Self::default()
        }
    }

    fn hear(&mut self, energy: f32) {
        if self.unknown > 0 {
            self.unknown -= 1;
            return;
        }
        if self.hops == NOISE_HOPS {
            (self.least[1], self.hops) = (self.least[0], 0);
        }
        if self.hops == 0 || energy < self.least[0] {
            self.least[0] = energy;
        }
        self.hops += 1;
    }

    fn energy(&self) -> f32 {
        if self.least[1] > 0.0 && self.least[1] < self.least[0] {
            self.least[1]
        } else {
            self.least[0]
        }
    }
}

/// Recognises presses in tones. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Digits {
    /// What may become a press.
    candidate: Run,
    /// The last press, while its tone goes on.
    press: Run,
    noise: Noise,
}

impl Default for Digits {
    fn default() -> Self {
        Self {
            candidate: Run::default(),
            press: Run::default(),
            noise: Noise::new(),
        }
    }
}

impl Digits {
    /// Judges the hop that was pushed last; it ends at sample `end`.
    #[inline(always)]
    pub(super) fn judge(&mut self, bank: &Bank, end: i64) -> Told {
        self.noise.hear(bank.energy(Window::W10));
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

    #[inline(never)]
    fn judge_fit(&mut self, fit: Option<&Fit>, end: i64) -> Told {
        if let Some(fit) = fit
            && self.press.is(fit)
        {
            self.press.tell(fit);
            self.candidate.end();
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
            self.candidate.end();
            self.candidate = Run::begin(fit, end, self.noise.energy());
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
            measure: self.press.measure(),
        }
    }

    /// `samples` of a hop were lost. The loss itself ends nothing, unless it is too long to know
    /// what was in it.
    pub(super) fn lose(&mut self, samples: u32) {
        self.noise.unknown = Window::W10.hops() as u32;
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

    /// Whether the hop that was judged last told the last recognised press.
    pub(super) const fn press_sounds(&self) -> bool {
        self.press.told > 0 && self.press.silent == 0 && self.press.lost == 0
    }

    /// Whether the last recognised press still goes on.
    pub(super) fn press_goes_on(&self) -> bool {
        self.press.told > 0
    }
}

fn decibel(ratio: f32) -> f32 {
    10.0 * ratio.log10()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_and_what_a_window_keeps_are_what_the_library_says() {
        for n in -500..500 {
            let angle = n as f32 / 160.0;
            let known = angle / std::f32::consts::TAU;
            let apart = turns(3.0 * angle.cos(), 3.0 * angle.sin()) - known;
            assert!((apart - apart.round()).abs() < 1e-4, "{angle} rad");
            // Up to 40 Hz beside the window's tone.
            let hz = n as f32 / 12.5;
            let half_turn = std::f32::consts::PI * hz / 100.0;
            if n != 0 {
                let share = (half_turn.sin() / half_turn).powi(2);
                assert!((kept(hz) - share).abs() < 1e-3, "{hz} Hz");
            }
        }
        assert_eq!((turns(0.0, 0.0), kept(0.0)), (0.0, 1.0));
    }
}
