//! The independent check of what leaves: correlation of overlapping blocks with the eight tones, on
//! purpose without anything of the ear's bank.

use std::hint::black_box;

use zeroize::{DefaultIsZeroes, Zeroize, ZeroizeOnDrop};

/// Samples of a block (12.75 ms): the usual length for keypad tones at 8 kHz.
const BLOCK: usize = 102;
/// Blocks overlap by half.
const STEP: usize = BLOCK / 2;
/// Blocks in a row that must tell the same pair.
const AGREEING: u8 = 3;
/// Samples of as many blocks as must agree.
const AGREED: usize = BLOCK + (AGREEING as usize - 1) * STEP;
/// Samples kept: twice as many, so that it takes some blocks until they have to be moved.
const KEPT: usize = 2 * AGREED;
/// Ratio of powers that 10 dB are: most twist either way (8 dB, and what a block bends).
const TWIST: f32 = 10.0;
/// Ratio of powers that 6 dB are: how far the best of a group must stand out.
const PEAK: f32 = 3.98;
/// Least share of a block's energy in the two tones.
const DOMINANT: f32 = 0.70;
/// Least power of the block: two tones of -46 dBm0 (peak of 0 dBm0: 22,656).
const LEAST_MEAN_SQUARE: f32 = 1.25e4;

/// cos and sin of pi f / 8000 of 697, 770, 852, 941 and of 1209, 1336, 1477, 1633 Hz: half a sample.
const HALF_SAMPLES: [[(f64, f64); 4]; 2] = [
    [
        (0.962_774_351_724, 0.270_306_395_897),
        (0.954_630_954_354, 0.297_791_438_745),
        (0.944_548_434_950, 0.328_372_127_370),
        (0.932_497_261_154, 0.361_177_045_145),
    ],
    [
        (0.889_396_427_785, 0.457_136_734_734),
        (0.865_501_330_253, 0.500_906_625_361),
        (0.836_453_583_474, 0.548_037_774_878),
        (0.801_332_126_333, 0.598_219_711_566),
    ],
];

/// A block from its middle on, as [`Folded`] has it. One place more than needed, which is zero, so that
/// four go at once.
type Half = [f32; STEP + 1];

/// What each sample of a block counts for the tones of a group, even and odd.
type Group = [[Half; 2]; 4];

static ROWS: Group = group(&HALF_SAMPLES[0]);
static COLUMNS: Group = group(&HALF_SAMPLES[1]);

const fn group(half_samples: &[(f64, f64); 4]) -> Group {
    let mut group = [[[0.0; STEP + 1]; 2]; 4];
    let mut tone = 0;
    while tone < 4 {
        let (half_cos, half_sin) = half_samples[tone];
        // A whole sample further: twice the angle.
        let turn = (
            half_cos * half_cos - half_sin * half_sin,
            2.0 * half_cos * half_sin,
        );
        let (mut cos, mut sin) = (half_cos, half_sin);
        let mut step = 0;
        while step < STEP {
            group[tone][0][step] = cos as f32;
            group[tone][1][step] = sin as f32;
            (cos, sin) = (cos * turn.0 - sin * turn.1, sin * turn.0 + cos * turn.1);
            step += 1;
        }
        tone += 1;
    }
    group
}

/// Four sums side by side: the same order of additions on every processor, and vectorisable.
fn product(one: &Half, other: &Half) -> f32 {
    let mut sums = [0.0_f32; 4];
    for four in 0..(STEP + 1) / 4 {
        for lane in 0..4 {
            sums[lane] += one[4 * four + lane] * other[4 * four + lane];
        }
    }
    // Seen through, the sum of the four would be made of shuffles all the way.
    let [a, b, c, d] = black_box(sums);
    (a + b) + (c + d)
}

/// Listens to what leaves towards the agent; shares no code with [`Ear`](super::Ear).
///
/// Hears any tone of 40 ms from -40 dBm0 on and within +4/-8 dB of twist. What speech rarely does
/// for 18 ms it asks for, since a call that it stops is a customer lost.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OutputCheck {
    kept: [i16; KEPT],
    /// How many of them there are; the newest are the last.
    filled: usize,
    /// Samples after the last block.
    fresh: usize,
    /// Blocks until the next one that is looked at whatever went before.
    until_probe: u8,
    /// The pair that the last block told, and how many blocks in a row have told it; 0 also where
    /// nobody looked.
    last: u8,
    agreed: u8,
}

impl Default for OutputCheck {
    fn default() -> Self {
        Self {
            kept: [0; KEPT],
            filled: AGREED - STEP,
            fresh: 0,
            until_probe: 1,
            last: 0,
            agreed: 0,
        }
    }
}

