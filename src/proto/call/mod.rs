//! One call: two legs, and what stands between them.
//!
//! Two doors. Media goes through [`Call::handle_media`] and leaves at once; commands go through
//! [`Call::handle_command`], and what they lead to is drained with [`Call::poll_output`] after every
//! input. Draining twice or waking early is harmless.

mod armed;
mod arming;
mod command;
mod dialling;
mod field;
mod hearing;
mod mirror;
mod sequence;
mod shadow;
mod source;
mod spoken;
mod stream;
#[cfg(test)]
mod tests;
mod trigger;

use std::{collections::VecDeque, sync::Arc, time::Instant};

pub use command::{ArmRefusal, Command, Holder, LegMedia, Output, SourcePolicy};
pub use spoken::Voice;
pub use trigger::{
    AgentCode, AgentKey, CODE_PATIENCE, CodeRefusal, Dialled, KeyCode, KeyCodeError, Pin, PinError,
};

use self::{
    armed::Heard,
    arming::{HANGOVER, Release},
    dialling::Dialling,
    field::field_of,
    mirror::{Mirror, clear_rtcp, translate_reports},
    shadow::Shadow,
    source::Source,
    spoken::Spoken,
    stream::{CallerStream, PayloadTypes},
};
use super::{
    capture::{Capture, CaptureEvent, CaptureEventKind, CaptureFailure},
    card::Brand,
    digit::Key,
    field::Field,
    id::PaymentId,
    leg::Leg,
    link::SpokenCode,
    mask::{Masking, Outbox, Profile, Rebuilt},
    proof::MaskingProof,
    rtp::{Kind, MAX_DATAGRAM, RtpError, RtpHeader, kind_of, rtcp},
    sip::{InfoError, read_key},
    time::Now,
};

/// Which port of a leg a datagram came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The even port: RTP, and RTCP with rtcp-mux.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// What is to be done with a datagram that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Nothing leaves.
    Nothing,
    /// The datagram itself goes to the caller as RTP.
    ToCallerRtp,
    /// Its first so many bytes do.
    ToCallerCut(usize),
    /// The datagram itself goes to the caller as RTCP.
    ToCallerRtcp,
    /// What the outbox holds goes to the agent as RTP.
    ToAgentRtp,
    /// What the outbox holds goes to the agent as RTCP.
    ToAgentRtcp,
    /// What the outbox holds goes to the caller as RTP: who is the caller is not known.
    MirroredRtp,
    /// What the outbox holds goes to the caller as RTCP, likewise.
    MirroredRtcp,
}

/// What is to be done with a SIP INFO of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfoForward {
    /// The call is not armed: the request may go to the agent, its body is untouched.
    Relay,
    /// It stays here: its key was taken, its body overwritten.
    Keep,
}

/// Why nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not RTP and not RTCP.
    #[error("neither RTP nor RTCP")]
    NotMedia,
    /// RTP that does not hold what its header announces.
    #[error(transparent)]
    Rtp(#[from] RtpError),
    /// RTCP that does not hold the packets it announces, on an armed call: it cannot be rebuilt.
    #[error("malformed RTCP: {0} bytes that do not hold the packets they announce")]
    Rtcp(usize),
    /// Another source than the one that is followed, from the leg's own address.
    #[error("of another source (SSRC) than the one that is followed")]
    Source,
    /// No answer has named the other end yet.
    #[error("the other end is not known yet")]
    NotAnswered,
}

/// Whose RTP each leg is.
#[derive(Default)]
struct Sources {
    caller: Source,
    agent: Source,
    /// It was told that a leg's set-up was contested.
    contest_told: bool,
}

/// One call. Owned by one worker; simulated time and real time alike.
#[derive(Default)]
pub struct Call {
    caller: Option<LegMedia>,
    agent: Option<LegMedia>,
    types: Option<PayloadTypes>,
    stream: CallerStream,
    /// The other way, where it is not known which leg is the caller's: that is masked likewise.
    mirror: Option<Box<Mirror>>,
    sources: Sources,
    holders: Vec<Holder>,
    armed_since: Option<Instant>,
    release: Option<Release>,
    capture: Option<Capture>,
    /// Whose keys the open field takes, where that is not the caller's leg.
    keyed_by_agent: bool,
    /// The brand of a payment's card number: its security code is as long as the brand has it.
    brand: Option<Box<(PaymentId, Brand)>>,
    incident: bool,
    proof: MaskingProof,
    shadow: Option<Box<Shadow>>,
    outputs: VecDeque<Output>,
    masking: Masking,
    /// What is being read out to the agent.
    spoken: Option<Box<Spoken>>,
    /// Of an agent who may dial a code that starts a payment.
    dialling: Option<Box<Dialling>>,
}

