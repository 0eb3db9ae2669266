//! The audio that waits, in the form of the codec towards the agent, and how it becomes payload.
//!
//! G.711 waits as codewords and leaves as they came. A codec with memory waits as linear samples
//! and is encoded when it leaves, by an encoder that hears nothing but what leaves.

use std::ops::Range;

use zeroize::Zeroize;

use super::line::Line;
use crate::proto::{
    codec::{Audio, Encoder, Form, Interpolator, Law, RESAMPLING_DELAY},
    encoding::AudioCodec,
};

/// Longest frame, in samples of 8 kHz: 60 ms.
pub(super) const MAX_FRAME: usize = 480;
/// How much further a mark reaches where audio of 8 kHz becomes audio of 16 kHz, which comes that
/// much later than what the detector heard.
const LATER: u64 = RESAMPLING_DELAY as u64 / 2;

/// Two samples of 16 kHz, for one of 8 kHz.
type Pair = [i16; 2];

/// What waits towards the agent. Positions and lengths are samples of 8 kHz, whatever the codec.
/// Wiped on drop.
pub(super) enum Voice {
    /// Codewords of G.711.
    Codewords(Law, Line<u8>),
    /// Linear samples of 8 kHz.
    Narrow(Box<Narrow>),
    /// Linear samples of 16 kHz.
    Wide(Box<Wide>),
}

/// What a codec of 8 kHz with a memory needs.
pub(super) struct Narrow {
    codec: AudioCodec,
    line: Line<i16>,
    encoder: Encoder,
    /// The frame that is about to be encoded.
    frame: [i16; MAX_FRAME],
}

impl Drop for Narrow {
    fn drop(&mut self) {
        self.frame.zeroize();
    }
}

/// What a codec of 16 kHz needs.
pub(super) struct Wide {
    codec: AudioCodec,
    line: Line<Pair>,
    encoder: Encoder,
    /// For audio that comes at 8 kHz.
    doubled: Interpolator,
    /// For what is put in its place.
    filled: Interpolator,
    /// The frame that is about to be encoded.
    frame: [Pair; MAX_FRAME],
}

impl Drop for Wide {
    fn drop(&mut self) {
        self.frame.as_flattened_mut().zeroize();
    }
}

impl Voice {
    pub(super) fn new(codec: AudioCodec) -> Self {
        match codec.law() {
            Some(law) => Self::Codewords(law, Line::new()),
            None if codec.is_wide() => Self::Wide(Box::new(Wide::new(codec, Line::new()))),
            None => Self::Narrow(Box::new(Narrow::new(codec, Line::new()))),
        }
    }

    pub(super) const fn codec(&self) -> AudioCodec {
        match self {
            Self::Codewords(Law::Mu, _) => AudioCodec::Pcmu,
            Self::Codewords(Law::A, _) => AudioCodec::Pcma,
            Self::Narrow(narrow) => narrow.codec,
            Self::Wide(wide) => wide.codec,
        }
    }

    /// Another codec from the next frame on. What waits goes over where it can; else it becomes
    /// silence. Marks stay.
    pub(super) fn become_codec(&mut self, codec: AudioCodec) {
        match (&mut *self, codec.law()) {
            (Self::Codewords(law, line), Some(new)) => {
                let before = std::mem::replace(law, new);
                line.recode(|code| new.encode(before.decode(code)));
            }
            (Self::Wide(wide), None) if codec.is_wide() => {
                wide.codec = codec;
                wide.encoder = Encoder::new(codec);
            }
            (Self::Narrow(narrow), None) if !codec.is_wide() => {
                narrow.codec = codec;
                narrow.encoder = Encoder::new(codec);
            }
            (Self::Narrow(_) | Self::Wide(_), Some(law)) => {
                *self = Self::Codewords(law, self.silenced(law.silence()));
            }
            (Self::Codewords(..) | Self::Narrow(_), None) if codec.is_wide() => {
                let line = self.silenced([0; 2]);
                *self = Self::Wide(Box::new(Wide::new(codec, line)));
            }
            (Self::Codewords(..) | Self::Narrow(_) | Self::Wide(_), None) => {
                let line = self.silenced(0);
                *self = Self::Narrow(Box::new(Narrow::new(codec, line)));
            }
        }
    }

