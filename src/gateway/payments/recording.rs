//! What a payment's task writes down, and in which order.

use tokio::time::{Duration, Instant, sleep};

use super::{
    actor::Actor,
    outside::{Later, NotDurable},
};
use crate::{
    journal::{ArmedRow, AttemptRow, PaymentRow, Phase},
    processor::Charge,
    proto::{
        audit::{Event, Record, Success},
        call::Holder,
        capture::{CaptureEvent, CaptureEventKind},
        id::AttemptId,
        payment::{PaymentState, Step},
    },
};

/// Tries to write an outcome down, and the pause between two.
const RESULT_TRIES: u32 = 3;
const RESULT_PAUSE: Duration = Duration::from_millis(200);

impl Actor {
    /// Makes a step durable: first what the auditor reads, then what a restart looks at; but an
    /// outcome goes to the journal first, and each of the two is tried whatever became of the other.
    pub(super) async fn record(
        &mut self,
        step: &Step,
        state: PaymentState,
        events: Vec<Event>,
    ) -> Result<(), NotDurable> {
        let at = (self.shared.clock)().utc;
        self.updated = at;
        let shared = self.shared.clone();
        let records = &*shared.records;
        match step {
            Step::Created => {
                self.audit(events).await?;
                records.put_payment(self.row(state)).await?;
                records
                    .set_armed(ArmedRow {
                        tenant: self.id.tenant().clone(),
                        signalling_id: self.basics.signalling_id.clone(),
                        holder: Holder::Payment(self.id.clone()),
                        caller_tag: self.basics.caller_tag.clone(),
                        since: at,
                    })
                    .await
            }
            Step::Armed => {
                self.audit(events).await?;
                records.put_payment(self.row(state)).await
            }
            Step::CaptureOpened(_) => self.audit(events).await,
            Step::Intent(attempt) => {
                self.audit(events).await?;
                records.put_payment(self.row(state)).await?;
                let charge = self.charge(attempt.clone());
                records
                    .intent(AttemptRow {
                        id: charge.attempt,
                        payment: charge.payment,
                        amount_minor: charge.amount_minor,
                        currency: charge.currency,
                        reference: charge.reference,
                        processor: shared.settings.processor.clone(),
                        phase: Phase::Intent,
                        created: at,
                        updated: at,
                    })
                    .await
            }
            Step::Sending(attempt) => {
                let charge = self.charge(attempt.clone());
                let mut submission = None;
                for event in events {
                    let record = self.audit_record(event);
                    let sending = records.sending(self.id.tenant(), record, charge.clone(), at);
                    submission = Some(sending.await?);
                }
                self.submission = submission;
                Ok(())
            }
            Step::Result(attempt, outcome) => {
                if outcome.is_open() {
                    self.unknown_since = Some(Instant::now());
                }
                let resulted =
                    retried(|| records.result(attempt.clone(), outcome.clone(), at)).await;
                let logged = self.audit_ends(events).await;
                let row = self.row(state);
                let put = retried(|| records.put_payment(row.clone())).await;
                resulted.and(logged).and(put)
            }
            Step::Closed => {
                let logged = self.audit_ends(events).await;
                let row = self.row(state);
                let put = retried(|| records.put_payment(row.clone())).await;
                logged.and(put)
            }
        }
    }

    async fn audit(&mut self, events: Vec<Event>) -> Result<(), NotDurable> {
        for event in events {
            let record = self.audit_record(event);
            self.shared.records.audit(self.id.tenant(), record).await?;
        }
        Ok(())
    }

    /// Each is tried whatever became of the one before.
    async fn audit_ends(&mut self, events: Vec<Event>) -> Result<(), NotDurable> {
        let mut logged = Ok(());
        for event in events {
            let record = self.audit_record(event);
            let records = &self.shared.records;
            logged = logged.and(records.audit_end(self.id.tenant(), record).await);
        }
        logged
    }

    /// Nothing waits for it; a log that is broken refuses the next step that matters.
    pub(super) async fn note(&mut self, event: Event) {
        if let Err(reason) = self.audit(vec![event]).await {
            tracing::error!(payment = %self.id, reason, "not in the audit log");
        }
    }

    fn audit_record(&self, event: Event) -> Record {
        let failed = match &event {
            Event::ArmRefused { .. }
            | Event::ChargeUnknown { .. }
            | Event::ControlFailure { .. } => true,
            Event::ChargeResult { outcome, .. } => outcome != "approved",
            _ => false,
        };
        Record {
            actor: self.by.actor.clone(),
            origin: self.by.origin.clone(),
            success: if failed {
                Success::Failure
            } else {
                Success::Success
            },
            event,
        }
    }

    pub(super) fn charge(&self, attempt: AttemptId) -> Charge {
        let request = self.payment.request();
        Charge {
            payment: self.id.clone(),
            call: request.call.clone(),
            attempt,
            amount_minor: request.amount_minor,
            currency: request.currency.clone(),
            reference: self.basics.reference.clone(),
            purpose: self.basics.purpose,
        }
    }

    fn row(&self, state: PaymentState) -> PaymentRow {
        let request = self.payment.request();
        let (brand, last4) = self.fields.card();
        PaymentRow {
            id: self.id.clone(),
            call: request.call.clone(),
            state: state.as_str().to_owned(),
            amount_minor: request.amount_minor,
            currency: request.currency.clone(),
            purpose: self.basics.purpose,
            reference: self.basics.reference.clone(),
            description: self.basics.description.clone(),
            brand,
            last4,
            created: self.basics.created,
            updated: self.updated,
            signalling_id: Some(self.basics.signalling_id.clone()).filter(|id| !id.is_empty()),
            sandbox: Some(self.shared.cards.is_sandbox()),
        }
    }
}

pub(super) async fn retried<'a, F>(mut attempt: F) -> Result<(), NotDurable>
where
    F: FnMut() -> Later<'a, Result<(), NotDurable>>,
{
    let mut last = attempt().await;
    for _ in 1..RESULT_TRIES {
        if last.is_ok() {
            break;
        }
        sleep(RESULT_PAUSE).await;
        last = attempt().await;
    }
    last
}

/// What the audit log gets of what happened to a field.
pub(super) fn capture_note(event: &CaptureEvent) -> Option<Event> {
    let closed = |reason: String| Event::CaptureClosed {
        payment: event.payment.clone(),
        field: event.field,
        reason,
    };
    match &event.kind {
        CaptureEventKind::Complete { .. } => Some(Event::CaptureCompleted {
            payment: event.payment.clone(),
            field: event.field,
        }),
        CaptureEventKind::Rejected {
            reason,
            attempts_left: 0,
        } => Some(closed(format!("rejected: {reason:?}"))),
        CaptureEventKind::TimedOut { timeout } => Some(closed(format!("timed out: {timeout:?}"))),
        CaptureEventKind::Cancelled => Some(closed("closed before it was complete".to_owned())),
        CaptureEventKind::Failed { reason } => Some(closed(format!("failed: {reason:?}"))),
        CaptureEventKind::Opened { .. }
        | CaptureEventKind::Progress { .. }
        | CaptureEventKind::Cleared
        | CaptureEventKind::Rejected { .. } => None,
    }
}
