//! What a payment is told, and what it wants done.

use super::{Outcome, PaymentState};
use crate::proto::{audit::Event, field::Field, id::AttemptId};

/// A command or a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The agent opens a field.
    Capture(Field),
    /// The agent charges; the id is used if an attempt begins.
    Complete(AttemptId),
    /// The agent gives up.
    Cancel,
    /// The media plane holds the call armed for this payment.
    Armed,
    /// It does not, for this reason (a sentence).
    ArmRefused(String),
    /// Something happened to a field.
    Field(Field, FieldFact),
    /// The output check heard a tone: the leg is muted and nothing more can be keyed.
    Incident,
    /// The call is gone.
    CallEnded,
    /// What [`Output::Record`] asked for is durable.
    Durable(Step),
    /// It is not, for this reason.
    NotDurable(Step, String),
    /// The attempt that was submitted has ended.
    Answered(AttemptId, Outcome),
    /// The card plane sent nothing, for this field is not there (any more).
    NotSubmitted(AttemptId, Field),
    /// A look-up came back.
    LookedUp(AttemptId, Outcome),
    /// [`Payment::poll_timeout`](super::Payment::poll_timeout) has passed, or may have.
    Timeout,
}

/// What matters to the payment of what happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldFact {
    /// The caller may key it now.
    Opened,
    /// Keys came, or a try was rejected with tries left.
    Activity,
    /// The card plane has it.
    Complete,
    /// It closed without a value.
    Closed,
}

/// Something that has to be durable before what follows it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The payment exists and is about to hold the call armed.
    Created,
    /// The call is armed.
    Armed,
    /// A field is about to be opened.
    CaptureOpened(Field),
    /// An attempt is meant.
    Intent(AttemptId),
    /// An attempt is about to be sent.
    Sending(AttemptId),
    /// An attempt has ended so.
    Result(AttemptId, Outcome),
    /// The payment has ended without an attempt in flight.
    Closed,
}

/// Something to do. They are done in the order in which they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make these durable, then answer with [`Input::Durable`] or [`Input::NotDurable`].
    Record {
        /// What for; names the journal's row.
        step: Step,
        /// The payment's state for the journal: what a restart would find.
        state: PaymentState,
        /// What the audit log gets, in this order.
        events: Vec<Event>,
    },
    /// Put this into the audit log; nothing waits for it.
    Note(Event),
    /// Tell the media plane.
    Media(MediaStep),
    /// Charge. Only after the sending of this attempt became durable.
    Submit(AttemptId),
    /// Ask the processor what became of this attempt.
    LookUp(AttemptId),
    /// Wipe whatever the card plane holds for the payment.
    Wipe {
        /// Why, in words for a person.
        reason: String,
    },
    /// Tell whoever watches.
    Publish(Notice),
    /// The command that was just given is refused; nothing changed by it, or (while arming) the
    /// payment ended.
    Refused(Refusal),
}

/// What the media plane is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaStep {
    /// Arm the call for this payment.
    Arm,
    /// Open a field.
    OpenCapture(Field),
    /// Close the open field.
    CloseCapture,
    /// This payment needs the call armed no longer.
    Release,
}

/// What watchers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The payment is armed and acknowledged.
    Created,
    /// Something changed.
    Updated,
    /// It is over.
    Ended,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not in this state.
    WrongState {
        /// Where the payment stands.
        state: PaymentState,
        /// What was asked for.
        action: &'static str,
        /// Where it would have to stand.
        needed: &'static str,
    },
    /// These have to be captured first.
    FieldsMissing(Vec<Field>),
    /// The call cannot be armed, for this reason.
    CannotArm(String),
    /// What has to be recorded first cannot be.
    NotRecordable(String),
}
