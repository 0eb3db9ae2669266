//! The PIN without which a code starts nothing.

use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Fewest digits of a PIN.
const FEWEST: usize = 4;
/// Most digits of a PIN.
pub(super) const MOST: usize = 8;
/// In the place of a digit behind the last one.
const NONE: u8 = u8::MAX;

/// A PIN of 4 to 8 digits. It cannot be shown, nor copied:
///
/// ```compile_fail,E0277
/// fn show(pin: &tonewall::proto::call::Pin) -> String {
///     format!("{pin:?}")
/// }
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Pin {
    digits: [u8; MOST],
}

/// Why something is no PIN. What it is instead is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a PIN of 4 to 8 digits, and nothing else")]
pub struct PinError;

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let fits =
            (FEWEST..=MOST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !fits {
            return Err(PinError);
        }
        let mut digits = [NONE; MOST];
        for (digit, byte) in digits.iter_mut().zip(text.bytes()) {
            *digit = byte - b'0';
        }
        Ok(Self { digits })
    }
}

impl Pin {
    /// Whether these keys are it. How long that takes tells nothing of it.
    pub(super) fn is(&self, keys: &[u8]) -> bool {
        let mut dialled = [NONE; MOST];
        for (place, key) in dialled.iter_mut().zip(keys) {
            *place = *key;
        }
        let same = self.digits.ct_eq(&dialled);
        dialled.zeroize();
        bool::from(same) && keys.len() <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_4_to_8_digits_and_only_the_same_ones_are_it() {
        for good in ["0000", "1234", "12345678"] {
            let pin: Pin = good.parse().unwrap();
            let keys: Vec<u8> = good.bytes().map(|byte| byte - b'0').collect();
            assert!(pin.is(&keys));
            assert!(!pin.is(&keys[1..]) && !pin.is(&[&keys[..], &[0]].concat()));
            assert!(!pin.is(&[&keys[..], &[NONE]].concat()) || keys.len() < MOST);
            for place in 0..keys.len() {
                let mut other = keys.clone();
                other[place] += 1;
                assert!(!pin.is(&other), "the place {place} of {good}");
            }
        }
        for bad in [
            "",
            "123",
            "123456789",
            "12a4",
            "12 34",
            "\u{664}\u{664}",
            "-123",
        ] {
            assert_eq!(bad.parse::<Pin>().err(), Some(PinError), "{bad}");
        }
    }
}
