//! A disk that fails when it is told to. It never really syncs: no test here pulls the plug, and
//! thousands of syncs take minutes on a busy disk.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::disk::{Disk, DiskFile, LocalDisk};

/// What the disk is told, and what it has done.
#[derive(Default)]
pub(super) struct Plan {
    /// Operations so far.
    pub(super) done: u64,
    /// What was done to files, in this order.
    pub(super) trail: Vec<String>,
    /// The operation that fails; a write then leaves half its bytes.
    pub(super) fail_at: Option<u64>,
    /// Whether every sync of a file fails.
    pub(super) syncs_fail: bool,
    /// Bytes that files may still grow by.
    pub(super) room: Option<u64>,
}

#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Plan>>);

impl FaultyDisk {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap()
    }

    fn operate(&self) -> io::Result<()> {
        let mut plan = self.plan();
        plan.done += 1;
        match plan.fail_at {
            Some(at) if at == plan.done => Err(io::Error::other("made to fail")),
            _ => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.operate()?;
        Ok(Box::new(FaultyFile {
            file: LocalDisk.open(path)?,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        LocalDisk.make_dir(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.operate()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate()?;
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        if let Some(room) = &mut self.plan().room {
            *room += fs::metadata(path)?.len();
        }
        LocalDisk.remove(path)
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    disk: FaultyDisk,
}

impl FaultyFile {
    fn note(&self, what: &str) {
        let name = self.path.file_name().unwrap_or_default();
        let what = format!("{what} {}", name.display());
        self.disk.plan().trail.push(what);
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.note("write");
        if let Err(error) = self.disk.operate() {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        let grown = (offset + bytes.len() as u64).saturating_sub(length);
        if let Some(room) = &mut self.disk.plan().room {
            *room = room.checked_sub(grown).ok_or(io::ErrorKind::StorageFull)?;
        }
        self.file.write_at(bytes, offset)
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.disk.operate()?;
        self.file.set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.note("sync");
        self.disk.operate()?;
        if self.disk.plan().syncs_fail {
            return Err(io::Error::other("fsync made to fail"));
        }
        Ok(())
    }
}
