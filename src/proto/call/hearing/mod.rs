//! The caller's side of a stream that is listened to: follows its source, understands its packets
//! and lets the ear hear them. What that means for whoever listens in is the [`Sink`]'s part.

mod audio;
mod events;
mod keys;
mod late;

use std::time::{Duration, Instant};

use crate::proto::{
    capture::{Capture, CaptureFailure},
    codec::{Audio, StreamDecoder},
    digit::Key,
    dtmf::{Ear, KeyOverNoise, Order, PressesTold, Suspicion, Verdict, code_of_tone},
    encoding::{AudioCodec, Encoding},
    rtp::{EVENT_BYTES, NamedEvent, NamedEvents, RtpHeader, ToneDescription},
    time::Now,
};

use super::{
    HANGOVER,
    sequence::{Place, Resequencer},
    source,
    stream::PayloadTypes,
};

pub(super) use keys::Keeper;
use keys::Keys;
use late::Recent;

/// Longest stretch of lost audio that is filled; beyond it the timeline starts anew.
const MAX_GAP: i32 = 1_200;
/// Audio is heard in pieces of 20 ms, so that a piece holds one press at most.
pub(super) const PIECE: usize = 160;
/// Furthest that a timestamp may be from the audio's to be of the same clock: 10 s of 8 kHz.
const SAME_CLOCK: i64 = 80_000;
/// Furthest that an event in another clock may end from what is heard now: 500 ms.
const SAME_ANCHOR: i64 = 4_000;
/// A packet more than this many behind is no late one: its numbers began anew (RFC 3550 A.1).
const MAX_MISORDER: i64 = 100;
/// Audio is taken to have stopped for an event after this long without any.
const AUDIO_STOPPED: Duration = Duration::from_millis(30);
/// Without a packet for this long, a network may be holding some back.
const PAUSE: Duration = Duration::from_millis(100);
/// A caller who sends nothing for this long has stopped, or is on hold: nothing is held back.
const STREAM_STOPPED: Duration = Duration::from_secs(1);
/// A key that was down when the caller stopped counts as released after this long.
const KEY_FORGOTTEN: Duration = Duration::from_secs(2);
/// Codecs with a memory.
const CODECS_WITH_MEMORY: usize = 3;

/// Takes what was heard, in the order of the caller's time. Positions and lengths are samples of 8 kHz.
pub(super) trait Sink {
    /// Audio, with what the ear says of it. At most 20 ms at once.
    fn audio(&mut self, audio: &Audio<'_>, verdict: &Verdict);
    /// `samples` that never came, or that an event covers.
    fn gap(&mut self, samples: usize, verdict: &Verdict);
    /// What the ear says without new audio.
    fn mark(&mut self, verdict: &Verdict);
    /// A key was pressed, whichever.
    fn pressed(&mut self);
    /// Samples a packet, from here on.
    fn packet_time(&mut self, samples: usize);
    /// The caller's timeline jumps by `step`; the ear was told of `passed` samples of it.
    fn restart(&mut self, step: i32, passed: usize);
    /// Another source took over; the ear begins anew.
    fn source_changed(&mut self, ssrc: u32);
}

/// What one packet carries, or one block of RED.
struct Packet<'a> {
    encoding: Option<Encoding>,
    payload: &'a [u8],
    timestamp: u32,
    /// Others were heard behind it.
    late: bool,
}

/// Hears a key that a SIP INFO told on a stream that was armed before its first packet: there is
/// nothing yet that could tell the same press.
pub(super) fn hear_info_before_media(key: Key, capture: &mut Option<Capture>, now: Now) {
    let mut keys = Keys::new(capture, now);
    keys.hear(|slot, pressed| Ear::default().hear_info(key, slot, pressed));
}

/// A source that may take over the caller's stream.
struct Candidate {
    ssrc: u32,
    sequence: u16,
    packets: u32,
}

