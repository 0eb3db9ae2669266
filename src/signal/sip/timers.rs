//! Session timers of both legs, and what else has its time.

use std::time::{Duration, Instant};

use rsipstack::sip::{Method, Request, Response, StatusCode};
use tracing::warn;

use super::{bridge::Bridge, terms::with_sdp, transactions::branch};
use crate::proto::{
    leg::Leg,
    sip::{MIN_SE, Refresher, SessionExpires, SessionTimer, extensions, field, value},
};

/// How long a refresh that came to nothing waits before it is tried again: more than 4 s, which is
/// longer than the far end waits after a 491 (RFC 3261 section 14.1).
const REFRESH_PAUSE: Duration = Duration::from_millis(4_100);

impl Bridge {
    pub(super) async fn on_time(&mut self, now: Instant) {
        for pending in self.pending.values_mut() {
            let Some(reliable) = &mut pending.reliable else {
                continue;
            };
            if reliable.until <= now {
                pending.reliable = None;
            } else if reliable.at <= now {
                let again = reliable.response.clone();
                reliable.pause *= 2;
                reliable.at = now + reliable.pause;
                pending.server.respond(again);
            }
        }
        if self.ending.is_some() {
            return;
        }
        if self.dialling.until().is_some_and(|until| until <= now) {
            self.let_go(0);
        }
        for leg in [Leg::Caller, Leg::Agent] {
            let Some(timer) = self.side(leg).timer else {
                continue;
            };
            if timer.over_at() <= now {
                warn!(call_id = %self.call_id, leg = leg.as_str(), "no sign of life; both legs are hung up");
                self.end(None, StatusCode::RequestTimeout).await;
                return;
            }
            if timer.refresh_at().is_some_and(|at| at <= now) {
                self.refresh(leg, timer);
            }
        }
    }

    /// Tells the far end that the session goes on: by UPDATE, or by an INVITE with what it knows.
    fn refresh(&mut self, leg: Leg, mut timer: SessionTimer) {
        let method = if self.side(leg).takes_update {
            Method::Update
        } else {
            Method::Invite
        };
        if method == Method::Invite && self.is_inviting() {
            // RFC 3261 section 14.1.
            timer.again_at(Instant::now() + REFRESH_PAUSE);
            self.side_mut(leg).timer = Some(timer);
            return;
        }
        let id = self.next_id();
        let side = self.side_mut(leg);
        let mut request = side.dialog.request(method, &branch());
        let expires = format!("{};refresher=uac", timer.seconds());
        request.headers.push(field("Supported", "timer"));
        request.headers.push(field("Session-Expires", expires));
        if method == Method::Invite {
            let sdp = side.sdp.clone();
            with_sdp(&mut request.headers, &mut request.body, sdp);
        }
        timer.asked();
        side.timer = Some(timer);
        self.refreshing.insert(id, (leg, request.clone()));
        self.send(leg, id, request);
    }

    /// What a refresh of ours came to.
    pub(super) async fn on_refreshed(&mut self, id: u64, response: &Response) {
        let code = response.status_code.code();
        if code < 200 {
            return;
        }
        let Some((leg, request)) = self.refreshing.remove(&id) else {
            return;
        };
        match code {
            200..=299 => {
                if request.method == Method::Invite {
                    self.ack(leg, &request, None).await;
                }
                self.start_timer_to(leg, response);
            }
            408 | 481 => {
                self.side_mut(leg).confirmed = false;
                self.end(Some(leg), StatusCode::RequestTimeout).await;
            }
            // An offer of its own was under way (491), or it cannot now.
            _ => {
                let least = value(&response.headers, "Min-SE").and_then(SessionExpires::parse);
                if let Some(timer) = &mut self.side_mut(leg).timer {
                    if let Some(least) = least.filter(|_| code == 422) {
                        timer.lengthen(least.seconds);
                    }
                    timer.again_at(Instant::now() + REFRESH_PAUSE);
                }
            }
        }
    }

    /// The timer of a leg that has answered a request of ours.
    pub(super) fn start_timer_to(&mut self, leg: Leg, response: &Response) {
        let told = value(&response.headers, "Session-Expires").and_then(SessionExpires::parse);
        let timer = told.map(|told| {
            // We are its client.
            let refresher = match told.by_client {
                Some(false) => Refresher::Them,
                Some(true) | None => Refresher::Us,
            };
            SessionTimer::new(told.seconds.max(MIN_SE), refresher, Instant::now())
        });
        self.side_mut(leg).timer = timer;
    }

    /// The timer of a leg whose request we answer, and what the answer says of it.
    pub(super) fn start_timer_from(&mut self, leg: Leg, request: &Request, ours: &mut Response) {
        let wanted = value(&request.headers, "Session-Expires").and_then(SessionExpires::parse);
        let able = extensions(&request.headers, "Supported")
            .iter()
            .any(|tag| tag == "timer");
        let Some(wanted) = wanted.filter(|wanted| able && wanted.seconds >= MIN_SE) else {
            self.side_mut(leg).timer = None;
            return;
        };
        let (word, refresher) = match wanted.by_client {
            Some(false) => ("uas", Refresher::Us),
            Some(true) | None => ("uac", Refresher::Them),
        };
        ours.headers.push(field("Require", "timer"));
        let expires = format!("{};refresher={word}", wanted.seconds);
        ours.headers.push(field("Session-Expires", expires));
        let timer = SessionTimer::new(wanted.seconds, refresher, Instant::now());
        self.side_mut(leg).timer = Some(timer);
    }

    /// 422: the far end wants sessions of more than what we asked for. Whether it is asked again.
    pub(super) fn ask_longer(&mut self, id: u64, response: &Response) -> bool {
        let least = value(&response.headers, "Min-SE").and_then(SessionExpires::parse);
        let Some(least) = least else {
            return false;
        };
        let Some(pending) = self
            .pending
            .get_mut(&id)
            .filter(|p| !p.cancelled && !p.longer)
        else {
            return false;
        };
        pending.longer = true;
        let to = pending.from.other();
        let (old, initial) = (pending.request.clone(), pending.initial);
        if initial {
            // What rang before was of the INVITE that is over.
            self.side_mut(to).dialog.forget();
        }
        let least = least.seconds.to_string();
        let instead = [("Session-Expires", least.clone()), ("Min-SE", least)];
        let request = self.invite_again(to, &old, &instead);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.request = request.clone();
        }
        self.send(to, id, request);
        true
    }
}
