//! The encoder's searches: the lag, the pulses and the gains that sound most like the target (§3.4,
//! §3.7 to §3.9, Annex A).

use std::ops::RangeInclusive;

use super::{
    FRAME, SUBFRAME,
    excitation::{GAINS, Gains, LAGS, Lag, PAST, Subframe, repeat},
};

/// How much more a longer lag has to resemble than a shorter one: speech repeats at twice its
/// period too.
const FAVOUR_SHORT: f32 = 0.85;

/// The lag at which a frame resembles its past most, by every second sample. The frame stands at the
/// end of `speech`, after as much past as the longest lag.
pub(super) fn open_lag(speech: &[f32; MOST + FRAME]) -> usize {
    let every_second = |lag: usize| {
        let pairs = speech[MOST..].iter().zip(&speech[MOST - lag..]);
        pairs.step_by(2)
    };
    let alike = |lag: usize| every_second(lag).map(|(now, then)| now * then).sum::<f32>();
    let best = |lags: RangeInclusive<usize>, step: usize| {
        let all = lags.step_by(step).map(|lag| (lag, alike(lag)));
        all.max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((*LAGS.start(), 0.0))
    };
    let coarse = best(80..=MOST, 2).0;
    let long = best(coarse - 1..=(coarse + 1).min(MOST), 1);
    let candidates = [long, best(40..=79, 1), best(*LAGS.start()..=39, 1)];
    let mut chosen = (long.0, 0.0);
    for (lag, alike) in candidates {
        let energy = every_second(lag).map(|(_, then)| then * then).sum::<f32>();
        let likeness = alike / (energy + 1e-3).sqrt();
        if likeness >= FAVOUR_SHORT * chosen.1 {
            chosen = (lag, likeness);
        }
    }
    chosen.0
}

/// The longest lag.
pub(super) const MOST: usize = *LAGS.end();

/// What a filter of this impulse response would have to be fed backwards to give the target.
pub(super) fn backwards(target: &Subframe, response: &Subframe) -> Subframe {
    std::array::from_fn(|n| {
        let pairs = target[n..].iter().zip(response);
        pairs.map(|(target, response)| target * response).sum()
    })
}

/// What a filter of this impulse response makes of an excitation.
pub(super) fn through(response: &Subframe, excitation: &[f32]) -> Subframe {
    let mut out = [0.0; SUBFRAME];
    for (n, driven) in excitation[..SUBFRAME].iter().enumerate() {
        for (out, response) in out[n..].iter_mut().zip(response) {
            *out += driven * response;
        }
    }
    out
}

/// The lag whose stretch of the past correlates most with the target; thirds of a sample are
/// looked at where `thirds` says so. `excitation` holds the linear prediction's residual from `at`
/// on, and the chosen stretch of the past afterwards.
pub(super) fn closed_lag(
    excitation: &mut [f32; PAST + FRAME],
    at: usize,
    backwards: &Subframe,
    lags: RangeInclusive<usize>,
    thirds: impl Fn(usize) -> bool,
) -> Lag {
    let dot = |samples: &[f32]| -> f32 {
        let pairs = samples.iter().zip(backwards);
        pairs.map(|(one, other)| one * other).sum()
    };
    let whole = lags
        .map(|lag| (lag, dot(&excitation[at - lag..])))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(*LAGS.start(), |(lag, _)| lag);
    let mut best = Lag { whole, third: 0 };
    repeat(excitation, at, best);
    if thirds(whole) {
        let mut most = dot(&excitation[at..]);
        for third in [-1, 1] {
            repeat(excitation, at, Lag { whole, third });
            let alike = dot(&excitation[at..]);
            if alike > most {
                most = alike;
                best.third = third;
            }
        }
        repeat(excitation, at, best);
    }
    best
}

