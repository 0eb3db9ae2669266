//! An armed stream: every packet of the caller is heard, and what leaves is made anew.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::proto::{
    capture::{Capture, CaptureFailure},
    codec::{Audio, Law, StreamDecoder},
    digit::Key,
    dtmf::{Order, OutputCheck, Verdict},
    encoding::AudioCodec,
    mask::{Guard, Masker, Outbox, Shifts, Unarmed},
    proof::MaskingProof,
    rtp::{HEADER_BYTES, RtpHeader, rtcp::Outgoing},
    time::Now,
};

use super::{
    command::LegMedia,
    hearing::{Hearing, PIECE, Sink},
    stream::{OpenEvent, PayloadTypes},
};

/// How long a release waits for a quiet moment.
const RELEASE_PATIENCE: Duration = Duration::from_millis(500);
/// Linear amplitude below which what waits may be dropped unheard: about -43 dBm0.
const QUIET: u16 = 160;

/// What one packet of an armed stream, or the time that passed, led to.
#[derive(Default)]
pub(super) struct Heard {
    /// Why the field under way cannot be trusted any more.
    pub(super) failure: Option<CaptureFailure>,
    /// The output check heard a tone: nothing of this batch left.
    pub(super) incident: bool,
    /// The line is too noisy for what stood between caller and agent: this does from here on.
    pub(super) tightened: Option<Guard>,
}

/// The mask of a field, which leaves on a clock of its own.
#[derive(Clone, Copy)]
struct Cover {
    /// When its next packet is due.
    next: Instant,
    /// When the field was closed.
    closed: Option<Instant>,
}

/// The armed stream. What tells a key is wiped when it is dropped.
pub(super) struct Armed {
    hearing: Hearing,
    masker: Masker,
    check: OutputCheck,
    /// Decodes what left, for the check, where it is no G.711.
    decoded: Option<StreamDecoder>,
    farewell: Option<OpenEvent>,
    cover: Option<Cover>,
    /// When the last packet left.
    last_left: Option<Instant>,
    checked: u64,
    leaked: u32,
}

impl Armed {
    /// `next_sequence` and `next_timestamp` are the caller's own, the latter in the clock of `codec`.
    pub(super) fn new(
        masker: Masker,
        (next_sequence, next_timestamp): (u16, u32),
        codec: AudioCodec,
        farewell: Option<OpenEvent>,
        now: Now,
    ) -> Self {
        let mut hearing = Hearing::new(masker.ssrc(), next_sequence, next_timestamp, codec, now);
        hearing.set_suspicion(masker.guard().suspicion());
        Self {
            hearing,
            cover: None,
            last_left: None,
            decoded: StreamDecoder::new(masker.codec().1),
            masker,
            check: OutputCheck::default(),
            farewell,
            checked: 0,
            leaked: 0,
        }
    }

