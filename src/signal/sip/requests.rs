//! Requests within a call's dialogs, from one leg to the other.

use rsipstack::{
    sip::{Method, Request, Response, StatusCode},
    transaction::Transaction,
};
use tracing::debug;

use super::{
    bridge::{Bridge, Pending},
    dialled::is_key,
    orders::Order,
    terms::{acceptable, hop, takes_update, understood, with_extensions, with_sdp},
    transactions::{Server, branch},
};
use crate::proto::{
    leg::Leg,
    sip::{DialogError, bare_response, field, is_sdp, number, of_body, passed, value},
};

impl Bridge {
    pub(super) async fn on_request(&mut self, leg: Leg, transaction: Transaction) {
        let id = self.next_id();
        let mut server = Server::keep(transaction, id, self.events.clone());
        let request = server.request().clone();
        if let Err(error) = self.side_mut(leg).dialog.admit(&request) {
            debug!(%error, leg = leg.as_str(), "a request within a call is refused");
            let status = match error {
                DialogError::Tags => StatusCode::CallTransactionDoesNotExist,
                DialogError::Order => StatusCode::ServerInternalError,
                DialogError::Field(_) => StatusCode::BadRequest,
            };
            server.refuse(status, &[]);
            return;
        }
        if self.ending.is_some() {
            server.refuse(StatusCode::CallTransactionDoesNotExist, &[]);
            return;
        }
        if let Err((status, fields)) = understood(&request) {
            server.refuse_with(status, &fields);
            return;
        }
        let order = self.order(leg, &request);
        match (request.method, order) {
            (Method::Bye, _) => self.on_bye(leg, &mut server).await,
            (Method::Invite | Method::Update, order) => {
                self.on_session(leg, id, server, order).await;
            }
            (Method::PRack, _) => self.on_prack(leg, id, server).await,
            (Method::Options, _) => self.respond_here(leg, &mut server, StatusCode::OK),
            (Method::Info, Some(order)) => self.on_order(order, &mut server).await,
            (Method::Info, None) if leg == Leg::Agent && is_key(&request) => {
                self.on_agents_key(id, server).await;
            }
            (
                Method::Info | Method::Message | Method::Notify | Method::Subscribe | Method::Refer,
                _,
            ) => self.on_other(leg, id, server),
            _ => server.refuse(StatusCode::MethodNotAllowed, &[]),
        }
    }

    pub(super) fn respond_here(&self, leg: Leg, server: &mut Server, status: StatusCode) {
        let response = self.side(leg).dialog.response(server.request(), status);
        server.respond(response);
    }

    async fn on_bye(&mut self, leg: Leg, server: &mut Server) {
        self.respond_here(leg, server, StatusCode::OK);
        self.side_mut(leg).confirmed = false;
        let other = leg.other();
        if self.side(other).confirmed {
            let armed = leg == Leg::Caller && self.media.is_armed();
            let more = self.side_peer_headers(leg);
            let reason = passed(&server.request().headers, &more, armed);
            self.bye(other, reason);
        }
        self.end(Some(leg), StatusCode::RequestTerminated).await;
    }

