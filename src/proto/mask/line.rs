//! The delay line: audio that has been heard and not yet sent.

use std::ops::Range;

use zeroize::Zeroize;

use crate::proto::bits::Bits;

/// Room for 512 ms of 8 kHz audio: what waits (100 ms at most), a gap of 150 ms, and the longest
/// datagram.
const CAPACITY: usize = 4_096;
/// Room that a line begins with, 64 ms: what waits behind 20 ms a packet. Twice as much as often as
/// it is needed, which is after a gap or with longer packets.
const FIRST_CAPACITY: usize = 512;

/// A ring of G.711 codewords (`u8`), linear samples (`i16`) or pairs of them (`[i16; 2]`) with a mark on each that
/// must not be heard. Positions count samples since the line was made. Wiped on drop.
pub(super) struct Line<T: Copy + Default + Zeroize> {
    codes: Box<[T]>,
    marked: Bits,
    start: u64,
    end: u64,
    /// Everything before this is marked as it comes in.
    marked_until: u64,
}

impl<T: Copy + Default + Zeroize> Line<T> {
    pub(super) fn new() -> Self {
        Self::with_room(FIRST_CAPACITY)
    }

    fn with_room(capacity: usize) -> Self {
        Self {
            codes: vec![T::default(); capacity].into_boxed_slice(),
            marked: Bits::new(capacity),
            start: 0,
            end: 0,
            marked_until: 0,
        }
    }

    const fn slot(&self, position: u64) -> usize {
        // Below the ring's length, so it fits.
        (position % self.codes.len() as u64) as usize
    }

    /// Where the positions of a span no longer than the ring lie: up to the ring's end, and from its
    /// beginning on.
    fn places(&self, span: Range<u64>) -> [Range<usize>; 2] {
        let from = self.slot(span.start);
        let length = (span.end.max(span.start) - span.start) as usize;
        let before_end = length.min(self.codes.len() - from);
        [from..from + before_end, 0..length - before_end]
    }

    /// Makes room for so many more, as far as a line's room goes.
    fn make_room(&mut self, more: usize) {
        let needed = (self.len() + more).next_power_of_two().min(CAPACITY);
        if needed <= self.codes.len() {
            return;
        }
        let mut larger = Self::with_room(needed);
        for position in self.start..self.end {
            let (from, to) = (self.slot(position), larger.slot(position));
            larger.codes[to] = self.codes[from];
            larger.marked.set(to, self.marked.get(from));
        }
        (larger.start, larger.end) = (self.start, self.end);
        larger.marked_until = self.marked_until;
        // What was here is wiped as it is dropped.
        *self = larger;
    }

    pub(super) const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Position after the newest sample.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    pub(super) const fn room(&self) -> usize {
        CAPACITY - self.len()
    }

    /// Appends; what finds no room is dropped, oldest first (it was to be silence by then).
    pub(super) fn push(&mut self, code: T, marked: bool) {
        self.make_room(1);
        if self.room() == 0 {
            self.start += 1;
        }
        let slot = self.slot(self.end);
        self.codes[slot] = code;
        let marked = marked || self.end < self.marked_until;
        self.marked.set(slot, marked);
        self.end += 1;
    }

    /// Appends unmarked codewords, as [`Line::push`] does each.
    pub(super) fn extend(&mut self, codes: &[T]) {
        for codes in codes.chunks(CAPACITY) {
            self.make_room(codes.len());
            let missing = codes.len().saturating_sub(self.room());
            self.start += missing as u64;
            let end = self.end + codes.len() as u64;
            let mut rest = codes;
            for place in self.places(self.end..end) {
                if place.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(place.len());
                self.codes[place.clone()].copy_from_slice(now);
                self.marked.fill(place, false);
                rest = later;
            }
            if self.marked_until > self.end {
                for place in self.places(self.end..self.marked_until.min(end)) {
                    self.marked.fill(place, true);
                }
            }
            self.end = end;
        }
    }

    /// Marks a span, also what has yet to come of it.
    pub(super) fn mark(&mut self, span: Range<u64>) {
        for place in self.places(span.start.max(self.start)..span.end.min(self.end)) {
            self.marked.fill(place, true);
        }
        self.marked_until = self.marked_until.max(span.end);
    }

    /// Takes `frame.len()` codewords, as many as there are; whether any of them is marked, or
    /// missing.
    pub(super) fn take(&mut self, frame: &mut [T]) -> bool {
        let taken = frame.len().min(self.len());
        let mut any = taken < frame.len();
        let end = self.start + taken as u64;
        let mut rest = frame;
        for place in self.places(self.start..end) {
            if place.is_empty() {
                break;
            }
            let (now, later) = rest.split_at_mut(place.len());
            now.copy_from_slice(&self.codes[place.clone()]);
            // A frame that left is a log of what was said, or of a key.
            self.codes[place.clone()].fill(T::default());
            any |= self.marked.count(place) > 0;
            rest = later;
        }
        self.start = end;
        any
    }

