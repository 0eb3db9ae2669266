//! Packets of one source in their order, as far as waiting for them is worth it.
//!
//! What comes in order passes at once and is not copied, so an orderly leg is not delayed at all.
//! Where a number is missing, what follows is held until it comes or the depth has passed. The depth
//! is 0 on a leg that was never out of order: a hole is a loss at once. It grows to how late packets
//! really were, up to 60 ms, and goes back to 0 once the leg has been orderly for a while. What
//! comes later still is told apart from what came twice.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::proto::rtp::{ExtendedSequence, MAX_DATAGRAM, RtpHeader};

/// Longest that a packet is held: what an agent's jitter buffer can be asked to even out.
const MAX_DEPTH: Duration = Duration::from_millis(60);
/// How much longer than the latest so far is waited for the next: half a usual packet.
const MARGIN: Duration = Duration::from_millis(10);
/// How long a late packet is remembered at least, and twice as long at most. Paths of different
/// length stay while a route stays; each pause between two fields is shorter. But a leg that merely
/// loses packets should not wait for each because one straggled minutes ago.
const MEMORY: Duration = Duration::from_secs(30);
/// Most packets held: 60 ms of 10 ms each, with an event beside every one, and as many again.
const MAX_HELD: usize = 24;
/// Most bytes of payload held: 60 ms of G.711 eight times over.
const MAX_HELD_BYTES: usize = 4_096;
/// Further ahead than this a packet is not waited for: no network overtakes by so much within 60 ms.
const MAX_AHEAD: i64 = 64;
/// Holes remembered, to tell how late what fills them is.
const HOLES: usize = 8;

/// What is to be done with a packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is next: hear it now. What was held for it follows from [`Resequencer::pop`].
    Next,
    /// A copy is held until [`Resequencer::pop`] gives it.
    Held,
    /// What comes after it was heard before; itself it was not.
    Late,
    /// It came before.
    Duplicate,
}

/// A packet whose turn has come.
pub(super) struct Released<'a> {
    /// Its header; `payload` is its place in [`Released::payload`], the whole of it.
    pub(super) header: RtpHeader,
    /// Its payload, overwritten by the next call of any method that changes something.
    pub(super) payload: &'a [u8],
}

/// Puts the packets of one source in order. Sans-IO; a packet that is held leaves by
/// [`Resequencer::pop`] after every input, and at [`Resequencer::poll_timeout`] at the latest.
///
/// What it holds may be a key: it is overwritten as it leaves, and on drop.
pub(super) struct Resequencer {
    /// The newest number that was passed on, or given up.
    last: ExtendedSequence,
    /// Which numbers came: `last` is the lowest bit, older ones above it.
    came: u128,
    /// Up to this number nothing waits.
    hurried: ExtendedSequence,
    depth: Depth,
    holes: [Option<Hole>; HOLES],
    next_hole: usize,
    /// Made when first needed.
    store: Option<Box<Store>>,
}

/// Numbers that were given up.
#[derive(Clone, Copy)]
struct Hole {
    /// The number before the first of them.
    after: ExtendedSequence,
    /// The number behind the last of them.
    before: ExtendedSequence,
    /// When the first packet behind it came.
    noticed: Instant,
}

impl Default for Resequencer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Resequencer {
    /// For a source whose next packet is `next`.
    pub(super) fn new(next: u16) -> Self {
        let last = ExtendedSequence::first(next.wrapping_sub(1));
        Self {
            last,
            came: 0,
            hurried: last,
            depth: Depth::default(),
            holes: [None; HOLES],
            next_hole: 0,
            store: None,
        }
    }

    /// Another source, whose next packet is `next`. What is held is forgotten; the network that it
    /// comes through stays the same, and so does the depth.
    pub(super) fn follow(&mut self, next: u16) {
        if let Some(store) = &mut self.store {
            store.wipe();
        }
        let store = self.store.take();
        let depth = std::mem::take(&mut self.depth);
        *self = Self {
            depth,
            store,
            ..Self::new(next)
        };
    }

    /// The newest number that was passed on. Nothing newer came where nothing is held.
    pub(super) const fn last(&self) -> ExtendedSequence {
        self.last
    }

    /// Whether packets are held.
    pub(super) fn is_holding(&self) -> bool {
        self.store.as_ref().is_some_and(|store| !store.is_empty())
    }

