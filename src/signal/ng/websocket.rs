//! The same over WebSocket (RFC 6455): a message is a request or its reply. Subprotocols as clients know
//! them: with cookies, and plain.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension,
    body::Bytes,
    extract::{
        ConnectInfo, State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{
    NgServer,
    limits::{MAX_MESSAGE_BYTES, Work},
};
use crate::{listen::Place, proto::ng::split_cookie};

/// Each message begins with its cookie; replies come when they are ready.
const WITH_COOKIE: &str = "ng.rtpengine.com";
/// Without cookies: replies come in the order of the requests.
const PLAIN: &str = "ng-plain.rtpengine.com";

/// Where requests are posted.
pub(super) async fn beside_post(
    server: State<NgServer>,
    peer: ConnectInfo<SocketAddr>,
    place: Option<Extension<Arc<Place>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    upgrade_or(StatusCode::METHOD_NOT_ALLOWED, server, peer, place, upgrade)
}

/// At any other path: clients name one or none.
pub(super) async fn anywhere(
    server: State<NgServer>,
    peer: ConnectInfo<SocketAddr>,
    place: Option<Extension<Arc<Place>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    upgrade_or(StatusCode::NOT_FOUND, server, peer, place, upgrade)
}

/// Answers the request to speak WebSocket on this connection; `otherwise` where it is none.
fn upgrade_or(
    otherwise: StatusCode,
    State(server): State<NgServer>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    place: Option<Extension<Arc<Place>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return otherwise.into_response();
    };
    let upgrade = upgrade
        .protocols([WITH_COOKIE, PLAIN])
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES);
    let cookies = match upgrade.selected_protocol().map(|name| name.as_bytes()) {
        Some(name) if name == WITH_COOKIE.as_bytes() => true,
        Some(name) if name == PLAIN.as_bytes() => false,
        Some(_) | None => {
            return (
                StatusCode::BAD_REQUEST,
                format!("no subprotocol that is known; expected {WITH_COOKIE} or {PLAIN}"),
            )
                .into_response();
        }
    };
    upgrade.on_upgrade(move |socket| async move {
        // The connection's service, which held its place, is over with the upgrade.
        let _place = place;
        server.serve_socket(socket, peer, cookies).await;
    })
}

impl NgServer {
    async fn serve_socket(&self, mut socket: WebSocket, peer: SocketAddr, cookies: bool) {
        let limits = self.shared.limits;
        let pipelined = if cookies { limits.pipelined } else { 1 };
        let (done, mut replies) = mpsc::channel::<(Option<Bytes>, Work)>(pipelined);
        let mut in_work = 0;
        let mut since = Instant::now();
        loop {
            tokio::select! {
                Some((reply, _work)) = replies.recv() => {
                    in_work -= 1;
                    since = Instant::now();
                    if let Some(reply) = reply
                        && !matches!(timeout(limits.stall, socket.send(Message::Binary(reply))).await, Ok(Ok(())))
                    {
                        return;
                    }
                }
                message = timeout_at(since + limits.idle, socket.recv()), if in_work < pipelined => {
                    let message = match message {
                        Ok(Some(Ok(Message::Text(text)))) => Bytes::from(text),
                        Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
                        // The library answers it.
                        Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {
                            since = Instant::now();
                            continue;
                        }
                        Err(_) if in_work > 0 => {
                            since = Instant::now();
                            continue;
                        }
                        Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return,
                    };
                    in_work += 1;
                    since = Instant::now();
                    self.begin_message(message, peer, cookies, done.clone()).await;
                }
            }
        }
    }

    /// As [`Self::begin_one`].
    async fn begin_message(
        &self,
        message: Bytes,
        peer: SocketAddr,
        cookies: bool,
        done: mpsc::Sender<(Option<Bytes>, Work)>,
    ) {
        let work = self.work().await;
        let server = self.clone();
        tokio::spawn(async move {
            let reply = if cookies {
                match split_cookie(&message) {
                    Some((cookie, message)) => {
                        let reply = server.answer_once(cookie, message, peer).await;
                        reply.map(|reply| Bytes::copy_from_slice(&reply))
                    }
                    None => {
                        server.drop_without_cookie(peer, message.len());
                        None
                    }
                }
            } else {
                let (encoding, reply) = server.answer(&message, peer).await;
                Some(reply.encode(encoding).into())
            };
            let _ = done.send((reply, work)).await;
        });
    }
}
