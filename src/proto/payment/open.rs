//! From creation until something is charged: arming, and one field after the other.

use std::{collections::BTreeSet, time::Instant};

use super::{
    ARM_PATIENCE, Core, FieldFact, Input, MediaStep, Notice, Output, PaymentState, REUSE, Refusal,
    State, Step, attempt::Intending,
};
use crate::proto::{audit::Event, field::Field, time::Now};

const ARM_TIMED_OUT: &str = "the media plane did not confirm within 250 ms; try again";

/// The payment is being recorded; nothing is armed.
#[derive(Debug)]
pub(super) struct Creating;

/// The media plane was asked to arm.
#[derive(Debug)]
pub(super) struct Arming {
    pub(super) until: Instant,
}

/// The call is armed; that is being recorded.
#[derive(Debug)]
pub(super) struct Confirming;

/// Armed, no field open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) card: Card,
}

/// The opening of a field is being recorded.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) card: Card,
    field: Field,
}

/// A field is open.
#[derive(Debug)]
pub(super) struct Capturing {
    pub(super) card: Card,
    pub(super) field: Field,
}

/// The last attempt was declined, and something may be keyed again. Otherwise like [`Open`].
#[derive(Debug)]
pub(super) struct Declined {
    pub(super) card: Card,
}

/// Which fields the card plane holds; never what is in them.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) held: BTreeSet<Field>,
    kept: Option<Kept>,
}

/// What outlived a decline, and until when.
#[derive(Debug)]
struct Kept {
    fields: BTreeSet<Field>,
    until: Instant,
}

impl Creating {
    pub(super) fn begin(core: &mut Core) -> State {
        let request = &core.request;
        let events = vec![
            Event::PaymentCreated {
                payment: request.payment.clone(),
                call: request.call.clone(),
                amount_minor: request.amount_minor,
                currency: request.currency.clone(),
            },
            Event::ArmingRequested {
                payment: request.payment.clone(),
                call: request.call.clone(),
            },
        ];
        core.record(Step::Created, PaymentState::Arming, events);
        State::Creating(Self)
    }

    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Durable(Step::Created) => match core.gone {
                Some(reason) => not_armed(core, reason.to_owned()),
                None => {
                    core.push(Output::Media(MediaStep::Arm));
                    State::Arming(Arming {
                        until: now.instant + ARM_PATIENCE,
                    })
                }
            },
            Input::NotDurable(Step::Created, reason) => not_recorded(core, reason),
            other => {
                refuse_while_arming(core, &other);
                State::Creating(self)
            }
        }
    }
}

impl Arming {
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Armed => {
                let event = Event::Armed {
                    call: core.request.call.clone(),
                    holder: core.request.payment.to_string(),
                };
                core.record(Step::Armed, PaymentState::Open, vec![event]);
                State::Confirming(Confirming)
            }
            Input::ArmRefused(reason) => not_armed(core, reason),
            Input::CallEnded | Input::Incident => {
                let reason = core.gone.unwrap_or("the call has ended");
                not_armed(core, reason.to_owned())
            }
            Input::Timeout if now.instant >= self.until => {
                not_armed(core, ARM_TIMED_OUT.to_owned())
            }
            other => {
                refuse_while_arming(core, &other);
                State::Arming(self)
            }
        }
    }
}

impl Confirming {
    pub(super) fn handle(self, core: &mut Core, input: Input, _now: Now) -> State {
        match input {
            Input::Durable(Step::Armed) => match core.gone {
                Some(reason) => not_armed(core, reason.to_owned()),
                None => {
                    core.publish(Notice::Created);
                    State::Open(Open {
                        card: Card::default(),
                    })
                }
            },
            Input::NotDurable(Step::Armed, reason) => not_recorded(core, reason),
            other => {
                refuse_while_arming(core, &other);
                State::Confirming(self)
            }
        }
    }
}

/// Ends a payment that could not arm its call; the hold is released all the same, for the media
/// plane may still be about to take it.
fn not_armed(core: &mut Core, reason: String) -> State {
    core.refuse(Refusal::CannotArm(reason.clone()));
    let event = Event::ArmRefused {
        call: core.request.call.clone(),
        reason: reason.clone(),
    };
    core.close(PaymentState::Failed, reason, event)
}

