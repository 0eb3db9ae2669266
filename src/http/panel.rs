//! The agent panel: its files, the one-time link in and the way out.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use ulid::Ulid;
use utoipa::IntoParams;

use super::{
    Api,
    auth::{SignedIn, Source, hash, may_try, refuse},
    payments::bad_query,
    problem::{Problem, Slug},
    refusals::Door,
    schema,
};
use crate::{
    journal::{KeyKind, KeyRow},
    proto::{
        audit::{Actor, Event, Record, Success},
        id::KeyId,
    },
};

/// How long a session lasts: a shift.
const SESSION_HOURS: i64 = 12;
/// Longest link secret that is looked at.
const LONGEST_LINK: usize = 200;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EnterQuery {
    /// The link's secret.
    link: String,
}

macro_rules! asset {
    ($name:ident, $path:literal, $id:literal, $file:literal, $type:literal, $summary:literal) => {
        #[utoipa::path(get, path = $path, tag = "panel", operation_id = $id, summary = $summary,
                    security(()), responses((status = OK, body = String, content_type = $type)))]
        pub(super) async fn $name() -> Response {
            const TYPE: HeaderValue = HeaderValue::from_static($type);
            (
                [(header::CONTENT_TYPE, TYPE)],
                include_str!(concat!("panel/", $file)),
            )
                .into_response()
        }
    };
}

asset!(
    page,
    "/",
    "panel",
    "index.html",
    "text/html; charset=utf-8",
    "The agent panel"
);
asset!(
    script,
    "/panel.js",
    "panelScript",
    "panel.js",
    "text/javascript; charset=utf-8",
    "The panel's script"
);
asset!(
    format_script,
    "/format.js",
    "panelFormatScript",
    "format.js",
    "text/javascript; charset=utf-8",
    "The panel's words and numbers"
);
asset!(
    charges_script,
    "/charges.js",
    "panelChargesScript",
    "charges.js",
    "text/javascript; charset=utf-8",
    "What the panel does with charges that stand"
);
asset!(
    style,
    "/panel.css",
    "panelStyle",
    "panel.css",
    "text/css; charset=utf-8",
    "The panel's style"
);
asset!(
    icon,
    "/favicon.svg",
    "panelIcon",
    "favicon.svg",
    "image/svg+xml",
    "The panel's icon"
);

#[utoipa::path(get, path = "/panel/enter", tag = "panel", operation_id = "enterPanel",
    summary = "Enters the panel by a one-time link", security(()), params(EnterQuery),
    responses(
        (status = SEE_OTHER, description = "Entered; the session's cookie is set"),
        (status = OK, body = String, content_type = "text/html; charset=utf-8",
            description = "Entered, from another site: a page that leads on to the panel"),
        (status = NO_CONTENT,
            description = "A look ahead (HEAD or prefetch); the link is not used up"),
        (status = BAD_REQUEST, body = schema::Problem, content_type = "application/problem+json",
            description = "`malformed-query`"),
        (status = UNAUTHORIZED, body = schema::Problem, content_type = "application/problem+json",
            description = "`link-spent`; as a page where the request accepts `text/html`")))]
