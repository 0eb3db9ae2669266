//! The listener: TLS with reload, limits and time-outs, and an end that leaves nobody hanging.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsAcceptor};
use hyper_util::rt::TokioTimer;
use tokio::sync::watch;

use super::{Api, State, router};
use crate::listen::{Limit, Reload, TlsError, TlsFiles};

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key. Without them only a loopback address is served.
    pub tls: Option<TlsFiles>,
    /// Where browsers find it, such as `https://pay.example.com`, where that is not `listen`: behind
    /// a proxy, or under a name.
    pub url: Option<String>,
    /// How long the head of a request may take, and how long a connection may stand idle.
    pub header_timeout: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub stall_timeout: Duration,
    /// How long a request may take; streams excepted. Longer than a charge may take.
    pub request_timeout: Duration,
    /// How often a comment goes down a stream.
    pub heartbeat: Duration,
    /// Connections at once, half of them from one source (a proxy on this machine excepted); what
    /// comes beyond is closed. One key may have a quarter of them as event streams.
    pub connections: usize,
    /// How long running requests may go on at shutdown.
    pub grace: Duration,
}

impl Settings {
    /// The defaults, at `listen`, without TLS.
    #[must_use]
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            url: None,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(40),
            heartbeat: Duration::from_secs(15),
            connections: 2048,
            grace: Duration::from_secs(35),
        }
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Card payments over a network need TLS.
    #[error(
        "[api] listen = {0} is not a loopback address and there is no TLS; set tls_certificate and tls_key, or listen on 127.0.0.1 behind a proxy on this machine"
    )]
    PlainHttp(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}; is another process there?")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The certificate cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The listener broke while serving.
    #[error("the API's listener broke: {0}")]
    Broken(io::Error),
}

/// A listener that is bound but does not answer yet.
pub struct Bound {
    settings: Settings,
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<Reload>,
}

/// Binds the address and reads the certificate, so that a start fails early and with a reason.
pub fn bind(settings: Settings) -> Result<Bound, ServeError> {
    if settings.tls.is_none() && !settings.listen.ip().to_canonical().is_loopback() {
        return Err(ServeError::PlainHttp(settings.listen));
    }
    let tls = match &settings.tls {
        Some(files) => Some(Reload::load(files.clone())?),
        None => None,
    };
    let failed = |cause| ServeError::Listen {
        address: settings.listen,
        cause,
    };
    let listener = std::net::TcpListener::bind(settings.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound {
        settings,
        listener,
        address,
        tls,
    })
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a SIGHUP reloads; `None` without TLS.
    #[must_use]
    pub fn reload(&self) -> Option<Reload> {
        self.tls.clone()
    }

    /// `http://…` or `https://…`, for people.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers until `shutdown` is done; then ends the streams, lets running requests finish within
    /// the grace, and returns.
    pub async fn serve(
        self,
        state: State,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let (down, watch) = watch::channel(false);
        let api = Arc::new(Api::new(state, &self.settings, self.tls.is_some(), watch));
        let service = router(api, self.settings.request_timeout)
            .into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let ending = handle.clone();
        let grace = self.settings.grace;
        let ender = tokio::spawn(async move {
            shutdown.await;
            // Nobody watches any more when every stream has ended already.
            let _ = down.send(true);
            ending.graceful_shutdown(Some(grace));
        });
        let mut server = axum_server::from_tcp(self.listener).map_err(ServeError::Broken)?;
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_timeout)
            .max_headers(64)
            .max_buf_size(32 * 1024);
        let limit = Limit::new(self.settings.connections, self.settings.stall_timeout);
        // HTTP/1.1 only, said last: `acceptor` forgets it, and a silent connection would then wait for
        // a protocol's first byte without a time-out.
        let served = match self.tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls.config()).acceptor(limit);
                server
                    .acceptor(acceptor)
                    .http1_only()
                    .handle(handle)
                    .serve(service)
                    .await
            }
            None => {
                server
                    .acceptor(limit)
                    .http1_only()
                    .handle(handle)
                    .serve(service)
                    .await
            }
        };
        ender.abort();
        served.map_err(ServeError::Broken)
    }
}

/// Binds and answers until `shutdown` is done.
pub async fn serve(
    settings: Settings,
    state: State,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    bind(settings)?.serve(state, shutdown).await
}
