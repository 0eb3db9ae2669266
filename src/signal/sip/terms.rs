//! On what terms requests are taken, and what those that are made of them say.

use rsipstack::sip::{Headers, Request, Scheme, StatusCode};

use super::{Peer, RETRY_AFTER};
use crate::proto::sip::{
    MIN_SE, SessionExpires, extensions, field, is_global_number, is_sdp, passed_extensions,
    unknown_extensions, user_of, value, values,
};

/// What a request is refused with.
pub(super) type Problem = (StatusCode, Vec<(&'static str, String)>);

/// Whether what a request asks for is known here.
pub(super) fn understood(request: &Request) -> Result<(), Problem> {
    if !matches!(request.uri.scheme, Some(Scheme::Sip | Scheme::Sips))
        && !is_global_number(&request.uri)
    {
        return Err((StatusCode::UnsupportedUriScheme, Vec::new()));
    }
    let unknown = unknown_extensions(&extensions(&request.headers, "Require"));
    if !unknown.is_empty() {
        return Err((
            StatusCode::BadExtension,
            vec![("Unsupported", unknown.join(", "))],
        ));
    }
    Ok(())
}

/// Whether a request that describes a session is one that we can take.
pub(super) fn acceptable(request: &Request) -> Result<(), Problem> {
    understood(request)?;
    let headers = &request.headers;
    if hops_left(request) == Some(0) {
        return Err((StatusCode::TooManyHops, Vec::new()));
    }
    let encoded = value(headers, "Content-Encoding")
        .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if !request.body.is_empty() && (encoded || !is_sdp(headers)) {
        let accept = vec![
            ("Accept", "application/sdp".to_owned()),
            ("Accept-Encoding", "identity".to_owned()),
        ];
        return Err((StatusCode::UnsupportedMediaType, accept));
    }
    let wanted = value(headers, "Session-Expires").and_then(SessionExpires::parse);
    if wanted.is_some_and(|wanted| wanted.seconds < MIN_SE) {
        return Err((
            StatusCode::SessionIntervalTooSmall,
            vec![("Min-SE", MIN_SE.to_string())],
        ));
    }
    Ok(())
}

/// Sends a call on without us, if there is a way.
pub(super) fn past_us(peer: &Peer, request: &Request) -> Problem {
    match peer.bypass {
        Some(address) => {
            let user = user_of(request.uri.clone())
                .map(|user| format!("{user}@"))
                .unwrap_or_default();
            let contact = format!("<sip:{user}{address}>");
            (StatusCode::MovedTemporarily, vec![("Contact", contact)])
        }
        None => (
            StatusCode::ServiceUnavailable,
            vec![("Retry-After", RETRY_AFTER.to_owned())],
        ),
    }
}

fn hops_left(request: &Request) -> Option<u32> {
    value(&request.headers, "Max-Forwards").and_then(|hops| hops.parse().ok())
}

/// One hop fewer than the request that it is made of (RFC 3261 section 16.6, against loops).
pub(super) fn hop(ours: &mut Request, theirs: &Request) {
    let left = hops_left(theirs)
        .unwrap_or(70)
        .saturating_sub(1)
        .to_string();
    ours.headers
        .retain(|h| !h.name().eq_ignore_ascii_case("Max-Forwards"));
    ours.headers.push(field("Max-Forwards", left));
}

/// `Supported` and `Require` of what passes, and the session timer of the leg.
pub(super) fn with_extensions(ours: &mut Request, theirs: &Request, session: Option<u32>) {
    let mut supported = passed_extensions(&extensions(&theirs.headers, "Supported"));
    let required = passed_extensions(&extensions(&theirs.headers, "Require"));
    if let Some(seconds) = session {
        supported.push("timer");
        ours.headers
            .push(field("Session-Expires", seconds.to_string()));
        ours.headers.push(field("Min-SE", MIN_SE.to_string()));
    }
    if !supported.is_empty() {
        ours.headers.push(field("Supported", supported.join(", ")));
    }
    if !required.is_empty() {
        ours.headers.push(field("Require", required.join(", ")));
    }
}

pub(super) fn with_sdp(headers: &mut Headers, body: &mut Vec<u8>, sdp: Option<Vec<u8>>) {
    if let Some(sdp) = sdp {
        headers.push(field("Content-Type", "application/sdp"));
        *body = sdp;
    }
}

pub(super) fn takes_update(headers: &Headers) -> bool {
    values(headers, "Allow")
        .flat_map(|value| value.split(','))
        .any(|method| method.trim().eq_ignore_ascii_case("UPDATE"))
}