    /// Whether nothing in the line is marked and nothing to come is.
    pub(super) fn is_unmarked(&self) -> bool {
        self.marked_until <= self.end && {
            let places = self.places(self.start..self.end);
            places
                .into_iter()
                .all(|place| self.marked.count(place) == 0)
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        (self.start..self.end).map(|position| self.codes[self.slot(position)])
    }

    /// Writes every codeword that waits anew.
    pub(super) fn recode(&mut self, anew: impl Fn(T) -> T) {
        for position in self.start..self.end {
            let slot = self.slot(position);
            let code = &mut self.codes[slot];
            *code = anew(*code);
        }
    }

    /// A line of as much silence at the same positions, with the same marks. What waits here stays
    /// until it is dropped.
    pub(super) fn replaced_by<U: Copy + Default + Zeroize>(&self, silence: U) -> Line<U> {
        let mut line = Line::new();
        line.start = self.start;
        line.end = self.start;
        for position in self.start..self.end {
            line.push(silence, self.marked.get(self.slot(position)));
        }
        line.marked_until = self.marked_until;
        line
    }

    /// Forgets what waits; positions go on.
    pub(super) fn discard(&mut self) {
        self.codes.zeroize();
        self.start = self.end;
    }
}

impl<T: Copy + Default + Zeroize> Drop for Line<T> {
    fn drop(&mut self) {
        self.codes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_marks_what_waits_and_what_has_yet_to_come() {
        let mut line = Line::new();
        (0..10u8).for_each(|code| line.push(code, false));
        line.mark(5..12);
        (10..20).for_each(|code| line.push(code, false));
        let mut frame = [0; 5];
        assert!(!line.take(&mut frame));
        assert_eq!(frame, [0, 1, 2, 3, 4]);
        assert!(line.take(&mut frame), "5 to 9 are marked");
        assert!(line.take(&mut frame), "10 and 11 are marked");
        assert!(!line.take(&mut frame));
        assert_eq!(frame, [15, 16, 17, 18, 19]);
    }

    #[test]
    fn codewords_in_a_row_are_the_same_as_one_by_one() {
        let (mut one, mut all) = (Line::new(), Line::new());
        let codes: Vec<u8> = (0..700).map(|n| (n % 251) as u8).collect();
        let mut at = 0;
        for round in 0..40 {
            let length = 1 + round * 37 % codes.len();
            let codes = &codes[..length];
            codes.iter().for_each(|code| one.push(*code, false));
            all.extend(codes);
            at += length as u64;
            for line in [&mut one, &mut all] {
                line.mark(at.saturating_sub(50)..at + round as u64 % 3 * 60);
            }
            let mut frames = [[0; 160]; 2];
            let marked = [one.take(&mut frames[0]), all.take(&mut frames[1])];
            assert_eq!(
                (marked[0], frames[0]),
                (marked[1], frames[1]),
                "round {round}"
            );
            assert_eq!(one.len(), all.len());
        }
    }

    #[test]
    fn a_line_that_makes_room_keeps_what_waits_and_its_marks() {
        let mut line = Line::new();
        let is_marked = |position| (450..460).contains(&position) || (795..810).contains(&position);
        let codes: Vec<u8> = (0..1_400).map(|n| (n % 251) as u8).collect();
        // It waits around the ring's end when there is no more room.
        line.extend(&codes[..400]);
        line.take(&mut [0; 350]);
        line.extend(&codes[400..800]);
        line.mark(450..460);
        line.mark(795..810);
        line.extend(&codes[800..]);
        for (position, code) in codes.iter().enumerate().skip(350) {
            let mut frame = [0];
            assert_eq!(line.take(&mut frame), is_marked(position), "{position}");
            assert_eq!(frame[0], *code, "{position}");
        }
        assert!(
            line.codes.iter().all(|code| *code == 0),
            "what left is overwritten"
        );
    }

    #[test]
    fn a_line_of_another_codec_keeps_the_marks_and_those_to_come() {
        let mut line = Line::new();
        line.extend(&[7u8; 10]);
        line.mark(3..12);
        let mut other: Line<[i16; 2]> = line.replaced_by([0; 2]);
        other.extend(&[[7; 2]; 10]);
        let mut frame = [[1; 2]; 1];
        for position in 0..20 {
            assert_eq!(other.take(&mut frame), (3..12).contains(&position));
            assert_eq!(frame == [[7; 2]], position >= 10, "what waited is silence");
        }
    }

    #[test]
    fn what_is_missing_counts_as_marked() {
        let mut line = Line::new();
        line.extend(&[7u8; 10]);
        assert!(line.take(&mut [0; 11]));
        assert!(line.take(&mut [0; 1]));
        assert!(!line.take(&mut []));
    }

    #[test]
    fn a_full_line_drops_its_oldest_and_never_grows() {
        let mut line = Line::new();
        for position in 0..CAPACITY as u64 * 3 {
            line.push((position % 251) as u8, false);
        }
        assert_eq!(line.len(), CAPACITY);
        let mut frame = [0; 1];
        line.take(&mut frame);
        assert_eq!(u64::from(frame[0]), (CAPACITY as u64 * 2) % 251);
    }
}
