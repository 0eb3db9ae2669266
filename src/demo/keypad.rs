//! Keys as sound: the tones of ITU-T Q.23, made here for the caller's end.

use std::f64::consts::TAU;

use super::wav::RATE;

/// The frequencies of the pad's rows, Hz.
pub(crate) const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// The frequencies of the pad's columns, Hz.
pub(crate) const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// Full scale of G.711 mu-law is +3.17 dBm0 for a sine (ITU-T G.711, table 5).
const FULL_SCALE_DBM0: f64 = 3.17;
const FULL_SCALE: f64 = 32_124.0;

/// A key as its RFC 4733 event code: 0-9, 10 = `*`, 11 = `#`, 12-15 = A-D.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

/// Event codes by row and column of the pad.
const PAD: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

impl Code {
    /// The key in this row and column of the pad.
    pub(crate) fn at(row: usize, column: usize) -> Self {
        Self(PAD[row][column])
    }

    /// Row and column of the pad.
    pub(crate) fn position(self) -> (usize, usize) {
        for (row, codes) in PAD.iter().enumerate() {
            if let Some(column) = codes.iter().position(|code| *code == self.0) {
                return (row, column);
            }
        }
        (3, 3)
    }
}

/// The tone of one key: both frequencies at `dbm0` each, with ramps of 2 ms so that it does not
/// click.
pub(crate) fn tone(code: Code, samples: usize, dbm0: f64) -> Vec<i16> {
    let (row, column) = code.position();
    let amplitude = FULL_SCALE * 10f64.powf((dbm0 - FULL_SCALE_DBM0) / 20.0);
    let ramp = f64::from(RATE) * 0.002;
    (0..samples)
        .map(|n| {
            let seconds = n as f64 / f64::from(RATE);
            let edge = (n + 1).min(samples - n) as f64;
            let both =
                (TAU * ROWS_HZ[row] * seconds).sin() + (TAU * COLUMNS_HZ[column] * seconds).sin();
            (amplitude * (edge / ramp).min(1.0) * both) as i16
        })
        .collect()
}
