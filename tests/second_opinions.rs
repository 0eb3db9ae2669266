//! What adapters send, held against what others know of a processor's API: `tests/peers/run processors`.
//!
//! The requests are those that the program sends, as the simulator took them; nothing here is a copy.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod processors;

use std::{
    ffi::OsStr,
    fs::File,
    process::Command,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use processors::{
    ADYEN_ACCOUNT, BRAINTREE_ACCOUNT, BRAINTREE_PUBLIC_KEY, Fault, Kind, Processor, Stage,
};
use tempfile::TempDir;
use tonewall::{
    audit_log::{AuditLog, Recorded},
    media::SlotSource,
    processor::{
        Adyen, AdyenSettings, Braintree, BraintreeSettings, CardPlane, CardPlaneSettings, Charge,
        Connection, Deadlines, Later, Mode, Operation, OperationKind, Outcome, Purpose, Secret,
        Stripe, StripeSettings, Token, TokenStore, Trust,
    },
    proto::{
        audit::{Actor, Event, Record, Success},
        card::{Brand, CapturedField, FieldRules},
        digit::Key,
        field::Field,
        id::{AttemptId, OperationId, PaymentId},
    },
    secret_memory::Slab,
};
use ulid::Ulid;

/// The latest token, whose ever it is.
#[derive(Default)]
struct LatestToken(Mutex<Option<Token>>);

impl TokenStore for LatestToken {
    fn ended(&self, _attempt: AttemptId) -> Later<'_, Result<Option<Outcome>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn keep(&self, _attempt: AttemptId, token: Token) -> Later<'_, Result<(), String>> {
        *self.0.lock().unwrap() = Some(token);
        Box::pin(std::future::ready(Ok(())))
    }

    fn kept(&self, _attempt: AttemptId) -> Later<'_, Result<Option<Token>, String>> {
        let token = self.0.lock().unwrap().clone();
        Box::pin(std::future::ready(Ok(token)))
    }
}

/// A card plane over a simulator, with all that a charge needs.
struct Till {
    cards: CardPlane,
    slab: Arc<Slab>,
    audit: AuditLog,
    _data: TempDir,
}

impl Till {
    fn new(cards: impl FnOnce(Arc<Slab>) -> CardPlane) -> Self {
        let data = TempDir::new().unwrap();
        let node = "n1".parse().unwrap();
        let audit = AuditLog::open(data.path(), node, "test", "none", Timestamp::now).unwrap();
        let slab = Arc::new(Slab::map(8, 2, false).unwrap());
        Self {
            cards: cards(slab.clone()),
            slab,
            audit,
            _data: data,
        }
    }

    async fn recorded(&self, charge: &Charge) -> Recorded {
        let record = Record {
            actor: Actor::Gateway,
            origin: "gateway".to_owned(),
            success: Success::Success,
            event: Event::ChargeSending {
                payment: charge.payment.clone(),
                attempt: charge.attempt.clone(),
            },
        };
        self.audit.record(None, record).await.unwrap()
    }

    /// A charge of a card that is keyed, with its security code or without, and what became of it.
    async fn charge(&self, purpose: Purpose, with_code: bool) -> (Charge, Outcome) {
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        let serial = || Ulid::from_datetime(std::time::SystemTime::now());
        let charge = Charge {
            payment: PaymentId::new(tenant, node, serial()),
            call: format!("call_acme_n1_{}", serial()).parse().unwrap(),
            attempt: format!("att_acme_n1_{}", serial()).parse().unwrap(),
            amount_minor: 1250,
            currency: "EUR".to_owned(),
            reference: "INV-1 \"x\"".to_owned(),
            purpose,
        };
        let mut fields = vec![
            (Field::PaymentCardNumber, "4242424242424242"),
            (Field::ExpirationDate, "1239"),
        ];
        if with_code {
            fields.push((Field::SecurityCode, "737"));
        }
        for (field, digits) in fields {
            let mut slot = SlotSource::acquire(&*self.slab).unwrap();
            for digit in digits.bytes() {
                let _ = slot.press(Key::from_event(digit - b'0').unwrap());
            }
            let rules = FieldRules {
                accepted_brands: &Brand::ALL,
                pan_brand: None,
                min_postal_code_length: 1,
                utc: Timestamp::now(),
            };
            let keyed = CapturedField::check(field, slot, &rules).ok().unwrap();
            self.cards.sink().store(&charge.payment, keyed).unwrap();
        }
        let recorded = self.recorded(&charge).await;
        let outcome = self.cards.submit(recorded, charge.clone()).await.unwrap();
        (charge, outcome)
    }

