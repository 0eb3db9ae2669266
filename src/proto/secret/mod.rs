//! Slots of secret memory and what may be done with them.
//!
//! The memory itself is handed in (`crate::secret_memory` maps and locks it); this module decides
//! what is written where and keeps it sealed between key presses.

mod key_slot;
#[cfg(test)]
pub(crate) mod plain;
mod press;

pub use key_slot::{KeySlot, MAX_KEYS, Pressed, SLOT_BYTES, TakeKey};
pub use press::SealedPress;

/// A stretch of secret memory, owned. Whoever implements it wipes it when it is dropped.
pub trait SecretBytes: Send {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, to be written in place.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Seals and opens slots in place (AES-256-GCM under a key that lives in a slot of its own).
pub trait Sealer: Send + Sync {
    /// Encrypts `text` in place and returns the tag. `nonce` is never used twice.
    fn seal(&self, nonce: [u8; 12], text: &mut [u8]) -> [u8; 16];
    /// Decrypts `text` in place; false (and `text` wiped) when the tag does not fit.
    fn open(&self, nonce: [u8; 12], text: &mut [u8], tag: [u8; 16]) -> bool;
}
