//! Keys that the agent's end tells by INFO: those that may be the code that starts a payment wait here
//! until the call's worker has said what they are.

use std::{collections::VecDeque, time::Instant};

use rsipstack::sip::{Request, StatusCode};
use tokio::time::timeout;
use tracing::debug;
use zeroize::{Zeroize, Zeroizing};

use super::{bridge::Bridge, keys::PRESS_TIMEOUT, transactions::Server};
use crate::proto::{
    call::{AgentKey, CODE_PATIENCE},
    leg::Leg,
    secret::SealedPress,
    sip::{read_key, tells_keys, value},
};

/// INFO requests that were answered here and are not passed on yet.
#[derive(Default)]
pub(super) struct Dialling {
    held: VecDeque<Request>,
    until: Option<Instant>,
    /// Until when a key may be a PIN's.
    hides_until: Option<Instant>,
}

impl Dialling {
    /// When no code can come of them any more.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    fn take(&mut self) -> Option<Request> {
        let first = self.held.pop_front();
        if self.held.is_empty() {
            self.until = None;
        }
        first
    }

    /// Nobody gets what is held.
    fn drop_all(&mut self) {
        for mut request in self.held.drain(..) {
            request.body.zeroize();
        }
        self.until = None;
    }
}

/// Whether it tells a key.
pub(super) fn is_key(request: &Request) -> bool {
    let kind = value(&request.headers, "Content-Type").unwrap_or_default();
    tells_keys(kind) && !request.body.is_empty()
}

impl Bridge {
    /// An INFO of the agent's end that tells a key. It is answered at once, for the next key may wait
    /// for that, and reaches the caller's end once it is known not to be the code's.
    pub(super) async fn on_agents_key(&mut self, id: u64, mut server: Server) {
        let told = if self.caller.confirmed {
            self.dial(&server.request().body).await
        } else {
            None
        };
        let hides = self.dialling.hides_until.take();
        let told = match told {
            // What comes among the digits of a PIN is taken for one of them.
            None if hides.is_some_and(|until| Instant::now() < until) => Some(AgentKey::Hidden),
            told => told,
        };
        match told {
            Some(told @ (AgentKey::Hidden | AgentKey::Swallowed)) => {
                if told == AgentKey::Hidden {
                    self.dialling.hides_until = Some(Instant::now() + CODE_PATIENCE);
                }
                self.dialling.drop_all();
                self.respond_here(Leg::Agent, &mut server, StatusCode::OK);
            }
            Some(AgentKey::Held(held @ 1..)) => {
                self.let_go(usize::from(held) - 1);
                let request = server.request().clone();
                self.dialling.held.push_back(request);
                self.dialling.until = Some(Instant::now() + CODE_PATIENCE);
                self.respond_here(Leg::Agent, &mut server, StatusCode::OK);
            }
            Some(AgentKey::Held(0)) | None => {
                self.let_go(0);
                self.on_other(Leg::Agent, id, server);
            }
        }
    }

    /// Passes on all keys that are held but so many.
    pub(super) fn let_go(&mut self, but: usize) {
        while self.dialling.held.len() > but
            && let Some(mut held) = self.dialling.take()
        {
            let info = self.passed_request(Leg::Agent, &held);
            held.body.zeroize();
            let id = self.next_id();
            self.own.insert(id, Leg::Caller);
            self.send(Leg::Caller, id, info);
        }
    }

    /// What the call says to a key; `None` where it cannot be asked: it is passed on then.
    async fn dial(&self, body: &[u8]) -> Option<AgentKey> {
        let id = self.media.id()?;
        let mut copy = Zeroizing::new(body.to_vec());
        let key = read_key(&mut copy).ok()?;
        let press = SealedPress::seal(self.ua.slots.acquire()?, key);
        match timeout(PRESS_TIMEOUT, self.ua.calls.dial(&id, press)).await {
            Ok(Ok(told)) => Some(told),
            Ok(Err(error)) => {
                debug!(call = %id, %error, "the media plane does not look at a key of the agent's");
                None
            }
            Err(_) => {
                debug!(call = %id, waited = ?PRESS_TIMEOUT, "the media plane does not answer for a key of the agent's");
                None
            }
        }
    }
}