    /// When [`Resequencer::pop`] will have something though nothing comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let noticed = self.store.as_ref()?.noticed()?;
        Some(noticed + self.depth.now())
    }

    /// A packet came, of whatever payload type. [`Resequencer::pop`] has to be drained after it (and
    /// after the packet itself, where it is [`Place::Next`]).
    pub(super) fn push(&mut self, header: &RtpHeader, payload: &[u8], now: Instant) -> Place {
        self.depth.forget(now);
        let sequence = self.last.nearest(header.sequence);
        let ahead = sequence.since(self.last);
        if ahead <= 0 {
            return self.place_behind(sequence, now);
        }
        let noticed = self.store.as_ref().and_then(|store| store.noticed());
        if ahead == 1 {
            // What is held waited for this one.
            if let Some(noticed) = noticed {
                self.depth.observe(now.duration_since(noticed), now);
            }
            self.pass_on(sequence);
            return Place::Next;
        }
        if noticed.is_none() && (ahead > MAX_AHEAD || self.depth.now().is_zero()) {
            self.give_up(sequence, now);
            self.pass_on(sequence);
            return Place::Next;
        }
        if ahead > MAX_AHEAD {
            self.hurried = sequence;
        }
        let store = self.store.get_or_insert_with(Store::new);
        if let Some(held) = store.insert(sequence, header, payload, now) {
            // It overtook one that is held: so late is that one's successor.
            if let Held::Within(noticed) = held {
                self.depth.observe(now.duration_since(noticed), now);
            }
            return Place::Held;
        }
        Place::Duplicate
    }

    /// The next packet whose turn has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Released<'_>> {
        let store = self.store.as_mut()?;
        store.wipe_popped();
        let noticed = store.noticed()?;
        let sequence = store.first()?;
        let is_due = sequence.since(self.last) == 1
            || sequence <= self.hurried
            || store.is_full()
            || noticed + self.depth.now() <= now;
        if !is_due {
            return None;
        }
        self.give_up(sequence, noticed);
        self.pass_on(sequence);
        self.store.as_mut()?.pop()
    }

    #[cfg(test)]
    pub(super) fn depth(&self) -> Duration {
        self.depth.now()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> &[u8] {
        let Some(store) = &self.store else {
            return &[];
        };
        let rest = &store.bytes[store.filled..];
        assert!(rest.iter().all(|byte| *byte == 0), "not overwritten");
        &store.bytes[..store.filled]
    }

    /// A number up to `last`.
    fn place_behind(&mut self, sequence: ExtendedSequence, now: Instant) -> Place {
        let bit = u32::try_from(self.last.since(sequence))
            .ok()
            .and_then(|behind| 1_u128.checked_shl(behind));
        // So far behind is nothing that a network brings.
        let Some(bit) = bit.filter(|bit| self.came & bit == 0) else {
            return Place::Duplicate;
        };
        self.came |= bit;
        let mut holes = self.holes.iter().flatten();
        let hole = holes.find(|hole| hole.after < sequence && sequence < hole.before);
        if let Some(noticed) = hole.map(|hole| hole.noticed) {
            self.depth.observe(now.duration_since(noticed), now);
        }
        Place::Late
    }

    fn pass_on(&mut self, sequence: ExtendedSequence) {
        let steps = u32::try_from(sequence.since(self.last)).unwrap_or(u32::MAX);
        self.came = self.came.checked_shl(steps).unwrap_or(0) | 1;
        self.last = sequence;
    }

    /// What is missing before `sequence` is lost, unless it comes late.
    fn give_up(&mut self, sequence: ExtendedSequence, noticed: Instant) {
        if sequence.since(self.last) > 1 {
            self.holes[self.next_hole] = Some(Hole {
                after: self.last,
                before: sequence,
                noticed,
            });
            self.next_hole = (self.next_hole + 1) % HOLES;
        }
    }
}

/// How long to wait: as late as packets were in the last 30 to 60 s, and a margin.
#[derive(Default)]
struct Depth {
    /// The latest of this stretch of [`MEMORY`], and of the one before.
    latest: [Option<Duration>; 2],
    since: Option<Instant>,
}

impl Depth {
    fn now(&self) -> Duration {
        let latest = self.latest.iter().flatten().max();
        latest.map_or(Duration::ZERO, |latest| (*latest + MARGIN).min(MAX_DEPTH))
    }

