//! Four numbers side by side: what every processor that this runs on (SSE2, NEON) does at once, and
//! in the same order everywhere.

use std::ops::{Add, AddAssign, Mul, Sub};

use zeroize::Zeroize;

/// Four `f32`; all operations are lane by lane, each rounded as IEEE 754 says.
#[derive(Clone, Copy, Default, Zeroize)]
#[repr(align(16))]
pub(super) struct Four(pub(super) [f32; 4]);

impl Four {
    pub(super) const ZERO: Self = Self([0.0; 4]);

    #[inline(always)]
    pub(super) const fn all(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn with(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([op(a, e), op(b, f), op(c, g), op(d, h)])
    }

    /// The larger of each two.
    #[inline(always)]
    pub(super) fn max(self, other: Self) -> Self {
        self.with(other, |one, two| if one > two { one } else { two })
    }

    /// In reverse order.
    #[inline(always)]
    pub(super) const fn reversed(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([d, c, b, a])
    }

    #[inline(always)]
    pub(super) fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + b) + (c + d)
    }

    #[inline(always)]
    pub(super) fn largest(self) -> f32 {
        let [a, b, c, d] = self.0;
        let larger = |one, two| if one > two { one } else { two };
        larger(larger(a, b), larger(c, d))
    }

    /// The largest of each.
    #[inline(always)]
    pub(super) fn largest_of([a, b, c, d]: [Self; 4]) -> Self {
        let lane = |n: usize| Self([a.0[n], b.0[n], c.0[n], d.0[n]]);
        lane(0).max(lane(1)).max(lane(2).max(lane(3)))
    }
}

impl Add for Four {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, |one, two| one + two)
    }
}

impl AddAssign for Four {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Four {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, |one, two| one - two)
    }
}

impl Mul for Four {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, |one, two| one * two)
    }
}
