//! A call that the called peer sends elsewhere: it is followed within that peer, and nowhere else.

use std::{collections::VecDeque, net::SocketAddr};

use rsipstack::sip::{Host, Method, Request, Response, Scheme, Uri};
use tracing::info;

use super::{Peer, bridge::Bridge, transactions::branch};
use crate::proto::{
    leg::Leg,
    sip::{contacts, field},
};

/// Where a call was tried, and where it still may be.
#[derive(Default)]
pub(super) struct Places {
    tried: Vec<String>,
    next: VecDeque<Uri>,
}

/// What makes two places one.
fn place(uri: &Uri) -> String {
    let user = uri.auth.as_ref().map(|auth| auth.user.as_str());
    format!("{}@{}", user.unwrap_or_default(), uri.host_with_port)
}

impl Bridge {
    /// Tries the call elsewhere, where its peer says so or an earlier place was in vain. Whether it does.
    pub(super) fn tries_elsewhere(&mut self, id: u64, response: &Response) -> bool {
        let waits = |pending: &&super::bridge::Pending| {
            pending.initial && !pending.cancelled && !pending.server.is_answered()
        };
        let Some(pending) = self.pending.get(&id).filter(waits) else {
            return false;
        };
        let (to, old) = (pending.from.other(), pending.request.clone());
        let Some(most) = self.peer(to).map(|peer| usize::from(peer.redirects)) else {
            return false;
        };
        match response.status_code.code() {
            300..=399 => {
                if self.places.tried.is_empty() {
                    self.places.tried.push(place(&old.uri));
                }
                let mut named = contacts(&response.headers);
                named.retain(|uri| self.may_be_tried(to, uri));
                // Those that this place names before what the one before it has named.
                for uri in named.into_iter().rev() {
                    self.places.next.push_front(uri);
                }
            }
            // The far end has spoken for all places (RFC 3261 section 21.6).
            600.. => return false,
            _ if self.places.tried.is_empty() => return false,
            _ => {}
        }
        let Some(target) = self.next_place(most) else {
            return false;
        };
        info!(call_id = %self.call_id, "the called peer names another place; the call is tried there");
        let side = self.side_mut(to);
        side.dialog.redirect(target);
        side.registered.entry.set_remote_tag(None);
        let request = self.invite_again(to, &old, &[]);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.request = request.clone();
            pending.provisional = false;
            pending.reliable = None;
        }
        self.send(to, id, request);
        true
    }

    fn next_place(&mut self, most: usize) -> Option<Uri> {
        let places = &mut self.places;
        while let Some(uri) = places.next.pop_front() {
            let found = place(&uri);
            // The first is no redirection.
            if places.tried.len() <= most && !places.tried.contains(&found) {
                places.tried.push(found);
                return Some(uri);
            }
        }
        None
    }

    /// Whether a place is the peer's own, and says no more than where it is: what else stands in it
    /// would be written into our request.
    fn may_be_tried(&self, leg: Leg, uri: &Uri) -> bool {
        let Host::IpAddr(ip) = uri.host() else {
            return false;
        };
        let port = uri.host_with_port.port.map_or(5060, |port| port.value());
        let at = SocketAddr::new(*ip, port);
        let is_ours = |address: SocketAddr| address == at;
        let mut listeners = self.ua.settings.listeners.iter();
        let ours = listeners.any(|one| is_ours(one.address) || is_ours(one.advertise));
        let of_peer = |peer: &Peer| peer.is_at(*ip);
        !ours
            && matches!(uri.scheme, Some(Scheme::Sip))
            && uri.params.is_empty()
            && self.peer(leg).is_some_and(of_peer)
    }

    /// The INVITE that makes a leg's dialog, anew, with these fields in the place of its own of that name.
    pub(super) fn invite_again(
        &mut self,
        to: Leg,
        old: &Request,
        instead: &[(&str, String)],
    ) -> Request {
        let mut request = self.side_mut(to).dialog.request(Method::Invite, &branch());
        let made = [
            "Via",
            "From",
            "To",
            "Call-ID",
            "CSeq",
            "Contact",
            "Allow",
            "User-Agent",
            "Route",
            "Content-Length",
            // Of the place that asked for them.
            "Authorization",
            "Proxy-Authorization",
        ];
        request
            .headers
            .retain(|header| !header.name().eq_ignore_ascii_case("Max-Forwards"));
        for header in old.headers.iter() {
            let is = |name: &str| name.eq_ignore_ascii_case(header.name());
            if !made.iter().any(|name| is(name)) && !instead.iter().any(|(name, _)| is(name)) {
                request.headers.push(header.clone());
            }
        }
        for (name, value) in instead {
            request.headers.push(field(name, value.clone()));
        }
        request.body.clone_from(&old.body);
        request
    }
}
