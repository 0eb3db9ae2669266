//! What stands in the place of what may be a tone: a function of what the agent has heard already, of
//! how long the gate has been shut and of how many keys were pressed, and of nothing else.

use super::{noise::ComfortNoise, profile::Fill};

/// A key was pressed and the gate has been shut for this long: a neutral sound tells the agent so.
/// Counted from the gate and not from the moment at which the digit was certain, which may depend on
/// the digit. A false alarm of the suspicious detector presses no key and stays silent.
const SOUND_AFTER: usize = 80 * 8;
/// Length of the neutral sound.
const SOUND_LENGTH: usize = 120 * 8;
/// From one neutral sound to the next where a mask covers a whole field: 2 s.
const FIELD_PERIOD: usize = 2_000 * 8;
/// One period of 400 Hz at 8 kHz, about -23 dBm0: no key has this frequency, and its level and
/// phase follow nothing that the caller does.
const SOUND: [i16; 20] = [
    0, 494, 940, 1294, 1522, 1600, 1522, 1294, 940, 494, 0, -494, -940, -1294, -1522, -1600, -1522,
    -1294, -940, -494,
];

/// When the neutral sound is to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sounds {
    /// For each key.
    Presses,
    /// As the mask of a field begins, and on a beat from then on, whatever is keyed.
    Beat,
    /// Not at all.
    Never,
}

/// Makes the replacement.
pub(super) struct Filler {
    fill: Fill,
    /// Only where it is asked for.
    noise: Option<Box<ComfortNoise>>,
    /// Samples that the gate has been shut for.
    masked_run: usize,
    /// Whether a press is still to be told by the neutral sound.
    press_untold: bool,
    sound_left: usize,
    sound_phase: usize,
    /// Samples until the next beat.
    until_beat: usize,
}

impl Filler {
    pub(super) fn new(fill: Fill) -> Self {
        Self {
            fill,
            noise: (fill == Fill::Noise).then(Box::default),
            masked_run: 0,
            press_untold: false,
            sound_left: 0,
            sound_phase: 0,
            until_beat: 0,
        }
    }

    /// A key was pressed, whichever.
    pub(super) const fn press(&mut self) {
        self.press_untold = true;
    }

    /// Whether a neutral sound is under way.
    pub(super) const fn is_sounding(&self) -> bool {
        self.sound_left > 0
    }

    /// The mask of a field begins: its beat is counted from here, and no key before it is told.
    pub(super) const fn begin_beat(&mut self) {
        self.press_untold = false;
        self.sound_left = 0;
        self.until_beat = 0;
    }

    /// Whether the frame before left as it was.
    pub(super) const fn is_open(&self) -> bool {
        self.masked_run == 0
    }

    /// A frame leaves as it is: its samples, where all of them came from the caller.
    pub(super) fn pass(&mut self, samples: Option<impl ExactSizeIterator<Item = i16>>) {
        self.masked_run = 0;
        self.press_untold = false;
        if let (Some(noise), Some(samples)) = (&mut self.noise, samples) {
            noise.learn(samples);
        }
    }

    /// Writes the replacement of a frame into `samples`, which are silence. Whether it is more than
    /// that.
    pub(super) fn replace(&mut self, samples: &mut [i16], sounds: Sounds) -> bool {
        if self.is_open()
            && let Some(noise) = &mut self.noise
        {
            noise.begin();
        }
        self.masked_run += samples.len();
        if self.fill == Fill::Silence || sounds == Sounds::Never {
            self.press_untold = false;
            self.sound_left = 0;
        } else if self.is_due(samples.len(), sounds) && self.sound_left == 0 {
            self.press_untold = false;
            self.sound_left = SOUND_LENGTH;
            self.sound_phase = 0;
        }
        let sounds = self.sound_left > 0;
        let (sounding, rest) = samples.split_at_mut(samples.len().min(self.sound_left));
        for sample in sounding.iter_mut() {
            *sample = SOUND[self.sound_phase];
            self.sound_phase = (self.sound_phase + 1) % SOUND.len();
        }
        self.sound_left -= sounding.len();
        if let Some(noise) = &mut self.noise {
            rest.fill_with(|| noise.next());
        }
        sounds || self.noise.is_some()
    }

