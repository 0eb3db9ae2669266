//! A key of the telephone's pad.

use zeroize::Zeroize;

/// One DTMF key while it travels from a detector into a slot of secret memory.
///
/// Deliberately absent: `Clone`, `Copy`, `Debug`, `Display`, `PartialEq`, `Serialize`. A key is
/// consumed by [`KeySlot::press`](super::secret::KeySlot::press) or dropped, and wiped either way.
pub struct Key(u8);

/// What a key does, which is all that may be told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClass {
    /// 0 to 9.
    Digit,
    /// `#`.
    Hash,
    /// `*`.
    Star,
    /// A to D, which no telephone of a customer has and no card holds.
    Letter,
}

impl Key {
    /// The key of a telephone-event code: 0-9, 10 = `*`, 11 = `#`, 12-15 = A-D (RFC 4733 §3.2).
    /// Other codes are no DTMF keys.
    #[must_use]
    pub const fn from_event(code: u8) -> Option<Self> {
        match code {
            0..=15 => Some(Self(code)),
            _ => None,
        }
    }

    /// What the key does.
    #[must_use]
    pub const fn class(&self) -> KeyClass {
        match self.0 {
            0..=9 => KeyClass::Digit,
            10 => KeyClass::Star,
            11 => KeyClass::Hash,
            _ => KeyClass::Letter,
        }
    }

    /// The telephone-event code, for the one place that stores it.
    #[must_use]
    pub(in crate::proto) const fn code(&self) -> u8 {
        self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
