//! Payments: what the API asks for, carried out over journal, audit log, media and card plane.
//!
//! `proto::payment` decides; one task per payment does what it says, in that order, and publishes
//! what the agent may see.

mod actor;
mod charge;
mod hub;
mod notified;
mod operations;
mod outside;
mod prepared;
mod recording;
mod recover;
mod signalled;
#[cfg(test)]
mod tests;
mod types;
mod validate;
mod view;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng};
use tokio::sync::{mpsc, oneshot, watch};
use ulid::Ulid;

use self::{
    actor::{Actor, Basics, Command, Message},
    hub::Hub,
    outside::{Books, Cards, Records},
    prepared::Prepared,
};
pub use self::{
    notified::Taken,
    outside::{CallLookup, Media},
    prepared::{KeyCodeSettings, PreparedView},
    recover::Recovery,
    types::{
        FieldStatus, FieldView, NewPayment, OperationOrder, OperationState, OperationView,
        PaymentError, PaymentEvent, PaymentView, Principal, Subscription,
    },
};
pub use crate::proto::payment::PaymentState;
use crate::{
    audit_log::AuditLog,
    journal::{Journal, PaymentFilter, PaymentRow},
    media::{MediaEvent, MediaEventKind, MediaPlane},
    processor::CardPlane,
    proto::{
        call::{ArmRefusal, Holder},
        capture::{CaptureEventKind, CaptureSettings},
        field::Field,
        id::{CallId, Node, PaymentId, Tenant},
        leg::Leg,
        mask::Guard,
        payment::{Input, Payment, Request, Velocity, VelocityLimits},
        time::Now,
    },
    signal::{CallView, Calls},
};

/// Messages that a payment's task may have waiting.
const MAILBOX: usize = 256;
/// How long an ended payment's last view stays to be read, at least: afterwards the journal answers,
/// which knows the card's brand and last four but no other field. As long as an ended call.
const ENDED_KEPT: Duration = Duration::from_secs(30);
/// Payments that a list holds at most.
pub const MOST_LISTED: u32 = 200;

/// What the service works with.
#[allow(missing_docs)]
pub struct Parts {
    pub journal: Journal,
    pub audit: AuditLog,
    pub calls: Calls,
    pub media: MediaPlane,
    pub cards: CardPlane,
}

/// How the service works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose payments are recovered at start.
    pub tenant: Tenant,
    /// This gateway's name, part of every id that it makes.
    pub node: Node,
    /// Keys and time-outs of every capture.
    pub capture: CaptureSettings,
    /// The processor's name, for the journal.
    pub processor: String,
    /// What the agent may dial to start a payment.
    pub key_code: KeyCodeSettings,
    /// How often cards may be tried.
    pub velocity: VelocityLimits,
}

/// Reads both clocks at once.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// The clocks of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| Now {
        // tokio's reading of the same clock, for its timers are armed by it.
        instant: tokio::time::Instant::now().into_std(),
        utc: jiff::Timestamp::now(),
    })
}

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Payments {
    shared: Arc<Shared>,
}

struct Shared {
    records: Arc<dyn Records>,
    media: Arc<dyn Media>,
    cards: Arc<dyn Cards>,
    calls: Arc<dyn CallLookup>,
    settings: Settings,
    clock: Clock,
    rng: Mutex<StdRng>,
    hub: Hub,
    draining: AtomicBool,
    book: Mutex<Book>,
    /// Armed calls whose agent does not hear the caller, for the noise of the line.
    muted: Mutex<HashSet<CallId>>,
    /// Payments that wait for the agent to dial the code, one a call.
    prepared: Mutex<HashMap<CallId, Prepared>>,
    /// How often cards were tried.
    velocity: Mutex<Velocity>,
    /// Held while a notification is applied.
    notified: tokio::sync::Mutex<()>,
    /// Held while an operation's outcome is written down.
    concluding: tokio::sync::Mutex<()>,
    /// Notifications that cannot be true and are on record.
    contradictions: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Book {
    live: HashMap<PaymentId, Handle>,
    /// In the order of their ends.
    ended: VecDeque<(Instant, PaymentView)>,
}

/// A payment that has a task.
#[derive(Clone)]
struct Handle {
    mailbox: mpsc::Sender<Message>,
    view: watch::Receiver<PaymentView>,
}

impl Payments {
    /// The service over the real parts. `rng` makes the ids.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings, rng: StdRng, clock: Clock) -> Self {
        let cards = parts.cards;
        let books = Books {
            journal: parts.journal,
            audit: parts.audit,
            cards: cards.clone(),
        };
        Self::over(
            Arc::new(books),
            Arc::new(parts.media),
            Arc::new(cards),
            Arc::new(parts.calls),
            settings,
            rng,
            clock,
        )
    }

