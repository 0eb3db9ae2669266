//! What an end receives: laid out by RTP timestamp, gaps as silence.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{EVENT_PAYLOAD_TYPE, LONGEST_RECORDING};
use crate::demo::{
    keypad::{self, Code},
    wav,
};

/// The incoming stream of one end.
#[derive(Default)]
pub(super) struct Received {
    /// Source, timestamp and sequence number of the first packet.
    first: Option<([u8; 4], u32, u16)>,
    samples: Vec<i16>,
    /// Highest sequence number since the first one, on a scale that does not wrap.
    highest: i64,
    /// Packets of audio.
    pub(super) packets: u64,
    all_packets: u64,
    /// Packets that came after a later one.
    pub(super) late: u64,
    /// Packets that were neither audio nor events, or of another source.
    pub(super) strange: u64,
    /// Timestamps of the events that came.
    events: BTreeSet<u32>,
    arrivals: BTreeMap<usize, Vec<i64>>,
}

impl Received {
    /// Takes a datagram that came at `now_us`; true when it is the first.
    pub(super) fn take(&mut self, datagram: &[u8], now_us: i64) -> bool {
        let (Some(head), true) = (
            datagram.first_chunk::<12>(),
            datagram.first().is_some_and(|byte| byte >> 6 == 2),
        ) else {
            self.strange += 1;
            return false;
        };
        let sequence = u16::from_be_bytes([head[2], head[3]]);
        let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let payload = &datagram[12..];
        let source = [head[8], head[9], head[10], head[11]];
        let is_first = self.first.is_none();
        let (first_source, first_timestamp, first_sequence) =
            *self.first.get_or_insert((source, timestamp, sequence));
        if source != first_source {
            self.strange += 1;
            return false;
        }

        let beyond = sequence.wrapping_sub(first_sequence.wrapping_add(self.highest as u16)) as i16;
        if beyond < 0 {
            self.late += 1;
        }
        self.highest += i64::from(beyond.max(0));
        self.all_packets += 1;

        let at = usize::try_from(timestamp.wrapping_sub(first_timestamp) as i32).ok();
        let at = at.filter(|at| at + payload.len() < LONGEST_RECORDING);
        match head[1] & 0x7f {
            0 => {
                self.packets += 1;
                let Some(at) = at else { return is_first };
                let pcm: Vec<i16> = payload
                    .iter()
                    .map(|code| wav::mu_law_decode(*code))
                    .collect();
                self.put(at, &pcm);
                let microseconds = at as i64 * 1_000_000 / i64::from(wav::RATE);
                let second = self.arrivals.entry(at / wav::RATE as usize).or_default();
                second.push(now_us - microseconds);
            }
            EVENT_PAYLOAD_TYPE => {
                self.events.insert(timestamp);
                // Made audible, so that the listeners and the picture show it.
                if let (Some(at), [code @ 0..=15, _, high, low, ..]) = (at, payload) {
                    let duration = usize::from(u16::from_be_bytes([*high, *low]));
                    self.put(at, &keypad::tone(Code(*code), duration, -10.0));
                }
            }
            _ => self.strange += 1,
        }
        is_first
    }

    fn put(&mut self, at: usize, pcm: &[i16]) {
        let end = at + pcm.len();
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        self.samples[at..end].copy_from_slice(pcm);
    }

    pub(super) fn recording(&self) -> &[i16] {
        &self.samples
    }

    /// Sequence numbers that never came.
    pub(super) fn lost(&self) -> u64 {
        let expected = if self.first.is_some() {
            self.highest as u64 + 1
        } else {
            0
        };
        expected.saturating_sub(self.all_packets)
    }

    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    /// The median of each second's arrival of sample 0.
    pub(super) fn arrivals_us(&self) -> Vec<Option<i64>> {
        let seconds = self.arrivals.keys().next_back().map_or(0, |last| last + 1);
        (0..seconds)
            .map(|second| {
                let mut all = self.arrivals.get(&second)?.clone();
                all.sort_unstable();
                all.get(all.len() / 2).copied()
            })
            .collect()
    }
}
