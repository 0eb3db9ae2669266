//! A key that has a way to go: from signalling to the worker that owns its call.

use super::KeySlot;
use crate::proto::digit::Key;

/// One key, sealed in a slot of its own, so that the queue it goes through never holds it.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`, `PartialEq`, `Serialize`.
///
/// ```compile_fail,E0277
/// fn print(press: tonewall::proto::secret::SealedPress) {
///     println!("{press:?}");
/// }
/// ```
pub struct SealedPress(KeySlot);

impl SealedPress {
    /// Seals `key`, of any class, in `slot`.
    #[must_use]
    pub fn seal(mut slot: KeySlot, key: Key) -> Self {
        slot.clear();
        slot.append(&key);
        Self(slot)
    }

    /// The key; `None` when the slot was changed from outside. The slot is wiped.
    #[must_use]
    pub fn open(self) -> Option<Key> {
        let mut slot = self.0;
        let key = slot.expose(|codes| codes.first().copied().and_then(Key::from_event));
        slot.clear();
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::secret::plain;

    #[test]
    fn every_key_comes_out_as_it_went_in() {
        for symbol in "0123456789*#ABCD".chars() {
            let sealed = SealedPress::seal(plain::slot(), plain::key(symbol));
            let opened = sealed.open().expect("the slot was not changed");
            assert_eq!(opened.code(), plain::key(symbol).code(), "{symbol}");
        }
    }
}
