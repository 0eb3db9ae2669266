//! One call: two dialogs and what passes between them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use rsipstack::{
    sip::{Host, Method, Request, Response, StatusCode},
    transaction::Transaction,
    transport::{SipAddr, SipConnection},
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::sleep_until,
};
use tracing::{debug, info, warn};

use super::{
    Peer, Registered, SentAck, Ua,
    dialled::Dialling,
    media::Media,
    orders::{Order, Orders},
    redirect::Places,
    transactions::{REQUEST_TIMEOUT, Server, Told, Way, branch, send},
};
use crate::{
    proto::{
        leg::Leg,
        ng::Dict,
        sip::{Dialog, SessionTimer, cancel, field, number},
    },
    signal::CallChange,
};

/// ACKs that are kept for 2xx that come again.
const ACKS_KEPT: usize = 4;
/// How long nothing may have to be done.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a call hears of.
pub(super) enum Event {
    /// A request within one of its dialogs.
    Request {
        leg: Leg,
        transaction: Box<Transaction>,
    },
    /// What came in a transaction of a request that it has: ACK or CANCEL; nothing: it is over.
    Server {
        id: u64,
        request: Option<Box<Request>>,
    },
    /// What a request of its own came to.
    Client { id: u64, told: Told },
    /// A 2xx to the first INVITE, of another than the one that took the call.
    Outrun { leg: Leg, response: Box<Response> },
    /// A payment that the agent's end started has come to something.
    Outcome(Box<Dict>),
    /// The registry may have ended the call.
    MediaEnded,
    /// What the clock will say.
    #[cfg(test)]
    Time(Instant),
}

/// One leg.
pub(super) struct Side {
    pub(super) dialog: Dialog,
    pub(super) peer: usize,
    /// Where its messages go unless its dialog names another address of the peer.
    pub(super) address: SocketAddr,
    /// What its peer is sent messages by.
    pub(super) connection: SipConnection,
    /// The connection that it called by, which is used for as long as it is open.
    pub(super) called_by: Option<SipConnection>,
    pub(super) registered: Registered,
    /// Both ends of it know that the call is taken.
    pub(super) confirmed: bool,
    pub(super) timer: Option<SessionTimer>,
    pub(super) takes_update: bool,
    /// The description that it was sent last.
    pub(super) sdp: Option<Vec<u8>>,
}

/// A request that waits for the other leg.
pub(super) struct Pending {
    pub(super) server: Server,
    pub(super) from: Leg,
    /// As it was sent to the other leg.
    pub(super) request: Request,
    /// Whether it carried an offer.
    pub(super) offered: bool,
    /// Whether it is the call's first.
    pub(super) initial: bool,
    /// Whether the other leg has said that it is at it.
    pub(super) provisional: bool,
    pub(super) cancelled: bool,
    pub(super) cancel_sent: bool,
    /// Whether it was sent again with a longer session.
    pub(super) longer: bool,
    pub(super) reliable: Option<Reliable>,
    /// What the INVITE asks for besides, once it is taken.
    pub(super) order: Option<Order>,
}

/// A provisional response that its receiver acknowledges (RFC 3262).
pub(super) struct Reliable {
    pub(super) response: Response,
    pub(super) at: Instant,
    pub(super) pause: Duration,
    pub(super) until: Instant,
}

/// A 2xx that we gave, whose ACK has not come.
pub(super) struct AckWait {
    /// The leg whose 2xx it was.
    pub(super) to: Leg,
    /// The INVITE to it.
    pub(super) invite: Request,
    /// Whether the ACK carries the answer.
    pub(super) late: bool,
    /// What the INVITE asks for besides, once that answer is there.
    pub(super) order: Option<Order>,
}

