//! Losses and disorder, by sequence numbers (RFC 3550 appendix A.1).

use crate::proto::{
    rtp::{ExtendedSequence, RtpHeader},
    shadow::Packets,
};

/// Numbers that jump further ahead than this began anew.
const MAX_DROPOUT: i64 = 3_000;
/// The same back.
const FURTHEST_BEHIND: i64 = -100;

/// One source's numbers.
struct Source {
    ssrc: u32,
    highest: ExtendedSequence,
    /// Which of the 128 numbers up to `highest` have come; the lowest bit is `highest` itself.
    came: u128,
}

/// Counts what came, what did not, and what came late or twice.
#[derive(Default)]
pub(super) struct Arrivals {
    source: Option<Source>,
}

impl Arrivals {
    /// Counts one packet.
    pub(super) fn count(&mut self, header: &RtpHeader, packets: &mut Packets) {
        packets.came += 1;
        let begin = Source {
            ssrc: header.ssrc,
            highest: ExtendedSequence::first(header.sequence),
            came: u128::MAX,
        };
        let Some(source) = self.source.as_mut().filter(|s| s.ssrc == header.ssrc) else {
            self.source = Some(begin);
            return;
        };
        let sequence = source.highest.nearest(header.sequence);
        let ahead = sequence.since(source.highest);
        match ahead {
            1..=MAX_DROPOUT => {
                packets.lost += ahead.unsigned_abs() - 1;
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                source.came = source.came.checked_shl(shift).unwrap_or(0) | 1;
                source.highest = sequence;
            }
            0 => packets.repeated += 1,
            FURTHEST_BEHIND..0 => {
                let bit = 1 << ahead.unsigned_abs();
                if source.came & bit == 0 {
                    source.came |= bit;
                    packets.late += 1;
                    packets.lost = packets.lost.saturating_sub(1);
                } else {
                    packets.repeated += 1;
                }
            }
            _ => self.source = Some(begin),
        }
    }

    /// Forgets the numbers: what comes next was preceded by packets that were not counted.
    pub(super) fn forget(&mut self) {
        self.source = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rtp::write_header;

    fn count(numbers: impl IntoIterator<Item = (u32, u16)>) -> [u64; 4] {
        let (mut arrivals, mut packets) = (Arrivals::default(), Packets::default());
        for (ssrc, sequence) in numbers {
            let datagram = write_header(0, false, sequence, 0, ssrc);
            arrivals.count(&RtpHeader::parse(&datagram).unwrap(), &mut packets);
        }
        [packets.came, packets.lost, packets.late, packets.repeated]
    }

    #[test]
    fn losses_disorder_and_repeats_are_told_apart_also_across_the_wrap() {
        let of = |numbers: &[u16]| count(numbers.iter().map(|n| (7, *n)));
        assert_eq!(of(&[65_534, 65_535, 0, 1]), [4, 0, 0, 0]);
        assert_eq!(of(&[65_533, 65_535, 2]), [3, 3, 0, 0]);
        assert_eq!(of(&[10, 12, 11, 13]), [4, 0, 1, 0]);
        assert_eq!(of(&[10, 11, 11, 10, 12]), [5, 0, 0, 2]);
        assert_eq!(of(&[10, 13, 11, 11]), [4, 1, 1, 1]);
        // Nothing is known of what was before the first.
        assert_eq!(of(&[10, 9, 11]), [3, 0, 0, 1]);
    }

    #[test]
    fn numbers_that_begin_anew_are_no_loss() {
        let of = |numbers: &[u16]| count(numbers.iter().map(|n| (7, *n)));
        assert_eq!(of(&[10, 11, 20_000, 20_001]), [4, 0, 0, 0]);
        assert_eq!(of(&[20_000, 10, 11]), [3, 0, 0, 0]);
        assert_eq!(count([(7, 10), (8, 500), (8, 501)]), [3, 0, 0, 0]);
        // A hundred lost at once, and the last of them late.
        assert_eq!(of(&[10, 111, 110]), [3, 99, 1, 0]);
    }
}
