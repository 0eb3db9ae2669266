//! Replaces what may hold a tone, by re-framing behind a look-ahead.
//!
//! A frame leaves once the detector has heard 12 ms (or what the [`Guard`] asks for) beyond its end:
//! the end of the last packet and the beginning of this one, so the agent hears 12 ms later and no
//! packet waits for another. A frame in which any sample is marked is replaced as a whole: edges
//! stand on the grid of frames, whatever the key.

use super::{
    Outbox, Unarmed,
    fill::{Filler, Sounds},
    profile::{Guard, Masking},
    voice::{MAX_FRAME, Voice},
};
use crate::proto::{
    codec::Audio,
    dtmf::Verdict,
    encoding::AudioCodec,
    proof::MaskingProof,
    rtp::{HEADER_BYTES, write_header},
};

/// What happened behind the mask of a field and is to show once it is off.
#[derive(Default)]
struct Cover {
    /// SSRC of a source that took over.
    ssrc: Option<u32>,
}

/// Where the stream towards the agent stands when the masker takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskerStart {
    /// SSRC of the stream.
    pub ssrc: u32,
    /// Payload type that the agent has been hearing.
    pub payload_type: u8,
    /// Its codec.
    pub codec: AudioCodec,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Timestamp of the next packet, in the codec's clock.
    pub timestamp: u32,
    /// Samples of 8 kHz a packet.
    pub frame: usize,
}

/// Where the stream stands when the masker gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takeover {
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Timestamp of the next packet.
    pub timestamp: u32,
}

/// The armed stream from caller to agent. Holds up to half a second of audio, wiped as it
/// leaves.
pub struct Masker {
    start: MaskerStart,
    voice: Voice,
    /// Samples of 8 kHz heard so far, on the detector's scale.
    heard: u64,
    marker: bool,
    muted: bool,
    guard: Guard,
    filler: Filler,
    /// Samples of silence that leave before what waits: what a look-ahead is paid with.
    inserted: usize,
    /// While the mask of a whole field is on.
    cover: Option<Cover>,
    packets: u32,
    octets: u32,
    packets_masked: u64,
}

impl Masker {
    /// Takes over a stream: from here on nothing is cleared but by [`Masker::emit`].
    #[must_use]
    pub fn new(start: MaskerStart, masking: Masking, unarmed: Unarmed) -> Self {
        let Unarmed(()) = unarmed;
        let mut masker = Self {
            start: MaskerStart {
                frame: start.codec.frame(start.frame),
                ..start
            },
            voice: Voice::new(start.codec),
            heard: 0,
            marker: false,
            muted: false,
            guard: masking.profile.guard(),
            filler: Filler::new(masking.fill),
            inserted: 0,
            cover: None,
            packets: 0,
            octets: 0,
            packets_masked: 0,
        };
        masker.prime();
        masker
    }

    /// The look-ahead's worth of silence: what the agent hears while the detector hears as much.
    const fn prime(&mut self) {
        self.inserted = self.look_ahead();
    }

    /// What stands between caller and agent now.
    #[must_use]
    pub const fn guard(&self) -> Guard {
        self.guard
    }

    /// Samples of 8 kHz that the detector hears beyond the end of a frame before it leaves.
    #[must_use]
    pub const fn look_ahead(&self) -> usize {
        self.guard.look_ahead_samples()
    }

    /// Tightens the guard from the next frame on; never loosens it. A longer look-ahead is one
    /// insertion of silence before what waits: nothing is repeated and nothing overtakes.
    pub fn tighten(&mut self, guard: Guard) {
        if guard <= self.guard {
            return;
        }
        let before = self.look_ahead();
        self.guard = guard;
        if self.cover.is_none() {
            self.inserted += self.look_ahead() - before;
        }
    }

    /// The mask of a whole field begins: from here on nothing leaves but by [`Masker::emit_covered`].
    /// What waits is discarded.
    pub fn cover(&mut self) {
        if self.cover.is_none() {
            self.cover = Some(Cover::default());
            self.voice.discard();
            self.inserted = 0;
            self.filler.begin_beat();
        }
    }

    /// The mask of the field ends: the next packet is the first to be heard again.
    pub fn uncover(&mut self) {
        if let Some(cover) = self.cover.take() {
            self.start.ssrc = cover.ssrc.unwrap_or(self.start.ssrc);
            // A sound under way would tell how long ago the field began.
            self.filler.begin_beat();
            self.prime();
        }
    }

