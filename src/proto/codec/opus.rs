//! Opus (RFC 6716) in 16 kHz mono, whatever the stream carries.
//!
//! A mono decoder gives the mean of a stereo stream's channels; what lies only between them is not
//! heard and does not leave either. Deliberately absent: in-band FEC. On the way in it repeats an
//! earlier packet, on the way out it would.

use std::hint::black_box;

use ropus::{
    OPUS_APPLICATION_RESTRICTED_LOWDELAY, OPUS_BANDWIDTH_WIDEBAND, OpusDecoder, OpusEncoder,
};
use zeroize::Zeroize;

use super::{MAX_LENGTH, MAX_SAMPLES, Undecodable};

/// Rate of the samples on our side; the RTP clock is 48,000 Hz (RFC 7587 §4.1).
pub(super) const RATE_HZ: u32 = 16_000;
/// Of our encoder: constant. 80 bytes in 20 ms.
const BITRATE: i32 = 32_000;
/// Of the encoder's effort, 0 to 10: what more would cost is not heard at this rate.
const COMPLEXITY: i32 = 2;
/// Concealed at once after a loss, in samples of 8 kHz; beyond 60 ms the decoder has nothing left
/// to go on.
const MOST_CONCEALED: usize = 480;

/// How long a packet lasts, in samples of 8 kHz, by its table-of-contents byte and its count of
/// frames (RFC 6716 §3.1 and §3.2).
pub(super) fn length_of(packet: &[u8]) -> Result<usize, Undecodable> {
    let Some(toc) = packet.first() else {
        return Err(Undecodable::Empty);
    };
    let frame = match toc >> 3 {
        config @ 0..12 => [80, 160, 320, 480][usize::from(config & 3)],
        config @ 12..16 => [80, 160][usize::from(config & 1)],
        config => [20, 40, 80, 160][usize::from(config & 3)],
    };
    let frames = match (toc & 3, packet.get(1)) {
        (0, _) => 1,
        (1 | 2, _) => 2,
        (_, Some(count)) => usize::from(count & 63),
        (_, None) => return Err(Undecodable::Corrupt),
    };
    match frame * frames {
        0 => Err(Undecodable::Corrupt),
        length @ 1..=MAX_LENGTH => Ok(length),
        length => Err(Undecodable::TooLong(length / 8)),
    }
}

/// Bytes of a packet of ours that lasts so many samples of 8 kHz.
pub(super) const fn bytes_of(frame: usize) -> usize {
    frame * BITRATE as usize / (8 * 8_000)
}

/// Decodes one stream. What it holds of the audio is overwritten on drop.
pub(super) struct Decoder(Box<OpusDecoder>);

impl Decoder {
    pub(super) fn new() -> Self {
        let decoder = OpusDecoder::new(RATE_HZ as i32, 1);
        Self(Box::new(decoder.expect("16 kHz and one channel are valid")))
    }

    /// Decodes one packet, for which `samples` has exactly the room. A packet without content
    /// (discontinuous transmission) is the decoder's own comfort noise.
    pub(super) fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<(), Undecodable> {
        let length = samples.len() as i32;
        match self.0.decode(Some(packet), samples, length, false) {
            Ok(decoded) if decoded == length => Ok(()),
            Ok(_) | Err(_) => {
                samples.zeroize();
                Err(Undecodable::Corrupt)
            }
        }
    }

    /// Lets the decoder's state fade over a loss, as a phone's does.
    pub(super) fn lose(&mut self, samples: usize) {
        let mut unheard = [0; MAX_SAMPLES];
        // The decoder conceals multiples of 2.5 ms.
        let length = samples.min(MOST_CONCEALED) / 40 * 40;
        let concealed = &mut unheard[..length];
        if length > 0
            && self
                .0
                .decode(None, concealed, length as i32, false)
                .is_err()
        {
            self.0.reset();
        }
        unheard.zeroize();
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.0.reset();
        // Or the overwriting would be taken for useless.
        black_box(&mut *self.0);
    }
}

/// Encodes one stream of masked audio: constant bit rate, one mode, one bandwidth, no
/// discontinuous transmission and no forward error correction, so that neither size nor first
/// byte tells what is said.
pub(super) struct Encoder(Box<OpusEncoder>);

impl Encoder {
    pub(super) fn new() -> Self {
        // The low-delay application has one mode only.
        let encoder = OpusEncoder::new(RATE_HZ as i32, 1, OPUS_APPLICATION_RESTRICTED_LOWDELAY);
        let mut encoder = Box::new(encoder.expect("16 kHz and one channel are valid"));
        encoder.set_bitrate(BITRATE);
        encoder.set_vbr(0);
        encoder.set_dtx(0);
        encoder.set_inband_fec(0);
        encoder.set_complexity(COMPLEXITY);
        encoder.set_bandwidth(OPUS_BANDWIDTH_WIDEBAND);
        Self(encoder)
    }

    /// Encodes one packet of 10, 20, 40 or 60 ms; how many bytes it has.
    pub(super) fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let bytes = bytes_of(samples.len() / 2);
        let Some(payload) = payload.get_mut(..bytes) else {
            return 0;
        };
        let encoded = self
            .0
            .encode(samples, samples.len() as i32, payload, bytes as i32);
        if encoded.is_err() {
            // Nothing but a wrong length fails. What leaves then tells nothing.
            payload.fill(0);
        }
        bytes
    }
}
