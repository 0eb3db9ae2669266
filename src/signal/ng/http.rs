//! The same over HTTP, on listeners of its own: `POST /ng-plain`, `POST /ng`, `GET /ping`, and WebSocket
//! at any path. With TLS only for clients that have a certificate.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::Layer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::debug;

use super::{NgServer, limits::MAX_MESSAGE_BYTES, websocket};
use crate::{
    listen::{Place, Reload},
    proto::ng::{Encoding, split_cookie},
};

impl NgServer {
    /// Serves HTTP and WebSocket on this listener until its task is ended; with certificates HTTPS and
    /// WSS, to clients that have one too.
    pub async fn serve_http(&self, listener: TcpListener, tls: Option<Reload>) {
        let router = self.router();
        self.accept(listener, |stream, peer, place| {
            let (server, router, tls) = (self.clone(), router.clone(), tls.clone());
            async move {
                if let Err(error) = server
                    .serve_connection(stream, peer, place, router, tls)
                    .await
                {
                    debug!(%peer, %error, "NG connection ended");
                }
            }
        })
        .await;
    }

    async fn serve_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        router: Router,
        tls: Option<Reload>,
    ) -> io::Result<()> {
        let Some(tls) = tls else {
            return self.serve_requests(stream, peer, place, router).await;
        };
        let acceptor = TlsAcceptor::from(tls.config().get_inner());
        match timeout(self.shared.limits.message, acceptor.accept(stream)).await? {
            Ok(stream) => self.serve_requests(stream, peer, place, router).await,
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.refuse_certificate(peer);
                }
                Err(error)
            }
        }
    }

    async fn serve_requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        place: Place,
        router: Router,
    ) -> io::Result<()> {
        let service = Extension(ConnectInfo(peer)).layer(Extension(Arc::new(place)).layer(router));
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.shared.limits.message)
            .max_headers(64)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades()
            .await
            .map_err(io::Error::other)
    }

    /// The routes; without the peer's address ([`ConnectInfo`]) everything is refused.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/ng-plain", post(plain).get(websocket::beside_post))
            .route("/ng", post(with_cookie).get(websocket::beside_post))
            .route("/ping", get(|| std::future::ready("pong")))
            .fallback(any(websocket::anywhere))
            .layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
            .layer(RequestBodyTimeoutLayer::new(self.shared.limits.message))
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
    if came_from_a_page(request.headers()) {
        server.refuse_source(peer, "the request came from a page in a browser");
        return refusal("NG control is not for pages in a browser");
    }
    next.run(request).await
}

/// A page in a browser on this machine reaches loopback too, and always says where it is from. The
/// client that Kamailio speaks WebSocket with says the address that it connects to, without a port,
/// where a page would have to be this machine's own; a name in its place could be made to lead here.
fn came_from_a_page(headers: &HeaderMap) -> bool {
    let origins = headers.get_all(header::ORIGIN);
    let address = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| {
            let with_port = host.parse::<SocketAddr>().ok();
            with_port
                .map(|with_port| with_port.ip())
                .or_else(|| address(host))
        });
    let is_websocket = headers.contains_key(header::SEC_WEBSOCKET_KEY);
    origins.iter().any(|origin| {
        let named = origin.to_str().ok().and_then(|origin| {
            let host = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
                .unwrap_or(origin);
            address(host)
        });
        !is_websocket || named.is_none() || named != host
    })
}

fn refusal(reason: &'static str) -> Response {
    (StatusCode::FORBIDDEN, reason).into_response()
}

async fn plain(
    State(server): State<NgServer>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    let work = server.work().await;
    // A task of its own: a client that leaves must not stop a request half way.
    let task = tokio::spawn(async move {
        let answer = server.answer(&body, peer).await;
        drop(work);
        answer
    });
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
    let work = server.work().await;
    let task = tokio::spawn(async move {
        let _work = work;
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
