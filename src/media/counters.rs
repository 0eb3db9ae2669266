//! What the workers count, each by itself, and the sum of it for the metrics.

use std::{
    iter::Sum,
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::proto::{call::Refused, leg::Leg, rtp::RtpError};

/// A number that one thread writes and any may read.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        // Nobody else writes, so nothing is lost between the two, and the bus is not locked.
        self.set(self.get() + more);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counted by one worker: each has its own, so that no packet waits for another core's.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) caller_packets: Count,
    pub(super) agent_packets: Count,
    pub(super) source: Count,
    not_media: Count,
    malformed: Count,
    not_answered: Count,
    pub(super) unsent: Count,
    pub(super) calls: Count,
    pub(super) armed_calls: Count,
    pub(super) panicked_calls: Count,
}

impl Counters {
    pub(super) fn took(&self, leg: Leg) {
        match leg {
            Leg::Caller => &self.caller_packets,
            Leg::Agent => &self.agent_packets,
        }
        .add(1);
    }

    pub(super) fn refused(&self, refused: Refused) {
        match refused {
            Refused::Source => &self.source,
            Refused::NotMedia => &self.not_media,
            Refused::Rtp(RtpError::Malformed(_) | RtpError::TooLong(_)) | Refused::Rtcp(_) => {
                &self.malformed
            }
            Refused::NotAnswered => &self.not_answered,
        }
        .add(1);
    }

    pub(super) fn read(&self) -> Counted {
        Counted {
            caller_packets: self.caller_packets.get(),
            agent_packets: self.agent_packets.get(),
            refusals: Refusals {
                source: self.source.get(),
                not_media: self.not_media.get(),
                malformed: self.malformed.get(),
                not_answered: self.not_answered.get(),
            },
            unsent: self.unsent.get(),
            calls: self.calls.get(),
            armed_calls: self.armed_calls.get(),
            panicked_calls: self.panicked_calls.get(),
        }
    }
}

/// What was counted since the start, and the calls that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Datagrams taken from callers.
    pub caller_packets: u64,
    /// Datagrams taken from agents.
    pub agent_packets: u64,
    /// Datagrams refused.
    pub refusals: Refusals,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// Calls that a worker has.
    pub calls: u64,
    /// Calls that are armed.
    pub armed_calls: u64,
    /// Calls that ended because of an error in this program.
    pub panicked_calls: u64,
}

/// Why datagrams were refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// From an address that signalling did not name, or of another SSRC than the one that is followed.
    pub source: u64,
    /// Neither RTP nor RTCP.
    pub not_media: u64,
    /// Malformed RTP.
    pub malformed: u64,
    /// Before the other end was known.
    pub not_answered: u64,
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        let Self {
            caller_packets,
            agent_packets,
            refusals,
            unsent,
            calls,
            armed_calls,
            panicked_calls,
        } = other;
        self.caller_packets += caller_packets;
        self.agent_packets += agent_packets;
        self.refusals.source += refusals.source;
        self.refusals.not_media += refusals.not_media;
        self.refusals.malformed += refusals.malformed;
        self.refusals.not_answered += refusals.not_answered;
        self.unsent += unsent;
        self.calls += calls;
        self.armed_calls += armed_calls;
        self.panicked_calls += panicked_calls;
    }
}

impl Sum for Counted {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}
