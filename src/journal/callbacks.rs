//! What merchants are told: written in the transaction that changes a payment's state, so that neither
//! is ever there without the other, and kept until it has been delivered.
//!
//! The order is kept here: of one payment at one endpoint only the oldest message that waits is ever
//! due. A dead letter does not wait, and holds up nobody.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};
use tokio::sync::watch;
use ulid::Ulid;

use super::{
    Journal, JournalError, OperationBegun, PaymentRow, Phase,
    row::{self, nanoseconds},
    store::Store,
};
use crate::proto::{
    callback::{CallbackEvent, Facts, OperationFacts, event_of, event_of_operation},
    id::{EndpointName, MessageId, Node, PaymentId, Tenant},
    payment::{Balance, Outcome, PaymentState},
};

const COLUMNS: &str =
    "id, endpoint, payment, event, body, state, tries, due, created, updated, problem";
/// Most rows that are removed at a time, so that payments do not wait for it.
const REMOVED_AT_A_TIME: u32 = 1_000;

/// Who is told of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose payments.
    pub tenant: Tenant,
    /// To which endpoint.
    pub endpoint: EndpointName,
    /// Which events.
    pub events: BTreeSet<CallbackEvent>,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackState {
    /// It is to be sent, or sent again.
    Waiting,
    /// It was taken; the row is removed after a while.
    Delivered,
    /// It is not sent any more unless a person says so. Kept until then.
    Dead,
}

/// A message's row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CallbackRow {
    pub id: MessageId,
    pub endpoint: EndpointName,
    pub payment: PaymentId,
    pub event: CallbackEvent,
    pub body: String,
    pub state: CallbackState,
    /// Tries since it was written or replayed.
    pub tries: u32,
    /// When it may be sent.
    pub due: Timestamp,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// What came of the last try that failed.
    pub problem: Option<String>,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tried {
    Delivered,
    Again { due: Timestamp, problem: String },
    Dead { problem: String },
}

/// What there is for an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallbackCounts {
    /// Messages that wait.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest of those that wait was written.
    pub oldest: Option<Timestamp>,
}

impl Journal {
    /// From here on whoever is named is told of what becomes of payments; nobody is, before.
    pub async fn route_callbacks(&self, routes: Vec<Route>) -> Result<(), JournalError> {
        self.run(move |s| {
            s.routes = routes;
            Ok(())
        })
        .await
    }

    /// Changes with every message that this process writes. Those of the command line are found by
    /// looking.
    pub fn callbacks_written(&self) -> watch::Receiver<()> {
        self.0.told.subscribe()
    }

    /// The messages to an endpoint that may be sent at `at`, at most `limit` and one a payment, those that
    /// are due for longest first; and when the next one may be, of those that may not yet.
    pub async fn callbacks_due(
        &self,
        endpoint: EndpointName,
        at: Timestamp,
        limit: u32,
    ) -> Result<(Vec<CallbackRow>, Option<Timestamp>), JournalError> {
        self.run(move |s| s.callbacks_due(&endpoint, at, limit))
            .await
    }

    /// Durable: what came of a try. Nothing where the message does not wait any more.
    pub async fn callback_tried(
        &self,
        id: MessageId,
        tried: Tried,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        self.run(move |s| s.callback_tried(&id, &tried, at)).await
    }

    /// How many messages to an endpoint wait and are dead.
    pub async fn callback_counts(
        &self,
        endpoint: EndpointName,
    ) -> Result<CallbackCounts, JournalError> {
        self.run(move |s| s.callback_counts(&endpoint)).await
    }

    /// Messages of a tenant in a state, oldest first, at most `limit`.
    pub async fn callbacks(
        &self,
        tenant: Tenant,
        state: CallbackState,
        limit: u32,
    ) -> Result<Vec<CallbackRow>, JournalError> {
        self.run(move |s| s.callbacks(&tenant, state, limit)).await
    }

    /// One message.
    pub async fn callback(&self, id: MessageId) -> Result<Option<CallbackRow>, JournalError> {
        self.run(move |s| s.callback(&id)).await
    }