    /// The same over calls and media that somebody plays, who tells what the media plane would by
    /// [`Payments::handle_media`]: what tests of the way to a processor work with.
    #[must_use]
    pub fn over_played_calls(
        (journal, audit, cards): (Journal, AuditLog, CardPlane),
        (media, calls): (Arc<dyn Media>, Arc<dyn CallLookup>),
        settings: Settings,
        rng: StdRng,
        clock: Clock,
    ) -> Self {
        let books = Books {
            journal,
            audit,
            cards: cards.clone(),
        };
        Self::over(
            Arc::new(books),
            media,
            Arc::new(cards),
            calls,
            settings,
            rng,
            clock,
        )
    }

    fn over(
        records: Arc<dyn Records>,
        media: Arc<dyn Media>,
        cards: Arc<dyn Cards>,
        calls: Arc<dyn CallLookup>,
        settings: Settings,
        rng: StdRng,
        clock: Clock,
    ) -> Self {
        let velocity = Velocity::new(settings.velocity);
        let first = u64::try_from(clock().utc.as_microsecond()).unwrap_or(0);
        Self {
            shared: Arc::new(Shared {
                records,
                media,
                cards,
                calls,
                settings,
                clock,
                rng: Mutex::new(rng),
                hub: Hub::new(first),
                draining: AtomicBool::new(false),
                book: Mutex::default(),
                muted: Mutex::default(),
                prepared: Mutex::default(),
                velocity: Mutex::new(velocity),
                notified: tokio::sync::Mutex::default(),
                concluding: tokio::sync::Mutex::default(),
                contradictions: Mutex::default(),
            }),
        }
    }

