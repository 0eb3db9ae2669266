//! Hearing keys: events, tones, and one press counted once.
//!
//! Two decisions on one bank of tones. *Suspect* ([`Verdict`]) is early and permissive and tells
//! what must not be heard; *digit* is strict (ITU-T Q.24) and goes straight into the slot. Matching
//! tones with events is `merge`'s part; [`OutputCheck`] stands apart and checks the result.

mod bank;
mod check;
mod digit;
mod event;
mod merge;
mod suspect;
#[cfg(test)]
pub(in crate::proto) mod tests;

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use check::OutputCheck;

use self::{
    bank::{Bank, HOP},
    digit::{Digits, Told},
    event::Events,
    merge::{Merge, Source},
    suspect::HOLD_SAMPLES,
};
use super::{
    digit::Key,
    secret::{KeySlot, Pressed},
};

/// Samples before an event or a loss that are suspect too (5 ms).
const GUARD_SAMPLES: u64 = 40;
/// Furthest ahead of what was heard (500 ms) that an event packet makes audio suspect: what a
/// packet claims is not bounded, what it can hide must be.
const AHEAD_SAMPLES: u64 = 4_000;
/// Lost samples after which the bank holds nothing but the loss.
const FLUSHED_SAMPLES: u64 = 512;
/// Where the scale of samples stops growing by losses; out of reach of any call.
const END_SAMPLES: u64 = 1 << 60;
/// How much of an event must lie after a tone's beginning for the tone to be the event's own
/// (20 ms), where the tone broke off and began again.
const COVERED_SAMPLES: i64 = 160;

/// Where one stretch of the caller's audio may hold a tone. Only this module makes one, and the
/// masker takes nothing else.
///
/// ```compile_fail
/// let everything_is_fine = tonewall::proto::dtmf::Verdict { suspect: None };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    suspect: Option<Range<u64>>,
}

impl Verdict {
    /// Samples (8 kHz, counted from the first one heard) that must not be heard by the agent.
    /// May begin before the stretch that was fed, since a window reaches back, and end after it,
    /// since suspicion outlasts its cause by 25 ms. Never empty.
    #[must_use]
    pub fn suspect(&self) -> Option<Range<u64>> {
        self.suspect.clone()
    }
}

/// One RFC 4733 event packet, its clock already converted to samples of 8 kHz.
pub struct EventPacket {
    /// Event code, 0 to 255. Wiped on drop.
    pub code: u8,
    /// Where the event began, on the scale of `Ear`'s samples; may be before what was heard.
    pub start: i64,
    /// Where this packet says that it has lasted until.
    pub until: i64,
    /// The E bit.
    pub end: bool,
    /// RTP timestamp of the event: the same for all packets of one segment.
    pub timestamp: u32,
}

impl Drop for EventPacket {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

/// Listens to one armed caller leg: in-band tones and events, always both.
///
/// What it knows is wiped when it is dropped; it stays where it is in memory, so that moving it
/// leaves no copy behind. Deliberately absent: `Clone`, `Debug`.
#[derive(Default)]
pub struct Ear {
    state: Box<State>,
}

impl Ear {
    /// Hears audio that follows what was heard before.
    pub fn hear_audio(
        &mut self,
        samples: &[i16],
        slot: Option<&mut KeySlot>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> Verdict {
        self.state.hear_audio(samples, &mut store(slot, pressed))
    }

    /// `samples` of audio never came (loss, or time covered by events only). All of it is suspect,
    /// for a tone may have begun in it.
    pub fn hear_gap(&mut self, samples: usize) -> Verdict {
        self.state.hear_gap(samples as u64)
    }

    /// Hears an event packet. Order, repeats and losses do not matter.
    pub fn hear_event(
        &mut self,
        event: EventPacket,
        slot: Option<&mut KeySlot>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> Verdict {
        self.state.hear_event(&event, &mut store(slot, pressed))
    }

    /// Samples heard or lost so far.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.state.heard
    }

    /// Whether a key is down now, by tone or by event.
    #[must_use]
    pub fn key_is_down(&self) -> bool {
        self.state.digits.key_is_down() || self.state.events.key_is_down(self.state.heard as i64)
    }
}

/// Takes each key into the slot, or drops it where there is none, and reports that it was pressed.
fn store(mut slot: Option<&mut KeySlot>, pressed: &mut dyn FnMut(Pressed)) -> impl FnMut(Key) {
    move |key| {
        pressed(match slot.as_deref_mut() {
            Some(slot) => slot.press(key),
            None => Pressed {
                class: key.class(),
                count: 0,
            },
        });
    }
}

#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct State {
    bank: Bank,
    digits: Digits,
    events: Events,
    merge: Merge,
    /// The hop that is not complete.
    hop: [i16; HOP],
    hop_filled: usize,
    hop_lost: u32,
    /// Samples heard or lost so far.
    heard: u64,
    /// Until where what was suspected so far must not be heard.
    held_until: u64,
}

impl State {
    fn hear_audio(&mut self, samples: &[i16], press: &mut dyn FnMut(Key)) -> Verdict {
        let from = self.heard;
        let mut suspect = self.held_from(from);
        let mut rest = samples;
        while !rest.is_empty() {
            if let Some((hop, later)) = rest.split_first_chunk()
                && self.hop_filled == 0
            {
                self.heard += HOP as u64;
                self.hear_hop(hop, 0, &mut suspect, press);
                rest = later;
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(HOP - self.hop_filled));
            self.hop[self.hop_filled..][..now.len()].copy_from_slice(now);
            self.feed(now.len(), false, &mut suspect, press);
            rest = later;
        }
        self.forget();
        if self.events.key_is_down(self.heard as i64) {
            self.suspect(&mut suspect, from, self.heard + HOLD_SAMPLES);
        }
        verdict(suspect)
    }

