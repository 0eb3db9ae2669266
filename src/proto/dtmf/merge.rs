//! One press, counted once, though a tone, an event and a SIP INFO may all tell it.
//!
//! A tone and an event of the same key are the same press when the event begins between 30 ms
//! before the tone and 80 ms after it (gateways need 25 to 60 ms of tone before they send an
//! event), or while the tone still sounds.
//!
//! An INFO has no time of the media: it is the same press as what the media told of that key up to
//! 2 s before the INFO came, or tells up to 1 s after. What delays an INFO is its way through
//! proxies and, where one is lost, the first two retransmissions, 500 ms and 1.5 s later (T1 of
//! RFC 3261 section 17.1.2); a telephone may also send it when the key comes up. What delays the
//! media is the detector, the re-sequencing, and a network that stands still. So wide a window
//! errs only where one source lost one press of a key and the other source the next one of the
//! same key: then a digit is missing and the field is asked again. A narrow one would count a press
//! twice, and complete a field with a wrong digit.
//!
//! No press is ever matched with another of its own source: two presses by the same source are
//! two, however close. Since every source keeps the order of its presses, an INFO is matched with
//! the oldest press that awaits one, so that a late row of INFOs finds a late row of tones.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// An event may begin this much before its tone (30 ms).
const EVENT_EARLIER_SAMPLES: i64 = 240;
/// An event may begin this much after its tone (80 ms).
const EVENT_LATER_SAMPLES: i64 = 640;
/// An INFO may come this much before the media tells its press.
const INFO_EARLIER_MS: u64 = 1_000;
/// An INFO may come this much after the media last told its press.
const INFO_LATER_MS: u64 = 2_000;
/// Presses remembered: 2 s of the fastest dialling (93 ms a digit, ITU-T Q.24), and some.
const PRESSES: usize = 24;
/// How long a press may wait for its other half in the media (2 s).
const MEMORY_SAMPLES: i64 = 16_000;

/// Where a press was heard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In-band.
    Tone,
    /// By telephone-event, or by a tone that is described.
    Event,
}

/// What a press that was heard is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// Not told before: it is to be counted.
    First,
    /// An INFO told it and was counted; the media tells it for the first time.
    KnownByInfo,
    /// The other source of the media told it.
    Again,
    /// It is no press of its own, but the rest of one that was told.
    Rest,
}

/// When something was heard.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// How far the ear had heard, in samples.
    pub(super) heard: i64,
    /// When it came, in milliseconds of a monotonic clock.
    pub(super) came_ms: u64,
}

#[derive(Default, Zeroize)]
struct Press {
    code: u8,
    by_tone: bool,
    by_event: bool,
    by_info: bool,
    /// Where it began, as the media first told it.
    start: i64,
    /// Until where its tone is known to have gone on.
    until: i64,
    /// How far the ear had heard when the media told it.
    counted: i64,
    /// When it was last told of.
    came_ms: u64,
}

impl Press {
    const fn by_media(&self) -> bool {
        self.by_tone || self.by_event
    }

    const fn is_known(&self) -> bool {
        self.by_media() || self.by_info
    }

    /// Whether this source has told it.
    const fn by(&self, source: Source) -> bool {
        match source {
            Source::Tone => self.by_tone,
            Source::Event => self.by_event,
        }
    }

    /// How far its beginning is from one of `source` at `start`, if both may be the same press.
    fn apart(&self, source: Source, start: i64) -> Option<i64> {
        // How much the event is later than the tone.
        let (later, latest) = match source {
            Source::Tone => (self.start.saturating_sub(start), EVENT_LATER_SAMPLES),
            Source::Event => (
                start.saturating_sub(self.start),
                EVENT_LATER_SAMPLES.max(self.until.saturating_sub(self.start)),
            ),
        };
        (-EVENT_EARLIER_SAMPLES..=latest)
            .contains(&later)
            .then(|| later.saturating_abs())
    }
}

/// The presses that another source may still tell. Wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Merge {
    presses: [Press; PRESSES],
    /// The oldest place: the next to be used.
    next: usize,
    /// The place of the press whose tone was recognised last.
    tone: usize,
}

impl Merge {
    /// Takes a press that the media tells: began at `start`, heard at `now`. One that is only the
    /// rest of another (`resumed`) is never counted, and no INFO will tell it.
    pub(super) fn hear(
        &mut self,
        source: Source,
        code: u8,
        start: i64,
        resumed: bool,
        now: Moment,
    ) -> Told {
        let (at, told) = if let Some(at) = self.other_half(source, code, start) {
            (at, Told::Again)
        } else if let Some(at) = self.awaited_by_info(code, now).filter(|_| !resumed) {
            (at, Told::KnownByInfo)
        } else {
            let at = self.begin(code);
            self.presses[at].by_info = resumed;
            (at, if resumed { Told::Rest } else { Told::First })
        };
        let press = &mut self.presses[at];
        if !press.by_media() {
            (press.start, press.until, press.counted) = (start, start, now.heard);
        }
        press.came_ms = now.came_ms;
        match source {
            Source::Tone => {
                press.by_tone = true;
                self.tone = at;
            }
            Source::Event => press.by_event = true,
        }
        told
    }

