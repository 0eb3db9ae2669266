//! What payments need of the other parts, as small traits: the real parts implement them here,
//! tests hand in others that fail on request.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    audit_log::{AuditError, AuditLog},
    journal::{
        ArmedRow, AttemptRow, Journal, KeptNotification, NewOperation, NotBegun, OperationBegun,
        OperationRow, PaymentFilter, PaymentRow,
    },
    media::{MediaCommand, MediaError, MediaPlane},
    processor::{Abilities, CardPlane, Charge, Operation, Outcome, SubmitError},
    proto::{
        audit::Record,
        call::Holder,
        id::{AttemptId, CallId, OperationId, PaymentId, Tenant},
        leg::Leg,
        payment::Notification,
    },
    signal::{CallView, Calls},
};

pub(super) use crate::processor::Later;

/// The right to submit one attempt, which only a durable `sending` gives; nothing is sent before
/// it is polled.
pub(super) type Submission = Later<'static, Result<Outcome, SubmitError>>;
/// The right to send one operation, as [`Submission`].
pub(super) type Order = Later<'static, Outcome>;
/// Why something is not durable, as a sentence.
pub(super) type NotDurable = String;

/// Journal and audit log.
pub(super) trait Records: Send + Sync {
    fn audit<'a>(&'a self, tenant: &'a Tenant, record: Record)
    -> Later<'a, Result<(), NotDurable>>;
    /// Like [`Records::audit`], for what has happened already: where the log takes nothing, the
    /// journal keeps the record until it does.
    fn audit_end<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
    ) -> Later<'a, Result<(), NotDurable>>;
    fn put_payment(&self, row: PaymentRow) -> Later<'_, Result<(), NotDurable>>;
    fn payment(&self, id: PaymentId) -> Later<'_, Result<Option<PaymentRow>, NotDurable>>;
    fn payments(
        &self,
        tenant: Tenant,
        filter: PaymentFilter,
    ) -> Later<'_, Result<Vec<PaymentRow>, NotDurable>>;
    fn intent(&self, row: AttemptRow) -> Later<'_, Result<(), NotDurable>>;
    /// Makes the audit record and then the phase `Sending` durable.
    fn sending<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
        charge: Charge,
        at: Timestamp,
    ) -> Later<'a, Result<Submission, NotDurable>>;
    fn result(
        &self,
        attempt: AttemptId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>>;
    fn attempts(&self, payment: PaymentId) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>>;
    fn unresolved(&self) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>>;
    /// Durable: an operation is meant, if the charge allows it.
    fn begin_operation(
        &self,
        new: NewOperation,
        processor: String,
    ) -> Later<'_, Result<Result<OperationBegun, NotBegun>, NotDurable>>;
    /// Makes the audit record and then the phase `Sending` durable.
    fn operation_sending<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
        operation: Operation,
        at: Timestamp,
    ) -> Later<'a, Result<Order, NotDurable>>;
    fn operation_result(
        &self,
        id: OperationId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>>;
    fn operation(&self, id: OperationId) -> Later<'_, Result<Option<OperationBegun>, NotDurable>>;
    fn operations(
        &self,
        payments: Vec<PaymentId>,
    ) -> Later<'_, Result<Vec<OperationRow>, NotDurable>>;
    fn unresolved_operations(&self) -> Later<'_, Result<Vec<OperationRow>, NotDurable>>;
    /// The attempt whose id ends so.
    fn attempt_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Later<'_, Result<Option<AttemptRow>, NotDurable>>;
    /// The operation whose id ends so.
    fn operation_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Later<'_, Result<Option<OperationBegun>, NotDurable>>;
    /// Durable: this is to be applied. Nothing where the same waits already.
    fn keep_notification(
        &self,
        tenant: Tenant,
        notification: Notification,
        at: Timestamp,
    ) -> Later<'_, Result<Option<i64>, NotDurable>>;
    fn kept_notifications(
        &self,
        tenant: Tenant,
    ) -> Later<'_, Result<Vec<KeptNotification>, NotDurable>>;
    fn notification_applied(&self, number: i64) -> Later<'_, Result<(), NotDurable>>;
    fn set_armed(&self, row: ArmedRow) -> Later<'_, Result<(), NotDurable>>;
    fn clear_armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
        holder: Holder,
    ) -> Later<'_, Result<(), NotDurable>>;
}

