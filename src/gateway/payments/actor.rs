//! The task of one payment: feeds the machine, does what it says, publishes what may be seen.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};

use super::{
    Handle, MAILBOX, PaymentError, PaymentView, Principal, Shared,
    outside::Submission,
    recording::capture_note,
    view::{Fields, balance},
};
use crate::{
    media::MediaCommand,
    processor::{Outcome, SubmitError},
    proto::{
        audit::Actor as AuditActor,
        call::Holder,
        capture::{CaptureEvent, CaptureEventKind},
        card::{Brand, Last4},
        field::Field,
        id::{AttemptId, PaymentId, Tenant},
        leg::Leg,
        payment::{
            FieldFact, Input, MediaStep, Notice, Output, Payment, PaymentState, Purpose, Refusal,
        },
    },
};

pub(super) type Reply = oneshot::Sender<Result<PaymentView, PaymentError>>;

/// What a payment's task is told.
pub(super) enum Message {
    Command {
        by: Principal,
        command: Command,
        reply: Reply,
    },
    Fact(Input),
    Capture(CaptureEvent),
    /// The processor has told by itself how an attempt ended.
    Notified {
        attempt: AttemptId,
        outcome: Outcome,
        reply: oneshot::Sender<()>,
    },
    /// Whether the agent hears the caller has changed.
    CallerMuted,
}

impl Message {
    /// Whether losing it costs no more than a count on a screen.
    pub(super) const fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Capture(CaptureEvent {
                kind: CaptureEventKind::Progress { .. },
                ..
            })
        )
    }
}

pub(super) enum Command {
    Capture(Field),
    Complete(AttemptId),
    Cancel,
}

impl Command {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Capture(_) => "capture",
            Self::Complete(_) => "complete",
            Self::Cancel => "cancel",
        }
    }
}

/// What the machine need not know of a payment.
pub(super) struct Basics {
    pub(super) signalling_id: String,
    pub(super) caller_tag: Option<String>,
    /// Whose keys its fields take.
    pub(super) keyed_by: Leg,
    pub(super) purpose: Purpose,
    pub(super) reference: String,
    pub(super) description: Option<String>,
    pub(super) created: Timestamp,
}

pub(super) struct Actor {
    pub(super) shared: Arc<Shared>,
    pub(super) id: PaymentId,
    pub(super) payment: Payment,
    pub(super) basics: Basics,
    pub(super) fields: Fields,
    pub(super) updated: Timestamp,
    /// Who gave the command that is being carried out; the gateway itself between commands.
    pub(super) by: Principal,
    /// Why that command was refused.
    refused: Option<PaymentError>,
    /// Whom to tell that the payment is created.
    creator: Option<Reply>,
    /// The right to submit, between the durable sending and the submission.
    pub(super) submission: Option<Submission>,
    /// Since when the outcome of the attempt is known to be unknown.
    pub(super) unknown_since: Option<Instant>,
    jobs: JoinSet<Input>,
    mailbox: mpsc::Receiver<Message>,
    view: watch::Sender<PaymentView>,
    /// Below the mailbox, for fields are dropped in this order: what cannot be told any more is
    /// wiped by whoever tells it, and what was told and not read is wiped here.
    _last_will: LastWill,
}

/// Wipes the card when the task ends, in whatever way: a field may have become complete after the
/// payment's own wipe, while its end was being recorded. After a panic the call stays armed:
/// failing closed.
struct LastWill {
    shared: Arc<Shared>,
    id: PaymentId,
}

impl Drop for LastWill {
    fn drop(&mut self) {
        self.shared.cards.wipe(&self.id);
    }
}

