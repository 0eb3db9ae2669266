//! From `complete` to the outcome: intent, sending, answer; and what to do about no answer.

use std::time::{Duration, Instant};

use super::{
    ANSWER_PATIENCE, Advice, Core, Ended, FIRST_LOOK_UP, FieldFact, Input, LONGEST_PAUSE,
    LOOK_UP_FOR, Notice, Outcome, Output, PaymentState, Refusal, State, Step,
    open::{Card, Declined, Open},
};
use crate::proto::{audit::Event, field::Field, id::AttemptId, time::Now};

/// How long one look-up may take before the next is planned.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(60);

/// The intent is being recorded; nothing was sent.
#[derive(Debug)]
pub(super) struct Intending {
    pub(super) card: Card,
    attempt: AttemptId,
}

/// The sending is being recorded; nothing was sent.
#[derive(Debug)]
pub(super) struct Readying {
    pub(super) card: Card,
    attempt: AttemptId,
}

/// The card plane has the charge.
#[derive(Debug)]
pub(super) struct Submitting {
    pub(super) card: Card,
    pub(super) until: Instant,
    attempt: AttemptId,
}

/// The outcome is known here and being recorded; nobody was told yet.
#[derive(Debug)]
pub(super) struct Recording {
    attempt: AttemptId,
    outcome: Outcome,
    /// When the answer came: what may be used again is counted from here.
    came: Now,
    /// The state for the journal: the ending, or `open` where the payment goes on.
    word: PaymentState,
    card: Card,
    /// The card plane sent nothing for want of this field.
    missing: Option<Field>,
    /// What the agent was told before: unknown.
    pub(super) was_unknown: bool,
    /// The answer is still to come from the card plane, which outlasted our patience.
    awaited: bool,
    /// The answer that came meanwhile.
    late: Option<Outcome>,
}

/// It may stand. The hold is released and all is wiped; only the outcome is still open.
#[derive(Debug)]
pub(super) struct Unknown {
    /// When to look up; `None` while the card plane may still answer, or once a person has to.
    pub(super) next: Option<Instant>,
    pub(super) parked: bool,
    attempt: AttemptId,
    tries: u32,
    give_up: Instant,
}

/// The processor is being asked what became of it.
#[derive(Debug)]
pub(super) struct LookingUp {
    pub(super) until: Instant,
    attempt: AttemptId,
    tries: u32,
    give_up: Instant,
}

impl Intending {
    pub(super) fn begin(core: &mut Core, attempt: AttemptId, card: Card) -> State {
        let event = Event::ChargeIntent {
            payment: core.request.payment.clone(),
            attempt: attempt.clone(),
            amount_minor: core.request.amount_minor,
            currency: core.request.currency.clone(),
        };
        core.record(
            Step::Intent(attempt.clone()),
            PaymentState::Submitting,
            vec![event],
        );
        State::Intending(Self { card, attempt })
    }

    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Durable(Step::Intent(attempt)) if attempt == self.attempt => {
                core.attempts += 1;
                if let Some(reason) = core.gone {
                    return not_sent(core, self.attempt, self.card, reason, now);
                }
                let event = Event::ChargeSending {
                    payment: core.request.payment.clone(),
                    attempt: attempt.clone(),
                };
                core.record(
                    Step::Sending(attempt.clone()),
                    PaymentState::Submitting,
                    vec![event],
                );
                State::Readying(Readying {
                    card: self.card,
                    attempt,
                })
            }
            Input::NotDurable(Step::Intent(attempt), reason) if attempt == self.attempt => {
                core.refuse(Refusal::NotRecordable(reason));
                let event = Event::ChargeResult {
                    payment: core.request.payment.clone(),
                    attempt,
                    outcome: "failed".to_owned(),
                    code: "intent-not-recorded".to_owned(),
                };
                core.push(Output::Note(event));
                match core.gone {
                    Some(reason) => core.cancel(reason),
                    None => State::Open(Open { card: self.card }),
                }
            }
            other => {
                refuse_in_flight(core, &other, PaymentState::Submitting);
                State::Intending(self)
            }
        }
    }
}

