//! Of which steps of a payment a merchant is told, and what.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::proto::{
    card::{Brand, Last4, may_hold_number},
    id::{CallId, PaymentId},
    payment::{Outcome, PaymentState},
};

/// Longest body, in bytes. Its parts are cut or left out well below it.
pub const LONGEST_BODY: usize = 4_096;
/// Longest explanation of an outcome, in characters.
const LONGEST_REASON: usize = 300;
/// Longest call id of signalling's that is told, in bytes.
const LONGEST_CALL_ID: usize = 256;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CallbackEvent {
    /// The money is authorised.
    #[serde(rename = "payment.approved")]
    Approved,
    /// The processor or issuer said no. The payment may go on: `ended` says so.
    #[serde(rename = "payment.declined")]
    Declined,
    /// Nothing was charged.
    #[serde(rename = "payment.failed")]
    Failed,
    /// The charge may stand. Another message follows once it is known.
    #[serde(rename = "payment.unknown")]
    Unknown,
    /// Ended without a charge.
    #[serde(rename = "payment.cancelled")]
    Cancelled,
}

impl CallbackEvent {
    /// All that there are: what an endpoint is told unless it names some.
    pub const ALL: [Self; 5] = [
        Self::Approved,
        Self::Declined,
        Self::Failed,
        Self::Unknown,
        Self::Cancelled,
    ];

    /// The message's `type`; the serde form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "payment.approved",
            Self::Declined => "payment.declined",
            Self::Failed => "payment.failed",
            Self::Unknown => "payment.unknown",
            Self::Cancelled => "payment.cancelled",
        }
    }

    const fn state(self) -> PaymentState {
        match self {
            Self::Approved => PaymentState::Approved,
            Self::Declined => PaymentState::Declined,
            Self::Failed => PaymentState::Failed,
            Self::Unknown => PaymentState::Unknown,
            Self::Cancelled => PaymentState::Cancelled,
        }
    }
}

impl fmt::Display for CallbackEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is told of a payment whose row changes from one state to another: each state that tells an
/// outcome, once. A decline after which the payment goes on leads back to `open`, and is told by the
/// outcome of the last attempt.
#[must_use]
pub fn event_of(
    before: Option<PaymentState>,
    after: PaymentState,
    last: Option<&Outcome>,
) -> Option<CallbackEvent> {
    if before == Some(after) {
        return None;
    }
    match after {
        PaymentState::Approved => Some(CallbackEvent::Approved),
        PaymentState::Declined => Some(CallbackEvent::Declined),
        PaymentState::Failed => Some(CallbackEvent::Failed),
        PaymentState::Unknown => Some(CallbackEvent::Unknown),
        PaymentState::Cancelled => Some(CallbackEvent::Cancelled),
        PaymentState::Open => match (before, last) {
            (Some(PaymentState::Submitting), Some(Outcome::Declined { .. })) => {
                Some(CallbackEvent::Declined)
            }
            _ => None,
        },
        PaymentState::Arming | PaymentState::Capturing | PaymentState::Submitting => None,
    }
}

/// What is known of the payment when it is told of. No digit beyond the last four has a place here.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Facts<'a> {
    pub payment: &'a PaymentId,
    pub call: &'a CallId,
    /// The call's id in signalling (SIP Call-ID), where it is known.
    pub signalling_id: Option<&'a str>,
    /// Whether the payment is over, for good.
    pub ended: bool,
    /// How the last attempt ended.
    pub outcome: Option<&'a Outcome>,
    pub amount_minor: u64,
    pub currency: &'a str,
    pub reference: &'a str,
    pub brand: Option<Brand>,
    pub last4: Option<Last4>,
    pub attempts: usize,
    pub sandbox: Option<bool>,
    pub created: Timestamp,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: CallbackEvent,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: &'a PaymentId,
    call: &'a CallId,
    signalling_id: Option<&'a str>,
    state: PaymentState,
    ended: bool,
    outcome: Option<Outcome>,
    amount_minor: u64,
    currency: &'a str,
    reference: &'a str,
    brand: Option<Brand>,
    last4: Option<Last4>,
    attempts: usize,
    sandbox: Option<bool>,
    created: Timestamp,
}

impl Facts<'_> {
    /// The body, which stays as it is whenever and however often it is sent. `at` is when it happened.
    ///
    /// A call id of signalling's that is very long, or that holds what could be a card's number, is left
    /// out; an explanation is cut.
    ///
    /// # Errors
    /// Never, as long as what the facts hold has a JSON form.
    pub fn body(&self, event: CallbackEvent, at: Timestamp) -> serde_json::Result<String> {
        let tellable =
            |id: &&str| !id.is_empty() && id.len() <= LONGEST_CALL_ID && !may_hold_number(id);
        serde_json::to_string(&Body {
            r#type: event,
            timestamp: at,
            data: Data {
                id: self.payment,
                call: self.call,
                signalling_id: self.signalling_id.filter(tellable),
                state: event.state(),
                ended: self.ended,
                outcome: self.outcome.cloned().map(bounded),
                amount_minor: self.amount_minor,
                currency: self.currency,
                reference: self.reference,
                brand: self.brand,
                last4: self.last4,
                attempts: self.attempts,
                sandbox: self.sandbox,
                created: self.created,
            },
        })
    }
}

