//! The caller's stream towards the agent: relayed as it is, or armed.

use std::time::{Duration, Instant};

use crate::proto::{
    encoding::{AudioCodec, Encoding},
    mask::{Masker, MaskerStart, Masking, Outbox, Shifts, Unarmed},
    proof::MaskingProof,
    rtp::{Red, RtpHeader, difference, rtcp::Outgoing},
    time::Now,
};

use super::{LegMedia, armed::Armed};

/// Packet time where nothing was heard yet, in samples of 8 kHz: 20 ms.
const DEFAULT_FRAME: usize = 160;
/// Furthest behind, in packets, that one still belongs to what came before.
const MAX_LATE: i16 = 1_000;
/// The same in samples of 8 kHz: 10 s.
const MAX_LATE_SAMPLES: i32 = 80_000;
/// The same for an event in a clock of its own: 10 s of 48 kHz.
const MAX_LATE_FOREIGN: i32 = 480_000;
/// Packets after an arming for which what is not understood does not leave: a retransmission or a
/// repair may still bring back what was said or keyed while armed (5 s of 20 ms).
const OPAQUE_PACKETS: u16 = 250;
/// Comfort noise (RFC 3389, RFC 3551 §6): a level, and nothing of the past.
const COMFORT_NOISE: u8 = 13;
/// An event without an update for this long (100 ms of 8 kHz) has ended, though its end was lost.
const EVENT_LOST_SAMPLES: i32 = 800;

/// What the two legs' SDP say of payload types, looked up by number.
pub(super) struct PayloadTypes {
    /// Of each number, where in `encodings` its meaning stands; [`NOT_NAMED`] for most.
    places: [u8; 128],
    encodings: Box<[Encoding]>,
    preferred: Option<(u8, AudioCodec)>,
}

/// The place of a payload type that neither side named.
const NOT_NAMED: u8 = u8::MAX;

impl PayloadTypes {
    /// Every payload type that either side named: the caller's own meaning first. But what either
    /// side says spells keys is never taken for anything else, and what either side names as what is
    /// not understood here is not taken for speech.
    pub(super) fn of(caller: &LegMedia, agent: &LegMedia) -> Self {
        let mut places = [NOT_NAMED; 128];
        let mut encodings = Vec::new();
        for (number, encoding) in agent.payload_types.iter().chain(&caller.payload_types) {
            let Some(place) = places.get_mut(usize::from(*number)) else {
                continue;
            };
            match encodings.get_mut(usize::from(*place)) {
                Some(known) if stays(*known, *encoding) => {}
                Some(known) => *known = *encoding,
                None => {
                    // One a number, so there are 128 at most.
                    *place = encodings.len() as u8;
                    encodings.push(*encoding);
                }
            }
        }
        // What the agent's side listed first is what it wants to hear.
        let preferred = agent
            .payload_types
            .iter()
            .chain(&caller.payload_types)
            .find_map(|(number, encoding)| Some((*number, encoding.audio()?)));
        Self {
            places,
            encodings: encodings.into_boxed_slice(),
            preferred,
        }
    }

    pub(super) fn get(&self, number: u8) -> Option<Encoding> {
        let place = *self.places.get(usize::from(number))?;
        self.encodings.get(usize::from(place)).copied()
    }

    /// A codec that can be decoded and masked.
    pub(super) const fn preferred(&self) -> Option<(u8, AudioCodec)> {
        self.preferred
    }
}

/// Whether a payload type that one side said is `known` stays so where the other says `encoding`.
const fn stays(known: Encoding, encoding: Encoding) -> bool {
    match known {
        Encoding::TelephoneEvent(_) | Encoding::Tone(_) | Encoding::Red => !encoding.tells_keys(),
        Encoding::Other => encoding.audio().is_some(),
        Encoding::Audio(_) => false,
    }
}

/// Where an arming ended, as the caller counts. What is older does not leave any more: it came too
/// late to be masked, or it is the rest of a key that was pressed while armed.
#[derive(Clone, Copy)]
struct Floor {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The codec whose clock the timestamp has.
    codec: AudioCodec,
    /// The last event whose clock is not the audio's.
    foreign_event: Option<u32>,
    /// Packets for which what is not understood does not leave.
    opaque_packets: u16,
}

