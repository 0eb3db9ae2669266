//! The slot that keys are written into.

use std::{ops::Range, sync::Arc};

use zeroize::Zeroize;

use super::{Sealer, SecretBytes};
use crate::proto::digit::{Key, KeyClass};

/// Most keys a slot holds: the longest field is a bank account number of 17 digits, the longest
/// PAN has 19 (ISO/IEC 7812-1).
pub const MAX_KEYS: usize = 24;
/// Bytes of memory a key slot needs.
pub const SLOT_BYTES: usize = 64;

// The slot's memory. The count may be told to everybody; the digits are sealed unless open.
const COUNT: usize = 0;
const OVERFLOW: usize = 1;
const SEALS: Range<usize> = 4..8;
const TAG: Range<usize> = 8..24;
const DIGITS: Range<usize> = 24..24 + MAX_KEYS;

/// [`KeySlot::overflow`] of a slot whose contents were found changed: it stays useless until cleared.
const SPOILT: u8 = u8::MAX;

/// One slot that keys are written into: the only place above the detectors where a key exists.
///
/// Digits are kept as values 0 to 9 (ASCII is made where a request is written), sealed but for the
/// moments in which one is added or the field is looked at.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`, `PartialEq`, `Serialize`.
///
/// ```compile_fail,E0599
/// fn twice(slot: tonewall::proto::secret::KeySlot) {
///     let copy = slot.clone();
/// }
/// ```
/// ```compile_fail,E0277
/// fn print(slot: tonewall::proto::secret::KeySlot) {
///     println!("{slot:?}");
/// }
/// ```
pub struct KeySlot {
    memory: Box<dyn SecretBytes>,
    sealer: Arc<dyn Sealer>,
    lease: u64,
}

/// That a key was pressed: what it does and how many digits the slot holds now. Never which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// What the key does.
    pub class: KeyClass,
    /// Digits in the slot after it (a digit beyond [`MAX_KEYS`] is not kept).
    pub count: u8,
}

/// Takes the keys that an ear hears, one by one.
pub trait TakeKey {
    /// Takes a key, and says of it what may be told.
    fn take(&mut self, key: Key) -> Pressed;
}

impl TakeKey for KeySlot {
    fn take(&mut self, key: Key) -> Pressed {
        self.press(key)
    }
}

impl KeySlot {
    /// An empty slot over `memory`, of which the first [`SLOT_BYTES`] are used and overwritten.
    ///
    /// `lease` is a number that no other slot has or had under this sealer's key, so that no nonce
    /// comes twice although the same memory is handed out again and again.
    ///
    /// # Panics
    ///
    /// When `memory` is shorter than [`SLOT_BYTES`].
    #[must_use]
    pub fn new(mut memory: Box<dyn SecretBytes>, sealer: Arc<dyn Sealer>, lease: u64) -> Self {
        let bytes = memory.bytes_mut();
        assert!(
            bytes.len() >= SLOT_BYTES,
            "found {} bytes for a key slot; expected {SLOT_BYTES}",
            bytes.len()
        );
        bytes.zeroize();
        Self {
            memory,
            sealer,
            lease,
        }
    }

    /// Takes a key: a digit is added, `#`, `*` and letters are told and not kept.
    #[must_use = "a key that nobody is told of changes the field behind the capture's back"]
    pub fn press(&mut self, key: Key) -> Pressed {
        let class = key.class();
        if class == KeyClass::Digit {
            self.append(&key);
        }
        Pressed {
            class,
            count: self.count(),
        }
    }