    /// Creates a payment: durable record, then arm, then acknowledge (at most 250 ms).
    pub async fn create(
        &self,
        by: &Principal,
        new: NewPayment,
    ) -> Result<PaymentView, PaymentError> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(PaymentError::Draining);
        }
        validate::validate(&new)?;
        self.able(&new)?;
        let (call, keyed_by) = self.callable(by, &new)?;
        let now = (self.shared.clock)();
        let request = Request {
            payment: PaymentId::new(
                by.tenant.clone(),
                self.shared.settings.node.clone(),
                self.shared.serial(now),
            ),
            call: call.id.clone(),
            amount_minor: new.amount_minor,
            required: validate::required(&new),
            currency: new.currency,
        };
        let basics = Basics {
            signalling_id: call.signalling_id,
            // Where it is not known after a restart, both legs are masked again.
            caller_tag: call.caller_tag.filter(|_| call.sides_known),
            keyed_by,
            purpose: new.purpose,
            reference: new.reference,
            description: new.description,
            created: now.utc,
        };
        let (reply, created) = oneshot::channel();
        let actor = {
            let mut book = self.shared.book();
            book.refuse_second(&request.call)?;
            let payment = Payment::new(request, now);
            let (handle, actor) = Actor::new(self.shared.clone(), payment, basics);
            book.live.insert(actor.id().clone(), handle);
            actor
        };
        tokio::spawn(actor.created_by(by.clone(), reply).run());
        created.await.map_err(|_| broke_off())?
    }

    /// The call, if a payment can be taken on it as asked, and the caller's leg.
    fn callable(&self, by: &Principal, new: &NewPayment) -> Result<(CallView, Leg), PaymentError> {
        let Some(call) = self.shared.calls.find(&by.tenant, &new.call) else {
            return Err(PaymentError::UnknownCall(validate::echo(&new.call)));
        };
        let keyed_by = match &new.leg {
            None if call.sides_known => Leg::Caller,
            None => return Err(PaymentError::CallerUnknown),
            Some(tag) => match self.shared.calls.leg_of_tag(&call.id, tag) {
                Some(Leg::Agent) if call.sides_known => {
                    return Err(PaymentError::WrongLeg(validate::echo(tag)));
                }
                Some(leg) => leg,
                None => {
                    return Err(validate::invalid(
                        "leg",
                        validate::echo(tag),
                        "the signalling tag of this call's caller, or no leg at all",
                    ));
                }
            },
        };
        if !call.answered {
            return Err(PaymentError::CannotArm(ArmRefusal::NotAnswered.to_string()));
        }
        match &call.refusal {
            Some(refusal) => Err(PaymentError::CannotArm(refusal.clone())),
            None => Ok((call, keyed_by)),
        }
    }

    /// Opens a field, closing the one that is open.
    pub async fn capture(
        &self,
        by: &Principal,
        id: &PaymentId,
        field: Field,
    ) -> Result<PaymentView, PaymentError> {
        self.command(by, id, Command::Capture(field)).await
    }

    /// Wipes and ends a payment that is not being submitted.
    pub async fn cancel(
        &self,
        by: &Principal,
        id: &PaymentId,
    ) -> Result<PaymentView, PaymentError> {
        self.command(by, id, Command::Cancel).await
    }

    async fn command(
        &self,
        by: &Principal,
        id: &PaymentId,
        command: Command,
    ) -> Result<PaymentView, PaymentError> {
        let action = command.name();
        let live = self.shared.book().live.get(id).cloned();
        let live = live.filter(|_| *id.tenant() == by.tenant);
        let Some(live) = live else {
            return Err(ended(self.get(by, id).await?, action));
        };
        let (reply, answer) = oneshot::channel();
        let message = Message::Command {
            by: by.clone(),
            command,
            reply,
        };
        match live.mailbox.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(PaymentError::Overloaded(
                    "the payment has too much to do; try again in a second".to_owned(),
                ));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(ended(self.get(by, id).await?, action));
            }
        }
        match answer.await {
            Ok(answer) => answer,
            // It ended in the moment in which the command was on its way.
            Err(_) => Err(ended(self.get(by, id).await?, action)),
        }
    }

    /// One payment, also an ended one.
    pub async fn get(&self, by: &Principal, id: &PaymentId) -> Result<PaymentView, PaymentError> {
        if *id.tenant() != by.tenant {
            return Err(PaymentError::UnknownPayment(id.to_string()));
        }
        let records = &self.shared.records;
        let known = self.shared.book().view(id);
        let view = match known {
            Some(view) => view,
            None => {
                let row = records
                    .payment(id.clone())
                    .await
                    .map_err(PaymentError::NotRecordable)?
                    .ok_or_else(|| PaymentError::UnknownPayment(id.to_string()))?;
                self.view_of_row(row).await?
            }
        };
        let mut views = self.with_operations(vec![view]).await?;
        views.pop().ok_or_else(broke_off)
    }

    async fn view_of_row(&self, row: PaymentRow) -> Result<PaymentView, PaymentError> {
        let attempts = self.shared.records.attempts(row.id.clone()).await;
        let attempts = attempts.map_err(PaymentError::NotRecordable)?;
        Ok(view::from_rows(
            row,
            &attempts,
            self.shared.cards.is_sandbox(),
        ))
    }

    /// The tenant's payments that fit, newest first. `call` is our id or the signalling's.
    pub async fn list(
        &self,
        by: &Principal,
        call: Option<&str>,
        filter: PaymentFilter,
    ) -> Result<Vec<PaymentView>, PaymentError> {
        let call = match call {
            None => None,
            Some(text) => match self.shared.calls.find(&by.tenant, text) {
                Some(call) => Some(call.id),
                // A call that is over is known by our id only.
                None => match text.parse::<CallId>() {
                    Ok(id) if *id.tenant() == by.tenant => Some(id),
                    _ => return Err(PaymentError::UnknownCall(validate::echo(text))),
                },
            },
        };
        let records = &self.shared.records;
        let rows = records
            .payments(
                by.tenant.clone(),
                PaymentFilter {
                    call,
                    limit: filter.limit.min(MOST_LISTED),
                    ..filter
                },
            )
            .await
            .map_err(PaymentError::NotRecordable)?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let live = self.shared.book().view(&row.id);
            views.push(match live {
                Some(view) => view,
                None => self.view_of_row(row).await?,
            });
        }
        self.with_operations(views).await
    }

    /// Events of a tenant after `last`, then live ones (filter by payment at the receiver).
    #[must_use]
    pub fn subscribe(&self, tenant: &Tenant, last: Option<u64>) -> Subscription {
        self.shared.hub.subscribe(tenant, last)
    }

    /// What the media plane told; called by the dispatcher, in order, on the runtime.
    pub fn handle_media(&self, event: &MediaEvent) {
        match &event.kind {
            MediaEventKind::Armed(Holder::Payment(id)) => {
                self.tell(id, Message::Fact(Input::Armed));
            }
            MediaEventKind::ArmRefused(Holder::Payment(id), refusal) => {
                self.tell(id, Message::Fact(Input::ArmRefused(refusal.to_string())));
            }
            MediaEventKind::Capture(capture) => {
                let complete = matches!(capture.kind, CaptureEventKind::Complete { .. });
                let told = self.tell(&capture.payment, Message::Capture(capture.clone()));
                if complete && !told {
                    // It became complete while its payment ended, and nobody else would wipe it.
                    self.shared.cards.wipe(&capture.payment);
                }
            }
            MediaEventKind::Incident => self.tell_call(&event.call, &Input::Incident),
            MediaEventKind::Tightened(Guard::Mute) => {
                self.shared.muted().insert(event.call.clone());
                for id in self.on_call(&event.call) {
                    self.tell(&id, Message::CallerMuted);
                }
            }
            MediaEventKind::Disarmed => {
                self.shared.muted().remove(&event.call);
            }
            MediaEventKind::Ended(_) => {
                self.shared.muted().remove(&event.call);
                self.shared.prepared().remove(&event.call);
                self.shared.velocity().forget(&event.call);
                self.shared.cards.call_ended(&event.call);
                self.tell_call(&event.call, &Input::CallEnded);
                self.shared.hub.publish("call.ended", &event.call, None);
            }
            MediaEventKind::Dialled(dialled) => self.handle_dialled(&event.call, *dialled),
            MediaEventKind::Armed(Holder::Ng | Holder::Recovered)
            | MediaEventKind::ArmRefused(Holder::Ng | Holder::Recovered, _)
            | MediaEventKind::Tightened(Guard::Fast | Guard::Strict | Guard::Strictest)
            | MediaEventKind::Contested(_)
            | MediaEventKind::Shadowed(..) => {}
        }
    }

    /// A call has come up; watchers are told.
    pub fn handle_call_started(&self, call: &CallId) {
        self.shared.hub.publish("call.started", call, None);
    }

    /// A call was answered, or has another agent: tells watchers.
    pub fn handle_call_changed(&self, call: &CallId) {
        self.shared.hub.publish("call.updated", call, None);
    }

    /// No new payments from here on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Payments that a caller or a charge is still busy with; what is only unknown does not count.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        let book = self.shared.book();
        let busy = |live: &&Handle| live.view.borrow().state != PaymentState::Unknown;
        book.live.values().filter(busy).count()
    }

    fn tell_call(&self, call: &CallId, fact: &Input) {
        for id in self.on_call(call) {
            self.tell(&id, Message::Fact(fact.clone()));
        }
    }

    fn on_call(&self, call: &CallId) -> Vec<PaymentId> {
        let book = self.shared.book();
        let on_call = book
            .live
            .iter()
            .filter(|(_, live)| live.view.borrow().call == *call);
        on_call.map(|(id, _)| id.clone()).collect()
    }

    /// False when no task has this payment. A full mailbox loses progress only: any other fact
    /// waits its turn, and the machine takes facts in any order.
    fn tell(&self, id: &PaymentId, message: Message) -> bool {
        let Some(live) = self.shared.book().live.get(id).cloned() else {
            return false;
        };
        match live.mailbox.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(message)) => {
                if !message.is_progress() {
                    tokio::spawn(async move {
                        // An error only says that the payment has ended meanwhile.
                        let _ = live.mailbox.send(message).await;
                    });
                }
                true
            }
        }
    }
}

