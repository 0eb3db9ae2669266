//! Settlements, voids and refunds: whether one may begin is decided in the transaction that writes it down, so
//! that two at once cannot give back more than was taken.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::{
    AttemptRow, Journal, JournalError, PaymentRow, Phase, callbacks,
    row::{self, nanoseconds, stored_amount, to_json},
    store::Store,
};
use crate::proto::{
    id::{AttemptId, OperationId, PaymentId},
    payment::{Abilities, Balance, NotAllowed, OperationEntry, OperationKind, Outcome, Progress},
};

const COLUMNS: &str = "id, payment, attempt, kind, amount_minor, currency, reason, actor, phase, \
     outcome, created, updated";

/// An operation's row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OperationRow {
    pub id: OperationId,
    pub payment: PaymentId,
    /// The attempt whose charge it is of.
    pub attempt: AttemptId,
    pub kind: OperationKind,
    pub amount_minor: u64,
    pub currency: String,
    /// The merchant's own words.
    pub reason: Option<String>,
    /// Who asked for it: a key's id.
    pub actor: String,
    pub phase: Phase,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl OperationRow {
    /// How it counts.
    #[must_use]
    pub const fn entry(&self) -> OperationEntry {
        OperationEntry {
            kind: self.kind,
            amount_minor: self.amount_minor,
            progress: match &self.phase {
                Phase::Intent | Phase::Sending => Progress::Open,
                Phase::Result(outcome) => match outcome {
                    Outcome::Approved { .. } => Progress::Done,
                    Outcome::Declined { .. } | Outcome::Failed { .. } => Progress::NotDone,
                    Outcome::Pending { .. } | Outcome::Unknown { .. } => Progress::Open,
                },
            },
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewOperation {
    pub id: OperationId,
    pub payment: PaymentId,
    pub kind: OperationKind,
    /// All that there is where it is not named.
    pub amount_minor: Option<u64>,
    /// The most that whoever asks may move at a time, by currency; no bound where there is none.
    pub limits: Option<BTreeMap<String, u64>>,
    /// The request's idempotency key: a second one with the same does not begin.
    pub key: Option<String>,
    pub reason: Option<String>,
    pub actor: String,
    pub at: Timestamp,
}

/// An operation with the charge that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OperationBegun {
    pub operation: OperationRow,
    pub payment: PaymentRow,
    pub attempt: AttemptRow,
    /// The processor's own reference of the charge.
    pub processor_reference: String,
    /// The processor's own reference of its settlement, where it was settled by an operation.
    pub settlement_reference: Option<String>,
}

/// Why an operation does not begin. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// There is no such payment.
    #[error("no payment {0} here")]
    NoPayment(PaymentId),
    /// Nothing was charged, or it is not known.
    #[error("the payment is {state}; only what was approved can be settled, voided or refunded")]
    NothingStands {
        /// The payment's state.
        state: String,
    },
    /// It stands at another processor.
    #[error(
        "the charge stands at the processor {found:?}, and this gateway charges by {expected:?} now; do it there"
    )]
    OtherProcessor {
        /// Where it stands.
        found: String,
        /// Where this gateway charges.
        expected: String,
    },
    /// The processor's reference could not be kept.
    #[error("the processor's reference of the charge is not known here; do it at the processor")]
    NoReference,
    /// The same request has begun one of this charge.
    #[error("this request was carried out before")]
    Repeated,
    /// Whoever asks may not move so much.
    #[error(
        "{amount_minor} minor units of {currency} are more than this key may move at a time ({most_minor}); ask somebody who may"
    )]
    OverLimit {
        /// What would be moved.
        amount_minor: u64,
        /// ISO 4217 code.
        currency: String,
        /// What may be.
        most_minor: u64,
    },
    /// The charge does not allow it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
}

