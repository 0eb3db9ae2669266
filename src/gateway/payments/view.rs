//! A payment as the agent sees it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{FieldStatus, FieldView, OperationState, OperationView, PaymentState, PaymentView};
use crate::{
    journal::{AttemptRow, OperationRow, PaymentRow, Phase},
    processor::Outcome,
    proto::{
        capture::{CaptureEventKind, CaptureFailure, CaptureTimeout, Rejection},
        card::{Brand, Last4},
        field::Field,
        payment::{Balance, Payment, Purpose, spoken},
    },
};

/// What was told of each field; what it means for the payment stays with the machine.
#[derive(Default)]
pub(super) struct Fields {
    views: BTreeMap<Field, FieldView>,
}

impl Fields {
    pub(super) fn apply(&mut self, field: Field, kind: &CaptureEventKind) {
        let view = self.views.entry(field).or_insert_with(empty);
        match *kind {
            CaptureEventKind::Opened { attempts_left } => {
                *view = FieldView {
                    attempts_left: Some(attempts_left),
                    ..empty()
                };
            }
            CaptureEventKind::Progress { count, brand } => {
                view.count = count;
                view.brand = brand;
                view.masked = masked(count, brand, None);
                view.rejection = None;
                view.problem = None;
            }
            CaptureEventKind::Cleared => {
                view.count = 0;
                view.brand = None;
                view.masked = None;
            }
            CaptureEventKind::Complete {
                count,
                brand,
                last4,
            } => {
                *view = FieldView {
                    count,
                    brand,
                    last4,
                    masked: masked(count, brand, last4),
                    ..empty()
                };
            }
            CaptureEventKind::Rejected {
                reason,
                attempts_left,
            } => {
                *view = FieldView {
                    attempts_left: Some(attempts_left),
                    rejection: Some(reason),
                    problem: Some(rejected(field, reason, attempts_left)),
                    ..empty()
                };
            }
            CaptureEventKind::TimedOut { timeout } => {
                *view = with_problem(timed_out(field, timeout));
            }
            CaptureEventKind::Cancelled => *view = empty(),
            CaptureEventKind::Failed { reason } => {
                *view = with_problem(failed(field, reason));
            }
        }
    }

    /// The media plane could not be told to open the field.
    pub(super) fn not_opened(&mut self, field: Field, why: &str) {
        self.views.insert(
            field,
            with_problem(format!(
                "The field could not be opened ({why}). Start its capture again."
            )),
        );
    }

    /// What the journal keeps of an earlier process's card.
    pub(super) fn restore(&mut self, brand: Option<Brand>, last4: Option<Last4>) {
        let Some(shown) = last4 else { return };
        let field = match brand {
            Some(_) => Field::PaymentCardNumber,
            None => Field::BankAccountNumber,
        };
        let view = FieldView {
            status: FieldStatus::Complete,
            required: true,
            brand,
            last4,
            masked: Some(format!("•••• {shown}")),
            ..empty()
        };
        self.views.insert(field, view);
    }

    pub(super) fn card(&self) -> (Option<Brand>, Option<Last4>) {
        let number = self
            .views
            .get(&Field::PaymentCardNumber)
            .filter(|view| view.last4.is_some());
        match number {
            Some(view) => (view.brand, view.last4),
            None => (None, self.account()),
        }
    }

    fn account(&self) -> Option<Last4> {
        self.views.get(&Field::BankAccountNumber)?.last4
    }

    /// All fields that the payment needs or has seen. Once it has ended, what was captured stays
    /// to be read (last four), though nothing of it is held any more.
    pub(super) fn render(&self, payment: &Payment) -> BTreeMap<Field, FieldView> {
        let ended = matches!(
            payment.state(),
            PaymentState::Approved
                | PaymentState::Failed
                | PaymentState::Unknown
                | PaymentState::Cancelled
                | PaymentState::Submitting
        ) || payment.is_settled();
        let named = payment.required().iter().chain(self.views.keys()).copied();
        let mut rendered = BTreeMap::new();
        for field in named {
            let mut view = self.views.get(&field).cloned().unwrap_or_else(empty);
            view.required = payment.required().contains(&field);
            view.status = if payment.capturing() == Some(field) {
                FieldStatus::Capturing
            } else if payment.holds(field) || (ended && view.masked.is_some()) {
                FieldStatus::Complete
            } else if view.problem.is_some() {
                FieldStatus::Problem
            } else {
                FieldStatus::Missing
            };
            if view.status == FieldStatus::Missing {
                view = FieldView {
                    required: view.required,
                    ..empty()
                };
            }
            rendered.insert(field, view);
        }
        rendered
    }
}

