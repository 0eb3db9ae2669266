//! Real journal, log, card plane and secret memory. Only calls, caller and processor are played.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    super::{
        PaymentError, PaymentState, Payments, Principal,
        outside::{Books, Media, Records},
        system_clock,
    },
    fakes::{Bench as Played, approved, complete, request, settings, unknown},
};
use crate::{
    audit_log::{AuditLog, Recorded},
    gateway::dispatch::take_left_records,
    journal::{Journal, Phase},
    media::{CardSink, MediaCommand, MediaError, MediaEvent, MediaEventKind, SlotSource},
    processor::{
        Abilities, Advice, CardPlane, CardPlaneSettings, CardView, Charge, Outcome, Processor,
        Promises, Purpose, Submitted, Token,
    },
    proto::{
        audit::{Actor, Event, Record, Success},
        capture::CaptureEvent,
        card::{Brand, CapturedField, FieldRules},
        digit::Key,
        field::Field,
        id::{AttemptId, CallId, PaymentId},
        proof::MaskingProof,
    },
    secret_memory::Slab,
};

const SLOTS: usize = 8;

/// What the processor does with the next charge.
enum Turn {
    Answer(Outcome),
    Wait(oneshot::Receiver<Outcome>),
    Panic,
}

/// What stood on disk when a charge reached the processor.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    phase: Phase,
    logged: Vec<&'static str>,
}

/// A processor that looks at the gateway's disk before it reads a byte.
#[derive(Clone)]
struct Spy {
    data: PathBuf,
    turns: Arc<Mutex<VecDeque<Turn>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Processor for Spy {
    fn promises(&self) -> Promises {
        Promises {
            name: "spy",
            sandbox: true,
            test_cards_only: false,
            tokenises: false,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities::default(),
        }
    }

    async fn submit(&self, _recorded: Recorded, _card: CardView<'_>, charge: &Charge) -> Submitted {
        let seen = on_disk(&self.data, charge).await;
        self.seen.lock().unwrap().push(seen);
        let turn = self.turns.lock().unwrap().pop_front().expect("a turn");
        match turn {
            Turn::Answer(outcome) => outcome.into(),
            Turn::Wait(outcome) => outcome.await.unwrap().into(),
            Turn::Panic => panic!("the adapter has a fault"),
        }
    }

    async fn look_up(&self, _charge: &Charge, _token: Option<&Token>) -> Outcome {
        std::future::ready(unknown()).await
    }
}

/// What a crash in this moment would leave.
async fn on_disk(data: &Path, charge: &Charge) -> Seen {
    let crashed = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(data.join(name), crashed.path().join(name)).unwrap();
    }
    let journal = Journal::open(&crashed.path().join("journal.db")).unwrap();
    let attempts = journal.attempts(charge.payment.clone()).await.unwrap();
    let attempt = charge.attempt.to_string();
    let log = tenants_log(data);
    let logged = ["charge-intent", "charge-sending"]
        .into_iter()
        .filter(|name| {
            let about = |line: &&str| line.contains(name) && line.contains(&attempt);
            log.lines().any(|line| about(&line))
        });
    Seen {
        phase: attempts.last().unwrap().phase.clone(),
        logged: logged.collect(),
    }
}

fn tenants_log(data: &Path) -> String {
    fs::read_to_string(data.join("audit/tenant-acme/00000000000000000001.log")).unwrap()
}

/// The caller: whatever field is opened is keyed at once.
struct Caller {
    payments: OnceLock<Payments>,
    slab: Arc<Slab>,
    sink: Arc<dyn CardSink>,
}

impl Caller {
    fn key(&self, field: Field) -> CapturedField {
        let digits = match field {
            Field::PaymentCardNumber => "4242424242424242",
            Field::ExpirationDate => "1239",
            _ => "123",
        };
        let mut slot = SlotSource::acquire(&*self.slab).expect("a free slot");
        for digit in digits.bytes() {
            let _ = slot.press(Key::from_event(digit - b'0').unwrap());
        }
        let rules = FieldRules {
            accepted_brands: &Brand::ALL,
            pan_brand: None,
            min_postal_code_length: 1,
            utc: Timestamp::UNIX_EPOCH
                .checked_add(Duration::from_secs(50 * 365 * 24 * 3600))
                .unwrap(),
        };
        CapturedField::check(field, slot, &rules).ok().unwrap()
    }
}

impl Media for Caller {
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        let kind = match command {
            MediaCommand::Arm(holder) => MediaEventKind::Armed(holder),
            MediaCommand::OpenCapture { payment, field, .. } => {
                let keyed = self.key(field);
                self.sink.store(&payment, keyed).unwrap();
                MediaEventKind::Capture(CaptureEvent {
                    payment,
                    field,
                    kind: complete(field),
                })
            }
            _ => return Ok(()),
        };
        let call = call.clone();
        let payments = self.payments.get().unwrap();
        payments.handle_media(&MediaEvent { call, kind });
        Ok(())
    }
}

