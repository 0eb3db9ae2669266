//! Payments that signalling begins, by the rules of the API.

use std::net::SocketAddr;

use super::{NewPayment, PaymentView, Payments, Principal};
use crate::{
    proto::{
        audit::Actor,
        field::Field,
        id::{CallId, PaymentId, Tenant},
        ng::{Dict, PaymentOrder},
    },
    signal::{BoxFuture, PaymentPort},
};

/// Who asks, for the log: an NG peer, of the call's tenant.
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