/// One call.
pub(super) struct Bridge {
    pub(super) ua: Arc<Ua>,
    pub(super) call_id: String,
    pub(super) media: Media,
    pub(super) caller: Side,
    pub(super) agent: Side,
    pub(super) pending: HashMap<u64, Pending>,
    pub(super) acks: HashMap<u64, AckWait>,
    /// Refreshes of sessions that have no answer yet.
    pub(super) refreshing: HashMap<u64, (Leg, Request)>,
    pub(super) orders: Orders,
    pub(super) dialling: Dialling,
    pub(super) places: Places,
    /// Requests of ours that nobody waits for, and to which leg.
    pub(super) own: HashMap<u64, Leg>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) inbox: mpsc::Receiver<Event>,
    pub(super) serial: u64,
    /// When what is still under way is given up.
    pub(super) ending: Option<Instant>,
}

impl Bridge {
    /// Until both dialogs are over.
    pub(super) async fn run(mut self) {
        while !self.is_over() {
            let wake = tokio::time::Instant::from_std(self.deadline());
            tokio::select! {
                event = self.inbox.recv() => match event {
                    Some(event) => self.handle(event).await,
                    None => break,
                },
                () = sleep_until(wake) => self.on_time(Instant::now()).await,
            }
        }
        self.media.delete().await;
        info!(call_id = %self.call_id, "SIP call over");
    }