struct Bench {
    data: TempDir,
    journal: Journal,
    audit: AuditLog,
    cards: CardPlane,
    slab: Arc<Slab>,
    spy: Spy,
    payments: Payments,
    by: Principal,
}

fn open_log(data: &Path) -> AuditLog {
    let node = "n1".parse().unwrap();
    AuditLog::open(data, node, "test", "none", Timestamp::now).unwrap()
}

impl Bench {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::open(&data.path().join("journal.db")).unwrap();
        let audit = open_log(data.path());
        let slab = Arc::new(Slab::map(SLOTS, 1, false).unwrap());
        let spy = Spy {
            data: data.path().to_owned(),
            turns: Arc::default(),
            seen: Arc::default(),
        };
        let settings_of_plane = CardPlaneSettings::default();
        let cards = CardPlane::start(
            settings_of_plane,
            spy.clone(),
            slab.clone(),
            Arc::new(journal.clone()),
        )
        .unwrap();
        let caller = Arc::new(Caller {
            payments: OnceLock::new(),
            slab: slab.clone(),
            sink: cards.sink(),
        });
        let played = Played::new();
        let books = Books {
            journal: journal.clone(),
            audit: audit.clone(),
            cards: cards.clone(),
        };
        let payments = Payments::over(
            Arc::new(books),
            caller.clone(),
            Arc::new(cards.clone()),
            Arc::new(played.fakes.clone()),
            settings(),
            StdRng::seed_from_u64(7),
            system_clock(),
        );
        assert!(caller.payments.set(payments.clone()).is_ok());
        Self {
            data,
            journal,
            audit,
            cards,
            slab,
            spy,
            payments,
            by: played.by,
        }
    }

    async fn keyed(&self) -> PaymentId {
        let id = self.payments.create(&self.by, request()).await.unwrap().id;
        for field in [
            Field::PaymentCardNumber,
            Field::ExpirationDate,
            Field::SecurityCode,
        ] {
            self.payments.capture(&self.by, &id, field).await.unwrap();
            self.until(&id, PaymentState::Open).await;
        }
        assert_eq!(self.cards.held(&id).await.len(), 3);
        id
    }

    async fn until(&self, id: &PaymentId, state: PaymentState) {
        let there = async {
            while self.payments.get(&self.by, id).await.unwrap().state != state {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), there)
            .await
            .unwrap_or_else(|_| panic!("never {state:?}"));
    }

    /// Waits until so many slots are taken, and no more.
    async fn taken(&self, expected: usize) -> bool {
        for _ in 0..1_000 {
            if self.slab.free_key_slots() == SLOTS - expected {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }

    fn turn(&self, turn: Turn) {
        self.spy.turns.lock().unwrap().push_back(turn);
    }
}

fn declined(advice: Advice) -> Outcome {
    let code = "no".to_owned();
    Outcome::Declined { advice, code }
}

#[tokio::test]
async fn a_charge_reaches_the_processor_only_once_log_and_journal_say_so_on_disk() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.turn(Turn::Answer(approved()));
    let view = bench.payments.complete(&bench.by, &id).await.unwrap();
    assert_eq!(view.state, PaymentState::Approved);
    assert_eq!(
        *bench.spy.seen.lock().unwrap(),
        [Seen {
            phase: Phase::Sending,
            logged: vec!["charge-intent", "charge-sending"],
        }]
    );
}

#[tokio::test]
async fn without_log_or_journal_there_is_nothing_to_submit() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    let tenant = bench.by.tenant.clone();
    let attempt = |serial| AttemptId::new(tenant.clone(), settings().node, serial);
    let charge = Charge {
        payment: id.clone(),
        call: CallId::new(
            tenant.clone(),
            settings().node,
            ulid::Ulid::from_parts(1, 1),
        ),
        attempt: attempt(ulid::Ulid::from_parts(1, 1)),
        amount_minor: 1,
        currency: "EUR".to_owned(),
        reference: "r".to_owned(),
        purpose: Purpose::Charge,
    };
    let record = Record {
        actor: Actor::Gateway,
        origin: "gateway".to_owned(),
        success: Success::Success,
        event: Event::ChargeSending {
            payment: id.clone(),
            attempt: charge.attempt.clone(),
        },
    };
    let books = Books {
        journal: bench.journal.clone(),
        audit: bench.audit.clone(),
        cards: bench.cards.clone(),
    };
    let sending = || books.sending(&tenant, record.clone(), charge.clone(), Timestamp::now());
    let refused = sending().await.map(|_| ()).unwrap_err();
    assert!(refused.contains("no attempt"), "{refused}");

    bench.audit.close().await.unwrap();
    let refused = sending().await.map(|_| ()).unwrap_err();
    assert!(refused.contains("audit log is closed"), "{refused}");
    let refused = bench.payments.complete(&bench.by, &id).await;
    assert!(matches!(refused, Err(PaymentError::NotRecordable(_))));
    assert!(bench.spy.seen.lock().unwrap().is_empty());
    assert_eq!(bench.journal.attempts(id).await.unwrap(), []);
}