impl Journal {
    /// Durable: the operation is meant (phase Intent), if the charge allows it.
    pub async fn begin_operation(
        &self,
        new: NewOperation,
        processor: String,
        able: Abilities,
    ) -> Result<Result<OperationBegun, NotBegun>, JournalError> {
        self.run(move |s| s.begin_operation(&new, &processor, able))
            .await
    }

    /// Durable: from here on the request may have been sent.
    pub async fn operation_sending(
        &self,
        id: OperationId,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        self.run(move |s| s.operation_sending(&id, at)).await
    }

    /// Durable: how it ended, and in the same transaction what merchants are told of it. What is open may
    /// later be replaced, nothing else may; the same once more is no error.
    pub async fn operation_result(
        &self,
        id: OperationId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        if self
            .run(move |s| s.operation_result(&id, &outcome, at))
            .await?
        {
            self.0.told.send_replace(());
        }
        Ok(())
    }

    /// The operations of these payments, oldest first.
    pub async fn operations(
        &self,
        payments: Vec<PaymentId>,
    ) -> Result<Vec<OperationRow>, JournalError> {
        self.run(move |s| operations_of(&s.connection, &payments))
            .await
    }

    /// One of them, with its charge.
    pub async fn operation(&self, id: OperationId) -> Result<Option<OperationBegun>, JournalError> {
        self.run(move |s| s.operation(&id)).await
    }

    /// Those of which it is not known how they ended, oldest first.
    pub async fn unresolved_operations(&self) -> Result<Vec<OperationRow>, JournalError> {
        self.run(Store::unresolved_operations).await
    }
}

impl Store {
    fn begin_operation(
        &mut self,
        new: &NewOperation,
        processor: &str,
        able: Abilities,
    ) -> Result<Result<OperationBegun, NotBegun>, JournalError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(payment) = row::payment_of(&transaction, &new.payment)? else {
            return Ok(Err(NotBegun::NoPayment(new.payment.clone())));
        };
        let attempt = row::attempts_of(&transaction, &new.payment)?.pop();
        let charge = attempt.and_then(|attempt| match &attempt.phase {
            Phase::Result(Outcome::Approved {
                processor_reference,
                ..
            }) => Some((processor_reference.clone(), attempt)),
            Phase::Intent | Phase::Sending | Phase::Result(_) => None,
        });
        let Some((processor_reference, attempt)) = charge else {
            return Ok(Err(NotBegun::NothingStands {
                state: payment.state,
            }));
        };
        if attempt.processor != processor {
            return Ok(Err(NotBegun::OtherProcessor {
                found: attempt.processor,
                expected: processor.to_owned(),
            }));
        }
        if !is_reference(&processor_reference) {
            return Ok(Err(NotBegun::NoReference));
        }
        if let Some(key) = &new.key {
            let repeated = transaction
                .prepare_cached("SELECT 1 FROM operations WHERE tenant = ?1 AND request_key = ?2")?
                .exists(params![new.id.tenant().as_str(), key])?;
            if repeated {
                return Ok(Err(NotBegun::Repeated));
            }
        }
        let before = operations_of(&transaction, std::slice::from_ref(&new.payment))?;
        let balance = balance(&payment, &attempt, &before);
        let amount_minor = match balance.allow(new.kind, new.amount_minor, able) {
            Ok(amount) => amount,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if let Some(limits) = &new.limits {
            let most_minor = limits.get(&attempt.currency).copied().unwrap_or(0);
            if amount_minor > most_minor {
                return Ok(Err(NotBegun::OverLimit {
                    amount_minor,
                    currency: attempt.currency,
                    most_minor,
                }));
            }
        }
        let operation = OperationRow {
            id: new.id.clone(),
            payment: new.payment.clone(),
            attempt: attempt.id.clone(),
            kind: new.kind,
            amount_minor,
            currency: attempt.currency.clone(),
            reason: new.reason.clone(),
            actor: new.actor.clone(),
            phase: Phase::Intent,
            created: new.at,
            updated: new.at,
        };
        insert(&transaction, &operation, new.key.as_deref())?;
        transaction.commit()?;
        Ok(Ok(OperationBegun {
            settlement_reference: settlement(&before),
            operation,
            payment,
            attempt,
            processor_reference,
        }))
    }

