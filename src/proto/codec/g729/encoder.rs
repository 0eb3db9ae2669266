//! From samples to bits (§3, with the fixed weighting of Annex A).

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    FRAME, FRAME_BYTES, Fields, SUBFRAME,
    analysis::{HighPass, WINDOW, filter_of},
    excitation::{GAINS, GainMemory, LAGS, Lag, PAST, Subframe, sharpen, sharpness},
    lines::{self, BEGINNING, Filter, Memory, ORDER, Ten, cosines, frequencies_of},
    pack,
    search::{MOST, backwards, closed_lag, gains, open_lag, pulses, through},
    tables::{GAINS_FIRST_SENT, GAINS_SECOND_SENT},
};

/// Where the frame stands in what is looked at: 5 ms before its end.
const AT: usize = WINDOW - SUBFRAME - FRAME;
/// How far noise is let rise under the formants that hide it.
const WEIGHT: f32 = 0.75;
/// Of the past; more would grow for ever.
const LARGEST_GAIN: f32 = 1.2;

/// Encodes one stream, 5 ms later than it is given. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in super::super) struct Encoder {
    high_pass: HighPass,
    speech: [f32; WINDOW],
    lines: Memory,
    /// Of the frame before: what was measured, and the cosines of what was sent.
    measured: Ten,
    cosines: Ten,
    /// Weighted and dull, for the search of the lag; the past and the frame.
    weighted: [f32; MOST + FRAME],
    dull: [f32; ORDER + 1],
    /// The past, and the frame that is being made.
    excitation: [f32; PAST + FRAME],
    /// What the last samples sounded different by, newest first.
    missed: [f32; ORDER],
    gains: GainMemory,
    sharpness: f32,
    taming: Taming,
}

impl Encoder {
    pub(in super::super) fn new() -> Self {
        let lines = Memory::new();
        let even: Ten = std::array::from_fn(|i| std::f32::consts::PI * (i + 1) as f32 / 11.0);
        Self {
            high_pass: HighPass::new(),
            speech: [0.0; WINDOW],
            lines,
            measured: even,
            cosines: BEGINNING,
            weighted: [0.0; MOST + FRAME],
            dull: [0.0; ORDER + 1],
            excitation: [0.0; PAST + FRAME],
            missed: [0.0; ORDER],
            gains: GainMemory::new(),
            sharpness: 0.2,
            taming: Taming { reach: [1.0; 4] },
        }
    }

