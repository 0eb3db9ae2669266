//! INVITE: how a call begins, and what becomes of each that follows.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use rsipstack::{
    sip::{Method, Request, Response, Scheme, StatusCode, Uri},
    transaction::Transaction,
    transport::SipConnection,
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{
    CALL_EVENTS, DialogEntry, Registered, Ua,
    bridge::{AckWait, Bridge, Pending, Reliable, Side},
    dialled::Dialling,
    keys::Turns,
    media::{Media, Names},
    orders::{Orders, is_start},
    redirect::Places,
    terms::{Problem, acceptable, hop, past_us, takes_update, with_extensions, with_sdp},
    transactions::{REQUEST_TIMEOUT, Server, branch, tag},
};
use crate::proto::{
    leg::Leg,
    sip::{
        Dialog, at_host, auth_of, bare_response, extensions, field, is_sdp, number, passed, value,
    },
};

/// T1 (RFC 3261 section 17.1.1.1).
const T1: Duration = Duration::from_millis(500);

impl Bridge {
    /// Takes an INVITE that begins a call, and sends it on; `None` when it was answered already.
    pub(super) async fn begin(
        ua: Arc<Ua>,
        transaction: Transaction,
        call_id: String,
        peer: usize,
        source: SocketAddr,
    ) -> Option<Self> {
        let (events, inbox) = mpsc::channel(CALL_EVENTS);
        let called_by = transaction
            .connection
            .clone()
            .filter(SipConnection::is_reliable);
        let mut server = Server::keep(transaction, 0, events.clone());
        let request = server.request().clone();
        let refuse = |server: &mut Server, (status, fields): Problem| {
            server.refuse_with(status, &fields);
        };
        let from = ua.settings.peers.get(peer)?;
        let to = ua.settings.peers.get(from.to)?;
        let ways = (
            ua.connections.get(peer)?.clone(),
            ua.connections.get(from.to)?.clone(),
        );
        if let Err(problem) = acceptable(&request) {
            refuse(&mut server, problem);
            return None;
        }
        if let Err(reason) = (ua.may_serve)() {
            ua.counts.not_served.fetch_add(1, Ordering::Relaxed);
            info!(peer = from.name.as_str(), %reason, "call not taken");
            refuse(&mut server, past_us(from, &request));
            return None;
        }
        // A call without an offer yet is none to the registry, which bounds the others.
        if ua.dialogs.lock().len() >= 2 * ua.calls.inner.settings.max_calls {
            ua.counts.not_served.fetch_add(1, Ordering::Relaxed);
            refuse(&mut server, past_us(from, &request));
            return None;
        }
        if ua.calls.live_id(&call_id).is_some() {
            // The same INVITE by two ways (RFC 3261 section 8.2.2.2), or a Call-ID of another call.
            refuse(&mut server, (StatusCode::LoopDetected, Vec::new()));
            return None;
        }
        server.respond(bare_response(&request, StatusCode::Trying, ""));

        let first = from.leg;
        let (tag_here, tag_there) = (tag(), tag());
        let Ok(dialog) = Dialog::answering(&request, &tag_here, ua.home(from)) else {
            refuse(&mut server, (StatusCode::BadRequest, Vec::new()));
            return None;
        };
        let home = ua.home(to);
        let there_id = format!("{}@{}", tag() + &tag(), home.host.host);
        let entry = |leg, peer, local_tag: &str| DialogEntry {
            registered_as: call_id.clone(),
            leg,
            peer,
            events: events.clone(),
            local_tag: local_tag.to_owned(),
            remote_tag: Mutex::default(),
            turns: Mutex::default(),
            acks: Mutex::default(),
        };
        let entry_here = DialogEntry {
            remote_tag: Mutex::new(dialog.remote_tag().map(str::to_owned)),
            turns: Mutex::new(Turns::since(number(&request.headers).unwrap_or_default())),
            ..entry(first, peer, &tag_here)
        };
        let entry_there = entry(first.other(), from.to, &tag_there);
        let here = Registered::new(&ua.dialogs, &call_id, entry_here);
        let there = Registered::new(&ua.dialogs, &there_id, entry_there);
        let (Some(here), Some(there)) = (here, there) else {
            refuse(&mut server, (StatusCode::LoopDetected, Vec::new()));
            return None;
        };
        let tags = match first {
            Leg::Caller => (tag_here, tag_there.clone()),
            Leg::Agent => (tag_there.clone(), tag_here),
        };
        let trunk = match first {
            Leg::Caller => from,
            Leg::Agent => to,
        };
        let called = (first == Leg::Caller).then_some(&request.uri);
        let mut media = Media::new(
            ua.calls.clone(),
            call_id.clone(),
            trunk.name.clone(),
            source,
            tags,
            Names::new(ua.settings.link_header.clone(), called),
        );
        media.hear(first, &request.headers, true);
        let mut sdp = None;
        if !request.body.is_empty() {
            match media.offer(first, &request.body).await {
                Ok(ours) => sdp = Some(ours),
                Err(StatusCode::ServiceUnavailable) => {
                    ua.counts.not_served.fetch_add(1, Ordering::Relaxed);
                    media.delete().await;
                    refuse(&mut server, past_us(from, &request));
                    return None;
                }
                Err(status) => {
                    media.delete().await;
                    refuse(&mut server, (status, Vec::new()));
                    return None;
                }
            }
        }
        let mut called = Dialog::calling(
            (
                &at_host(
                    value(&request.headers, "From").unwrap_or_default(),
                    &home.host.to_string(),
                ),
                &at_host(
                    value(&request.headers, "To").unwrap_or_default(),
                    &to.address.to_string(),
                ),
            ),
            Uri {
                scheme: Some(Scheme::Sip),
                auth: auth_of(request.uri.clone()),
                host_with_port: to.address.into(),
                ..Uri::default()
            },
            there_id,
            &tag_there,
            home,
        );
        let mut invite = called.request(Method::Invite, &branch());
        hop(&mut invite, &request);
        let more = passed(&request.headers, &from.pass_headers, false);
        invite.headers.extend(more);
        with_extensions(&mut invite, &request, Some(ua.settings.session_expires));
        with_sdp(&mut invite.headers, &mut invite.body, sdp.clone());
        info!(%call_id, from = from.name.as_str(), to = to.name.as_str(), "SIP call");

        let (to_peer, to_address) = (from.to, to.address);
        let side = |dialog, peer, address, connection, registered| Side {
            dialog,
            peer,
            address,
            connection,
            called_by: None,
            registered,
            confirmed: false,
            timer: None,
            takes_update: false,
            sdp: None,
        };
        let mut here = side(dialog, peer, source, ways.0, here);
        here.called_by = called_by;
        here.takes_update = takes_update(&request.headers);
        let mut there = side(called, to_peer, to_address, ways.1, there);
        there.sdp = sdp;
        let offered = there.sdp.is_some();
        let (caller, agent) = match first {
            Leg::Caller => (here, there),
            Leg::Agent => (there, here),
        };
        let mut bridge = Self {
            ua,
            call_id,
            media,
            caller,
            agent,
            pending: std::collections::HashMap::new(),
            acks: std::collections::HashMap::new(),
            refreshing: std::collections::HashMap::new(),
            orders: Orders::default(),
            dialling: Dialling::default(),
            places: Places::default(),
            own: std::collections::HashMap::new(),
            events,
            inbox,
            serial: 0,
            ending: None,
        };
        let order = bridge.order(first, &request);
        if order.is_some() {
            Self::promise(&mut server);
        }
        bridge.send(first.other(), 0, invite.clone());
        let mut pending = Pending::new(server, first, invite, offered, true);
        pending.order = order;
        bridge.pending.insert(0, pending);
        Some(bridge)
    }

