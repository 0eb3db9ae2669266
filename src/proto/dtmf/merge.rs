//! One press, counted once, though both an event and a tone may tell it.
//!
//! A tone and an event of the same key are the same press when the event begins between 30 ms
//! before the tone and 80 ms after it (gateways need 25 to 60 ms of tone before they send an
//! event), or while the tone still sounds. Each is matched with one of the other source at most,
//! and never with one of its own: two presses by the same source are two.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// An event may begin this much before its tone (30 ms).
const EVENT_EARLIER_SAMPLES: i64 = 240;
/// An event may begin this much after its tone (80 ms).
const EVENT_LATER_SAMPLES: i64 = 640;
/// Presses remembered of each source.
const PRESSES: usize = 8;
/// How long a press may wait for its other half (2 s).
const MEMORY_SAMPLES: i64 = 16_000;

/// Where a press was heard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In-band.
    Tone,
    /// By telephone-event.
    Event,
}

#[derive(Default, Zeroize)]
struct Press {
    /// Counted, and its other half not heard so far.
    open: bool,
    code: u8,
    start: i64,
    /// Until where it is known to have gone on.
    until: i64,
    /// How far the ear had heard when it was counted.
    counted: i64,
}

/// The presses of both sources that wait for their other half. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Merge {
    tones: [Press; PRESSES],
    next_tone: usize,
    events: [Press; PRESSES],
    next_event: usize,
}

impl Merge {
    /// Whether this press is to be counted: it is not the other half of one that was.
    pub(super) fn is_new(&mut self, source: Source, code: u8, start: i64, heard: i64) -> bool {
        let others = match source {
            Source::Tone => &mut self.events,
            Source::Event => &mut self.tones,
        };
        let mut nearest: Option<(i64, &mut Press)> = None;
        for other in others.iter_mut().filter(|o| o.open && o.code == code) {
            let later = match source {
                Source::Tone => other.start.saturating_sub(start),
                Source::Event => start.saturating_sub(other.start),
            };
            let latest = match source {
                Source::Tone => EVENT_LATER_SAMPLES,
                Source::Event => EVENT_LATER_SAMPLES.max(other.until.saturating_sub(other.start)),
            };
            let apart = later.saturating_abs();
            if (-EVENT_EARLIER_SAMPLES..=latest).contains(&later)
                && nearest.as_ref().is_none_or(|(least, _)| apart < *least)
            {
                nearest = Some((apart, other));
            }
        }
        if let Some((_, other)) = nearest {
            other.zeroize();
            return false;
        }
        let (presses, next) = match source {
            Source::Tone => (&mut self.tones, &mut self.next_tone),
            Source::Event => (&mut self.events, &mut self.next_event),
        };
        let press = &mut presses[*next];
        press.zeroize();
        *press = Press {
            open: true,
            code,
            start,
            until: start,
            counted: heard,
        };
        *next = (*next + 1) % PRESSES;
        true
    }

    /// The tone that was counted last has gone on until `until`.
    pub(super) fn tone_goes_on(&mut self, until: i64) {
        let last = (self.next_tone + PRESSES - 1) % PRESSES;
        if self.tones[last].open {
            self.tones[last].until = until;
        }
    }

    /// Wipes the presses whose other half will not come any more.
    pub(super) fn forget(&mut self, heard: i64) {
        for press in self.tones.iter_mut().chain(&mut self.events) {
            if press.open && heard.saturating_sub(press.counted.max(press.until)) > MEMORY_SAMPLES {
                press.zeroize();
            }
        }
    }
}
