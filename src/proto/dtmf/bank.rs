//! One bank of tones for both decisions: per hop complex partial sums, combined to windows by
//! rotate-and-add, and the exact least-squares fit of a pair of tones to a window.

#![expect(
    clippy::needless_range_loop,
    reason = "tones, rows and columns are indices of several arrays at once"
)]

use std::{f64::consts::TAU, sync::LazyLock};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Samples per second that all of this listens at.
pub(super) const RATE_HZ: f64 = 8000.0;
/// Samples of one hop: 2 ms.
pub(super) const HOP: usize = 16;
/// Rows and columns of the keypad (ITU-T Q.23), Hz.
pub(super) const ROWS_HZ: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
/// See [`ROWS_HZ`].
pub(super) const COLUMNS_HZ: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];

/// Rows of the fine grid: any row ±4 % lies within 20 Hz of one.
const FINE_ROWS: usize = 8;
/// Columns of the fine grid: any column ±4 % lies within 18 Hz of one.
const FINE_COLUMNS: usize = 16;
/// Rows of the coarse grid, for windows of one hop: within 40 Hz.
const COARSE_ROWS: usize = 4;
/// Columns of the coarse grid: within 35 Hz.
const COARSE_COLUMNS: usize = 8;

/// Hops of the longest window: 32 ms.
const LONGEST: usize = 16;
/// Hops of the window on the fine grid.
const FINE_HOPS: usize = 3;
/// Samples kept for windows of one hop and what went before them.
const RECENT: usize = 3 * HOP;

/// A window on the nominal frequencies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// 6 ms.
    W6,
    /// 10 ms.
    W10,
    /// 16 ms.
    W16,
    /// 32 ms.
    W32,
}

impl Window {
    pub(super) const ALL: [Self; 4] = [Self::W6, Self::W10, Self::W16, Self::W32];

    /// How many hops it spans.
    pub(super) const fn hops(self) -> usize {
        match self {
            Self::W6 => 3,
            Self::W10 => 5,
            Self::W16 => 8,
            Self::W32 => LONGEST,
        }
    }
}

/// Cosine and sine sums of `F` frequencies, phase counted from the newest hop's first sample.
#[derive(Clone, Copy, Zeroize)]
struct Sums<const F: usize> {
    cos: [f32; F],
    sin: [f32; F],
}

impl<const F: usize> Sums<F> {
    const ZERO: Self = Self {
        cos: [0.0; F],
        sin: [0.0; F],
    };

    fn strongest(&self) -> f32 {
        let mut most = 0.0;
        for tone in 0..F {
            let power = self.cos[tone] * self.cos[tone] + self.sin[tone] * self.sin[tone];
            most = if power > most { power } else { most };
        }
        most
    }

    fn split<const R: usize, const C: usize>(&self) -> (Sums<R>, Sums<C>) {
        let (mut rows, mut columns) = (Sums::ZERO, Sums::ZERO);
        rows.cos.copy_from_slice(&self.cos[..R]);
        rows.sin.copy_from_slice(&self.sin[..R]);
        columns.cos.copy_from_slice(&self.cos[R..]);
        columns.sin.copy_from_slice(&self.sin[R..]);
        (rows, columns)
    }
}

/// Turns one hop of samples into sums, and sums of older hops to the newest hop's phase.
struct Comb<const F: usize, const L: usize> {
    wave: [Sums<F>; HOP],
    rotation: [Sums<F>; L],
}

impl<const F: usize, const L: usize> Comb<F, L> {
    fn new(frequencies_hz: &[f64; F]) -> Self {
        let at = |sample: usize| {
            let mut sums = Sums::ZERO;
            for (tone, hz) in frequencies_hz.iter().enumerate() {
                let angle = TAU * hz / RATE_HZ * sample as f64;
                sums.cos[tone] = angle.cos() as f32;
                sums.sin[tone] = angle.sin() as f32;
            }
            sums
        };
        Self {
            wave: std::array::from_fn(at),
            rotation: std::array::from_fn(|hop| at(hop * HOP)),
        }
    }

    fn sums(&self, samples: &[f32; HOP]) -> Sums<F> {
        let mut sums = Sums::ZERO;
        for (wave, &sample) in self.wave.iter().zip(samples) {
            for tone in 0..F {
                sums.cos[tone] += sample * wave.cos[tone];
                sums.sin[tone] += sample * wave.sin[tone];
            }
        }
        sums
    }

    /// Adds the sums of a hop that began `age` hops before the newest.
    fn add(&self, to: &mut Sums<F>, hop: &Sums<F>, age: usize) {
        let by = &self.rotation[age];
        for tone in 0..F {
            to.cos[tone] += hop.cos[tone] * by.cos[tone] + hop.sin[tone] * by.sin[tone];
            to.sin[tone] += hop.sin[tone] * by.cos[tone] - hop.cos[tone] * by.sin[tone];
        }
    }
}

