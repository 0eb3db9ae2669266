//! The append-only log on disk, and the proof that something stands in it.
//!
//! ```text
//! DATA_DIR/audit/
//!   lock  reserve           one writer at a time; room for results when the disk is full
//!   node/                   the node's own log
//!   tenant-NAME/            one log a tenant, who sees all of it and nothing else
//!     head                  the last entry that was acknowledged (two slots, replaced in turn)
//!     00000000000000000001.log   entries, one a line; the next segment begins at 64 MiB
//! ```
//!
//! A line is described at [`crate::proto::audit::Entry`]. A record is acknowledged once its line
//! and then the head are synced. So at start a log that is shorter than its head has lost something
//! acknowledged, and damage up to the head is damage: both refuse to open. What follows the head is
//! kept where it is whole and cut where a crash tore it: nobody was told of it.
//!
//! A failed write or sync ends all writing until a restart, which reads back what is really there:
//! after a failed fsync the kernel may drop the pages and report the next one as a success.

mod disk;
mod head;
mod reserve;
mod scan;
mod store;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::proto::{
    audit::{Record, Unfit},
    id::{Node, Tenant},
};
use disk::{Disk, LocalDisk};
pub use scan::{Damage, Wrong};
pub use store::AuditOpenError;
use store::Context;
use writer::{Clock, Health, Job, Sizes, Writer};

/// Records that may wait for the log's thread; a caller beyond them waits in turn.
const QUEUE: usize = 4096;
/// Segments begin anew here, so that old ones can be copied away whole; the reserve holds the
/// results of thousands of charges.
const SIZES: Sizes = Sizes {
    segment_bytes: 64 << 20,
    reserve_bytes: 4 << 20,
    between_refills: Duration::from_secs(5),
    gather: Duration::from_millis(20),
};

/// Proof that a record is durable. Only [`AuditLog::record`] returns one.
///
/// ```compile_fail,E0451
/// let forged = tonewall::audit_log::Recorded { sequence: 1 };
/// ```
///
/// It proves one thing once:
///
/// ```compile_fail,E0599
/// fn twice(proof: tonewall::audit_log::Recorded) -> [tonewall::audit_log::Recorded; 2] {
///     [proof.clone(), proof]
/// }
/// ```
#[derive(Debug)]
#[must_use = "what is recorded is then done; dropping the proof loses the right to do it"]
pub struct Recorded {
    sequence: u64,
}

impl Recorded {
    /// Where in its log the record stands.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Why a record is not durable. No record, no capture and no charge.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk said no; the log takes nothing more until a restart.
    #[error(
        "the audit log cannot be written ({0}); captures and charges are refused until the gateway restarts on a healthy disk"
    )]
    Broken(String),
    /// The disk is full: what begins is refused, what ends is still recorded.
    #[error("the audit log's disk is full; free some room, and captures and charges go on")]
    NoRoom,
    /// The record has no form in the log; the log is as it was.
    #[error("the audit log cannot hold the record: {0}")]
    Unfit(#[from] Unfit),
    /// The log is being closed.
    #[error("the audit log is closed: the gateway is stopping")]
    Closed,
}

/// The handle; cheap to clone. A thread of its own writes and syncs, and ends with the last handle.
#[derive(Clone)]
pub struct AuditLog(Arc<Worker>);

struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    health: Health,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Somebody waits: the thread gathers no more notes.
    fn hurry(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        self.hurry();
        if let Some(thread) = self.thread.take() {
            // What was asked for is written once it has ended; a panic was reported.
            let _ = thread.join();
        }
    }
}

