//! The exact least-squares fit of a row and a column to a window, for every pair at once.
//!
//! With time counted from the window's middle, cosines are even and sines odd: the 4x4 Gram matrix
//! of a pair falls into two 2x2 matrices, whose inverses are all that is kept.

use std::ops::Range;

use super::{RATE_HZ, Twist, four::Four, sums::Sums, wave::turned};

/// Inverse of the 2x2 Gram matrix of a row and each of four columns: row with itself, row with
/// column, column with itself, and twice the second.
type Inverse = [Four; 4];

/// Inverses for `4 R` rows and `4 C` columns over one window, of cosines and of sines.
pub(super) struct Pairs<const R: usize, const C: usize> {
    even: [[[Inverse; C]; 4]; R],
    odd: [[[Inverse; C]; 4]; R],
    /// No pair of a column explains more than this times what row and column sum up to alone.
    bounds: [Four; C],
    /// The largest of them.
    pub(super) bound: f32,
}

/// Sum of cos(a t) cos(b t), or of the sines, over a window of `samples` about its middle.
const fn product(a_hz: f64, b_hz: f64, samples: usize, sines: bool) -> f64 {
    let mut sum = 0.0;
    let mut step = 0;
    while step < samples / 2 {
        let time = step as f64 + 0.5;
        let (a_cos, a_sin) = turned(a_hz * time / RATE_HZ);
        let (b_cos, b_sin) = turned(b_hz * time / RATE_HZ);
        sum += 2.0 * if sines { a_sin * b_sin } else { a_cos * b_cos };
        step += 1;
    }
    sum
}

const fn root(square: f64) -> f64 {
    let mut root = if square > 1.0 { square } else { 1.0 };
    let mut step = 0;
    while step < 60 {
        root = (root + square / root) / 2.0;
        step += 1;
    }
    root
}

impl<const R: usize, const C: usize> Pairs<R, C> {
    pub(super) const fn new(
        rows_hz: &[[f64; 4]; R],
        columns_hz: &[[f64; 4]; C],
        samples: usize,
    ) -> Self {
        let mut pairs = Self {
            even: [[[[Four::ZERO; 4]; C]; 4]; R],
            odd: [[[[Four::ZERO; 4]; C]; 4]; R],
            bounds: [Four::ZERO; C],
            bound: 0.0,
        };
        let mut pair = 0;
        while pair < 16 * R * C {
            let (row, column) = (pair / (4 * C), pair % (4 * C));
            let row_hz = rows_hz[row / 4][row % 4];
            let column_hz = columns_hz[column / 4][column % 4];
            let mut parity = 0;
            while parity < 2 {
                let sines = parity == 1;
                let of_row = product(row_hz, row_hz, samples, sines);
                let of_column = product(column_hz, column_hz, samples, sines);
                let of_both = product(row_hz, column_hz, samples, sines);
                let determinant = of_row * of_column - of_both * of_both;
                let [a, b, c] = [
                    of_column / determinant,
                    -of_both / determinant,
                    of_row / determinant,
                ];
                let all = if sines {
                    &mut pairs.odd
                } else {
                    &mut pairs.even
                };
                let inverse = &mut all[row / 4][row % 4][column / 4];
                inverse[0].0[column % 4] = a as f32;
                inverse[1].0[column % 4] = b as f32;
                inverse[2].0[column % 4] = c as f32;
                inverse[3].0[column % 4] = 2.0 * b as f32;
                // The larger eigenvalue, and a little for what rounding does.
                let most = (a + c) / 2.0 + root((a - c) * (a - c) / 4.0 + b * b);
                let most = (most * 1.000_01) as f32;
                if most > pairs.bounds[column / 4].0[column % 4] {
                    pairs.bounds[column / 4].0[column % 4] = most;
                }
                if most > pairs.bound {
                    pairs.bound = most;
                }
                parity += 1;
            }
            pair += 1;
        }
        pairs
    }

    /// Whether any pair within the twist explains `least`. `sums` are of the rows and then of the
    /// columns, with time counted from the window's middle.
    pub(super) fn explain<const V: usize>(&self, sums: &Sums<V>, twist: Twist, least: f32) -> bool {
        const { assert!(V == R + C) }
        self.might_explain(sums) >= least
            && self.most(sums) >= least
            && (0..4 * R).any(|row| self.row_explains(sums, row, twist, least))
    }

    /// The same, for what most likely is a tone: its strongest row is looked at first.
    pub(super) fn explain_a_tone<const V: usize>(
        &self,
        sums: &Sums<V>,
        twist: Twist,
        least: f32,
    ) -> bool {
        let mut strongest = (0.0, 0);
        for row in 0..4 * R {
            let power = sums.power(row / 4).0[row % 4];
            if power > strongest.0 {
                strongest = (power, row);
            }
        }
        self.row_explains(sums, strongest.1, twist, least) || self.explain(sums, twist, least)
    }

    fn row_explains<const V: usize>(
        &self,
        sums: &Sums<V>,
        row: usize,
        twist: Twist,
        least: f32,
    ) -> bool {
        (0..C).any(|four| {
            let fit = self.fit(sums, row, four);
            let row_power = fit.row[0] * fit.row[0] + fit.row[1] * fit.row[1];
            let column_power = fit.column[0] * fit.column[0] + fit.column[1] * fit.column[1];
            let at_least = Four::all(twist.least) * row_power;
            let at_most = Four::all(twist.most) * row_power;
            let mut any = false;
            for lane in 0..4 {
                any |= (column_power.0[lane] >= at_least.0[lane])
                    & (column_power.0[lane] <= at_most.0[lane])
                    & (fit.explained.0[lane] >= least);
            }
            any
        })
    }

