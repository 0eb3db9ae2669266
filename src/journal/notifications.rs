//! What processors told before it could be applied, and what their notifications are about.

use jiff::Timestamp;
use rusqlite::params;

use super::{
    AttemptRow, Journal, JournalError, OperationBegun,
    row::{self, nanoseconds, to_json},
    store::Store,
};
use crate::proto::{id::Tenant, payment::Notification};

/// A notification that waits for the answer to what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeptNotification {
    pub number: i64,
    pub notification: Notification,
}

impl Journal {
    /// The tenant's attempt whose id ends in these 26 characters, which no other id has.
    pub async fn attempt_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Result<Option<AttemptRow>, JournalError> {
        self.run(move |s| {
            let sql = format!(
                "{} WHERE substr(id, -26) = ?1 AND tenant = ?2",
                row::ATTEMPT
            );
            Ok(
                s.read(&sql, params![serial, tenant.as_str()], row::attempt)?
                    .pop(),
            )
        })
        .await
    }

    /// The same of an operation, with its charge.
    pub async fn operation_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Result<Option<OperationBegun>, JournalError> {
        self.run(move |s| s.operation_by_serial(&tenant, &serial))
            .await
    }

    /// Durable: this is to be applied. Nothing where the same waits already.
    pub async fn keep_notification(
        &self,
        tenant: Tenant,
        notification: Notification,
        at: Timestamp,
    ) -> Result<Option<i64>, JournalError> {
        self.run(move |s| {
            let kept = s.execute(
                "INSERT INTO notifications (tenant, node, notification, created)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![
                    tenant.as_str(),
                    s.node.as_str(),
                    to_json(&notification)?,
                    nanoseconds(at)
                ],
            )?;
            Ok((kept == 1).then(|| s.connection.last_insert_rowid()))
        })
        .await
    }

    /// Those of a tenant that wait, oldest first.
    pub async fn kept_notifications(
        &self,
        tenant: Tenant,
    ) -> Result<Vec<KeptNotification>, JournalError> {
        self.run(move |s| {
            let sql =
                "SELECT number, notification FROM notifications WHERE tenant = ?1 ORDER BY number";
            s.read(sql, [tenant.as_str()], |row| {
                Ok(KeptNotification {
                    number: row.get(0)?,
                    notification: row::json(&row.get::<_, String>(1)?, "a notification")?,
                })
            })
        })
        .await
    }

    /// This one was applied.
    pub async fn notification_applied(&self, number: i64) -> Result<(), JournalError> {
        self.run(move |s| {
            s.execute("DELETE FROM notifications WHERE number = ?1", [number])?;
            Ok(())
        })
        .await
    }
}

impl Store {
    fn operation_by_serial(
        &mut self,
        tenant: &Tenant,
        serial: &str,
    ) -> Result<Option<OperationBegun>, JournalError> {
        let sql = "SELECT id FROM operations WHERE substr(id, -26) = ?1 AND tenant = ?2";
        let found = self.read(sql, params![serial, tenant.as_str()], |row| {
            row::parsed(row, 0, "an operation's id")
        })?;
        match found.first() {
            Some(id) => self.operation(id),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
