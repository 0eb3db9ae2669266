//! A code of keys that starts a payment when the agent dials it.
//!
//! Keys that may be the code's stay here until it is known whether they are. If they are not, the
//! caller gets them all the same: as events made anew (RFC 4733), each in the place of as many packets
//! of the agent's audio as a press takes, so that no number of the stream changes. What may hold a PIN
//! nobody gets.
//!
//! What cannot be kept back, tones above all, is [`Audible`].

mod audible;
mod code;
mod pin;
mod typing;

use std::{collections::VecDeque, time::Instant};

pub(super) use audible::Audible;
pub use code::{AgentCode, CODE_PATIENCE, CodeRefusal, Dialled, KeyCode, KeyCodeError};
pub use pin::{Pin, PinError};

use self::{code::Reading, typing::Typing};
use crate::proto::{
    encoding::{AudioCodec, Encoding},
    rtp::{EVENT_BYTES, HEADER_BYTES, NamedEvents, RtpHeader, difference, write_header},
};

/// A press that is made anew lasts for the clock rate by this: 100 ms.
const PRESS: u32 = 10;
/// Packets that tell the end of a press (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;
/// Packets of audio between two presses.
const GAP: u8 = 3;
/// Keys that the caller may be owed: who dials more than that, or says so, has the rest passed as it is.
const MOST_OWED: usize = 32;
/// Timestamps that a repeated or overtaken packet may be behind the newest event; 5 s at the highest clock
/// rate. What is further behind is a stream that counts anew.
const BEHIND: i32 = 240_000;
/// -10 dBm0.
const VOLUME: u8 = 10;

/// What is to be done with a message by which the agent's end tells a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKey {
    /// The newest so many, this one the last of them, may be a code's and are kept back. What was kept
    /// back before them is no code's, and neither is this one where it is none of them.
    Held(u8),
    /// It may be a PIN's: nobody gets it, nor those that are kept back, whatever comes.
    Hidden,
    /// It was the last of a code: nobody gets it, nor those that are kept back.
    Swallowed,
}

/// What is to be done with a packet of the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Pass,
    /// It stays here.
    Keep,
    /// Its first so many bytes leave: it was written over.
    Cut(usize),
    /// It stays here, and was the last of the code.
    Dialled(Dialled),
}

/// Keys of the agent's that are kept back, and those that the caller is owed.
#[derive(Default)]
pub(super) struct Trigger {
    typing: Typing,
    /// SSRC and timestamp of the newest event, and whether it is kept.
    event: Option<(u32, u32, bool)>,
    owed: VecDeque<u8>,
    /// Payload type of what was kept.
    payload_type: u8,
    pressing: Option<Pressing>,
    /// Packets of audio that pass before the next press.
    gap: u8,
}

/// A press that is made anew.
#[derive(Clone, Copy)]
struct Pressing {
    key: u8,
    since: u32,
    begun: bool,
    ends: u8,
}

impl Trigger {
    /// Whether audio has to be looked at, for the caller is owed keys or will be.
    pub(super) fn is_at_work(&self) -> bool {
        !self.typing.is_empty() || !self.owed.is_empty() || self.pressing.is_some()
    }

    /// Whether a packet belongs to an event that is kept back: the rest of a press stays where its
    /// beginning did, whatever began meanwhile.
    pub(super) fn keeps(&self, header: &RtpHeader) -> bool {
        self.of_newest(header) == Some(true)
    }

    /// Of a packet of the newest event, or of an older one, whether that was kept.
    fn of_newest(&self, header: &RtpHeader) -> Option<bool> {
        let (ssrc, timestamp, kept) = self.event?;
        let ahead = difference(header.timestamp, timestamp);
        (ssrc == header.ssrc && (-BEHIND..=0).contains(&ahead)).then_some(kept)
    }

    /// A packet of events.
    pub(super) fn event(
        &mut self,
        code: &AgentCode,
        datagram: &[u8],
        header: &RtpHeader,
        heard: Option<Instant>,
        now: Instant,
    ) -> Passage {
        match self.of_newest(header) {
            Some(true) => return Passage::Keep,
            Some(false) => return Passage::Pass,
            None => {}
        }
        let mut events = NamedEvents::new(&datagram[header.payload.clone()]);
        let Some(key) = events.next().map(|event| event.code) else {
            return Passage::Pass;
        };
        if key > 15 {
            return Passage::Pass;
        }
        let passage = self.press(code, key, heard, now);
        self.event = Some((header.ssrc, header.timestamp, passage != Passage::Pass));
        self.payload_type = header.payload_type;
        passage
    }

