//! The parent's side of the sandbox's process.

use std::{io, path::Path, process::ExitStatus, process::Stdio, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{DigestKey, Sandbox, SandboxAddress};
use crate::processor::{Deadlines, exchange::EndpointError};

/// How long the sandbox may take until it listens.
const START: Duration = Duration::from_secs(10);

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// It could not be started.
    #[error("the sandbox processor cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It did not say where it listens.
    #[error("the sandbox processor did not say where it listens within {START:?}; see its log")]
    Silent,
    /// It ended, or said something else.
    #[error("the sandbox processor's first line is {found}; expected its port and CA as JSON")]
    FirstLine {
        /// What was found instead.
        found: &'static str,
    },
    /// Its CA cannot be read.
    #[error("the sandbox processor's CA cannot be read: {0}")]
    Certificate(String),
    /// Its CA cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// A running sandbox processor. It ends when this is dropped, and, for its standard input closes
/// then, when this process ends in whatever way.
pub struct SandboxChild {
    child: Child,
    address: SandboxAddress,
    stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
}

impl SandboxChild {
    /// Starts `executable sandbox-processor` and waits until it listens.
    pub async fn spawn(
        executable: &Path,
        digest_key: Option<&DigestKey>,
    ) -> Result<Self, SandboxError> {
        let mut command = Command::new(executable);
        command.arg("sandbox-processor");
        if let Some(key) = digest_key {
            command.arg("--digest-key").arg(key.to_hex());
        }
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Result<Self, SandboxError> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("its standard streams are not piped").into());
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        timeout(START, stdout.read_line(&mut line))
            .await
            .map_err(|_| SandboxError::Silent)??;
        let found = if line.is_empty() {
            "missing: it has ended"
        } else {
            "something else"
        };
        let address = serde_json::from_str(&line).map_err(|_| SandboxError::FirstLine { found })?;
        Ok(Self {
            child,
            address,
            stdin: Some(stdin),
            _stdout: stdout,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &SandboxAddress {
        &self.address
    }

    /// The adapter for it.
    pub fn adapter(&self, deadlines: Deadlines) -> Result<Sandbox, SandboxError> {
        Sandbox::new(&self.address, deadlines)
    }

    /// Tells it to end: closes its standard input.
    pub fn let_go(&mut self) {
        self.stdin = None;
    }

    /// Waits until the process has ended, which it should not before this one.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}