fn not_recorded(core: &mut Core, reason: String) -> State {
    core.refuse(Refusal::NotRecordable(reason));
    let event = Event::PaymentCancelled {
        payment: core.request.payment.clone(),
        reason: "its records could not be kept".to_owned(),
    };
    core.close(
        PaymentState::Failed,
        "the gateway could not keep the records that a payment needs",
        event,
    )
}

fn refuse_while_arming(core: &mut Core, input: &Input) {
    let action = match input {
        Input::Capture(_) => "capture",
        Input::Complete(_) => "complete",
        Input::Cancel => "cancel",
        _ => return,
    };
    core.wrong_state(PaymentState::Arming, action, "armed");
}

impl Open {
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        waiting(self.card, core, input, now, |card| {
            State::Open(Self { card })
        })
    }
}

impl Declined {
    pub(super) fn handle(self, core: &mut Core, input: Input, now: Now) -> State {
        waiting(self.card, core, input, now, |card| {
            State::Declined(Self { card })
        })
    }
}

/// Armed, no field open: `stay` makes the state that this is.
fn waiting(
    mut card: Card,
    core: &mut Core,
    input: Input,
    now: Now,
    stay: fn(Card) -> State,
) -> State {
    match input {
        Input::Capture(field) => Opening::begin(core, card, field),
        Input::Complete(attempt) => {
            // The timer may be late: what has expired by the clock is not charged.
            card.expire(core, now);
            let missing = core.missing(&card);
            if missing.is_empty() {
                return Intending::begin(core, attempt, card);
            }
            core.refuse(Refusal::FieldsMissing(missing));
            stay(card)
        }
        Input::Cancel => core.cancel("the agent cancelled it"),
        Input::CallEnded | Input::Incident => hung_up(core),
        Input::Field(field, FieldFact::Opened) => State::Capturing(Capturing { card, field }),
        Input::Field(field, FieldFact::Complete) => {
            card.hold(core, field);
            stay(card)
        }
        Input::Timeout if now.instant >= core.idle_at => idle(core),
        Input::Timeout => {
            card.expire(core, now);
            stay(card)
        }
        Input::Field(_, FieldFact::Activity | FieldFact::Closed)
        | Input::Armed
        | Input::ArmRefused(_)
        | Input::Durable(_)
        | Input::NotDurable(..)
        | Input::Answered(..)
        | Input::NotSubmitted(..)
        | Input::LookedUp(..) => stay(card),
    }
}

impl Opening {
    /// The field counts as missing from here on: what is captured again replaces what was there.
    fn begin(core: &mut Core, mut card: Card, field: Field) -> State {
        if card.is_other_card(field) {
            card = Card::default();
        }
        card.drop_field(field);
        let event = Event::CaptureOpened {
            payment: core.request.payment.clone(),
            field,
        };
        core.record(Step::CaptureOpened(field), PaymentState::Open, vec![event]);
        State::Opening(Self { card, field })
    }

    pub(super) fn handle(mut self, core: &mut Core, input: Input, _now: Now) -> State {
        match input {
            Input::Durable(Step::CaptureOpened(field)) if field == self.field => {
                core.push(Output::Media(MediaStep::OpenCapture(field)));
                core.publish(Notice::Updated);
                State::Capturing(Capturing {
                    card: self.card,
                    field,
                })
            }
            Input::NotDurable(Step::CaptureOpened(field), reason) if field == self.field => {
                core.refuse(Refusal::NotRecordable(reason));
                State::Open(Open { card: self.card })
            }
            Input::Capture(field) => Self::begin(core, self.card, field),
            Input::Complete(_) => {
                core.wrong_state(PaymentState::Capturing, "complete", "with no field open");
                State::Opening(self)
            }
            Input::Cancel => core.cancel("the agent cancelled it"),
            Input::CallEnded | Input::Incident => hung_up(core),
            Input::Field(field, FieldFact::Complete) if field != self.field => {
                self.card.hold(core, field);
                State::Opening(self)
            }
            Input::Field(..)
            | Input::Armed
            | Input::ArmRefused(_)
            | Input::Durable(_)
            | Input::NotDurable(..)
            | Input::Answered(..)
            | Input::NotSubmitted(..)
            | Input::LookedUp(..)
            | Input::Timeout => State::Opening(self),
        }
    }
}

