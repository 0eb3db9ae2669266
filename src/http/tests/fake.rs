//! A gateway of paper behind the real listener.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderMap;
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{Semaphore, broadcast};
use ulid::Ulid;

use crate::{
    audit_log::AuditError,
    gateway::{
        links::{Lines, Links},
        notifications::NotTaken,
        payments::{
            FieldStatus, FieldView, NewPayment, OperationOrder, OperationState, OperationView,
            PaymentError, PaymentEvent, PaymentState, PaymentView, PreparedView, Principal,
            Subscription, system_clock,
        },
    },
    http::{
        auth::hash,
        service::{Later, Service},
    },
    journal::{Idempotent, JournalError, KeyKind, KeyRow, NotBegun, PaymentFilter, Role},
    media::MediaError,
    processor::{Forged, Outcome},
    proto::{
        audit::Record,
        field::Field,
        id::{CallId, KeyId, OperationId, PaymentId, Tenant},
        link::{Agent, Candidate, Finder, SpokenCode},
        party::AgentAddress,
        payment::{Balance, NotAllowed, OperationEntry, Progress, Purpose, TooMany},
    },
    shadow::{ShadowReport, Shadows, TrunkLine},
    signal::CallView,
};

pub(super) struct Fake {
    pub(super) inner: Mutex<Inner>,
    pub(super) lines: Arc<FakeLines>,
    links: Links,
    live: broadcast::Sender<Arc<PaymentEvent>>,
    /// Events before this number can no longer be replayed.
    pub(super) oldest: u64,
    /// Lets one payment of the reference `slow` go on.
    pub(super) slow: Semaphore,
}

/// What links see of the calls, and what was read out.
#[derive(Default)]
pub(super) struct FakeLines {
    up: Mutex<Vec<(String, AgentAddress, Candidate)>>,
    pub(super) read: Mutex<Vec<(CallId, SpokenCode)>>,
}

impl FakeLines {
    pub(super) fn end_all(&self) {
        self.up.lock().unwrap().clear();
    }
}

impl Lines for FakeLines {
    fn find(&self, tenant: &Tenant, call: &str) -> Option<CallId> {
        let up = self.up.lock().unwrap();
        let found = up.iter().find(|(name, _, candidate)| {
            candidate.call.tenant() == tenant
                && (name == call || candidate.call.to_string() == call)
        });
        found.map(|(.., candidate)| candidate.call.clone())
    }

    fn candidates(&self, tenant: &Tenant, finder: &Finder) -> Vec<Candidate> {
        let up = self.up.lock().unwrap();
        let fits = up.iter().filter(|(name, agent, candidate)| {
            candidate.call.tenant() == tenant
                && match finder {
                    Finder::Call(id) => candidate.call == *id,
                    Finder::Agent(address) => address.covers(agent),
                    // The signalling's name, for once.
                    Finder::Reference(reference) => name.parse().as_ref() == Ok(reference),
                }
        });
        fits.map(|(.., candidate)| candidate.clone()).collect()
    }

    fn read_out(&self, call: &CallId, code: SpokenCode) -> Result<(), MediaError> {
        self.read.lock().unwrap().push((call.clone(), code));
        Ok(())
    }
}

/// What looking for a key comes to, if it does not go well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Unreadable,
    Stalled,
    Panicking,
}

/// The fingerprint of a request, and the answer once there is one.
pub(super) type Answered = ([u8; 32], Option<(u16, String)>);

#[derive(Default)]
pub(super) struct Inner {
    pub(super) calls: Vec<(Tenant, CallView)>,
    pub(super) payments: BTreeMap<PaymentId, PaymentView>,
    pub(super) events: Vec<PaymentEvent>,
    pub(super) orders: Vec<OperationOrder>,
    pub(super) keys: Vec<KeyRow>,
    pub(super) idempotency: HashMap<String, Answered>,
    pub(super) records: Vec<(Option<Tenant>, Record)>,
    pub(super) audit_broken: bool,
    pub(super) keys_are: Option<Keys>,
    pub(super) created: u32,
    pub(super) shadows: Option<Shadows>,
    pub(super) prepared: HashMap<CallId, PreparedView>,
    serial: u64,
}

