//! Shadow mode's reports: what would be heard on each trunk, before anything is masked there.
//!
//! Counting is `proto::call`'s, when a report goes on is `proto::shadow`'s. Here the calls' tallies
//! come together, and what is told goes into a file and to whoever asks.

mod picture;
mod report;

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use report::{
    AudioReport, HistogramReport, MaskedReport, MeasuresReport, PacketsReport, PressesReport,
    ShadowReport, TrunkLine,
};

use crate::proto::{
    id::Tenant,
    shadow::{PublishRules, Tally, Trunk, TrunkName},
};

/// Trunks that are told apart; calls of any more go under one name.
const MOST_TRUNKS: usize = 256;
/// The file's name under `data_dir`.
const FILE: &str = "shadow.json";
/// What the file holds, and in which version.
const SCHEMA: &str = "tonewall-shadow-file/1";
/// How often is looked whether a period has ended.
const LOOK: Duration = Duration::from_secs(1);

/// Why reports cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is no file of shadow reports: {message}; move it away, and reports begin anew")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What the parser found.
        message: String,
    },
}

/// The file: what is told, and nothing that waits to be.
#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    tenant: Tenant,
    least_calls: u64,
    trunks: Vec<Trunk>,
}

/// The reports of one tenant's trunks; cheap to clone.
#[derive(Clone)]
pub struct Shadows {
    inner: Arc<Inner>,
}

struct Inner {
    tenant: Tenant,
    rules: PublishRules,
    path: PathBuf,
    trunks: Mutex<BTreeMap<TrunkName, Trunk>>,
}

impl Shadows {
    /// Goes on with what is told already, if `data_dir` holds reports of this tenant.
    ///
    /// # Errors
    /// [`ShadowError`] when the file is there and cannot be read: what it holds is not written over.
    pub fn open(data_dir: &Path, tenant: Tenant, rules: PublishRules) -> Result<Self, ShadowError> {
        let path = data_dir.join(FILE);
        let known = read(&path)?.filter(|file| file.tenant == tenant);
        let trunks = known.into_iter().flat_map(|file| file.trunks);
        let trunks = trunks.map(|trunk| (trunk.name.clone(), trunk)).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                tenant,
                rules,
                path,
                trunks: Mutex::new(trunks),
            }),
        })
    }

    /// Adds what was heard on a call that has ended.
    pub fn add(&self, trunk: &TrunkName, call: &Tally, now: Timestamp) {
        let mut trunks = self.lock();
        let others = TrunkName::others();
        let full = trunks.len() >= MOST_TRUNKS && !trunks.contains_key(trunk);
        let name = if full { &others } else { trunk };
        trunks
            .entry(name.clone())
            .or_insert_with(|| Trunk::new(name.clone(), now))
            .add(call, now, &self.inner.rules);
    }

    /// Tells what may be told by now, and keeps it. True when anything was.
    ///
    /// # Errors
    /// [`ShadowError`] when the file cannot be written; what is told stays in memory.
    pub fn publish(&self, now: Timestamp) -> Result<bool, ShadowError> {
        let rules = &self.inner.rules;
        let mut trunks = self.lock();
        let mut told = false;
        for trunk in trunks.values_mut() {
            told |= trunk.publish(now, rules);
        }
        if told {
            let file = File {
                schema: SCHEMA.to_owned(),
                tenant: self.inner.tenant.clone(),
                least_calls: rules.least_calls,
                trunks: trunks.values().cloned().collect(),
            };
            drop(trunks);
            write(&self.inner.path, &file)?;
        }
        Ok(told)
    }

    /// [`Self::publish`] once a second, until the process ends.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let shadows = self.clone();
            let now = crate::gateway::read_clocks().utc;
            match tokio::task::spawn_blocking(move || shadows.publish(now)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "shadow reports are not kept"),
                Err(error) => tracing::error!(%error, "shadow reports cannot be kept"),
            }
        }
    }

    /// The tenant's trunks, by name.
    #[must_use]
    pub fn list(&self, tenant: &Tenant) -> Vec<TrunkLine> {
        if *tenant != self.inner.tenant {
            return Vec::new();
        }
        self.lock().values().map(TrunkLine::of).collect()
    }

    /// The report of one trunk.
    #[must_use]
    pub fn report(&self, tenant: &Tenant, trunk: &str) -> Option<ShadowReport> {
        let name: TrunkName = trunk.parse().ok()?;
        if *tenant != self.inner.tenant {
            return None;
        }
        let least = self.inner.rules.least_calls;
        let trunks = self.lock();
        trunks
            .get(&name)
            .map(|trunk| ShadowReport::of(trunk, least))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TrunkName, Trunk>> {
        // A panic under this lock leaves the map whole: sums are added member by member, and one
        // that is short of a call is still a sum.
        self.inner
            .trunks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reports that a gateway wrote into its data directory, by name of the trunk.
///
/// # Errors
/// [`ShadowError`] when there is a file that cannot be read.
pub fn read_reports(data_dir: &Path) -> Result<Vec<ShadowReport>, ShadowError> {
    let file = read(&data_dir.join(FILE))?;
    let reports = file.into_iter().flat_map(|file| {
        let least = file.least_calls;
        file.trunks
            .into_iter()
            .map(move |trunk| ShadowReport::of(&trunk, least))
    });
    Ok(reports.collect())
}

fn read(path: &Path) -> Result<Option<File>, ShadowError> {
    let content = |message: String| ShadowError::Content {
        path: path.to_owned(),
        message,
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(path, cause)),
    };
    let file: File = serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
    if file.schema == SCHEMA {
        Ok(Some(file))
    } else {
        Err(content(format!("its schema is not {SCHEMA}")))
    }
}

/// Writes a new file and puts it in the old one's place, so that there is a whole one always.
fn write(path: &Path, file: &File) -> Result<(), ShadowError> {
    let text = serde_json::to_string(file).map_err(|error| failed(path, error.into()))?;
    let new = path.with_extension("json.new");
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .map_err(|cause| failed(path, cause))
}

fn failed(path: &Path, cause: io::Error) -> ShadowError {
    ShadowError::File {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests;
