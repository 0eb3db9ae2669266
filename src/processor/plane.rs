//! The card plane's thread and the handle to it.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{JoinSet, LocalSet, spawn_local},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Advice, Charge, Operation, Outcome, Processor, Promises, SubmitError, Submitted, TokenStore,
    barred::Barred,
    card::RequestMemory,
    vault::{Card, NotReady, Vault},
    words,
};
use crate::{
    audit_log::Recorded,
    media::{CardPlaneBusy, CardSink},
    proto::{
        card::CapturedField,
        field::Field,
        id::{CallId, PaymentId},
    },
};

/// The code of a decline by this gateway: the issuer has said on this call that the card must not be tried again.
pub(super) const BARRED: &str = "barred_on_this_call";

/// How much the card plane takes and how long it keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardPlaneSettings {
    /// Most fields and requests that wait for the card plane's thread.
    pub queue: usize,
    /// How long PAN and expiry outlive a decline that says re-enter or try again.
    pub keep_after_decline: Duration,
    /// How long a field is held that nobody charges or wipes.
    pub hold_at_most: Duration,
    /// How long an adapter may take for one attempt before it is cut off as unknown.
    pub flight_limit: Duration,
}

impl Default for CardPlaneSettings {
    fn default() -> Self {
        Self {
            queue: 1024,
            keep_after_decline: Duration::from_secs(120),
            hold_at_most: Duration::from_secs(30 * 60),
            flight_limit: Duration::from_secs(45),
        }
    }
}

/// The handle that the control plane holds; cheap to clone. No digit can cross it.
///
/// The card plane ends, and wipes, when the last handle and the last sink are gone and the charges
/// on their way have ended.
#[derive(Clone)]
pub struct CardPlane {
    inner: Arc<Door>,
}

/// The way into the card plane's thread.
///
/// One queue, so that a wipe cannot overtake the field that it is for. Its bound is `room`, which
/// everything but a wipe needs: a wipe frees memory and must not get lost.
struct Door {
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    promises: Promises,
}

/// What crosses: handles to secret memory and plain values, never a digit.
enum Command {
    Store {
        payment: PaymentId,
        field: CapturedField,
        _room: OwnedSemaphorePermit,
    },
    Wipe(PaymentId),
    CallEnded(CallId),
    Held {
        payment: PaymentId,
        answer: oneshot::Sender<Vec<Field>>,
        _room: OwnedSemaphorePermit,
    },
    Submit {
        recorded: Recorded,
        charge: Charge,
        answer: oneshot::Sender<Result<Outcome, SubmitError>>,
        _room: OwnedSemaphorePermit,
    },
    LookUp {
        charge: Charge,
        answer: oneshot::Sender<Outcome>,
        _room: OwnedSemaphorePermit,
    },
    Operate {
        operation: Box<Operation>,
        again: bool,
        answer: oneshot::Sender<Outcome>,
        _room: OwnedSemaphorePermit,
    },
}

