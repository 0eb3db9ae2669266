//! The handle that the control plane holds.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::Instant,
};

use prometheus::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::sync::{mpsc, oneshot};

use super::{
    CallStats, CardSink, Counted, LegSockets, MediaCommand, MediaError, MediaEvent, MediaSettings,
    SlotSource,
    arrival::{self, Arrivals},
    counters::Counters,
    counts::CallCounts,
    doorbell::Doorbell,
    sockets::Sockets,
    voice,
    worker::{Link, Load, NewCall, Order, Shared, Worker},
};
use crate::proto::{
    call::{AgentKey, InfoForward, LegMedia},
    id::CallId,
    leg::Leg,
    secret::SealedPress,
};

/// Orders that may wait at one worker.
const ORDERS: usize = 4_096;
/// Events that may wait for the control plane; a worker keeps what finds no room.
const EVENTS: usize = 4_096;

/// The media plane as the control plane sees it; cheap to clone.
#[derive(Clone)]
pub struct MediaPlane {
    workers: Arc<[Handle]>,
    placed: Arc<Mutex<HashMap<CallId, Placed>>>,
    /// How many at the moment give several orders.
    gathering: Arc<AtomicUsize>,
    waits: Histogram,
}

/// Which worker has a call, and what it counts of it.
struct Placed {
    worker: usize,
    counts: Arc<CallCounts>,
}

struct Handle {
    orders: SyncSender<Order>,
    bell: Arc<Doorbell>,
    /// It was not told of an order yet, because more are to come.
    untold: AtomicBool,
    load: Arc<Load>,
    counters: Arc<Counters>,
}

impl MediaPlane {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system has no more threads or no more descriptors for their pollers, or when this
    /// process may not run on a CPU that is named.
    pub fn start(
        settings: MediaSettings,
        slots: &Arc<dyn SlotSource>,
        cards: &Arc<dyn CardSink>,
    ) -> io::Result<(Self, mpsc::Receiver<MediaEvent>)> {
        let (events, told) = mpsc::channel(EVENTS);
        let waits = arrival::histogram().map_err(io::Error::other)?;
        let cpus = Cpus::new(&settings.cpus)?;
        let shared = Shared {
            masking: settings.masking,
            key_code: settings.key_code.clone(),
            awaits_code: settings.awaits_code,
            voice: settings
                .voice
                .unwrap_or_else(|| Arc::new(voice::built_in())),
            nap: settings.nap,
            events,
            slots: Arc::clone(slots),
            cards: Arc::clone(cards),
            waits: waits.clone(),
        };
        let handles = (0..settings.workers.max(1))
            .map(|number| {
                let (orders, taken) = sync_channel(ORDERS);
                let load = Arc::new(Load::default());
                let bell = Arc::new(Doorbell::new()?);
                let arrivals = settings.measure_wait.then(Arrivals::new);
                let wire = Sockets::new(&bell, arrivals)?;
                let counters = Arc::new(Counters::default());
                let link = Link {
                    orders: taken,
                    bell: Arc::clone(&bell),
                    load: Arc::clone(&load),
                    counters: Arc::clone(&counters),
                };
                let worker = Worker::new(wire, link, shared.clone());
                let cpu = cpus.of(number);
                std::thread::Builder::new()
                    .name(format!("media-{number}"))
                    .spawn(move || {
                        stay_on(cpu);
                        worker.run();
                    })?;
                Ok(Handle {
                    orders,
                    bell,
                    untold: AtomicBool::new(false),
                    load,
                    counters,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let plane = Self {
            workers: handles.into(),
            placed: Arc::default(),
            gathering: Arc::default(),
            waits,
        };
        Ok((plane, told))
    }

    /// Gives a call to the least loaded worker, with the media of its first leg where that is known.
    /// `mask_both`: which leg is the caller's is not known.
    ///
    /// # Errors
    /// [`MediaError::Overloaded`] when that worker's queue is full.
    pub fn add_call(
        &self,
        call: CallId,
        caller: LegSockets,
        agent: LegSockets,
        media: Option<(Leg, LegMedia)>,
        mask_both: bool,
    ) -> Result<(), MediaError> {
        let (number, worker) = self
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| worker.load.calls.load(Ordering::Relaxed))
            .ok_or(MediaError::Overloaded)?;
        let counts = Arc::new(CallCounts::new(Instant::now()));
        let new = NewCall {
            call: call.clone(),
            caller,
            agent,
            media,
            mask_both,
            counts: Arc::clone(&counts),
        };
        self.order(worker, Order::Add(Box::new(new)))?;
        worker.load.calls.fetch_add(1, Ordering::Relaxed);
        let placed = Placed {
            worker: number,
            counts,
        };
        self.placed().insert(call, placed);
        Ok(())
    }

    /// Sends a command to the call's worker.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has the call or its queue is full.
    pub fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        let last = command == MediaCommand::HangUp;
        let number = self.placed().get(call).map(|placed| placed.worker);
        let worker = number.and_then(|number| self.workers.get(number));
        let order = Order::Command {
            call: call.clone(),
            command,
        };
        self.order(worker.ok_or(MediaError::UnknownCall)?, order)?;
        if last {
            self.placed().remove(call);
        }
        Ok(())
    }

    /// What is counted of a call so far; `None` when it is gone.
    #[must_use]
    pub fn stats(&self, call: &CallId) -> Option<CallStats> {
        self.placed().get(call)?.counts.read(Instant::now())
    }

    /// From here to [`Self::hand_over`] workers that sleep are not woken for orders, so that they wake
    /// once for all of them. For as long as somebody gives orders without waiting for anything.
    pub fn gather(&self) {
        self.gathering.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends a [`Self::gather`], and wakes whoever has got orders.
    pub fn hand_over(&self) {
        self.gathering.fetch_sub(1, Ordering::SeqCst);
        for worker in self.workers.iter() {
            if worker.untold.swap(false, Ordering::SeqCst) {
                worker.ring();
            }
        }
    }

    /// Whether a worker has so many orders waiting that whoever can should give it no more for now.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let behind = |worker: &Handle| worker.load.orders.load(Ordering::Relaxed) > ORDERS / 2;
        self.workers.iter().any(behind)
    }

    /// Gives the call a key that the caller's signalling told, and waits for what the call says to
    /// it: whether it was kept, or the call is not armed and the message may go on.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has the call or its queue is full.
    pub async fn press(
        &self,
        call: &CallId,
        press: SealedPress,
    ) -> Result<InfoForward, MediaError> {
        let (reply, forward) = oneshot::channel();
        let call = call.clone();
        let number = self.placed().get(&call).map(|placed| placed.worker);
        let worker = number.and_then(|number| self.workers.get(number));
        let order = Order::Press { call, press, reply };
        self.order(worker.ok_or(MediaError::UnknownCall)?, order)?;
        let forward = forward.await.ok().flatten();
        forward.ok_or(MediaError::UnknownCall)
    }

    /// Gives the call a key that the agent's signalling told, and waits for what the call says to it:
    /// whether its message has to wait, for it may be of the code that starts a payment.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has the call or its queue is full.
    pub async fn dial(&self, call: &CallId, press: SealedPress) -> Result<AgentKey, MediaError> {
        let (reply, told) = oneshot::channel();
        let call = call.clone();
        let number = self.placed().get(&call).map(|placed| placed.worker);
        let worker = number.and_then(|number| self.workers.get(number));
        let order = Order::Dial { call, press, reply };
        self.order(worker.ok_or(MediaError::UnknownCall)?, order)?;
        let told = told.await.ok().flatten();
        told.ok_or(MediaError::UnknownCall)
    }

    /// What the workers have counted.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.workers
            .iter()
            .map(|worker| worker.counters.read())
            .sum()
    }

    /// How long packets have waited before they were taken, where that is measured.
    #[must_use]
    pub const fn waits(&self) -> &Histogram {
        &self.waits
    }

    fn order(&self, worker: &Handle, order: Order) -> Result<(), MediaError> {
        worker.put(order)?;
        if self.gathering.load(Ordering::SeqCst) > 0 {
            worker.untold.store(true, Ordering::SeqCst);
            // Whoever gathered may have handed over before this was to be seen.
            if self.gathering.load(Ordering::SeqCst) > 0
                || !worker.untold.swap(false, Ordering::SeqCst)
            {
                return Ok(());
            }
        }
        worker.ring();
        Ok(())
    }

    fn placed(&self) -> std::sync::MutexGuard<'_, HashMap<CallId, Placed>> {
        // A panic under this lock leaves the map whole: each use is one insert or remove.
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// An order that the worker finds when it is next awake.
    fn put(&self, order: Order) -> Result<(), MediaError> {
        self.load.orders.fetch_add(1, Ordering::Relaxed);
        self.orders.try_send(order).map_err(|error| {
            self.load.orders.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => MediaError::Overloaded,
                TrySendError::Disconnected(_) => MediaError::UnknownCall,
            }
        })
    }