pub(super) fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

impl Fake {
    pub(super) fn new() -> Self {
        let lines = Arc::new(FakeLines::default());
        Self {
            inner: Mutex::default(),
            links: Links::new(
                lines.clone(),
                "n1".parse().unwrap(),
                StdRng::seed_from_u64(7),
                system_clock(),
            ),
            lines,
            live: broadcast::channel(64).0,
            oldest: 0,
            slow: Semaphore::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_call(&self, whose: &str, signalling_id: &str) -> CallId {
        let mut inner = self.lock();
        let id = CallId::new(tenant(whose), "n1".parse().unwrap(), inner.next());
        let agent: AgentAddress = format!("47{}@pbx", inner.calls.len()).parse().unwrap();
        let candidate = Candidate {
            call: id.clone(),
            answered: true,
            sides_known: true,
            agent: Agent {
                address: Some(agent.clone()),
                tag: Some("agent".into()),
            },
        };
        let up = (signalling_id.to_owned(), agent.clone(), candidate);
        self.lines.up.lock().unwrap().push(up);
        let call = CallView {
            id: id.clone(),
            signalling_id: signalling_id.to_owned(),
            caller_tag: Some("caller".into()),
            sides_known: true,
            agent: Some(agent),
            agent_tag: Some("agent".into()),
            started: Timestamp::now(),
            answered: true,
            refusal: None,
            armed: false,
        };
        inner.calls.insert(0, (tenant(whose), call));
        id
    }

    /// A payment on the first call of a tenant.
    pub(super) fn add_payment(&self, whose: &str) -> PaymentId {
        let call = self.calls(&tenant(whose)).remove(0);
        let by = Principal {
            tenant: tenant(whose),
            actor: crate::proto::audit::Actor::Anonymous,
            origin: "test".into(),
        };
        let new = NewPayment {
            call: call.signalling_id,
            leg: None,
            amount_minor: 1250,
            currency: "EUR".into(),
            purpose: Purpose::Charge,
            reference: "INV-1".into(),
            description: None,
            fields: Vec::new(),
        };
        self.new_payment(&by, new).unwrap().id
    }

    pub(super) fn add_key(&self, kind: KeyKind, role: Role, whose: &str, secret: &str) -> KeyId {
        let mut inner = self.lock();
        let id = KeyId::new(tenant(whose), "n1".parse().unwrap(), inner.next());
        inner.keys.push(KeyRow {
            id: id.clone(),
            kind,
            role,
            label: "Desk 4".into(),
            agent: None,
            secret_hash: hash(secret),
            created: Timestamp::now(),
            expires: None,
            revoked: None,
        });
        id
    }

    /// Changes a payment and tells everybody.
    pub(super) fn change(
        &self,
        name: &'static str,
        id: &PaymentId,
        with: impl FnOnce(&mut PaymentView),
    ) {
        let mut inner = self.lock();
        let payment = inner.payments.get_mut(id).unwrap();
        with(payment);
        payment.updated = Timestamp::now();
        let payment = payment.clone();
        drop(inner);
        self.publish(
            name,
            payment.id.tenant().clone(),
            &payment.call.clone(),
            Some(payment),
        );
    }

    pub(super) fn publish(
        &self,
        name: &'static str,
        tenant: Tenant,
        call: &CallId,
        payment: Option<PaymentView>,
    ) {
        let mut inner = self.lock();
        let id = inner.events.len() as u64 + 1;
        let event = PaymentEvent {
            tenant,
            ..PaymentEvent::new(id, name, call, payment.as_ref()).unwrap()
        };
        inner.events.push(event.clone());
        drop(inner);
        let _ = self.live.send(Arc::new(event));
    }

    fn of(&self, by: &Principal, id: &PaymentId) -> Result<PaymentView, PaymentError> {
        self.lock()
            .payments
            .get(id)
            .filter(|_| *id.tenant() == by.tenant)
            .cloned()
            .ok_or_else(|| PaymentError::UnknownPayment(id.to_string()))
    }

    fn call_of(&self, by: &Principal, id: &str) -> Result<CallId, PaymentError> {
        let call = self.call(&by.tenant, id);
        call.map(|call| call.id)
            .ok_or_else(|| PaymentError::UnknownCall(id.to_owned()))
    }

    fn new_payment(&self, by: &Principal, new: NewPayment) -> Result<PaymentView, PaymentError> {
        let call = self
            .call(&by.tenant, &new.call)
            .ok_or_else(|| PaymentError::UnknownCall(new.call.clone()))?;
        let mut inner = self.lock();
        inner.created += 1;
        let id = PaymentId::new(by.tenant.clone(), "n1".parse().unwrap(), inner.next());
        let fields = [
            Field::PaymentCardNumber,
            Field::ExpirationDate,
            Field::SecurityCode,
        ];
        let payment = PaymentView {
            id: id.clone(),
            call: call.id.clone(),
            state: PaymentState::Open,
            amount_minor: new.amount_minor,
            currency: new.currency,
            purpose: new.purpose,
            balance: None,
            operations: Vec::new(),
            reference: new.reference,
            description: new.description,
            armed: true,
            caller_muted: false,
            capturing: None,
            fields: fields.map(|field| (field, empty_field())).into(),
            outcome: None,
            advice: "The line is protected. Ask the customer for the card number.".into(),
            attempts: 0,
            sandbox: true,
            created: Timestamp::now(),
            updated: Timestamp::now(),
        };
        inner.payments.insert(id, payment.clone());
        drop(inner);
        self.publish(
            "payment.created",
            by.tenant.clone(),
            &call.id,
            Some(payment.clone()),
        );
        Ok(payment)
    }
}

impl Inner {
    fn next(&mut self) -> Ulid {
        self.serial += 1;
        Ulid::from_parts(1_790_000_000_000 + self.serial, u128::from(self.serial))
    }
}

fn empty_field() -> FieldView {
    FieldView {
        status: FieldStatus::Missing,
        required: true,
        count: 0,
        brand: None,
        last4: None,
        masked: None,
        attempts_left: Some(3),
        rejection: None,
        problem: None,
    }
}

fn wrong_state(action: &'static str) -> PaymentError {
    PaymentError::WrongState {
        state: PaymentState::Cancelled,
        action,
        needed: "open",
    }
}

/// What a reference makes the fake answer.
fn refusal(reference: &str) -> Option<PaymentError> {
    Some(match reference {
        "wrong-leg" => PaymentError::WrongLeg("agent".into()),
        "caller-unknown" => PaymentError::CallerUnknown,
        "has-payment" => {
            PaymentError::CallHasPayment("pay_acme_n1_01JD0000000000000000000000".parse().unwrap())
        }
        "cannot-arm" => PaymentError::CannotArm("the codec AMR cannot be masked".into()),
        "invalid" => PaymentError::Invalid {
            field: "currency",
            found: "4242 4242 4242 4242".into(),
            expected: "a currency".into(),
        },
        "draining" => PaymentError::Draining,
        "not-recordable" => PaymentError::NotRecordable("disk full".into()),
        "overloaded" => PaymentError::Overloaded("64 payments at once".into()),
        _ => return None,
    })
}

fn entry(operation: &OperationView) -> OperationEntry {
    OperationEntry {
        kind: operation.kind,
        amount_minor: operation.amount_minor,
        progress: match operation.state {
            OperationState::Sending | OperationState::Pending | OperationState::Unknown => {
                Progress::Open
            }
            OperationState::Done => Progress::Done,
            OperationState::Refused | OperationState::Failed => Progress::NotDone,
        },
    }
}

impl Service for Fake {
    fn create<'a>(
        &'a self,
        by: &'a Principal,
        new: NewPayment,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move {
            if let Some(error) = refusal(&new.reference) {
                return Err(error);
            }
            match new.reference.as_str() {
                "panic" => panic!("4242424242424242 must not be told"),
                "slow" => self.slow.acquire().await.unwrap().forget(),
                _ => {}
            }
            self.new_payment(by, new)
        })
    }

