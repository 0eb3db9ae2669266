//! ITU-T G.722 at 64 kbit/s (mode 1): 16 kHz speech in two sub-bands, each in ADPCM of its own,
//! four bits of six and two.
//!
//! One byte carries two samples. Its RTP clock is 8000 Hz all the same, by an old error that stands
//! (RFC 3551 §4.5.2). Deliberately absent: modes 2 and 3, which lend bits to a data channel and
//! are not used over RTP.

mod band;

use zeroize::{Zeroize, ZeroizeOnDrop};

use self::band::Band;

/// Half of the symmetric filter that parts the two sub-bands.
const QUADRATURE: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Samples that the filter spans.
const SPAN: usize = 2 * QUADRATURE.len();

const fn saturate(value: i32) -> i32 {
    if value > 32_767 {
        32_767
    } else if value < -32_768 {
        -32_768
    } else {
        value
    }
}

/// The filter's two halves over its last samples.
fn halves(line: &[i32; SPAN]) -> (i32, i32) {
    let (mut even, mut odd) = (0, 0);
    for (pair, at) in line.chunks_exact(2).zip(0..) {
        even += pair[0] * QUADRATURE[at];
        odd += pair[1] * QUADRATURE[QUADRATURE.len() - 1 - at];
    }
    (even, odd)
}

/// Encodes one stream. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Encoder {
    line: [i32; SPAN],
    low: Band,
    high: Band,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            line: [0; SPAN],
            low: Band::low(),
            high: Band::high(),
        }
    }

    /// Encodes pairs of samples; how many bytes that made.
    pub(super) fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let pairs = samples.chunks_exact(2);
        let bytes = pairs.len().min(payload.len());
        for (pair, byte) in pairs.zip(payload) {
            self.line.copy_within(2.., 0);
            self.line[SPAN - 2] = i32::from(pair[0]);
            self.line[SPAN - 1] = i32::from(pair[1]);
            let (even, odd) = halves(&self.line);
            let low = self.low.encode_low((odd + even) >> 14);
            let high = self.high.encode_high((odd - even) >> 14);
            *byte = high << 6 | low;
        }
        bytes
    }
}

/// Decodes one stream. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Decoder {
    line: [i32; SPAN],
    low: Band,
    high: Band,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            line: [0; SPAN],
            low: Band::low(),
            high: Band::high(),
        }
    }

    /// Decodes each byte into two samples; `samples` is twice as long.
    pub(super) fn decode(&mut self, payload: &[u8], samples: &mut [i16]) {
        for (byte, pair) in payload.iter().zip(samples.chunks_exact_mut(2)) {
            let low = self.low.decode_low(byte & 63);
            let high = self.high.decode_high(byte >> 6);
            self.put(low, high, pair);
        }
    }

    fn put(&mut self, low: i32, high: i32, pair: &mut [i16]) {
        self.line.copy_within(2.., 0);
        self.line[SPAN - 2] = saturate(low + high);
        self.line[SPAN - 1] = saturate(low - high);
        let (even, odd) = halves(&self.line);
        pair[0] = saturate(odd >> 11) as i16;
        pair[1] = saturate(even >> 11) as i16;
    }

    /// Time that never came. What the filter holds fades; the predictor leaks what it does not
    /// share with the sender's once samples come again.
    pub(super) fn lose(&mut self) {
        self.line.zeroize();
    }
}

#[cfg(test)]
mod tests;
