//! What signalling may ask of payments, by `tonewall-payment` of the NG protocol or a SIP header field:
//! to begin one and to learn what became of it. Whoever controls calls cannot end the masking of one, nor
//! charge.

use std::net::SocketAddr;

use tracing::warn;

use super::{
    calls::{By, Calls},
    parts::PaymentPort,
};
use crate::proto::{
    audit::{Event, Success},
    id::{CallId, PaymentId},
    ng::{Dict, PaymentOrder, PaymentRequest, Reply, Value, reason},
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
                self.payment_refused(Some(&id), "ng", &refusal, peer).await;
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
        let payment = self.start_payment(&**payments, id, order, peer).await?;
        let caller = self.with_live(id, |call| call.caller.tag.as_deref().map(str::to_owned));
        let masked: Vec<Value> = caller.flatten().into_iter().map(Value::Text).collect();
        Ok(Reply::ok()
            .with("tonewall-payment", payment.to_string())
            .with("tonewall-masked", masked))
    }

    /// Begins a payment on a call, and remembers that signalling did.
    pub(super) async fn start_payment(
        &self,
        payments: &dyn PaymentPort,
        id: &CallId,
        order: PaymentOrder,
        peer: SocketAddr,
    ) -> Result<PaymentId, String> {
        let payment = payments.begin(id.clone(), order, peer).await?;
        self.with_live(id, |call| call.payment = Some(payment.clone()));
        Ok(payment)
    }

    /// Records that signalling asked for a payment in vain.
    pub(super) async fn payment_refused(
        &self,
        id: Option<&CallId>,
        door: &str,
        refusal: &str,
        peer: SocketAddr,
    ) {
        let on = id.map_or_else(|| "a call that is not up".to_owned(), ToString::to_string);
        let event = Event::AccessRefused {
            action: format!("{door} payment on {on}"),
            reason: refusal.to_owned(),
        };
        self.record(By::Peer(peer), Success::Failure, event).await;
    }

    /// What became of the payment that was begun by signalling on this call, if one was: for `query`.
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