    /// INVITE and UPDATE.
    async fn on_session(&mut self, leg: Leg, id: u64, mut server: Server, order: Option<Order>) {
        if order.is_some() {
            Self::promise(&mut server);
        }
        let request = server.request().clone();
        let other = leg.other();
        if let Err((status, fields)) = acceptable(&request) {
            server.refuse_with(status, &fields);
            return;
        }
        self.side_mut(leg).dialog.learn_target(&request.headers);
        if takes_update(&request.headers) {
            self.side_mut(leg).takes_update = true;
        }
        if request.method == Method::Update && request.body.is_empty() {
            // A sign of life is between us and this leg.
            let mut ours = self.side(leg).dialog.response(&request, StatusCode::OK);
            self.start_timer_from(leg, &request, &mut ours);
            server.respond(ours);
            return;
        }
        if let Some(status) = self.in_the_way(leg, request.method) {
            server.refuse(status, &[("Retry-After", "1")]);
            return;
        }
        if self.side(other).dialog.remote_tag().is_none() {
            server.refuse(StatusCode::ServerInternalError, &[("Retry-After", "1")]);
            return;
        }
        if request.method == Method::Invite {
            // It may take the other end longer than it takes this one to ask again.
            server.respond(bare_response(&request, StatusCode::Trying, ""));
        }
        self.media.hear(leg, &request.headers, true);
        let mut sdp = None;
        if !request.body.is_empty() {
            match self.media.offer(leg, &request.body).await {
                Ok(ours) => sdp = Some(ours),
                Err(status) => {
                    self.respond_here(leg, &mut server, status);
                    return;
                }
            }
        }
        let mut ours = self
            .side_mut(other)
            .dialog
            .request(request.method, &branch());
        hop(&mut ours, &request);
        self.pass(leg, &request, &mut ours);
        let timer = self.side(other).timer.filter(|timer| timer.is_ours());
        with_extensions(&mut ours, &request, None);
        if let Some(timer) = timer {
            ours.headers.push(field("Supported", "timer"));
            let expires = format!("{};refresher=uac", timer.seconds());
            ours.headers.push(field("Session-Expires", expires));
        }
        let offered = sdp.is_some();
        if offered {
            self.side_mut(other).sdp.clone_from(&sdp);
        }
        with_sdp(&mut ours.headers, &mut ours.body, sdp);
        self.send(other, id, ours.clone());
        let mut pending = Pending::new(server, leg, ours, offered, false);
        pending.order = order;
        self.pending.insert(id, pending);
    }

    /// What answers an offer that comes while another has no answer.
    fn in_the_way(&self, leg: Leg, method: Method) -> Option<StatusCode> {
        if method == Method::Invite {
            // RFC 3261 section 14.2.
            return self.is_inviting().then_some(StatusCode::RequestPending);
        }
        let mut offers = self.pending.values();
        let other = offers.find(|offer| offer.offered && offer.request.method == Method::Update)?;
        // RFC 3311 section 5.2.
        Some(if other.from == leg {
            StatusCode::ServerInternalError
        } else {
            StatusCode::RequestPending
        })
    }

    /// The acknowledgement of a reliable provisional response goes to whom it came from (RFC 3262).
    async fn on_prack(&mut self, leg: Leg, id: u64, mut server: Server) {
        let request = server.request().clone();
        let other = leg.other();
        let rack = value(&request.headers, "RAck").and_then(rack);
        let invite = self.pending.iter().find(|(_, pending)| {
            let of = number(&pending.server.request().headers).ok();
            pending.from == leg && of.is_some() && of == rack.map(|(_, cseq)| cseq)
        });
        let (Some((&invite, pending)), Some((rseq, _))) = (invite, rack) else {
            self.respond_here(leg, &mut server, StatusCode::CallTransactionDoesNotExist);
            return;
        };
        let cseq = number(&pending.request.headers).unwrap_or_default();
        let invited_with_offer = pending.offered;
        if let Some(pending) = self.pending.get_mut(&invite) {
            pending.reliable.take_if(|reliable| {
                let told = value(&reliable.response.headers, "RSeq");
                told.and_then(|told| told.parse().ok()) == Some(rseq)
            });
        }
        let mut sdp = None;
        let has_sdp = is_sdp(&request.headers) && !request.body.is_empty();
        if has_sdp {
            let made = if invited_with_offer {
                self.media.offer(leg, &request.body).await
            } else {
                self.media.answer(leg, &request.body).await
            };
            match made {
                Ok(ours) => sdp = Some(ours),
                Err(status) => {
                    self.respond_here(leg, &mut server, status);
                    return;
                }
            }
        }
        let mut ours = self
            .side_mut(other)
            .dialog
            .request(Method::PRack, &branch());
        hop(&mut ours, &request);
        ours.headers
            .push(field("RAck", format!("{rseq} {cseq} INVITE")));
        let offered = has_sdp && invited_with_offer;
        with_sdp(&mut ours.headers, &mut ours.body, sdp);
        self.send(other, id, ours.clone());
        let pending = Pending::new(server, leg, ours, offered, false);
        self.pending.insert(id, pending);
    }

