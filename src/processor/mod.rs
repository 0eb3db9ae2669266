//! Processors, and the card plane: the only reader of a card.
//!
//! The card plane is one thread. Complete fields come to it as handles to secret memory and stay
//! in its vault; a charge composes the request in a slot of secret memory, after the TLS handshake,
//! and writes it straight to the TLS stream. What goes back to the control plane is an [`Outcome`],
//! which cannot hold a digit of a card.

mod adyen;
mod api;
mod authorize_net;
mod barred;
mod braintree;
mod card;
mod checkout;
mod client;
mod cybersource;
mod digest;
mod exchange;
mod notification;
mod pay_connector;
mod plane;
mod response;
pub mod sandbox;
mod site;
mod stripe;
mod test_cards;
#[cfg(test)]
mod testing;
mod trust;
mod vault;
mod words;
mod worldpay;

use std::{future::Future, pin::Pin, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    audit_log::Recorded,
    proto::{
        card::Last4,
        field::Field,
        id::{AttemptId, CallId, OperationId, PaymentId},
    },
};

pub use adyen::{Adyen, AdyenNotifications, AdyenSettings};
pub use api::{Connection, Mode, Secret};
pub use authorize_net::{AuthorizeNet, AuthorizeNetError, AuthorizeNetSettings};
pub use braintree::{Braintree, BraintreeSettings};
pub use card::{CardView, RequestMemory};
pub use checkout::{Checkout, CheckoutError, CheckoutNotifications, CheckoutSettings};
pub(crate) use client::sentence;
pub use cybersource::{CyberSource, CyberSourceError, CyberSourceSettings};
pub use exchange::{Deadlines, EndpointError};
pub use notification::{Forged, NotAKey, ReadNotifications};
pub use pay_connector::{PayConnector, PayConnectorSettings};
pub use plane::{CardPlane, CardPlaneSettings};
pub use site::Site;
pub use stripe::{Stripe, StripeError, StripeNotifications, StripeSettings};
pub use trust::{Trust, TrustError};
pub use worldpay::{Worldpay, WorldpaySettings};

pub use crate::proto::payment::{Abilities, Advice, OperationKind, Outcome, Purpose, Token};

/// One processor's way of charging cards.
///
/// An adapter runs on the card plane's thread, so its futures need not be `Send`. It bounds its own
/// time; the card plane cuts it off at [`CardPlaneSettings::flight_limit`].
pub trait Processor {
    /// What the processor promises, as far as the gateway relies on it.
    fn promises(&self) -> Promises;

    /// Gets ready for a card that is being keyed: connects.
    fn warm(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }

    /// Sends the card: charges it, or trades it for a token that [`Processor::charge`] charges.
    /// `recorded` proves that the intent and the sending are durable, and is the price of composing a
    /// request that holds the card.
    ///
    /// [`Outcome::Failed`] is only for what surely was not done; whatever may have been done and
    /// was not answered is [`Outcome::Unknown`].
    fn submit(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        charge: &Charge,
    ) -> impl Future<Output = Submitted>;

    /// Charges by a token, which is durable by now. Asked again with the same charge and token it
    /// tells what became of the first, within [`Promises::idempotency_retention`].
    fn charge(&self, charge: &Charge, _token: &Token) -> impl Future<Output = Outcome> {
        std::future::ready(Outcome::Unknown {
            reason: format!(
                "attempt {} has a token, and this processor has none",
                charge.attempt
            ),
        })
    }

    /// Asks what became of an attempt, of whose card the processor has a token if any was kept.
    /// [`Outcome::Failed`] when the processor has no such charge, [`Outcome::Unknown`] when it could
    /// not be asked or does not know.
    fn look_up(&self, charge: &Charge, token: Option<&Token>) -> impl Future<Output = Outcome>;

    /// Settles, voids or refunds. It is only asked for what [`Promises::abilities`] names.
    ///
    /// [`Outcome::Approved`] is for what was done, [`Outcome::Pending`] for what the processor has taken and
    /// will do or not, [`Outcome::Declined`] for what it surely will not; the other two are as for a charge.
    fn operate(&self, operation: &Operation) -> impl Future<Output = Outcome> {
        std::future::ready(unable(operation))
    }