    /// Durable: a dead letter waits again, with all its tries, under the same id. False when there is no
    /// such dead letter.
    pub async fn replay_callback(
        &self,
        id: MessageId,
        at: Timestamp,
    ) -> Result<bool, JournalError> {
        let replayed = self.run(move |s| s.replay_callback(&id, at)).await?;
        if replayed {
            self.0.told.send_replace(());
        }
        Ok(replayed)
    }

    /// Durable: a dead letter is no more. False when there is no such dead letter.
    pub async fn drop_callback(&self, id: MessageId) -> Result<bool, JournalError> {
        self.run(move |s| s.drop_callback(&id)).await
    }

    /// Messages that wait for endpoints other than these become dead letters; how many.
    pub async fn retire_callbacks(
        &self,
        endpoints: Vec<EndpointName>,
        at: Timestamp,
    ) -> Result<usize, JournalError> {
        self.run(move |s| s.retire_callbacks(&endpoints, at)).await
    }

    /// Removes what was delivered before `before`, some of it at a time; true while there may be more.
    pub async fn forget_callbacks(&self, before: Timestamp) -> Result<bool, JournalError> {
        self.run(move |s| s.forget_callbacks(before)).await
    }
}

/// Writes what merchants are told of a payment whose row was just put; whether there is anything.
pub(super) fn tell(
    transaction: &Transaction<'_>,
    routes: &[Route],
    node: &Node,
    before: Option<&str>,
    row: &PaymentRow,
) -> Result<bool, JournalError> {
    let Some(after) = PaymentState::from_word(&row.state).filter(|_| !routes.is_empty()) else {
        return Ok(false);
    };
    let before = before.and_then(PaymentState::from_word);
    if before == Some(after) {
        return Ok(false);
    }
    let outcomes = match outcomes(transaction, &row.id) {
        // A payment's state is not lost for an attempt that a newer build has written.
        Err(error @ JournalError::Unreadable { .. }) => {
            tracing::error!(payment = %row.id, %error, "merchants are told without its outcome");
            Vec::new()
        }
        found => found?,
    };
    let last = outcomes.last().and_then(Option::as_ref);
    let Some(event) = event_of(before, after, last) else {
        return Ok(false);
    };
    let facts = Facts {
        payment: &row.id,
        call: &row.call,
        signalling_id: row.signalling_id.as_deref(),
        ended: !matches!(after, PaymentState::Open | PaymentState::Unknown),
        outcome: last,
        amount_minor: row.amount_minor,
        currency: &row.currency,
        purpose: row.purpose,
        balance: match last {
            Some(Outcome::Approved { .. }) => Some(Balance::of(row.purpose, row.amount_minor, &[])),
            _ => None,
        },
        operation: None,
        reference: &row.reference,
        brand: row.brand,
        last4: row.last4,
        attempts: outcomes.len(),
        sandbox: row.sandbox,
        created: row.created,
    };
    write(transaction, routes, node, event, &facts, row.updated)
}

/// The same of an operation whose row was just changed.
pub(super) fn tell_of_operation(
    transaction: &Transaction<'_>,
    routes: &[Route],
    node: &Node,
    begun: &OperationBegun,
    balance: Balance,
) -> Result<bool, JournalError> {
    let (operation, row) = (&begun.operation, &begun.payment);
    let Phase::Result(outcome) = &operation.phase else {
        return Ok(false);
    };
    let charge = match &begun.attempt.phase {
        Phase::Result(outcome) => Some(outcome),
        Phase::Intent | Phase::Sending => None,
    };
    let facts = Facts {
        payment: &row.id,
        call: &row.call,
        signalling_id: row.signalling_id.as_deref(),
        ended: true,
        outcome: charge,
        amount_minor: row.amount_minor,
        currency: &row.currency,
        purpose: row.purpose,
        balance: Some(balance),
        operation: Some(OperationFacts {
            id: &operation.id,
            kind: operation.kind,
            amount_minor: operation.amount_minor,
            reason: operation.reason.as_deref(),
            outcome,
        }),
        reference: &row.reference,
        brand: row.brand,
        last4: row.last4,
        attempts: outcomes(transaction, &row.id)?.len(),
        sandbox: row.sandbox,
        created: row.created,
    };
    let event = event_of_operation(operation.kind, outcome);
    write(transaction, routes, node, event, &facts, operation.updated)
}

