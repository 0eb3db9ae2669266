//! Maps and locks secret memory, hands it out in slots, and holds the seal key.
//!
//! Card data lives here and nowhere else. The memory is `memfd_secret(2)` where the kernel has it
//! (its pages leave the kernel's own mapping, so that neither `/proc/PID/mem` nor a debugger of
//! root reads them), else anonymous memory that is locked, kept out of core dumps and of children.
//! Both lie between guard pages. [`Slab::kind`] says which it is.
//!
//! All `unsafe` of this kind is in this directory.

mod error;
mod hardening;
mod mapping;
mod sealer;
mod slot;

use std::{fmt, sync::Arc};

pub use error::SecretMemoryError;
pub use hardening::{forbid_dumps, give_back_freed_memory};
pub use sealer::SlabSealer;
pub use slot::Slot;

use self::{
    mapping::Mapping,
    slot::{Pool, SlabMemory},
};
use crate::{
    media::SlotSource,
    proto::secret::{KeySlot, SLOT_BYTES},
};

/// Bytes of a request slot: a processor's HTTP request is filled in place.
pub const REQUEST_SLOT_BYTES: usize = 4096;
/// Key slots by default: with [`DEFAULT_REQUEST_SLOTS`] 52 KiB, far below the usual
/// `RLIMIT_MEMLOCK` of 8 MiB (64 KiB before Linux 5.16).
pub const DEFAULT_KEY_SLOTS: usize = 256;
/// Request slots by default: how many charges are written at the same time.
pub const DEFAULT_REQUEST_SLOTS: usize = 8;

/// What the slab's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretMemoryKind {
    /// `memfd_secret(2)`: out of reach even for the kernel's own mapping of memory.
    MemfdSecret,
    /// Anonymous memory, locked, not dumped, not inherited. Root can read it.
    Locked,
}

impl fmt::Display for SecretMemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "locked",
        })
    }
}

/// Fixed slots of secret memory. Cheap to clone; the memory is wiped and unmapped with the last
/// clone and the last slot.
#[derive(Clone)]
pub struct Slab {
    memory: Arc<SlabMemory>,
    sealer: Arc<SlabSealer>,
}

impl Slab {
    /// Maps memory for `slots` fields and `request_slots` requests and draws a fresh seal key.
    ///
    /// # Errors
    ///
    /// When the memory cannot be had; with `require_secret_memory` also when it would not be
    /// `memfd_secret`. The error says what to change.
    pub fn map(
        slots: usize,
        request_slots: usize,
        require_secret_memory: bool,
    ) -> Result<Self, SecretMemoryError> {
        let bytes = Self::bytes_for(slots, request_slots)?;
        let mapping = match Mapping::memfd_secret(bytes) {
            Ok(mapping) => mapping,
            Err(refusal) if require_secret_memory => return Err(refusal.when_required()),
            Err(_) => Mapping::locked(bytes)?,
        };
        Self::over(mapping, slots, request_slots)
    }

    /// What the memory is; for the log, the metrics and `check`.
    #[must_use]
    pub fn kind(&self) -> SecretMemoryKind {
        self.memory.kind()
    }

    /// A wiped slot of [`REQUEST_SLOT_BYTES`] for a processor's request; `None` when all are taken.
    #[must_use]
    pub fn acquire_request(&self) -> Option<Slot> {
        self.memory.acquire(Pool::Requests)
    }

    /// Key slots that are free now, for metrics.
    #[must_use]
    pub fn free_key_slots(&self) -> usize {
        self.memory.free(Pool::Keys)
    }

    /// Request slots that are free now, for metrics.
    #[must_use]
    pub fn free_request_slots(&self) -> usize {
        self.memory.free(Pool::Requests)
    }

    /// One key slot more than asked for: the seal key's own.
    fn bytes_for(slots: usize, request_slots: usize) -> Result<usize, SecretMemoryError> {
        let page = mapping::page_size();
        let sum = || {
            let keys = slots
                .checked_add(1)?
                .checked_mul(SLOT_BYTES)?
                .checked_next_multiple_of(page)?;
            let requests = request_slots
                .checked_mul(REQUEST_SLOT_BYTES)?
                .checked_next_multiple_of(page)?;
            keys.checked_add(requests)
                .filter(|b| *b <= isize::MAX as usize / 2)
        };
        sum().ok_or(SecretMemoryError::TooManySlots {
            slots,
            request_slots,
        })
    }

    fn over(
        mapping: Mapping,
        slots: usize,
        request_slots: usize,
    ) -> Result<Self, SecretMemoryError> {
        let memory = Arc::new(SlabMemory::new(mapping, slots + 1, request_slots));
        let key = memory
            .acquire(Pool::Keys)
            .expect("one slot more than asked for was just mapped, and nothing is taken yet");
        let sealer = Arc::new(SlabSealer::with_fresh_key(key)?);
        Ok(Self { memory, sealer })
    }
}

impl SlotSource for Slab {
    fn acquire(&self) -> Option<KeySlot> {
        let slot = self.memory.acquire(Pool::Keys)?;
        let lease = slot.lease();
        Some(KeySlot::new(Box::new(slot), self.sealer.clone(), lease))
    }
}

#[cfg(test)]
mod tests;
