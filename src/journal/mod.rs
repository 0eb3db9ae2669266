//! Payments, calls and keys on disk (SQLite, WAL, `synchronous=FULL`).
//!
//! What a method has answered is on disk and outlives the power. The file may be opened by another
//! process at the same time: the command line does so to make keys while the gateway runs.

mod callbacks;
pub mod keys;
mod notifications;
mod operations;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::proto::{
    audit::Record,
    call::Holder,
    card::{Brand, Last4},
    id::{AttemptId, CallId, KeyId, Node, OperationId, PaymentId, Tenant},
    party::AgentAddress,
    payment::{Outcome, PaymentState, Purpose, Token},
};
pub use callbacks::{CallbackCounts, CallbackRow, CallbackState, Route, Tried};
pub use notifications::KeptNotification;
pub use operations::{NewOperation, NotBegun, OperationBegun, OperationRow, balance};
use store::Store;

/// Commands that may wait for the journal's thread; a caller beyond them waits in turn.
const QUEUE: usize = 256;

/// A payment's row. The state is kept as the word that the API shows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PaymentRow {
    pub id: PaymentId,
    pub call: CallId,
    pub state: String,
    pub amount_minor: u64,
    pub currency: String,
    pub reference: String,
    pub description: Option<String>,
    pub brand: Option<Brand>,
    pub last4: Option<Last4>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// The call's id in signalling; rows of an older build do not have it.
    pub signalling_id: Option<String>,
    /// Whether no money moves; rows of an older build do not say.
    pub sandbox: Option<bool>,
    pub purpose: Purpose,
}

/// What waits to be found out, by a look-up or a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOutcomes {
    /// Charges that may stand.
    pub charges: u64,
    /// Settlements, voids and refunds that may have been done.
    pub operations: u64,
    /// When the oldest of those was asked for.
    pub oldest_operation: Option<Timestamp>,
}

/// Which payments are looked for: those that fit all that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// On this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<PaymentState>,
    /// With exactly this reference of the merchant's.
    pub reference: Option<String>,
    /// Whose card ends so.
    pub last4: Option<Last4>,
    /// Created then or later.
    pub since: Option<Timestamp>,
    /// Created earlier.
    pub until: Option<Timestamp>,
    /// Older than this one.
    pub before: Option<PaymentId>,
    /// At most so many.
    pub limit: u32,
}

/// How far an attempt got; each step is durable before the next is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The attempt is meant; nothing was sent.
    Intent,
    /// The request may have been sent.
    Sending,
    /// It ended.
    Result(Outcome),
}

/// An attempt's row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AttemptRow {
    pub id: AttemptId,
    pub payment: PaymentId,
    pub amount_minor: u64,
    pub currency: String,
    pub reference: String,
    pub processor: String,
    pub phase: Phase,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// That a call is armed, kept across a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ArmedRow {
    pub tenant: Tenant,
    pub signalling_id: String,
    pub holder: Holder,
    /// The tag of the caller's leg, where it was known: offered anew within its dialog, the call
    /// tells by nothing else which end is to be masked.
    pub caller_tag: Option<String>,
    pub since: Timestamp,
}

/// What an API key or a panel session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes payments on calls.
    Agent,
    /// Does so too, and settles, voids and refunds what was charged.
    Supervisor,
    /// A program that does the same on behalf of agents.
    Integration,
    /// Reads the compliance log.
    Auditor,
    /// Keys and configuration; cannot see captures.
    Administrator,
}

/// What kind of secret opens this door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// A bearer API key.
    Api,
    /// A link into the panel, good for one use.
    PanelLink,
    /// The cookie that such a link became.
    PanelSession,
}

/// A stored key: never the secret, only its SHA-256 (the secret has 256 random bits).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyRow {
    pub id: KeyId,
    pub kind: KeyKind,
    pub role: Role,
    pub label: String,
    /// The agent whose session it is or becomes: that one's calls it finds by itself.
    pub agent: Option<AgentAddress>,
    pub secret_hash: [u8; 32],
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// What the journal knows of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotent {
    /// Not seen before; now reserved.
    New,
    /// The same request was answered so.
    Replay {
        /// HTTP status.
        status: u16,
        /// JSON body.
        body: String,
    },
    /// The same request is being carried out right now.
    InProgress,
    /// The key was used with another request.
    Conflict,
}

/// An audit record that another process left for the gateway to write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LeftRecord {
    pub number: i64,
    pub tenant: Option<Tenant>,
    pub record: Record,
}