    fn operation_sending(&mut self, id: &OperationId, at: Timestamp) -> Result<(), JournalError> {
        let moved = self.execute(
            "UPDATE operations SET phase = 'sending', updated = ?2
             WHERE id = ?1 AND phase = 'intent'",
            params![id.to_string(), nanoseconds(at)],
        )?;
        moved_on(&self.connection, moved, id, "sending")
    }

    /// Whether merchants are told of it.
    fn operation_result(
        &mut self,
        id: &OperationId,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<bool, JournalError> {
        let routes = &self.routes;
        let node = &self.node;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = one(&transaction, id)?.map(|row| row.phase);
        // What was never sent can only have failed.
        let (phase, from_intent) = match outcome {
            Outcome::Failed { .. } => ("ended", true),
            Outcome::Approved { .. } | Outcome::Declined { .. } => ("ended", false),
            Outcome::Pending { .. } | Outcome::Unknown { .. } => ("unknown", false),
        };
        let moved = transaction
            .prepare_cached(
                "UPDATE operations SET phase = ?2, outcome = ?3,
                     updated = CASE phase WHEN 'ended' THEN updated ELSE ?4 END
                 WHERE id = ?1 AND (phase IN ('sending', 'unknown') OR (?5 AND phase = 'intent')
                     OR (phase = 'ended' AND outcome = ?3))",
            )?
            .execute(params![
                id.to_string(),
                phase,
                to_json(outcome)?,
                nanoseconds(at),
                from_intent
            ])?;
        moved_on(&transaction, moved, id, "a result")?;
        let word = |phase: Option<&Phase>| match phase {
            Some(Phase::Result(outcome)) => Some(outcome.as_str()),
            Some(Phase::Intent | Phase::Sending) | None => None,
        };
        let news = word(before.as_ref()) != Some(outcome.as_str());
        let told = match begun(&transaction, id)? {
            Some(begun) if news => {
                let before = operations_of(&transaction, std::slice::from_ref(&begun.payment.id))?;
                let balance = balance(&begun.payment, &begun.attempt, &before);
                callbacks::tell_of_operation(&transaction, routes, node, &begun, balance)?
            }
            Some(_) | None => false,
        };
        transaction.commit()?;
        Ok(told)
    }

    pub(super) fn operation(
        &mut self,
        id: &OperationId,
    ) -> Result<Option<OperationBegun>, JournalError> {
        begun(&self.connection, id)
    }

    fn unresolved_operations(&mut self) -> Result<Vec<OperationRow>, JournalError> {
        let sql =
            format!("SELECT {COLUMNS} FROM operations WHERE phase <> 'ended' ORDER BY created, id");
        self.read(&sql, [], operation)
    }
}

/// What of an approved charge is where.
#[must_use]
pub fn balance(payment: &PaymentRow, attempt: &AttemptRow, operations: &[OperationRow]) -> Balance {
    let entries: Vec<_> = operations.iter().map(OperationRow::entry).collect();
    Balance::of(payment.purpose, attempt.amount_minor, &entries)
}

fn settlement(operations: &[OperationRow]) -> Option<String> {
    operations
        .iter()
        .find_map(|one| match (&one.phase, one.kind) {
            (
                Phase::Result(Outcome::Approved {
                    processor_reference,
                    ..
                }),
                OperationKind::Settle,
            ) => Some(processor_reference.clone()),
            _ => None,
        })
}

/// Fit to stand in a request's path; an empty one and `withheld` are none of the processor's.
fn is_reference(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text != "withheld" && !text.contains("..") && text.bytes().all(plain)
}

fn begun(
    connection: &Connection,
    id: &OperationId,
) -> Result<Option<OperationBegun>, JournalError> {
    let Some(operation) = one(connection, id)? else {
        return Ok(None);
    };
    let Some(payment) = row::payment_of(connection, &operation.payment)? else {
        return Err(JournalError::NoPayment(operation.payment));
    };
    let attempts = row::attempts_of(connection, &operation.payment)?;
    let attempt = attempts.into_iter().find(|row| row.id == operation.attempt);
    let attempt = attempt.ok_or_else(|| JournalError::NoAttempt(operation.attempt.clone()))?;
    let processor_reference = match &attempt.phase {
        Phase::Result(Outcome::Approved {
            processor_reference,
            ..
        }) => processor_reference.clone(),
        Phase::Intent | Phase::Sending | Phase::Result(_) => {
            return Err(row::unreadable(
                format!("operation {id} of an attempt that was not approved"),
                "an operation of a charge that stands",
            ));
        }
    };
    let all = operations_of(connection, std::slice::from_ref(&operation.payment))?;
    Ok(Some(OperationBegun {
        settlement_reference: settlement(&all),
        operation,
        payment,
        attempt,
        processor_reference,
    }))
}

fn insert(
    transaction: &Transaction<'_>,
    row: &OperationRow,
    key: Option<&str>,
) -> Result<(), JournalError> {
    transaction
        .prepare_cached(
            "INSERT INTO operations (id, tenant, node, payment, attempt, kind, amount_minor,
                 currency, reason, actor, phase, created, updated, request_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'intent', ?11, ?11, ?12)",
        )?
        .execute(params![
            row.id.to_string(),
            row.id.tenant().as_str(),
            row.id.node().as_str(),
            row.payment.to_string(),
            row.attempt.to_string(),
            row.kind.as_str(),
            stored_amount(row.amount_minor)?,
            row.currency,
            row.reason,
            row.actor,
            nanoseconds(row.created),
            key,
        ])?;
    Ok(())
}

