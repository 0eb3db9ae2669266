//! `/v1/shadow`: what would be heard on each trunk.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    auth::Operator,
    problem::{Problem, Slug},
    schema,
};
use crate::shadow::ShadowReport;

/// A trunk's name from the path.
pub(super) struct TrunkPath(String);

impl<S: Send + Sync> FromRequestParts<S> for TrunkPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| unknown())
    }
}

/// Repeats nothing of the path.
fn unknown() -> Problem {
    Problem::new(
        Slug::UnknownTrunk,
        "no trunk of this name is listened to; GET /v1/shadow lists them, and [shadow] enabled = true in the configuration has them listened to",
    )
}

fn report(api: &Api, by: &Operator, name: &str) -> Result<ShadowReport, Problem> {
    let report = api.service.shadow_report(&by.0.principal.tenant, name);
    report.ok_or_else(unknown)
}

#[utoipa::path(get, path = "/v1/shadow", tag = "shadow", operation_id = "listTrunks",
    summary = "The trunks that shadow mode listens to, by name",
    responses((status = OK, body = schema::TrunkList)))]
pub(super) async fn list_trunks(State(api): State<Arc<Api>>, by: Operator) -> Response {
    let trunks = api.service.shadow_trunks(&by.0.principal.tenant);
    Json(serde_json::json!({ "trunks": trunks })).into_response()
}

#[utoipa::path(get, path = "/v1/shadow/{trunk}", tag = "shadow", operation_id = "getTrunk",
    summary = "What would be heard on a trunk",
    description = "Goes on at the ends of whole periods, by many calls at a time, and holds no key.",
    params(("trunk" = String, Path, description = "The trunk's name, as the list has it")),
    responses((status = OK, body = ShadowReport), (status = NOT_FOUND, body = schema::Problem,
        content_type = "application/problem+json", description = "`unknown-trunk`")))]
pub(super) async fn get_trunk(
    State(api): State<Arc<Api>>,
    by: Operator,
    TrunkPath(name): TrunkPath,
) -> Result<Json<ShadowReport>, Problem> {
    report(&api, &by, &name).map(Json)
}

#[utoipa::path(get, path = "/v1/shadow/{trunk}/picture.svg", tag = "shadow",
    operation_id = "getTrunkPicture", summary = "The same as a picture",
    params(("trunk" = String, Path, description = "The trunk's name, as the list has it")),
    responses((status = OK, body = String, content_type = "image/svg+xml"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-trunk`")))]
pub(super) async fn get_picture(
    State(api): State<Arc<Api>>,
    by: Operator,
    TrunkPath(name): TrunkPath,
) -> Result<Response, Problem> {
    const TYPE: HeaderValue = HeaderValue::from_static("image/svg+xml");
    // Opened by itself, it is a page: its own style, and nothing else.
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
    );
    let headers = [
        (header::CONTENT_TYPE, TYPE),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, report(&api, &by, &name)?.picture()).into_response())
}