/// Why the journal did not do it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite said no.
    #[error("the journal cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// The journal's thread is gone.
    #[error("the journal is closed: the gateway is stopping")]
    Closed,
    /// A row that this build cannot read.
    #[error(
        "the journal holds {found:?} where {expected} was expected; was it written by a newer build?"
    )]
    Unreadable {
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The file cannot be made or kept private.
    #[error("the journal's file {path:?} cannot be opened for its owner only: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A newer build has migrated the file.
    #[error(
        "the journal has version {found}; this build knows up to {known}: run the build that wrote it, or a newer one"
    )]
    Newer {
        /// Version of the file.
        found: i64,
        /// Version of this build.
        known: usize,
    },
    /// An attempt only moves forward: intent, sending, result; only an unknown result is replaced.
    #[error("attempt {attempt} stands at {found}; {asked} cannot follow")]
    Order {
        /// Which attempt.
        attempt: AttemptId,
        /// Where it stands.
        found: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// An operation only moves forward, as an attempt does.
    #[error("operation {operation} stands at {found}; {asked} cannot follow")]
    OperationOrder {
        /// Which operation.
        operation: OperationId,
        /// Where it stands.
        found: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// No such attempt.
    #[error("the journal has no attempt {0}; record its intent first")]
    NoAttempt(AttemptId),
    /// An attempt of a payment that is not there.
    #[error("the journal has no payment {0}; put it before its attempts")]
    NoPayment(PaymentId),
}

type Job = Box<dyn FnOnce(&mut Store) + Send>;

/// The handle; cheap to clone. A thread of its own owns the connection and ends with the last
/// handle.
#[derive(Clone)]
pub struct Journal(Arc<Worker>);

struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    armed: ArmedCalls,
    /// Changes with every message to a merchant that was written.
    told: watch::Sender<()>,
}

/// The calls that may have an armed row: a call that is not among them has none, which is known of
/// almost every call without asking the file. Entered before a row is written, and taken out once the
/// file has shown that there is none; both on the journal's thread. No other process writes such rows.
#[derive(Clone, Default)]
struct ArmedCalls(Arc<Mutex<HashSet<(Tenant, String)>>>);

impl ArmedCalls {
    fn lock(&self) -> MutexGuard<'_, HashSet<(Tenant, String)>> {
        // A panic under this lock leaves the set whole: each use is one insert, remove or look-up.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_have(&self, call: &(Tenant, String)) -> bool {
        self.lock().contains(call)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its jobs are done and the file is closed once it has ended; a panic was reported.
            let _ = thread.join();
        }
    }
}

