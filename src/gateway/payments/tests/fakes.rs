//! Journal, log, media plane, card plane and calls that fail when told to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use ulid::Ulid;

use super::super::{
    Clock, KeyCodeSettings, NewPayment, Payments, Principal, Settings,
    outside::{CallLookup, Cards, Later, Media, NotDurable, Order, Records, Submission},
};
use crate::{
    journal::{
        ArmedRow, AttemptRow, KeptNotification, NewOperation, NotBegun, OperationBegun,
        OperationRow, PaymentFilter, PaymentRow, Phase,
    },
    media::{MediaCommand, MediaError, MediaEvent, MediaEventKind},
    processor::{Abilities, Charge, Operation, Outcome, SubmitError},
    proto::{
        audit::{Actor, Event, Record},
        call::{ArmRefusal, Holder},
        capture::{CaptureEvent, CaptureEventKind, CaptureSettings},
        card::{Brand, Last4},
        field::Field,
        id::{AttemptId, CallId, Node, OperationId, PaymentId, Tenant},
        leg::Leg,
        payment::{Notification, Purpose, VelocityLimits},
        time::Now,
    },
    signal::CallView,
};

/// What the card plane does with the next charge.
#[derive(Clone)]
pub(super) enum Answer {
    After(Duration, Outcome),
    Missing(Field),
    Panics,
}

/// Everything that the fakes saw and what they will do next.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) rows: BTreeMap<PaymentId, PaymentRow>,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) armed: Vec<ArmedRow>,
    pub(super) log: Vec<Event>,
    pub(super) commands: Vec<MediaCommand>,
    pub(super) wipes: usize,
    pub(super) submitted: Vec<Charge>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) look_ups: VecDeque<Outcome>,
    pub(super) looked_up_at: Vec<tokio::time::Instant>,
    /// Words of the journal's calls and audit events that fail, while in here.
    pub(super) broken: Vec<&'static str>,
    /// How long the journal takes to put a payment.
    pub(super) putting: Duration,
    /// Ends that the audit log did not take.
    pub(super) left: Vec<Event>,
    /// Everything that was made durable, sent, told or wiped, in this order.
    pub(super) trail: Vec<String>,
    pub(super) consistency_delay: Duration,
    /// How the media plane answers an Arm: `None` is silence.
    pub(super) arming: Option<Option<ArmRefusal>>,
    pub(super) calls: Vec<CallView>,
}

impl Stage {
    fn try_it(&self, what: &str) -> Result<(), NotDurable> {
        if self.broken.contains(&what) {
            return Err(format!("{what}: no space left on device"));
        }
        Ok(())
    }

    pub(super) fn logged(&self, name: &str) -> usize {
        self.log.iter().filter(|event| word(event) == name).count()
    }

    /// Whether all was wiped before `what` was begun.
    pub(super) fn wiped_before(&self, what: &str) -> bool {
        let first = |what: &str| self.trail.iter().position(|done| done == what);
        first("wipe").is_some_and(|wiped| first(what).is_some_and(|at| wiped < at))
    }

    pub(super) fn releases(&self) -> usize {
        let release = |command: &&MediaCommand| matches!(command, MediaCommand::Release(_));
        self.commands.iter().filter(release).count()
    }
}

