//! The connection, and what is done on it. Lives on the journal's own thread.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, TransactionBehavior, named_params, params};

use super::{
    ArmedRow, AttemptRow, Idempotent, JournalError, KeyKind, KeyRow, LeftRecord, OpenOutcomes,
    PaymentFilter, PaymentRow, Phase, Route, callbacks,
    row::{self, nanoseconds, stored_amount, to_json, to_word},
    schema,
};
use crate::proto::{
    audit::Record,
    call::Holder,
    id::{AttemptId, KeyId, Node, PaymentId, Tenant},
    payment::{Outcome, PaymentState, Token},
};

/// How long a write waits for another process that holds the file (the command line).
const BUSY: Duration = Duration::from_secs(5);
/// How long an idempotency key is kept.
const IDEMPOTENCY: Duration = Duration::from_hours(24);

pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) node: Node,
    /// This opening. A request of another one that was never answered died with its process.
    run: String,
    /// Who is told of payments.
    pub(super) routes: Vec<Route>,
}

impl Store {
    pub(super) fn open(path: &Path, node: Node, run: String) -> Result<Self, JournalError> {
        private(path).map_err(|error| JournalError::File {
            path: path.to_owned(),
            error,
        })?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(row::unreadable(
                mode,
                "journal mode wal (a local file system)",
            ));
        }
        // NORMAL would lose the last commits with the power; an intent has to outlive it.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Kibibytes, where negative: rows are few and small, and what is not kept here is in the
        // system's cache. The default would grow to 2 MB.
        connection.pragma_update(None, "cache_size", -256)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection)?;
        Ok(Self {
            connection,
            node,
            run,
            routes: Vec::new(),
        })
    }

    /// Whether merchants are told of it.
    pub(super) fn put_payment(&mut self, row: &PaymentRow) -> Result<bool, JournalError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before: Option<String> = transaction
            .prepare_cached("SELECT state FROM payments WHERE id = ?1")?
            .query_row([row.id.to_string()], |row| row.get(0))
            .optional()?;
        transaction
            .prepare_cached(
                "INSERT INTO payments (id, tenant, node, call, state, amount_minor, currency,
                 reference, description, brand, last4, created, updated, signalling_id, sandbox,
                 purpose)
             VALUES (:id, :tenant, :node, :call, :state, :amount, :currency,
                 :reference, :description, :brand, :last4, :created, :updated, :signalling_id,
                 :sandbox, :purpose)
             ON CONFLICT (id) DO UPDATE SET call = :call, state = :state, amount_minor = :amount,
                 currency = :currency, reference = :reference, description = :description,
                 brand = :brand, last4 = :last4, created = :created, updated = :updated,
                 signalling_id = :signalling_id, sandbox = :sandbox, purpose = :purpose",
            )?
            .execute(named_params! {
                ":id": row.id.to_string(),
                ":tenant": row.id.tenant().as_str(),
                ":node": row.id.node().as_str(),
                ":call": row.call.to_string(),
                ":state": row.state,
                ":amount": stored_amount(row.amount_minor)?,
                ":currency": row.currency,
                ":reference": row.reference,
                ":description": row.description,
                ":brand": row.brand.as_ref().map(to_word).transpose()?,
                ":last4": row.last4.map(|last4| last4.to_string()),
                ":created": nanoseconds(row.created),
                ":updated": nanoseconds(row.updated),
                ":signalling_id": row.signalling_id,
                ":sandbox": row.sandbox,
                ":purpose": row.purpose.as_str(),
            })?;
        let told = callbacks::tell(
            &transaction,
            &self.routes,
            &self.node,
            before.as_deref(),
            row,
        )?;
        transaction.commit()?;
        Ok(told)
    }

    pub(super) fn payment(&mut self, id: &PaymentId) -> Result<Option<PaymentRow>, JournalError> {
        row::payment_of(&self.connection, id)
    }

    pub(super) fn payments(
        &mut self,
        tenant: &Tenant,
        filter: &PaymentFilter,
    ) -> Result<Vec<PaymentRow>, JournalError> {
        let sql = format!(
            "{} WHERE tenant = :tenant
             AND (:call IS NULL OR call = :call)
             AND (:state IS NULL OR state = :state)
             AND (:reference IS NULL OR reference = :reference)
             AND (:last4 IS NULL OR last4 = :last4)
             AND (:since IS NULL OR created >= :since)
             AND (:until IS NULL OR created < :until)
             AND (:before IS NULL OR (created, id) <
                 (SELECT created, id FROM payments WHERE id = :before))
             ORDER BY created DESC, id DESC LIMIT :limit",
            row::PAYMENT
        );
        let named = named_params! {
            ":tenant": tenant.as_str(),
            ":call": filter.call.as_ref().map(ToString::to_string),
            ":state": filter.state.map(PaymentState::as_str),
            ":reference": filter.reference,
            ":last4": filter.last4.map(|last4| last4.to_string()),
            ":since": filter.since.map(nanoseconds),
            ":until": filter.until.map(nanoseconds),
            ":before": filter.before.as_ref().map(ToString::to_string),
            ":limit": filter.limit,
        };
        self.read(&sql, named, row::payment)
    }

    pub(super) fn intent(&mut self, row: &AttemptRow) -> Result<(), JournalError> {
        if row.phase != Phase::Intent {
            return Err(refused(&row.id, "nothing", phase_word(&row.phase)));
        }
        if self.payment(&row.payment)?.is_none() {
            return Err(JournalError::NoPayment(row.payment.clone()));
        }
        let inserted = self.execute(
            "INSERT INTO attempts (id, tenant, node, payment, amount_minor, currency, reference,
                 processor, phase, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'intent', ?9, ?10)
             ON CONFLICT (id) DO NOTHING",
            params![
                row.id.to_string(),
                row.id.tenant().as_str(),
                row.id.node().as_str(),
                row.payment.to_string(),
                stored_amount(row.amount_minor)?,
                row.currency,
                row.reference,
                row.processor,
                nanoseconds(row.created),
                nanoseconds(row.updated),
            ],
        )?;
        self.moved(inserted, &row.id, "intent")
    }

    pub(super) fn sending(&mut self, id: &AttemptId, at: Timestamp) -> Result<(), JournalError> {
        let moved = self.execute(
            "UPDATE attempts SET phase = 'sending', updated = ?2 WHERE id = ?1 AND phase = 'intent'",
            params![id.to_string(), nanoseconds(at)],
        )?;
        self.moved(moved, id, "sending")
    }

    pub(super) fn keep_token(&mut self, id: &AttemptId, token: &Token) -> Result<(), JournalError> {
        let kept = self.execute(
            "UPDATE attempts SET token = ?2
             WHERE id = ?1 AND phase = 'sending' AND token IS NULL",
            params![id.to_string(), token.as_str()],
        )?;
        self.moved(kept, id, "a token")
    }

    pub(super) fn token(&mut self, id: &AttemptId) -> Result<Option<Token>, JournalError> {
        let text: Option<Option<String>> = self
            .connection
            .query_row(
                "SELECT token FROM attempts WHERE id = ?1",
                [id.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        let Some(text) = text else {
            return Err(JournalError::NoAttempt(id.clone()));
        };
        text.map(|text| {
            Token::new(&text).ok_or_else(|| row::unreadable("a text".to_owned(), "a token"))
        })
        .transpose()
    }

    pub(super) fn result(
        &mut self,
        id: &AttemptId,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<(), JournalError> {
        // What was never sent can only have failed.
        let (phase, from_intent) = match outcome {
            Outcome::Failed { .. } => ("ended", true),
            Outcome::Approved { .. } | Outcome::Declined { .. } => ("ended", false),
            Outcome::Pending { .. } | Outcome::Unknown { .. } => ("unknown", false),
        };
        let moved = self.execute(
            "UPDATE attempts SET phase = ?2, outcome = ?3,
                 updated = CASE phase WHEN 'ended' THEN updated ELSE ?4 END,
                 token = CASE ?2 WHEN 'ended' THEN NULL ELSE token END
             WHERE id = ?1 AND (phase IN ('sending', 'unknown') OR (?5 AND phase = 'intent')
                 OR (phase = 'ended' AND outcome = ?3))",
            params![
                id.to_string(),
                phase,
                to_json(outcome)?,
                nanoseconds(at),
                from_intent
            ],
        )?;
        self.moved(moved, id, "a result")
    }

    pub(super) fn attempt(&mut self, id: &AttemptId) -> Result<Option<AttemptRow>, JournalError> {
        let sql = format!("{} WHERE id = ?1", row::ATTEMPT);
        Ok(self.read(&sql, [id.to_string()], row::attempt)?.pop())
    }

    pub(super) fn attempts(
        &mut self,
        payment: &PaymentId,
    ) -> Result<Vec<AttemptRow>, JournalError> {
        row::attempts_of(&self.connection, payment)
    }

    pub(super) fn unresolved(&mut self) -> Result<Vec<AttemptRow>, JournalError> {
        let sql = format!(
            "{} WHERE phase <> 'ended' ORDER BY created, id",
            row::ATTEMPT
        );
        self.read(&sql, [], row::attempt)
    }

    pub(super) fn open_outcomes(&mut self) -> Result<OpenOutcomes, JournalError> {
        // The first condition is that of the indexes.
        let count = |table: &str| {
            let sql = format!(
                "SELECT count(*), min(created) FROM {table}
                 WHERE phase <> 'ended' AND phase = 'unknown'"
            );
            self.connection.query_row(&sql, [], |row| {
                let count: i64 = row.get(0)?;
                Ok((count.unsigned_abs(), row::optional_time(row, 1)))
            })
        };
        let (charges, _) = count("attempts")?;
        let (operations, oldest_operation) = count("operations")?;
        Ok(OpenOutcomes {
            charges,
            operations,
            oldest_operation: oldest_operation?,
        })
    }

    pub(super) fn set_armed(&mut self, row: &ArmedRow) -> Result<(), JournalError> {
        self.execute(
            "INSERT INTO armed (tenant, node, signalling_id, holder, since, caller_tag)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET caller_tag = coalesce(excluded.caller_tag, caller_tag)",
            params![
                row.tenant.as_str(),
                self.node.as_str(),
                row.signalling_id,
                to_json(&row.holder)?,
                nanoseconds(row.since),
                row.caller_tag,
            ],
        )?;
        Ok(())
    }

    pub(super) fn clear_armed(
        &mut self,
        tenant: &Tenant,
        signalling_id: &str,
        holder: Option<&Holder>,
    ) -> Result<(), JournalError> {
        let holder = holder.map(to_json).transpose()?;
        self.execute(
            "DELETE FROM armed
             WHERE tenant = ?1 AND signalling_id = ?2 AND (?3 IS NULL OR holder = ?3)",
            params![tenant.as_str(), signalling_id, holder],
        )?;
        Ok(())
    }

    /// The calls that have such a row.
    pub(super) fn armed_calls(&mut self) -> Result<Vec<(Tenant, String)>, JournalError> {
        let rows = self.read(row::ARMED, [], row::armed)?;
        Ok(rows
            .into_iter()
            .map(|row| (row.tenant, row.signalling_id))
            .collect())
    }

    pub(super) fn armed(
        &mut self,
        tenant: &Tenant,
        signalling_id: &str,
    ) -> Result<Vec<ArmedRow>, JournalError> {
        let sql = format!(
            "{} WHERE tenant = ?1 AND signalling_id = ?2 ORDER BY since, holder",
            row::ARMED
        );
        self.read(&sql, params![tenant.as_str(), signalling_id], row::armed)
    }

    pub(super) fn idempotency(
        &mut self,
        tenant: &Tenant,
        key: &str,
        fingerprint: &[u8; 32],
        at: Timestamp,
    ) -> Result<Idempotent, JournalError> {
        let oldest = at.checked_sub(IDEMPOTENCY).unwrap_or(Timestamp::MIN);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "DELETE FROM idempotency WHERE created <= ?1",
            [nanoseconds(oldest)],
        )?;
        type Found = ([u8; 32], String, Option<u16>, Option<String>);
        let found: Option<Found> = transaction
            .query_row(
                "SELECT fingerprint, run, status, body FROM idempotency
                 WHERE tenant = ?1 AND key = ?2",
                params![tenant.as_str(), key],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()?;
        let answer = match found {
            Some((other, ..)) if other != *fingerprint => Idempotent::Conflict,
            Some((_, _, Some(status), Some(body))) => Idempotent::Replay { status, body },
            Some((_, run, ..)) if run == self.run => Idempotent::InProgress,
            // None, or reserved by a process that ended before it answered.
            _ => {
                transaction.execute(
                    "INSERT OR REPLACE INTO idempotency (tenant, node, key, run, fingerprint, created)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![
                        tenant.as_str(),
                        self.node.as_str(),
                        key,
                        self.run,
                        fingerprint,
                        nanoseconds(at)
                    ],
                )?;
                Idempotent::New
            }
        };
        transaction.commit()?;
        Ok(answer)
    }

    pub(super) fn idempotency_answer(
        &mut self,
        tenant: &Tenant,
        key: &str,
        answer: Option<&(u16, String)>,
    ) -> Result<(), JournalError> {
        match answer {
            Some((status, body)) => self.execute(
                "UPDATE idempotency SET status = ?3, body = ?4 WHERE tenant = ?1 AND key = ?2",
                params![tenant.as_str(), key, status, body],
            )?,
            None => self.execute(
                "DELETE FROM idempotency WHERE tenant = ?1 AND key = ?2 AND status IS NULL",
                params![tenant.as_str(), key],
            )?,
        };
        Ok(())
    }

    pub(super) fn put_key(&mut self, row: &KeyRow) -> Result<(), JournalError> {
        self.execute(
            "INSERT INTO keys (id, tenant, node, kind, role, label, secret_hash, created, expires,
                 revoked, agent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                row.id.to_string(),
                row.id.tenant().as_str(),
                row.id.node().as_str(),
                to_word(&row.kind)?,
                to_word(&row.role)?,
                row.label,
                row.secret_hash,
                nanoseconds(row.created),
                row.expires.map(nanoseconds),
                row.revoked.map(nanoseconds),
                row.agent.as_ref().map(ToString::to_string),
            ],
        )?;
        Ok(())
    }

    pub(super) fn key_by_hash(
        &mut self,
        kind: KeyKind,
        hash: &[u8; 32],
        at: Timestamp,
    ) -> Result<Option<KeyRow>, JournalError> {
        let sql = format!(
            "SELECT {} FROM keys WHERE secret_hash = ?1 AND kind = ?2 AND revoked IS NULL
             AND (expires IS NULL OR expires > ?3)",
            row::KEY_COLUMNS
        );
        let found = self.read(
            &sql,
            params![hash, to_word(&kind)?, nanoseconds(at)],
            row::key,
        )?;
        Ok(found.into_iter().next())
    }

    /// One statement finds and revokes, so of two processes only one gets the row.
    pub(super) fn redeem_key(
        &mut self,
        kind: KeyKind,
        hash: &[u8; 32],
        at: Timestamp,
    ) -> Result<Option<KeyRow>, JournalError> {
        let sql = format!(
            "UPDATE keys SET revoked = ?3 WHERE secret_hash = ?1 AND kind = ?2 AND revoked IS NULL
             AND (expires IS NULL OR expires > ?3) RETURNING {}",
            row::KEY_COLUMNS
        );
        let found = self.read(
            &sql,
            params![hash, to_word(&kind)?, nanoseconds(at)],
            row::key,
        )?;
        Ok(found.into_iter().next())
    }

    pub(super) fn keys(&mut self, tenant: &Tenant) -> Result<Vec<KeyRow>, JournalError> {
        let sql = format!(
            "SELECT {} FROM keys WHERE tenant = ?1 ORDER BY created DESC, id DESC",
            row::KEY_COLUMNS
        );
        self.read(&sql, [tenant.as_str()], row::key)
    }

    pub(super) fn revoke_key(&mut self, key: &KeyId, at: Timestamp) -> Result<bool, JournalError> {
        let revoked = self.execute(
            "UPDATE keys SET revoked = ?2
             WHERE id = ?1 AND revoked IS NULL AND (expires IS NULL OR expires > ?2)",
            params![key.to_string(), nanoseconds(at)],
        )?;
        Ok(revoked == 1)
    }

    pub(super) fn leave_record(
        &mut self,
        tenant: Option<&Tenant>,
        record: &Record,
    ) -> Result<(), JournalError> {
        self.execute(
            "INSERT INTO records_left (tenant, node, record) VALUES (?1, ?2, ?3)",
            params![
                tenant.map(Tenant::as_str),
                self.node.as_str(),
                to_json(record)?
            ],
        )?;
        Ok(())
    }

    pub(super) fn records_left(&mut self) -> Result<Vec<LeftRecord>, JournalError> {
        self.read(
            "SELECT number, tenant, record FROM records_left ORDER BY number",
            [],
            |row| {
                let tenant: Option<String> = row.get(1)?;
                Ok(LeftRecord {
                    number: row.get(0)?,
                    tenant: tenant
                        .map(|text| text.parse().map_err(|_| row::unreadable(text, "a tenant")))
                        .transpose()?,
                    record: row::json(&row.get::<_, String>(2)?, "an audit record")?,
                })
            },
        )
    }

    pub(super) fn record_taken(&mut self, number: i64) -> Result<(), JournalError> {
        self.execute("DELETE FROM records_left WHERE number = ?1", [number])?;
        Ok(())
    }

    /// What SQLite says of a setting of this connection.
    #[cfg(test)]
    pub(super) fn setting(&mut self, name: &str) -> Result<String, JournalError> {
        let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        let value = self.connection.pragma_query_value(None, name, read)?;
        Ok(format!("{value:?}"))
    }

    /// Says why nothing moved: the attempt stands where this step does not lead from.
    fn moved(
        &self,
        changed: usize,
        id: &AttemptId,
        asked: &'static str,
    ) -> Result<(), JournalError> {
        if changed == 1 {
            return Ok(());
        }
        let phase: Option<String> = self
            .connection
            .query_row(
                "SELECT phase FROM attempts WHERE id = ?1",
                [id.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        match phase {
            Some(phase) => Err(refused(id, &phase, asked)),
            None => Err(JournalError::NoAttempt(id.clone())),
        }
    }

    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, JournalError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    pub(super) fn read<T>(
        &self,
        sql: &str,
        params: impl Params,
        each: impl Fn(&rusqlite::Row<'_>) -> Result<T, JournalError>,
    ) -> Result<Vec<T>, JournalError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(each(row)?);
        }
        Ok(found)
    }
}

/// Makes the file, readable by its owner only, before SQLite does; SQLite gives the write-ahead
/// log the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn refused(attempt: &AttemptId, found: &str, asked: &'static str) -> JournalError {
    JournalError::Order {
        attempt: attempt.clone(),
        found: found.to_owned(),
        asked,
    }
}

const fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Intent => "intent",
        Phase::Sending => "sending",
        Phase::Result(_) => "a result",
    }
}
