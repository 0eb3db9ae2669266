//! Two listeners that try to read keys off a recording, for the examination after the call.
//!
//! *Strict* is what a telephone exchange uses (ITU-T Q.24: level, twist, at least 30 ms of tone).
//! *Greedy* is what a thief would use: a least-squares fit of each pair of frequencies to every
//! 5 ms, however faint and however lopsided. Neither shares code with the gateway.

use std::f64::consts::TAU;

use super::{
    keypad::{COLUMNS_HZ, Code, ROWS_HZ},
    wav::RATE,
};

/// A key that a listener read, and where: samples from the beginning of the recording.
pub(crate) struct Heard {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Samples between two readings of the same key that still count as one.
const BRIDGE_SAMPLES: usize = 200;

/// Reads keys as an exchange does.
pub(crate) fn strict(samples: &[i16]) -> Vec<Heard> {
    const WINDOW: usize = 102;
    const HOP: usize = 34;
    /// Five windows span 30 ms.
    const WINDOWS: usize = 5;
    /// The share of the power that the pair must explain; 1.5 % off its frequency leaves 0.8.
    const EXPLAINED: f64 = 0.78;
    /// −42 dBm0 for the sum of both tones.
    const LEAST_POWER: f64 = 90.0 * 90.0;

    let readings = (0..samples.len().saturating_sub(WINDOW) + 1)
        .step_by(HOP)
        .take_while(|start| start + WINDOW <= samples.len())
        .map(|start| {
            let window = &samples[start..start + WINDOW];
            let power = mean_power(window);
            let rows = ROWS_HZ.map(|hz| goertzel(window, hz));
            let columns = COLUMNS_HZ.map(|hz| goertzel(window, hz));
            let (row, column) = (strongest(&rows), strongest(&columns));
            let stands_out = |powers: &[f64; 4], best: usize| {
                powers
                    .iter()
                    .enumerate()
                    .all(|(n, p)| n == best || p * 4.0 < powers[best])
            };
            let twist_db = 10.0 * (columns[column] / rows[row].max(1e-9)).log10();
            let is_key = power > LEAST_POWER
                && rows[row] + columns[column] > EXPLAINED * power
                && twist_db.abs() < 9.0
                && stands_out(&rows, row)
                && stands_out(&columns, column);
            is_key.then(|| Code::at(row, column))
        });
    gather(readings, HOP, WINDOW, WINDOWS)
}

/// Reads keys as a thief does.
pub(crate) fn greedy(samples: &[i16]) -> Vec<Heard> {
    const WINDOW: usize = 40;
    const HOP: usize = 8;
    /// Two windows in a row, 6 ms in all: a single one is a coincidence that speech produces.
    const WINDOWS: usize = 2;
    /// The share of the power that the pair must explain (noise of 5 ms explains a tenth).
    const EXPLAINED: f64 = 0.98;
    /// About −66 dBm0: below the hiss of the line.
    const LEAST_POWER: f64 = 8.0 * 8.0;
    const TWIST_DB: f64 = 15.0;

    /// A telephone's oscillator may be off by 1.8 % (ITU-T Q.23).
    const OFF_FREQUENCY: [f64; 3] = [0.985, 1.0, 1.015];

    let pairs: Vec<(Code, Fit)> = (0..16)
        .flat_map(|n| OFF_FREQUENCY.map(|off| (n / 4, n % 4, off)))
        .map(|(row, column, off)| {
            let fit = Fit::new(WINDOW, ROWS_HZ[row] * off, COLUMNS_HZ[column] * off);
            (Code::at(row, column), fit)
        })
        .collect();
    let readings = (0..samples.len().saturating_sub(WINDOW) + 1)
        .step_by(HOP)
        .take_while(|start| start + WINDOW <= samples.len())
        .map(|start| {
            let window = &samples[start..start + WINDOW];
            let power = mean_power(window);
            if power < LEAST_POWER {
                return None;
            }
            let (code, best, twist_db) = pairs
                .iter()
                .map(|(code, fit)| {
                    let (explained, twist_db) = fit.explain(window);
                    (*code, explained, twist_db)
                })
                .max_by(|a, b| a.1.total_cmp(&b.1))?;
            let is_key = best > EXPLAINED * power && twist_db.abs() < TWIST_DB;
            is_key.then_some(code)
        });
    gather(readings, HOP, WINDOW, WINDOWS)
}

/// How many of `pressed` (key, first sample, last sample) were read where they were pressed, and
/// how many readings belong to none.
pub(crate) fn compare(heard: &[Heard], pressed: &[(Code, usize, usize)]) -> (usize, usize) {
    let overlaps = |h: &Heard, p: &(Code, usize, usize)| h.start < p.2 && p.1 < h.end;
    let found = pressed
        .iter()
        .filter(|p| heard.iter().any(|h| h.code == p.0 && overlaps(h, p)))
        .count();
    let stray = heard
        .iter()
        .filter(|h| !pressed.iter().any(|p| overlaps(h, p)))
        .count();
    (found, stray)
}

/// Turns a reading a window into keys that were read `windows` times in a row.
fn gather(
    readings: impl Iterator<Item = Option<Code>>,
    hop: usize,
    window: usize,
    windows: usize,
) -> Vec<Heard> {
    let mut keys: Vec<Heard> = Vec::new();
    let mut run: Option<(Code, usize)> = None;
    for (n, reading) in readings.enumerate() {
        run = match (reading, run) {
            (Some(code), Some((same, first))) if code == same => Some((code, first)),
            (Some(code), _) => Some((code, n)),
            (None, _) => None,
        };
        let Some((code, first)) = run else { continue };
        if n + 1 - first < windows {
            continue;
        }
        let (start, end) = (first * hop, n * hop + window);
        match keys.last_mut() {
            Some(key) if key.code == code && start < key.end + BRIDGE_SAMPLES => key.end = end,
            _ => keys.push(Heard { code, start, end }),
        }
    }
    keys
}

fn mean_power(window: &[i16]) -> f64 {
    window.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / window.len() as f64
}

fn strongest(powers: &[f64; 4]) -> usize {
    (0..4)
        .max_by(|a, b| powers[*a].total_cmp(&powers[*b]))
        .unwrap_or(0)
}

/// Mean power of the sine at `hz` in `window`.
fn goertzel(window: &[i16], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(RATE)).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in window {
        let next = f64::from(*sample) + coefficient * one - two;
        (two, one) = (one, next);
    }
    let energy = one * one + two * two - coefficient * one * two;
    2.0 * energy / (window.len() as f64).powi(2)
}

