//! What a payload type carries, as SDP names it.

use serde::{Deserialize, Serialize};

/// A codec of speech that can be decoded, masked and encoded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AudioCodec {
    /// G.711 mu-law (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// ITU-T G.722 at 64 kbit/s.
    G722,
    /// Opus (RFC 6716, RFC 7587), whatever its channels.
    Opus,
    /// ITU-T G.729 with or without its annexes A and B (RFC 3551 §4.5.6).
    G729,
}

impl AudioCodec {
    /// Name, clock rate and channels as `a=rtpmap` has them (RFC 3551 §6, RFC 7587 §7).
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
            Self::G729 => "G729/8000",
        }
    }

    /// Its name alone.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::G729 => "G729",
        }
    }

    /// Clock rate of its RTP timestamps in Hz. That of G.722 is not its sampling rate, by an old
    /// error that stands (RFC 3551 §4.5.2).
    #[must_use]
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::G729 => 8_000,
            Self::Opus => 48_000,
        }
    }
}

/// What packets of one payload type carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Speech.
    Audio(AudioCodec),
    /// RFC 4733 telephone-event with its clock rate in Hz.
    TelephoneEvent(u32),
    /// RFC 4733 section 4 audio/tone with its clock rate in Hz.
    Tone(u32),
    /// RFC 2198 redundant audio data: blocks, of which each means what its own payload type means. What
    /// its `a=fmtp` lists adds nothing to that.
    Red,
    /// Anything else: relayed while unarmed, silence while armed.
    Other,
}

impl Encoding {
    /// The codec, where it is speech that can be masked.
    #[must_use]
    pub const fn audio(self) -> Option<AudioCodec> {
        match self {
            Self::Audio(codec) => Some(codec),
            Self::TelephoneEvent(_) | Self::Tone(_) | Self::Red | Self::Other => None,
        }
    }

    /// Whether its payload can spell a key, so that it is never to be taken for speech.
    #[must_use]
    pub const fn tells_keys(self) -> bool {
        match self {
            Self::TelephoneEvent(_) | Self::Tone(_) | Self::Red => true,
            Self::Audio(_) | Self::Other => false,
        }
    }
}

/// What a client asks about codecs, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodecFilter {
    /// Codecs to take out; `all` and `full` mean every one.
    pub strip: Vec<String>,
    /// Codecs that `all` and `full` do not mean.
    pub except: Vec<String>,
    /// As `except`, and they come first, in this order.
    pub order: Vec<String>,
}
