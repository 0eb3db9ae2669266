//! The registry: which calls are up, and what became of those that just ended.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, broadcast, oneshot},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::{
    CallChange, CallView,
    ended::Ended,
    interfaces::Interfaces,
    parts::{ArmedStore, AuditSink, MediaPort, PaymentPort},
    record::CallRecord,
    settings::{CallSettings, ShadowScope},
    statistics,
};
use crate::{
    media::{MediaCommand, MediaError, MediaEvent, MediaEventKind},
    proto::{
        audit::{Actor, Event, Record, Success},
        call::{AgentKey, ArmRefusal, Dialled, Holder, InfoForward},
        id::{CallId, PaymentId, Tenant},
        leg::Leg,
        link::{Candidate, Finder},
        ng::Dict,
        proof::MaskingProof,
        secret::SealedPress,
    },
};

/// How many calls may be acted on at once; two of one Call-ID never are.
const TURNS: usize = 256;
/// How many changes a subscriber may lag behind.
const CHANGES: usize = 1024;
/// How long a record may take before the call goes on without it: it keeps its voice.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);
/// How often idle calls and old records are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The calls of this node; cheap to clone.
#[derive(Clone)]
pub struct Calls {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: CallSettings,
    pub(super) media: Arc<dyn MediaPort>,
    pub(super) interfaces: Interfaces,
    pub(super) store: Arc<dyn ArmedStore>,
    audit: Arc<dyn AuditSink>,
    /// Where NG clients may begin payments.
    pub(super) payments: OnceLock<Arc<dyn PaymentPort>>,
    pub(super) places: Arc<Semaphore>,
    pub(super) draining: AtomicBool,
    /// Calls that came up since the start, those that were never deleted, and the start.
    pub(super) started: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) since: Instant,
    changes: broadcast::Sender<CallChange>,
    state: Mutex<State>,
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// Whoever waits for the media plane to arm for a holder.
type Waiter = (Holder, oneshot::Sender<Result<(), ArmRefusal>>);

#[derive(Default)]
pub(super) struct State {
    /// Apart, so that the room that the map keeps for more of them is small.
    pub(super) live: HashMap<CallId, Box<CallRecord>>,
    pub(super) by_signalling: HashMap<Arc<str>, CallId>,
    ended: Ended,
    waiters: HashMap<CallId, Vec<Waiter>>,
}

impl State {
    fn remove(&mut self, id: &CallId) -> Option<Box<CallRecord>> {
        let record = self.live.remove(id)?;
        self.by_signalling.remove(&record.signalling_id);
        // Dropping the senders tells those who wait that the call is gone.
        self.waiters.remove(id);
        Some(record)
    }
}

/// See [`Calls::gather`].
pub(super) struct Gathered<'a>(&'a dyn MediaPort);

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}

/// Who asks, for the log.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// An NG peer.
    Peer(SocketAddr),
    /// The gateway itself.
    Gateway,
}

