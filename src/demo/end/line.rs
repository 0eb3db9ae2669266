//! What an end sends: speech, hiss between sentences, and keys; and the recording of it.

use std::collections::VecDeque;

use rand::RngExt;

use super::{Keys, Report};
use crate::demo::{
    keypad::{self, Code},
    wav,
};

/// Samples of a packet: 20 ms.
pub(super) const FRAME: usize = 160;
/// Payload type of telephone-event in the demo's SDP.
pub(super) const EVENT_PAYLOAD_TYPE: u8 = 101;
/// Level of each of a key's two tones.
const KEY_DBM0: f64 = -10.0;
/// Time that a network's detector needs before it sends the first event (30 ms): so long the tone
/// is in the audio alone.
const HEAD: usize = 240;
/// Recordings stop growing after this: a call that stays up for a day must not fill the memory.
pub(super) const LONGEST_RECORDING: usize = 20 * 60 * wav::RATE as usize;

/// Which way a key takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A tone in the audio.
    Tone,
    /// RFC 4733 events in place of audio.
    Event,
    /// A tone in the audio and, 30 ms later, events beside it: what many gateways do.
    Both,
}

/// The ways of successive keys: in groups, so that the picture can be read.
const WAYS: [Way; 12] = [
    Way::Tone,
    Way::Tone,
    Way::Tone,
    Way::Tone,
    Way::Event,
    Way::Event,
    Way::Event,
    Way::Event,
    Way::Both,
    Way::Both,
    Way::Both,
    Way::Both,
];

/// An event while it lasts: samples since the first packet, both on packet boundaries.
struct Event {
    code: Code,
    start: usize,
    end: usize,
    replaces_audio: bool,
}

/// The outgoing stream of one end.
pub(super) struct Line {
    /// Audio to send, and the same with events rendered as tones, to record.
    queue: VecDeque<(i16, i16)>,
    events: VecDeque<Event>,
    /// Reports to make when the stream has come to a sample.
    done: VecDeque<(usize, Report)>,
    presses: Vec<(Code, usize, usize)>,
    recording: Vec<i16>,
    position: usize,
    sequence: u16,
    first_timestamp: u32,
    ssrc: u32,
    packets: u64,
    hiss: u32,
}

impl Line {
    pub(super) fn new() -> Self {
        let mut random = rand::rng();
        Self {
            queue: VecDeque::new(),
            events: VecDeque::new(),
            done: VecDeque::new(),
            presses: Vec::new(),
            recording: Vec::new(),
            position: 0,
            sequence: random.random(),
            first_timestamp: random.random(),
            ssrc: random.random(),
            packets: 0,
            hiss: 1,
        }
    }

    /// Says `samples` after what is queued.
    pub(super) fn play(&mut self, samples: &[i16]) {
        self.queue.extend(samples.iter().map(|s| (*s, *s)));
    }

    /// Reports `report` when all that is queued now was sent.
    pub(super) fn then(&mut self, report: Report) {
        self.done.push_back((self.end_of_queue(), report));
    }

    /// A report that is due.
    pub(super) fn take_done(&mut self) -> Option<Report> {
        let (due, _) = self.done.front()?;
        if *due > self.position {
            return None;
        }
        self.done.pop_front().map(|(_, report)| report)
    }

    /// Presses the keys of `digits` (ASCII) as a person does, some each way.
    pub(super) fn press(&mut self, digits: &[u8]) -> Keys {
        let mut keys = Keys::default();
        self.pause(2400);
        for digit in digits {
            let code = Code(digit - b'0');
            let nth = self.presses.len();
            let way = WAYS[nth % WAYS.len()];
            keys.count(way);
            // A hand is no metronome; and a tone begins anywhere in a packet.
            self.pause(1000 + nth * 337 % 611);
            match way {
                Way::Tone => {
                    let start = self.end_of_queue();
                    let tone = keypad::tone(code, 640 + nth * 53 % 160, KEY_DBM0);
                    self.play(&tone);
                    self.presses.push((code, start, self.end_of_queue()));
                }
                Way::Event => {
                    self.pause_to_packet(0);
                    let start = self.end_of_queue();
                    let tone = keypad::tone(code, 5 * FRAME, KEY_DBM0);
                    self.queue.extend(tone.into_iter().map(|shown| (0, shown)));
                    self.add_event(code, start, true);
                }
                Way::Both => {
                    self.pause_to_packet(HEAD);
                    let start = self.end_of_queue();
                    let tone = keypad::tone(code, HEAD + 5 * FRAME, KEY_DBM0);
                    self.play(&tone);
                    self.add_event(code, start + HEAD, false);
                }
            }
        }
        self.pause(1600);
        keys
    }