    fn press(
        &mut self,
        code: &AgentCode,
        key: u8,
        heard: Option<Instant>,
        now: Instant,
    ) -> Passage {
        self.expire(now);
        match self.typing.press(code, key, heard, now) {
            Reading::Begins | Reading::Hidden => return Passage::Keep,
            Reading::Is(dialled) => {
                self.typing.clear();
                return Passage::Dialled(dialled);
            }
            Reading::Not => {}
        }
        // What came before is no code; the key may begin one.
        self.owed.extend(self.typing.keys_but_last());
        if self.typing.begins_anew(code) {
            return Passage::Keep;
        }
        let owes = !self.owed.is_empty() || self.pressing.is_some();
        if !owes || self.owed.len() >= MOST_OWED {
            return Passage::Pass;
        }
        // In its turn.
        self.owed.push_back(key);
        Passage::Keep
    }

    /// A key that a message told, which whoever has the message keeps as long as it is held.
    pub(super) fn message(
        &mut self,
        code: &AgentCode,
        key: u8,
        heard: Option<Instant>,
        now: Instant,
    ) -> Result<AgentKey, Dialled> {
        let passage = self.press(code, key, heard, now);
        // Whoever has the messages owes them.
        self.owed.clear();
        match passage {
            Passage::Dialled(dialled) => Err(dialled),
            _ if self.typing.is_hidden() => Ok(AgentKey::Hidden),
            // A code has fewer keys than that.
            _ => Ok(AgentKey::Held(
                u8::try_from(self.typing.keys().len()).unwrap_or(u8::MAX),
            )),
        }
    }

    /// Whether what may be a PIN is being dialled: it is read to its end, whatever happens.
    pub(super) fn hides(&self, now: Instant) -> bool {
        self.typing.is_hidden() && !self.typing.is_over(now)
    }

    /// Who does not go on dialling has dialled no code.
    fn expire(&mut self, now: Instant) {
        if self.typing.is_over(now) {
            if !self.typing.is_hidden() {
                self.owed.extend(self.typing.keys());
            }
            self.typing.clear();
        }
    }

    /// A packet of audio of so many samples, at a clock rate that events have, too.
    pub(super) fn audio(
        &mut self,
        datagram: &mut [u8],
        header: &RtpHeader,
        samples: u32,
        clock_hz: u32,
        now: Instant,
    ) -> Passage {
        self.expire(now);
        if datagram.len() < HEADER_BYTES + EVENT_BYTES {
            return Passage::Pass;
        }
        let mut pressing = match self.pressing {
            Some(pressing) => pressing,
            None if self.gap > 0 => {
                self.gap -= 1;
                return Passage::Pass;
            }
            None => match self.owed.pop_front() {
                Some(key) => Pressing {
                    key,
                    since: header.timestamp,
                    begun: false,
                    ends: 0,
                },
                None => return Passage::Pass,
            },
        };
        let lasted = header
            .timestamp
            .wrapping_sub(pressing.since)
            .wrapping_add(samples)
            .min(clock_hz / PRESS);
        let ends = lasted == clock_hz / PRESS;
        pressing.ends += u8::from(ends);
        let marker = !pressing.begun;
        pressing.begun = true;
        let event = write_header(
            self.payload_type,
            marker,
            header.sequence,
            pressing.since,
            header.ssrc,
        );
        datagram[..HEADER_BYTES].copy_from_slice(&event);
        let [.., high, low] = lasted.to_be_bytes();
        let flags = VOLUME | (u8::from(ends) << 7);
        datagram[HEADER_BYTES..HEADER_BYTES + EVENT_BYTES].copy_from_slice(&[
            pressing.key,
            flags,
            high,
            low,
        ]);
        if pressing.ends < ENDS {
            self.pressing = Some(pressing);
        } else {
            self.pressing = None;
            self.gap = GAP;
        }
        Passage::Cut(HEADER_BYTES + EVENT_BYTES)
    }
}

/// Whether events and audio count time alike: only then can one stand in the other's place.
pub(super) fn share_clock(event: Encoding, audio: AudioCodec) -> bool {
    event == Encoding::TelephoneEvent(audio.clock_hz())
}