fn word(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

#[derive(Clone)]
pub(super) struct Fakes {
    stage: Arc<Mutex<Stage>>,
    payments: Arc<Mutex<Option<Payments>>>,
}

pub(super) struct Bench {
    pub(super) payments: Payments,
    pub(super) fakes: Fakes,
    pub(super) by: Principal,
}

pub(super) fn call_id(serial: u128) -> CallId {
    CallId::new(tenant(), node(), Ulid::from_parts(1, serial))
}

pub(super) fn payment_id(serial: u128) -> PaymentId {
    PaymentId::new(tenant(), node(), Ulid::from_parts(1, serial))
}

pub(super) fn attempt_id(serial: u128) -> AttemptId {
    AttemptId::new(tenant(), node(), Ulid::from_parts(1, serial))
}

pub(super) fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn node() -> Node {
    "n1".parse().unwrap()
}

pub(super) fn request() -> NewPayment {
    NewPayment {
        call: "call-1@sip".to_owned(),
        leg: None,
        amount_minor: 1250,
        currency: "EUR".to_owned(),
        purpose: Purpose::Charge,
        reference: "INV-1".to_owned(),
        description: None,
        fields: Vec::new(),
    }
}

pub(super) fn approved() -> Outcome {
    Outcome::Approved {
        processor_reference: "ch_1".to_owned(),
        code: "approved".to_owned(),
    }
}

pub(super) fn unknown() -> Outcome {
    Outcome::Unknown {
        reason: "connection reset".to_owned(),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let fakes = Fakes {
            stage: Arc::default(),
            payments: Arc::default(),
        };
        fakes.stage().arming = Some(None);
        fakes.stage().calls = vec![CallView {
            sides_known: true,
            agent: None,
            id: call_id(1),
            signalling_id: "call-1@sip".to_owned(),
            caller_tag: Some("caller-tag".to_owned()),
            agent_tag: Some("agent-tag".to_owned()),
            started: Timestamp::UNIX_EPOCH,
            answered: true,
            refusal: None,
            armed: false,
        }];
        Self::over(fakes, settings)
    }

    /// Another process over the same disk.
    pub(super) fn restarted(&self) -> Self {
        Self::over(self.fakes.clone(), settings())
    }

    fn over(fakes: Fakes, settings: Settings) -> Self {
        let started = tokio::time::Instant::now();
        let clock: Clock = Arc::new(move || {
            let instant: Instant = tokio::time::Instant::now().into_std();
            let passed = instant.duration_since(started.into_std());
            Now {
                instant,
                utc: Timestamp::UNIX_EPOCH
                    .checked_add(passed + Duration::from_secs(1))
                    .unwrap(),
            }
        });
        let shared = Arc::new(fakes.clone());
        let payments = Payments::over(
            shared.clone(),
            shared.clone(),
            shared.clone(),
            shared,
            settings,
            StdRng::seed_from_u64(7),
            clock,
        );
        *fakes.payments.lock().unwrap() = Some(payments.clone());
        let by = Principal {
            tenant: tenant(),
            actor: Actor::Console { uid: 1000 },
            origin: "console".to_owned(),
        };
        Self {
            payments,
            fakes,
            by,
        }
    }

    pub(super) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.fakes.stage()
    }

    pub(super) fn media(&self, kind: MediaEventKind) {
        let call = call_id(1);
        self.payments.handle_media(&MediaEvent { call, kind });
    }

    pub(super) fn told(&self, payment: &PaymentId, field: Field, kind: CaptureEventKind) {
        self.media(MediaEventKind::Capture(CaptureEvent {
            payment: payment.clone(),
            field,
            kind,
        }));
    }

    /// Opens a field and has the caller key it.
    pub(super) async fn key(&self, payment: &PaymentId, field: Field) {
        self.payments
            .capture(&self.by, payment, field)
            .await
            .unwrap();
        self.told(
            payment,
            field,
            CaptureEventKind::Opened { attempts_left: 3 },
        );
        self.told(payment, field, complete(field));
        settle().await;
    }

    pub(super) async fn key_all(&self, payment: &PaymentId) {
        self.key(payment, Field::PaymentCardNumber).await;
        self.key(payment, Field::ExpirationDate).await;
        self.key(payment, Field::SecurityCode).await;
    }

    pub(super) async fn created(&self) -> PaymentId {
        let created = self.payments.create(&self.by, request()).await.unwrap();
        created.id
    }

    pub(super) async fn keyed(&self) -> PaymentId {
        let id = self.created().await;
        self.key_all(&id).await;
        id
    }

    pub(super) fn answers(&self, outcome: Outcome) {
        self.answers_after(Duration::from_millis(50), outcome);
    }

    pub(super) fn answers_after(&self, time: Duration, outcome: Outcome) {
        let answer = Answer::After(time, outcome);
        self.stage().answers.push_back(answer);
    }
}