    /// The agent's side has agreed on media anew. A codec that it takes no longer it would not hear:
    /// what leaves follows it.
    pub(super) fn agree(&mut self, agent: &LegMedia) {
        let codecs = || {
            let named = agent.payload_types.iter();
            named.filter_map(|(number, encoding)| Some((*number, encoding.audio()?)))
        };
        let now = self.masker.codec();
        if let Some((payload_type, codec)) = codecs().next()
            && !codecs().any(|codec| codec == now)
        {
            self.masker.set_codec(payload_type, codec);
            self.decoded = StreamDecoder::new(codec);
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
        let failure = self
            .hearing
            .handle(datagram, header, types, capture, now, &mut self.masker);
        let tightened = self.tighten();
        let of_held = self.emit(types, capture, now, out);
        if !out.is_empty() {
            self.last_left = Some(now.instant);
        }
        Heard {
            failure: failure.or(of_held),
            incident: self.check_output(out),
            tightened,
        }
    }

    /// Tightens the guard where the keys stand out of the noise less than it was made for. Not behind
    /// the mask of a field, which follows nothing that the caller sends.
    fn tighten(&mut self) -> Option<Guard> {
        if self.cover.is_some() {
            return None;
        }
        let guard = Guard::for_key_over_noise(self.hearing.key_over_noise()?);
        if guard <= self.masker.guard() {
            return None;
        }
        self.masker.tighten(guard);
        self.hearing.set_suspicion(guard.suspicion());
        Some(guard)
    }

    /// Puts the mask of a field on while one is `open`. [`Armed::handle_timeout`] takes it off.
    pub(super) fn keep_cover(&mut self, open: bool, now: Now) {
        match (&mut self.cover, open) {
            (None, true) => {
                self.masker.cover();
                let due = self.last_left.map(|last| last + self.packet_time());
                self.cover = Some(Cover {
                    next: due.map_or(now.instant, |due| due.max(now.instant)),
                    closed: None,
                });
            }
            (Some(cover), true) => cover.closed = None,
            (Some(cover), false) => {
                cover.closed.get_or_insert(now.instant);
            }
            (None, false) => {}
        }
    }

    fn packet_time(&self) -> Duration {
        Duration::from_micros(125) * self.masker.frame() as u32
    }

    /// Lets the mask of a field leave as far as it is due, and takes it off on its own beat: 300 ms
    /// after the close, once no key is down.
    fn emit_cover(&mut self, now: Now, out: &mut Outbox) {
        while let Some(cover) = self.cover
            && cover.next <= now.instant
        {
            if !self.masker.emit_covered(out) {
                // Asleep for longer than an outbox holds: what is past is left out.
                self.cover = Some(Cover {
                    next: now.instant + self.packet_time(),
                    ..cover
                });
                return;
            }
            self.last_left = Some(cover.next);
            let is_over = cover
                .closed
                .is_some_and(|at| cover.next.duration_since(at) >= super::HANGOVER);
            self.cover = if is_over && self.hearing.key_is_up(now) {
                self.masker.uncover();
                None
            } else {
                Some(Cover {
                    next: cover.next + self.packet_time(),
                    ..cover
                })
            };
        }
    }

    /// When [`Armed::handle_timeout`] wants to be called next, whatever comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let cover = self.cover.map(|cover| cover.next);
        [cover, self.hearing.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the mask of a field is on.
    pub(super) const fn is_covered(&self) -> bool {
        self.cover.is_some()
    }

    /// Puts into `out` what may leave, and hears what was held and need not wait any more. One by one,
    /// so that the masker never has to keep more than one packet's worth. The answer is why the field
    /// under way cannot be trusted any more, if so.
    fn emit(
        &mut self,
        types: &PayloadTypes,
        capture: &mut Option<Capture>,
        now: Now,
        out: &mut Outbox,
    ) -> Option<CaptureFailure> {
        self.masker.emit(out);
        let mut failure = None;
        while let Some(order) = self
            .hearing
            .hear_held(types, capture, now, &mut self.masker)
        {
            if order == Order::Broken {
                failure = Some(CaptureFailure::MediaLost);
            }
            self.masker.emit(out);
        }
        failure
    }

    /// Hears a key that a SIP INFO told; nothing leaves because of it.
    pub(super) fn hear_info(&mut self, key: Key, capture: &mut Option<Capture>, now: Now) {
        self.hearing.hear_info(key, capture, now);
    }

    /// The independent check of what leaves: whether there is a tone in it. Then nothing of this
    /// batch leaves, and nothing but silence ever after (PCI DSS 10.7.2).
    fn check_output(&mut self, out: &mut Outbox) -> bool {
        let mut incident = false;
        for cleared in out.cleared() {
            let payload = cleared.datagram().get(HEADER_BYTES..).unwrap_or_default();
            incident |= match self.masker.codec().1.law() {
                Some(law) => self.hears_in_codes(payload, law),
                None => self.hears_in_packet(payload),
            };
            self.checked += 1;
        }
        if incident {
            self.leaked = self.leaked.saturating_add(1);
            self.masker.mute();
            out.wipe();
        }
        incident
    }

    fn hears_in_codes(&mut self, payload: &[u8], law: Law) -> bool {
        let mut incident = false;
        let mut samples = [0i16; PIECE];
        for piece in payload.chunks(PIECE) {
            let samples = &mut samples[..piece.len()];
            for (sample, code) in samples.iter_mut().zip(piece) {
                *sample = law.decode(*code);
            }
            incident |= self.check.listen(samples);
        }
        samples.zeroize();
        incident
    }

    /// What the agent's phone will make of the packet. One that it could not decode is none of ours.
    fn hears_in_packet(&mut self, payload: &[u8]) -> bool {
        let Some(decoded) = &mut self.decoded else {
            return true;
        };
        let Ok(length) = decoded.decode(payload) else {
            return true;
        };
        let incident = self.check.listen(decoded.piece(0, length).samples);
        decoded.finish();
        incident
    }

    /// Ends an event that was cut in the middle by the arming, hears what has been held for long
    /// enough, and lets the mask of a field leave.
    pub(super) fn handle_timeout(
        &mut self,
        types: &PayloadTypes,
        capture: &mut Option<Capture>,
        now: Now,
        out: &mut Outbox,
    ) -> Heard {
        if let Some(event) = self.farewell.take() {
            self.masker
                .end_event(event.payload_type, event.timestamp, event.payload, out);
            // No audio, which the check would take it for; what is held follows at once.
            return Heard::default();
        }
        self.emit_cover(now, out);
        let failure = self.emit(types, capture, now, out);
        Heard {
            failure,
            incident: self.check_output(out),
            ..Heard::default()
        }
    }

    pub(super) const fn owes_farewell(&self) -> bool {
        self.farewell.is_some()
    }

    pub(super) fn may_release(&self, now: Now, waited: Duration) -> bool {
        let quiet = waited >= RELEASE_PATIENCE || self.masker.is_quiet(QUIET);
        let clear = self.hearing.has_stopped(now) || self.masker.is_clear();
        let done = self.hearing.is_done(now, waited) && self.cover.is_none();
        done && clear && quiet && self.leaked == 0
    }

    pub(super) const fn hearing(&self) -> &Hearing {
        &self.hearing
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

    /// What a sender report has to say of the stream. Other than after a release, what waits still
    /// leaves.
    pub(super) fn outgoing(&self) -> Outgoing {
        let (packets, octets) = self.masker.sent();
        let (_, theirs) = self.hearing.goes_on();
        let ticks = self.masker.ticks();
        let waiting = self.masker.waiting() as u32 * ticks;
        Outgoing {
            ssrc: self.masker.ssrc(),
            moment: [theirs, self.masker.next().timestamp.wrapping_add(waiting)],
            ticks: [self.hearing.codec().ticks(), ticks],
            packets,
            octets,
        }
    }

    pub(super) fn shifts(&self) -> Shifts {
        let next = self.masker.next();
        let (sequence, timestamp) = self.hearing.goes_on();
        Shifts {
            sequence: next.sequence.wrapping_sub(sequence),
            timestamp: next.timestamp.wrapping_sub(timestamp),
        }
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
        proof.packets_refused += self.hearing.refused();
        proof.keys_heard += self.hearing.keys();
        proof.tones_leaked += self.leaked;
    }
}

impl Sink for Masker {
    fn audio(&mut self, audio: &Audio<'_>, verdict: &Verdict) {
        self.push(audio, verdict);
    }

    fn gap(&mut self, samples: usize, verdict: &Verdict) {
        self.push_gap(samples, verdict);
    }

    fn mark(&mut self, verdict: &Verdict) {
        Self::mark(self, verdict);
    }

    fn pressed(&mut self) {
        self.note_press();
    }

    fn packet_time(&mut self, samples: usize) {
        self.set_frame(samples);
    }

    fn restart(&mut self, step: i32, passed: usize) {
        // What the agent's side sees of a jump: forward as far as the caller's, never back.
        let held = self.waiting().saturating_sub(self.look_ahead()) as u32;
        let forward = u32::try_from(step).unwrap_or(0);
        self.pass_over(passed);
        Self::restart(self, held.wrapping_add(forward));
    }

    fn source_changed(&mut self, ssrc: u32) {
        self.replace_source(ssrc);
    }
}

#[cfg(test)]
use crate::proto::{codec::Form, dtmf::Suspicion};

#[cfg(test)]
impl Armed {
    /// How readily the ear suspects.
    pub(super) fn suspicion(&mut self) -> Suspicion {
        self.hearing.ear_mut().suspicion()
    }

    /// Puts audio of 16 kHz into the line as if the ear had heard nothing in it.
    pub(super) fn let_pass(&mut self, wide: &[i16]) {
        let samples: Vec<i16> = wide.iter().step_by(2).copied().collect();
        let silence = vec![0; samples.len()];
        let silence = Audio::narrow(&silence);
        let deaf = self.hearing.ear_mut().hear_audio(&silence, None, &mut drop);
        let audio = Audio {
            samples: &samples,
            form: Form::Wide(wide),
        };
        self.masker.push(&audio, &deaf);
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::{
        call::{
            ArmRefusal, Command, Holder, Output,
            tests::{World, five},
        },
        codec::Law,
    };

    #[test]
    fn after_a_tone_that_left_the_leg_stays_muted_for_good() {
        let mut world = World::armed();
        // The ear is deaf: its verdict on silence clears a tone.
        let armed = world.call.stream.armed_mut().unwrap();
        let codes: Vec<u8> = (0..960).flat_map(|n| [five(n, 1)[0]; 2]).collect();
        let wide: Vec<i16> = codes.iter().map(|code| Law::Mu.decode(*code)).collect();
        armed.let_pass(&wide);
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
