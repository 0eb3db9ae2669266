//! Hearing keys: events, tones, SIP INFO, and one press counted once.
//!
//! Two decisions on one bank of tones. *Suspect* ([`Verdict`]) is early and permissive and tells
//! what must not be heard; *digit* is strict (ITU-T Q.24) and goes straight into the slot. Matching
//! the sources with each other is `merge`'s part; [`OutputCheck`] stands apart and checks the result.

mod bank;
mod check;
mod described;
mod digit;
mod event;
mod floor;
mod history;
mod late;
mod merge;
mod suspect;
#[cfg(test)]
pub(in crate::proto) mod tests;
mod told;

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use check::OutputCheck;
pub use described::code_of_tone;
pub use digit::PressMeasure;
pub use floor::KeyOverNoise;
pub use suspect::Suspicion;
pub use told::PressesTold;

use self::{
    bank::{Bank, HOP, Window},
    digit::{Digits, Told},
    event::Events,
    floor::Floor,
    history::History,
    late::{Presses, brings_to_light},
    merge::{Merge, Moment, Source},
    suspect::HOLD_SAMPLES,
};
use super::{
    codec::Audio,
    digit::Key,
    secret::{Pressed, TakeKey},
};

/// Samples before an event or a loss that are suspect too (5 ms).
const GUARD_SAMPLES: u64 = 40;
/// Furthest ahead of what was heard (500 ms) that an event packet makes audio suspect: what a
/// packet claims is not bounded, what it can hide must be.
const AHEAD_SAMPLES: u64 = 4_000;
/// Hops of the last sixteen (32 ms) that must have raised suspicion for a tone that lasts.
const LASTING_HOPS: u32 = 5;
/// Lost samples after which the bank holds nothing but the loss.
const FLUSHED_SAMPLES: u64 = 512;
/// How often (128 ms) to look for presses that are to be forgotten, which are seconds old then.
const FORGET_SAMPLES: u64 = 1_024;
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

/// Whether the keys that were taken are in the order in which they were pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Order {
    /// As far as is known.
    Kept,
    /// What came late shows a press that belongs before one that was taken, or that two were taken
    /// where there was one: the caller has to be asked again.
    Broken,
}

/// Listens to one armed caller leg: in-band tones, events and SIP INFO, always all three.
///
/// What it knows is wiped when it is dropped; it stays where it is in memory, so that moving it
/// leaves no copy behind. Deliberately absent: `Clone`, `Debug`.
#[derive(Default)]
pub struct Ear {
    state: Box<State>,
}

impl Ear {
    /// An ear that suspects as readily as `suspicion` says.
    #[must_use]
    pub fn new(suspicion: Suspicion) -> Self {
        let mut ear = Self::default();
        ear.set_suspicion(suspicion);
        ear
    }

    /// How readily it suspects.
    #[must_use]
    pub fn suspicion(&self) -> Suspicion {
        self.state.suspicion
    }

    /// Suspects as readily as this from here on.
    pub fn set_suspicion(&mut self, suspicion: Suspicion) {
        self.state.suspicion = suspicion;
    }

    /// After a tone that lasted, so many samples of 8 kHz are suspect beyond the usual hold: for so
    /// long a decoder may make noise of the rest of it.
    pub fn set_straying(&mut self, samples: usize) {
        self.state.straying = samples as u64;
    }

    /// An ear that listens as this one does, and has heard nothing.
    #[must_use]
    pub fn begin_anew(&self) -> Self {
        let mut ear = Self::new(self.state.suspicion);
        ear.state.seeks_tones = self.state.seeks_tones;
        ear.state.straying = self.state.straying;
        ear
    }

    /// Also tells what is a pair of tones beyond doubt: [`PressesTold::tones`].
    pub fn seek_tones(&mut self) {
        self.state.seeks_tones = true;
    }