    /// Asks what became of an operation. Where the processor does the same request once only, however often
    /// it comes, this may be that request again: what was asked for and never came is done now.
    /// [`Outcome::Failed`] when it was not done and will not be.
    fn look_up_operation(&self, operation: &Operation) -> impl Future<Output = Outcome> {
        std::future::ready(unable(operation))
    }
}

fn unable(operation: &Operation) -> Outcome {
    Outcome::Failed {
        reason: format!(
            "nothing was sent: this processor cannot {} a charge",
            operation.kind.as_str()
        ),
        retryable: false,
    }
}

/// What became of a card that was sent.
#[derive(Debug)]
pub enum Submitted {
    /// It was charged or not: the attempt has ended.
    Ended(Outcome),
    /// No money has moved; the token keeps the security code and can be charged once it is durable.
    Tokenised(Token),
}

impl From<Outcome> for Submitted {
    fn from(outcome: Outcome) -> Self {
        Self::Ended(outcome)
    }
}

/// Something that is there later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is known of attempts that are on their way: their tokens, and whether they have ended. Errors are
/// sentences.
pub trait TokenStore: Send + Sync {
    /// How an attempt ended, where a person has found out meanwhile.
    fn ended(&self, attempt: AttemptId) -> Later<'_, Result<Option<Outcome>, String>>;
    /// Durable before it answers: a charge by the token is sent afterwards.
    fn keep(&self, attempt: AttemptId, token: Token) -> Later<'_, Result<(), String>>;
    /// The token of an attempt, where one was kept.
    fn kept(&self, attempt: AttemptId) -> Later<'_, Result<Option<Token>, String>>;
}

/// What a processor promises: whoever resolves an unknown outcome goes by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// The adapter's name, as in the journal's `processor`.
    pub name: &'static str,
    /// Whether no money moves: the sandbox, or a real processor's test mode.
    pub sandbox: bool,
    /// Whether a card that is no published test card is refused before anything is sent.
    pub test_cards_only: bool,
    /// Whether the card is traded for a token first, which moves no money.
    pub tokenises: bool,
    /// How long the same reference is answered with the first result instead of a second charge.
    pub idempotency_retention: Duration,
    /// Whether a charge can be found by our reference.
    pub look_up_by_reference: bool,
    /// How long after sending a look-up may still miss a charge: an empty answer counts only then.
    pub consistency_delay: Duration,
    /// Whether a charge can be reversed by our reference alone.
    pub reversal_by_reference: bool,
    /// What can be done with a charge besides making it.
    pub abilities: Abilities,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Which payment's card.
    pub payment: PaymentId,
    /// The call that it was keyed on.
    pub call: CallId,
    /// Our reference at the processor, and the idempotency key.
    pub attempt: AttemptId,
    /// Minor units (cents).
    pub amount_minor: u64,
    /// ISO 4217 code, upper case.
    pub currency: String,
    /// The merchant's own reference.
    pub reference: String,
    /// Whether the money is taken or set aside.
    #[serde(default)]
    pub purpose: Purpose,
}

/// Something to be done with a charge that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Our reference at the processor, and the idempotency key.
    pub id: OperationId,
    /// What.
    pub kind: OperationKind,
    /// The charge, as it was sent.
    pub charge: Charge,
    /// The processor's own reference of the charge.
    pub processor_reference: String,
    /// Minor units of the charge's currency. A void's is the whole charge.
    pub amount_minor: u64,
    /// The processor's own reference of the charge's settlement, where it was settled by an operation.
    pub settlement_reference: Option<String>,
    /// Of the card, where it is known.
    pub last4: Option<Last4>,
}

/// Why a charge was not even tried.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// A field that the charge needs is not there (any more).
    #[error("the card plane does not hold {0:?} of this payment; ask for it again")]
    Missing(Field),
    /// The card plane is gone.
    #[error("the card plane has stopped")]
    Stopped,
}
