//! What the tests of the card plane share: fields in ordinary memory, and a TLS peer that does
//! what a script says. The cards are test cards.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use ulid::Ulid;
use zeroize::Zeroizing;

use super::{
    Charge, Later, Operation, OperationKind, Outcome, Purpose, Token, TokenStore,
    card::{CardView, RequestMemory},
    response::Response,
    sandbox::{Identity, SandboxAddress},
};
use crate::{
    audit_log::{AuditLog, Recorded},
    proto::{
        audit::{Actor, Event, Record, Success},
        card::{Brand, CapturedField, Expiry, FieldRules, Pan, SecurityCode},
        digit::Key,
        field::Field,
        id::{AttemptId, CallId, OperationId, PaymentId},
        secret::{KeySlot, SLOT_BYTES, Sealer, SecretBytes},
    },
};

thread_local! {
    /// A log of the test's own thread, gone with it.
    static LOG: (AuditLog, TempDir) = {
        let directory = tempfile::tempdir().unwrap();
        let node = "n1".parse().unwrap();
        let clock = jiff::Timestamp::now;
        let log = AuditLog::open(directory.path(), node, "test", "none", clock).unwrap();
        (log, directory)
    };
}

/// A proof as the gateway gets it: from a real log.
pub(super) fn recorded() -> Recorded {
    let log = LOG.with(|(log, _)| log.clone());
    let record = Record {
        actor: Actor::Gateway,
        origin: "gateway".to_owned(),
        success: Success::Success,
        event: Event::ChargeSending {
            payment: payment(1),
            attempt: charge(1).attempt,
        },
    };
    // On a thread of its own: this one's runtime must not be entered twice.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(log.record(None, record)).unwrap()
    })
    .join()
    .unwrap()
}

pub(super) fn payment(serial: u64) -> PaymentId {
    PaymentId::new(
        "acme".parse().unwrap(),
        "n1".parse().unwrap(),
        Ulid::from_parts(0, serial.into()),
    )
}

/// The call of [`payment`] `serial`.
pub(super) fn call(serial: u64) -> CallId {
    CallId::new(
        "acme".parse().unwrap(),
        "n1".parse().unwrap(),
        Ulid::from_parts(0, serial.into()),
    )
}

/// The first attempt of [`payment`] `serial`.
pub(super) fn charge(serial: u64) -> Charge {
    Charge {
        payment: payment(serial),
        call: call(serial),
        attempt: AttemptId::new(
            "acme".parse().unwrap(),
            "n1".parse().unwrap(),
            Ulid::from_parts(0, serial.into()),
        ),
        amount_minor: 1250,
        currency: "EUR".to_owned(),
        reference: "INV-1".to_owned(),
        purpose: Purpose::Charge,
    }
}

/// An operation of 2.50 on a charge that the processor knows by `processor_reference`.
pub(super) fn operation(kind: OperationKind, processor_reference: &str) -> Operation {
    Operation {
        id: OperationId::new(
            "acme".parse().unwrap(),
            "n1".parse().unwrap(),
            Ulid::from_parts(0, 7),
        ),
        kind,
        charge: charge(1),
        processor_reference: processor_reference.to_owned(),
        amount_minor: 250,
        settlement_reference: None,
        last4: None,
    }
}

/// An answer in JSON, which does not say when it was made.
pub(super) fn response(status: u16, body: &serde_json::Value) -> Response {
    Response {
        status,
        date: None,
        body: Zeroizing::new(body.to_string().into_bytes()),
    }
}

/// Tokens in ordinary memory, which are not kept when told so.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    pub(super) kept: Arc<Mutex<BTreeMap<String, Token>>>,
    pub(super) refuses: bool,
}

impl TokenStore for Tokens {
    fn ended(&self, _attempt: AttemptId) -> Later<'_, Result<Option<Outcome>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn keep(&self, attempt: AttemptId, token: Token) -> Later<'_, Result<(), String>> {
        Box::pin(async move {
            if self.refuses {
                return Err("the disk is full".to_owned());
            }
            self.kept.lock().unwrap().insert(attempt.to_string(), token);
            Ok(())
        })
    }

    fn kept(&self, attempt: AttemptId) -> Later<'_, Result<Option<Token>, String>> {
        Box::pin(async move { Ok(self.kept.lock().unwrap().get(&attempt.to_string()).cloned()) })
    }
}

