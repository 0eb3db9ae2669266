//! `/v1`: calls, payments and the session.

use std::{str::FromStr, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Api,
    auth::{SignedIn, Source, Taker},
    body,
    once::{Once, carry_out},
    problem::{Problem, Slug},
    schema,
};
use crate::{
    gateway::payments::{MOST_LISTED, NewPayment, PaymentError, PaymentState, Principal},
    journal::PaymentFilter,
    proto::{card::Last4, id::PaymentId, payment::OperationKind},
};

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
    /// Only those in this state.
    #[param(value_type = Option<schema::PaymentState>)]
    state: Option<String>,
    /// Only those with exactly this reference of yours.
    reference: Option<String>,
    /// Only those whose card ends so: four digits.
    last4: Option<String>,
    /// Only those created then (RFC 3339) or later.
    since: Option<String>,
    /// Only those created before.
    until: Option<String>,
    /// Only those older than this payment: the last of a list leads to the next one.
    before: Option<String>,
    /// At most so many, 1 to 200; 200 where left out.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<PaymentFilter, Problem> {
        fn read<T: FromStr>(text: Option<&String>, expected: &str) -> Result<Option<T>, Problem> {
            text.map(|text| text.parse().map_err(|_| bad_query(expected)))
                .transpose()
        }
        let state = self.state.as_ref().map(|word| {
            PaymentState::from_word(word)
                .ok_or_else(|| bad_query("`state` as a payment's state, such as `approved`"))
        });
        let last4 = self
            .last4
            .clone()
            .map(|text| Last4::try_from(text).map_err(|_| bad_query("`last4` as four digits")));
        let limit = read(self.limit.as_ref(), "`limit` from 1 to 200")?;
        if limit.is_some_and(|limit| !(1..=MOST_LISTED).contains(&limit)) {
            return Err(bad_query("`limit` from 1 to 200"));
        }
        let time = "a time such as 2026-11-23T09:00:00Z";
        Ok(PaymentFilter {
            call: None,
            state: state.transpose()?,
            reference: self.reference.clone(),
            last4: last4.transpose()?,
            since: read(self.since.as_ref(), &format!("`since` as {time}"))?,
            until: read(self.until.as_ref(), &format!("`until` as {time}"))?,
            before: read(self.before.as_ref(), "`before` as a payment's id")?,
            limit: limit.unwrap_or(MOST_LISTED),
        })
    }
}

#[utoipa::path(get, path = "/v1/session", tag = "session", operation_id = "session",
    summary = "Who this key or cookie is",
    responses((status = OK, body = schema::Session)))]
pub(super) async fn session(
    State(api): State<Arc<Api>>,
    signed_in: SignedIn,
) -> Json<schema::Session> {
    let key = signed_in.key;
    let operations = OperationKind::ALL.into_iter();
    let operations = operations.filter(|kind| api.operations.may(key.role, *kind));
    Json(schema::Session {
        operations: operations.collect(),
        abilities: api.abilities,
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
    let Query(query) = query.map_err(|_| bad_query("each name once at most"))?;
    let filter = query.filter()?;
    let payments = api
        .service
        .payments(&by.principal, query.call.as_deref(), filter)
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
    let bytes = body::json_bytes(&headers, body, api.body_timeout).await?;
    let (target, new) = body::new_payment(&bytes)?;
    let once = Once::of(&headers, &by.principal, "/v1/payments", &bytes)?;
    let work = {
        let api = api.clone();
        async move {
            let call = target.call(&api, &by)?;
            let new = NewPayment { call, ..new };
            let payment = api.service.create(&by.principal, new).await?;
            Ok((StatusCode::CREATED, payment))
        }
    };
    once.carry_out(api, work).await
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
            description = "`wrong-state`, `fields-missing`"),
        (status = TOO_MANY_REQUESTS, body = schema::Problem, content_type = "application/problem+json",
            description = "`too-many-charges` on this call, or with this key (then with Retry-After)")))]
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Source(from): Source,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
) -> Result<Response, Problem> {
    carry_out(async move {
        let payment = match api.service.complete(&by.principal, &id).await {
            Ok(payment) => payment,
            Err(error) => {
                if let PaymentError::TooMany(why) = &error {
                    let action = "POST /v1/payments/{id}/complete";
                    by.refused_to(&api, from, action, &why.to_string()).await;
                }
                return Err(error.into());
            }
        };
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
