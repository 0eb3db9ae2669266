//! The model of a caller: speaks, keys, and remembers both.

use std::{collections::HashSet, f64::consts::TAU, fs, path::Path, sync::LazyLock};

use rand::{RngExt, rngs::StdRng};
use tonewall::proto::{codec::Law, rtp::write_header};

pub(crate) const PACKET: usize = 160;
/// Windows of 2 ms: the shortest stretch of tone that tells a digit.
pub(crate) const WINDOW: usize = 16;

const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Row and column of the keys 0 to 9, `*`, `#`.
const PLACES: [(usize, usize); 12] = [
    (3, 1),
    (0, 0),
    (0, 1),
    (0, 2),
    (1, 0),
    (1, 1),
    (1, 2),
    (2, 0),
    (2, 1),
    (2, 2),
    (3, 0),
    (3, 2),
];

/// What carries a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Event,
    Tone,
    Both,
}

/// One key press, in samples of the caller's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Press {
    pub(crate) key: u8,
    pub(crate) from: usize,
    pub(crate) until: usize,
    pub(crate) transport: Transport,
}

/// A datagram and when it leaves the caller, in samples.
pub(crate) struct Sent {
    pub(crate) at: usize,
    pub(crate) datagram: Vec<u8>,
}

/// What is odd about a caller's stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quirks {
    /// Samples a packet.
    pub(crate) packet: usize,
    /// Sends nothing for stretches in which no key is pressed (DTX).
    pub(crate) pauses: bool,
    /// From this sample on the timestamps are this much further.
    pub(crate) jump: (usize, u32),
}

impl Quirks {
    pub(crate) const NONE: Self = Self {
        packet: PACKET,
        pauses: false,
        jump: (usize::MAX, 0),
    };
}

/// The caller's audio as codewords, and which of it is tone.
pub(crate) struct Caller {
    pub(crate) payload_type: u8,
    pub(crate) ssrc: u32,
    pub(crate) first_sequence: u16,
    pub(crate) first_timestamp: u32,
    pub(crate) codes: Vec<u8>,
    tone: Vec<bool>,
    presses: Vec<Press>,
}

impl Caller {
    /// `length` samples of line noise with speech here and there, and the presses in it.
    pub(crate) fn new(law: Law, length: usize, presses: Vec<Press>, rng: &mut StdRng) -> Self {
        let noise = 10f64.powf(rng.random_range(-62.0..-40.0) / 20.0) * 32_124.0;
        let mut audio: Vec<f64> = (0..length).map(|_| noise * gaussian(rng)).collect();
        speak(&mut audio, &presses, rng);
        let mut tone = vec![false; length];
        for press in presses.iter().filter(|p| p.transport != Transport::Event) {
            let (row, column) = PLACES[usize::from(press.key)];
            let level = 10f64.powf(rng.random_range(-18.0..-6.0) / 20.0) * 16_000.0;
            let twist = 10f64.powf(rng.random_range(-3.0..6.0) / 20.0);
            let detune = 1.0 + rng.random_range(-0.012..0.012);
            let (p, q) = (rng.random_range(0.0..TAU), rng.random_range(0.0..TAU));
            for n in press.from..press.until.min(length) {
                let t = (n - press.from) as f64 / 8_000.0;
                audio[n] += level * (TAU * ROWS[row] * detune * t + p).sin()
                    + level / twist * (TAU * COLUMNS[column] * detune * t + q).sin();
                tone[n] = true;
            }
        }
        let codes = audio
            .iter()
            .map(|sample| law.encode(sample.clamp(-32_000.0, 32_000.0) as i16))
            .collect();
        Self {
            payload_type: match law {
                Law::Mu => 0,
                Law::A => 8,
            },
            ssrc: rng.random(),
            first_sequence: rng.random(),
            first_timestamp: rng.random(),
            codes,
            tone,
            presses,
        }
    }