/// The listened-to stream of the caller. What tells a key is wiped when it is dropped.
pub(super) struct Hearing {
    ear: Ear,
    ssrc: u32,
    sequence: Resequencer,
    /// Timestamp of the next sample of the caller's audio, in the caller's numbers.
    expected: u32,
    /// The codec of the caller's audio, whose clock these numbers have.
    codec: AudioCodec,
    /// Decoders with a memory, each made when it is first needed.
    decoders: Vec<StreamDecoder>,
    recent: Recent,
    began: Instant,
    /// At first the beginning of listening.
    last_packet: Instant,
    /// Since when packets have come without a [`PAUSE`].
    flowing_since: Instant,
    last_audio: Option<Instant>,
    last_key: Option<Instant>,
    /// Timestamp and beginning of the last event whose clock is not the audio's: what ties the two
    /// clocks together.
    foreign_event: Option<(u32, i64)>,
    candidate: Option<Candidate>,
    came_packets: u32,
    came_octets: u32,
    refused: u64,
    keys: u32,
}

impl Hearing {
    /// Listens from the packet on that has these numbers.
    pub(super) fn new(
        ssrc: u32,
        next_sequence: u16,
        next_timestamp: u32,
        codec: AudioCodec,
        now: Now,
    ) -> Self {
        let mut ear = Ear::default();
        ear.set_straying(codec.straying());
        Self {
            ear,
            ssrc,
            sequence: Resequencer::new(next_sequence),
            expected: next_timestamp,
            codec,
            decoders: Vec::with_capacity(CODECS_WITH_MEMORY),
            recent: Recent::default(),
            began: now.instant,
            last_packet: now.instant,
            flowing_since: now.instant,
            last_audio: None,
            last_key: None,
            foreign_event: None,
            candidate: None,
            came_packets: 0,
            came_octets: 0,
            refused: 0,
            keys: 0,
        }
    }

    /// Takes one packet of the caller and hears it if its turn has come; [`Hearing::hear_held`] has to
    /// be drained after it. The answer is why the field under way cannot be trusted any more, if so.
    pub(super) fn handle(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        types: &PayloadTypes,
        keeper: &mut dyn Keeper,
        now: Now,
        sink: &mut impl Sink,
    ) -> Option<CaptureFailure> {
        let last = self.sequence.last();
        let since = last.nearest(header.sequence).since(last);
        let known = header.ssrc == self.ssrc && since >= -MAX_MISORDER;
        // Repairs and retransmissions have sources of their own, which are never the caller's voice.
        let understood = !matches!(types.get(header.payload_type), Some(Encoding::Other) | None);
        let followed = known || (understood && self.follow(header, now, sink));
        if !followed {
            self.refused += 1;
            return None;
        }
        let payload = datagram.get(header.payload.clone()).unwrap_or_default();
        let place = self.sequence.push(header, payload, now.instant);
        let encoding = types.get(header.payload_type);
        if place != Place::Duplicate {
            self.came_packets = self.came_packets.wrapping_add(1);
            self.came_octets = self.came_octets.wrapping_add(payload.len() as u32);
            // Also what is held has come.
            if encoding.and_then(Encoding::audio).is_some() {
                self.last_audio = Some(now.instant);
            }
        }
        let mut keys = Keys {
            open: known,
            ..Keys::new(keeper, now)
        };
        self.tell_clock(now);
        let packet = Packet {
            encoding,
            payload,
            timestamp: header.timestamp,
            late: place != Place::Next,
        };
        let order = match place {
            Place::Next | Place::Late => self.hear(&packet, types, &mut keys, sink),
            // Some senders count their events apart from their audio.
            Place::Duplicate if matches!(encoding, Some(Encoding::TelephoneEvent(_))) => {
                self.hear(&packet, types, &mut keys, sink)
            }
            Place::Held | Place::Duplicate => Order::Kept,
        };
        self.note_presses(&keys, sink);
        if now.instant.duration_since(self.last_packet) >= PAUSE {
            self.flowing_since = now.instant;
        }
        self.last_packet = now.instant;
        match order {
            _ if !known => Some(CaptureFailure::MediaChanged),
            Order::Broken => Some(CaptureFailure::MediaLost),
            Order::Kept => None,
        }
    }

