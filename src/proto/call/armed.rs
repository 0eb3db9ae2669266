//! An armed stream: every packet of the caller is heard, and what leaves is made anew.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::proto::{
    capture::Capture,
    codec::Law,
    dtmf::{Ear, EventPacket, OutputCheck, Verdict},
    mask::{LOOK_AHEAD, Masker, Outbox, Shifts, Unarmed},
    proof::MaskingProof,
    rtp::{ExtendedSequence, HEADER_BYTES, NamedEvents, RtpHeader, difference},
    secret::{KeySlot, Pressed},
    time::Now,
};

use super::{
    command::{Encoding, LegMedia},
    stream::{OpenEvent, PayloadTypes, law_of},
};

/// Longest stretch of lost audio that is filled; beyond it the timeline starts anew.
const MAX_GAP: i32 = 1_200;
/// Audio is heard in pieces of 20 ms, so that a piece holds one press at most.
const PIECE: usize = 160;
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
/// How long a release waits for a quiet moment.
const RELEASE_PATIENCE: Duration = Duration::from_millis(500);
/// Linear amplitude below which 12 ms may be dropped unheard: about -43 dBm0.
const QUIET: u16 = 160;

/// What one packet of an armed stream led to.
#[derive(Default)]
pub(super) struct Heard {
    /// The source changed: keys of the field under way may be missing.
    pub(super) source_changed: bool,
    /// The output check heard a tone: nothing of this batch left.
    pub(super) incident: bool,
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
    fn hear(
        &mut self,
        listen: impl FnOnce(Option<&mut KeySlot>, &mut dyn FnMut(Pressed)) -> Verdict,
    ) -> Verdict {
        let mut capture = self.capture.as_mut().filter(|_| self.open);
        let mut pressed = None;
        let slot = capture.as_deref_mut().and_then(Capture::slot_mut);
        let verdict = listen(slot, &mut |key| pressed = Some(key));
        if let Some(pressed) = pressed {
            self.presses = self.presses.saturating_add(1);
            if let Some(capture) = capture {
                capture.handle_pressed(pressed, self.now);
            }
        }
        verdict
    }
}

/// A source that may take over the caller's stream.
struct Candidate {
    ssrc: u32,
    sequence: u16,
    packets: u32,
}

/// The armed stream. What tells a key is wiped when it is dropped.
pub(super) struct Armed {
    masker: Masker,
    ear: Ear,
    check: OutputCheck,
    highest: ExtendedSequence,
    /// Timestamp of the next sample of the caller's audio, in the caller's numbers.
    expected: u32,
    /// At first the arming itself.
    last_packet: Instant,
    /// Since when packets have come without a [`PAUSE`].
    flowing_since: Instant,
    last_audio: Option<Instant>,
    last_key: Option<Instant>,
    /// Timestamp and beginning of the last event whose clock is not the audio's: what ties the two
    /// clocks together.
    foreign_event: Option<(u32, i64)>,
    candidate: Option<Candidate>,
    farewell: Option<OpenEvent>,
    came_packets: u32,
    came_octets: u32,
    refused: u64,
    checked: u64,
    keys: u32,
    leaked: u32,
}

impl Armed {
    pub(super) fn new(
        masker: Masker,
        next_sequence: u16,
        next_timestamp: u32,
        farewell: Option<OpenEvent>,
        now: Now,
    ) -> Self {
        Self {
            masker,
            ear: Ear::default(),
            check: OutputCheck::default(),
            highest: ExtendedSequence::first(next_sequence.wrapping_sub(1)),
            expected: next_timestamp,
            last_packet: now.instant,
            flowing_since: now.instant,
            last_audio: None,
            last_key: None,
            foreign_event: None,
            candidate: None,
            farewell,
            came_packets: 0,
            came_octets: 0,
            refused: 0,
            checked: 0,
            keys: 0,
            leaked: 0,
        }
    }

    /// The agent's side has agreed on media anew. A codec that it takes no longer it would not hear:
    /// what leaves follows it.
    pub(super) fn agree(&mut self, agent: &LegMedia) {
        let codecs = || {
            let named = agent.payload_types.iter();
            named.filter_map(|(number, encoding)| Some((*number, law_of(*encoding)?)))
        };
        let now = self.masker.codec();
        if let Some((payload_type, law)) = codecs().next()
            && !codecs().any(|codec| codec == now)
        {
            self.masker.set_codec(payload_type, law);
        }
    }