    /// Encodes whole frames; how many bytes that made.
    pub(in super::super) fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let frames = samples.chunks_exact(FRAME);
        let bytes = frames.len().min(payload.len() / FRAME_BYTES) * FRAME_BYTES;
        for (frame, payload) in frames.zip(payload.chunks_exact_mut(FRAME_BYTES)) {
            payload.copy_from_slice(&pack(&self.encode_frame(frame)));
        }
        bytes
    }

    fn encode_frame(&mut self, samples: &[i16]) -> Fields {
        self.speech.copy_within(FRAME.., 0);
        for (place, sample) in self.speech[WINDOW - FRAME..].iter_mut().zip(samples) {
            *place = self.high_pass.pass(f32::from(*sample));
        }
        let found = filter_of(&self.speech).and_then(|filter| frequencies_of(&filter));
        self.measured = found.unwrap_or(self.measured);
        let ([mode, first, lower, upper], told) = self.lines.encode(&self.measured);
        let after = cosines(&told);
        let before = std::mem::replace(&mut self.cosines, after);
        let between = std::array::from_fn(|i| f32::midpoint(before[i], after[i]));
        let filters = [lines::filter_of(&between), lines::filter_of(&after)];
        for (half, filter) in filters.iter().enumerate() {
            self.prepare(half, filter);
        }
        let open = open_lag(&self.weighted);
        self.weighted.copy_within(FRAME.., 0);

        let least = open.saturating_sub(3).clamp(*LAGS.start(), MOST - 6);
        let (one, c1, s1, a1, b1) =
            self.encode_half(0, &filters[0], least..=least + 6, |lag| lag < 85);
        let around = one.around();
        let (other, c2, s2, a2, b2) = self.encode_half(1, &filters[1], around.clone(), |_| true);
        self.excitation.copy_within(FRAME.., 0);
        let (lag1, lag2) = (one.first(), other.second(&around));
        [
            mode,
            first,
            lower,
            upper,
            lag1,
            Lag::parity(lag1),
            c1,
            s1,
            a1,
            b1,
            lag2,
            c2,
            s2,
            a2,
            b2,
        ]
    }

    /// The residual of the linear prediction, which stands for the excitation until that is known,
    /// and the weighted speech.
    fn prepare(&mut self, half: usize, filter: &Filter) {
        let at = AT + half * SUBFRAME;
        let soft = softened(filter);
        // 1 / (A(z / 0.75) (1 - 0.7 / z)).
        let mut dull = [0.0; ORDER + 1];
        for i in 0..=ORDER {
            let before = if i == 0 { 1.0 } else { soft[i - 1] };
            dull[i] = soft.get(i).copied().unwrap_or(0.0) - 0.7 * before;
        }
        for n in 0..SUBFRAME {
            let now = at + n;
            let back = filter
                .iter()
                .zip(self.speech[now - ORDER..now].iter().rev());
            let residual = self.speech[now] + back.map(|(a, sample)| a * sample).sum::<f32>();
            self.excitation[PAST + half * SUBFRAME + n] = residual;
            let rung = dull.iter().zip(&self.dull).map(|(a, sample)| a * sample);
            let sounds = residual - rung.sum::<f32>();
            self.dull.copy_within(..ORDER, 1);
            self.dull[0] = sounds;
            self.weighted[MOST + half * SUBFRAME + n] = sounds;
        }
    }

    fn encode_half(
        &mut self,
        half: usize,
        filter: &Filter,
        lags: std::ops::RangeInclusive<usize>,
        thirds: impl Fn(usize) -> bool,
    ) -> (Lag, u16, u16, u16, u16) {
        let at = PAST + half * SUBFRAME;
        let soft = softened(filter);
        let mut impulse = [0.0; SUBFRAME];
        impulse[0] = 1.0;
        let mut response = ring(&impulse, &soft, [0.0; ORDER]);
        let residual: Subframe = std::array::from_fn(|n| self.excitation[at + n]);
        let target = ring(&residual, &soft, self.missed);

        let wanted = backwards(&target, &response);
        let lag = closed_lag(&mut self.excitation, at, &wanted, lags, thirds);
        let past = through(&response, &self.excitation[at..]);
        let most = self.taming.most(lag.whole);
        let dot = |one: &Subframe, other: &Subframe| -> f32 {
            one.iter().zip(other).map(|(one, other)| one * other).sum()
        };
        let gain = (dot(&target, &past) / (dot(&past, &past) + 0.01)).clamp(0.0, most);
        let rest = std::array::from_fn(|n| target[n] - gain * past[n]);

        sharpen(&mut response, lag, self.sharpness);
        let (places, signs) = pulses(&backwards(&rest, &response), &response);
        // The response echoes as the pulses will.
        let bare = super::excitation::pulses(places, signs);
        let code_sound = through(&response, &bare);
        let mut code = bare;
        sharpen(&mut code, lag, self.sharpness);
        let predicted = self.gains.predict(&code);
        let (one, other) = gains(&target, &past, &code_sound, predicted, most);
        let (past_gain, correction) = GAINS[one][other];
        let code_gain = correction * predicted;
        self.gains.push(correction);
        self.sharpness = sharpness(past_gain);
        self.taming.note(lag.whole, past_gain);
        for (sample, pulse) in self.excitation[at..].iter_mut().zip(&code) {
            *sample = past_gain * *sample + code_gain * pulse;
        }
        for (n, missed) in (0..SUBFRAME).rev().zip(&mut self.missed) {
            *missed = target[n] - past_gain * past[n] - code_gain * code_sound[n];
        }
        let sent = (GAINS_FIRST_SENT[one], GAINS_SECOND_SENT[other]);
        (lag, places, signs, sent.0, sent.1)
    }
}

/// The filter with its formants widened.
fn softened(filter: &Filter) -> Filter {
    let mut factor = 1.0;
    filter.map(|a| {
        factor *= WEIGHT;
        factor * a
    })
}

/// What a recursive filter makes of an input, after it has rung with these last samples, newest
/// first.
fn ring(input: &Subframe, filter: &Filter, mut last: [f32; ORDER]) -> Subframe {
    input.map(|driven| {
        let rung = filter.iter().zip(&last).map(|(a, sample)| a * sample);
        let out = driven - rung.sum::<f32>();
        last.copy_within(..ORDER - 1, 1);
        last[0] = out;
        out
    })
}

/// Keeps count of how far an error that a lost frame makes at the other end could have grown, so
/// that it does not for ever: each repetition of the past carries it on (§3.9.2).
#[derive(Zeroize)]
struct Taming {
    /// In the last four subframes, newest first.
    reach: [f32; 4],
}

impl Taming {
    const TOO_FAR: f32 = 60_000.0;

    fn touched(&self, lag: usize) -> impl Iterator<Item = f32> {
        let newest = lag.saturating_sub(SUBFRAME + 10) / SUBFRAME;
        let oldest = ((lag + 10) / SUBFRAME).min(3);
        self.reach.into_iter().take(oldest + 1).skip(newest)
    }

    /// The largest gain of the past that is harmless.
    fn most(&self, lag: usize) -> f32 {
        let far = self.touched(lag).any(|reach| reach > Self::TOO_FAR);
        if far { 0.95 } else { LARGEST_GAIN }
    }

    fn note(&mut self, lag: usize, gain: f32) {
        let mut reach = self.touched(lag).fold(1.0, f32::max);
        if lag < SUBFRAME {
            reach = 1.0 + gain * reach;
        }
        reach = 1.0 + gain * reach;
        self.reach.rotate_right(1);
        self.reach[0] = reach.min(1e9);
    }
}