    /// More than what any pair explains, by the strongest row and each column alone.
    fn might_explain<const V: usize>(&self, sums: &Sums<V>) -> f32 {
        let mut row = Four::ZERO;
        for four in 0..R {
            row = row.max(sums.power(four));
        }
        let row = Four::all(row.largest());
        let mut most = Four::ZERO;
        for four in 0..C {
            most = most.max((row + sums.power(R + four)) * self.bounds[four]);
        }
        most.largest()
    }

    /// What any pair explains at most.
    fn most<const V: usize>(&self, sums: &Sums<V>) -> f32 {
        let mut most = Four::ZERO;
        for four in 0..C {
            for row in 0..4 * R {
                most = most.max(self.explained(sums, row, four));
            }
        }
        most.largest()
    }

    /// The pair that explains most: how much, row and column, and the cosine and sine amplitudes of
    /// each.
    pub(super) fn best<const V: usize>(&self, sums: &Sums<V>) -> Best {
        const { assert!(V == R + C) }
        let (row, column) = (two_strongest(sums, 0..R), two_strongest(sums, R..V));
        let best = self.pair(sums, row.place, column.place);
        // Any other pair lacks the strongest row or the strongest column.
        let (one, other) = (row.second + column.first, row.first + column.second);
        if best.explained >= self.bound * if one > other { one } else { other } {
            return best;
        }
        let (mut most, mut at) = (Four::ZERO, [(0, 0); 4]);
        for row in 0..4 * R {
            for four in 0..C {
                let explained = self.explained(sums, row, four);
                for (lane, at) in at.iter_mut().enumerate() {
                    if explained.0[lane] > most.0[lane] {
                        *at = (row, four);
                    }
                }
                most = most.max(explained);
            }
        }
        let larger = |one: usize, two: usize| if most.0[two] > most.0[one] { two } else { one };
        let lane = larger(larger(0, 1), larger(2, 3));
        let (row, four) = at[lane];
        self.pair(sums, row, 4 * four + lane)
    }

    fn pair<const V: usize>(&self, sums: &Sums<V>, row: usize, column: usize) -> Best {
        let (fit, lane) = (self.fit(sums, row, column / 4), column % 4);
        Best {
            explained: fit.explained.0[lane],
            row,
            column,
            waves: [fit.row, fit.column].map(|of| of.map(|part| part.0[lane])),
        }
    }

    /// What a row explains together with each of four columns.
    #[inline(always)]
    fn explained<const V: usize>(&self, sums: &Sums<V>, row: usize, four: usize) -> Four {
        let form = |inverse: &Inverse, row: Four, column: Four| {
            (inverse[0] * (row * row) + inverse[2] * (column * column))
                + inverse[3] * (row * column)
        };
        let row_cos = Four::all(sums.cos[row / 4].0[row % 4]);
        let row_sin = Four::all(sums.sin[row / 4].0[row % 4]);
        form(
            &self.even[row / 4][row % 4][four],
            row_cos,
            sums.cos[R + four],
        ) + form(
            &self.odd[row / 4][row % 4][four],
            row_sin,
            sums.sin[R + four],
        )
    }

    /// One row with four columns.
    #[inline(always)]
    fn fit<const V: usize>(&self, sums: &Sums<V>, row: usize, four: usize) -> FourFits {
        let even = &self.even[row / 4][row % 4][four];
        let odd = &self.odd[row / 4][row % 4][four];
        let row_cos = Four::all(sums.cos[row / 4].0[row % 4]);
        let row_sin = Four::all(sums.sin[row / 4].0[row % 4]);
        let (column_cos, column_sin) = (sums.cos[R + four], sums.sin[R + four]);
        let row = [
            even[0] * row_cos + even[1] * column_cos,
            odd[0] * row_sin + odd[1] * column_sin,
        ];
        let column = [
            even[1] * row_cos + even[2] * column_cos,
            odd[1] * row_sin + odd[2] * column_sin,
        ];
        FourFits {
            explained: (row_cos * row[0] + column_cos * column[0])
                + (row_sin * row[1] + column_sin * column[1]),
            row,
            column,
        }
    }
}

/// The two strongest of some tones.
struct Strongest {
    first: f32,
    second: f32,
    /// Of the first.
    place: usize,
}

fn two_strongest<const V: usize>(sums: &Sums<V>, fours: Range<usize>) -> Strongest {
    let (mut first, mut second, mut place) = (-1.0, -1.0, 0);
    let from = fours.start;
    for four in fours {
        for (lane, power) in sums.power(four).0.into_iter().enumerate() {
            let (stronger, weaker) = if power > first {
                place = 4 * (four - from) + lane;
                (power, first)
            } else {
                (first, power)
            };
            first = stronger;
            second = if weaker > second { weaker } else { second };
        }
    }
    Strongest {
        first,
        second,
        place,
    }
}

/// A row fitted together with each of four columns.
struct FourFits {
    explained: Four,
    /// Cosine and sine amplitude of the row.
    row: [Four; 2],
    /// The same of the column.
    column: [Four; 2],
}

/// The pair that explains a window best.
pub(super) struct Best {
    pub(super) explained: f32,
    pub(super) row: usize,
    pub(super) column: usize,
    /// Cosine and sine amplitudes of the row, then of the column.
    pub(super) waves: [[f32; 2]; 2],
}
