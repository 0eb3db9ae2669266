//! Comfort noise: what the caller's line sounded like while nothing on it was suspect.
//!
//! Learnt only from frames that left as they were and after which another left as it was, so from
//! audio that lies a frame (10 ms and more) and the look-ahead before anything suspect. The generator
//! runs on its own numbers: what comes out is a function of what the agent has heard already, and of
//! how much noise was needed since.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Order of the linear prediction: the slope and the hum of a line, not a voice.
const ORDER: usize = 8;
/// A frame counts as background where its power is at most this many times the quietest's (6 dB).
const BACKGROUND: f32 = 4.0;
/// Power that every line is taken to have at least (a step of G.711 either way): digital silence now and
/// then is not the background of the rest.
const LEAST_POWER: f32 = 64.0;
/// How much the quietest is forgotten from frame to frame of 20 ms: 2 dB a second.
const FORGOTTEN: f32 = 1.01;
/// Share of a new frame in what is known.
const LEARNT: f32 = 0.125;
/// White noise under the line's own (40 dB): keeps the predictor of a hum from ringing.
const WHITE: f32 = 1.000_1;
/// Samples of the fade at the beginning of a mask: 5 ms.
const FADE: usize = 40;
/// Where the generator's numbers begin, whatever the call.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Peak of noise of power 1 whose samples are all equally likely.
const PEAK: f32 = 1.732_050_8;

/// Correlations at lags 0 to [`ORDER`], per sample.
type Correlation = [f32; ORDER + 1];

/// Learns the background of a line and makes more of it. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct ComfortNoise {
    /// Of background so far; all 0 before the first.
    known: Correlation,
    /// Of the last frame, until the next one left as it was, too.
    pending: Option<Correlation>,
    /// Power of the quietest frame, slowly forgotten.
    quietest: f32,
    /// Predictor and amplitude, made from `known` as a mask begins.
    taps: [f32; ORDER],
    amplitude: f32,
    /// The latest samples made, newest first.
    made: [f32; ORDER],
    /// The end of the last frame that left: what the noise fades in over, mirrored. All of it has been
    /// heard.
    tail: [i16; FADE],
    fade_left: usize,
    random: u64,
}

impl Default for ComfortNoise {
    fn default() -> Self {
        Self {
            known: [0.0; ORDER + 1],
            pending: None,
            quietest: 0.0,
            taps: [0.0; ORDER],
            amplitude: 0.0,
            made: [0.0; ORDER],
            tail: [0; FADE],
            fade_left: 0,
            random: SEED,
        }
    }
}

impl ComfortNoise {
    /// A frame left as it was.
    pub(super) fn learn(&mut self, samples: impl ExactSizeIterator<Item = i16>) {
        let tail_from = samples.len().saturating_sub(FADE);
        if let Some(mut last) = self.pending.take() {
            self.know(&last);
            last.zeroize();
        }
        let mut correlation = [0.0; ORDER + 1];
        let mut latest = [0.0; ORDER + 1];
        let mut count = 0.0;
        for (at, sample) in samples.enumerate() {
            if at >= tail_from {
                self.tail[at - tail_from] = sample;
            }
            latest.copy_within(..ORDER, 1);
            latest[0] = f32::from(sample);
            for (sum, earlier) in correlation.iter_mut().zip(latest) {
                *sum += latest[0] * earlier;
            }
            count += 1.0;
        }
        latest.zeroize();
        if count > 0.0 {
            self.pending = Some(correlation.map(|sum| sum / count));
        }
    }

    fn know(&mut self, frame: &Correlation) {
        let power = frame[0];
        let quietest = self.quietest * FORGOTTEN;
        let quieter = self.quietest == 0.0 || power < quietest;
        self.quietest = (if quieter { power } else { quietest }).max(LEAST_POWER);
        if power > BACKGROUND * self.quietest {
            return;
        }
        let share = if self.known[0] == 0.0 { 1.0 } else { LEARNT };
        for (known, new) in self.known.iter_mut().zip(frame) {
            *known += share * (new - *known);
        }
    }

    /// A mask begins: what was heard last is too near to it to be learnt from.
    pub(super) fn begin(&mut self) {
        self.pending.zeroize();
        self.pending = None;
        self.fade_left = FADE;
        self.predict();
    }

    /// Levinson and Durbin. Every reflection stays below 1, so the filter is stable.
    fn predict(&mut self) {
        self.taps = [0.0; ORDER];
        let mut error = self.known[0] * WHITE;
        for order in 0..ORDER {
            if error <= 0.0 {
                break;
            }
            let mut sum = self.known[order + 1];
            for tap in 0..order {
                sum -= self.taps[tap] * self.known[order - tap];
            }
            let reflection = sum / error;
            let last = self.taps;
            for tap in 0..order {
                self.taps[tap] = last[tap] - reflection * last[order - 1 - tap];
            }
            self.taps[order] = reflection;
            error *= 1.0 - reflection * reflection;
        }
        self.amplitude = if error > 0.0 {
            error.sqrt() * PEAK
        } else {
            0.0
        };
    }