    /// Hears a packet that was held for one before it and whose turn has come, if there is one: what
    /// it says of the order of the keys.
    pub(super) fn hear_held(
        &mut self,
        types: &PayloadTypes,
        keeper: &mut dyn Keeper,
        now: Now,
        sink: &mut impl Sink,
    ) -> Option<Order> {
        if !self.sequence.is_holding() {
            return None;
        }
        let mut sequence = std::mem::take(&mut self.sequence);
        let order = sequence.pop(now.instant).map(|released| {
            let mut keys = Keys::new(keeper, now);
            let packet = Packet {
                encoding: types.get(released.header.payload_type),
                payload: released.payload,
                timestamp: released.header.timestamp,
                late: false,
            };
            self.tell_clock(now);
            let order = self.hear(&packet, types, &mut keys, sink);
            self.note_presses(&keys, sink);
            order
        });
        self.sequence = sequence;
        order
    }

    /// When [`Hearing::hear_held`] will hear something though nothing comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sequence.poll_timeout()
    }

    fn note_presses(&mut self, keys: &Keys<'_>, sink: &mut impl Sink) {
        let pressed = self.ear.take_press();
        if self.ear.key_is_down() || pressed {
            self.last_key = Some(keys.now.instant);
        }
        self.keys = self.keys.saturating_add(keys.presses);
        if pressed {
            sink.pressed();
        }
    }

    /// Hears a key that a SIP INFO told. It has no time of the media, so its moment is the one at
    /// which it came. Nothing of what leaves changes by it.
    pub(super) fn hear_info(&mut self, key: Key, keeper: &mut dyn Keeper, now: Now) {
        self.tell_clock(now);
        let mut keys = Keys::new(keeper, now);
        keys.hear(|slot, pressed| self.ear.hear_info(key, slot, pressed));
        self.keys = self.keys.saturating_add(keys.presses);
        // The key may still be down in the media, or not yet.
        self.last_key = Some(now.instant);
    }

    fn tell_clock(&mut self, now: Now) {
        let since = now.instant.duration_since(self.began).as_millis();
        self.ear.set_clock(u64::try_from(since).unwrap_or(u64::MAX));
    }

    /// Whether a packet of another SSRC, or with numbers of its own, belongs to a source that is to
    /// be followed from here on.
    fn follow(&mut self, header: &RtpHeader, now: Now, sink: &mut impl Sink) -> bool {
        let packets = match &self.candidate {
            Some(c) if c.ssrc == header.ssrc && c.sequence.wrapping_add(1) == header.sequence => {
                c.packets + 1
            }
            _ => 1,
        };
        self.candidate = Some(Candidate {
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets,
        });
        let silent = now.instant.duration_since(self.last_packet) >= source::SILENT;
        if packets < source::PACKETS || !silent {
            return false;
        }
        self.candidate = None;
        self.ear = self.ear.begin_anew();
        self.decoders.clear();
        self.recent.forget();
        self.foreign_event = None;
        self.ssrc = header.ssrc;
        sink.source_changed(header.ssrc);
        self.sequence.follow(header.sequence);
        self.expected = header.timestamp;
        true
    }

    /// Hears a packet in its turn, or one behind which others were heard.
    fn hear(
        &mut self,
        packet: &Packet<'_>,
        types: &PayloadTypes,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        match packet.encoding {
            Some(Encoding::Red) => self.hear_red(packet, types, keys, sink),
            _ => self.hear_block(packet, keys, sink),
        }
    }

    /// Hears what is no RED.
    fn hear_block(
        &mut self,
        packet: &Packet<'_>,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        match packet.encoding {
            Some(Encoding::TelephoneEvent(rate)) if packet.payload.len() >= EVENT_BYTES => {
                let events = NamedEvents::new(packet.payload);
                self.hear_events(events, packet, rate, keys, sink)
            }
            Some(Encoding::Tone(rate)) => match ToneDescription::parse(packet.payload) {
                Ok(tone) => {
                    let event = NamedEvent {
                        code: code_of_tone(tone.pair_hz()),
                        end: false,
                        duration: tone.duration(),
                    };
                    self.hear_events(std::iter::once(event), packet, rate, keys, sink)
                }
                Err(_) => self.refuse(packet, sink),
            },
            Some(Encoding::Audio(codec)) if packet.late => {
                self.hear_late_audio(packet, codec, keys)
            }
            Some(Encoding::Audio(codec)) => self.hear_audio(packet, codec, keys, sink),
            Some(Encoding::TelephoneEvent(_) | Encoding::Red | Encoding::Other) | None => {
                self.refuse(packet, sink)
            }
        }
    }

    /// Default-deny: not understood, so it becomes silence.
    fn refuse(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) -> Order {
        self.refused += 1;
        let step = self.samples_until(packet.timestamp);
        if !packet.late && step > 0 && step <= MAX_GAP {
            self.gap(step, sink);
        }
        Order::Kept
    }

    /// Whether the caller sends nothing any more, or is on hold.
    pub(super) fn has_stopped(&self, now: Now) -> bool {
        now.instant.duration_since(self.last_packet) >= STREAM_STOPPED
    }

    /// Whether no key is down and none can still come out of the network, to be asked `waited` after
    /// the hangover of the last release.
    pub(super) fn is_done(&self, now: Now, waited: Duration) -> bool {
        let silence = now.instant.duration_since(self.last_packet);
        let flowing = silence < PAUSE && now.instant.duration_since(self.flowing_since) >= HANGOVER;
        // What a network held back was keyed before the release: it is heard, or comes no more.
        let caught_up = flowing || self.has_stopped(now) || waited >= STREAM_STOPPED;
        let after_key = self
            .last_key
            .is_none_or(|last| now.instant.duration_since(last) >= HANGOVER);
        // A network that stood still brings the rest of the key later. What is held would be neither
        // heard nor relayed.
        caught_up && self.key_is_up(now) && after_key && !self.sequence.is_holding()
    }

    /// Whether no key is down, or none that can still be heard.
    pub(super) fn key_is_up(&self, now: Now) -> bool {
        let silence = now.instant.duration_since(self.last_packet);
        !self.ear.key_is_down() || silence >= KEY_FORGOTTEN
    }

    /// See [`Ear::seek_tones`].
    pub(super) fn seek_tones(&mut self) {
        self.ear.seek_tones();
    }

    /// Suspects as readily as this from here on.
    pub(super) fn set_suspicion(&mut self, suspicion: Suspicion) {
        self.ear.set_suspicion(suspicion);
    }

    /// See [`Ear::key_over_noise`].
    pub(super) fn key_over_noise(&self) -> Option<KeyOverNoise> {
        self.ear.key_over_noise()
    }

    /// Where the caller's stream goes on: the next sequence number and timestamp, as the caller
    /// counts them. What is held lies behind it.
    pub(super) fn goes_on(&self) -> (u16, u32) {
        (self.sequence.last().next_low(), self.expected)
    }

    /// The codec whose clock [`Hearing::goes_on`] has.
    pub(super) const fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Timestamp of the last event whose clock is not the audio's.
    pub(super) fn last_foreign_event(&self) -> Option<u32> {
        self.foreign_event.map(|(timestamp, _)| timestamp)
    }

    /// Packets and payload octets that came, for reports.
    pub(super) const fn came(&self) -> (u32, u32) {
        (self.came_packets, self.came_octets)
    }

    /// Packets that were not understood.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// What was told of presses since this was last asked.
    pub(super) fn take_told(&mut self) -> PressesTold {
        self.ear.take_told()
    }

    /// Keys heard.
    pub(super) const fn keys(&self) -> u32 {
        self.keys
    }

    #[cfg(test)]
    pub(super) const fn ear_mut(&mut self) -> &mut Ear {
        &mut self.ear
    }
}

#[cfg(test)]
mod tests;