/// Whether anybody is told.
fn write(
    transaction: &Transaction<'_>,
    routes: &[Route],
    node: &Node,
    event: CallbackEvent,
    facts: &Facts<'_>,
    at: Timestamp,
) -> Result<bool, JournalError> {
    let tenant = facts.payment.tenant();
    let mut routes = routes
        .iter()
        .filter(|route| route.tenant == *tenant && route.events.contains(&event))
        .peekable();
    if routes.peek().is_none() {
        return Ok(false);
    }
    let body = facts
        .body(event, at)
        .map_err(|error| row::unreadable(error.to_string(), "JSON"))?;
    for route in routes {
        let id = MessageId::new(
            tenant.clone(),
            node.clone(),
            Ulid::from_parts(
                u64::try_from(at.as_millisecond()).unwrap_or(0),
                rand::random(),
            ),
        );
        // Behind others of its payment it is not due before they are.
        transaction
            .prepare_cached(
                "INSERT INTO callbacks (id, tenant, node, endpoint, payment, event, body, state,
                     tries, due, created, updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'waiting', 0,
                     max(?8, coalesce((SELECT max(due) FROM callbacks WHERE endpoint = ?4
                         AND payment = ?5 AND state = 'waiting'), ?8)), ?8, ?8)",
            )?
            .execute(params![
                id.to_string(),
                tenant.as_str(),
                node.as_str(),
                route.endpoint.as_str(),
                facts.payment.to_string(),
                event.as_str(),
                body,
                nanoseconds(at),
            ])?;
    }
    Ok(true)
}

/// How the attempts of a payment ended, oldest first.
fn outcomes(
    connection: &Connection,
    payment: &PaymentId,
) -> Result<Vec<Option<Outcome>>, JournalError> {
    let attempts = row::attempts_of(connection, payment)?;
    Ok(attempts
        .into_iter()
        .map(|attempt| match attempt.phase {
            Phase::Intent | Phase::Sending => None,
            Phase::Result(outcome) => Some(outcome),
        })
        .collect())
}