/// Pulses that are chosen one pair after the other, each pair of all its places: fewer than all
/// fours, and nearly as good. Their places in 13 bits and signs in 4.
pub(super) fn pulses(backwards: &Subframe, response: &Subframe) -> (u16, u16) {
    let matrix = correlations(backwards, response);
    let height = backwards.map(f32::abs);
    let mut best = (-1.0, [0; 4]);
    for last in [3, 4] {
        let tracks = [0, 1, 2, last];
        for turn in 0..4 {
            let track = |n: usize| (turn + n) % 4;
            let mut pulses = [0; 4];
            let (mut top, mut energy) = (0.0, 0.0);
            for pair in [[track(0), track(1)], [track(2), track(3)]] {
                let before = (top, energy);
                let chosen: &[usize] = if pair[0] == turn {
                    &[]
                } else {
                    &[pulses[track(0)], pulses[track(1)]]
                };
                let mut ahead = -1.0;
                for one in (tracks[pair[0]]..SUBFRAME).step_by(5) {
                    let crossed: f32 = chosen.iter().map(|at| matrix[one][*at]).sum();
                    let top_one = before.0 + height[one];
                    let energy_one = before.1 + matrix[one][one] + 2.0 * crossed;
                    for other in (tracks[pair[1]]..SUBFRAME).step_by(5) {
                        let crossed: f32 = chosen.iter().map(|at| matrix[other][*at]).sum();
                        let crossed = crossed + matrix[one][other];
                        let top_both = top_one + height[other];
                        let energy_both = energy_one + matrix[other][other] + 2.0 * crossed;
                        let merit = top_both * top_both / (energy_both + 1e-6);
                        if merit > ahead {
                            ahead = merit;
                            (top, energy) = (top_both, energy_both);
                            (pulses[pair[0]], pulses[pair[1]]) = (one, other);
                        }
                    }
                }
            }
            let merit = top * top / (energy + 1e-6);
            if merit > best.0 {
                best = (merit, pulses);
            }
        }
    }
    let at = best.1;
    let index = |n: usize| (at[n] / 5) as u16;
    let odd = u16::from(at[3] % 5 == 4);
    let places = index(0) | index(1) << 3 | index(2) << 6 | odd << 9 | index(3) << 10;
    let sign = |n: usize| u16::from(backwards[at[n]] >= 0.0) << n;
    (places, (0..4).map(sign).sum())
}

/// How the responses to two pulses correlate, each with the sign of its place in `backwards`.
fn correlations(backwards: &Subframe, response: &Subframe) -> [Subframe; SUBFRAME] {
    let mut matrix = [[0.0; SUBFRAME]; SUBFRAME];
    // Along each diagonal from its end, one product more at each step.
    for apart in 0..SUBFRAME {
        let mut sum = 0.0;
        for n in 0..SUBFRAME - apart {
            sum += response[n] * response[n + apart];
            let (low, high) = (SUBFRAME - 1 - apart - n, SUBFRAME - 1 - n);
            let alike = (backwards[low] >= 0.0) == (backwards[high] >= 0.0);
            let signed = if alike { sum } else { -sum };
            matrix[low][high] = signed;
            matrix[high][low] = signed;
        }
    }
    matrix
}

/// Rows of the two gain codebooks whose gains come closest to the target; `predicted` is the pulses'
/// expected gain, `most` the past's largest one.
pub(super) fn gains(
    target: &Subframe,
    past: &Subframe,
    code: &Subframe,
    predicted: f32,
    most: f32,
) -> (usize, usize) {
    let dot = |one: &Subframe, other: &Subframe| -> f32 {
        let pairs = one.iter().zip(other);
        pairs.map(|(one, other)| one * other).sum()
    };
    let (pp, cc, pc) = (dot(past, past), dot(code, code), dot(past, code));
    let (tp, tc) = (dot(target, past), dot(target, code));
    let error = |(past_gain, correction): Gains| {
        let code_gain = correction * predicted;
        past_gain * (past_gain * pp - 2.0 * tp + 2.0 * code_gain * pc)
            + code_gain * (code_gain * cc - 2.0 * tc)
    };
    let mut best = (f32::INFINITY, (0, 0));
    for (one, row) in GAINS.iter().enumerate() {
        for (other, pair) in row.iter().enumerate() {
            if pair.0 <= most && error(*pair) < best.0 {
                best = (error(*pair), (one, other));
            }
        }
    }
    best.1
}
