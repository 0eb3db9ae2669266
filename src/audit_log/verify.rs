//! What `tonewall audit verify` and `tonewall audit show` do. Both only read, also while a gateway
//! writes.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Damage,
    head::Head,
    scan::scan,
    writer::{directory, log_directory, logs},
};
use crate::proto::{
    audit::{Entry, Success},
    id::Tenant,
};

/// What every report says, for nothing outside this machine vouches for the log.
const NOT_ANCHORED: &str =
    "not anchored: whoever holds this machine could have rewritten the whole log";

/// Why a log could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is none.
    #[error("no audit log at {0:?}; give the data_dir of the gateway's configuration")]
    NoLog(PathBuf),
    /// The file system said no.
    #[error("the audit log at {path:?} cannot be read: {error}")]
    Disk {
        /// Which directory.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
}

/// What was found in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// Whose it is; `None` is the node's own.
    pub tenant: Option<Tenant>,
    /// Where it is.
    pub directory: PathBuf,
    /// Entries that stand where they should.
    pub entries: u64,
    /// Time of the first and of the last of them.
    pub times: Option<(String, String)>,
    /// Hash of the last of them: keep it elsewhere, and compare it next time.
    pub last_hash: String,
    /// Bytes after the last entry that an interrupted write left; never acknowledged.
    pub unfinished_bytes: u64,
    /// What is wrong; the first twenty places.
    pub damages: Vec<Damage>,
}

/// What was found in all logs that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each log.
    pub logs: Vec<LogReport>,
}

impl Report {
    /// Whether no entry is changed, missing or reordered: the exit status.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.logs.iter().all(|log| log.damages.is_empty())
    }
}

/// Checks a tenant's log, or (`None`) the node's and those of all tenants.
pub fn run(data_dir: &Path, tenant: Option<&Tenant>) -> Result<Report, VerifyError> {
    let mut report = Report { logs: Vec::new() };
    for (tenant, directory) in chosen(data_dir, tenant)? {
        let (mut entries, mut first, mut last) = (0, None, None);
        let found = scan(&directory, tenant.as_ref(), |entry| {
            entries += 1;
            let time = time(entry.json);
            first.get_or_insert_with(|| time.clone());
            last = Some(time);
        });
        let found = found.map_err(|error| VerifyError::Disk {
            path: directory.clone(),
            error,
        })?;
        let Head { hash, .. } = found.last;
        report.logs.push(LogReport {
            tenant,
            directory,
            entries,
            times: first.zip(last),
            last_hash: hash.to_string(),
            unfinished_bytes: found.tail.map_or(0, |tail| tail.bytes),
            damages: found.damages,
        });
    }
    Ok(report)
}

/// How [`show`] prints an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// The entry's own canonical JSON.
    Json,
}

/// Prints the entries of a tenant's log, or (`None`) of the node's, one a line, oldest first.
/// Returns what is wrong with the log; entries that do not stand where they should are left out.
pub fn show(
    data_dir: &Path,
    tenant: Option<&Tenant>,
    form: Form,
    out: &mut dyn Write,
) -> Result<Vec<Damage>, VerifyError> {
    let directory = log_directory(&directory(data_dir), tenant);
    if !directory.is_dir() {
        return Err(VerifyError::NoLog(directory));
    }
    let mut printed = Ok(());
    let found = scan(&directory, tenant, |entry| {
        if printed.is_ok() {
            printed = match form {
                Form::Text => writeln!(out, "{}", line(entry.json)),
                Form::Json => writeln!(out, "{}", String::from_utf8_lossy(entry.json)),
            };
        }
    });
    let disk = |error| VerifyError::Disk {
        path: directory.clone(),
        error,
    };
    printed.map_err(disk)?;
    Ok(found.map_err(disk)?.damages)
}

type Chosen = Vec<(Option<Tenant>, PathBuf)>;

fn chosen(data_dir: &Path, tenant: Option<&Tenant>) -> Result<Chosen, VerifyError> {
    let dir = directory(data_dir);
    if let Some(tenant) = tenant {
        let path = log_directory(&dir, Some(tenant));
        return match path.is_dir() {
            true => Ok(vec![(Some(tenant.clone()), path)]),
            false => Err(VerifyError::NoLog(path)),
        };
    }
    match logs(&dir) {
        Ok(logs) if logs.is_empty() => Err(VerifyError::NoLog(dir)),
        Ok(logs) => Ok(logs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(VerifyError::NoLog(dir)),
        Err(error) => Err(VerifyError::Disk { path: dir, error }),
    }
}

fn time(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    value["time"].as_str().unwrap_or("?").to_owned()
}

/// One entry for a person. What came from outside is escaped, so that it cannot steer a terminal.
fn line(json: &[u8]) -> String {
    let Ok(entry) = serde_json::from_slice::<Entry>(json) else {
        // Written by a newer build.
        return String::from_utf8_lossy(json).escape_debug().to_string();
    };
    let of = |tag: &str, value: serde_json::Result<Value>| {
        let mut value = value.unwrap_or_default();
        let word = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
        let name = word(tag);
        let members = value.as_object_mut();
        let members = members.into_iter().flat_map(|members| members.iter());
        let shown: Vec<String> = members
            .filter(|(name, _)| *name != tag)
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}={}", text.escape_debug()),
                other => format!("{name}={}", other.to_string().escape_debug()),
            })
            .collect();
        (name, shown.join(" "))
    };
    let (event, details) = of("type", serde_json::to_value(&entry.record.event));
    let (actor, who) = of("kind", serde_json::to_value(&entry.record.actor));
    let success = match entry.record.success {
        Success::Success => "ok",
        Success::Failure => "FAILED",
    };
    let mut line = format!(
        "{:>6} {:.6} {success} {event} [{}] by {actor}",
        entry.sequence, entry.time, entry.requirement
    );
    for part in [
        who,
        format!("from {}", entry.record.origin.escape_debug()),
        details,
    ] {
        if !part.is_empty() {
            line.push(' ');
            line.push_str(&part);
        }
    }
    line
}

impl fmt::Display for LogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "tenant {tenant}")?,
            None => write!(f, "node")?,
        }
        write!(f, ": {} entries", self.entries)?;
        if let Some((first, last)) = &self.times {
            write!(f, ", {first} to {last}")?;
        }
        writeln!(f, "\n  in {}", self.directory.display())?;
        writeln!(f, "  last hash {}", self.last_hash)?;
        if self.unfinished_bytes > 0 {
            writeln!(
                f,
                "  {} bytes of an interrupted write follow; they were never acknowledged",
                self.unfinished_bytes
            )?;
        }
        if self.damages.is_empty() {
            return writeln!(f, "  no entry is changed, missing or reordered");
        }
        writeln!(f, "  DAMAGED:")?;
        self.damages
            .iter()
            .try_for_each(|damage| writeln!(f, "    {damage}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            write!(f, "{log}")?;
        }
        let damaged = self.logs.iter().filter(|log| !log.damages.is_empty());
        match damaged.count() {
            0 => write!(f, "The chain holds in itself; {NOT_ANCHORED}."),
            count => write!(
                f,
                "DAMAGED: {count} of {} logs. Keep the files as they are. ({NOT_ANCHORED})",
                self.logs.len()
            ),
        }
    }
}