    /// How many digits the slot holds.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.memory.bytes()[COUNT]
    }

    /// How many digits came beyond [`MAX_KEYS`] and were not kept (it stops at 255). Not zero means
    /// that the slot does not hold what was keyed, and no check accepts it.
    #[must_use]
    pub fn overflow(&self) -> u8 {
        self.memory.bytes()[OVERFLOW]
    }

    /// Wipes the digits; the slot can be keyed into again.
    pub fn clear(&mut self) {
        let bytes = self.memory.bytes_mut();
        bytes[COUNT] = 0;
        bytes[OVERFLOW] = 0;
        bytes[TAG].zeroize();
        bytes[DIGITS].zeroize();
    }

    /// Lends the digits, values 0 to 9, to `look`; they are sealed again when it returns or panics.
    ///
    /// A slot whose contents were changed from outside is empty.
    pub fn expose<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> R {
        let opened = Opened::new(self);
        look(opened.digits())
    }

    pub(super) fn append(&mut self, key: &Key) {
        if usize::from(self.count()) == MAX_KEYS {
            let overflow = &mut self.memory.bytes_mut()[OVERFLOW];
            *overflow = overflow.saturating_add(1);
            return;
        }
        Opened::new(self).push(key);
    }

    fn spoil(&mut self) {
        self.clear();
        self.memory.bytes_mut()[OVERFLOW] = SPOILT;
    }

    /// The nonce of the seal that is on the digits: lease and how many seals came before under it.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.lease.to_be_bytes());
        nonce[8..].copy_from_slice(&self.memory.bytes()[SEALS]);
        nonce
    }

    fn open(&mut self) {
        if self.count() == 0 {
            return;
        }
        let nonce = self.nonce();
        let bytes = self.memory.bytes_mut();
        let mut tag = [0; 16];
        tag.copy_from_slice(&bytes[TAG]);
        if !self.sealer.open(nonce, &mut bytes[DIGITS], tag) {
            self.spoil();
        }
    }

    fn seal(&mut self) {
        if self.count() == 0 {
            return;
        }
        let bytes = self.memory.bytes_mut();
        let mut seals = [0; 4];
        seals.copy_from_slice(&bytes[SEALS]);
        // Not in the life of a call; but a nonce must not come twice, whatever happens.
        let Some(next) = u32::from_be_bytes(seals).checked_add(1) else {
            return self.spoil();
        };
        bytes[SEALS].copy_from_slice(&next.to_be_bytes());
        let nonce = self.nonce();
        let bytes = self.memory.bytes_mut();
        let tag = self.sealer.seal(nonce, &mut bytes[DIGITS]);
        bytes[TAG].copy_from_slice(&tag);
    }
}

/// A slot whose digits are readable; sealed again on drop, also when a panic unwinds.
struct Opened<'a>(&'a mut KeySlot);

impl<'a> Opened<'a> {
    fn new(slot: &'a mut KeySlot) -> Self {
        slot.open();
        Self(slot)
    }

    fn digits(&self) -> &[u8] {
        &self.0.memory.bytes()[DIGITS][..usize::from(self.0.count())]
    }