pub(super) async fn enter(
    State(api): State<Arc<Api>>,
    Source(from): Source,
    method: Method,
    headers: HeaderMap,
    query: Result<Query<EnterQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let get = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    // Chat programs and browsers look ahead at links, and another site's page may name one as an
    // image or a frame; only a page that is being opened uses the link up.
    let opened = matches!(get("sec-fetch-dest"), "" | "document");
    if method == Method::HEAD || get("sec-purpose").contains("prefetch") || !opened {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Query(EnterQuery { link }) =
        query.map_err(|_| bad_query("`link` with the link's secret"))?;
    may_try(&api, from, Door::Key)?;
    let now = Timestamp::now();
    let redeemed = if link.len() <= LONGEST_LINK {
        api.service
            .redeem_key(KeyKind::PanelLink, hash(&link), now)
            .await?
    } else {
        None
    };
    let Some(redeemed) = redeemed else {
        refuse(&api, from, Door::Key, "unknown, used or expired panel link").await;
        return Ok(spent(get("accept").contains("text/html")));
    };
    let secret = secret(&api)?;
    let session = KeyRow {
        id: KeyId::new(
            redeemed.id.tenant().clone(),
            api.node.clone(),
            serial(&api, now)?,
        ),
        kind: KeyKind::PanelSession,
        role: redeemed.role,
        label: redeemed.label,
        agent: redeemed.agent,
        secret_hash: hash(&secret),
        created: now,
        expires: now
            .checked_add(SignedDuration::from_hours(SESSION_HOURS))
            .ok(),
        revoked: None,
    };
    // Ties the session, which is the actor of what follows, to the link it came from.
    let record = Record {
        actor: Actor::Panel {
            id: redeemed.id.clone(),
        },
        origin: from.to_string(),
        success: Success::Success,
        event: Event::SignIn {
            key: session.id.clone(),
        },
    };
    let entry = api
        .service
        .record(Some(redeemed.id.tenant()), record)
        .await?;
    tracing::info!(link = %redeemed.id, session = %session.id, entry, "panel entered");
    api.service.put_key(session).await?;
    let cookie = cookie(&api, &secret, SESSION_HOURS * 3600)?;
    // A Strict cookie is not sent along a redirect that another site began: its navigation has to
    // start anew from a page of ours.
    let straight = matches!(get("sec-fetch-site"), "none" | "same-origin");
    Ok(if straight {
        let to = HeaderValue::from_static("/");
        (
            StatusCode::SEE_OTHER,
            [(header::LOCATION, to), (header::SET_COOKIE, cookie)],
        )
            .into_response()
    } else {
        let page = html(include_str!("panel/entered.html"));
        ([(header::SET_COOKIE, cookie)], page).into_response()
    })
}

#[utoipa::path(post, path = "/panel/leave", tag = "panel", operation_id = "leavePanel",
    summary = "Ends the panel's session", security(("panel_cookie" = [])),
    responses((status = NO_CONTENT, description = "Left")))]
pub(super) async fn leave(
    State(api): State<Arc<Api>>,
    signed_in: SignedIn,
) -> Result<Response, Problem> {
    if signed_in.key.kind != KeyKind::PanelSession {
        return Err(Problem::new(
            Slug::RoleRefused,
            "an API key has no session to leave; to end it, use `tonewall keys revoke`",
        ));
    }
    let id = signed_in.key.id.clone();
    api.service.revoke_key(id.clone(), Timestamp::now()).await?;
    let record = Record {
        actor: signed_in.principal.actor,
        origin: signed_in.principal.origin,
        success: Success::Success,
        event: Event::SignOut { key: id },
    };
    let entry = api
        .service
        .record(Some(&signed_in.principal.tenant), record)
        .await?;
    tracing::info!(entry, "panel left");
    Ok((
        StatusCode::NO_CONTENT,
        [(header::SET_COOKIE, cookie(&api, "", 0)?)],
    )
        .into_response())
}

fn spent(as_page: bool) -> Response {
    if as_page {
        let page = html(include_str!("panel/spent.html"));
        return (StatusCode::UNAUTHORIZED, page).into_response();
    }
    Problem::new(
        Slug::LinkSpent,
        "this link was used, has expired or never was; make a new one with `tonewall keys panel`",
    )
    .into_response()
}

fn html(page: &'static str) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        )],
        page,
    )
}

fn cookie(api: &Api, secret: &str, max_age_seconds: i64) -> Result<HeaderValue, Problem> {
    let secure = if api.is_secure() { "; Secure" } else { "" };
    let name = api.cookie_name();
    let text = format!(
        "{name}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_seconds}{secure}"
    );
    HeaderValue::from_str(&text).map_err(|_| Problem::internal())
}

fn secret(api: &Api) -> Result<String, Problem> {
    let mut random = [0; 32];
    api.random
        .fill(&mut random)
        .map_err(|_| Problem::internal())?;
    Ok(format!("tws_{}", URL_SAFE_NO_PAD.encode(random)))
}

fn serial(api: &Api, now: Timestamp) -> Result<Ulid, Problem> {
    let mut random = [0; 16];
    api.random
        .fill(&mut random)
        .map_err(|_| Problem::internal())?;
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(Ulid::from_parts(milliseconds, u128::from_le_bytes(random)))
}