    /// One packet of the mask of a field: the same whatever the caller sends. False where there was
    /// no room.
    pub fn emit_covered(&mut self, out: &mut Outbox) -> bool {
        self.cover.is_some() && self.emit_frame(out)
    }

    /// Samples of 8 kHz a packet.
    #[must_use]
    pub const fn frame(&self) -> usize {
        self.start.frame
    }

    /// Payload type and codec of the stream towards the agent.
    #[must_use]
    pub const fn codec(&self) -> (u8, AudioCodec) {
        (self.start.payload_type, self.voice.codec())
    }

    /// Another payload type and codec from the next packet on, also for what waits.
    pub fn set_codec(&mut self, payload_type: u8, codec: AudioCodec) {
        self.voice.become_codec(codec);
        self.start.payload_type = payload_type;
        self.start.codec = codec;
        self.start.frame = codec.frame(self.start.frame);
    }

    /// Samples heard so far.
    #[must_use]
    pub const fn heard(&self) -> u64 {
        self.heard
    }

    /// Audio with what the detector says of it.
    pub fn push(&mut self, audio: &Audio<'_>, verdict: &Verdict) {
        if self.cover.is_none() {
            self.voice.extend(audio);
        }
        self.heard += audio.samples.len() as u64;
        self.mark(verdict);
    }

    /// `samples` that never came. They become silence, and so does the look-ahead before them, for
    /// an onset there was not heard to its end.
    pub fn push_gap(&mut self, samples: usize, verdict: &Verdict) {
        let from = self.heard.saturating_sub(self.look_ahead() as u64);
        if self.cover.is_none() {
            self.voice.extend_silence(samples, true);
        }
        self.heard += samples as u64;
        self.mark_span(from..self.heard);
        self.mark(verdict);
    }

    /// What a detector says without new audio: an event.
    pub fn mark(&mut self, verdict: &Verdict) {
        if let Some(span) = verdict.suspect() {
            self.mark_span(span);
        }
    }

    fn mark_span(&mut self, span: std::ops::Range<u64>) {
        // The detector's scale and the line's part where the line was discarded.
        let shift = |position: u64| {
            position
                .wrapping_add(self.voice.end())
                .saturating_sub(self.heard)
        };
        self.voice.mark(shift(span.start)..shift(span.end));
    }

    /// Samples of 8 kHz a packet, from here on; as close to it as the codec has packets. Not within
    /// the mask of a field, whose packets follow nothing.
    pub fn set_frame(&mut self, samples: usize) {
        if self.cover.is_none() {
            self.start.frame = self.start.codec.frame(samples);
        }
    }

    /// Releases the frames that have been heard as far beyond their end as the look-ahead asks.
    pub fn emit(&mut self, out: &mut Outbox) {
        while self.cover.is_none() && self.waiting() >= self.look_ahead() + self.start.frame {
            if !self.emit_frame(out) {
                return;
            }
        }
    }

    fn emit_frame(&mut self, out: &mut Outbox) -> bool {
        let header = write_header(
            self.start.payload_type,
            self.marker,
            self.start.sequence,
            self.start.timestamp,
            self.start.ssrc,
        );
        let frame = self.start.frame;
        let bytes = self.start.codec.bytes_of(frame);
        // Straight into the outbox: no copy of what may hold a tone stays behind.
        let Some(payload) = out.space(header, bytes) else {
            return false;
        };
        self.marker = false;
        let inserted = self.inserted.min(frame);
        self.inserted -= inserted;
        // Behind the mask of a field nothing waits: all of it is missing.
        let marked = self.voice.take(inserted, frame, payload);
        let shut = self.muted || self.guard == Guard::Mute || self.filler.is_sounding();
        if marked || shut {
            self.fill(frame, payload);
            self.packets_masked += 1;
        } else {
            let whole = inserted == 0;
            self.filler
                .pass(whole.then(|| self.voice.samples(frame, payload)));
        }
        self.voice.finish(frame, payload);
        self.start.sequence = self.start.sequence.wrapping_add(1);
        self.advance(frame as u32);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(bytes as u32);
        true
    }

    /// A key was pressed, whichever.
    pub const fn note_press(&mut self) {
        if self.cover.is_none() {
            self.filler.press();
        }
    }