/// An outcome whose words are no longer than somebody reads.
fn bounded(mut outcome: Outcome) -> Outcome {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(LONGEST_REASON) {
            text.truncate(end);
        }
    };
    match &mut outcome {
        Outcome::Approved {
            processor_reference,
            code,
        }
        | Outcome::Pending {
            processor_reference,
            code,
        } => {
            cut(processor_reference);
            cut(code);
        }
        Outcome::Declined { code, .. } => cut(code),
        Outcome::Failed { reason, .. } | Outcome::Unknown { reason } => cut(reason),
    }
    outcome
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use ulid::Ulid;

    use super::*;
    use crate::proto::payment::Advice;

    const STATES: [PaymentState; 9] = [
        PaymentState::Arming,
        PaymentState::Open,
        PaymentState::Capturing,
        PaymentState::Submitting,
        PaymentState::Approved,
        PaymentState::Declined,
        PaymentState::Failed,
        PaymentState::Unknown,
        PaymentState::Cancelled,
    ];

    fn declined() -> Outcome {
        Outcome::Declined {
            advice: Advice::OtherCard,
            code: "card_declined".to_owned(),
        }
    }

    #[test]
    fn each_outcome_is_told_once_and_nothing_before_it() {
        for before in STATES.into_iter().map(Some).chain([None]) {
            for after in STATES {
                let told = event_of(before, after, Some(&declined()));
                let of_its_own = CallbackEvent::ALL.into_iter().find(|e| e.state() == after);
                let expected = match (before, after) {
                    _ if before == Some(after) => None,
                    (Some(PaymentState::Submitting), PaymentState::Open) => {
                        Some(CallbackEvent::Declined)
                    }
                    _ => of_its_own,
                };
                assert_eq!(told, expected, "{before:?} to {after:?}");
            }
        }
    }

    #[test]
    fn a_field_that_has_to_be_asked_again_is_no_outcome() {
        let failed = Outcome::Failed {
            reason: "nothing was sent: a field was no longer held".to_owned(),
            retryable: true,
        };
        for last in [Some(&failed), None] {
            let told = event_of(Some(PaymentState::Submitting), PaymentState::Open, last);
            assert_eq!(told, None);
        }
    }

    fn body(signalling_id: &str, outcome: &Outcome, reference: &str) -> String {
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        let facts = Facts {
            payment: &PaymentId::new(tenant, node, Ulid::from_parts(1, 2)),
            call: &"call_acme_n1_00000000010000000000000003".parse().unwrap(),
            signalling_id: Some(signalling_id),
            ended: true,
            outcome: Some(outcome),
            amount_minor: 1250,
            currency: "EUR",
            reference,
            brand: Some(Brand::Visa),
            last4: Last4::of(&[4, 2, 4, 2, 4, 2, 4, 2]),
            attempts: 1,
            sandbox: Some(true),
            created: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let at = Timestamp::from_second(1_700_000_060).unwrap();
        facts.body(CallbackEvent::Declined, at).unwrap()
    }

    #[test]
    fn the_body_says_what_docs_callbacks_md_says() {
        let found: Value = serde_json::from_str(&body("a84b@pbx", &declined(), "INV-1")).unwrap();
        let expected = json!({
            "type": "payment.declined",
            "timestamp": "2023-11-14T22:14:20Z",
            "data": {
                "id": "pay_acme_n1_00000000010000000000000002",
                "call": "call_acme_n1_00000000010000000000000003",
                "signalling_id": "a84b@pbx",
                "state": "declined",
                "ended": true,
                "outcome": {
                    "kind": "declined",
                    "advice": { "advice": "other-card" },
                    "code": "card_declined",
                },
                "amount_minor": 1250,
                "currency": "EUR",
                "reference": "INV-1",
                "brand": "visa",
                "last4": "4242",
                "attempts": 1,
                "sandbox": true,
                "created": "2023-11-14T22:13:20Z",
            },
        });
        assert_eq!(found, expected);
        let page = include_str!("../../../docs/callbacks.md");
        for word in expected["data"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{word}`")), "{word}");
        }
        for event in CallbackEvent::ALL {
            assert!(page.contains(event.as_str()), "{event}");
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
    }

    #[test]
    fn a_call_id_that_could_be_a_card_is_left_out() {
        for (id, told) in [
            ("4242424242424242@pbx", false),
            ("x-5555555555554444", false),
            (&*"a".repeat(257), false),
            ("", false),
            ("4242424242424241@pbx", true),
            ("1d0c7f0e-55b2-4a7b", true),
        ] {
            let body: Value = serde_json::from_str(&body(id, &declined(), "r")).unwrap();
            assert_eq!(!body["data"]["signalling_id"].is_null(), told, "{id}");
        }
    }

    #[test]
    fn a_body_is_bounded_whatever_it_tells() {
        // Six bytes each, once they stand in JSON.
        let worst = "\u{1}".repeat(10_000);
        let body = body(
            &"\u{1}".repeat(LONGEST_CALL_ID),
            &Outcome::Unknown { reason: worst },
            &"\"".repeat(64),
        );
        assert!(body.len() <= LONGEST_BODY, "{}", body.len());
    }
}
