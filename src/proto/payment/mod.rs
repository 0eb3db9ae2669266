//! One payment, from its creation to its last outcome: what is recorded, sent, wiped and told,
//! and in which order.
//!
//! Facts and commands come in as [`Input`], things to do come out as [`Output`]; the state in
//! between owns what is valid in it. The order that this module keeps (ARCHITECTURE.md): the
//! intent is durable before the sending is, the sending is durable before a byte is submitted, and
//! every attempt ends as approved, declined, failed, or as unknown until something resolves it.
//!
//! Deliberately absent: card data in any form, and what a field looks like to the agent.

mod advice;
mod attempt;
mod balance;
mod io;
mod notification;
mod open;
mod outcome;
mod pursuit;
mod token;
mod velocity;

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

#[cfg(test)]
mod model;

pub use advice::spoken;
pub use balance::{
    Abilities, Balance, NotAllowed, OperationEntry, OperationKind, Progress, Purpose, Standing,
};
pub use io::{FieldFact, Input, MediaStep, Notice, Output, Refusal, Step};
pub use notification::{About, Known, Notification, Ruling};
pub use outcome::{Advice, Outcome, PaymentState};
pub use pursuit::Pursuit;
pub use token::Token;
pub use velocity::{TooMany, Velocity, VelocityLimits};

use self::{
    attempt::{Intending, LookingUp, Readying, Recording, Submitting, Unknown},
    open::{Arming, Capturing, Card, Confirming, Creating, Declined, Open, Opening},
};
use super::{
    audit::Event,
    field::Field,
    id::{AttemptId, CallId, PaymentId},
    time::Now,
};

/// How long the media plane may take to confirm that a call is armed.
pub const ARM_PATIENCE: Duration = Duration::from_millis(250);
/// How long card number and expiry may be used again after a decline that allows it. The card
/// plane wipes them then; this is the mirror that tells the agent.
pub const REUSE: Duration = Duration::from_secs(120);
/// How long a payment may wait for the agent's next step before it is cancelled and wiped.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long the card plane may take before the agent is told that the outcome is unknown.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(180);
/// The first pause between two look-ups of an unknown attempt; it doubles each time.
pub const FIRST_LOOK_UP: Duration = Duration::from_secs(1);
/// The longest pause between two look-ups.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long an unknown attempt is looked up before a person has to resolve it.
pub const LOOK_UP_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What a payment is for, already validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub payment: PaymentId,
    /// The call that it is taken on.
    pub call: CallId,
    /// Minor units.
    pub amount_minor: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// What `complete` needs.
    pub required: BTreeSet<Field>,
}

impl Request {
    /// The fields that a card payment needs where the request names none.
    #[must_use]
    pub fn default_fields() -> BTreeSet<Field> {
        BTreeSet::from([
            Field::PaymentCardNumber,
            Field::ExpirationDate,
            Field::SecurityCode,
        ])
    }
}

/// The machine. Feed one input, drain the outputs, arm one timer.
#[derive(Debug)]
pub struct Payment {
    core: Core,
    state: State,
}

/// What every state shares.
#[derive(Debug)]
struct Core {
    request: Request,
    attempts: u32,
    last: Option<Outcome>,
    /// Whether this payment may hold the call armed: set before arming, cleared by the one release.
    hold: bool,
    /// Why nobody is there to key a field any more.
    gone: Option<&'static str>,
    idle_at: Instant,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Creating(Creating),
    Arming(Arming),
    Confirming(Confirming),
    Open(Open),
    Opening(Opening),
    Capturing(Capturing),
    Declined(Declined),
    Intending(Intending),
    Readying(Readying),
    Submitting(Submitting),
    Recording(Recording),
    Unknown(Unknown),
    LookingUp(LookingUp),
    Closing(Closing),
    Ended(Ended),
}

/// The ending is decided and being recorded; the hold is released afterwards, recorded or not.
#[derive(Debug)]
struct Closing {
    ended: Ended,
}

/// The last state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    state: PaymentState,
    reason: String,
}

impl Payment {
    /// A new payment; the first outputs record it.
    #[must_use]
    pub fn new(request: Request, now: Now) -> Self {
        let mut core = Core::new(request, true, now);
        let state = Creating::begin(&mut core);
        Self { core, state }
    }