    fn ring(&self) {
        // A worker that cannot be woken still finds its orders at its next packet.
        if let Err(error) = self.bell.ring() {
            tracing::warn!(%error, "cannot wake a media worker");
        }
    }
}

/// The CPUs that workers are to run on.
struct Cpus(Vec<CpuSet>);

impl Cpus {
    /// # Errors
    /// When one of them is none that this process may run on.
    fn new(named: &[usize]) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let only = |cpu: &usize| {
            if *cpu >= CpuSet::MAX_CPU || !allowed.is_set(*cpu) {
                let may: Vec<_> = (0..CpuSet::MAX_CPU)
                    .filter(|cpu| allowed.is_set(*cpu))
                    .map(|cpu| cpu.to_string())
                    .collect();
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "media.cpus: found {cpu}; this process may run on {} (see taskset or the unit's \
                         CPUAffinity)",
                        may.join(", ")
                    ),
                ));
            }
            let mut set = CpuSet::new();
            set.set(*cpu);
            Ok(set)
        };
        named.iter().map(only).collect::<io::Result<_>>().map(Self)
    }

    /// Where a worker is to stay; nowhere where none are named.
    fn of(&self, worker: usize) -> Option<CpuSet> {
        let place = worker.checked_rem(self.0.len())?;
        self.0.get(place).copied()
    }
}

/// This thread stays on its CPU, whose caches then keep its calls.
fn stay_on(cpu: Option<CpuSet>) {
    if let Some(cpu) = cpu
        && let Err(error) = sched_setaffinity(None, &cpu)
    {
        tracing::warn!(%error, "a media worker cannot stay on its CPU; it runs where the system puts it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_stay_on_the_cpus_that_are_named_in_turns_and_others_are_not_taken() {
        let allowed = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU)
            .find(|cpu| allowed.is_set(*cpu))
            .unwrap();
        let cpus = Cpus::new(&[first]).unwrap();
        for worker in 0..3 {
            let told = std::thread::spawn({
                let cpu = cpus.of(worker);
                move || {
                    stay_on(cpu);
                    sched_getaffinity(None).unwrap()
                }
            });
            let told = told.join().unwrap();
            assert!(told.is_set(first) && told.count() == 1);
        }
        assert_eq!(Cpus::new(&[]).unwrap().of(0), None);
        for wrong in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU] {
            let error = Cpus::new(&[first, wrong]).err().unwrap().to_string();
            assert!(error.contains(&format!("found {wrong}; this process may run on {first}")));
        }
    }
}
