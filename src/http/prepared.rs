//! `/v1/calls/{id}/prepared`: a payment that the agent starts by dialling a code.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{Api, auth::Taker, body, payments::CallPath, problem::Problem, schema};

#[utoipa::path(put, path = "/v1/calls/{id}/prepared", tag = "payments", operation_id = "preparePayment",
    summary = "Has a payment wait until the agent dials its code",
    description = "In place of one that waits already. Nothing is protected or recorded before the agent dials \
        the code, on the agent's own leg; then the payment begins as by `createPayment`, and \
        `payment.created` tells of it. It waits for 15 minutes, not beyond the call, and not beyond a restart.",
    params(("id" = String, Path, description = "Our id or the signalling's (SIP Call-ID)")),
    request_body = schema::PreparedRequest,
    responses(
        (status = OK, body = schema::Prepared),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-call`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`call-has-payment`, `cannot-arm`, `link-unconfirmed`"),
        (status = UNPROCESSABLE_ENTITY, body = schema::Problem, content_type = "application/problem+json",
            description = "`invalid-field`, `card-digits`, `wrong-leg`, `caller-unknown`")))]
pub(super) async fn put_prepared(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    CallPath(id): CallPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::json_bytes(&headers, body, api.body_timeout).await?;
    by.check_linked(&api, &id)?;
    let new = body::prepared(&bytes, id)?;
    let prepared = api.service.prepare(&by.principal, new)?;
    Ok(Json(prepared).into_response())
}

#[utoipa::path(get, path = "/v1/calls/{id}/prepared", tag = "payments", operation_id = "getPreparedPayment",
    summary = "The payment that waits for the agent's code",
    params(("id" = String, Path, description = "Our id or the signalling's (SIP Call-ID)")),
    responses(
        (status = OK, body = schema::Prepared),
        (status = NO_CONTENT, description = "None waits"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-call`")))]
pub(super) async fn get_prepared(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    CallPath(id): CallPath,
) -> Result<Response, Problem> {
    Ok(match api.service.prepared(&by.principal, &id)? {
        Some(prepared) => Json(prepared).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

#[utoipa::path(delete, path = "/v1/calls/{id}/prepared", tag = "payments",
    operation_id = "unpreparePayment", summary = "No payment waits any longer",
    params(("id" = String, Path, description = "Our id or the signalling's (SIP Call-ID)")),
    responses(
        (status = NO_CONTENT, description = "None waits, whether or not one did"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-call`")))]
pub(super) async fn delete_prepared(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    CallPath(id): CallPath,
) -> Result<Response, Problem> {
    api.service.unprepare(&by.principal, &id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
