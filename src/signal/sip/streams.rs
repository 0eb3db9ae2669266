//! SIP over TCP and TLS. Messages are framed here, so that each is screened as a whole before the stack
//! has it; to the stack a connection is a queue.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rsipstack::{
    platform::{CancellationToken, mpsc},
    sip::{Method, SipMessage, StatusCode},
    transport::{SipAddr, SipConnection, TransportEvent, channel::ChannelConnection},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Peer, SipTransport,
    screen::{Judgement, Screen},
    tls::Tls,
    transactions::tag,
};
use crate::{
    listen::Shares,
    proto::sip::{Framed, MAX_BODY_BYTES, MAX_HEAD_BYTES, bare_response, frame, refusal, value},
};

/// Messages that may wait for a connection that takes nothing.
const WAITING: usize = 256;
/// Connections that one address may have, and all together.
const MOST_OF_SOURCE: usize = 16;
const MOST: usize = 1_024;
/// How long a connection may bring nothing.
const IDLE: Duration = Duration::from_secs(900);
/// How long a message, a handshake or a write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether too much waits for a connection that takes nothing.
const STALL: Duration = Duration::from_millis(50);
/// How long a peer may take to accept a connection.
const DIAL: Duration = Duration::from_secs(3);
/// How much is read at a time.
const CHUNK: usize = 8_192;
/// What is not whole is never longer.
const LONGEST: usize = MAX_HEAD_BYTES + 4 + MAX_BODY_BYTES + CHUNK;