    /// The next sample; silence where nothing was learnt.
    pub(super) fn next(&mut self) -> i16 {
        // Xorshift (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let uniform = (self.random >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let mut sample = uniform * self.amplitude;
        for (tap, earlier) in self.taps.iter().zip(self.made) {
            sample += tap * earlier;
        }
        // Far from every level of a line's noise: a bound on what rounding could build up to.
        let sample = sample.clamp(-16_384.0, 16_384.0);
        self.made.copy_within(..ORDER - 1, 1);
        self.made[0] = sample;
        self.faded(sample) as i16
    }

    fn faded(&mut self, sample: f32) -> f32 {
        if self.fade_left == 0 {
            return sample;
        }
        // Both in one: what is left of the fade, and where the mirror image has got to.
        let share = self.fade_left as f32 / FADE as f32;
        self.fade_left -= 1;
        let heard = f32::from(self.tail[self.fade_left]);
        self.tail[self.fade_left] = 0;
        sample * (1.0 - share) + heard * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise through one pole: more of it below than above, or the other way round.
    fn coloured(pole: f64, amplitude: f64, samples: usize, mut seed: u64) -> Vec<i16> {
        println!("seed {seed}");
        let mut last = 0.0;
        (0..samples)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let uniform = (seed >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
                last = uniform * amplitude + pole * last;
                last.round() as i16
            })
            .collect()
    }

    fn taught(audio: &[i16]) -> ComfortNoise {
        let mut noise = ComfortNoise::default();
        for frame in audio.chunks(160) {
            noise.learn(frame.iter().copied());
        }
        noise.begin();
        noise
    }

    fn made(noise: &mut ComfortNoise, samples: usize) -> Vec<i16> {
        (0..samples).map(|_| noise.next()).collect()
    }

    /// Power, and how much neighbours have in common.
    fn likeness(audio: &[i16]) -> (f64, f64) {
        let sum = |lag: usize| -> f64 {
            let pairs = audio.iter().zip(&audio[lag..]);
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        (sum(0) / audio.len() as f64, sum(1) / sum(0))
    }

    #[test]
    fn what_is_made_is_as_loud_and_as_bright_as_what_was_heard() {
        for (pole, amplitude) in [(0.0, 60.0), (0.9, 30.0), (-0.8, 200.0), (0.97, 400.0)] {
            let heard = coloured(pole, amplitude, 24_000, 1);
            let noise = made(&mut taught(&heard), 24_000);
            let ((power, slope), (made_power, made_slope)) = (likeness(&heard), likeness(&noise));
            let apart_db = 10.0 * (made_power / power).log10();
            assert!(apart_db.abs() < 3.0, "{apart_db} dB apart, pole {pole}");
            assert!((slope - made_slope).abs() < 0.1, "{slope}, {made_slope}");
        }
    }

    #[test]
    fn speech_over_a_quiet_line_is_not_learnt() {
        let quiet = coloured(0.0, 40.0, 16_000, 2);
        let mut audio = quiet.clone();
        // Syllables of 100 ms, 30 dB up, every 300 ms.
        for (n, sample) in audio.iter_mut().enumerate() {
            if n % 2_400 < 800 {
                *sample *= 30;
            }
        }
        let (power, _) = likeness(&quiet);
        let (made_power, _) = likeness(&made(&mut taught(&audio), 8_000));
        assert!(made_power < 4.0 * power, "{made_power} over {power}");
    }

    #[test]
    fn the_last_frame_before_a_mask_is_not_learnt() {
        let quiet = coloured(0.0, 40.0, 8_000, 3);
        let hum = vec![2_000; 160];
        let mut with = taught(&[&quiet[..], &hum].concat());
        let mut other = taught(&[&quiet[..], &[-55; 160]].concat());
        let [with, other] = [&mut with, &mut other].map(|noise| made(noise, 800));
        assert_eq!(with[FADE..], other[FADE..]);
    }

    #[test]
    fn the_last_frame_before_a_mask_is_not_learnt_after_it_either() {
        let quiet = coloured(0.0, 40.0, 8_000, 5);
        // As quiet as the line itself, so that it would be taken for it.
        let made_after = |last: i16| {
            let mut noise = taught(&[&quiet[..], &[last; 160]].concat());
            made(&mut noise, 800);
            for frame in quiet.chunks(160).take(3) {
                noise.learn(frame.iter().copied());
            }
            noise.begin();
            made(&mut noise, 800)
        };
        assert_eq!(made_after(20), made_after(-30));
    }

    #[test]
    fn before_anything_was_heard_there_is_silence() {
        let mut noise = ComfortNoise::default();
        noise.begin();
        assert_eq!(made(&mut noise, 800), [0; 800]);
    }

    #[test]
    fn a_pure_hum_or_the_loudest_noise_does_not_run_away() {
        let hum: Vec<i16> = (0..8_000)
            .map(|n| (12_000.0 * (f64::from(n) * 0.04).sin()) as i16)
            .collect();
        let loud: Vec<i16> = coloured(0.0, 32_000.0, 8_000, 4);
        for heard in [hum, loud, vec![i16::MIN; 8_000]] {
            let (power, _) = likeness(&heard);
            let (made_power, _) = likeness(&made(&mut taught(&heard), 80_000));
            assert!(made_power < 2.0 * power, "{made_power} over {power}");
        }
    }
}
