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
pub(super) const LEAST_SHARES: [f32; 4] = [0.85, 0.60, 0.45, 0.35];
/// The same on the fine grid of 6 ms.
pub(super) const LEAST_FINE_SHARE: f32 = 0.88;
/// The same for a burst of 2 ms out of something quieter.
pub(super) const LEAST_ONSET_SHARE: f32 = 0.96;
/// How far a burst must rise: 8 dB.
pub(super) const ONSET_JUMP: f32 = 6.3;

/// -20 to +19 dB: a tone of ±15 dB whose weak component noise has moved.
pub(super) const WIDE: Twist = Twist {
    least: 0.01,
    most: 79.0,
};
/// ±25 dB for 2 ms, where two components are hardly told apart.
pub(super) const WIDEST: Twist = Twist {
    least: 0.003,
    most: 316.0,
};

/// Samples before the end of the newest hop that are suspect, if any are.
pub(super) fn reach(bank: &Bank) -> Option<u64> {
    if bank.is_suspicious(LEAST_SHARES) {
        // The longest window reaches back furthest.
        for n in (0..4).rev() {
            if bank.nominal(Window::ALL[n], WIDE, LEAST_SHARES[n]) {
                return Some(guarded(Window::ALL[n].samples()));
            }
        }
    }
    if bank.fine(WIDE, LEAST_FINE_SHARE) {
        return Some(guarded(Window::W6.samples()));
    }
    bank.onset(WIDEST, ONSET_JUMP, LEAST_ONSET_SHARE)
        .then(|| guarded(HOP + HOP / 2))
}

fn guarded(samples: usize) -> u64 {
    (samples as u64 + GUARD_SAMPLES).max(REACH_SAMPLES)
}
