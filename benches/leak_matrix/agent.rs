//! What came out, laid over what went in.
//!
//! The agent plays by RTP timestamps, so that is the scale here. Where audio came as it was, it is
//! found again in the caller's: that tells which samples were heard, and the delay.

use std::{collections::HashMap, ops::Range};

use tonewall::proto::{codec::Law, rtp::RtpHeader};

use crate::{
    call::Received,
    caller::{PACKET, Script, time_of},
    common::signal::MS,
};

/// Samples that identify a place in the caller's audio.
const WINDOW: usize = 24;
/// Samples that have to be the same to count as heard where the place is known: 1 ms.
const RUN: usize = MS;
/// A timestamp further than this from where its packet came is the beginning of another scale: 3 s.
const JUMP: i64 = 24_000;

/// Audio of one packet.
struct Chunk {
    /// Place on the agent's scale.
    at: i64,
    samples: Vec<i16>,
}

/// An event that could be read.
pub(crate) struct Event {
    /// When its first packet came, in samples from the beginning of the caller's stream.
    pub(crate) came: i64,
    pub(crate) code: u8,
    /// SSRC and timestamp.
    stamp: (u32, u32),
    ended: bool,
}

/// What the agent got.
pub(crate) struct Agent {
    /// As played: packets in their places, nothing between them.
    pub(crate) audio: Vec<i16>,
    /// Audio for a time that other audio was there for: place in `audio`, samples.
    pub(crate) besides: Vec<(usize, Vec<i16>)>,
    /// From a place in `audio` on, how much must be added to come to the caller's scale.
    shifts: Vec<(usize, i64)>,
    /// Which of the caller's samples came as they were.
    pub(crate) heard: Vec<bool>,
    /// In the order in which they began.
    pub(crate) events: Vec<Event>,
    /// Each packet's delay, ms.
    delays_ms: Vec<f64>,
    pub(crate) packets: usize,
}

impl Agent {
    pub(crate) fn new(received: &[Received], script: &Script, law: Law) -> Self {
        let sent: Vec<i16> = script.codes.iter().map(|code| law.decode(*code)).collect();
        let places = places(&sent);
        let mut scales: HashMap<u32, (u32, i64)> = HashMap::new();
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut agent = Self {
            audio: Vec::new(),
            besides: Vec::new(),
            shifts: Vec::new(),
            heard: vec![false; sent.len()],
            events: Vec::new(),
            delays_ms: Vec::new(),
            packets: received.len(),
        };
        let mut shift = 0;
        for packet in received {
            let Ok(header) = RtpHeader::parse(&packet.datagram) else {
                continue;
            };
            let payload = &packet.datagram[header.payload.clone()];
            let came = (packet.at.as_micros() / 125) as i64;
            let (first, base) = *scales
                .entry(header.ssrc)
                .or_insert((header.timestamp, came));
            let mut at = base + i64::from(header.timestamp.wrapping_sub(first) as i32);
            if (at - came).abs() > JUMP {
                scales.insert(header.ssrc, (header.timestamp, came));
                at = came;
            }
            if let Some(code) = event_code(header.payload_type, payload) {
                agent.event(
                    came,
                    code,
                    (header.ssrc, header.timestamp),
                    payload[1] & 0x80 != 0,
                );
                continue;
            }
            let law = match header.payload_type {
                0 => Law::Mu,
                8 => Law::A,
                // What he would try.
                _ => law,
            };
            let samples: Vec<i16> = payload.iter().map(|code| law.decode(*code)).collect();
            if let Some((from, place)) = agent.find(&samples, at, &sent, &places, &mut shift) {
                let played = came as f64 + from as f64;
                let packet_of_place = place / PACKET * PACKET;
                let said = time_of(packet_of_place + PACKET).as_micros() as f64 / 125.0
                    + (place - packet_of_place) as f64;
                agent.delays_ms.push((played - said) / MS as f64);
                agent.shifts.push((at.max(0) as usize, shift));
            }
            chunks.push(Chunk { at, samples });
        }
        agent.lay_out(chunks);
        agent.shifts.sort_by_key(|(at, _)| *at);
        agent
    }

    fn event(&mut self, came: i64, code: u8, stamp: (u32, u32), end: bool) {
        let same = |event: &&mut Event| event.stamp == stamp && event.code == code;
        match self.events.iter_mut().rev().find(same) {
            Some(event) => event.ended |= end,
            None => self.events.push(Event {
                came,
                code,
                stamp,
                ended: end,
            }),
        }
    }