    fn is_over(&self) -> bool {
        self.ending
            .is_some_and(|until| self.pending.is_empty() || until <= Instant::now())
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let of_timers = [&self.caller, &self.agent]
            .into_iter()
            .filter(|_| self.ending.is_none())
            .filter_map(|side| side.timer)
            .flat_map(|timer| [timer.refresh_at(), Some(timer.over_at())])
            .flatten();
        let of_reliable = self.pending.values().filter_map(|p| p.reliable.as_ref());
        of_timers
            .chain(of_reliable.map(|reliable| reliable.at))
            .chain(self.dialling.until().filter(|_| self.ending.is_none()))
            .chain(self.ending)
            .min()
            .unwrap_or(now + IDLE)
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Request { leg, transaction } => self.on_request(leg, *transaction).await,
            Event::Server { id, request } => self.on_server(id, request.map(|r| *r)).await,
            Event::Client { id, told } => match told {
                Told::Response(response) => self.on_response(id, *response).await,
                Told::SentAnew(request) => self.sent_anew(id, *request),
            },
            Event::Outrun { leg, response } => self.on_outrun(leg, &response).await,
            Event::Outcome(payment) => self.on_outcome(&payment),
            #[cfg(test)]
            Event::Time(now) => self.on_time(now).await,
            Event::MediaEnded => {
                if self.ending.is_none() && self.media.is_gone() {
                    warn!(call_id = %self.call_id, "the gateway has ended the call; both legs are hung up");
                    self.end(None, StatusCode::ServerInternalError).await;
                }
            }
        }
    }

    /// ACK and CANCEL of a request of a peer.
    async fn on_server(&mut self, id: u64, request: Option<Request>) {
        match request {
            Some(request) if request.method == Method::Ack => self.on_ack(id, request).await,
            Some(request) if request.method == Method::Cancel => self.on_cancel(id).await,
            Some(_) => {}
            None => {
                // A 2xx that nobody acknowledged (RFC 3261 section 13.3.1.4).
                if self.acks.remove(&id).is_some() && self.ending.is_none() {
                    warn!(call_id = %self.call_id, "no ACK came; both legs are hung up");
                    self.end(None, StatusCode::RequestTimeout).await;
                }
            }
        }
    }

    fn sent_anew(&mut self, id: u64, request: Request) {
        let cseq = number(&request.headers).unwrap_or_default();
        let to = if let Some(pending) = self.pending.get_mut(&id) {
            pending.request = request;
            pending.from.other()
        } else if let Some((leg, refresh)) = self.refreshing.get_mut(&id) {
            *refresh = request;
            *leg
        } else if let Some(leg) = self.own.get(&id) {
            *leg
        } else {
            return;
        };
        self.side_mut(to).dialog.took_number(cseq);
    }

    /// Takes over what a response to the first INVITE tells of the far end.
    pub(super) fn learn(&mut self, leg: Leg, response: &Response) {
        let side = self.side_mut(leg);
        side.dialog.learn(response);
        side.registered
            .entry
            .set_remote_tag(side.dialog.remote_tag());
    }

    /// Whether an INVITE is under way on either leg (RFC 3261 section 14).
    pub(super) fn is_inviting(&self) -> bool {
        let inviting = |request: &Request| request.method == Method::Invite;
        !self.acks.is_empty()
            || self
                .pending
                .values()
                .any(|pending| inviting(&pending.request))
            || self
                .refreshing
                .values()
                .any(|(_, request)| inviting(request))
    }

    pub(super) const fn side(&self, leg: Leg) -> &Side {
        match leg {
            Leg::Caller => &self.caller,
            Leg::Agent => &self.agent,
        }
    }

    pub(super) const fn side_mut(&mut self, leg: Leg) -> &mut Side {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }

    pub(super) fn peer(&self, leg: Leg) -> Option<&Peer> {
        self.ua.settings.peers.get(self.side(leg).peer)
    }

    pub(super) const fn next_id(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Where the next message of a leg goes: where its dialog says, if that is an address of the
    /// peer, else where the leg was found. A contact must not make us send elsewhere.
    pub(super) fn way(&self, leg: Leg) -> Way {
        self.way_to(leg, &self.side(leg).dialog)
    }

    fn way_to(&self, leg: Leg, dialog: &Dialog) -> Way {
        let side = self.side(leg);
        let hop = dialog.next_hop();
        let named = match hop.host() {
            Host::IpAddr(ip) if self.peer(leg).is_some_and(|peer| peer.is_at(*ip)) => {
                let port = hop.host_with_port.port.map_or(5060, |port| port.value());
                Some(SocketAddr::new(*ip, port))
            }
            _ => None,
        };
        let is_open = |connection: &&SipConnection| {
            connection
                .cancel_token()
                .is_none_or(|token| !token.is_cancelled())
        };
        let called_by = side.called_by.as_ref().filter(is_open);
        let transport = self
            .peer(leg)
            .map(|peer| peer.transport)
            .unwrap_or_default();
        Way {
            connection: called_by.unwrap_or(&side.connection).clone(),
            destination: SipAddr::new(transport.into(), named.unwrap_or(side.address).into()),
        }
    }

    /// Sends a request of ours to a leg.
    pub(super) fn send(&self, leg: Leg, id: u64, request: Request) {
        let way = self.way(leg);
        let credential = self.peer(leg).and_then(|peer| peer.secret.as_ref());
        let credential = credential.map(super::Secret::credential);
        send(
            &self.ua.endpoint,
            request,
            &way,
            credential,
            id,
            self.events.clone(),
        );
    }

    /// Acknowledges a 2xx of this leg, and remembers how.
    pub(super) async fn ack(&mut self, leg: Leg, invite: &Request, body: Option<Vec<u8>>) {
        let cseq = number(&invite.headers).unwrap_or_default();
        let way = self.way(leg);
        let side = self.side_mut(leg);
        let mut ack = side.dialog.ack(cseq, &branch());
        for header in invite.headers.iter() {
            let name = header.name();
            // RFC 3261 section 13.2.2.4: the credentials of the INVITE.
            if ["Authorization", "Proxy-Authorization"].contains(&name) {
                ack.headers.push(header.clone());
            }
        }
        let body = body.unwrap_or_default();
        if !body.is_empty() {
            ack.headers.push(field("Content-Type", "application/sdp"));
        }
        ack.headers
            .push(field("Content-Length", body.len().to_string()));
        ack.body = body;
        let sent = SentAck {
            cseq,
            remote_tag: side.dialog.remote_tag().unwrap_or_default().to_owned(),
            ack: ack.clone(),
            connection: way.connection.clone(),
            destination: way.destination.clone(),
        };
        {
            let acks = &side.registered.entry.acks;
            let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
            if acks.len() == ACKS_KEPT {
                acks.remove(0);
            }
            acks.push(sent);
        }
        if let Err(error) = way
            .connection
            .send(ack.into(), Some(&way.destination))
            .await
        {
            debug!(%error, "an ACK could not be sent");
        }
    }

    /// Takes and hangs up what a forked INVITE made beside the call. Each repetition of it gets the
    /// same again.
    async fn on_outrun(&mut self, leg: Leg, response: &Response) {
        let Some(home) = self.peer(leg).map(|peer| self.ua.home(peer)) else {
            return;
        };
        let mut dialog = match Dialog::outrun(response, home) {
            Ok(dialog) => dialog,
            Err(error) => {
                debug!(%error, "an answer beside the call cannot be hung up");
                return;
            }
        };
        let way = self.way_to(leg, &dialog);
        let mut ack = dialog.ack(dialog.last_number(), &branch());
        ack.headers.push(field("Content-Length", "0"));
        if let Err(error) = way
            .connection
            .send(ack.into(), Some(&way.destination))
            .await
        {
            debug!(%error, "an ACK could not be sent");
        }
        let (id, bye) = (self.next_id(), dialog.request(Method::Bye, &branch()));
        let credential = self.peer(leg).and_then(|peer| peer.secret.as_ref());
        let credential = credential.map(super::Secret::credential);
        let events = self.events.clone();
        send(&self.ua.endpoint, bye, &way, credential, id, events);
    }

    /// Hangs up a leg that is up.
    pub(super) fn bye(&mut self, leg: Leg, mut more: Vec<rsipstack::sip::Header>) {
        let id = self.next_id();
        let side = self.side_mut(leg);
        side.confirmed = false;
        let mut bye = side.dialog.request(Method::Bye, &branch());
        bye.headers.0.append(&mut more);
        if leg == Leg::Agent {
            bye.headers.0.extend(self.orders.last());
        }
        self.send(leg, id, bye);
    }

    /// Takes back an INVITE to the other leg, now or once that may be done (RFC 3261 section 9.1).
    pub(super) fn take_back(&mut self, id: u64) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.cancelled = true;
        if !pending.provisional || std::mem::replace(&mut pending.cancel_sent, true) {
            return;
        }
        let (to, request) = (pending.from.other(), cancel(&pending.request));
        let id = self.next_id();
        self.send(to, id, request);
    }

    /// Ends the call on all legs but this one, which has ended it; `status` answers what waits.
    pub(super) async fn end(&mut self, but: Option<Leg>, status: StatusCode) {
        self.ending.get_or_insert(Instant::now() + REQUEST_TIMEOUT);
        for leg in [Leg::Caller, Leg::Agent] {
            if Some(leg) != but && self.side(leg).confirmed {
                self.bye(leg, Vec::new());
            }
        }
        let waiting: Vec<u64> = self.pending.keys().copied().collect();
        for id in waiting {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.reliable = None;
                let (from, request) = (pending.from, pending.server.request().clone());
                let invite = pending.request.method == Method::Invite;
                let response = self.side(from).dialog.response(&request, status.clone());
                if let Some(pending) = self.pending.get_mut(&id) {
                    pending.server.respond(response);
                }
                if invite {
                    self.take_back(id);
                } else {
                    self.pending.remove(&id);
                }
            }
        }
        self.acks.clear();
        self.media.delete().await;
    }
}

/// Tells calls of the SIP door that the registry has ended them.
pub(super) async fn ended_calls(ua: Arc<Ua>) {
    let mut changes = ua.calls.subscribe();
    loop {
        match changes.recv().await {
            Ok(CallChange::Ended(view)) => {
                if let Some(entry) = ua.dialogs.find(&view.signalling_id) {
                    // A call that is that busy finds out at its next offer.
                    let _ = entry.events.try_send(Event::MediaEnded);
                }
            }
            Ok(CallChange::Started(_) | CallChange::Changed(_)) => {}
            Err(RecvError::Lagged(missed)) => {
                warn!(missed, "SIP missed ends of calls; each looks for itself");
                let all: Vec<_> = ua.dialogs.lock().values().cloned().collect();
                for entry in all {
                    let _ = entry.events.try_send(Event::MediaEnded);
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}
