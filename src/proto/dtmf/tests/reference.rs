//! The bank again, slow and plain: every window made anew from its samples by the full 4x4 fit,
//! nothing skipped. What the fast one says is held against it.

#![expect(
    clippy::needless_range_loop,
    reason = "rows and columns are indices of several arrays at once"
)]

use std::f64::consts::TAU;

use crate::proto::dtmf::bank::{COLUMNS_HZ, HOP, RATE_HZ, ROWS_HZ, Twist, Window};

/// All samples so far.
#[derive(Default)]
pub(super) struct Reference {
    samples: Vec<f64>,
}

/// What explains most of a window, and how much.
pub(super) struct Best {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) share: f64,
}

impl Reference {
    pub(super) fn push(&mut self, hop: &[i16; HOP]) {
        self.samples
            .extend(hop.iter().map(|&sample| f64::from(sample)));
    }

    /// Share that the best pair within the twist explains of a window on the nominal frequencies.
    pub(super) fn nominal(&self, window: Window, twist: Twist) -> f64 {
        share(
            self.newest(window.samples()),
            &ROWS_HZ,
            &COLUMNS_HZ,
            Some(twist),
        )
        .share
    }

    /// The best pair of the 10 ms window, whatever the twist.
    pub(super) fn fit(&self) -> Best {
        share(
            self.newest(Window::W10.samples()),
            &ROWS_HZ,
            &COLUMNS_HZ,
            None,
        )
    }

    /// The same on the fine grid of 6 ms.
    pub(super) fn fine(&self, twist: Twist) -> f64 {
        let rows: Vec<f64> = (0..8).map(|n| 684.0 + 40.0 * f64::from(n)).collect();
        let columns: Vec<f64> = (0..16).map(|n| 1176.0 + 35.0 * f64::from(n)).collect();
        share(self.newest(3 * HOP), &rows, &columns, Some(twist)).share
    }

    /// The same on the coarse grid for the newest 2 ms and for those 1 ms before, where the energy
    /// rises by `jump` over the 2 ms that ended 1 ms before, and over each 2 ms of the 16 ms before.
    pub(super) fn onset(&self, twist: Twist, jump: f64) -> f64 {
        let rows: Vec<f64> = (0..4).map(|n| 700.0 + 80.0 * f64::from(n)).collect();
        let columns: Vec<f64> = (0..8).map(|n| 1190.0 + 70.0 * f64::from(n)).collect();
        let recent = self.newest(3 * HOP);
        let energy = |samples: &[f64]| samples.iter().map(|s| s * s).sum::<f64>();
        let mut most = 0.0_f64;
        let loudest = (2..=8)
            .map(|age| energy(&self.newest((age + 1) * HOP)[..HOP]))
            .fold(0.0, f64::max);
        for start in [3 * HOP / 2, 2 * HOP] {
            let now = &recent[start..start + HOP];
            let before = &recent[start - 3 * HOP / 2..start - HOP / 2];
            if energy(now) > jump * energy(before) && energy(now) > jump * loudest {
                most = most.max(share(now, &rows, &columns, Some(twist)).share);
            }
        }
        most
    }

    /// The same, where the energy rises by `jump` over the quietest of the 3 ms before.
    pub(super) fn burst(&self, twist: Twist, jump: f64) -> f64 {
        let rows: Vec<f64> = (0..4).map(|n| 700.0 + 80.0 * f64::from(n)).collect();
        let columns: Vec<f64> = (0..8).map(|n| 1190.0 + 70.0 * f64::from(n)).collect();
        let recent = self.newest(3 * HOP);
        let energy = |samples: &[f64]| samples.iter().map(|s| s * s).sum::<f64>();
        let mut most = 0.0_f64;
        for start in [3 * HOP / 2, 2 * HOP] {
            let before = recent[start - 3 * HOP / 2..start].chunks(HOP / 2);
            let quietest = before.map(energy).fold(f64::INFINITY, f64::min);
            let now = &recent[start..start + HOP];
            if energy(now) > 2.0 * jump * quietest {
                most = most.max(share(now, &rows, &columns, Some(twist)).share);
            }
        }
        most
    }

    /// Energy of the newest samples.
    pub(super) fn energy(&self, samples: usize) -> f64 {
        self.newest(samples).iter().map(|s| s * s).sum()
    }

    fn newest(&self, samples: usize) -> &[f64] {
        &self.samples[self.samples.len() - samples..]
    }
}

fn share(samples: &[f64], rows_hz: &[f64], columns_hz: &[f64], twist: Option<Twist>) -> Best {
    let mut best = Best {
        row: 0,
        column: 0,
        share: 0.0,
    };
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    if energy == 0.0 {
        return best;
    }
    for (row, row_hz) in rows_hz.iter().enumerate() {
        for (column, column_hz) in columns_hz.iter().enumerate() {
            let [explained, row_power, column_power] = fitted(samples, *row_hz, *column_hz);
            let within = twist.is_none_or(|twist| {
                column_power >= f64::from(twist.least) * row_power
                    && column_power <= f64::from(twist.most) * row_power
            });
            if within && explained / energy > best.share {
                best = Best {
                    row,
                    column,
                    share: explained / energy,
                };
            }
        }
    }
    best
}

/// What a pair explains, and the powers of its two tones.
fn fitted(samples: &[f64], row_hz: f64, column_hz: f64) -> [f64; 3] {
    let mut gram = [[0.0; 4]; 4];
    let mut sums = [0.0; 4];
    for (n, sample) in samples.iter().enumerate() {
        let (rs, rc) = (TAU * row_hz / RATE_HZ * n as f64).sin_cos();
        let (cs, cc) = (TAU * column_hz / RATE_HZ * n as f64).sin_cos();
        let basis = [rc, rs, cc, cs];
        for i in 0..4 {
            sums[i] += basis[i] * sample;
            for j in 0..4 {
                gram[i][j] += basis[i] * basis[j];
            }
        }
    }
    let waves = solved(gram, sums);
    let explained = (0..4).map(|i| waves[i] * sums[i]).sum();
    [
        explained,
        waves[0] * waves[0] + waves[1] * waves[1],
        waves[2] * waves[2] + waves[3] * waves[3],
    ]
}

/// Gauss-Jordan with pivoting. A Gram matrix of distinct tones is regular.
fn solved(mut matrix: [[f64; 4]; 4], mut right: [f64; 4]) -> [f64; 4] {
    for column in 0..4 {
        let mut pivot = column;
        for row in column + 1..4 {
            if matrix[row][column].abs() > matrix[pivot][column].abs() {
                pivot = row;
            }
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let scale = matrix[column][column];
        matrix[column].iter_mut().for_each(|value| *value /= scale);
        right[column] /= scale;
        for row in 0..4 {
            if row != column {
                let factor = matrix[row][column];
                for j in 0..4 {
                    matrix[row][j] -= factor * matrix[column][j];
                }
                right[row] -= factor * right[column];
            }
        }
    }
    right
}
