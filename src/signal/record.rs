//! What signalling knows of one call. No I/O here: each step returns what is to be sent.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    CallView,
    descriptions::{Branch, Branches, Said, Sent},
    statistics::Sound,
};
use crate::{
    media::ports::PortPair,
    proto::{
        call::{ArmRefusal, LegMedia, SourcePolicy},
        id::{CallId, PaymentId},
        leg::Leg,
        link::{Agent, Candidate, Finder},
        ng::{DeleteRequest, OfferRequest, SdpOptions},
        party::{AgentAddress, CallReference},
        sdp::{Audio, CodecName, Description, Rewrite},
        shadow::TrunkName,
    },
};

/// One leg.
pub(super) struct LegRecord {
    pub(super) tag: Option<Box<str>>,
    pub(super) via_branch: Option<Box<str>>,
    pub(super) label: Option<Box<str>>,
    /// Our RTP port towards this leg, the same for the whole call; RTCP is the next.
    pub(super) port: u16,
    /// Our address towards it, as SDP has it.
    pub(super) address: IpAddr,
    /// Whether it offered rtcp-mux and may have it.
    mux_wanted: bool,
    /// Whether this leg and we agreed on rtcp-mux.
    mux: bool,
    /// Where it wants its RTCP without rtcp-mux.
    reports: Option<SocketAddr>,
    /// What it wants; the last that was not on hold.
    pub(super) media: Option<LegMedia>,
    said: Said,
    sent: Sent,
}

impl LegRecord {
    pub(super) fn new(port: u16, address: IpAddr) -> Self {
        Self {
            tag: None,
            via_branch: None,
            label: None,
            port,
            address,
            mux_wanted: false,
            mux: false,
            reports: None,
            media: None,
            said: Said::default(),
            sent: Sent::default(),
        }
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.tag.as_deref() == Some(tag)
    }

    /// Takes over what this leg's description says; tells whether it is new.
    fn set_media(&mut self, audio: &Audio, how: &How<'_>) -> Option<LegMedia> {
        let media = leg_media(audio, self.mux, how)?;
        self.reports = audio.rtcp;
        if let (Some(reports), Some(address)) = (&mut self.reports, how.options.source_address) {
            reports.set_ip(address);
        }
        if self.media.as_ref() == Some(&media) {
            return None;
        }
        self.media = Some(media.clone());
        Some(media)
    }

    /// The other end has answered; tells where RTCP goes, if that is new.
    fn set_mux(&mut self, mux: bool) -> Option<LegMedia> {
        self.mux = mux;
        let media = self.media.as_mut()?;
        let rtcp = if mux { media.rtp } else { self.reports? };
        if media.rtcp == rtcp {
            return None;
        }
        media.rtcp = rtcp;
        Some(media.clone())
    }
}

/// What both `offer` and `answer` bring along.
pub(super) struct How<'a> {
    pub(super) maskable_only: bool,
    pub(super) source: SourcePolicy,
    pub(super) options: &'a SdpOptions,
}

/// What an offer or an answer leads to.
pub(super) struct Agreed {
    /// For the other end.
    pub(super) sdp: String,
    /// The media plane is to arm first: the call was armed when the gateway last knew it.
    pub(super) recover: bool,
    /// Then it is to be told this.
    pub(super) media: Option<(Leg, LegMedia)>,
    /// And this: the answer decided where the offerer gets its RTCP.
    pub(super) moved: Option<(Leg, LegMedia)>,
}

/// Why tags do not fit a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TagError {
    /// A call has two legs.
    #[error("The call has two legs, and neither has this from-tag; use another call-id")]
    ThirdParty,
    /// An answer to nobody.
    #[error("No leg of the call has this from-tag, so there is no offer that this would answer")]
    NoOffer,
}

/// What is known of the trunk that the caller's leg came by.
#[derive(Default)]
struct Trunk {
    /// What signalling called it.
    named: Option<TrunkName>,
    /// From where the caller's end signalled, where a message said so.
    address: Option<IpAddr>,
    /// Whether it was asked for.
    taken: bool,
}

/// What signalling tells of whose call it is.
#[derive(Default)]
struct Names {
    agent: Option<AgentAddress>,
    reference: Option<CallReference>,
}

