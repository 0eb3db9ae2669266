//! One request to a processor over one TLS connection of its own.
//!
//! A stock HTTP client copies request bodies into buffers that it never wipes, and TLS libraries
//! buffer what is written before the handshake has finished. So the handshake comes first, the
//! request is composed in secret memory only then, and is written straight to the TLS stream.

use std::{future::Future, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use super::{
    Outcome,
    card::{CardView, ComposeError, Piece},
    response::{self, MAX_RESPONSE_BYTES, Response, ResponseError},
};
use crate::audit_log::Recorded;

/// How long each step of an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The TCP connection.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// From the request's last byte to the response's first.
    pub first_byte: Duration,
    /// All of it.
    pub whole: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            first_byte: Duration::from_secs(20),
            whole: Duration::from_secs(30),
        }
    }
}

/// Where a processor listens, and how it is known to be the one.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    deadlines: Deadlines,
}

/// Why there is no response. The two kinds are never mixed up: only one is safe to try again.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    /// Not a byte of the request was handed to TLS.
    #[error("nothing was sent: {0}")]
    NotSent(#[from] NotSent),
    /// The request was sent, at least in part.
    #[error("the request was sent, but {0}")]
    NoAnswer(#[from] NoAnswer),
}

/// Why nothing was sent.
#[derive(Debug, Error)]
pub(super) enum NotSent {
    #[error("no connection to the processor ({0})")]
    Connect(io::Error),
    #[error("no connection to the processor within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the TLS handshake failed ({0})")]
    Handshake(io::Error),
    #[error("no TLS handshake within {0:?}")]
    HandshakeTimeout(Duration),
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

/// Why no answer came.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    #[error("writing it broke off ({0})")]
    Write(io::Error),
    #[error("the connection broke before the answer ({0})")]
    Read(io::Error),
    #[error("no answer came within {0:?}")]
    Silence(Duration),
    #[error("the answer was not complete within {0:?} of the start")]
    Overrun(Duration),
    #[error("the answer cannot be read: {0}")]
    Response(#[from] ResponseError),
}

/// Why there is no endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The name is neither a DNS name nor an address.
    #[error("found host {0:?}; expected a DNS name or an IP address")]
    Host(String),
    /// rustls did not take the roots or the provider.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Endpoint {
    /// An endpoint that is known by `roots` alone.
    pub(super) fn new(
        host: &str,
        port: u16,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        deadlines: Deadlines,
    ) -> Result<Self, EndpointError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self {
            name: ServerName::try_from(host.to_owned())
                .map_err(|_| EndpointError::Host(host.to_owned()))?,
            host: host.to_owned(),
            port,
            tls: TlsConnector::from(Arc::new(config)),
            deadlines,
        })
    }

    /// Sends a card. `body` is JSON with holes.
    pub(super) async fn post_card(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        path: &str,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let ends = Instant::now() + self.deadlines.whole;
        let mut stream = self.connect().await?;
        let request = card
            .compose(recorded, |length| self.head("POST", path, length), body)
            .map_err(NotSent::from)?;
        let written = self.write(&mut stream, request.bytes(), ends).await;
        // Wiped here, sent or not: the answer is waited for without it.
        drop(request);
        written?;
        Ok(self.answer(&mut stream, ends).await?)
    }

    /// Asks for something that holds no card.
    pub(super) async fn get(&self, path: &str) -> Result<Response, ExchangeError> {
        let ends = Instant::now() + self.deadlines.whole;
        let mut stream = self.connect().await?;
        let request = self.head("GET", path, 0);
        self.write(&mut stream, request.as_bytes(), ends).await?;
        Ok(self.answer(&mut stream, ends).await?)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, NotSent> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.deadlines.connect, connect)
            .await
            .map_err(|_| NotSent::ConnectTimeout(self.deadlines.connect))?
            .map_err(NotSent::Connect)?;
        // The request is one write; without this its tail could wait for an acknowledgement.
        stream.set_nodelay(true).map_err(NotSent::Connect)?;
        let handshake = self.tls.connect(self.name.clone(), stream);
        tokio::time::timeout(self.deadlines.handshake, handshake)
            .await
            .map_err(|_| NotSent::HandshakeTimeout(self.deadlines.handshake))?
            .map_err(NotSent::Handshake)
    }

    async fn write(
        &self,
        stream: &mut TlsStream<TcpStream>,
        request: &[u8],
        ends: Instant,
    ) -> Result<(), NoAnswer> {
        self.before(ends, async {
            stream.write_all(request).await?;
            stream.flush().await
        })
        .await?
        .map_err(NoAnswer::Write)
    }

    async fn answer(
        &self,
        stream: &mut TlsStream<TcpStream>,
        ends: Instant,
    ) -> Result<Response, NoAnswer> {
        let first_byte = Instant::now() + self.deadlines.first_byte;
        // Never grown, and wiped: a processor might echo what it was sent.
        let mut buffer = Zeroizing::new(vec![0; MAX_RESPONSE_BYTES]);
        let mut filled = 0;
        while filled < buffer.len() {
            let read = stream.read(&mut buffer[filled..]);
            let read = if filled == 0 && first_byte < ends {
                timeout_at(first_byte, read)
                    .await
                    .map_err(|_| NoAnswer::Silence(self.deadlines.first_byte))?
            } else {
                self.before(ends, read).await?
            };
            let length = read.map_err(NoAnswer::Read)?;
            filled += length;
            if let Some(response) = response::parse(&buffer[..filled], length == 0)? {
                return Ok(response);
            }
        }
        Err(ResponseError::TooLarge.into())
    }

    async fn before<T>(&self, ends: Instant, step: impl Future<Output = T>) -> Result<T, NoAnswer> {
        timeout_at(ends, step)
            .await
            .map_err(|_| NoAnswer::Overrun(self.deadlines.whole))
    }

    fn head(&self, method: &str, path: &str, body_length: usize) -> String {
        let (host, port) = (&self.host, self.port);
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\n"
        );
        if body_length > 0 {
            head.push_str("Content-Type: application/json\r\n");
            head.push_str(&format!("Content-Length: {body_length}\r\n"));
        }
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}

impl From<ExchangeError> for Outcome {
    fn from(error: ExchangeError) -> Self {
        let reason = error.to_string();
        match error {
            ExchangeError::NotSent(_) => Self::Failed {
                reason,
                retryable: true,
            },
            ExchangeError::NoAnswer(_) => Self::Unknown { reason },
        }
    }
}

#[cfg(test)]
mod tests;
