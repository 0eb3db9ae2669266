//! What the workers count, read by the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::{call::Refused, leg::Leg, rtp::RtpError};

/// Counted by all workers together.
#[derive(Default)]
pub struct Counters {
    caller_packets: AtomicU64,
    agent_packets: AtomicU64,
    /// Datagrams refused, by reason.
    pub refusals: Refusals,
    /// Datagrams that the kernel did not take.
    pub unsent: AtomicU64,
    /// Calls that a worker has.
    pub calls: AtomicU64,
    /// Calls that are armed.
    pub armed_calls: AtomicU64,
    /// Calls that ended because of an error in this program.
    pub panicked_calls: AtomicU64,
}

/// Why datagrams were refused.
#[derive(Default)]
pub struct Refusals {
    /// From an address that signalling did not name, or of another SSRC than the one that is followed.
    pub source: AtomicU64,
    /// Neither RTP nor RTCP.
    pub not_media: AtomicU64,
    /// Malformed RTP.
    pub malformed: AtomicU64,
    /// Before the other end was known.
    pub not_answered: AtomicU64,
}

impl Counters {
    pub(super) fn took(&self, leg: Leg) {
        match leg {
            Leg::Caller => &self.caller_packets,
            Leg::Agent => &self.agent_packets,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refused: Refused) {
        match refused {
            Refused::Source => &self.refusals.source,
            Refused::NotMedia => &self.refusals.not_media,
            Refused::Rtp(RtpError::Malformed(_) | RtpError::TooLong(_)) | Refused::Rtcp(_) => {
                &self.refusals.malformed
            }
            Refused::NotAnswered => &self.refusals.not_answered,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Datagrams taken from a leg.
    #[must_use]
    pub fn packets(&self, leg: Leg) -> u64 {
        match leg {
            Leg::Caller => &self.caller_packets,
            Leg::Agent => &self.agent_packets,
        }
        .load(Ordering::Relaxed)
    }
}
