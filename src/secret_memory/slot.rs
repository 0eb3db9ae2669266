//! Slots of the slab: each is handed out once at a time and wiped when it comes back.

#![allow(unsafe_code)]

use std::{
    slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use zeroize::Zeroize;

use super::{REQUEST_SLOT_BYTES, SecretMemoryKind, mapping::Mapping};
use crate::proto::secret::{SLOT_BYTES, SecretBytes};

/// Which of the two sizes.
#[derive(Clone, Copy)]
pub(super) enum Pool {
    Keys,
    Requests,
}

/// The mapping and what of it is free.
pub(super) struct SlabMemory {
    mapping: Mapping,
    free_keys: Mutex<Vec<usize>>,
    free_requests: Mutex<Vec<usize>>,
    next_lease: AtomicU64,
}

impl SlabMemory {
    /// Divides `mapping`: key slots from its start, request slots up to its end.
    pub(super) fn new(mapping: Mapping, key_slots: usize, request_slots: usize) -> Self {
        let keys = key_slots * SLOT_BYTES;
        let requests = request_slots * REQUEST_SLOT_BYTES;
        assert!(
            keys + requests <= mapping.bytes(),
            "the mapping was sized for the slots"
        );
        let first_request = mapping.bytes() - requests;
        Self {
            free_keys: Mutex::new((0..key_slots).map(|n| n * SLOT_BYTES).collect()),
            free_requests: Mutex::new(
                (0..request_slots)
                    .map(|n| first_request + n * REQUEST_SLOT_BYTES)
                    .collect(),
            ),
            mapping,
            next_lease: AtomicU64::new(0),
        }
    }

    /// Takes a slot out of its free list.
    pub(super) fn acquire(self: &Arc<Self>, pool: Pool) -> Option<Slot> {
        let offset = self.with_free(pool, Vec::pop)?;
        Some(Slot {
            memory: Arc::clone(self),
            pool,
            offset,
            lease: self.next_lease.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// How many are free.
    pub(super) fn free(&self, pool: Pool) -> usize {
        self.with_free(pool, |free| free.len())
    }

    pub(super) const fn kind(&self) -> SecretMemoryKind {
        self.mapping.kind()
    }

    #[cfg(test)]
    pub(super) fn start(&self) -> std::ptr::NonNull<u8> {
        self.mapping.start()
    }

    /// A panic elsewhere cannot leave a free list half-changed (each change is one push or pop), so
    /// a poisoned lock is as good as any.
    fn with_free<R>(&self, pool: Pool, change: impl FnOnce(&mut Vec<usize>) -> R) -> R {
        let free = match pool {
            Pool::Keys => &self.free_keys,
            Pool::Requests => &self.free_requests,
        };
        change(&mut free.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One slot, owned. It is all zero when it is handed out, and wiped on drop before anybody else
/// can have it.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`, `Serialize`.
pub struct Slot {
    memory: Arc<SlabMemory>,
    pool: Pool,
    offset: usize,
    lease: u64,
}

impl Slot {
    /// A number that no other slot of this slab has or had: what nonces are made of.
    pub(super) const fn lease(&self) -> u64 {
        self.lease
    }

    const fn len(&self) -> usize {
        match self.pool {
            Pool::Keys => SLOT_BYTES,
            Pool::Requests => REQUEST_SLOT_BYTES,
        }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: `offset` came from a free list, whose offsets all lie inside the mapping
        // (`SlabMemory::new` asserts it), and the mapping lives as long as `memory`.
        unsafe { self.memory.mapping.start().as_ptr().add(self.offset) }
    }
}

impl SecretBytes for Slot {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the range is mapped, initialised (the kernel zeroes pages) and inside the mapping;
        // an offset is in the free list or in exactly one `Slot`, so that only `&mut self` of this
        // very slot could write to it.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; `&mut self` makes this the only slice of the slot.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // Never grows: it was made with room for all of its slots.
        self.memory
            .with_free(self.pool, |free| free.push(self.offset));
    }
}
