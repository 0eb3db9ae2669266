//! `/v1/links`: which call a desktop's payments are for.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    auth::{SignedIn, Source, Taker},
    body,
    problem::{Problem, Slug},
    schema,
};
use crate::{
    gateway::links::{LinkRefusal, Sought},
    journal::KeyKind,
    proto::{
        id::LinkId,
        link::{Confirmation, LinkEnd, LinkError},
    },
};

/// A link's id from the path. What is no id is answered like an id that nothing has.
pub(super) struct LinkPath(LinkId);

impl<S: Send + Sync> FromRequestParts<S> for LinkPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|Path(id)| id.parse().ok())
            .map(Self)
            .ok_or_else(|| LinkRefusal::UnknownLink.into())
    }
}

/// What a payment is to be taken on, as its body names it.
pub(super) enum Target {
    /// A call, by our id or the signalling's.
    Call(String),
    /// What a link has found.
    Link(String),
}

impl Target {
    /// The call. A program knows which call it means; a person in the panel has a link to show it.
    pub(super) fn call(self, api: &Api, by: &SignedIn) -> Result<String, Problem> {
        match self {
            Self::Link(id) => {
                let id = id.parse().map_err(|_| LinkRefusal::UnknownLink)?;
                Ok(api
                    .service
                    .links()
                    .confirmed(&by.principal, &id)?
                    .to_string())
            }
            Self::Call(call) => {
                by.check_linked(api, &call)?;
                Ok(call)
            }
        }
    }
}

impl SignedIn {
    /// Whether this desktop may take payments on the call.
    pub(super) fn check_linked(&self, api: &Api, call: &str) -> Result<(), Problem> {
        if self.key.kind == KeyKind::Api || api.service.links().is_linked(&self.principal, call) {
            return Ok(());
        }
        Err(Problem::new(
            Slug::LinkUnconfirmed,
            "this session has no confirmed link to the call; begin one with POST /v1/links, so that nobody charges the wrong caller",
        ))
    }
}

impl From<LinkRefusal> for Problem {
    fn from(refusal: LinkRefusal) -> Self {
        let (slug, retry) = match &refusal {
            LinkRefusal::UnknownCall => (Slug::UnknownCall, None),
            LinkRefusal::UnknownLink => (Slug::UnknownLink, None),
            LinkRefusal::TooMany => (Slug::Overloaded, None),
            LinkRefusal::Media(_) => (Slug::Overloaded, Some(1)),
            LinkRefusal::Link(error) => match error {
                LinkError::Ended(_) => (Slug::LinkEnded, None),
                LinkError::NotConfirmed => (Slug::LinkUnconfirmed, None),
                LinkError::WrongCode(_) => (Slug::WrongCode, None),
                LinkError::TooSoon(seconds) => (Slug::LinkState, Some(*seconds)),
                LinkError::NoCall
                | LinkError::AgentUnknown
                | LinkError::TooMany(_)
                | LinkError::Confirmed
                | LinkError::NotReading => (Slug::LinkState, None),
            },
        };
        let problem = Self::new(slug, refusal.to_string());
        match retry {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }
}

#[utoipa::path(post, path = "/v1/links", tag = "links", operation_id = "createLink",
    summary = "Looks for the call that a desktop is at",
    description = "By exactly one of `call`, `agent` and `reference`; a panel's session whose link was made \
        for an agent's address looks by that where it names none. `confirmed` once it is sure: where one \
        call fits and a program asks, or a person for the address that the session is of; otherwise by the \
        code. A panel's session has one link: the earlier one ends.",
    request_body = schema::NewLink,
    responses(
        (status = CREATED, body = schema::Link,
            headers(("Location" = String, description = "The link's address"))),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-call`"),
        (status = UNPROCESSABLE_ENTITY, body = schema::Problem, content_type = "application/problem+json",
            description = "`invalid-field`")))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::json_bytes(&headers, body, api.body_timeout).await?;
    let (sought, asks_code) = body::new_link(&bytes, by.key.agent.clone())?;
    let is_own = match &sought {
        Sought::Agent(address) => by.key.agent.as_ref() == Some(address),
        Sought::Call(_) | Sought::Reference(_) => false,
    };
    let is_sure = by.key.kind == KeyKind::Api || is_own;
    let confirmation = if is_sure && !asks_code && !api.always_code {
        Confirmation::Match
    } else {
        Confirmation::Code
    };
    let link = api
        .service
        .links()
        .begin(&by.principal, sought, confirmation)?;
    let location = HeaderValue::from_str(&format!("/v1/links/{}", link.id))
        .map_err(|_| Problem::internal())?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(link),
    )
        .into_response())
}

#[utoipa::path(get, path = "/v1/links/{id}", tag = "links", operation_id = "getLink",
    summary = "Where a link stands",
    params(("id" = String, Path, description = "The link's id")),
    responses((status = OK, body = schema::Link), (status = NOT_FOUND, body = schema::Problem,
        content_type = "application/problem+json", description = "`unknown-link`")))]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    LinkPath(id): LinkPath,
) -> Result<Response, Problem> {
    Ok(Json(api.service.links().get(&by.principal, &id)?).into_response())
}

#[utoipa::path(post, path = "/v1/links/{id}/read-out", tag = "links", operation_id = "readOutCode",
    summary = "Reads a code out to the agent of each call that fits",
    description = "Four digits, twice, in some 6 s. The agent hears them in place of the caller, who hears \
        nothing of them; they are good for a minute. The code of a call is read only while the caller's \
        end sends audio.",
    params(("id" = String, Path, description = "The link's id")),
    responses(
        (status = ACCEPTED, body = schema::Link),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-link`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`link-state`, `link-ended`")))]
pub(super) async fn read_out(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    LinkPath(id): LinkPath,
) -> Result<Response, Problem> {
    let link = api.service.links().read_out(&by.principal, &id)?;
    Ok((StatusCode::ACCEPTED, Json(link)).into_response())
}

#[utoipa::path(post, path = "/v1/links/{id}/confirm", tag = "links", operation_id = "confirmLink",
    summary = "Confirms a link by the code that was read out",
    description = "Three wrong codes end the link, and are on record.",
    params(("id" = String, Path, description = "The link's id")),
    request_body = schema::ReadCode,
    responses(
        (status = OK, body = schema::Link),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-link`"),
        (status = CONFLICT, body = schema::Problem, content_type = "application/problem+json",
            description = "`link-state`, `link-ended`"),
        (status = UNPROCESSABLE_ENTITY, body = schema::Problem, content_type = "application/problem+json",
            description = "`invalid-field`, `wrong-code`")))]
pub(super) async fn confirm(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    Source(from): Source,
    LinkPath(id): LinkPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let code = body::code(&body::json_bytes(&headers, body, api.body_timeout).await?)?;
    match api.service.links().confirm(&by.principal, &id, code) {
        Ok(link) => Ok(Json(link).into_response()),
        Err(refusal) => {
            if let LinkRefusal::Link(LinkError::Ended(end @ LinkEnd::WrongCodes)) = &refusal {
                by.refused_to(&api, from, "confirm a link to a call", &end.to_string())
                    .await;
            }
            Err(refusal.into())
        }
    }
}

#[utoipa::path(delete, path = "/v1/links/{id}", tag = "links", operation_id = "endLink",
    summary = "Ends a link; a payment that was begun on it goes on",
    params(("id" = String, Path, description = "The link's id")),
    responses(
        (status = NO_CONTENT, description = "Ended"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-link`")))]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    LinkPath(id): LinkPath,
) -> Result<Response, Problem> {
    api.service.links().end(&by.principal, &id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