    /// Takes a press that an INFO tells; whether it is to be counted.
    pub(super) fn hear_info(&mut self, code: u8, now: Moment) -> bool {
        let awaits = |press: &Press| {
            press.code == code
                && press.by_media()
                && !press.by_info
                && now.came_ms.saturating_sub(press.came_ms) <= INFO_LATER_MS
        };
        if let Some(at) = self.oldest(awaits) {
            self.presses[at].by_info = true;
            return false;
        }
        let at = self.begin(code);
        self.presses[at].by_info = true;
        self.presses[at].came_ms = now.came_ms;
        true
    }

    /// The nearest press that only the other source of the media has told.
    fn other_half(&self, source: Source, code: u8, start: i64) -> Option<usize> {
        let places = self.presses.iter().enumerate();
        places
            .filter(|(_, press)| press.code == code && press.by_media() && !press.by(source))
            .filter_map(|(at, press)| Some((press.apart(source, start)?, at)))
            .min()
            .map(|(_, at)| at)
    }

    /// The oldest press that only an INFO has told.
    fn awaited_by_info(&self, code: u8, now: Moment) -> Option<usize> {
        self.oldest(|press| {
            press.code == code
                && press.by_info
                && !press.by_media()
                && now.came_ms.saturating_sub(press.came_ms) <= INFO_EARLIER_MS
        })
    }

    fn oldest(&self, is: impl Fn(&Press) -> bool) -> Option<usize> {
        let mut places = (0..PRESSES).map(|n| (self.next + n) % PRESSES);
        places.find(|at| is(&self.presses[*at]))
    }

    /// A place for a press, which nobody has told so far.
    fn begin(&mut self, code: u8) -> usize {
        let at = self.next;
        self.next = (at + 1) % PRESSES;
        self.presses[at].zeroize();
        self.presses[at].code = code;
        at
    }

    /// The tone that was recognised last goes on.
    pub(super) fn tone_goes_on(&mut self, now: Moment) {
        let press = &mut self.presses[self.tone];
        if press.by_tone {
            press.until = now.heard;
            press.came_ms = now.came_ms;
        }
    }

    /// The latest event of this key goes on.
    pub(super) fn event_goes_on(&mut self, code: u8, now: Moment) {
        let latest = (1..=PRESSES)
            .map(|n| (self.next + PRESSES - n) % PRESSES)
            .find(|at| self.presses[*at].by_event && self.presses[*at].code == code);
        if let Some(at) = latest {
            self.presses[at].came_ms = now.came_ms;
        }
    }

