//! One request to a processor over one TLS connection of its own.
//!
//! A stock HTTP client copies request bodies into buffers that it never wipes, and TLS libraries
//! buffer what is written before the handshake has finished. So the handshake comes first, the
//! request is composed in secret memory only then, and is written straight to the TLS stream.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use super::{
    Outcome,
    card::{CardView, ComposeError, Composed, Piece},
    client::{Fields, Heading, JSON, lent},
    response::{self, MAX_RESPONSE_BYTES, Response, ResponseError},
    site::Site,
    trust::TrustError,
};
use crate::audit_log::Recorded;

/// How long a connection may wait for its card: less than servers wait for a request.
pub(super) const SPARE_FOR: Duration = Duration::from_secs(15);
/// Most connections that wait for a card.
const MOST_SPARE: usize = 4;

/// More than any request's head takes, in bytes: keys are a few hundred characters at most.
const LONGEST_HEAD: usize = 4096;

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
    site: Site,
    name: ServerName<'static>,
    tls: TlsConnector,
    deadlines: Deadlines,
    /// Connections that were made ahead, the oldest first.
    spare: RefCell<Vec<Spare>>,
}

/// A connection that has seen no request yet.
struct Spare {
    stream: TlsStream<TcpStream>,
    since: Instant,
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
    #[error("no connection to the processor ({0})")]
    Client(String),
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
    #[error("no answer came ({0})")]
    Client(String),
    #[error("the answer cannot be read: {0}")]
    Response(#[from] ResponseError),
}

/// Why there is no endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The name is neither a DNS name nor an address.
    #[error("found host {0:?}; expected a DNS name or an IP address")]
    Host(String),
    /// Certificates or TLS cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The client for requests without a card cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

impl Endpoint {
    pub(super) fn new(
        site: Site,
        tls: ClientConfig,
        deadlines: Deadlines,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            name: ServerName::try_from(site.host().to_owned())
                .map_err(|_| EndpointError::Host(site.host().to_owned()))?,
            site,
            tls: TlsConnector::from(Arc::new(tls)),
            deadlines,
            spare: RefCell::default(),
        })
    }

    /// Connects ahead of a card, so that nobody waits for the handshake. That it cannot is for the
    /// charge to find out.
    pub(super) async fn warm(&self) {
        let waiting = {
            let mut spare = self.spare.borrow_mut();
            spare.retain_mut(Spare::is_usable);
            spare.len()
        };
        if waiting >= MOST_SPARE {
            return;
        }
        match self.connect().await {
            Ok(stream) => self.spare.borrow_mut().push(Spare {
                stream,
                since: Instant::now(),
            }),
            Err(error) => tracing::warn!(%error, "the processor cannot be reached ahead of a card"),
        }
    }

    /// Sends a card. `body` is text with holes.
    pub(super) async fn post_card(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        path: &str,
        heading: Heading<'_>,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let head = |body: &Composed<'_>| self.head(path, heading, body.length());
        self.post_composed(recorded, card, head, body).await
    }

    /// Sends a card as JSON, with fields that are made of the body that holds it: after the handshake, just
    /// before they are sent.
    pub(super) async fn post_signed_card(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        path: &str,
        sign: impl FnOnce(&Composed<'_>) -> Fields,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let head = |body: &Composed<'_>| {
            let fields = sign(body);
            let fields = lent(&fields);
            let heading = Heading {
                media: JSON,
                fields: &fields,
            };
            self.head(path, heading, body.length())
        };
        self.post_composed(recorded, card, head, body).await
    }

    async fn post_composed(
        &self,
        recorded: Recorded,
        card: CardView<'_>,
        head: impl FnOnce(&Composed<'_>) -> Zeroizing<String>,
        body: &[Piece<'_>],
    ) -> Result<Response, ExchangeError> {
        let ends = Instant::now() + self.deadlines.whole;
        let mut stream = match self.take_spare() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let request = card.compose(recorded, head, body).map_err(NotSent::from)?;
        let written = self.write(&mut stream, request.bytes(), ends).await;
        // Wiped here, sent or not: the answer is waited for without it.
        drop(request);
        written?;
        Ok(self.answer(&mut stream, ends).await?)
    }

    /// Sends what holds a key and no card, in parts, by a connection of its own: those that were made ahead
    /// are for cards. What was put together is wiped.
    pub(super) async fn post_secret(
        &self,
        path: &str,
        heading: Heading<'_>,
        body: &[&str],
    ) -> Result<Response, ExchangeError> {
        let ends = Instant::now() + self.deadlines.whole;
        let mut stream = self.connect().await?;
        let length = body.iter().map(|part| part.len()).sum();
        let head = self.head(path, heading, length);
        // As large as it gets, so that no copy is left behind by growing.
        let mut request = Zeroizing::new(Vec::with_capacity(head.len() + length));
        for part in [head.as_str()].iter().chain(body) {
            request.extend_from_slice(part.as_bytes());
        }
        let written = self.write(&mut stream, &request, ends).await;
        drop(request);
        written?;
        Ok(self.answer(&mut stream, ends).await?)
    }

    fn take_spare(&self) -> Option<TlsStream<TcpStream>> {
        let mut spare = self.spare.borrow_mut();
        spare.retain_mut(Spare::is_usable);
        spare.pop().map(|spare| spare.stream)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, NotSent> {
        let connect = TcpStream::connect((self.site.host(), self.site.port()));
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

    fn head(&self, path: &str, heading: Heading<'_>, body_length: usize) -> Zeroizing<String> {
        // Never grown, for a copy would be left behind.
        let mut head = Zeroizing::new(String::with_capacity(LONGEST_HEAD));
        head.push_str("POST ");
        match (self.site.path(), path) {
            ("", "") => head.push('/'),
            (site, path) => {
                head.push_str(site);
                head.push_str(path);
            }
        }
        head.push_str(" HTTP/1.1\r\n");
        let authority = self.site.authority();
        let length = body_length.to_string();
        let own = [
            ("Host", authority.as_str()),
            ("Accept", JSON),
            ("Content-Type", heading.media),
            ("Content-Length", &length),
        ];
        for (name, value) in own.iter().chain(heading.fields) {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
        head
    }
}

impl Spare {
    /// Young enough, and not closed by the other end.
    fn is_usable(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        matches!(read, Poll::Pending) && self.since.elapsed() < SPARE_FOR
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
