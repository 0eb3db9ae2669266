//! What a processor tells by itself of a charge or an operation, and what is to be done about it.
//!
//! Notifications come late, twice, before the answer that they are about, and about what other programs do at
//! the same processor. What is open they conclude; what has ended they never change.

use serde::{Deserialize, Serialize};

use super::{OperationKind, Outcome};

/// The word that stands for a processor's reference that could not be passed on.
const WITHHELD: &str = "withheld";

/// What is told, by whoever has the processor's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Our reference as the processor repeats it: an attempt's or an operation's id, whole or without tenant
    /// and node.
    pub reference: String,
    /// What it is about.
    pub about: About,
    /// The processor's own reference of that.
    pub processor_reference: String,
    /// Minor units and ISO 4217 code; nothing where the processor does not say of what all of it is.
    pub amount: Option<(u64, String)>,
    /// How it ended.
    pub outcome: Outcome,
    /// The processor's name for this kind of notification.
    pub event: String,
}

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The charge itself.
    Charge,
    /// Something done with it. The reference may be the charge's all the same.
    Operation(OperationKind),
}

/// How what a notification is about is known here.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// It is meant or on its way: its answer is still to come.
    OnItsWay,
    /// It stands so.
    Ended(&'a Outcome),
}

/// What is to be done about a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It says how something open has ended.
    Conclude,
    /// It says nothing that is not known.
    Nothing,
    /// The answer comes first.
    Later,
    /// It cannot be true together with what is known: a person has to look.
    Contradicts,
}

impl Notification {
    /// What is to be done, where `amount_minor` of `currency` were asked for.
    #[must_use]
    pub fn judge(&self, known: Known<'_>, amount_minor: u64, currency: &str) -> Ruling {
        let other_money =
            |(amount, of): &(u64, String)| (*amount, of.as_str()) != (amount_minor, currency);
        if self.outcome.is_open() {
            return Ruling::Nothing;
        }
        if self.amount.as_ref().is_some_and(other_money) {
            return Ruling::Contradicts;
        }
        match known {
            Known::OnItsWay => Ruling::Later,
            Known::Ended(known) => match (known, &self.outcome) {
                (Outcome::Pending { .. } | Outcome::Unknown { .. }, _) => Ruling::Conclude,
                (
                    Outcome::Approved {
                        processor_reference: known,
                        ..
                    },
                    Outcome::Approved {
                        processor_reference: told,
                        ..
                    },
                ) if known == told || known == WITHHELD || told == WITHHELD => Ruling::Nothing,
                // Approved under another reference: done twice.
                (Outcome::Approved { .. }, _) | (_, Outcome::Approved { .. }) => {
                    Ruling::Contradicts
                }
                (Outcome::Declined { .. } | Outcome::Failed { .. }, _) => Ruling::Nothing,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Advice, *};

    fn approved(reference: &str) -> Outcome {
        Outcome::Approved {
            processor_reference: reference.to_owned(),
            code: "ok".to_owned(),
        }
    }

    fn declined() -> Outcome {
        Outcome::Declined {
            advice: Advice::OtherCard,
            code: "no".to_owned(),
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            reason: "nothing was sent".to_owned(),
            retryable: true,
        }
    }

    fn pending() -> Outcome {
        Outcome::Pending {
            processor_reference: "r".to_owned(),
            code: "received".to_owned(),
        }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown {
            reason: "silence".to_owned(),
        }
    }

    fn told(outcome: Outcome) -> Notification {
        Notification {
            reference: "att_1".to_owned(),
            about: About::Charge,
            processor_reference: "r".to_owned(),
            amount: Some((1250, "EUR".to_owned())),
            outcome,
            event: "AUTHORISATION".to_owned(),
        }
    }

    #[test]
    fn only_what_is_open_is_concluded_and_what_has_ended_otherwise_is_shown_to_a_person() {
        use Ruling::{Conclude, Contradicts, Later, Nothing};
        for (known, outcome, ruling) in [
            (None, approved("r"), Later),
            (None, declined(), Later),
            (Some(unknown()), approved("r"), Conclude),
            (Some(unknown()), declined(), Conclude),
            (Some(pending()), approved("r"), Conclude),
            (Some(pending()), declined(), Conclude),
            (Some(approved("r")), approved("r"), Nothing),
            (Some(approved("withheld")), approved("r"), Nothing),
            (Some(approved("r")), approved("other"), Contradicts),
            (Some(approved("r")), declined(), Contradicts),
            (Some(declined()), approved("r"), Contradicts),
            (Some(failed()), approved("r"), Contradicts),
            (Some(declined()), declined(), Nothing),
            (Some(failed()), declined(), Nothing),
            (Some(unknown()), pending(), Nothing),
            (None, pending(), Nothing),
        ] {
            let known_as = known.as_ref().map_or(Known::OnItsWay, Known::Ended);
            let found = told(outcome.clone()).judge(known_as, 1250, "EUR");
            assert_eq!(found, ruling, "{known:?}, told {outcome:?}");
        }
    }

    #[test]
    fn of_another_amount_nothing_is_believed() {
        let unknown = unknown();
        for (amount, currency) in [(1249, "EUR"), (1251, "EUR"), (1250, "USD")] {
            for known in [Known::OnItsWay, Known::Ended(&unknown)] {
                let found = told(approved("r")).judge(known, amount, currency);
                assert_eq!(found, Ruling::Contradicts, "{amount} {currency}");
            }
        }
        let unsaid = Notification {
            amount: None,
            ..told(approved("r"))
        };
        let found = unsaid.judge(Known::Ended(&unknown), 1, "JPY");
        assert_eq!(found, Ruling::Conclude);
    }
}