    /// A payment whose attempt may have been sent before the gateway restarted: only its outcome
    /// is still to be found out.
    #[must_use]
    pub fn recovered(request: Request, attempts: u32, attempt: AttemptId, now: Now) -> Self {
        let mut core = Core::new(request, false, now);
        core.attempts = attempts;
        core.gone = Some("the gateway restarted");
        let outcome = Outcome::Unknown {
            reason: "the gateway restarted before the answer was recorded".to_owned(),
        };
        let state = Recording::begin(
            &mut core,
            attempt,
            outcome,
            Card::default(),
            None,
            true,
            now,
        );
        Self { core, state }
    }

    /// Takes one fact or command.
    pub fn handle(&mut self, input: Input, now: Now) {
        let Self { core, state } = self;
        core.note_activity(&input, now);
        // The first state holds the place while the true one is consumed; nothing reads it.
        let consumed = std::mem::replace(state, State::Creating(Creating));
        *state = match consumed {
            State::Creating(state) => state.handle(core, input, now),
            State::Arming(state) => state.handle(core, input, now),
            State::Confirming(state) => state.handle(core, input, now),
            State::Open(state) => state.handle(core, input, now),
            State::Opening(state) => state.handle(core, input, now),
            State::Capturing(state) => state.handle(core, input, now),
            State::Declined(state) => state.handle(core, input, now),
            State::Intending(state) => state.handle(core, input, now),
            State::Readying(state) => state.handle(core, input, now),
            State::Submitting(state) => state.handle(core, input, now),
            State::Recording(state) => state.handle(core, input, now),
            State::Unknown(state) => state.handle(core, input, now),
            State::LookingUp(state) => state.handle(core, input, now),
            State::Closing(state) => state.handle(core, input),
            State::Ended(state) => state.handle(core, input),
        };
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// When to feed [`Input::Timeout`]. Waking early is harmless.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Arming(state) => Some(state.until),
            State::Open(Open { card }) | State::Declined(Declined { card, .. }) => Some(
                card.expiry()
                    .map_or(self.core.idle_at, |at| at.min(self.core.idle_at)),
            ),
            State::Capturing(Capturing { card, .. }) => Some(
                card.expiry()
                    .map_or(self.core.idle_at, |at| at.min(self.core.idle_at)),
            ),
            State::Submitting(state) => Some(state.until),
            State::Unknown(state) => state.next,
            State::LookingUp(state) => Some(state.until),
            State::Creating(_)
            | State::Confirming(_)
            | State::Opening(_)
            | State::Intending(_)
            | State::Readying(_)
            | State::Recording(_)
            | State::Closing(_)
            | State::Ended(_) => None,
        }
    }

    /// The word that the agent sees. It changes only once what it tells is recorded, or cannot be.
    #[must_use]
    pub fn state(&self) -> PaymentState {
        match &self.state {
            State::Creating(_) | State::Arming(_) | State::Confirming(_) => PaymentState::Arming,
            State::Open(_) | State::Opening(_) => PaymentState::Open,
            State::Capturing(_) => PaymentState::Capturing,
            State::Declined(_) => PaymentState::Declined,
            State::Intending(_) | State::Readying(_) | State::Submitting(_) => {
                PaymentState::Submitting
            }
            State::Recording(state) if state.was_unknown => PaymentState::Unknown,
            State::Recording(_) => PaymentState::Submitting,
            State::Unknown(_) | State::LookingUp(_) => PaymentState::Unknown,
            State::Closing(Closing { ended }) | State::Ended(ended) => ended.state,
        }
    }

    /// Whether nothing more will come of it: ended, or unknown and left to a person.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        match &self.state {
            State::Ended(_) => true,
            State::Unknown(state) => state.parked,
            _ => false,
        }
    }

    /// Whether this payment holds the call armed, acknowledged.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.core.hold && self.state() != PaymentState::Arming
    }

    /// The field that the caller may key now.
    #[must_use]
    pub const fn capturing(&self) -> Option<Field> {
        match &self.state {
            State::Capturing(state) => Some(state.field),
            _ => None,
        }
    }

    /// Whether the card plane holds this field for the next attempt.
    #[must_use]
    pub fn holds(&self, field: Field) -> bool {
        self.card().is_some_and(|card| card.held.contains(&field))
    }

    /// What the next attempt needs: what was asked for, and what was captured beyond it.
    #[must_use]
    pub const fn required(&self) -> &BTreeSet<Field> {
        &self.core.request.required
    }

    /// What the payment is for.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.core.request
    }

    /// How the last attempt ended, once that is recorded.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.core.last.as_ref()
    }

    /// Attempts begun.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.core.attempts
    }

    const fn card(&self) -> Option<&Card> {
        match &self.state {
            State::Open(Open { card })
            | State::Opening(Opening { card, .. })
            | State::Capturing(Capturing { card, .. })
            | State::Declined(Declined { card, .. })
            | State::Intending(Intending { card, .. })
            | State::Readying(Readying { card, .. })
            | State::Submitting(Submitting { card, .. }) => Some(card),
            State::Creating(_)
            | State::Arming(_)
            | State::Confirming(_)
            | State::Recording(_)
            | State::Unknown(_)
            | State::LookingUp(_)
            | State::Closing(_)
            | State::Ended(_) => None,
        }
    }
}

