//! Replaces what may hold a tone, by re-framing behind a look-ahead of 12 ms.
//!
//! A frame leaves once the detector has heard 12 ms beyond its end: the end of the last packet and
//! the beginning of this one, so the agent hears 12 ms later and no packet waits for another. A
//! frame in which any sample is marked is replaced as a whole: edges stand on the grid of frames,
//! whatever the key.

use super::{Outbox, Unarmed, line::Line};
use crate::proto::{
    codec::Law,
    dtmf::Verdict,
    proof::MaskingProof,
    rtp::{HEADER_BYTES, write_header},
};

/// Samples that the detector hears beyond the end of a frame before it leaves: 12 ms at 8 kHz.
pub const LOOK_AHEAD: usize = 96;
/// Longest frame: 60 ms.
const MAX_FRAME: usize = 480;
/// A key was pressed and the gate has been shut for this long: a neutral sound tells the agent so.
/// Counted from the gate and not from the moment at which the digit was certain, which may depend on
/// the digit. A false alarm of the suspicious detector presses no key and stays silent.
const SOUND_AFTER: usize = 80 * 8;
/// Length of the neutral sound.
const SOUND_LENGTH: usize = 120 * 8;
/// One period of 400 Hz at 8 kHz, about -23 dBm0: no key has this frequency, and its level and
/// phase follow nothing that the caller does.
const SOUND: [i16; 20] = [
    0, 494, 940, 1294, 1522, 1600, 1522, 1294, 940, 494, 0, -494, -940, -1294, -1522, -1600, -1522,
    -1294, -940, -494,
];

/// [`SOUND`] in either law.
const SOUND_CODES: [[u8; SOUND.len()]; 2] = [encoded(Law::Mu), encoded(Law::A)];

const fn encoded(law: Law) -> [u8; SOUND.len()] {
    let mut codes = [0; SOUND.len()];
    let mut n = 0;
    while n < SOUND.len() {
        codes[n] = law.encode(SOUND[n]);
        n += 1;
    }
    codes
}

/// Where the stream towards the agent stands when the masker takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskerStart {
    /// SSRC of the stream.
    pub ssrc: u32,
    /// Payload type that the agent has been hearing.
    pub payload_type: u8,
    /// Its law.
    pub law: Law,
    /// Sequence number of the next packet.
    pub sequence: u16,
    /// Timestamp of the next packet.
    pub timestamp: u32,
    /// Samples a packet.
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
    line: Line<u8>,
    /// Samples heard so far, on the detector's scale.
    heard: u64,
    marker: bool,
    muted: bool,
    masked_run: usize,
    /// Whether a press is still to be told by the neutral sound.
    press_untold: bool,
    sound_left: usize,
    sound_phase: usize,
    packets: u32,
    octets: u32,
    packets_masked: u64,
}

impl Masker {
    /// Takes over a stream: from here on nothing is cleared but by [`Masker::emit`].
    #[must_use]
    pub fn new(start: MaskerStart, unarmed: Unarmed) -> Self {
        let Unarmed(()) = unarmed;
        let mut masker = Self {
            start: MaskerStart {
                frame: start.frame.clamp(80, MAX_FRAME),
                ..start
            },
            line: Line::new(),
            heard: 0,
            marker: false,
            muted: false,
            masked_run: 0,
            press_untold: false,
            sound_left: 0,
            sound_phase: 0,
            packets: 0,
            octets: 0,
            packets_masked: 0,
        };
        masker.prime();
        masker
    }

    /// The look-ahead's worth of silence: what the agent hears while the detector hears its first
    /// 12 ms.
    fn prime(&mut self) {
        for _ in 0..LOOK_AHEAD {
            self.line.push(self.start.law.silence(), false);
        }
    }

    /// Law of the stream towards the agent.
    #[must_use]
    pub const fn law(&self) -> Law {
        self.start.law
    }

    /// Payload type and law of the stream towards the agent.
    #[must_use]
    pub const fn codec(&self) -> (u8, Law) {
        (self.start.payload_type, self.start.law)
    }

    /// Another payload type and law from the next packet on, also for what waits.
    pub fn set_codec(&mut self, payload_type: u8, law: Law) {
        let before = self.start.law;
        self.line.recode(|code| law.encode(before.decode(code)));
        self.start.payload_type = payload_type;
        self.start.law = law;
    }

