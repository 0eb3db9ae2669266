//! How values stand in columns.

use jiff::Timestamp;
use rusqlite::{Connection, Row, types::ValueRef};
use serde::{Serialize, de::DeserializeOwned};

use super::{ArmedRow, AttemptRow, JournalError, KeyRow, PaymentRow, Phase};
use crate::proto::id::PaymentId;

pub(super) const PAYMENT: &str = "SELECT id, call, state, amount_minor, currency, reference, \
     description, brand, last4, created, updated, signalling_id, sandbox, purpose FROM payments";
pub(super) const ATTEMPT: &str = "SELECT id, payment, amount_minor, currency, reference, \
     processor, phase, outcome, created, updated FROM attempts";
pub(super) const ARMED: &str = "SELECT tenant, signalling_id, holder, since, caller_tag FROM armed";
/// Columns of a key, also for `RETURNING`.
pub(super) const KEY_COLUMNS: &str =
    "id, kind, role, label, secret_hash, created, expires, revoked, agent";

pub(super) fn payment(row: &Row<'_>) -> Result<PaymentRow, JournalError> {
    Ok(PaymentRow {
        id: parsed(row, 0, "a payment's id")?,
        call: parsed(row, 1, "a call's id")?,
        state: row.get(2)?,
        amount_minor: amount(row, 3)?,
        currency: row.get(4)?,
        reference: row.get(5)?,
        description: row.get(6)?,
        brand: optional_word(row, 7, "a brand")?,
        last4: optional_word(row, 8, "four digits")?,
        created: time(row, 9)?,
        updated: time(row, 10)?,
        signalling_id: row.get(11)?,
        sandbox: row.get(12)?,
        purpose: word(&row.get::<_, String>(13)?, "what the card is used for")?,
    })
}

pub(super) fn payment_of(
    connection: &Connection,
    id: &PaymentId,
) -> Result<Option<PaymentRow>, JournalError> {
    let mut statement = connection.prepare_cached(&format!("{PAYMENT} WHERE id = ?1"))?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(payment).transpose()
}

/// The attempts of a payment, oldest first.
pub(super) fn attempts_of(
    connection: &Connection,
    payment: &PaymentId,
) -> Result<Vec<AttemptRow>, JournalError> {
    let sql = format!("{ATTEMPT} WHERE payment = ?1 ORDER BY created, id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([payment.to_string()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(attempt(row)?);
    }
    Ok(found)
}

/// How far an attempt or an operation got; its outcome stands in the next column.
pub(super) fn phase(row: &Row<'_>, column: usize) -> Result<Phase, JournalError> {
    let phase: String = row.get(column)?;
    match phase.as_str() {
        "intent" => Ok(Phase::Intent),
        "sending" => Ok(Phase::Sending),
        "unknown" | "ended" => {
            let outcome: String = row.get(column + 1)?;
            Ok(Phase::Result(json(&outcome, "an outcome")?))
        }
        _ => Err(unreadable(phase, "a phase")),
    }
}

pub(super) fn attempt(row: &Row<'_>) -> Result<AttemptRow, JournalError> {
    Ok(AttemptRow {
        id: parsed(row, 0, "an attempt's id")?,
        payment: parsed(row, 1, "a payment's id")?,
        amount_minor: amount(row, 2)?,
        currency: row.get(3)?,
        reference: row.get(4)?,
        processor: row.get(5)?,
        phase: phase(row, 6)?,
        created: time(row, 8)?,
        updated: time(row, 9)?,
    })
}

pub(super) fn armed(row: &Row<'_>) -> Result<ArmedRow, JournalError> {
    Ok(ArmedRow {
        tenant: parsed(row, 0, "a tenant")?,
        signalling_id: row.get(1)?,
        holder: json(&row.get::<_, String>(2)?, "a holder")?,
        since: time(row, 3)?,
        caller_tag: row.get(4)?,
    })
}

pub(super) fn key(row: &Row<'_>) -> Result<KeyRow, JournalError> {
    Ok(KeyRow {
        id: parsed(row, 0, "a key's id")?,
        kind: word(&row.get::<_, String>(1)?, "a kind of key")?,
        role: word(&row.get::<_, String>(2)?, "a role")?,
        label: row.get(3)?,
        secret_hash: row.get(4)?,
        created: time(row, 5)?,
        expires: optional_time(row, 6)?,
        revoked: optional_time(row, 7)?,
        agent: row
            .get::<_, Option<String>>(8)?
            .map(|text| {
                text.parse()
                    .map_err(|_| unreadable(text, "an agent's address"))
            })
            .transpose()?,
    })
}

/// Nanoseconds since 1970, so that what is read equals what was put. Good until the year 2262.
pub(super) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// SQLite's integers are signed. An amount beyond them is not stored as another one.
pub(super) fn stored_amount(minor: u64) -> Result<i64, JournalError> {
    i64::try_from(minor).map_err(|_| JournalError::Unreadable {
        found: minor.to_string(),
        expected: "an amount below 2^63",
    })
}

/// The word that serde writes for a value without data.
pub(super) fn to_word<T: Serialize>(value: &T) -> Result<String, JournalError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(unreadable(other.to_string(), "a single word")),
        Err(error) => Err(unreadable(error.to_string(), "a single word")),
    }
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, JournalError> {
    serde_json::to_string(value).map_err(|error| unreadable(error.to_string(), "JSON"))
}

pub(super) fn json<T: DeserializeOwned>(
    text: &str,
    expected: &'static str,
) -> Result<T, JournalError> {
    serde_json::from_str(text).map_err(|_| unreadable(text.to_owned(), expected))
}

pub(super) fn word<T: DeserializeOwned>(
    text: &str,
    expected: &'static str,
) -> Result<T, JournalError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| unreadable(text.to_owned(), expected))
}

fn optional_word<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    expected: &'static str,
) -> Result<Option<T>, JournalError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| word(&text, expected)).transpose()
}

pub(super) fn parsed<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
    expected: &'static str,
) -> Result<T, JournalError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| unreadable(text, expected))
}

pub(super) fn amount(row: &Row<'_>, column: usize) -> Result<u64, JournalError> {
    let stored: i64 = row.get(column)?;
    u64::try_from(stored).map_err(|_| unreadable(stored.to_string(), "an amount"))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, JournalError> {
    let stored: i64 = row.get(column)?;
    Timestamp::from_nanosecond(i128::from(stored))
        .map_err(|_| unreadable(stored.to_string(), "a time in nanoseconds"))
}

pub(super) fn optional_time(
    row: &Row<'_>,
    column: usize,
) -> Result<Option<Timestamp>, JournalError> {
    if matches!(row.get_ref(column)?, ValueRef::Null) {
        return Ok(None);
    }
    time(row, column).map(Some)
}

pub(super) fn unreadable(found: String, expected: &'static str) -> JournalError {
    JournalError::Unreadable { found, expected }
}