impl Calls {
    /// An empty registry.
    #[must_use]
    pub fn new(
        settings: CallSettings,
        media: Arc<dyn MediaPort>,
        interfaces: Interfaces,
        store: Arc<dyn ArmedStore>,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        let places = settings.max_calls.min(Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                settings,
                media,
                interfaces,
                store,
                audit,
                payments: OnceLock::new(),
                places: Arc::new(Semaphore::new(places)),
                draining: AtomicBool::new(false),
                started: AtomicU64::new(0),
                timed_out: AtomicU64::new(0),
                since: Instant::now(),
                changes: broadcast::Sender::new(CHANGES),
                state: Mutex::new(State::default()),
                turns: std::iter::repeat_with(tokio::sync::Mutex::default)
                    .take(TURNS)
                    .collect(),
            }),
        }
    }

    /// The tenant's live calls, newest first.
    #[must_use]
    pub fn list(&self, tenant: &Tenant) -> Vec<CallView> {
        if *tenant != self.inner.settings.tenant {
            return Vec::new();
        }
        let mut views: Vec<_> = self.lock().live.values().map(|call| call.view()).collect();
        views.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
        views
    }

    /// One call by our id or by its signalling id.
    #[must_use]
    pub fn find(&self, tenant: &Tenant, id: &str) -> Option<CallView> {
        if *tenant != self.inner.settings.tenant {
            return None;
        }
        let state = self.lock();
        let by_ours = id.parse().ok().and_then(|id: CallId| state.live.get(&id));
        by_ours
            .or_else(|| state.live.get(state.by_signalling.get(id)?))
            .map(|call| call.view())
    }

    /// The calls that a desktop means which looks for its own this way.
    #[must_use]
    pub fn candidates(&self, tenant: &Tenant, finder: &Finder) -> Vec<Candidate> {
        if *tenant != self.inner.settings.tenant {
            return Vec::new();
        }
        let state = self.lock();
        if let Finder::Call(id) = finder {
            let found = state.live.get(id).map(|call| call.candidate());
            return found.into_iter().collect();
        }
        let found = state.live.values().filter(|call| call.is_found_by(finder));
        found.map(|call| call.candidate()).collect()
    }

    /// Which leg a signalling tag belongs to.
    #[must_use]
    pub fn leg_of_tag(&self, call: &CallId, tag: &str) -> Option<Leg> {
        self.lock().live.get(call)?.leg_of_tag(tag)
    }

    /// Whether the call is armed, as far as is known here: from before an arming is acknowledged.
    pub(super) fn is_armed(&self, call: &CallId) -> bool {
        self.with_live(call, |call| call.armed).unwrap_or(false)
    }

    /// See [`MediaPlane::press`](crate::media::MediaPlane::press).
    pub(super) async fn press(
        &self,
        call: &CallId,
        press: SealedPress,
    ) -> Result<InfoForward, MediaError> {
        self.inner.media.press(call, press).await
    }

    /// See [`MediaPlane::dial`](crate::media::MediaPlane::dial).
    pub(super) async fn dial(
        &self,
        call: &CallId,
        press: SealedPress,
    ) -> Result<AgentKey, MediaError> {
        self.inner.media.dial(call, press).await
    }

    /// Published by the dispatcher when the media plane says so.
    pub fn set_armed(&self, call: &CallId, armed: bool) {
        if let Some(record) = self.lock().live.get_mut(call) {
            record.armed = armed;
        }
    }

    /// Starts and ends of calls from here on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<CallChange> {
        self.inner.changes.subscribe()
    }

    /// No new calls from here on; those that are up go on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every call that is still up: the gateway stops.
    pub async fn end_all(&self) {
        let ids: Vec<CallId> = self.lock().live.keys().cloned().collect();
        for id in ids {
            warn!(call = %id, "call ended: the gateway stops");
            self.end(&id, Instant::now()).await;
        }
    }

    /// Calls whose media plane has not yet told their end.
    #[must_use]
    pub fn ending(&self) -> usize {
        self.lock().ended.closing().len()
    }

    /// How many calls are up.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().live.len()
    }

    /// From here until what this returns is dropped, workers of the media plane are not woken for what
    /// calls lead to. Never across an await.
    pub(super) fn gather(&self) -> Gathered<'_> {
        self.inner.media.gather();
        Gathered(&*self.inner.media)
    }

    /// Whether the media plane has more to do than it gets done.
    pub(super) fn is_media_behind(&self) -> bool {
        self.inner.media.is_behind()
    }

    /// What the media plane told; called by the dispatcher, in order, within the runtime.
    pub fn handle_media(&self, event: &MediaEvent) {
        match &event.kind {
            MediaEventKind::Armed(holder) => {
                self.set_armed(&event.call, true);
                self.resolve(&event.call, holder, Ok(()));
            }
            MediaEventKind::ArmRefused(holder, refusal) => {
                self.resolve(&event.call, holder, Err(refusal.clone()));
                if *holder == Holder::Recovered {
                    self.lose_unmaskable(&event.call, refusal);
                }
            }
            MediaEventKind::Dialled(Dialled::Refused(refusal)) => self.note(
                By::Gateway,
                Success::Failure,
                Event::KeyCodeRefused {
                    call: event.call.clone(),
                    reason: refusal.to_string(),
                },
            ),
            MediaEventKind::Dialled(Dialled::Code | Dialled::Amount(_)) => {}
            MediaEventKind::Disarmed => self.disarmed(&event.call),
            MediaEventKind::Incident => {
                if let Some(record) = self.lock().live.get_mut(&event.call) {
                    record.incident = true;
                }
                self.note(
                    By::Gateway,
                    Success::Failure,
                    Event::ControlFailure {
                        control: "masking".to_owned(),
                        cause: "the output check heard a tone; the leg is muted".to_owned(),
                        call: Some(event.call.clone()),
                    },
                );
            }
            MediaEventKind::Tightened(guard) => self.note(
                By::Gateway,
                Success::Success,
                Event::MaskingTightened {
                    call: event.call.clone(),
                    guard: guard.as_str().to_owned(),
                },
            ),
            MediaEventKind::Contested(leg) => self.note(
                By::Gateway,
                Success::Failure,
                Event::SourceContested {
                    call: event.call.clone(),
                    leg: *leg,
                },
            ),
            MediaEventKind::Ended(proof) => self.media_ended(&event.call, *proof),
            MediaEventKind::Capture(_) | MediaEventKind::Shadowed(..) => {}
        }
    }

    /// Ends idle calls and forgets old records, until the process ends.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            self.upkeep(Instant::now()).await;
        }
    }

    /// One round of [`Self::run`].
    pub async fn upkeep(&self, now: Instant) {
        let ids: Vec<CallId> = self.lock().live.keys().cloned().collect();
        for id in ids {
            let reason = match self.inner.media.stats(&id) {
                None => "the media plane has lost it",
                Some(stats) if stats.idle_seconds >= self.inner.settings.idle_timeout.as_secs() => {
                    "no packet came for too long and nobody deleted it"
                }
                Some(stats) => {
                    self.with_live(&id, |call| call.sample(&stats, Timestamp::now()));
                    continue;
                }
            };
            let Some(signalling_id) = self.with_live(&id, |call| call.signalling_id.clone()) else {
                continue;
            };
            let _turn = self.turn(&signalling_id).await;
            warn!(call = %id, reason, "call ended by the gateway");
            self.inner.timed_out.fetch_add(1, Ordering::Relaxed);
            self.end(&id, now).await;
        }
        self.hang_up_again();
        self.forget(now).await;
    }

    /// A worker whose queue was full did not take the hang-up, and would relay the call for ever.
    fn hang_up_again(&self) {
        let state = self.lock();
        for id in state.ended.closing() {
            // It has taken it meanwhile, or is still full and asked again.
            let _ = self.inner.media.send(id, MediaCommand::HangUp);
        }
    }

    /// Waits for this Call-ID's turn: its commands are carried out one after the other.
    pub(super) async fn turn(&self, signalling_id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        signalling_id.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or(0);
        self.inner.turns[index].lock().await
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_live<T>(
        &self,
        id: &CallId,
        with: impl FnOnce(&mut CallRecord) -> T,
    ) -> Option<T> {
        self.lock().live.get_mut(id).map(|call| with(call))
    }

    pub(super) fn live_id(&self, signalling_id: &str) -> Option<CallId> {
        self.lock().by_signalling.get(signalling_id).cloned()
    }

    /// The body of a call that was deleted a moment ago.
    pub(super) fn ended_body(&self, signalling_id: &str) -> Option<Dict> {
        self.lock().ended.body(signalling_id)
    }

    /// The payment that was begun by NG on a call that is up, or was a moment ago.
    pub(super) fn payment_of(&self, signalling_id: &str) -> Option<PaymentId> {
        let state = self.lock();
        match state.by_signalling.get(signalling_id) {
            Some(id) => state.live.get(id)?.payment.clone(),
            None => state.ended.payment(signalling_id),
        }
    }

    /// Enters a call and tells everybody.
    pub(super) fn enter(&self, mut record: Box<CallRecord>) {
        let view = record.view();
        // Which tells what there is to tell so far.
        record.news();
        self.inner.started.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state
            .by_signalling
            .insert(record.signalling_id.clone(), record.id.clone());
        state.live.insert(record.id.clone(), record);
        drop(state);
        debug!(call = %view.id, "call started");
        self.publish(CallChange::Started(Arc::new(view)));
    }

    /// Has shadow mode listen to a call whose caller's leg is known, once.
    pub(super) fn shadow(&self, id: &CallId) {
        let scope = &self.inner.settings.shadow;
        if *scope == ShadowScope::Off {
            return;
        }
        let trunk = self.with_live(id, CallRecord::take_trunk).flatten();
        if let Some(trunk) = trunk.filter(|trunk| scope.includes(trunk))
            && let Err(error) = self.inner.media.send(id, MediaCommand::Shadow(trunk))
        {
            info!(call = %id, %error, "shadow mode does not listen to this call");
        }
    }

    /// The call's statistics as clients read them.
    pub(super) fn statistics(&self, id: &CallId) -> Option<Dict> {
        let stats = self.inner.media.stats(id).unwrap_or_default();
        self.with_live(id, |call| {
            let now = Timestamp::now();
            call.sample(&stats, now);
            statistics::body(call, &stats, now)
        })
    }

    /// Ends a call on purpose: nothing of it is armed any more. Answers its last statistics.
    pub(super) async fn end(&self, id: &CallId, now: Instant) -> Option<Dict> {
        self.end_and_tell(id, now, None).await
    }

    /// The same; of a call with a delay of zero nothing is told afterwards.
    pub(super) async fn end_and_tell(
        &self,
        id: &CallId,
        now: Instant,
        delay: Option<Duration>,
    ) -> Option<Dict> {
        let stats = self.inner.media.stats(id).unwrap_or_default();
        let told = delay != Some(Duration::ZERO);
        let until = now + self.inner.settings.linger;
        let (view, signalling_id, body) = {
            let mut state = self.lock();
            let mut record = state.remove(id)?;
            let at = Timestamp::now();
            record.sample(&stats, at);
            let body = statistics::body(&record, &stats, at);
            let of_it = (record.view(), record.signalling_id.clone(), body);
            // In one step, and before the media plane can tell that it is over: whoever asks finds it
            // in one place or the other.
            state.ended.enter(record, stats, (until, told), at);
            of_it
        };
        if let Err(error) = self.inner.media.send(id, MediaCommand::HangUp) {
            warn!(call = %id, %error, "the media plane did not end the call");
        }
        let tenant = self.inner.settings.tenant.clone();
        let cleared = self
            .inner
            .store
            .clear_armed(tenant, signalling_id.to_string(), None)
            .await;
        if let Err(error) = cleared {
            // A later call of this Call-ID starts armed: more masking than needed, never less.
            warn!(call = %id, %error, "that the call is no longer armed could not be kept");
        }
        debug!(call = %id, "call ended");
        self.publish(CallChange::Ended(Arc::new(view)));
        Some(body)
    }

    /// Tells everybody of a call that was answered, or has another agent.
    pub(super) fn tell_news(&self, id: &CallId) {
        if let Some(view) = self.with_live(id, CallRecord::news).flatten() {
            self.publish(CallChange::Changed(Arc::new(view)));
        }
    }

    fn publish(&self, change: CallChange) {
        // Without subscribers nobody needs to know.
        let _ = self.inner.changes.send(change);
    }

    /// Somebody who waits until the media plane has armed for this holder, or refuses to.
    pub(super) fn wait_for(
        &self,
        id: &CallId,
        holder: Holder,
    ) -> oneshot::Receiver<Result<(), ArmRefusal>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state
            .waiters
            .entry(id.clone())
            .or_default()
            .push((holder, sender));
        receiver
    }

    fn resolve(&self, id: &CallId, holder: &Holder, answer: Result<(), ArmRefusal>) {
        let mut state = self.lock();
        let Some(waiters) = state.waiters.remove(id) else {
            return;
        };
        let (answered, waiting): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|(whom, _)| whom == holder);
        if !waiting.is_empty() {
            state.waiters.insert(id.clone(), waiting);
        }
        for (_, sender) in answered {
            // Whoever gave up waiting does not need it.
            let _ = sender.send(answer.clone());
        }
    }

    fn disarmed(&self, id: &CallId) {
        let known = self.with_live(id, |call| call.armed = false);
        if known.is_some() {
            self.note(
                By::Gateway,
                Success::Success,
                Event::Disarmed { call: id.clone() },
            );
        }
    }

    /// A call that was armed before must not go on unmasked.
    fn lose_unmaskable(&self, id: &CallId, refusal: &ArmRefusal) {
        error!(call = %id, %refusal, "a call that was armed before cannot be masked now; it is ended");
        self.note(
            By::Gateway,
            Success::Failure,
            Event::ControlFailure {
                control: "masking after a restart".to_owned(),
                cause: refusal.to_string(),
                call: Some(id.clone()),
            },
        );
        if let Err(error) = self.inner.media.send(id, MediaCommand::HangUp) {
            error!(call = %id, %error, "the media plane did not take the hang-up");
        }
    }

    fn media_ended(&self, id: &CallId, proof: MaskingProof) {
        let lost = {
            let mut state = self.lock();
            let deleted = state.ended.closed(id);
            (!deleted).then(|| state.remove(id)).flatten()
        };
        if let Some(record) = lost {
            // Its armed rows stay: signalling may still have the call and offer it anew.
            warn!(call = %id, "the media plane ended a call that signalling still has");
            self.publish(CallChange::Ended(Arc::new(record.view())));
            // It has let go of the call; so may whoever remembers where it was.
            let _ = self.inner.media.send(id, MediaCommand::HangUp);
        }
        self.note(
            By::Gateway,
            Success::Success,
            Event::CallEnded {
                call: id.clone(),
                proof,
            },
        );
    }

    async fn forget(&self, now: Instant) {
        let unproven = self.lock().ended.forget(now);
        for id in unproven {
            error!(call = %id, "the media plane never said that the call is over");
            let event = Event::ControlFailure {
                control: "masking proof".to_owned(),
                cause: "the media plane did not report the end of the call".to_owned(),
                call: Some(id),
            };
            self.record(By::Gateway, Success::Failure, event).await;
        }
    }

    /// Records; whether it is durable. A call goes on without.
    pub(super) async fn record(&self, by: By, success: Success, event: Event) -> bool {
        let tenant = self.inner.settings.tenant.clone();
        self.record_in(Some(&tenant), by, success, event).await
    }

    /// Records in the node's log.
    pub(super) async fn record_for_node(&self, by: By, success: Success, event: Event) -> bool {
        self.record_in(None, by, success, event).await
    }

    async fn record_in(
        &self,
        tenant: Option<&Tenant>,
        by: By,
        success: Success,
        event: Event,
    ) -> bool {
        self.record_of(tenant, record_by(by, success, event)).await
    }

    async fn record_of(&self, tenant: Option<&Tenant>, record: Record) -> bool {
        match timeout(RECORD_TIMEOUT, self.inner.audit.record(tenant, record)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                error!(%error, "an event of signalling could not be recorded");
                false
            }
            Err(_) => {
                error!(waited = ?RECORD_TIMEOUT, "an event of signalling is not yet recorded");
                false
            }
        }
    }

    /// Records what nobody waits for, in the order in which it happened.
    pub(super) fn note(&self, by: By, success: Success, event: Event) {
        let tenant = &self.inner.settings.tenant;
        let record = record_by(by, success, event);
        if let Err(record) = self.inner.audit.note(Some(tenant), record) {
            // The log is behind by thousands: this one waits for room.
            let (calls, tenant) = (self.clone(), tenant.clone());
            tokio::spawn(async move { calls.record_of(Some(&tenant), *record).await });
        }
    }
}

fn record_by(by: By, success: Success, event: Event) -> Record {
    let (actor, origin) = match by {
        By::Peer(address) => (
            Actor::Peer {
                address: address.to_string(),
            },
            address.to_string(),
        ),
        By::Gateway => (Actor::Gateway, "gateway".to_owned()),
    };
    Record {
        actor,
        origin,
        success,
        event,
    }
}
