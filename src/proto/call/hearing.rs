//! The caller's side of a stream that is listened to: follows its source, understands its packets
//! and lets the ear hear them. What that means for whoever listens in is the [`Sink`]'s part.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::proto::{
    capture::{Capture, CaptureFailure},
    codec::Law,
    dtmf::{Ear, EventPacket, Order, Verdict},
    encoding::Encoding,
    rtp::{MAX_DATAGRAM, NamedEvents, RtpHeader, difference},
    secret::{KeySlot, Pressed},
    time::Now,
};

use super::{
    sequence::{Place, Resequencer},
    stream::{PayloadTypes, law_of},
};

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
/// The old source has to be silent for this long before a new one is followed.
const SOURCE_SILENT: Duration = Duration::from_millis(100);
/// Consecutive packets that a new source has to show (RFC 3550 appendix A.1).
const SOURCE_PACKETS: u32 = 3;
/// Without a packet for this long, a network may be holding some back.
const PAUSE: Duration = Duration::from_millis(100);
/// A caller who sends nothing for this long has stopped, or is on hold: nothing is held back.
const STREAM_STOPPED: Duration = Duration::from_secs(1);
/// A key that was down when the caller stopped counts as released after this long.
const KEY_FORGOTTEN: Duration = Duration::from_secs(2);
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

/// A piece of the caller's audio.
pub(super) struct Audio<'a> {
    /// Its codewords.
    pub(super) codes: &'a [u8],
    /// Their law.
    pub(super) law: Law,
    /// The same, decoded.
    pub(super) samples: &'a [i16],
}

/// Where keys go: into the slot of the field that is open, if one is. The capture is told of each
/// at once, so that a key that ends a field ends it before the next one.
struct Keys<'a> {
    capture: &'a mut Option<Capture>,
    /// False for a source that took over in the middle of a field: its keys belong to nobody.
    open: bool,
    now: Now,
    presses: u32,
}

