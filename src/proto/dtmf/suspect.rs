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

/// Least share of explained energy for each of [`Window::ALL`] where it has become louder, as it does
/// when a key goes down, or while suspicion lasts. Short windows serve clean lines, long ones noisy
/// lines.
pub(super) const LEAST_SHARES: [f32; 4] = [0.85, 0.60, 0.45, 0.35];
/// The same whatever was before: noise may fall as the key goes down.
const SURE_SHARES: [f32; 4] = [0.85, 0.70, 0.55, 0.42];
/// How much louder: 2 dB.
const RISE: f32 = 1.6;
/// The two shares on the fine grid of 6 ms.
pub(super) const LEAST_FINE_SHARE: f32 = 0.79;
/// See [`LEAST_FINE_SHARE`].
const SURE_FINE_SHARE: f32 = 0.88;
/// The least share for a burst of 2 ms out of something quieter.
pub(super) const LEAST_ONSET_SHARE: f32 = 0.90;
/// How far a burst must rise: 6 dB.
pub(super) const ONSET_JUMP: f32 = 4.0;

/// How far a burst must rise while suspicion lasts: 11 dB, more than most pulses of a voice do.
pub(super) const BURST_JUMP: f32 = 12.0;
/// The least share for it.
pub(super) const LEAST_BURST_SHARE: f32 = 0.94;

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

/// Samples before the end of the newest hop that are suspect, if any are. `held`: what was last
/// heard before it still is.
pub(super) fn reach(bank: &Bank, held: bool) -> Option<u64> {
    if bank.is_suspicious(LEAST_SHARES) {
        // The longest window reaches back furthest.
        for n in (0..4).rev() {
            let window = Window::ALL[n];
            if bank.nominal(window, WIDE, LEAST_SHARES[n])
                && (held || bank.rises(window, RISE) || bank.nominal(window, WIDE, SURE_SHARES[n]))
            {
                return Some(guarded(window.samples()));
            }
        }
    }
    if bank.fine(WIDE, LEAST_FINE_SHARE)
        && (held || bank.rises(Window::W6, RISE) || bank.fine(WIDE, SURE_FINE_SHARE))
    {
        return Some(guarded(Window::W6.samples()));
    }
    let sudden = bank.onset(WIDEST, ONSET_JUMP, LEAST_ONSET_SHARE)
        || (held && bank.burst(WIDEST, BURST_JUMP, LEAST_BURST_SHARE));
    sudden.then(|| guarded(HOP + HOP / 2))
}

fn guarded(samples: usize) -> u64 {
    (samples as u64 + GUARD_SAMPLES).max(REACH_SAMPLES)
}
