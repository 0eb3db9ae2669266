//! The task of one endpoint: takes what is due, sends it, writes down what came of it. Endpoints share
//! nothing, so one that is slow holds up itself only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
};

use super::{Clock, Totals, sender::Sender};
use crate::{
    journal::{CallbackRow, Journal, JournalError, Tried},
    proto::{
        callback::{Next, Schedule},
        id::{EndpointName, PaymentId},
    },
};

/// Messages to an endpoint that are on their way at a time, each of another payment.
pub(super) const AT_ONCE: usize = 8;
/// How often is looked for what another process wrote, and counted.
const LOOK: Duration = Duration::from_secs(5);
/// How long a journal that does not answer is left alone.
const JOURNAL_PAUSE: Duration = Duration::from_secs(5);
/// Longest words on what went wrong, in characters.
const LONGEST_PROBLEM: usize = 300;

#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: EndpointName,
    pub(super) sender: Arc<Sender>,
    pub(super) schedule: Schedule,
    pub(super) clock: Clock,
    pub(super) totals: Arc<Mutex<Totals>>,
}

impl Line {
    pub(super) async fn run(self, journal: Journal) {
        let mut written = journal.callbacks_written();
        let mut sending = JoinSet::new();
        let mut busy: HashMap<Id, PaymentId> = HashMap::new();
        loop {
            let wait = match self.fill(&journal, &mut sending, &mut busy).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(endpoint = %self.name, %error, "what is to be sent cannot be read");
                    JOURNAL_PAUSE
                }
            };
            self.wait(wait, &mut written, &mut sending, &mut busy).await;
        }
    }

    /// Until there may be something to do.
    async fn wait(
        &self,
        wait: Duration,
        written: &mut watch::Receiver<()>,
        sending: &mut JoinSet<()>,
        busy: &mut HashMap<Id, PaymentId>,
    ) {
        tokio::select! {
            Some(done) = sending.join_next_with_id() => {
                let id = match done {
                    Ok((id, ())) => id,
                    Err(error) => {
                        // It still waits in the journal, where it is due, and is sent again.
                        tracing::error!(endpoint = %self.name, %error, "a try broke off");
                        error.id()
                    }
                };
                busy.remove(&id);
            }
            // An error says that the journal is closed: the process ends.
            _ = written.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Sends what is due, as far as there is room; for how long there is nothing else to do.
    async fn fill(
        &self,
        journal: &Journal,
        sending: &mut JoinSet<()>,
        busy: &mut HashMap<Id, PaymentId>,
    ) -> Result<Duration, JournalError> {
        self.count(journal).await?;
        if sending.len() >= AT_ONCE {
            return Ok(LOOK);
        }
        let now = (self.clock)();
        // What is on its way is still due in the journal.
        let limit = u32::try_from(2 * AT_ONCE).unwrap_or(u32::MAX);
        let due = journal.callbacks_due(self.name.clone(), now, limit).await;
        let (due, next) = due?;
        for row in due {
            if sending.len() >= AT_ONCE {
                break;
            }
            if busy.values().any(|payment| *payment == row.payment) {
                continue;
            }
            let payment = row.payment.clone();
            let handle = sending.spawn(self.clone().attempt(journal.clone(), row));
            busy.insert(handle.id(), payment);
        }
        let next = next.map(|next| next.duration_since(now));
        let next = next.and_then(|pause| Duration::try_from(pause).ok());
        Ok(next.map_or(LOOK, |next| next.min(LOOK)))
    }

    /// At most every [`LOOK`], for there may be many.
    async fn count(&self, journal: &Journal) -> Result<(), JournalError> {
        let now = (self.clock)();
        let counted = self.totals().counted;
        if counted.is_some_and(|at| now.duration_since(at).unsigned_abs() < LOOK) {
            return Ok(());
        }
        let counts = journal.callback_counts(self.name.clone()).await?;
        let mut totals = self.totals();
        totals.counts = counts;
        totals.counted = Some(now);
        Ok(())
    }

    async fn attempt(self, journal: Journal, row: CallbackRow) {
        let (answer, mut problem) = self.sender.post(&row, (self.clock)()).await;
        if let Some((end, _)) = problem.char_indices().nth(LONGEST_PROBLEM) {
            problem.truncate(end);
        }
        let tries = row.tries.saturating_add(1);
        let at = (self.clock)();
        let next = self.schedule.next(tries, answer, rand::random());
        let tried = match next {
            Next::Delivered => Tried::Delivered,
            Next::Again(pause) => Tried::Again {
                due: at.checked_add(pause).unwrap_or(Timestamp::MAX),
                problem: problem.clone(),
            },
            Next::Dead => Tried::Dead {
                problem: problem.clone(),
            },
        };
        // What is counted and logged is durable: of a dead letter nothing comes back.
        match journal.callback_tried(row.id.clone(), tried, at).await {
            Ok(_) => self.tell(&row, tries, next, &problem),
            Err(error) => {
                tracing::error!(message = %row.id, %error, "what came of a callback is not recorded; it is sent again");
                tokio::time::sleep(JOURNAL_PAUSE).await;
            }
        }
    }

    /// The log: each dead letter, and an endpoint's first failure and first success, not each of the many
    /// tries while it is down.
    fn tell(&self, row: &CallbackRow, tries: u32, next: Next, problem: &str) {
        let mut totals = self.totals();
        let was_failing = totals.failing;
        totals.failing = next != Next::Delivered;
        match next {
            Next::Delivered => totals.delivered += 1,
            Next::Again(_) => totals.failed += 1,
            Next::Dead => {
                totals.failed += 1;
                totals.died += 1;
            }
        }
        // The count of dead letters and of what waits has changed by one that a scrape would miss.
        totals.counted = totals.counted.filter(|_| next != Next::Dead);
        drop(totals);
        let (endpoint, message) = (&self.name, &row.id);
        match next {
            Next::Delivered if was_failing => {
                tracing::info!(%endpoint, %message, "callbacks are taken again");
            }
            Next::Delivered => tracing::debug!(%endpoint, %message, tries, "callback delivered"),
            Next::Again(pause) if was_failing => {
                tracing::debug!(%endpoint, %message, tries, ?pause, problem, "callback not delivered");
            }
            Next::Again(pause) => {
                tracing::warn!(%endpoint, %message, tries, ?pause, problem, "callbacks are not taken; they are tried again");
            }
            Next::Dead => {
                tracing::error!(%endpoint, %message, payment = %row.payment, tries, problem, "a callback is a dead letter; `tonewall callbacks list` shows it");
            }
        }
    }

    fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