impl CardPlane {
    /// Starts the thread. `memory` gives the slots in which requests are composed, `tokens` keeps what
    /// the processor gives for a card.
    pub fn start<P>(
        settings: CardPlaneSettings,
        adapter: P,
        memory: Arc<dyn RequestMemory>,
        tokens: Arc<dyn TokenStore>,
    ) -> io::Result<Self>
    where
        P: Processor + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (commands, queue) = mpsc::unbounded_channel();
        let door = Door {
            commands,
            room: Arc::new(Semaphore::new(settings.queue)),
            promises: adapter.promises(),
        };
        std::thread::Builder::new()
            .name("card-plane".to_owned())
            .spawn(move || {
                let plane = Plane {
                    adapter: Rc::new(adapter),
                    memory,
                    tokens,
                    barred: Rc::default(),
                    vault: Vault::new(settings.keep_after_decline, settings.hold_at_most),
                    flights: JoinSet::new(),
                    flight_limit: settings.flight_limit,
                };
                LocalSet::new().block_on(&runtime, plane.run(queue));
            })?;
        Ok(Self {
            inner: Arc::new(door),
        })
    }

    /// The end that media workers hold.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn CardSink> {
        self.inner.clone()
    }

    /// Charges the card held for `charge.payment`. `recorded` proves that the intent and the
    /// sending are durable. Wipes the security code on any answer; everything but after a decline
    /// that says re-enter or try again, then PAN and expiry after 120 s.
    ///
    /// The charge goes on when the returned future is dropped; its outcome is lost then.
    pub async fn submit(&self, recorded: Recorded, charge: Charge) -> Result<Outcome, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.inner
            .send(|room| Command::Submit {
                recorded,
                charge,
                answer,
                _room: room,
            })
            .await
            .map_err(|Closed| SubmitError::Stopped)?;
        // The card plane had the charge and may have sent it: that it is gone tells nothing.
        answered.await.unwrap_or_else(|_| {
            Ok(Outcome::Unknown {
                reason: "the card plane stopped while the charge was on its way".to_owned(),
            })
        })
    }

    /// The fields held for a payment and not on their way: what a next attempt need not ask for.
    pub async fn held(&self, payment: &PaymentId) -> Vec<Field> {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .send(|room| Command::Held {
                payment: payment.clone(),
                answer,
                _room: room,
            })
            .await;
        match sent {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(Closed) => Vec::new(),
        }
    }

    /// Wipes what is held for a payment, unless a charge is on its way (then: on its answer).
    pub fn wipe(&self, payment: &PaymentId) {
        self.inner.wipe(payment);
    }

    /// Nobody can key on this call any more: what was remembered for it is forgotten.
    pub fn call_ended(&self, call: &CallId) {
        // A card plane that is gone has wiped everything.
        let _ = self.inner.commands.send(Command::CallEnded(call.clone()));
    }

    /// Asks the processor what became of an attempt whose answer never came. An empty answer is
    /// [`Outcome::Failed`] and counts once [`Promises::consistency_delay`] has passed since the
    /// sending.
    pub async fn look_up(&self, charge: &Charge) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .send(|room| Command::LookUp {
                charge: charge.clone(),
                answer,
                _room: room,
            })
            .await;
        let outcome = match sent {
            Ok(()) => answered.await.ok(),
            Err(Closed) => None,
        };
        outcome.unwrap_or_else(|| Outcome::Unknown {
            reason: "the card plane has stopped; look the charge up after a restart".to_owned(),
        })
    }

    /// Settles, voids or refunds a charge. `recorded` proves that the intent is durable.
    pub async fn operate(&self, _recorded: Recorded, operation: Operation) -> Outcome {
        let nothing_sent = || Outcome::Failed {
            reason: format!("nothing was sent: {}", SubmitError::Stopped),
            retryable: false,
        };
        self.ask(operation, false, nothing_sent).await
    }

    /// Asks what became of an operation that was sent.
    pub async fn look_up_operation(&self, operation: Operation) -> Outcome {
        let not_asked = || Outcome::Unknown {
            reason: "the card plane has stopped; it is asked for after a restart".to_owned(),
        };
        self.ask(operation, true, not_asked).await
    }

    async fn ask(
        &self,
        operation: Operation,
        again: bool,
        closed: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .send(|room| Command::Operate {
                operation: Box::new(operation),
                again,
                answer,
                _room: room,
            })
            .await;
        match sent {
            Ok(()) => answered.await.unwrap_or_else(|_| Outcome::Unknown {
                reason: "the card plane stopped while the operation was on its way".to_owned(),
            }),
            Err(Closed) => closed(),
        }
    }

    /// What the processor promises.
    #[must_use]
    pub fn promises(&self) -> &Promises {
        &self.inner.promises
    }

    /// Whether this is the sandbox: the panel and the API say so.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.inner.promises.sandbox
    }
}

struct Closed;

impl Door {
    async fn send(
        &self,
        command: impl FnOnce(OwnedSemaphorePermit) -> Command,
    ) -> Result<(), Closed> {
        let room = self
            .room
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Closed)?;
        self.commands.send(command(room)).map_err(|_| Closed)
    }
}

impl CardSink for Door {
    fn store(&self, payment: &PaymentId, field: CapturedField) -> Result<(), CardPlaneBusy> {
        let room = self
            .room
            .clone()
            .try_acquire_owned()
            .map_err(|_| CardPlaneBusy)?;
        let command = Command::Store {
            payment: payment.clone(),
            field,
            _room: room,
        };
        self.commands.send(command).map_err(|_| CardPlaneBusy)
    }

    fn wipe(&self, payment: &PaymentId) {
        // A card plane that is gone has wiped everything.
        let _ = self.commands.send(Command::Wipe(payment.clone()));
    }
}

