//! What a receiver can tell of a stream: losses, disorder, jitter (RFC 3550 sections 6.4.1 and A.8).

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Numbers further apart than this are another beginning, not a loss (RFC 3550 section A.1).
const MOST_LOST: i16 = 3000;

/// Counts of one leg's RTP. A packet costs a few additions and looks at ten bytes of it; the time is
/// that of the wake-up which found it, so that jitter is told to the millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reception {
    /// Synchronisation source of the last packet; none before the first.
    pub ssrc: Option<u32>,
    /// Packets of all sources.
    pub received: u64,
    /// Packets that should have come: over all sources, from the first to the highest number of each.
    pub expected: u64,
    /// Timestamp of the last packet.
    pub timestamp: u32,
    /// Highest sequence number.
    pub sequence: u16,
    /// Sixteen times the mean deviation of how long packets are under way, in units of the clock.
    jitter_x16: u32,
    clock_hz: u32,
    #[serde(skip)]
    last: Option<Instant>,
}

impl Reception {
    /// The clock of the leg's timestamps in Hz.
    pub const fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz;
    }

    /// A datagram that was taken from the leg, whole or not; what is no RTP of version 2 is passed over.
    pub fn packet(&mut self, datagram: &[u8], now: Instant) {
        let Some((fixed, _)) = datagram.split_first_chunk::<12>() else {
            return;
        };
        let [flags, _, n1, n0, t3, t2, t1, t0, s3, s2, s1, s0] = *fixed;
        if flags >> 6 != 2 {
            return;
        }
        let sequence = u16::from_be_bytes([n1, n0]);
        let timestamp = u32::from_be_bytes([t3, t2, t1, t0]);
        let ssrc = Some(u32::from_be_bytes([s3, s2, s1, s0]));
        self.received += 1;
        let step = sequence.wrapping_sub(self.sequence).cast_signed();
        if self.ssrc != ssrc || step.unsigned_abs() > MOST_LOST.unsigned_abs() {
            // Another source, or the same begun anew: what was lost of the one before stays counted.
            self.ssrc = ssrc;
            self.expected += 1;
            self.sequence = sequence;
        } else {
            self.measure(timestamp, now);
            // What comes late was expected when a later one came.
            if step > 0 {
                self.expected += u64::from(step.unsigned_abs());
                self.sequence = sequence;
            }
        }
        self.timestamp = timestamp;
        self.last = Some(now);
    }

    /// Packets that never came; those that came twice make up for some.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// How many numbers it is written as.
    pub const WORDS: usize = 5;

    /// All but when the last packet came, as plain numbers: for whoever reads it on another thread.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let two = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let known = u32::from(self.ssrc.is_some());
        [
            two(known, self.ssrc.unwrap_or_default()),
            self.received,
            self.expected,
            two(self.timestamp, self.sequence.into()),
            two(self.jitter_x16, self.clock_hz),
        ]
    }

    /// What [`Reception::words`] were written of.
    #[must_use]
    pub const fn from_words(
        [source, received, expected, numbers, jitter]: [u64; Self::WORDS],
    ) -> Self {
        Self {
            ssrc: if source >> 32 == 0 {
                None
            } else {
                Some(source as u32)
            },
            received,
            expected,
            timestamp: (numbers >> 32) as u32,
            sequence: numbers as u16,
            jitter_x16: (jitter >> 32) as u32,
            clock_hz: jitter as u32,
            last: None,
        }
    }

    /// In milliseconds.
    #[must_use]
    pub fn jitter_ms(&self) -> u64 {
        let clock_hz = u64::from(self.clock_hz.max(1));
        u64::from(self.jitter_x16) * 1000 / (16 * clock_hz)
    }

    fn measure(&mut self, timestamp: u32, now: Instant) {
        let advanced = timestamp.wrapping_sub(self.timestamp).cast_signed();
        // An event keeps its timestamp while it lasts, and a talkspurt's first packet tells of no way.
        let usual = 1..=i32::try_from(self.clock_hz / 2).unwrap_or(i32::MAX);
        let Some(last) = self.last.filter(|_| usual.contains(&advanced)) else {
            return;
        };
        let elapsed = now.saturating_duration_since(last);
        let clock_hz = u64::from(self.clock_hz);
        let part = u64::from(elapsed.subsec_micros()) * clock_hz / 1_000_000;
        let elapsed = elapsed
            .as_secs()
            .saturating_mul(clock_hz)
            .saturating_add(part);
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let deviation = elapsed.saturating_sub(i64::from(advanced)).unsigned_abs();
        let deviation = u32::try_from(deviation)
            .unwrap_or(u32::MAX)
            .min(self.clock_hz);
        // RFC 3550 section A.8, in integers.
        self.jitter_x16 = self.jitter_x16 + deviation - ((self.jitter_x16 + 8) >> 4);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::rtp::write_header;

    /// Packets of 20 ms, each as many milliseconds late.
    fn heard(packets: &[(u16, u64)]) -> Reception {
        let begin = Instant::now();
        let mut reception = Reception::default();
        reception.set_clock(8_000);
        for &(sequence, late_ms) in packets {
            let number = u32::from(sequence.wrapping_sub(65_530));
            let datagram = write_header(0, false, sequence, number * 160, 7);
            let sent = Duration::from_millis(u64::from(number) * 20 + late_ms);
            reception.packet(&datagram, begin + sent);
        }
        reception
    }

    #[test]
    fn what_never_came_is_lost_and_what_came_late_is_not() {
        let orderly: Vec<_> = (0..20).map(|n| (65_530_u16.wrapping_add(n), 0)).collect();
        let whole = heard(&orderly);
        assert_eq!(
            (whole.received, whole.lost(), whole.jitter_ms()),
            (20, 0, 0)
        );
        assert_eq!(whole.sequence, 13, "over the end of the numbers");
        let holes: Vec<_> = orderly
            .iter()
            .copied()
            .filter(|(n, _)| n % 5 != 0)
            .collect();
        assert_eq!(heard(&holes).lost(), 4);
        let mut swapped = orderly.clone();
        swapped.swap(3, 4);
        assert_eq!(heard(&swapped).lost(), 0);
        let mut twice = holes;
        twice.push((12, 0));
        assert_eq!(heard(&twice).lost(), 3, "as RFC 3550 counts it");
    }

    #[test]
    fn jitter_is_how_unevenly_packets_come() {
        let uneven: Vec<_> = (0..400_u16)
            .map(|n| (65_530_u16.wrapping_add(n), u64::from(n % 2) * 10))
            .collect();
        assert!((9..=10).contains(&heard(&uneven).jitter_ms()));
        let late: Vec<_> = (0..400_u16)
            .map(|n| (65_530_u16.wrapping_add(n), 90))
            .collect();
        assert_eq!(heard(&late).jitter_ms(), 0, "late, and evenly so");
    }

    #[test]
    fn words_tell_all_but_the_time_of_the_last_packet() {
        let uneven: Vec<_> = (0..50).map(|n| (n * 2, u64::from(n) % 3 * 7)).collect();
        for reception in [Reception::default(), heard(&uneven)] {
            let read = Reception::from_words(reception.words());
            let last = None;
            assert_eq!(read, Reception { last, ..reception });
        }
    }

    #[test]
    fn another_source_is_no_loss() {
        let now = Instant::now();
        let mut reception = Reception::default();
        for (sequence, ssrc) in [(10, 1), (11, 1), (40_000, 2), (40_001, 2), (5, 2)] {
            reception.packet(&write_header(0, false, sequence, 0, ssrc), now);
        }
        assert_eq!((reception.received, reception.lost()), (5, 0));
        assert_eq!(reception.ssrc, Some(2));
    }

    #[test]
    fn what_is_no_rtp_is_passed_over() {
        let mut reception = Reception::default();
        for datagram in [&[0x80; 11][..], &[0x40; 40], &[]] {
            reception.packet(datagram, Instant::now());
        }
        assert_eq!(reception, Reception::default());
    }
}
