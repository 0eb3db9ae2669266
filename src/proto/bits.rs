//! A row of bits: what is marked, what was lost.

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bits of one word.
const WORD: usize = u64::BITS as usize;

/// A row of bits whose length is set once. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Bits(Box<[u64]>);

impl Bits {
    /// So many bits or a few more, none of them set.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(WORD)].into_boxed_slice())
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn get(&self, place: usize) -> bool {
        self.0[place / WORD] >> (place % WORD) & 1 != 0
    }

    /// Sets or clears a bit.
    pub fn set(&mut self, place: usize, value: bool) {
        self.fill(place..place + 1, value);
    }

    /// Sets or clears all bits of a span.
    pub fn fill(&mut self, span: Range<usize>, value: bool) {
        for (word, mask) in masks(span) {
            if value {
                self.0[word] |= mask;
            } else {
                self.0[word] &= !mask;
            }
        }
    }

    /// How many bits of a span are set.
    #[must_use]
    pub fn count(&self, span: Range<usize>) -> u32 {
        masks(span)
            .map(|(word, mask)| (self.0[word] & mask).count_ones())
            .sum()
    }
}

/// The words of a span, and which of their bits belong to it.
fn masks(span: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let words = if span.is_empty() {
        0..0
    } else {
        span.start / WORD..(span.end - 1) / WORD + 1
    };
    words.map(move |word| {
        let from = span.start.max(word * WORD) - word * WORD;
        let until = span.end.min((word + 1) * WORD) - word * WORD;
        (word, u64::MAX >> (WORD - (until - from)) << from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_set_counted_and_cleared_as_a_row_of_booleans_is() {
        const LENGTH: usize = 200;
        let mut bits = Bits::new(LENGTH);
        let mut row = [false; LENGTH];
        for step in 0..5_000_usize {
            let start = step * 37 % LENGTH;
            let span = start..LENGTH.min(start + step * 61 % 150);
            let value = step % 3 != 0;
            bits.fill(span.clone(), value);
            row[span].fill(value);
            let asked = step * 11 % LENGTH..LENGTH;
            let expected = row[asked.clone()].iter().filter(|set| **set).count();
            assert_eq!(bits.count(asked.clone()) as usize, expected, "step {step}");
            assert_eq!(bits.get(asked.start), row[asked.start], "step {step}");
        }
        assert_eq!(bits.count(7..7), 0);
    }
}
