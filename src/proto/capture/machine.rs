//! The state machine of one open field.

use std::{collections::VecDeque, mem, time::Instant};

use super::{
    CaptureEvent, CaptureEventKind, CaptureFailure, CaptureSettings, CaptureTimeout, Rejection,
    progress::{Pending, next_point},
};
use crate::proto::{
    card::{Brand, BrandMatch, CapturedField, Completeness, FieldRules, Refused},
    digit::KeyClass,
    field::Field,
    id::PaymentId,
    secret::{KeySlot, Pressed},
    time::Now,
};

/// What a capture has to say; drained with [`Capture::poll_output`] after every input.
pub enum CaptureOutput {
    /// For the agent.
    Event(CaptureEvent),
    /// For the card plane. `Complete` follows it, so that the agent never hears of a field that the
    /// card plane does not have. [`Capture::fail`] before they are drained takes both back.
    Field(PaymentId, CapturedField),
}

/// One field, from its opening to its end. Sans-IO: keys and moments come in, outputs are drained,
/// one timer is armed by [`Capture::poll_timeout`]. Waking early or draining twice is harmless.
///
/// Keys do not pass through here: the detector writes them into [`Capture::slot_mut`] and the
/// capture is told that it did.
pub struct Capture {
    /// Apart, for most calls have none: they have no room for it.
    desk: Box<Desk>,
    state: State,
}

/// What stays the same from try to try, and the outputs.
struct Desk {
    payment: PaymentId,
    field: Field,
    settings: CaptureSettings,
    pan_brand: Option<Brand>,
    opened: Instant,
    outputs: VecDeque<CaptureOutput>,
}

enum State {
    Waiting(Waiting),
    Keying(Keying),
    /// Complete, given up or cancelled; there is no slot any more.
    Closed,
}

/// Open, with no digit yet.
struct Waiting {
    slot: KeySlot,
    attempts_left: u8,
    first_digit_by: Instant,
}

/// Open, with digits.
struct Keying {
    slot: KeySlot,
    attempts_left: u8,
    next_digit_by: Instant,
    progress: Option<Pending>,
}

impl Capture {
    /// Opens `field`. `slot` takes the keys and is wiped of what it held. `pan_brand` is the brand of
    /// the payment's card number, where it is known: the security code's length depends on it.
    #[must_use]
    pub fn open(
        payment: PaymentId,
        field: Field,
        settings: CaptureSettings,
        slot: KeySlot,
        pan_brand: Option<Brand>,
        now: Now,
    ) -> Self {
        let attempts = settings.attempts.max(1);
        let opened = now.instant;
        let outputs = VecDeque::new();
        let mut desk = Box::new(Desk {
            payment,
            field,
            settings,
            pan_brand,
            opened,
            outputs,
        });
        desk.tell(CaptureEventKind::Opened {
            attempts_left: attempts,
        });
        let state = desk.wait_for_key(slot, attempts, now);
        Self { desk, state }
    }

    /// For which payment.
    #[must_use]
    pub fn payment(&self) -> &PaymentId {
        &self.desk.payment
    }

    /// Which field.
    #[must_use]
    pub fn field(&self) -> Field {
        self.desk.field
    }