/// The media plane.
pub trait Media: Send + Sync {
    /// Sends a command to the call's worker.
    ///
    /// # Errors
    /// [`MediaError`]: nothing was sent.
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError>;
}

/// The card plane, but for charging: see [`Records::sending`].
pub(super) trait Cards: Send + Sync {
    fn wipe(&self, payment: &PaymentId);
    fn call_ended(&self, call: &CallId);
    fn look_up(&self, charge: Charge) -> Later<'static, Outcome>;
    fn look_up_operation(&self, operation: Operation) -> Later<'static, Outcome>;
    fn abilities(&self) -> Abilities;
    /// How long after sending a look-up may still miss a charge.
    fn consistency_delay(&self) -> Duration;
    fn is_sandbox(&self) -> bool;
}

/// The calls that are up.
pub trait CallLookup: Send + Sync {
    /// A tenant's call, by our id or the signalling's.
    fn find(&self, tenant: &Tenant, id: &str) -> Option<CallView>;
    /// Which leg of a call has this signalling tag.
    fn leg_of_tag(&self, call: &CallId, tag: &str) -> Option<Leg>;
}

/// Journal, audit log and card plane together: charging takes the proof from the log.
pub(super) struct Books {
    pub(super) journal: Journal,
    pub(super) audit: AuditLog,
    pub(super) cards: CardPlane,
}

fn sentence(error: impl std::fmt::Display) -> NotDurable {
    error.to_string()
}