    /// Something that is done with a charge, and what becomes of it; then again by a look-up.
    async fn operate(
        &self,
        (charge, approved): &(Charge, Outcome),
        kind: OperationKind,
        expected: &str,
    ) {
        let Outcome::Approved {
            processor_reference,
            ..
        } = approved
        else {
            panic!("{approved:?}")
        };
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        let serial = Ulid::from_datetime(std::time::SystemTime::now());
        let operation = Operation {
            id: OperationId::new(tenant, node, serial),
            kind,
            charge: charge.clone(),
            processor_reference: processor_reference.clone(),
            amount_minor: charge.amount_minor,
            settlement_reference: None,
            last4: None,
        };
        let recorded = self.recorded(charge).await;
        let outcome = self.cards.operate(recorded, operation.clone()).await;
        assert_eq!(outcome.as_str(), expected, "{kind:?}");
        let found = self.cards.look_up_operation(operation).await;
        assert_eq!(found.as_str(), expected, "{kind:?}");
    }

    /// Each purpose, and each operation of one.
    async fn all(&self, expected: &str) {
        for (purpose, kind) in [
            (Purpose::Charge, OperationKind::Refund),
            (Purpose::Authorise, OperationKind::Settle),
            (Purpose::Authorise, OperationKind::Void),
        ] {
            let charged = self.charge(purpose, true).await;
            self.operate(&charged, kind, expected).await;
        }
        self.charge(Purpose::Charge, false).await;
    }
}

fn connection(simulator: &Processor) -> Connection {
    Connection {
        site: simulator.url().parse().unwrap(),
        trust: Trust {
            roots: Some(simulator.roots()),
            identity: None,
        },
        deadlines: Deadlines::default(),
        mode: Mode::Test,
    }
}

fn till<P: tonewall::processor::Processor + Send + 'static>(adapter: P) -> Till {
    Till::new(|memory| {
        let tokens = Arc::new(LatestToken::default());
        CardPlane::start(CardPlaneSettings::default(), adapter, memory, tokens).unwrap()
    })
}

/// Has a script judge what the simulator was asked, in all the ways that are named.
fn hold(simulator: &Processor, script: &str, against: &OsStr, ways: &[&str]) {
    let asked = {
        let state = simulator.state();
        assert_eq!(state.violations, Vec::<String>::new());
        serde_json::to_string(&state.asked).unwrap()
    };
    let folder = TempDir::new().unwrap();
    let question = folder.path().join("asked.json");
    std::fs::write(&question, asked).unwrap();
    let held = Command::new("python3")
        .arg(format!("tests/peers/processors/{script}"))
        .arg(against)
        .args(ways)
        .stdin(File::open(question).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&held.stdout);
    let wrong = String::from_utf8_lossy(&held.stderr);
    assert!(
        held.status.success() && said.contains("spoilt"),
        "{said}{wrong}"
    );
    print!("{said}");
}

