//! What a restart does about payments and attempts that were left open.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    PaymentError, PaymentState, Payments,
    actor::{Actor, Basics, gateway},
};
use crate::{
    journal::{AttemptRow, PaymentFilter, PaymentRow, Phase},
    processor::Outcome,
    proto::{
        audit::{Event, Record, Success},
        id::{AttemptId, PaymentId},
        leg::Leg,
        payment::{Payment, Request},
    },
};

/// Payments that are looked at; older ones were looked at by an earlier start.
const LOOKED_AT: u32 = 10_000;
const RESTARTED: &str = "the gateway restarted; ask for the card again";

/// What was found and done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Attempts of which nothing was sent: failed.
    pub not_sent: usize,
    /// Attempts that may stand: looked up until resolved.
    pub looked_up: usize,
    /// Attempts that may stand at a processor that is not this gateway's any more: unknown, and
    /// not looked up, for this one's "no such charge" would be no answer.
    pub left_to_a_person: usize,
    /// Payments that were open and are cancelled.
    pub cancelled: usize,
    /// Settlements, voids and refunds that were not decided.
    pub operations: usize,
}

impl Payments {
    /// Takes up what an earlier process left: to be called once, before anything is created.
    pub async fn recover(&self) -> Result<Recovery, PaymentError> {
        let mut recovery = Recovery::default();
        let mut unknown: BTreeMap<PaymentId, AttemptRow> = BTreeMap::new();
        let mut logged = BTreeSet::new();
        for attempt in self.shared.records.unresolved().await.map_err(no_records)? {
            match attempt.phase {
                Phase::Intent => {
                    self.fail(&attempt).await?;
                    logged.insert(attempt.id);
                    recovery.not_sent += 1;
                }
                Phase::Sending | Phase::Result(_)
                    if attempt.processor != self.shared.settings.processor =>
                {
                    self.leave_to_a_person(attempt).await?;
                    recovery.left_to_a_person += 1;
                }
                Phase::Sending | Phase::Result(_) => {
                    let payment = attempt.payment.clone();
                    if let Some(earlier) = unknown.insert(payment, attempt) {
                        // Never two in flight; should it be so, a person has to look.
                        tracing::error!(attempt = %earlier.id, payment = %earlier.payment, "a second unresolved attempt stays unresolved");
                    }
                }
            }
        }
        for (payment, attempt) in unknown {
            self.look_up_again(payment, attempt).await?;
            recovery.looked_up += 1;
        }
        recovery.cancelled = self.end_open(&logged).await?;
        recovery.operations = self.recover_operations().await?;
        self.apply_kept().await?;
        Ok(recovery)
    }

    async fn fail(&self, attempt: &AttemptRow) -> Result<(), PaymentError> {
        let outcome = Outcome::Failed {
            reason: "the gateway restarted before anything was sent".to_owned(),
            retryable: true,
        };
        self.log(
            &attempt.payment,
            Event::ChargeResult {
                payment: attempt.payment.clone(),
                attempt: attempt.id.clone(),
                outcome: outcome.as_str().to_owned(),
                code: "restarted-before-sending".to_owned(),
            },
        )
        .await?;
        let at = (self.shared.clock)().utc;
        let records = &self.shared.records;
        records
            .result(attempt.id.clone(), outcome, at)
            .await
            .map_err(no_records)
    }

    async fn leave_to_a_person(&self, attempt: AttemptRow) -> Result<(), PaymentError> {
        let records = &self.shared.records;
        let row = records.payment(attempt.payment.clone()).await;
        let row = row.map_err(no_records)?;
        let failure = Event::ControlFailure {
            control: "payment-resolution".to_owned(),
            cause: format!(
                "attempt {} may stand at the processor {:?}, and this gateway charges by {:?}; a person has to resolve it with that processor",
                attempt.id, attempt.processor, self.shared.settings.processor
            ),
            call: row.as_ref().map(|row| row.call.clone()),
        };
        self.log(&attempt.payment, failure).await?;
        match row {
            Some(row) => self.put(row, PaymentState::Unknown).await,
            None => Ok(()),
        }
    }

    async fn look_up_again(
        &self,
        payment: PaymentId,
        attempt: AttemptRow,
    ) -> Result<(), PaymentError> {
        let records = &self.shared.records;
        let row = records.payment(payment.clone()).await.map_err(no_records)?;
        let attempts = records
            .attempts(payment.clone())
            .await
            .map_err(no_records)?;
        let Some(row) = row else {
            tracing::error!(%payment, attempt = %attempt.id, "an unresolved attempt has no payment; look it up by hand");
            return Ok(());
        };
        let request = Request {
            payment: payment.clone(),
            call: row.call.clone(),
            amount_minor: attempt.amount_minor,
            currency: attempt.currency,
            required: Request::default_fields(),
        };
        let basics = Basics {
            signalling_id: row.signalling_id.unwrap_or_default(),
            caller_tag: None,
            keyed_by: Leg::Caller,
            purpose: row.purpose,
            reference: attempt.reference,
            description: row.description.clone(),
            created: row.created,
        };
        let count = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        let machine = Payment::recovered(request, count, attempt.id, (self.shared.clock)());
        let (handle, actor) = Actor::new(self.shared.clone(), machine, basics);
        let actor = actor.knowing(row.brand, row.last4);
        self.shared.book().live.insert(payment, handle);
        tokio::spawn(actor.run());
        Ok(())
    }