impl Records for Books {
    fn audit<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
    ) -> Later<'a, Result<(), NotDurable>> {
        Box::pin(async move {
            let _recorded = self
                .audit
                .record(Some(tenant), record)
                .await
                .map_err(sentence)?;
            Ok(())
        })
    }

    fn audit_end<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
    ) -> Later<'a, Result<(), NotDurable>> {
        Box::pin(async move {
            match self.audit.record(Some(tenant), record.clone()).await {
                Ok(_recorded) => Ok(()),
                // It would not fit later either.
                Err(unfit @ AuditError::Unfit(_)) => Err(sentence(unfit)),
                Err(error @ (AuditError::Broken(_) | AuditError::NoRoom | AuditError::Closed)) => {
                    tracing::error!(%error, "not in the audit log; the journal keeps it until it can be");
                    self.journal
                        .leave_record(Some(tenant.clone()), record)
                        .await
                        .map_err(sentence)
                }
            }
        })
    }

    fn put_payment(&self, row: PaymentRow) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move { self.journal.put_payment(row).await.map_err(sentence) })
    }

    fn payment(&self, id: PaymentId) -> Later<'_, Result<Option<PaymentRow>, NotDurable>> {
        Box::pin(async move { self.journal.payment(id).await.map_err(sentence) })
    }

    fn payments(
        &self,
        tenant: Tenant,
        filter: PaymentFilter,
    ) -> Later<'_, Result<Vec<PaymentRow>, NotDurable>> {
        Box::pin(async move {
            self.journal
                .payments(tenant, filter)
                .await
                .map_err(sentence)
        })
    }

    fn intent(&self, row: AttemptRow) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move { self.journal.intent(row).await.map_err(sentence) })
    }

    fn sending<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
        charge: Charge,
        at: Timestamp,
    ) -> Later<'a, Result<Submission, NotDurable>> {
        Box::pin(async move {
            let recorded = self
                .audit
                .record(Some(tenant), record)
                .await
                .map_err(sentence)?;
            self.journal
                .sending(charge.attempt.clone(), at)
                .await
                .map_err(sentence)?;
            let cards = self.cards.clone();
            let submission: Submission =
                Box::pin(async move { cards.submit(recorded, charge).await });
            Ok(submission)
        })
    }

    fn result(
        &self,
        attempt: AttemptId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move {
            self.journal
                .result(attempt, outcome, at)
                .await
                .map_err(sentence)
        })
    }

    fn attempts(&self, payment: PaymentId) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>> {
        Box::pin(async move { self.journal.attempts(payment).await.map_err(sentence) })
    }

    fn unresolved(&self) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>> {
        Box::pin(async move { self.journal.unresolved().await.map_err(sentence) })
    }

    fn begin_operation(
        &self,
        new: NewOperation,
        processor: String,
    ) -> Later<'_, Result<Result<OperationBegun, NotBegun>, NotDurable>> {
        Box::pin(async move {
            let able = self.cards.promises().abilities;
            self.journal
                .begin_operation(new, processor, able)
                .await
                .map_err(sentence)
        })
    }

    fn operation_sending<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
        operation: Operation,
        at: Timestamp,
    ) -> Later<'a, Result<Order, NotDurable>> {
        Box::pin(async move {
            let recorded = self
                .audit
                .record(Some(tenant), record)
                .await
                .map_err(sentence)?;
            self.journal
                .operation_sending(operation.id.clone(), at)
                .await
                .map_err(sentence)?;
            let cards = self.cards.clone();
            let order: Order = Box::pin(async move { cards.operate(recorded, operation).await });
            Ok(order)
        })
    }

    fn operation_result(
        &self,
        id: OperationId,
        outcome: Outcome,
        at: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move {
            self.journal
                .operation_result(id, outcome, at)
                .await
                .map_err(sentence)
        })
    }

    fn operation(&self, id: OperationId) -> Later<'_, Result<Option<OperationBegun>, NotDurable>> {
        Box::pin(async move { self.journal.operation(id).await.map_err(sentence) })
    }

    fn operations(
        &self,
        payments: Vec<PaymentId>,
    ) -> Later<'_, Result<Vec<OperationRow>, NotDurable>> {
        Box::pin(async move { self.journal.operations(payments).await.map_err(sentence) })
    }

    fn unresolved_operations(&self) -> Later<'_, Result<Vec<OperationRow>, NotDurable>> {
        Box::pin(async move { self.journal.unresolved_operations().await.map_err(sentence) })
    }

    fn attempt_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Later<'_, Result<Option<AttemptRow>, NotDurable>> {
        Box::pin(async move {
            let found = self.journal.attempt_by_serial(tenant, serial).await;
            found.map_err(sentence)
        })
    }

    fn operation_by_serial(
        &self,
        tenant: Tenant,
        serial: String,
    ) -> Later<'_, Result<Option<OperationBegun>, NotDurable>> {
        Box::pin(async move {
            let found = self.journal.operation_by_serial(tenant, serial).await;
            found.map_err(sentence)
        })
    }

    fn keep_notification(
        &self,
        tenant: Tenant,
        notification: Notification,
        at: Timestamp,
    ) -> Later<'_, Result<Option<i64>, NotDurable>> {
        Box::pin(async move {
            let kept = self.journal.keep_notification(tenant, notification, at);
            kept.await.map_err(sentence)
        })
    }

    fn kept_notifications(
        &self,
        tenant: Tenant,
    ) -> Later<'_, Result<Vec<KeptNotification>, NotDurable>> {
        Box::pin(async move {
            let kept = self.journal.kept_notifications(tenant).await;
            kept.map_err(sentence)
        })
    }

    fn notification_applied(&self, number: i64) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move {
            let applied = self.journal.notification_applied(number).await;
            applied.map_err(sentence)
        })
    }

    fn set_armed(&self, row: ArmedRow) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move { self.journal.set_armed(row).await.map_err(sentence) })
    }

    fn clear_armed(
        &self,
        tenant: Tenant,
        signalling_id: String,
        holder: Holder,
    ) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(async move {
            self.journal
                .clear_armed(tenant, signalling_id, Some(holder))
                .await
                .map_err(sentence)
        })
    }
}

impl Media for MediaPlane {
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        Self::send(self, call, command)
    }
}

impl Cards for CardPlane {
    fn wipe(&self, payment: &PaymentId) {
        Self::wipe(self, payment);
    }

    fn call_ended(&self, call: &CallId) {
        Self::call_ended(self, call);
    }

    fn look_up(&self, charge: Charge) -> Later<'static, Outcome> {
        let cards = self.clone();
        Box::pin(async move { Self::look_up(&cards, &charge).await })
    }

    fn look_up_operation(&self, operation: Operation) -> Later<'static, Outcome> {
        let cards = self.clone();
        Box::pin(async move { Self::look_up_operation(&cards, operation).await })
    }

    fn abilities(&self) -> Abilities {
        self.promises().abilities
    }

    fn consistency_delay(&self) -> Duration {
        self.promises().consistency_delay
    }

    fn is_sandbox(&self) -> bool {
        Self::is_sandbox(self)
    }
}

impl CallLookup for Calls {
    fn find(&self, tenant: &Tenant, id: &str) -> Option<CallView> {
        Self::find(self, tenant, id)
    }

    fn leg_of_tag(&self, call: &CallId, tag: &str) -> Option<Leg> {
        Self::leg_of_tag(self, call, tag)
    }
}
