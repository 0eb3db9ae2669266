//! RFC 4733 audio/tone payloads: a tone told by its frequencies.

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes before the frequencies.
const FIXED: usize = 4;
/// Most frequencies that are kept: a key has two, and what has more is none.
const KEPT: usize = 3;

/// Why a payload describes no tone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed tone: {0} bytes; expected four and two for each frequency")]
pub struct ToneError(usize);

/// One tone (RFC 4733 §4.3). Wiped on drop: two frequencies are a key.
///
/// Deliberately absent: `Debug`, `Clone`, and the volume, for nothing of what is decided here may
/// depend on it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ToneDescription {
    modulation: u16,
    duration: u16,
    hz: [u16; KEPT],
    count: usize,
}

impl ToneDescription {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`ToneError`] when its length is not that of a tone.
    pub fn parse(payload: &[u8]) -> Result<Self, ToneError> {
        let error = ToneError(payload.len());
        let (head, frequencies) = payload.split_first_chunk::<FIXED>().ok_or(error)?;
        let (frequencies, torn) = frequencies.as_chunks::<2>();
        if !torn.is_empty() {
            return Err(error);
        }
        let &[modulation, flags, high, low] = head;
        let mut tone = Self {
            modulation: (u16::from(modulation) << 1) | u16::from(flags >> 7),
            duration: u16::from_be_bytes([high, low]),
            hz: [0; KEPT],
            count: frequencies.len(),
        };
        for (kept, told) in tone.hz.iter_mut().zip(frequencies) {
            // The upper four bits are reserved and ignored.
            *kept = u16::from_be_bytes(*told) & 0x0fff;
        }
        Ok(tone)
    }

    /// How long it has lasted, in units of the payload type's clock rate.
    #[must_use]
    pub const fn duration(&self) -> u16 {
        self.duration
    }

    /// Its two frequencies in Hz (0 to 4095), the lower first, if it has exactly two and no
    /// modulation.
    #[must_use]
    pub const fn pair_hz(&self) -> Option<(u16, u16)> {
        let [a, b, _] = self.hz;
        // Divided by three or not, a modulation of 0 Hz is none.
        match (self.count, self.modulation) {
            (2, 0) if a <= b => Some((a, b)),
            (2, 0) => Some((b, a)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(payload: &[u8]) -> Option<(u16, u16)> {
        ToneDescription::parse(payload).unwrap().pair_hz()
    }

    #[test]
    fn a_tone_of_two_frequencies_without_modulation_is_a_pair_in_either_order() {
        let row = 770_u16.to_be_bytes();
        // Reserved bits set.
        let column = (1_336 | 0xf000_u16).to_be_bytes();
        let head = [0, 0x3f, 0x03, 0x20];
        let tone = [&head[..], &row, &column].concat();
        assert_eq!(ToneDescription::parse(&tone).unwrap().duration(), 800);
        assert_eq!(pair(&tone), Some((770, 1_336)));
        assert_eq!(
            pair(&[&head[..], &column, &row].concat()),
            Some((770, 1_336))
        );
        // One, three and no frequencies.
        assert_eq!(pair(&[&head[..], &row].concat()), None);
        assert_eq!(pair(&[&tone[..], &row].concat()), None);
        assert_eq!(pair(&head), None);
    }

    #[test]
    fn a_modulated_tone_is_no_pair() {
        let pair_of = |first: u8, second: u8| pair(&[first, second, 0, 1, 3, 2, 5, 0x38]);
        assert_eq!(pair_of(0, 0x40), Some((770, 1_336)), "the T bit alone");
        assert_eq!(pair_of(0, 0x80), None, "1 Hz");
        assert_eq!(pair_of(1, 0x40), None, "2/3 Hz");
    }

    #[test]
    fn a_length_that_is_none_of_a_tone_is_refused() {
        for length in [0, 1, 3, 5, 7, 9] {
            let told = ToneDescription::parse(&vec![0; length]).err();
            assert_eq!(told, Some(ToneError(length)));
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..1500)) {
            if let Ok(tone) = ToneDescription::parse(&payload) {
                prop_assert!(tone.pair_hz().is_none_or(|(low, high)| low <= high && high < 4_096));
            }
        }
    }
}
