//! Audio that came too late: heard again in its place, so that a press it completes still counts.
//!
//! [`History`] keeps what was heard of late and which of it never came. When a packet fills such a
//! hole, a fresh detector hears all of it once more and takes the old one's place; [`Presses`] tells
//! which of its presses were told before. What is never filled is never known: a loss of 40 ms can
//! hide a key as a whole, and only the field's length or check digit shows that one is missing.

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::bank::HOP;
use crate::proto::bits::Bits;

/// Samples kept: 400 ms. A packet is late by 60 ms at least, and the press in it began before.
pub(super) const HISTORY_SAMPLES: usize = 3_200;
/// How far from what was filled (64 ms) a press can be that it brought to light: the noise before a
/// press is taken from so far back.
const REACH_SAMPLES: i64 = 512;
/// A press that sounded when the history began (10 ms) was heard before.
const HEAD_SAMPLES: i64 = 80;
/// Presses remembered: of the shortest, two fall into 400 ms, and each of them may have been told
/// twice around a loss.
const PRESSES: usize = 8;

/// The last 400 ms of what was heard, and what of it was lost. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct History {
    samples: [i16; HISTORY_SAMPLES],
    lost: Bits,
    /// First position that is known, or known to be lost.
    begin: u64,
    /// Position after the newest sample.
    end: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            samples: [0; HISTORY_SAMPLES],
            lost: Bits::new(HISTORY_SAMPLES),
            begin: 0,
            end: 0,
        }
    }
}

impl History {
    /// Where positions of a span of at most [`HISTORY_SAMPLES`] lie: up to the ring's end, and from
    /// its beginning on.
    const fn places(from: u64, length: usize) -> [Range<usize>; 2] {
        let from = (from % HISTORY_SAMPLES as u64) as usize;
        let room = HISTORY_SAMPLES - from;
        let before_end = if length < room { length } else { room };
        [from..from + before_end, 0..length - before_end]
    }

    /// Appends what was heard.
    pub(super) fn keep(&mut self, samples: &[i16]) {
        let skipped = samples.len().saturating_sub(HISTORY_SAMPLES);
        let mut rest = &samples[skipped..];
        for place in Self::places(self.end + skipped as u64, rest.len()) {
            if place.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(place.len());
            self.samples[place.clone()].copy_from_slice(now);
            self.lost.fill(place, false);
            rest = later;
        }
        self.go_to(self.end + samples.len() as u64);
    }

    /// What there is until `end` was lost.
    pub(super) fn lose_until(&mut self, end: u64) {
        let lost = end.saturating_sub(self.end).min(HISTORY_SAMPLES as u64);
        for place in Self::places(end - lost, lost as usize) {
            self.samples[place.clone()].fill(0);
            self.lost.fill(place, true);
        }
        self.go_to(end.max(self.end));
    }

    fn go_to(&mut self, end: u64) {
        self.end = end;
        self.begin = self.begin.max(end.saturating_sub(HISTORY_SAMPLES as u64));
    }

    /// Nothing from before now can be filled any more: its place is not known.
    pub(super) fn close(&mut self) {
        self.begin = self.end;
    }

    /// Whether something of a span was lost.
    pub(super) fn lacks(&self, start: i64, samples: usize) -> bool {
        let mut places = self.known_of(start, samples);
        places.any(|(_, place)| self.lost.get(place))
    }

    /// Puts samples where they belong, whether something was heard there or not.
    pub(super) fn put(&mut self, start: i64, samples: &[i16]) {
        for (at, place) in self.known_of(start, samples.len()) {
            self.samples[place] = samples[(at - start) as usize];
            self.lost.set(place, false);
        }
    }

    /// The positions of a span that the history holds, and their places.
    fn known_of(&self, start: i64, samples: usize) -> impl Iterator<Item = (i64, usize)> + use<> {
        let until = start.saturating_add(samples as i64).min(self.end as i64);
        let known = start.max(self.begin as i64)..until;
        known.map(|at| (at, (at as u64 % HISTORY_SAMPLES as u64) as usize))
    }

    /// Puts late samples where theirs were lost; from the first to the last that did.
    pub(super) fn fill(&mut self, start: i64, samples: &[i16]) -> Option<Range<i64>> {
        let mut filled: Option<Range<i64>> = None;
        for (at, place) in self.known_of(start, samples.len()) {
            if self.lost.get(place) {
                self.lost.set(place, false);
                self.samples[place] = samples[(at - start) as usize];
                filled = Some(filled.map_or(at, |filled| filled.start)..at + 1);
            }
        }
        filled
    }

    /// First position that is known.
    pub(super) const fn begin(&self) -> i64 {
        self.begin as i64
    }

