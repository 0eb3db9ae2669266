//! The two laws of ITU-T G.711, from and to 16-bit linear samples.

/// One of the two laws of ITU-T G.711.
///
/// Linear samples use the upper bits of an `i16`, as ITU-T G.191 does: mu-law spans 14 bits
/// (±32124), A-law 13 bits (±32256).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// mu-law, RTP payload type 0 (PCMU).
    Mu,
    /// A-law, RTP payload type 8 (PCMA).
    A,
}

const MU_DECODED: [i16; 256] = table(Law::Mu);
const A_DECODED: [i16; 256] = table(Law::A);

impl Law {
    /// The linear sample of one byte.
    #[must_use]
    pub const fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Mu => MU_DECODED[byte as usize],
            Self::A => A_DECODED[byte as usize],
        }
    }

    /// The byte of one linear sample, by the decision values of ITU-T G.711. Beyond the law's
    /// range it clips.
    #[must_use]
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => mu_encoded(sample),
            Self::A => a_encoded(sample),
        }
    }

    /// The byte of silence: the positive zero of mu-law, the smallest positive value of A-law,
    /// which has no zero.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xFF,
            Self::A => 0xD5,
        }
    }

    /// Peak of a sine of 0 dBm0, in linear samples: the overload point, 8159 units of 14 bits in
    /// mu-law and 4096 of 13 bits in A-law, is +3.17 and +3.14 dBm0 (ITU-T G.711 §4).
    #[must_use]
    pub const fn peak_of_0_dbm0(self) -> f64 {
        match self {
            Self::Mu => 22_656.0,
            Self::A => 22_827.0,
        }
    }
}

const fn table(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match law {
            Law::Mu => mu_decoded(byte as u8),
            Law::A => a_decoded(byte as u8),
        };
        byte += 1;
    }
    table
}

/// Added before the segment is found, in units of 14 bits.
const MU_BIAS: u16 = 33;