#[tokio::test]
async fn every_ending_of_a_charge_wipes_what_it_must_before_it_is_told() {
    let failed = |retryable| Outcome::Failed {
        reason: "no connection".to_owned(),
        retryable,
    };
    for (turn, kept) in [
        (Turn::Answer(approved()), 0),
        (Turn::Answer(declined(Advice::TryAgain)), 2),
        (
            Turn::Answer(declined(Advice::ReEnter(Field::SecurityCode))),
            2,
        ),
        (
            Turn::Answer(declined(Advice::ReEnter(Field::ExpirationDate))),
            1,
        ),
        (Turn::Answer(declined(Advice::OtherCard)), 0),
        (Turn::Answer(declined(Advice::CallIssuer)), 0),
        (Turn::Answer(declined(Advice::DoNotRetry)), 0),
        (Turn::Answer(failed(true)), 0),
        (Turn::Answer(failed(false)), 0),
        (Turn::Answer(unknown()), 0),
        (Turn::Panic, 0),
    ] {
        let bench = Bench::new();
        let id = bench.keyed().await;
        bench.turn(turn);
        let view = bench.payments.complete(&bench.by, &id).await.unwrap();
        // No waiting: it is so when the agent hears of it.
        assert_eq!(bench.slab.free_key_slots(), SLOTS - kept, "{view:?}");
        let held = bench.cards.held(&id).await;
        assert!(!held.contains(&Field::SecurityCode), "{view:?}");
        if kept > 0 {
            bench.payments.cancel(&bench.by, &id).await.unwrap();
            assert!(bench.taken(0).await, "after the cancel of {view:?}");
        }
    }
}

#[tokio::test]
async fn a_cancel_and_a_hang_up_wipe_at_rest_and_after_a_charge_on_its_way() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    bench.payments.cancel(&bench.by, &id).await.unwrap();
    assert!(bench.taken(0).await, "after a cancel");

    let hang_up = |view: &crate::gateway::payments::PaymentView| {
        let call = view.call.clone();
        let kind = MediaEventKind::Ended(MaskingProof::default());
        bench.payments.handle_media(&MediaEvent { call, kind });
    };
    let id = bench.keyed().await;
    let view = bench.payments.get(&bench.by, &id).await.unwrap();
    hang_up(&view);
    bench.until(&id, PaymentState::Cancelled).await;
    assert!(bench.taken(0).await, "after a hang-up");

    let id = bench.keyed().await;
    let (answer, answered) = oneshot::channel();
    bench.turn(Turn::Wait(answered));
    let completing = bench.payments.complete(&bench.by, &id);
    let meanwhile = async {
        bench.until(&id, PaymentState::Submitting).await;
        hang_up(&view);
        answer.send(declined(Advice::TryAgain)).unwrap();
    };
    let (view, ()) = tokio::join!(completing, meanwhile);
    assert_eq!(view.unwrap().state, PaymentState::Declined);
    assert!(bench.taken(0).await, "after a hang-up during a charge");
}

#[tokio::test]
async fn an_outcome_that_the_log_did_not_take_stands_in_it_after_a_restart() {
    let bench = Bench::new();
    let id = bench.keyed().await;
    let (answer, answered) = oneshot::channel();
    bench.turn(Turn::Wait(answered));
    let completing = bench.payments.complete(&bench.by, &id);
    let meanwhile = async {
        bench.until(&id, PaymentState::Submitting).await;
        while bench.spy.seen.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bench.audit.close().await.unwrap();
        answer.send(approved()).unwrap();
    };
    let (view, ()) = tokio::join!(completing, meanwhile);
    assert_eq!(view.unwrap().state, PaymentState::Approved);
    assert!(!tenants_log(bench.data.path()).contains("charge-result"));

    let log = open_log(bench.data.path());
    take_left_records(&bench.journal, &log).await.unwrap();
    let text = tenants_log(bench.data.path());
    let result = text.lines().find(|line| line.contains("charge-result"));
    assert!(result.unwrap().contains("approved"));
    assert!(text.contains("card-wiped"));
    assert_eq!(bench.journal.records_left().await.unwrap(), []);
}