impl Readying {
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Durable(Step::Sending(attempt)) if attempt == self.attempt => {
                if let Some(reason) = core.gone {
                    return not_sent(core, attempt, self.card, reason, now);
                }
                core.push(Output::Submit(attempt.clone()));
                core.publish(Notice::Updated);
                State::Submitting(Submitting {
                    card: self.card,
                    until: now.instant + ANSWER_PATIENCE,
                    attempt,
                })
            }
            Input::NotDurable(Step::Sending(attempt), _) if attempt == self.attempt => not_sent(
                core,
                attempt,
                self.card,
                "the gateway could not record that it was about to send",
                now,
            ),
            other => {
                refuse_in_flight(core, &other, PaymentState::Submitting);
                State::Readying(self)
            }
        }
    }
}

fn not_sent(core: &mut Core, attempt: AttemptId, card: Card, why: &str, now: Now) -> State {
    let outcome = Outcome::Failed {
        reason: format!("nothing was sent: {why}"),
        retryable: true,
    };
    Recording::begin(core, attempt, outcome, card, None, false, now)
}

impl Submitting {
    /// A hang-up changes nothing here: the answer comes, and is recorded.
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Answered(attempt, outcome) if attempt == self.attempt => {
                Recording::begin(core, attempt, outcome, self.card, None, false, now)
            }
            Input::NotSubmitted(attempt, field) if attempt == self.attempt => {
                let outcome = field_was_gone();
                Recording::begin(core, attempt, outcome, self.card, Some(field), false, now)
            }
            Input::Timeout if now.instant >= self.until => {
                let outcome = Outcome::Unknown {
                    reason: "no answer has come for three minutes".to_owned(),
                };
                let state =
                    Recording::begin(core, self.attempt, outcome, self.card, None, false, now);
                match state {
                    State::Recording(recording) => State::Recording(Recording {
                        awaited: true,
                        ..recording
                    }),
                    other => other,
                }
            }
            other => {
                refuse_in_flight(core, &other, PaymentState::Submitting);
                State::Submitting(self)
            }
        }
    }
}

fn field_was_gone() -> Outcome {
    Outcome::Failed {
        reason: "nothing was sent: a field was no longer held".to_owned(),
        retryable: true,
    }
}

impl Recording {
    pub(super) fn begin(
        core: &mut Core,
        attempt: AttemptId,
        outcome: Outcome,
        card: Card,
        missing: Option<Field>,
        was_unknown: bool,
        now: Now,
    ) -> State {
        let word = match &outcome {
            Outcome::Approved { .. } => PaymentState::Approved,
            Outcome::Pending { .. } | Outcome::Unknown { .. } => PaymentState::Unknown,
            Outcome::Failed { .. } if missing.is_some() && core.gone.is_none() => {
                PaymentState::Open
            }
            Outcome::Failed { .. } => PaymentState::Failed,
            Outcome::Declined { advice, .. }
                if goes_on(*advice) && core.gone.is_none() && !was_unknown =>
            {
                PaymentState::Open
            }
            Outcome::Declined { .. } => PaymentState::Declined,
        };
        let mut events = vec![result_event(core, &attempt, &outcome)];
        match word {
            _ if was_unknown => {}
            // Nothing was sent, and what is still held may yet be.
            PaymentState::Open if missing.is_some() => {}
            // The card plane has done so by the time that it answers.
            PaymentState::Open => {
                events.push(core.wiped("the security code, on the processor's answer"));
            }
            // It keeps number and expiry after some declines, and knows nothing of a caller who is
            // gone; and where nothing was sent, it has not answered at all.
            _ => {
                core.wipe("the attempt is over");
                events.push(core.wiped("all of it, at the end of the attempt"));
            }
        }
        core.record(Step::Result(attempt.clone(), outcome.clone()), word, events);
        State::Recording(Self {
            attempt,
            outcome,
            came: now,
            word,
            card,
            missing,
            was_unknown,
            awaited: false,
            late: None,
        })
    }

