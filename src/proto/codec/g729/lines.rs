//! Line spectral frequencies (§3.2.3 to §3.2.6): the shape of the vocal tract as ten angles, and
//! how few bits tell them.

use std::f64::consts::PI;

use zeroize::Zeroize;

use super::{
    math::cos,
    tables::{
        FIRST_STAGE, PREDICTOR_RESTS, PREDICTORS, SECOND_STAGE, SILENCE_FIRST, SILENCE_RESTS,
        SILENCE_SECOND,
    },
};

/// Of the linear prediction.
pub(super) const ORDER: usize = 10;
/// Something for each of the ten: angles in radians, or their cosines.
pub(super) type Ten = [f32; ORDER];
/// Coefficients 1 to 10 of the inverse filter; the first, which is left out, is 1.
pub(super) type Filter = [f32; ORDER];

/// Of a predictor.
const DEPTH: usize = 4;
type Predictor = [Ten; DEPTH];

const fn ten(row: [i16; ORDER], unit: f32) -> Ten {
    let mut out = [0.0; ORDER];
    let mut i = 0;
    while i < ORDER {
        out[i] = row[i] as f32 / unit;
        i += 1;
    }
    out
}

const fn predictor(rows: [[i16; ORDER]; DEPTH]) -> Predictor {
    let mut out = [[0.0; ORDER]; DEPTH];
    let mut k = 0;
    while k < DEPTH {
        out[k] = ten(rows[k], 32_768.0);
        k += 1;
    }
    out
}

const fn mixture(one: Predictor, other: Predictor) -> Predictor {
    let mut out = one;
    let mut k = 0;
    while k < DEPTH {
        let mut i = 0;
        while i < ORDER {
            out[k][i] = 0.6 * one[k][i] + 0.4 * other[k][i];
            i += 1;
        }
        k += 1;
    }
    out
}

static SPEECH: [(Predictor, Ten); 2] = [
    (predictor(PREDICTORS[0]), ten(PREDICTOR_RESTS[0], 32_768.0)),
    (predictor(PREDICTORS[1]), ten(PREDICTOR_RESTS[1], 32_768.0)),
];
static SILENCE: [(Predictor, Ten); 2] = [
    (predictor(PREDICTORS[0]), ten(SILENCE_RESTS[0], 32_768.0)),
    (
        mixture(predictor(PREDICTORS[0]), predictor(PREDICTORS[1])),
        ten(SILENCE_RESTS[1], 32_768.0),
    ),
];
static FIRST: [Ten; 128] = {
    let mut out = [[0.0; ORDER]; 128];
    let mut row = 0;
    while row < 128 {
        out[row] = ten(FIRST_STAGE[row], 8_192.0);
        row += 1;
    }
    out
};
static SECOND: [Ten; 32] = {
    let mut out = [[0.0; ORDER]; 32];
    let mut row = 0;
    while row < 32 {
        out[row] = ten(SECOND_STAGE[row], 8_192.0);
        row += 1;
    }
    out
};
/// Evenly spread: nothing known yet.
const EVEN: Ten = {
    let mut out = [0.0; ORDER];
    let mut i = 0;
    while i < ORDER {
        out[i] = (PI * (i as f64 + 1.0) / 11.0) as f32;
        i += 1;
    }
    out
};

/// Cosines before the first frame: those that decoders in use begin with, which Table 9 only comes
/// near.
pub(super) const BEGINNING: Ten = [
    0.915_5, 0.793_5, 0.640_9, 0.457_8, 0.244_1, 0.0, -0.244_1, -0.457_8, -0.640_9, -0.793_5,
];

/// What is sent for the frequencies of one frame: predictor, first stage, second stage twice.
pub(super) type Indices = [u16; 4];

