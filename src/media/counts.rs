//! What is counted of a call: by its worker alone, and read by whoever wants to know, without asking
//! the worker.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use super::{CallStats, LegStats, counters::Count};
use crate::proto::{call::Channel, leg::Leg, rtp::Reception};

/// Of one leg.
#[derive(Default)]
struct LegCounts {
    packets: Count,
    bytes: Count,
    errors: Count,
    rtcp_packets: Count,
    rtcp_bytes: Count,
    reception: [AtomicU64; Reception::WORDS],
}

impl LegCounts {
    fn read(&self) -> LegStats {
        LegStats {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            errors: self.errors.get(),
            rtcp_packets: self.rtcp_packets.get(),
            rtcp_bytes: self.rtcp_bytes.get(),
            reception: Reception::from_words(
                self.reception
                    .each_ref()
                    .map(|word| word.load(Ordering::Relaxed)),
            ),
        }
    }
}

/// Of a call.
pub(super) struct CallCounts {
    added: Instant,
    /// Milliseconds from then to the last packet.
    last_packet_ms: AtomicU64,
    caller: LegCounts,
    agent: LegCounts,
    armed: AtomicBool,
    ended: AtomicBool,
}

impl CallCounts {
    /// Of a call that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            added: now,
            last_packet_ms: AtomicU64::new(0),
            caller: LegCounts::default(),
            agent: LegCounts::default(),
            armed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    const fn leg(&self, leg: Leg) -> &LegCounts {
        match leg {
            Leg::Caller => &self.caller,
            Leg::Agent => &self.agent,
        }
    }

    /// A datagram of so many bytes was taken.
    pub(super) fn took(&self, leg: Leg, channel: Channel, bytes: usize, now: Instant) {
        let since = now.saturating_duration_since(self.added).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.last_packet_ms.store(since, Ordering::Relaxed);
        let counts = self.leg(leg);
        let (packets, all) = match channel {
            Channel::Rtp => (&counts.packets, &counts.bytes),
            Channel::Rtcp => (&counts.rtcp_packets, &counts.rtcp_bytes),
        };
        packets.add(1);
        all.add(bytes as u64);
    }

    /// What a receiver of a leg's stream could tell by now.
    pub(super) fn receives(&self, leg: Leg, reception: &Reception) {
        let words = self.leg(leg).reception.iter().zip(reception.words());
        for (kept, word) in words {
            kept.store(word, Ordering::Relaxed);
        }
    }

    /// A datagram was refused.
    pub(super) fn refused(&self, leg: Leg) {
        self.leg(leg).errors.add(1);
    }

    /// The call is armed, or no longer.
    pub(super) fn set_armed(&self, armed: bool) {
        self.armed.store(armed, Ordering::Relaxed);
    }

    /// The worker has let the call go.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// What was counted so far; `None` once the worker has let the call go.
    pub(super) fn read(&self, now: Instant) -> Option<CallStats> {
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let passed = now.saturating_duration_since(self.added).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let idle_ms = passed.saturating_sub(self.last_packet_ms.load(Ordering::Relaxed));
        Some(CallStats {
            caller: self.caller.read(),
            agent: self.agent.read(),
            idle_seconds: idle_ms / 1_000,
            armed: self.armed.load(Ordering::Relaxed),
        })
    }
}