impl Journal {
    /// Opens or makes the file, and migrates it, on behalf of a node named `local`.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let node = "local".to_owned().try_into();
        Self::open_for(path, node.expect("local is a node's name"))
    }

    /// Opens or makes the file, and migrates it. `node` is written into rows whose ids do not say
    /// who made them.
    pub fn open_for(path: &Path, node: Node) -> Result<Self, JournalError> {
        let run = ulid::Ulid::from_parts(0, rand::random()).to_string();
        let mut store = Store::open(path, node, run)?;
        let armed = ArmedCalls::default();
        armed.lock().extend(store.armed_calls()?);
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut store);
                }
            })
            .map_err(|error| JournalError::File {
                path: path.to_owned(),
                error,
            })?;
        Ok(Self(Arc::new(Worker {
            jobs: Some(jobs),
            thread: Some(thread),
            armed,
            told: watch::Sender::new(()),
        })))
    }

    /// Runs `work` on the journal's thread. A caller that goes away does not undo it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            // Nobody waits any more: what was done stays done.
            let _ = reply.send(work(store));
        });
        let jobs = self.0.jobs.as_ref().ok_or(JournalError::Closed)?;
        jobs.send(job).await.map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Inserts a payment or replaces its row. In the same transaction it writes what merchants are told
    /// of the change ([`Journal::route_callbacks`]).
    pub async fn put_payment(&self, row: PaymentRow) -> Result<(), JournalError> {
        if self.run(move |s| s.put_payment(&row)).await? {
            self.0.told.send_replace(());
        }
        Ok(())
    }

    /// One payment of this tenant.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, JournalError> {
        self.run(move |s| s.payment(&id)).await
    }

    /// The tenant's payments that fit, newest first.
    pub async fn payments(
        &self,
        tenant: Tenant,
        filter: PaymentFilter,
    ) -> Result<Vec<PaymentRow>, JournalError> {
        self.run(move |s| s.payments(&tenant, &filter)).await
    }

    /// Durable: the attempt is meant. Inserts the row (phase Intent).
    pub async fn intent(&self, row: AttemptRow) -> Result<(), JournalError> {
        self.run(move |s| s.intent(&row)).await
    }

    /// Durable: from here on the request may have been sent.
    pub async fn sending(&self, attempt: AttemptId, at: Timestamp) -> Result<(), JournalError> {
        self.run(move |s| s.sending(&attempt, at)).await
    }

    /// Durable: the processor has the card of this attempt, which is on its way, under this name. Kept
    /// until the attempt has ended.
    pub async fn keep_token(&self, attempt: AttemptId, token: Token) -> Result<(), JournalError> {
        self.run(move |s| s.keep_token(&attempt, &token)).await
    }

    /// The name under which the processor has the card of this attempt, where it has one.
    pub async fn token(&self, attempt: AttemptId) -> Result<Option<Token>, JournalError> {
        self.run(move |s| s.token(&attempt)).await
    }

    /// Durable: how it ended. What is open may later be replaced by another outcome, nothing else may;
    /// the same once more is no error.
    pub async fn result(
        &self,
        attempt: AttemptId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        self.run(move |s| s.result(&attempt, &outcome, at)).await
    }

    /// One attempt.
    pub async fn attempt(&self, id: AttemptId) -> Result<Option<AttemptRow>, JournalError> {
        self.run(move |s| s.attempt(&id)).await
    }

    /// The attempts of a payment, oldest first.
    pub async fn attempts(&self, payment: PaymentId) -> Result<Vec<AttemptRow>, JournalError> {
        self.run(move |s| s.attempts(&payment)).await
    }

    /// Attempts in phase Intent or Sending, and those whose result is Unknown: what a restart looks at.
    pub async fn unresolved(&self) -> Result<Vec<AttemptRow>, JournalError> {
        self.run(Store::unresolved).await
    }

    /// How many outcomes are open: pending, or unknown.
    pub async fn open_outcomes(&self) -> Result<OpenOutcomes, JournalError> {
        self.run(|s| s.open_outcomes()).await
    }

    /// Durable: this call is armed by this holder.
    pub async fn set_armed(&self, row: ArmedRow) -> Result<(), JournalError> {
        let armed = self.0.armed.clone();
        self.run(move |s| {
            let call = (row.tenant.clone(), row.signalling_id.clone());
            armed.lock().insert(call);
            s.set_armed(&row)
        })
        .await
    }

    /// This holder released the call, or (`None`) the call ended.
    pub async fn clear_armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
        holder: Option<Holder>,
    ) -> Result<(), JournalError> {
        let armed = self.0.armed.clone();
        let call = (tenant, signalling_id);
        if !armed.may_have(&call) {
            return Ok(());
        }
        self.run(move |s| {
            let (tenant, signalling_id) = &call;
            s.clear_armed(tenant, signalling_id, holder.as_ref())?;
            if s.armed(tenant, signalling_id)?.is_empty() {
                armed.lock().remove(&call);
            }
            Ok(())
        })
        .await
    }

    /// Who held this call armed when the gateway last knew it.
    pub async fn armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
    ) -> Result<Vec<ArmedRow>, JournalError> {
        let call = (tenant, signalling_id);
        if !self.0.armed.may_have(&call) {
            return Ok(Vec::new());
        }
        self.run(move |s| s.armed(&call.0, &call.1)).await
    }

    /// Reserves an idempotency key, or tells what became of it. `fingerprint` is the SHA-256 of the
    /// method, path and body. Keys are kept 24 hours.
    pub async fn idempotency(
        &self,
        tenant: Tenant,
        key: String,
        fingerprint: [u8; 32],
        at: Timestamp,
    ) -> Result<Idempotent, JournalError> {
        self.run(move |s| s.idempotency(&tenant, &key, &fingerprint, at))
            .await
    }

    /// The answer to replay. `None` as the body frees the key (the request changed nothing).
    pub async fn idempotency_answer(
        &self,
        tenant: Tenant,
        key: String,
        answer: Option<(u16, String)>,
    ) -> Result<(), JournalError> {
        self.run(move |s| s.idempotency_answer(&tenant, &key, answer.as_ref()))
            .await
    }

    /// Stores a key.
    pub async fn put_key(&self, row: KeyRow) -> Result<(), JournalError> {
        self.run(move |s| s.put_key(&row)).await
    }

    /// The live key of this kind with this hash: not revoked, not expired at `at`.
    pub async fn key_by_hash(
        &self,
        kind: KeyKind,
        secret_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<KeyRow>, JournalError> {
        self.run(move |s| s.key_by_hash(kind, &secret_hash, at))
            .await
    }

    /// All keys of a tenant, newest first.
    pub async fn keys(&self, tenant: Tenant) -> Result<Vec<KeyRow>, JournalError> {
        self.run(move |s| s.keys(&tenant)).await
    }

    /// Revokes a key; false when there is no such live key. A panel link is revoked by its use.
    pub async fn revoke_key(&self, key: KeyId, at: Timestamp) -> Result<bool, JournalError> {
        self.run(move |s| s.revoke_key(&key, at)).await
    }

    /// Finds a live key and revokes it in one step: of two uses at the same instant one gets it.
    /// This is how a panel link opens once.
    pub async fn redeem_key(
        &self,
        kind: KeyKind,
        secret_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<KeyRow>, JournalError> {
        self.run(move |s| s.redeem_key(kind, &secret_hash, at))
            .await
    }

    /// Durable: leaves a record for the gateway to write into its audit log. For the command line,
    /// which cannot write there while the gateway does. The record says who and from where; its
    /// entry will say when the gateway took it.
    pub async fn leave_record(
        &self,
        tenant: Option<Tenant>,
        record: Record,
    ) -> Result<(), JournalError> {
        self.run(move |s| s.leave_record(tenant.as_ref(), &record))
            .await
    }

    /// The records that were left, oldest first. Each is written to the audit log, then taken; a
    /// crash between the two writes it twice, never not at all.
    pub async fn records_left(&self) -> Result<Vec<LeftRecord>, JournalError> {
        self.run(Store::records_left).await
    }

    /// This record stands in the audit log.
    pub async fn record_taken(&self, number: i64) -> Result<(), JournalError> {
        self.run(move |s| s.record_taken(number)).await
    }
}
