//! Codecs that can be masked: decoded, heard, and encoded anew from what was masked.
//!
//! G.711 (RFC 3551 §4.5.14) has no memory: sample by sample, [`Law`]. The others have one, so each
//! stream has a [`Decoder`] of its own, and what leaves comes from an [`Encoder`] that has
//! heard nothing but masked audio. Deliberately absent: transmission that stops in silence. A
//! packet's size is a constant of its codec and length.

mod g711;
mod g722;
mod g729;
mod opus;
mod resample;
mod stream;

pub use g711::Law;
pub use resample::{Decimator, Interpolator, RESAMPLING_DELAY};
pub use stream::StreamDecoder;

use super::encoding::AudioCodec;

/// Longest packet of any codec, in samples of 8 kHz: 120 ms.
pub const MAX_LENGTH: usize = 960;
/// Most samples that a packet is decoded into: 120 ms of 16 kHz.
pub const MAX_SAMPLES: usize = 2 * MAX_LENGTH;

impl AudioCodec {
    /// Rate of its decoded samples, in Hz: 8000 or 16,000.
    #[must_use]
    pub const fn rate_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G729 => 8_000,
            Self::G722 => 16_000,
            Self::Opus => opus::RATE_HZ,
        }
    }

    /// The law of G.711, whose bytes are samples.
    #[must_use]
    pub const fn law(self) -> Option<Law> {
        match self {
            Self::Pcmu => Some(Law::Mu),
            Self::Pcma => Some(Law::A),
            Self::G722 | Self::Opus | Self::G729 => None,
        }
    }

    /// Whether it is decoded into samples of 16 kHz.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        self.rate_hz() == 16_000
    }

    /// Ticks of its RTP clock in a sample of 8 kHz.
    #[must_use]
    pub const fn ticks(self) -> u32 {
        self.clock_hz() / 8_000
    }

    /// How long a payload lasts, in samples of 8 kHz, without decoding it.
    pub fn length_of(self, payload: &[u8]) -> Result<usize, Undecodable> {
        match self {
            // A byte of G.722 is two samples, of 16 kHz.
            Self::Pcmu | Self::Pcma | Self::G722 => match payload.len() {
                0 => Err(Undecodable::Empty),
                length @ 1..=MAX_LENGTH => Ok(length),
                length => Err(Undecodable::TooLong(length / 8)),
            },
            Self::Opus => opus::length_of(payload),
            Self::G729 => g729::length_of(payload),
        }
    }

    /// Whether a payload only describes a silence. Its length then says nothing of the packets that
    /// carry speech.
    #[must_use]
    pub const fn describes_silence(self, payload: &[u8]) -> bool {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::Opus => false,
            Self::G729 => payload.len() == g729::SILENCE_BYTES,
        }
    }

    /// For how long what is decoded may be noise when the encoder begins anew and tells nobody, in
    /// samples of 8 kHz.
    #[must_use]
    pub const fn straying(self) -> usize {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::Opus => 0,
            Self::G729 => g729::STRAYING,
        }
    }

    /// The length that packets of ours get where the caller's have this one, both in samples of
    /// 8 kHz: 10 to 60 ms, in Opus 10, 20, 40 or 60, in G.729 whole frames of 10.
    #[must_use]
    pub const fn frame(self, length: usize) -> usize {
        match (self, length) {
            (Self::Opus, ..160) | (_, ..80) => 80,
            (Self::Opus, 160..320) => 160,
            (Self::Opus, 320..480) => 320,
            (_, 480..) => 480,
            (Self::G729, length) => length / g729::FRAME * g729::FRAME,
            (Self::Pcmu | Self::Pcma | Self::G722, length) => length,
        }
    }

    /// Bytes of a packet of ours of such a length: a constant, whatever is said.
    #[must_use]
    pub const fn bytes_of(self, frame: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => frame,
            Self::Opus => opus::bytes_of(frame),
            Self::G729 => g729::bytes_of(frame),
        }
    }
}

/// A piece of decoded audio, in every form that is at hand.
pub struct Audio<'a> {
    /// Samples of 8 kHz: what the ear hears.
    pub samples: &'a [i16],
    /// What it was decoded from, or into.
    pub form: Form<'a>,
}

impl<'a> Audio<'a> {
    /// Samples of 8 kHz alone.
    #[must_use]
    pub const fn narrow(samples: &'a [i16]) -> Self {
        let form = Form::Narrow;
        Self { samples, form }
    }
}

