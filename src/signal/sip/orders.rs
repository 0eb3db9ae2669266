//! Payments that the agent's end starts with a header field, and what it is told of them.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use rsipstack::sip::{Header, Method, Request, StatusCode};
use tracing::{info, warn};

use super::{
    bridge::{Bridge, Event},
    transactions::{Server, branch},
};
use crate::{
    proto::{
        id::PaymentId,
        leg::Leg,
        ng::{Dict, PaymentOrder},
        sip::{
            PaymentFieldError, PaymentOperation, PaymentStart, RESULT, field, read_payment, told,
            value, values,
        },
    },
    signal::PaymentPort,
};

/// Orders of a call that may be refused before no more are asked for: each refusal is on record.
const MOST_REFUSED: u8 = 16;

/// What an INVITE or INFO of the agent's end asks for.
pub(super) type Order = Result<PaymentOperation, PaymentFieldError>;

/// What is known of the orders of a call.
#[derive(Default)]
pub(super) struct Orders {
    /// The last payment that was started so.
    payment: Option<PaymentId>,
    /// What the agent's end was told of it last, or would have been.
    last: Option<Header>,
    refused: u8,
    /// It is on record that the caller's end sends the field.
    callers_recorded: bool,
}

impl Orders {
    /// What is told with the end of the call.
    pub(super) fn last(&self) -> Option<Header> {
        self.last.clone()
    }
}

fn result(word: &str, parameters: &[(&str, &str)]) -> Header {
    field(RESULT, told(word, parameters))
}

/// What answers an order that came to nothing.
fn refused(reason: &str) -> Header {
    result("refused", &[("reason", reason)])
}

/// Whether an order needs a call that is up.
pub(super) const fn is_start(order: &Order) -> bool {
    matches!(order, Ok(PaymentOperation::Start(_)))
}

/// Where a payment stands: nothing of the card but its last four.
fn standing(payment: &Dict) -> Option<Header> {
    let (state, id) = (payment.text("state")?, payment.text("id")?);
    let mut parameters = vec![("payment", id.as_str())];
    let last4 = payment.text("last4");
    if let Some(last4) = &last4 {
        parameters.push(("last4", last4));
    }
    Some(result(&state, &parameters))
}

impl Bridge {
    /// What the agent's end asks for in an INVITE or INFO; `None` where it asks for nothing. The
    /// caller's is dropped, counted and on record.
    pub(super) fn order(&mut self, leg: Leg, request: &Request) -> Option<Order> {
        let name = self.ua.settings.payment_header.clone()?;
        value(&request.headers, &name)?;
        if leg == Leg::Caller {
            self.drop_callers();
            return None;
        }
        if !matches!(request.method, Method::Invite | Method::Info) {
            return None;
        }
        read_payment(values(&request.headers, &name)).transpose()
    }

    fn drop_callers(&mut self) {
        let counts = &self.ua.counts;
        counts.callers_payment.fetch_add(1, Ordering::Relaxed);
        if std::mem::replace(&mut self.orders.callers_recorded, true) {
            return;
        }
        warn!(call_id = %self.call_id, "the caller's end asks for a payment, and has no say in it");
        let (ua, id, peer) = (Arc::clone(&self.ua), self.media.id(), self.caller.address);
        tokio::spawn(async move {
            let reason =
                "the caller's end sent the header field that starts payments; it was dropped";
            ua.calls
                .payment_refused(id.as_ref(), "sip", reason, peer)
                .await;
        });
    }

    /// Until it is known, an INVITE with an order that is answered has started nothing.
    pub(super) fn promise(server: &mut Server) {
        server.tell(refused(
            "the INVITE came to nothing, and so did the payment",
        ));
    }

    /// An INFO with an order is for the gateway: nothing of it goes further.
    pub(super) async fn on_order(&mut self, order: Order, server: &mut Server) {
        let (status, result) = self.carry_out(order).await;
        server.tell(result);
        let response = self.agent.dialog.response(server.request(), status);
        server.respond(response);
    }

    /// What answers an order that cannot be carried out before the ACK is there.
    pub(super) fn put_off(&mut self) -> Header {
        let result = result("waiting", &[]);
        self.orders.last = Some(result.clone());
        result
    }

