//! Of which steps of a payment a merchant is told, and what.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::proto::{
    card::{Brand, Last4, may_hold_number},
    id::{CallId, OperationId, PaymentId},
    payment::{Balance, OperationKind, Outcome, PaymentState, Purpose},
};

/// Longest body, in bytes. Its parts are cut or left out well below it.
pub const LONGEST_BODY: usize = 8_192;
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
    /// What was set aside is taken.
    #[serde(rename = "payment.settled")]
    Settled,
    /// The charge was undone.
    #[serde(rename = "payment.voided")]
    Voided,
    /// Money was given back.
    #[serde(rename = "payment.refunded")]
    Refunded,
    /// A settlement, void or refund was not done.
    #[serde(rename = "payment.operation-failed")]
    OperationFailed,
    /// A settlement, void or refund may have been done. Another message follows once it is known.
    #[serde(rename = "payment.operation-unknown")]
    OperationUnknown,
}

impl CallbackEvent {
    /// All that there are: what an endpoint is told unless it names some.
    pub const ALL: [Self; 10] = [
        Self::Approved,
        Self::Declined,
        Self::Failed,
        Self::Unknown,
        Self::Cancelled,
        Self::Settled,
        Self::Voided,
        Self::Refunded,
        Self::OperationFailed,
        Self::OperationUnknown,
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
            Self::Settled => "payment.settled",
            Self::Voided => "payment.voided",
            Self::Refunded => "payment.refunded",
            Self::OperationFailed => "payment.operation-failed",
            Self::OperationUnknown => "payment.operation-unknown",
        }
    }

    const fn state(self) -> PaymentState {
        match self {
            // Whatever becomes of the money later, the payment was approved.
            Self::Approved
            | Self::Settled
            | Self::Voided
            | Self::Refunded
            | Self::OperationFailed
            | Self::OperationUnknown => PaymentState::Approved,
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

/// What is told of an operation that has this outcome now.
#[must_use]
pub const fn event_of_operation(kind: OperationKind, outcome: &Outcome) -> CallbackEvent {
    match outcome {
        Outcome::Approved { .. } => match kind {
            OperationKind::Settle => CallbackEvent::Settled,
            OperationKind::Void => CallbackEvent::Voided,
            OperationKind::Refund => CallbackEvent::Refunded,
        },
        Outcome::Declined { .. } | Outcome::Failed { .. } => CallbackEvent::OperationFailed,
        Outcome::Pending { .. } | Outcome::Unknown { .. } => CallbackEvent::OperationUnknown,
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
    pub purpose: Purpose,
    /// Where the money is, of what was approved.
    pub balance: Option<Balance>,
    /// The operation that is told of, if it is one.
    pub operation: Option<OperationFacts<'a>>,
    pub reference: &'a str,
    pub brand: Option<Brand>,
    pub last4: Option<Last4>,
    pub attempts: usize,
    pub sandbox: Option<bool>,
    pub created: Timestamp,
}

/// A settlement, void or refund.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct OperationFacts<'a> {
    pub id: &'a OperationId,
    pub kind: OperationKind,
    pub amount_minor: u64,
    /// The merchant's own words.
    pub reason: Option<&'a str>,
    pub outcome: &'a Outcome,
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
    purpose: Purpose,
    balance: Option<Balance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationData<'a>>,
    reference: &'a str,
    brand: Option<Brand>,
    last4: Option<Last4>,
    attempts: usize,
    sandbox: Option<bool>,
    created: Timestamp,
}

#[derive(Serialize)]
struct OperationData<'a> {
    id: &'a OperationId,
    kind: OperationKind,
    amount_minor: u64,
    reason: Option<&'a str>,
    outcome: Outcome,
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
                purpose: self.purpose,
                balance: self.balance,
                operation: self.operation.map(|one| OperationData {
                    id: one.id,
                    kind: one.kind,
                    amount_minor: one.amount_minor,
                    reason: one.reason,
                    outcome: bounded(one.outcome.clone()),
                }),
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
    use crate::proto::payment::{Advice, OperationEntry, Progress};

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
            purpose: Purpose::Charge,
            balance: None,
            operation: None,
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
                "purpose": "charge",
                "balance": null,
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

    /// A refund that ended so, of a charge of 1250.
    fn refund(outcome: &Outcome, reason: &str, signalling_id: &str) -> String {
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        let entry = OperationEntry {
            kind: OperationKind::Refund,
            amount_minor: 250,
            progress: Progress::Done,
        };
        let charged = Outcome::Approved {
            processor_reference: "r".repeat(128),
            code: "c".repeat(64),
        };
        let facts = Facts {
            payment: &PaymentId::new(tenant, node, Ulid::from_parts(1, 2)),
            call: &"call_acme_n1_00000000010000000000000003".parse().unwrap(),
            signalling_id: Some(signalling_id),
            ended: true,
            outcome: Some(&charged),
            amount_minor: 1250,
            currency: "EUR",
            purpose: Purpose::Charge,
            balance: Some(Balance::of(Purpose::Charge, 1250, &[entry])),
            operation: Some(OperationFacts {
                id: &"op_acme_n1_00000000010000000000000004".parse().unwrap(),
                kind: OperationKind::Refund,
                amount_minor: 250,
                reason: Some(reason),
                outcome,
            }),
            reference: &"\"".repeat(64),
            brand: Some(Brand::Visa),
            last4: Last4::of(&[4, 2, 4, 2, 4, 2, 4, 2]),
            attempts: 1,
            sandbox: Some(true),
            created: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let at = Timestamp::from_second(1_700_000_060).unwrap();
        let event = event_of_operation(OperationKind::Refund, outcome);
        facts.body(event, at).unwrap()
    }

    #[test]
    fn a_refund_is_told_with_where_the_money_is_after_it() {
        let done = Outcome::Approved {
            processor_reference: "re_1".to_owned(),
            code: "succeeded".to_owned(),
        };
        let found: Value = serde_json::from_str(&refund(&done, "broken", "a84b@pbx")).unwrap();
        assert_eq!(found["type"], "payment.refunded");
        assert_eq!(found["data"]["state"], "approved");
        assert_eq!(
            found["data"]["operation"],
            json!({
                "id": "op_acme_n1_00000000010000000000000004",
                "kind": "refund",
                "amount_minor": 250,
                "reason": "broken",
                "outcome": {
                    "kind": "approved", "processor_reference": "re_1", "code": "succeeded",
                },
            })
        );
        assert_eq!(
            found["data"]["balance"],
            json!({
                "standing": "part-refunded", "authorised_minor": 1250, "settled_minor": 1250,
                "refunded_minor": 250, "refunding_minor": 0, "open": null,
            })
        );
        let page = include_str!("../../../docs/callbacks.md");
        for member in ["operation", "balance"] {
            for word in found["data"][member].as_object().unwrap().keys() {
                assert!(page.contains(&format!("`{word}`")), "{word}");
            }
        }
    }

    #[test]
    fn each_end_of_an_operation_has_its_event() {
        let unknown = Outcome::Unknown {
            reason: "silence".to_owned(),
        };
        let failed = Outcome::Failed {
            reason: "refused".to_owned(),
            retryable: true,
        };
        let done = Outcome::Approved {
            processor_reference: "r".to_owned(),
            code: "ok".to_owned(),
        };
        for (kind, outcome, event) in [
            (OperationKind::Settle, &done, CallbackEvent::Settled),
            (OperationKind::Void, &done, CallbackEvent::Voided),
            (OperationKind::Refund, &done, CallbackEvent::Refunded),
            (
                OperationKind::Refund,
                &failed,
                CallbackEvent::OperationFailed,
            ),
            (
                OperationKind::Settle,
                &declined(),
                CallbackEvent::OperationFailed,
            ),
            (
                OperationKind::Void,
                &unknown,
                CallbackEvent::OperationUnknown,
            ),
        ] {
            assert_eq!(event_of_operation(kind, outcome), event);
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
        let worst = Outcome::Unknown {
            reason: "\u{1}".repeat(10_000),
        };
        // A reason's characters are printable.
        let body = refund(
            &worst,
            &"\u{1f4b8}".repeat(200),
            &"\u{1}".repeat(LONGEST_CALL_ID),
        );
        assert!(body.len() <= LONGEST_BODY, "{}", body.len());
    }
}
