//! What processors tell by themselves of charges and operations: applied once, to what is open only, and never
//! silently dropped where it cannot be true.
//!
//! Whatever is concluded is concluded the way of a look-up's finding, so journal, log, view and merchants have it
//! once. What comes before the answer that it is about is kept in the journal until that is there: a processor
//! need not send it again.

use std::{collections::HashSet, time::Duration};

use tokio::sync::oneshot;

use super::{
    PaymentError, PaymentState, Payments,
    actor::{Message, gateway},
    operations::record,
    recover::{no_records, result_event},
};
use crate::{
    journal::{AttemptRow, OperationBegun, OperationRow, Phase},
    processor::Outcome,
    proto::{
        audit::{Event, Success},
        id::CallId,
        payment::{About, Known, Notification, Ruling},
    },
};

/// How soon it is tried again to apply what came before its answer; the pause doubles each time.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Contradictions remembered, so that the same one, sent again and again, is put on record once.
const REMEMBERED: usize = 1024;
/// What stands in the place of a processor's reference that could not be kept.
const WITHHELD: &str = "withheld";

/// What became of a notification. All of it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It concluded something.
    Concluded,
    /// It told nothing new.
    Known,
    /// It waits for the answer to what it is about.
    Kept,
    /// It contradicts what is known, and that is on record for a person.
    Contradicts,
    /// It is about nothing of this gateway's.
    NotOurs,
}

impl Taken {
    /// Lower-case word for the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concluded => "concluded",
            Self::Known => "known",
            Self::Kept => "kept",
            Self::Contradicts => "contradicts",
            Self::NotOurs => "not-ours",
        }
    }
}

impl Payments {
    /// Takes a notification that is surely the processor's.
    ///
    /// # Errors
    /// [`PaymentError::NotRecordable`]: it has to be sent again.
    pub async fn notified(&self, told: Notification) -> Result<Taken, PaymentError> {
        let taken = self.apply(&told).await?;
        if taken == Taken::Kept {
            let tenant = self.shared.settings.tenant.clone();
            let at = (self.shared.clock)().utc;
            let kept = self
                .shared
                .records
                .keep_notification(tenant, told.clone(), at);
            if let Some(number) = kept.await.map_err(no_records)? {
                tokio::spawn(self.clone().until_applied(number, told));
            }
        }
        Ok(taken)
    }

    /// Takes up what an earlier process kept.
    pub(super) async fn apply_kept(&self) -> Result<(), PaymentError> {
        let tenant = self.shared.settings.tenant.clone();
        let kept = self.shared.records.kept_notifications(tenant).await;
        for kept in kept.map_err(no_records)? {
            tokio::spawn(self.clone().until_applied(kept.number, kept.notification));
        }
        Ok(())
    }