    fn hear_gap(&mut self, samples: u64) -> Verdict {
        let from = self.heard;
        let mut suspect = self.held_from(from);
        // Nothing that a loss completes is a press: a press is told by a hop that was heard.
        let fed =
            samples.min(FLUSHED_SAMPLES + (samples - samples.min(FLUSHED_SAMPLES)) % HOP as u64);
        let mut rest = fed;
        while rest > 0 {
            let now = rest.min((HOP - self.hop_filled) as u64);
            self.hop[self.hop_filled..][..now as usize].fill(0);
            self.feed(now as usize, true, &mut suspect, &mut drop);
            rest -= now;
        }
        let end = self.heard.saturating_add(samples - fed).min(END_SAMPLES);
        self.heard = self.heard.max(end);
        self.forget();
        if samples > 0 {
            self.suspect(&mut suspect, from.saturating_sub(GUARD_SAMPLES), self.heard);
        }
        verdict(suspect)
    }

    fn hear_event(&mut self, event: &EventPacket, press: &mut dyn FnMut(Key)) -> Verdict {
        let heard = self.heard as i64;
        let mut suspect = None;
        let from = u64::try_from(event.start)
            .unwrap_or(0)
            .saturating_sub(GUARD_SAMPLES);
        let until = u64::try_from(event.until)
            .unwrap_or(0)
            .saturating_add(HOLD_SAMPLES);
        let until = until.min(self.heard + AHEAD_SAMPLES);
        if from < until {
            self.suspect(&mut suspect, from, until);
        } else {
            // Times that make no sense: what is heard just now is suspect all the same.
            let from = self.heard.saturating_sub(GUARD_SAMPLES);
            self.suspect(&mut suspect, from, self.heard + HOLD_SAMPLES);
        }
        if let Some(key) = Key::from_event(event.code)
            && self.events.hear(event, heard)
            && self
                .merge
                .is_new(Source::Event, event.code, event.start, heard)
        {
            press(key);
        }
        verdict(suspect)
    }

    /// Takes `samples` more of the hop, which stand in it already.
    fn feed(
        &mut self,
        samples: usize,
        lost: bool,
        suspect: &mut Option<Range<u64>>,
        press: &mut dyn FnMut(Key),
    ) {
        self.hop_filled += samples;
        self.hop_lost += if lost { samples as u32 } else { 0 };
        self.heard += samples as u64;
        if self.hop_filled == HOP {
            let (hop, lost) = (self.hop, self.hop_lost);
            self.hear_hop(&hop, lost, suspect, press);
            (self.hop_filled, self.hop_lost) = (0, 0);
        }
    }

    /// Hears a complete hop, which ends with what was `heard` so far and of which some was lost.
    #[inline]
    fn hear_hop(
        &mut self,
        hop: &[i16; HOP],
        lost: u32,
        suspect: &mut Option<Range<u64>>,
        press: &mut dyn FnMut(Key),
    ) {
        self.bank.push(hop);
        if let Some(reach) = suspect::reach(&self.bank, self.held_until > self.heard) {
            let until = self.heard + HOLD_SAMPLES;
            self.suspect(suspect, self.heard.saturating_sub(reach), until);
        }
        if lost > 0 {
            self.digits.lose(lost);
        }
        if lost < HOP as u32 {
            self.judge(press);
        }
    }

    fn judge(&mut self, press: &mut dyn FnMut(Key)) {
        let heard = self.heard as i64;
        if let Told::Press { code, start } = self.digits.judge(&self.bank, heard) {
            let resumed = self.events.cover(code, start, start + COVERED_SAMPLES);
            let new = self.merge.is_new(Source::Tone, code, start, heard);
            if new
                && !resumed
                && let Some(key) = Key::from_event(code)
            {
                press(key);
            }
        } else if self.digits.press_goes_on() {
            self.merge.tone_goes_on(heard);
        }
    }

    fn suspect(&mut self, suspect: &mut Option<Range<u64>>, from: u64, until: u64) {
        self.held_until = self.held_until.max(until);
        *suspect = Some(match suspect.take() {
            Some(known) => known.start.min(from)..known.end.max(until),
            None => from..until,
        });
    }

    fn held_from(&self, from: u64) -> Option<Range<u64>> {
        (self.held_until > from).then_some(from..self.held_until)
    }

    fn forget(&mut self) {
        self.events.forget(self.heard as i64);
        self.merge.forget(self.heard as i64);
    }
}

fn verdict(suspect: Option<Range<u64>>) -> Verdict {
    Verdict { suspect }
}
