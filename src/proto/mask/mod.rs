//! What leaves towards the agent, and the only place that can make it.
//!
//! [`Cleared`] is the proof: the agent's socket takes nothing else, and only this module mints one.
//! While a call is unarmed a datagram is cleared as it is ([`Outbox::relay`]); while it is armed the
//! [`Masker`] makes every datagram anew from audio that a [`Verdict`](super::dtmf::Verdict) found
//! free of tones, and from a constant replacement.

mod fill;
mod line;
mod masker;
mod noise;
mod profile;
mod voice;

pub use masker::{Masker, MaskerStart, Takeover};
pub use profile::{Fill, Guard, Masking, Profile};

use zeroize::Zeroize;

use super::rtp::{HEADER_BYTES, MAX_DATAGRAM, shift};

/// A datagram cleared for the agent's leg. A datagram that skipped the masker cannot be sent: it
/// does not type-check.
///
/// ```compile_fail
/// let forged = tonewall::proto::mask::Cleared(&[0x80]);
/// ```
pub struct Cleared<'a>(&'a [u8]);

impl<'a> Cleared<'a> {
    /// The bytes to send.
    #[must_use]
    pub const fn datagram(&self) -> &'a [u8] {
        self.0
    }
}

/// Most datagrams that one input can release: what waits (100 ms), a gap of 150 ms and what was held
/// behind it (60 ms) in packets of 10 ms are 31. What finds no room waits for the next input.
const MOST_DATAGRAMS: usize = 32;
/// A datagram of our own: header and at most 60 ms of 8 kHz G.711.
const OWN_DATAGRAM: usize = HEADER_BYTES + 480;

/// Datagrams on their way to the agent; emptied by the next input. Allocated once.
pub struct Outbox {
    own: Box<[[u8; OWN_DATAGRAM]; MOST_DATAGRAMS]>,
    lengths: [usize; MOST_DATAGRAMS],
    count: usize,
    relayed: Box<[u8; MAX_DATAGRAM]>,
    relayed_length: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            own: Box::new([[0; OWN_DATAGRAM]; MOST_DATAGRAMS]),
            lengths: [0; MOST_DATAGRAMS],
            count: 0,
            relayed: Box::new([0; MAX_DATAGRAM]),
            relayed_length: 0,
        }
    }
}

impl Outbox {
    /// Empties it for the next input.
    pub fn clear(&mut self) {
        self.count = 0;
        self.relayed_length = 0;
    }

    /// Empties it and overwrites what it held: a tone was found in it.
    pub fn wipe(&mut self) {
        for datagram in &mut *self.own {
            datagram.zeroize();
        }
        self.relayed.zeroize();
        self.clear();
    }

    /// Clears a datagram of an unarmed call as it is, but for the constants that an earlier arming
    /// left between the two sides' numbers. `unarmed` is what only an unarmed stream can show.
    pub fn relay(&mut self, datagram: &[u8], shifts: Shifts, _unarmed: &Unarmed) {
        let Some(space) = self.relayed.get_mut(..datagram.len()) else {
            return;
        };
        space.copy_from_slice(datagram);
        if shifts != Shifts::default() {
            shift(space, shifts.sequence, shifts.timestamp);
        }
        self.relayed_length = datagram.len();
    }

    /// Clears RTCP of an unarmed call.
    pub fn relay_rtcp(&mut self, datagram: &[u8], unarmed: &Unarmed) {
        self.relay(datagram, Shifts::default(), unarmed);
    }

    /// Clears an RTCP packet that [`rebuild_for_agent`](super::rtp::rtcp::rebuild_for_agent) made.
    pub fn rtcp(&mut self, rebuilt: &Rebuilt) {
        if let Some(space) = self.relayed.get_mut(..rebuilt.length)
            && let Some(bytes) = rebuilt.bytes.get(..rebuilt.length)
        {
            space.copy_from_slice(bytes);
            self.relayed_length = rebuilt.length;
        }
    }

    /// What may be sent now, in this order.
    pub fn cleared(&self) -> impl Iterator<Item = Cleared<'_>> {
        let relayed = self
            .relayed
            .get(..self.relayed_length)
            .filter(|datagram| !datagram.is_empty());
        let own = self.own.iter().zip(&self.lengths).take(self.count);
        own.filter_map(|(space, length)| space.get(..*length))
            .chain(relayed)
            .map(Cleared)
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0 && self.relayed_length == 0
    }

    /// Appends a datagram of the masker's own; false when the outbox is full.
    fn push(&mut self, header: [u8; HEADER_BYTES], payload: &[u8]) -> bool {
        self.space(header, payload.len())
            .map(|body| body.copy_from_slice(payload))
            .is_some()
    }

    /// Appends a datagram of the masker's own, whose payload is to be written into what is given;
    /// nothing when the outbox is full.
    fn space(&mut self, header: [u8; HEADER_BYTES], payload: usize) -> Option<&mut [u8]> {
        let length = HEADER_BYTES + payload;
        let space = self.own.get_mut(self.count)?.get_mut(..length)?;
        *self.lengths.get_mut(self.count)? = length;
        self.count += 1;
        let (head, body) = space.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header);
        Some(body)
    }
}

/// Shown by a stream that no holder keeps armed. Its field is private to this module: an armed
/// stream gives it up and gets one back from [`Masker::release`].
pub struct Unarmed(());

impl Unarmed {
    /// For a stream that was never armed.
    #[must_use]
    pub const fn from_the_start() -> Self {
        Self(())
    }
}

/// Constants added to the caller's numbers after an arming.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shifts {
    /// Added to sequence numbers.
    pub sequence: u16,
    /// Added to timestamps.
    pub timestamp: u32,
}

/// An RTCP compound of our own making.
pub struct Rebuilt {
    bytes: [u8; 256],
    length: usize,
}

impl Rebuilt {
    /// Rebuilds the caller's compound; `None` when nothing of it may leave.
    #[must_use]
    pub fn from_caller(compound: &[u8], outgoing: super::rtp::rtcp::Outgoing) -> Option<Self> {
        let mut bytes = [0; 256];
        let length = super::rtp::rtcp::rebuild_for_agent(compound, outgoing, &mut bytes)?;
        Some(Self { bytes, length })
    }
}
