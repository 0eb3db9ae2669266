//! Audio that came too late: heard again in its place, so that a press it completes still counts.
//!
//! [`History`](super::history::History) keeps what was heard of late and which of it never came. When
//! a packet fills such a hole, a fresh detector hears all of it once more and takes the old one's
//! place; [`Presses`] tells which of its presses were told before. What is never filled is never
//! known: a loss of 40 ms can hide a key as a whole, and only the field's length or check digit shows
//! that one is missing.

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// How far from what was filled (64 ms) a press can be that it brought to light: the noise before a
/// press is taken from so far back.
const REACH_SAMPLES: i64 = 512;
/// A press that sounded when the history began (10 ms) was heard before.
const HEAD_SAMPLES: i64 = 80;
/// Presses remembered: of the shortest, two fall into 400 ms, and each of them may have been told
/// twice around a loss.
const PRESSES: usize = 8;

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
