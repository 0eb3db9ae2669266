//! A call of the SIP door as the registry of calls sees it.

use std::net::SocketAddr;

use rsipstack::sip::{Headers, StatusCode, Uri};
use tracing::warn;

use crate::{
    proto::{
        id::CallId,
        leg::Leg,
        ng::{CallerSide, DeleteRequest, OfferRequest, Request, SdpOptions, reason},
        party::{AgentAddress, CallReference},
        shadow::TrunkName,
        sip::{value, values},
    },
    signal::Calls,
};

/// Offers, answers and the end of one call.
pub(super) struct Media {
    calls: Calls,
    call_id: String,
    trunk: TrunkName,
    /// The signalling address of the peer that called.
    source: SocketAddr,
    /// What names a leg: our own tags, which cannot be alike as those of far ends can.
    tags: (String, String),
    names: Names,
    begun: bool,
}

/// Whose call it is, as far as the agent's end tells: no desktop finds a call by what the caller's says.
pub(super) struct Names {
    /// The header field with what another system calls the call.
    pub(super) link_header: Option<String>,
    agent: Option<AgentAddress>,
    reference: Option<CallReference>,
}

impl Names {
    /// Of a call to whom `called` names, where the caller's end called.
    pub(super) fn new(link_header: Option<String>, called: Option<&Uri>) -> Self {
        Self {
            link_header,
            agent: called.and_then(|uri| uri.to_string().parse().ok()),
            reference: None,
        }
    }

    fn hear(&mut self, headers: &Headers, is_request: bool) {
        // Who somebody says to be in From may be a display of any number; the other is asserted (RFC 3325).
        let asserted = values(headers, "P-Asserted-Identity").find_map(|text| text.parse().ok());
        let from = || {
            let text = value(headers, "From").filter(|_| is_request && self.agent.is_none());
            text?.parse().ok()
        };
        if let Some(agent) = asserted.or_else(from) {
            self.agent = Some(agent);
        }
        let named = self.link_header.as_deref();
        let told = named.and_then(|name| value(headers, name));
        if let Some(reference) = told.and_then(|text| text.parse().ok()) {
            self.reference = Some(reference);
        }
    }
}

impl Media {
    /// `tags` are the gateway's own of the caller's leg and of the agent's.
    pub(super) fn new(
        calls: Calls,
        call_id: String,
        trunk: TrunkName,
        source: SocketAddr,
        tags: (String, String),
        names: Names,
    ) -> Self {
        Self {
            calls,
            call_id,
            trunk,
            source,
            tags,
            names,
            begun: false,
        }
    }

    fn tag(&self, leg: Leg) -> String {
        match leg {
            Leg::Caller => self.tags.0.clone(),
            Leg::Agent => self.tags.1.clone(),
        }
    }

    /// The call in the registry.
    pub(super) fn id(&self) -> Option<CallId> {
        self.calls.live_id(&self.call_id)
    }

    /// Whether the registry had the call and has it no more.
    pub(super) fn is_gone(&self) -> bool {
        self.begun && self.id().is_none()
    }

    /// Whether the call is armed now.
    pub(super) fn is_armed(&self) -> bool {
        self.id().is_some_and(|id| self.calls.is_armed(&id))
    }

    /// What a message of this leg says of whose call it is; before its offer or answer.
    pub(super) fn hear(&mut self, from: Leg, headers: &Headers, is_request: bool) {
        if from == Leg::Agent {
            self.names.hear(headers, is_request);
        }
    }

    /// An offer of this leg, as the other leg gets it.
    pub(super) async fn offer(&mut self, from: Leg, sdp: &[u8]) -> Result<Vec<u8>, StatusCode> {
        // What comes within a dialog does not tell who called; the first offer of a call does.
        let to_tag = self.begun.then(|| self.tag(from.other()));
        let request = self.message(from, self.tag(from), to_tag, sdp)?;
        let sdp = self.ask(Request::Offer(request)).await?;
        self.begun = true;
        Ok(sdp)
    }

    /// The answer of this leg to an offer of the other, as the other gets it.
    pub(super) async fn answer(&mut self, from: Leg, sdp: &[u8]) -> Result<Vec<u8>, StatusCode> {
        let request = self.message(from, self.tag(from.other()), Some(self.tag(from)), sdp)?;
        self.ask(Request::Answer(request)).await
    }

    fn message(
        &self,
        from: Leg,
        from_tag: String,
        to_tag: Option<String>,
        sdp: &[u8],
    ) -> Result<OfferRequest, StatusCode> {
        let sdp = std::str::from_utf8(sdp).map_err(|_| StatusCode::NotAcceptableHere)?;
        Ok(OfferRequest {
            call_id: self.call_id.clone(),
            from_tag,
            to_tag,
            via_branch: None,
            label: None,
            sdp: sdp.to_owned(),
            options: SdpOptions {
                replace_origin: true,
                replace_session_connection: true,
                replace_user: true,
                replace_session_name: true,
                ..SdpOptions::default()
            },
            caller: Some(match from {
                Leg::Caller => CallerSide::Offerer,
                Leg::Agent => CallerSide::Answerer,
            }),
            block_dtmf: false,
            trunk: Some(Ok(self.trunk.clone())),
            agent: self.names.agent.clone().map(Ok),
            reference: self.names.reference.clone().map(Ok),
            received_from: None,
            payment: false,
            load_limit: true,
        })
    }

    async fn ask(&self, request: Request) -> Result<Vec<u8>, StatusCode> {
        let reply = self.calls.handle(request, self.source).await;
        let reply = reply.dict();
        match reply.text("result").as_deref() {
            Some("ok") => {
                let sdp = reply.text("sdp").map(String::into_bytes);
                sdp.ok_or(StatusCode::ServerInternalError)
            }
            Some("load limit") => Err(StatusCode::ServiceUnavailable),
            _ => {
                let error = reply.text("error-reason").unwrap_or_default();
                warn!(%error, "a session description is refused");
                Err(match error.as_str() {
                    reason::OUT_OF_PORTS | reason::SESSION_LIMIT => StatusCode::ServiceUnavailable,
                    _ => StatusCode::NotAcceptableHere,
                })
            }
        }
    }

    /// The call is over.
    pub(super) async fn delete(&mut self) {
        if self.begun {
            let delete = DeleteRequest {
                call_id: self.call_id.clone(),
                from_tag: None,
                to_tag: None,
                via_branch: None,
                delay: None,
                fatal: false,
            };
            self.calls
                .handle(Request::Delete(delete), self.source)
                .await;
            self.begun = false;
        }
    }
}