    /// Every 2 ms of tone as it was sent, from 0.25 ms after its onset: none of these may appear in
    /// what the agent gets.
    pub(crate) fn tone_windows(&self) -> HashSet<[u8; WINDOW]> {
        self.codes
            .windows(WINDOW)
            .zip(self.tone.windows(WINDOW))
            .filter(|(_, tone)| tone.iter().all(|t| *t))
            .filter_map(|(codes, _)| codes.try_into().ok())
            .collect()
    }

    /// Whether any of `PACKET` samples from `at` on is near a key press.
    pub(crate) fn near_a_key(&self, at: usize, guard: usize) -> bool {
        self.presses
            .iter()
            .any(|press| at + PACKET + guard > press.from && at < press.until + guard)
    }

    /// The packets that leave, events and audio, in order of leaving.
    pub(crate) fn packets(&self, event_payload_type: u8, quirks: Quirks) -> Vec<Sent> {
        let packet = quirks.packet;
        let mut sent = Vec::new();
        let mut sequence = self.first_sequence;
        let mut next = |payload_type, marker, at: usize, until: usize, payload: &[u8]| {
            let jump = if at >= quirks.jump.0 {
                quirks.jump.1
            } else {
                0
            };
            let timestamp = self
                .first_timestamp
                .wrapping_add(at as u32)
                .wrapping_add(jump);
            let header = write_header(payload_type, marker, sequence, timestamp, self.ssrc);
            sequence = sequence.wrapping_add(1);
            sent.push(Sent {
                at: until,
                datagram: [&header, payload].concat(),
            });
        };
        let mut pause = false;
        for at in (0..self.codes.len() - packet).step_by(packet) {
            let end = at + packet;
            if quirks.pauses && (at / 4_000).is_multiple_of(3) && !self.near_a_key(at, 1_600) {
                pause = true;
                continue;
            }
            let event = self
                .presses
                .iter()
                .filter(|p| p.transport != Transport::Tone)
                .find(|p| end > p.from && at < p.until);
            let audio_too = event.is_none_or(|p| p.transport == Transport::Both);
            if audio_too {
                let marker = std::mem::take(&mut pause);
                next(self.payload_type, marker, at, end, &self.codes[at..end]);
            }
            if let Some(press) = event {
                // A gateway begins its event at a packet's edge.
                let from = press.from.div_ceil(packet) * packet;
                if end <= from {
                    continue;
                }
                let last = press.until <= end;
                let duration = (end.min(press.until.max(from + packet)) - from) as u16;
                let [high, low] = duration.to_be_bytes();
                for _ in 0..if last { 3 } else { 1 } {
                    let flags = if last { 0x8a } else { 0x0a };
                    let payload = [press.key, flags, high, low];
                    next(
                        event_payload_type,
                        end - from <= packet,
                        from,
                        end,
                        &payload,
                    );
                }
            }
        }
        sent
    }
}

/// The speech of the fixtures: 8 kHz mu-law, synthesised sentences of the demo's caller.
static SPEECH: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speech");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("fixtures/speech is there")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wav"))
        .collect();
    files.sort();
    let mut speech = Vec::new();
    for file in files {
        let bytes = fs::read(&file).expect("a fixture can be read");
        let data = bytes
            .windows(4)
            .position(|chunk| chunk == b"data")
            .expect("a WAV file has a data chunk");
        speech.extend(
            bytes[data + 8..]
                .iter()
                .map(|code| f64::from(Law::Mu.decode(*code))),
        );
    }
    speech
});

/// Speech in stretches, away from key presses: nobody talks and keys in the same breath here.
fn speak(audio: &mut [f64], presses: &[Press], rng: &mut StdRng) {
    let mut at = rng.random_range(0..8_000);
    while at + 12_000 < audio.len() {
        let length = rng.random_range(2_000..12_000);
        let from = rng.random_range(0..SPEECH.len() - length);
        for n in 0..length {
            let busy = presses
                .iter()
                .any(|p| at + n + 800 > p.from && at + n < p.until + 800);
            if !busy {
                audio[at + n] += SPEECH[from + n];
            }
        }
        at += length + rng.random_range(1_000..20_000);
    }
}

fn gaussian(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0
}