impl Actor {
    pub(super) fn new(shared: Arc<Shared>, payment: Payment, basics: Basics) -> (Handle, Self) {
        let id = payment.request().payment.clone();
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let updated = basics.created;
        let fields = Fields::default();
        let first = render(&shared, &payment, &basics, &fields, updated);
        let (view, watched) = watch::channel(first);
        let handle = Handle {
            mailbox: sender,
            view: watched,
        };
        let actor = Self {
            _last_will: LastWill {
                shared: shared.clone(),
                id: id.clone(),
            },
            by: gateway(id.tenant()),
            shared,
            id,
            payment,
            basics,
            fields,
            updated,
            refused: None,
            creator: None,
            submission: None,
            unknown_since: None,
            jobs: JoinSet::new(),
            mailbox,
            view,
        };
        (handle, actor)
    }

    pub(super) fn created_by(self, by: Principal, reply: Reply) -> Self {
        Self {
            by,
            creator: Some(reply),
            ..self
        }
    }

    /// For a payment of an earlier process: what the journal keeps of its card.
    pub(super) fn knowing(mut self, brand: Option<Brand>, last4: Option<Last4>) -> Self {
        self.fields.restore(brand, last4);
        self.refresh();
        self
    }

    pub(super) const fn id(&self) -> &PaymentId {
        &self.id
    }