/// A least-squares fit of two sines: an orthonormal basis of sine and cosine of both.
struct Fit {
    basis: [Vec<f64>; 4],
}

impl Fit {
    fn new(window: usize, row_hz: f64, column_hz: f64) -> Self {
        let wave = |hz: f64, quarter: f64| -> Vec<f64> {
            (0..window)
                .map(|n| (TAU * (hz * n as f64 / f64::from(RATE) + quarter)).sin())
                .collect()
        };
        let mut basis = [
            wave(row_hz, 0.0),
            wave(row_hz, 0.25),
            wave(column_hz, 0.0),
            wave(column_hz, 0.25),
        ];
        for n in 0..4 {
            let (done, rest) = basis.split_at_mut(n);
            let vector = &mut rest[0];
            for other in done.iter() {
                let along = dot(vector, other);
                vector
                    .iter_mut()
                    .zip(other)
                    .for_each(|(v, o)| *v -= along * o);
            }
            let length = dot(vector, vector).sqrt();
            vector.iter_mut().for_each(|v| *v /= length);
        }
        Self { basis }
    }

    /// Mean power that the pair explains, and the column's power over the row's in dB.
    fn explain(&self, window: &[i16]) -> (f64, f64) {
        let along = |basis: &Vec<f64>| -> f64 {
            let sum: f64 = basis
                .iter()
                .zip(window)
                .map(|(b, s)| b * f64::from(*s))
                .sum();
            sum * sum / window.len() as f64
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(|n| along(&self.basis[n]));
        let twist_db = 10.0 * ((c + d).max(1e-9) / (a + b).max(1e-9)).log10();
        (a + b + c + d, twist_db)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{keypad, script, wav};

    const ORDER: [u8; 16] = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15];

    fn codes(heard: &[Heard]) -> Vec<u8> {
        heard.iter().map(|h| h.code.0).collect()
    }

    fn recording(bytes: &[u8]) -> Vec<i16> {
        wav::read(bytes).unwrap()
    }

    #[test]
    fn both_listeners_read_every_key_that_sox_made() {
        for (name, bytes) in [
            (
                "plain",
                &include_bytes!("../../fixtures/dtmf/plain.wav")[..],
            ),
            ("fast", include_bytes!("../../fixtures/dtmf/fast.wav")),
            ("quiet", include_bytes!("../../fixtures/dtmf/quiet.wav")),
            (
                "twist-high",
                include_bytes!("../../fixtures/dtmf/twist-high.wav"),
            ),
            (
                "twist-low",
                include_bytes!("../../fixtures/dtmf/twist-low.wav"),
            ),
            ("sharp", include_bytes!("../../fixtures/dtmf/sharp.wav")),
            ("flat", include_bytes!("../../fixtures/dtmf/flat.wav")),
        ] {
            let samples = recording(bytes);
            assert_eq!(codes(&strict(&samples)), ORDER, "strict, {name}");
            assert_eq!(codes(&greedy(&samples)), ORDER, "greedy, {name}");
        }
    }

    #[test]
    fn the_greedy_listener_reads_twelve_milliseconds_where_the_strict_one_does_not() {
        let samples = recording(include_bytes!("../../fixtures/dtmf/leak.wav"));
        assert_eq!(codes(&greedy(&samples)), ORDER);
        assert_eq!(strict(&samples).len(), 0);
    }

    #[test]
    fn a_leak_of_seven_milliseconds_is_enough_for_the_greedy_listener() {
        for code in 0..16 {
            let mut samples = vec![0; 400];
            samples.extend(keypad::tone(Code(code), 800, -20.0)[100..156].iter());
            samples.extend(vec![0; 400]);
            assert_eq!(codes(&greedy(&samples)), [code]);
        }
    }

    #[test]
    fn neither_listener_takes_the_speech_of_the_demo_for_keys() {
        for (name, bytes) in script::ALL_SENTENCES {
            let samples = recording(bytes);
            for offset in 0..8 {
                assert_eq!(strict(&samples[offset..]).len(), 0, "strict, {name}");
                assert_eq!(greedy(&samples[offset..]).len(), 0, "greedy, {name}");
            }
        }
    }
}
