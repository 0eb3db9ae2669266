//! Sums over keys, and what chance alone would do.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    cells::{Gate, Outcome},
    common::{peers::Peer, signal::MS},
};

/// How often digits are shuffled to see what chance tells.
const SHUFFLES: usize = 20;

/// Sums over the keys of some calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    pub(crate) digits: usize,
    /// Digits that the listener got, tenths for guesses.
    pub(crate) right: f64,
    pub(crate) bits: f64,
    /// Keys of which at least a sample was heard.
    pub(crate) leaked: usize,
    /// The same of 2 ms.
    pub(crate) leaked_2_ms: usize,
    /// Most samples heard of one key.
    pub(crate) longest: usize,
    /// Digits that each peer got.
    pub(crate) told: [usize; Peer::ALL.len()],
    heard_by: [bool; Peer::ALL.len()],
    pub(crate) incidents: usize,
    pub(crate) strange_frames: usize,
}

impl Sums {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        for (_, guess, _) in &outcome.guesses {
            self.digits += 1;
            self.right += guess.right;
            self.bits += guess.bits;
            self.leaked += usize::from(guess.heard > 0);
            self.leaked_2_ms += usize::from(guess.heard >= 2 * MS);
            self.longest = self.longest.max(guess.heard);
        }
        for (peer, told) in outcome.told.iter().enumerate() {
            self.told[peer] += told.unwrap_or(0);
            self.heard_by[peer] |= told.is_some();
        }
        self.incidents += outcome.incidents;
        self.strange_frames += outcome.strange_frames;
    }

    /// Share of the digits that the listener got.
    pub(crate) fn recovered(&self) -> f64 {
        self.right / self.digits.max(1) as f64
    }

    pub(crate) fn share(&self, keys: usize) -> f64 {
        keys as f64 / self.digits.max(1) as f64
    }

    /// What a peer got, for a table.
    pub(crate) fn of_peer(&self, peer: Peer) -> String {
        if self.heard_by[peer as usize] {
            format!("{:.1} %", 100.0 * self.share(self.told[peer as usize]))
        } else {
            "-".to_owned()
        }
    }
}

/// Bits that something tells of a digit: mutual information, less what it seems to tell of the same
/// digits shuffled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits {
    pub(crate) told: f64,
    /// Standard deviation of what it seems to tell of shuffled digits.
    pub(crate) spread: f64,
}

/// Bits that the gate tells of a digit.
pub(crate) fn gate_bits<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> f64 {
    let keys = outcomes.flat_map(|outcome| &outcome.guesses);
    let told: Vec<(u8, Gate, usize)> = keys.map(|(digit, _, gate)| (*digit, *gate, 0)).collect();
    bits(&told).told
}

/// Bits that the second tells of the first for somebody who knows the third; digits are shuffled
/// among those of which he knows the same.
pub(crate) fn bits<T: Ord + Copy>(keys: &[(u8, T, usize)]) -> Bits {
    let mut groups: BTreeMap<usize, (Vec<u8>, Vec<T>)> = BTreeMap::new();
    for (digit, told, known) in keys {
        let (digits, all) = groups.entry(*known).or_default();
        digits.push(*digit);
        all.push(*told);
    }
    let mut rng = StdRng::seed_from_u64(keys.len() as u64);
    let mut real = 0.0;
    let mut shuffled = vec![0.0; SHUFFLES];
    for (digits, told) in groups.values_mut() {
        let share = digits.len() as f64 / keys.len() as f64;
        real += share * mutual_bits(digits, told);
        for bits in &mut shuffled {
            for at in (1..digits.len()).rev() {
                digits.swap(at, rng.random_range(0..=at));
            }
            *bits += share * mutual_bits(digits, told);
        }
    }
    let chance = shuffled.iter().sum::<f64>() / SHUFFLES as f64;
    let off = shuffled.iter().map(|bits| (bits - chance).powi(2));
    Bits {
        told: (real - chance).max(0.0),
        spread: (off.sum::<f64>() / (SHUFFLES - 1) as f64).sqrt(),
    }
}

fn mutual_bits<T: Ord + Copy>(digits: &[u8], gates: &[T]) -> f64 {
    let mut joint: BTreeMap<(u8, T), f64> = BTreeMap::new();
    let mut of_digit: BTreeMap<u8, f64> = BTreeMap::new();
    let mut of_gate: BTreeMap<T, f64> = BTreeMap::new();
    for (digit, gate) in digits.iter().zip(gates) {
        *joint.entry((*digit, *gate)).or_default() += 1.0;
        *of_digit.entry(*digit).or_default() += 1.0;
        *of_gate.entry(*gate).or_default() += 1.0;
    }
    let all = digits.len() as f64;
    joint
        .iter()
        .map(|((digit, gate), n)| n / all * (n * all / (of_digit[digit] * of_gate[gate])).log2())
        .sum()
}
