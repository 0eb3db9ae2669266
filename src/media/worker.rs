//! A worker thread: takes what its wire finds, and drives its calls.

mod entry;
mod orders;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use prometheus::Histogram;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use zeroize::Zeroize;

pub(super) use orders::{NewCall, Order};

use super::{
    CardSink, MediaEvent, MediaEventKind, SlotSource,
    counters::Counters,
    doorbell::Doorbell,
    leg::{Admission, silence},
    pace::Pace,
    wire::{Port, Received, Wire},
};
use crate::proto::{
    call::{AgentCode, Channel, Holder, Output, Voice},
    capture::{CaptureEvent, CaptureEventKind, CaptureFailure},
    id::CallId,
    leg::Leg,
    mask::{Masking, Outbox},
    rtp::MAX_DATAGRAM,
    time::Now,
};
use entry::{Desk, Entry, Way};
use orders::connect;

/// Packets that shadow mode listens to in a [`SHADOW_PERIOD`]: about 6 % of a core. A worker that
/// finds more has fallen behind, and listens to no more of them: every other thing goes first.
const SHADOWED: u32 = 64;
const SHADOW_PERIOD: Duration = Duration::from_millis(1);
/// How long a worker sleeps at most; a bound on how late an undelivered event is retried.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// How much a worker has to do.
#[derive(Default)]
pub(super) struct Load {
    /// Calls that it has or will have.
    pub(super) calls: AtomicUsize,
    /// Orders that wait for it.
    pub(super) orders: AtomicUsize,
}

/// What a worker has in common with the handle that the control plane holds.
pub(super) struct Link {
    pub(super) orders: Receiver<Order>,
    pub(super) bell: Arc<Doorbell>,
    pub(super) load: Arc<Load>,
    pub(super) counters: Arc<Counters>,
}

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    /// How the armed calls are masked.
    pub(super) masking: Masking,
    /// What an agent may dial to start a payment.
    pub(super) key_code: Option<Arc<AgentCode>>,
    /// Whether all calls await it.
    pub(super) awaits_code: bool,
    /// Who reads codes out.
    pub(super) voice: Arc<Voice>,
    /// How long a busy worker may nap so that more packets wait for each wake-up.
    pub(super) nap: Duration,
    /// Where events go.
    pub(super) events: mpsc::Sender<MediaEvent>,
    /// Where slots for fields come from.
    pub(super) slots: Arc<dyn SlotSource>,
    /// Where complete fields go.
    pub(super) cards: Arc<dyn CardSink>,
    /// How long packets have waited before they were taken.
    pub(super) waits: Histogram,
}

pub(super) struct Worker<W> {
    wire: W,
    link: Link,
    /// An order that was found on the way to sleep.
    found: Option<Order>,
    shared: Shared,
    /// Events that found no room.
    waiting: VecDeque<MediaEvent>,
    pace: Pace,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_id: HashMap<CallId, usize>,
    timers: BTreeSet<(Instant, usize)>,
    outbox: Outbox,
    /// One datagram at a time; a byte longer than any that is taken.
    buffer: Vec<u8>,
    /// Packets that shadow mode may still listen to, and since when.
    shadowed_left: u32,
    shadowed_since: Option<Instant>,
}

/// The worker's only reading of the clocks: once a wake-up.
fn read_clocks() -> Now {
    Now {
        instant: Instant::now(),
        utc: jiff::Timestamp::now(),
    }
}

/// The CPU that this thread has used so far.
fn cpu_used() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

