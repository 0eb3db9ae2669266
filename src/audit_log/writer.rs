//! The thread that writes: takes what has queued up, writes all of it, syncs each touched log once,
//! and only then answers.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{
    AuditError, AuditOpenError,
    disk::Disk,
    reserve::Reserve,
    store::{Context, Store},
};
use crate::proto::{
    audit::{Actor, Event, Record, Success},
    id::Tenant,
};

/// Where the logs are, within the data directory.
const DIRECTORY: &str = "audit";
/// The node's own log.
const NODE: &str = "node";
/// What a tenant's log is called: this and the tenant's name. (A tenant may be named `node`.)
const TENANT: &str = "tenant-";
/// Most records that one sync answers.
const BATCH: usize = 1024;

pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send>;
pub(super) type Reply = oneshot::Sender<Result<u64, AuditError>>;

/// What the handle asks of the thread.
pub(super) enum Job {
    Record {
        tenant: Option<Tenant>,
        record: Box<Record>,
        /// `None` where nobody waits for it.
        reply: Option<Reply>,
    },
    /// Entries from here on name this configuration.
    Configuration(String),
    /// Try to get the reserve back.
    Refill,
    Close(oneshot::Sender<Result<(), AuditError>>),
}

/// What the handle sees of the thread.
#[derive(Clone, Default)]
pub(super) struct Health {
    pub(super) room: Arc<AtomicBool>,
    pub(super) broken: Arc<AtomicBool>,
}

/// Sizes; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) segment_bytes: u64,
    pub(super) reserve_bytes: usize,
    pub(super) between_refills: Duration,
    /// How long notes are gathered for one sync, unless somebody waits for a record.
    pub(super) gather: Duration,
}

pub(super) struct Writer {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    clock: Clock,
    context: Context,
    sizes: Sizes,
    logs: BTreeMap<Option<Tenant>, Store>,
    reserve: Reserve,
    health: Health,
    /// Why nothing more is written.
    broken: Option<String>,
    /// Held as long as this process may write.
    lock: File,
}

impl Writer {
    /// Opens all logs that are there and the node's, and writes into each that it was started.
    pub(super) fn open(
        data_dir: &Path,
        disk: Box<dyn Disk>,
        clock: Clock,
        context: Context,
        sizes: Sizes,
        health: Health,
    ) -> Result<Self, AuditOpenError> {
        let dir = directory(data_dir);
        disk.make_dir(&dir).map_err(AuditOpenError::at(&dir))?;
        disk.sync_dir(data_dir)
            .map_err(AuditOpenError::at(data_dir))?;
        let lock = lock(&dir)?;
        let mut reserve = Reserve::new(
            dir.join("reserve"),
            sizes.reserve_bytes,
            sizes.between_refills,
            health.room.clone(),
        );
        reserve.hold(&*disk);
        let mut writer = Self {
            dir,
            disk,
            clock,
            context,
            sizes,
            logs: BTreeMap::new(),
            reserve,
            health,
            broken: None,
            lock,
        };
        let mut tenants = vec![None];
        for log in logs(&writer.dir).map_err(AuditOpenError::at(&writer.dir))? {
            tenants.extend(log.0.map(Some));
        }
        for tenant in tenants {
            writer.start(tenant)?;
        }
        writer.commit();
        match &writer.broken {
            None => Ok(writer),
            Some(why) => Err(AuditOpenError::at(&writer.dir)(io::Error::other(
                why.clone(),
            ))),
        }
    }