/// The memory that both ends share: what the codebooks said in the last frames.
#[derive(Zeroize)]
pub(super) struct Memory {
    said: Predictor,
    last: Ten,
    mode: u8,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            said: [EVEN; DEPTH],
            last: EVEN,
            mode: 0,
        }
    }

    /// The frequencies that the indices tell, masked to their bits.
    pub(super) fn decode(&mut self, [mode, first, lower, upper]: Indices) -> Ten {
        let mode = usize::from(mode & 1);
        let first = &FIRST[usize::from(first & 127)];
        let (lower, upper) = (usize::from(lower & 31), usize::from(upper & 31));
        self.mode = mode as u8;
        self.take(&SPEECH[mode], said(first, lower, upper))
    }

    /// The frequencies of a silence insertion (§B.4.2.2).
    pub(super) fn decode_silence(&mut self, mode: u16, first: u16, second: u16) -> Ten {
        let mode = usize::from(mode & 1);
        let second = usize::from(second & 15);
        let first = &FIRST[SILENCE_FIRST[usize::from(first & 31)]];
        let [lower, upper] = SILENCE_SECOND.map(|row| row[second]);
        self.mode = mode as u8;
        self.take(&SILENCE[mode], said(first, lower, upper))
    }

    /// A frame never came: the frequencies stay, and the memory learns what would have said so
    /// (§4.4.1).
    pub(super) fn repeat(&mut self) -> Ten {
        let (predictor, rest) = &SPEECH[usize::from(self.mode & 1)];
        let predicted = self.predicted(predictor);
        let said = std::array::from_fn(|i| (self.last[i] - predicted[i]) / rest[i]);
        self.push(said);
        self.last
    }

    /// The indices that tell these frequencies best, and what they tell (§3.2.4).
    pub(super) fn encode(&mut self, wanted: &Ten) -> (Indices, Ten) {
        let weights = weights(wanted);
        let candidates = [0, 1].map(|mode| self.candidate(mode, wanted, &weights));
        let (_, best) = if candidates[1].0 < candidates[0].0 {
            candidates[1]
        } else {
            candidates[0]
        };
        (best, self.decode(best))
    }

    fn candidate(&self, mode: usize, wanted: &Ten, weights: &Ten) -> (f32, Indices) {
        let (predictor, rest) = &SPEECH[mode];
        let predicted = self.predicted(predictor);
        let target: Ten = std::array::from_fn(|i| (wanted[i] - predicted[i]) / rest[i]);
        let plain = |row: &Ten| -> f32 {
            let errors = row.iter().zip(&target).map(|(said, target)| said - target);
            errors.map(|error| error * error).sum()
        };
        let first = least(FIRST.iter().map(plain));
        let left: Ten = std::array::from_fn(|i| target[i] - FIRST[first][i]);
        let weighted = |row: &Ten, range: std::ops::Range<usize>| -> f32 {
            let errors = range.map(|i| (weights[i], rest[i] * (left[i] - row[i])));
            errors.map(|(weight, error)| weight * error * error).sum()
        };
        let lower = least(SECOND.iter().map(|row| weighted(row, 0..5)));
        let upper = least(SECOND.iter().map(|row| weighted(row, 5..10)));
        let told = said(&FIRST[first], lower, upper);
        let errors = (0..ORDER).map(|i| predicted[i] + rest[i] * told[i] - wanted[i]);
        let weighted = weights.iter().zip(errors);
        let error = weighted.map(|(weight, error)| weight * error * error).sum();
        (error, [mode, first, lower, upper].map(|index| index as u16))
    }

    fn predicted(&self, predictor: &Predictor) -> Ten {
        let of = |i: usize| (0..DEPTH).map(|k| predictor[k][i] * self.said[k][i]).sum();
        std::array::from_fn(of)
    }

    fn take(&mut self, (predictor, rest): &(Predictor, Ten), said: Ten) -> Ten {
        let predicted = self.predicted(predictor);
        self.last = std::array::from_fn(|i| predicted[i] + rest[i] * said[i]);
        stabilise(&mut self.last);
        self.push(said);
        self.last
    }

    fn push(&mut self, said: Ten) {
        self.said.rotate_right(1);
        self.said[0] = said;
    }
}

/// The sum of both stages, its neighbours kept apart.
fn said(first: &Ten, lower: usize, upper: usize) -> Ten {
    let second = |i: usize| SECOND[if i < 5 { lower } else { upper }][i];
    let mut said = std::array::from_fn(|i| first[i] + second(i));
    for apart in [0.0012, 0.0006] {
        for i in 1..ORDER {
            let (below, above) = (said[i - 1], said[i]);
            if below > above - apart {
                said[i - 1] = (below + above - apart) / 2.0;
                said[i] = (below + above + apart) / 2.0;
            }
        }
    }
    said
}

fn least(errors: impl Iterator<Item = f32>) -> usize {
    let best = errors.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(0, |(index, _)| index)
}

/// How much each frequency matters: those that stand close together make a formant.
fn weights(wanted: &Ten) -> Ten {
    let unit = std::f32::consts::PI;
    let mut weights = std::array::from_fn(|i| {
        let below = if i == 0 { 0.04 * unit } else { wanted[i - 1] };
        let above = wanted.get(i + 1).copied().unwrap_or(0.92 * unit);
        let room = above - below - 1.0;
        if room > 0.0 {
            1.0
        } else {
            10.0 * room * room + 1.0
        }
    });
    weights[4] *= 1.2;
    weights[5] *= 1.2;
    weights
}

/// Ascending and apart, so that the filter rings off (§3.2.4).
fn stabilise(frequencies: &mut Ten) {
    frequencies.sort_unstable_by(f32::total_cmp);
    frequencies[0] = frequencies[0].max(0.005);
    for i in 1..ORDER {
        frequencies[i] = frequencies[i].max(frequencies[i - 1] + 0.0391);
    }
    frequencies[ORDER - 1] = frequencies[ORDER - 1].min(3.135);
}

