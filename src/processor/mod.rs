//! Processors, and the card plane: the only reader of a card.
//!
//! The card plane is one thread. Complete fields come to it as handles to secret memory and stay
//! in its vault; a charge composes the request in a slot of secret memory, after the TLS handshake,
//! and writes it straight to the TLS stream. What goes back to the control plane is an [`Outcome`],
//! which cannot hold a digit of a card.

mod card;
mod exchange;
mod plane;
mod response;
pub mod sandbox;
#[cfg(test)]
mod testing;
mod vault;

use std::{future::Future, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    audit_log::Recorded,
    proto::{
        field::Field,
        id::{AttemptId, PaymentId},
    },
};

pub use card::{CardView, RequestMemory};
pub use exchange::Deadlines;
pub use plane::{CardPlane, CardPlaneSettings};

pub use crate::proto::payment::{Advice, Outcome};

/// One processor's way of charging cards.
///
/// An adapter runs on the card plane's thread, so its futures need not be `Send`. It bounds its own
/// time; the card plane cuts it off at [`CardPlaneSettings::flight_limit`].
pub trait Processor {
    /// What the processor promises, as far as the gateway relies on it.
    fn promises(&self) -> Promises;

    /// Charges the card. `recorded` proves that the intent and the sending are durable, and is the
    /// price of composing a request that holds the card.
    ///
    /// [`Outcome::Failed`] is only for what surely was not done; whatever may have been done and
    /// was not answered is [`Outcome::Unknown`].
    fn submit(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        charge: &Charge,
    ) -> impl Future<Output = Outcome>;

    /// Asks what became of an attempt. [`Outcome::Failed`] when the processor has no such charge,
    /// [`Outcome::Unknown`] when it could not be asked or has not decided.
    fn look_up(&self, charge: &Charge) -> impl Future<Output = Outcome>;
}

/// What a processor promises: whoever resolves an unknown outcome goes by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promises {
    /// The adapter's name, as in the journal's `processor`.
    pub name: &'static str,
    /// Whether it moves no money and takes test cards only.
    pub sandbox: bool,
    /// How long the same reference is answered with the first result instead of a second charge.
    pub idempotency_retention: Duration,
    /// Whether a charge can be found by our reference.
    pub look_up_by_reference: bool,
    /// How long after sending a look-up may still miss a charge: an empty answer counts only then.
    pub consistency_delay: Duration,
    /// Whether a charge can be reversed by our reference alone.
    pub reversal_by_reference: bool,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Which payment's card.
    pub payment: PaymentId,
    /// Our reference at the processor, and the idempotency key.
    pub attempt: AttemptId,
    /// Minor units (cents).
    pub amount_minor: u64,
    /// ISO 4217 code, upper case.
    pub currency: String,
    /// The merchant's own reference.
    pub reference: String,
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
