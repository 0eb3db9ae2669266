//! The stack's transactions, each with a task that keeps it going.

use std::time::Duration;

use rsipstack::{
    dialog::authenticate::{AuthRetry, Credential, handle_client_authenticate},
    sip::{Header, Request, Response, SipMessage, StatusCode},
    transaction::{
        Transaction,
        endpoint::EndpointInnerRef,
        key::{TransactionKey, TransactionRole},
        transaction::{TransactionEvent, TransactionEventSender},
    },
    transport::{SipAddr, SipConnection},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::bridge::Event;
use crate::proto::sip::{bare_response, field, number};

/// Where the next message of a leg goes.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) connection: SipConnection,
    pub(super) destination: SipAddr,
}

/// What a request of ours came to.
pub(super) enum Told {
    /// A response.
    Response(Box<Response>),
    /// It was sent anew, with credentials.
    SentAnew(Box<Request>),
}

/// A request of a peer that waits for its answer; it gets one in any case.
pub(super) struct Server {
    sender: TransactionEventSender,
    request: Request,
    answered: bool,
    /// What its answer says of a payment that it asks for.
    result: Option<Header>,
}

impl Server {
    /// Keeps the transaction going; what else comes in it is told as events of `id`.
    pub(super) fn keep(mut transaction: Transaction, id: u64, events: mpsc::Sender<Event>) -> Self {
        let server = Self {
            sender: transaction.tu_sender.clone(),
            request: transaction.original.clone(),
            answered: false,
            result: None,
        };
        tokio::spawn(async move {
            while let Some(message) = transaction.receive().await {
                if let SipMessage::Request(request) = message {
                    let request = Some(Box::new(request));
                    // A call that has ended needs it no more; the transaction goes on.
                    let _ = events.send(Event::Server { id, request }).await;
                }
            }
            let _ = events.send(Event::Server { id, request: None }).await;
        });
        server
    }

    pub(super) const fn request(&self) -> &Request {
        &self.request
    }

    /// Whether it has its answer for good.
    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Answers, provisionally or for good; what comes after that is not sent.
    pub(super) fn respond(&mut self, mut response: Response) {
        if self.answered {
            return;
        }
        self.answered = response.status_code.code() >= 200;
        if self.answered {
            response.headers.0.extend(self.result.take());
        }
        let length = response.body.len().to_string();
        response.headers.push(field("Content-Length", length));
        // The transaction is over by itself otherwise.
        let _ = self.sender.send(TransactionEvent::Respond(response));
    }

    /// Has the answer say this, in place of what it was to say.
    pub(super) fn tell(&mut self, result: Header) {
        self.result = Some(result);
    }

    /// Answers without a dialog.
    pub(super) fn refuse(&mut self, status: StatusCode, fields: &[(&str, &str)]) {
        let mut response = bare_response(&self.request, status, &tag());
        for (name, value) in fields {
            response.headers.push(field(name, *value));
        }
        self.respond(response);
    }
}

impl Server {
    /// As [`Self::refuse`].
    pub(super) fn refuse_with(&mut self, status: StatusCode, fields: &[(&'static str, String)]) {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.refuse(status, &fields);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.answered {
            self.refuse(StatusCode::ServerInternalError, &[]);
        }
    }
}

/// Answers a request that needs no call.
pub(super) fn answer(transaction: Transaction, status: StatusCode, fields: &[(&str, &str)]) {
    // Nobody listens to what else comes in it.
    let (events, _) = mpsc::channel(1);
    Server::keep(transaction, 0, events).refuse(status, fields);
}

/// Sends a request; what it comes to is told as events of `id`.
pub(super) fn send(
    endpoint: &EndpointInnerRef,
    mut request: Request,
    way: &Way,
    credential: Option<Credential>,
    id: u64,
    events: mpsc::Sender<Event>,
) {
    let length = request.body.len().to_string();
    request.headers.push(field("Content-Length", length));
    let key = match TransactionKey::from_request(&request, TransactionRole::Client) {
        Ok(key) => key,
        Err(error) => {
            debug!(%error, "a request of ours has no key");
            return;
        }
    };
    let connection = Some(way.connection.clone());
    let mut transaction = Transaction::new_client(key, request, endpoint.clone(), connection);
    transaction.destination = Some(way.destination.clone());
    tokio::spawn(async move {
        let mut retry = AuthRetry::new();
        if let Err(error) = transaction.send().await {
            debug!(%error, "a request could not be sent");
        }
        while let Some(message) = transaction.receive().await {
            let SipMessage::Response(response) = message else {
                continue;
            };
            let asked = matches!(response.status_code.code(), 401 | 407);
            if asked
                && let Some(credential) = &credential
                && retry.should_answer(&response)
                && let Ok(number) = number(&transaction.original.headers)
            {
                let anew = handle_client_authenticate(
                    number + 1,
                    &transaction,
                    response.clone(),
                    credential,
                );
                if let Ok(mut anew) = anew.await {
                    let told = Told::SentAnew(Box::new(anew.original.clone()));
                    let _ = events.send(Event::Client { id, told }).await;
                    if let Err(error) = anew.send().await {
                        debug!(%error, "a request could not be sent anew");
                    }
                    transaction = anew;
                    continue;
                }
            }
            let told = Told::Response(Box::new(response));
            // A call that has ended needs it no more; the transaction goes on.
            let _ = events.send(Event::Client { id, told }).await;
        }
    });
}

/// A new tag.
pub(super) fn tag() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A new branch (RFC 3261 section 8.1.1.7).
pub(super) fn branch() -> String {
    format!("z9hG4bK{:016x}", rand::random::<u64>())
}

/// How long a request that is not an INVITE may take (RFC 3261 section 17.1.2.2: 64 T1).
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(32);