impl Keys<'_> {
    /// Lets `listen` hear what holds one press at most.
    fn hear<R>(
        &mut self,
        listen: impl FnOnce(Option<&mut KeySlot>, &mut dyn FnMut(Pressed)) -> R,
    ) -> R {
        let mut capture = self.capture.as_mut().filter(|_| self.open);
        let mut pressed = None;
        let slot = capture.as_deref_mut().and_then(Capture::slot_mut);
        let heard = listen(slot, &mut |key| pressed = Some(key));
        if let Some(pressed) = pressed {
            self.presses = self.presses.saturating_add(1);
            if let Some(capture) = capture {
                capture.handle_pressed(pressed, self.now);
            }
        }
        heard
    }
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
    pub(super) fn new(ssrc: u32, next_sequence: u16, next_timestamp: u32, now: Now) -> Self {
        Self {
            ear: Ear::default(),
            ssrc,
            sequence: Resequencer::new(next_sequence),
            expected: next_timestamp,
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
        capture: &mut Option<Capture>,
        now: Now,
        sink: &mut impl Sink,
    ) -> Option<CaptureFailure> {
        let last = self.sequence.last();
        let since = last.nearest(header.sequence).since(last);
        let known = header.ssrc == self.ssrc && since >= -MAX_MISORDER;
        if !known && !self.follow(header, now, sink) {
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
            if encoding.and_then(law_of).is_some() {
                self.last_audio = Some(now.instant);
            }
        }
        let mut keys = Keys {
            capture,
            open: known,
            now,
            presses: 0,
        };
        let order = match place {
            Place::Next => {
                self.hear(payload, header.timestamp, encoding, &mut keys, sink);
                Order::Kept
            }
            Place::Late => self.hear_late(payload, header.timestamp, encoding, &mut keys, sink),
            // Some senders count their events apart from their audio.
            Place::Duplicate if matches!(encoding, Some(Encoding::TelephoneEvent(_))) => {
                self.hear_late(payload, header.timestamp, encoding, &mut keys, sink)
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

    /// Hears a packet that was held for one before it and whose turn has come; false when there is
    /// none.
    pub(super) fn hear_held(
        &mut self,
        types: &PayloadTypes,
        capture: &mut Option<Capture>,
        now: Now,
        sink: &mut impl Sink,
    ) -> bool {
        if !self.sequence.is_holding() {
            return false;
        }
        let mut sequence = std::mem::take(&mut self.sequence);
        let released = sequence.pop(now.instant);
        let heard = released.is_some();
        if let Some(released) = released {
            let mut keys = Keys {
                capture,
                open: true,
                now,
                presses: 0,
            };
            let encoding = types.get(released.header.payload_type);
            let timestamp = released.header.timestamp;
            self.hear(released.payload, timestamp, encoding, &mut keys, sink);
            self.note_presses(&keys, sink);
        }
        self.sequence = sequence;
        heard
    }

    /// When [`Hearing::hear_held`] will hear something though nothing comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sequence.poll_timeout()
    }

    fn note_presses(&mut self, keys: &Keys<'_>, sink: &mut impl Sink) {
        if self.ear.key_is_down() || keys.presses > 0 {
            self.last_key = Some(keys.now.instant);
        }
        self.keys = self.keys.saturating_add(keys.presses);
        if keys.presses > 0 {
            sink.pressed();
        }
    }

    /// A packet in its turn.
    fn hear(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        encoding: Option<Encoding>,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) {
        match encoding {
            Some(Encoding::TelephoneEvent(rate)) => {
                let _ = self.hear_events(payload, timestamp, rate, false, keys, sink);
            }
            Some(encoding) => match law_of(encoding) {
                Some(law) => {
                    self.hear_audio(payload, timestamp, law, keys, sink);
                    self.last_audio = Some(keys.now.instant);
                }
                None => self.refuse(timestamp, sink),
            },
            None => self.refuse(timestamp, sink),
        }
    }

    /// A packet behind which others were heard. For the agent it is too late: its place was filled.
    fn hear_late(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        encoding: Option<Encoding>,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        if let Some(Encoding::TelephoneEvent(rate)) = encoding {
            return self.hear_events(payload, timestamp, rate, true, keys, sink);
        }
        let Some(law) = encoding.and_then(law_of) else {
            self.refused += 1;
            return Order::Kept;
        };
        let position = i64::try_from(self.ear.heard()).unwrap_or(i64::MAX);
        let start = position.saturating_add(i64::from(difference(timestamp, self.expected)));
        let mut samples = [0i16; MAX_DATAGRAM];
        for (sample, code) in samples.iter_mut().zip(payload) {
            *sample = law.decode(*code);
        }
        let late = &samples[..payload.len().min(MAX_DATAGRAM)];
        let order = keys.hear(|slot, pressed| self.ear.hear_late(late, start, slot, pressed));
        samples.zeroize();
        order
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
        let silent = now.instant.duration_since(self.last_packet) >= SOURCE_SILENT;
        if packets < SOURCE_PACKETS || !silent {
            return false;
        }
        self.candidate = None;
        self.ear = Ear::default();
        self.foreign_event = None;
        self.ssrc = header.ssrc;
        sink.source_changed(header.ssrc);
        self.sequence.follow(header.sequence);
        self.expected = header.timestamp;
        true
    }

    fn hear_audio(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        law: Law,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) {
        let step = difference(timestamp, self.expected);
        let codes = if !(-MAX_GAP..=MAX_GAP).contains(&step) {
            self.restart(step, sink);
            payload
        } else if step > 0 {
            self.gap(step, sink);
            payload
        } else {
            // An event covered the beginning of this packet already.
            payload
                .get(usize::try_from(-step).unwrap_or(usize::MAX)..)
                .unwrap_or_default()
        };
        if codes.is_empty() {
            return;
        }
        sink.packet_time(payload.len());
        let mut samples = [0i16; PIECE];
        for codes in codes.chunks(PIECE) {
            let samples = &mut samples[..codes.len()];
            for (code, sample) in codes.iter().zip(&mut *samples) {
                *sample = law.decode(*code);
            }
            let verdict = keys.hear(|slot, pressed| self.ear.hear_audio(samples, slot, pressed));
            let audio = Audio {
                codes,
                law,
                samples,
            };
            sink.audio(&audio, &verdict);
        }
        self.expected = self.expected.wrapping_add(codes.len() as u32);
        samples.zeroize();
    }

    fn hear_events(
        &mut self,
        payload: &[u8],
        timestamp: u32,
        rate: u32,
        late: bool,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        // Without audio beside it the event itself moves the time on, so that the agent's stream
        // does not stop.
        let stopped = self
            .last_audio
            .is_none_or(|last| keys.now.instant.duration_since(last) >= AUDIO_STOPPED);
        let step = difference(timestamp, self.expected);
        if rate == 8_000 && stopped && step > MAX_GAP && i64::from(step) < SAME_CLOCK {
            self.restart(step, sink);
        }
        let position = i64::try_from(self.ear.heard()).unwrap_or(i64::MAX);
        let mut follows = None;
        let mut began = timestamp;
        let mut order = Order::Kept;
        for event in NamedEvents::new(payload) {
            let samples = i64::from(event.duration) * 8_000 / i64::from(rate.max(1));
            let start =
                follows.unwrap_or_else(|| self.event_start(timestamp, rate, samples, position));
            let until = start + samples;
            follows = Some(until);
            let packet = EventPacket {
                code: event.code,
                start,
                until,
                end: event.end,
                timestamp: began,
            };
            // Events packed into one packet follow each other in time (RFC 4733 section 2.5.1.5).
            began = began.wrapping_add(u32::from(event.duration));
            let verdict = keys.hear(|slot, pressed| {
                if !late {
                    return self.ear.hear_event(packet, slot, pressed);
                }
                let (verdict, of_this) = self.ear.hear_late_event(packet, slot, pressed);
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
        let step = i64::from(difference(timestamp, self.expected));
        if rate == 8_000 && step.abs() < SAME_CLOCK {
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

    /// Default-deny: not understood, so it becomes silence.
    fn refuse(&mut self, timestamp: u32, sink: &mut impl Sink) {
        self.refused += 1;
        let step = difference(timestamp, self.expected);
        if step > 0 && step <= MAX_GAP {
            self.gap(step, sink);
        }
    }

    /// `samples` of the caller's time without audio.
    fn gap(&mut self, samples: i32, sink: &mut impl Sink) {
        let samples = usize::try_from(samples).unwrap_or(0);
        let verdict = self.ear.hear_gap(samples);
        sink.gap(samples, &verdict);
        self.expected = self.expected.wrapping_add(samples as u32);
    }

    /// The caller's timeline jumps by `step`.
    fn restart(&mut self, step: i32, sink: &mut impl Sink) {
        self.expected = self.expected.wrapping_add_signed(step);
        let passed = usize::try_from(step.clamp(0, 8_000)).unwrap_or(0);
        self.ear.hear_jump(passed);
        sink.restart(step, passed);
    }

    /// Whether the caller sends nothing any more, or is on hold.
    pub(super) fn has_stopped(&self, now: Now) -> bool {
        now.instant.duration_since(self.last_packet) >= STREAM_STOPPED
    }

    /// Whether no key is down and none can still come out of the network, to be asked `waited` after
    /// the hangover of the last release.
    pub(super) fn is_done(&self, now: Now, waited: Duration) -> bool {
        let silence = now.instant.duration_since(self.last_packet);
        let flowing =
            silence < PAUSE && now.instant.duration_since(self.flowing_since) >= super::HANGOVER;
        // What a network held back was keyed before the release: it is heard, or comes no more.
        let caught_up = flowing || self.has_stopped(now) || waited >= STREAM_STOPPED;
        // A network that stood still brings the rest of the key later.
        let key_up = !self.ear.key_is_down() || silence >= KEY_FORGOTTEN;
        let after_key = self
            .last_key
            .is_none_or(|last| now.instant.duration_since(last) >= super::HANGOVER);
        // What is held would be neither heard nor relayed.
        caught_up && key_up && after_key && !self.sequence.is_holding()
    }

    /// Where the caller's stream goes on: the next sequence number and timestamp, as the caller
    /// counts them. What is held lies behind it.
    pub(super) fn goes_on(&self) -> (u16, u32) {
        (self.sequence.last().next_low(), self.expected)
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

    /// Keys heard.
    pub(super) const fn keys(&self) -> u32 {
        self.keys
    }

    #[cfg(test)]
    pub(super) const fn ear_mut(&mut self) -> &mut Ear {
        &mut self.ear
    }
}