impl AuditLog {
    /// Opens the logs under `data_dir`, which must exist, and records in each that it was started.
    /// Checks every entry that is there.
    ///
    /// `build` and `configuration` (the SHA-256 of what is in force) stand in every entry, and so
    /// does the time that `clock` reads when an entry is made.
    pub fn open(
        data_dir: &Path,
        node: Node,
        build: &str,
        configuration: &str,
        clock: impl Fn() -> Timestamp + Send + 'static,
    ) -> Result<Self, AuditOpenError> {
        let context = Context {
            node,
            boot: ulid::Ulid::from_parts(
                u64::try_from(clock().as_millisecond()).unwrap_or(0),
                rand::random(),
            )
            .to_string(),
            build: build.to_owned(),
            configuration: configuration.to_owned(),
        };
        Self::open_on(
            data_dir,
            Box::new(LocalDisk),
            Box::new(clock),
            context,
            SIZES,
        )
    }

    fn open_on(
        data_dir: &Path,
        disk: Box<dyn Disk>,
        clock: Clock,
        context: Context,
        sizes: Sizes,
    ) -> Result<Self, AuditOpenError> {
        let health = Health::default();
        let writer = Writer::open(data_dir, disk, clock, context, sizes, health.clone())?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(AuditOpenError::at(data_dir))?;
        Ok(Self(Arc::new(Worker {
            jobs: Some(jobs),
            health,
            thread: Some(thread),
        })))
    }

    /// Appends to the tenant's log, or to the node's (`None`); returns once it is durable.
    ///
    /// Records of one caller stand in the order of its calls. A caller that stops waiting leaves
    /// the record standing, but has no proof of it.
    pub async fn record(
        &self,
        tenant: Option<&Tenant>,
        record: Record,
    ) -> Result<Recorded, AuditError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Record {
            tenant: tenant.cloned(),
            record: Box::new(record),
            reply: Some(reply),
        };
        self.send(job).await?;
        let sequence = answer.await.map_err(|_| AuditError::Closed)??;
        Ok(Recorded { sequence })
    }

    /// Appends what nobody's next step waits for. It stands where it was noted, before whatever is
    /// recorded or noted after it, and is durable with the first record behind it, or 20 ms later. That
    /// it could not be written is said in the program's log only.
    ///
    /// # Errors
    /// Gives the record back when the queue is full or closed: nothing was noted.
    pub fn note(&self, tenant: Option<&Tenant>, record: Record) -> Result<(), Box<Record>> {
        let job = Job::Record {
            tenant: tenant.cloned(),
            record: Box::new(record),
            reply: None,
        };
        let given_back = match &self.0.jobs {
            Some(jobs) => match jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(job) | TrySendError::Closed(job)) => job,
            },
            None => job,
        };
        match given_back {
            Job::Record { record, .. } => Err(record),
            Job::Configuration(_) | Job::Refill | Job::Close(_) => Ok(()),
        }
    }

    /// Whether there is room for the ends of what begins now. Where not, captures and charges are
    /// refused (by [`AuditLog::record`] too), and asking makes the log look for room again.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let room = self.0.health.room.load(Ordering::Acquire);
        if !room && let Some(jobs) = &self.0.jobs {
            // A full queue means that the thread is busy; the next question asks again.
            let _ = jobs.try_send(Job::Refill);
        }
        room && !self.is_broken()
    }

    /// Whether a failure has ended all writing until a restart.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.health.broken.load(Ordering::Acquire)
    }

    /// Entries from here on name this configuration. The change itself is a record of its own.
    pub async fn set_configuration(&self, hash: &str) -> Result<(), AuditError> {
        self.send(Job::Configuration(hash.to_owned())).await
    }

    /// Records in every log that it was stopped, and ends writing. What is asked for afterwards is
    /// answered with [`AuditError::Closed`].
    pub async fn close(&self) -> Result<(), AuditError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Close(reply)).await?;
        answer.await.map_err(|_| AuditError::Closed)?
    }

    async fn send(&self, job: Job) -> Result<(), AuditError> {
        let jobs = self.0.jobs.as_ref().ok_or(AuditError::Closed)?;
        jobs.send(job).await.map_err(|_| AuditError::Closed)?;
        self.0.hurry();
        Ok(())
    }
}
