//! A worker thread: takes what its wire finds, and drives its calls.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroize;

use super::{
    CardSink, Counters, LegSockets, MediaCommand, MediaEvent, MediaEventKind, SlotSource,
    counts::CallCounts,
    doorbell::Doorbell,
    leg::{Admission, LegPeers, silence},
    pace::Pace,
    wire::{Port, Received, Wire},
};
use crate::proto::{
    call::{ArmRefusal, Call, Channel, Command, Forward, Holder, InfoForward, LegMedia, Output},
    capture::{CaptureEvent, CaptureEventKind, CaptureFailure},
    encoding::AudioCodec,
    id::{CallId, PaymentId},
    leg::Leg,
    mask::{Masking, Outbox},
    proof::MaskingProof,
    rtp::{MAX_DATAGRAM, Reception},
    secret::SealedPress,
    shadow::TrunkName,
    time::Now,
};

/// Packets that shadow mode listens to in a [`SHADOW_PERIOD`]: about 6 % of a core. A worker that
/// finds more has fallen behind, and listens to no more of them: every other thing goes first.
const SHADOWED: u32 = 64;
const SHADOW_PERIOD: Duration = Duration::from_millis(1);
/// How long a worker sleeps at most; a bound on how late an undelivered event is retried.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// An order of the control plane.
pub(super) enum Order {
    Add(Box<NewCall>),
    Command {
        call: CallId,
        command: MediaCommand,
    },
    /// A key that the caller's signalling told.
    Press {
        call: CallId,
        press: SealedPress,
        reply: oneshot::Sender<Option<InfoForward>>,
    },
}

/// A call that begins.
pub(super) struct NewCall {
    pub(super) call: CallId,
    pub(super) caller: LegSockets,
    pub(super) agent: LegSockets,
    /// The media of its first leg, where that is known.
    pub(super) media: Option<(Leg, LegMedia)>,
    pub(super) counts: Arc<CallCounts>,
}

/// How much a worker has to do.
#[derive(Default)]
pub(super) struct Load {
    /// Calls that it has or will have.
    pub(super) calls: AtomicUsize,
    /// Orders that wait for it.
    pub(super) orders: AtomicUsize,
}

struct Entry {
    id: CallId,
    call: Call,
    caller: LegPeers,
    agent: LegPeers,
    wakes: Option<Instant>,
    armed: bool,
    counts: Arc<CallCounts>,
    /// Payments whose fields this call gave to the card plane.
    payments: Vec<PaymentId>,
    /// What the call proved, once it has hung up.
    proof: MaskingProof,
    /// The trunk that what shadow mode hears is told for.
    trunk: Option<TrunkName>,
    /// What the receiver of each leg's stream could tell.
    receptions: Receptions,
}

#[derive(Default)]
struct Receptions {
    caller: Reception,
    agent: Reception,
}

impl Receptions {
    const fn of(&mut self, leg: Leg) -> &mut Reception {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }
}

impl Entry {
    const fn peers(&mut self, leg: Leg) -> &mut LegPeers {
        match leg {
            Leg::Caller => &mut self.caller,
            Leg::Agent => &mut self.agent,
        }
    }
}

/// What one input of a call works with.
struct Desk<'a, W> {
    entry: &'a mut Entry,
    outbox: &'a mut Outbox,
    way: Way<'a, W>,
}

/// The way out of one call.
struct Way<'a, W> {
    place: usize,
    wire: &'a W,
    counters: &'a Counters,
}

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    /// How the armed calls are masked.
    pub(super) masking: Masking,
    /// How long a busy worker may nap so that more packets wait for each wake-up.
    pub(super) nap: Duration,
    /// Where events go.
    pub(super) events: mpsc::Sender<MediaEvent>,
    /// Where slots for fields come from.
    pub(super) slots: Arc<dyn SlotSource>,
    /// Where complete fields go.
    pub(super) cards: Arc<dyn CardSink>,
    /// What is counted.
    pub(super) counters: Arc<Counters>,
}

