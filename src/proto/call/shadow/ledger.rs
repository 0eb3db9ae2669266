//! What of the caller's audio an armed call would have replaced, and why.

use std::ops::Range;

use crate::proto::shadow::{Listening, Masked};

/// Stretches that are kept until it is known why they are marked: 320 ms of packets of 20 ms, since
/// a press is recognised 40 ms after it began and an event may come as late as the network is.
const KEPT: usize = 16;
/// Speech goes on for this long after its last loud stretch (200 ms; ITU-T P.56 section 6).
const HANGOVER: u32 = 1_600;
/// Mean square of -50 dBm0, below which nothing is speech.
const FAINTEST: u64 = 2_566;
/// How much louder than the quietest of late speech is: 9 dB.
const RISE: u64 = 8;
/// Over so many samples to twice as many (1 to 2 s) the quietest stretch counts as what was there.
const QUIET_OVER: u32 = 8_000;

/// One stretch of audio, a packet of 20 ms or less: an armed call replaces packets as a whole.
#[derive(Clone, Copy, Default)]
struct Stretch {
    until: u64,
    samples: u32,
    speech: bool,
    marked: bool,
    key: bool,
    tones: bool,
    lost: bool,
}

impl Stretch {
    fn touches(&self, span: &Range<u64>) -> bool {
        let from = self.until - u64::from(self.samples);
        from < span.end && span.start < self.until
    }
}

/// Stretches that would have been replaced one after the other.
#[derive(Default)]
struct Run {
    samples: u64,
    speech: u64,
    key: bool,
    tones: bool,
    lost: bool,
}

/// Tells speech from silence and steady noise by its loudness.
#[derive(Default)]
struct Activity {
    /// Least mean square of these seconds, and of those before.
    quietest: [Option<u64>; 2],
    heard: u32,
    /// Samples that speech still goes on for.
    goes_on: u32,
}

impl Activity {
    fn is_speech(&mut self, samples: &[i16]) -> bool {
        let length = samples.len() as u64;
        let energy: u64 = samples
            .iter()
            .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
            .sum();
        let power = energy / length.max(1);
        if self.heard >= QUIET_OVER {
            self.quietest = [None, self.quietest[0]];
            self.heard = 0;
        }
        self.heard += samples.len() as u32;
        let least = self.quietest[0].map_or(power, |least| least.min(power));
        self.quietest[0] = Some(least);
        let quiet = self.quietest[1].map_or(least, |before| before.min(least));
        let loud = power > FAINTEST && power > RISE.saturating_mul(quiet);
        self.goes_on = if loud {
            HANGOVER
        } else {
            self.goes_on.saturating_sub(samples.len() as u32)
        };
        loud || self.goes_on > 0
    }
}

/// Sorts the caller's time. Holds no audio.
#[derive(Default)]
pub(super) struct Ledger {
    kept: [Stretch; KEPT],
    /// Place of the oldest, and how many there are.
    oldest: usize,
    count: usize,
    heard: u64,
    /// Until where events reach ahead of what was heard.
    event_until: u64,
    run: Run,
    activity: Activity,
    sums: Listening,
}

impl Ledger {
    /// Audio that follows what came before, of 20 ms at most, and what of it all is suspect.
    pub(super) fn audio(&mut self, samples: &[i16], suspect: Option<Range<u64>>) {
        let speech = self.activity.is_speech(samples);
        self.push(samples.len() as u64, speech, false);
        self.mark(suspect);
    }

    /// Samples that never came.
    pub(super) fn gap(&mut self, samples: u64, suspect: Option<Range<u64>>) {
        self.push(samples, false, true);
        self.mark(suspect);
    }

    /// Time that is passed over: nothing before it has to do with what comes.
    pub(super) fn pass_over(&mut self, samples: u64) {
        self.finish();
        self.heard += samples;
    }

    /// Another source, whose samples are counted from 0.
    pub(super) fn begin_anew(&mut self) {
        self.finish();
        (self.heard, self.event_until) = (0, 0);
    }

    /// What is suspect because of an event.
    pub(super) fn event(&mut self, suspect: Option<Range<u64>>) {
        if let Some(suspect) = &suspect {
            self.event_until = self.event_until.max(suspect.end);
            for stretch in self.kept_mut() {
                stretch.key |= stretch.touches(suspect);
            }
        }
        self.mark(suspect);
    }

    /// A key was told by its tone: what is marked last is marked because of it.
    pub(super) fn key(&mut self) {
        if let Some(last) = self.kept_mut().filter(|stretch| stretch.marked).last() {
            last.key = true;
        }
    }

    /// What is marked last is a pair of tones beyond doubt, of a key or not.
    pub(super) fn tones(&mut self) {
        if let Some(last) = self.kept_mut().filter(|stretch| stretch.marked).last() {
            last.tones = true;
        }
    }

    fn mark(&mut self, suspect: Option<Range<u64>>) {
        if let Some(suspect) = suspect {
            for stretch in self.kept_mut() {
                stretch.marked |= stretch.touches(&suspect);
            }
        }
    }

    /// Sorts what is kept: nothing follows it.
    pub(super) fn finish(&mut self) {
        while self.count > 0 {
            self.settle();
        }
        self.close_run();
    }

    /// What was sorted so far.
    pub(super) const fn sums(&self) -> &Listening {
        &self.sums
    }

    fn kept_mut(&mut self) -> impl Iterator<Item = &mut Stretch> {
        let (begin, rest) = self.kept.split_at_mut(self.oldest);
        rest.iter_mut().chain(begin).take(self.count)
    }