/// What runs on the thread.
struct Plane<P> {
    adapter: Rc<P>,
    memory: Arc<dyn RequestMemory>,
    tokens: Arc<dyn TokenStore>,
    barred: Rc<RefCell<Barred>>,
    vault: Vault,
    flights: JoinSet<Landed>,
    flight_limit: Duration,
}

/// An attempt that has ended.
struct Landed {
    payment: PaymentId,
    /// `None` where it was lost, and so wiped, on the way.
    card: Option<Card>,
    outcome: Outcome,
    answer: oneshot::Sender<Result<Outcome, SubmitError>>,
}

impl<P: Processor + 'static> Plane<P> {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        let mut open = true;
        while open || !self.flights.is_empty() {
            let expiry = self.vault.next_expiry();
            tokio::select! {
                command = queue.recv(), if open => match command {
                    Some(command) => self.handle(command),
                    None => open = false,
                },
                Some(landed) = self.flights.join_next() => match landed {
                    Ok(landed) => self.land(landed),
                    Err(error) => tracing::error!(%error, "a flight's task was lost"),
                },
                () = until(expiry) => self.vault.expire(now()),
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Store { payment, field, .. } => {
                self.vault.store(&payment, field, now());
                let adapter = self.adapter.clone();
                spawn_local(async move { adapter.warm().await });
            }
            Command::Wipe(payment) => self.vault.wipe(&payment),
            Command::CallEnded(call) => self.barred.borrow_mut().forget(&call),
            Command::Held {
                payment, answer, ..
            } => {
                // Whoever asked may have gone; so below.
                let _ = answer.send(self.vault.held(&payment));
            }
            Command::Submit {
                recorded,
                charge,
                answer,
                ..
            } => {
                // Expired is expired, even where its timer has not fired yet.
                self.vault.expire(now());
                match self.vault.take(&charge.payment) {
                    Ok(card) => self.launch(recorded, card, charge, answer),
                    Err(NotReady::Missing(field)) => {
                        let _ = answer.send(Err(SubmitError::Missing(field)));
                    }
                    Err(NotReady::InFlight) => {
                        let _ = answer.send(Ok(Outcome::Failed {
                            reason: "nothing was sent: another charge of this payment is on its \
                                     way; wait for its outcome"
                                .to_owned(),
                            retryable: true,
                        }));
                    }
                }
            }
            Command::LookUp { charge, answer, .. } => {
                let adapter = self.adapter.clone();
                let limit = self.flight_limit;
                let tokens = self.tokens.clone();
                spawn_local(async move {
                    let looked_up = look_up(&*adapter, &charge, &*tokens);
                    let outcome = match timeout(limit, looked_up).await {
                        Ok(outcome) => outcome,
                        Err(_) => cut_off(limit),
                    };
                    let _ = answer.send(outcome);
                });
            }
            Command::Operate {
                operation,
                again,
                answer,
                ..
            } => {
                let adapter = self.adapter.clone();
                let limit = self.flight_limit;
                spawn_local(async move {
                    let asked = async {
                        if again {
                            adapter.look_up_operation(&operation).await
                        } else {
                            adapter.operate(&operation).await
                        }
                    };
                    let outcome = match timeout(limit, asked).await {
                        Ok(outcome) => outcome,
                        Err(_) => cut_off(limit),
                    };
                    let _ = answer.send(outcome);
                });
            }
        }
    }

    fn launch(
        &mut self,
        recorded: Recorded,
        mut card: Card,
        charge: Charge,
        answer: oneshot::Sender<Result<Outcome, SubmitError>>,
    ) {
        let payment = charge.payment.clone();
        let flight = Flight {
            adapter: self.adapter.clone(),
            memory: self.memory.clone(),
            tokens: self.tokens.clone(),
            barred: self.barred.clone(),
            limit: self.flight_limit,
        };
        // In a task of its own, so that a panic of the adapter ends (and wipes) this attempt only.
        let attempt = spawn_local(async move {
            let outcome = flight.fly(recorded, &mut card, &charge).await;
            (card, outcome)
        });
        self.flights.spawn_local(async move {
            let (card, outcome) = match attempt.await {
                Ok((card, outcome)) => (Some(card), outcome),
                Err(_) => {
                    let reason = "the adapter broke down while the charge was on its way";
                    tracing::error!(%payment, reason);
                    let reason = reason.to_owned();
                    (None, Outcome::Unknown { reason })
                }
            };
            Landed {
                payment,
                card,
                outcome,
                answer,
            }
        });
    }

    fn land(&mut self, landed: Landed) {
        // Wiped before anybody hears of the answer.
        self.vault
            .answered(&landed.payment, landed.card, &landed.outcome, now());
        let _ = landed.answer.send(Ok(landed.outcome));
    }
}