/// A payment that is only in the journal: ended, or not of this process.
pub(super) fn from_rows(row: PaymentRow, attempts: &[AttemptRow], sandbox: bool) -> PaymentView {
    // A word of a newer build must not read as "nothing was charged".
    let state = PaymentState::from_word(&row.state).unwrap_or(PaymentState::Unknown);
    let outcome = attempts
        .iter()
        .rev()
        .find_map(|attempt| match &attempt.phase {
            Phase::Result(outcome) => Some(outcome.clone()),
            Phase::Intent | Phase::Sending => None,
        });
    let mut fields = Fields::default();
    fields.restore(row.brand, row.last4);
    PaymentView {
        advice: advice_of_row(state, outcome.as_ref()).to_owned(),
        id: row.id,
        call: row.call,
        state,
        amount_minor: row.amount_minor,
        currency: row.currency,
        purpose: row.purpose,
        balance: balance(row.purpose, row.amount_minor, outcome.as_ref(), &[]),
        operations: Vec::new(),
        reference: row.reference,
        description: row.description,
        armed: false,
        caller_muted: false,
        capturing: None,
        fields: fields.views,
        outcome,
        attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
        sandbox: row.sandbox.unwrap_or(sandbox),
        created: row.created,
        updated: row.updated,
    }
}

/// Where the money is, of what was approved.
pub(super) fn balance(
    purpose: Purpose,
    amount_minor: u64,
    outcome: Option<&Outcome>,
    operations: &[OperationRow],
) -> Option<Balance> {
    let entries: Vec<_> = operations.iter().map(OperationRow::entry).collect();
    match outcome {
        Some(Outcome::Approved { .. }) => Some(Balance::of(purpose, amount_minor, &entries)),
        _ => None,
    }
}

/// What was done with a charge, put into its payment's view.
pub(super) fn with_operations(mut view: PaymentView, operations: Vec<OperationRow>) -> PaymentView {
    view.balance = balance(
        view.purpose,
        view.amount_minor,
        view.outcome.as_ref(),
        &operations,
    );
    view.updated = operations
        .iter()
        .map(|one| one.updated)
        .fold(view.updated, Timestamp::max);
    view.operations = operations.into_iter().map(operation).collect();
    view
}

fn operation(row: OperationRow) -> OperationView {
    let outcome = match row.phase {
        Phase::Intent | Phase::Sending => None,
        Phase::Result(outcome) => Some(outcome),
    };
    OperationView {
        state: match &outcome {
            None => OperationState::Sending,
            Some(Outcome::Approved { .. }) => OperationState::Done,
            Some(Outcome::Declined { .. }) => OperationState::Refused,
            Some(Outcome::Failed { .. }) => OperationState::Failed,
            Some(Outcome::Pending { .. }) => OperationState::Pending,
            Some(Outcome::Unknown { .. }) => OperationState::Unknown,
        },
        id: row.id,
        kind: row.kind,
        amount_minor: row.amount_minor,
        currency: row.currency,
        reason: row.reason,
        outcome,
        created: row.created,
        updated: row.updated,
    }
}

fn advice_of_row(state: PaymentState, outcome: Option<&Outcome>) -> &'static str {
    match (state, outcome) {
        (PaymentState::Approved, _) => "The payment is approved; nothing more is to be done.",
        (PaymentState::Declined, _) => {
            "The card was declined and nothing was charged. Start a new payment to use another card."
        }
        (PaymentState::Failed, _) => {
            "Nothing was charged. Start a new payment and ask for the card again."
        }
        (PaymentState::Cancelled, _) => {
            "The payment is cancelled and nothing was charged. Start a new payment and ask for the card again."
        }
        (
            PaymentState::Unknown
            | PaymentState::Arming
            | PaymentState::Open
            | PaymentState::Capturing
            | PaymentState::Submitting,
            _,
        ) => {
            "Whether the charge went through is unknown. Do not charge again; somebody has to look it up with the processor."
        }
    }
}