    /// Hears one packet of the caller and puts into `out` what may leave because of it.
    pub(super) fn handle(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        types: &PayloadTypes,
        capture: &mut Option<Capture>,
        now: Now,
        out: &mut Outbox,
    ) -> Heard {
        let mut heard = Heard::default();
        let since = self.highest.nearest(header.sequence).since(self.highest);
        let known = header.ssrc == self.masker.ssrc() && since >= -MAX_MISORDER;
        if !known && !self.follow(header, now, &mut heard) {
            self.refused += 1;
            return heard;
        }
        let payload = datagram.get(header.payload.clone()).unwrap_or_default();
        self.came_packets = self.came_packets.wrapping_add(1);
        self.came_octets = self.came_octets.wrapping_add(payload.len() as u32);
        let sequence = self.highest.nearest(header.sequence);
        let in_order = sequence > self.highest;
        self.highest = self.highest.max(sequence);
        let mut keys = Keys {
            capture,
            open: !heard.source_changed,
            now,
            presses: 0,
        };
        match types.get(header.payload_type) {
            Some(Encoding::TelephoneEvent(rate)) => {
                self.hear_events(payload, header, rate, &mut keys);
            }
            Some(encoding) => match law_of(encoding) {
                Some(law) if in_order => {
                    self.hear_audio(payload, header, law, &mut keys);
                    self.last_audio = Some(now.instant);
                }
                // Too late for the agent: its place has been filled.
                Some(_) => {}
                None => self.refuse(header, in_order),
            },
            None => self.refuse(header, in_order),
        }
        if now.instant.duration_since(self.last_packet) >= PAUSE {
            self.flowing_since = now.instant;
        }
        self.last_packet = now.instant;
        if self.ear.key_is_down() || keys.presses > 0 {
            self.last_key = Some(now.instant);
        }
        self.keys = self.keys.saturating_add(keys.presses);
        if keys.presses > 0 {
            self.masker.note_press();
        }
        self.masker.emit(out);
        self.check_output(out, &mut heard);
        heard
    }

    /// Whether a packet of another SSRC, or with numbers of its own, belongs to a source that is to
    /// be followed from here on.
    fn follow(&mut self, header: &RtpHeader, now: Now, heard: &mut Heard) -> bool {
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
        heard.source_changed = true;
        self.ear = Ear::default();
        self.foreign_event = None;
        self.masker.replace_source(header.ssrc);
        self.highest = ExtendedSequence::first(header.sequence.wrapping_sub(1));
        self.expected = header.timestamp;
        true
    }

