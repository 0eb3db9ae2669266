//! Which source of RTP a leg is: one SSRC at a time, the same for relaying and for masking.
//!
//! Whoever can forge the address that a leg's media is taken from does not know its SSRC, 32 bits at
//! random (RFC 3550 section 5.1); whoever sees it can do everything, and only SRTP keeps that one out.
//! Transfers and music on hold bring another SSRC to the same address: it is followed once the old one
//! is silent and it has shown some packets in a row (RFC 3550 appendix A.1).

use std::time::{Duration, Instant};

use crate::proto::rtp::RtpHeader;

/// The old source has to be silent for this long before a new one is followed.
pub(super) const SILENT: Duration = Duration::from_millis(100);
/// Consecutive packets that a new source has to show.
pub(super) const PACKETS: u32 = 3;
/// How long after a leg's first packet a second source that is heard beside the first leaves open
/// which of them is the caller.
const SET_UP: Duration = Duration::from_secs(5);

/// A source that may take over.
struct Candidate {
    ssrc: u32,
    sequence: u16,
    packets: u32,
    /// Packets of the followed source since this one's first.
    rivals: u32,
}

/// The source that is followed.
struct Followed {
    ssrc: u32,
    last: Instant,
}

/// The source of one leg's RTP. Begins with whoever sends first.
#[derive(Default)]
pub(super) struct Source {
    /// When the first packet of all came.
    began: Option<Instant>,
    followed: Option<Followed>,
    candidate: Option<Candidate>,
    contested: bool,
}

impl Source {
    /// Whether a packet is of the source that is followed, perhaps from here on.
    pub(super) fn takes(&mut self, header: &RtpHeader, now: Instant) -> bool {
        let Some(followed) = &mut self.followed else {
            self.follow(header.ssrc, now);
            return true;
        };
        if followed.ssrc == header.ssrc {
            followed.last = now;
            if let Some(candidate) = &mut self.candidate {
                candidate.rivals = candidate.rivals.saturating_add(1);
            }
            return true;
        }
        let silent = now.duration_since(followed.last) >= SILENT;
        let (packets, rivals) = match &self.candidate {
            Some(c) if c.ssrc == header.ssrc && c.sequence.wrapping_add(1) == header.sequence => {
                (c.packets.saturating_add(1), c.rivals)
            }
            _ => (1, 0),
        };
        self.candidate = Some(Candidate {
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets,
            rivals,
        });
        if packets < PACKETS {
            return false;
        }
        if silent {
            self.follow(header.ssrc, now);
            return true;
        }
        let of_set_up = |began| now.duration_since(began) <= SET_UP;
        self.contested |= rivals >= PACKETS && self.began.is_some_and(of_set_up);
        false
    }

    fn follow(&mut self, ssrc: u32, now: Instant) {
        self.began.get_or_insert(now);
        self.followed = Some(Followed { ssrc, last: now });
        self.candidate = None;
    }

    /// Whether RTCP that names this SSRC as its sender is of the source that is followed, or nothing is
    /// known of that yet.
    pub(super) fn takes_rtcp(&self, sender: Option<u32>) -> bool {
        let followed = self.followed.as_ref();
        followed.is_none_or(|followed| Some(followed.ssrc) == sender)
    }

    /// Two sources spoke at once when the leg began: which of them is the end of this call is not
    /// known, and stays so until signalling names another place.
    pub(super) const fn is_contested(&self) -> bool {
        self.contested
    }

    /// Two addresses competed for being the leg's.
    pub(super) const fn contest(&mut self) {
        self.contested = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Leg {
        source: Source,
        now: Instant,
    }

    impl Leg {
        fn new() -> Self {
            Self {
                source: Source::default(),
                now: Instant::now(),
            }
        }

        /// A packet `after_ms` after the last; whether it is taken.
        fn packet(&mut self, ssrc: u32, sequence: u16, after_ms: u64) -> bool {
            self.now += Duration::from_millis(after_ms);
            let header = RtpHeader {
                payload_type: 0,
                marker: false,
                sequence,
                timestamp: 0,
                ssrc,
                payload: 12..172,
            };
            self.source.takes(&header, self.now)
        }
    }

    #[test]
    fn whoever_sends_first_is_followed_and_nobody_else_while_it_sends() {
        let mut leg = Leg::new();
        for n in 0..1_000 {
            assert!(leg.packet(7, n, 10));
            assert!(!leg.packet(8, n, 10), "in a row");
            assert!(!leg.packet(u32::from(n) << 8, n, 0), "at random");
        }
        assert!(leg.source.takes_rtcp(Some(7)) && !leg.source.takes_rtcp(Some(8)));
    }

    #[test]
    fn another_source_is_followed_after_three_in_a_row_and_a_silence_of_100_ms() {
        let mut leg = Leg::new();
        assert!(leg.packet(7, 1, 0));
        let taken = [
            (9, 20),
            (10, 20),
            (11, 20),
            (12, 20),
            (13, 19),
            (14, 1),
            (15, 20),
        ]
        .map(|(sequence, after_ms)| leg.packet(8, sequence, after_ms));
        assert_eq!(taken, [false, false, false, false, false, true, true]);
        assert!(!leg.packet(7, 2, 0), "the old one is a stranger now");
        let mut leg = Leg::new();
        assert!(leg.packet(7, 1, 0));
        let taken = [(9, 200), (10, 20), (12, 20), (13, 20), (14, 20)]
            .map(|(sequence, after_ms)| leg.packet(8, sequence, after_ms));
        assert_eq!(taken, [false, false, false, false, true]);
        assert!(!leg.source.is_contested());
    }

    #[test]
    fn two_sources_at_once_contest_a_set_up_and_nothing_later() {
        for (began_before, contested) in [(0, true), (4_800, true), (5_000, false)] {
            let mut leg = Leg::new();
            for at in 0..=began_before / 20 {
                assert!(leg.packet(7, at, 20));
            }
            for n in 0..10 {
                assert!(!leg.packet(8, n, 10));
                assert!(leg.packet(7, 1_000 + n, 10));
            }
            assert_eq!(leg.source.is_contested(), contested, "{began_before} ms");
        }
    }

    #[test]
    fn a_stray_packet_of_the_old_source_contests_nothing() {
        let mut leg = Leg::new();
        assert!(leg.packet(7, 1, 0));
        assert!(!leg.packet(8, 1, 20));
        assert!(leg.packet(7, 2, 1), "it was late");
        assert!(!leg.packet(8, 2, 19));
        assert!(!leg.packet(8, 3, 60));
        assert!(leg.packet(8, 4, 21));
        assert!(!leg.source.is_contested());
    }
}