impl Capturing {
    pub(super) fn handle(mut self, core: &mut Core, input: Input, now: Now) -> State {
        match input {
            Input::Capture(field) => {
                core.push(Output::Media(MediaStep::CloseCapture));
                Opening::begin(core, self.card, field)
            }
            Input::Complete(_) => {
                let missing = core.missing(&self.card);
                if missing.is_empty() {
                    core.wrong_state(PaymentState::Capturing, "complete", "with no field open");
                } else {
                    core.refuse(Refusal::FieldsMissing(missing));
                }
                State::Capturing(self)
            }
            Input::Cancel => {
                core.push(Output::Media(MediaStep::CloseCapture));
                core.cancel("the agent cancelled it")
            }
            Input::CallEnded | Input::Incident => {
                core.push(Output::Media(MediaStep::CloseCapture));
                hung_up(core)
            }
            Input::Field(field, FieldFact::Opened) => State::Capturing(Self {
                card: self.card,
                field,
            }),
            Input::Field(field, FieldFact::Complete) => {
                self.card.hold(core, field);
                if field == self.field {
                    return State::Open(Open { card: self.card });
                }
                State::Capturing(self)
            }
            Input::Field(field, FieldFact::Closed) if field == self.field => {
                State::Open(Open { card: self.card })
            }
            Input::Timeout if now.instant >= core.idle_at => {
                core.push(Output::Media(MediaStep::CloseCapture));
                idle(core)
            }
            Input::Timeout => {
                self.card.expire(core, now);
                State::Capturing(self)
            }
            Input::Field(_, FieldFact::Activity | FieldFact::Closed)
            | Input::Armed
            | Input::ArmRefused(_)
            | Input::Durable(_)
            | Input::NotDurable(..)
            | Input::Answered(..)
            | Input::NotSubmitted(..)
            | Input::LookedUp(..) => State::Capturing(self),
        }
    }
}

fn hung_up(core: &mut Core) -> State {
    core.cancel(core.gone.unwrap_or("the call has ended"))
}

fn idle(core: &mut Core) -> State {
    core.cancel("nothing happened for 15 minutes")
}

impl Core {
    fn missing(&self, card: &Card) -> Vec<Field> {
        self.request
            .required
            .difference(&card.held)
            .copied()
            .collect()
    }
}

impl Card {
    /// When what outlived a decline is gone.
    pub(super) fn expiry(&self) -> Option<Instant> {
        self.kept.as_ref().map(|kept| kept.until)
    }

    /// Keeps card number and expiry after a decline, but for a field to be keyed again; the
    /// security code never outlives an answer (PCI DSS 3.3.1).
    pub(super) fn keep_after_decline(&mut self, again: Option<Field>, now: Now) {
        self.held.retain(|field| {
            matches!(field, Field::PaymentCardNumber | Field::ExpirationDate)
                && Some(*field) != again
        });
        self.kept = (!self.held.is_empty()).then(|| Kept {
            fields: self.held.clone(),
            until: now.instant + REUSE,
        });
    }

    /// Replacing a number that outlived a decline means another card, which has its own expiry
    /// and code. A number that was to be keyed again did not outlive it.
    fn is_other_card(&self, field: Field) -> bool {
        let number = Field::PaymentCardNumber;
        let kept = self.kept.as_ref();
        field == number && kept.is_some_and(|kept| kept.fields.contains(&number))
    }

    pub(super) fn drop_field(&mut self, field: Field) {
        self.held.remove(&field);
        if let Some(kept) = &mut self.kept {
            kept.fields.remove(&field);
            if kept.fields.is_empty() {
                self.kept = None;
            }
        }
    }

    /// A field that was captured once is needed from then on: a charge never uses half of what
    /// the caller keyed.
    fn hold(&mut self, core: &mut Core, field: Field) {
        self.drop_field(field);
        self.held.insert(field);
        core.request.required.insert(field);
    }

    /// Forgets what the card plane has wiped by now. Without its number the rest of a card is
    /// of no use and goes with it.
    fn expire(&mut self, core: &mut Core, now: Now) {
        let Some(kept) = self.kept.take_if(|kept| now.instant >= kept.until) else {
            return;
        };
        let reason = "120 s after a decline";
        if kept.fields.contains(&Field::PaymentCardNumber) {
            self.held.clear();
            core.wipe(reason);
        } else {
            self.held.retain(|field| !kept.fields.contains(field));
        }
        let wiped = core.wiped(reason);
        core.push(Output::Note(wiped));
        core.publish(Notice::Updated);
    }
}
