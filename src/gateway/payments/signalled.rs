//! Payments that signalling begins, by the rules of the API.

use std::net::SocketAddr;

use super::{NewPayment, PaymentState, PaymentView, Payments, Principal};
use crate::{
    proto::{
        audit::Actor,
        field::Field,
        id::{CallId, PaymentId, Tenant},
        ng::{Dict, PaymentOrder},
        payment::Purpose,
    },
    signal::{BoxFuture, Known, PaymentPort},
};

/// Who asks, for the log: a peer of signalling, of the call's tenant.
fn by(tenant: &Tenant, peer: Option<SocketAddr>) -> Principal {
    Principal {
        tenant: tenant.clone(),
        actor: peer.map_or(Actor::Gateway, |peer| Actor::Peer {
            address: peer.to_string(),
        }),
        origin: peer.map_or_else(|| "gateway".to_owned(), |peer| peer.to_string()),
    }
}

impl PaymentPort for Payments {
    fn begin(
        &self,
        call: CallId,
        order: PaymentOrder,
        peer: SocketAddr,
    ) -> BoxFuture<'_, Result<PaymentId, String>> {
        Box::pin(async move {
            let new = NewPayment {
                call: call.to_string(),
                leg: None,
                amount_minor: order.amount_minor,
                currency: order.currency,
                purpose: Purpose::Charge,
                reference: order.reference,
                description: order.description,
                fields: Vec::new(),
            };
            let view = self.create(&by(call.tenant(), Some(peer)), new).await;
            view.map(|view| view.id).map_err(|error| error.to_string())
        })
    }

    fn result(&self, payment: PaymentId) -> BoxFuture<'_, Option<Dict>> {
        Box::pin(async move {
            let view = self.get(&by(payment.tenant(), None), &payment).await;
            view.ok().map(|view| told(&view))
        })
    }

    fn outcome(
        &self,
        payment: PaymentId,
        known: Option<Known>,
    ) -> BoxFuture<'_, Option<(Known, Dict)>> {
        Box::pin(async move {
            let is_news =
                |view: &PaymentView| is_outcome(view.state) && known != Some(known_of(view));
            let live = self.shared.book().live.get(&payment).cloned();
            if let Some(mut live) = live
                && let Ok(view) = live.view.wait_for(is_news).await
            {
                return Some((known_of(&view), told(&view)));
            }
            // It has ended.
            let view = self.get(&by(payment.tenant(), None), &payment).await.ok()?;
            is_news(&view).then(|| (known_of(&view), told(&view)))
        })
    }
}

const fn known_of(view: &PaymentView) -> Known {
    Known {
        state: view.state.as_str(),
        attempts: view.attempts,
    }
}

/// Whether a payment in this state has come to something.
const fn is_outcome(state: PaymentState) -> bool {
    match state {
        PaymentState::Approved
        | PaymentState::Declined
        | PaymentState::Failed
        | PaymentState::Unknown
        | PaymentState::Cancelled => true,
        PaymentState::Arming
        | PaymentState::Open
        | PaymentState::Capturing
        | PaymentState::Submitting => false,
    }
}

/// What signalling needs to go on with: not who the customer is, nor what the agent is told.
fn told(view: &PaymentView) -> Dict {
    let mut told = Dict::new()
        .with("id", view.id.to_string())
        .with("state", view.state.as_str())
        .with("armed", i64::from(view.armed))
        .with("amount", view.amount_minor)
        .with("currency", view.currency.as_str())
        .with("reference", view.reference.as_str());
    if let Some(outcome) = &view.outcome {
        told.push("outcome", outcome.as_str());
    }
    let card = view.fields.get(&Field::PaymentCardNumber);
    if let Some(last4) = card.and_then(|card| card.last4) {
        told.push("last4", last4.to_string());
    }
    told
}