pub(super) struct Worker<W> {
    wire: W,
    orders: Receiver<Order>,
    bell: Arc<Doorbell>,
    load: Arc<Load>,
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
    pub(super) fn new(
        wire: W,
        (orders, bell, load): (Receiver<Order>, Arc<Doorbell>, Arc<Load>),
        shared: Shared,
    ) -> Self {
        Self {
            wire,
            orders,
            bell,
            load,
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
        self.found = self.bell.will_sleep(|| self.orders.try_recv().ok());
        let sleep = match self.found {
            Some(_) => Duration::ZERO,
            None => sleep,
        };
        let waited = self.wire.wait(sleep);
        self.bell.is_awake();
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

    /// False when the control plane is gone.
    fn take_orders(&mut self, now: Now) -> bool {
        loop {
            let order = match self.found.take() {
                Some(order) => Ok(order),
                None => self.orders.try_recv(),
            };
            match order {
                Ok(order) => {
                    self.load.orders.fetch_sub(1, Ordering::Relaxed);
                    match order {
                        Order::Add(new) => self.add(*new, now),
                        Order::Command { call, command } => self.command(&call, command, now),
                        Order::Press { call, press, reply } => {
                            let forward = self.press(&call, press, now);
                            // Nobody may be waiting any more.
                            let _ = reply.send(forward);
                        }
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, new: NewCall, now: Now) {
        let NewCall {
            call: id,
            caller,
            agent,
            media,
            counts,
        } = new;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let entry = Entry {
            id: id.clone(),
            call: Call::new(self.shared.masking),
            caller: LegPeers::default(),
            agent: LegPeers::default(),
            wakes: None,
            armed: false,
            counts,
            payments: Vec::new(),
            proof: MaskingProof::default(),
            trunk: None,
            receptions: Receptions::default(),
        };
        if let Err(error) = self.wire.open(index, caller, agent) {
            tracing::error!(call = %id, %error, "cannot wait for a media socket; the call has no voice");
        }
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
        }
        self.shared.counters.calls.fetch_add(1, Ordering::Relaxed);
        self.by_id.insert(id.clone(), index);
        if let Some((leg, media)) = media {
            self.command_at(index, &id, MediaCommand::SetLeg(leg, media), now);
        }
    }

    fn command(&mut self, id: &CallId, command: MediaCommand, now: Now) {
        let Some(&index) = self.by_id.get(id) else {
            if let MediaCommand::Arm(holder) = command {
                self.tell(
                    id.clone(),
                    MediaEventKind::ArmRefused(holder, ArmRefusal::Gone),
                );
            }
            return;
        };
        self.command_at(index, id, command, now);
    }

    fn command_at(&mut self, index: usize, id: &CallId, command: MediaCommand, now: Now) {
        let last = command == MediaCommand::HangUp;
        let command = match command {
            MediaCommand::Block(leg, blocked) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.peers(leg).blocked = blocked;
                }
                return;
            }
            MediaCommand::Silence(leg, silenced) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.peers(leg).silenced = silenced;
                }
                return;
            }
            MediaCommand::SetLeg(leg, media) => {
                self.set_media(index, leg, &media);
                Command::SetLeg(leg, media)
            }
            MediaCommand::Arm(holder) => Command::Arm(holder),
            MediaCommand::Release(holder) => Command::Release(holder),
            MediaCommand::CloseCapture(payment) => Command::CloseCapture(payment),
            MediaCommand::Shadow(trunk) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    entry.trunk = Some(trunk);
                }
                Command::Shadow
            }
            MediaCommand::HangUp => Command::HangUp,
            MediaCommand::OpenCapture {
                payment,
                field,
                settings,
            } => match self.shared.slots.acquire() {
                Some(slot) => Command::OpenCapture {
                    payment,
                    field,
                    settings,
                    slot,
                },
                None => {
                    self.tell(
                        id.clone(),
                        MediaEventKind::Capture(CaptureEvent {
                            payment,
                            field,
                            kind: CaptureEventKind::Failed {
                                reason: CaptureFailure::SecretMemoryFull,
                            },
                        }),
                    );
                    return;
                }
            },
        };
        self.guarded(index, now, |desk| {
            desk.entry.call.handle_command(command, now);
        });
        if last {
            self.end(index);
        }
    }

    /// Whether the key was kept; `None` when there is no such call.
    fn press(&mut self, id: &CallId, press: SealedPress, now: Now) -> Option<InfoForward> {
        let index = *self.by_id.get(id)?;
        // What could not be opened is no key, and is not told on either.
        let mut forward = InfoForward::Keep;
        if let Some(key) = press.open() {
            self.guarded(index, now, |desk| {
                forward = desk.entry.call.handle_press(key, now);
            });
        }
        Some(forward)
    }

    fn set_media(&mut self, index: usize, leg: Leg, media: &LegMedia) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let mut codecs = media.payload_types.iter();
        let codec = codecs.find_map(|(_, encoding)| encoding.audio());
        let clock_hz = codec.map_or(8_000, AudioCodec::clock_hz);
        entry.receptions.of(leg).set_clock(clock_hz);
        let peers = match leg {
            Leg::Caller => &mut entry.caller,
            Leg::Agent => &mut entry.agent,
        };
        for rewire in peers
            .set_media(media, entry.call.leg(leg))
            .into_iter()
            .flatten()
        {
            let at = Port {
                place: index,
                leg,
                channel: rewire.channel,
            };
            if rewire.disconnect
                && let Err(error) = self.wire.disconnect(at)
            {
                tracing::warn!(%error, "cannot take back a media socket's peer; its leg may stay silent");
            }
            if let Some(address) = rewire.connect {
                connect(&mut self.wire, peers, at, address);
            }
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
            counters: &self.shared.counters,
        };
        let desk = Desk {
            entry: &mut *entry,
            outbox: &mut self.outbox,
            way,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| input(desk)));
        if outcome.is_err() {
            tracing::error!(call = %entry.id, "an error in this program ended the call; please report it");
            self.shared
                .counters
                .panicked_calls
                .fetch_add(1, Ordering::Relaxed);
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
            let armed = &self.shared.counters.armed_calls;
            if entry.armed {
                armed.fetch_add(1, Ordering::Relaxed);
            } else {
                armed.fetch_sub(1, Ordering::Relaxed);
            }
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
                if !(desk.entry.caller.blocked || desk.entry.caller.silenced) {
                    desk.way
                        .send_to_agent(&desk.entry.agent, Channel::Rtp, desk.outbox);
                }
            });
        }
    }

    /// A datagram that came, at the beginning of `buffer`.
    fn take(&mut self, received: Received, buffer: &mut [u8], now: Now) {
        let Received { at, source, length } = received;
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
        let armed = entry.call.is_armed();
        let peers = entry.peers(from);
        match peers.admits(channel, source, datagram) {
            Admission::Peer => {}
            Admission::Latched => connect(&mut self.wire, peers, at, source),
            Admission::Stranger => {
                // Under a latch it may be the caller's all the same, and hold a key.
                datagram.zeroize();
                let contested = peers.take_contest();
                entry.counts.refused(from);
                self.shared
                    .counters
                    .refusals
                    .source
                    .fetch_add(1, Ordering::Relaxed);
                if contested {
                    self.guarded(place, now, |desk| desk.entry.call.contest(from));
                }
                return;
            }
        }
        let silenced = peers.silenced;
        entry.counts.took(from, channel, length, now.instant);
        // An armed caller is heard first, and kept back after.
        let heard = armed && from == Leg::Caller;
        let passes = match channel {
            Channel::Rtp if silenced && !heard => {
                let media = entry.call.leg(from);
                media.is_some_and(|media| silence(datagram, media))
            }
            Channel::Rtp | Channel::Rtcp => true,
        };
        self.shared.counters.took(from);
        if !passes {
            return;
        }
        self.meter_shadow(at);
        self.guarded(place, now, |desk| desk.handle_media(at, datagram, now));
        if armed && from == Leg::Caller {
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
            self.shared
                .counters
                .armed_calls
                .fetch_sub(1, Ordering::Relaxed);
        }
        entry.counts.end();
        self.by_id.remove(&entry.id);
        self.free.push(index);
        self.load.calls.fetch_sub(1, Ordering::Relaxed);
        self.shared.counters.calls.fetch_sub(1, Ordering::Relaxed);
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

/// Names a port's peer to the system. Where that is refused the leg has its voice all the same, and
/// strangers are kept out here.
fn connect(wire: &mut impl Wire, peers: &mut LegPeers, at: Port, address: SocketAddr) {
    match wire.connect(at, address) {
        Ok(()) => peers.connected(at.channel),
        Err(error) => {
            tracing::warn!(%address, %error, "cannot connect a media socket; its peer is filtered here");
        }
    }
}

impl<W: Wire> Desk<'_, W> {
    fn handle_media(self, at: Port, datagram: &mut [u8], now: Now) {
        let Self { entry, outbox, way } = self;
        let heard = at.leg == Leg::Caller && entry.call.is_armed();
        let peers = entry.peers(at.leg);
        let blocked = peers.blocked || (peers.silenced && heard);
        let call = &mut entry.call;
        let forward = call.handle_media(at.leg, at.channel, datagram, now, outbox);
        if matches!(forward, Ok(Forward::ToCallerRtp | Forward::ToAgentRtp)) {
            let reception = entry.receptions.of(at.leg);
            reception.packet(datagram, now.instant);
            entry.counts.receives(at.leg, reception);
        }
        match forward {
            Ok(Forward::Nothing) => {}
            // Heard and masked as ever, and kept here.
            Ok(_) if blocked => {}
            Ok(Forward::ToCallerRtp) => way.send_to_caller(&entry.caller, Channel::Rtp, datagram),
            Ok(Forward::ToCallerRtcp) => way.send_to_caller(&entry.caller, Channel::Rtcp, datagram),
            Ok(Forward::ToAgentRtp) => way.send_to_agent(&entry.agent, Channel::Rtp, outbox),
            Ok(Forward::ToAgentRtcp) => way.send_to_agent(&entry.agent, Channel::Rtcp, outbox),
            Err(refused) => {
                entry.counts.refused(at.leg);
                way.counters.refused(refused);
            }
        }
    }
}

impl<W: Wire> Way<'_, W> {
    fn send_to_caller(&self, peers: &LegPeers, channel: Channel, datagram: &[u8]) {
        if let Some((channel, to)) = peers.way_out(channel) {
            self.count(self.wire.send_to_caller(self.place, channel, to, datagram));
        }
    }

    fn send_to_agent(&self, peers: &LegPeers, channel: Channel, outbox: &Outbox) {
        let Some((channel, to)) = peers.way_out(channel) else {
            return;
        };
        for cleared in outbox.cleared() {
            self.count(self.wire.send_to_agent(self.place, channel, to, &cleared));
        }
    }

    fn count(&self, sent: io::Result<()>) {
        if sent.is_err() {
            self.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
