//! Reads one log from disk: its segments in order, checked against its head.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::head::{self, Head, HeadRead};
use crate::proto::{
    audit::{EntryHash, Fault, Verified, Verifier},
    id::Tenant,
};

/// How a segment's name ends; before it stands the number of its first entry (20 digits).
const SUFFIX: &str = ".log";
/// Faults that one report lists; a log in ruins has as many as entries.
const MOST_DAMAGES: usize = 20;

/// Something wrong with a log: in which file, at which byte, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Offset of the entry in the file, where it is about one.
    pub byte: Option<u64>,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// With an entry.
    #[error(transparent)]
    Entry(#[from] Fault),
    /// Acknowledged entries are not there.
    #[error("cut: the log ends with entry {found}, but entry {head} was acknowledged")]
    Shortened {
        /// The last entry that is there.
        found: u64,
        /// The last that was acknowledged.
        head: u64,
    },
    /// The entry that the head names is another one.
    #[error("changed: entry {sequence} has the hash {found}, but {head} was acknowledged")]
    Replaced {
        /// Which entry.
        sequence: u64,
        /// Its hash.
        found: EntryHash,
        /// The hash that was acknowledged.
        head: EntryHash,
    },
    /// There are entries and no head.
    #[error("missing: the log has entries but no head, which names the last acknowledged one")]
    NoHead,
    /// No slot of the head can be read.
    #[error("changed: the head cannot be read")]
    Head,
    /// One slot of the head cannot be read.
    #[error(
        "changed: one of the head's two copies cannot be read; a power failure leaves this too, and the gateway mends it when it starts"
    )]
    HalfHead,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What follows the last acknowledged entry and is no entry: a write that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// Where it begins in the last segment.
    pub(super) byte: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// A log as it stands on disk.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) head: HeadRead,
    /// The last entry.
    pub(super) last: Head,
    /// The last segment and its length up to `tail`.
    pub(super) segment: Option<(PathBuf, u64)>,
    pub(super) tail: Option<Tail>,
    pub(super) damages: Vec<Damage>,
}

/// Reads the log in `dir`, calling `each` with every entry that stands where it should.
///
/// The head is read first: what the gateway appends meanwhile lies beyond it.
pub(super) fn scan(
    dir: &Path,
    tenant: Option<&Tenant>,
    mut each: impl FnMut(&Verified<'_>),
) -> io::Result<Scan> {
    let head = steady_head(dir)?;
    let segments = segments(dir)?;
    let acknowledged = head.head().map_or(Head::EMPTY, |(head, _)| head);
    let mut scan = Scan {
        head,
        last: Head::EMPTY,
        segment: None,
        tail: None,
        damages: Vec::new(),
    };
    scan.check_head(dir, segments.is_empty());
    let mut verifier = Verifier::new(tenant.cloned());
    let count = segments.len();
    for (index, path) in segments.into_iter().enumerate() {
        let bytes = fs::read(&path)?;
        let mut at = 0;
        while let Some(step) = verifier.take(&bytes[at..]) {
            match step.found {
                Ok(entry) => {
                    scan.last = Head {
                        sequence: entry.sequence,
                        hash: entry.hash,
                    };
                    if entry.sequence == acknowledged.sequence && entry.hash != acknowledged.hash {
                        let what = Wrong::Replaced {
                            sequence: entry.sequence,
                            found: entry.hash,
                            head: acknowledged.hash,
                        };
                        scan.damaged(&path, Some(at as u64), what);
                    }
                    each(&entry);
                }
                // With half a head the log was synced as a whole: nothing of it can be unfinished.
                Err(fault)
                    if fault.may_be_unfinished()
                        && scan.last.sequence >= acknowledged.sequence
                        && index + 1 == count
                        && matches!(head, HeadRead::Whole { .. })
                        && scan.damages.is_empty() =>
                {
                    scan.tail = Some(Tail {
                        byte: at as u64,
                        bytes: (bytes.len() - at) as u64,
                    });
                    break;
                }
                Err(fault) => scan.damaged(&path, Some(at as u64), fault.into()),
            }
            at += step.length;
        }
        scan.segment = Some((path, at as u64));
    }
    // After a fault the verifier counts on; only an end before the head is a cut.
    if verifier.expected() <= acknowledged.sequence {
        let file = match &scan.segment {
            Some((path, _)) => path.clone(),
            None => dir.to_owned(),
        };
        let byte = scan.segment.as_ref().map(|(_, length)| *length);
        let what = Wrong::Shortened {
            found: verifier.expected() - 1,
            head: acknowledged.sequence,
        };
        scan.damaged(&file, byte, what);
    }
    Ok(scan)
}

/// Reads the head; again where it may have been read while the gateway replaced a slot.
fn steady_head(dir: &Path) -> io::Result<HeadRead> {
    let mut head = head::read(dir)?;
    for _ in 0..3 {
        if !matches!(head, HeadRead::Half { .. }) {
            break;
        }
        head = head::read(dir)?;
    }
    Ok(head)
}

impl Scan {
    fn check_head(&mut self, dir: &Path, no_segments: bool) {
        let what = match self.head {
            HeadRead::Whole { .. } => return,
            // Made before the first segment is.
            HeadRead::Absent if no_segments => return,
            HeadRead::Absent => Wrong::NoHead,
            HeadRead::Half { .. } => Wrong::HalfHead,
            HeadRead::Unreadable => Wrong::Head,
        };
        self.damaged(&dir.join(head::NAME), None, what);
    }

    fn damaged(&mut self, file: &Path, byte: Option<u64>, what: Wrong) {
        if self.damages.len() < MOST_DAMAGES {
            self.damages.push(Damage {
                file: file.to_owned(),
                byte,
                what,
            });
        }
    }
}

/// The segments of a log, in order.
fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(SUFFIX));
        if number.is_some_and(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The name of the segment that begins with this entry.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}
