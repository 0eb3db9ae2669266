//! Settling, voiding and refunding what was charged: at most once, and never lost track of.
//!
//! The order is that of a charge. That the operation is meant, and that the charge allows it, is one
//! transaction of the journal; the audit record and the phase `Sending` are durable before anything is sent;
//! the outcome goes to the journal first. What is open is asked for until it is decided, also across restarts,
//! or until a person has to.

use std::time::Duration;

use super::{
    NewPayment, OperationOrder, PaymentError, PaymentView, Payments, Principal, Shared,
    actor::gateway, broke_off, recording::retried, validate, view,
};
use crate::{
    journal::{NewOperation, NotBegun, OperationBegun, OperationRow, Phase},
    processor::{Charge, Operation, Outcome},
    proto::{
        audit::{Actor, Event, Record, Success},
        id::{OperationId, PaymentId},
        payment::{PaymentState, Purpose, Pursuit},
    },
};

/// How long whoever asked waits; what is not decided by then is told later.
const PATIENCE: Duration = Duration::from_secs(30);

impl Payments {
    /// Does something with a charge that stands. Answers with the payment once it is known what became of it, or
    /// that it is open, or after 30 s.
    ///
    /// # Errors
    /// [`PaymentError`]: nothing was sent.
    pub async fn operate(
        &self,
        by: &Principal,
        id: &PaymentId,
        order: OperationOrder,
    ) -> Result<PaymentView, PaymentError> {
        if self.shared.is_draining() {
            return Err(PaymentError::Draining);
        }
        if *id.tenant() != by.tenant {
            return Err(PaymentError::UnknownPayment(id.to_string()));
        }
        validate::order(&order)?;
        let now = (self.shared.clock)();
        let new = NewOperation {
            id: OperationId::new(
                by.tenant.clone(),
                self.shared.settings.node.clone(),
                self.shared.serial(now),
            ),
            payment: id.clone(),
            kind: order.kind,
            amount_minor: order.amount_minor,
            limits: order.limits,
            key: order.key,
            reason: order.reason,
            actor: who(&by.actor),
            at: now.utc,
        };
        // A task of its own: what has begun ends, whoever hangs up.
        let (service, by_whom) = (self.clone(), by.clone());
        let begun = tokio::spawn(async move { service.begin(by_whom, new).await });
        match begun.await.map_err(|_| broke_off())? {
            Ok(decided) => {
                // Late is no error: the view says how far it is.
                let _ = tokio::time::timeout(PATIENCE, decided).await;
            }
            // The request came before, and its answer was lost.
            Err(PaymentError::NotAllowed(NotBegun::Repeated)) => {}
            Err(error) => return Err(error),
        }
        self.get(by, id).await
    }

    /// Writes down that it is meant, and sends it off; what comes back ends with the first answer.
    async fn begin(
        &self,
        by: Principal,
        new: NewOperation,
    ) -> Result<tokio::task::JoinHandle<()>, PaymentError> {
        let records = &self.shared.records;
        let processor = self.shared.settings.processor.clone();
        let begun = records.begin_operation(new, processor).await;
        let begun =
            begun
                .map_err(PaymentError::NotRecordable)?
                .map_err(|refusal| match refusal {
                    NotBegun::NoPayment(id) => PaymentError::UnknownPayment(id.to_string()),
                    refusal => PaymentError::NotAllowed(refusal),
                })?;
        let row = &begun.operation;
        let record = record(
            &by,
            Success::Success,
            Event::OperationSending {
                payment: row.payment.clone(),
                operation: row.id.clone(),
                kind: row.kind,
                amount_minor: row.amount_minor,
                currency: row.currency.clone(),
            },
        );
        let at = (self.shared.clock)().utc;
        let sending = records.operation_sending(&by.tenant, record, of(&begun), at);
        let order = match sending.await {
            Ok(order) => order,
            Err(reason) => {
                let outcome = Outcome::Failed {
                    reason: format!("nothing was sent: {reason}"),
                    retryable: true,
                };
                self.conclude(&by, &begun, &outcome).await;
                return Err(PaymentError::NotRecordable(reason));
            }
        };
        let service = self.clone();
        Ok(tokio::spawn(async move {
            // A task of its own, so that a panic in it is an unknown outcome and not a lost one.
            let outcome = tokio::spawn(order).await.unwrap_or_else(|_| broken());
            service.conclude(&by, &begun, &outcome).await;
            if outcome.is_open() {
                tokio::spawn(service.pursue(begun, outcome));
            }
        }))
    }

