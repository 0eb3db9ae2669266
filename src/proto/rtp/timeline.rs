//! Numbers that wrap, made not to.

/// A sequence number that never wraps: the 16 bits of the packet below a count of wraps
/// (RFC 3550 appendix A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtendedSequence(u64);

impl ExtendedSequence {
    /// The first one heard. Starts high enough that packets from before it stay above zero.
    #[must_use]
    pub fn first(sequence: u16) -> Self {
        Self((1 << 32) | u64::from(sequence))
    }

    /// `sequence` as the extended number nearest to this one.
    #[must_use]
    pub fn nearest(self, sequence: u16) -> Self {
        // The 16 low bits, by intent.
        let low = (self.0 & 0xffff) as u16;
        let step = i64::from(sequence.wrapping_sub(low) as i16);
        Self(self.0.saturating_add_signed(step))
    }

    /// The 16 bits of the number after this one, as a packet carries them.
    #[must_use]
    pub const fn next_low(self) -> u16 {
        (self.0.wrapping_add(1) & 0xffff) as u16
    }

    /// How many packets `self` comes after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

/// How far `later` is after `earlier` on a timestamp that wraps; negative when before.
#[must_use]
pub const fn difference(later: u32, earlier: u32) -> i32 {
    later.wrapping_sub(earlier) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let before = ExtendedSequence::first(65_534);
        let after = before.nearest(1);
        assert!(after > before);
        assert_eq!(after.since(before), 3);
        assert_eq!(after.nearest(65_535).since(after), -2);
        assert_eq!(difference(3, u32::MAX), 4);
        assert_eq!(difference(u32::MAX, 3), -4);
    }
}