    /// The ACK is there, and nothing is left to answer: what comes of the order is told by an INFO.
    pub(super) async fn carry_out_late(&mut self, order: Order) {
        let (_, result) = self.carry_out(order).await;
        self.inform(result);
    }

    /// The ACK is there, and the call ends with it: the BYE tells.
    pub(super) fn give_up_order(&mut self) {
        self.orders.last = Some(refused("the ACK brought no description that can be used"));
    }

    /// Does what is asked for; what answers it, and what the answer says.
    pub(super) async fn carry_out(&mut self, order: Order) -> (StatusCode, Header) {
        let status = match &order {
            Err(_) => StatusCode::BadRequest,
            Ok(_) => StatusCode::Forbidden,
        };
        if self.orders.refused == MOST_REFUSED {
            return (status, refused("too much of this call was refused already"));
        }
        match self.try_order(order).await {
            Ok(result) => (StatusCode::OK, result),
            Err(reason) => {
                self.orders.refused += 1;
                warn!(call_id = %self.call_id, %reason, "a payment by a SIP header field is refused");
                let (id, peer) = (self.media.id(), self.agent.address);
                let calls = &self.ua.calls;
                calls
                    .payment_refused(id.as_ref(), "sip", &reason, peer)
                    .await;
                (status, refused(&reason))
            }
        }
    }

    async fn try_order(&mut self, order: Order) -> Result<Header, String> {
        let operation = order.map_err(|error| error.to_string())?;
        let payments = self.ua.payments.clone();
        let payments = payments.ok_or("payments are not started by SIP here")?;
        let started = self.orders.payment.clone();
        match operation {
            PaymentOperation::Start(start) => self.start(&payments, start).await,
            PaymentOperation::Status => {
                let payment = started.ok_or("no payment was started on this call by SIP")?;
                let now = payments.result(payment).await;
                let standing = now.as_ref().and_then(standing);
                standing.ok_or_else(|| "the payment cannot be read now; try again".to_owned())
            }
        }
    }

    async fn start(
        &mut self,
        payments: &Arc<dyn PaymentPort>,
        start: PaymentStart,
    ) -> Result<Header, String> {
        let id = self.media.id().ok_or("the call is not up")?;
        let order = PaymentOrder {
            amount_minor: start.amount_minor,
            currency: start.currency,
            reference: start.reference,
            description: start.description,
        };
        let peer: SocketAddr = self.agent.address;
        let calls = &self.ua.calls;
        let _turn = calls.turn(&self.call_id).await;
        let payment = calls.start_payment(&**payments, &id, order, peer).await?;
        info!(call_id = %self.call_id, %payment, "the agent's end has started a payment");
        let text = payment.to_string();
        let result = result("started", &[("payment", &text)]);
        self.orders.last = Some(result.clone());
        self.orders.payment = Some(payment.clone());
        self.follow(Arc::clone(payments), payment);
        Ok(result)
    }

    /// Has the call hear of each outcome of the payment, for as long as both last.
    fn follow(&self, payments: Arc<dyn PaymentPort>, payment: PaymentId) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let mut known = None;
            while let Some((now, told)) = payments.outcome(payment.clone(), known).await {
                known = Some(now);
                if events.send(Event::Outcome(Box::new(told))).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Tells the agent's end what became of the payment: an INFO without a body, which any end answers
    /// (RFC 2976 section 2.2), so that no package has to be agreed on.
    pub(super) fn on_outcome(&mut self, payment: &Dict) {
        let Some(standing) = standing(payment) else {
            return;
        };
        if payment.text("id") != self.orders.payment.as_ref().map(ToString::to_string) {
            return;
        }
        self.inform(standing);
    }

    fn inform(&mut self, told: Header) {
        self.orders.last = Some(told.clone());
        if !self.agent.confirmed {
            return;
        }
        let id = self.next_id();
        let mut info = self.agent.dialog.request(Method::Info, &branch());
        info.headers.push(told);
        self.own.insert(id, Leg::Agent);
        self.send(Leg::Agent, id, info);
    }
}