    async fn until_applied(self, number: i64, told: Notification) {
        let mut pause = AGAIN;
        loop {
            match self.apply(&told).await {
                Ok(Taken::Kept) => {}
                Ok(Taken::Concluded | Taken::Known | Taken::Contradicts | Taken::NotOurs) => break,
                Err(error) => {
                    tracing::error!(%error, "a notification that was kept cannot be applied yet");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let applied = self.shared.records.notification_applied(number).await;
        if let Err(reason) = applied {
            // A restart finds it applied.
            tracing::error!(
                reason,
                "a notification that was applied stays in the journal"
            );
        }
    }

    async fn apply(&self, told: &Notification) -> Result<Taken, PaymentError> {
        // One at a time: two that tell the same do not both conclude it.
        let _alone = self.shared.notified.lock().await;
        let Some(serial) = told.reference.rsplit('_').next() else {
            return Ok(Taken::NotOurs);
        };
        let (tenant, serial) = (self.shared.settings.tenant.clone(), serial.to_owned());
        let records = &self.shared.records;
        if told.reference.starts_with("op_") {
            let begun = records.operation_by_serial(tenant, serial).await;
            let begun = begun.map_err(no_records)?;
            return match begun.filter(|begun| is_of(&told.reference, &begun.operation.id)) {
                Some(begun) => self.apply_to_operation(begun, told).await,
                None => Ok(Taken::NotOurs),
            };
        }
        let attempt = records.attempt_by_serial(tenant, serial).await;
        let attempt = attempt.map_err(no_records)?;
        let Some(attempt) = attempt.filter(|attempt| is_of(&told.reference, &attempt.id)) else {
            return Ok(Taken::NotOurs);
        };
        if attempt.processor != self.shared.settings.processor {
            return Ok(Taken::NotOurs);
        }
        match told.about {
            About::Charge => self.apply_to_charge(attempt, told).await,
            About::Operation(_) => self.apply_to_an_operation_of(attempt, told).await,
        }
    }

    async fn apply_to_charge(
        &self,
        attempt: AttemptRow,
        told: &Notification,
    ) -> Result<Taken, PaymentError> {
        let judge =
            |row: &AttemptRow| told.judge(known(&row.phase), row.amount_minor, &row.currency);
        let mut attempt = attempt;
        let mut ruling = judge(&attempt);
        let mut concluded = Taken::Known;
        if ruling == Ruling::Conclude {
            attempt = self.conclude_charge(attempt, told).await?;
            // A look-up may have been first, and have found something else.
            ruling = judge(&attempt);
            concluded = Taken::Concluded;
        }
        match ruling {
            Ruling::Later => Ok(Taken::Kept),
            Ruling::Contradicts => {
                let what = format!("attempt {} of payment {}", attempt.id, attempt.payment);
                self.contradicted(&attempt, &what, &attempt.phase, told)
                    .await
            }
            Ruling::Conclude => Err(not_in_the_journal()),
            Ruling::Nothing => {
                self.finish_payment(&attempt).await?;
                Ok(concluded)
            }
        }
    }

    /// By the payment's task where there is one, which also tells whoever watches.
    async fn conclude_charge(
        &self,
        attempt: AttemptRow,
        told: &Notification,
    ) -> Result<AttemptRow, PaymentError> {
        let live = self.shared.book().live.get(&attempt.payment).cloned();
        if let Some(live) = live {
            let (reply, done) = oneshot::channel();
            let message = Message::Notified {
                attempt: attempt.id.clone(),
                outcome: told.outcome.clone(),
                reply,
            };
            // Both errors say that it has ended meanwhile; what is true stands in the journal.
            if live.mailbox.send(message).await.is_ok() {
                let _ = done.await;
            }
        } else {
            let at = (self.shared.clock)().utc;
            let records = &self.shared.records;
            let (id, outcome) = (attempt.id.clone(), told.outcome.clone());
            records.result(id, outcome, at).await.map_err(no_records)?;
            let success = match told.outcome {
                Outcome::Approved { .. } => Success::Success,
                _ => Success::Failure,
            };
            let by = gateway(attempt.id.tenant());
            let record = record(&by, success, result_event(&attempt, &told.outcome));
            let logged = records.audit_end(attempt.id.tenant(), record).await;
            logged.map_err(no_records)?;
        }
        let attempts = self.shared.records.attempts(attempt.payment.clone()).await;
        let attempts = attempts.map_err(no_records)?;
        let now = attempts.into_iter().find(|row| row.id == attempt.id);
        now.ok_or_else(not_in_the_journal)
    }

    /// Has the payment's row say what its last attempt's does, where no task does so.
    async fn finish_payment(&self, attempt: &AttemptRow) -> Result<(), PaymentError> {
        let state = match &attempt.phase {
            Phase::Intent | Phase::Sending => return Ok(()),
            Phase::Result(outcome) => match outcome {
                Outcome::Approved { .. } => PaymentState::Approved,
                Outcome::Declined { .. } => PaymentState::Declined,
                Outcome::Failed { .. } => PaymentState::Failed,
                Outcome::Pending { .. } | Outcome::Unknown { .. } => return Ok(()),
            },
        };
        let id = &attempt.payment;
        if self.shared.book().live.contains_key(id) {
            return Ok(());
        }
        let records = &self.shared.records;
        let row = records.payment(id.clone()).await.map_err(no_records)?;
        let attempts = records.attempts(id.clone()).await.map_err(no_records)?;
        let is_last = attempts.last().is_some_and(|last| last.id == attempt.id);
        let unknown = PaymentState::Unknown.as_str();
        let Some(row) = row.filter(|row| is_last && row.state == unknown) else {
            return Ok(());
        };
        self.put(row, state).await?;
        self.shared.book().ended.retain(|(_, view)| view.id != *id);
        self.publish_as("payment.ended", id).await;
        Ok(())
    }

    /// The processor repeats the charge's reference, and its own of what was done.
    async fn apply_to_an_operation_of(
        &self,
        attempt: AttemptRow,
        told: &Notification,
    ) -> Result<Taken, PaymentError> {
        let records = &self.shared.records;
        let rows = records.operations(vec![attempt.payment.clone()]).await;
        let mut rows = rows.map_err(no_records)?;
        rows.retain(|row| row.attempt == attempt.id && About::Operation(row.kind) == told.about);
        let named = rows.iter().find(|row| {
            reference(&row.phase)
                .is_some_and(|found| found == told.processor_reference && found != WITHHELD)
        });
        if let Some(row) = named {
            let begun = records
                .operation(row.id.clone())
                .await
                .map_err(no_records)?;
            return match begun {
                Some(begun) => self.apply_to_operation(begun, told).await,
                None => Ok(Taken::NotOurs),
            };
        }
        let unnamed = rows.iter().any(|row| match &row.phase {
            Phase::Intent | Phase::Sending | Phase::Result(Outcome::Unknown { .. }) => true,
            Phase::Result(_) => false,
        });
        match (&attempt.phase, &told.outcome) {
            // It may be about this one, whose answer is still to come.
            _ if unnamed => Ok(Taken::Kept),
            // What settles itself did not, say.
            (Phase::Result(Outcome::Approved { .. }), Outcome::Declined { .. }) => {
                let what = format!("attempt {} of payment {}", attempt.id, attempt.payment);
                self.contradicted(&attempt, &what, &attempt.phase, told)
                    .await
            }
            // Done in the processor's portal, or by itself.
            _ => Ok(Taken::NotOurs),
        }
    }

    async fn apply_to_operation(
        &self,
        begun: OperationBegun,
        told: &Notification,
    ) -> Result<Taken, PaymentError> {
        if begun.attempt.processor != self.shared.settings.processor {
            return Ok(Taken::NotOurs);
        }
        let judge = |row: &OperationRow| {
            if told.about == About::Operation(row.kind) {
                told.judge(known(&row.phase), row.amount_minor, &row.currency)
            } else {
                Ruling::Contradicts
            }
        };
        let mut row = begun.operation.clone();
        let mut ruling = judge(&row);
        let mut concluded = Taken::Known;
        if ruling == Ruling::Conclude {
            let by = gateway(row.id.tenant());
            self.conclude(&by, &begun, &told.outcome).await;
            let now = self.shared.records.operation(row.id.clone()).await;
            let now = now.map_err(no_records)?.ok_or_else(not_in_the_journal)?;
            row = now.operation;
            // A question may have been answered first, and otherwise.
            ruling = judge(&row);
            concluded = Taken::Concluded;
        }
        match ruling {
            Ruling::Later => Ok(Taken::Kept),
            Ruling::Nothing => Ok(concluded),
            Ruling::Conclude => Err(not_in_the_journal()),
            Ruling::Contradicts => {
                let what = format!(
                    "{} {} of payment {}",
                    row.kind.as_str(),
                    row.id,
                    row.payment
                );
                self.contradicted(&begun.attempt, &what, &row.phase, told)
                    .await
            }
        }
    }

    /// Puts on record what cannot be true together, for a person.
    async fn contradicted(
        &self,
        attempt: &AttemptRow,
        what: &str,
        phase: &Phase,
        told: &Notification,
    ) -> Result<Taken, PaymentError> {
        let known = match known(phase) {
            Known::OnItsWay => "on its way",
            Known::Ended(outcome) => outcome.as_str(),
        };
        let amount = match &told.amount {
            Some((minor, currency)) => format!(" of {minor} minor units of {currency}"),
            None => String::new(),
        };
        let code = match &told.outcome {
            Outcome::Approved { code, .. }
            | Outcome::Declined { code, .. }
            | Outcome::Pending { code, .. } => code,
            Outcome::Failed { reason, .. } | Outcome::Unknown { reason } => reason,
        };
        let cause = format!(
            "{} notifies {} ({code}), {}{amount}, reference {}; known is {what}, {known}, {} minor units of {} charged for; a person has to look",
            attempt.processor,
            told.event,
            told.outcome.as_str(),
            told.processor_reference,
            attempt.amount_minor,
            attempt.currency,
        );
        if self.shared.contradictions().contains(&cause) {
            return Ok(Taken::Contradicts);
        }
        tracing::warn!(payment = %attempt.payment, cause, "a notification contradicts what is known");
        let call = self.call_of_charge(attempt).await?;
        let failure = Event::ControlFailure {
            control: "processor-notification".to_owned(),
            cause: cause.clone(),
            call,
        };
        let tenant = attempt.id.tenant();
        let record = record(&gateway(tenant), Success::Failure, failure);
        let logged = self.shared.records.audit_end(tenant, record).await;
        logged.map_err(no_records)?;
        let mut remembered = self.shared.contradictions();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(cause);
        Ok(Taken::Contradicts)
    }

    async fn call_of_charge(&self, attempt: &AttemptRow) -> Result<Option<CallId>, PaymentError> {
        let row = self.shared.records.payment(attempt.payment.clone()).await;
        Ok(row.map_err(no_records)?.map(|row| row.call))
    }
}

impl super::Shared {
    fn contradictions(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        let contradictions = self.contradictions.lock();
        contradictions.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether a reference is this id, whole or without tenant and node.
fn is_of(reference: &str, id: &impl ToString) -> bool {
    let id = id.to_string();
    let short = id
        .split_once('_')
        .zip(id.rsplit_once('_'))
        .map(|((prefix, _), (_, serial))| format!("{prefix}_{serial}"));
    *reference == *id || short.is_some_and(|short| *reference == *short)
}

fn not_in_the_journal() -> PaymentError {
    no_records("what a notification told is not in the journal".to_owned())
}

const fn known(phase: &Phase) -> Known<'_> {
    match phase {
        Phase::Intent | Phase::Sending => Known::OnItsWay,
        Phase::Result(outcome) => Known::Ended(outcome),
    }
}

/// The processor's own.
fn reference(phase: &Phase) -> Option<&str> {
    match phase {
        Phase::Result(
            Outcome::Approved {
                processor_reference,
                ..
            }
            | Outcome::Pending {
                processor_reference,
                ..
            },
        ) => Some(processor_reference),
        Phase::Intent | Phase::Sending | Phase::Result(_) => None,
    }
}