impl OutputCheck {
    /// True when a tone of a key is heard in what left.
    pub fn listen(&mut self, samples: &[i16]) -> bool {
        let mut heard = false;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(STEP - self.fresh));
            self.kept[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            self.fresh += now.len();
            if self.fresh == STEP {
                heard |= self.judge();
                self.fresh = 0;
                if self.filled == KEPT {
                    self.kept.copy_within(KEPT - (AGREED - STEP).., 0);
                    self.filled = AGREED - STEP;
                }
            }
            rest = later;
        }
        heard
    }

    /// Of three blocks in a row one is the third that came, the sixth, and so on: only these are
    /// looked at as long as they tell nothing. Where one does, those before it are looked at after
    /// the fact, and those behind it as they come. So nothing is missed, and nothing is later.
    fn judge(&mut self) -> bool {
        self.until_probe -= 1;
        let probe = self.until_probe == 0;
        if probe {
            self.until_probe = AGREEING;
        }
        if self.agreed > 0 {
            self.count(0);
        } else if probe && self.pair_of(0).is_some() {
            for ago in (0..usize::from(AGREEING)).rev() {
                self.count(ago);
            }
        }
        self.agreed >= AGREEING
    }

    /// The pair that the block tells that ended so many blocks ago.
    fn pair_of(&self, ago: usize) -> Option<u8> {
        let from = self.filled - BLOCK - ago * STEP;
        let block = self.kept[from..].first_chunk();
        let mut folded = Folded::of(block.expect("AGREED holds as many blocks as must agree"));
        let pair = folded.pair();
        folded.zeroize();
        pair
    }

    fn count(&mut self, ago: usize) {
        let pair = self.pair_of(ago);
        self.agreed = match pair {
            Some(pair) if pair == self.last => self.agreed.saturating_add(1),
            Some(_) => 1,
            None => 0,
        };
        self.last = pair.unwrap_or_default();
    }
}

/// A block from its middle on: each sample with its mirror image added, and subtracted.
#[derive(Clone, Copy)]
struct Folded {
    even: Half,
    odd: Half,
}

impl Default for Folded {
    fn default() -> Self {
        Self {
            even: [0.0; STEP + 1],
            odd: [0.0; STEP + 1],
        }
    }
}

/// Overwritten at once, not number by number.
impl DefaultIsZeroes for Folded {}

impl Folded {
    fn of(block: &[i16; BLOCK]) -> Self {
        let mut folded = Self::default();
        for step in 0..STEP {
            let after = f32::from(block[STEP + step]);
            let before = f32::from(block[STEP - 1 - step]);
            folded.even[step] = after + before;
            folded.odd[step] = after - before;
        }
        folded
    }

    /// Row times four and column.
    fn pair(&self) -> Option<u8> {
        let total = self.energy();
        if total < LEAST_MEAN_SQUARE * BLOCK as f32 {
            return None;
        }
        // Most of speech has too little of one group, and is told apart by it alone.
        let (column, column_power) = self.peak(&COLUMNS, total)?;
        let (row, row_power) = self.peak(&ROWS, total)?;
        if row_power > TWIST * column_power || column_power > TWIST * row_power {
            return None;
        }
        // A pure tone of energy e has a power of e * BLOCK / 2 here.
        let dominant = (row_power + column_power) * 2.0 / BLOCK as f32 >= DOMINANT * total;
        dominant.then_some(row * 4 + column)
    }

    fn energy(&self) -> f32 {
        // (a + b)^2 + (a - b)^2 is twice a^2 + b^2.
        (product(&self.even, &self.even) + product(&self.odd, &self.odd)) / 2.0
    }

    /// The strongest tone of a group and its power, where it stands out and may be half of a pair that
    /// dominates a block of this energy: the fainter one of two within the twist has an eleventh.
    fn peak(&self, group: &Group, total: f32) -> Option<(u8, f32)> {
        let (tone, power) = peak(self.powers(group))?;
        let whole = power * (1.0 + TWIST) * 2.0 / BLOCK as f32;
        // And a little for what rounding does.
        (whole >= 0.999 * DOMINANT * total).then_some((tone, power))
    }

    /// Power of each tone of a group.
    fn powers(&self, group: &Group) -> [f32; 4] {
        std::array::from_fn(|tone| {
            let [even, odd] = &group[tone];
            let (cos, sin) = (product(&self.even, even), product(&self.odd, odd));
            cos * cos + sin * sin
        })
    }
}

/// The strongest of a group, where it stands out from all others.
fn peak(powers: [f32; 4]) -> Option<(u8, f32)> {
    let mut best = 0;
    for tone in 1..powers.len() {
        if powers[tone] > powers[best] {
            best = tone;
        }
    }
    let alone = (0..powers.len()).all(|t| t == best || powers[t] * PEAK < powers[best]);
    alone.then_some((best as u8, powers[best]))
}
