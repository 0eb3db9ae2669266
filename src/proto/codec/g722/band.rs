//! One sub-band's adaptive predictor and quantiser step (ITU-T G.722 §6.2).

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::saturate;

/// Largest logarithmic step of the lower and of the higher band.
const MOST_STEP_LOW: i32 = 18_432;
const MOST_STEP_HIGH: i32 = 22_528;

/// 2^(n/32), in units of 1/2048: the step from its logarithm.
const ANTILOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// What each 4-bit code of the lower band adds to the logarithmic step.
const STEP_LOW: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];
/// The same for the 2-bit code of the higher band.
const STEP_HIGH: [i32; 4] = [798, -214, 798, -214];

/// Output values of the 4-bit, 6-bit and 2-bit inverse quantisers, in units of the step.
const LEVELS_4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const LEVELS_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const LEVELS_2: [i32; 4] = [-7408, -1616, 7408, 1616];

/// Decision levels of the 6-bit quantiser, in units of the step.
const DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Decision level of the 2-bit quantiser.
const DECISION_HIGH: i32 = 564;

/// The predictor of one band: two poles, six zeros, and the step of its quantiser.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct Band {
    /// What the next sample is predicted to be, and the zeros' part of it.
    predicted: i32,
    from_zeros: i32,
    /// Reconstructed and partially reconstructed samples, newest first.
    reconstructed: [i32; 2],
    partial: [i32; 2],
    poles: [i32; 2],
    zeros: [i32; 6],
    /// Quantised differences, newest first.
    differences: [i32; 6],
    log_step: i32,
    step: i32,
}

impl Band {
    pub(super) fn low() -> Self {
        Self {
            step: 32,
            ..Self::default()
        }
    }

    pub(super) fn high() -> Self {
        Self {
            step: 8,
            ..Self::default()
        }
    }

    /// The 6-bit code of a sample of the lower band.
    pub(super) fn encode_low(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let beyond = |decision: &i32| magnitude >= (decision * self.step) >> 12;
        let level = DECISIONS.iter().take_while(|level| beyond(level)).count();
        // The two smallest negative codes stand apart from the rest.
        let code = match (error < 0, level) {
            (false, _) => 61 - level,
            (true, level @ (0 | 1)) => 63 - level,
            (true, level) => 33 - level,
        } as u8;
        self.advance_low(code);
        code
    }

    /// The 2-bit code of a sample of the higher band.
    pub(super) fn encode_high(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.predicted);
        let magnitude = if error < 0 { !error } else { error };
        let outer = magnitude >= (DECISION_HIGH * self.step) >> 12;
        let code = match (error < 0, outer) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.advance_high(code);
        code
    }

    /// The sample of a 6-bit code of the lower band.
    pub(super) fn decode_low(&mut self, code: u8) -> i32 {
        let difference = (self.step * LEVELS_6[usize::from(code & 63)]) >> 15;
        let sample = (self.predicted + difference).clamp(-16_384, 16_383);
        self.advance_low(code);
        sample
    }

    /// The sample of a 2-bit code of the higher band.
    pub(super) fn decode_high(&mut self, code: u8) -> i32 {
        let difference = (self.step * LEVELS_2[usize::from(code & 3)]) >> 15;
        let sample = (self.predicted + difference).clamp(-16_384, 16_383);
        self.advance_high(code);
        sample
    }

    /// Both ends adapt by the upper four bits, so that the lower two may be used for data.
    fn advance_low(&mut self, code: u8) {
        let code = usize::from((code >> 2) & 15);
        let difference = (self.step * LEVELS_4[code]) >> 15;
        self.log_step = (((self.log_step * 127) >> 7) + STEP_LOW[code]).clamp(0, MOST_STEP_LOW);
        self.step = step_of(self.log_step, 8);
        self.predict(difference);
    }

    fn advance_high(&mut self, code: u8) {
        let code = usize::from(code & 3);
        let difference = (self.step * LEVELS_2[code]) >> 15;
        self.log_step = (((self.log_step * 127) >> 7) + STEP_HIGH[code]).clamp(0, MOST_STEP_HIGH);
        self.step = step_of(self.log_step, 10);
        self.predict(difference);
    }

    /// Adapts the predictor to a quantised difference and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturate(self.predicted + difference);
        let partial = saturate(self.from_zeros + difference);
        let alike = |other: i32| (partial < 0) == (other < 0);
        let [pole_1, pole_2] = self.poles;

        let turned = saturate(pole_1 * 4);
        let turned = if alike(self.partial[0]) {
            (-turned).min(32_767)
        } else {
            turned
        };
        let push = if alike(self.partial[1]) { 128 } else { -128 };
        let next_2 = (push + (turned >> 7) + ((pole_2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        let push = if alike(self.partial[0]) { 192 } else { -192 };
        let most = 15_360 - next_2;
        let next_1 = saturate(push + ((pole_1 * 32_640) >> 15)).clamp(-most, most);

        let push = if difference == 0 { 0 } else { 128 };
        for (zero, earlier) in self.zeros.iter_mut().zip(self.differences) {
            let push = if (difference < 0) == (earlier < 0) {
                push
            } else {
                -push
            };
            *zero = saturate(push + ((*zero * 32_640) >> 15));
        }

        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        self.poles = [next_1, next_2];

        let weigh = |coefficient: i32, value: i32| (coefficient * saturate(value * 2)) >> 15;
        let from_poles =
            saturate(weigh(next_1, self.reconstructed[0]) + weigh(next_2, self.reconstructed[1]));
        let zeros = self.zeros.iter().zip(&self.differences);
        self.from_zeros = saturate(zeros.map(|(zero, value)| weigh(*zero, *value)).sum());
        self.predicted = saturate(from_poles + self.from_zeros);
    }
}

/// The step of a logarithmic step: a power of two by its upper bits, a table by its lower.
const fn step_of(log_step: i32, exponent: i32) -> i32 {
    let mantissa = ANTILOG[((log_step >> 6) & 31) as usize];
    let shift = exponent - (log_step >> 11);
    let step = if shift < 0 {
        mantissa << -shift
    } else {
        mantissa >> shift
    };
    step << 2
}