    fn push(&mut self, samples: u64, speech: bool, lost: bool) {
        if self.count == KEPT {
            self.settle();
        }
        let begins = self.heard;
        self.heard += samples;
        self.kept[(self.oldest + self.count) % KEPT] = Stretch {
            until: self.heard,
            samples: u32::try_from(samples).unwrap_or(u32::MAX),
            speech,
            marked: false,
            key: begins < self.event_until,
            tones: false,
            lost,
        };
        self.count += 1;
    }

    /// Sorts the oldest stretch: nothing will be said of it any more.
    fn settle(&mut self) {
        let stretch = std::mem::take(&mut self.kept[self.oldest]);
        self.oldest = (self.oldest + 1) % KEPT;
        self.count -= 1;
        let samples = u64::from(stretch.samples);
        let speech = if stretch.speech { samples } else { 0 };
        if !stretch.lost {
            self.sums.audio += samples;
        }
        if stretch.marked {
            self.run.samples += samples;
            self.run.speech += speech;
            self.run.key |= stretch.key;
            self.run.tones |= stretch.tones;
            self.run.lost |= stretch.lost;
        } else {
            self.close_run();
            self.sums.speech += speech;
        }
    }

    fn close_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.samples == 0 {
            return;
        }
        if run.tones && !run.key {
            self.sums.tones += 1;
        }
        let (masked, speech): (&mut Masked, u64) = match (run.key, run.lost) {
            // A key is loud, and no speech.
            (true, _) => (&mut self.sums.keys, 0),
            (false, true) => (&mut self.sums.losses, run.speech),
            (false, false) => (&mut self.sums.alarms, run.speech),
        };
        masked.count += 1;
        masked.samples += run.samples;
        masked.speech += speech;
        self.sums.speech += speech;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms: loud ones and quiet ones.
    struct Line(Ledger);

    impl Line {
        /// After a second of quiet.
        fn new() -> Self {
            let mut line = Self(Ledger::default());
            line.quiet(50);
            line
        }

        fn quiet(&mut self, packets: usize) {
            for _ in 0..packets {
                self.0.audio(&[20; 160], None);
            }
        }

        fn loud(&mut self, packets: usize, mark: bool) {
            for _ in 0..packets {
                let from = self.0.heard;
                self.0
                    .audio(&[2_000; 160], mark.then_some(from..from + 160));
            }
        }

        fn end(mut self) -> Listening {
            self.0.finish();
            *self.0.sums()
        }
    }

    const PACKET: u64 = 160;

    #[test]
    fn speech_is_what_is_louder_than_what_was_there_and_a_steady_noise_is_none() {
        let mut line = Line::new();
        line.loud(30, false);
        line.quiet(50);
        let sums = line.end();
        // And 200 ms beyond it.
        assert_eq!(sums.speech, 40 * PACKET - PACKET);
        assert_eq!(sums.audio, 130 * PACKET);
        let mut steady = Ledger::default();
        for _ in 0..500 {
            steady.audio(&[2_000; 160], None);
        }
        steady.finish();
        assert_eq!(steady.sums().speech, 0);
    }

    #[test]
    fn what_is_marked_is_sorted_by_whether_a_key_a_loss_or_nothing_was_found() {
        let mut line = Line::new();
        // Speech with a false mask of two packets in it.
        line.loud(20, false);
        line.loud(2, true);
        line.loud(20, false);
        // And one of a tone that is no key.
        line.loud(3, true);
        line.0.tones();
        line.loud(20, false);
        line.quiet(20);
        // A key of four packets that is recognised in its second.
        line.loud(2, true);
        line.0.key();
        line.0.tones();
        line.loud(2, true);
        line.quiet(20);
        let at = line.0.heard;
        line.0.gap(160, Some(at..at + 160));
        line.quiet(40);
        let sums = line.end();
        let masked = |count, samples, speech| Masked {
            count,
            samples: samples * PACKET,
            speech: speech * PACKET,
        };
        assert_eq!((sums.alarms, sums.tones), (masked(2, 5, 5), 1));
        assert_eq!(sums.keys, masked(1, 4, 0));
        assert_eq!(sums.losses, masked(1, 1, 0));
    }

    #[test]
    fn a_mark_reaches_back_to_every_packet_that_it_touches() {
        let mut line = Line::new();
        line.loud(8, false);
        let heard = line.0.heard;
        // From the last sample of the third packet before the end on.
        line.0.mark(Some(heard - 2 * PACKET - 1..heard + 200));
        line.quiet(30);
        assert_eq!(line.end().alarms.samples, 3 * PACKET);
        // And is lost where the packet has been sorted already.
        let mut line = Line::new();
        line.loud(2 * KEPT, false);
        line.0.mark(Some(0..line.0.heard));
        line.quiet(30);
        assert_eq!(line.end().alarms.samples, KEPT as u64 * PACKET);
    }

    #[test]
    fn what_an_event_marks_is_a_keys_before_and_after_it_comes() {
        let mut line = Line::new();
        line.loud(4, false);
        let heard = line.0.heard;
        line.0.event(Some(heard - 2 * PACKET..heard + 2 * PACKET));
        line.loud(2, true);
        // And then something that has to do with no key.
        line.quiet(1);
        line.loud(3, true);
        line.quiet(30);
        let sums = line.end();
        assert_eq!((sums.keys.count, sums.keys.samples), (1, 4 * PACKET));
        assert_eq!((sums.alarms.count, sums.alarms.samples), (1, 3 * PACKET));
    }

    #[test]
    fn two_keys_with_a_pause_are_two_and_a_key_that_is_held_is_one() {
        let mut line = Line::new();
        for packets in [4, 4, 200] {
            line.loud(packets, true);
            line.0.key();
            line.quiet(4);
        }
        let sums = line.end();
        assert_eq!((sums.keys.count, sums.keys.samples), (3, 208 * PACKET));
        assert_eq!(sums.alarms, Masked::default());
    }
}
