//! What the NG commands do to calls.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{debug, warn};
use ulid::Ulid;

use super::{
    Interface, NoInterface,
    arming::BlockError,
    calls::{By, Calls},
    interfaces::Family,
    record::{Agreed, CallRecord, How, TagError},
};
use crate::{
    media::{MediaCommand, MediaError, ports::PortError},
    proto::{
        audit::{Event, Success},
        call::{ArmRefusal, Holder},
        id::CallId,
        leg::Leg,
        ng::{
            CallerSide, DeleteRequest, Dict, ListRequest, MediaRequest, OfferRequest, QueryRequest,
            RefusedRequest, Reply, Request, RequestError, Value, reason,
        },
        sdp::{Description, SdpError},
    },
};

/// Most bytes of Call-IDs in one `list`, so that the reply fits a datagram.
const MAX_LIST_BYTES: usize = 48_000;

/// Why an offer or an answer is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Sdp(#[from] SdpError),
    #[error("This gateway relays plain RTP; transport-protocol must be RTP/AVP or RTP/AVPF")]
    Transport,
    #[error("{0}")]
    Tags(#[from] TagError),
    #[error("{0}")]
    Interface(#[from] NoInterface),
    #[error("{0}")]
    Ports(#[from] PortError),
    #[error("{0}")]
    Media(#[from] MediaError),
    #[error("The call was armed before the gateway restarted and cannot be armed now: {0}")]
    Recovered(BlockError),
    #[error("Nobody can be put in a leg's place while the call is armed: {0}")]
    Held(&'static str),
    #[error("{}", reason::UNKNOWN_CALL)]
    UnknownCall,
    /// Not an error of the request: another node may take the call.
    #[error("{0}")]
    Full(&'static str),
}

impl Refusal {
    fn reply(&self, load_limit: bool) -> Reply {
        match self {
            Self::Full(message) => Reply::load_limit(load_limit, *message),
            Self::Ports(PortError::Bind { .. } | PortError::Range(..)) => {
                // The client can do no more about it than about a full pool: use another node.
                Reply::error(reason::OUT_OF_PORTS).with("detail", self.to_string())
            }
            other => Reply::error(other.to_string()),
        }
    }
}

impl Calls {
    /// Carries out a request of an NG peer.
    pub async fn handle(&self, request: Request, peer: SocketAddr) -> Reply {
        debug!(command = request.name(), %peer, "NG request");
        match request {
            Request::Ping => Reply::pong(),
            Request::Offer(offer) => {
                let _turn = self.turn(&offer.call_id).await;
                match self.offer(&offer, peer).await {
                    Ok(reply) => reply,
                    Err(refusal) => refused("offer", &refusal, offer.load_limit),
                }
            }
            Request::Answer(answer) => {
                let _turn = self.turn(&answer.call_id).await;
                match self.answer(&answer, peer).await {
                    Ok(reply) => reply,
                    Err(refusal) => refused("answer", &refusal, answer.load_limit),
                }
            }
            Request::Delete(delete) => self.delete(&delete).await,
            Request::Query(query) => self.query(&query).await,
            Request::List(list) => self.list_calls(list),
            Request::Statistics => self.node_statistics(),
            Request::BlockDtmf(block) => self.block(&block, peer).await,
            Request::UnblockDtmf(unblock) => self.unblock(&unblock, peer).await,
            Request::Payment(payment) => self.payment(payment, peer).await,
            Request::BlockMedia(media) => {
                self.tell_legs(&media, |leg| MediaCommand::Block(leg, true))
                    .await
            }
            Request::UnblockMedia(media) => {
                self.tell_legs(&media, |leg| MediaCommand::Block(leg, false))
                    .await
            }
            Request::SilenceMedia(media) => {
                self.tell_legs(&media, |leg| MediaCommand::Silence(leg, true))
                    .await
            }
            Request::UnsilenceMedia(media) => {
                self.tell_legs(&media, |leg| MediaCommand::Silence(leg, false))
                    .await
            }
            Request::Refused(refused) => self.refuse(&refused, peer).await,
        }
    }

    async fn offer(&self, offer: &OfferRequest, peer: SocketAddr) -> Result<Reply, Refusal> {
        let description = self.describe(offer)?;
        if self.is_a_loop(offer, &description) {
            return Ok(Reply::ok_with(Dict::new().with("sdp", offer.sdp.as_str())));
        }
        let Some(id) = self.live_id(&offer.call_id) else {
            let (id, sdp) = self.start(offer, &description, peer).await?;
            return Ok(self.agreed(&id, offer, sdp, peer).await);
        };
        self.check_replaced(&id, offer, true, peer).await?;
        let (leg, agreed) = self
            .with_live(&id, |call| {
                let leg = call.offering_leg(offer)?;
                description.audio().check_family(call.leg(leg).address)?;
                let how = self.how(offer);
                Ok::<_, Refusal>((
                    leg,
                    call.offered(leg, offer, &description, &how, Timestamp::now()),
                ))
            })
            .ok_or(Refusal::UnknownCall)??;
        self.agree(&id, leg, offer, agreed, peer).await
    }

    async fn answer(&self, answer: &OfferRequest, peer: SocketAddr) -> Result<Reply, Refusal> {
        let description = self.describe(answer)?;
        let id = self.live_id(&answer.call_id).ok_or(Refusal::UnknownCall)?;
        if self.is_a_loop(answer, &description) {
            return Ok(Reply::ok_with(Dict::new().with("sdp", answer.sdp.as_str())));
        }
        self.check_replaced(&id, answer, false, peer).await?;
        let (leg, agreed) = self
            .with_live(&id, |call| {
                let leg = call.answering_leg(answer)?;
                description.audio().check_family(call.leg(leg).address)?;
                if call.recovered && (leg == Leg::Caller || !call.sides_known()) {
                    check_recovered(&description)?;
                }
                let how = self.how(answer);
                Ok::<_, Refusal>((
                    leg,
                    call.answered_by(leg, answer, &description, &how, Timestamp::now()),
                ))
            })
            .ok_or(Refusal::UnknownCall)??;
        self.agree(&id, leg, answer, agreed, peer).await
    }

    /// Whether signalling led the call past us a second time. Told by where the media goes, which is our
    /// own port: a mark in the description could be copied by an end to be met without us.
    fn is_a_loop(&self, message: &OfferRequest, description: &Description) -> bool {
        let options = &message.options;
        let id = self
            .live_id(&message.call_id)
            .filter(|_| options.loop_protect);
        let ours = |call: &mut CallRecord| call.is_ours(description.audio(), options);
        id.and_then(|id| self.with_live(&id, ours)) == Some(true)
    }

    /// Whoever joins while a payment runs would hear what is left to hear, and none who is in the call
    /// asked for it: refused, and recorded.
    async fn check_replaced(
        &self,
        id: &CallId,
        message: &OfferRequest,
        offers: bool,
        peer: SocketAddr,
    ) -> Result<(), Refusal> {
        let joins = self.with_live(id, |call| {
            let (leg, tag) = if offers {
                (call.offering_leg(message), Some(message.from_tag.as_str()))
            } else {
                (call.answering_leg(message), message.to_tag.as_deref())
            };
            // Who fits no leg is refused in any case, and recorded as the others.
            call.armed && leg.map_or(true, |leg| call.replaces(leg, tag))
        });
        if joins == Some(true)
            && let Some(holder) = self.other_holder(id, &message.call_id).await
        {
            let event = Event::AccessRefused {
                action: format!("ng transfer or fork of {id}"),
                reason: holder.to_owned(),
            };
            self.record(By::Peer(peer), Success::Failure, event).await;
            return Err(Refusal::Held(holder));
        }
        Ok(())
    }

    fn describe(&self, offer: &OfferRequest) -> Result<Description, Refusal> {
        let transport = offer.options.transport.as_deref();
        if !matches!(transport, None | Some("RTP/AVP" | "RTP/AVPF")) {
            return Err(Refusal::Transport);
        }
        Ok(Description::parse(&offer.sdp)?)
    }

    fn how<'a>(&self, offer: &'a OfferRequest) -> How<'a> {
        How {
            maskable_only: self.inner.settings.maskable_only,
            source: self.inner.settings.source,
            options: &offer.options,
        }
    }

    /// Tells the media plane, and blocks where the offer asked for it.
    async fn agree(
        &self,
        id: &CallId,
        leg: Leg,
        offer: &OfferRequest,
        agreed: Agreed,
        peer: SocketAddr,
    ) -> Result<Reply, Refusal> {
        if let Err(refusal) = self.tell_media(id, &agreed).await {
            self.with_live(id, |call| call.not_taken(leg));
            return Err(refusal);
        }
        Ok(self.agreed(id, offer, agreed.sdp, peer).await)
    }

    /// The media plane knows: what else the message asked for, and the reply.
    async fn agreed(
        &self,
        id: &CallId,
        offer: &OfferRequest,
        sdp: String,
        peer: SocketAddr,
    ) -> Reply {
        if let Some(Err(error)) = &offer.agent {
            warn!(call = %id, %error, "tonewall-agent is no address; the agent's desktop does not find the call by it");
        }
        if let Some(Err(error)) = &offer.reference {
            warn!(call = %id, %error, "tonewall-reference is none; no desktop finds the call by it");
        }
        self.tell_news(id);
        if let Some(Err(error)) = &offer.trunk {
            warn!(call = %id, %error, "tonewall-trunk is no name of a trunk; the call counts under its address");
        }
        self.shadow(id);
        let mut reply = Reply::ok_with(Dict::new().with("sdp", sdp));
        if offer.payment {
            reply = reply.warning("tonewall-payment goes with \"block DTMF\", once the call is up; no payment was begun");
        }
        match self.block_as_offered(id, offer.block_dtmf, peer).await {
            Ok(()) => reply,
            Err(problem) => reply.warning(self.not_blocked(id, &problem, peer).await),
        }
    }

    /// Tells of the legs' media; an arming is waited for before, so that no SDP leaves without it.
    async fn tell_media(&self, id: &CallId, agreed: &Agreed) -> Result<(), Refusal> {
        if agreed.recover {
            self.arm_for(id, Holder::Recovered)
                .await
                .map_err(Refusal::Recovered)?;
        }
        for (leg, media) in agreed.media.iter().chain(&agreed.moved) {
            let command = MediaCommand::SetLeg(*leg, media.clone());
            self.inner.media.send(id, command)?;
        }
        Ok(())
    }

    /// The first offer of a call: its id, and the SDP for the other end. What is refused leaves nothing.
    async fn start(
        &self,
        offer: &OfferRequest,
        description: &Description,
        peer: SocketAddr,
    ) -> Result<(CallId, String), Refusal> {
        let inner = &self.inner;
        if inner.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Full("this gateway is draining; use another node"));
        }
        let place = inner.places.clone().try_acquire_owned().map_err(|_| {
            Refusal::Full("this gateway has as many calls as it takes; use another node")
        })?;
        let (recovered, caller_tag) = self.was_armed(&offer.call_id).await;
        let by_tag = caller_tag.and_then(|tag| side_by_tag(offer, &tag));
        let by_order = match offer.caller.unwrap_or(inner.settings.caller) {
            CallerSide::Offerer => Some(Leg::Caller),
            CallerSide::Answerer => Some(Leg::Agent),
            CallerSide::Unknown => None,
        };
        // Only what comes from outside of a dialog has no To tag (RFC 3261 section 8.1.1.2). Within one
        // either end may make the first offer that is heard here.
        let side = by_tag.or_else(|| by_order.filter(|_| offer.to_tag.is_none()));
        let sides_known = side.is_some();
        let first = side.or(by_order).unwrap_or(Leg::Caller);
        if recovered && (first == Leg::Caller || !sides_known) {
            check_recovered(description)?;
        }
        let [near, far] = self.interfaces(offer, description)?;
        let (towards_caller, towards_agent) = match first {
            Leg::Caller => (near, far),
            Leg::Agent => (far, near),
        };
        let (caller_ports, caller_sockets) = towards_caller.ports.allocate()?;
        let (agent_ports, agent_sockets) = towards_agent.ports.allocate()?;
        let now = Timestamp::now();
        let id = self.new_id(now);
        let ports = [
            (caller_ports, towards_caller.advertise),
            (agent_ports, towards_agent.advertise),
        ];
        let mut record = Box::new(CallRecord::new(
            id.clone(),
            offer.call_id.as_str().into(),
            (first, sides_known),
            ports,
            place,
            now,
        ));
        record.recovered = recovered;
        record.armed = recovered;
        let leg = record.offering_leg(offer)?;
        description.audio().check_family(record.leg(leg).address)?;
        // Nothing is to be armed yet: the other leg has no media.
        let agreed = record.offered(leg, offer, description, &self.how(offer), now);
        inner
            .media
            .add_call(
                id.clone(),
                caller_sockets,
                agent_sockets,
                agreed.media,
                !sides_known,
            )
            .map_err(|_| Refusal::Full("the media workers are busy; use another node"))?;
        let started = Event::CallStarted { call: id.clone() };
        // What the call does next does not wait for it; what is recorded of it stands behind it.
        self.note(By::Peer(peer), Success::Success, started);
        self.enter(record);
        Ok((id, agreed.sdp))
    }

    /// Our addresses towards whoever makes the first offer, and towards the other end.
    fn interfaces(
        &self,
        offer: &OfferRequest,
        description: &Description,
    ) -> Result<[&Interface; 2], NoInterface> {
        let options = &offer.options;
        let networks = options.networks.as_ref();
        let (ours, other) = networks
            .map(|(ours, other)| (ours.as_str(), other.as_str()))
            .unzip();
        let address = description.audio().address;
        let family = address.map(Family::of);
        let all = &self.inner.interfaces;
        let far = match options.ipv4 {
            Some(true) => Some(Family::V4),
            Some(false) => Some(Family::V6),
            None => family,
        };
        Ok([all.choose(ours, family)?, all.choose(other, far)?])
    }

    fn new_id(&self, now: Timestamp) -> CallId {
        let settings = &self.inner.settings;
        let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let serial = Ulid::from_parts(ms, rand::random());
        CallId::new(settings.tenant.clone(), settings.node.clone(), serial)
    }

    async fn delete(&self, delete: &DeleteRequest) -> Reply {
        let _turn = self.turn(&delete.call_id).await;
        let not_found = || {
            if delete.fatal {
                Reply::error(reason::NOT_DELETED)
            } else {
                Reply::ok_with(Dict::new().with("warning", reason::NOT_DELETED))
            }
        };
        let Some(id) = self.live_id(&delete.call_id) else {
            return self
                .ended_body(&delete.call_id)
                .map_or_else(not_found, Reply::ok_with);
        };
        if let Some(tag) = &delete.from_tag
            && self.leg_of_tag(&id, tag).is_none()
        {
            return not_found();
        }
        if self.with_live(&id, |call| call.gives_up_a_fork(delete)) == Some(true) {
            let body = self.statistics(&id);
            return body.map_or_else(not_found, Reply::ok_with);
        }
        let delay = delete.delay.map(Duration::from_secs);
        self.end_and_tell(&id, Instant::now(), delay)
            .await
            .map_or_else(not_found, Reply::ok_with)
    }

    /// Tells the media plane of the leg that is named, or of both where none is. What is armed stays
    /// so, and keys are heard.
    async fn tell_legs(
        &self,
        request: &MediaRequest,
        command: impl Fn(Leg) -> MediaCommand,
    ) -> Reply {
        let _turn = self.turn(&request.call_id).await;
        let Some(id) = self.live_id(&request.call_id) else {
            return Reply::error(reason::UNKNOWN_CALL_BLOCK);
        };
        let named = self.with_live(&id, |call| {
            let leg = match (&request.label, request.address, &request.from_tag) {
                (Some(label), _, _) => call.leg_of_label(label),
                (None, Some(address), _) => call.leg_of_address(address),
                (None, None, Some(tag)) => call.leg_of_tag(tag),
                (None, None, None) => return Some(vec![Leg::Caller, Leg::Agent]),
            };
            leg.map(|leg| vec![leg])
        });
        let Some(Some(legs)) = named else {
            return Reply::error(
                "No leg of the call has this label or from-tag, or alone this address",
            );
        };
        for leg in legs {
            let command = command(leg);
            if let Err(error) = self.inner.media.send(&id, command.clone()) {
                return Reply::error(error.to_string());
            }
            if let MediaCommand::Block(_, blocked) = command {
                self.with_live(&id, |call| match leg {
                    Leg::Caller => call.kept_back.0 = blocked,
                    Leg::Agent => call.kept_back.1 = blocked,
                });
            }
        }
        Reply::ok()
    }

    /// A command that is not carried out; on an armed call somebody tried to hear what is masked.
    async fn refuse(&self, refused: &RefusedRequest, peer: SocketAddr) -> Reply {
        let RefusedRequest { command, call_id } = refused;
        let armed = call_id.as_ref().and_then(|call_id| {
            let id = self.live_id(call_id)?;
            self.with_live(&id, |call| call.armed.then(|| call.id.clone()))?
        });
        if let Some(call) = armed {
            let event = Event::AccessRefused {
                action: format!("ng {command} of {call}"),
                reason: "the call is armed".to_owned(),
            };
            self.record(By::Peer(peer), Success::Failure, event).await;
            warn!(command, %call, "NG command refused on an armed call");
        }
        RequestError::Unsupported(command).into()
    }

    async fn query(&self, query: &QueryRequest) -> Reply {
        let live = match self.live_id(&query.call_id) {
            Some(id) => self.statistics(&id),
            None => None,
        };
        match live.or_else(|| self.ended_body(&query.call_id)) {
            Some(body) => Reply::ok_with(self.told_of_payment(&query.call_id, body).await),
            None => Reply::error(reason::UNKNOWN_CALL),
        }
    }

    /// Of what clients of rtpengine read, what there is here.
    fn node_statistics(&self) -> Reply {
        let inner = &self.inner;
        let calls = self.count() as u64;
        let current = Dict::new()
            .with("sessionsown", calls)
            .with("sessionsforeign", 0_i64)
            .with("sessionstotal", calls)
            .with("transcodedmedia", 0_i64);
        let uptime = inner.since.elapsed().as_secs();
        let total = Dict::new()
            .with("uptime", uptime)
            .with("managedsessions", inner.started.load(Ordering::Relaxed))
            .with("timeoutsessions", inner.timed_out.load(Ordering::Relaxed));
        let statistics = Dict::new()
            .with("currentstatistics", current)
            .with("totalstatistics", total);
        Reply::ok_with(Dict::new().with("statistics", statistics))
    }

    fn list_calls(&self, list: ListRequest) -> Reply {
        let mut bytes = 0;
        let calls: Vec<Value> = self
            .list(&self.inner.settings.tenant)
            .into_iter()
            .take(list.limit)
            .map(|view| view.signalling_id)
            .take_while(|id| {
                bytes += id.len();
                bytes <= MAX_LIST_BYTES
            })
            .map(Value::Text)
            .collect();
        Reply::ok_with(Dict::new().with("calls", calls))
    }
}

/// Which leg makes this offer, where the caller's tag was kept.
fn side_by_tag(offer: &OfferRequest, caller_tag: &str) -> Option<Leg> {
    if offer.from_tag == caller_tag {
        Some(Leg::Caller)
    } else if offer.to_tag.as_deref() == Some(caller_tag) {
        Some(Leg::Agent)
    } else {
        None
    }
}

fn check_recovered(description: &Description) -> Result<(), Refusal> {
    if description.audio().is_maskable() {
        Ok(())
    } else {
        Err(Refusal::Recovered(ArmRefusal::Codec.into()))
    }
}

fn refused(command: &'static str, refusal: &Refusal, load_limit: bool) -> Reply {
    // The texts of refusals repeat nothing of the SDP but a transport's name.
    warn!(command, %refusal, "NG request refused");
    refusal.reply(load_limit)
}