    /// As much silence as waits, with the same marks.
    fn silenced<T: Copy + Default + Zeroize>(&self, silence: T) -> Line<T> {
        match self {
            Self::Codewords(_, line) => line.replaced_by(silence),
            Self::Narrow(narrow) => narrow.line.replaced_by(silence),
            Self::Wide(wide) => wide.line.replaced_by(silence),
        }
    }

    /// Appends audio.
    pub(super) fn extend(&mut self, audio: &Audio<'_>) {
        match (self, &audio.form) {
            (Self::Codewords(law, line), Form::Codewords(of, codes)) if law == of => {
                line.extend(codes);
            }
            (Self::Codewords(law, line), Form::Codewords(..) | Form::Narrow | Form::Wide(_)) => {
                for sample in audio.samples {
                    line.push(law.encode(*sample), false);
                }
            }
            (Self::Narrow(narrow), _) => narrow.line.extend(audio.samples),
            (Self::Wide(wide), Form::Wide(samples)) => {
                wide.line.extend(samples.as_chunks().0);
            }
            (Self::Wide(wide), Form::Codewords(..) | Form::Narrow) => {
                for sample in audio.samples {
                    let mut pair = [0; 2];
                    wide.doubled.interpolate(&[*sample], &mut pair);
                    wide.line.push(pair, false);
                }
            }
        }
    }

    /// Appends silence.
    pub(super) fn extend_silence(&mut self, samples: usize, marked: bool) {
        for _ in 0..samples {
            match self {
                Self::Codewords(law, line) => line.push(law.silence(), marked),
                Self::Narrow(narrow) => narrow.line.push(0, marked),
                Self::Wide(wide) => wide.line.push([0; 2], marked),
            }
        }
    }