    pub(super) fn handle(mut self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            // An answer that cannot be written down is true all the same: the agent is told, and
            // a restart finds a sending without result and looks it up.
            Input::Durable(Step::Result(attempt, outcome))
            | Input::NotDurable(Step::Result(attempt, outcome), _)
                if attempt == self.attempt && outcome == self.outcome =>
            {
                self.conclude(core, now)
            }
            Input::Answered(attempt, outcome) if self.awaited && attempt == self.attempt => {
                self.awaited = false;
                self.late = Some(outcome);
                State::Recording(self)
            }
            Input::NotSubmitted(attempt, _) if self.awaited && attempt == self.attempt => {
                self.awaited = false;
                self.late = Some(field_was_gone());
                State::Recording(self)
            }
            other => {
                let shown = if self.was_unknown {
                    PaymentState::Unknown
                } else {
                    PaymentState::Submitting
                };
                refuse_in_flight(core, &other, shown);
                State::Recording(self)
            }
        }
    }

    fn conclude(self, core: &mut Core, now: Now) -> State {
        core.last = Some(self.outcome.clone());
        match (&self.outcome, self.word) {
            (Outcome::Pending { .. } | Outcome::Unknown { .. }, _) => self.look_up_later(core, now),
            (Outcome::Declined { advice, .. }, PaymentState::Open) => {
                let advice = *advice;
                self.ask_again(core, advice)
            }
            (Outcome::Failed { .. }, PaymentState::Open) => self.ask_for_missing(core),
            (outcome, state) => {
                let reason = match outcome {
                    Outcome::Failed { reason, .. } => reason.clone(),
                    Outcome::Approved { .. }
                    | Outcome::Declined { .. }
                    | Outcome::Pending { .. }
                    | Outcome::Unknown { .. } => String::new(),
                };
                // Once more: a field may have become complete while the outcome was written down.
                core.wipe("the payment has its outcome");
                core.release();
                core.publish(Notice::Ended);
                State::Ended(Ended { state, reason })
            }
        }
    }

    fn ask_again(mut self, core: &mut Core, advice: Advice) -> State {
        match advice {
            Advice::ReEnter(field) => {
                self.card.keep_after_decline(Some(field), self.came);
                core.request.required.insert(field);
            }
            Advice::TryAgain => self.card.keep_after_decline(None, self.came),
            Advice::OtherCard | Advice::CallIssuer | Advice::DoNotRetry => {
                self.card = Card::default();
                core.wipe("declined: another card is needed");
            }
        }
        if let Some(reason) = core.gone {
            let event = Event::PaymentCancelled {
                payment: core.request.payment.clone(),
                reason: reason.to_owned(),
            };
            return core.close(PaymentState::Declined, reason, event);
        }
        core.publish(Notice::Updated);
        State::Declined(Declined { card: self.card })
    }

    fn ask_for_missing(mut self, core: &mut Core) -> State {
        if let Some(field) = self.missing {
            self.card.drop_field(field);
            // Nothing that was keyed is charged in part.
            core.request.required.insert(field);
        }
        if let Some(reason) = core.gone {
            return core.cancel(reason);
        }
        core.publish(Notice::Updated);
        State::Open(Open { card: self.card })
    }

    fn look_up_later(self, core: &mut Core, now: Now) -> State {
        core.wipe("the outcome is unknown; the card is not sent again");
        core.release();
        core.publish(Notice::Updated);
        let unknown = Unknown {
            next: (!self.awaited).then(|| now.instant + FIRST_LOOK_UP),
            parked: false,
            attempt: self.attempt.clone(),
            tries: 0,
            give_up: now.instant + LOOK_UP_FOR,
        };
        match self.late {
            Some(outcome) => unknown.handle(core, Input::Answered(self.attempt, outcome), now),
            None => State::Unknown(unknown),
        }
    }
}

/// Whether the same payment may be tried again after this decline.
const fn goes_on(advice: Advice) -> bool {
    match advice {
        Advice::TryAgain | Advice::OtherCard | Advice::ReEnter(_) => true,
        Advice::CallIssuer | Advice::DoNotRetry => false,
    }
}