    fn push(&mut self, key: &Key) {
        if self.0.overflow() == SPOILT {
            return;
        }
        let bytes = self.0.memory.bytes_mut();
        bytes[DIGITS.start + usize::from(bytes[COUNT])] = key.code();
        bytes[COUNT] += 1;
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.seal();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::proto::secret::plain::{self, PlainSealer, key};

    fn keyed(text: &str) -> KeySlot {
        let mut slot = plain::slot();
        for symbol in text.chars() {
            let _ = slot.press(key(symbol));
        }
        slot
    }

    #[test]
    fn a_slot_holds_the_digits_in_the_order_of_the_keys_and_nothing_else() {
        let mut slot = keyed("40*1#A7D");
        assert_eq!(slot.count(), 4);
        slot.expose(|digits| assert_eq!(digits, [4, 0, 1, 7]));
    }

    #[test]
    fn a_press_tells_class_and_count() {
        let mut slot = plain::slot();
        assert_eq!(
            slot.press(key('5')),
            Pressed {
                class: KeyClass::Digit,
                count: 1
            }
        );
        assert_eq!(
            slot.press(key('#')),
            Pressed {
                class: KeyClass::Hash,
                count: 1
            }
        );
        assert_eq!(
            slot.press(key('*')),
            Pressed {
                class: KeyClass::Star,
                count: 1
            }
        );
        assert_eq!(
            slot.press(key('B')),
            Pressed {
                class: KeyClass::Letter,
                count: 1
            }
        );
        assert_eq!(
            slot.press(key('0')),
            Pressed {
                class: KeyClass::Digit,
                count: 2
            }
        );
    }

    #[test]
    fn digits_beyond_the_last_place_are_counted_and_not_kept() {
        let mut slot = keyed(&"7".repeat(MAX_KEYS));
        assert_eq!(slot.overflow(), 0);
        for _ in 0..300 {
            assert_eq!(usize::from(slot.press(key('8')).count), MAX_KEYS);
        }
        assert_eq!(slot.overflow(), 255);
        slot.expose(|digits| assert_eq!(digits, [7; MAX_KEYS]));
    }

    #[test]
    fn between_presses_the_digits_are_not_in_the_memory() {
        let mut slot = keyed("4242424242424242");
        let sealed = |slot: &KeySlot| {
            let text = &slot.memory.bytes()[DIGITS];
            !text.windows(4).any(|four| four == [4, 2, 4, 2])
        };
        assert!(sealed(&slot));
        slot.expose(|_| ());
        assert!(sealed(&slot));
        // Control: the same search finds them while the slot is open.
        assert!(!sealed(Opened::new(&mut slot).0));
    }

    #[test]
    fn a_panic_while_the_digits_are_exposed_leaves_them_sealed() {
        let mut slot = keyed("4242424242424242");
        let panicked = catch_unwind(AssertUnwindSafe(|| slot.expose(|_| panic!("on purpose"))));
        assert!(panicked.is_err());
        let text = &slot.memory.bytes()[DIGITS];
        assert!(!text.windows(4).any(|four| four == [4, 2, 4, 2]));
        slot.expose(|digits| assert_eq!(digits.len(), 16));
    }

    #[test]
    fn a_cleared_slot_is_empty_and_takes_keys_again() {
        let mut slot = keyed("4242");
        slot.clear();
        assert_eq!(slot.count(), 0);
        assert!(slot.memory.bytes()[DIGITS].iter().all(|byte| *byte == 0));
        let _ = slot.press(key('9'));
        slot.expose(|digits| assert_eq!(digits, [9]));
    }

    #[test]
    fn a_slot_that_was_changed_from_outside_is_empty_and_useless_until_cleared() {
        let mut slot = keyed("4242");
        slot.memory.bytes_mut()[DIGITS.start] ^= 1;
        slot.expose(|digits| assert!(digits.is_empty()));
        assert_eq!(slot.press(key('1')).count, 0);
        assert_ne!(slot.overflow(), 0);
        slot.clear();
        assert_eq!(slot.press(key('1')).count, 1);
    }

    #[test]
    fn a_slot_that_has_used_up_its_nonces_forgets_instead_of_repeating_one() {
        let mut slot = keyed("42");
        slot.expose(|_| ());
        // Sealing is one behind the last number: one more seal fits, the next does not.
        {
            let opened = Opened::new(&mut slot);
            opened.0.memory.bytes_mut()[SEALS].copy_from_slice(&(u32::MAX - 1).to_be_bytes());
        }
        slot.expose(|digits| assert_eq!(digits, [4, 2]));
        assert_eq!((slot.count(), slot.overflow()), (0, SPOILT));
    }

    #[test]
    fn no_nonce_comes_twice_across_presses_clears_and_reuse() {
        // `PlainSealer` panics when it is given a nonce for the second time.
        let sealer = Arc::new(PlainSealer::default());
        for lease in 0..20 {
            let mut slot = KeySlot::new(plain::memory(), sealer.clone(), lease);
            for round in 0..5 {
                for _ in 0..round {
                    let _ = slot.press(key('1'));
                    slot.expose(|_| ());
                }
                slot.clear();
            }
        }
        assert_eq!(sealer.seals(), 20 * 2 * (1 + 2 + 3 + 4));
    }
}
