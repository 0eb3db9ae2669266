//! A gateway's money side with the real journal, compliance log, secret memory and card plane, over real TLS
//! to a processor that is played; the caller keys at once what is asked for.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonewall::{
    audit_log::AuditLog,
    gateway::payments::{
        CallLookup, Clock, KeyCodeSettings, Media, NewPayment, PaymentState, PaymentView, Payments,
        Principal, Settings,
    },
    journal::{CallbackState, Journal, Phase, Route},
    media::{CardSink, MediaCommand, MediaError, MediaEvent, MediaEventKind, SlotSource},
    processor::{
        Adyen, AdyenSettings, AuthorizeNet, AuthorizeNetSettings, Braintree, BraintreeSettings,
        CardPlane, CardPlaneSettings, Checkout, CheckoutSettings, Connection, CyberSource,
        CyberSourceSettings, Deadlines, Mode, Outcome, PayConnector, PayConnectorSettings, Secret,
        Stripe, StripeSettings, Trust, Worldpay, WorldpaySettings,
    },
    proto::{
        audit::Actor,
        callback::CallbackEvent,
        capture::{CaptureEvent, CaptureEventKind, CaptureSettings},
        card::{Brand, CapturedField, FieldRules, Last4},
        digit::Key,
        field::Field,
        id::{CallId, PaymentId, Tenant},
        leg::Leg,
        payment::{Purpose, VelocityLimits},
        time::Now,
    },
    secret_memory::Slab,
    signal::CallView,
};
use ulid::Ulid;

use crate::processors::{
    ADYEN_ACCOUNT, AUTHORIZE_NET_LOGIN, BRAINTREE_ACCOUNT, BRAINTREE_PUBLIC_KEY, CHECKOUT_CHANNEL,
    CHECKOUT_PUBLIC_KEY, CONNECTOR_USER, CYBERSOURCE_KEY_ID, CYBERSOURCE_MERCHANT, Kind,
    Processor as Simulator, WORLDPAY_ENTITY, WORLDPAY_NARRATIVE, WORLDPAY_USER,
};

pub(crate) const CARD: [Field; 3] = [
    Field::PaymentCardNumber,
    Field::ExpirationDate,
    Field::SecurityCode,
];
pub(crate) const APPROVED: &str = "4242424242424242";
/// Payments at a time in one shop, and the slots that they take.
pub(crate) const AT_A_TIME: usize = 10;
/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

/// The caller, who keys at once what is asked for, and a media plane that arms at once.
pub(crate) struct Caller {
    payments: OnceLock<Payments>,
    slab: Arc<Slab>,
    sink: Arc<dyn CardSink>,
    pub(crate) number: Mutex<&'static str>,
}

impl Caller {
    fn key(&self, field: Field) -> (CapturedField, CaptureEventKind) {
        let number = *self.number.lock().unwrap();
        let digits = match field {
            Field::PaymentCardNumber => number,
            Field::ExpirationDate => "1239",
            _ => "737",
        };
        let mut slot = SlotSource::acquire(&*self.slab).expect("a free slot");
        for digit in digits.bytes() {
            let _ = slot.press(Key::from_event(digit - b'0').unwrap());
        }
        let rules = FieldRules {
            accepted_brands: &Brand::ALL,
            pan_brand: None,
            min_postal_code_length: 1,
            utc: Timestamp::now(),
        };
        let last4: Vec<u8> = number.bytes().map(|byte| byte - b'0').collect();
        let is_number = field == Field::PaymentCardNumber;
        let kind = CaptureEventKind::Complete {
            count: u8::try_from(digits.len()).unwrap(),
            brand: is_number.then_some(Brand::Visa),
            last4: Last4::of(&last4).filter(|_| is_number),
        };
        (
            CapturedField::check(field, slot, &rules).ok().unwrap(),
            kind,
        )
    }
}