/// For each pair of a row and a column the inverse of the 4x4 Gram matrix of their cosines and
/// sines over one window: upper triangle, in order 00 01 02 03 11 12 13 22 23 33.
struct Pairs<const R: usize, const C: usize> {
    inverse: [[[f32; C]; R]; 10],
}

/// Limits of the twist (column over row) as a ratio of powers.
#[derive(Clone, Copy)]
pub(super) struct Twist {
    /// Least.
    pub(super) least: f32,
    /// Most.
    pub(super) most: f32,
}

/// How a window is best explained by one row and one column at their nominal frequencies.
#[derive(Zeroize)]
pub(super) struct Fit {
    /// Row, 0 to 3.
    pub(super) row: usize,
    /// Column, 0 to 3.
    pub(super) column: usize,
    /// Explained energy over energy, 0 to 1.
    pub(super) explained: f32,
    /// Cosine and sine amplitude of the row, phase counted from the newest hop's first sample.
    pub(super) row_wave: [f32; 2],
    /// The same of the column.
    pub(super) column_wave: [f32; 2],
}

impl<const R: usize, const C: usize> Pairs<R, C> {
    fn new(rows_hz: &[f64; R], columns_hz: &[f64; C], hops: usize) -> Self {
        let mut pairs = Self {
            inverse: [[[0.0; C]; R]; 10],
        };
        let first = -(HOP as i32 * (hops as i32 - 1));
        for (row, row_hz) in rows_hz.iter().enumerate() {
            for (column, column_hz) in columns_hz.iter().enumerate() {
                let mut gram = [[0.0; 4]; 4];
                for sample in first..HOP as i32 {
                    let (rs, rc) = (TAU * row_hz / RATE_HZ * f64::from(sample)).sin_cos();
                    let (cs, cc) = (TAU * column_hz / RATE_HZ * f64::from(sample)).sin_cos();
                    let basis = [rc, rs, cc, cs];
                    for i in 0..4 {
                        for j in 0..4 {
                            gram[i][j] += basis[i] * basis[j];
                        }
                    }
                }
                let inverse = inverted(gram);
                let mut entry = 0;
                for i in 0..4 {
                    for j in i..4 {
                        pairs.inverse[entry][row][column] = inverse[i][j] as f32;
                        entry += 1;
                    }
                }
            }
        }
        pairs
    }

    /// The most energy that any pair within the twist explains.
    fn explained_within(&self, rows: &Sums<R>, columns: &Sums<C>, twist: Twist) -> f32 {
        let mut best = [0.0_f32; C];
        let g = &self.inverse;
        for row in 0..R {
            let (x0, x1) = (rows.cos[row], rows.sin[row]);
            for column in 0..C {
                let (y0, y1) = (columns.cos[column], columns.sin[column]);
                let at = |entry: usize| g[entry][row][column];
                let k0 = at(0) * x0 + at(1) * x1 + at(2) * y0 + at(3) * y1;
                let k1 = at(1) * x0 + at(4) * x1 + at(5) * y0 + at(6) * y1;
                let k2 = at(2) * x0 + at(5) * x1 + at(7) * y0 + at(8) * y1;
                let k3 = at(3) * x0 + at(6) * x1 + at(8) * y0 + at(9) * y1;
                let explained = x0 * k0 + x1 * k1 + y0 * k2 + y1 * k3;
                let row_power = k0 * k0 + k1 * k1;
                let column_power = k2 * k2 + k3 * k3;
                let within = (column_power >= twist.least * row_power)
                    & (column_power <= twist.most * row_power);
                let counted = if within { explained } else { 0.0 };
                best[column] = if counted > best[column] {
                    counted
                } else {
                    best[column]
                };
            }
        }
        best.iter()
            .fold(0.0, |most, &one| if one > most { one } else { most })
    }

    /// Whether any pair might explain `least` of `energy`. A row and a column overlap by a fifth at
    /// most in the windows that are used, so a pair explains less than 1.35 times what both explain
    /// alone: most of speech is told apart by this, at a fraction of the cost.
    fn might_explain(
        rows: &Sums<R>,
        columns: &Sums<C>,
        samples: usize,
        energy: f32,
        least: f32,
    ) -> bool {
        let alone = rows.strongest() + columns.strongest();
        energy > 0.0 && 1.35 * alone * 2.0 / samples as f32 >= least * energy
    }

