//! Elementary functions in plain arithmetic: the same bits on every CPU and with every libm.

use std::f64::consts::{FRAC_PI_2, LN_2, LOG2_10, PI, SQRT_2};

/// Cosine of an angle of 0 to π, to 12 digits.
pub(super) const fn cos(angle: f64) -> f64 {
    if angle > FRAC_PI_2 {
        return -cos(PI - angle);
    }
    let square = angle * angle;
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while n < 18.0 {
        term *= -square / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// e to a power of -8 to 1.
pub(super) const fn exp(power: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while n < 40.0 {
        term *= power / n;
        sum += term;
        n += 1.0;
    }
    sum
}

/// Ratio of amplitudes, of decibels within ±500.
pub(super) fn of_db(db: f64) -> f64 {
    let power = db.clamp(-500.0, 500.0) / 20.0 * LOG2_10;
    let whole = power.floor();
    // Within ±84, so the exponent fits.
    let scale = f64::from_bits(((whole as i64 + 1_023) as u64) << 52);
    scale * exp((power - whole) * LN_2)
}

/// Decibels of a ratio of amplitudes, which is positive and no subnormal number.
pub(super) fn to_db(ratio: f64) -> f64 {
    let bits = ratio.max(f64::MIN_POSITIVE).to_bits();
    let mut exponent = (bits >> 52) as f64 - 1_023.0;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1_023 << 52);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut term, mut sum, mut n) = (s, 0.0, 1.0);
    while n < 20.0 {
        sum += term / n;
        term *= s * s;
        n += 2.0;
    }
    20.0 * (exponent + 2.0 * sum / LN_2) / LOG2_10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_the_standard_library_says() {
        for n in 0..=1_000 {
            let angle = PI * f64::from(n) / 1_000.0;
            assert!((cos(angle) - angle.cos()).abs() < 1e-11, "{angle}");
            let power = f64::from(n) * 0.009 - 8.0;
            assert!((exp(power) - power.exp()).abs() < 1e-11, "{power}");
            let db = f64::from(n) * 0.8 - 400.0;
            let ratio = 10_f64.powf(db / 20.0);
            assert!((of_db(db) / ratio - 1.0).abs() < 1e-11, "{db}");
            assert!((to_db(ratio) - db).abs() < 1e-9, "{db}");
        }
    }
}