    /// Whether keys still belong to this field.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self.state {
            State::Waiting(_) | State::Keying(_) => true,
            State::Closed => false,
        }
    }

    /// Where the keys go while the field is open.
    pub const fn slot_mut(&mut self) -> Option<&mut KeySlot> {
        match &mut self.state {
            State::Waiting(waiting) => Some(&mut waiting.slot),
            State::Keying(keying) => Some(&mut keying.slot),
            State::Closed => None,
        }
    }

    /// A key was written into the slot. A key that comes before its time-out was handled counts.
    pub fn handle_pressed(&mut self, pressed: Pressed, now: Now) {
        let desk = &mut self.desk;
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Waiting(waiting) => waiting.pressed(pressed.class, desk, now),
            State::Keying(keying) => keying.pressed(pressed.class, desk, now),
            State::Closed => State::Closed,
        };
    }

    /// Time has come to what [`Capture::poll_timeout`] named, or has not: early is harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        while self.poll_timeout().is_some_and(|due| due <= now.instant) {
            let desk = &mut self.desk;
            self.state = match mem::replace(&mut self.state, State::Closed) {
                State::Waiting(_) if desk.overall_is_over(now) => {
                    desk.time_out(CaptureTimeout::Overall)
                }
                State::Waiting(_) => desk.time_out(CaptureTimeout::FirstDigit),
                State::Keying(keying) => keying.timed_out(desk, now),
                State::Closed => State::Closed,
            };
        }
    }

    /// When [`Capture::handle_timeout`] wants to be called; never for a closed field.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let overall = self.desk.overall_by();
        match &self.state {
            State::Waiting(waiting) => Some(waiting.first_digit_by.min(overall)),
            State::Keying(keying) => {
                let silence = keying.next_digit_by.min(overall);
                Some(
                    keying
                        .progress
                        .map_or(silence, |pending| pending.at.min(silence)),
                )
            }
            State::Closed => None,
        }
    }

    /// The agent, the payment or a hang-up closes the field; what was keyed is wiped. Progress that
    /// was due by `now` is still told.
    pub fn close(&mut self, now: Now) {
        if let State::Keying(keying) = &mut self.state {
            keying.tell_progress_due(&mut self.desk, now);
        }
        if self.is_open() {
            self.state = State::Closed;
            self.desk.tell(CaptureEventKind::Cancelled);
        }
    }

    /// The gateway could not hear or keep the field; what was keyed is wiped. Takes a `Complete`
    /// back that was not drained yet, with its field.
    pub fn fail(&mut self, reason: CaptureFailure) {
        let before = self.desk.outputs.len();
        self.desk.outputs.retain(|output| !output.is_completion());
        let taken_back = self.desk.outputs.len() < before;
        if self.is_open() || taken_back {
            self.state = State::Closed;
            self.desk.tell(CaptureEventKind::Failed { reason });
        }
    }

    /// The next thing to do or to tell.
    pub fn poll_output(&mut self) -> Option<CaptureOutput> {
        self.desk.outputs.pop_front()
    }
}

impl Waiting {
    fn pressed(self, class: KeyClass, desk: &mut Desk, now: Now) -> State {
        match class {
            // The slot is empty when the digit was part of a try that ended in the same breath.
            KeyClass::Digit if self.slot.count() > 0 => Keying {
                slot: self.slot,
                attempts_left: self.attempts_left,
                next_digit_by: now.instant,
                progress: None,
            }
            .keyed(desk, now),
            // An end key before any digit is mostly the habit of ending the field before with one.
            KeyClass::Digit | KeyClass::Hash | KeyClass::Star | KeyClass::Letter => {
                State::Waiting(self)
            }
        }
    }
}

impl Keying {
    fn pressed(mut self, class: KeyClass, desk: &mut Desk, now: Now) -> State {
        self.tell_progress_due(desk, now);
        match class {
            KeyClass::Digit => self.keyed(desk, now),
            KeyClass::Hash if desk.settings.hash_ends => self.end(desk, now),
            KeyClass::Star if desk.settings.star_clears => self.clear(desk, now),
            KeyClass::Hash | KeyClass::Star | KeyClass::Letter => State::Keying(self),
        }
    }

    /// The slot, not the press, says how many digits there are: a detector may have heard more
    /// than one key before the capture was told of the first.
    fn keyed(mut self, desk: &mut Desk, now: Now) -> State {
        if desk.completeness(&mut self.slot, now) == Completeness::Complete {
            return self.end(desk, now);
        }
        self.next_digit_by = now.instant + desk.settings.inter_digit_timeout;
        self.progress = Some(Pending {
            at: next_point(desk.opened, now.instant),
            count: self.slot.count(),
            brand: desk.brand(&mut self.slot),
        });
        State::Keying(self)
    }

    fn clear(self, desk: &mut Desk, now: Now) -> State {
        desk.tell(CaptureEventKind::Cleared);
        desk.wait_for_key(self.slot, self.attempts_left, now)
    }

