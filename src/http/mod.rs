//! The HTTP API with its OpenAPI document, the event stream and the agent panel.
//!
//! Nothing here knows a digit: payments come and go as [`crate::gateway::payments::PaymentView`].
//! Neither bodies nor queries are logged, and what a client sent does not come back where it could
//! hold a card number.

mod auth;
mod body;
mod digits;
mod events;
mod links;
mod notifications;
mod once;
mod openapi;
mod operations;
mod panel;
mod payments;
mod prepared;
mod problem;
mod refusals;
pub mod schema;
mod server;
pub mod service;
mod shadow;

#[cfg(test)]
mod tests;

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State as Shared},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use rustls::crypto::SecureRandom;
use serde::Serialize;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;

pub use operations::OperationRules;
pub use problem::{Problem, Slug};
pub use refusals::{RefusalCounts, Refusals};
pub use server::{Bound, ServeError, Settings, bind, serve};
pub use service::{Gateway, Service};

use crate::{
    listen::Shares,
    proto::{
        capture::CaptureSettings,
        id::{KeyId, Node},
        payment::Abilities,
    },
};

/// The cookie's name where TLS protects it: the prefix binds it to this host and to `Secure`.
const SECURE_COOKIE: &str = "__Host-tonewall";
/// Its name on plain loopback, where a browser would refuse the prefix.
const PLAIN_COOKIE: &str = "tonewall";

/// How long the caller may take, for the panel to show a time-out coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Timeouts {
    /// Until the first key.
    pub first_digit_seconds: u64,
    /// Between keys.
    pub inter_digit_seconds: u64,
    /// For the whole field.
    pub overall_seconds: u64,
}

impl From<&CaptureSettings> for Timeouts {
    fn from(settings: &CaptureSettings) -> Self {
        Self {
            first_digit_seconds: settings.first_digit_timeout.as_secs(),
            inter_digit_seconds: settings.inter_digit_timeout.as_secs(),
            overall_seconds: settings.overall_timeout.as_secs(),
        }
    }
}

/// Tells why the gateway is not ready for new calls, if it is not.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the gateway hands to the API.
#[derive(Clone)]
pub struct State {
    /// Payments, calls, keys and the log.
    pub service: Arc<dyn Service>,
    /// Which node answers.
    pub node: Node,
    /// Whether no real money moves: the panel says so loudly.
    pub sandbox: bool,
    /// What the processor can do besides charging at once.
    pub abilities: Abilities,
    /// How long the caller may take.
    pub timeouts: Timeouts,
    /// Whether every link needs the code that is read out.
    pub always_code: bool,
    /// Who may settle, void and refund.
    pub operations: OperationRules,
    /// Answers `/readyz`.
    pub ready: Ready,
    /// Counts refusals; the metrics read it.
    pub refusals: Arc<Refusals>,
}

/// What every handler sees.
struct Api {
    service: Arc<dyn Service>,
    node: Node,
    sandbox: bool,
    abilities: Abilities,
    timeouts: Timeouts,
    always_code: bool,
    operations: OperationRules,
    ready: Ready,
    refusals: Arc<Refusals>,
    tls: bool,
    /// The origin that browsers see, where it was configured.
    url: Option<String>,
    shutdown: watch::Receiver<bool>,
    heartbeat: Duration,
    /// How long a body may take to arrive.
    body_timeout: Duration,
    /// How long a reader may take nothing.
    stall_timeout: Duration,
    /// Event streams by key: one key must not take all connections.
    streams: Shares<KeyId>,
    /// How soon a browser comes back to a stream that broke off.
    retry: Duration,
    random: &'static dyn SecureRandom,
}

impl Api {
    fn new(state: State, settings: &Settings, tls: bool, shutdown: watch::Receiver<bool>) -> Self {
        Self {
            service: state.service,
            node: state.node,
            sandbox: state.sandbox,
            abilities: state.abilities,
            timeouts: state.timeouts,
            always_code: state.always_code,
            operations: state.operations,
            ready: state.ready,
            refusals: state.refusals,
            tls,
            url: settings.url.clone(),
            shutdown,
            heartbeat: settings.heartbeat,
            body_timeout: settings.body_timeout,
            stall_timeout: settings.stall_timeout,
            streams: Shares::new(settings.connections / 4),
            retry: Duration::from_secs(2),
            random: rustls::crypto::aws_lc_rs::default_provider().secure_random,
        }
    }

    /// Whether browsers reach the panel over TLS, ours or a proxy's.
    fn is_secure(&self) -> bool {
        self.tls
            || self
                .url
                .as_ref()
                .is_some_and(|url| url.starts_with("https:"))
    }

    fn cookie_name(&self) -> &'static str {
        if self.is_secure() {
            SECURE_COOKIE
        } else {
            PLAIN_COOKIE
        }
    }
}

/// The routes with what surrounds them: headers outermost, so that every answer has them.
fn router(api: Arc<Api>, request_timeout: Duration) -> Router {
    let (router, _) = openapi::routes().split_for_parts();
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(move |request, next| {
            in_time(request, next, request_timeout)
        }))
        .layer(CatchPanicLayer::custom(|_: Box<dyn Any + Send>| {
            Problem::internal().into_response()
        }))
        .layer(from_fn_with_state(Arc::clone(&api), with_headers))
        .with_state(api)
}

async fn not_found() -> Problem {
    Problem::new(
        Slug::NotFound,
        "nothing is at this address; /openapi.json lists what there is",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        Slug::MethodNotAllowed,
        "this address takes another method: see the header Allow, or /openapi.json",
    )
}

/// Bounds how long an answer may take to begin; a stream's head comes at once.
async fn in_time(request: Request, next: Next, limit: Duration) -> Response {
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            Problem::new(
                Slug::Overloaded,
                "no answer came in time; GET the payment to see what became of the request",
            )
            .into_response()
        })
}

async fn with_headers(Shared(api): Shared<Arc<Api>>, request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 7] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
    let method = request.method().clone();
    // The pattern, never the path or the query: either may hold what somebody pasted.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = std::time::Instant::now();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        // A picture has a policy of its own, which allows its style and nothing else.
        let has_its_own = name == header::CONTENT_SECURITY_POLICY && headers.contains_key(&name);
        if !has_its_own {
            headers.insert(name, value);
        }
    }
    if api.is_secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    tracing::debug!(
        %method,
        route = route.as_ref().map_or("", MatchedPath::as_str),
        status = response.status().as_u16(),
        micros = began.elapsed().as_micros(),
        "answered"
    );
    response
}
