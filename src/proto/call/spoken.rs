//! A code that the gateway reads out to the agent.
//!
//! It takes the place of the caller's audio, packet for packet, so that no number of the stream changes;
//! where the caller sends nothing it waits. The caller hears nothing of it. An armed stream has no place
//! for it: what leaves there is the masker's.

use std::{fmt, sync::Arc};

use crate::proto::{
    codec::{Encoder, Interpolator, MAX_SAMPLES},
    encoding::{AudioCodec, Encoding},
    link::{CODE_DIGITS, SpokenCode},
    rtp::{HEADER_BYTES, RtpHeader, write_header},
};

use super::stream::PayloadTypes;

/// Before the first digit, between two, and before it is all said again, in samples of 8 kHz.
const BEFORE: usize = 3_200;
const BETWEEN: usize = 2_000;
const AGAIN: usize = 6_400;
/// Bytes of a packet of the longest frame: 60 ms of G.711.
const LONGEST: usize = HEADER_BYTES + 480;

/// The ten digits as somebody says them: samples of 8 kHz.
pub struct Voice([Box<[i16]>; 10]);

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Voice(..)")
    }
}

impl Voice {
    /// From 0 to 9.
    #[must_use]
    pub const fn new(digits: [Box<[i16]>; 10]) -> Self {
        Self(digits)
    }
}

/// A code on its way out: said twice.
pub(super) struct Spoken {
    voice: Arc<Voice>,
    code: SpokenCode,
    /// Samples that were said.
    said: usize,
    encoder: Option<(AudioCodec, Encoder, Interpolator)>,
    datagram: [u8; LONGEST],
}

impl Spoken {
    pub(super) const fn new(voice: Arc<Voice>, code: SpokenCode) -> Self {
        Self {
            voice,
            code,
            said: 0,
            encoder: None,
            datagram: [0; LONGEST],
        }
    }

    /// The pieces in their order: a pause and a digit each.
    fn pieces(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let once = self.code.digits();
        let twice = once.into_iter().chain(once);
        twice.enumerate().map(|(place, digit)| {
            let pause = match place {
                0 => BEFORE,
                CODE_DIGITS => AGAIN,
                _ => BETWEEN,
            };
            (pause, &*self.voice.0[usize::from(digit % 10)])
        })
    }

    /// Whether all has been said.
    pub(super) fn is_over(&self) -> bool {
        let length: usize = self
            .pieces()
            .map(|(pause, digit)| pause + digit.len())
            .sum();
        self.said >= length
    }

    /// What comes next, as many samples of 8 kHz as there is room for.
    fn say(&mut self, samples: &mut [i16]) {
        samples.fill(0);
        let (begin, end) = (self.said, self.said + samples.len());
        let mut at = 0;
        for (pause, digit) in self.pieces() {
            at += pause;
            // Of the digit, what lies between `begin` and `end`.
            let from = begin.max(at);
            let to = end.min(at + digit.len());
            if from < to {
                samples[from - begin..to - begin].copy_from_slice(&digit[from - at..to - at]);
            }
            at += digit.len();
        }
        self.said = end;
    }

    /// The datagram that leaves in the place of this one; `None` where this one leaves itself: it is no
    /// audio, only describes a silence, or has a length that cannot be encoded.
    pub(super) fn in_place_of(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        types: &PayloadTypes,
    ) -> Option<(&[u8], RtpHeader)> {
        let Some(Encoding::Audio(codec)) = types.get(header.payload_type) else {
            return None;
        };
        let payload = datagram.get(header.payload.clone())?;
        let length = codec.length_of(payload).ok()?;
        if codec.describes_silence(payload) || codec.frame(length) != length {
            return None;
        }
        let mut narrow = [0; MAX_SAMPLES / 2];
        let narrow = narrow.get_mut(..length)?;
        self.say(narrow);
        if self
            .encoder
            .as_ref()
            .is_none_or(|(known, ..)| *known != codec)
        {
            self.encoder = Some((codec, Encoder::new(codec), Interpolator::default()));
        }
        let (_, encoder, interpolator) = self.encoder.as_mut()?;
        let bytes = codec.bytes_of(length);
        let out = self.datagram.get_mut(..HEADER_BYTES + bytes)?;
        let (head, body) = out.split_at_mut(HEADER_BYTES);
        if codec.is_wide() {
            let mut wide = [0; MAX_SAMPLES];
            let wide = wide.get_mut(..2 * length)?;
            interpolator.interpolate(narrow, wide);
            encoder.encode(wide, body);
        } else {
            encoder.encode(narrow, body);
        }
        head.copy_from_slice(&write_header(
            header.payload_type,
            header.marker,
            header.sequence,
            header.timestamp,
            header.ssrc,
        ));
        let payload = HEADER_BYTES..out.len();
        let header = RtpHeader {
            payload,
            ..header.clone()
        };
        Some((out, header))
    }
}
