//! ITU-T G.729: 8 kbit/s in frames of 10 ms, by linear prediction and an excitation of pulses.
//!
//! What is sent is that of the Recommendation, and so are the tables. The search is that of Annex A
//! where nothing is said, in plain `f32` arithmetic (no fast-math, no libm), so that every CPU makes
//! the same of the same; an encoder may choose other bits than a fixed-point one and is understood
//! all the same. Silence (Annex B) is understood and never sent: sizes are constants. Deliberately
//! absent: the postfilter. What is decoded here is heard by detectors and encoded again, and the
//! phone at the end has one.

mod analysis;
mod decoder;
mod encoder;
mod excitation;
mod lines;
mod math;
mod search;
mod tables;

pub(super) use decoder::Decoder;
pub(super) use encoder::Encoder;

use super::{MAX_LENGTH, Undecodable};

/// Samples of a frame: 10 ms.
pub(super) const FRAME: usize = 80;
/// Samples of each of its halves.
const SUBFRAME: usize = 40;
/// Bytes of a frame.
const FRAME_BYTES: usize = 10;
/// Bytes of a description of silence, which may stand at the end of a packet (RFC 3551 §4.5.6).
pub(super) const SILENCE_BYTES: usize = 2;
/// What is decoded after the encoder began anew, in samples: the spectrum and the gains are predicted
/// from four frames.
pub(super) const STRAYING: usize = 4 * FRAME;

/// How long a packet lasts, in samples.
pub(super) const fn length_of(packet: &[u8]) -> Result<usize, Undecodable> {
    let frames = packet.len().div_ceil(FRAME_BYTES);
    match (frames * FRAME, packet.len() % FRAME_BYTES) {
        (0, _) => Err(Undecodable::Empty),
        (length, _) if length > MAX_LENGTH => Err(Undecodable::TooLong(length / 8)),
        (length, 0 | SILENCE_BYTES) => Ok(length),
        (_, _) => Err(Undecodable::Corrupt),
    }
}

/// Bytes of a packet of ours that lasts so many samples.
pub(super) const fn bytes_of(frame: usize) -> usize {
    frame / FRAME * FRAME_BYTES
}

/// Bits of what a frame tells, in their order (Table 8).
const WIDTHS: [u32; 15] = [1, 7, 5, 5, 8, 1, 13, 4, 3, 4, 5, 13, 4, 3, 4];
/// Bits of what a description of silence tells (Table B.2); one is left over.
const SILENCE_WIDTHS: [u32; 4] = [1, 5, 4, 5];

/// What a frame tells: the indices of the line spectral frequencies, then of each half its lag (the
/// first one's with a parity bit), the places and signs of its pulses, and its gains.
type Fields = [u16; 15];

fn unpack<const N: usize>(bytes: &[u8], widths: [u32; N]) -> [u16; N] {
    let mut bits = bytes
        .iter()
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    bits <<= 128 - 8 * bytes.len() as u32;
    widths.map(|width| {
        let field = (bits >> (128 - width)) as u16;
        bits <<= width;
        field
    })
}

fn pack(fields: &Fields) -> [u8; FRAME_BYTES] {
    let put = |bits: u128, (field, width): (&u16, u32)| bits << width | u128::from(*field);
    let bits = fields.iter().zip(WIDTHS).fold(0, put);
    let mut bytes = [0; FRAME_BYTES];
    bytes.copy_from_slice(&bits.to_be_bytes()[16 - FRAME_BYTES..]);
    bytes
}

#[cfg(test)]
mod tests;