    /// Nothing of their cards is left, so they cannot go on; what was charged stays charged.
    async fn end_open(&self, logged: &BTreeSet<AttemptId>) -> Result<usize, PaymentError> {
        let tenant = self.shared.settings.tenant.clone();
        let records = &self.shared.records;
        let rows = records
            .payments(
                tenant,
                PaymentFilter {
                    limit: LOOKED_AT,
                    ..PaymentFilter::default()
                },
            )
            .await
            .map_err(no_records)?;
        let mut cancelled = 0;
        for row in rows {
            let Some(left) = Left::of(&row) else { continue };
            if self.shared.book().live.contains_key(&row.id) {
                continue;
            }
            let attempts = records.attempts(row.id.clone()).await.map_err(no_records)?;
            let last = attempts.last().and_then(|last| match &last.phase {
                Phase::Intent | Phase::Sending => None,
                Phase::Result(outcome) if outcome.is_open() => None,
                Phase::Result(outcome) => Some((last, outcome)),
            });
            // Whether the log has the outcome too is not known: better twice than never.
            if let (Some((attempt, outcome)), Left::Submitted | Left::Unknown) = (last, left)
                && !logged.contains(&attempt.id)
            {
                self.log(&row.id, result_event(attempt, outcome)).await?;
            }
            match (left, last.map(|(_, outcome)| outcome)) {
                (_, Some(Outcome::Approved { .. })) => {
                    self.put(row, PaymentState::Approved).await?;
                }
                (Left::Submitted | Left::Unknown, Some(Outcome::Declined { .. })) => {
                    self.put(row, PaymentState::Declined).await?;
                }
                (Left::Unknown, Some(Outcome::Failed { .. })) => {
                    self.put(row, PaymentState::Failed).await?;
                }
                // A person has to find out.
                (Left::Unknown, _) => {}
                (Left::Open | Left::Submitted, _) => {
                    let cancel = Event::PaymentCancelled {
                        payment: row.id.clone(),
                        reason: RESTARTED.to_owned(),
                    };
                    self.log(&row.id, cancel).await?;
                    self.put(row, PaymentState::Cancelled).await?;
                    cancelled += 1;
                }
            }
        }
        Ok(cancelled)
    }

    pub(super) async fn put(
        &self,
        row: PaymentRow,
        state: PaymentState,
    ) -> Result<(), PaymentError> {
        let row = PaymentRow {
            state: state.as_str().to_owned(),
            updated: (self.shared.clock)().utc,
            ..row
        };
        let records = &self.shared.records;
        records.put_payment(row).await.map_err(no_records)
    }

    async fn log(&self, payment: &PaymentId, event: Event) -> Result<(), PaymentError> {
        let by = gateway(payment.tenant());
        let record = Record {
            actor: by.actor,
            origin: by.origin,
            success: match &event {
                Event::ChargeResult { outcome, .. } if outcome == "approved" => Success::Success,
                _ => Success::Failure,
            },
            event,
        };
        let records = &self.shared.records;
        records
            .audit(payment.tenant(), record)
            .await
            .map_err(no_records)
    }
}

/// What an earlier process left a payment at.
#[derive(Clone, Copy)]
enum Left {
    Open,
    /// An attempt was under way.
    Submitted,
    /// It was told to be unknown; a crash may have come between finding out and telling.
    Unknown,
}

impl Left {
    fn of(row: &PaymentRow) -> Option<Self> {
        match PaymentState::from_word(&row.state)? {
            PaymentState::Arming | PaymentState::Open | PaymentState::Capturing => Some(Self::Open),
            PaymentState::Submitting => Some(Self::Submitted),
            PaymentState::Unknown => Some(Self::Unknown),
            PaymentState::Approved
            | PaymentState::Declined
            | PaymentState::Failed
            | PaymentState::Cancelled => None,
        }
    }
}

pub(super) fn result_event(attempt: &AttemptRow, outcome: &Outcome) -> Event {
    let code = match outcome {
        Outcome::Approved { code, .. }
        | Outcome::Declined { code, .. }
        | Outcome::Pending { code, .. } => code,
        Outcome::Failed { reason, .. } | Outcome::Unknown { reason } => reason,
    };
    Event::ChargeResult {
        payment: attempt.payment.clone(),
        attempt: attempt.id.clone(),
        outcome: outcome.as_str().to_owned(),
        code: code.clone(),
    }
}

pub(super) fn no_records(reason: String) -> PaymentError {
    PaymentError::NotRecordable(reason)
}