    /// A packet came so much later than the first one behind it. For those that are later than the
    /// depth can ever be nobody has to wait.
    fn observe(&mut self, late: Duration, now: Instant) {
        if late <= MAX_DEPTH {
            self.since.get_or_insert(now);
            self.latest[0] = self.latest[0].max(Some(late));
        }
    }

    fn forget(&mut self, now: Instant) {
        let Some(since) = self.since else {
            return;
        };
        let passed = now.duration_since(since);
        if passed < MEMORY {
            return;
        }
        let before = self.latest[0].filter(|_| passed < 2 * MEMORY);
        self.latest = [None, before];
        self.since = before.map(|_| now);
    }
}

/// One packet held; its payload stands in [`Store::bytes`], in the same order.
struct Packet {
    sequence: ExtendedSequence,
    header: RtpHeader,
    came: Instant,
}

/// What is held, in order. Neither of the two grows after it was made.
struct Store {
    packets: Vec<Packet>,
    bytes: Box<[u8; MAX_HELD_BYTES + MAX_DATAGRAM]>,
    /// Bytes of all payloads.
    filled: usize,
    /// Bytes at the beginning that were popped and may still be looked at.
    popped: usize,
}

/// How a packet was put among those held.
enum Held {
    /// Behind all others.
    Last,
    /// Before some of them, of which the first came then.
    Within(Instant),
}

impl Store {
    fn new() -> Box<Self> {
        Box::new(Self {
            packets: Vec::with_capacity(MAX_HELD + 1),
            bytes: Box::new([0; MAX_HELD_BYTES + MAX_DATAGRAM]),
            filled: 0,
            popped: 0,
        })
    }

    const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether the oldest has to leave, so that there is room for any packet that comes.
    const fn is_full(&self) -> bool {
        self.packets.len() > MAX_HELD || self.filled > MAX_HELD_BYTES
    }

    fn first(&self) -> Option<ExtendedSequence> {
        self.packets.first().map(|packet| packet.sequence)
    }

    /// When it was seen that something is missing before the first packet: all that are held lie
    /// behind that.
    fn noticed(&self) -> Option<Instant> {
        self.packets.iter().map(|packet| packet.came).min()
    }

    /// Puts a packet in its place; nothing where its number is held already.
    fn insert(
        &mut self,
        sequence: ExtendedSequence,
        header: &RtpHeader,
        payload: &[u8],
        now: Instant,
    ) -> Option<Held> {
        self.wipe_popped();
        let place = self.packets.partition_point(|p| p.sequence < sequence);
        let next = self.packets.get(place).map(|packet| packet.sequence);
        let end = self.filled + payload.len();
        // There is room as long as `pop` was drained.
        if next == Some(sequence) || self.packets.len() > MAX_HELD || end > self.bytes.len() {
            return None;
        }
        let behind = &self.packets[place..];
        let held = behind.iter().map(|packet| packet.came).min();
        let before = self.packets[..place].iter();
        let at: usize = before.map(|packet| packet.header.payload.len()).sum();
        self.bytes.copy_within(at..self.filled, at + payload.len());
        self.bytes[at..at + payload.len()].copy_from_slice(payload);
        self.filled = end;
        let header = RtpHeader {
            payload: 0..payload.len(),
            ..header.clone()
        };
        let packet = Packet {
            sequence,
            header,
            came: now,
        };
        self.packets.insert(place, packet);
        Some(held.map_or(Held::Last, Held::Within))
    }

    fn pop(&mut self) -> Option<Released<'_>> {
        self.wipe_popped();
        if self.packets.is_empty() {
            return None;
        }
        let header = self.packets.remove(0).header;
        self.popped = header.payload.len();
        let payload = &self.bytes[..self.popped];
        Some(Released { header, payload })
    }

    /// Overwrites what was popped last with what follows it, and the place that this leaves.
    fn wipe_popped(&mut self) {
        if self.popped > 0 {
            self.bytes.copy_within(self.popped..self.filled, 0);
            let left = self.filled - self.popped;
            self.bytes[left..self.filled].zeroize();
            (self.filled, self.popped) = (left, 0);
        }
    }

    fn wipe(&mut self) {
        self.bytes[..self.filled].zeroize();
        self.packets.clear();
        (self.filled, self.popped) = (0, 0);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.wipe();
    }
}
