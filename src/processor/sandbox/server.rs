//! The sandbox's server side: the hidden subcommand.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use zeroize::Zeroize;

use super::{
    SandboxAddress,
    ledger::{DigestKey, Entry, Ledger, Received},
    line::{Cutter, Identity, TlsListener},
    operations,
    test_cards::{Behaviour, behaviour},
};
use crate::secret_memory::forbid_dumps;

/// How long the slow card's answer takes.
const SLOW: Duration = Duration::from_secs(3);
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Arguments of the hidden subcommand.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Shows what was sent at GET /v1/received, as HMACs under this key (hexadecimal)
    #[arg(long, value_name = "HEX")]
    pub digest_key: Option<DigestKey>,
}

/// Serves until standard input ends, which is when the parent is gone. Prints one line of JSON, a
/// [`SandboxAddress`], once it listens.
pub fn serve(arguments: ServeArgs) -> anyhow::Result<()> {
    // Test cards only, but a caller may key a real one all the same.
    forbid_dumps().context("cannot forbid core dumps of the sandbox processor")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let (parent, parent_gone) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("parent-watch".to_owned())
            .spawn(move || {
                // Whatever the parent writes is ignored; that its end closes is what counts.
                let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
                drop(parent);
            })?;

        let server = Server::bind(arguments, SLOW).await?;
        let mut line = serde_json::to_string(&server.address)?;
        line.push('\n');
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush())
            .context("cannot tell the parent where the sandbox listens")?;
        drop(stdout);

        tokio::select! {
            served = server.run() => served,
            _ = parent_gone => Ok(()),
        }
    })
}

/// A sandbox that listens.
pub(in crate::processor) struct Server {
    pub(in crate::processor) address: SandboxAddress,
    listener: TlsListener,
    router: Router,
}

impl Server {
    pub(in crate::processor) async fn bind(
        arguments: ServeArgs,
        slow: Duration,
    ) -> anyhow::Result<Self> {
        let identity = Identity::fresh()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = SandboxAddress {
            port: listener.local_addr()?.port(),
            ca_pem: identity.ca_pem,
        };
        let desk = Desk {
            ledger: Mutex::default(),
            fingerprints: DigestKey::random(),
            digests: arguments.digest_key,
            slow,
        };
        let router = Router::new()
            .route("/v1/charges", post(charge))
            .route("/v1/charges/{reference}", get(look_up))
            .route("/v1/charges/{id}/operations", post(operations::operate))
            .route("/v1/operations/{reference}", get(operations::look_up))
            .route("/v1/received", get(received))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(Arc::new(desk));
        Ok(Self {
            address,
            listener: TlsListener::new(listener, identity.tls)?,
            router,
        })
    }

    pub(in crate::processor) async fn run(self) -> anyhow::Result<()> {
        let service = self.router.into_make_service_with_connect_info::<Cutter>();
        Ok(axum::serve(self.listener, service).await?)
    }
}

/// What the handlers share.
pub(super) struct Desk {
    ledger: Mutex<Ledger>,
    fingerprints: DigestKey,
    digests: Option<DigestKey>,
    slow: Duration,
}

impl Desk {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeRequest {
    reference: String,
    amount: u64,
    currency: String,
    channel: String,
    #[serde(default = "at_once")]
    capture: bool,
    card: CardFields,
}

const fn at_once() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardFields {
    number: String,
    expiry_month: String,
    expiry_year: String,
    security_code: Option<String>,
}

impl Drop for CardFields {
    fn drop(&mut self) {
        self.number.zeroize();
        self.expiry_month.zeroize();
        self.expiry_year.zeroize();
        self.security_code.zeroize();
    }
}

async fn charge(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(line): ConnectInfo<Cutter>,
    body: Bytes,
) -> Response {
    // Never says what was found: serde quotes it, and it may be a card.
    let Ok(request) = serde_json::from_slice::<ChargeRequest>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "invalid_request");
    };
    drop(body);
    if let Err(code) = request.check() {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, code);
    }

    let fingerprint = request.fingerprint(&desk.fingerprints);
    let (entry, behaviour) = {
        let mut ledger = desk.ledger();
        if let Some(entry) = ledger.charges.get(&request.reference) {
            return if entry.fingerprint == fingerprint {
                answer(entry)
            } else {
                refusal(StatusCode::CONFLICT, "reference_reused")
            };
        }
        if let Some(key) = &desk.digests {
            ledger.received.push(request.received(key));
        }
        let behaviour = request.behaviour(jiff::Timestamp::now());
        let (status, code) = match behaviour {
            Behaviour::ProcessingError => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, "processing_error");
            }
            Behaviour::ResetBeforeCommit => return cut(&line),
            Behaviour::Decline(code) => ("declined", code),
            Behaviour::Approve
            | Behaviour::ApproveSlowly
            | Behaviour::ResetAfterCommit
            | Behaviour::ApproveInSilence => ("approved", "approved"),
        };
        let entry = Entry {
            reference: request.reference.clone(),
            status,
            code,
            id: (status == "approved").then(new_id),
            amount: request.amount,
            capture: request.capture,
            fingerprint,
        };
        ledger
            .charges
            .insert(request.reference.clone(), entry.clone());
        (entry, behaviour)
    };
    drop(request);

    match behaviour {
        Behaviour::ApproveSlowly => sleep(desk.slow).await,
        Behaviour::ApproveInSilence => std::future::pending().await,
        Behaviour::ResetAfterCommit => return cut(&line),
        Behaviour::Approve
        | Behaviour::Decline(_)
        | Behaviour::ProcessingError
        | Behaviour::ResetBeforeCommit => {}
    }
    answer(&entry)
}

