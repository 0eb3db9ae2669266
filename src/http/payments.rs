//! `/v1`: calls, payments and the session.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use super::{
    Api,
    auth::{SignedIn, Taker},
    body,
    problem::{Problem, Slug},
    schema,
};
use crate::{
    gateway::payments::{NewPayment, PaymentState, PaymentView, Principal},
    journal::Idempotent,
    proto::id::PaymentId,
};

/// Tells that an answer is the kept one of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A payment's id from the path. What is no id is answered like an id that nothing has.
pub(super) struct PaymentPath(pub(super) PaymentId);

impl<S: Send + Sync> FromRequestParts<S> for PaymentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|Path(id)| id.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                Problem::new(
                    Slug::UnknownPayment,
                    "the path holds no id of a payment; GET /v1/payments lists them",
                )
            })
    }
}

/// A call's id from the path, ours or the signalling's.
pub(super) struct CallPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for CallPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| unknown_call())
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only the payments of this call: our id or the signalling's.
    call: Option<String>,
}

#[utoipa::path(get, path = "/v1/session", tag = "session", operation_id = "session",
    summary = "Who this key or cookie is",
    responses((status = OK, body = schema::Session)))]
pub(super) async fn session(
    State(api): State<Arc<Api>>,
    signed_in: SignedIn,
) -> Json<schema::Session> {
    let key = signed_in.key;
    Json(schema::Session {
        tenant: key.id.tenant().to_string(),
        node: api.node.to_string(),
        role: key.role,
        label: key.label,
        agent: key.agent,
        sandbox: api.sandbox,
        expires: key.expires.map(|at| at.to_string()),
        version: env!("CARGO_PKG_VERSION"),
        timeouts: api.timeouts,
    })
}

#[utoipa::path(get, path = "/v1/calls", tag = "calls", operation_id = "listCalls",
    summary = "The calls that are up, newest first",
    responses((status = OK, body = schema::CallList)))]
pub(super) async fn list_calls(State(api): State<Arc<Api>>, Taker(by): Taker) -> Response {
    let calls = api.service.calls(&by.principal.tenant);
    Json(serde_json::json!({ "calls": calls })).into_response()
}

#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls", operation_id = "getCall",
    summary = "One call that is up",
    params(("id" = String, Path, description = "Our id or the signalling's (SIP Call-ID)")),
    responses((status = OK, body = schema::CallView), (status = NOT_FOUND, body = schema::Problem,
        content_type = "application/problem+json", description = "`unknown-call`")))]
pub(super) async fn get_call(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    CallPath(id): CallPath,
) -> Result<Response, Problem> {
    let call = api
        .service
        .call(&by.principal.tenant, &id)
        .ok_or_else(unknown_call)?;
    Ok(Json(call).into_response())
}

#[utoipa::path(get, path = "/v1/payments", tag = "payments", operation_id = "listPayments",
    summary = "The payments, newest first", params(ListQuery),
    responses((status = OK, body = schema::PaymentList)))]
pub(super) async fn list_payments(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| bad_query("`call` once, or nothing"))?;
    let payments = api
        .service
        .payments(&by.principal, query.call.as_deref())
        .await?;
    Ok(Json(serde_json::json!({ "payments": payments })).into_response())
}

#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", operation_id = "getPayment",
    summary = "One payment, also an ended one",
    params(("id" = String, Path, description = "The payment's id")),
    responses((status = OK, body = schema::PaymentView), (status = NOT_FOUND, body = schema::Problem,
        content_type = "application/problem+json", description = "`unknown-payment`")))]
pub(super) async fn get_payment(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
) -> Result<Response, Problem> {
    let payment = api.service.payment(&by.principal, &id).await?;
    Ok(Json(payment).into_response())
}

#[utoipa::path(post, path = "/v1/payments", tag = "payments", operation_id = "createPayment",
    summary = "Starts a payment on a call",
    description = "Answers once the caller's keys can no longer reach the agent. The same \
        Idempotency-Key with the same request is answered alike for 24 hours.",
    params(("Idempotency-Key" = String, Header,
        description = "1 to 255 printable ASCII characters of your choice, new for each payment")),
    request_body = schema::NewPayment,
    responses(
        (status = CREATED, body = schema::PaymentView,
            headers(("Location" = String, description = "The payment's address"),
                ("Idempotency-Replayed" = String, description = "`true` on a kept answer"))),
        (status = BAD_REQUEST, body = schema::Problem, content_type = "application/problem+json",
            description = "`idempotency-key`"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-call`, `unknown-link`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`call-has-payment`, `cannot-arm`, `idempotency-in-progress`, `link-unconfirmed`, \
                `link-ended`"),
        (status = UNPROCESSABLE_ENTITY, body = schema::Problem, content_type = "application/problem+json",
            description = "`invalid-field`, `card-digits`, `wrong-leg`, `caller-unknown`, `idempotency-conflict`"),
        (status = SERVICE_UNAVAILABLE, body = schema::Problem, content_type = "application/problem+json",
            description = "`draining`")))]
pub(super) async fn create_payment(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let bytes = body::json_bytes(&headers, body, api.body_timeout).await?;
    let (target, new) = body::new_payment(&bytes)?;
    let fingerprint = Sha256::new()
        .chain_update(b"POST\n/v1/payments\n")
        .chain_update(&bytes)
        .finalize()
        .into();
    carry_out(async move {
        let tenant = by.principal.tenant.clone();
        let at = Timestamp::now();
        match api.service.idempotency(tenant.clone(), key.clone(), fingerprint, at).await? {
            Idempotent::New => {}
            Idempotent::Replay { status, body } => return Ok(replayed(status, body)),
            Idempotent::InProgress => {
                return Err(Problem::new(
                    Slug::InProgress,
                    "the first request with this Idempotency-Key is still being carried out; send it again in a second",
                )
                .retry_after(1));
            }
            Idempotent::Conflict => {
                return Err(Problem::new(
                    Slug::IdempotencyConflict,
                    "this Idempotency-Key came with another body before; use a new key for a new payment",
                ));
            }
        }
        let created = match target.call(&api, &by) {
            Ok(call) => {
                let new = NewPayment { call, ..new };
                let created = api.service.create(&by.principal, new).await;
                created.map_err(Problem::from)
            }
            Err(problem) => Err(problem),
        };
        let answer = created.as_ref().ok().and_then(|payment| {
            Some((StatusCode::CREATED.as_u16(), serde_json::to_string(payment).ok()?))
        });
        if let Err(error) = api.service.idempotency_answer(tenant, key, answer).await {
            tracing::error!(%error, "the answer to an Idempotency-Key could not be kept");
        }
        let payment = created?;
        let location = HeaderValue::from_str(&format!("/v1/payments/{}", payment.id))
            .map_err(|_| Problem::internal())?;
        Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(payment)).into_response())
    })
    .await
}

#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments",
    operation_id = "captureField",
    summary = "Asks the caller to key a field, closing the one that is open",
    params(("id" = String, Path, description = "The payment's id")),
    request_body = schema::Capture,
    responses(
        (status = ACCEPTED, body = schema::PaymentView),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-payment`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`wrong-state`"),
        (status = UNPROCESSABLE_ENTITY, body = schema::Problem, content_type = "application/problem+json",
            description = "`invalid-field`")))]