    /// A response to an INVITE that was sent on.
    pub(super) async fn on_invite_response(&mut self, id: u64, response: Response) {
        match response.status_code.code() {
            100 => self.is_at_it(id),
            101..=199 => {
                self.is_at_it(id);
                self.on_provisional(id, response).await;
            }
            200..=299 => self.on_taken(id, response).await,
            422 if self.ask_longer(id, &response) => {}
            _ if self.tries_elsewhere(id, &response) => {}
            _ => self.on_refused(id, response).await,
        }
    }

    fn is_at_it(&mut self, id: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.provisional = true;
            if pending.cancelled {
                self.take_back(id);
            }
        }
    }

    async fn on_provisional(&mut self, id: u64, response: Response) {
        let Some(pending) = self.pending.get(&id).filter(|pending| !pending.cancelled) else {
            return;
        };
        let (from, initial, offered) = (pending.from, pending.initial, pending.offered);
        let to = from.other();
        if initial {
            self.learn(to, &response);
        }
        self.media.hear(to, &response.headers, false);
        let mut sdp = None;
        if is_sdp(&response.headers) && !response.body.is_empty() {
            let made = if offered {
                self.media.answer(to, &response.body).await
            } else {
                self.media.offer(to, &response.body).await
            };
            match made {
                Ok(ours) => sdp = Some(ours),
                Err(status) => {
                    warn!(call_id = %self.call_id, %status, "early media is not relayed")
                }
            }
        }
        let reliable = extensions(&response.headers, "Require")
            .iter()
            .any(|tag| tag == "100rel");
        let mut ours = self.passed_on(from, id, &response);
        if reliable {
            ours.headers.push(field("Require", "100rel"));
        }
        if sdp.is_some() {
            self.side_mut(from).sdp.clone_from(&sdp);
        }
        with_sdp(&mut ours.headers, &mut ours.body, sdp);
        if let Some(pending) = self.pending.get_mut(&id) {
            if reliable {
                // The stack does not repeat it (RFC 3262 section 3).
                let now = Instant::now();
                pending.reliable = Some(Reliable {
                    response: ours.clone(),
                    at: now + T1,
                    pause: T1,
                    until: now + REQUEST_TIMEOUT,
                });
            }
            pending.server.respond(ours);
        }
    }

    /// 2xx.
    async fn on_taken(&mut self, id: u64, response: Response) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let Pending {
            mut server,
            from,
            request,
            offered,
            initial,
            cancelled,
            order,
            ..
        } = pending;
        let to = from.other();
        if initial {
            self.learn(to, &response);
        } else {
            self.side_mut(to).dialog.learn_target(&response.headers);
        }
        self.side_mut(to).takes_update = takes_update(&response.headers);
        if cancelled && server.is_answered() {
            // It crossed the CANCEL: taken, and hung up at once (RFC 3261 section 15).
            self.ack(to, &request, None).await;
            if initial {
                self.bye(to, Vec::new());
            }
            return;
        }
        self.side_mut(to).confirmed = true;
        self.start_timer_to(to, &response);
        self.media.hear(to, &response.headers, false);
        let has_sdp = is_sdp(&response.headers) && !response.body.is_empty();
        let made = match (has_sdp, offered) {
            (true, true) => self.media.answer(to, &response.body).await.map(Some),
            (true, false) => self.media.offer(to, &response.body).await.map(Some),
            // It came in a reliable provisional response.
            (false, _) => Ok(None),
        };
        let sdp = match made {
            Ok(sdp) => sdp,
            Err(status) => {
                self.ack(to, &request, None).await;
                let response = self
                    .side(from)
                    .dialog
                    .response(server.request(), status.clone());
                server.respond(response);
                self.end(None, status).await;
                return;
            }
        };
        let late = has_sdp && !offered;
        if !late {
            self.ack(to, &request, None).await;
        }
        let mut ours = self
            .side(from)
            .dialog
            .response(server.request(), StatusCode::OK);
        let more = self.side_peer_headers(to);
        let armed = to == Leg::Caller && self.media.is_armed();
        ours.headers.extend(passed(&response.headers, &more, armed));
        if sdp.is_some() {
            self.side_mut(from).sdp.clone_from(&sdp);
        }
        self.start_timer_from(from, server.request(), &mut ours);
        with_sdp(&mut ours.headers, &mut ours.body, sdp);
        self.side_mut(from).confirmed = true;
        // The call is not up before its description is there, unless it was before.
        let (waits, order) = match order {
            Some(order) if late && initial && is_start(&order) => (Some(order), None),
            order => (None, order),
        };
        if let Some(order) = order {
            let (_, result) = self.carry_out(order).await;
            server.tell(result);
        } else if waits.is_some() {
            server.tell(self.put_off());
        }
        server.respond(ours);
        let wait = AckWait {
            to,
            invite: request,
            late,
            order: waits,
        };
        self.acks.insert(id, wait);
    }

    /// 3xx to 6xx.
    async fn on_refused(&mut self, id: u64, response: Response) {
        let Some(mut pending) = self.pending.remove(&id) else {
            return;
        };
        let (from, initial) = (pending.from, pending.initial);
        if !pending.server.is_answered() {
            let mut ours = self.passed_on_to(from, pending.server.request(), &response);
            if initial && (300..400).contains(&response.status_code.code()) {
                // Where to look instead: the caller's side decides whether it does.
                for contact in crate::proto::sip::values(&response.headers, "Contact") {
                    ours.headers.push(field("Contact", contact));
                }
            }
            pending.server.respond(ours);
        }
        let gone = matches!(response.status_code.code(), 408 | 481);
        if initial {
            self.ending.get_or_insert(Instant::now());
            self.media.delete().await;
        } else if gone && self.ending.is_none() {
            // RFC 5057 section 5.1: the other end knows nothing of the dialog.
            let to = from.other();
            self.side_mut(to).confirmed = false;
            self.end(Some(to), StatusCode::RequestTerminated).await;
        }
    }

    /// The response of the other leg as this one gets it, without a body.
    fn passed_on(&self, from: Leg, id: u64, response: &Response) -> Response {
        match self.pending.get(&id) {
            Some(pending) => self.passed_on_to(from, pending.server.request(), response),
            None => response.clone(),
        }
    }

    pub(super) fn passed_on_to(
        &self,
        from: Leg,
        request: &Request,
        response: &Response,
    ) -> Response {
        let to = from.other();
        let armed = to == Leg::Caller && self.media.is_armed();
        let status = match response.status_code.code() {
            // What the trunk asks for is ours to know, and nobody else's.
            401 | 407 => StatusCode::Forbidden,
            // Without the words that came with it.
            code if armed => StatusCode::from(code),
            _ => response.status_code.clone(),
        };
        let mut ours = self.side(from).dialog.response(request, status);
        if !armed {
            ours.wire_reason.clone_from(&response.wire_reason);
        }
        let more = self.side_peer_headers(to);
        ours.headers.extend(passed(&response.headers, &more, armed));
        ours
    }

    pub(super) fn side_peer_headers(&self, leg: Leg) -> Vec<String> {
        self.peer(leg)
            .map(|peer| peer.pass_headers.clone())
            .unwrap_or_default()
    }

    /// ACK of a 2xx that we gave.
    pub(super) async fn on_ack(&mut self, id: u64, ack: Request) {
        let Some(wait) = self.acks.remove(&id) else {
            return;
        };
        if !wait.late {
            return;
        }
        let from = wait.to.other();
        match self.media.answer(from, &ack.body).await {
            Ok(ours) => {
                self.side_mut(wait.to).sdp = Some(ours.clone());
                self.ack(wait.to, &wait.invite, Some(ours)).await;
                if let Some(order) = wait.order {
                    self.carry_out_late(order).await;
                }
            }
            Err(status) => {
                if wait.order.is_some() {
                    self.give_up_order();
                }
                self.ack(wait.to, &wait.invite, None).await;
                self.end(None, status).await;
            }
        }
    }

    /// CANCEL of an INVITE that waits.
    pub(super) async fn on_cancel(&mut self, id: u64) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        let (from, initial) = (pending.from, pending.initial);
        if !initial {
            // The other end says what became of it: a session that it has changed already must not be
            // told unchanged here.
            self.take_back(id);
            return;
        }
        let request = pending.server.request().clone();
        let terminated = self
            .side(from)
            .dialog
            .response(&request, StatusCode::RequestTerminated);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.reliable = None;
            pending.server.respond(terminated);
        }
        self.take_back(id);
        self.ending.get_or_insert(Instant::now() + REQUEST_TIMEOUT);
        self.media.delete().await;
    }
}

impl Pending {
    pub(super) const fn new(
        server: Server,
        from: Leg,
        request: Request,
        offered: bool,
        initial: bool,
    ) -> Self {
        Self {
            server,
            from,
            request,
            offered,
            initial,
            provisional: false,
            cancelled: false,
            cancel_sent: false,
            longer: false,
            reliable: None,
            order: None,
        }
    }
}