fn one(connection: &Connection, id: &OperationId) -> Result<Option<OperationRow>, JournalError> {
    let sql = format!("SELECT {COLUMNS} FROM operations WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(operation).transpose()
}

fn operations_of(
    connection: &Connection,
    payments: &[PaymentId],
) -> Result<Vec<OperationRow>, JournalError> {
    let sql = format!("SELECT {COLUMNS} FROM operations WHERE payment = ?1 ORDER BY created, id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for payment in payments {
        let mut rows = statement.query([payment.to_string()])?;
        while let Some(row) = rows.next()? {
            found.push(operation(row)?);
        }
    }
    Ok(found)
}

fn moved_on(
    connection: &Connection,
    changed: usize,
    id: &OperationId,
    asked: &'static str,
) -> Result<(), JournalError> {
    if changed == 1 {
        return Ok(());
    }
    let found = one(connection, id)?;
    Err(JournalError::OperationOrder {
        operation: id.clone(),
        found: found.map_or_else(
            || "nothing".to_owned(),
            |row| match row.phase {
                Phase::Intent => "intent".to_owned(),
                Phase::Sending => "sending".to_owned(),
                Phase::Result(outcome) => outcome.as_str().to_owned(),
            },
        ),
        asked,
    })
}

fn operation(row: &Row<'_>) -> Result<OperationRow, JournalError> {
    Ok(OperationRow {
        id: row::parsed(row, 0, "an operation's id")?,
        payment: row::parsed(row, 1, "a payment's id")?,
        attempt: row::parsed(row, 2, "an attempt's id")?,
        kind: row::word(&row.get::<_, String>(3)?, "a kind of operation")?,
        amount_minor: row::amount(row, 4)?,
        currency: row.get(5)?,
        reason: row.get(6)?,
        actor: row.get(7)?,
        phase: row::phase(row, 8)?,
        created: row::time(row, 10)?,
        updated: row::time(row, 11)?,
    })
}
