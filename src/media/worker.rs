//! A worker thread: polls its sockets, drains every ready one, and drives its calls.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroize;

use super::{
    CallStats, CardSink, Counters, LegSockets, MediaCommand, MediaEvent, MediaEventKind,
    SlotSource, leg::LegIo,
};
use crate::proto::{
    call::{ArmRefusal, Call, Channel, Command, Forward, Holder, Output},
    capture::{CaptureEvent, CaptureEventKind, CaptureFailure},
    id::{CallId, PaymentId},
    leg::Leg,
    mask::{Masking, Outbox},
    proof::MaskingProof,
    rtp::MAX_DATAGRAM,
    shadow::TrunkName,
    time::Now,
};

/// Sockets of one call.
const SOCKETS: usize = 4;
const WAKER: Token = Token(usize::MAX);
/// Datagrams taken from one socket before the others have their turn.
const BATCH: usize = 64;
/// Packets that shadow mode listens to in one wake-up. A worker that finds more has fallen behind,
/// and listens to no more of them: every other thing goes first.
const SHADOWED: u32 = 64;
/// How long a worker sleeps at most; a bound on how late an undelivered event is retried.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// An order of the control plane.
pub(super) enum Order {
    Add {
        call: CallId,
        legs: Box<(LegSockets, LegSockets)>,
    },
    Command {
        call: CallId,
        command: MediaCommand,
    },
    Stats {
        call: CallId,
        reply: oneshot::Sender<Option<CallStats>>,
    },
}

struct Entry {
    id: CallId,
    call: Call,
    caller: LegIo,
    agent: LegIo,
    wakes: Option<Instant>,
    armed: bool,
    added: Instant,
    /// Payments whose fields this call gave to the card plane.
    payments: Vec<PaymentId>,
    /// What the call proved, once it has hung up.
    proof: MaskingProof,
    /// The trunk that what shadow mode hears is told for.
    trunk: Option<TrunkName>,
}

pub(super) struct Worker {
    poll: Poll,
    orders: Receiver<Order>,
    masking: Masking,
    events: mpsc::Sender<MediaEvent>,
    /// Events that found no room.
    waiting: VecDeque<MediaEvent>,
    slots: Arc<dyn SlotSource>,
    cards: Arc<dyn CardSink>,
    load: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_id: HashMap<CallId, usize>,
    timers: BTreeSet<(Instant, usize)>,
    /// Sockets that had more than a batch: edge-triggered polling tells of them once only.
    unread: VecDeque<Token>,
    outbox: Outbox,
    /// One datagram at a time; a byte longer than any that is taken.
    buffer: Vec<u8>,
    /// Packets that shadow mode may still listen to in this wake-up.
    shadowed_left: u32,
}

/// The worker's only reading of the clocks: once a wake-up.
fn read_clocks() -> Now {
    Now {
        instant: Instant::now(),
        utc: jiff::Timestamp::now(),
    }
}