impl Floor {
    fn lies_above(&self, header: &RtpHeader, payload: &[u8], types: &PayloadTypes) -> bool {
        let encoding = types.get(header.payload_type);
        let behind = header.sequence.wrapping_sub(self.sequence) as i16;
        let of_armed_time = (-MAX_LATE..0).contains(&behind)
            || match encoding {
                Some(Encoding::Red) => self.lies_above_a_block(header, payload, types),
                encoding => self.is_old(encoding, header.timestamp),
            };
        let understood = match encoding {
            Some(Encoding::Red) => Red::parse(payload).is_ok(),
            Some(Encoding::Other) | None => header.payload_type == COMFORT_NOISE,
            Some(_) => true,
        };
        (header.ssrc == self.ssrc && of_armed_time) || (!understood && self.opaque_packets > 0)
    }

    /// Whether `timestamp`, in the audio's clock, lies before the end of the armed time.
    fn is_before(&self, timestamp: u32) -> bool {
        let since = difference(timestamp, self.timestamp);
        since < 0 && since / self.codec.ticks().cast_signed() > -MAX_LATE_SAMPLES
    }

    /// Whether a key or a tone that began at `timestamp` is one of the armed time.
    fn is_old(&self, encoding: Option<Encoding>, timestamp: u32) -> bool {
        match encoding {
            Some(Encoding::TelephoneEvent(rate) | Encoding::Tone(rate))
                if rate == self.codec.clock_hz() =>
            {
                self.is_before(timestamp)
            }
            Some(Encoding::TelephoneEvent(_) | Encoding::Tone(_)) => self
                .foreign_event
                .is_some_and(|last| (-MAX_LATE_FOREIGN..=0).contains(&difference(timestamp, last))),
            Some(Encoding::Audio(_) | Encoding::Red | Encoding::Other) | None => false,
        }
    }

    /// Whether RED repeats anything of the armed time, be it a key or the audio of one.
    fn lies_above_a_block(&self, header: &RtpHeader, payload: &[u8], types: &PayloadTypes) -> bool {
        let Ok(red) = Red::parse(payload) else {
            return false;
        };
        red.blocks().any(|block| {
            let began = header.timestamp.wrapping_sub(block.offset.into());
            (block.offset > 0 && self.is_before(began))
                || self.is_old(types.get(block.payload_type), began)
        })
    }

    fn is_out_of_reach(&self, header: &RtpHeader) -> bool {
        header.ssrc == self.ssrc && header.sequence.wrapping_sub(self.sequence) as i16 > MAX_LATE
    }
}

/// How far the stream has got, in the numbers that left.
#[derive(Clone, Copy)]
struct Progress {
    ssrc: u32,
    /// Next sequence number that will leave.
    sequence: u16,
    /// Timestamp after the last audio that left.
    timestamp: u32,
    /// The codec whose clock it has.
    codec: AudioCodec,
}

impl Progress {
    /// The further of both: a packet that was overtaken takes nothing back.
    fn or_further(self, last: Option<Self>) -> Self {
        let Some(last) = last.filter(|last| last.ssrc == self.ssrc) else {
            return self;
        };
        let behind = self.sequence.wrapping_sub(last.sequence) as i16;
        let ticks = self.codec.ticks().cast_signed();
        let earlier = difference(self.timestamp, last.timestamp);
        let overtaken = earlier < 0 && earlier / ticks > -MAX_LATE_SAMPLES;
        Self {
            ssrc: self.ssrc,
            codec: self.codec,
            sequence: if (-MAX_LATE..0).contains(&behind) {
                last.sequence
            } else {
                self.sequence
            },
            timestamp: if overtaken && self.codec.clock_hz() == last.codec.clock_hz() {
                last.timestamp
            } else {
                self.timestamp
            },
        }
    }
}

/// An event that was relayed and has not ended: arming has to end it, or the agent's side would
/// hold the tone. Its code left before the arming.
#[derive(Clone, Copy)]
pub(super) struct OpenEvent {
    pub(super) payload_type: u8,
    pub(super) timestamp: u32,
    pub(super) payload: [u8; 4],
}