pub(super) async fn capture(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let field = body::capture(&body::json_bytes(&headers, body, api.body_timeout).await?)?;
    carry_out(async move {
        let payment = api.service.capture(&by.principal, &id, field).await?;
        Ok((StatusCode::ACCEPTED, Json(payment)).into_response())
    })
    .await
}

#[utoipa::path(post, path = "/v1/payments/{id}/complete", tag = "payments",
    operation_id = "completePayment",
    summary = "Charges the card",
    description = "Answers 200 once the attempt has ended, approved or not: see `outcome`. Answers \
        202 when it is still `submitting` after 30 seconds: follow the events or GET the payment. \
        Safe to send again: a payment is charged at most once at a time and never after an approval.",
    params(("id" = String, Path, description = "The payment's id")),
    responses(
        (status = OK, body = schema::PaymentView),
        (status = ACCEPTED, body = schema::PaymentView, description = "Still submitting"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-payment`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`wrong-state`, `fields-missing`")))]
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
) -> Result<Response, Problem> {
    carry_out(async move {
        let payment = api.service.complete(&by.principal, &id).await?;
        let status = match payment.state {
            PaymentState::Submitting => StatusCode::ACCEPTED,
            PaymentState::Arming
            | PaymentState::Open
            | PaymentState::Capturing
            | PaymentState::Approved
            | PaymentState::Declined
            | PaymentState::Failed
            | PaymentState::Unknown
            | PaymentState::Cancelled => StatusCode::OK,
        };
        Ok((status, Json(payment)).into_response())
    })
    .await
}

#[utoipa::path(post, path = "/v1/payments/{id}/cancel", tag = "payments",
    operation_id = "cancelPayment",
    summary = "Wipes what was keyed and ends the payment",
    params(("id" = String, Path, description = "The payment's id")),
    responses(
        (status = OK, body = schema::PaymentView),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-payment`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`wrong-state`")))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
) -> Result<Response, Problem> {
    carry_out(async move {
        let payment = api.service.cancel(&by.principal, &id).await?;
        Ok(Json(payment).into_response())
    })
    .await
}

/// Runs a change to its end even when the client hangs up: half a payment is worse than an answer
/// that nobody reads.
async fn carry_out(
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_| Err(Problem::internal()))
}

/// The key as the journal keeps it: hashed, for a client may put anything into it.
fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok());
    match key.map(str::trim) {
        Some(key)
            if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            let hex = Sha256::digest(key.as_bytes())
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            Ok(format!("sha256:{hex}"))
        }
        Some(_) => Err(Problem::new(
            Slug::IdempotencyKey,
            "the header Idempotency-Key is empty, too long or holds other characters; expected 1 to 255 printable ASCII characters without spaces, such as a UUID",
        )),
        None => Err(Problem::new(
            Slug::IdempotencyKey,
            "the header Idempotency-Key is missing; send a new one (such as a UUID) with each payment, and the same one when you send a request again",
        )),
    }
}

fn replayed(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (REPLAYED, HeaderValue::from_static("true")),
    ];
    // The kept body names the payment: its address is told again too.
    let location = serde_json::from_str::<PaymentView>(&body)
        .ok()
        .and_then(|payment| HeaderValue::from_str(&format!("/v1/payments/{}", payment.id)).ok());
    let mut response = (status, headers, body).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn unknown_call() -> Problem {
    Problem::new(
        Slug::UnknownCall,
        "no such call is up; GET /v1/calls lists those that are",
    )
}

pub(super) fn bad_query(expected: &str) -> Problem {
    Problem::new(
        Slug::MalformedQuery,
        format!("the query cannot be read; expected {expected}"),
    )
}

/// Asks whether a payment is this principal's.
pub(super) async fn must_exist(api: &Api, by: &Principal, id: &PaymentId) -> Result<(), Problem> {
    Ok(api.service.payment(by, id).await.map(|_| ())?)
}
