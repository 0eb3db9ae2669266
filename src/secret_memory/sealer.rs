//! Seals slots under a key that lives in a slot of its own.

use aes_gcm::{
    Aes256Gcm, Key,
    aead::{AeadInOut, KeyInit},
};
use rand::{TryRng, rngs::SysRng};
use zeroize::{Zeroize, zeroize_stack};

use super::{SecretMemoryError, Slot};
use crate::proto::secret::{Sealer, SecretBytes};

/// Bytes of an AES-256 key.
const KEY_BYTES: usize = 32;
/// What one operation may use of the stack, with room to spare: the widest implementation of AES
/// (VAES-512) keeps 64 blocks of key stream and fifteen round keys of 64 bytes there, 2 KiB.
const STACK_BYTES: usize = 16 * 1024;

/// AES-256-GCM under a random key that was drawn into secret memory and never leaves it.
///
/// The expanded key would be as good as the key, and it does not fit into a slot; so it is built
/// on the stack for each operation (a microsecond, ten times a second at most), wiped by its own
/// `Drop`, and the stack that the operation used is overwritten: constructors return by value, and
/// a move leaves the old copy behind (the whole key was found there without it).
pub struct SlabSealer {
    key: Slot,
}

impl SlabSealer {
    /// Draws the key from the operating system straight into `slot`.
    pub(super) fn with_fresh_key(mut slot: Slot) -> Result<Self, SecretMemoryError> {
        SysRng
            .try_fill_bytes(&mut slot.bytes_mut()[..KEY_BYTES])
            .map_err(|error| SecretMemoryError::Random(error.to_string()))?;
        Ok(Self { key: slot })
    }

    fn key(&self) -> &Key<Aes256Gcm> {
        self.key.bytes()[..KEY_BYTES]
            .try_into()
            .expect("the slice is as long as the key")
    }

    #[cfg(test)]
    pub(super) const fn slot(&self) -> &Slot {
        &self.key
    }
}

impl Sealer for SlabSealer {
    fn seal(&self, nonce: [u8; 12], text: &mut [u8]) -> [u8; 16] {
        let tag = seal_leaving_stack(self.key(), nonce, text);
        zeroize_stack::<STACK_BYTES>();
        tag
    }

    fn open(&self, nonce: [u8; 12], text: &mut [u8], tag: [u8; 16]) -> bool {
        let opened = open_leaving_stack(self.key(), nonce, text, tag);
        zeroize_stack::<STACK_BYTES>();
        if !opened {
            text.zeroize();
        }
        opened
    }
}

/// Not inlined, so that its frame, and all below it, lies where the caller then overwrites.
#[inline(never)]
fn seal_leaving_stack(key: &Key<Aes256Gcm>, nonce: [u8; 12], text: &mut [u8]) -> [u8; 16] {
    Aes256Gcm::new(key)
        .encrypt_inout_detached(&nonce.into(), &[], text.into())
        .expect("a slot is shorter than 64 GiB, the limit of AES-GCM")
        .into()
}

/// Not inlined, as [`seal_leaving_stack`].
#[inline(never)]
fn open_leaving_stack(
    key: &Key<Aes256Gcm>,
    nonce: [u8; 12],
    text: &mut [u8],
    tag: [u8; 16],
) -> bool {
    Aes256Gcm::new(key)
        .decrypt_inout_detached(&nonce.into(), &[], text.into(), &tag.into())
        .is_ok()
}