impl OpenEvent {
    /// Whether it may still be going on when audio has come as far as `timestamp`. Some gateways
    /// send audio beside their events.
    fn goes_on_at(&self, timestamp: u32, codec: AudioCodec) -> bool {
        let [_, _, high, low] = self.payload;
        let until = self
            .timestamp
            .wrapping_add(u32::from(u16::from_be_bytes([high, low])));
        let since = difference(timestamp, until) / codec.ticks().cast_signed();
        (-EVENT_LOST_SAMPLES..=EVENT_LOST_SAMPLES).contains(&since)
    }
}

/// Payload type and payload of the primary block of a RED payload.
fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    let primary = Red::parse(payload).ok()?.blocks().last()?;
    Some((primary.payload_type, primary.payload))
}

enum Mode {
    /// Relayed as it is.
    Open(Unarmed),
    /// Armed before the caller sent anything: nothing leaves until a packet tells where to begin.
    Waiting(Unarmed),
    /// Masked.
    Armed(Box<Armed>),
    /// Between two modes, within one method.
    Moving,
}

/// The stream from caller to agent.
pub(super) struct CallerStream {
    mode: Mode,
    progress: Option<Progress>,
    last_audio: Option<(u8, AudioCodec)>,
    frame: usize,
    open_event: Option<OpenEvent>,
    floor: Option<Floor>,
    shifts: Shifts,
    /// Packets and octets that left less those that came, over all armings: sender reports.
    packets_more: u32,
    octets_more: u32,
    /// Packets and octets that left so far, up to the arming.
    relayed_packets: u32,
    relayed_octets: u32,
}

impl Default for CallerStream {
    fn default() -> Self {
        Self {
            mode: Mode::Open(Unarmed::from_the_start()),
            progress: None,
            last_audio: None,
            frame: DEFAULT_FRAME,
            open_event: None,
            floor: None,
            shifts: Shifts::default(),
            packets_more: 0,
            octets_more: 0,
            relayed_packets: 0,
            relayed_octets: 0,
        }
    }
}

impl CallerStream {
    pub(super) const fn is_armed(&self) -> bool {
        !matches!(self.mode, Mode::Open(_))
    }

    pub(super) fn armed_mut(&mut self) -> Option<&mut Armed> {
        match &mut self.mode {
            Mode::Armed(armed) => Some(armed),
            Mode::Open(_) | Mode::Waiting(_) | Mode::Moving => None,
        }
    }

    /// Constants that stand between the two sides' numbers now.
    pub(super) fn shifts(&self) -> Shifts {
        match &self.mode {
            Mode::Armed(armed) => armed.shifts(),
            Mode::Open(_) | Mode::Waiting(_) | Mode::Moving => self.shifts,
        }
    }

    /// SSRC of the stream that left last.
    pub(super) fn ssrc(&self) -> Option<u32> {
        match &self.mode {
            Mode::Armed(armed) => Some(armed.ssrc()),
            Mode::Open(_) | Mode::Waiting(_) | Mode::Moving => {
                self.progress.map(|progress| progress.ssrc)
            }
        }
    }