impl Call {
    /// A call whose armings begin as `masking` says.
    #[must_use]
    pub fn new(masking: Masking) -> Self {
        Self {
            masking,
            ..Self::default()
        }
    }

    /// Reads a code out to the agent in place of what the caller says, from the caller's next packet on;
    /// one that is being read ends. Nothing is read out where the call is armed, or not known which end
    /// the agent is.
    pub fn read_out(&mut self, voice: Arc<Voice>, code: SpokenCode) {
        let may_speak = !self.stream.is_armed() && self.mirror.is_none();
        self.spoken = may_speak.then(|| Box::new(Spoken::new(voice, code)));
    }

    /// What signalling agreed for a leg.
    #[must_use]
    pub const fn leg(&self, leg: Leg) -> Option<&LegMedia> {
        match leg {
            Leg::Caller => self.caller.as_ref(),
            Leg::Agent => self.agent.as_ref(),
        }
    }

    /// Whether anything holds the call armed, or a release is still under way.
    #[must_use]
    pub const fn is_armed(&self) -> bool {
        self.stream.is_armed()
    }

    /// Whether a packet of this leg may hold a key that must stay here.
    #[must_use]
    pub const fn hides(&self, from: Leg) -> bool {
        let is_heard = matches!(from, Leg::Caller) || self.mirror.is_some();
        self.is_armed() && is_heard
    }

    /// Whether shadow mode would listen to the caller's next packet.
    #[must_use]
    pub const fn is_shadowed(&self) -> bool {
        self.shadow.is_some() && !self.stream.is_armed()
    }