    /// Asks until it is decided.
    async fn pursue(self, begun: OperationBegun, mut known: Outcome) {
        let id = &begun.operation.id;
        let by = gateway(id.tenant());
        let mut pursuit = Pursuit::new((self.shared.clock)().instant);
        loop {
            let now = (self.shared.clock)().instant;
            let Some(pause) = pursuit.pause(&known, now) else {
                self.left_to_a_person(&begun.operation, "it could not be found out")
                    .await;
                return;
            };
            tokio::time::sleep(pause).await;
            if self.is_resolved(id).await {
                self.publish(&begun.operation.payment).await;
                return;
            }
            let asked = self.shared.cards.look_up_operation(of(&begun));
            let found = tokio::spawn(asked).await.unwrap_or_else(|_| broken());
            match (&known, &found) {
                // Nothing that was not known.
                (Outcome::Pending { .. }, Outcome::Unknown { .. } | Outcome::Pending { .. })
                | (Outcome::Unknown { .. }, Outcome::Unknown { .. }) => {}
                _ => {
                    self.conclude(&by, &begun, &found).await;
                    if !found.is_open() {
                        return;
                    }
                    known = found;
                }
            }
        }
    }

    /// Whether a person or the processor has told meanwhile.
    pub(super) async fn is_resolved(&self, id: &OperationId) -> bool {
        let row = self.shared.records.operation(id.clone()).await;
        matches!(
            row,
            Ok(Some(OperationBegun { operation: OperationRow { phase: Phase::Result(outcome), .. }, .. }))
                if !outcome.is_open()
        )
    }

    /// Writes down how it stands, and tells; nothing where that was told meanwhile.
    pub(super) async fn conclude(&self, by: &Principal, begun: &OperationBegun, outcome: &Outcome) {
        let row = &begun.operation;
        let _alone = self.shared.concluding.lock().await;
        if self.is_resolved(&row.id).await {
            tracing::debug!(operation = %row.id, late = outcome.as_str(), "its end is known already");
            self.publish(&row.payment).await;
            return;
        }
        let records = &self.shared.records;
        let at = (self.shared.clock)().utc;
        let written =
            retried(|| records.operation_result(row.id.clone(), outcome.clone(), at)).await;
        if let Err(reason) = written {
            // A restart finds it as it was sent, and asks.
            tracing::error!(operation = %row.id, reason, "the outcome is not in the journal");
        }
        let success = match outcome {
            Outcome::Approved { .. } => Success::Success,
            _ => Success::Failure,
        };
        let record = record(by, success, result_event(row, outcome));
        let logged = records.audit_end(row.id.tenant(), record).await;
        if let Err(reason) = logged {
            tracing::error!(operation = %row.id, reason, "the outcome is not in the audit log");
        }
        self.publish(&row.payment).await;
    }

    async fn publish(&self, payment: &PaymentId) {
        self.publish_as("payment.updated", payment).await;
    }

    pub(super) async fn publish_as(&self, name: &'static str, payment: &PaymentId) {
        match self.get(&gateway(payment.tenant()), payment).await {
            Ok(view) => {
                let call = view.call.clone();
                self.shared.hub.publish(name, &call, Some(&view));
            }
            Err(error) => tracing::error!(%payment, %error, "nobody is told what became of it"),
        }
    }

    async fn left_to_a_person(&self, row: &OperationRow, why: &str) {
        let failure = Event::ControlFailure {
            control: "operation-resolution".to_owned(),
            cause: format!(
                "the {} {} of payment {} may have been done, and {why}; a person has to resolve it with the processor",
                row.kind.as_str(),
                row.id,
                row.payment
            ),
            call: None,
        };
        let tenant = row.id.tenant();
        let record = record(&gateway(tenant), Success::Failure, failure);
        if let Err(reason) = self.shared.records.audit_end(tenant, record).await {
            tracing::error!(operation = %row.id, reason, "not in the audit log");
        }
    }

