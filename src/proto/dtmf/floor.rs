//! How loud the line itself is, and how far the keys stand out of it.
//!
//! By minimum statistics: noise goes on where a voice pauses, so the quietest half second of three
//! seconds is the noise, if it is steady; where it is not, nobody has paused yet. What is suspect is
//! no noise and counts for nothing.

use zeroize::Zeroize;

use super::bank::HOP;

/// Hops of a block: 32 ms, shorter than the pauses between syllables.
const BLOCK_HOPS: u32 = 16;
/// Blocks of a part: half a second.
const PART_BLOCKS: u32 = 16;
/// Parts that are remembered: 3 s.
const PARTS: usize = 6;
/// Most that the blocks of steady noise are above the quietest of them (6 dB): white noise 1 dB, many
/// voices at once up to this, one voice mostly more.
const STEADY: f32 = 4.0;
/// Power that a key is expected to have before the first was heard, of both tones together: -22 dBm0
/// (peak of 0 dBm0: 22,656). A receiver has to take tones down to -25 dBm each (AT&T in ITU-T Q.24), so
/// no network may deliver them fainter.
const EXPECTED_KEY: f32 = 1.62e6;
/// Power of what a silent line in G.711 is rounded by: nothing is quieter.
const LEAST_POWER: f32 = 5.0;

/// How far keys stand out of a line's noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyOverNoise {
    /// Power of a key over that of the noise: of the faintest key that was heard, or before the first
    /// of the faintest that a network may deliver.
    pub ratio: f32,
    /// Whether a key was heard.
    pub measured: bool,
    /// Whether the noise was listened to for 3 s.
    pub settled: bool,
}

/// Half a second.
#[derive(Default, Clone, Copy, Zeroize)]
struct Part {
    /// Mean power of its blocks.
    mean: f32,
    /// Power of the quietest of them.
    quietest: f32,
}

/// The noise of one leg, and its faintest key.
#[derive(Default, Zeroize)]
pub(super) struct Floor {
    energy: f64,
    hops: u32,
    /// The part under way: sum of its blocks' powers, and the quietest.
    sum: f32,
    quietest: f32,
    blocks: u32,
    /// The last ones.
    parts: [Part; PARTS],
    /// Parts so far, as far as they are counted.
    known: usize,
    /// Place of the next one.
    next: usize,
    /// Power of the faintest key so far; 0 before the first.
    faintest_key: f32,
}

impl Floor {
    /// Takes the energy of the next hop. `counts`: it was heard, and nothing suspect is about.
    #[inline(always)]
    pub(super) fn push(&mut self, energy: f64, counts: bool) {
        if !counts {
            (self.energy, self.hops) = (0.0, 0);
            return;
        }
        self.energy += energy;
        self.hops += 1;
        if self.hops == BLOCK_HOPS {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let power = (self.energy / f64::from(BLOCK_HOPS * HOP as u32)) as f32;
        (self.energy, self.hops) = (0.0, 0);
        let power = if power > LEAST_POWER {
            power
        } else {
            LEAST_POWER
        };
        self.sum += power;
        if self.blocks == 0 || power < self.quietest {
            self.quietest = power;
        }
        self.blocks += 1;
        if self.blocks == PART_BLOCKS {
            self.parts[self.next] = Part {
                mean: self.sum / PART_BLOCKS as f32,
                quietest: self.quietest,
            };
            self.next = (self.next + 1) % PARTS;
            self.known = (self.known + 1).min(PARTS);
            (self.sum, self.blocks) = (0.0, 0);
        }
    }

    /// A key was heard with this power, of both tones together.
    pub(super) fn hear_key(&mut self, power: f32) {
        if self.faintest_key == 0.0 || power < self.faintest_key {
            self.faintest_key = power;
        }
    }

    /// Power of the noise, where it is known.
    fn power(&self) -> Option<f32> {
        let known = self.parts.get(..self.known)?.iter();
        let quietest = known.reduce(|one, two| if two.mean < one.mean { two } else { one })?;
        (quietest.mean <= STEADY * quietest.quietest).then_some(quietest.mean)
    }

    pub(super) fn key_over_noise(&self) -> Option<KeyOverNoise> {
        let measured = self.faintest_key > 0.0;
        let key = if measured {
            self.faintest_key
        } else {
            EXPECTED_KEY
        };
        self.power().map(|noise| KeyOverNoise {
            ratio: key / noise,
            measured,
            settled: self.known == PARTS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hops of these powers, 16 of each.
    fn heard(powers: &[f64]) -> Floor {
        let mut floor = Floor::default();
        for power in powers {
            for _ in 0..BLOCK_HOPS {
                floor.push(power * HOP as f64, true);
            }
        }
        floor
    }

    #[test]
    fn steady_noise_is_known_after_half_a_second_and_settled_after_three() {
        assert_eq!(heard(&[1e4; 15]).key_over_noise(), None);
        let early = heard(&[1e4; 16]).key_over_noise().unwrap();
        assert!((early.ratio * 1e4 / EXPECTED_KEY - 1.0).abs() < 1e-3);
        assert!(!early.settled && !early.measured);
        assert!(heard(&[1e4; 96]).key_over_noise().unwrap().settled);
    }

    #[test]
    fn a_voice_that_does_not_pause_is_no_noise_and_one_that_does_shows_it() {
        let voice = [1e6, 1e6, 3e5, 1e4].repeat(24);
        assert_eq!(heard(&voice).key_over_noise(), None);
        let pause = heard(&[&voice[..], &[1e3; 17]].concat());
        let ratio = pause.key_over_noise().unwrap().ratio;
        assert!((ratio * 1e3 / EXPECTED_KEY - 1.0).abs() < 1e-3, "{ratio}");
        // Three seconds later the pause is forgotten.
        let later = heard(&[&[1e3; 16][..], &[1e5; 96]].concat());
        let ratio = later.key_over_noise().unwrap().ratio;
        assert!((ratio * 1e5 / EXPECTED_KEY - 1.0).abs() < 1e-3, "{ratio}");
    }

    #[test]
    fn the_faintest_key_counts_and_what_is_suspect_does_not() {
        let mut floor = heard(&[1e4; 16]);
        floor.hear_key(4e6);
        floor.hear_key(1e6);
        floor.hear_key(2e6);
        for _ in 0..2_000 {
            floor.push(1e9, false);
        }
        let key = floor.key_over_noise().unwrap();
        assert!(key.measured && (key.ratio / 100.0 - 1.0).abs() < 1e-3);
    }
}