    /// What a sender report to the agent has to say of an armed stream.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        let Mode::Armed(armed) = &self.mode else {
            return None;
        };
        // Behind the mask of a field no report: its times follow the caller's packets.
        if armed.is_covered() {
            return None;
        }
        let outgoing = armed.outgoing();
        Some(Outgoing {
            packets: self.relayed_packets.wrapping_add(outgoing.packets),
            octets: self.relayed_octets.wrapping_add(outgoing.octets),
            ..outgoing
        })
    }

    pub(super) const fn owes_farewell(&self) -> bool {
        match &self.mode {
            Mode::Armed(armed) => armed.owes_farewell(),
            Mode::Open(_) | Mode::Waiting(_) | Mode::Moving => false,
        }
    }

    /// When a packet that is held has to be heard, or the mask of a field leaves, though nothing comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.mode {
            Mode::Armed(armed) => armed.poll_timeout(),
            Mode::Open(_) | Mode::Waiting(_) | Mode::Moving => None,
        }
    }

    pub(super) const fn reports_more(&self) -> (u32, u32) {
        (self.packets_more, self.octets_more)
    }

    /// Shows that the stream is unarmed, if it is.
    pub(super) const fn unarmed(&self) -> Option<&Unarmed> {
        match &self.mode {
            Mode::Open(unarmed) => Some(unarmed),
            Mode::Waiting(_) | Mode::Armed(_) | Mode::Moving => None,
        }
    }

    /// Relays a packet of an unarmed stream and keeps what an arming will need.
    pub(super) fn relay(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        types: &PayloadTypes,
        out: &mut Outbox,
    ) {
        let Mode::Open(unarmed) = &self.mode else {
            return;
        };
        let payload = datagram.get(header.payload.clone()).unwrap_or_default();
        if let Some(floor) = &mut self.floor {
            if floor.lies_above(header, payload, types) {
                return;
            }
            floor.opaque_packets = floor.opaque_packets.saturating_sub(1);
            // Numbers wrap: what is far behind would one day look ahead.
            if floor.is_out_of_reach(header) {
                self.floor = None;
            }
        }
        out.relay(datagram, self.shifts, unarmed);
        self.relayed_packets = self.relayed_packets.wrapping_add(1);
        self.relayed_octets = self.relayed_octets.wrapping_add(payload.len() as u32);
        let timestamp = header.timestamp.wrapping_add(self.shifts.timestamp);
        let mut after = timestamp;
        let (payload_type, payload) = match types.get(header.payload_type) {
            Some(Encoding::Red) => primary(payload).unwrap_or((header.payload_type, &[])),
            _ => (header.payload_type, payload),
        };
        match types.get(payload_type) {
            Some(Encoding::TelephoneEvent(rate)) => {
                if let Some(&event) = payload.first_chunk::<4>() {
                    let ended = event[1] & 0x80 != 0;
                    self.open_event = (!ended).then_some(OpenEvent {
                        payload_type,
                        timestamp,
                        payload: event,
                    });
                    let duration = u16::from_be_bytes([event[2], event[3]]);
                    after = timestamp.wrapping_add(u32::from(duration));
                }
                // Another clock tells nothing of where the audio is.
                if let Some(last) = self.progress
                    && rate != last.codec.clock_hz()
                {
                    after = last.timestamp;
                }
            }
            // Neither says how many samples it covers.
            Some(Encoding::Tone(_) | Encoding::Red) | None => {}
            Some(encoding) => {
                let mut ticks = payload.len() as u32;
                if let Some(codec) = encoding.audio() {
                    let length = codec.length_of(payload).unwrap_or_default();
                    self.last_audio = Some((payload_type, codec));
                    self.frame = length;
                    ticks = length as u32 * codec.ticks();
                }
                after = timestamp.wrapping_add(ticks);
                let codec = self.caller_codec();
                self.open_event = self
                    .open_event
                    .filter(|event| event.goes_on_at(after, codec));
            }
        }
        let progress = Progress {
            ssrc: header.ssrc,
            sequence: header
                .sequence
                .wrapping_add(self.shifts.sequence)
                .wrapping_add(1),
            timestamp: after,
            codec: self.caller_codec(),
        };
        self.progress = Some(progress.or_further(self.progress));
    }

    /// The codec that the caller spoke in last; G.711 before anything came.
    fn caller_codec(&self) -> AudioCodec {
        self.last_audio.map_or(AudioCodec::Pcmu, |(_, codec)| codec)
    }

    /// Arms the stream. From the return on nothing is relayed.
    pub(super) fn arm(&mut self, types: Option<&PayloadTypes>, masking: Masking, now: Now) {
        let Mode::Open(unarmed) = std::mem::replace(&mut self.mode, Mode::Moving) else {
            return;
        };
        let preferred = types.and_then(PayloadTypes::preferred);
        self.mode = match (self.progress, self.last_audio.or(preferred)) {
            (Some(progress), Some((payload_type, codec))) => {
                let start = MaskerStart {
                    ssrc: progress.ssrc,
                    payload_type,
                    codec,
                    sequence: progress.sequence,
                    timestamp: progress.timestamp,
                    frame: self.frame,
                };
                let incoming_sequence = progress.sequence.wrapping_sub(self.shifts.sequence);
                let incoming_timestamp = progress.timestamp.wrapping_sub(self.shifts.timestamp);
                Mode::Armed(Box::new(Armed::new(
                    Masker::new(start, masking, unarmed),
                    (incoming_sequence, incoming_timestamp),
                    progress.codec,
                    self.open_event.take(),
                    now,
                )))
            }
            _ => Mode::Waiting(unarmed),
        };
    }

    /// The agent's side has agreed on media anew.
    pub(super) fn agree(&mut self, agent: &LegMedia) {
        if let Some(armed) = self.armed_mut() {
            armed.agree(agent);
        }
    }

    /// A packet came on a stream that was armed before it began: it tells where to begin.
    pub(super) fn begin(
        &mut self,
        header: &RtpHeader,
        types: &PayloadTypes,
        masking: Masking,
        now: Now,
    ) {
        if !matches!(self.mode, Mode::Waiting(_)) {
            return;
        }
        let Some((payload_type, codec)) = types.preferred() else {
            return;
        };
        let Mode::Waiting(unarmed) = std::mem::replace(&mut self.mode, Mode::Moving) else {
            return;
        };
        let start = MaskerStart {
            ssrc: header.ssrc,
            payload_type,
            codec,
            sequence: header.sequence.wrapping_add(self.shifts.sequence),
            timestamp: header.timestamp.wrapping_add(self.shifts.timestamp),
            frame: self.frame,
        };
        let came_in = types
            .get(header.payload_type)
            .and_then(Encoding::audio)
            .unwrap_or(codec);
        self.mode = Mode::Armed(Box::new(Armed::new(
            Masker::new(start, masking, unarmed),
            (header.sequence, header.timestamp),
            came_in,
            None,
            now,
        )));
    }

    /// Whether a release cuts into nothing, or `waited` long enough for quiet.
    pub(super) fn may_release(&self, now: Now, waited: Duration) -> bool {
        match &self.mode {
            Mode::Armed(armed) => armed.may_release(now, waited),
            Mode::Open(_) | Mode::Waiting(_) => true,
            Mode::Moving => false,
        }
    }

    /// Gives the stream back.
    pub(super) fn release(&mut self, proof: &mut MaskingProof) {
        match std::mem::replace(&mut self.mode, Mode::Moving) {
            Mode::Armed(armed) => {
                armed.add_to(proof);
                let (came_packets, came_octets) = armed.hearing().came();
                let (sent_packets, sent_octets) = armed.sent();
                self.packets_more = self
                    .packets_more
                    .wrapping_add(sent_packets.wrapping_sub(came_packets));
                self.octets_more = self
                    .octets_more
                    .wrapping_add(sent_octets.wrapping_sub(came_octets));
                self.relayed_packets = self.relayed_packets.wrapping_add(sent_packets);
                self.relayed_octets = self.relayed_octets.wrapping_add(sent_octets);
                let (sequence, timestamp) = armed.hearing().goes_on();
                self.floor = Some(Floor {
                    ssrc: armed.ssrc(),
                    sequence,
                    timestamp,
                    codec: armed.hearing().codec(),
                    foreign_event: armed.hearing().last_foreign_event(),
                    opaque_packets: OPAQUE_PACKETS,
                });
                let codec = armed.hearing().codec();
                let (progress, shifts, unarmed) = armed.release();
                self.progress = Some(Progress {
                    ssrc: progress.0,
                    sequence: progress.1,
                    timestamp: progress.2,
                    codec,
                });
                self.shifts = shifts;
                self.mode = Mode::Open(unarmed);
            }
            Mode::Waiting(unarmed) => self.mode = Mode::Open(unarmed),
            other => self.mode = other,
        }
    }

    /// What the masker of an armed stream did so far, added to the proof.
    pub(super) fn add_to(&self, proof: &mut MaskingProof) {
        if let Mode::Armed(armed) = &self.mode {
            armed.add_to(proof);
        }
    }
}