    /// Amplitudes of one pair.
    fn waves(&self, rows: &Sums<R>, columns: &Sums<C>, row: usize, column: usize) -> [f32; 4] {
        let sums = [
            rows.cos[row],
            rows.sin[row],
            columns.cos[column],
            columns.sin[column],
        ];
        const AT: [[usize; 4]; 4] = [[0, 1, 2, 3], [1, 4, 5, 6], [2, 5, 7, 8], [3, 6, 8, 9]];
        AT.map(|entries| {
            let mut wave = 0.0;
            for (entry, sum) in entries.into_iter().zip(sums) {
                wave += self.inverse[entry][row][column] * sum;
            }
            wave
        })
    }
}

/// Gauss-Jordan with pivoting. A Gram matrix of distinct tones is regular.
fn inverted(mut matrix: [[f64; 4]; 4]) -> [[f64; 4]; 4] {
    let mut inverse = [[0.0; 4]; 4];
    for (i, row) in inverse.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for column in 0..4 {
        let mut pivot = column;
        for row in column + 1..4 {
            if matrix[row][column].abs() > matrix[pivot][column].abs() {
                pivot = row;
            }
        }
        matrix.swap(column, pivot);
        inverse.swap(column, pivot);
        let scale = matrix[column][column];
        for j in 0..4 {
            matrix[column][j] /= scale;
            inverse[column][j] /= scale;
        }
        for row in 0..4 {
            if row != column {
                let factor = matrix[row][column];
                for j in 0..4 {
                    matrix[row][j] -= factor * matrix[column][j];
                    inverse[row][j] -= factor * inverse[column][j];
                }
            }
        }
    }
    inverse
}

struct Tables {
    nominal: Comb<8, LONGEST>,
    fine: Comb<{ FINE_ROWS + FINE_COLUMNS }, FINE_HOPS>,
    coarse: Comb<{ COARSE_ROWS + COARSE_COLUMNS }, 1>,
    nominal_pairs: [Pairs<4, 4>; 4],
    fine_pairs: Pairs<FINE_ROWS, FINE_COLUMNS>,
    coarse_pairs: Pairs<COARSE_ROWS, COARSE_COLUMNS>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let fine_rows: [f64; FINE_ROWS] = std::array::from_fn(|i| 684.0 + 40.0 * i as f64);
    let fine_columns: [f64; FINE_COLUMNS] = std::array::from_fn(|i| 1176.0 + 35.0 * i as f64);
    let coarse_rows: [f64; COARSE_ROWS] = std::array::from_fn(|i| 700.0 + 80.0 * i as f64);
    let coarse_columns: [f64; COARSE_COLUMNS] = std::array::from_fn(|i| 1190.0 + 70.0 * i as f64);
    Tables {
        nominal: Comb::new(&joined(&ROWS_HZ, &COLUMNS_HZ)),
        fine: Comb::new(&joined(&fine_rows, &fine_columns)),
        coarse: Comb::new(&joined(&coarse_rows, &coarse_columns)),
        nominal_pairs: Window::ALL.map(|w| Pairs::new(&ROWS_HZ, &COLUMNS_HZ, w.hops())),
        fine_pairs: Pairs::new(&fine_rows, &fine_columns, FINE_HOPS),
        coarse_pairs: Pairs::new(&coarse_rows, &coarse_columns, 1),
    }
});

fn joined<const F: usize>(rows: &[f64], columns: &[f64]) -> [f64; F] {
    std::array::from_fn(|i| {
        if i < rows.len() {
            rows[i]
        } else {
            columns[i - rows.len()]
        }
    })
}

/// The bank: what the last 32 ms sounded like. Tells keys, hence wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Bank {
    #[zeroize(skip)]
    tables: &'static Tables,
    nominal: [Sums<8>; LONGEST],
    fine: [Sums<{ FINE_ROWS + FINE_COLUMNS }>; FINE_HOPS],
    energies: [f32; LONGEST],
    recent: [f32; RECENT],
    windows: [Sums<8>; 4],
    window_energies: [f32; 4],
    #[zeroize(skip)]
    hops: usize,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            tables: &TABLES,
            nominal: [Sums::ZERO; LONGEST],
            fine: [Sums::ZERO; FINE_HOPS],
            energies: [0.0; LONGEST],
            recent: [0.0; RECENT],
            windows: [Sums::ZERO; 4],
            window_energies: [0.0; 4],
            hops: 0,
        }
    }
}