    /// Puts the replacement where the frame was.
    fn fill(&mut self, frame: usize, payload: &mut [u8]) {
        let sounds = if self.guard == Guard::Mute {
            Sounds::Never
        } else if self.cover.is_some() {
            Sounds::Beat
        } else {
            Sounds::Presses
        };
        let first = self.filler.is_open();
        let mut samples = [0; MAX_FRAME];
        let samples = &mut samples[..frame];
        if self.filler.replace(samples, sounds) && !self.muted {
            self.voice.fill(samples, first, payload);
        } else {
            self.voice.silence(frame, first, payload);
        }
    }

    /// Moves the timestamp by so many samples of 8 kHz.
    const fn advance(&mut self, samples: u32) {
        let ticks = samples.wrapping_mul(self.start.codec.ticks());
        self.start.timestamp = self.start.timestamp.wrapping_add(ticks);
    }

    /// The caller's timeline jumped or its source changed: what waits was not heard to its end and
    /// is discarded; the next packet opens a talkspurt `step` samples of 8 kHz on.
    pub fn restart(&mut self, step: u32) {
        if self.cover.is_some() {
            return;
        }
        self.voice.discard();
        self.prime();
        self.marker = true;
        self.advance(step);
    }

    /// Time that the detector was told of and that the stream jumps over.
    pub fn pass_over(&mut self, samples: usize) {
        self.heard += samples as u64;
    }

    /// Another source took over: the stream goes on under its SSRC, numbers without a break.
    pub fn replace_source(&mut self, ssrc: u32) {
        self.heard = 0;
        if let Some(cover) = &mut self.cover {
            cover.ssrc = Some(ssrc);
            return;
        }
        self.start.ssrc = ssrc;
        self.restart(self.start.frame as u32);
    }

    /// Ends an event that left before the arming, as RFC 4733 §2.5.1.4 asks: the last packet three
    /// times, with the E bit. Its code and duration are those that left already.
    pub fn end_event(
        &mut self,
        payload_type: u8,
        timestamp: u32,
        payload: [u8; 4],
        out: &mut Outbox,
    ) {
        let [code, flags, high, low] = payload;
        for _ in 0..3 {
            let header = write_header(
                payload_type,
                false,
                self.start.sequence,
                timestamp,
                self.start.ssrc,
            );
            if !out.push(header, &[code, flags | 0x80, high, low]) {
                return;
            }
            self.start.sequence = self.start.sequence.wrapping_add(1);
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(4);
        }
    }

    /// Silence from here on, whatever comes: the output check heard a tone.
    pub fn mute(&mut self) {
        self.muted = true;
    }

    /// Whether the stream may be given back without cutting into a mask: nothing that waits is
    /// marked, no neutral sound is under way.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        !self.muted
            && self.cover.is_none()
            && !self.filler.is_sounding()
            && self.voice.is_unmarked()
    }

    /// Whether what waits (and is dropped by a release) is quieter than `threshold` of linear
    /// amplitude.
    #[must_use]
    pub fn is_quiet(&self, threshold: u16) -> bool {
        self.voice.is_quiet(threshold)
    }

    /// Gives the stream back. The audio that waits (the look-ahead) is dropped, so that nothing is
    /// repeated.
    #[must_use]
    pub fn release(self) -> (Takeover, Unarmed) {
        let takeover = Takeover {
            sequence: self.start.sequence,
            timestamp: self.start.timestamp,
        };
        (takeover, Unarmed(()))
    }

    /// Sequence number and timestamp of the next packet.
    #[must_use]
    pub const fn next(&self) -> Takeover {
        Takeover {
            sequence: self.start.sequence,
            timestamp: self.start.timestamp,
        }
    }

    /// SSRC of the stream.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.start.ssrc
    }

    /// Ticks of the codec's clock in a sample of 8 kHz.
    #[must_use]
    pub const fn ticks(&self) -> u32 {
        self.start.codec.ticks()
    }

    /// Samples of 8 kHz that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.inserted + self.voice.len()
    }

    /// Packets and payload octets made so far, for sender reports.
    #[must_use]
    pub const fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Adds what was done to the call's proof.
    pub fn add_to(&self, proof: &mut MaskingProof) {
        proof.packets_sent += u64::from(self.packets);
        proof.packets_masked += self.packets_masked;
    }
}

const _: () = assert!(MAX_FRAME + HEADER_BYTES <= super::OWN_DATAGRAM);