/// Lets every task do what it can do now.
pub(super) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

pub(super) fn complete(field: Field) -> CaptureEventKind {
    let number = field == Field::PaymentCardNumber;
    CaptureEventKind::Complete {
        count: if number { 16 } else { 3 },
        brand: number.then_some(Brand::Visa),
        last4: number.then(|| Last4::of(&[0, 4, 2, 4, 2])).flatten(),
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        tenant: tenant(),
        node: node(),
        capture: CaptureSettings {
            accepted_brands: vec![Brand::Visa],
            hash_ends: true,
            star_clears: true,
            first_digit_timeout: Duration::from_secs(30),
            inter_digit_timeout: Duration::from_secs(5),
            overall_timeout: Duration::from_secs(120),
            attempts: 3,
            min_postal_code_length: 4,
        },
        processor: "sandbox".to_owned(),
        key_code: KeyCodeSettings {
            code: "*77#".parse().unwrap(),
            asks_pin: false,
            currency: Some("EUR".to_owned()),
        },
        velocity: VelocityLimits::default(),
    }
}

impl Fakes {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap()
    }

    fn done<'a>(
        &self,
        what: &str,
        act: impl FnOnce(&mut Stage),
    ) -> Later<'a, Result<(), NotDurable>> {
        let mut stage = self.stage();
        let tried = stage.try_it(what);
        if tried.is_ok() {
            stage.trail.push(what.to_owned());
            act(&mut stage);
        }
        Box::pin(std::future::ready(tried))
    }

    fn set_phase(stage: &mut Stage, attempt: &AttemptId, phase: Phase) {
        let row = stage.attempts.iter_mut().find(|row| row.id == *attempt);
        row.expect("the attempt has its intent").phase = phase;
    }
}

impl Records for Fakes {
    fn audit<'a>(&'a self, _: &'a Tenant, record: Record) -> Later<'a, Result<(), NotDurable>> {
        let what = word(&record.event);
        let broken = self.stage().try_it("audit");
        if broken.is_err() {
            return Box::pin(std::future::ready(broken));
        }
        self.done(&what, |stage| stage.log.push(record.event))
    }

