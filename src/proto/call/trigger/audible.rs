//! Codes that cannot be kept from the caller: dialled in tones, as events of another clock, or as
//! redundant ones. They act, and the caller may hear them.

use std::time::Instant;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::proto::{
    codec::Audio,
    digit::Key,
    dtmf::{Order, Verdict},
    encoding::{AudioCodec, Encoding},
    rtp::RtpHeader,
    secret::{Pressed, TakeKey},
    time::Now,
};

use super::{
    super::{
        hearing::{Hearing, Keeper, Sink},
        stream::PayloadTypes,
    },
    AgentCode, Dialled,
    code::Reading,
    typing::Typing,
};

/// Softest tone of a key, both frequencies together. A telephone dials at -10 dBm0 or louder; what is
/// softer is the caller's own, come back from the agent's loudspeaker.
const SOFTEST_DBM0: f32 = -24.0;
/// Most presses that one packet may bring: beyond it somebody plays with us.
const MOST_PRESSES: usize = 4;

/// Listens to the agent's stream. It has no way to what leaves.
pub(in crate::proto::call) struct Audible {
    hearing: Hearing,
    types: PayloadTypes,
    typing: Typing,
    /// Whether the newest event that came is of those that are kept back, and heard elsewhere.
    kept: bool,
    sounded: Option<Instant>,
}

impl Audible {
    /// Listens from this packet on, whose payload types are `types`.
    pub(in crate::proto::call) fn new(types: PayloadTypes, header: &RtpHeader, now: Now) -> Self {
        let named = types.get(header.payload_type).and_then(Encoding::audio);
        let codec = named.or(types.preferred().map(|(_, codec)| codec));
        let codec = codec.unwrap_or(AudioCodec::Pcmu);
        Self {
            hearing: Hearing::new(header.ssrc, header.sequence, header.timestamp, codec, now),
            types,
            typing: Typing::default(),
            kept: false,
            sounded: None,
        }
    }

    /// When the caller could last hear a key of the agent's.
    pub(in crate::proto::call) const fn sounded(&self) -> Option<Instant> {
        self.sounded
    }

    /// Hears a packet of the agent's. `kept`: it is of an event that is kept back, or could be.
    pub(in crate::proto::call) fn hear(
        &mut self,
        code: &AgentCode,
        datagram: &[u8],
        header: &RtpHeader,
        kept: bool,
        now: Now,
    ) -> Option<Dialled> {
        if let Some(Encoding::TelephoneEvent(_)) = self.types.get(header.payload_type) {
            self.kept = kept;
        }
        let mut presses = Presses::default();
        let failure =
            self.hearing
                .handle(datagram, header, &self.types, &mut presses, now, &mut Deaf);
        let mut broken = failure.is_some();
        let mut dialled = self.take(code, &presses, now);
        // What waits for a packet before it is heard with a later one: nobody waits for it here.
        loop {
            let mut presses = Presses::default();
            let Some(order) = self
                .hearing
                .hear_held(&self.types, &mut presses, now, &mut Deaf)
            else {
                break;
            };
            broken |= order == Order::Broken;
            dialled = self.take(code, &presses, now).or(dialled);
        }
        if broken {
            // Keys in another order are another code.
            self.typing.clear();
            return None;
        }
        dialled
    }

    /// Reads what one packet brought.
    fn take(&mut self, code: &AgentCode, presses: &Presses, now: Now) -> Option<Dialled> {
        let told = self.hearing.take_told();
        let by_event = told.by_event > 0;
        if told.by_tone > 0 || (by_event && !self.kept) {
            self.sounded = Some(now.instant);
        }
        let soft = |level| level < SOFTEST_DBM0;
        let counts = if by_event {
            !self.kept
        } else {
            !told.measure.is_some_and(|tone| soft(tone.level_dbm0))
        };
        let mut dialled = None;
        for key in presses.keys.iter().take(presses.count).filter(|_| counts) {
            if self.typing.is_over(now.instant) {
                self.typing.clear();
            }
            match self
                .typing
                .press(code, *key, Some(now.instant), now.instant)
            {
                Reading::Begins | Reading::Hidden => {}
                Reading::Is(is) => {
                    self.typing.clear();
                    dialled = Some(is);
                }
                Reading::Not => {
                    self.typing.begins_anew(code);
                }
            }
        }
        dialled
    }
}

/// The keys of one packet.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct Presses {
    keys: [u8; MOST_PRESSES],
    count: usize,
}

impl TakeKey for Presses {
    fn take(&mut self, key: Key) -> Pressed {
        if let Some(place) = self.keys.get_mut(self.count) {
            *place = key.code();
            self.count += 1;
        }
        Pressed {
            class: key.class(),
            count: self.count as u8,
        }
    }
}

impl Keeper for Presses {
    fn place(&mut self) -> Option<&mut dyn TakeKey> {
        Some(self)
    }

    fn pressed(&mut self, _: Pressed, _: Now) {}
}

/// Nothing becomes of the audio.
struct Deaf;

impl Sink for Deaf {
    fn audio(&mut self, _: &Audio<'_>, _: &Verdict) {}
    fn gap(&mut self, _: usize, _: &Verdict) {}
    fn mark(&mut self, _: &Verdict) {}
    fn pressed(&mut self) {}
    fn packet_time(&mut self, _: usize) {}
    fn restart(&mut self, _: i32, _: usize) {}
    fn source_changed(&mut self, _: u32) {}
}