    fn timed_out(mut self, desk: &mut Desk, now: Now) -> State {
        self.tell_progress_due(desk, now);
        // Whichever comes first by the clock counts, also where the timer was late.
        if self.next_digit_by <= now.instant && self.next_digit_by <= desk.overall_by() {
            return match desk.completeness(&mut self.slot, now) {
                Completeness::Possible | Completeness::Complete => self.end(desk, now),
                Completeness::Incomplete => desk.time_out(CaptureTimeout::InterDigit),
            };
        }
        if desk.overall_is_over(now) {
            return desk.time_out(CaptureTimeout::Overall);
        }
        State::Keying(self)
    }

    /// No further key belongs to this try: it is right or it is not.
    fn end(self, desk: &mut Desk, now: Now) -> State {
        match CapturedField::check(desk.field, self.slot, &desk.rules(now)) {
            Ok(captured) => desk.complete(captured),
            Err(Refused { slot, reason }) => desk.reject(slot, reason, self.attempts_left - 1, now),
        }
    }

    fn tell_progress_due(&mut self, desk: &mut Desk, now: Now) {
        if let Some(due) = self.progress.take_if(|pending| pending.at <= now.instant) {
            desk.tell(CaptureEventKind::Progress {
                count: due.count,
                brand: due.brand,
            });
        }
    }
}

impl Desk {
    fn wait_for_key(&self, mut slot: KeySlot, attempts_left: u8, now: Now) -> State {
        slot.clear();
        let first_digit_by = now.instant + self.settings.first_digit_timeout;
        State::Waiting(Waiting {
            slot,
            attempts_left,
            first_digit_by,
        })
    }

    fn complete(&mut self, captured: CapturedField) -> State {
        let complete = CaptureEventKind::Complete {
            count: captured.count(),
            brand: captured.brand(),
            last4: captured.last4(),
        };
        let field = CaptureOutput::Field(self.payment.clone(), captured);
        self.outputs.push_back(field);
        self.tell(complete);
        State::Closed
    }

    fn reject(&mut self, slot: KeySlot, reason: Rejection, attempts_left: u8, now: Now) -> State {
        self.tell(CaptureEventKind::Rejected {
            reason,
            attempts_left,
        });
        match attempts_left {
            0 => State::Closed,
            left => self.wait_for_key(slot, left, now),
        }
    }

    fn time_out(&mut self, timeout: CaptureTimeout) -> State {
        self.tell(CaptureEventKind::TimedOut { timeout });
        State::Closed
    }

    fn tell(&mut self, kind: CaptureEventKind) {
        let (payment, field) = (self.payment.clone(), self.field);
        let event = CaptureEvent {
            payment,
            field,
            kind,
        };
        self.outputs.push_back(CaptureOutput::Event(event));
    }

    fn overall_by(&self) -> Instant {
        self.opened + self.settings.overall_timeout
    }

    fn overall_is_over(&self, now: Now) -> bool {
        self.overall_by() <= now.instant
    }

    fn rules(&self, now: Now) -> FieldRules<'_> {
        FieldRules {
            accepted_brands: &self.settings.accepted_brands,
            pan_brand: self.pan_brand,
            min_postal_code_length: self.settings.min_postal_code_length,
            utc: now.utc,
        }
    }

    fn completeness(&self, slot: &mut KeySlot, now: Now) -> Completeness {
        Completeness::of(self.field, slot, &self.rules(now))
    }

    fn brand(&self, slot: &mut KeySlot) -> Option<Brand> {
        if self.field != Field::PaymentCardNumber {
            return None;
        }
        match slot.expose(Brand::of) {
            BrandMatch::Brand(brand) => Some(brand),
            BrandMatch::Undecided | BrandMatch::Unknown => None,
        }
    }
}

impl CaptureOutput {
    const fn is_completion(&self) -> bool {
        match self {
            Self::Field(..) => true,
            Self::Event(event) => matches!(event.kind, CaptureEventKind::Complete { .. }),
        }
    }
}
