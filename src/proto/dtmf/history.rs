//! The last 400 ms of what was heard, for audio that comes late.

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::bank::HOP;
use crate::proto::{
    bits::Bits,
    codec::{Audio, Form, Law},
};

/// Samples kept: 400 ms. A packet is late by 60 ms at least, and the press in it began before.
pub(super) const HISTORY_SAMPLES: usize = 3_200;

/// The samples of a history, a ring. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
enum Ring {
    /// Nothing was heard so far.
    #[default]
    Nothing,
    /// Codewords of G.711, half as large as what they mean.
    Codewords(#[zeroize(skip)] Law, Box<[u8]>),
    /// What was decoded from anything else, or from more than one law.
    Linear(Box<[i16]>),
}

impl Ring {
    /// Becomes what takes audio of this form.
    fn admit(&mut self, form: &Form<'_>) {
        *self = match (&*self, form) {
            (Self::Linear(_), _) => return,
            (Self::Codewords(law, _), Form::Codewords(other, _)) if law == other => return,
            (Self::Codewords(law, codes), _) => {
                Self::Linear(codes.iter().map(|code| law.decode(*code)).collect())
            }
            (Self::Nothing, Form::Codewords(law, _)) => Self::Codewords(
                *law,
                vec![law.silence(); HISTORY_SAMPLES].into_boxed_slice(),
            ),
            (Self::Nothing, _) => Self::Linear(vec![0; HISTORY_SAMPLES].into_boxed_slice()),
        };
    }

    /// Puts a part of what was admitted into its place.
    fn write(&mut self, place: Range<usize>, audio: &Audio<'_>, part: Range<usize>) {
        match (self, &audio.form) {
            (Self::Codewords(_, kept), Form::Codewords(_, codes)) => {
                kept[place].copy_from_slice(&codes[part]);
            }
            (Self::Linear(kept), _) => kept[place].copy_from_slice(&audio.samples[part]),
            (Self::Nothing | Self::Codewords(..), _) => {}
        }
    }

    /// Overwrites what there is.
    fn silence(&mut self, place: Range<usize>) {
        match self {
            Self::Nothing => {}
            Self::Codewords(law, kept) => kept[place].fill(law.silence()),
            Self::Linear(kept) => kept[place].fill(0),
        }
    }

    fn read(&self, place: Range<usize>, samples: &mut [i16]) {
        match self {
            Self::Nothing => samples.fill(0),
            Self::Codewords(law, kept) => {
                for (sample, code) in samples.iter_mut().zip(&kept[place]) {
                    *sample = law.decode(*code);
                }
            }
            Self::Linear(kept) => samples.copy_from_slice(&kept[place]),
        }
    }
}

/// The last 400 ms of what was heard, and what of it was lost. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct History {
    ring: Ring,
    /// What was lost; made when something was.
    lost: Option<Bits>,
    /// Position after the last loss.
    lost_until: u64,
    /// First position that is known, or known to be lost.
    begin: u64,
    /// Position after the newest sample.
    end: u64,
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
    pub(super) fn keep(&mut self, audio: &Audio<'_>) {
        let length = audio.samples.len();
        let mut part = length.saturating_sub(HISTORY_SAMPLES);
        self.ring.admit(&audio.form);
        // What was lost before the ring's last turn is marked no more.
        let marks = self.lost_until + HISTORY_SAMPLES as u64 > self.end;
        for place in Self::places(self.end + part as u64, length - part) {
            if place.is_empty() {
                break;
            }
            if let Some(lost) = self.lost.as_mut().filter(|_| marks) {
                lost.fill(place.clone(), false);
            }
            let next = part + place.len();
            self.ring.write(place, audio, part..next);
            part = next;
        }
        self.go_to(self.end + length as u64);
    }

    /// What there is until `end` was lost.
    pub(super) fn lose_until(&mut self, end: u64) {
        let samples = end.saturating_sub(self.end).min(HISTORY_SAMPLES as u64);
        if samples > 0 {
            let lost = self.lost.get_or_insert_with(|| Bits::new(HISTORY_SAMPLES));
            for place in Self::places(end - samples, samples as usize) {
                self.ring.silence(place.clone());
                lost.fill(place, true);
            }
            self.lost_until = end;
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

    fn is_lost(&self, place: usize) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.get(place))
    }

    /// Whether something of a span was lost.
    pub(super) fn lacks(&self, start: i64, samples: usize) -> bool {
        let mut places = self.known_of(start, samples);
        places.any(|(_, place)| self.is_lost(place))
    }