const fn mu_decoded(byte: u8) -> i16 {
    let bits = !byte;
    let segment = (bits >> 4) & 7;
    let step = (bits & 15) as u16;
    let magnitude = ((((step << 1) + MU_BIAS) << segment) - MU_BIAS) as i16 * 4;
    if bits & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

const fn mu_encoded(sample: i16) -> u8 {
    let magnitude = (one_s_complement_magnitude(sample) >> 2) + MU_BIAS;
    let magnitude = if magnitude > 0x1FFF {
        0x1FFF
    } else {
        magnitude
    };
    // The bias puts the leading one at bit 5 or above.
    let segment = 10 - magnitude.leading_zeros() as u16;
    let bits = (segment << 4) | ((magnitude >> (segment + 1)) & 15);
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(bits as u8 | sign)
}

/// Every second bit is inverted on the line.
const A_INVERTED: u8 = 0x55;

const fn a_decoded(byte: u8) -> i16 {
    let bits = byte ^ A_INVERTED;
    let segment = (bits >> 4) & 7;
    let step = (bits & 15) as u16;
    let magnitude = if segment == 0 {
        (step << 4) + 8
    } else {
        ((step << 4) + 0x108) << (segment - 1)
    } as i16;
    if bits & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

const fn a_encoded(sample: i16) -> u8 {
    let magnitude = one_s_complement_magnitude(sample) >> 4;
    let bits = if magnitude < 16 {
        magnitude
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16;
        (segment << 4) | ((magnitude >> (segment - 1)) & 15)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (bits as u8 | sign) ^ A_INVERTED
}

/// Magnitude with -1 counted as the negative zero, as ITU-T G.191 does: decision values then lie
/// alike on both sides, and `i16::MIN` does not overflow.
const fn one_s_complement_magnitude(sample: i16) -> u16 {
    (if sample < 0 { !sample } else { sample }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_standard() {
        // ITU-T G.711 tables 1 and 2 (output values, scaled to 16 bits).
        for (byte, sample) in [
            (0x80, 32124),
            (0x8F, 16764),
            (0x90, 15996),
            (0x9F, 8316),
            (0xEF, 132),
            (0xFE, 8),
            (0xFF, 0),
            (0x7F, 0),
            (0x7E, -8),
            (0x00, -32124),
        ] {
            assert_eq!(Law::Mu.decode(byte), sample, "mu-law byte {byte:#04x}");
        }
        for (byte, sample) in [
            (0xAA, 32256),
            (0xD5, 8),
            (0x55, -8),
            (0xD4, 24),
            (0x2A, -32256),
            (0xC5, 264),
            (0x80, 5504),
        ] {
            assert_eq!(Law::A.decode(byte), sample, "A-law byte {byte:#04x}");
        }
    }

    #[test]
    fn every_byte_comes_back_but_for_the_second_zero() {
        for byte in 0..=255 {
            assert_eq!(Law::A.encode(Law::A.decode(byte)), byte);
            let again = Law::Mu.encode(Law::Mu.decode(byte));
            assert_eq!(again, if byte == 0x7F { 0xFF } else { byte });
        }
    }

    #[test]
    fn decision_values_are_those_of_the_standard() {
        // Between segments, where the standard does not take the nearest value.
        for (sample, byte) in [
            (16_251, 0x90),
            (16_252, 0x8F),
            (-16_252, 0x10),
            (-16_253, 0x0F),
        ] {
            assert_eq!(Law::Mu.encode(sample), byte, "{sample}");
        }
        for (sample, byte) in [
            (16_383, 0xBA),
            (16_384, 0xA5),
            (-16_384, 0x3A),
            (-16_385, 0x25),
        ] {
            assert_eq!(Law::A.encode(sample), byte, "{sample}");
        }
    }

    #[test]
    fn encoding_is_monotonic_and_errs_by_half_a_step_at_most() {
        for law in [Law::Mu, Law::A] {
            let mut last = i32::MIN;
            for sample in -32_000..=32_000 {
                let value = i32::from(law.decode(law.encode(sample)));
                assert!(value >= last, "{law:?} {sample}");
                let error = (value - i32::from(sample)).abs();
                let most = i32::from(sample).abs() / 31 + 8;
                assert!(error <= most, "{law:?} {sample}: {error}");
                last = value;
            }
        }
    }

    #[test]
    fn the_digital_milliwatt_is_0_dbm0() {
        // ITU-T G.711 tables 5 and 6: 1 kHz at 0 dBm0.
        for (law, bytes) in [
            (Law::Mu, [0x1E, 0x0B, 0x0B, 0x1E, 0x9E, 0x8B, 0x8B, 0x9E]),
            (Law::A, [0x34, 0x21, 0x21, 0x34, 0xB4, 0xA1, 0xA1, 0xB4]),
        ] {
            let power = bytes
                .iter()
                .map(|&b| f64::from(law.decode(b)).powi(2))
                .sum::<f64>()
                / 8.0;
            let level = 10.0 * (2.0 * power / law.peak_of_0_dbm0().powi(2)).log10();
            assert!(level.abs() < 0.05, "{law:?}: {level} dBm0");
        }
    }

    #[test]
    fn silence_is_the_smallest_value() {
        assert_eq!(Law::Mu.decode(Law::Mu.silence()), 0);
        assert_eq!(Law::A.decode(Law::A.silence()), 8);
        assert_eq!(Law::Mu.encode(0), Law::Mu.silence());
        assert_eq!(Law::A.encode(0), Law::A.silence());
    }

    #[test]
    fn loud_samples_clip() {
        for (law, top) in [(Law::Mu, 32124), (Law::A, 32256)] {
            assert_eq!(law.decode(law.encode(i16::MAX)), top);
            assert_eq!(law.decode(law.encode(i16::MIN)), -top);
        }
    }
}