/// One call.
pub(super) struct CallRecord {
    pub(super) id: CallId,
    /// Shared by all who find the call by it.
    pub(super) signalling_id: Arc<str>,
    pub(super) started: Timestamp,
    pub(super) last_signal: Timestamp,
    /// Which leg made the first offer.
    first: Leg,
    /// Whether the first offer tells who called whom: it does not within a dialog, where either end
    /// may offer (RFC 3261 section 14.1). Masking the wrong leg would show every key to the agent.
    sides_known: bool,
    pub(super) caller: LegRecord,
    pub(super) agent: LegRecord,
    pub(super) armed: bool,
    /// It was armed when the gateway last knew it.
    pub(super) recovered: bool,
    recovery_sent: bool,
    /// `block-DTMF` came with an offer and waits for the answer.
    pub(super) block_wanted: bool,
    /// `block DTMF` holds it.
    pub(super) blocked: bool,
    /// Legs whose media `block media` keeps from the other: the caller's, the agent's.
    pub(super) kept_back: (bool, bool),
    pub(super) incident: bool,
    /// The last payment that was begun by NG.
    pub(super) payment: Option<PaymentId>,
    /// How the caller and the agent sounded, at worst and at best.
    pub(super) sound: (Sound, Sound),
    trunk: Trunk,
    names: Option<Box<Names>>,
    /// A digest of what [`Self::news`] told last.
    told: u64,
    branches: Branches,
    /// Its ports, and its place among the calls that this node takes; until it ends.
    held: Option<((PortPair, PortPair), OwnedSemaphorePermit)>,
}

impl CallRecord {
    pub(super) fn new(
        id: CallId,
        signalling_id: Arc<str>,
        (first, sides_known): (Leg, bool),
        ports: [(PortPair, IpAddr); 2],
        place: OwnedSemaphorePermit,
        now: Timestamp,
    ) -> Self {
        let [(caller, towards_caller), (agent, towards_agent)] = ports;
        Self {
            id,
            signalling_id,
            started: now,
            last_signal: now,
            first,
            sides_known,
            caller: LegRecord::new(caller.rtp_port(), towards_caller),
            agent: LegRecord::new(agent.rtp_port(), towards_agent),
            armed: false,
            recovered: false,
            recovery_sent: false,
            block_wanted: false,
            blocked: false,
            kept_back: (false, false),
            incident: false,
            payment: None,
            sound: Default::default(),
            trunk: Trunk::default(),
            names: None,
            told: 0,
            branches: Branches::default(),
            held: Some(((caller, agent), place)),
        }
    }

    /// Gives its place up; its ports, which may rest once their sockets are closed.
    pub(super) fn let_go(&mut self) -> Option<(PortPair, PortPair)> {
        self.held.take().map(|(ports, _)| ports)
    }

    pub(super) const fn leg(&self, leg: Leg) -> &LegRecord {
        match leg {
            Leg::Caller => &self.caller,
            Leg::Agent => &self.agent,
        }
    }

    const fn leg_mut(&mut self, leg: Leg) -> &mut LegRecord {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }

    pub(super) fn leg_of_tag(&self, tag: &str) -> Option<Leg> {
        [self.first, self.first.other()]
            .into_iter()
            .find(|leg| self.leg(*leg).has_tag(tag))
    }

    pub(super) fn leg_of_label(&self, label: &str) -> Option<Leg> {
        [Leg::Caller, Leg::Agent]
            .into_iter()
            .find(|leg| self.leg(*leg).label.as_deref() == Some(label))
    }

