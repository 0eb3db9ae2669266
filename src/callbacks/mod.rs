//! Tells merchants what became of payments: signed messages by HTTP, delivered at least once and in order.
//!
//! What is to be told comes from the journal and nowhere else: it was written with the state that it
//! tells of. A receiver knows a message that it has had by its `webhook-id`. One task an endpoint
//! (`line`) sends, one try (`sender`) is a POST to an address that was judged (`resolver`).

mod line;
mod resolver;
mod secrets;
mod sender;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::task::JoinSet;

use self::{
    line::Line,
    resolver::{LookUp, admit, of_the_system},
    sender::Sender,
};
pub use self::{secrets::SecretFiles, target::Target};
use crate::{
    journal::{CallbackCounts, Journal, JournalError, Route},
    processor::Trust,
    proto::{
        callback::{CallbackEvent, Schedule},
        id::{EndpointName, Tenant},
    },
};

/// How long what was delivered can still be looked at.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// How often older messages are removed.
const SWEEP: Duration = Duration::from_hours(1);

/// Reads the clock that people read.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where merchants are told, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub name: EndpointName,
    pub target: Target,
    pub secrets: SecretFiles,
    pub events: BTreeSet<CallbackEvent>,
    /// Whether it may be in a network that is not public.
    pub allow_private: bool,
    pub trust: Trust,
}

/// How long one try may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until the connection is there: look-up, TCP and TLS.
    pub connect: Duration,
    /// Until the head of the answer is.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(15),
        }
    }
}

/// Why an endpoint cannot be used.
#[derive(Debug, Error)]
#[error("callback endpoint {endpoint}: {problem}")]
pub struct OpenError {
    /// Which one.
    pub endpoint: EndpointName,
    /// What was found, what was expected and what to do.
    pub problem: String,
}

/// An address that is not connected to.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{address} is no public address ({kind}); allow_private admits those of networks of one's own"
)]
pub struct Refused {
    /// Which.
    pub address: IpAddr,
    /// What it is.
    pub kind: &'static str,
}

/// What became of messages since the start, and what there is now, of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that were taken.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages that became dead letters.
    pub died: u64,
    /// What waits and what is dead.
    pub counts: CallbackCounts,
    /// When that was counted.
    counted: Option<Timestamp>,
    /// Whether the last try failed.
    failing: bool,
}

/// All endpoints; cheap to clone.
#[derive(Clone)]
pub struct Callbacks(Arc<Shared>);

struct Shared {
    lines: Vec<Line>,
    routes: Vec<Route>,
    clock: Clock,
}

impl Endpoint {
    /// Whether the address that it is named by, if it is, may be connected to.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self) -> Result<(), Refused> {
        let literal = self.target.literal();
        literal.map_or(Ok(()), |address| admit(address, self.allow_private))
    }

    /// Of which payments it is told.
    #[must_use]
    pub fn route(&self, tenant: &Tenant) -> Route {
        Route {
            tenant: tenant.clone(),
            endpoint: self.name.clone(),
            events: self.events.clone(),
        }
    }
}

impl Callbacks {
    /// Reads secrets and authorities. Nothing is sent before [`Callbacks::run`].
    ///
    /// # Errors
    /// [`OpenError`]: the first endpoint that cannot be used, and why.
    pub fn open(
        tenant: &Tenant,
        endpoints: &[Endpoint],
        schedule: &Schedule,
        patience: Patience,
    ) -> Result<Self, OpenError> {
        let clock: Clock = Arc::new(Timestamp::now);
        Self::with(
            tenant,
            endpoints,
            schedule,
            patience,
            &of_the_system(),
            clock,
        )
    }

    fn with(
        tenant: &Tenant,
        endpoints: &[Endpoint],
        schedule: &Schedule,
        patience: Patience,
        look_up: &LookUp,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let line = |endpoint: &Endpoint| {
            Ok(Line {
                name: endpoint.name.clone(),
                sender: Arc::new(Sender::new(endpoint, patience, Arc::clone(look_up))?),
                schedule: schedule.clone(),
                clock: Arc::clone(&clock),
                totals: Arc::default(),
            })
        };
        Ok(Self(Arc::new(Shared {
            lines: endpoints.iter().map(line).collect::<Result<_, _>>()?,
            routes: endpoints.iter().map(|one| one.route(tenant)).collect(),
            clock,
        })))
    }

    /// Has the journal write what these endpoints are told. To be called before any payment is put.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn prepare(&self, journal: &Journal) -> Result<(), JournalError> {
        journal.route_callbacks(self.0.routes.clone()).await?;
        let names = self.0.lines.iter().map(|line| line.name.clone()).collect();
        let retired = journal.retire_callbacks(names, (self.0.clock)()).await?;
        if retired > 0 {
            tracing::error!(
                retired,
                "callbacks waited for endpoints that are not configured any more; they are dead letters now"
            );
        }
        Ok(())
    }

    /// Sends until it is dropped. What is under way then is sent again by the next process.
    pub async fn run(self, journal: Journal) {
        let mut lines = JoinSet::new();
        for line in &self.0.lines {
            lines.spawn(line.clone().run(journal.clone()));
        }
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(&journal).await,
                Some(ended) = lines.join_next() => {
                    // A line goes on for ever; one that panicked would leave its endpoint untold.
                    tracing::error!(?ended, "the task of a callback endpoint has ended; restart");
                }
            }
        }
    }

    async fn sweep(&self, journal: &Journal) {
        let before = (self.0.clock)().checked_sub(KEPT);
        let before = before.unwrap_or(Timestamp::MIN);
        loop {
            match journal.forget_callbacks(before).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "old callbacks are not removed");
                    return;
                }
            }
        }
    }

    /// Reads the secrets anew; a sentence on it. Where a file cannot be used, the secrets that were in
    /// force stay.
    #[must_use]
    pub fn reload(&self) -> Option<String> {
        let told: Vec<String> = self
            .0
            .lines
            .iter()
            .map(|line| match line.sender.keyring.reload() {
                Ok(1) => format!("secret of callbacks to {} reloaded", line.name),
                Ok(_) => format!("secrets of callbacks to {} reloaded, two sign", line.name),
                Err(error) => format!(
                    "secret of callbacks to {} not reloaded, the old one stays: {error}",
                    line.name
                ),
            })
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// What became of messages, by endpoint.
    #[must_use]
    pub fn totals(&self) -> Vec<(EndpointName, Totals)> {
        let lines = self.0.lines.iter();
        lines
            .map(|line| {
                let totals = *line.totals.lock().unwrap_or_else(PoisonError::into_inner);
                (line.name.clone(), totals)
            })
            .collect()
    }
}

impl Totals {
    /// How old the oldest message that waits is at `now`.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        let age = self.counts.oldest.map(|oldest| now.duration_since(oldest));
        age.and_then(|age| Duration::try_from(age).ok())
            .unwrap_or_default()
    }
}
