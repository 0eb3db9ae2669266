//! Room kept on the disk for the ends of what has begun.
//!
//! A file of a few mebibytes is written at start. When the disk is full it is removed, so that
//! results still fit, and whatever begins is refused until it could be written again.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::disk::Disk;

pub(super) struct Reserve {
    path: PathBuf,
    bytes: usize,
    /// How long after one try to write it the next may come.
    between_tries: Duration,
    held: Arc<AtomicBool>,
    tried: Option<Instant>,
}

impl Reserve {
    pub(super) fn new(
        path: PathBuf,
        bytes: usize,
        between_tries: Duration,
        held: Arc<AtomicBool>,
    ) -> Self {
        Self {
            path,
            bytes,
            between_tries,
            held,
            tried: None,
        }
    }

    pub(super) fn held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Writes the reserve if it is not there. Not having it is no failure of the log.
    pub(super) fn hold(&mut self, disk: &dyn Disk) {
        let early = self
            .tried
            .is_some_and(|at| at.elapsed() < self.between_tries);
        if self.held() || early {
            return;
        }
        self.tried = Some(Instant::now());
        match self.fill(disk) {
            Ok(()) => self.held.store(true, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(),
                    "no room for the audit log's reserve; captures and charges are refused");
                // Give back what was taken of the last room.
                let _ = disk.remove(&self.path);
            }
        }
    }

    /// Gives the room back; false when there was none.
    pub(super) fn release(&mut self, disk: &dyn Disk) -> bool {
        if !self.held.swap(false, Ordering::AcqRel) {
            return false;
        }
        self.tried = Some(Instant::now());
        tracing::error!(path = %self.path.display(),
            "the audit log's disk is full: its reserve is in use, captures and charges are refused");
        disk.remove(&self.path).is_ok()
    }

    fn fill(&self, disk: &dyn Disk) -> io::Result<()> {
        // Random, for a file system that compresses would give zeros no room.
        let mut block = vec![0u8; self.bytes];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut block);
        let mut file = disk.open(&self.path)?;
        file.write_at(&block, 0)?;
        file.sync()
    }
}