    /// Samples heard so far.
    #[must_use]
    pub const fn heard(&self) -> u64 {
        self.heard
    }

    /// Audio (codewords of [`Masker::law`]) with what the detector says of it.
    pub fn push(&mut self, codes: &[u8], verdict: &Verdict) {
        self.line.extend(codes);
        self.heard += codes.len() as u64;
        self.mark(verdict);
    }

    /// `samples` that never came. They become silence, and so does the look-ahead before them, for
    /// an onset there was not heard to its end.
    pub fn push_gap(&mut self, samples: usize, verdict: &Verdict) {
        let from = self.heard.saturating_sub(LOOK_AHEAD as u64);
        for _ in 0..samples {
            self.line.push(self.start.law.silence(), true);
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
                .wrapping_add(self.line.end())
                .saturating_sub(self.heard)
        };
        self.line.mark(shift(span.start)..shift(span.end));
    }

    /// Samples a packet, from here on.
    pub fn set_frame(&mut self, samples: usize) {
        self.start.frame = samples.clamp(80, MAX_FRAME);
    }

    /// Releases the frames that have been heard 12 ms beyond their end.
    pub fn emit(&mut self, out: &mut Outbox) {
        while self.line.len() >= LOOK_AHEAD + self.start.frame {
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
        // Straight into the outbox: no copy of what may hold a tone stays behind.
        let Some(frame) = out.space(header, self.start.frame) else {
            return false;
        };
        self.marker = false;
        let marked = self.line.take(frame);
        if marked || self.sound_left > 0 || self.muted {
            self.fill(frame);
            self.packets_masked += 1;
        } else {
            self.masked_run = 0;
            self.press_untold = false;
        }
        self.start.sequence = self.start.sequence.wrapping_add(1);
        self.start.timestamp = self.start.timestamp.wrapping_add(self.start.frame as u32);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(self.start.frame as u32);
        true
    }

    /// A key was pressed, whichever.
    pub fn note_press(&mut self) {
        self.press_untold = true;
    }

    /// The replacement: a function of how long the gate has been shut and of how many keys were
    /// pressed, and of nothing else.
    fn fill(&mut self, frame: &mut [u8]) {
        self.masked_run += frame.len();
        if self.press_untold && self.masked_run >= SOUND_AFTER && self.sound_left == 0 {
            self.press_untold = false;
            self.sound_left = SOUND_LENGTH;
            self.sound_phase = 0;
        }
        if self.sound_left == 0 || self.muted {
            frame.fill(self.start.law.silence());
            return;
        }
        let sound = match self.start.law {
            Law::Mu => &SOUND_CODES[0],
            Law::A => &SOUND_CODES[1],
        };
        let (sounding, silent) = frame.split_at_mut(frame.len().min(self.sound_left));
        for code in sounding.iter_mut() {
            *code = sound[self.sound_phase];
            self.sound_phase = (self.sound_phase + 1) % SOUND.len();
        }
        self.sound_left -= sounding.len();
        silent.fill(self.start.law.silence());
    }

    /// The caller's timeline jumped or its source changed: what waits was not heard to its end and
    /// is discarded; the next packet opens a talkspurt `timestamp_step` samples on.
    pub fn restart(&mut self, timestamp_step: u32) {
        self.line.discard();
        self.prime();
        self.marker = true;
        self.start.timestamp = self.start.timestamp.wrapping_add(timestamp_step);
    }

    /// Time that the detector was told of and that the stream jumps over.
    pub fn pass_over(&mut self, samples: usize) {
        self.heard += samples as u64;
    }

    /// Another source took over: the stream goes on under its SSRC, numbers without a break.
    pub fn replace_source(&mut self, ssrc: u32) {
        self.start.ssrc = ssrc;
        self.heard = 0;
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
        !self.muted && self.sound_left == 0 && self.line.is_unmarked()
    }

    /// Whether what waits (and is dropped by a release) is quieter than `threshold` of linear
    /// amplitude.
    #[must_use]
    pub fn is_quiet(&self, threshold: u16) -> bool {
        self.line
            .iter()
            .all(|code| self.start.law.decode(code).unsigned_abs() < threshold)
    }

    /// Gives the stream back. The audio that waits (12 ms) is dropped, so that nothing is repeated.
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

    /// Samples that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.line.len()
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
