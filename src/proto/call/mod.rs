//! One call: two legs, and what stands between them.
//!
//! Two doors. Media goes through [`Call::handle_media`] and leaves at once; commands go through
//! [`Call::handle_command`], and what they lead to is drained with [`Call::poll_output`] after every
//! input. Draining twice or waking early is harmless.

mod armed;
mod command;
mod hearing;
mod sequence;
mod shadow;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod trigger;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

pub use command::{ArmRefusal, Command, Holder, LegMedia, Output, SourcePolicy};
pub use trigger::{AgentKey, CODE_PATIENCE, Dialled, KeyCode, KeyCodeError};

use self::{
    armed::Heard,
    shadow::Shadow,
    source::Source,
    stream::{CallerStream, PayloadTypes},
    trigger::{Passage, Trigger, share_clock},
};
use super::{
    capture::{Capture, CaptureEvent, CaptureEventKind, CaptureFailure, CaptureOutput},
    card::Brand,
    digit::Key,
    encoding::Encoding,
    field::Field,
    id::PaymentId,
    leg::Leg,
    mask::{Masking, Outbox, Profile, Rebuilt},
    proof::MaskingProof,
    rtp::{Kind, MAX_DATAGRAM, RtpError, RtpHeader, kind_of, rtcp},
    sip::{InfoError, read_key},
    time::Now,
};

/// How long masking outlasts its last holder and the last key, so that a key still held down is not
/// heard.
const HANGOVER: Duration = Duration::from_millis(300);
/// How often a release that waits for quiet is tried.
const RELEASE_STEP: Duration = Duration::from_millis(20);

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

/// The release of the last holder, under way.
#[derive(Clone, Copy)]
struct Release {
    since: Instant,
    next_try: Instant,
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
    sources: Sources,
    holders: Vec<Holder>,
    armed_since: Option<Instant>,
    release: Option<Release>,
    capture: Option<Capture>,
    /// The brand of a payment's card number: its security code is as long as the brand has it.
    brand: Option<Box<(PaymentId, Brand)>>,
    incident: bool,
    proof: MaskingProof,
    shadow: Option<Box<Shadow>>,
    outputs: VecDeque<Output>,
    masking: Masking,
    /// What the agent may dial to start a payment.
    key_code: Option<Arc<KeyCode>>,
    /// Of an agent who has dialled anything.
    trigger: Option<Box<Trigger>>,
    /// And of one whose keys messages tell: a telephone may tell each key by both.
    messages: Option<Box<Trigger>>,
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

