//! The first decision: may this be a tone? Early and permissive; a false alarm costs a little
//! speech, a miss shows a key to whoever listens.

use zeroize::Zeroize;

use super::bank::{Bank, HOP, Twist, Window};

/// Samples before a suspicious window that are suspect too (5 ms): codecs smear tones forward.
const GUARD_SAMPLES: u64 = 40;
/// Samples that suspicion outlasts its last window (25 ms): codecs ring.
pub(super) const HOLD_SAMPLES: u64 = 200;
/// More than any share: never.
const NEVER: f32 = 2.0;

/// ±16 dB: a tone of ±15 dB whose weak component noise has moved.
pub(super) const WIDE: Twist = Twist {
    least: 0.025,
    most: 40.0,
};
/// ±25 dB for 2 ms, where two components are hardly told apart.
pub(super) const WIDEST: Twist = Twist {
    least: 0.003,
    most: 316.0,
};
/// How far a burst must rise: 6 dB.
pub(super) const ONSET_JUMP: f32 = 4.0;
/// How far a burst must rise while suspicion lasts: 11 dB, more than most pulses of a voice do.
pub(super) const BURST_JUMP: f32 = 12.0;
/// How much louder a window has to have become for the lesser shares: 2 dB.
const RISE: f32 = 1.6;

/// How readily audio is suspected, and how far back what was suspected can still be withheld. The
/// more time there is, the longer the windows that can tell a tone from noise, and the less of a
/// window has to be one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Zeroize)]
pub enum Suspicion {
    /// For a look-ahead of 12 ms.
    #[default]
    Fast,
    /// For a look-ahead of 20 ms.
    Strict,
    /// For a look-ahead of 40 ms.
    Strictest,
    /// For counting what nobody masks: hardly ever wrong, and so later than any mask could be.
    Shadow,
}

/// What of a window has to be a pair of tones for it to be suspect.
pub(super) struct Thresholds {
    /// Samples that suspicion reaches back at least, whatever window raised it. What is older has
    /// left.
    pub(super) reach_samples: u64,
    /// Least share of explained energy for each of [`Window::ALL`] where it has become louder, as it
    /// does when a key goes down, or while suspicion lasts. Short windows serve clean lines, long
    /// ones noisy lines.
    pub(super) least_shares: [f32; 4],
    /// The same whatever was before: noise may fall as the key goes down.
    sure_shares: [f32; 4],
    /// The two shares on the fine grid of 6 ms.
    pub(super) least_fine_share: f32,
    /// See `least_fine_share`.
    sure_fine_share: f32,
    /// The least share for a burst of 2 ms out of something quieter.
    pub(super) least_onset_share: f32,
    /// The same while suspicion lasts.
    pub(super) least_burst_share: f32,
}

static FAST: Thresholds = Thresholds {
    reach_samples: 96,
    least_shares: [0.85, 0.60, 0.45, 0.35],
    sure_shares: [0.85, 0.70, 0.55, 0.42],
    least_fine_share: 0.79,
    sure_fine_share: 0.88,
    least_onset_share: 0.90,
    least_burst_share: 0.94,
};

static STRICT: Thresholds = Thresholds {
    reach_samples: 160,
    least_shares: [0.82, 0.55, 0.41, 0.29],
    sure_shares: [0.85, 0.66, 0.49, 0.35],
    least_fine_share: 0.77,
    sure_fine_share: 0.86,
    least_onset_share: 0.90,
    least_burst_share: 0.94,
};

static STRICTEST: Thresholds = Thresholds {
    reach_samples: 320,
    least_shares: [0.80, 0.50, 0.38, 0.24],
    sure_shares: [0.84, 0.62, 0.45, 0.30],
    least_fine_share: 0.75,
    sure_fine_share: 0.85,
    least_onset_share: 0.90,
    least_burst_share: 0.94,
};

static SHADOW: Thresholds = Thresholds {
    reach_samples: 96,
    least_shares: [NEVER, 0.92, 0.90, 0.90],
    sure_shares: [NEVER, 0.92, 0.90, 0.90],
    least_fine_share: NEVER,
    sure_fine_share: NEVER,
    least_onset_share: NEVER,
    least_burst_share: NEVER,
};

impl Suspicion {
    pub(super) const fn thresholds(self) -> &'static Thresholds {
        match self {
            Self::Fast => &FAST,
            Self::Strict => &STRICT,
            Self::Strictest => &STRICTEST,
            Self::Shadow => &SHADOW,
        }
    }

    /// Samples of 8 kHz that suspicion reaches back at least: audio has to be withheld for as long.
    #[must_use]
    pub const fn reach_samples(self) -> usize {
        self.thresholds().reach_samples as usize
    }

    /// Samples before the end of the newest hop that are suspect, if any are. `held`: what was last
    /// heard before it still is.
    #[inline(always)]
    pub(super) fn reach(self, bank: &Bank, held: bool) -> Option<u64> {
        let thresholds = self.thresholds();
        if bank.is_suspicious(thresholds.least_shares)
            && let Some(reach) = thresholds.reach_of_windows(bank, held)
        {
            return Some(reach);
        }
        if bank.fine(WIDE, thresholds.least_fine_share)
            && (held || bank.rises(Window::W6, RISE) || bank.fine(WIDE, thresholds.sure_fine_share))
        {
            return Some(thresholds.guarded(Window::W6.samples()));
        }
        let sudden = bank.onset(WIDEST, ONSET_JUMP, thresholds.least_onset_share)
            || (held && bank.burst(WIDEST, BURST_JUMP, thresholds.least_burst_share));
        sudden.then(|| thresholds.guarded(HOP + HOP / 2))
    }
}

impl Thresholds {
    /// What the longest of the suspicious windows on the nominal frequencies reaches back.
    #[inline(never)]
    fn reach_of_windows(&self, bank: &Bank, held: bool) -> Option<u64> {
        for n in (0..4).rev() {
            let window = Window::ALL[n];
            if bank.nominal(window, WIDE, self.least_shares[n])
                && (held
                    || bank.rises(window, RISE)
                    || bank.nominal(window, WIDE, self.sure_shares[n]))
            {
                return Some(self.guarded(window.samples()));
            }
        }
        None
    }

    fn guarded(&self, samples: usize) -> u64 {
        (samples as u64 + GUARD_SAMPLES).max(self.reach_samples)
    }
}