impl Store {
    fn callbacks_due(
        &mut self,
        endpoint: &EndpointName,
        at: Timestamp,
        limit: u32,
    ) -> Result<(Vec<CallbackRow>, Option<Timestamp>), JournalError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM callbacks AS one
             WHERE endpoint = ?1 AND state = 'waiting' AND due <= ?2
             AND NOT EXISTS (SELECT 1 FROM callbacks AS earlier
                 WHERE earlier.endpoint = ?1 AND earlier.payment = one.payment
                 AND earlier.state = 'waiting' AND earlier.number < one.number)
             ORDER BY due, number LIMIT ?3"
        );
        let now = nanoseconds(at);
        let due = self.read(&sql, params![endpoint.as_str(), now, limit], callback)?;
        let next = self.read(
            "SELECT min(due) FROM callbacks WHERE endpoint = ?1 AND state = 'waiting' AND due > ?2",
            params![endpoint.as_str(), now],
            |row| row::optional_time(row, 0),
        )?;
        Ok((due, next.into_iter().next().flatten()))
    }

    fn callback_tried(
        &mut self,
        id: &MessageId,
        tried: &Tried,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (state, due, problem) = match tried {
            Tried::Delivered => ("delivered", None, None),
            Tried::Again { due, problem } => ("waiting", Some(nanoseconds(*due)), Some(problem)),
            Tried::Dead { problem } => ("dead", None, Some(problem)),
        };
        transaction
            .prepare_cached(
                "UPDATE callbacks SET state = ?2, tries = tries + 1, due = coalesce(?3, due),
                     problem = ?4, updated = ?5
                 WHERE id = ?1 AND state = 'waiting'",
            )?
            .execute(params![
                id.to_string(),
                state,
                due,
                problem,
                nanoseconds(at)
            ])?;
        if let Some(due) = due {
            // Those behind it are not looked at before it is due.
            transaction
                .prepare_cached(
                    "UPDATE callbacks SET due = max(due, ?2) WHERE state = 'waiting'
                     AND (endpoint, payment) = (SELECT endpoint, payment FROM callbacks WHERE id = ?1)",
                )?
                .execute(params![id.to_string(), due])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Each part from an index alone, or by one row: there may be many, and payments wait meanwhile.
    fn callback_counts(&mut self, endpoint: &EndpointName) -> Result<CallbackCounts, JournalError> {
        let count = |sql: &str| -> Result<u64, JournalError> {
            let found = self.read(sql, [endpoint.as_str()], |row| Ok(row.get::<_, i64>(0)?))?;
            Ok(found
                .first()
                .map_or(0, |count| u64::try_from(*count).unwrap_or(0)))
        };
        let oldest = self.read(
            "SELECT created FROM callbacks WHERE endpoint = ?1 AND state = 'waiting'
             ORDER BY number LIMIT 1",
            [endpoint.as_str()],
            |row| row::time(row, 0),
        )?;
        Ok(CallbackCounts {
            waiting: count(
                "SELECT count(*) FROM callbacks WHERE endpoint = ?1 AND state = 'waiting'",
            )?,
            dead: count("SELECT count(*) FROM callbacks WHERE endpoint = ?1 AND state = 'dead'")?,
            oldest: oldest.first().copied(),
        })
    }

    fn callbacks(
        &mut self,
        tenant: &Tenant,
        state: CallbackState,
        limit: u32,
    ) -> Result<Vec<CallbackRow>, JournalError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM callbacks WHERE tenant = ?1 AND state = ?2
             ORDER BY number LIMIT ?3"
        );
        let state = row::to_word(&state)?;
        self.read(&sql, params![tenant.as_str(), state, limit], callback)
    }

    fn callback(&mut self, id: &MessageId) -> Result<Option<CallbackRow>, JournalError> {
        let sql = format!("SELECT {COLUMNS} FROM callbacks WHERE id = ?1");
        Ok(self.read(&sql, [id.to_string()], callback)?.pop())
    }

    fn replay_callback(&mut self, id: &MessageId, at: Timestamp) -> Result<bool, JournalError> {
        let replayed = self.execute(
            "UPDATE callbacks SET state = 'waiting', tries = 0, due = ?2, updated = ?2
             WHERE id = ?1 AND state = 'dead'",
            params![id.to_string(), nanoseconds(at)],
        )?;
        Ok(replayed == 1)
    }

    fn drop_callback(&mut self, id: &MessageId) -> Result<bool, JournalError> {
        let dropped = self.execute(
            "DELETE FROM callbacks WHERE id = ?1 AND state = 'dead'",
            [id.to_string()],
        )?;
        Ok(dropped == 1)
    }

    fn retire_callbacks(
        &mut self,
        endpoints: &[EndpointName],
        at: Timestamp,
    ) -> Result<usize, JournalError> {
        let known = row::to_json(&endpoints)?;
        self.execute(
            "UPDATE callbacks SET state = 'dead', updated = ?2,
                 problem = 'no endpoint of this name is configured any more'
             WHERE state = 'waiting' AND endpoint NOT IN (SELECT value FROM json_each(?1))",
            params![known, nanoseconds(at)],
        )
    }

    fn forget_callbacks(&mut self, before: Timestamp) -> Result<bool, JournalError> {
        let removed = self.execute(
            "DELETE FROM callbacks WHERE number IN (SELECT number FROM callbacks
                 WHERE state = 'delivered' AND updated < ?1 LIMIT ?2)",
            params![nanoseconds(before), REMOVED_AT_A_TIME],
        )?;
        Ok(removed > 0)
    }
}

fn callback(row: &Row<'_>) -> Result<CallbackRow, JournalError> {
    Ok(CallbackRow {
        id: row::parsed(row, 0, "a message's id")?,
        endpoint: row::parsed(row, 1, "an endpoint's name")?,
        payment: row::parsed(row, 2, "a payment's id")?,
        event: row::word(&row.get::<_, String>(3)?, "what merchants are told of")?,
        body: row.get(4)?,
        state: row::word(&row.get::<_, String>(5)?, "where a message stands")?,
        tries: row.get(6)?,
        due: row::time(row, 7)?,
        created: row::time(row, 8)?,
        updated: row::time(row, 9)?,
        problem: row.get(10)?,
    })
}