    fn add_event(&mut self, code: Code, start: usize, replaces_audio: bool) {
        let end = self.end_of_queue();
        let pressed = if replaces_audio { start } else { start - HEAD };
        self.presses.push((code, pressed, end));
        self.events.push_back(Event {
            code,
            start,
            end,
            replaces_audio,
        });
    }

    /// Sends one packet time of the stream.
    pub(super) fn tick(&mut self, mut send: impl FnMut(&[u8])) {
        let frame: Vec<(i16, i16)> = (0..FRAME)
            .map(|_| match self.queue.pop_front() {
                Some(sample) => sample,
                None => self.hiss(),
            })
            .collect();
        if self.recording.len() < LONGEST_RECORDING {
            self.recording.extend(frame.iter().map(|(_, shown)| shown));
        }
        let at = self.position;
        while self.events.front().is_some_and(|event| event.end <= at) {
            self.events.pop_front();
        }
        let event = self.events.front().filter(|event| event.start <= at);
        let event = event.map(|e| (e.code, e.start, e.end, e.replaces_audio));
        if !event.is_some_and(|(.., replaces_audio)| replaces_audio) {
            let payload: Vec<u8> = frame
                .iter()
                .map(|(sent, _)| wav::mu_law_encode(*sent))
                .collect();
            let first = self.packets == 0;
            self.send(0, first, at, &payload, &mut send);
        }
        if let Some((code, start, end, _)) = event {
            let duration = u16::try_from(at + FRAME - start).unwrap_or(u16::MAX);
            let last = at + FRAME >= end;
            // Volume 10: -10 dBm0 (RFC 4733 §2.3.3).
            let flags = if last { 0x80 | 10 } else { 10 };
            let [high, low] = duration.to_be_bytes();
            for _ in 0..if last { 3 } else { 1 } {
                let payload = [code.0, flags, high, low];
                self.send(EVENT_PAYLOAD_TYPE, at == start, start, &payload, &mut send);
            }
        }
        self.position += FRAME;
    }

    fn send(
        &mut self,
        payload_type: u8,
        marker: bool,
        at: usize,
        payload: &[u8],
        send: &mut impl FnMut(&[u8]),
    ) {
        let timestamp = self.first_timestamp.wrapping_add(at as u32);
        let mut packet = Vec::with_capacity(12 + payload.len());
        packet.push(0x80);
        packet.push(payload_type | if marker { 0x80 } else { 0 });
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(payload);
        send(&packet);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
    }

    /// What was sent, with events rendered as tones.
    pub(super) fn recording(&self) -> &[i16] {
        &self.recording
    }

    /// Keys with their first and last sample.
    pub(super) fn presses(&self) -> &[(Code, usize, usize)] {
        &self.presses
    }

    pub(super) fn packets_sent(&self) -> u64 {
        self.packets
    }

    fn end_of_queue(&self) -> usize {
        self.position + self.queue.len()
    }

    fn pause(&mut self, samples: usize) {
        for _ in 0..samples {
            let sample = self.hiss();
            self.queue.push_back(sample);
        }
    }

    /// Pauses so long that the packet boundary after `head` samples is met exactly.
    fn pause_to_packet(&mut self, head: usize) {
        let beyond = (self.end_of_queue() + head) % FRAME;
        self.pause((FRAME - beyond) % FRAME);
    }

    /// The faint noise of a line, about -66 dBm0, so that silence can be told from a gap.
    fn hiss(&mut self) -> (i16, i16) {
        self.hiss = self
            .hiss
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let sample = (self.hiss >> 24) as i16 % 25 - 12;
        (sample, sample)
    }
}