async fn look_up(State(desk): State<Arc<Desk>>, Path(reference): Path<String>) -> Response {
    std::future::ready(()).await;
    match desk.ledger().charges.get(&reference) {
        Some(entry) => Json(entry).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "no_such_charge"),
    }
}

async fn received(State(desk): State<Arc<Desk>>) -> Response {
    std::future::ready(()).await;
    if desk.digests.is_none() {
        return refusal(StatusCode::NOT_FOUND, "no_digest_key");
    }
    Json(json!({ "received": desk.ledger().received })).into_response()
}

impl ChargeRequest {
    fn check(&self) -> Result<(), &'static str> {
        let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let card = &self.card;
        if self.channel != "moto" {
            Err("channel_must_be_moto")
        } else if self.reference.is_empty() || self.reference.len() > 200 {
            Err("invalid_reference")
        } else if self.amount == 0 {
            Err("invalid_amount")
        } else if self.currency.len() != 3
            || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            Err("invalid_currency")
        } else if !digits(&card.number, 12..=19) {
            Err("invalid_number")
        } else if !digits(&card.expiry_month, 2..=2)
            || !("01"..="12").contains(&card.expiry_month.as_str())
            || !digits(&card.expiry_year, 4..=4)
        {
            Err("invalid_expiry")
        } else if card
            .security_code
            .as_ref()
            .is_some_and(|code| !digits(code, 3..=4))
        {
            Err("invalid_security_code")
        } else {
            Ok(())
        }
    }

    /// What is done. A card is good to the end of its month of expiry.
    fn behaviour(&self, now: jiff::Timestamp) -> Behaviour {
        // Timestamps are written as 2026-11-22T…, so year and month compare as text.
        let this_month = now.to_string();
        let card = &self.card;
        let expiry = (card.expiry_year.as_str(), card.expiry_month.as_str());
        match behaviour(&card.number) {
            Behaviour::Decline("not_a_test_card") => Behaviour::Decline("not_a_test_card"),
            _ if expiry < (&this_month[..4], &this_month[5..7]) => {
                Behaviour::Decline("expired_card")
            }
            found => found,
        }
    }

    fn fingerprint(&self, key: &DigestKey) -> String {
        key.fingerprint(&[
            &self.amount.to_string(),
            &self.currency,
            if self.capture { "capture" } else { "" },
            &self.card.number,
            &self.card.expiry_month,
            &self.card.expiry_year,
            self.card.security_code.as_deref().unwrap_or_default(),
        ])
    }

    fn received(&self, key: &DigestKey) -> Received {
        let mut expiry = format!("{}{}", self.card.expiry_month, &self.card.expiry_year[2..]);
        let received = Received {
            reference: self.reference.clone(),
            amount: self.amount,
            currency: self.currency.clone(),
            pan_hmac: key.digest(&self.card.number),
            expiry_hmac: key.digest(&expiry),
            code_hmac: self
                .card
                .security_code
                .as_deref()
                .map(|code| key.digest(code)),
        };
        expiry.zeroize();
        received
    }
}

fn answer(entry: &Entry) -> Response {
    let status = match entry.status {
        "approved" => StatusCode::OK,
        _ => StatusCode::PAYMENT_REQUIRED,
    };
    (status, Json(entry)).into_response()
}

pub(super) fn refusal(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": { "code": code } }))).into_response()
}

/// Cuts the connection; the response never gets through.
pub(super) fn cut(line: &Cutter) -> Response {
    line.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// A reference of letters only, so that it can never be taken for a card number.
pub(super) fn new_id() -> String {
    let random: [u8; 20] = rand::random();
    let letters = random.map(|byte| char::from(b'a' + byte % 26));
    format!("sbx_{}", letters.iter().collect::<String>())
}