/// Connections over one transport.
pub(super) struct Streams {
    transport: SipTransport,
    tls: Option<Tls>,
    screen: Arc<Screen>,
    /// Where the stack takes messages from.
    stack: mpsc::UnboundedSender<TransportEvent>,
    places: Arc<Semaphore>,
    of_source: Shares<IpAddr>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Streams {
    pub(super) fn new(
        transport: SipTransport,
        tls: Option<Tls>,
        screen: Arc<Screen>,
        stack: mpsc::UnboundedSender<TransportEvent>,
    ) -> Self {
        Self {
            transport,
            tls,
            screen,
            stack,
            places: Arc::new(Semaphore::new(MOST)),
            of_source: Shares::new(MOST_OF_SOURCE),
        }
    }

    /// Takes connections until the process ends.
    pub(super) async fn take_all(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, source) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "no SIP connection can be taken");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(name) = self.screen.name_at(self.transport, source.ip()) else {
                debug!(%source, "SIP connection of a stranger closed");
                continue;
            };
            let places = Arc::clone(&self.places).try_acquire_owned();
            let (Ok(place), Ok(share)) = (places, self.of_source.take(source.ip())) else {
                self.screen.counts().limited.fetch_add(1, Ordering::Relaxed);
                debug!(%source, "one SIP connection too many closed");
                continue;
            };
            let streams = Arc::clone(&self);
            tokio::spawn(async move {
                streams.take(stream, source, &name).await;
                drop((place, share));
            });
        }
    }

    async fn take(&self, stream: TcpStream, source: SocketAddr, name: &ServerName<'static>) {
        // The connection is as good without.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => match timeout(PATIENCE, tls.accept(stream, name)).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => {
                    self.screen.counts().source.fetch_add(1, Ordering::Relaxed);
                    warn!(%source, %error, "a SIP connection with no certificate of its peer closed");
                    return;
                }
                Err(_) => return,
            },
        };
        let Ok((connection, mut outgoing)) = self.queue(source).await else {
            return;
        };
        self.serve(stream, source, &connection, None, &mut outgoing)
            .await;
        if let Some(token) = connection.cancel_token() {
            token.cancel();
        }
    }

    /// The connection to a peer: it is made when something is to be sent, and again when it was lost.
    pub(super) async fn to(self: Arc<Self>, peer: &Peer) -> rsipstack::Result<SipConnection> {
        let (connection, outgoing) = self.queue(peer.address).await?;
        let (address, name) = (peer.address, peer.certificate_name.clone());
        tokio::spawn(self.keep(address, name, connection.clone(), outgoing));
        Ok(connection)
    }

    async fn keep(
        self: Arc<Self>,
        address: SocketAddr,
        name: ServerName<'static>,
        connection: SipConnection,
        mut outgoing: mpsc::UnboundedReceiver<TransportEvent>,
    ) {
        let mut failed = VecDeque::with_capacity(WAITING);
        while let Some(event) = outgoing.recv().await {
            let TransportEvent::Incoming(first, ..) = event else {
                continue;
            };
            if failed.contains(&hop_of(&first)) {
                // The ACK of what was answered here.
                continue;
            }
            match self.dial(address, &name).await {
                Ok(stream) => {
                    self.serve(stream, address, &connection, Some(first), &mut outgoing)
                        .await;
                }
                Err(error) => {
                    warn!(peer = %address, %error, "no SIP connection can be made");
                    let mut next = Some(first);
                    while let Some(message) = next {
                        if failed.len() == WAITING {
                            failed.pop_front();
                        }
                        failed.push_back(hop_of(&message));
                        self.fail(&connection, address, message);
                        next = match outgoing.try_recv() {
                            Ok(TransportEvent::Incoming(message, ..)) => Some(message),
                            _ => None,
                        };
                    }
                }
            }
        }
    }

    async fn dial(
        &self,
        address: SocketAddr,
        name: &ServerName<'static>,
    ) -> io::Result<Box<dyn Stream>> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = timeout(DIAL, TcpStream::connect(address)).await;
        let stream = stream.map_err(late)??;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let stream = timeout(PATIENCE, tls.connect(stream, name)).await;
                Box::new(stream.map_err(late)??)
            }
        })
    }

    /// What could not be sent is answered as RFC 3261 section 8.1.3.1 has it.
    fn fail(&self, connection: &SipConnection, to: SocketAddr, message: SipMessage) {
        if let SipMessage::Request(request) = message
            && request.method != Method::Ack
        {
            let response = bare_response(&request, StatusCode::ServiceUnavailable, &tag());
            self.hand_in(response.into(), connection, to);
        }
    }

    fn hand_in(&self, message: SipMessage, connection: &SipConnection, from: SocketAddr) {
        let from = self.address(from);
        // A stack that has ended needs nothing.
        let _ = self
            .stack
            .send(TransportEvent::Incoming(message, connection.clone(), from));
    }

    fn address(&self, address: SocketAddr) -> SipAddr {
        SipAddr::new(self.transport.into(), address.into())
    }

    /// What the stack takes for a connection, and what it sends there.
    async fn queue(
        &self,
        with: SocketAddr,
    ) -> rsipstack::Result<(SipConnection, mpsc::UnboundedReceiver<TransportEvent>)> {
        // The stack has one task for all connections, which must not wait for one of them.
        let (sender, outgoing) = mpsc::unbounded_channel();
        // What comes is handed in beside it.
        let (_, nothing) = mpsc::unbounded_channel();
        let (with, token) = (self.address(with), CancellationToken::new());
        let made = ChannelConnection::create_connection(nothing, sender, with, Some(token)).await?;
        Ok((SipConnection::Channel(made), outgoing))
    }

    /// Until either end closes, or the peer goes against the rules.
    async fn serve(
        &self,
        stream: Box<dyn Stream>,
        source: SocketAddr,
        connection: &SipConnection,
        first: Option<SipMessage>,
        outgoing: &mut mpsc::UnboundedReceiver<TransportEvent>,
    ) {
        let (reader, mut writer) = tokio::io::split(stream);
        let (answers, mut to_answer) = mpsc::channel(WAITING);
        let writes = async {
            let mut next = first.map(|message| message.to_bytes());
            loop {
                if let Some(bytes) = next.take() {
                    let mut writing = pin!(write(&mut writer, &bytes));
                    loop {
                        tokio::select! {
                            written = &mut writing => break written?,
                            () = sleep(STALL) => {}
                        }
                        if outgoing.len() > WAITING {
                            return Err(io::Error::other("too many messages wait"));
                        }
                    }
                }
                next = tokio::select! {
                    event = outgoing.recv() => match event {
                        Some(TransportEvent::Incoming(message, ..)) => Some(message.to_bytes()),
                        Some(_) => None,
                        None => return Ok(()),
                    },
                    Some(answer) = to_answer.recv() => Some(answer),
                };
            }
        };
        let last: io::Result<Option<Vec<u8>>> = tokio::select! {
            last = self.read(reader, source, connection, answers) => Ok(last),
            end = writes => end.map(|()| None),
        };
        match last {
            Ok(Some(last)) => {
                // It is closed in any case.
                let _ = write(&mut writer, &last).await;
            }
            Ok(None) => {}
            Err(error) => debug!(peer = %source, %error, "a SIP connection takes nothing"),
        }
        let _ = timeout(PATIENCE, writer.shutdown()).await;
    }

    /// Reads until the other end closes; what it is told last, where it cannot be read any further.
    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        source: SocketAddr,
        connection: &SipConnection,
        answers: mpsc::Sender<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        // Never longer, so never moved: what it held is overwritten where it is.
        let mut buffer = Zeroizing::new(Vec::with_capacity(LONGEST));
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        let mut since: Option<Instant> = None;
        loop {
            match frame(&buffer) {
                Ok(Framed::Lines { bytes, ping }) => {
                    cut(&mut buffer, bytes);
                    if ping {
                        answers.send(b"\r\n".to_vec()).await.ok()?;
                    }
                }
                Ok(Framed::Message(length)) => {
                    while !self.screen.has_turn(source) {
                        sleep(STALL).await;
                    }
                    let mut message = Zeroizing::new(buffer.get(..length)?.to_vec());
                    cut(&mut buffer, length);
                    since = None;
                    match self
                        .screen
                        .judge(&mut message, self.transport, source)
                        .await
                    {
                        Judgement::Pass => self.pass(&message, source, connection),
                        Judgement::Answer(answer) => answers.send(answer).await.ok()?,
                        Judgement::Drop => {}
                    }
                }
                Ok(Framed::Partial) => {
                    let begun = buffer.iter().any(|byte| !byte.is_ascii_whitespace());
                    since = since.filter(|_| begun).or_else(|| begun.then(Instant::now));
                    let patience = since.map_or(IDLE, |at| PATIENCE.saturating_sub(at.elapsed()));
                    let length = timeout(patience, reader.read(&mut chunk))
                        .await
                        .ok()?
                        .ok()?;
                    let read = chunk.get_mut(..length).filter(|read| !read.is_empty())?;
                    buffer.extend_from_slice(read);
                    read.zeroize();
                }
                Err(error) => {
                    self.screen
                        .counts()
                        .malformed
                        .fetch_add(1, Ordering::Relaxed);
                    debug!(%source, %error, "a SIP connection that cannot be read closed");
                    let (status, reason) = error.status();
                    return refusal(&buffer, status, reason, "");
                }
            }
        }
    }

    fn pass(&self, message: &[u8], source: SocketAddr, connection: &SipConnection) {
        let parsed = SipMessage::try_from(message).ok().and_then(|message| {
            SipConnection::update_msg_received(message, source, self.transport.into()).ok()
        });
        if let Some(parsed) = parsed {
            self.hand_in(parsed, connection, source);
        }
    }
}

/// The first `Via`, which an ACK that is no request of its own has of what it acknowledges.
fn hop_of(message: &SipMessage) -> String {
    let headers = match message {
        SipMessage::Request(request) => &request.headers,
        SipMessage::Response(response) => &response.headers,
    };
    value(headers, "Via").unwrap_or_default().to_owned()
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let written = timeout(PATIENCE, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    });
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    written.await.map_err(late)?
}

/// Takes so many bytes away from the front, and leaves nothing of them behind.
fn cut(buffer: &mut Vec<u8>, bytes: usize) {
    let left = buffer.len().saturating_sub(bytes);
    let behind = buffer.len() - left;
    buffer.copy_within(behind.., 0);
    if let Some(rest) = buffer.get_mut(left..) {
        rest.zeroize();
    }
    buffer.truncate(left);
}