const fn empty() -> FieldView {
    FieldView {
        status: FieldStatus::Missing,
        required: false,
        count: 0,
        brand: None,
        last4: None,
        masked: None,
        attempts_left: None,
        rejection: None,
        problem: None,
    }
}

fn with_problem(problem: String) -> FieldView {
    FieldView {
        problem: Some(problem),
        ..empty()
    }
}

/// One dot a digit, grouped as the brand prints it, the last four in the open where there are any.
fn masked(count: u8, brand: Option<Brand>, last4: Option<Last4>) -> Option<String> {
    if count == 0 {
        return None;
    }
    let count = usize::from(count);
    let tail = last4.map(|last4| last4.to_string()).unwrap_or_default();
    let shown: Vec<char> = std::iter::repeat_n('•', count.saturating_sub(tail.len()))
        .chain(tail.chars())
        .collect();
    let cuts: &[usize] = match brand {
        Some(Brand::Amex | Brand::Diners) => &[4, 10],
        _ => &[4, 8, 12, 16],
    };
    let mut text = String::new();
    for (place, shown) in shown.into_iter().enumerate() {
        if cuts.contains(&place) {
            text.push(' ');
        }
        text.push(shown);
    }
    Some(text)
}

fn rejected(field: Field, reason: Rejection, attempts_left: u8) -> String {
    let what = spoken(field);
    let wrong = match reason {
        Rejection::TooShort => format!("Too few digits for {what}."),
        Rejection::CheckDigit => format!("A digit of {what} was keyed wrong."),
        Rejection::UnknownBrand => "No card begins with these digits.".to_owned(),
        Rejection::BrandNotAccepted => {
            "Cards of this brand are not taken; ask for another card.".to_owned()
        }
        Rejection::InvalidDate => {
            "This is no date of a card: two digits of the month, then two of the year.".to_owned()
        }
        Rejection::Expired => "The card has expired; ask for another card.".to_owned(),
        Rejection::CodeLength => {
            "The security code does not have as many digits as this card's code has.".to_owned()
        }
    };
    match attempts_left {
        0 => format!("{wrong} No tries are left: start the capture of {what} again."),
        1 => format!("{wrong} Ask the caller to key it again; this is the last try."),
        left => format!("{wrong} Ask the caller to key it again; {left} tries are left."),
    }
}

fn timed_out(field: Field, timeout: CaptureTimeout) -> String {
    let what = spoken(field);
    let why = match timeout {
        CaptureTimeout::FirstDigit => "The caller has not begun to key",
        CaptureTimeout::InterDigit => "The caller stopped in the middle of",
        CaptureTimeout::Overall => "It took too long to key",
    };
    format!("{why} {what}. Ask again and start its capture again.")
}

fn failed(field: Field, reason: CaptureFailure) -> String {
    let what = spoken(field);
    match reason {
        CaptureFailure::SecretMemoryFull | CaptureFailure::CardPlaneBusy => format!(
            "The gateway is busy and did not keep {what}. Wait a moment and start its capture again."
        ),
        CaptureFailure::MediaChanged => format!(
            "The caller's phone changed its connection. Ask for {what} again and start its capture again."
        ),
        CaptureFailure::Contested => {
            "Somebody else sent sound as if it were the caller's, so it is not certain whose keys these are. End the call and call the customer back.".to_owned()
        }
        CaptureFailure::MediaLost => format!(
            "Part of the sound was lost and a digit may be missing. Ask for {what} again and start its capture again."
        ),
        CaptureFailure::Incident => {
            "The call is muted because a key could be heard; end the call and take the payment on a new one.".to_owned()
        }
        CaptureFailure::NotArmed => {
            "The call is not safe for a card; cancel this payment and start a new one.".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_shows_its_last_four_in_the_groups_of_its_brand() {
        let last4 = Last4::of(&[9, 9, 9, 4, 2, 4, 2]);
        assert_eq!(
            masked(16, Some(Brand::Visa), last4).unwrap(),
            "•••• •••• •••• 4242"
        );
        assert_eq!(
            masked(15, Some(Brand::Amex), last4).unwrap(),
            "•••• •••••• •4242"
        );
        assert_eq!(masked(3, None, None).unwrap(), "•••");
        assert_eq!(masked(0, None, None), None);
    }
}