#[tokio::test]
#[ignore = "needs the Python package graphql-core and Braintree's schema: tests/peers/run processors"]
async fn the_documents_that_braintree_is_sent_are_valid_by_its_schema() {
    let schema = std::env::var_os("BRAINTREE_SCHEMA").expect("BRAINTREE_SCHEMA names a file");
    let simulator = Processor::start(Kind::Braintree).await;
    let account = ("EUR".to_owned(), BRAINTREE_ACCOUNT.to_owned());
    let till = till(
        Braintree::new(BraintreeSettings {
            connection: connection(&simulator),
            key: Secret::read(&simulator.key_file()).unwrap(),
            public_key: BRAINTREE_PUBLIC_KEY.to_owned(),
            merchant_accounts: [account].into(),
        })
        .unwrap(),
    );
    till.all("approved").await;
    simulator.will(Stage::Token, Fault::ResetAfter);
    let (charge, outcome) = till.charge(Purpose::Charge, false).await;
    assert_eq!(outcome.as_str(), "unknown");
    assert_eq!(till.cards.look_up(&charge).await.as_str(), "approved");
    let ways = [
        "Authorise",
        "Capture",
        "Charge",
        "Find",
        "Read",
        "Refund",
        "Reverse",
        "Tokenise",
    ];
    hold(&simulator, "documents.py", &schema, &ways);
}

#[tokio::test]
#[ignore = "needs the Python package stripe of the API's version: tests/peers/run processors"]
async fn the_fields_that_stripe_is_sent_are_known_to_its_own_library() {
    let simulator = Processor::start(Kind::Stripe).await;
    let till = till(
        Stripe::new(StripeSettings {
            connection: connection(&simulator),
            key: Secret::read(&simulator.key_file()).unwrap(),
            descriptor: Some("ORDER".to_owned()),
        })
        .unwrap(),
    );
    till.all("approved").await;
    // What is not answered twice is read from the books.
    for (purpose, kind) in [
        (Purpose::Charge, OperationKind::Refund),
        (Purpose::Authorise, OperationKind::Settle),
    ] {
        let charged = till.charge(purpose, true).await;
        simulator.will(Stage::Operation, Fault::Busy503);
        simulator.will(Stage::Operation, Fault::Busy503);
        till.operate(&charged, kind, "unknown").await;
    }
    // What is old is searched for.
    let (charge, _) = till.charge(Purpose::Charge, true).await;
    let old = Charge {
        attempt: format!("att_acme_n1_{}", Ulid::from_parts(1, 1))
            .parse()
            .unwrap(),
        ..charge
    };
    assert_eq!(till.cards.look_up(&old).await.as_str(), "failed");
    let ways = [
        "GET /v1/payment_intents/ID",
        "GET /v1/payment_intents/search",
        "GET /v1/refunds",
        "POST /v1/payment_intents",
        "POST /v1/payment_intents/ID/cancel",
        "POST /v1/payment_intents/ID/capture",
        "POST /v1/payment_methods",
        "POST /v1/refunds",
    ];
    hold(&simulator, "forms.py", OsStr::new("2024-06-20"), &ways);
}

#[tokio::test]
#[ignore = "needs the Python package jsonschema and Adyen's OpenAPI document: tests/peers/run processors"]
async fn the_bodies_that_adyen_is_sent_are_valid_by_its_document() {
    let document = std::env::var_os("ADYEN_DOCUMENT").expect("ADYEN_DOCUMENT names a file");
    let simulator = Processor::start(Kind::Adyen).await;
    let till = till(
        Adyen::new(AdyenSettings {
            connection: connection(&simulator),
            key: Secret::read(&simulator.key_file()).unwrap(),
            merchant_account: ADYEN_ACCOUNT.to_owned(),
        })
        .unwrap(),
    );
    till.all("pending").await;
    let charged = till.charge(Purpose::Charge, true).await;
    till.operate(&charged, OperationKind::Void, "pending").await;
    let ways = [
        "/payments",
        "/payments/{paymentPspReference}/cancels",
        "/payments/{paymentPspReference}/captures",
        "/payments/{paymentPspReference}/refunds",
        "/payments/{paymentPspReference}/reversals",
    ];
    hold(&simulator, "bodies.py", &document, &ways);
}