    fn audit_end<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
    ) -> Later<'a, Result<(), NotDurable>> {
        Box::pin(async move {
            let event = record.event.clone();
            if self.audit(tenant, record).await.is_err() {
                self.stage().left.push(event);
            }
            Ok(())
        })
    }

    fn put_payment(&self, row: PaymentRow) -> Later<'_, Result<(), NotDurable>> {
        let putting = self.stage().putting;
        Box::pin(async move {
            if !putting.is_zero() {
                sleep(putting).await;
            }
            let what = format!("put_payment {}", row.state);
            self.stage().try_it("put_payment")?;
            self.done(&what, |stage| {
                stage.rows.insert(row.id.clone(), row);
            })
            .await
        })
    }

    fn payment(&self, id: PaymentId) -> Later<'_, Result<Option<PaymentRow>, NotDurable>> {
        let row = self.stage().rows.get(&id).cloned();
        Box::pin(std::future::ready(Ok(row)))
    }

    fn payments(
        &self,
        _: Tenant,
        filter: PaymentFilter,
    ) -> Later<'_, Result<Vec<PaymentRow>, NotDurable>> {
        let mut rows: Vec<PaymentRow> = self.stage().rows.values().cloned().collect();
        rows.retain(|row| filter.call.as_ref().is_none_or(|call| row.call == *call));
        rows.reverse();
        Box::pin(std::future::ready(Ok(rows)))
    }

    fn intent(&self, row: AttemptRow) -> Later<'_, Result<(), NotDurable>> {
        self.done("intent", |stage| stage.attempts.push(row))
    }

    fn sending<'a>(
        &'a self,
        tenant: &'a Tenant,
        record: Record,
        charge: Charge,
        _: Timestamp,
    ) -> Later<'a, Result<Submission, NotDurable>> {
        Box::pin(async move {
            self.audit(tenant, record).await?;
            let attempt = charge.attempt.clone();
            self.done("sending", |stage| {
                Self::set_phase(stage, &attempt, Phase::Sending);
            })
            .await?;
            let fakes = self.clone();
            let submission: Submission = Box::pin(async move {
                let answer = {
                    let mut stage = fakes.stage();
                    stage.trail.push("submit".to_owned());
                    stage.submitted.push(charge);
                    stage.answers.pop_front()
                };
                match answer.expect("the test says what the processor answers") {
                    Answer::After(time, outcome) => {
                        sleep(time).await;
                        Ok(outcome)
                    }
                    Answer::Missing(field) => Err(SubmitError::Missing(field)),
                    Answer::Panics => panic!("the adapter has a fault"),
                }
            });
            Ok(submission)
        })
    }

    fn result(
        &self,
        attempt: AttemptId,
        outcome: Outcome,
        _: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>> {
        self.done("result", |stage| {
            Self::set_phase(stage, &attempt, Phase::Result(outcome));
        })
    }

    fn attempts(&self, payment: PaymentId) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>> {
        let mut rows = self.stage().attempts.clone();
        rows.retain(|row| row.payment == payment);
        Box::pin(std::future::ready(Ok(rows)))
    }

    fn unresolved(&self) -> Later<'_, Result<Vec<AttemptRow>, NotDurable>> {
        let mut rows = self.stage().attempts.clone();
        rows.retain(|row| match &row.phase {
            Phase::Intent | Phase::Sending => true,
            Phase::Result(outcome) => outcome.is_open(),
        });
        Box::pin(std::future::ready(Ok(rows)))
    }

    // Operations are shown over a real journal.

    fn begin_operation(
        &self,
        _: NewOperation,
        _: String,
    ) -> Later<'_, Result<Result<OperationBegun, NotBegun>, NotDurable>> {
        Box::pin(std::future::ready(Err("no operations here".to_owned())))
    }

    fn operation_sending<'a>(
        &'a self,
        _: &'a Tenant,
        _: Record,
        _: Operation,
        _: Timestamp,
    ) -> Later<'a, Result<Order, NotDurable>> {
        Box::pin(std::future::ready(Err("no operations here".to_owned())))
    }

    fn operation_result(
        &self,
        _: OperationId,
        _: Outcome,
        _: Timestamp,
    ) -> Later<'_, Result<(), NotDurable>> {
        Box::pin(std::future::ready(Err("no operations here".to_owned())))
    }

    fn operation(&self, _: OperationId) -> Later<'_, Result<Option<OperationBegun>, NotDurable>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn operations(&self, _: Vec<PaymentId>) -> Later<'_, Result<Vec<OperationRow>, NotDurable>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn unresolved_operations(&self) -> Later<'_, Result<Vec<OperationRow>, NotDurable>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn attempt_by_serial(
        &self,
        _: Tenant,
        serial: String,
    ) -> Later<'_, Result<Option<AttemptRow>, NotDurable>> {
        let stage = self.stage();
        let mut rows = stage.attempts.iter();
        let found = rows.find(|row| row.id.to_string().ends_with(&serial));
        Box::pin(std::future::ready(Ok(found.cloned())))
    }

    fn operation_by_serial(
        &self,
        _: Tenant,
        _: String,
    ) -> Later<'_, Result<Option<OperationBegun>, NotDurable>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn keep_notification(
        &self,
        _: Tenant,
        _: Notification,
        _: Timestamp,
    ) -> Later<'_, Result<Option<i64>, NotDurable>> {
        let kept = self.stage().try_it("keep_notification");
        Box::pin(std::future::ready(kept.map(|()| Some(1))))
    }

    fn kept_notifications(
        &self,
        _: Tenant,
    ) -> Later<'_, Result<Vec<KeptNotification>, NotDurable>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn notification_applied(&self, _: i64) -> Later<'_, Result<(), NotDurable>> {
        self.done("notification_applied", |_| {})
    }

    fn set_armed(&self, row: ArmedRow) -> Later<'_, Result<(), NotDurable>> {
        self.done("set_armed", |stage| stage.armed.push(row))
    }

    fn clear_armed(
        &self,
        _: Tenant,
        signalling_id: String,
        holder: Holder,
    ) -> Later<'_, Result<(), NotDurable>> {
        self.done("clear_armed", |stage| {
            stage
                .armed
                .retain(|row| row.signalling_id != signalling_id || row.holder != holder);
        })
    }
}