    /// Whether a sound is to begin with a frame of `samples`.
    fn is_due(&mut self, samples: usize, sounds: Sounds) -> bool {
        if sounds != Sounds::Beat {
            return self.press_untold && self.masked_run >= SOUND_AFTER;
        }
        let due = self.until_beat == 0;
        let left = if due { FIELD_PERIOD } else { self.until_beat };
        self.until_beat = left.saturating_sub(samples);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 160;

    /// What the agent gets of frames that leave (true) or not, with presses before some.
    fn made(fill: Fill, gate: &[bool], presses: &[usize]) -> Vec<i16> {
        let mut filler = Filler::new(fill);
        let mut all = Vec::new();
        for (n, open) in gate.iter().enumerate() {
            if presses.contains(&n) {
                filler.press();
            }
            let mut frame = [0; FRAME];
            if *open {
                for (at, sample) in frame.iter_mut().enumerate() {
                    *sample = ((at * 37 + n * 11) % 90) as i16 * 4 - 180;
                }
                filler.pass(Some(frame.into_iter()));
            } else {
                filler.replace(&mut frame, Sounds::Presses);
            }
            all.extend(frame);
        }
        all
    }

    /// Where the neutral sound begins and how long it is.
    fn sounds(samples: &[i16]) -> Vec<(usize, usize)> {
        let is_sound = |from: usize| {
            samples
                .get(from..from + SOUND.len())
                .is_some_and(|s| s == SOUND)
        };
        let (mut found, mut at) = (Vec::new(), 0);
        while at < samples.len() {
            let mut length = 0;
            while is_sound(at + length) {
                length += SOUND.len();
            }
            if length > 0 {
                found.push((at, length));
            }
            at += length.max(1);
        }
        found
    }

    #[test]
    fn a_press_is_told_by_one_sound_of_120_ms_once_the_gate_was_shut_for_80_ms() {
        let gate = [vec![true; 50], vec![false; 20]].concat();
        for fill in [Fill::Tone, Fill::Noise] {
            let early = sounds(&made(fill, &gate, &[51]));
            assert_eq!(early, [(53 * FRAME, SOUND_LENGTH)], "{fill:?}");
            let late = sounds(&made(fill, &gate, &[58]));
            assert_eq!(late, [(58 * FRAME, SOUND_LENGTH)], "{fill:?}");
            assert_eq!(sounds(&made(fill, &gate, &[])), []);
        }
        let silent = made(Fill::Silence, &gate, &[51]);
        assert!(silent[50 * FRAME..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn a_press_that_a_short_mask_did_not_tell_is_not_told_by_the_next() {
        let gate = [
            vec![true; 50],
            vec![false; 3],
            vec![true; 5],
            vec![false; 20],
        ];
        for fill in [Fill::Tone, Fill::Noise] {
            assert_eq!(sounds(&made(fill, &gate.concat(), &[51])), [], "{fill:?}");
        }
    }

    #[test]
    fn noise_is_heard_in_the_place_of_a_false_alarm_and_begins_without_a_click() {
        let gate = [vec![true; 50], vec![false; 5], vec![true; 5]].concat();
        let samples = made(Fill::Noise, &gate, &[]);
        let power = |range: std::ops::Range<usize>| {
            let count = range.len() as f64;
            samples[range]
                .iter()
                .map(|s| f64::from(*s).powi(2))
                .sum::<f64>()
                / count
        };
        let apart = power(51 * FRAME..55 * FRAME) / power(40 * FRAME..50 * FRAME);
        assert!((0.5..2.0).contains(&apart), "{apart} times as loud");
        let [last, first] = [50 * FRAME - 1, 50 * FRAME].map(|at| samples[at]);
        assert_eq!(last, first, "the fade begins where the frame before ended");
    }

    #[test]
    fn a_beat_is_the_same_whatever_is_keyed() {
        let beat = |presses: &[usize]| {
            let mut filler = Filler::new(Fill::Tone);
            filler.begin_beat();
            let mut all = Vec::new();
            for n in 0..250 {
                if presses.contains(&n) {
                    filler.press();
                }
                let mut frame = [0; FRAME];
                filler.replace(&mut frame, Sounds::Beat);
                all.extend(frame);
            }
            all
        };
        assert_eq!(beat(&[]), beat(&[3, 40, 77, 78, 200]));
        let begins = sounds(&beat(&[]));
        let expected = [0, 1, 2].map(|n| (n * FIELD_PERIOD, SOUND_LENGTH));
        assert_eq!(begins, expected);
    }
}
