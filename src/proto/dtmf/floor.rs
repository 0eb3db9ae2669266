//! How loud the line itself is, and how far the keys stand out of it.
//!
//! By minimum statistics: noise goes on where a voice pauses, so the quietest 32 ms of four seconds are
//! the noise. What is suspect is no noise and counts for nothing.

use zeroize::Zeroize;

use super::bank::HOP;

/// Hops of a block: 32 ms, shorter than the pauses between syllables.
const BLOCK_HOPS: u32 = 16;
/// Blocks of a part: half a second.
const PART_BLOCKS: u32 = 16;
/// Parts that are remembered: 4 s.
const PARTS: usize = 8;
/// How much white noise is above the quietest of so many blocks of it (1.1 dB). Many voices at once
/// are more above theirs, and taken for fainter than they are.
const OVER_QUIETEST: f32 = 1.3;
/// Power that a key is expected to have before the first was heard, of both tones together: -13 dBm0
/// (peak of 0 dBm0: 22,656), the -7 dBm0 of a telephone and 6 dB on the way. With fainter ones in mind,
/// loud speech that hardly pauses would be taken for noise.
const EXPECTED_KEY: f32 = 1.29e7;
/// Power of what a silent line in G.711 is rounded by: nothing is quieter.
const LEAST_POWER: f32 = 5.0;

/// How far keys stand out of a line's noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyOverNoise {
    /// Power of a key over that of the noise: of the faintest key that was heard, or before the first
    /// of a usual one.
    pub ratio: f32,
    /// Whether a key was heard.
    pub measured: bool,
}

/// The noise of one leg, and its faintest key.
#[derive(Default, Zeroize)]
pub(super) struct Floor {
    energy: f64,
    hops: u32,
    /// The quietest block of the part under way.
    quietest: f32,
    blocks: u32,
    /// The quietest of each of the last parts.
    parts: [f32; PARTS],
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
        if self.blocks == 0 || power < self.quietest {
            self.quietest = power;
        }
        self.blocks += 1;
        if self.blocks == PART_BLOCKS {
            self.parts[self.next] = self.quietest;
            self.next = (self.next + 1) % PARTS;
            self.known = (self.known + 1).min(PARTS);
            self.blocks = 0;
        }
    }

    /// A key was heard with this power, of both tones together.
    pub(super) fn hear_key(&mut self, power: f32) {
        if self.faintest_key == 0.0 || power < self.faintest_key {
            self.faintest_key = power;
        }
    }

    /// Known once it was listened to for 4 s.
    pub(super) fn key_over_noise(&self) -> Option<KeyOverNoise> {
        if self.known < PARTS {
            return None;
        }
        let quietest = self.parts.iter().fold(f32::INFINITY, |a, b| a.min(*b));
        let noise = (quietest * OVER_QUIETEST).max(LEAST_POWER);
        let measured = self.faintest_key > 0.0;
        let key = if measured {
            self.faintest_key
        } else {
            EXPECTED_KEY
        };
        Some(KeyOverNoise {
            ratio: key / noise,
            measured,
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

    fn noise(floor: &Floor) -> f32 {
        EXPECTED_KEY / floor.key_over_noise().unwrap().ratio
    }

    #[test]
    fn noise_is_known_after_four_seconds() {
        assert_eq!(heard(&[1e4; 127]).key_over_noise(), None);
        let known = noise(&heard(&[1e4; 128]));
        assert!((known / 1.3e4 - 1.0).abs() < 1e-3, "{known}");
    }

    #[test]
    fn the_quietest_pause_of_a_voice_is_the_noise_until_it_is_forgotten() {
        let voice = [1e6, 1e6, 3e5, 1e6].repeat(32);
        let pause = noise(&heard(&[&voice[..], &[1e3], &voice[..63]].concat()));
        assert!((pause / 1.3e3 - 1.0).abs() < 1e-3, "{pause}");
        let later = noise(&heard(&[&[1e3; 16][..], &[1e5; 128]].concat()));
        assert!((later / 1.3e5 - 1.0).abs() < 1e-3, "{later}");
    }

    #[test]
    fn the_faintest_key_counts_and_what_is_suspect_does_not() {
        let mut floor = heard(&[1e4; 128]);
        floor.hear_key(5.2e6);
        floor.hear_key(1.3e6);
        floor.hear_key(2.6e6);
        for _ in 0..2_000 {
            floor.push(1e9, false);
        }
        let key = floor.key_over_noise().unwrap();
        assert!((key.ratio / 100.0 - 1.0).abs() < 1e-3 && key.measured);
    }
}
