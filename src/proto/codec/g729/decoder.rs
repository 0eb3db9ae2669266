//! From bits to samples (§4, without its postfilter; §B.4).

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    FRAME, FRAME_BYTES, Fields, SILENCE_BYTES, SILENCE_WIDTHS, SUBFRAME, WIDTHS,
    excitation::{
        GainMemory, LAGS, Lag, PAST, Subframe, gains, pulses, repeat, sharpen, sharpness,
    },
    lines::{BEGINNING, Filter, Memory, ORDER, Ten, cosines, filter_of},
    tables::SILENCE_LEVELS,
    unpack,
};

/// Loudest sample of the signal within, which is half of what comes out: as a 16-bit codec's.
const LOUDEST: f32 = 32_767.0;
/// Frames concealed at once after a loss; beyond 60 ms there is nothing left to go on.
const MOST_CONCEALED: usize = 6;
/// Gain of the past from which on a sound counts as a voice's, which a loss goes on with.
const VOICED: f32 = 0.6;

/// Decodes one stream. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(in super::super) struct Decoder {
    lines: Memory,
    /// Of the frame before.
    cosines: Ten,
    /// The past, and the frame that is being made.
    excitation: [f32; PAST + FRAME],
    /// The last samples that left the filter, newest first.
    ringing: [f32; ORDER],
    gains: GainMemory,
    sharpness: f32,
    /// Of the last subframe.
    past_gain: f32,
    code_gain: f32,
    lag: usize,
    random: u16,
    silence: Silence,
    high_pass: HighPass,
}

/// What is known of a silence that is described and not sent.
#[derive(Zeroize)]
struct Silence {
    cosines: Ten,
    level: f32,
    /// What the level comes from, and goes to.
    gain: f32,
    /// Whether the frame before was speech.
    begins: bool,
}

impl Decoder {
    pub(in super::super) const fn new() -> Self {
        Self {
            lines: Memory::new(),
            cosines: BEGINNING,
            excitation: [0.0; PAST + FRAME],
            ringing: [0.0; ORDER],
            gains: GainMemory::new(),
            sharpness: 0.2,
            past_gain: 0.0,
            code_gain: 0.0,
            lag: 60,
            random: 21_845,
            silence: Silence {
                cosines: BEGINNING,
                level: 0.0,
                gain: 0.0,
                begins: true,
            },
            high_pass: HighPass {
                x: [0.0; 2],
                y: [0.0; 2],
            },
        }
    }

    /// Decodes one packet of a length that [`super::length_of`] took, for which `samples` has
    /// exactly the room.
    pub(in super::super) fn decode(&mut self, packet: &[u8], samples: &mut [i16]) {
        let frames = packet.chunks(FRAME_BYTES);
        for (frame, samples) in frames.zip(samples.chunks_exact_mut(FRAME)) {
            if frame.len() == SILENCE_BYTES {
                self.hear_of_silence(frame);
                self.make_silence(samples);
            } else {
                self.decode_speech(&unpack(frame, WIDTHS), samples);
            }
        }
    }

    /// Lets the decoder's state fade over a loss, as a phone's does.
    pub(in super::super) fn lose(&mut self, length: usize) {
        let mut unheard = [0; FRAME];
        for _ in 0..(length / FRAME).min(MOST_CONCEALED) {
            if self.silence.begins {
                self.conceal(&mut unheard);
            } else {
                self.make_silence(&mut unheard);
            }
        }
        unheard.zeroize();
    }

    fn decode_speech(&mut self, fields: &Fields, samples: &mut [i16]) {
        let [mode, first, lower, upper, ..] = *fields;
        let [
            ..,
            first_lag,
            parity,
            c1,
            s1,
            a1,
            b1,
            second_lag,
            c2,
            s2,
            a2,
            b2,
        ] = *fields;
        let lines = self.lines.decode([mode, first, lower, upper]);
        let filters = self.follow(cosines(&lines));
        let first_lag = if Lag::parity(first_lag) == parity {
            Lag::of_first(first_lag)
        } else {
            Lag {
                whole: self.lag,
                third: 0,
            }
        };
        let second_lag = Lag::of_second(second_lag, &first_lag.around());
        let halves = [(first_lag, c1, s1, a1, b1), (second_lag, c2, s2, a2, b2)];
        for (half, (lag, places, signs, one, other)) in halves.into_iter().enumerate() {
            let mut code = pulses(places, signs);
            sharpen(&mut code, lag, self.sharpness);
            let (past_gain, correction) = gains(one, other);
            self.code_gain = correction * self.gains.predict(&code);
            self.gains.push(correction);
            self.past_gain = past_gain;
            self.sharpness = sharpness(past_gain);
            self.lag = lag.whole;
            self.excite(half, lag, &code);
            self.filter(half, &filters[half], samples);
        }
        self.finish();
        self.silence.begins = true;
        // The sender does so too.
        self.random = SEED;
    }

