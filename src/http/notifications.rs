//! `/notifications/{processor}`: what processors tell by themselves. They have no key of ours: their signature is
//! what is asked for.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    auth::Source,
    body,
    problem::{Problem, Slug},
    schema,
};
use crate::gateway::notifications::NotTaken;

/// Most bytes of a notification.
const LIMIT: usize = 64 * 1024;
/// What some processors want to read.
const ACCEPTED: &str = "[accepted]";

/// A processor's name from the path.
pub(super) struct ProcessorPath(String);

impl<S: Send + Sync> FromRequestParts<S> for ProcessorPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|_| not_expected())
    }
}

#[utoipa::path(post, path = "/notifications/{processor}", tag = "notifications",
    operation_id = "notify", security(()),
    summary = "For the processor: what it tells by itself of charges, settlements, voids and refunds",
    description = "The body is the processor's own, at most 64 KiB, signed with the key that \
        `[processor.notifications]` names. Answered once all that it tells is durable; what is about nothing of \
        this gateway's is accepted too, and changes nothing.",
    params(("processor" = String, Path, description = "`adyen`, `stripe` or `checkout-com`")),
    responses(
        (status = OK, body = String, content_type = "text/plain", description = "Accepted"),
        (status = UNAUTHORIZED, body = schema::Problem, content_type = "application/problem+json",
            description = "`not-the-processor`"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`not-found`: nothing is expected from this processor"),
        (status = SERVICE_UNAVAILABLE, body = schema::Problem, content_type = "application/problem+json",
            description = "`not-recordable`: it has to be sent again")))]
pub(super) async fn notify(
    State(api): State<Arc<Api>>,
    Source(from): Source,
    ProcessorPath(processor): ProcessorPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::bytes(&headers, body, LIMIT, api.body_timeout).await?;
    match api.service.notified(&processor, &headers, &bytes).await {
        Ok(()) => {
            const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
            Ok(([(header::CONTENT_TYPE, TEXT)], ACCEPTED).into_response())
        }
        Err(NotTaken::NotExpected) => Err(not_expected()),
        Err(NotTaken::Forged(forged)) => {
            let why = forged.to_string();
            api.refusals
                .sign_in_refused(&*api.service, from, &why)
                .await;
            Err(Problem::new(
                Slug::NotTheProcessor,
                format!("{forged}; compare the key with processor.notifications.key_files"),
            ))
        }
        Err(NotTaken::NotRecordable(_)) => Err(Problem::new(
            Slug::NotRecordable,
            "what this tells cannot be recorded now; send it again",
        )),
    }
}

fn not_expected() -> Problem {
    Problem::new(
        Slug::NotFound,
        "no notifications of this processor are expected; see [processor.notifications]",
    )
}