impl<W: Wire> Worker<W> {
    pub(super) fn new(wire: W, link: Link, shared: Shared) -> Self {
        Self {
            wire,
            link,
            found: None,
            pace: Pace::new(shared.nap),
            shared,
            waiting: VecDeque::new(),
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            timers: BTreeSet::new(),
            outbox: Outbox::default(),
            buffer: vec![0; MAX_DATAGRAM + 1],
            shadowed_left: 0,
            shadowed_since: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "the media worker cannot wait for its sockets and stops");
                return;
            }
            let now = read_clocks();
            let Some(packets) = self.wake_up(now) else {
                return;
            };
            if let Some(nap) = self.pace.after(packets, now.instant, cpu_used) {
                std::thread::sleep(nap);
            }
        }
    }

    /// Sleeps until there is something to do; not at all where an order has come meanwhile.
    fn wait(&mut self) -> io::Result<()> {
        let sleep = self.sleep();
        self.found = self
            .link
            .bell
            .will_sleep(|| self.link.orders.try_recv().ok());
        let sleep = match self.found {
            Some(_) => Duration::ZERO,
            None => sleep,
        };
        let waited = self.wire.wait(sleep);
        self.link.bell.is_awake();
        waited
    }

    /// Works off what one wait has found: how many packets; nothing when the control plane is gone.
    fn wake_up(&mut self, now: Now) -> Option<u32> {
        let shadowed = self.shadowed_since.map(|at| now.instant.duration_since(at));
        if shadowed.is_none_or(|since| since >= SHADOW_PERIOD) {
            self.shadowed_left = SHADOWED;
            self.shadowed_since = Some(now.instant);
        }
        // Commands first: an arming outruns the packets that came with it.
        if !self.take_orders(now) {
            return None;
        }
        let mut packets = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(received) = self.wire.receive(&mut buffer) {
            self.take(received, &mut buffer, now);
            packets += 1;
        }
        self.buffer = buffer;
        self.run_timers(now);
        self.deliver();
        Some(packets)
    }

    fn sleep(&self) -> Duration {
        match self.timers.first() {
            Some((at, _)) => at
                .saturating_duration_since(Instant::now())
                .min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        }
    }

    /// Runs one input of a call and what follows from it. A panic ends this call and no other: what
    /// it held is wiped as it is dropped, and the control plane is told.
    fn guarded(&mut self, index: usize, now: Now, input: impl FnOnce(Desk<'_, W>)) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let way = Way {
            place: index,
            wire: &self.wire,
            counters: &self.link.counters,
        };
        let desk = Desk {
            entry: &mut *entry,
            outbox: &mut self.outbox,
            way,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| input(desk)));
        if outcome.is_err() {
            tracing::error!(call = %entry.id, "an error in this program ended the call; please report it");
            self.link.counters.panicked_calls.add(1);
            self.end(index);
            return;
        }
        self.drain_outputs(index);
        self.reschedule(index, now);
    }

    fn drain_outputs(&mut self, index: usize) {
        let mut lost_field = false;
        loop {
            let Some(Some(entry)) = self.entries.get_mut(index) else {
                return;
            };
            let Some(output) = entry.call.poll_output() else {
                break;
            };
            let id = entry.id.clone();
            let kind = match output {
                Output::Armed(holder) => {
                    if let Holder::Payment(payment) = &holder
                        && !entry.payments.contains(payment)
                    {
                        entry.payments.push(payment.clone());
                    }
                    MediaEventKind::Armed(holder)
                }
                Output::ArmRefused(holder, refusal) => MediaEventKind::ArmRefused(holder, refusal),
                Output::Disarmed => MediaEventKind::Disarmed,
                Output::Captured(payment, field) => {
                    lost_field = self.shared.cards.store(&payment, field).is_err();
                    continue;
                }
                Output::Capture(event) => {
                    let complete = matches!(event.kind, CaptureEventKind::Complete { .. });
                    let kind = if complete && std::mem::take(&mut lost_field) {
                        CaptureEventKind::Failed {
                            reason: CaptureFailure::CardPlaneBusy,
                        }
                    } else {
                        event.kind
                    };
                    MediaEventKind::Capture(CaptureEvent { kind, ..event })
                }
                Output::Incident => MediaEventKind::Incident,
                Output::Tightened(guard) => MediaEventKind::Tightened(guard),
                Output::Contested(leg) => MediaEventKind::Contested(leg),
                Output::Dialled(dialled) => MediaEventKind::Dialled(dialled),
                Output::Shadowed(tally) => match entry.trunk.take() {
                    Some(trunk) => MediaEventKind::Shadowed(trunk, tally),
                    None => continue,
                },
                Output::Ended(proof) => {
                    entry.proof = proof;
                    continue;
                }
            };
            self.tell(id, kind);
        }
        if let Some(Some(entry)) = self.entries.get_mut(index)
            && entry.armed != entry.call.is_armed()
        {
            entry.armed = entry.call.is_armed();
            entry.counts.set_armed(entry.armed);
            let armed = &self.link.counters.armed_calls;
            armed.set(if entry.armed {
                armed.get() + 1
            } else {
                armed.get() - 1
            });
        }
    }

    fn reschedule(&mut self, index: usize, now: Now) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let wakes = entry.call.poll_timeout().map(|at| at.max(now.instant));
        if wakes == entry.wakes {
            return;
        }
        if let Some(old) = entry.wakes {
            self.timers.remove(&(old, index));
        }
        if let Some(new) = wakes {
            self.timers.insert((new, index));
        }
        entry.wakes = wakes;
    }

    fn run_timers(&mut self, now: Now) {
        while let Some(&(at, index)) = self.timers.first() {
            if at > now.instant {
                return;
            }
            self.timers.remove(&(at, index));
            if let Some(Some(entry)) = self.entries.get_mut(index) {
                entry.wakes = None;
            }
            self.guarded(index, now, |desk| {
                desk.entry.call.handle_timeout(now, desk.outbox);
                // What time releases is an armed call's.
                let Entry {
                    call,
                    caller,
                    agent,
                    ..
                } = desk.entry;
                if !(caller.blocked || caller.silenced) {
                    desk.way.send_to_agent(agent, Channel::Rtp, desk.outbox);
                }
                if call.masks_both() {
                    call.handle_mirror_timeout(now, desk.outbox);
                    if !(agent.blocked || agent.silenced) {
                        desk.way.send_mirrored(caller, Channel::Rtp, desk.outbox);
                    }
                }
            });
        }
    }

    /// A datagram that came, at the beginning of `buffer`.
    fn take(&mut self, received: Received, buffer: &mut [u8], now: Now) {
        let Received {
            at,
            source,
            length,
            waited,
        } = received;
        if let Some(waited) = waited {
            self.shared.waits.observe(waited.as_secs_f64());
        }
        let Port {
            place,
            leg: from,
            channel,
        } = at;
        let Some(datagram) = buffer.get_mut(..length) else {
            return;
        };
        let Some(Some(entry)) = self.entries.get_mut(place) else {
            return;
        };
        let heard = entry.call.hides(from);
        let peers = entry.peers(from);
        match peers.admits(channel, source, datagram) {
            Admission::Peer => {}
            Admission::Latched => connect(&mut self.wire, peers, at, source),
            Admission::Stranger => {
                // Under a latch it may be the caller's all the same, and hold a key.
                datagram.zeroize();
                let contested = peers.take_contest();
                entry.counts.refused(from);
                self.link.counters.source.add(1);
                if contested {
                    self.guarded(place, now, |desk| desk.entry.call.contest(from));
                }
                return;
            }
        }
        let silenced = peers.silenced;
        entry.counts.took(from, channel, length, now.instant);
        // An armed caller is heard first, and kept back after.
        let passes = match channel {
            Channel::Rtp if silenced && !heard => {
                let media = entry.call.leg(from);
                media.is_some_and(|media| silence(datagram, media))
            }
            Channel::Rtp | Channel::Rtcp => true,
        };
        self.link.counters.took(from);
        if !passes {
            return;
        }
        self.meter_shadow(at);
        self.guarded(place, now, |desk| desk.handle_media(at, datagram, now));
        if heard {
            // A packet buffer is a log of the card, also where a panic ended the call.
            datagram.zeroize();
        }
    }

    /// Lets shadow mode listen to a packet, or not where it has had its share.
    fn meter_shadow(&mut self, at: Port) {
        let Some(Some(entry)) = self.entries.get_mut(at.place) else {
            return;
        };
        if at.leg != Leg::Caller || at.channel != Channel::Rtp || !entry.call.is_shadowed() {
            return;
        }
        match self.shadowed_left.checked_sub(1) {
            Some(left) => self.shadowed_left = left,
            None => entry.call.spare_shadow(),
        }
    }

    /// Ends a call: closes its sockets, has its cards wiped, and then tells, for its ports are free
    /// from then on.
    fn end(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index).and_then(Option::take) else {
            return;
        };
        for payment in &entry.payments {
            self.shared.cards.wipe(payment);
        }
        self.wire.close(index);
        if let Some(at) = entry.wakes {
            self.timers.remove(&(at, index));
        }
        if entry.armed {
            let armed = &self.link.counters.armed_calls;
            armed.set(armed.get() - 1);
        }
        entry.counts.end();
        self.by_id.remove(&entry.id);
        self.free.push(index);
        self.link.load.calls.fetch_sub(1, Ordering::Relaxed);
        self.link.counters.calls.set(self.by_id.len() as u64);
        let (id, proof) = (entry.id.clone(), entry.proof);
        drop(entry);
        self.tell(id, MediaEventKind::Ended(proof));
    }

    fn tell(&mut self, call: CallId, kind: MediaEventKind) {
        self.waiting.push_back(MediaEvent { call, kind });
        self.deliver();
    }

    /// Hands events over in their order; what finds no room waits here and is not lost.
    fn deliver(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.shared.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
