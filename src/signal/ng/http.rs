//! The same over HTTP, on a listener of its own: `POST /ng-plain`, `POST /ng`, `GET /ping`.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::NgServer;
use crate::proto::ng::{Encoding, split_cookie};

/// Largest body: as large as a datagram may be.
const MAX_BODY_BYTES: usize = 65_535;

impl NgServer {
    /// The routes; serve them with `into_make_service_with_connect_info::<SocketAddr>()`, for
    /// without the peer's address everything is refused.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/ng-plain", post(plain))
            .route("/ng", post(with_cookie))
            .route("/ping", get(|| std::future::ready("pong")))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn_with_state(self.clone(), only_allowed))
            .with_state(self.clone())
    }
}

async fn only_allowed(State(server): State<NgServer>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(peer)) = peer.copied() else {
        return refusal("the peer's address is not known");
    };
    if !server.allows(peer) {
        return refusal("this address is not in the list of NG clients");
    }
    // A page in a browser on this machine reaches loopback too, and always says where it is from.
    if request.headers().contains_key(header::ORIGIN) {
        server.refuse(peer, "the request came from a page in a browser");
        return refusal("NG control is not for pages in a browser");
    }
    next.run(request).await
}

fn refusal(reason: &'static str) -> Response {
    (StatusCode::FORBIDDEN, reason).into_response()
}

async fn plain(
    State(server): State<NgServer>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    // A task of its own: a client that leaves must not stop a request half way.
    let task = tokio::spawn(async move { server.answer(&body, peer).await });
    let Ok((encoding, reply)) = task.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let content_type = match encoding {
        Encoding::Json => "application/json",
        Encoding::Bencode => "application/x-rtpengine-ng",
    };
    respond(content_type, reply.encode(encoding))
}

async fn with_cookie(
    State(server): State<NgServer>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    let task = tokio::spawn(async move {
        let Some((cookie, message)) = split_cookie(&body) else {
            server.drop_without_cookie(peer, body.len());
            return None;
        };
        server.answer_once(cookie, message, peer).await
    });
    match task.await {
        Ok(Some(reply)) => respond("application/x-rtpengine-ng", reply.to_vec()),
        Ok(None) => (
            StatusCode::BAD_REQUEST,
            "expected COOKIE SPACE MESSAGE; POST /ng-plain takes a message without cookie",
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn respond(content_type: &'static str, body: Vec<u8>) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
