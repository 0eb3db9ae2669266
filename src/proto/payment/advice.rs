//! What the agent should do next, as complete sentences.

use super::{Advice, Field, Outcome, Payment, State};

impl Payment {
    /// What the agent should do next, in plain English.
    #[must_use]
    pub fn advice(&self) -> String {
        match &self.state {
            State::Creating(_) | State::Arming(_) | State::Confirming(_) => {
                "Wait a moment: the call is being made safe for a card.".to_owned()
            }
            State::Open(_) | State::Opening(_) => self.next_field(),
            State::Capturing(state) => format!(
                "Ask the caller to key {} on the phone.",
                spoken(state.field)
            ),
            State::Declined(_) => format!("{} {}", self.decline(), self.next_field()),
            State::Intending(_) | State::Readying(_) | State::Submitting(_) => {
                SUBMITTING.to_owned()
            }
            State::Recording(state) if !state.was_unknown => SUBMITTING.to_owned(),
            State::Unknown(state) if state.parked => format!(
                "Whether the charge went through is unknown, and asking the processor for 24 hours did not tell. {DO_NOT_CHARGE} Somebody has to look it up with the processor."
            ),
            State::Unknown(_) | State::LookingUp(_)
                if matches!(self.outcome(), Some(Outcome::Pending { .. })) =>
            {
                format!(
                    "The processor has the charge and has not decided yet. {DO_NOT_CHARGE} The gateway keeps asking and will show the answer here."
                )
            }
            State::Recording(_) | State::Unknown(_) | State::LookingUp(_) => format!(
                "Whether the charge went through is unknown. {DO_NOT_CHARGE} The gateway keeps asking the processor and will show the answer here."
            ),
            State::Closing(closing) => self.ending(&closing.ended),
            State::Ended(ended) => self.ending(ended),
        }
    }

    fn next_field(&self) -> String {
        let missing: Vec<Field> = self
            .required()
            .iter()
            .copied()
            .filter(|field| !self.holds(*field))
            .collect();
        match missing.as_slice() {
            [] => "Everything is there: complete the payment to charge the card.".to_owned(),
            [last] => format!("Ask for {} and start its capture.", spoken(*last)),
            [first, ..] if missing.len() == self.required().len() => {
                format!("Ask for {} first and start its capture.", spoken(*first))
            }
            [first, ..] => format!("Ask for {} next and start its capture.", spoken(*first)),
        }
    }

    fn decline(&self) -> String {
        let Some(Outcome::Declined { advice, .. }) = self.outcome() else {
            return "The card was declined; nothing was charged.".to_owned();
        };
        match advice {
            Advice::TryAgain => {
                "The card was declined and nothing was charged; it may work on another try, now or later.".to_owned()
            }
            Advice::OtherCard => {
                "The card was declined and nothing was charged; ask the caller for another card.".to_owned()
            }
            Advice::ReEnter(field) => format!(
                "The card was declined and nothing was charged, for {} does not seem right.",
                spoken(*field)
            ),
            Advice::CallIssuer => {
                "The card was declined and nothing was charged; the caller has to call the bank that issued it.".to_owned()
            }
            Advice::DoNotRetry => {
                "The card was declined and nothing was charged; do not try this card again.".to_owned()
            }
        }
    }

    fn ending(&self, ended: &super::Ended) -> String {
        use super::PaymentState as S;
        match ended.state {
            S::Approved => "The payment is approved; nothing more is to be done.".to_owned(),
            S::Declined if ended.reason.is_empty() => {
                format!(
                    "{} Start a new payment to use another card.",
                    self.decline()
                )
            }
            S::Declined => format!(
                "{} The payment is over because {}; start a new one on the next call.",
                self.decline(),
                ended.reason
            ),
            S::Failed => self.failure(&ended.reason),
            S::Cancelled => format!(
                "The payment is cancelled because {}; nothing was charged and nothing of the card is kept. Start a new payment to take it again.",
                ended.reason
            ),
            S::Arming | S::Open | S::Capturing | S::Submitting | S::Unknown => {
                format!("The payment is over: {}.", ended.reason)
            }
        }
    }

    fn failure(&self, reason: &str) -> String {
        match self.outcome() {
            Some(Outcome::Failed {
                retryable: false, ..
            }) => format!(
                "Nothing was charged, and trying again will not help ({reason}). Tell whoever runs the gateway."
            ),
            Some(Outcome::Failed { .. }) => format!(
                "Nothing was charged ({reason}). Start a new payment and ask for the card again."
            ),
            _ => format!("The payment did not start ({reason}). Nothing was charged."),
        }
    }
}

const SUBMITTING: &str =
    "The card is being charged. Wait for the answer and do not start another payment.";
const DO_NOT_CHARGE: &str =
    "Do not charge again, and do not tell the caller that the card was declined.";

/// A field as one says it to a caller.
#[must_use]
pub const fn spoken(field: Field) -> &'static str {
    match field {
        Field::PaymentCardNumber => "the card number",
        Field::ExpirationDate => "the expiry date, two digits of the month and two of the year",
        Field::SecurityCode => "the security code",
        Field::PostalCode => "the digits of the postal code",
        Field::BankRoutingNumber => "the bank's routing number",
        Field::BankAccountNumber => "the account number",
    }
}
