//! What was told of presses, whichever keys.

use zeroize::Zeroize;

use super::{PressMeasure, merge::Told};

/// Presses by who told them: for statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Zeroize)]
pub struct PressesTold {
    /// Told by events, or by tones that are described.
    pub by_event: u32,
    /// Told by tones in the audio.
    pub by_tone: u32,
    /// Told by SIP INFO.
    pub by_info: u32,
    /// Of all of these, those that another had told before.
    pub doubles: u32,
    /// Whether something was a pair of tones beyond doubt ([`Suspicion::Shadow`]), be it a key or
    /// not; where the ear was asked for it ([`Ear::seek_tones`]).
    ///
    /// [`Suspicion::Shadow`]: super::Suspicion::Shadow
    /// [`Ear::seek_tones`]: super::Ear::seek_tones
    pub tones: bool,
    /// How the last press by a tone in the audio sounded.
    pub measure: Option<PressMeasure>,
}

impl PressesTold {
    /// An event told this.
    pub(super) fn event(&mut self, told: Told) {
        count(&mut self.by_event, &mut self.doubles, told);
    }

    /// A tone in the audio told this.
    pub(super) fn tone(&mut self, told: Told, measure: PressMeasure) {
        if told != Told::Rest {
            self.measure = Some(measure);
        }
        count(&mut self.by_tone, &mut self.doubles, told);
    }

    /// An INFO told a press; `new` if nothing else had.
    pub(super) fn info(&mut self, new: bool) {
        let told = if new { Told::First } else { Told::Again };
        count(&mut self.by_info, &mut self.doubles, told);
    }
}

fn count(by: &mut u32, doubles: &mut u32, told: Told) {
    let (press, double) = match told {
        Told::First => (1, 0),
        Told::KnownByInfo | Told::Again => (1, 1),
        Told::Rest => (0, 0),
    };
    *by = by.saturating_add(press);
    *doubles = doubles.saturating_add(double);
}