/// The payment has no task any more, so it takes no command.
fn ended(view: PaymentView, action: &'static str) -> PaymentError {
    PaymentError::WrongState {
        state: view.state,
        action,
        needed: "not yet ended",
    }
}

fn broke_off() -> PaymentError {
    PaymentError::Overloaded(
        "the payment broke off and its card is wiped; look at it with GET before anything else"
            .to_owned(),
    )
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn muted(&self) -> MutexGuard<'_, HashSet<CallId>> {
        self.muted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<CallId, Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn velocity(&self) -> MutexGuard<'_, Velocity> {
        self.velocity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serial(&self, now: Now) -> Ulid {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let random = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        let since_epoch = u64::try_from(now.utc.as_millisecond()).unwrap_or(0);
        Ulid::from_parts(since_epoch, random)
    }
}

impl Book {
    fn view(&self, id: &PaymentId) -> Option<PaymentView> {
        if let Some(live) = self.live.get(id) {
            return Some(live.view.borrow().clone());
        }
        let mut ended = self.ended.iter().map(|(_, view)| view);
        ended.find(|view| view.id == *id).cloned()
    }

    /// One payment at a time on a call; after an unknown one none until it is resolved, for the
    /// second might charge what the first has charged.
    fn refuse_second(&self, call: &CallId) -> Result<(), PaymentError> {
        for (id, live) in &self.live {
            let view = live.view.borrow();
            if view.call != *call {
                continue;
            }
            match view.state {
                PaymentState::Unknown => {
                    return Err(PaymentError::WrongState {
                        state: PaymentState::Unknown,
                        action: "another payment on this call",
                        needed: "resolved first, for the charge may stand",
                    });
                }
                PaymentState::Approved | PaymentState::Failed | PaymentState::Cancelled => {}
                PaymentState::Declined if !view.armed => {}
                PaymentState::Arming
                | PaymentState::Open
                | PaymentState::Capturing
                | PaymentState::Submitting
                | PaymentState::Declined => return Err(PaymentError::CallHasPayment(id.clone())),
            }
        }
        Ok(())
    }

    fn end(&mut self, view: PaymentView, now: Instant) {
        self.live.remove(&view.id);
        let old = |(ended, _): &mut (Instant, _)| now.duration_since(*ended) > ENDED_KEPT;
        while self.ended.pop_front_if(old).is_some() {}
        self.ended.push_back((now, view));
    }
}