    pub(super) fn mark(&mut self, span: Range<u64>) {
        match self {
            Self::Codewords(_, line) => line.mark(span),
            Self::Narrow(narrow) => narrow.line.mark(span),
            Self::Wide(wide) => wide.line.mark(span.start..span.end + LATER),
        }
    }

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Codewords(_, line) => line.len(),
            Self::Narrow(narrow) => narrow.line.len(),
            Self::Wide(wide) => wide.line.len(),
        }
    }

    pub(super) const fn end(&self) -> u64 {
        match self {
            Self::Codewords(_, line) => line.end(),
            Self::Narrow(narrow) => narrow.line.end(),
            Self::Wide(wide) => wide.line.end(),
        }
    }

    pub(super) fn is_unmarked(&self) -> bool {
        match self {
            Self::Codewords(_, line) => line.is_unmarked(),
            Self::Narrow(narrow) => narrow.line.is_unmarked(),
            Self::Wide(wide) => wide.line.is_unmarked(),
        }
    }

    /// Whether all that waits is quieter than `threshold` of linear amplitude.
    pub(super) fn is_quiet(&self, threshold: u16) -> bool {
        let quiet = |sample: i16| sample.unsigned_abs() < threshold;
        match self {
            Self::Codewords(law, line) => line.iter().all(|code| quiet(law.decode(code))),
            Self::Narrow(narrow) => narrow.line.iter().all(quiet),
            Self::Wide(wide) => wide.line.iter().all(|pair| pair.into_iter().all(quiet)),
        }
    }

    /// Forgets what waits; positions go on.
    pub(super) fn discard(&mut self) {
        match self {
            Self::Codewords(_, line) => line.discard(),
            Self::Narrow(narrow) => narrow.line.discard(),
            Self::Wide(wide) => {
                wide.line.discard();
                wide.doubled.forget();
            }
        }
    }

    /// Takes a frame of `length`, for which `payload` has the room, of which the first `silent` samples
    /// are silence; whether any of the rest is marked, or missing. What is to leave of it is told next, by [`Voice::fill`] or not, and becomes payload
    /// by [`Voice::finish`].
    pub(super) fn take(&mut self, silent: usize, length: usize, payload: &mut [u8]) -> bool {
        match self {
            Self::Codewords(law, line) => {
                let (silence, rest) = payload.split_at_mut(silent);
                silence.fill(law.silence());
                line.take(rest)
            }
            Self::Narrow(narrow) => {
                let (silence, rest) = narrow.frame[..length].split_at_mut(silent);
                silence.fill(0);
                narrow.line.take(rest)
            }
            Self::Wide(wide) => {
                let (silence, rest) = wide.frame[..length].split_at_mut(silent);
                silence.fill([0; 2]);
                wide.line.take(rest)
            }
        }
    }

    /// The frame that was taken, as linear samples of 8 kHz.
    pub(super) fn samples<'a>(
        &'a self,
        length: usize,
        payload: &'a [u8],
    ) -> impl ExactSizeIterator<Item = i16> + 'a {
        (0..length).map(move |at| match self {
            Self::Codewords(law, _) => law.decode(payload[at]),
            Self::Narrow(narrow) => narrow.frame[at],
            Self::Wide(wide) => {
                let [one, other] = wide.frame[at];
                i16::midpoint(one, other)
            }
        })
    }

    /// Puts linear samples of 8 kHz in the place of the frame that was taken. `first` says that they
    /// do not go on where the frame before ended.
    pub(super) fn fill(&mut self, samples: &[i16], first: bool, payload: &mut [u8]) {
        match self {
            Self::Codewords(law, _) => {
                for (code, sample) in payload.iter_mut().zip(samples) {
                    *code = law.encode(*sample);
                }
            }
            Self::Narrow(narrow) => narrow.frame[..samples.len()].copy_from_slice(samples),
            Self::Wide(wide) => {
                if first {
                    wide.filled.forget();
                }
                let frame = wide.frame[..samples.len()].as_flattened_mut();
                wide.filled.interpolate(samples, frame);
            }
        }
    }

    /// Puts silence in the place of the frame of `length` that was taken.
    pub(super) fn silence(&mut self, length: usize, first: bool, payload: &mut [u8]) {
        match self {
            Self::Codewords(law, _) => payload.fill(law.silence()),
            Self::Narrow(_) | Self::Wide(_) => self.fill(&[0; MAX_FRAME][..length], first, payload),
        }
    }

    /// Encodes the frame that was taken. Nothing of it stays behind.
    pub(super) fn finish(&mut self, length: usize, payload: &mut [u8]) {
        let (encoder, frame) = match self {
            Self::Codewords(..) => return,
            Self::Narrow(narrow) => (&mut narrow.encoder, &mut narrow.frame[..length]),
            Self::Wide(wide) => {
                let frame = wide.frame[..length].as_flattened_mut();
                (&mut wide.encoder, frame)
            }
        };
        encoder.encode(frame, payload);
        frame.zeroize();
    }
}

impl Narrow {
    fn new(codec: AudioCodec, line: Line<i16>) -> Self {
        Self {
            codec,
            line,
            encoder: Encoder::new(codec),
            frame: [0; MAX_FRAME],
        }
    }
}

impl Wide {
    fn new(codec: AudioCodec, line: Line<Pair>) -> Self {
        Self {
            codec,
            line,
            encoder: Encoder::new(codec),
            doubled: Interpolator::default(),
            filled: Interpolator::default(),
            frame: [[0; 2]; MAX_FRAME],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_covers_what_resampling_brings_later() {
        let codes = [Law::Mu.silence(); 160];
        let audio = Audio {
            samples: &[0; 160],
            form: Form::Codewords(Law::Mu, &codes),
        };
        // The resampled audio is 2 ms later than what the detector heard.
        for (codec, later) in [(AudioCodec::Pcmu, 0), (AudioCodec::G722, 16)] {
            let mut voice = Voice::new(codec);
            voice.extend(&audio);
            voice.mark(20..100);
            let mut payload = [0; 1];
            let marked = (0..160).map(|_| voice.take(0, 1, &mut payload));
            let expected = (0..160).map(|at| (20..100 + later).contains(&at));
            assert!(marked.eq(expected), "{codec:?}");
        }
    }
}
