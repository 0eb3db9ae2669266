//! Presses in telephone-event packets (RFC 4733), whatever of them is lost, repeated or late.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::EventPacket;

/// Segments remembered, for their late and repeated packets.
const SEGMENTS: usize = 16;
/// How far `start` may be from the previous segment's end (1 ms): clocks were converted.
const CONTIGUOUS_SAMPLES: i64 = 8;
/// A press of this length may continue in a new segment even where the last updates of the old one
/// were lost. The shortest segment is 65,535 at 48 kHz, 1.365 s.
const LONG_SAMPLES: i64 = 9_600;
/// Updates of a long press that may be lost before it continues (60 ms).
const LOST_UPDATES_SAMPLES: i64 = 480;
/// Packet time of events where only one packet is known: RFC 4733 §2.5.1.2 wants an update every
/// 50 ms at least.
const PACKET_SAMPLES: i64 = 400;
/// Bounds of a measured packet time: 10 to 60 ms.
const PACKET_BOUNDS: (i64, i64) = (80, 480);
/// Packet times without an update after which a key counts as released.
const MISSED_PACKETS: i64 = 3;
/// Code of no key, for what is forgotten.
const NO_CODE: u8 = 255;
/// After this time (2 s) only a segment's timestamp is still known.
const MEMORY_SAMPLES: i64 = 16_000;

#[derive(Default, Zeroize)]
struct Segment {
    known: bool,
    timestamp: u32,
    code: u8,
    start: i64,
    until: i64,
    ended: bool,
    /// How far the ear had heard, or the event had come, at the last update.
    updated: i64,
    packet: i64,
}

impl Segment {
    fn is_down(&self, heard: i64) -> bool {
        self.known
            && !self.ended
            && heard.saturating_sub(self.updated) <= MISSED_PACKETS * self.packet
    }

    fn may_be(&self, code: u8) -> bool {
        self.code == code || self.code == NO_CODE
    }

    /// Whether `self` is followed by a segment that starts at `start`.
    fn continues_at(&self, code: u8, start: i64) -> bool {
        if !self.known || self.ended || self.code != code {
            return false;
        }
        let gap = start.saturating_sub(self.until);
        let long = self.until.saturating_sub(self.start) >= LONG_SAMPLES;
        gap.saturating_abs() <= CONTIGUOUS_SAMPLES
            || (long && (0..=LOST_UPDATES_SAMPLES).contains(&gap))
    }
}

/// Recognises presses in event packets. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Events {
    segments: [Segment; SEGMENTS],
    next: usize,
    /// Whether there was any: on most legs there never is.
    any: bool,
}

impl Events {
    /// Whether this packet is the first one of a press. `heard` is how far the ear has come.
    ///
    /// A segment is known by its timestamp and its code. Two codes at one timestamp contradict each
    /// other: both are presses, for senders exist that give all their events one timestamp.
    pub(super) fn hear(&mut self, packet: &EventPacket, heard: i64) -> bool {
        let updated = heard.max(packet.until.min(heard.saturating_add(MEMORY_SAMPLES)));
        if let Some(known) = self
            .segments
            .iter_mut()
            .find(|s| s.known && s.timestamp == packet.timestamp && s.may_be(packet.code))
        {
            if packet.until > known.until {
                let step = packet.until.saturating_sub(known.until);
                known.packet = step.clamp(PACKET_BOUNDS.0, PACKET_BOUNDS.1);
                known.until = packet.until;
                known.updated = updated;
            }
            known.ended |= packet.end;
            return false;
        }
        let mut new = true;
        let mut packet_time = PACKET_SAMPLES;
        for known in &mut self.segments {
            let next = known.continues_at(packet.code, packet.start);
            // The first segment may also come after the second.
            let previous = known.known
                && !packet.end
                && known.code == packet.code
                && known.start.saturating_sub(packet.until).saturating_abs() <= CONTIGUOUS_SAMPLES;
            if next {
                known.ended = true;
                packet_time = known.packet;
            }
            new &= !(next || previous);
        }
        let segment = &mut self.segments[self.next % SEGMENTS];
        segment.zeroize();
        *segment = Segment {
            known: true,
            timestamp: packet.timestamp,
            code: packet.code,
            start: packet.start,
            until: packet.until,
            ended: packet.end,
            updated,
            packet: packet_time,
        };
        self.next = (self.next + 1) % SEGMENTS;
        self.any = true;
        new
    }

    /// Whether a key is down.
    pub(super) fn key_is_down(&self, heard: i64) -> bool {
        self.any && self.segments.iter().any(|segment| segment.is_down(heard))
    }

    /// Whether an event of this key was going on from `from` to `until`.
    pub(super) fn cover(&self, code: u8, from: i64, until: i64) -> bool {
        self.segments
            .iter()
            .any(|s| s.known && s.code == code && s.start <= from && s.until >= until)
    }

    /// Forgets which keys were pressed long ago; the timestamps stay, for late packets.
    pub(super) fn forget(&mut self, heard: i64) {
        for segment in &mut self.segments {
            if segment.known && heard.saturating_sub(segment.updated) > MEMORY_SAMPLES {
                segment.code.zeroize();
                segment.code = NO_CODE;
                segment.ended = true;
            }
        }
    }
}
