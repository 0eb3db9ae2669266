//! Slots without secrecy, for unit tests under `proto/`, which may not name `secret_memory`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::{KeySlot, SLOT_BYTES, Sealer, SecretBytes};
use crate::proto::digit::Key;

/// An empty slot of its own.
pub(crate) fn slot() -> KeySlot {
    KeySlot::new(memory(), Arc::new(PlainSealer::default()), 0)
}

/// Ordinary memory for one slot.
pub(crate) fn memory() -> Box<dyn SecretBytes> {
    Box::new(PlainBytes([0; SLOT_BYTES]))
}

/// The key with this symbol on it.
pub(crate) fn key(symbol: char) -> Key {
    let code = "0123456789*#ABCD"
        .find(symbol)
        .expect("a symbol of the pad");
    Key::from_event(u8::try_from(code).expect("16 symbols")).expect("a code of a key")
}

struct PlainBytes([u8; SLOT_BYTES]);

impl SecretBytes for PlainBytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Seals by a fixed XOR and a checksum, and panics when a nonce comes twice.
#[derive(Default)]
pub(crate) struct PlainSealer(Mutex<HashSet<[u8; 12]>>);

impl PlainSealer {
    /// How many seals were made.
    pub(crate) fn seals(&self) -> usize {
        self.0.lock().expect("no test panics inside").len()
    }
}

fn checksum(nonce: [u8; 12], text: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    tag[..12].copy_from_slice(&nonce);
    let sum = |sum: u32, byte: &u8| sum.wrapping_mul(31).wrapping_add(u32::from(*byte));
    tag[12..].copy_from_slice(&text.iter().fold(7, sum).to_be_bytes());
    tag
}

impl Sealer for PlainSealer {
    fn seal(&self, nonce: [u8; 12], text: &mut [u8]) -> [u8; 16] {
        let fresh = self.0.lock().expect("no test panics inside").insert(nonce);
        assert!(fresh, "nonce {nonce:?} came twice");
        text.iter_mut().for_each(|byte| *byte ^= 0xa5);
        checksum(nonce, text)
    }

    fn open(&self, nonce: [u8; 12], text: &mut [u8], tag: [u8; 16]) -> bool {
        if checksum(nonce, text) != tag {
            text.fill(0);
            return false;
        }
        text.iter_mut().for_each(|byte| *byte ^= 0xa5);
        true
    }
}
