//! Sums of samples over cosines and sines, and tables of them.

use std::hint::black_box;

use zeroize::Zeroize;

use super::{HOP, RATE_HZ, four::Four, wave::turned};

/// Cosine and sine sums of four frequencies times `V`: the rows, then the columns.
#[derive(Clone, Copy, Zeroize)]
pub(super) struct Sums<const V: usize> {
    pub(super) cos: [Four; V],
    pub(super) sin: [Four; V],
}

impl<const V: usize> Sums<V> {
    pub(super) const ZERO: Self = Self {
        cos: [Four::ZERO; V],
        sin: [Four::ZERO; V],
    };

    /// Cosines and sines at `time` samples.
    const fn wave(frequencies_hz: &[[f64; 4]; V], time: f64) -> Self {
        let mut wave = Self::ZERO;
        let mut tone = 0;
        while tone < 4 * V {
            let hz = frequencies_hz[tone / 4][tone % 4];
            let (cos, sin) = turned(hz * time / RATE_HZ);
            wave.cos[tone / 4].0[tone % 4] = cos as f32;
            wave.sin[tone / 4].0[tone % 4] = sin as f32;
            tone += 1;
        }
        wave
    }

    /// The same sums with time counted from an origin that lies as much earlier as `by` turns.
    #[inline(always)]
    pub(super) fn later(&self, by: &Self) -> Self {
        let mut turned = Self::ZERO;
        for four in 0..V {
            turned.cos[four] = self.cos[four] * by.cos[four] - self.sin[four] * by.sin[four];
            turned.sin[four] = self.sin[four] * by.cos[four] + self.cos[four] * by.sin[four];
        }
        turned
    }

    /// The same sums with time counted from an origin that lies as much later as `by` turns.
    #[inline(always)]
    pub(super) fn earlier(&self, by: &Self) -> Self {
        let mut turned = Self::ZERO;
        for four in 0..V {
            turned.cos[four] = self.cos[four] * by.cos[four] + self.sin[four] * by.sin[four];
            turned.sin[four] = self.sin[four] * by.cos[four] - self.cos[four] * by.sin[four];
        }
        turned
    }

    /// Power of four frequencies, whatever their phases.
    #[inline(always)]
    pub(super) fn power(&self, four: usize) -> Four {
        self.cos[four] * self.cos[four] + self.sin[four] * self.sin[four]
    }
}

/// Cosines and sines at half samples beside the middle of a window: its first half mirrors its
/// second, so `4 N` steps do for a window of twice as many samples.
pub(super) struct Comb<const V: usize, const N: usize>([[Sums<V>; 4]; N]);

impl<const V: usize, const N: usize> Comb<V, N> {
    pub(super) const fn new(frequencies_hz: &[[f64; 4]; V]) -> Self {
        let mut wave = [[Sums::ZERO; 4]; N];
        let mut step = 0;
        while step < 4 * N {
            wave[step / 4][step % 4] = Sums::wave(frequencies_hz, step as f64 + 0.5);
            step += 1;
        }
        Self(wave)
    }

    /// Sums of a window that [`Folded`] holds. Time counts from its middle.
    #[inline(always)]
    pub(super) fn sums(&self, window: &Folded<N>) -> Sums<V> {
        let mut sums = Sums::ZERO;
        // Seen through, it would be folded sample by sample.
        let window = black_box(window);
        for n in 0..N {
            for step in 0..4 {
                let wave = &self.0[n][step];
                let even = Four::all(window.even[n].0[step]);
                let odd = Four::all(window.odd[n].0[step]);
                for four in 0..V {
                    sums.cos[four] += even * wave.cos[four];
                    sums.sin[four] += odd * wave.sin[four];
                }
            }
        }
        sums
    }
}

/// A window from its middle on: each sample with its mirror image added, and subtracted.
#[derive(Zeroize)]
pub(super) struct Folded<const N: usize> {
    even: [Four; N],
    odd: [Four; N],
}

impl<const N: usize> Folded<N> {
    /// Folds `8 N` samples.
    #[inline]
    pub(super) fn of(samples: &[i16]) -> Self {
        let mut folded = Self {
            even: [Four::ZERO; N],
            odd: [Four::ZERO; N],
        };
        let (before, after) = samples.split_at(4 * N);
        for step in 0..4 * N {
            let after = f32::from(after[step]);
            let before = f32::from(before[4 * N - 1 - step]);
            folded.even[step / 4].0[step % 4] = after + before;
            folded.odd[step / 4].0[step % 4] = after - before;
        }
        folded
    }

    /// Folds `8 N` samples.
    #[inline(always)]
    pub(super) fn new(samples: &[Four]) -> Self {
        let mut folded = Self {
            even: [Four::ZERO; N],
            odd: [Four::ZERO; N],
        };
        for n in 0..N {
            let (after, before) = (samples[N + n], samples[N - 1 - n].reversed());
            folded.even[n] = after + before;
            folded.odd[n] = after - before;
        }
        folded
    }
}

/// Turns by whole hops: after `HOPS` of them every frequency of whole Hz has come round.
pub(super) struct Turns<const V: usize, const HOPS: usize>([Sums<V>; HOPS]);

impl<const V: usize, const HOPS: usize> Turns<V, HOPS> {
    pub(super) const fn new(frequencies_hz: &[[f64; 4]; V]) -> Self {
        let mut turns = [Sums::ZERO; HOPS];
        let mut hop = 0;
        while hop < HOPS {
            turns[hop] = Sums::wave(frequencies_hz, (hop * HOP) as f64);
            hop += 1;
        }
        Self(turns)
    }

    /// The turn by `hop` hops, fewer than `HOPS`.
    #[inline(always)]
    pub(super) const fn by(&self, hop: usize) -> &Sums<V> {
        &self.0[hop]
    }
}

/// The turn from the middle of a window's newest hop back to the window's own middle.
pub(super) const fn to_middle<const V: usize>(
    frequencies_hz: &[[f64; 4]; V],
    hops: usize,
) -> Sums<V> {
    Sums::wave(frequencies_hz, ((hops - 1) * HOP) as f64 / 2.0)
}
