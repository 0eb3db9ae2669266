//! Keys that are told, not sounded: named events (RFC 4733), tone descriptions (RFC 4733 section 4)
//! and the blocks of redundant packets (RFC 2198).

use crate::proto::{
    dtmf::{EventPacket, Order},
    encoding::Encoding,
    rtp::{NamedEvent, Red, difference},
};

use super::{
    AUDIO_STOPPED, Hearing, Keys, MAX_GAP, Packet, PayloadTypes, SAME_ANCHOR, SAME_CLOCK, Sink,
};

impl Hearing {
    /// Hears every block of a RED packet, the earliest instant first: keys of whatever instant, and
    /// audio that has not been heard. What was lost on the way fills its place; for the agent, if
    /// that has not left.
    pub(super) fn hear_red(
        &mut self,
        packet: &Packet<'_>,
        types: &PayloadTypes,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        let Ok(red) = Red::parse(packet.payload) else {
            return self.refuse(packet, sink);
        };
        let refused = self.refused;
        let mut order = Order::Kept;
        for block in red.blocks() {
            let timestamp = packet.timestamp.wrapping_sub(block.offset.into());
            let encoding = types.get(block.payload_type);
            let is_audio = matches!(encoding, Some(Encoding::Audio(_)));
            let behind = block.offset > 0 && difference(timestamp, self.expected) < 0;
            let block = Packet {
                encoding,
                payload: block.payload,
                timestamp,
                // Redundant audio that was heard fills no hole, and nothing more comes of it.
                late: packet.late || (is_audio && behind),
            };
            if self.hear_block(&block, keys, sink) == Order::Broken {
                order = Order::Broken;
            }
        }
        // It is one packet, however many of its blocks were not understood.
        self.refused = self.refused.min(refused + 1);
        order
    }

    pub(super) fn hear_events(
        &mut self,
        events: impl Iterator<Item = NamedEvent>,
        packet: &Packet<'_>,
        rate: u32,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        let timestamp = packet.timestamp;
        // Without audio beside it the event itself moves the time on, so that the agent's stream
        // does not stop.
        let stopped = self
            .last_audio
            .is_none_or(|last| keys.now.instant.duration_since(last) >= AUDIO_STOPPED);
        let step = self.samples_until(timestamp);
        let same_clock = rate == self.codec.clock_hz();
        if same_clock && stopped && step > MAX_GAP && i64::from(step) < SAME_CLOCK {
            self.restart(timestamp, sink);
        }
        let position = i64::try_from(self.ear.heard()).unwrap_or(i64::MAX);
        let mut follows = None;
        let mut began = timestamp;
        let mut order = Order::Kept;
        for event in events {
            let samples = i64::from(event.duration) * 8_000 / i64::from(rate.max(1));
            let start =
                follows.unwrap_or_else(|| self.event_start(timestamp, rate, samples, position));
            let until = start + samples;
            follows = Some(until);
            let told = EventPacket {
                code: event.code,
                start,
                until,
                end: event.end,
                timestamp: began,
            };
            // Events packed into one packet follow each other in time (RFC 4733 section 2.5.1.5).
            began = began.wrapping_add(u32::from(event.duration));
            let verdict = keys.hear(|slot, pressed| {
                if !packet.late {
                    return self.ear.hear_event(told, slot, pressed);
                }
                let (verdict, of_this) = self.ear.hear_late_event(told, slot, pressed);
                if of_this == Order::Broken {
                    order = Order::Broken;
                }
                verdict
            });
            sink.mark(&verdict);
        }
        let covered = follows.map_or(0, |until| until - position);
        if stopped && covered > 0 {
            self.gap(i32::try_from(covered).unwrap_or(MAX_GAP).min(MAX_GAP), sink);
        }
        order
    }

    /// Where an event began on the scale of the samples heard. The timestamp tells where its clock
    /// is the audio's; otherwise it tells how long after the event before. Where that makes no
    /// sense, this packet came when the event had lasted as long as it says.
    fn event_start(&mut self, timestamp: u32, rate: u32, samples: i64, position: i64) -> i64 {
        let step = i64::from(self.samples_until(timestamp));
        if rate == self.codec.clock_hz() && step.abs() < SAME_CLOCK {
            return position + step;
        }
        let start = self
            .foreign_event
            .and_then(|(last, start)| {
                let later = i64::from(difference(timestamp, last));
                let begin = start + later * 8_000 / i64::from(rate.max(1));
                let fits = (begin + samples - position).abs() < SAME_ANCHOR;
                (later == 0 || fits).then_some(begin)
            })
            .unwrap_or(position - samples);
        self.foreign_event = Some((timestamp, start));
        start
    }
}
