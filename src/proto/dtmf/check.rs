//! The independent check of what leaves: Goertzel's recursion on overlapping blocks, on purpose
//! without anything of the ear's bank.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Samples of a block (12.75 ms): the usual length for keypad tones at 8 kHz.
const BLOCK: usize = 102;
/// Blocks overlap by half.
const STEP: usize = BLOCK / 2;
/// Blocks in a row that must tell the same pair.
const AGREEING: u8 = 3;
/// 2 cos(2 pi f / 8000) of 697, 770, 852, 941 and of 1209, 1336, 1477, 1633 Hz.
const COEFFICIENTS: [f64; 8] = [
    1.707_737_8,
    1.645_281_0,
    1.568_687_0,
    1.478_204_6,
    1.164_104_0,
    0.996_370_2,
    0.798_618_4,
    0.568_532_7,
];
/// Ratio of powers that 10 dB are: most twist either way (8 dB, and what a block bends).
const TWIST: f64 = 10.0;
/// Ratio of powers that 6 dB are: how far the best of a group must stand out.
const PEAK: f64 = 3.98;
/// Least share of a block's energy in the two tones.
const DOMINANT: f64 = 0.70;
/// Least power of the block: two tones of -46 dBm0 (peak of 0 dBm0: 22,656).
const LEAST_MEAN_SQUARE: f64 = 1.25e4;

/// Listens to what leaves towards the agent; shares no code with [`Ear`](super::Ear).
///
/// Hears any tone of 40 ms from -40 dBm0 on and within +4/-8 dB of twist. What speech rarely does
/// for 18 ms it asks for, since a call that it stops is a customer lost.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OutputCheck {
    block: [i16; BLOCK],
    filled: usize,
    last: Option<u8>,
    agreed: u8,
}

impl Default for OutputCheck {
    fn default() -> Self {
        Self {
            block: [0; BLOCK],
            filled: 0,
            last: None,
            agreed: 0,
        }
    }
}

impl OutputCheck {
    /// True when a tone of a key is heard in what left.
    pub fn listen(&mut self, samples: &[i16]) -> bool {
        let mut heard = false;
        for &sample in samples {
            self.block[self.filled] = sample;
            self.filled += 1;
            if self.filled == BLOCK {
                heard |= self.judge();
                self.block.copy_within(STEP.., 0);
                self.filled = BLOCK - STEP;
            }
        }
        heard
    }

    fn judge(&mut self) -> bool {
        let pair = pair_of(&self.block);
        self.agreed = match pair {
            Some(_) if pair == self.last => self.agreed.saturating_add(1),
            Some(_) => 1,
            None => 0,
        };
        self.last = pair;
        self.agreed >= AGREEING
    }
}

fn pair_of(block: &[i16; BLOCK]) -> Option<u8> {
    let total: f64 = block.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    if total < LEAST_MEAN_SQUARE * BLOCK as f64 {
        return None;
    }
    let [l0, l1, l2, l3, h0, h1, h2, h3] = goertzel(block);
    let (row, row_power) = peak([l0, l1, l2, l3])?;
    let (column, column_power) = peak([h0, h1, h2, h3])?;
    if row_power > TWIST * column_power || column_power > TWIST * row_power {
        return None;
    }
    // A pure tone of energy e has a Goertzel power of e * BLOCK / 2.
    let dominant = (row_power + column_power) * 2.0 / BLOCK as f64 >= DOMINANT * total;
    dominant.then_some(row * 4 + column)
}

fn goertzel(block: &[i16; BLOCK]) -> [f64; 8] {
    let (mut one, mut two) = ([0.0; 8], [0.0; 8]);
    for &sample in block {
        let sample = f64::from(sample);
        for (tone, coefficient) in COEFFICIENTS.into_iter().enumerate() {
            let next = sample + coefficient * one[tone] - two[tone];
            two[tone] = one[tone];
            one[tone] = next;
        }
    }
    std::array::from_fn(|tone| {
        let (one, two) = (one[tone], two[tone]);
        one * one + two * two - COEFFICIENTS[tone] * one * two
    })
}

/// The strongest of a group, where it stands out from all others.
fn peak(powers: [f64; 4]) -> Option<(u8, f64)> {
    let mut best = 0;
    for tone in 1..powers.len() {
        if powers[tone] > powers[best] {
            best = tone;
        }
    }
    let alone = (0..powers.len()).all(|t| t == best || powers[t] * PEAK < powers[best]);
    alone.then_some((best as u8, powers[best]))
}
