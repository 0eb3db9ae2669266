//! The listener: TLS with reload, limits and time-outs, and an end that leaves nobody hanging.

use std::{
    future::{Ready, ready},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Extension;
use axum_server::{
    Handle,
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::rt::TokioTimer;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::Layer;

use super::{
    Api, State,
    refusals::source,
    router,
    shares::{Share, Shares},
};

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

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Whether a server can be made of them.
    ///
    /// # Errors
    /// [`ServeError`], which names the file and what is wrong with it.
    pub fn check(&self) -> Result<(), ServeError> {
        tls_config(self).map(|_| ())
    }

    /// The certificate chain and its key.
    ///
    /// # Errors
    /// [`ServeError`], which names the file and what is wrong with it.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ServeError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&read(&self.certificate, "a certificate chain")?)
                .collect::<Result<_, _>>()
                .map_err(|error| pem(&self.certificate, error, "a certificate chain"))?;
        if chain.is_empty() {
            return Err(pem(
                &self.certificate,
                "no certificate",
                "a certificate chain",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key, "one private key")?)
            .map_err(|error| pem(&self.key, error, "one private key"))?;
        Ok((chain, key))
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
    /// A PEM file cannot be used.
    #[error("{path}: {found}; expected {expected} in PEM")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Certificate and key do not make a server.
    #[error("the certificate and the key cannot be used together: {0}")]
    Tls(#[from] rustls::Error),
    /// The listener broke while serving.
    #[error("the API's listener broke: {0}")]
    Broken(io::Error),
}

/// Loads the certificate anew; cheap to clone, for the SIGHUP handler.
#[derive(Clone)]
pub struct Reload {
    files: TlsFiles,
    config: RustlsConfig,
}

impl Reload {
    /// Reads the files again. On an error the old certificate goes on being used; connections that
    /// stand keep theirs.
    pub fn reload(&self) -> Result<(), ServeError> {
        self.config.reload_from_config(tls_config(&self.files)?);
        Ok(())
    }
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
        Some(files) => Some(Reload {
            files: files.clone(),
            config: RustlsConfig::from_config(tls_config(files)?),
        }),
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
                let acceptor = RustlsAcceptor::new(tls.config).acceptor(limit);
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

/// Keeps strangers from taking all of the process's sockets, which calls need, and one of them from
/// keeping all others out.
#[derive(Clone)]
struct Limit {
    all: Arc<Semaphore>,
    sources: Shares<IpAddr>,
    stall_timeout: Duration,
}

/// A connection's place; its end gives it back.
struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_source: Option<Share<IpAddr>>,
}

impl Limit {
    fn new(connections: usize, stall_timeout: Duration) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections)),
            sources: Shares::new(connections / 2),
            stall_timeout,
        }
    }

    fn admit(&self, stream: &TcpStream) -> io::Result<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        let from = source(stream.peer_addr()?);
        // Behind a proxy on this machine everybody has its address.
        let of_source = (!from.is_loopback()).then(|| self.sources.take(from));
        let place = Place {
            _of_all: of_all.map_err(io::Error::other)?,
            _of_source: of_source
                .transpose()
                .map_err(|_| io::Error::other("a source has its share of connections"))?,
        };
        // Keys arrive one by one: what tells of them should not wait for company.
        stream.set_nodelay(true)?;
        // Nobody keeps a connection by not reading from it, or by being gone.
        SockRef::from(stream).set_tcp_user_timeout(Some(self.stall_timeout))?;
        Ok(place)
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = TcpStream;
    type Service = axum::middleware::AddExtension<S, Arc<Place>>;
    type Future = Ready<io::Result<(TcpStream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = self.admit(&stream);
        // The connection's service holds the place.
        ready(admitted.map(|place| (stream, Extension(Arc::new(place)).layer(service))))
    }
}

fn tls_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServeError> {
    let (certificates, key) = files.read()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, ServeError> {
    std::fs::read(path).map_err(|error| pem(path, error, expected))
}

fn pem(path: &Path, found: impl ToString, expected: &'static str) -> ServeError {
    ServeError::Pem {
        path: path.to_owned(),
        found: found.to_string(),
        expected,
    }
}