    /// What is no part of the session. Of an armed call's caller nothing of it passes.
    pub(super) fn on_other(&mut self, leg: Leg, id: u64, mut server: Server) {
        let request = server.request().clone();
        let other = leg.other();
        if leg == Leg::Caller {
            let kept = number(&request.headers)
                .is_ok_and(|cseq| self.side(leg).registered.entry.kept(cseq));
            if kept || self.media.is_armed() {
                let status = if request.method == Method::Refer {
                    StatusCode::Forbidden
                } else {
                    StatusCode::OK
                };
                self.respond_here(leg, &mut server, status);
                return;
            }
        }
        if !self.side(other).confirmed {
            self.respond_here(leg, &mut server, StatusCode::TemporarilyUnavailable);
            return;
        }
        let ours = self.passed_request(leg, &request);
        self.send(other, id, ours.clone());
        let pending = Pending::new(server, leg, ours, false, false);
        self.pending.insert(id, pending);
    }

    /// What the other leg gets of a request that is no part of the session.
    pub(super) fn passed_request(&mut self, leg: Leg, request: &Request) -> Request {
        let other = leg.other();
        let mut ours = self
            .side_mut(other)
            .dialog
            .request(request.method, &branch());
        hop(&mut ours, request);
        self.pass(leg, request, &mut ours);
        with_extensions(&mut ours, request, None);
        if !request.body.is_empty() {
            ours.headers.extend(of_body(&request.headers));
            ours.body.clone_from(&request.body);
        }
        ours
    }

    /// The header fields of a leg's request that may show on the other.
    fn pass(&self, leg: Leg, theirs: &Request, ours: &mut Request) {
        let armed = leg == Leg::Caller && self.media.is_armed();
        let more = self.side_peer_headers(leg);
        ours.headers.extend(passed(&theirs.headers, &more, armed));
    }

    /// A response to a request of ours.
    pub(super) async fn on_response(&mut self, id: u64, response: Response) {
        if self.refreshing.contains_key(&id) {
            self.on_refreshed(id, &response).await;
            return;
        }
        if response.status_code.code() >= 200 && self.own.remove(&id).is_some() {
            return;
        }
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        if pending.request.method == Method::Invite {
            self.on_invite_response(id, response).await;
            return;
        }
        if response.status_code.code() < 200 {
            return;
        }
        let Some(mut pending) = self.pending.remove(&id) else {
            return;
        };
        let (from, offered) = (pending.from, pending.offered);
        let mut ours = self.passed_on_to(from, pending.server.request(), &response);
        if offered && is_sdp(&response.headers) && !response.body.is_empty() {
            match self.media.answer(from.other(), &response.body).await {
                Ok(sdp) => {
                    self.side_mut(from).sdp = Some(sdp.clone());
                    with_sdp(&mut ours.headers, &mut ours.body, Some(sdp));
                }
                Err(status) => {
                    ours = self
                        .side(from)
                        .dialog
                        .response(pending.server.request(), status)
                }
            }
        }
        if pending.request.method == Method::Update && ours.status_code == StatusCode::OK {
            let request = pending.server.request().clone();
            self.start_timer_from(from, &request, &mut ours);
        }
        pending.server.respond(ours);
        if response.status_code.code() == 481 && self.ending.is_none() {
            let gone = from.other();
            self.side_mut(gone).confirmed = false;
            self.end(Some(gone), StatusCode::RequestTerminated).await;
        }
    }
}

/// `RAck`: the number of the response, and of the INVITE that it answers (RFC 3262 section 7.2).
fn rack(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
