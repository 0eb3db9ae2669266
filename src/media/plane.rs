//! The handle that the control plane holds.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    CallStats, CardSink, Counters, LegSockets, MediaCommand, MediaError, MediaEvent, MediaSettings,
    SlotSource,
    sockets::{Sockets, Waker},
    worker::{Order, Shared, Worker},
};
use crate::proto::{call::InfoForward, id::CallId, secret::SealedPress};

/// Orders that may wait at one worker.
const ORDERS: usize = 4_096;
/// Events that may wait for the control plane; a worker keeps what finds no room.
const EVENTS: usize = 4_096;

/// The media plane as the control plane sees it; cheap to clone.
#[derive(Clone)]
pub struct MediaPlane {
    workers: Arc<[Handle]>,
    /// Which worker has which call.
    placed: Arc<Mutex<HashMap<CallId, usize>>>,
    counters: Arc<Counters>,
}

struct Handle {
    orders: SyncSender<Order>,
    waker: Waker,
    calls: Arc<AtomicUsize>,
}

impl MediaPlane {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system has no more threads or no more descriptors for their pollers.
    pub fn start(
        settings: MediaSettings,
        slots: &Arc<dyn SlotSource>,
        cards: &Arc<dyn CardSink>,
    ) -> io::Result<(Self, mpsc::Receiver<MediaEvent>)> {
        let (events, told) = mpsc::channel(EVENTS);
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            masking: settings.masking,
            nap: settings.nap,
            events,
            slots: Arc::clone(slots),
            cards: Arc::clone(cards),
            counters: Arc::clone(&counters),
        };
        let handles = (0..settings.workers.max(1))
            .map(|number| {
                let (orders, taken) = sync_channel(ORDERS);
                let calls = Arc::new(AtomicUsize::new(0));
                let wire = Sockets::new()?;
                let waker = wire.waker();
                let worker = Worker::new(wire, taken, shared.clone(), Arc::clone(&calls));
                std::thread::Builder::new()
                    .name(format!("media-{number}"))
                    .spawn(move || worker.run())?;
                Ok(Handle {
                    orders,
                    waker,
                    calls,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let plane = Self {
            workers: handles.into(),
            placed: Arc::default(),
            counters,
        };
        Ok((plane, told))
    }

    /// Gives a call to the least loaded worker. Its legs have no media yet.
    ///
    /// # Errors
    /// [`MediaError::Overloaded`] when that worker's queue is full.
    pub fn add_call(
        &self,
        call: CallId,
        caller: LegSockets,
        agent: LegSockets,
    ) -> Result<(), MediaError> {
        let (number, worker) = self
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| worker.calls.load(Ordering::Relaxed))
            .ok_or(MediaError::Overloaded)?;
        worker.order(Order::Add {
            call: call.clone(),
            legs: Box::new((caller, agent)),
        })?;
        worker.calls.fetch_add(1, Ordering::Relaxed);
        self.placed().insert(call, number);
        Ok(())
    }

    /// Sends a command to the call's worker.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has the call or its queue is full.
    pub fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        let last = command == MediaCommand::HangUp;
        self.worker_of(call)?.order(Order::Command {
            call: call.clone(),
            command,
        })?;
        if last {
            self.placed().remove(call);
        }
        Ok(())
    }

    /// Statistics of a call; `None` when it is gone. A worker too busy to be asked answers zeros:
    /// a call must not be taken for lost because of it.
    pub async fn stats(&self, call: &CallId) -> Option<CallStats> {
        let (reply, stats) = oneshot::channel();
        let order = Order::Stats {
            call: call.clone(),
            reply,
        };
        match self.worker_of(call).and_then(|worker| worker.order(order)) {
            Ok(()) => stats.await.ok().flatten(),
            Err(MediaError::Overloaded) => Some(CallStats::default()),
            Err(MediaError::UnknownCall) => None,
        }
    }

    /// Ends a call, which is answered by `Ended` too; its last statistics.
    ///
    /// # Errors
    /// [`MediaError`] when no worker has the call or its queue is full: it goes on then.
    pub async fn end(&self, call: &CallId) -> Result<CallStats, MediaError> {
        let (reply, stats) = oneshot::channel();
        let worker = self.worker_of(call)?;
        worker.put(Order::Stats {
            call: call.clone(),
            reply,
        })?;
        worker.order(Order::Command {
            call: call.clone(),
            command: MediaCommand::HangUp,
        })?;
        self.placed().remove(call);
        stats.await.ok().flatten().ok_or(MediaError::UnknownCall)
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
        let worker = self.worker_of(&call)?;
        worker.order(Order::Press { call, press, reply })?;
        let forward = forward.await.ok().flatten();
        forward.ok_or(MediaError::UnknownCall)
    }

    /// What the workers count.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn worker_of(&self, call: &CallId) -> Result<&Handle, MediaError> {
        let number = *self.placed().get(call).ok_or(MediaError::UnknownCall)?;
        self.workers.get(number).ok_or(MediaError::UnknownCall)
    }

    fn placed(&self) -> std::sync::MutexGuard<'_, HashMap<CallId, usize>> {
        // A panic under this lock leaves the map whole: each use is one insert or remove.
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// An order that the worker finds when it is next awake.
    fn put(&self, order: Order) -> Result<(), MediaError> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => MediaError::Overloaded,
            TrySendError::Disconnected(_) => MediaError::UnknownCall,
        })
    }

    fn order(&self, order: Order) -> Result<(), MediaError> {
        self.put(order)?;
        // A worker that cannot be woken still finds its orders at its next packet.
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "cannot wake a media worker");
        }
        Ok(())
    }
}