    /// Wipes the presses that no other source will tell any more.
    pub(super) fn forget(&mut self, now: Moment) {
        for press in &mut self.presses {
            let in_media = press.by_media()
                && now.heard.saturating_sub(press.counted.max(press.until)) <= MEMORY_SAMPLES;
            let by_info = now.came_ms.saturating_sub(press.came_ms) <= INFO_LATER_MS;
            if press.is_known() && !in_media && !by_info {
                press.zeroize();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment {
            heard: ms as i64 * 8,
            came_ms: ms,
        }
    }

    /// One telling of key 5 by tone (`t`), event (`e`) or INFO (`i`), that came at a time.
    fn count(tellings: &[(char, u64)]) -> usize {
        let mut merge = Merge::default();
        let mut counted = 0;
        for &(by, ms) in tellings {
            merge.forget(at(ms));
            counted += usize::from(match by {
                't' => {
                    // Recognised 40 ms after it began.
                    merge.hear(Source::Tone, 5, ms as i64 * 8 - 320, false, at(ms)) == Told::First
                }
                'e' => {
                    merge.hear(Source::Event, 5, ms as i64 * 8 - 160, false, at(ms)) == Told::First
                }
                _ => merge.hear_info(5, at(ms)),
            });
        }
        counted
    }

    #[test]
    fn a_press_by_three_sources_in_any_order_is_one() {
        for order in ["tei", "tie", "eti", "eit", "ite", "iet"] {
            for step in [0, 10, 20] {
                let times = (0..).map(|n| 1_000 + n * step);
                let tellings: Vec<_> = order.chars().zip(times).collect();
                assert_eq!(count(&tellings), 1, "{order}, {step} ms apart");
            }
        }
    }

    #[test]
    fn an_info_is_one_with_what_came_up_to_2_s_before_it_or_1_s_after() {
        for by in ['t', 'e'] {
            for (first, second, presses) in [
                ((by, 1_000), ('i', 1_000), 1),
                ((by, 1_000), ('i', 3_000), 1),
                ((by, 1_000), ('i', 3_001), 2),
                (('i', 1_000), (by, 2_000), 1),
                (('i', 1_000), (by, 2_001), 2),
            ] {
                assert_eq!(count(&[first, second]), presses, "{first:?}, {second:?}");
            }
        }
    }

    #[test]
    fn two_presses_by_one_source_are_two_however_close() {
        assert_eq!(count(&[('i', 1_000), ('i', 1_000)]), 2);
        assert_eq!(count(&[('i', 1_000), ('i', 1_090), ('i', 1_180)]), 3);
        assert_eq!(
            count(&[('t', 1_000), ('t', 1_090), ('i', 1_100), ('i', 1_200)]),
            2
        );
    }

    #[test]
    fn a_late_row_of_infos_finds_the_row_of_tones_it_belongs_to() {
        // Presses every 100 ms; signalling is late by any time up to two retransmissions.
        for late in [0, 50, 300, 500, 900, 1_500, 1_900] {
            for lost_tone in [None, Some(0), Some(3), Some(5)] {
                let mut tellings: Vec<_> = (0..6)
                    .filter(|n| Some(*n) != lost_tone)
                    .map(|n| ('t', 5_000 + n * 100))
                    .chain((0..6).map(|n| ('i', 4_960 + n * 100 + late)))
                    .collect();
                tellings.sort_by_key(|(_, ms)| *ms);
                assert_eq!(count(&tellings), 6, "{late} ms late, {lost_tone:?} lost");
            }
        }
    }

    #[test]
    fn an_info_at_the_end_of_a_long_press_is_the_same_press() {
        let mut merge = Merge::default();
        assert!(merge.hear(Source::Tone, 5, 0, false, at(40)) == Told::First);
        for ms in 41..6_000 {
            merge.tone_goes_on(at(ms));
            merge.forget(at(ms));
        }
        assert!(!merge.hear_info(5, at(6_300)));
        assert!(merge.hear(Source::Event, 6, 0, false, at(40)) == Told::First);
        for ms in 41..6_000 {
            merge.event_goes_on(6, at(ms));
            merge.forget(at(ms));
        }
        assert!(!merge.hear_info(6, at(6_300)));
    }

    #[test]
    fn an_info_does_not_find_the_press_before_a_silence_in_which_nothing_was_heard() {
        let mut merge = Merge::default();
        assert!(merge.hear(Source::Tone, 5, 0, false, at(40)) == Told::First);
        // No packet comes for 10 s: what was heard stands still, the clock does not.
        let later = Moment {
            heard: 320,
            came_ms: 10_000,
        };
        assert!(merge.hear_info(5, later));
    }

    #[test]
    fn the_rest_of_a_press_is_not_counted_and_takes_no_info_from_the_next() {
        let mut merge = Merge::default();
        assert!(merge.hear(Source::Event, 5, 0, false, at(20)) == Told::First);
        // The event covers its own tone too.
        assert!(merge.hear(Source::Tone, 5, 0, true, at(40)) == Told::Again);
        assert!(merge.hear(Source::Tone, 5, 1_600, true, at(240)) == Told::Rest);
        assert!(!merge.hear_info(5, at(300)));
        assert!(merge.hear_info(5, at(400)), "a press of its own");
    }

    #[test]
    fn the_rest_of_a_press_leaves_an_info_to_the_press_it_was_for() {
        let mut merge = Merge::default();
        assert!(merge.hear(Source::Event, 5, 0, false, at(20)) == Told::First);
        assert!(!merge.hear_info(5, at(300)));
        assert!(merge.hear_info(5, at(310)), "the next press, told early");
        assert!(merge.hear(Source::Tone, 5, 2_400, true, at(340)) == Told::Rest);
        let next = merge.hear(Source::Tone, 5, 3_200, false, at(440));
        assert!(next == Told::KnownByInfo);
    }

    #[test]
    fn of_two_presses_near_each_other_each_finds_its_own_other_half() {
        let mut merge = Merge::default();
        // The key twice within 70 ms: both events, then both tones.
        assert!(merge.hear(Source::Event, 5, 0, false, at(20)) == Told::First);
        assert!(merge.hear(Source::Event, 5, 560, false, at(90)) == Told::First);
        assert!(merge.hear(Source::Tone, 5, 0, false, at(100)) == Told::Again);
        assert!(merge.hear(Source::Tone, 5, 560, false, at(110)) == Told::Again);
    }

    #[test]
    fn an_event_that_begins_while_its_tone_still_sounds_is_the_same_press() {
        let mut merge = Merge::default();
        assert!(merge.hear(Source::Tone, 5, 0, false, at(40)) == Told::First);
        merge.tone_goes_on(at(500));
        assert!(merge.hear(Source::Event, 5, 3_600, false, at(500)) == Told::Again);
        let mut over = Merge::default();
        assert!(over.hear(Source::Tone, 5, 0, false, at(40)) == Told::First);
        over.tone_goes_on(at(100));
        assert!(over.hear(Source::Event, 5, 3_600, false, at(500)) == Told::First);
    }

    #[test]
    fn what_no_other_source_will_tell_is_wiped() {
        let mut merge = Merge::default();
        for n in 0..5 {
            merge.hear_info(9, at(n));
            merge.hear(Source::Tone, 8, n as i64 * 800, false, at(n * 100));
        }
        merge.forget(at(2_300));
        assert!(merge.presses.iter().any(|press| press.code != 0));
        merge.forget(at(2_401));
        assert!(merge.presses.iter().all(|press| press.code == 0));
    }
}