    fn operate<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        order: OperationOrder,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move {
            let payment = self.of(by, id)?;
            self.lock().orders.push(order.clone());
            match order.reason.as_deref() {
                Some("draining") => return Err(PaymentError::Draining),
                Some("slow") => self.slow.acquire().await.unwrap().forget(),
                _ => {}
            }
            let most_minor = 5000;
            let amount_minor = order.amount_minor.unwrap_or(payment.amount_minor);
            if order.limits.is_some() && amount_minor > most_minor {
                return Err(PaymentError::NotAllowed(NotBegun::OverLimit {
                    amount_minor,
                    currency: payment.currency,
                    most_minor,
                }));
            }
            if order.reason.as_deref() == Some("voided before") {
                return Err(PaymentError::NotAllowed(NotAllowed::Voided.into()));
            }
            let state = match order.reason.as_deref() {
                Some("pending") => OperationState::Pending,
                _ => OperationState::Done,
            };
            let serial = self.lock().next();
            self.change("payment.updated", id, |payment| {
                payment.operations.push(OperationView {
                    id: OperationId::new(id.tenant().clone(), id.node().clone(), serial),
                    kind: order.kind,
                    state,
                    amount_minor,
                    currency: payment.currency.clone(),
                    reason: order.reason,
                    outcome: None,
                    created: payment.created,
                    updated: payment.updated,
                });
                let entries: Vec<_> = payment.operations.iter().map(entry).collect();
                let amount = payment.amount_minor;
                payment.balance = Some(Balance::of(payment.purpose, amount, &entries));
            });
            self.of(by, id)
        })
    }

    fn capture<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
        field: Field,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move {
            let payment = self.of(by, id)?;
            if payment.state == PaymentState::Cancelled {
                return Err(wrong_state("capture"));
            }
            self.change("payment.capture", id, |payment| {
                payment.state = PaymentState::Capturing;
                payment.capturing = Some(field);
                payment.advice = "Ask the customer to key it now.".into();
                let view = payment.fields.entry(field).or_insert_with(empty_field);
                *view = FieldView {
                    status: FieldStatus::Capturing,
                    ..empty_field()
                };
            });
            self.of(by, id)
        })
    }

    fn complete<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move {
            let payment = self.of(by, id)?;
            let missing: Vec<_> = payment
                .fields
                .iter()
                .filter(|(_, view)| view.status != FieldStatus::Complete)
                .map(|(field, _)| *field)
                .collect();
            if payment.state == PaymentState::Cancelled {
                return Err(wrong_state("complete"));
            }
            if payment.reference == "too many" {
                return Err(TooMany::OnCall(10).into());
            }
            if payment.reference == "submitting" {
                self.change("payment.updated", id, |p| {
                    p.state = PaymentState::Submitting
                });
                return self.of(by, id);
            }
            if !missing.is_empty() {
                return Err(PaymentError::FieldsMissing(missing));
            }
            self.change("payment.ended", id, |payment| {
                payment.state = PaymentState::Approved;
                payment.armed = false;
                payment.attempts += 1;
                payment.balance = Some(Balance::of(payment.purpose, payment.amount_minor, &[]));
                payment.advice = "Paid. Tell the customer the reference.".into();
                payment.outcome = Some(Outcome::Approved {
                    processor_reference: "sbx_7Q2K9".into(),
                    code: "approved".into(),
                });
            });
            self.of(by, id)
        })
    }

    fn cancel<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move {
            let payment = self.of(by, id)?;
            if payment.state == PaymentState::Cancelled {
                return Err(wrong_state("cancel"));
            }
            self.change("payment.ended", id, |payment| {
                payment.state = PaymentState::Cancelled;
                payment.armed = false;
                payment.capturing = None;
                payment.advice = "Nothing was charged; what was keyed is wiped.".into();
            });
            self.of(by, id)
        })
    }

    fn payment<'a>(
        &'a self,
        by: &'a Principal,
        id: &'a PaymentId,
    ) -> Later<'a, Result<PaymentView, PaymentError>> {
        Box::pin(async move { self.of(by, id) })
    }

    fn payments<'a>(
        &'a self,
        by: &'a Principal,
        call: Option<&'a str>,
        filter: PaymentFilter,
    ) -> Later<'a, Result<Vec<PaymentView>, PaymentError>> {
        Box::pin(async move {
            let call = call.map(|id| self.call(&by.tenant, id).map(|call| call.id));
            let inner = self.lock();
            let of_tenant = inner
                .payments
                .values()
                .rev()
                .filter(|p| *p.id.tenant() == by.tenant)
                .filter(|p| filter.state.is_none_or(|state| state == p.state))
                .take(filter.limit as usize);
            Ok(of_tenant
                .filter(|p| {
                    call.as_ref()
                        .is_none_or(|call| call.as_ref() == Some(&p.call))
                })
                .cloned()
                .collect())
        })
    }

    fn links(&self) -> &Links {
        &self.links
    }

    // Gives every tenant's events, so that the tests see `http` keep them apart.
    fn subscribe(&self, _tenant: &Tenant, last: Option<u64>) -> Subscription {
        let inner = self.lock();
        let replay = match last {
            None => Some(Vec::new()),
            Some(last) if last < self.oldest => None,
            Some(last) => Some(
                inner
                    .events
                    .iter()
                    .filter(|event| event.id > last)
                    .cloned()
                    .map(Arc::new)
                    .collect(),
            ),
        };
        Subscription {
            replay,
            live: self.live.subscribe(),
        }
    }

    fn prepare(&self, by: &Principal, new: NewPayment) -> Result<PreparedView, PaymentError> {
        if let Some(error) = refusal(&new.reference) {
            return Err(error);
        }
        let call = self.call_of(by, &new.call)?;
        let view = PreparedView {
            call: call.clone(),
            amount_minor: new.amount_minor,
            currency: new.currency,
            reference: new.reference,
            description: new.description,
            key_code: "*77#".to_owned(),
            expires: Timestamp::now(),
        };
        self.lock().prepared.insert(call, view.clone());
        Ok(view)
    }

    fn prepared(&self, by: &Principal, call: &str) -> Result<Option<PreparedView>, PaymentError> {
        let call = self.call_of(by, call)?;
        Ok(self.lock().prepared.get(&call).cloned())
    }

    fn unprepare(&self, by: &Principal, call: &str) -> Result<bool, PaymentError> {
        let call = self.call_of(by, call)?;
        Ok(self.lock().prepared.remove(&call).is_some())
    }

    fn calls(&self, tenant: &Tenant) -> Vec<CallView> {
        let inner = self.lock();
        inner
            .calls
            .iter()
            .filter(|(t, _)| t == tenant)
            .map(|(_, call)| call.clone())
            .collect()
    }

    fn call(&self, tenant: &Tenant, id: &str) -> Option<CallView> {
        let mut calls = self.calls(tenant).into_iter();
        calls.find(|call| call.signalling_id == id || call.id.to_string() == id)
    }

    fn shadow_trunks(&self, tenant: &Tenant) -> Vec<TrunkLine> {
        let inner = self.lock();
        let shadows = inner.shadows.as_ref();
        shadows.map_or_else(Vec::new, |shadows| shadows.list(tenant))
    }

    fn shadow_report(&self, tenant: &Tenant, trunk: &str) -> Option<ShadowReport> {
        self.lock().shadows.as_ref()?.report(tenant, trunk)
    }

    fn notified<'a>(
        &'a self,
        processor: &'a str,
        _: &'a HeaderMap,
        body: &'a [u8],
    ) -> Later<'a, Result<(), NotTaken>> {
        Box::pin(async move {
            let keys_are = self.lock().keys_are;
            match keys_are {
                None => {}
                Some(Keys::Unreadable) => {
                    let reason = "the journal is closed".to_owned();
                    return Err(PaymentError::NotRecordable(reason).into());
                }
                Some(Keys::Stalled) => std::future::pending().await,
                Some(Keys::Panicking) => panic!("a panic that a test asked for"),
            }
            match (processor, body) {
                ("adyen", b"signed") => Ok(()),
                ("adyen", _) => Err(Forged::OtherSignature.into()),
                _ => Err(NotTaken::NotExpected),
            }
        })
    }

    fn key_by_hash(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>> {
        Box::pin(async move {
            let keys_are = self.lock().keys_are;
            match keys_are {
                None => {}
                Some(Keys::Unreadable) => return Err(JournalError::Closed),
                Some(Keys::Stalled) => std::future::pending().await,
                Some(Keys::Panicking) => panic!("a panic that a test asked for"),
            }
            let inner = self.lock();
            let live = |row: &&KeyRow| {
                row.kind == kind
                    && row.secret_hash == hash
                    && row.revoked.is_none()
                    && row.expires.is_none_or(|expires| expires > at)
            };
            Ok(inner.keys.iter().find(live).cloned())
        })
    }

    fn redeem_key(
        &self,
        kind: KeyKind,
        hash: [u8; 32],
        at: Timestamp,
    ) -> Later<'_, Result<Option<KeyRow>, JournalError>> {
        Box::pin(async move {
            let Some(row) = self.key_by_hash(kind, hash, at).await? else {
                return Ok(None);
            };
            Ok(self.revoke_key(row.id.clone(), at).await?.then_some(row))
        })
    }

    fn put_key(&self, row: KeyRow) -> Later<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.lock().keys.push(row);
            Ok(())
        })
    }

    fn revoke_key(&self, key: KeyId, at: Timestamp) -> Later<'_, Result<bool, JournalError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            let mut live = inner.keys.iter_mut().filter(|row| row.revoked.is_none());
            Ok(live
                .find(|row| row.id == key)
                .map(|row| row.revoked = Some(at))
                .is_some())
        })
    }

    fn idempotency(
        &self,
        _tenant: Tenant,
        key: String,
        fingerprint: [u8; 32],
        _at: Timestamp,
    ) -> Later<'_, Result<Idempotent, JournalError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            let Some((known, answer)) = inner.idempotency.get(&key) else {
                inner.idempotency.insert(key, (fingerprint, None));
                return Ok(Idempotent::New);
            };
            Ok(match answer {
                _ if *known != fingerprint => Idempotent::Conflict,
                Some((status, body)) => Idempotent::Replay {
                    status: *status,
                    body: body.clone(),
                },
                None => Idempotent::InProgress,
            })
        })
    }

    fn idempotency_answer(
        &self,
        _tenant: Tenant,
        key: String,
        answer: Option<(u16, String)>,
    ) -> Later<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            match answer {
                Some(_) => inner.idempotency.get_mut(&key).unwrap().1 = answer,
                None => drop(inner.idempotency.remove(&key)),
            }
            Ok(())
        })
    }

    fn record<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        record: Record,
    ) -> Later<'a, Result<u64, AuditError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            if inner.audit_broken {
                return Err(AuditError::Broken("disk full".into()));
            }
            inner.records.push((tenant.cloned(), record));
            Ok(inner.records.len() as u64)
        })
    }
}