fn result_event(core: &Core, attempt: &AttemptId, outcome: &Outcome) -> Event {
    let payment = core.request.payment.clone();
    let attempt = attempt.clone();
    let result = |code: &str| Event::ChargeResult {
        payment: payment.clone(),
        attempt: attempt.clone(),
        outcome: outcome.as_str().to_owned(),
        code: code.to_owned(),
    };
    match outcome {
        Outcome::Approved { code, .. } | Outcome::Declined { code, .. } => result(code),
        Outcome::Failed { reason, .. } => result(reason),
        Outcome::Pending { code, .. } => Event::ChargeUnknown {
            payment,
            attempt,
            reason: format!("the processor has it and has not decided yet ({code})"),
        },
        Outcome::Unknown { reason } => Event::ChargeUnknown {
            payment,
            attempt,
            reason: reason.clone(),
        },
    }
}

impl Unknown {
    pub(super) fn handle(mut self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Answered(attempt, outcome) | Input::LookedUp(attempt, outcome)
                if attempt == self.attempt =>
            {
                if outcome.is_open() {
                    if self.next.is_none() && !self.parked {
                        self.next = Some(now.instant + FIRST_LOOK_UP);
                    }
                    return State::Unknown(self);
                }
                Recording::begin(core, attempt, outcome, Card::default(), None, true, now)
            }
            Input::NotSubmitted(attempt, _) if attempt == self.attempt => {
                let outcome = field_was_gone();
                Recording::begin(core, attempt, outcome, Card::default(), None, true, now)
            }
            Input::Timeout if self.next.is_some_and(|next| now.instant >= next) => {
                if now.instant >= self.give_up {
                    return self.park(core);
                }
                core.push(Output::LookUp(self.attempt.clone()));
                State::LookingUp(LookingUp {
                    until: now.instant + LOOK_UP_PATIENCE,
                    attempt: self.attempt,
                    tries: self.tries + 1,
                    give_up: self.give_up,
                })
            }
            other => {
                refuse_in_flight(core, &other, PaymentState::Unknown);
                State::Unknown(self)
            }
        }
    }

    fn park(self, core: &mut Core) -> State {
        core.push(Output::Note(Event::ControlFailure {
            control: "payment-resolution".to_owned(),
            cause: format!(
                "attempt {} is unknown after 24 hours of look-ups; a person has to resolve it with the processor",
                self.attempt
            ),
            call: Some(core.request.call.clone()),
        }));
        core.publish(Notice::Updated);
        State::Unknown(Self {
            next: None,
            parked: true,
            ..self
        })
    }
}

impl LookingUp {
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::LookedUp(attempt, outcome) if attempt == self.attempt => match outcome {
                Outcome::Pending { .. } | Outcome::Unknown { .. } => self.again(now),
                Outcome::Approved { .. } | Outcome::Declined { .. } | Outcome::Failed { .. } => {
                    Recording::begin(core, attempt, outcome, Card::default(), None, true, now)
                }
            },
            Input::Timeout if now.instant >= self.until => self.again(now),
            other => {
                refuse_in_flight(core, &other, PaymentState::Unknown);
                State::LookingUp(self)
            }
        }
    }

    fn again(self, now: Now) -> State {
        let pause = FIRST_LOOK_UP
            .saturating_mul(1 << self.tries.min(16))
            .min(LONGEST_PAUSE);
        State::Unknown(Unknown {
            next: Some(now.instant + pause),
            parked: false,
            attempt: self.attempt,
            tries: self.tries,
            give_up: self.give_up,
        })
    }
}

/// Nothing is captured or cancelled while a charge may be on its way; a second `complete` waits
/// for the attempt that is there.
fn refuse_in_flight(core: &mut Core, input: &Input, state: PaymentState) {
    match (input, state) {
        (Input::Capture(_), _) => core.wrong_state(state, "capture", "open"),
        (Input::Cancel, _) => core.wrong_state(state, "cancel", "not submitted"),
        (Input::Complete(_), PaymentState::Unknown) => {
            core.wrong_state(
                state,
                "complete",
                "resolved, and never charged again before",
            );
        }
        // A field that was complete before the attempt began; too late for it, and not to be kept.
        (Input::Field(_, FieldFact::Complete), PaymentState::Unknown) => {
            core.wipe("a field became complete after the payment's end");
        }
        _ => {}
    }
}
