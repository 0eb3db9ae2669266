//! What a restart does about payments and attempts that were left open.

use std::collections::BTreeMap;

use super::{
    PaymentError, PaymentState, Payments,
    actor::{Actor, Basics, gateway},
};
use crate::{
    journal::{AttemptRow, PaymentRow, Phase},
    processor::Outcome,
    proto::{
        audit::{Event, Record, Success},
        id::PaymentId,
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
    /// Payments that were open and are cancelled.
    pub cancelled: usize,
}

impl Payments {
    /// Takes up what an earlier process left: to be called once, before anything is created.
    pub async fn recover(&self) -> Result<Recovery, PaymentError> {
        let mut recovery = Recovery::default();
        let mut unknown: BTreeMap<PaymentId, AttemptRow> = BTreeMap::new();
        for attempt in self.shared.records.unresolved().await.map_err(no_records)? {
            match attempt.phase {
                Phase::Intent => {
                    self.fail(&attempt).await?;
                    recovery.not_sent += 1;
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
        recovery.cancelled = self.cancel_open().await?;
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
            signalling_id: String::new(),
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
    async fn cancel_open(&self) -> Result<usize, PaymentError> {
        let tenant = self.shared.settings.tenant.clone();
        let records = &self.shared.records;
        let rows = records
            .payments(tenant, None, LOOKED_AT)
            .await
            .map_err(no_records)?;
        let mut cancelled = 0;
        for row in rows {
            let open = match PaymentState::from_word(&row.state) {
                Some(
                    PaymentState::Arming
                    | PaymentState::Open
                    | PaymentState::Capturing
                    | PaymentState::Submitting,
                ) => true,
                Some(
                    PaymentState::Approved
                    | PaymentState::Declined
                    | PaymentState::Failed
                    | PaymentState::Unknown
                    | PaymentState::Cancelled,
                )
                | None => false,
            };
            if !open || self.shared.book().live.contains_key(&row.id) {
                continue;
            }
            let attempts = records.attempts(row.id.clone()).await.map_err(no_records)?;
            let charged = attempts
                .iter()
                .any(|attempt| matches!(attempt.phase, Phase::Result(Outcome::Approved { .. })));
            if charged {
                self.put(row, PaymentState::Approved).await?;
                continue;
            }
            self.log(
                &row.id,
                Event::PaymentCancelled {
                    payment: row.id.clone(),
                    reason: RESTARTED.to_owned(),
                },
            )
            .await?;
            self.put(row, PaymentState::Cancelled).await?;
            cancelled += 1;
        }
        Ok(cancelled)
    }

    async fn put(&self, row: PaymentRow, state: PaymentState) -> Result<(), PaymentError> {
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
            success: Success::Failure,
            event,
        };
        let records = &self.shared.records;
        records
            .audit(payment.tenant(), record)
            .await
            .map_err(no_records)
    }
}

fn no_records(reason: String) -> PaymentError {
    PaymentError::NotRecordable(reason)
}