    /// Tells when the agent dials this, as events (RFC 4733), while the call is not armed. Keys that
    /// were kept back for a code before reach the caller all the same.
    pub fn listen_for(&mut self, code: Option<Arc<KeyCode>>) {
        self.key_code = code;
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
                if !taken {
                    return Err(Refused::Source);
                }
                Ok(self.relay_agents(datagram, &header, now.instant))
            }
            (Leg::Agent, Kind::Rtcp) => {
                if !self.sources.agent.takes_rtcp(rtcp::sender(datagram)) {
                    return Err(Refused::Source);
                }
                self.translate_agents_rtcp(datagram);
                Ok(Forward::ToCallerRtcp)
            }
            (Leg::Caller, Kind::Rtp) => {
                let header = RtpHeader::parse(datagram)?;
                self.handle_callers_rtp(datagram, &header, now, out)?;
                Ok(Forward::ToAgentRtp)
            }
            (Leg::Caller, Kind::Rtcp) => {
                self.clear_callers_rtcp(datagram, out)?;
                Ok(Forward::ToAgentRtcp)
            }
        }
    }

    /// The agent's packets leave as they are, but for keys that may start a payment.
    fn relay_agents(&mut self, datagram: &mut [u8], header: &RtpHeader, now: Instant) -> Forward {
        if self.key_code.is_none() && self.trigger.is_none() {
            return Forward::ToCallerRtp;
        }
        let Some(types) = &self.types else {
            return Forward::ToCallerRtp;
        };
        let passage = match (types.get(header.payload_type), &self.key_code) {
            (Some(event @ Encoding::TelephoneEvent(_)), Some(code)) if !self.stream.is_armed() => {
                // Otherwise audio cannot stand for it later.
                if !types
                    .preferred()
                    .is_some_and(|(_, audio)| share_clock(event, audio))
                {
                    return Forward::ToCallerRtp;
                }
                let trigger = self.trigger.get_or_insert_default();
                trigger.event(code, datagram, header, now)
            }
            (Some(Encoding::TelephoneEvent(_)), _) => match &self.trigger {
                Some(trigger) if trigger.keeps(header) => Passage::Keep,
                _ => Passage::Pass,
            },
            (Some(Encoding::Audio(codec)), _) => {
                let Some(trigger) = self.trigger.as_mut().filter(|one| one.is_at_work()) else {
                    return Forward::ToCallerRtp;
                };
                let each = self.caller.as_ref().map(|leg| leg.packet_time);
                let each = each.unwrap_or_default().as_millis() as u32;
                let clock_hz = codec.clock_hz();
                trigger.audio(datagram, header, clock_hz / 1_000 * each, clock_hz, now)
            }
            _ => return Forward::ToCallerRtp,
        };
        match passage {
            Passage::Pass => Forward::ToCallerRtp,
            Passage::Keep => Forward::Nothing,
            Passage::Cut(length) => Forward::ToCallerCut(length),
            Passage::Dialled(dialled) => {
                self.outputs.push_back(Output::Dialled(dialled));
                Forward::Nothing
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
            self.stream.relay(datagram, header, types, out);
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
        let heard = armed.handle(datagram, header, types, &mut self.capture, now, out);
        self.note(&heard);
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
        if leg == Leg::Caller {
            self.fail_capture(CaptureFailure::Contested);
            self.drain_capture();
        }
        self.outputs.push_back(Output::Contested(leg));
    }

    fn note(&mut self, heard: &Heard) {
        if let Some(failure) = heard.failure {
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
        if self.masking.profile == Profile::Continuous
            && let Some(armed) = self.stream.armed_mut()
        {
            armed.keep_cover(self.capture.is_some(), now);
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

    /// A key of the agent that signalling has read out of a SIP message: whether the message has to
    /// wait, for it may be of the code that starts a payment. While the call is armed none is.
    pub fn handle_agents_press(&mut self, key: Key, now: Now) -> AgentKey {
        let Some(code) = self.key_code.clone().filter(|_| !self.stream.is_armed()) else {
            self.messages = None;
            return AgentKey::Held(0);
        };
        let messages = self.messages.get_or_insert_default();
        match messages.message(&code, key.code(), now.instant) {
            Ok(told) => told,
            Err(dialled) => {
                self.outputs.push_back(Output::Dialled(dialled));
                AgentKey::Swallowed
            }
        }
    }

    fn take_press(&mut self, key: Key, now: Now) {
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

    /// The agent's reports speak of numbers that the gateway made; the caller knows its own.
    fn translate_agents_rtcp(&self, datagram: &mut [u8]) {
        let shifts = self.stream.shifts();
        if let (true, Some(ssrc)) = (shifts.sequence != 0, self.stream.ssrc()) {
            rtcp::translate_for_caller(datagram, ssrc, shifts.sequence);
        }
    }

    fn clear_callers_rtcp(&mut self, datagram: &mut [u8], out: &mut Outbox) -> Result<(), Refused> {
        if self.types.is_none() {
            return Err(Refused::NotAnswered);
        }
        let shifts = self.stream.shifts();
        if let Some(unarmed) = self.stream.unarmed() {
            if !self.sources.caller.takes_rtcp(rtcp::sender(datagram)) {
                return Err(Refused::Source);
            }
            let (packets, octets) = self.stream.reports_more();
            if shifts.timestamp != 0 || packets != 0 || octets != 0 {
                rtcp::translate_for_agent(datagram, shifts.timestamp, packets, octets);
            }
            out.relay_rtcp(datagram, unarmed);
        } else if !rtcp::is_whole(datagram) {
            return Err(Refused::Rtcp(datagram.len()));
        } else if let Some(outgoing) = self.stream.outgoing()
            && let Some(rebuilt) = Rebuilt::from_caller(datagram, outgoing)
        {
            out.rtcp(&rebuilt);
        }
        Ok(())
    }

    /// Media and control that time releases. Call it at [`Call::poll_timeout`]; what may leave
    /// towards the agent (as RTP) is in `out`.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        out.clear();
        if let (Some(armed), Some(types)) = (self.stream.armed_mut(), &self.types) {
            let heard = armed.handle_timeout(types, &mut self.capture, now, out);
            self.note(&heard);
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
        let farewell = self
            .stream
            .owes_farewell()
            .then_some(self.armed_since)
            .flatten();
        let capture = self.capture.as_ref().and_then(Capture::poll_timeout);
        let held = self.stream.poll_timeout();
        let all = [release, farewell, capture, held];
        all.into_iter().flatten().min()
    }

    /// A command of the control plane.
    pub fn handle_command(&mut self, command: Command, now: Now) {
        match command {
            Command::SetLeg(leg, media) => self.set_leg(leg, media),
            Command::Arm(holder) => self.arm(holder, now),
            Command::Release(holder) => self.release_holder(&holder, now),
            Command::OpenCapture {
                payment,
                field,
                settings,
                slot,
            } => {
                self.close_capture(now);
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

    fn capture_refusal(&self, payment: &PaymentId) -> Option<CaptureFailure> {
        if self.incident {
            return Some(CaptureFailure::Incident);
        }
        if self.sources.caller.is_contested() {
            return Some(CaptureFailure::Contested);
        }
        let holds = self
            .holders
            .iter()
            .any(|holder| matches!(holder, Holder::Payment(held) if held == payment));
        (!holds).then_some(CaptureFailure::NotArmed)
    }

    fn close_capture_of(&mut self, payment: &PaymentId, now: Now) {
        if self
            .capture
            .as_ref()
            .is_some_and(|c| c.payment() == payment)
        {
            self.close_capture(now);
        }
    }

    fn close_capture(&mut self, now: Now) {
        if let Some(capture) = &mut self.capture {
            capture.close(now);
        }
        self.drain_capture();
    }

    fn fail_capture(&mut self, reason: CaptureFailure) {
        if let Some(capture) = &mut self.capture {
            capture.fail(reason);
        }
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
            if leg == Leg::Caller {
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
        }
    }

    fn arm(&mut self, holder: Holder, now: Now) {
        let refusal = match &self.types {
            _ if self.incident => Some(ArmRefusal::Incident),
            // Armed before there is anything to relay: no packet comes between.
            None if holder == Holder::Recovered => None,
            None => Some(ArmRefusal::NotAnswered),
            Some(types) if types.preferred().is_none() => Some(ArmRefusal::Codec),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            self.outputs.push_back(Output::ArmRefused(holder, refusal));
            return;
        }
        if !self.stream.is_armed() {
            self.stream.arm(self.types.as_ref(), self.masking, now);
            if let Some(shadow) = &mut self.shadow {
                shadow.rest();
            }
            self.armed_since = Some(now.instant);
            self.proof.armings += 1;
        }
        self.release = None;
        if !self.holders.contains(&holder) {
            // Hardly ever more than one.
            self.holders.reserve_exact(1);
            self.holders.push(holder.clone());
        }
        self.outputs.push_back(Output::Armed(holder));
    }

    fn release_holder(&mut self, holder: &Holder, now: Now) {
        let before = self.holders.len();
        self.holders.retain(|held| held != holder);
        if let Holder::Payment(payment) = holder {
            self.close_capture_of(payment, now);
            self.forget_brand_of(payment);
        }
        if before > 0 && self.holders.is_empty() && self.stream.is_armed() {
            self.release = Some(Release {
                since: now.instant,
                next_try: now.instant + HANGOVER,
            });
        }
    }

    fn forget_brand_of(&mut self, payment: &PaymentId) {
        self.brand = self.brand.take().filter(|known| known.0 != *payment);
    }

    /// Gives the stream back when no holder is left, no key is down and 300 ms have passed.
    fn try_release(&mut self, now: Now) {
        let Some(release) = self.release else {
            return;
        };
        if now.instant < release.next_try {
            return;
        }
        let waited = now.instant.duration_since(release.since + HANGOVER);
        if self.stream.release(now, waited, &mut self.proof) {
            self.release = None;
            self.count_armed_time(now);
            self.outputs.push_back(Output::Disarmed);
        } else {
            self.release = Some(Release {
                next_try: now.instant + RELEASE_STEP,
                ..release
            });
        }
    }

    fn count_armed_time(&mut self, now: Now) {
        if let Some(since) = self.armed_since.take() {
            let armed = now.instant.duration_since(since);
            self.proof.armed_ms += u64::try_from(armed.as_millis()).unwrap_or(u64::MAX);
        }
    }

    fn hang_up(&mut self, now: Now) {
        self.close_capture(now);
        self.holders.clear();
        self.release = None;
        self.count_armed_time(now);
        self.stream.add_to(&mut self.proof);
        self.stream = CallerStream::default();
        self.types = None;
        if let Some(tally) = self.shadow.take().and_then(|shadow| shadow.end()) {
            self.outputs.push_back(Output::Shadowed(Box::new(tally)));
        }
        self.outputs.push_back(Output::Ended(self.proof));
    }

    fn drain_capture(&mut self) {
        let Some(capture) = &mut self.capture else {
            return;
        };
        while let Some(output) = capture.poll_output() {
            match output {
                CaptureOutput::Event(event) => {
                    if let (Field::PaymentCardNumber, CaptureEventKind::Complete { brand, .. }) =
                        (event.field, &event.kind)
                    {
                        self.brand = brand.map(|brand| Box::new((event.payment.clone(), brand)));
                    }
                    self.outputs.push_back(Output::Capture(event));
                }
                CaptureOutput::Field(payment, field) => {
                    self.outputs.push_back(Output::Captured(payment, field));
                }
            }
        }
        if !capture.is_open() {
            self.capture = None;
        }
    }
}