impl Core {
    fn new(request: Request, hold: bool, now: Now) -> Self {
        Self {
            request,
            attempts: 0,
            last: None,
            hold,
            gone: None,
            idle_at: now.instant + IDLE,
            outputs: VecDeque::new(),
        }
    }

    /// Somebody is still at it. Time-outs and records alone do not keep a payment open.
    fn note_activity(&mut self, input: &Input, now: Now) {
        match input {
            Input::Capture(_)
            | Input::Complete(_)
            | Input::Armed
            | Input::Field(..)
            | Input::Answered(..)
            | Input::NotSubmitted(..) => self.idle_at = now.instant + IDLE,
            Input::CallEnded => {
                self.gone.get_or_insert("the call has ended");
            }
            Input::Incident => {
                self.gone
                    .get_or_insert("a tone was heard towards the agent and the call is muted");
            }
            Input::Cancel
            | Input::ArmRefused(_)
            | Input::Durable(_)
            | Input::NotDurable(..)
            | Input::LookedUp(..)
            | Input::Timeout => {}
        }
    }

    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn record(&mut self, step: Step, state: PaymentState, events: Vec<Event>) {
        self.push(Output::Record {
            step,
            state,
            events,
        });
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.push(Output::Refused(refusal));
    }

    fn publish(&mut self, notice: Notice) {
        self.push(Output::Publish(notice));
    }

    fn wipe(&mut self, reason: &str) {
        self.push(Output::Wipe {
            reason: reason.to_owned(),
        });
    }

    fn wiped(&self, reason: &str) -> Event {
        Event::CardWiped {
            payment: self.request.payment.clone(),
            reason: reason.to_owned(),
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.hold) {
            self.push(Output::Media(MediaStep::Release));
        }
    }

    /// A command that this state does not take.
    fn wrong_state(&mut self, state: PaymentState, action: &'static str, needed: &'static str) {
        self.refuse(Refusal::WrongState {
            state,
            action,
            needed,
        });
    }

    /// Ends without an attempt in flight: wipes now, records, then releases.
    fn close(&mut self, state: PaymentState, reason: impl Into<String>, event: Event) -> State {
        let reason = reason.into();
        self.wipe(&reason);
        let wiped = self.wiped(&reason);
        self.record(Step::Closed, state, vec![event, wiped]);
        State::Closing(Closing {
            ended: Ended { state, reason },
        })
    }

    fn cancel(&mut self, reason: &str) -> State {
        let event = Event::PaymentCancelled {
            payment: self.request.payment.clone(),
            reason: reason.to_owned(),
        };
        self.close(PaymentState::Cancelled, reason, event)
    }
}

impl Closing {
    fn handle(self, core: &mut Core, input: Input) -> State {
        match input {
            Input::Durable(Step::Closed) | Input::NotDurable(Step::Closed, _) => {
                core.release();
                core.publish(Notice::Ended);
                State::Ended(self.ended)
            }
            other => {
                self.ended.refuse(core, &other);
                State::Closing(self)
            }
        }
    }
}

impl Ended {
    fn handle(self, core: &mut Core, input: Input) -> State {
        self.refuse(core, &input);
        State::Ended(self)
    }

    fn refuse(&self, core: &mut Core, input: &Input) {
        match input {
            Input::Capture(_) => core.wrong_state(self.state, "capture", "open"),
            Input::Complete(_) => core.wrong_state(self.state, "complete", "open"),
            Input::Cancel => core.wrong_state(self.state, "cancel", "not yet ended"),
            // A field that was complete while the payment ended reached the card plane after the wipe.
            Input::Field(_, FieldFact::Complete) => {
                core.wipe("a field became complete after the payment's end");
            }
            _ => {}
        }
    }
}
