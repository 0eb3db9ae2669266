//! The delay line: audio that has been heard and not yet sent.

use std::ops::Range;

use zeroize::Zeroize;

/// Room for 512 ms of 8 kHz audio: what waits (72 ms at most), a gap of 150 ms, and the longest
/// datagram.
const CAPACITY: usize = 4_096;

/// A ring of G.711 codewords with a mark on each that must not be heard. Positions count samples
/// since the line was made. Wiped on drop.
pub(super) struct Line {
    codes: Box<[u8; CAPACITY]>,
    marked: Box<[bool; CAPACITY]>,
    start: u64,
    end: u64,
    /// Everything before this is marked as it comes in.
    marked_until: u64,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            codes: Box::new([0; CAPACITY]),
            marked: Box::new([false; CAPACITY]),
            start: 0,
            end: 0,
            marked_until: 0,
        }
    }

    const fn slot(position: u64) -> usize {
        // Below CAPACITY, so it fits.
        (position % CAPACITY as u64) as usize
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
    pub(super) fn push(&mut self, code: u8, marked: bool) {
        if self.room() == 0 {
            self.start += 1;
        }
        let slot = Self::slot(self.end);
        self.codes[slot] = code;
        self.marked[slot] = marked || self.end < self.marked_until;
        self.end += 1;
    }

    /// Marks a span, also what has yet to come of it.
    pub(super) fn mark(&mut self, span: Range<u64>) {
        for position in span.start.max(self.start)..span.end.min(self.end) {
            self.marked[Self::slot(position)] = true;
        }
        self.marked_until = self.marked_until.max(span.end);
    }

    /// Takes `frame.len()` codewords; whether any of them is marked.
    pub(super) fn take(&mut self, frame: &mut [u8]) -> bool {
        let mut any = false;
        for code in frame {
            if self.start == self.end {
                return true;
            }
            let slot = Self::slot(self.start);
            *code = self.codes[slot];
            any |= self.marked[slot];
            // A frame that left is a log of what was said, or of a key.
            self.codes[slot].zeroize();
            self.start += 1;
        }
        any
    }

    /// Whether nothing in the line is marked and nothing to come is.
    pub(super) fn is_unmarked(&self) -> bool {
        self.marked_until <= self.end
            && (self.start..self.end).all(|position| !self.marked[Self::slot(position)])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        (self.start..self.end).map(|position| self.codes[Self::slot(position)])
    }

    /// Writes every codeword that waits anew.
    pub(super) fn recode(&mut self, anew: impl Fn(u8) -> u8) {
        for position in self.start..self.end {
            let code = &mut self.codes[Self::slot(position)];
            *code = anew(*code);
        }
    }

    /// Forgets what waits; positions go on.
    pub(super) fn discard(&mut self) {
        self.codes.zeroize();
        self.start = self.end;
    }
}

impl Drop for Line {
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
        (0..10).for_each(|code| line.push(code, false));
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
