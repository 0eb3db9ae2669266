//! The caller: noise on the line, keys in it, and the packets that leave.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, rngs::StdRng};
use tonewall::proto::rtp::write_header;

use crate::{
    common::{
        presses::{Noise, PLACES, Press, noise},
        signal::{MS, encode, power_of},
    },
    rows::{Happening, Keys, Row},
};

/// Samples a packet.
pub(crate) const PACKET: usize = 160;
/// Audio before the first key.
const LEAD: usize = 8_000;
/// Audio after the last one.
const TAIL: usize = 8_000;
/// Between two keys: so long that what rtpengine puts in the place of one does not reach the next.
const PAUSE: (usize, usize) = (200 * MS, 300 * MS);
/// Noise on the line, dBm0, at most.
const NOISE_DBM0: f64 = -50.0;
/// The noise stays so far below the tone.
const SNR_DB: f64 = 20.0;
/// The two keys that are the trigger.
pub(crate) const TRIGGER: &str = "99";
/// Keys before what happens in mid call, where the digits after it count.
const BEFORE: usize = 2;

/// A datagram, and when it leaves.
pub(crate) struct Packet {
    pub(crate) due: Duration,
    pub(crate) datagram: Vec<u8>,
}

/// Everything that a caller does in a call.
pub(crate) struct Script {
    pub(crate) presses: Vec<Press>,
    /// The first press that counts.
    pub(crate) counted_from: usize,
    /// Codewords, sample by sample.
    pub(crate) codes: Vec<u8>,
    /// The noise alone.
    pub(crate) quiet: Vec<u8>,
    /// Which samples left the caller and were not lost.
    pub(crate) sent: Vec<bool>,
    /// When something happens, in samples.
    pub(crate) happens_at: usize,
    /// In order of leaving.
    pub(crate) packets: Vec<Packet>,
    /// Mean square of the noise.
    pub(crate) noise_power: f64,
}

/// When a sample is there to be sent, were there no network.
pub(crate) fn time_of(sample: usize) -> Duration {
    Duration::from_micros(sample as u64 * 125)
}

impl Script {
    pub(crate) fn new(row: &Row, digits: usize, rng: &mut StdRng) -> Self {
        let (presses, counted_from, happens_at) = presses(row, digits, rng);
        let end = presses.last().map_or(0, |press| press.until) + TAIL;
        let length = end.next_multiple_of(PACKET);
        let noise_power = power_of(NOISE_DBM0.min(row.dbm0 - SNR_DB));
        let quiet = noise(Noise::White, length, noise_power, rng);
        let mut audio = quiet.clone();
        if !matches!(row.keys, Keys::Events(..)) {
            for press in &presses {
                press.add(&mut audio, rng);
            }
        }
        let mut script = Self {
            counted_from,
            codes: encode(row.law, &audio),
            quiet: encode(row.law, &quiet),
            sent: vec![false; length],
            happens_at,
            packets: Vec::new(),
            noise_power,
            presses,
        };
        script.packets = script.travel(row, rng);
        script
    }

    /// What leaves at each packet time.
    fn leaving(&self, row: &Row, rng: &mut StdRng) -> Vec<Vec<(Vec<u8>, Option<usize>)>> {
        let audio_type = match row.law {
            tonewall::proto::codec::Law::Mu => 0,
            tonewall::proto::codec::Law::A => 8,
        };
        let (mut ssrc, mut sequence, mut first): (u32, u16, u32) = rng.random();
        let mut changed = row.happening != Happening::NewSource;
        let mut slots = Vec::new();
        for at in (0..self.codes.len()).step_by(PACKET) {
            if !changed && at >= self.happens_at {
                (ssrc, sequence, first) = rng.random();
                changed = true;
            }
            let mut slot = Vec::new();
            let mut put = |kind, marker, stamp: usize, payload: &[u8], audio| {
                let stamp = first.wrapping_add(stamp as u32);
                let header = write_header(kind, marker, sequence, stamp, ssrc);
                sequence = sequence.wrapping_add(1);
                slot.push(([&header[..], payload].concat(), audio));
            };
            let press = self
                .presses
                .iter()
                .find(|press| at + PACKET > press.from && at < press.until);
            let event = match row.keys {
                Keys::Tones => None,
                Keys::Events(kind, _) | Keys::Both(kind) => press.map(|press| (kind, press)),
            };
            if event.is_none() || matches!(row.keys, Keys::Both(_)) {
                let payload = &self.codes[at..at + PACKET];
                put(audio_type, false, at, payload, Some(at));
            }
            if let Some((kind, press)) = event {
                let until = (at + PACKET).min(press.until);
                let [high, low] = ((until - press.from) as u16).to_be_bytes();
                let last = at + PACKET >= press.until;
                let payload = [press.digit, if last { 0x8a } else { 0x0a }, high, low];
                for _ in 0..if last { 3 } else { 1 } {
                    put(kind, at <= press.from, press.from, &payload, None);
                }
            }
            slots.push(slot);
        }
        slots
    }

