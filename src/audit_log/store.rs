//! One log: a directory of segments and a head.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    disk::{Disk, DiskFile},
    head::{Head, HeadFile, HeadRead},
    reserve::Reserve,
    scan::{Damage, Wrong, scan, segment_name},
};
use crate::proto::{
    audit::{Entry, Record, Unfit},
    id::{Node, Tenant},
};

/// Why the audit log cannot be opened. The gateway does not start without it.
#[derive(Debug, thiserror::Error)]
pub enum AuditOpenError {
    /// Another process writes it.
    #[error("the audit log in {0:?} is in use by another gateway; stop that one first")]
    InUse(PathBuf),
    /// The file system said no.
    #[error("the audit log cannot be opened: {path:?}: {error}")]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// It was changed, or the disk lost what it had confirmed.
    #[error(
        "the audit log is damaged and is not written to: {damage}{more}; keep the directory as evidence, and run `tonewall audit verify` for the whole report",
        more = if *.others > 0 { format!(" (and {} more places)", .others) } else { String::new() }
    )]
    Damaged {
        /// Where the first damage is.
        damage: Box<Damage>,
        /// How many more there are.
        others: usize,
    },
}

impl AuditOpenError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Disk { path, error }
    }

    /// Whether removing the reserve may help.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Disk { error, .. } if is_full(error))
    }
}

/// What every entry of a run has in common.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) node: Node,
    pub(super) boot: String,
    pub(super) build: String,
    pub(super) configuration: String,
}

pub(super) struct Store {
    dir: PathBuf,
    tenant: Option<Tenant>,
    /// The last segment, if there is one.
    segment: Option<Box<dyn DiskFile>>,
    /// Its length; what lies beyond is not acknowledged.
    length: u64,
    /// A segment that has so many bytes is followed by another.
    segment_bytes: u64,
    head: HeadFile,
    /// The last entry, written or pending.
    last: Head,
    /// Number of the first pending entry.
    pending_from: u64,
    pending: Vec<u8>,
}

impl Store {
    /// Opens a log or begins one. Returns also how many bytes of an interrupted write were cut.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        tenant: Option<Tenant>,
        segment_bytes: u64,
    ) -> Result<(Self, u64), AuditOpenError> {
        disk.make_dir(dir).map_err(AuditOpenError::at(dir))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).map_err(AuditOpenError::at(parent))?;
        }
        let found = scan(dir, tenant.as_ref(), |_| {}).map_err(AuditOpenError::at(dir))?;
        let mut damages = found.damages;
        // The trace of a commit that was interrupted between log and head: mended below.
        if damages.len() == 1 && damages[0].what == Wrong::HalfHead {
            damages.clear();
        }
        let others = damages.len().saturating_sub(1);
        if let Some(damage) = damages.into_iter().next() {
            let damage = Box::new(damage);
            return Err(AuditOpenError::Damaged { damage, others });
        }
        let at = || AuditOpenError::at(dir);
        let mut segment = match &found.segment {
            Some((path, _)) => Some(disk.open(path).map_err(AuditOpenError::at(path))?),
            None => None,
        };
        let length = found.segment.map_or(0, |(_, length)| length);
        if let Some(file) = &mut segment {
            if found.tail.is_some() {
                file.set_length(length).map_err(at())?;
            }
            // What a crash left beyond the head may be in the page cache only.
            file.sync().map_err(at())?;
        }
        let head = match found.head.head() {
            Some((head, slot)) => {
                let mut file = HeadFile::open(disk, dir, slot).map_err(at())?;
                if head != found.last || matches!(found.head, HeadRead::Half { .. }) {
                    file.put(found.last).map_err(at())?;
                }
                file
            }
            None => HeadFile::create(disk, dir).map_err(at())?,
        };
        let store = Self {
            dir: dir.to_owned(),
            tenant,
            segment,
            length,
            segment_bytes,
            head,
            last: found.last,
            pending_from: found.last.sequence + 1,
            pending: Vec::new(),
        };
        Ok((store, found.tail.map_or(0, |tail| tail.bytes)))
    }

    /// Adds an entry to what the next commit writes; returns its place.
    pub(super) fn append(
        &mut self,
        context: &Context,
        time: Timestamp,
        record: Record,
    ) -> Result<u64, Unfit> {
        let entry = Entry {
            sequence: self.last.sequence + 1,
            previous: self.last.hash,
            time,
            tenant: self.tenant.clone(),
            node: context.node.clone(),
            boot: context.boot.clone(),
            build: context.build.clone(),
            configuration: context.configuration.clone(),
            requirement: record.event.requirement().into(),
            record,
        };
        let (line, hash) = entry.to_line()?;
        self.pending.extend_from_slice(&line);
        self.last = Head {
            sequence: entry.sequence,
            hash,
        };
        Ok(entry.sequence)
    }

    /// Makes all that was appended durable. After an error nothing more may be appended: the page
    /// cache may say that bytes are on disk which are not (a second fsync would succeed).
    pub(super) fn commit(&mut self, disk: &dyn Disk, reserve: &mut Reserve) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.write(disk) {
            Err(error) if is_full(&error) && reserve.release(disk) => {
                if let Some(segment) = &mut self.segment {
                    segment.set_length(self.length)?;
                }
                self.write(disk)?;
            }
            written => written?,
        }
        if let Some(segment) = &mut self.segment {
            segment.sync()?;
        }
        self.head.put(self.last)?;
        self.length += self.pending.len() as u64;
        self.pending.clear();
        self.pending_from = self.last.sequence + 1;
        Ok(())
    }

    fn write(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let segment = match &mut self.segment {
            Some(segment) if self.length < self.segment_bytes => segment,
            // The full segment was synced by the commit before.
            _ => {
                let file = disk.open(&self.dir.join(segment_name(self.pending_from)))?;
                disk.sync_dir(&self.dir)?;
                self.length = 0;
                self.segment.insert(file)
            }
        };
        segment.write_at(&self.pending, self.length)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
