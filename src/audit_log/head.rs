//! The head of a log: sequence and hash of the last entry that was acknowledged.
//!
//! The file holds two slots of one line each. A commit overwrites the older and syncs it, so that
//! the newer stays whole whatever happens: replaced atomically, with one sync and without a new
//! name. A slot that cannot be read is therefore the trace of a commit that was interrupted after
//! the log itself was synced, or of a changed byte.

use std::{fs, io, path::Path};

use sha2::{Digest, Sha256};

use super::disk::{Disk, DiskFile};
use crate::proto::audit::EntryHash;

/// Name of the file, next to the segments.
pub(super) const NAME: &str = "head";
/// Sequence (20 digits), hash (64), check (16), with a space or line feed after each.
const SLOT: usize = 20 + 1 + 64 + 1 + 16 + 1;

/// The last acknowledged entry; sequence 0 in an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) hash: EntryHash,
}

impl Head {
    pub(super) const EMPTY: Self = Self {
        sequence: 0,
        hash: EntryHash::START,
    };

    fn to_slot(self) -> [u8; SLOT] {
        let line = format!("{:020} {} ", self.sequence, self.hash);
        let check = Sha256::digest(line.as_bytes());
        let check: String = check[..8].iter().map(|b| format!("{b:02x}")).collect();
        let mut slot = [b'\n'; SLOT];
        slot[..SLOT - 1 - check.len()].copy_from_slice(line.as_bytes());
        slot[SLOT - 1 - check.len()..SLOT - 1].copy_from_slice(check.as_bytes());
        slot
    }

    fn from_slot(slot: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(slot).ok()?;
        let head = Self {
            sequence: text.get(..20)?.parse().ok()?,
            hash: text.get(21..85)?.parse().ok()?,
        };
        // One spelling only: whatever else differs is a change.
        (head.to_slot() == *slot).then_some(head)
    }
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadRead {
    /// There is no file: a log that was never begun, or that lost it.
    Absent,
    /// Both slots can be read.
    Whole {
        head: Head,
        /// Which slot holds it.
        slot: usize,
    },
    /// One slot can be read.
    Half { head: Head, slot: usize },
    /// None can.
    Unreadable,
}

impl HeadRead {
    pub(super) const fn head(&self) -> Option<(Head, usize)> {
        match *self {
            Self::Whole { head, slot } | Self::Half { head, slot } => Some((head, slot)),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// Reads the head of the log in `dir`.
pub(super) fn read(dir: &Path) -> io::Result<HeadRead> {
    let bytes = match fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HeadRead::Absent),
        Err(error) => return Err(error),
    };
    if bytes.len() != 2 * SLOT {
        return Ok(HeadRead::Unreadable);
    }
    let (first, second) = bytes.split_at(SLOT);
    Ok(match (Head::from_slot(first), Head::from_slot(second)) {
        (Some(first), Some(second)) if second.sequence > first.sequence => HeadRead::Whole {
            head: second,
            slot: 1,
        },
        (Some(head), Some(_)) => HeadRead::Whole { head, slot: 0 },
        (Some(head), None) => HeadRead::Half { head, slot: 0 },
        (None, Some(head)) => HeadRead::Half { head, slot: 1 },
        (None, None) => HeadRead::Unreadable,
    })
}

/// Writes the head.
pub(super) struct HeadFile {
    file: Box<dyn DiskFile>,
    /// The slot that is written next.
    older: usize,
}

impl HeadFile {
    /// Makes the head of an empty log; it appears whole or not at all.
    pub(super) fn create(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let new = dir.join("head.new");
        let mut file = disk.open(&new)?;
        let slot = Head::EMPTY.to_slot();
        file.set_length(0)?;
        file.write_at(&[slot, slot].concat(), 0)?;
        file.sync()?;
        disk.rename(&new, &dir.join(NAME))?;
        disk.sync_dir(dir)?;
        Ok(Self { file, older: 1 })
    }

    /// Opens a head whose current slot is `slot`.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, slot: usize) -> io::Result<Self> {
        Ok(Self {
            file: disk.open(&dir.join(NAME))?,
            older: 1 - slot,
        })
    }

    /// Replaces the older slot, durably.
    pub(super) fn put(&mut self, head: Head) -> io::Result<()> {
        let offset = if self.older == 0 { 0 } else { SLOT as u64 };
        self.file.write_at(&head.to_slot(), offset)?;
        self.file.sync()?;
        self.older = 1 - self.older;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::LocalDisk;
    use super::*;

    fn head(sequence: u64) -> Head {
        Head {
            sequence,
            hash: EntryHash::of(&sequence.to_be_bytes()),
        }
    }

    #[test]
    fn an_interrupted_replacement_at_any_byte_leaves_the_head_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::create(&LocalDisk, dir.path()).unwrap();
        for sequence in 1..=3 {
            file.put(head(sequence)).unwrap();
        }
        let path = dir.path().join(NAME);
        let before = fs::read(&path).unwrap();
        file.put(head(4)).unwrap();
        let after = fs::read(&path).unwrap();
        for cut in 0..=SLOT {
            // Slot 0 is the older one here: 1 and 3 went to slot 1, 2 and 4 to slot 0.
            let torn = [&after[..cut], &before[cut..]].concat();
            fs::write(&path, torn).unwrap();
            let (found, _) = read(dir.path()).unwrap().head().unwrap();
            assert!(found == head(3) || found == head(4), "{cut}: {found:?}");
        }
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::create(&LocalDisk, dir.path()).unwrap();
        file.put(head(1)).unwrap();
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            let read = read(dir.path()).unwrap();
            assert!(matches!(read, HeadRead::Half { .. }), "{bit}: {read:?}");
        }
    }
}
