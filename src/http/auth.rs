//! Who asks: a bearer API key, or the panel's cookie; and what that role may do.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath},
    http::{HeaderMap, Method, header, request::Parts},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    Api,
    problem::{Problem, Slug},
    refusals::Door,
};
use crate::{
    gateway::payments::Principal,
    journal::{KeyKind, KeyRow, Role},
    proto::audit::Actor,
};

/// Longest secret that is looked at; ours are far shorter.
const LONGEST_SECRET: usize = 200;

/// Somebody whose secret is live.
pub(super) struct SignedIn {
    pub(super) principal: Principal,
    pub(super) key: KeyRow,
}

/// Somebody who may see and take payments.
pub(super) struct Taker(pub(super) SignedIn);

/// Somebody who runs the gateway: may see what shadow mode heard.
pub(super) struct Operator(pub(super) SignedIn);

/// Where the request comes from.
pub(super) struct Source(pub(super) SocketAddr);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let connection = ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await;
        connection
            .map(|ConnectInfo(from)| Self(from))
            .map_err(|_| Problem::internal())
    }
}

impl FromRequestParts<Arc<Api>> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Source(from) = Source::from_request_parts(parts, api).await?;
        let (door, kind, secret) = if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            (
                Door::Key,
                KeyKind::Api,
                bearer(value.to_str().unwrap_or_default())?,
            )
        } else if let Some(cookie) = cookie(&parts.headers, api.cookie_name()) {
            (Door::Session, KeyKind::PanelSession, cookie)
        } else {
            return Err(not_signed_in());
        };
        let key = live_key(api, from, door, kind, secret).await?;
        let actor = match kind {
            KeyKind::Api => Actor::Key { id: key.id.clone() },
            KeyKind::PanelLink | KeyKind::PanelSession => Actor::Panel { id: key.id.clone() },
        };
        let signed_in = Self {
            principal: Principal {
                tenant: key.id.tenant().clone(),
                actor,
                origin: from.to_string(),
            },
            key,
        };
        if kind == KeyKind::PanelSession
            && let Err(reason) = made_by_panel(&parts.method, &parts.headers, api)
        {
            signed_in.refused(api, from, parts, reason).await;
            return Err(Problem::new(Slug::CrossSite, reason));
        }
        Ok(signed_in)
    }
}

impl FromRequestParts<Arc<Api>> for Taker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let signed_in = SignedIn::from_request_parts(parts, api).await?;
        let why = match signed_in.key.role {
            Role::Agent | Role::Supervisor | Role::Integration => return Ok(Self(signed_in)),
            Role::Auditor => {
                "an auditor's key reads the compliance log and sees no captures; use an agent's or an integration's key"
            }
            Role::Administrator => {
                "an administrator's key manages keys and configuration and sees no captures; use an agent's or an integration's key"
            }
        };
        let Source(from) = Source::from_request_parts(parts, api).await?;
        signed_in.refused(api, from, parts, why).await;
        Err(Problem::new(Slug::RoleRefused, why))
    }
}

impl FromRequestParts<Arc<Api>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let signed_in = SignedIn::from_request_parts(parts, api).await?;
        match signed_in.key.role {
            Role::Administrator | Role::Auditor | Role::Integration => Ok(Self(signed_in)),
            Role::Agent | Role::Supervisor => {
                let why = "an agent's or a supervisor's key takes payments and sees no reports on trunks; use an administrator's, an auditor's or an integration's key";
                let Source(from) = Source::from_request_parts(parts, api).await?;
                signed_in.refused(api, from, parts, why).await;
                Err(Problem::new(Slug::RoleRefused, why))
            }
        }
    }
}

impl SignedIn {
    /// Puts on record that this was refused.
    pub(super) async fn refused_to(&self, api: &Api, from: SocketAddr, action: &str, reason: &str) {
        let Principal { tenant, actor, .. } = &self.principal;
        api.refusals
            .access_refused(&*api.service, tenant, actor.clone(), from, action, reason)
            .await;
    }

    async fn refused(&self, api: &Api, from: SocketAddr, parts: &Parts, reason: &str) {
        let path = parts
            .extensions
            .get::<MatchedPath>()
            .map_or("", MatchedPath::as_str);
        let action = format!("{} {path}", parts.method);
        self.refused_to(api, from, &action, reason).await;
    }

    /// Whether the secret still opens the door: a stream asks again and again.
    pub(super) async fn still_live(&self, api: &Api) -> bool {
        let row = api
            .service
            .key_by_hash(self.key.kind, self.key.secret_hash, Timestamp::now())
            .await;
        matches!(row, Ok(Some(_)))
    }
}