    /// How far keys stand out of the line's noise. Nothing before half a second without anything
    /// suspect was heard, nor while a voice does not pause.
    #[must_use]
    pub fn key_over_noise(&self) -> Option<KeyOverNoise> {
        self.state.floor.key_over_noise()
    }

    /// What is heard from here on came at this moment, in milliseconds of a monotonic clock. It is
    /// all that ties an INFO, which has no time of the media, to what the media tells.
    pub fn set_clock(&mut self, came_ms: u64) {
        self.state.came_ms = self.state.came_ms.max(came_ms);
    }

    /// Hears audio that follows what was heard before.
    pub fn hear_audio(
        &mut self,
        audio: &Audio<'_>,
        slot: Option<&mut dyn TakeKey>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> Verdict {
        self.state.hear_audio(audio, &mut store(slot, pressed))
    }

    /// `samples` of audio never came (loss, or time covered by events only). All of it is suspect,
    /// for a tone may have begun in it.
    pub fn hear_gap(&mut self, samples: usize) -> Verdict {
        self.state.hear_gap(samples as u64)
    }

    /// Hears an event packet in its turn. Repeats and losses do not matter.
    pub fn hear_event(
        &mut self,
        event: EventPacket,
        slot: Option<&mut dyn TakeKey>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> Verdict {
        let taken = &mut store(slot, pressed);
        self.state.hear_event(&event, false, taken).0
    }

    /// The caller's timeline jumps by `samples`, all of which are a gap: audio from before it has no
    /// place any more if it comes late.
    pub fn hear_jump(&mut self, samples: usize) {
        let _ = self.state.hear_gap(samples as u64);
        self.state.history.close();
    }

    /// Whether something of this span, on the scale of the samples heard, was lost and can be filled.
    #[must_use]
    pub fn lacks(&self, start: i64, samples: usize) -> bool {
        self.state.history.lacks(start, samples)
    }

    /// Audio that was taken for lost and came after all: of the last 400 ms it fills the holes that it
    /// fits into. From the first to the last sample that did; [`Ear::hear_again`] is to follow.
    #[must_use]
    pub fn fill(&mut self, audio: &Audio<'_>, start: i64) -> Option<Range<i64>> {
        self.state.history.fill(start, audio)
    }

    /// As [`Ear::fill`], and what was heard there is replaced too: it is better known by now.
    pub fn put(&mut self, audio: &Audio<'_>, start: i64) {
        self.state.history.put(start, audio);
    }

    /// Hears the last 400 ms once more, of which this span has changed. A press that it completes
    /// counts. That costs about as much as 400 ms of audio.
    pub fn hear_again(
        &mut self,
        changed: Range<i64>,
        slot: Option<&mut dyn TakeKey>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> Order {
        let press = &mut store(slot, pressed);
        self.state.hear_again(&changed, press)
    }

    /// Hears an event packet behind which others were heard.
    pub fn hear_late_event(
        &mut self,
        event: EventPacket,
        slot: Option<&mut dyn TakeKey>,
        pressed: &mut dyn FnMut(Pressed),
    ) -> (Verdict, Order) {
        self.state
            .hear_event(&event, true, &mut store(slot, pressed))
    }

    /// What was told of presses since this was last asked. A stretch of 20 ms of audio holds one
    /// press at most.
    pub fn take_told(&mut self) -> PressesTold {
        std::mem::take(&mut self.state.told)
    }

    /// Hears a key that a SIP INFO told.
    pub fn hear_info(
        &mut self,
        key: Key,
        slot: Option<&mut dyn TakeKey>,
        pressed: &mut dyn FnMut(Pressed),
    ) {
        self.state.hear_info(key, &mut store(slot, pressed));
    }

    /// Whether the media has told a press since this was asked last: counted now, or before, when
    /// an INFO told it. What leaves towards the agent follows this, so that an INFO changes nothing
    /// of it.
    pub fn take_press(&mut self) -> bool {
        std::mem::take(&mut self.state.press_told)
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
fn store(mut slot: Option<&mut dyn TakeKey>, pressed: &mut dyn FnMut(Pressed)) -> impl FnMut(Key) {
    move |key| {
        pressed(match slot.as_deref_mut() {
            Some(slot) => slot.take(key),
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
    history: History,
    presses: Presses,
    floor: Floor,
    suspicion: Suspicion,
    /// See [`Ear::set_straying`].
    straying: u64,
    /// Which of the last hops raised suspicion: the newest is the lowest bit.
    raised: u16,
    seeks_tones: bool,
    /// The hop that is not complete.
    hop: [i16; HOP],
    hop_filled: usize,
    hop_lost: u32,
    /// Samples heard or lost so far.
    heard: u64,
    /// Until where what was suspected so far must not be heard.
    held_until: u64,
    /// From where on to look again for what is to be forgotten.
    forget_at: u64,
    /// When what is heard now came.
    came_ms: u64,
    /// Whether the media has told a press that nobody asked about so far.
    press_told: bool,
    told: PressesTold,
}

impl State {
    fn hear_audio(&mut self, audio: &Audio<'_>, press: &mut dyn FnMut(Key)) -> Verdict {
        let from = self.heard;
        let mut suspect = self.held_from(from);
        let mut rest = audio.samples;
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
        self.history.keep(audio);
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
        self.history.lose_until(self.heard);
        self.forget();
        if samples > 0 {
            self.suspect(&mut suspect, from.saturating_sub(GUARD_SAMPLES), self.heard);
        }
        verdict(suspect)
    }

    fn hear_event(
        &mut self,
        event: &EventPacket,
        late: bool,
        press: &mut dyn FnMut(Key),
    ) -> (Verdict, Order) {
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
        let mut order = Order::Kept;
        if let Some(key) = Key::from_event(event.code) {
            let now = self.moment();
            if !self.events.hear(event, heard) {
                self.merge.event_goes_on(event.code, now);
            } else {
                let start = event.start.min(heard);
                let source = Source::Event;
                let told = self.merge.hear(source, event.code, event.start, false, now);
                self.told.event(told);
                if late && told == merge::Told::First && !self.presses.is_newest(start) {
                    order = Order::Broken;
                } else if self.counts(told) {
                    self.presses.count_event(start);
                    press(key);
                }
            }
        }
        (verdict(suspect), order)
    }

    fn hear_again(&mut self, changed: &Range<i64>, press: &mut dyn FnMut(Key)) -> Order {
        let begin = self.history.begin();
        self.bank = Bank::default();
        self.digits = Digits::default();
        self.presses.hear_again(begin);
        let whole = self.heard - self.hop_filled as u64;
        let (mut order, mut counted, mut counts) = (Order::Kept, false, false);
        let mut hop = [0; HOP];
        for ago in (1..=self.history.hops_before(whole)).rev() {
            let from = whole - ago * HOP as u64;
            let lost = self.history.copy(from, &mut hop);
            let until = (from + HOP as u64) as i64;
            match self.hear_hop_again(&hop, lost, until) {
                Told::Press {
                    code,
                    start,
                    measure,
                } => {
                    counts = self.presses.tell(code, start, until)
                        && brings_to_light(changed, start, until, begin)
                        && self.is_new_tone(code, start, measure);
                    let Some(key) = Key::from_event(code).filter(|_| counts) else {
                        continue;
                    };
                    // One that is not the newest, or not the only one, would stand in a wrong place.
                    if counted || !self.presses.is_newest(start) {
                        order = Order::Broken;
                    } else {
                        counted = true;
                        self.presses.count(start);
                        press(key);
                    }
                }
                Told::Nothing if self.digits.press_sounds() => {
                    if !self.presses.go_on(until) {
                        order = Order::Broken;
                    }
                    if counts {
                        self.merge.tone_goes_on(Moment {
                            heard: until,
                            ..self.moment()
                        });
                    }
                }
                Told::Nothing => {}
            }
        }
        hop.zeroize();
        self.hop_lost = self.history.copy(whole, &mut self.hop[..self.hop_filled]);
        order
    }

    fn hear_hop_again(&mut self, hop: &[i16; HOP], lost: u32, until: i64) -> Told {
        self.bank.push(hop);
        if lost > 0 {
            self.digits.lose(lost);
        }
        if lost == HOP as u32 {
            return Told::Nothing;
        }
        self.digits.judge(&self.bank, until)
    }

    fn hear_info(&mut self, key: Key, press: &mut dyn FnMut(Key)) {
        let now = self.moment();
        self.merge.forget(now);
        let new = self.merge.hear_info(key.code(), now);
        self.told.info(new);
        if new {
            self.presses.count_event(now.heard);
            press(key);
        }
    }

    const fn moment(&self) -> Moment {
        Moment {
            heard: self.heard as i64,
            came_ms: self.came_ms,
        }
    }

    /// Whether a press that the media told is to be counted: nothing has told it before.
    fn counts(&mut self, told: merge::Told) -> bool {
        self.press_told |= matches!(told, merge::Told::First | merge::Told::KnownByInfo);
        told == merge::Told::First
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
        let held = self.held_until > self.heard;
        self.floor.push(self.bank.newest(), !held && lost == 0);
        let reach = self.suspicion.reach(&self.bank, held);
        let straying = self.straying_after(reach.is_some());
        if let Some(reach) = reach {
            let until = self.heard + HOLD_SAMPLES + straying;
            self.suspect(suspect, self.heard.saturating_sub(reach), until);
            // Whatever the strict thresholds suspect, these do.
            if self.seeks_tones && Suspicion::Shadow.reach(&self.bank, held).is_some() {
                self.told.tones = true;
            }
        }
        if lost > 0 {
            self.digits.lose(lost);
        }
        if lost < HOP as u32 {
            self.judge(press);
        }
    }

    /// For how much longer than usual a hop that raised suspicion, or did not, is held.
    #[inline]
    const fn straying_after(&mut self, raised: bool) -> u64 {
        if self.straying == 0 {
            return 0;
        }
        self.raised = self.raised << 1 | raised as u16;
        if self.raised.count_ones() < LASTING_HOPS {
            return 0;
        }
        self.straying
    }

    fn judge(&mut self, press: &mut dyn FnMut(Key)) {
        let heard = self.heard as i64;
        if let Told::Press {
            code,
            start,
            measure,
        } = self.digits.judge(&self.bank, heard)
        {
            // Strict as the decision was, nearly all of the window is the key.
            let window = Window::W10;
            let power = self.bank.energy(window) / window.samples() as f32;
            self.floor.hear_key(power);
            if self.presses.tell(code, start, heard)
                && self.is_new_tone(code, start, measure)
                && let Some(key) = Key::from_event(code)
            {
                self.presses.count(start);
                press(key);
            }
        } else if self.digits.press_goes_on() {
            self.merge.tone_goes_on(self.moment());
            if self.digits.press_sounds() {
                self.presses.go_on(heard);
            }
        }
    }

    /// Whether a press that a tone tells was told by nothing else.
    fn is_new_tone(&mut self, code: u8, start: i64, measure: PressMeasure) -> bool {
        let resumed = self.events.cover(code, start, start + COVERED_SAMPLES);
        let now = self.moment();
        let told = self.merge.hear(Source::Tone, code, start, resumed, now);
        self.told.tone(told, measure);
        self.counts(told)
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
        self.presses.forget(self.history.begin());
        if self.heard >= self.forget_at {
            self.forget_at = self.heard + FORGET_SAMPLES;
            self.events.forget(self.heard as i64);
            self.merge.forget(self.moment());
        }
    }
}

fn verdict(suspect: Option<Range<u64>>) -> Verdict {
    Verdict { suspect }
}