impl Bank {
    /// Takes the next hop; every window then ends with it.
    pub(super) fn push(&mut self, hop: &[i16; HOP]) {
        self.recent.copy_within(HOP.., 0);
        let mut samples = [0.0; HOP];
        for (to, &from) in samples.iter_mut().zip(hop) {
            *to = f32::from(from);
        }
        self.recent[RECENT - HOP..].copy_from_slice(&samples);
        self.hops = self.hops.wrapping_add(1);
        self.nominal[self.hops % LONGEST] = self.tables.nominal.sums(&samples);
        self.fine[self.hops % FINE_HOPS] = self.tables.fine.sums(&samples);
        self.energies[self.hops % LONGEST] = energy(&samples);
        samples.zeroize();

        let mut sums = Sums::ZERO;
        let mut energy = 0.0;
        let mut window = 0;
        for age in 0..LONGEST {
            let at = self.hops.wrapping_sub(age) % LONGEST;
            self.tables.nominal.add(&mut sums, &self.nominal[at], age);
            energy += self.energies[at];
            if age + 1 == Window::ALL[window].hops() {
                self.windows[window] = sums;
                self.window_energies[window] = energy;
                window += 1;
            }
        }
    }

    /// Whether some pair within the twist explains at least this share of a window's energy.
    pub(super) fn nominal(&self, window: Window, twist: Twist, least: f32) -> bool {
        let (rows, columns) = self.windows[window as usize].split();
        let energy = self.window_energies[window as usize];
        let pairs = &self.tables.nominal_pairs[window as usize];
        Pairs::<4, 4>::might_explain(&rows, &columns, window.hops() * HOP, energy, least)
            && pairs.explained_within(&rows, &columns, twist) >= least * energy
    }

    /// The same for 6 ms on the fine grid, for tones beside their nominal frequency.
    pub(super) fn fine(&self, twist: Twist, least: f32) -> bool {
        let mut sums = Sums::ZERO;
        for age in 0..FINE_HOPS {
            let at = self.hops.wrapping_sub(age) % FINE_HOPS;
            self.tables.fine.add(&mut sums, &self.fine[at], age);
        }
        let (rows, columns) = sums.split();
        let energy = self.window_energies[Window::W6 as usize];
        Pairs::<FINE_ROWS, FINE_COLUMNS>::might_explain(
            &rows,
            &columns,
            FINE_HOPS * HOP,
            energy,
            least,
        ) && self
            .tables
            .fine_pairs
            .explained_within(&rows, &columns, twist)
            >= least * energy
    }

    /// The same for 2 ms on the coarse grid, each at half-hop steps, but only where the energy
    /// rises by `jump` over the 2 ms that ended 1 ms before: the best of the two.
    pub(super) fn onset(&self, twist: Twist, jump: f32) -> f32 {
        let mut best = 0.0;
        for start in [RECENT - HOP - HOP / 2, RECENT - HOP] {
            let mut samples = [0.0; HOP];
            samples.copy_from_slice(&self.recent[start..start + HOP]);
            let before = energy(&self.recent[start - HOP / 2 - HOP..start - HOP / 2]);
            let now = energy(&samples);
            if now > jump * before {
                let (rows, columns) = self.tables.coarse.sums(&samples).split();
                let explained = self
                    .tables
                    .coarse_pairs
                    .explained_within(&rows, &columns, twist);
                let share = share(explained, now);
                best = if share > best { share } else { best };
            }
            samples.zeroize();
        }
        best
    }

    /// The best pair of the 10 ms window, where one might explain at least this share of it.
    pub(super) fn fit(&self, least: f32) -> Option<Fit> {
        let pairs = &self.tables.nominal_pairs[Window::W10 as usize];
        let (rows, columns) = self.windows[Window::W10 as usize].split();
        let energy = self.window_energies[Window::W10 as usize];
        let samples = Window::W10.hops() * HOP;
        if !Pairs::<4, 4>::might_explain(&rows, &columns, samples, energy, least) {
            return None;
        }
        let mut best = (0.0, 0, 0, [0.0; 4]);
        for row in 0..4 {
            for column in 0..4 {
                let k = pairs.waves(&rows, &columns, row, column);
                let explained = rows.cos[row] * k[0]
                    + rows.sin[row] * k[1]
                    + columns.cos[column] * k[2]
                    + columns.sin[column] * k[3];
                if explained > best.0 {
                    best = (explained, row, column, k);
                }
            }
        }
        let (explained, row, column, [r0, r1, c0, c1]) = best;
        Some(Fit {
            row,
            column,
            explained: share(explained, energy),
            row_wave: [r0, r1],
            column_wave: [c0, c1],
        })
    }
}

fn energy(samples: &[f32]) -> f32 {
    // Four sums side by side: the same order of additions on every processor, and vectorisable.
    let mut sums = [0.0; 4];
    for four in samples.chunks_exact(4) {
        for (sum, sample) in sums.iter_mut().zip(four) {
            *sum += sample * sample;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

fn share(explained: f32, energy: f32) -> f32 {
    if energy > 0.0 {
        explained / energy
    } else {
        0.0
    }
}
