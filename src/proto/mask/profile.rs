//! How strictly an armed call is masked, and with what.

use serde::{Deserialize, Serialize};

use crate::proto::dtmf::{KeyOverNoise, Suspicion};

/// `[masking]` of the configuration: what every armed call begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Masking {
    /// How strictly.
    pub profile: Profile,
    /// With what.
    pub fill: Fill,
}

/// How strictly an armed call is masked, from the least delay to the least that can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A look-ahead of 12 ms.
    #[default]
    Fast,
    /// A look-ahead of 20 ms, and longer windows with lower thresholds.
    Strict,
    /// The same with 40 ms.
    Strictest,
    /// One mask a field: from its opening until 300 ms after its close the agent gets packets that
    /// depend on nothing the caller sends, not even on when. Between fields as [`Self::Strictest`].
    Continuous,
}

impl Profile {
    /// What an arming begins with.
    #[must_use]
    pub const fn guard(self) -> Guard {
        match self {
            Self::Fast => Guard::Fast,
            Self::Strict => Guard::Strict,
            Self::Strictest | Self::Continuous => Guard::Strictest,
        }
    }
}

/// What the agent gets in place of what may be a tone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Silence, and a neutral sound for each key.
    #[default]
    Tone,
    /// Noise like that of the caller's line, and a neutral sound for each key.
    Noise,
    /// Silence.
    Silence,
}

/// What stands between caller and agent now. Within one arming only ever tighter than it was: an
/// estimate that wavers must not open and shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// A look-ahead of 12 ms.
    Fast,
    /// 20 ms.
    Strict,
    /// 40 ms.
    Strictest,
    /// The caller is not heard at all: in noise as loud as the keys no detector is sure.
    Mute,
}

/// Ratios of key to noise from which on a look-ahead does: 10 dB for 12 ms, 5 dB for 20 ms, and
/// 2 dB for 40 ms. Half as much again is what an estimate may be wrong by.
const ENOUGH: [(f32, Guard); 3] = [
    (10.0, Guard::Fast),
    (3.16, Guard::Strict),
    (1.58, Guard::Strictest),
];

/// By how much noise has to be louder before the first key than after it to mute: 6 dB.
const FAR_LOUDER: f32 = 4.0;

impl Guard {
    /// As logs and labels have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Strict => "strict",
            Self::Strictest => "strictest",
            Self::Mute => "mute",
        }
    }

    /// The loosest that does for keys that stand so far out of the noise. Before a key was heard a
    /// caller is muted for what is far louder than a key only, for it may be a voice that does not
    /// pause.
    #[must_use]
    pub fn for_key_over_noise(key: KeyOverNoise) -> Self {
        let enough = ENOUGH.iter().find(|(least, _)| key.ratio >= *least);
        let guard = enough.map_or(Self::Mute, |(_, guard)| *guard);
        if key.measured || key.ratio * FAR_LOUDER < ENOUGH[2].0 {
            guard
        } else {
            guard.min(Self::Strictest)
        }
    }

    /// How readily audio is suspected behind it.
    #[must_use]
    pub const fn suspicion(self) -> Suspicion {
        match self {
            Self::Fast => Suspicion::Fast,
            Self::Strict => Suspicion::Strict,
            Self::Strictest | Self::Mute => Suspicion::Strictest,
        }
    }

    /// Samples of 8 kHz that the detector hears beyond the end of a frame before it leaves.
    #[must_use]
    pub const fn look_ahead_samples(self) -> usize {
        self.suspicion().reach_samples()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_aheads_are_12_20_and_40_ms() {
        let look_ahead = |profile: Profile| profile.guard().look_ahead_samples();
        let all = [
            Profile::Fast,
            Profile::Strict,
            Profile::Strictest,
            Profile::Continuous,
        ];
        assert_eq!(all.map(look_ahead), [96, 160, 320, 320]);
    }

    #[test]
    fn the_less_a_key_stands_out_the_tighter_the_guard() {
        let at = |db: f32, measured| {
            Guard::for_key_over_noise(KeyOverNoise {
                ratio: 10_f32.powf(db / 10.0),
                measured,
            })
        };
        let guard_at = |db: f32| at(db, true);
        assert_eq!(guard_at(30.0), Guard::Fast);
        assert_eq!(guard_at(10.1), Guard::Fast);
        assert_eq!(guard_at(9.9), Guard::Strict);
        assert_eq!(guard_at(5.1), Guard::Strict);
        assert_eq!(guard_at(4.9), Guard::Strictest);
        assert_eq!(guard_at(2.1), Guard::Strictest);
        assert_eq!(guard_at(1.9), Guard::Mute);
        assert_eq!(guard_at(-20.0), Guard::Mute);
        assert_eq!(at(-3.9, false), Guard::Strictest, "no key was heard yet");
        assert_eq!(at(-4.1, false), Guard::Mute);
    }
}
