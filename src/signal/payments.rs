//! `tonewall-payment`: what the NG protocol may ask of payments, which is to begin one and to learn
//! what became of it. Whoever controls calls cannot end the masking of one, nor charge.

use std::net::SocketAddr;

use tracing::warn;

use super::{
    calls::{By, Calls},
    parts::PaymentPort,
};
use crate::proto::{
    audit::{Event, Success},
    id::CallId,
    ng::{Dict, PaymentRequest, Reply, Value, reason},
};

/// Said where payments may not be asked for.
const NOT_HERE: &str = "payments are not begun by NG here; set ng.payments, or use the API";

impl Calls {
    /// Lets NG clients begin payments with this service; only the first one counts.
    pub fn take_payments(&self, payments: std::sync::Arc<dyn PaymentPort>) {
        // A second service would mean a second gateway in this process.
        let _ = self.inner.payments.set(payments);
    }

    pub(super) async fn payment(&self, request: PaymentRequest, peer: SocketAddr) -> Reply {
        let _turn = self.turn(&request.call_id).await;
        let Some(id) = self.live_id(&request.call_id) else {
            return Reply::error(reason::UNKNOWN_CALL_BLOCK);
        };
        match self.begin_payment(&id, request, peer).await {
            Ok(reply) => reply,
            Err(refusal) => {
                let event = Event::AccessRefused {
                    action: format!("ng payment on {id}"),
                    reason: refusal.clone(),
                };
                self.record(By::Peer(peer), Success::Failure, event).await;
                warn!(call = %id, refusal, "NG payment refused");
                Reply::error(refusal)
            }
        }
    }

    async fn begin_payment(
        &self,
        id: &CallId,
        request: PaymentRequest,
        peer: SocketAddr,
    ) -> Result<Reply, String> {
        let payments = self.inner.payments.get().ok_or(NOT_HERE)?;
        let order = request.order.map_err(|error| error.to_string())?;
        let payment = payments.begin(id.clone(), order, peer).await?;
        let caller = self.with_live(id, |call| {
            call.payment = Some(payment.clone());
            call.caller.tag.as_deref().map(str::to_owned)
        });
        let masked: Vec<Value> = caller.flatten().into_iter().map(Value::Text).collect();
        Ok(Reply::ok()
            .with("tonewall-payment", payment.to_string())
            .with("tonewall-masked", masked))
    }

    /// What became of the payment that was begun by NG on this call, if one was: for `query`.
    pub(super) async fn told_of_payment(&self, signalling_id: &str, body: Dict) -> Dict {
        let Some(payments) = self.inner.payments.get() else {
            return body;
        };
        let Some(payment) = self.payment_of(signalling_id) else {
            return body;
        };
        match payments.result(payment).await {
            Some(result) => body.with("tonewall-payment", result),
            None => body,
        }
    }
}
