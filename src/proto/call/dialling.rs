//! What the agent dials on the own telephone.

use std::{sync::Arc, time::Instant};

use super::{
    Call, Forward, Output,
    stream::PayloadTypes,
    trigger::{
        AgentCode, AgentKey, Audible, CODE_PATIENCE, CodeRefusal, Dialled, Passage, Trigger,
        share_clock,
    },
};
use crate::proto::{digit::Key, encoding::Encoding, rtp::RtpHeader, time::Now};

/// So many wrong PINs, and no code is heard any more on the call.
const WRONG_PINS: u8 = 3;

/// Of a call whose agent may dial a code.
#[derive(Default)]
pub(super) struct Dialling {
    /// What may be dialled now.
    code: Option<Arc<AgentCode>>,
    /// Events that can be kept back.
    events: Trigger,
    /// Messages of signalling, which can be, too.
    messages: Trigger,
    /// What can not.
    audible: Option<Audible>,
    /// Which of them told the last code, and when.
    last: Option<(Teller, Instant)>,
    wrong_pins: u8,
}

/// By what a code was told. A telephone may tell each key in more than one way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Teller {
    Events,
    Messages,
    Audible,
}

impl Dialling {
    /// Nothing that is heard while the call is armed belongs to a code.
    pub(super) fn arm(&mut self) {
        self.audible = None;
    }

    /// What is heard from here on may be another telephone, or in another codec.
    pub(super) fn agree(&mut self) {
        self.audible = None;
    }

    fn sounded(&self) -> Option<Instant> {
        self.audible.as_ref().and_then(Audible::sounded)
    }

    /// What is to be told of a code that `teller` told.
    fn dialled(&mut self, dialled: Dialled, teller: Teller, now: Instant) -> Option<Dialled> {
        let again = |(last, at): (Teller, Instant)| {
            last != teller && now.duration_since(at) <= CODE_PATIENCE
        };
        if self.last.is_some_and(again) {
            return None;
        }
        self.last = Some((teller, now));
        if dialled != Dialled::Refused(CodeRefusal::WrongPin) {
            return Some(dialled);
        }
        self.wrong_pins += 1;
        if self.wrong_pins < WRONG_PINS {
            return Some(dialled);
        }
        self.code = None;
        self.audible = None;
        Some(Dialled::Refused(CodeRefusal::LastWrongPin))
    }
}

impl Call {
    /// Tells when the agent dials this, as events (RFC 4733), in tones or by messages, while the call is
    /// not armed. Keys that were kept back for a code before reach the caller all the same.
    ///
    /// After three wrong PINs it hears none until the end of the call.
    pub fn listen_for(&mut self, code: Option<Arc<AgentCode>>) {
        if code.is_none() && self.dialling.is_none() {
            return;
        }
        let dialling = self.dialling.get_or_insert_default();
        dialling.code = code.filter(|_| dialling.wrong_pins < WRONG_PINS);
        if dialling.code.is_none() {
            dialling.audible = None;
        }
    }

    /// Whether the agent's audio is listened to for a code.
    #[cfg(test)]
    pub(super) fn hears_agent(&self) -> bool {
        let dialling = self.dialling.as_ref();
        dialling.is_some_and(|dialling| dialling.audible.is_some())
    }

    /// The agent's packets leave as they are, but for keys that may start a payment.
    pub(super) fn relay_agents(
        &mut self,
        datagram: &mut [u8],
        header: &RtpHeader,
        now: Now,
    ) -> Forward {
        let armed = self.stream.is_armed();
        let Some(dialling) = &mut self.dialling else {
            return Forward::ToCallerRtp;
        };
        let (Some(types), Some(caller), Some(agent)) = (&self.types, &self.caller, &self.agent)
        else {
            return Forward::ToCallerRtp;
        };
        let encoding = types.get(header.payload_type);
        // Otherwise audio cannot stand for it later.
        let is_kept = |event| {
            let shares = |(_, audio)| share_clock(event, audio);
            types.preferred().is_some_and(shares)
        };
        let kept = encoding.is_some_and(is_kept);
        let code = dialling.code.clone();
        if let Some(code) = code.as_deref().filter(|_| !armed) {
            let audible = dialling
                .audible
                .get_or_insert_with(|| Audible::new(PayloadTypes::of(agent, caller), header, now));
            let dialled = audible.hear(code, datagram, header, kept, now);
            let dialled =
                dialled.and_then(|one| dialling.dialled(one, Teller::Audible, now.instant));
            self.outputs.extend(dialled.map(Output::Dialled));
        }
        let passage = match (encoding, code.as_deref()) {
            (Some(Encoding::TelephoneEvent(_)), Some(code))
                if kept && (!armed || dialling.events.hides(now.instant)) =>
            {
                let heard = dialling.sounded();
                dialling
                    .events
                    .event(code, datagram, header, heard, now.instant)
            }
            (Some(Encoding::TelephoneEvent(_)), _) if kept && dialling.events.keeps(header) => {
                Passage::Keep
            }
            (Some(Encoding::Audio(codec)), _) if dialling.events.is_at_work() => {
                let each = caller.packet_time.as_millis() as u32;
                let clock_hz = codec.clock_hz();
                let samples = clock_hz / 1_000 * each;
                dialling
                    .events
                    .audio(datagram, header, samples, clock_hz, now.instant)
            }
            _ => Passage::Pass,
        };
        match passage {
            Passage::Pass => Forward::ToCallerRtp,
            Passage::Keep => Forward::Nothing,
            Passage::Cut(length) => Forward::ToCallerCut(length),
            Passage::Dialled(dialled) => {
                let told = dialling.dialled(dialled, Teller::Events, now.instant);
                self.outputs
                    .extend(told.filter(|told| tells(*told, armed)).map(Output::Dialled));
                Forward::Nothing
            }
        }
    }

    /// A key of the agent that signalling has read out of a SIP message: whether the message has to
    /// wait, for it may be of the code that starts a payment. While the call is armed none is.
    pub fn handle_agents_press(&mut self, key: Key, now: Now) -> AgentKey {
        let armed = self.stream.is_armed();
        let Some(dialling) = &mut self.dialling else {
            return AgentKey::Held(0);
        };
        let reads = !armed || dialling.messages.hides(now.instant);
        let Some(code) = dialling.code.clone().filter(|_| reads) else {
            dialling.messages = Trigger::default();
            return AgentKey::Held(0);
        };
        let heard = dialling.sounded();
        match dialling
            .messages
            .message(&code, key.code(), heard, now.instant)
        {
            Ok(told) => told,
            Err(dialled) => {
                let told = dialling.dialled(dialled, Teller::Messages, now.instant);
                self.outputs
                    .extend(told.filter(|told| tells(*told, armed)).map(Output::Dialled));
                AgentKey::Swallowed
            }
        }
    }
}

/// While the call is armed nothing starts; what is refused is on record all the same.
const fn tells(dialled: Dialled, armed: bool) -> bool {
    !armed || matches!(dialled, Dialled::Refused(_))
}
