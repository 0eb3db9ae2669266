//! The first decision: may this be a tone? Early and permissive; a false alarm costs a little
//! speech, a miss shows a key to whoever listens.

use super::bank::{Bank, HOP, Twist, Window};

/// Samples before a suspicious window that are suspect too (5 ms): codecs smear tones forward.
const GUARD_SAMPLES: u64 = 40;
/// Samples that suspicion reaches back at least, whatever window raised it: the shortest
/// look-ahead (12 ms). What is older has left.
const REACH_SAMPLES: u64 = 96;
/// Samples that suspicion outlasts its last window (25 ms): codecs ring.
pub(super) const HOLD_SAMPLES: u64 = 200;

/// Least share of explained energy for each of [`Window::ALL`]. Short windows serve clean lines,
/// long ones noisy lines.
const LEAST_SHARES: [f32; 4] = [0.85, 0.60, 0.45, 0.35];
/// The same on the fine grid of 6 ms.
const LEAST_FINE_SHARE: f32 = 0.88;
/// The same for a burst of 2 ms out of something quieter.
const LEAST_ONSET_SHARE: f32 = 0.96;
/// How far a burst must rise: 8 dB.
const ONSET_JUMP: f32 = 6.3;

/// -20 to +19 dB: a tone of ±15 dB whose weak component noise has moved.
const WIDE: Twist = Twist {
    least: 0.01,
    most: 79.0,
};
/// ±25 dB for 2 ms, where two components are hardly told apart.
const WIDEST: Twist = Twist {
    least: 0.003,
    most: 316.0,
};

/// Samples before the end of the newest hop that are suspect, if any are.
pub(super) fn reach(bank: &Bank) -> Option<u64> {
    let mut samples = None;
    for (window, least) in Window::ALL.into_iter().zip(LEAST_SHARES) {
        if bank.nominal(window, WIDE, least) {
            samples = Some((window.hops() * HOP) as u64);
        }
    }
    if samples.is_none() && bank.fine(WIDE, LEAST_FINE_SHARE) {
        samples = Some((Window::W6.hops() * HOP) as u64);
    }
    if samples.is_none() && bank.onset(WIDEST, ONSET_JUMP) >= LEAST_ONSET_SHARE {
        samples = Some((HOP + HOP / 2) as u64);
    }
    samples.map(|samples| (samples + GUARD_SAMPLES).max(REACH_SAMPLES))
}