    pub(super) async fn run(mut self) {
        self.drain().await;
        while !self.payment.is_settled() {
            let deadline = self.payment.poll_timeout();
            tokio::select! {
                message = self.mailbox.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                Some(done) = self.jobs.join_next() => {
                    // A job turns its own panic into an input, so only an abort comes here empty.
                    if let Ok(input) = done {
                        self.feed(input).await;
                    }
                }
                () = sleep_until(deadline.map_or_else(Instant::now, Instant::from_std)),
                    if deadline.is_some() => self.feed(Input::Timeout).await,
            }
        }
        let last = self.current_view();
        let now = (self.shared.clock)().instant;
        self.shared.book().end(last, now);
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Fact(input) => self.feed(input).await,
            Message::Capture(event) => self.handle_capture(event).await,
            Message::Notified {
                attempt,
                outcome,
                reply,
            } => {
                self.feed(Input::LookedUp(attempt, outcome)).await;
                // Whoever waits looks into the journal whatever comes.
                let _ = reply.send(());
            }
            Message::CallerMuted => self.publish("payment.updated"),
            Message::Command { by, command, reply } => {
                self.refused = None;
                let creator = std::mem::replace(&mut self.by, by);
                let input = match command {
                    Command::Capture(field) => Input::Capture(field),
                    Command::Complete(attempt) => Input::Complete(attempt),
                    Command::Cancel => Input::Cancel,
                };
                self.feed(input).await;
                self.by = if self.creator.is_some() {
                    creator
                } else {
                    gateway(self.id.tenant())
                };
                let answer = match self.refused.take() {
                    Some(error) => Err(error),
                    None => Ok(self.current_view()),
                };
                // Whoever asked may have gone; what was asked for is done all the same.
                let _ = reply.send(answer);
            }
        }
    }

    async fn handle_capture(&mut self, event: CaptureEvent) {
        self.fields.apply(event.field, &event.kind);
        if let Some(note) = capture_note(&event) {
            self.note(note).await;
        }
        let fact = match event.kind {
            CaptureEventKind::Opened { .. } => FieldFact::Opened,
            CaptureEventKind::Progress { .. }
            | CaptureEventKind::Cleared
            | CaptureEventKind::Rejected {
                attempts_left: 1.., ..
            } => FieldFact::Activity,
            CaptureEventKind::Complete { .. } => FieldFact::Complete,
            CaptureEventKind::Rejected {
                attempts_left: 0, ..
            }
            | CaptureEventKind::TimedOut { .. }
            | CaptureEventKind::Cancelled
            | CaptureEventKind::Failed { .. } => FieldFact::Closed,
        };
        self.feed(Input::Field(event.field, fact)).await;
        self.publish("payment.capture");
    }

    async fn feed(&mut self, input: Input) {
        let now = (self.shared.clock)();
        self.payment.handle(input, now);
        self.drain().await;
    }

    /// Does what the machine says until it says no more.
    async fn drain(&mut self) {
        while let Some(output) = self.payment.poll_output() {
            if let Some(input) = self.perform(output).await {
                self.payment.handle(input, (self.shared.clock)());
            }
        }
        self.refresh();
        self.answer_creator();
    }

    fn answer_creator(&mut self) {
        if self.payment.state() == PaymentState::Arming {
            return;
        }
        if let Some(reply) = self.creator.take() {
            self.by = gateway(self.id.tenant());
            let answer = match self.refused.take() {
                Some(error) => Err(error),
                None => Ok(self.current_view()),
            };
            // Whoever asked may have gone; the payment is there and can be found by its call.
            let _ = reply.send(answer);
        }
    }

    async fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Record {
                step,
                state,
                events,
            } => Some(match self.record(&step, state, events).await {
                Ok(()) => Input::Durable(step),
                Err(reason) => {
                    tracing::error!(payment = %self.id, ?step, reason, "not recorded");
                    Input::NotDurable(step, reason)
                }
            }),
            Output::Note(event) => {
                self.note(event).await;
                None
            }
            Output::Media(step) => self.media(step).await,
            Output::Submit(attempt) => {
                let submission = self.submission.take();
                self.spawn_submission(attempt, submission);
                None
            }
            Output::LookUp(attempt) => {
                self.spawn_look_up(attempt);
                None
            }
            Output::Wipe { reason } => {
                tracing::debug!(payment = %self.id, reason, "wiping");
                self.shared.cards.wipe(&self.id);
                None
            }
            Output::Publish(notice) => {
                self.publish(match notice {
                    Notice::Created => "payment.created",
                    Notice::Updated => "payment.updated",
                    Notice::Ended => "payment.ended",
                });
                None
            }
            Output::Refused(refusal) => {
                self.refused = Some(match refusal {
                    Refusal::WrongState {
                        state,
                        action,
                        needed,
                    } => PaymentError::WrongState {
                        state,
                        action,
                        needed,
                    },
                    Refusal::FieldsMissing(fields) => PaymentError::FieldsMissing(fields),
                    Refusal::CannotArm(reason) => PaymentError::CannotArm(reason),
                    Refusal::NotRecordable(reason) => PaymentError::NotRecordable(reason),
                });
                None
            }
        }
    }

    fn spawn_submission(&mut self, attempt: AttemptId, submission: Option<Submission>) {
        let Some(submission) = submission else {
            // The machine submits only after the sending is durable, which left the submission.
            tracing::error!(payment = %self.id, "no right to submit; nothing was sent");
            self.jobs.spawn(async move {
                let reason = "nothing was sent: no record of it was at hand".to_owned();
                let retryable = true;
                Input::Answered(attempt, Outcome::Failed { reason, retryable })
            });
            return;
        };
        self.jobs.spawn(async move {
            // A task of its own, so that a panic in it is an unknown outcome and not a lost one.
            match tokio::spawn(submission).await {
                Ok(Ok(outcome)) => Input::Answered(attempt, outcome),
                Ok(Err(SubmitError::Missing(field))) => Input::NotSubmitted(attempt, field),
                Ok(Err(stopped @ SubmitError::Stopped)) => {
                    let reason = format!("nothing was sent: {stopped}");
                    let retryable = false;
                    Input::Answered(attempt, Outcome::Failed { reason, retryable })
                }
                Err(_) => Input::Answered(attempt, unanswered()),
            }
        });
    }

    /// An empty answer counts once the processor promises to know of every charge that it got.
    fn spawn_look_up(&mut self, attempt: AttemptId) {
        let cards = &self.shared.cards;
        let since = self.unknown_since.map_or(Duration::ZERO, |at| at.elapsed());
        let too_early = since < cards.consistency_delay();
        let asked = cards.look_up(self.charge(attempt.clone()));
        self.jobs.spawn(async move {
            let outcome = match tokio::spawn(asked).await {
                Ok(Outcome::Failed { reason, .. }) if too_early => Outcome::Unknown {
                    reason: format!("{reason}; but it may not know of it yet"),
                },
                Ok(outcome) => outcome,
                Err(_) => unanswered(),
            };
            Input::LookedUp(attempt, outcome)
        });
    }

    async fn media(&mut self, step: MediaStep) -> Option<Input> {
        let holder = Holder::Payment(self.id.clone());
        let command = match step {
            MediaStep::Arm => MediaCommand::Arm(holder.clone()),
            MediaStep::OpenCapture(field) => MediaCommand::OpenCapture {
                payment: self.id.clone(),
                field,
                from: self.basics.keyed_by,
                settings: self.shared.settings.capture.clone(),
            },
            MediaStep::CloseCapture => MediaCommand::CloseCapture(self.id.clone()),
            MediaStep::Release => MediaCommand::Release(holder.clone()),
        };
        let call = self.payment.request().call.clone();
        let sent = self.shared.media.send(&call, command);
        match (step, sent) {
            (MediaStep::Arm, Err(error)) => Some(Input::ArmRefused(error.to_string())),
            (MediaStep::OpenCapture(field), Err(error)) => {
                self.fields.not_opened(field, &error.to_string());
                self.refused = Some(PaymentError::Overloaded(error.to_string()));
                Some(Input::Field(field, FieldFact::Closed))
            }
            (MediaStep::OpenCapture(field), Ok(())) => {
                // What an earlier try left on the screen is not of this one.
                self.fields.apply(field, &CaptureEventKind::Cancelled);
                None
            }
            (MediaStep::Release, sent) => {
                if let Err(error) = sent {
                    // A call that is gone needs no release; a full queue leaves the call armed.
                    tracing::warn!(payment = %self.id, %error, "the hold was not released");
                }
                let cleared = self.shared.records.clear_armed(
                    self.id.tenant().clone(),
                    self.basics.signalling_id.clone(),
                    holder,
                );
                if let Err(reason) = cleared.await {
                    tracing::error!(payment = %self.id, reason, "the hold stays in the journal");
                }
                None
            }
            (MediaStep::CloseCapture, Err(error)) => {
                tracing::warn!(payment = %self.id, %error, "the field was not closed");
                None
            }
            (MediaStep::Arm | MediaStep::CloseCapture, Ok(())) => None,
        }
    }

    fn publish(&mut self, name: &'static str) {
        self.updated = (self.shared.clock)().utc;
        self.refresh();
        let view = self.current_view();
        self.shared.hub.publish(name, &view.call, Some(&view));
    }

    fn refresh(&self) {
        let view = render(
            &self.shared,
            &self.payment,
            &self.basics,
            &self.fields,
            self.updated,
        );
        self.view.send_if_modified(|shown| {
            let changed = *shown != view;
            *shown = view;
            changed
        });
    }

    fn current_view(&self) -> PaymentView {
        self.view.borrow().clone()
    }
}