    fn hear_audio(&mut self, payload: &[u8], header: &RtpHeader, law: Law, keys: &mut Keys<'_>) {
        let step = difference(header.timestamp, self.expected);
        let codes = if !(-MAX_GAP..=MAX_GAP).contains(&step) {
            self.restart(step);
            payload
        } else if step > 0 {
            self.gap(step);
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
        self.masker.set_frame(payload.len());
        let leaving_law = self.masker.law();
        let (mut samples, mut leaving) = ([0i16; PIECE], [0u8; PIECE]);
        for piece in codes.chunks(PIECE) {
            let samples = &mut samples[..piece.len()];
            let leaving = &mut leaving[..piece.len()];
            for ((code, sample), leave) in piece.iter().zip(&mut *samples).zip(&mut *leaving) {
                *sample = law.decode(*code);
                *leave = if law == leaving_law {
                    *code
                } else {
                    leaving_law.encode(*sample)
                };
            }
            let verdict = keys.hear(|slot, pressed| self.ear.hear_audio(samples, slot, pressed));
            self.masker.push(leaving, &verdict);
        }
        self.expected = self.expected.wrapping_add(codes.len() as u32);
        samples.zeroize();
        leaving.zeroize();
    }

    fn hear_events(&mut self, payload: &[u8], header: &RtpHeader, rate: u32, keys: &mut Keys<'_>) {
        // Without audio beside it the event itself moves the time on, so that the agent's stream
        // does not stop.
        let stopped = self
            .last_audio
            .is_none_or(|last| keys.now.instant.duration_since(last) >= AUDIO_STOPPED);
        let step = difference(header.timestamp, self.expected);
        if rate == 8_000 && stopped && step > MAX_GAP && i64::from(step) < SAME_CLOCK {
            self.restart(step);
        }
        let position = i64::try_from(self.masker.heard()).unwrap_or(i64::MAX);
        let mut follows = None;
        let mut timestamp = header.timestamp;
        for event in NamedEvents::new(payload) {
            let samples = i64::from(event.duration) * 8_000 / i64::from(rate.max(1));
            let start =
                follows.unwrap_or_else(|| self.event_start(header, rate, samples, position));
            let until = start + samples;
            follows = Some(until);
            let packet = EventPacket {
                code: event.code,
                start,
                until,
                end: event.end,
                timestamp,
            };
            // Events packed into one packet follow each other in time (RFC 4733 section 2.5.1.5).
            timestamp = timestamp.wrapping_add(u32::from(event.duration));
            let verdict = keys.hear(|slot, pressed| self.ear.hear_event(packet, slot, pressed));
            self.masker.mark(&verdict);
        }
        let covered = follows.map_or(0, |until| until - position);
        if stopped && covered > 0 {
            self.gap(i32::try_from(covered).unwrap_or(MAX_GAP).min(MAX_GAP));
        }
    }

    /// Where an event began on the scale of the samples heard. The timestamp tells where its clock
    /// is the audio's; otherwise it tells how long after the event before. Where that makes no
    /// sense, this packet came when the event had lasted as long as it says.
    fn event_start(&mut self, header: &RtpHeader, rate: u32, samples: i64, position: i64) -> i64 {
        let step = i64::from(difference(header.timestamp, self.expected));
        if rate == 8_000 && step.abs() < SAME_CLOCK {
            return position + step;
        }
        let start = self
            .foreign_event
            .and_then(|(timestamp, start)| {
                let later = i64::from(difference(header.timestamp, timestamp));
                let begin = start + later * 8_000 / i64::from(rate.max(1));
                let fits = (begin + samples - position).abs() < SAME_ANCHOR;
                (later == 0 || fits).then_some(begin)
            })
            .unwrap_or(position - samples);
        self.foreign_event = Some((header.timestamp, start));
        start
    }

    /// Default-deny: not understood, so it becomes silence.
    fn refuse(&mut self, header: &RtpHeader, in_order: bool) {
        self.refused += 1;
        let step = difference(header.timestamp, self.expected);
        if in_order && step > 0 && step <= MAX_GAP {
            self.gap(step);
        }
    }

    /// `samples` of the caller's time without audio.
    fn gap(&mut self, samples: i32) {
        let samples = usize::try_from(samples).unwrap_or(0);
        let verdict = self.ear.hear_gap(samples);
        self.masker.push_gap(samples, &verdict);
        self.expected = self.expected.wrapping_add(samples as u32);
    }

    /// The caller's timeline jumps by `step`.
    fn restart(&mut self, step: i32) {
        self.expected = self.expected.wrapping_add_signed(step);
        // What the agent's side sees of a jump: forward as far as the caller's, never back.
        let held = self.masker.waiting().saturating_sub(LOOK_AHEAD) as u32;
        let forward = u32::try_from(step).unwrap_or(0);
        let gap = usize::try_from(step.clamp(0, 8_000)).unwrap_or(0);
        let _ = self.ear.hear_gap(gap);
        self.masker.pass_over(gap);
        self.masker.restart(held.wrapping_add(forward));
    }

    /// The independent check of what leaves. A tone in it: nothing of this batch leaves, and
    /// nothing but silence ever after (PCI DSS 10.7.2).
    fn check_output(&mut self, out: &mut Outbox, heard: &mut Heard) {
        let law = self.masker.law();
        for cleared in out.cleared() {
            let payload = cleared.datagram().get(HEADER_BYTES..).unwrap_or_default();
            let mut samples = [0i16; PIECE];
            for piece in payload.chunks(PIECE) {
                let samples = &mut samples[..piece.len()];
                for (sample, code) in samples.iter_mut().zip(piece) {
                    *sample = law.decode(*code);
                }
                heard.incident |= self.check.listen(samples);
            }
            samples.zeroize();
            self.checked += 1;
        }
        if heard.incident {
            self.leaked = self.leaked.saturating_add(1);
            self.masker.mute();
            out.wipe();
        }
    }

    /// Ends an event that was cut in the middle by the arming.
    pub(super) fn handle_timeout(&mut self, out: &mut Outbox) {
        if let Some(event) = self.farewell.take() {
            self.masker
                .end_event(event.payload_type, event.timestamp, event.payload, out);
        }
    }

    pub(super) const fn owes_farewell(&self) -> bool {
        self.farewell.is_some()
    }

    pub(super) fn may_release(&self, now: Now, waited: Duration) -> bool {
        let silence = now.instant.duration_since(self.last_packet);
        let stopped = silence >= STREAM_STOPPED;
        let flowing =
            silence < PAUSE && now.instant.duration_since(self.flowing_since) >= super::HANGOVER;
        // What a network held back was keyed before the release: it is heard, or comes no more.
        let caught_up = flowing || stopped || waited >= STREAM_STOPPED;
        // A network that stood still brings the rest of the key later.
        let key_up = !self.ear.key_is_down() || silence >= KEY_FORGOTTEN;
        let after_key = self
            .last_key
            .is_none_or(|last| now.instant.duration_since(last) >= super::HANGOVER);
        let quiet = waited >= RELEASE_PATIENCE || self.masker.is_quiet(QUIET);
        let clear = stopped || self.masker.is_clear();
        caught_up && key_up && after_key && clear && quiet && self.leaked == 0
    }

    /// Where the caller's stream goes on: the next sequence number and timestamp, as the caller
    /// counts them.
    pub(super) fn goes_on(&self) -> (u16, u32) {
        (self.highest.next_low(), self.expected)
    }

    /// Timestamp of the last event whose clock is not the audio's.
    pub(super) fn last_foreign_event(&self) -> Option<u32> {
        self.foreign_event.map(|(timestamp, _)| timestamp)
    }

    /// Gives the stream back: SSRC, next sequence number and timestamp that leave, the constants
    /// from here on, and the right to relay.
    pub(super) fn release(self) -> ((u32, u16, u32), Shifts, Unarmed) {
        let shifts = self.shifts();
        let ssrc = self.masker.ssrc();
        let (takeover, unarmed) = self.masker.release();
        (
            (ssrc, takeover.sequence, takeover.timestamp),
            shifts,
            unarmed,
        )
    }

    /// What stands now between the caller's timestamps and those that leave, for sender reports:
    /// other than after a release, what waits still leaves.
    pub(super) fn timestamp_shift(&self) -> u32 {
        let waiting = self.masker.waiting() as u32;
        self.shifts().timestamp.wrapping_add(waiting)
    }

    pub(super) fn shifts(&self) -> Shifts {
        let next = self.masker.next();
        Shifts {
            sequence: next.sequence.wrapping_sub(self.highest.next_low()),
            timestamp: next.timestamp.wrapping_sub(self.expected),
        }
    }

    pub(super) const fn came(&self) -> (u32, u32) {
        (self.came_packets, self.came_octets)
    }

    pub(super) const fn sent(&self) -> (u32, u32) {
        self.masker.sent()
    }

    pub(super) const fn ssrc(&self) -> u32 {
        self.masker.ssrc()
    }

    pub(super) fn add_to(&self, proof: &mut MaskingProof) {
        self.masker.add_to(proof);
        proof.packets_checked += self.checked;
        proof.packets_refused += self.refused;
        proof.keys_heard += self.keys;
        proof.tones_leaked += self.leaked;
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::call::{
        ArmRefusal, Command, Holder, Output,
        tests::{World, five},
    };

    #[test]
    fn after_a_tone_that_left_the_leg_stays_muted_for_good() {
        let mut world = World::armed();
        // The ear is deaf: its verdict on silence clears a tone.
        let armed = world.call.stream.armed_mut().unwrap();
        let deaf = armed.ear.hear_audio(&[0; 960], None, &mut drop);
        armed.masker.push(&five(0, 960), &deaf);
        let left = world.speak(20);
        let spoken = |datagram: &&Vec<u8>| datagram[12..].iter().any(|code| *code != 0xff);
        assert_eq!(left.iter().filter(spoken).count(), 0);
        let incidents = |world: &World| {
            let is = |output: &&Output| matches!(output, Output::Incident);
            world.said.iter().filter(is).count()
        };
        assert_eq!(incidents(&world), 1);
        world.command(Command::Release(Holder::Ng));
        let left = world.speak(100);
        assert_eq!(left.iter().filter(spoken).count(), 0);
        assert!(!left.is_empty() && world.call.is_armed());
        world.command(Command::Arm(Holder::Ng));
        let refusal = world.said.last();
        assert!(matches!(
            refusal,
            Some(Output::ArmRefused(_, ArmRefusal::Incident))
        ));
        assert_eq!(incidents(&world), 1);
    }
}