/// Slots of ordinary memory, which knows how many are taken.
#[derive(Clone)]
pub(super) struct Memory {
    bytes: usize,
    free: bool,
    taken: Arc<AtomicUsize>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let taken = Arc::default();
        Self {
            bytes,
            free: true,
            taken,
        }
    }

    /// All slots are taken by others.
    pub(super) fn none() -> Self {
        Self {
            free: false,
            ..Self::new(0)
        }
    }

    /// How many slots are not yet dropped, and so not yet wiped.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    fn slot(&self) -> Box<dyn SecretBytes> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        Box::new(Slot {
            bytes: vec![0; self.bytes],
            taken: self.taken.clone(),
        })
    }

    /// A field of a test card.
    pub(super) fn test_card(&self, field: Field) -> CapturedField {
        test_card(self.key_slot(), field)
    }

    /// A field that was keyed into a slot of this memory.
    pub(super) fn field(&self, field: Field, digits: &str) -> CapturedField {
        keyed(self.key_slot(), field, digits)
    }

    fn key_slot(&self) -> KeySlot {
        KeySlot::new(self.slot(), Arc::new(NoSeal), 0)
    }
}

/// A field of a test card, keyed into `slot`.
pub(super) fn test_card(slot: KeySlot, field: Field) -> CapturedField {
    let digits = match field {
        Field::PaymentCardNumber => "4242424242424242",
        Field::ExpirationDate => "1239",
        Field::SecurityCode => "123",
        Field::PostalCode => "1010",
        Field::BankRoutingNumber => "011000015",
        Field::BankAccountNumber => "12345678",
    };
    keyed(slot, field, digits)
}

fn keyed(mut slot: KeySlot, field: Field, digits: &str) -> CapturedField {
    for digit in digits.bytes() {
        let _ = slot.press(Key::from_event(digit - b'0').unwrap());
    }
    let rules = FieldRules {
        accepted_brands: &Brand::ALL,
        pan_brand: None,
        min_postal_code_length: 1,
        // Long ago, so that a card can be past its date by now.
        utc: "2020-01-01T00:00:00Z".parse().unwrap(),
    };
    CapturedField::check(field, slot, &rules).ok().unwrap()
}

/// Memory for keyed fields.
pub(super) fn key_memory() -> Memory {
    Memory::new(SLOT_BYTES)
}

/// Memory for requests, as large as the slab's slots.
pub(super) fn request_memory() -> Memory {
    Memory::new(4096)
}

impl RequestMemory for Memory {
    fn acquire(&self) -> Option<Box<dyn SecretBytes>> {
        self.free.then(|| self.slot())
    }
}

struct Slot {
    bytes: Vec<u8>,
    taken: Arc<AtomicUsize>,
}

impl SecretBytes for Slot {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
    }
}

struct NoSeal;

impl Sealer for NoSeal {
    fn seal(&self, _nonce: [u8; 12], _text: &mut [u8]) -> [u8; 16] {
        [0; 16]
    }
    fn open(&self, _nonce: [u8; 12], _text: &mut [u8], _tag: [u8; 16]) -> bool {
        true
    }
}

/// A card outside any vault.
pub(super) struct TestCard {
    pan: Pan,
    expiry: Expiry,
    code: Option<SecurityCode>,
}

impl TestCard {
    pub(super) fn new(pan: &str, expiry: &str, code: Option<&str>) -> Self {
        let memory = key_memory();
        let CapturedField::Pan(pan) = memory.field(Field::PaymentCardNumber, pan) else {
            panic!("a PAN was asked for")
        };
        let CapturedField::Expiry(expiry) = memory.field(Field::ExpirationDate, expiry) else {
            panic!("an expiry was asked for")
        };
        let code = code.map(|code| match memory.field(Field::SecurityCode, code) {
            CapturedField::SecurityCode(code) => code,
            _ => panic!("a security code was asked for"),
        });
        Self { pan, expiry, code }
    }

    pub(super) fn view<'a>(&'a mut self, memory: &'a Memory) -> CardView<'a> {
        CardView::new(&mut self.pan, &mut self.expiry, self.code.as_mut(), memory)
    }
}

/// A TLS server for one connection. `script` gets what came up to the end of the request, and the
/// connection; what came is also the task's result.
pub(super) async fn peer<F, S>(script: F) -> (SandboxAddress, JoinHandle<Vec<u8>>)
where
    F: FnOnce(TlsStream<TcpStream>) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let identity = Identity::fresh().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = SandboxAddress {
        port: listener.local_addr().unwrap().port(),
        ca_pem: identity.ca_pem,
    };
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(identity.tls);
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return Vec::new();
        };
        let request = read_request(&mut stream).await;
        script(stream).await;
        request
    });
    (address, task)
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        received.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&received);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(length, 0, "the request ended in its head");
            continue;
        };
        let body_length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= body_length || length == 0 {
            return received;
        }
    }
}