    /// How many whole hops there are before `end`.
    pub(super) const fn hops_before(&self, end: u64) -> u64 {
        end.saturating_sub(self.begin) / HOP as u64
    }

    /// Copies what there is from `from` on into `samples`; how much of it was lost.
    pub(super) fn copy(&self, from: u64, samples: &mut [i16]) -> u32 {
        let mut lost = 0;
        let mut rest = samples;
        for place in Self::places(from, rest.len()) {
            let (now, later) = rest.split_at_mut(place.len());
            now.copy_from_slice(&self.samples[place.clone()]);
            lost += self.lost.count(place);
            rest = later;
        }
        lost
    }
}

/// A tone's press that was told, counted or not.
#[derive(Default, Zeroize)]
struct Press {
    known: bool,
    code: u8,
    start: i64,
    /// Until where its tone was told.
    until: i64,
    /// It was counted: no event had told it, nor the tone before it.
    counted: bool,
    /// The detector that listens now has told it.
    claimed: bool,
}

/// The presses told of late, so that none counts twice. Wiped as they leave the history, and on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Presses {
    presses: [Press; PRESSES],
    /// How many are known.
    known: usize,
    /// The one whose tone goes on.
    current: Option<usize>,
    /// Where the newest press began that was counted, of whatever source.
    newest: i64,
}

impl Default for Presses {
    fn default() -> Self {
        Self {
            presses: Default::default(),
            known: 0,
            current: None,
            newest: i64::MIN,
        }
    }
}

impl Presses {
    /// The detector tells a press that began at `start` and has lasted until `until`. Whether nobody
    /// has told it before: each press that the last detector told is told again once.
    pub(super) fn tell(&mut self, code: u8, start: i64, until: i64) -> bool {
        let same = |press: &Press| press.known && !press.claimed && press.is(code, start, until);
        if let Some(known) = self.presses.iter().position(same) {
            let press = &mut self.presses[known];
            press.claimed = true;
            press.until = press.until.max(until);
            self.current = Some(known);
            return false;
        }
        let free = self.presses.iter().position(|press| !press.known);
        let place = free.unwrap_or_else(|| self.oldest());
        self.known += usize::from(free.is_some());
        self.presses[place].zeroize();
        self.presses[place] = Press {
            known: true,
            code,
            start,
            until,
            counted: false,
            claimed: true,
        };
        self.current = Some(place);
        true
    }

    fn oldest(&self) -> usize {
        let starts = self.presses.iter().map(|press| press.start).enumerate();
        starts.min_by_key(|(_, start)| *start).map_or(0, |(n, _)| n)
    }

    /// The press that was told last is a new one, and counts.
    pub(super) fn count(&mut self, start: i64) {
        if let Some(current) = self.current {
            self.presses[current].counted = true;
        }
        self.count_event(start);
    }

    /// An event has told a new press.
    pub(super) fn count_event(&mut self, start: i64) {
        self.newest = self.newest.max(start);
    }

    /// Whether a press that began at `start` would stand in its place if it were counted now.
    pub(super) const fn is_newest(&self, start: i64) -> bool {
        start > self.newest
    }

    /// The tone of the press that was told last is heard until here. False when it runs into another
    /// one that was counted: two were, where there was one.
    pub(super) fn go_on(&mut self, until: i64) -> bool {
        let Some(current) = self.current else {
            return true;
        };
        self.presses[current].until = until;
        if self.known == 1 {
            return true;
        }
        let Press {
            code,
            start,
            counted,
            ..
        } = self.presses[current];
        let mut one = true;
        for press in &mut self.presses {
            if press.known && !press.claimed && press.is(code, start, until) {
                press.claimed = true;
                one &= !(press.counted && counted);
            }
        }
        one
    }

    /// A fresh detector begins to hear again what was heard since `begin`.
    pub(super) fn hear_again(&mut self, begin: i64) {
        self.current = None;
        for press in &mut self.presses {
            press.claimed &= press.until < begin;
        }
    }

    /// Wipes the presses that have left the history.
    pub(super) fn forget(&mut self, begin: i64) {
        if self.known == 0 {
            return;
        }
        for (n, press) in self.presses.iter_mut().enumerate() {
            if press.known && press.until < begin {
                press.zeroize();
                self.known -= 1;
                self.current = self.current.filter(|current| *current != n);
            }
        }
    }
}

impl Press {
    fn is(&self, code: u8, start: i64, until: i64) -> bool {
        self.code == code && self.start < until && start < self.until
    }
}

/// Whether what was `filled` can have brought to light a press that is heard from `start` to `until`
/// in a history from `begin` on.
pub(super) fn brings_to_light(filled: &Range<i64>, start: i64, until: i64, begin: i64) -> bool {
    start >= begin + HEAD_SAMPLES && start - REACH_SAMPLES < filled.end && filled.start < until
}
