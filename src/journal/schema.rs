//! The tables, and how an older file becomes a newer one.

use rusqlite::{Connection, TransactionBehavior};

use super::JournalError;

/// One step a version; `user_version` counts those that were taken. Only ever appended to.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE payments (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    node         TEXT NOT NULL,
    call         TEXT NOT NULL,
    state        TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    reference    TEXT NOT NULL,
    description  TEXT,
    brand        TEXT,
    last4        TEXT CHECK (last4 IS NULL OR last4 GLOB '[0-9][0-9][0-9][0-9]'),
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL
) STRICT;
CREATE INDEX payments_by_time ON payments (tenant, created);
CREATE INDEX payments_by_call ON payments (call);

CREATE TABLE attempts (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    node         TEXT NOT NULL,
    payment      TEXT NOT NULL REFERENCES payments (id),
    amount_minor INTEGER NOT NULL,
    currency     TEXT NOT NULL,
    reference    TEXT NOT NULL,
    processor    TEXT NOT NULL,
    phase        TEXT NOT NULL CHECK (phase IN ('intent', 'sending', 'unknown', 'ended')),
    outcome      TEXT,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    CHECK ((outcome IS NULL) = (phase IN ('intent', 'sending')))
) STRICT;
CREATE INDEX attempts_by_payment ON attempts (payment);
CREATE INDEX attempts_unresolved ON attempts (created) WHERE phase <> 'ended';

CREATE TABLE armed (
    tenant        TEXT NOT NULL,
    node          TEXT NOT NULL,
    signalling_id TEXT NOT NULL,
    holder        TEXT NOT NULL,
    since         INTEGER NOT NULL,
    PRIMARY KEY (tenant, signalling_id, holder)
) STRICT;

CREATE TABLE idempotency (
    tenant      TEXT NOT NULL,
    node        TEXT NOT NULL,
    key         TEXT NOT NULL,
    run         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    status      INTEGER,
    body        TEXT,
    created     INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;
CREATE INDEX idempotency_by_time ON idempotency (created);

CREATE TABLE keys (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    node        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    role        TEXT NOT NULL,
    label       TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    created     INTEGER NOT NULL,
    expires     INTEGER,
    revoked     INTEGER
) STRICT;
CREATE INDEX keys_by_tenant ON keys (tenant, created);

CREATE TABLE records_left (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT,
    node   TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
",
    "
ALTER TABLE armed ADD COLUMN caller_tag TEXT;
",
    "
ALTER TABLE attempts ADD COLUMN token TEXT;
",
    "
ALTER TABLE keys ADD COLUMN agent TEXT;
",
    CALLBACKS,
    "
ALTER TABLE payments ADD COLUMN purpose TEXT NOT NULL DEFAULT 'charge';
CREATE TABLE operations (
    id           TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    node         TEXT NOT NULL,
    payment      TEXT NOT NULL REFERENCES payments (id),
    attempt      TEXT NOT NULL REFERENCES attempts (id),
    kind         TEXT NOT NULL CHECK (kind IN ('settle', 'void', 'refund')),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency     TEXT NOT NULL,
    reason       TEXT,
    actor        TEXT NOT NULL,
    phase        TEXT NOT NULL CHECK (phase IN ('intent', 'sending', 'unknown', 'ended')),
    outcome      TEXT,
    created      INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    request_key  TEXT,
    CHECK ((outcome IS NULL) = (phase IN ('intent', 'sending')))
) STRICT;
CREATE UNIQUE INDEX operations_by_request ON operations (tenant, request_key)
    WHERE request_key IS NOT NULL;
CREATE INDEX operations_by_payment ON operations (payment, created);
CREATE INDEX operations_unresolved ON operations (created) WHERE phase <> 'ended';
",
    NOTIFICATIONS,
];

/// What processors told too early; and ids by their last 26 characters, which is all that processors with little
/// room for references have of them.
const NOTIFICATIONS: &str = "
CREATE TABLE notifications (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant       TEXT NOT NULL,
    node         TEXT NOT NULL,
    notification TEXT NOT NULL,
    created      INTEGER NOT NULL,
    UNIQUE (tenant, notification)
) STRICT;
CREATE INDEX attempts_by_serial ON attempts (substr(id, -26));
CREATE INDEX operations_by_serial ON operations (substr(id, -26));
";

/// Messages to merchants, in the order in which they were written. Without a reference to their payments,
/// which they may outlive.
const CALLBACKS: &str = "
ALTER TABLE payments ADD COLUMN signalling_id TEXT;
ALTER TABLE payments ADD COLUMN sandbox INTEGER;
CREATE TABLE callbacks (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    tenant   TEXT NOT NULL,
    node     TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    payment  TEXT NOT NULL,
    event    TEXT NOT NULL,
    body     TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    tries    INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    problem  TEXT
) STRICT;
CREATE INDEX callbacks_due ON callbacks (endpoint, due) WHERE state = 'waiting';
CREATE INDEX callbacks_in_line ON callbacks (endpoint, payment, number) WHERE state = 'waiting';
CREATE INDEX callbacks_waiting ON callbacks (endpoint, number) WHERE state = 'waiting';
CREATE INDEX callbacks_dead ON callbacks (endpoint) WHERE state = 'dead';
CREATE INDEX callbacks_delivered ON callbacks (updated) WHERE state = 'delivered';
";

/// Brings the file to this build's version. Two processes may do so at once: the first does it
/// within one transaction, the other finds it done.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), JournalError> {
    let known = MIGRATIONS.len();
    let version = i64::try_from(known).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let taken = usize::try_from(found).unwrap_or(usize::MAX);
    if taken > known {
        return Err(JournalError::Newer { found, known });
    }
    for step in &MIGRATIONS[taken..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()?;
    Ok(())
}