    fn travel(&mut self, row: &Row, rng: &mut StdRng) -> Vec<Packet> {
        let network = row.network;
        let late = |most: u64, rng: &mut StdRng| {
            Duration::from_micros(rng.random_range(0..=most.max(1) * 1_000))
        };
        let mut clock = Duration::ZERO;
        let mut packets = BTreeMap::new();
        let mut number = 0;
        for (n, slot) in self.leaving(row, rng).into_iter().enumerate() {
            for (datagram, audio) in slot {
                let mut due = time_of((n + 1) * PACKET);
                if network.jitter_ms > 0 {
                    due += late(network.jitter_ms, rng);
                }
                if network.clump_ms > 0 {
                    let clump = u128::from(network.clump_ms);
                    let ends = due.as_millis().next_multiple_of(clump);
                    due = Duration::from_millis(ends as u64);
                }
                clock = clock.max(due);
                due = clock;
                if rng.random_bool(network.swap) {
                    due += time_of(PACKET + MS);
                }
                if network.reorder_ms > 0 {
                    due += late(network.reorder_ms, rng);
                }
                if rng.random_bool(network.loss) {
                    continue;
                }
                if let Some(at) = audio {
                    self.sent[at..at + PACKET].fill(true);
                }
                number += 2;
                if rng.random_bool(network.duplicate) {
                    let again = due + Duration::from_millis(5);
                    packets.insert((again, number + 1), datagram.clone());
                }
                packets.insert((due, number), datagram);
            }
        }
        let packets = packets.into_iter();
        packets
            .map(|((due, _), datagram)| Packet { due, datagram })
            .collect()
    }
}

/// The presses, the first one that counts, and when something happens.
fn presses(row: &Row, digits: usize, rng: &mut StdRng) -> (Vec<Press>, usize, usize) {
    // Something happens within this pause, before the press of this number.
    let (before, wait) = match row.happening {
        Happening::Nothing | Happening::Recording => (0, 0),
        Happening::Reoffer | Happening::NewSource => (0, 0),
        Happening::ReofferWithEvents | Happening::Trigger => (BEFORE, 800 * MS),
        Happening::BlockInMidKey => (BEFORE, 400 * MS),
        Happening::Restart => (BEFORE, 5_000 * MS),
    };
    let power = power_of(row.dbm0);
    let twist = 10_f64.powf(row.twist_db / 10.0);
    let mut presses: Vec<Press> = Vec::with_capacity(before + digits);
    let mut at = LEAD;
    let mut happens_at = 0;
    for number in 0..before + digits {
        if number == before && before > 0 {
            happens_at = match row.happening {
                Happening::BlockInMidKey => presses
                    .last()
                    .map_or(at, |press| (press.from + press.until) / 2),
                _ => at + 200 * MS,
            };
            at += wait;
        }
        let mut from = at + rng.random_range(PAUSE.0..PAUSE.1);
        let length = match row.keys {
            Keys::Events(_, lengths) => {
                from = from.next_multiple_of(PACKET);
                lengths[rng.random_range(0..lengths.len())]
            }
            Keys::Tones | Keys::Both(_) => {
                rng.random_range(row.length_ms.start() * MS..=row.length_ms.end() * MS)
            }
        };
        let digit = if row.happening == Happening::Trigger && number < before {
            TRIGGER.as_bytes()[number] - b'0'
        } else {
            rng.random_range(0..PLACES.len() as u8)
        };
        presses.push(Press {
            digit,
            from,
            until: from + length,
            row_detune: 1.0 + row.detune,
            column_detune: 1.0 + row.detune,
            row_peak: (2.0 * power / (1.0 + twist)).sqrt(),
            column_peak: (2.0 * power * twist / (1.0 + twist)).sqrt(),
            ramp: 0,
        });
        at = from + length;
    }
    if before == 0 {
        // In a pause half way through.
        let half = &presses[presses.len() / 2];
        happens_at = half.from - PAUSE.0 / 2;
    }
    (presses, before, happens_at)
}