    /// Shadow mode does not listen to the caller's next packet: there is no time for it.
    pub fn spare_shadow(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            shadow.spare();
        }
    }

    /// A datagram that `from` sent to its `channel`. What may leave towards the agent is put into
    /// `out`; what leaves towards the caller is `datagram` itself, edited in place.
    ///
    /// # Errors
    /// [`Refused`] when the datagram is no media of this call; nothing leaves then.
    pub fn handle_media(
        &mut self,
        from: Leg,
        channel: Channel,
        datagram: &mut [u8],
        now: Now,
        out: &mut Outbox,
    ) -> Result<Forward, Refused> {
        out.clear();
        // What is longer was cut by whoever read it.
        if datagram.len() > MAX_DATAGRAM {
            return Err(RtpError::TooLong(datagram.len()).into());
        }
        let kind = match (channel, kind_of(datagram)) {
            (Channel::Rtp, kind) | (Channel::Rtcp, kind @ Kind::Rtcp) => kind,
            (Channel::Rtcp, _) => Kind::Other,
        };
        match (from, kind) {
            (_, Kind::Other) => Err(Refused::NotMedia),
            (Leg::Agent, Kind::Rtp) => {
                let header = RtpHeader::parse(datagram)?;
                let taken = self.sources.agent.takes(&header, now.instant);
                self.note_contest();
                if self.mirror.is_some() {
                    self.handle_mirrored_rtp(datagram, &header, taken, now, out)?;
                    return Ok(Forward::MirroredRtp);
                }
                if !taken {
                    return Err(Refused::Source);
                }
                Ok(self.relay_agents(datagram, &header, now))
            }
            (Leg::Agent, Kind::Rtcp) => {
                translate_reports(&self.stream, datagram);
                if self.mirror.is_some() {
                    self.clear_mirrored_rtcp(datagram, out)?;
                    return Ok(Forward::MirroredRtcp);
                }
                if !self.sources.agent.takes_rtcp(rtcp::sender(datagram)) {
                    return Err(Refused::Source);
                }
                Ok(Forward::ToCallerRtcp)
            }
            (Leg::Caller, Kind::Rtp) => {
                let header = RtpHeader::parse(datagram)?;
                self.handle_callers_rtp(datagram, &header, now, out)?;
                Ok(Forward::ToAgentRtp)
            }
            (Leg::Caller, Kind::Rtcp) => {
                if let Some(mirror) = &self.mirror {
                    translate_reports(&mirror.stream, datagram);
                }
                self.clear_callers_rtcp(datagram, out)?;
                Ok(Forward::ToAgentRtcp)
            }
        }
    }

    fn handle_callers_rtp(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        now: Now,
        out: &mut Outbox,
    ) -> Result<(), Refused> {
        if self.types.is_none() {
            return Err(Refused::NotAnswered);
        }
        let taken = self.sources.caller.takes(header, now.instant);
        self.note_contest();
        let types = self.types.as_ref().ok_or(Refused::NotAnswered)?;
        if !self.stream.is_armed() {
            if !taken {
                return Err(Refused::Source);
            }
            let spoken = self.spoken.as_mut();
            match spoken.and_then(|spoken| spoken.in_place_of(datagram, header, types)) {
                Some((said, header)) => {
                    self.stream.relay(said, &header, types, out);
                    self.spoken.take_if(|spoken| spoken.is_over());
                }
                None => self.stream.relay(datagram, header, types, out),
            }
            // What stays behind belongs to an arming. The outbox is beyond the listener's reach.
            if let Some(shadow) = &mut self.shadow
                && !out.is_empty()
            {
                shadow.hear(datagram, header, types, now);
            }
            return Ok(());
        }
        self.stream.begin(header, types, self.masking, now);
        let Some(armed) = self.stream.armed_mut() else {
            return Ok(());
        };
        let mut none = None;
        let capture = field_of(&mut self.capture, !self.keyed_by_agent, &mut none);
        let heard = armed.handle(datagram, header, types, capture, now, out);
        self.note(&heard, Leg::Caller);
        self.keep_cover(now);
        self.try_release(now);
        Ok(())
    }

    /// Two addresses competed for being a leg's: which of them is the end of this call is not known.
    pub fn contest(&mut self, leg: Leg) {
        self.source_mut(leg).contest();
        self.note_contest();
    }

    const fn source_mut(&mut self, leg: Leg) -> &mut Source {
        match leg {
            Leg::Caller => &mut self.sources.caller,
            Leg::Agent => &mut self.sources.agent,
        }
    }

    fn note_contest(&mut self) {
        let Sources {
            caller,
            agent,
            contest_told,
        } = &mut self.sources;
        let leg = match (caller.is_contested(), agent.is_contested()) {
            (true, _) => Leg::Caller,
            (false, true) => Leg::Agent,
            (false, false) => return,
        };
        if std::mem::replace(contest_told, true) {
            return;
        }
        if leg == self.keyed_by() {
            self.fail_capture(CaptureFailure::Contested);
            self.drain_capture();
        }
        self.outputs.push_back(Output::Contested(leg));
    }

    fn note(&mut self, heard: &Heard, from: Leg) {
        if let Some(failure) = heard.failure.filter(|_| from == self.keyed_by()) {
            self.fail_capture(failure);
        }
        if heard.incident && !self.incident {
            self.incident = true;
            self.fail_capture(CaptureFailure::Incident);
            self.outputs.push_back(Output::Incident);
        }
        if let Some(guard) = heard.tightened {
            self.outputs.push_back(Output::Tightened(guard));
        }
        self.drain_capture();
    }

    /// With [`Profile::Continuous`] a field is behind one mask, from its opening until after its close.
    fn keep_cover(&mut self, now: Now) {
        if self.masking.profile != Profile::Continuous {
            return;
        }
        let open = |by_agent| self.capture.is_some() && self.keyed_by_agent == by_agent;
        let (callers, agents) = (open(false), open(true));
        if let Some(armed) = self.stream.armed_mut() {
            armed.keep_cover(callers, now);
        }
        let mirror = self.mirror.as_mut();
        if let Some(armed) = mirror.and_then(|mirror| mirror.stream.armed_mut()) {
            armed.keep_cover(agents, now);
        }
    }

    /// The body of a SIP INFO request of the caller that carries DTMF. While armed the key in it goes
    /// where keys of the media go, one press counted once whichever of them tell it, and the body is
    /// overwritten; nothing of what leaves towards the agent depends on it. A request that the
    /// transport repeats is its transaction's to recognise (RFC 3261 section 17.2.2), not this one's.
    ///
    /// # Errors
    /// [`InfoError`] when an armed call's body does not tell one key. It is overwritten all the same,
    /// and the request stays here.
    pub fn handle_info(&mut self, body: &mut [u8], now: Now) -> Result<InfoForward, InfoError> {
        if !self.stream.is_armed() {
            if let Some(shadow) = &mut self.shadow {
                shadow.hear_info(body, now);
            }
            return Ok(InfoForward::Relay);
        }
        self.take_press(read_key(body)?, now);
        Ok(InfoForward::Keep)
    }

    /// A key of the caller that signalling has read out of a SIP message. It counts like one of
    /// [`Self::handle_info`] while the call is armed, and is dropped otherwise.
    pub fn handle_press(&mut self, key: Key, now: Now) -> InfoForward {
        if self.stream.is_armed() {
            self.take_press(key, now);
            return InfoForward::Keep;
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.hear_press(key, now);
        }
        InfoForward::Relay
    }

    fn take_press(&mut self, key: Key, now: Now) {
        if self.keyed_by_agent {
            self.proof.keys_heard += 1;
            return;
        }
        if let Some(armed) = self.stream.armed_mut() {
            armed.hear_info(key, &mut self.capture, now);
        } else {
            hearing::hear_info_before_media(key, &mut self.capture, now);
            self.proof.keys_heard += 1;
        }
        self.drain_capture();
        self.keep_cover(now);
        self.try_release(now);
    }

    fn clear_callers_rtcp(&mut self, datagram: &mut [u8], out: &mut Outbox) -> Result<(), Refused> {
        if self.types.is_none() {
            return Err(Refused::NotAnswered);
        }
        clear_rtcp(&self.stream, &self.sources.caller, datagram, out)
    }

    /// Media and control that time releases. Call it at [`Call::poll_timeout`]; what may leave
    /// towards the agent (as RTP) is in `out`.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        out.clear();
        if let (Some(armed), Some(types)) = (self.stream.armed_mut(), &self.types) {
            let mut none = None;
            let capture = field_of(&mut self.capture, !self.keyed_by_agent, &mut none);
            let heard = armed.handle_timeout(types, capture, now, out);
            self.note(&heard, Leg::Caller);
        }
        if let Some(capture) = &mut self.capture {
            capture.handle_timeout(now);
        }
        self.drain_capture();
        self.keep_cover(now);
        self.try_release(now);
    }

    /// When [`Call::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let release = self.release.map(|release| release.next_try);
        let mirror = self.mirror.as_ref().map(|mirror| &mirror.stream);
        let owes = self.stream.owes_farewell() || mirror.is_some_and(CallerStream::owes_farewell);
        let farewell = owes.then_some(self.armed_since).flatten();
        let capture = self.capture.as_ref().and_then(Capture::poll_timeout);
        let held = self.stream.poll_timeout();
        let mirrored = mirror.and_then(CallerStream::poll_timeout);
        let all = [release, farewell, capture, held, mirrored];
        all.into_iter().flatten().min()
    }

    /// A command of the control plane.
    pub fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::SetLeg(leg, media) => self.set_leg(leg, media),
            Command::MaskBoth => self.mask_both(now),
            Command::Arm(holder) => self.arm(holder, now),
            Command::Release(holder) => self.release_holder(&holder, now),
            Command::OpenCapture {
                payment,
                field,
                from,
                settings,
                slot,
            } => {
                self.close_capture(now);
                self.keyed_by_agent = from == Leg::Agent;
                if let Some(reason) = self.capture_refusal(&payment) {
                    let kind = CaptureEventKind::Failed { reason };
                    self.outputs.push_back(Output::Capture(CaptureEvent {
                        payment,
                        field,
                        kind,
                    }));
                } else {
                    if field == Field::PaymentCardNumber {
                        self.forget_brand_of(&payment);
                    }
                    let brand = self.brand.as_ref().filter(|known| known.0 == payment);
                    let brand = brand.map(|known| known.1);
                    self.capture = Some(Capture::open(payment, field, settings, slot, brand, now));
                }
            }
            Command::CloseCapture(payment) => self.close_capture_of(&payment, now),
            Command::Shadow => {
                self.shadow.get_or_insert_default();
            }
            Command::HangUp => self.hang_up(now),
        }
        self.drain_capture();
        self.keep_cover(now);
        self.try_release(now);
    }

    /// What happened, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > 0 {
            // Rare as they are, nothing is kept for the next ones.
            self.outputs = VecDeque::new();
        }
        output
    }

    fn set_leg(&mut self, leg: Leg, media: LegMedia) {
        let place = |media: &LegMedia| (media.rtp, media.source);
        if self
            .leg(leg)
            .is_some_and(|known| place(known) != place(&media))
        {
            *self.source_mut(leg) = Source::default();
            self.sources.contest_told = false;
            if leg == self.keyed_by() {
                // Keys from two places are not those of one card: whoever is there now is asked anew.
                self.fail_capture(CaptureFailure::MediaChanged);
                self.drain_capture();
            }
        }
        match leg {
            Leg::Caller => self.caller = Some(media),
            Leg::Agent => self.agent = Some(media),
        }
        if let (Some(caller), Some(agent)) = (&self.caller, &self.agent) {
            self.types = Some(PayloadTypes::of(caller, agent));
            self.stream.agree(agent);
            if let Some(dialling) = &mut self.dialling {
                dialling.agree();
            }
            if let Some(mirror) = &mut self.mirror {
                mirror.agree(agent, caller);
            }
        }
    }

    fn hang_up(&mut self, now: Now) {
        self.close_capture(now);
        self.holders.clear();
        self.release = None;
        self.count_armed_time(now);
        self.stream.add_to(&mut self.proof);
        if let Some(mirror) = self.mirror.take() {
            mirror.stream.add_to(&mut self.proof);
        }
        self.stream = CallerStream::default();
        self.types = None;
        self.dialling = None;
        if let Some(tally) = self.shadow.take().and_then(|shadow| shadow.end()) {
            self.outputs.push_back(Output::Shadowed(Box::new(tally)));
        }
        self.outputs.push_back(Output::Ended(self.proof));
    }
}