    /// The one leg whose media is at this address.
    pub(super) fn leg_of_address(&self, address: IpAddr) -> Option<Leg> {
        let is_at = |leg: &Leg| {
            let media = self.leg(*leg).media.as_ref();
            media.is_some_and(|media| media.rtp.ip() == address)
        };
        let mut found = [Leg::Caller, Leg::Agent].into_iter().filter(is_at);
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether this is where the call's own media comes to us: a description that says so has been
    /// here, whoever brings it again.
    pub(super) fn is_ours(&self, audio: &Audio, options: &SdpOptions) -> bool {
        audio.rtp.is_some_and(|rtp| {
            [&self.caller, &self.agent].into_iter().any(|leg| {
                let at = options.media_address.unwrap_or(leg.address);
                rtp.port() == leg.port && (rtp.ip() == leg.address || rtp.ip() == at)
            })
        })
    }

    /// Whether it is known which end is the caller. Where it is not, both are masked.
    pub(super) const fn sides_known(&self) -> bool {
        self.sides_known
    }

    /// Tag of the caller's leg, where it is known which that is.
    pub(super) fn caller_tag(&self) -> Option<String> {
        let tag = self.caller.tag.as_deref().filter(|_| self.sides_known);
        tag.map(str::to_owned)
    }

    /// Tags of the legs whose digits the other one does not get while the call is armed.
    pub(super) fn masked_tags(&self) -> Vec<String> {
        let agent = self.agent.tag.as_deref().filter(|_| !self.sides_known);
        let tags = self.caller.tag.as_deref().into_iter().chain(agent);
        tags.map(str::to_owned).collect()
    }

    /// Whether both ends have agreed on media.
    pub(super) const fn answered(&self) -> bool {
        self.caller.media.is_some() && self.agent.media.is_some()
    }

    /// Whether `block media` keeps this leg's media from the other.
    pub(super) const fn keeps_back(&self, leg: Leg) -> bool {
        match leg {
            Leg::Caller => self.kept_back.0,
            Leg::Agent => self.kept_back.1,
        }
    }

    /// Why it cannot be armed, if so.
    pub(super) fn refusal(&self) -> Option<ArmRefusal> {
        let (Some(caller), Some(agent)) = (&self.caller.media, &self.agent.media) else {
            return Some(ArmRefusal::NotAnswered);
        };
        if self.incident {
            return Some(ArmRefusal::Incident);
        }
        let has_audio = |media: &LegMedia| {
            let mut types = media.payload_types.iter();
            types.any(|(_, encoding)| encoding.audio().is_some())
        };
        let can_be_masked = has_audio(caller) && (self.sides_known || has_audio(agent));
        (!can_be_masked).then_some(ArmRefusal::Codec)
    }

    pub(super) fn view(&self) -> CallView {
        CallView {
            id: self.id.clone(),
            signalling_id: self.signalling_id.to_string(),
            caller_tag: self.caller.tag.as_deref().map(str::to_owned),
            agent: self.agent_address().cloned(),
            agent_tag: self.agent.tag.as_deref().map(str::to_owned),
            sides_known: self.sides_known,
            started: self.started,
            answered: self.answered(),
            refusal: self.refusal().map(|refusal| refusal.to_string()),
            armed: self.armed,
        }
    }

    /// The trunk of the call, once the caller's media is known and only then: a name that signalling
    /// gave, else the address that the caller's end signalled from, else that of its media. Nothing
    /// where it is not known which end is the caller.
    pub(super) fn take_trunk(&mut self) -> Option<TrunkName> {
        let media = self.caller.media.as_ref().filter(|_| self.sides_known)?;
        if std::mem::replace(&mut self.trunk.taken, true) {
            return None;
        }
        let address = self.trunk.address.unwrap_or(media.rtp.ip());
        Some(self.trunk.named.take().unwrap_or_else(|| address.into()))
    }

    /// What a message of this leg tells of the trunk.
    fn note_trunk(&mut self, leg: Leg, message: &OfferRequest) {
        if let Some(Ok(name)) = &message.trunk {
            self.trunk.named.get_or_insert_with(|| name.clone());
        }
        if leg == Leg::Caller {
            self.trunk.address = self.trunk.address.or(message.received_from);
        }
    }

    fn agent_address(&self) -> Option<&AgentAddress> {
        self.names.as_ref()?.agent.as_ref()
    }

    /// What a message says of whose call it is, before its tag is taken over: of an agent who is replaced
    /// nothing is left.
    fn note_names(&mut self, leg: Leg, tag: Option<&str>, message: &OfferRequest) {
        let known = self.agent.tag.as_deref();
        if leg == Leg::Agent
            && known.is_some()
            && known != tag
            && let Some(names) = &mut self.names
        {
            names.agent = None;
        }
        if let Some(Ok(agent)) = &message.agent {
            self.names.get_or_insert_default().agent = Some(agent.clone());
        }
        if let Some(Ok(reference)) = &message.reference {
            self.names.get_or_insert_default().reference = Some(reference.clone());
        }
    }

    /// Whether a desktop that looks for its call this way means this one.
    pub(super) fn is_found_by(&self, finder: &Finder) -> bool {
        match finder {
            Finder::Call(id) => self.id == *id,
            Finder::Agent(address) => {
                let heard = self.agent_address();
                heard.is_some_and(|heard| address.covers(heard))
            }
            Finder::Reference(reference) => {
                let known = self.names.as_ref();
                known.is_some_and(|names| names.reference.as_ref() == Some(reference))
            }
        }
    }

    /// As links look at it.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            call: self.id.clone(),
            answered: self.answered(),
            sides_known: self.sides_known,
            agent: Agent {
                address: self.agent_address().cloned(),
                tag: self.agent.tag.as_deref().map(str::to_owned),
            },
        }
    }

    /// The call anew, where it was answered or has another agent since this was last asked.
    pub(super) fn news(&mut self) -> Option<CallView> {
        let mut hasher = DefaultHasher::new();
        (self.answered(), &self.agent.tag, self.agent_address()).hash(&mut hasher);
        let now = hasher.finish();
        (std::mem::replace(&mut self.told, now) != now).then(|| self.view())
    }

    /// Which leg makes this offer.
    pub(super) fn offering_leg(&self, offer: &OfferRequest) -> Result<Leg, TagError> {
        if let Some(leg) = self.leg_of_tag(&offer.from_tag) {
            return Ok(leg);
        }
        // The other end's first message may be an offer of its own.
        let to = offer.to_tag.as_deref().and_then(|tag| self.leg_of_tag(tag));
        match to.map(Leg::other) {
            // Its first message, or somebody who takes its place: a transfer.
            Some(leg) => Ok(leg),
            // An INVITE tried anew under the same Call-ID.
            None if !self.answered() => Ok(self.first),
            None => Err(TagError::ThirdParty),
        }
    }

    /// Whether a message of this tag puts somebody else in a leg's place: a transfer, or a fork that
    /// is answered elsewhere.
    pub(super) fn replaces(&self, leg: Leg, tag: Option<&str>) -> bool {
        let known = self.leg(leg).tag.as_deref();
        self.answered() && known.is_some() && known != tag
    }

    /// Whether a `delete` speaks of one fork that came to nothing, and others are left or answered.
    pub(super) fn gives_up_a_fork(&mut self, delete: &DeleteRequest) -> bool {
        if let Some(tag) = delete.to_tag.as_deref()
            && self.answered()
            && self.leg_of_tag(tag).is_none()
        {
            return true;
        }
        let branch = delete.via_branch.as_deref();
        branch.is_some_and(|branch| self.branches.give_up(branch))
    }

    /// Which leg gives this answer: the one that did not offer.
    pub(super) fn answering_leg(&self, answer: &OfferRequest) -> Result<Leg, TagError> {
        self.leg_of_tag(&answer.from_tag)
            .map(Leg::other)
            .ok_or(TagError::NoOffer)
    }

    /// Takes over an offer of this leg.
    pub(super) fn offered(
        &mut self,
        leg: Leg,
        offer: &OfferRequest,
        description: &Description,
        how: &How<'_>,
        now: Timestamp,
    ) -> Agreed {
        self.last_signal = now;
        self.note_trunk(leg, offer);
        let audio = description.audio();
        let mux = how.options.mux;
        let to_other = (audio.mux || mux.offer) && !mux.demux;
        self.note_names(leg, Some(&offer.from_tag), offer);
        let offerer = self.leg_mut(leg);
        offerer.tag = Some(offer.from_tag.as_str().into());
        offerer.via_branch = offer.via_branch.as_deref().map(Box::from);
        if let Some(label) = &offer.label {
            offerer.label = Some(label.as_str().into());
        }
        offerer.mux_wanted = audio.mux && !mux.reject;
        // Until the answer tells, as it was agreed before.
        let accepted = mux.accept || mux.demux;
        offerer.mux = offerer.mux_wanted && (offerer.mux || accepted);
        let set = offerer.set_media(audio, how);
        let (sdp, codecs) = self.describe(leg, description, how, to_other, None);
        self.branches.enter(Branch {
            via: offer.via_branch.clone(),
            from: leg,
            mux_offered: to_other,
            mux_accepted: accepted,
            codecs,
        });
        Agreed {
            sdp,
            recover: self.recovers(),
            media: set.map(|media| (leg, media)),
            moved: None,
        }
    }

    /// Takes over the answer of this leg.
    pub(super) fn answered_by(
        &mut self,
        leg: Leg,
        answer: &OfferRequest,
        description: &Description,
        how: &How<'_>,
        now: Timestamp,
    ) -> Agreed {
        self.last_signal = now;
        self.note_trunk(leg, answer);
        let audio = description.audio();
        self.note_names(leg, answer.to_tag.as_deref(), answer);
        let answerer = self.leg_mut(leg);
        answerer.tag = answer.to_tag.as_deref().map(Box::from);
        if let Some(label) = &answer.label {
            answerer.label = Some(label.as_str().into());
        }
        let offered = self
            .branches
            .find(leg.other(), answer.via_branch.as_deref());
        let (mux_offered, mux_accepted, codecs) = offered
            .map(|branch| {
                let codecs = branch.codecs.clone();
                (branch.mux_offered, branch.mux_accepted, Some(codecs))
            })
            .unwrap_or_default();
        let answerer = self.leg_mut(leg);
        answerer.mux = audio.mux && mux_offered;
        let agreed = answerer.mux;
        let set = answerer.set_media(audio, how);
        let offerer = self.leg_mut(leg.other());
        let moved = offerer.set_mux(offerer.mux_wanted && (agreed || mux_accepted));
        let mux = offerer.mux;
        let (sdp, _) = self.describe(leg, description, how, mux, Some(codecs.unwrap_or_default()));
        Agreed {
            sdp,
            recover: self.recovers(),
            media: set.map(|media| (leg, media)),
            moved: moved.map(|media| (leg.other(), media)),
        }
    }

    /// What this leg's description becomes for the other end; an answer to these codecs.
    fn describe(
        &mut self,
        from: Leg,
        description: &Description,
        how: &How<'_>,
        mux: bool,
        answers: Option<Vec<CodecName>>,
    ) -> (String, Vec<CodecName>) {
        let options = how.options;
        let said = self.leg_mut(from).said.first(description, options);
        let reader = self.leg_mut(from.other());
        let rewrite = Rewrite {
            address: options.media_address.unwrap_or(reader.address),
            port: reader.port,
            mux,
            answer: answers.is_some(),
            replace_origin: options.replace_origin,
            replace_session_connection: options.replace_session_connection,
            replace_zero_address: options.replace_zero_address,
            user: said.user,
            version: None,
            session_name: said.session_name,
            rtcp_attribute: !options.no_rtcp_attribute,
            transport: options.transport.clone(),
            codecs: options.codecs.clone(),
            maskable_only: how.maskable_only,
            // Without a list nothing is known of the offer: it came before a restart, say.
            offered: answers.filter(|codecs| !codecs.is_empty()),
        };
        if options.replace_version {
            reader.sent.versioned(description, rewrite)
        } else {
            description.rewrite(&rewrite)
        }
    }

    /// Whether it is to be armed now. A call that was armed before is armed before its second leg gets
    /// media, so that no packet passes in between.
    fn recovers(&mut self) -> bool {
        let now = self.recovered && !self.recovery_sent && self.answered();
        self.recovery_sent |= now;
        now
    }

    /// The media plane did not take what an offer or answer led to: the next one sends it again.
    pub(super) fn not_taken(&mut self, leg: Leg) {
        self.leg_mut(leg).media = None;
        self.recovery_sent = false;
    }
}

fn leg_media(audio: &Audio, mux: bool, how: &How<'_>) -> Option<LegMedia> {
    let (mut rtp, mut rtcp) = (audio.rtp?, audio.rtcp?);
    if let Some(address) = how.options.source_address {
        rtp.set_ip(address);
        rtcp.set_ip(address);
    }
    Some(LegMedia {
        rtp,
        rtcp: if mux { rtp } else { rtcp },
        source: if how.options.strict_source {
            SourcePolicy::Exact
        } else {
            how.source
        },
        payload_types: audio.payload_types.clone(),
        packet_time: audio.packet_time,
    })
}
