//! What the encoder learns of a frame before it searches: the filter behind it (§3.1, §3.2).

use zeroize::Zeroize;

use super::{
    lines::{Filter, ORDER},
    math::{cos, exp},
};

/// Samples that are looked at: 15 ms before the frame, the frame, and 5 ms after it.
pub(super) const WINDOW: usize = 240;

/// Half of a Hamming window and a quarter of a cosine (§3.2.1).
static SHAPE: [f32; WINDOW] = {
    use std::f64::consts::PI;
    let mut shape = [0.0; WINDOW];
    let mut n = 0;
    while n < WINDOW {
        let value = if n < 200 {
            0.54 - 0.46 * cos(2.0 * PI * n as f64 / 399.0)
        } else {
            cos(2.0 * PI * (n as f64 - 200.0) / 159.0)
        };
        shape[n] = value as f32;
        n += 1;
    }
    shape
};

/// Widens what is narrower than 60 Hz, and lays a floor of -40 dB.
const LAG_WINDOW: [f64; ORDER + 1] = {
    use std::f64::consts::PI;
    let mut window = [1.000_1; ORDER + 1];
    let mut k = 1;
    while k <= ORDER {
        let turn = 2.0 * PI * 60.0 * k as f64 / 8_000.0;
        window[k] = exp(-0.5 * turn * turn);
        k += 1;
    }
    window
};

/// The filter that foretells the middle of these samples best. Nothing for silence.
pub(super) fn filter_of(speech: &[f32; WINDOW]) -> Option<Filter> {
    let mut shaped = [0.0_f32; WINDOW];
    for ((shaped, sample), weight) in shaped.iter_mut().zip(speech).zip(&SHAPE) {
        *shaped = sample * weight;
    }
    let mut correlation = [0.0_f64; ORDER + 1];
    for (k, (correlation, window)) in correlation.iter_mut().zip(LAG_WINDOW).enumerate() {
        let products = shaped[k..].iter().zip(&shaped);
        // Eight sums at once, in an order of their own.
        let mut sums = [0.0_f32; 8];
        for (n, (one, other)) in products.enumerate() {
            sums[n % 8] += one * other;
        }
        *correlation = f64::from(sums.iter().sum::<f32>()) * window;
    }
    correlation[0] = correlation[0].max(1.0);
    shaped.zeroize();
    solve(&correlation)
}

/// Levinson's recursion (§3.2.2).
fn solve(correlation: &[f64; ORDER + 1]) -> Option<Filter> {
    let mut filter = [0.0_f64; ORDER];
    let mut error = correlation[0];
    for i in 0..ORDER {
        let known = (0..i).map(|j| filter[j] * correlation[i - j]).sum::<f64>();
        let reflection = -(correlation[i + 1] + known) / error;
        if reflection.abs() >= 0.999_9 {
            return None;
        }
        let before = filter;
        filter[i] = reflection;
        for j in 0..i {
            filter[j] += reflection * before[i - 1 - j];
        }
        error *= 1.0 - reflection * reflection;
    }
    Some(filter.map(|a| a as f32))
}

/// 140 Hz, and half of the level (§3.1).
#[derive(Zeroize)]
pub(super) struct HighPass {
    x: [f32; 2],
    y: [f32; 2],
}

impl HighPass {
    pub(super) const fn new() -> Self {
        Self {
            x: [0.0; 2],
            y: [0.0; 2],
        }
    }

    pub(super) fn pass(&mut self, sample: f32) -> f32 {
        let [x1, x2] = self.x;
        let [y1, y2] = self.y;
        let out =
            0.463_637_18 * (sample + x2) - 0.927_247_05 * x1 + 1.905_946_5 * y1 - 0.911_402_4 * y2;
        self.x = [sample, x1];
        self.y = [out, y1];
        out
    }
}