    /// Puts audio where it belongs, whether something was heard there or not.
    pub(super) fn put(&mut self, start: i64, audio: &Audio<'_>) {
        self.ring.admit(&audio.form);
        for (at, place) in self.known_of(start, audio.samples.len()) {
            self.put_one(place, audio, (at - start) as usize);
        }
    }

    /// Puts late audio where its samples were lost; from the first to the last that did.
    pub(super) fn fill(&mut self, start: i64, audio: &Audio<'_>) -> Option<Range<i64>> {
        let mut filled: Option<Range<i64>> = None;
        self.ring.admit(&audio.form);
        for (at, place) in self.known_of(start, audio.samples.len()) {
            if self.is_lost(place) {
                self.put_one(place, audio, (at - start) as usize);
                filled = Some(filled.map_or(at, |filled| filled.start)..at + 1);
            }
        }
        filled
    }

    fn put_one(&mut self, place: usize, audio: &Audio<'_>, part: usize) {
        self.ring.write(place..place + 1, audio, part..part + 1);
        if let Some(lost) = &mut self.lost {
            lost.set(place, false);
        }
    }

    /// The positions of a span that the history holds, and their places.
    fn known_of(&self, start: i64, samples: usize) -> impl Iterator<Item = (i64, usize)> + use<> {
        let until = start.saturating_add(samples as i64).min(self.end as i64);
        let known = start.max(self.begin as i64)..until;
        known.map(|at| (at, (at as u64 % HISTORY_SAMPLES as u64) as usize))
    }

    /// First position that is known.
    pub(super) const fn begin(&self) -> i64 {
        self.begin as i64
    }

    /// How many whole hops there are before `end`.
    pub(super) const fn hops_before(&self, end: u64) -> u64 {
        end.saturating_sub(self.begin) / HOP as u64
    }

    /// Copies what there is from `from` on into `samples`, with silence for what was lost; how much of
    /// it was.
    pub(super) fn copy(&self, from: u64, samples: &mut [i16]) -> u32 {
        let mut lost = 0;
        let mut rest = samples;
        for place in Self::places(from, rest.len()) {
            let (now, later) = rest.split_at_mut(place.len());
            self.ring.read(place.clone(), now);
            for (sample, place) in now.iter_mut().zip(place) {
                if self.is_lost(place) {
                    *sample = 0;
                    lost += 1;
                }
            }
            rest = later;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Audio of a law, with its codewords if `coded`.
    fn keep(history: &mut History, law: Law, codes: &[u8], coded: bool) -> Vec<i16> {
        let samples: Vec<i16> = codes.iter().map(|code| law.decode(*code)).collect();
        let form = if coded {
            Form::Codewords(law, codes)
        } else {
            Form::Narrow
        };
        let audio = Audio {
            samples: &samples,
            form,
        };
        history.keep(&audio);
        samples
    }

    #[test]
    fn what_was_heard_is_kept_as_it_was_whatever_it_came_as_and_what_was_lost_is_silence() {
        let codes: Vec<u8> = (0..1_000).map(|n| (n * 7 % 256) as u8).collect();
        let forms = [
            (Law::A, true),
            (Law::A, true),
            (Law::Mu, true),
            (Law::Mu, false),
        ];
        let mut history = History::default();
        let mut expected: Vec<Option<i16>> = Vec::new();
        for round in 0..40_usize {
            let (law, coded) = forms[round * forms.len() / 40];
            let codes = &codes[round * 13..][..1 + round * 37 % 400];
            let samples = keep(&mut history, law, codes, coded);
            expected.extend(samples.into_iter().map(Some));
            if round % 9 < 2 {
                expected.extend(vec![None; round * 5]);
                history.lose_until(expected.len() as u64);
            }
            let begin = expected.len().saturating_sub(HISTORY_SAMPLES);
            let mut kept = vec![1; expected.len() - begin];
            let lost = history.copy(begin as u64, &mut kept);
            let known = &expected[begin..];
            assert_eq!(lost as usize, known.iter().filter(|s| s.is_none()).count());
            let same = kept.iter().zip(known).all(|(a, b)| *a == b.unwrap_or(0));
            assert!(same, "round {round}");
            for (n, sample) in known.iter().enumerate() {
                assert_eq!(history.lacks((begin + n) as i64, 1), sample.is_none());
            }
        }
    }

    #[test]
    fn a_history_of_one_law_takes_half_of_what_another_takes() {
        let mut history = History::default();
        keep(&mut history, Law::Mu, &[7; 160], true);
        assert!(matches!(&history.ring, Ring::Codewords(Law::Mu, kept) if kept.len() == 3_200));
        assert!(history.lost.is_none());
        keep(&mut history, Law::A, &[7; 160], true);
        assert!(matches!(history.ring, Ring::Linear(_)));
    }
}