    /// Runs until it is closed or the last handle is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut jobs, BATCH) > 0 {
            let mut waiting = Vec::new();
            let mut close = self.take(&mut jobs, &mut waiting);
            if waiting.is_empty() && close.is_none() {
                thread::park_timeout(self.sizes.gather);
                while close.is_none()
                    && let Ok(job) = queue.try_recv()
                {
                    jobs.push(job);
                    close = self.take(&mut jobs, &mut waiting);
                }
            }
            if close.is_some() {
                self.stop();
            }
            self.commit();
            for (reply, sequence) in waiting {
                answer(reply, self.sound().map(|()| sequence));
            }
            if let Some(reply) = close {
                let closed = self.sound();
                drop(self);
                // Whoever closed the log may have gone away.
                let _ = reply.send(closed);
                return;
            }
        }
    }

    /// Appends what was asked for; who waits for it goes to `waiting`. Returns who closes the log.
    fn take(
        &mut self,
        jobs: &mut Vec<Job>,
        waiting: &mut Vec<(Reply, u64)>,
    ) -> Option<oneshot::Sender<Result<(), AuditError>>> {
        // A job after the close is dropped, which tells who waits that the log is closed.
        for job in jobs.drain(..) {
            match job {
                Job::Record {
                    tenant,
                    record,
                    reply,
                } => match (self.append(tenant, *record), reply) {
                    (Ok(sequence), Some(reply)) => waiting.push((reply, sequence)),
                    (Ok(_), None) => {}
                    (Err(error), Some(reply)) => answer(reply, Err(error)),
                    (Err(error), None) => {
                        tracing::error!(%error, "an event could not be recorded");
                    }
                },
                Job::Configuration(hash) => self.context.configuration = hash,
                Job::Refill => self.reserve.hold(&*self.disk),
                Job::Close(reply) => return Some(reply),
            }
        }
        None
    }

    fn append(&mut self, tenant: Option<Tenant>, record: Record) -> Result<u64, AuditError> {
        self.sound()?;
        if record.event.begins() && !self.reserve.held() {
            self.reserve.hold(&*self.disk);
            if !self.reserve.held() {
                return Err(AuditError::NoRoom);
            }
        }
        if !self.logs.contains_key(&tenant) {
            let started = match self.start(tenant.clone()) {
                Err(error) if error.is_full() && self.reserve.release(&*self.disk) => {
                    self.start(tenant.clone())
                }
                started => started,
            };
            if let Err(error) = started {
                self.fail(error.to_string());
            }
        }
        let time = (self.clock)();
        match self.logs.get_mut(&tenant) {
            Some(log) => Ok(log.append(&self.context, time, record)?),
            None => self.sound().and(Err(AuditError::Closed)),
        }
    }

    /// Opens one log and appends that it was started.
    fn start(&mut self, tenant: Option<Tenant>) -> Result<(), AuditOpenError> {
        let dir = log_directory(&self.dir, tenant.as_ref());
        let segment_bytes = self.sizes.segment_bytes;
        let (mut log, cut) = Store::open(&*self.disk, &dir, tenant.clone(), segment_bytes)?;
        let mut events = vec![(Success::Success, Event::LogStarted)];
        if cut > 0 {
            let event = Event::ControlFailure {
                control: "audit-log".to_owned(),
                cause: format!(
                    "a write was interrupted: {cut} bytes were cut that no one was told were recorded"
                ),
                call: None,
            };
            events.push((Success::Failure, event));
        }
        let time = (self.clock)();
        for (success, event) in events {
            let record = own(success, event);
            log.append(&self.context, time, record)
                .map_err(|unfit| AuditOpenError::at(&dir)(io::Error::other(unfit)))?;
        }
        self.logs.insert(tenant, log);
        Ok(())
    }

    fn stop(&mut self) {
        let time = (self.clock)();
        for log in self.logs.values_mut() {
            let record = own(Success::Success, Event::LogStopped);
            if let Err(error) = log.append(&self.context, time, record) {
                tracing::error!(%error, "the audit log's end is not recorded");
            }
        }
    }

    /// Makes durable what was appended; the first failure ends all writing.
    fn commit(&mut self) {
        if self.broken.is_some() {
            return;
        }
        for log in self.logs.values_mut() {
            if let Err(error) = log.commit(&*self.disk, &mut self.reserve) {
                self.fail(error.to_string());
                return;
            }
        }
    }

    fn fail(&mut self, why: String) {
        tracing::error!(error = %why, "the audit log cannot be written");
        self.health.broken.store(true, Ordering::Release);
        self.broken = Some(why);
    }

    fn sound(&self) -> Result<(), AuditError> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(AuditError::Broken(why.clone())),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the file would release it too; this says so before whoever waits is told.
        let _ = self.lock.unlock();
    }
}

/// Who asked may have gone away; the record stands all the same.
fn answer(reply: Reply, with: Result<u64, AuditError>) {
    let _ = reply.send(with);
}

/// A record of the log itself.
fn own(success: Success, event: Event) -> Record {
    Record {
        actor: Actor::Gateway,
        origin: "gateway".to_owned(),
        success,
        event,
    }
}

fn lock(dir: &Path) -> Result<File, AuditOpenError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(AuditOpenError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditOpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(AuditOpenError::at(&path)(error)),
    }
}

/// Where the logs are.
pub(super) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY)
}

/// Where one log is, within [`directory`].
pub(super) fn log_directory(dir: &Path, tenant: Option<&Tenant>) -> PathBuf {
    match tenant {
        Some(tenant) => dir.join(format!("{TENANT}{tenant}")),
        None => dir.join(NODE),
    }
}

/// The logs that are there: the node's (`None`) first, then those of tenants by name.
pub(super) fn logs(dir: &Path) -> io::Result<Vec<(Option<Tenant>, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| path.is_dir()) else {
            continue;
        };
        if name == NODE {
            found.push((None, path));
        } else if let Some(tenant) = name.strip_prefix(TENANT)
            && let Ok(tenant) = tenant.parse()
        {
            found.push((Some(tenant), path));
        }
    }
    found.sort();
    Ok(found)
}