fn unanswered() -> Outcome {
    Outcome::Unknown {
        reason: "the card plane broke off before it answered".to_owned(),
    }
}

pub(super) fn gateway(tenant: &Tenant) -> Principal {
    Principal {
        tenant: tenant.clone(),
        actor: AuditActor::Gateway,
        origin: "gateway".to_owned(),
    }
}

fn render(
    shared: &Shared,
    payment: &Payment,
    basics: &Basics,
    fields: &Fields,
    updated: Timestamp,
) -> PaymentView {
    let request = payment.request();
    PaymentView {
        id: request.payment.clone(),
        call: request.call.clone(),
        state: payment.state(),
        amount_minor: request.amount_minor,
        currency: request.currency.clone(),
        purpose: basics.purpose,
        balance: balance(basics.purpose, request.amount_minor, payment.outcome(), &[]),
        operations: Vec::new(),
        reference: basics.reference.clone(),
        description: basics.description.clone(),
        armed: payment.is_armed(),
        caller_muted: payment.is_armed() && shared.muted().contains(&request.call),
        capturing: payment.capturing(),
        fields: fields.render(payment),
        outcome: payment.outcome().cloned(),
        advice: payment.advice(),
        attempts: payment.attempts(),
        sandbox: shared.cards.is_sandbox(),
        created: basics.created,
        updated,
    }
}