    /// Marks what of a packet came as it was; the first such sample, and its place.
    fn find(
        &mut self,
        samples: &[i16],
        at: i64,
        sent: &[i16],
        places: &HashMap<u64, u32>,
        shift: &mut i64,
    ) -> Option<(usize, usize)> {
        let mut found = None;
        let mut from = 0;
        while from + RUN <= samples.len() {
            let place = |shift: i64| usize::try_from(at + from as i64 + shift).ok();
            let same = |place: usize| {
                let theirs = sent.get(place..).unwrap_or_default();
                let pairs = samples[from..].iter().zip(theirs);
                pairs.take_while(|(a, b)| a == b).count()
            };
            let mut run = place(*shift).map_or(0, same);
            if run < RUN
                && let Some(window) = samples.get(from..from + WINDOW)
                && let Some(&elsewhere) = places.get(&hash(window))
                && same(elsewhere as usize) >= WINDOW
            {
                *shift = i64::from(elsewhere) - at - from as i64;
                run = same(elsewhere as usize);
            }
            if run < RUN {
                from += 1;
                continue;
            }
            let place = (at + from as i64 + *shift) as usize;
            self.heard[place..place + run].fill(true);
            found.get_or_insert((from, place));
            from += run;
        }
        found
    }

    fn lay_out(&mut self, mut chunks: Vec<Chunk>) {
        // Two of one time: the later one is played where nothing was, and heard besides.
        chunks.sort_by_key(|chunk| chunk.at);
        let mut filled = 0;
        for chunk in chunks {
            let at = chunk.at.max(0) as usize;
            let end = at + chunk.samples.len();
            if self.audio.len() < end {
                self.audio.resize(end, 0);
            }
            let new = filled.max(at).min(end);
            self.audio[new..end].copy_from_slice(&chunk.samples[new - at..]);
            filled = filled.max(end);
            let overlap = new - at;
            if self.audio[at..new] != chunk.samples[..overlap] {
                self.besides.push((at, chunk.samples));
            }
        }
    }

    /// A place in `audio` on the caller's scale.
    pub(crate) fn said_at(&self, at: usize) -> i64 {
        let after = self.shifts.partition_point(|(from, _)| *from <= at);
        let shift = self.shifts.get(after.saturating_sub(1));
        at as i64 + shift.map_or(0, |(_, shift)| *shift)
    }

    /// Median delay, ms; `None` where nothing came as it was.
    pub(crate) fn delay_ms(&self) -> Option<f64> {
        let mut delays = self.delays_ms.clone();
        delays.sort_by(f64::total_cmp);
        delays.get(delays.len() / 2).copied()
    }

    /// Milliseconds that were sent and not heard, beside the keys, from one key to the next.
    pub(crate) fn masked_ms(&self, script: &Script, counted: &Range<usize>) -> f64 {
        let presses = &script.presses[counted.clone()];
        let (Some(first), Some(last)) = (presses.first(), presses.last()) else {
            return 0.0;
        };
        let mut besides = vec![true; self.heard.len()];
        for press in presses {
            besides[press.from..press.until.min(self.heard.len())].fill(false);
        }
        let span = first.from - 50 * MS..(last.until + 250 * MS).min(self.heard.len());
        let masked = span
            .filter(|at| besides[*at] && script.sent[*at] && !self.heard[*at])
            .count();
        masked as f64 / MS as f64 / presses.len() as f64
    }

    /// Share of what was said beside the keys that was heard.
    pub(crate) fn voice(&self, script: &Script) -> f64 {
        let mut said = script.sent.clone();
        for press in &script.presses {
            let until = press.until.min(said.len());
            said[press.from..until].fill(false);
        }
        let all = said.iter().filter(|said| **said).count();
        let heard = said.iter().zip(&self.heard).filter(|(a, b)| **a && **b);
        heard.count() as f64 / all.max(1) as f64
    }

    /// Events that began and never ended.
    pub(crate) fn unended_events(&self) -> usize {
        self.events.iter().filter(|event| !event.ended).count()
    }
}

/// An event under whatever payload type: no audio has so few bytes.
fn event_code(payload_type: u8, payload: &[u8]) -> Option<u8> {
    let audio = matches!(payload_type, 0 | 8 | 13);
    let fits = !payload.is_empty() && payload.len() <= 16 && payload.len().is_multiple_of(4);
    (!audio && fits && payload[0] <= 16).then_some(payload[0])
}

/// Where each window of the caller's audio stands; those that stand twice are left out.
fn places(sent: &[i16]) -> HashMap<u64, u32> {
    let mut places = HashMap::with_capacity(sent.len());
    for (at, window) in sent.windows(WINDOW).enumerate() {
        places
            .entry(hash(window))
            .and_modify(|place| *place = u32::MAX)
            .or_insert(at as u32);
    }
    places.retain(|_, place| *place != u32::MAX);
    places
}

/// FNV-1a of the samples.
fn hash(window: &[i16]) -> u64 {
    window.iter().fold(0xCBF2_9CE4_8422_2325, |hash, sample| {
        (hash ^ u64::from(*sample as u16)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