async fn live_key(
    api: &Api,
    from: SocketAddr,
    door: Door,
    kind: KeyKind,
    secret: &str,
) -> Result<KeyRow, Problem> {
    let hash = hash(secret);
    // Whoever shares an address with somebody who guesses (behind a proxy all do) goes on working.
    if !api.refusals.has_opened(&hash) {
        may_try(api, from, door)?;
    }
    if secret.len() <= LONGEST_SECRET {
        let row = api
            .service
            .key_by_hash(kind, hash, Timestamp::now())
            .await?;
        if let Some(row) = row {
            api.refusals.opened(hash);
            return Ok(row);
        }
    }
    api.refusals.opens_no_more(&hash);
    let what = match kind {
        KeyKind::Api => "unknown, expired or revoked API key",
        KeyKind::PanelLink => "unknown, used or expired panel link",
        KeyKind::PanelSession => "unknown, expired or closed panel session",
    };
    refuse(api, from, door, what).await;
    Err(match kind {
        KeyKind::Api => Problem::new(
            Slug::NotSignedIn,
            "this API key is unknown, expired or revoked; make one with `tonewall keys`",
        ),
        KeyKind::PanelLink | KeyKind::PanelSession => Problem::new(
            Slug::NotSignedIn,
            "this session has ended; enter by a new link from `tonewall keys panel`",
        ),
    })
}

/// Turns a source away that failed too often, before its secret is looked at.
pub(super) fn may_try(api: &Api, from: SocketAddr, door: Door) -> Result<(), Problem> {
    api.refusals
        .may_try(from, door, Instant::now())
        .map_err(|seconds| {
            Problem::new(
                Slug::TooManyAttempts,
                format!(
                    "too many failed attempts from your address; wait {seconds} s and check the key"
                ),
            )
            .retry_after(seconds)
        })
}

/// Counts, limits and audits a secret that opens nothing.
pub(super) async fn refuse(api: &Api, from: SocketAddr, door: Door, reason: &str) {
    api.refusals.failed(from, door, Instant::now());
    api.refusals
        .sign_in_refused(&*api.service, from, reason)
        .await;
}

/// SHA-256 of a secret. Plain hashing is enough: secrets hold 256 random bits.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn not_signed_in() -> Problem {
    Problem::new(
        Slug::NotSignedIn,
        "no credentials; send `Authorization: Bearer tw_...`, or enter the panel by a link from `tonewall keys panel`",
    )
}

fn bearer(value: &str) -> Result<&str, Problem> {
    match value.split_once(' ') {
        Some((scheme, secret))
            if scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty() =>
        {
            Ok(secret.trim())
        }
        _ => Err(Problem::new(
            Slug::NotSignedIn,
            "the header Authorization cannot be read; send `Authorization: Bearer tw_...`",
        )),
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// A browser sends the cookie whoever made the request; these headers tell who did (the header
/// `X-Tonewall` cannot be set across origins without a preflight, which is never granted).
fn made_by_panel(method: &Method, headers: &HeaderMap, api: &Api) -> Result<(), &'static str> {
    let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = get("sec-fetch-site");
    let same_origin = site == Some("same-origin");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(
            "the browser says that another site made this request; use the panel's own page",
        );
    }
    if method.is_safe() {
        return Ok(());
    }
    if get("x-tonewall") != Some("panel") {
        return Err(
            "a change with the panel's cookie needs the header `X-Tonewall: panel`; programs use an API key instead",
        );
    }
    match get("origin") {
        Some(origin) if is_own(origin, get("host"), same_origin, api) => Ok(()),
        None if same_origin => Ok(()),
        Some(_) => Err(
            "the header Origin names another site; use the panel's own page, and behind a proxy set api.url to its address",
        ),
        None => Err(
            "neither Origin nor Sec-Fetch-Site tells that the panel made this request; use a current browser",
        ),
    }
}

/// Whether an origin is this listener's: as configured, or as the request was addressed. Which
/// scheme a proxy before us speaks is not known here: where the browser says "same origin", TLS is.
fn is_own(origin: &str, host: Option<&str>, same_origin: bool, api: &Api) -> bool {
    let own = if api.tls { "https" } else { "http" };
    api.url.as_deref() == Some(origin)
        || origin.split_once("://").is_some_and(|(scheme, authority)| {
            host == Some(authority) && (scheme == own || same_origin && scheme == "https")
        })
}