/// A form of a piece of audio beside its samples of 8 kHz.
pub enum Form<'a> {
    /// None: those samples are all.
    Narrow,
    /// Codewords of G.711.
    Codewords(Law, &'a [u8]),
    /// Samples of 16 kHz, two for each of 8 kHz and at the same instants.
    Wide(&'a [i16]),
}

/// Why a payload cannot be decoded. It becomes silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// No byte in it.
    #[error("the payload is empty; expected at least one byte")]
    Empty,
    /// Longer than any packet may be.
    #[error("the payload holds {0} ms; expected at most 120")]
    TooLong(usize),
    /// Against the codec's own rules.
    #[error("the payload is no packet of its codec")]
    Corrupt,
    /// The caller's mistake.
    #[error("the payload holds {length} samples; there is room for {room}")]
    NoRoom {
        /// Samples in it.
        length: usize,
        /// Samples that fit.
        room: usize,
    },
}

/// Decodes one stream. What it remembers of the audio is overwritten on drop.
///
/// Deliberately absent: `Clone`, `Debug`.
pub struct Decoder(Decoding);

enum Decoding {
    G711(Law),
    G722(Box<g722::Decoder>),
    Opus(opus::Decoder),
    G729(Box<g729::Decoder>),
}

impl Decoder {
    /// For a stream that begins.
    #[must_use]
    pub fn new(codec: AudioCodec) -> Self {
        Self(match codec {
            AudioCodec::Pcmu => Decoding::G711(Law::Mu),
            AudioCodec::Pcma => Decoding::G711(Law::A),
            AudioCodec::G722 => Decoding::G722(Box::new(g722::Decoder::new())),
            AudioCodec::Opus => Decoding::Opus(opus::Decoder::new()),
            AudioCodec::G729 => Decoding::G729(Box::new(g729::Decoder::new())),
        })
    }

    /// What it decodes.
    #[must_use]
    pub const fn codec(&self) -> AudioCodec {
        match self.0 {
            Decoding::G711(Law::Mu) => AudioCodec::Pcmu,
            Decoding::G711(Law::A) => AudioCodec::Pcma,
            Decoding::G722(_) => AudioCodec::G722,
            Decoding::Opus(_) => AudioCodec::Opus,
            Decoding::G729(_) => AudioCodec::G729,
        }
    }

    /// Decodes one payload; how many samples, at [`AudioCodec::rate_hz`], it held. A payload that
    /// cannot be decoded leaves no sample of its own behind.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        let codec = self.codec();
        let length = codec.length_of(payload)? * codec.rate_hz() as usize / 8_000;
        let room = samples.len();
        let samples = samples
            .get_mut(..length)
            .ok_or(Undecodable::NoRoom { length, room })?;
        match &mut self.0 {
            Decoding::G711(law) => {
                for (sample, byte) in samples.iter_mut().zip(payload) {
                    *sample = law.decode(*byte);
                }
            }
            Decoding::G722(decoder) => decoder.decode(payload, samples),
            Decoding::Opus(decoder) => decoder.decode(payload, samples)?,
            Decoding::G729(decoder) => decoder.decode(payload, samples),
        }
        Ok(length)
    }

    /// So many samples of 8 kHz of the stream never came, or could not be decoded.
    pub fn lose(&mut self, length: usize) {
        match &mut self.0 {
            Decoding::G711(_) => {}
            Decoding::G722(decoder) => decoder.lose(),
            Decoding::Opus(decoder) => decoder.lose(length),
            Decoding::G729(decoder) => decoder.lose(length),
        }
    }
}

/// Encodes one stream. It is given masked audio only.
pub struct Encoder(Encoding);

enum Encoding {
    G711(Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
    G729(Box<g729::Encoder>),
}

impl Encoder {
    /// For a stream that begins.
    #[must_use]
    pub fn new(codec: AudioCodec) -> Self {
        Self(match codec {
            AudioCodec::Pcmu => Encoding::G711(Law::Mu),
            AudioCodec::Pcma => Encoding::G711(Law::A),
            AudioCodec::G722 => Encoding::G722(Box::new(g722::Encoder::new())),
            AudioCodec::Opus => Encoding::Opus(opus::Encoder::new()),
            AudioCodec::G729 => Encoding::G729(Box::new(g729::Encoder::new())),
        })
    }

    /// Encodes one packet of a length that [`AudioCodec::frame`] gives; how many bytes there are,
    /// which is what [`AudioCodec::bytes_of`] says.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        match &mut self.0 {
            Encoding::G711(law) => {
                for (byte, sample) in payload.iter_mut().zip(samples) {
                    *byte = law.encode(*sample);
                }
                samples.len().min(payload.len())
            }
            Encoding::G722(encoder) => encoder.encode(samples, payload),
            Encoding::Opus(encoder) => encoder.encode(samples, payload),
            Encoding::G729(encoder) => encoder.encode(samples, payload),
        }
    }
}

#[cfg(test)]
mod tests;