/// The angles' cosines, between which frames are interpolated.
pub(super) fn cosines(frequencies: &Ten) -> Ten {
    frequencies.map(|angle| cos(f64::from(angle).clamp(0.0, PI)) as f32)
}

/// The filter whose frequencies have these cosines (§3.2.6).
pub(super) fn filter_of(cosines: &Ten) -> Filter {
    let polynomial = |first: usize| {
        let mut f = [1.0_f64, 0.0, 0.0, 0.0, 0.0, 0.0];
        for i in 1..=5 {
            let b = -2.0 * f64::from(cosines[2 * i - 2 + first]);
            // What stands at i is made of what stood below it.
            f[i] = b * f[i - 1] + if i > 1 { 2.0 * f[i - 2] } else { 0.0 };
            for j in (2..i).rev() {
                f[j] += b * f[j - 1] + f[j - 2];
            }
            if i > 1 {
                f[1] += b;
            }
        }
        f
    };
    let (sum, difference) = (polynomial(0), polynomial(1));
    let mut filter = [0.0; ORDER];
    for i in 1..=5 {
        let one = sum[i] + sum[i - 1];
        let other = difference[i] - difference[i - 1];
        filter[i - 1] = (0.5 * (one + other)) as f32;
        filter[ORDER - i] = (0.5 * (one - other)) as f32;
    }
    filter
}

/// Places at which a change of sign is looked for.
const GRID: usize = 60;

/// The frequencies of a filter, in ascending order: the roots, in turn, of its sum and its
/// difference with its mirror (§3.2.3). Nothing where there are fewer than ten: it does not ring
/// off, or two lie too close together.
pub(super) fn frequencies_of(filter: &Filter) -> Option<Ten> {
    let mut polynomials = [[1.0_f64; 6]; 2];
    for i in 0..5 {
        let (near, far) = (f64::from(filter[i]), f64::from(filter[ORDER - 1 - i]));
        polynomials[0][i + 1] = near + far - polynomials[0][i];
        polynomials[1][i + 1] = near - far + polynomials[1][i];
    }
    let mut found = [0.0; ORDER];
    let mut count = 0;
    let (mut low, mut grid) = (0.0, 1);
    let mut at_low = height(&polynomials[0], low);
    while grid <= GRID && count < ORDER {
        let polynomial = &polynomials[count % 2];
        let mut high = PI * grid as f64 / GRID as f64;
        let mut at_high = height(polynomial, high);
        if at_low * at_high > 0.0 {
            (low, at_low, grid) = (high, at_high, grid + 1);
            continue;
        }
        for _ in 0..6 {
            let middle = f64::midpoint(low, high);
            let at_middle = height(polynomial, middle);
            if at_low * at_middle > 0.0 {
                (low, at_low) = (middle, at_middle);
            } else {
                (high, at_high) = (middle, at_middle);
            }
        }
        let across = at_high - at_low;
        let root = if across == 0.0 {
            low
        } else {
            low - at_low * (high - low) / across
        };
        found[count] = root as f32;
        count += 1;
        low = root;
        at_low = height(&polynomials[count % 2], low);
    }
    (count == ORDER).then_some(found)
}

/// A polynomial's value at an angle, as a series of cosines.
fn height(polynomial: &[f64; 6], angle: f64) -> f64 {
    let x = cos(angle);
    let (mut one, mut two) = (1.0, 0.0);
    for coefficient in &polynomial[1..5] {
        (one, two) = (2.0 * x * one - two + coefficient, one);
    }
    x * one - two + 0.5 * polynomial[5]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_the_frequencies_that_it_was_made_of() {
        for n in 0..200 {
            let wanted: Ten = std::array::from_fn(|i| {
                EVEN[i] + 0.1 * ((n * (i + 3) * 7 % 100) as f32 / 50.0 - 1.0)
            });
            let found = frequencies_of(&filter_of(&cosines(&wanted))).unwrap();
            for (wanted, found) in wanted.iter().zip(&found) {
                assert!((wanted - found).abs() < 2e-3, "{wanted} became {found}");
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_the_same_and_close_to_what_was_wanted() {
        let (mut one, mut other) = (Memory::new(), Memory::new());
        for n in 0..100 {
            let wanted: Ten =
                std::array::from_fn(|i| EVEN[i] + 0.08 * ((n * (i + 3)) as f32 * 0.05).sin());
            let (indices, told) = one.encode(&wanted);
            assert_eq!(other.decode(indices), told);
            let error: f32 = wanted.iter().zip(&told).map(|(a, b)| (a - b).powi(2)).sum();
            assert!(n < 4 || error < 0.1, "{error} in frame {n}");
        }
    }

    #[test]
    fn a_lost_frame_repeats_the_frequencies() {
        let mut memory = Memory::new();
        let told = memory.decode([1, 77, 3, 21]);
        assert_eq!(memory.repeat(), told);
    }
}