    /// Takes up what an earlier process left. How many were found.
    pub(super) async fn recover_operations(&self) -> Result<usize, PaymentError> {
        let records = &self.shared.records;
        let rows = records.unresolved_operations().await;
        let rows = rows.map_err(PaymentError::NotRecordable)?;
        let found = rows.len();
        for row in rows {
            let begun = records.operation(row.id.clone()).await;
            let Some(begun) = begun.map_err(PaymentError::NotRecordable)? else {
                continue;
            };
            let by = gateway(row.id.tenant());
            match row.phase {
                Phase::Intent => {
                    let outcome = Outcome::Failed {
                        reason: "the gateway restarted before anything was sent".to_owned(),
                        retryable: true,
                    };
                    self.conclude(&by, &begun, &outcome).await;
                }
                Phase::Sending | Phase::Result(_)
                    if begun.attempt.processor != self.shared.settings.processor =>
                {
                    let why = format!(
                        "this gateway charges by {:?} now, not by {:?}",
                        self.shared.settings.processor, begun.attempt.processor
                    );
                    if row.phase == Phase::Sending {
                        self.conclude(&by, &begun, &restarted()).await;
                    }
                    self.left_to_a_person(&row, &why).await;
                }
                Phase::Sending => {
                    self.conclude(&by, &begun, &restarted()).await;
                    tokio::spawn(self.clone().pursue(begun, restarted()));
                }
                Phase::Result(outcome) => {
                    tokio::spawn(self.clone().pursue(begun, outcome));
                }
            }
        }
        Ok(found)
    }

    /// Whether the processor can do what a payment is for.
    pub(super) fn able(&self, new: &NewPayment) -> Result<(), PaymentError> {
        match new.purpose {
            Purpose::Charge => Ok(()),
            Purpose::Authorise if self.shared.cards.abilities().authorise => Ok(()),
            Purpose::Authorise => Err(PaymentError::Unable(
                "set money aside without taking it; leave `purpose` out",
            )),
        }
    }

    /// The payments with what was done with their charges.
    pub(super) async fn with_operations(
        &self,
        views: Vec<PaymentView>,
    ) -> Result<Vec<PaymentView>, PaymentError> {
        let approved: Vec<_> = views
            .iter()
            .filter(|view| view.state == PaymentState::Approved)
            .map(|view| view.id.clone())
            .collect();
        if approved.is_empty() {
            return Ok(views);
        }
        let rows = self.shared.records.operations(approved).await;
        let mut rows = rows.map_err(PaymentError::NotRecordable)?;
        if rows.is_empty() {
            return Ok(views);
        }
        Ok(views
            .into_iter()
            .map(|view| {
                let own: Vec<_> = rows.extract_if(.., |row| row.payment == view.id).collect();
                if own.is_empty() {
                    view
                } else {
                    view::with_operations(view, own)
                }
            })
            .collect())
    }
}

impl Shared {
    fn is_draining(&self) -> bool {
        self.draining.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// As the card plane is told of it.
fn of(begun: &OperationBegun) -> Operation {
    let (row, attempt) = (&begun.operation, &begun.attempt);
    Operation {
        id: row.id.clone(),
        kind: row.kind,
        charge: Charge {
            payment: attempt.payment.clone(),
            call: begun.payment.call.clone(),
            attempt: attempt.id.clone(),
            amount_minor: attempt.amount_minor,
            currency: attempt.currency.clone(),
            reference: attempt.reference.clone(),
            purpose: begun.payment.purpose,
        },
        processor_reference: begun.processor_reference.clone(),
        amount_minor: row.amount_minor,
        settlement_reference: begun.settlement_reference.clone(),
        last4: begun.payment.last4,
    }
}

pub(super) fn record(by: &Principal, success: Success, event: Event) -> Record {
    Record {
        actor: by.actor.clone(),
        origin: by.origin.clone(),
        success,
        event,
    }
}

fn result_event(row: &OperationRow, outcome: &Outcome) -> Event {
    let code = match outcome {
        Outcome::Approved { code, .. }
        | Outcome::Declined { code, .. }
        | Outcome::Pending { code, .. } => code,
        Outcome::Failed { reason, .. } | Outcome::Unknown { reason } => reason,
    };
    Event::OperationResult {
        payment: row.payment.clone(),
        operation: row.id.clone(),
        kind: row.kind,
        outcome: outcome.as_str().to_owned(),
        code: code.clone(),
    }
}

/// The journal's word for who asked: never a name.
fn who(actor: &Actor) -> String {
    match actor {
        Actor::Gateway => "gateway".to_owned(),
        Actor::Key { id } | Actor::Panel { id } => id.to_string(),
        Actor::Peer { address } => address.clone(),
        Actor::Console { uid } => format!("console:{uid}"),
        Actor::Anonymous => "anonymous".to_owned(),
    }
}

fn broken() -> Outcome {
    Outcome::Unknown {
        reason: "the card plane broke off before it answered".to_owned(),
    }
}

fn restarted() -> Outcome {
    Outcome::Unknown {
        reason: "the gateway restarted before the answer was recorded".to_owned(),
    }
}