impl Media for Caller {
    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        let kind = match command {
            MediaCommand::Arm(holder) => MediaEventKind::Armed(holder),
            MediaCommand::OpenCapture { payment, field, .. } => {
                let (keyed, kind) = self.key(field);
                self.sink.store(&payment, keyed).unwrap();
                MediaEventKind::Capture(CaptureEvent {
                    payment,
                    field,
                    kind,
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

/// A call of every name, answered.
#[derive(Default)]
pub(crate) struct AnyCall(Mutex<HashMap<String, CallId>>);

impl CallLookup for AnyCall {
    fn find(&self, tenant: &Tenant, name: &str) -> Option<CallView> {
        let mut calls = self.0.lock().unwrap();
        let id = calls.entry(name.to_owned()).or_insert_with(|| {
            let node = "n1".parse().unwrap();
            CallId::new(tenant.clone(), node, Ulid::from_parts(1, rand::random()))
        });
        Some(CallView {
            sides_known: true,
            agent: None,
            id: id.clone(),
            signalling_id: name.to_owned(),
            caller_tag: None,
            agent_tag: None,
            started: Timestamp::now(),
            answered: true,
            refusal: None,
            armed: false,
        })
    }

    fn leg_of_tag(&self, _call: &CallId, _tag: &str) -> Option<Leg> {
        None
    }
}

/// A gateway's money side, and the processor that it charges by.
pub(crate) struct Shop {
    pub(crate) simulator: Simulator,
    pub(crate) journal: Journal,
    pub(crate) audit: AuditLog,
    pub(crate) data: Arc<TempDir>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) payments: Payments,
    pub(crate) by: Principal,
}

pub(crate) fn deadlines() -> Deadlines {
    Deadlines {
        first_byte: Duration::from_secs(2),
        whole: Duration::from_secs(4),
        ..Deadlines::default()
    }
}

/// The card plane with the adapter of the simulator's kind.
pub(crate) fn card_plane(simulator: &Simulator, slab: &Arc<Slab>, journal: &Journal) -> CardPlane {
    let connection = Connection {
        site: simulator.url().parse().unwrap(),
        trust: Trust {
            roots: Some(simulator.roots()),
            identity: None,
        },
        deadlines: deadlines(),
        mode: Mode::Test,
    };
    let key = Secret::read(&simulator.key_file()).unwrap();
    let (settings, memory) = (CardPlaneSettings::default(), Arc::clone(slab));
    let tokens = Arc::new(journal.clone());
    let plane = match simulator.kind {
        Kind::Stripe => {
            let descriptor = Some("ORDER".to_owned());
            let adapter = Stripe::new(StripeSettings {
                connection,
                key,
                descriptor,
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::Adyen => {
            let adapter = Adyen::new(AdyenSettings {
                connection,
                key,
                merchant_account: ADYEN_ACCOUNT.to_owned(),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::Checkout => {
            let adapter = Checkout::new(CheckoutSettings {
                connection,
                key,
                public_key: CHECKOUT_PUBLIC_KEY.to_owned(),
                processing_channel: CHECKOUT_CHANNEL.to_owned(),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::Worldpay => {
            let adapter = Worldpay::new(WorldpaySettings {
                connection,
                username: WORLDPAY_USER.to_owned(),
                key,
                entity: WORLDPAY_ENTITY.to_owned(),
                narrative: WORLDPAY_NARRATIVE.to_owned(),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::CyberSource => {
            let adapter = CyberSource::new(CyberSourceSettings {
                connection,
                key,
                key_id: CYBERSOURCE_KEY_ID.to_owned(),
                merchant_id: CYBERSOURCE_MERCHANT.to_owned(),
                descriptor: Some("ORDER".to_owned()),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::Braintree => {
            let account = ("EUR".to_owned(), BRAINTREE_ACCOUNT.to_owned());
            let adapter = Braintree::new(BraintreeSettings {
                connection,
                key,
                public_key: BRAINTREE_PUBLIC_KEY.to_owned(),
                merchant_accounts: [account].into(),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::AuthorizeNet => {
            let adapter = AuthorizeNet::new(AuthorizeNetSettings {
                connection,
                api_login_id: AUTHORIZE_NET_LOGIN.to_owned(),
                key,
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
        Kind::Connector => {
            let look_up = format!("https://localhost:{}/charges", simulator.port);
            let adapter = PayConnector::new(PayConnectorSettings {
                connection,
                username: Some(CONNECTOR_USER.to_owned()),
                key,
                look_up: Some(look_up.parse().unwrap()),
                consistency_delay: Duration::from_secs(1),
            });
            CardPlane::start(settings, adapter.unwrap(), memory, tokens)
        }
    };
    plane.unwrap()
}

/// The clocks, the calendar's so far behind.
pub(crate) fn clock(behind: SignedDuration) -> Clock {
    Arc::new(move || Now {
        instant: tokio::time::Instant::now().into_std(),
        utc: Timestamp::now() - behind,
    })
}

impl Shop {
    pub(crate) async fn new(kind: Kind) -> Self {
        let simulator = Simulator::start(kind).await;
        Self::over(
            simulator,
            Arc::new(TempDir::new().unwrap()),
            SignedDuration::ZERO,
        )
    }

    pub(crate) fn over(simulator: Simulator, data: Arc<TempDir>, behind: SignedDuration) -> Self {
        let journal = Journal::open(&data.path().join("journal.db")).unwrap();
        let node = "n1".parse().unwrap();
        let audit = AuditLog::open(data.path(), node, "test", "none", Timestamp::now).unwrap();
        let slab = Arc::new(Slab::map(4 * AT_A_TIME, AT_A_TIME, false).unwrap());
        let cards = card_plane(&simulator, &slab, &journal);
        let caller = Arc::new(Caller {
            payments: OnceLock::new(),
            slab,
            sink: cards.sink(),
            number: Mutex::new(APPROVED),
        });
        let settings = Settings {
            tenant: tenant(),
            node: "n1".parse().unwrap(),
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
            processor: cards.promises().name.to_owned(),
            velocity: VelocityLimits::default(),
            key_code: KeyCodeSettings {
                code: "*77#".parse().unwrap(),
                asks_pin: false,
                currency: None,
            },
        };
        let payments = Payments::over_played_calls(
            (journal.clone(), audit.clone(), cards),
            (caller.clone(), Arc::new(AnyCall::default())),
            settings,
            StdRng::from_rng(&mut rand::rng()),
            clock(behind),
        );
        assert!(caller.payments.set(payments.clone()).is_ok());
        Self {
            simulator,
            journal,
            audit,
            data,
            caller,
            payments,
            by: Principal {
                tenant: tenant(),
                actor: Actor::Gateway,
                origin: "test".to_owned(),
            },
        }
    }

    pub(crate) async fn view(&self, id: &PaymentId) -> PaymentView {
        self.payments.get(&self.by, id).await.unwrap()
    }

    pub(crate) async fn until(
        &self,
        id: &PaymentId,
        wanted: impl Fn(&PaymentView) -> bool,
    ) -> PaymentView {
        let wait = async {
            loop {
                let view = self.view(id).await;
                if wanted(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(view) => view,
            Err(_) => panic!("still {:?}", self.view(id).await),
        }
    }

    /// From here on merchants are told, so that it can be seen what.
    pub(crate) async fn tell(&self) {
        let route = Route {
            tenant: tenant(),
            endpoint: "crm".parse().unwrap(),
            events: CallbackEvent::ALL.into(),
        };
        self.journal.route_callbacks(vec![route]).await.unwrap();
    }

    /// What merchants are told of a payment, in order.
    pub(crate) async fn told(&self, id: &PaymentId) -> Vec<Value> {
        let waiting = self
            .journal
            .callbacks(tenant(), CallbackState::Waiting, 10_000);
        let rows = waiting.await.unwrap().into_iter();
        rows.filter(|row| row.payment == *id)
            .map(|row| serde_json::from_str(&row.body).unwrap())
            .collect()
    }

    /// A payment whose card is keyed.
    pub(crate) async fn keyed(&self, call: &str) -> PaymentId {
        self.keyed_for(call, Purpose::Charge).await
    }

    pub(crate) async fn keyed_for(&self, call: &str, purpose: Purpose) -> PaymentId {
        self.tell().await;
        let new = NewPayment {
            call: call.to_owned(),
            leg: None,
            amount_minor: 1250,
            currency: "EUR".to_owned(),
            purpose,
            reference: "INV-1 &=+%\"x\"".to_owned(),
            description: None,
            fields: Vec::new(),
        };
        let id = self.payments.create(&self.by, new).await.unwrap().id;
        for field in CARD {
            self.payments.capture(&self.by, &id, field).await.unwrap();
            self.until(&id, |view| view.state == PaymentState::Open)
                .await;
        }
        id
    }

    /// The payment once its first outcome is told.
    pub(crate) async fn pay(&self, call: &str) -> PaymentView {
        let id = self.keyed(call).await;
        let view = self.payments.complete(&self.by, &id).await.unwrap();
        assert_ne!(view.state, PaymentState::Submitting);
        view
    }

    /// Our reference at the processor.
    pub(crate) fn reference(&self, attempt: &str) -> String {
        match self.simulator.kind {
            Kind::Stripe | Kind::Braintree | Kind::Connector => attempt.to_owned(),
            Kind::AuthorizeNet => attempt[attempt.len() - 20..].to_owned(),
            Kind::Adyen | Kind::Checkout | Kind::Worldpay | Kind::CyberSource => {
                format!("att_{}", attempt.rsplit('_').next().unwrap())
            }
        }
    }

    /// What the journal, the log, the agent's view, what merchants are told and the processor's books say of
    /// a payment agrees.
    pub(crate) async fn agree(&self, id: &PaymentId) {
        let view = self.view(id).await;
        let attempts = self.journal.attempts(id.clone()).await.unwrap();
        let log = log(self.data.path());
        for attempt in &attempts {
            let Phase::Result(outcome) = &attempt.phase else {
                panic!("an attempt without an outcome: {attempt:?}");
            };
            let charges = {
                let state = self.simulator.state();
                state.charges(&self.reference(&attempt.id.to_string()))
            };
            let told = match outcome {
                Outcome::Approved { .. } => charges == 1,
                Outcome::Declined { .. } | Outcome::Failed { .. } => charges == 0,
                Outcome::Pending { .. } | Outcome::Unknown { .. } => charges <= 1,
            };
            assert!(told, "{charges} charges, and told is {outcome:?}");
            let last = log
                .lines()
                .rfind(|line| line.contains(&attempt.id.to_string()) && line.contains("\"charge-"));
            let word = match outcome {
                Outcome::Pending { .. } | Outcome::Unknown { .. } => "charge-unknown".to_owned(),
                ended => format!("\"outcome\":\"{}\"", ended.as_str()),
            };
            assert!(last.unwrap().contains(&word), "{word}: {last:?}");
        }
        assert_eq!(
            view.outcome,
            match &attempts.last().unwrap().phase {
                Phase::Result(outcome) => Some(outcome.clone()),
                _ => None,
            }
        );
        let told = self.told(id).await;
        let last = &told.last().unwrap()["data"];
        assert_eq!(last["state"], view.state.as_str(), "{told:#?}");
        assert_eq!(last["outcome"], json!(view.outcome), "{told:#?}");
        assert_eq!(last["attempts"], view.attempts);
        let ended = view.state != PaymentState::Unknown && !view.armed;
        assert_eq!(last["ended"], ended, "{told:#?}");
        let twice = told.windows(2).any(|two| two[0]["type"] == two[1]["type"]);
        assert!(!twice, "told twice: {told:#?}");
        if view.state == PaymentState::Unknown {
            assert!(view.advice.contains("Do not charge again"), "{view:?}");
        }
    }

    /// The processor was never sent anything wrong, and has no charge that is not in the journal.
    pub(crate) async fn nothing_is_lost(&self, payments: &[PaymentId]) {
        let mut ours = BTreeSet::new();
        for id in payments {
            self.agree(id).await;
            for attempt in self.journal.attempts(id.clone()).await.unwrap() {
                ours.insert(self.reference(&attempt.id.to_string()));
            }
        }
        let state = self.simulator.state();
        assert_eq!(state.violations, Vec::<String>::new());
        for entry in &state.ledger {
            assert!(ours.contains(&entry.reference), "{entry:?} is nobody's");
            assert_eq!((entry.amount, entry.currency.as_str()), (1250, "EUR"));
        }
    }
}

pub(crate) fn log(data: &Path) -> String {
    let folder = data.join("audit/tenant-acme");
    let mut text = String::new();
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        if file.path().extension().is_some_and(|end| end == "log") {
            text.push_str(&std::fs::read_to_string(file.path()).unwrap());
        }
    }
    text
}

pub(crate) async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, result) in &mut pending {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending
        .into_iter()
        .map(|(_, result)| result.unwrap())
        .collect()
}