impl Worker {
    pub(super) fn new(
        orders: Receiver<Order>,
        masking: Masking,
        events: mpsc::Sender<MediaEvent>,
        slots: Arc<dyn SlotSource>,
        cards: Arc<dyn CardSink>,
        load: Arc<AtomicUsize>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            orders,
            masking,
            events,
            waiting: VecDeque::new(),
            slots,
            cards,
            load,
            counters,
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            timers: BTreeSet::new(),
            unread: VecDeque::new(),
            outbox: Outbox::default(),
            buffer: vec![0; MAX_DATAGRAM + 1],
            shadowed_left: 0,
        })
    }

    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(1_024);
        loop {
            let sleep = self.sleep();
            if let Err(error) = self.poll.poll(&mut ready, Some(sleep)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "the media worker cannot poll its sockets and stops");
                    return;
                }
                continue;
            }
            let now = read_clocks();
            self.shadowed_left = SHADOWED;
            // Commands first: an arming outruns the packets that came with it.
            if !self.take_orders(now) {
                return;
            }
            for event in &ready {
                if event.token() != WAKER {
                    self.drain_socket(event.token(), now);
                }
            }
            for _ in 0..self.unread.len() {
                if let Some(token) = self.unread.pop_front() {
                    self.drain_socket(token, now);
                }
            }
            self.run_timers(now);
            self.deliver();
        }
    }

    fn sleep(&self) -> Duration {
        if !self.unread.is_empty() {
            return Duration::ZERO;
        }
        match self.timers.first() {
            Some((at, _)) => at
                .saturating_duration_since(read_clocks().instant)
                .min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        }
    }

    /// False when the control plane is gone.
    fn take_orders(&mut self, now: Now) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add { call, legs }) => self.add(call, *legs, now),
                Ok(Order::Command { call, command }) => self.command(&call, command, now),
                Ok(Order::Stats { call, reply }) => {
                    let stats = self.stats(&call, now);
                    // Nobody may be waiting any more.
                    let _ = reply.send(stats);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, id: CallId, (caller, agent): (LegSockets, LegSockets), now: Now) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let mut entry = Entry {
            id: id.clone(),
            call: Call::new(self.masking),
            caller: LegIo::new(caller),
            agent: LegIo::new(agent),
            wakes: None,
            armed: false,
            added: now.instant,
            payments: Vec::new(),
            proof: MaskingProof::default(),
            trunk: None,
        };
        let sockets = [
            &mut entry.caller.rtp,
            &mut entry.caller.rtcp,
            &mut entry.agent.rtp,
            &mut entry.agent.rtcp,
        ];
        for (number, socket) in sockets.into_iter().enumerate() {
            let token = Token(index * SOCKETS + number);
            if let Err(error) = self
                .poll
                .registry()
                .register(socket, token, Interest::READABLE)
            {
                tracing::error!(call = %id, %error, "cannot poll a media socket; the call has no voice");
            }
        }
        self.by_id.insert(id, index);
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
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
        let last = command == MediaCommand::HangUp;
        let command = match command {
            MediaCommand::SetLeg(leg, media) => {
                if let Some(Some(entry)) = self.entries.get_mut(index) {
                    match leg {
                        Leg::Caller => entry.caller.set_media(&media),
                        Leg::Agent => entry.agent.set_media(&media),
                    }
                }
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
            } => match self.slots.acquire() {
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
        self.guarded(index, now, |entry, _| {
            entry.call.handle_command(command, now);
        });
        if last {
            self.end(index);
        }
    }

    /// Runs one input of a call and what follows from it. A panic ends this call and no other: what
    /// it held is wiped as it is dropped, and the control plane is told.
    fn guarded(&mut self, index: usize, now: Now, input: impl FnOnce(&mut Entry, &mut Outbox)) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let outbox = &mut self.outbox;
        let outcome = catch_unwind(AssertUnwindSafe(|| input(entry, outbox)));
        if outcome.is_err() {
            tracing::error!(call = %entry.id, "an error in this program ended the call; please report it");
            self.counters.panicked_calls.fetch_add(1, Ordering::Relaxed);
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
                    lost_field = self.cards.store(&payment, field).is_err();
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
            let armed = &self.counters.armed_calls;
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
            let counters = Arc::clone(&self.counters);
            self.guarded(index, now, |entry, outbox| {
                entry.call.handle_timeout(now, outbox);
                send_to_agent(entry, Channel::Rtp, outbox, &counters);
            });
        }
    }

    fn drain_socket(&mut self, token: Token, now: Now) {
        let (index, number) = (token.0 / SOCKETS, token.0 % SOCKETS);
        let (from, channel) = match number {
            0 => (Leg::Caller, Channel::Rtp),
            1 => (Leg::Caller, Channel::Rtcp),
            2 => (Leg::Agent, Channel::Rtp),
            _ => (Leg::Agent, Channel::Rtcp),
        };
        for _ in 0..BATCH {
            let Some(Some(entry)) = self.entries.get_mut(index) else {
                return;
            };
            let leg = match from {
                Leg::Caller => &mut entry.caller,
                Leg::Agent => &mut entry.agent,
            };
            let (length, source) = match leg.receive(channel, &mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What an ICMP message left on a connected socket; the next read is a datagram's.
                Err(_) => continue,
            };
            let Some(datagram) = self.buffer.get_mut(..length) else {
                continue;
            };
            if !leg.admits(channel, source, datagram) {
                // Under a latch it may be the caller's all the same, and hold a key.
                datagram.zeroize();
                leg.stats.errors += 1;
                self.counters
                    .refusals
                    .source
                    .fetch_add(1, Ordering::Relaxed);
                continue;
            }
            leg.last_packet = Some(now.instant);
            let (packets, bytes) = match channel {
                Channel::Rtp => (&mut leg.stats.packets, &mut leg.stats.bytes),
                Channel::Rtcp => (&mut leg.stats.rtcp_packets, &mut leg.stats.rtcp_bytes),
            };
            *packets += 1;
            *bytes += length as u64;
            self.counters.took(from);
            self.handle_datagram(index, from, channel, length, now);
        }
        // Told anew by the poller and left over from before: once is enough.
        if !self.unread.contains(&token) {
            self.unread.push_back(token);
        }
    }

    fn handle_datagram(
        &mut self,
        index: usize,
        from: Leg,
        channel: Channel,
        length: usize,
        now: Now,
    ) {
        let counters = Arc::clone(&self.counters);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut armed = false;
        self.meter_shadow(index, from, channel);
        self.guarded(index, now, |entry, outbox| {
            let datagram = &mut buffer[..length];
            armed = entry.call.is_armed();
            match entry
                .call
                .handle_media(from, channel, datagram, now, outbox)
            {
                Ok(Forward::Nothing) => {}
                Ok(Forward::ToCallerRtp) => {
                    count(entry.caller.send(Channel::Rtp, datagram), &counters);
                }
                Ok(Forward::ToCallerRtcp) => {
                    count(entry.caller.send(Channel::Rtcp, datagram), &counters);
                }
                Ok(Forward::ToAgentRtp) => {
                    send_to_agent(entry, Channel::Rtp, outbox, &counters);
                }
                Ok(Forward::ToAgentRtcp) => {
                    send_to_agent(entry, Channel::Rtcp, outbox, &counters);
                }
                Err(refused) => {
                    match from {
                        Leg::Caller => entry.caller.stats.errors += 1,
                        Leg::Agent => entry.agent.stats.errors += 1,
                    }
                    counters.refused(refused);
                }
            }
        });
        if armed && from == Leg::Caller {
            // A packet buffer is a log of the card, also where a panic ended the call.
            buffer[..length].zeroize();
        }
        self.buffer = buffer;
    }

    /// Lets shadow mode listen to a packet, or not where this wake-up has had its share.
    fn meter_shadow(&mut self, index: usize, from: Leg, channel: Channel) {
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        if from != Leg::Caller || channel != Channel::Rtp || !entry.call.is_shadowed() {
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
        let Some(mut entry) = self.entries.get_mut(index).and_then(Option::take) else {
            return;
        };
        for payment in &entry.payments {
            self.cards.wipe(payment);
        }
        for socket in [
            &mut entry.caller.rtp,
            &mut entry.caller.rtcp,
            &mut entry.agent.rtp,
            &mut entry.agent.rtcp,
        ] {
            // Closing the descriptor takes it out of the poller anyway.
            let _ = self.poll.registry().deregister(socket);
        }
        if let Some(at) = entry.wakes {
            self.timers.remove(&(at, index));
        }
        if entry.armed {
            self.counters.armed_calls.fetch_sub(1, Ordering::Relaxed);
        }
        self.unread.retain(|token| token.0 / SOCKETS != index);
        self.by_id.remove(&entry.id);
        self.free.push(index);
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.counters.calls.fetch_sub(1, Ordering::Relaxed);
        let (id, proof) = (entry.id.clone(), entry.proof);
        drop(entry);
        self.tell(id, MediaEventKind::Ended(proof));
    }

    fn stats(&self, id: &CallId, now: Now) -> Option<CallStats> {
        let entry = self.entries.get(*self.by_id.get(id)?)?.as_ref()?;
        let last = entry.caller.last_packet.max(entry.agent.last_packet);
        Some(CallStats {
            caller: entry.caller.stats,
            agent: entry.agent.stats,
            idle_seconds: now
                .instant
                .duration_since(last.unwrap_or(entry.added))
                .as_secs(),
            armed: entry.armed,
        })
    }

    fn tell(&mut self, call: CallId, kind: MediaEventKind) {
        self.waiting.push_back(MediaEvent { call, kind });
        self.deliver();
    }

    /// Hands events over in their order; what finds no room waits here and is not lost.
    fn deliver(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
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

fn send_to_agent(entry: &Entry, channel: Channel, outbox: &Outbox, counters: &Counters) {
    for cleared in outbox.cleared() {
        count(entry.agent.send_cleared(channel, &cleared), counters);
    }
}

fn count(sent: io::Result<usize>, counters: &Counters) {
    if sent.is_err() {
        counters.unsent.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