impl Media for Fakes {
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        let mut stage = self.stage();
        if stage.try_it("media").is_err() {
            return Err(MediaError::Overloaded);
        }
        stage.trail.push(match &command {
            MediaCommand::Arm(_) => "arm".to_owned(),
            MediaCommand::Release(_) => "release".to_owned(),
            MediaCommand::OpenCapture { .. } => "open".to_owned(),
            MediaCommand::CloseCapture(_) => "close".to_owned(),
            MediaCommand::SetLeg(..)
            | MediaCommand::MaskBoth
            | MediaCommand::Block(..)
            | MediaCommand::Silence(..)
            | MediaCommand::AwaitCode(_)
            | MediaCommand::ReadOut(_)
            | MediaCommand::Shadow(_)
            | MediaCommand::HangUp => "other".to_owned(),
        });
        stage.commands.push(command.clone());
        let arming = stage.arming.clone();
        drop(stage);
        if let (MediaCommand::Arm(holder), Some(answer)) = (command, arming) {
            let kind = match answer {
                None => MediaEventKind::Armed(holder),
                Some(refusal) => MediaEventKind::ArmRefused(holder, refusal),
            };
            let payments = self.payments.lock().unwrap().clone().unwrap();
            let call = call.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(40)).await;
                payments.handle_media(&MediaEvent { call, kind });
            });
        }
        Ok(())
    }
}

impl Cards for Fakes {
    fn wipe(&self, _: &PaymentId) {
        let mut stage = self.stage();
        stage.trail.push("wipe".to_owned());
        stage.wipes += 1;
    }

    fn call_ended(&self, _: &CallId) {}

    fn look_up(&self, _: Charge) -> Later<'static, Outcome> {
        let mut stage = self.stage();
        stage.looked_up_at.push(tokio::time::Instant::now());
        let outcome = stage.look_ups.pop_front().unwrap_or_else(unknown);
        Box::pin(std::future::ready(outcome))
    }

    fn look_up_operation(&self, _: Operation) -> Later<'static, Outcome> {
        Box::pin(std::future::ready(unknown()))
    }

    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    fn consistency_delay(&self) -> Duration {
        self.stage().consistency_delay
    }

    fn is_sandbox(&self) -> bool {
        true
    }
}

impl CallLookup for Fakes {
    fn find(&self, tenant: &Tenant, id: &str) -> Option<CallView> {
        let stage = self.stage();
        let named = |call: &&CallView| call.id.to_string() == id || call.signalling_id == id;
        let found = stage.calls.iter().find(named)?;
        (found.id.tenant() == tenant).then(|| found.clone())
    }

    fn leg_of_tag(&self, _: &CallId, tag: &str) -> Option<Leg> {
        match tag {
            "caller-tag" => Some(Leg::Caller),
            "agent-tag" => Some(Leg::Agent),
            _ => None,
        }
    }
}
