//! The independent check of what leaves: correlation of overlapping blocks with the eight tones, on
//! purpose without anything of the ear's bank.

#![expect(
    clippy::needless_range_loop,
    reason = "tones and lanes are indices of several arrays at once"
)]

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Samples of a block (12.75 ms): the usual length for keypad tones at 8 kHz.
const BLOCK: usize = 102;
/// Blocks overlap by half.
const STEP: usize = BLOCK / 2;
/// Blocks in a row that must tell the same pair.
const AGREEING: u8 = 3;
/// Samples kept: as many blocks as must agree.
const KEPT: usize = BLOCK + (AGREEING as usize - 1) * STEP;
/// Ratio of powers that 10 dB are: most twist either way (8 dB, and what a block bends).
const TWIST: f32 = 10.0;
/// Ratio of powers that 6 dB are: how far the best of a group must stand out.
const PEAK: f32 = 3.98;
/// Least share of a block's energy in the two tones.
const DOMINANT: f32 = 0.70;
/// Least power of the block: two tones of -46 dBm0 (peak of 0 dBm0: 22,656).
const LEAST_MEAN_SQUARE: f32 = 1.25e4;

/// cos and sin of pi f / 8000 of 697, 770, 852, 941 and of 1209, 1336, 1477, 1633 Hz: half a sample.
const HALF_SAMPLES: [(f64, f64); 8] = [
    (0.962_774_351_724, 0.270_306_395_897),
    (0.954_630_954_354, 0.297_791_438_745),
    (0.944_548_434_950, 0.328_372_127_370),
    (0.932_497_261_154, 0.361_177_045_145),
    (0.889_396_427_785, 0.457_136_734_734),
    (0.865_501_330_253, 0.500_906_625_361),
    (0.836_453_583_474, 0.548_037_774_878),
    (0.801_332_126_333, 0.598_219_711_566),
];

/// What a sample at this distance from the middle of a block counts for each tone, even and odd.
struct Step {
    even: [f32; 8],
    odd: [f32; 8],
}

/// From the middle of a block outwards, at half samples: its first half mirrors its second.
static STEPS: [Step; STEP] = {
    const ZERO: Step = Step {
        even: [0.0; 8],
        odd: [0.0; 8],
    };
    let mut steps = [ZERO; STEP];
    let mut tone = 0;
    while tone < 8 {
        let (half_cos, half_sin) = HALF_SAMPLES[tone];
        // A whole sample further: twice the angle.
        let turn = (
            half_cos * half_cos - half_sin * half_sin,
            2.0 * half_cos * half_sin,
        );
        let (mut cos, mut sin) = (half_cos, half_sin);
        let mut step = 0;
        while step < STEP {
            steps[step].even[tone] = cos as f32;
            steps[step].odd[tone] = sin as f32;
            (cos, sin) = (cos * turn.0 - sin * turn.1, sin * turn.0 + cos * turn.1);
            step += 1;
        }
        tone += 1;
    }
    steps
};

/// Listens to what leaves towards the agent; shares no code with [`Ear`](super::Ear).
///
/// Hears any tone of 40 ms from -40 dBm0 on and within +4/-8 dB of twist. What speech rarely does
/// for 18 ms it asks for, since a call that it stops is a customer lost.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OutputCheck {
    /// The newest samples last.
    kept: [i16; KEPT],
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
            self.kept[KEPT - STEP + self.fresh..][..now.len()].copy_from_slice(now);
            self.fresh += now.len();
            if self.fresh == STEP {
                heard |= self.judge();
                self.kept.copy_within(STEP.., 0);
                self.fresh = 0;
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
        } else if probe && pair_of(self.block(0)).is_some() {
            for ago in (0..usize::from(AGREEING)).rev() {
                self.count(ago);
            }
        }
        self.agreed >= AGREEING
    }

    /// The block that ended so many blocks ago.
    fn block(&self, ago: usize) -> &[i16; BLOCK] {
        let from = KEPT - BLOCK - ago * STEP;
        self.kept[from..]
            .first_chunk()
            .expect("KEPT holds as many blocks as must agree")
    }

    fn count(&mut self, ago: usize) {
        let pair = pair_of(self.block(ago));
        self.agreed = match pair {
            Some(pair) if pair == self.last => self.agreed.saturating_add(1),
            Some(_) => 1,
            None => 0,
        };
        self.last = pair.unwrap_or_default();
    }
}

/// Row times four and column.
fn pair_of(block: &[i16; BLOCK]) -> Option<u8> {
    let mut folded = Folded::new(block);
    let total = folded.energy();
    if total < LEAST_MEAN_SQUARE * BLOCK as f32 {
        return None;
    }
    let [l0, l1, l2, l3, h0, h1, h2, h3] = folded.powers();
    folded.zeroize();
    let (row, row_power) = peak([l0, l1, l2, l3])?;
    let (column, column_power) = peak([h0, h1, h2, h3])?;
    if row_power > TWIST * column_power || column_power > TWIST * row_power {
        return None;
    }
    // A pure tone of energy e has a power of e * BLOCK / 2 here.
    let dominant = (row_power + column_power) * 2.0 / BLOCK as f32 >= DOMINANT * total;
    dominant.then_some(row * 4 + column)
}

/// A block from its middle on: each sample with its mirror image added, and subtracted. One place
/// more than needed, which is zero, so that four go at once.
#[derive(Zeroize)]
struct Folded {
    even: [f32; STEP + 1],
    odd: [f32; STEP + 1],
}

impl Folded {
    fn new(block: &[i16; BLOCK]) -> Self {
        let mut folded = Self {
            even: [0.0; STEP + 1],
            odd: [0.0; STEP + 1],
        };
        for step in 0..STEP {
            let after = f32::from(block[STEP + step]);
            let before = f32::from(block[STEP - 1 - step]);
            folded.even[step] = after + before;
            folded.odd[step] = after - before;
        }
        folded
    }

    fn energy(&self) -> f32 {
        // Four sums side by side: the same order of additions on every processor, and vectorisable.
        let mut sums = [0.0_f32; 4];
        for four in 0..(STEP + 1) / 4 {
            for lane in 0..4 {
                let (even, odd) = (self.even[4 * four + lane], self.odd[4 * four + lane]);
                sums[lane] += even * even + odd * odd;
            }
        }
        // (a + b)^2 + (a - b)^2 is twice a^2 + b^2.
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) / 2.0
    }

    /// Power of each tone.
    fn powers(&self) -> [f32; 8] {
        let (mut cos, mut sin) = ([0.0_f32; 8], [0.0_f32; 8]);
        for step in 0..STEP {
            let (even, odd) = (self.even[step], self.odd[step]);
            for tone in 0..8 {
                cos[tone] += even * STEPS[step].even[tone];
            }
            for tone in 0..8 {
                sin[tone] += odd * STEPS[step].odd[tone];
            }
        }
        std::array::from_fn(|tone| cos[tone] * cos[tone] + sin[tone] * sin[tone])
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