/// What an attempt needs on its way.
struct Flight<P> {
    adapter: Rc<P>,
    memory: Arc<dyn RequestMemory>,
    tokens: Arc<dyn TokenStore>,
    barred: Rc<RefCell<Barred>>,
    limit: Duration,
}

impl<P: Processor> Flight<P> {
    /// Nothing that is passed on repeats the card.
    async fn fly(&self, recorded: Recorded, card: &mut Card, charge: &Charge) -> Outcome {
        let outcome = self.charge(recorded, card, charge).await;
        let mut view = card.view(self.memory.as_ref());
        if let Outcome::Declined {
            advice: Advice::DoNotRetry,
            ..
        } = outcome
        {
            let mut barred = self.barred.borrow_mut();
            if let Err(error) = barred.bar(&charge.call, &mut view, self.memory.as_ref()) {
                tracing::warn!(payment = %charge.payment, %error, "a card that must not be tried again is not kept from it");
            }
        }
        words::without(outcome, |text| view.is_repeated_in(text))
    }

    async fn charge(&self, recorded: Recorded, card: &mut Card, charge: &Charge) -> Outcome {
        let promises = self.adapter.promises();
        if promises.test_cards_only && !card.view(self.memory.as_ref()).is_test_card() {
            return Outcome::Declined {
                advice: Advice::OtherCard,
                code: "not_a_test_card".to_owned(),
            };
        }
        let mut view = card.view(self.memory.as_ref());
        if self.barred.borrow().is_barred(&charge.call, &mut view) {
            return Outcome::Declined {
                advice: Advice::OtherCard,
                code: BARRED.to_owned(),
            };
        }
        let submitted = timeout(self.limit, self.adapter.submit(recorded, view, charge)).await;
        let token = match submitted {
            Ok(Submitted::Ended(outcome)) => return outcome,
            Ok(Submitted::Tokenised(token)) => token,
            Err(_) if promises.tokenises => {
                return not_charged("the processor did not take the card in time");
            }
            Err(_) => return cut_off(self.limit),
        };
        // The processor has answered: PCI DSS 3.3.1.
        card.wipe_code();
        if card
            .view(self.memory.as_ref())
            .is_repeated_in(token.as_str())
        {
            return not_charged("the processor's token repeats the card");
        }
        let kept = self.tokens.keep(charge.attempt.clone(), token.clone());
        if let Err(error) = kept.await {
            return not_charged(&format!("the processor's token was not kept ({error})"));
        }
        match timeout(self.limit, self.adapter.charge(charge, &token)).await {
            Ok(outcome) => outcome,
            Err(_) => cut_off(self.limit),
        }
    }
}

/// The processor may have the card, but was not told to charge it.
fn not_charged(why: &str) -> Outcome {
    Outcome::Failed {
        reason: format!("nothing was charged: {why}"),
        retryable: true,
    }
}

async fn look_up<P: Processor>(adapter: &P, charge: &Charge, tokens: &dyn TokenStore) -> Outcome {
    let known = match tokens.ended(charge.attempt.clone()).await {
        Ok(Some(outcome)) => return outcome,
        Ok(None) => tokens.kept(charge.attempt.clone()).await,
        Err(reason) => Err(reason),
    };
    match known {
        // It is kept before it is charged.
        Ok(None) if adapter.promises().tokenises => {
            not_charged("the attempt ended before the processor was told to")
        }
        Ok(token) => adapter.look_up(charge, token.as_ref()).await,
        Err(reason) => Outcome::Unknown {
            reason: format!("what is known of the attempt cannot be read ({reason})"),
        },
    }
}

fn cut_off(limit: Duration) -> Outcome {
    Outcome::Unknown {
        reason: format!("the processor's adapter did not end within {limit:?}"),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn until(expiry: Option<std::time::Instant>) {
    match expiry {
        Some(expiry) => sleep_until(expiry.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
