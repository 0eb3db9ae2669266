//! Waves for tables, made by the compiler out of additions and multiplications alone: the same bits
//! whatever machine builds or runs this.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Cosine and sine of `turns` of a circle.
pub(super) const fn turned(turns: f64) -> (f64, f64) {
    let mut angle = (turns - turns.floor()) * TAU;
    let mut sign = 1.0;
    if angle > PI {
        angle -= TAU;
    }
    // To ±90 degrees, where the series is short.
    if angle > FRAC_PI_2 {
        angle -= PI;
        sign = -1.0;
    } else if angle < -FRAC_PI_2 {
        angle += PI;
        sign = -1.0;
    }
    let square = angle * angle;
    let (mut cos, mut sin, mut term) = (0.0, 0.0, 1.0);
    let mut n = 0;
    while n < 24 {
        // angle^n / n!, with the sign of its place in the two series.
        cos += term;
        let odd = term * angle / (n as f64 + 1.0);
        sin += odd;
        term = -term * square / ((n as f64 + 1.0) * (n as f64 + 2.0));
        n += 2;
    }
    (sign * cos, sign * sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_what_the_library_says() {
        for n in -4000..4000 {
            let turns = f64::from(n) * 0.001_237;
            let (cos, sin) = turned(turns);
            let angle = turns * TAU;
            assert!((cos - angle.cos()).abs() < 1e-11, "cosine of {turns} turns");
            assert!((sin - angle.sin()).abs() < 1e-11, "sine of {turns} turns");
        }
    }
}