    /// A frame never came (§4.4).
    pub(super) fn conceal(&mut self, samples: &mut [i16]) {
        let lines = self.lines.repeat();
        let filters = self.follow(cosines(&lines));
        let is_voiced = self.past_gain > VOICED;
        for (half, filter) in filters.iter().enumerate() {
            let (places, signs) = (self.next_random(), self.next_random());
            let past_gain = 0.9 * self.past_gain.min(1.0);
            let code_gain = 0.98 * self.code_gain;
            (self.past_gain, self.code_gain) = if is_voiced {
                (past_gain, 0.0)
            } else {
                (0.0, code_gain)
            };
            self.gains.fade();
            let lag = Lag {
                whole: self.lag.clamp(*LAGS.start(), *LAGS.end()),
                third: 0,
            };
            self.excite(half, lag, &pulses(places & 0x1FFF, signs & 15));
            (self.past_gain, self.code_gain) = (past_gain, code_gain);
            self.lag = (lag.whole + 1).min(*LAGS.end());
            self.filter(half, filter, samples);
        }
        self.finish();
    }

    fn hear_of_silence(&mut self, frame: &[u8]) {
        let [mode, first, second, level] = unpack(frame, SILENCE_WIDTHS);
        let lines = self.lines.decode_silence(mode, first, second);
        self.silence.cosines = cosines(&lines);
        self.silence.level = f32::from(SILENCE_LEVELS[usize::from(level & 31)]) / 8.0;
    }

    /// Noise as it was described, and no louder (§B.4.4).
    fn make_silence(&mut self, samples: &mut [i16]) {
        let silence = &mut self.silence;
        silence.gain = if std::mem::take(&mut silence.begins) {
            silence.level
        } else {
            0.875 * silence.gain + 0.125 * silence.level
        };
        let (gain, cosines) = (silence.gain, silence.cosines);
        let filters = self.follow(cosines);
        for (half, filter) in filters.iter().enumerate() {
            let at = PAST + half * SUBFRAME;
            for n in at..at + SUBFRAME {
                // Four even ones are about a normal one, of a deviation that is made 1.
                let sum: f32 = (0..4)
                    .map(|_| f32::from(self.next_random().cast_signed()))
                    .sum();
                self.excitation[n] = gain * sum * (0.866_025_4 / 32_768.0);
            }
            self.filter(half, filter, samples);
        }
        self.finish();
        self.sharpness = sharpness(0.0);
        (self.past_gain, self.code_gain) = (0.0, 0.0);
    }

    /// The filters of both halves on the way to these cosines (§3.2.5).
    fn follow(&mut self, cosines: Ten) -> [Filter; 2] {
        let before = std::mem::replace(&mut self.cosines, cosines);
        let between = std::array::from_fn(|i| f32::midpoint(before[i], cosines[i]));
        [filter_of(&between), filter_of(&cosines)]
    }

    fn excite(&mut self, half: usize, lag: Lag, code: &Subframe) {
        let at = PAST + half * SUBFRAME;
        repeat(&mut self.excitation, at, lag);
        for (sample, pulse) in self.excitation[at..].iter_mut().zip(code) {
            let sum = self.past_gain * *sample + self.code_gain * pulse;
            *sample = sum.clamp(-LOUDEST, LOUDEST);
        }
    }

    fn filter(&mut self, half: usize, filter: &Filter, samples: &mut [i16]) {
        let at = half * SUBFRAME;
        let driven = &self.excitation[PAST + at..];
        for (sample, driven) in samples[at..at + SUBFRAME].iter_mut().zip(driven) {
            let back = filter.iter().zip(&self.ringing);
            let back: f32 = back.map(|(a, sample)| a * sample).sum();
            let made = (driven - back).clamp(-LOUDEST, LOUDEST);
            self.ringing.copy_within(..ORDER - 1, 1);
            self.ringing[0] = made;
            *sample = (2.0 * self.high_pass.pass(made)).round() as i16;
        }
    }

    fn finish(&mut self) {
        self.excitation.copy_within(FRAME.., 0);
    }

    /// The Recommendation's sequence (§4.4.4).
    const fn next_random(&mut self) -> u16 {
        self.random = self.random.wrapping_mul(31_821).wrapping_add(13_849);
        self.random
    }
}

/// Where the sequence for silence begins.
const SEED: u16 = 11_111;

/// 100 Hz (§4.2.5).
#[derive(Zeroize)]
struct HighPass {
    x: [f32; 2],
    y: [f32; 2],
}

impl HighPass {
    fn pass(&mut self, sample: f32) -> f32 {
        let [x1, x2] = self.x;
        let [y1, y2] = self.y;
        let out =
            0.939_805_8 * (sample + x2) - 1.879_583_4 * x1 + 1.933_073_5 * y1 - 0.935_892 * y2;
        self.x = [sample, x1];
        self.y = [out, y1];
        out
    }
}
