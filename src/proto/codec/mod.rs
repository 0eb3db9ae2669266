//! Codecs that can be masked: decoded, heard, and encoded anew from what was masked.
//!
//! G.711 (RFC 3551 §4.5.14) has no memory: sample by sample, [`Law`]. G.722 and Opus have one, so
//! each stream has a [`Decoder`] of its own, and what leaves comes from an [`Encoder`] that has
//! heard nothing but masked audio. Deliberately absent: transmission that stops in silence. A
//! packet's size is a constant of its codec and length.

mod g711;
mod g722;
mod opus;
mod resample;

pub use g711::Law;
pub use resample::{Decimator, Interpolator, RESAMPLING_DELAY};

/// Most samples that a packet holds: 120 ms of 16 kHz.
pub const MAX_SAMPLES: usize = 1_920;

/// A codec of speech that can be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudioCodec {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus, in 16 kHz mono.
    Opus,
}

impl AudioCodec {
    /// Clock rate of its RTP timestamps in Hz. That of G.722 is not its sampling rate (RFC 3551
    /// §4.5.2).
    #[must_use]
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::Opus => 48_000,
        }
    }

    /// Rate of its samples on our side, in Hz: 8000 or 16,000.
    #[must_use]
    pub const fn rate_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
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
            Self::G722 | Self::Opus => None,
        }
    }

    /// Name and clock as SDP has them.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// Samples, at [`AudioCodec::rate_hz`], that a payload holds, without decoding it.
    pub fn samples_of(self, payload: &[u8]) -> Result<usize, Undecodable> {
        let samples = match self {
            Self::Pcmu | Self::Pcma => payload.len(),
            Self::G722 => 2 * payload.len(),
            Self::Opus => return opus::samples_of(payload),
        };
        match samples {
            0 => Err(Undecodable::Empty),
            1..=MAX_SAMPLES => Ok(samples),
            _ => Err(Undecodable::TooLong(
                samples * 1_000 / self.rate_hz() as usize,
            )),
        }
    }

    /// Length of a packet of ours that is closest to this one, in samples, and not longer where
    /// there is one: Opus has packets of 10, 20, 40 and 60 ms only.
    #[must_use]
    pub const fn frame(self, samples: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => clamp(samples, 80, 480),
            // A byte is two samples.
            Self::G722 => clamp(samples, 160, 960) / 2 * 2,
            Self::Opus => match samples {
                0..320 => 160,
                320..640 => 320,
                640..960 => 640,
                960.. => 960,
            },
        }
    }

    /// Bytes of a packet of ours of so many samples.
    #[must_use]
    pub const fn bytes_of(self, samples: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => samples,
            Self::G722 => samples / 2,
            Self::Opus => opus::Encoder::bytes_of(samples),
        }
    }
}

const fn clamp(value: usize, least: usize, most: usize) -> usize {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
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
        }
    }

    /// Decodes one payload; how many samples, at [`AudioCodec::rate_hz`], it held. A payload that
    /// cannot be decoded leaves no sample of its own behind.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        let length = self.codec().samples_of(payload)?;
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
            Decoding::Opus(decoder) => return decoder.decode(payload, samples),
        }
        Ok(length)
    }

    /// `samples` of the stream never came, or could not be decoded.
    pub fn lose(&mut self, samples: usize) {
        match &mut self.0 {
            Decoding::G711(_) => {}
            Decoding::G722(decoder) => decoder.lose(),
            Decoding::Opus(decoder) => decoder.lose(samples),
        }
    }
}

/// Encodes one stream. It is given masked audio only.
pub struct Encoder(Encoding);

enum Encoding {
    G711(Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
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
        })
    }

    /// Encodes one packet of [`AudioCodec::frame`] samples into [`AudioCodec::bytes_of`] bytes; how
    /// many there are.
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
        }
    }
}

#[cfg(test)]
mod tests;
