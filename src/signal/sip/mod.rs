//! SIP in line: a back-to-back user agent between trunk and PBX.
//!
//! Towards the rest it is a client of the registry of calls, as an NG peer is: it hands over each
//! offer and answer and sends what comes back. What it adds is two dialogs, and that a caller's keys
//! in SIP messages are taken out before the stack sees them (`screen`).

mod bridge;
mod dialled;
mod invite;
mod keys;
mod media;
mod orders;
mod peers;
mod redirect;
mod requests;
mod screen;
mod settings;
mod streams;
mod terms;
mod timers;
mod tls;
mod transactions;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rsipstack::{
    EndpointBuilder,
    platform::{CancellationToken, mpsc::unbounded_channel},
    sip::{Method, Request, SipMessage, StatusCode},
    transaction::{
        Transaction, TransactionReceiver,
        endpoint::{EndpointInnerRef, EndpointOption, TransportEventInspector},
    },
    transport::{
        SipAddr, SipConnection, TransportEvent, TransportLayer, channel::ChannelConnection,
        udp::UdpConnection,
    },
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::mpsc,
};
use tracing::{debug, info};

pub use settings::{Listener, Peer, Secret, SipSettings, SipTransport, TlsSettings};

use self::{
    bridge::Bridge, peers::Presence, screen::Screen, streams::Streams, terms::understood, tls::Tls,
    transactions::answer,
};
use super::{Calls, PaymentPort};
use crate::{
    listen::TlsError,
    media::SlotSource,
    proto::{
        leg::Leg,
        sip::{ALLOW, Home, number, value},
    },
};

/// Events that may wait for one call.
const CALL_EVENTS: usize = 64;
/// How long a peer that is sent away may wait before it tries again, in seconds.
const RETRY_AFTER: &str = "5";

/// Whether the gateway may serve new calls; else why not.
pub type MayServe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The SIP door; cheap to clone.
#[derive(Clone)]
pub struct SipServer {
    ua: Arc<Ua>,
}

/// What all of it works with.
struct Ua {
    settings: SipSettings,
    calls: Calls,
    /// Who takes payments that an agent's end starts.
    payments: Option<Arc<dyn PaymentPort>>,
    /// Where a key of the agent's end is sealed on its way.
    slots: Arc<dyn SlotSource>,
    may_serve: MayServe,
    endpoint: EndpointInnerRef,
    /// What each peer is sent messages by.
    connections: Vec<SipConnection>,
    dialogs: Dialogs,
    counts: Arc<Counts>,
    presence: Vec<Presence>,
}

/// The dialogs that are up, by Call-ID: each leg has one of its own.
#[derive(Clone, Default)]
struct Dialogs(Arc<Mutex<HashMap<String, Arc<DialogEntry>>>>);

/// What is known of a dialog outside of its call's task.
struct DialogEntry {
    /// The Call-ID that the registry knows the call by.
    registered_as: String,
    leg: Leg,
    /// Whose messages belong into it.
    peer: usize,
    events: mpsc::Sender<bridge::Event>,
    /// Our tag.
    local_tag: String,
    /// The far end's, once it is known.
    remote_tag: Mutex<Option<String>>,
    /// What the screen has seen of the far end's requests.
    turns: Mutex<keys::Turns>,
    /// The ACKs of 2xx, which may be asked for again.
    acks: Mutex<Vec<SentAck>>,
}

struct SentAck {
    cseq: u32,
    remote_tag: String,
    ack: Request,
    connection: SipConnection,
    destination: SipAddr,
}

/// What was turned away, for the metrics.
#[derive(Default)]
struct Counts {
    source: AtomicU64,
    malformed: AtomicU64,
    limited: AtomicU64,
    method: AtomicU64,
    not_served: AtomicU64,
    callers_payment: AtomicU64,
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SipError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} for SIP ([[sip.listen]]): {cause}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The stack does not start.
    #[error("the SIP stack does not start: {0}")]
    Stack(Box<rsipstack::Error>),
    /// A peer without a listener of its transport.
    #[error("no listener for {0}; name one as [[sip.listen]]")]
    NoListener(SipTransport),
    /// Our certificate or its key.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The authorities of peers' certificates.
    #[error("{path}: {found}; expected certificates in PEM")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Certificate and key do not belong to each other, say.
    #[error("SIP over TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<rsipstack::Error> for SipError {
    fn from(error: rsipstack::Error) -> Self {
        Self::Stack(Box::new(error))
    }
}

impl Dialogs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<DialogEntry>>> {
        // Each use is one insert, remove or look-up.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, call_id: &str) -> Option<Arc<DialogEntry>> {
        self.lock().get(call_id).cloned()
    }
}

impl DialogEntry {
    fn remote_tag(&self) -> Option<String> {
        let tag = self.remote_tag.lock();
        tag.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_remote_tag(&self, found: Option<&str>) {
        let mut tag = self
            .remote_tag
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *tag = found.map(str::to_owned);
    }
}

/// A dialog's place among those that are up; it ends with its call.
struct Registered {
    dialogs: Dialogs,
    call_id: String,
    entry: Arc<DialogEntry>,
}

impl Registered {
    fn new(dialogs: &Dialogs, call_id: &str, entry: DialogEntry) -> Option<Self> {
        let entry = Arc::new(entry);
        let mut all = dialogs.lock();
        if all.contains_key(call_id) {
            return None;
        }
        all.insert(call_id.to_owned(), Arc::clone(&entry));
        drop(all);
        Some(Self {
            dialogs: dialogs.clone(),
            call_id: call_id.to_owned(),
            entry,
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.dialogs.lock().remove(&self.call_id);
    }
}

impl SipServer {
    /// Binds the listeners and starts the stack.
    ///
    /// # Errors
    /// [`SipError`] when an address cannot be bound.
    pub async fn start(
        settings: SipSettings,
        calls: Calls,
        slots: Arc<dyn SlotSource>,
        payments: Option<Arc<dyn PaymentPort>>,
        may_serve: MayServe,
    ) -> Result<Self, SipError> {
        let (dialogs, counts) = (Dialogs::default(), Arc::new(Counts::default()));
        let screen = Screen::new(
            &settings,
            dialogs.clone(),
            Arc::clone(&counts),
            calls.clone(),
            Arc::clone(&slots),
        );
        let stop = CancellationToken::new();
        let layer = TransportLayer::new(stop.clone());
        let connections = doors(&settings, &Arc::new(screen), &layer, &stop).await?;
        let endpoint = EndpointBuilder::new()
            .with_user_agent("tonewall")
            .with_transport_layer(layer)
            .with_cancel_token(stop)
            // Each ACK is ours: it may carry the answer of a late offer.
            .with_option(EndpointOption {
                auto_ack_2xx: false,
                ..EndpointOption::default()
            })
            .with_transport_inspector(Box::new(AcksAgain(dialogs.clone())))
            .build();
        let incoming = endpoint.incoming_transactions()?;
        let presence = settings.peers.iter().map(|_| Presence::default()).collect();
        let ua = Arc::new(Ua {
            settings,
            calls,
            payments,
            slots,
            may_serve,
            endpoint: Arc::clone(&endpoint.inner),
            connections,
            dialogs,
            counts,
            presence,
        });
        tokio::spawn(async move { endpoint.serve().await });
        tokio::spawn(dispatch(Arc::clone(&ua), incoming));
        tokio::spawn(bridge::ended_calls(Arc::clone(&ua)));
        peers::watch(&ua);
        for listener in &ua.settings.listeners {
            let (transport, address) = (listener.transport, listener.address);
            info!(%transport, %address, peers = ua.settings.peers.len(), "SIP is taken");
        }
        Ok(Self { ua })
    }

    /// How many messages were turned away since the start, by reason; for the metrics.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); 6] {
        let counts = &self.ua.counts;
        [
            ("source", &counts.source),
            ("malformed", &counts.malformed),
            ("limited", &counts.limited),
            ("method", &counts.method),
            ("not-served", &counts.not_served),
            ("callers-payment", &counts.callers_payment),
        ]
        .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Peers by name, and whether each answered when it was last asked.
    #[must_use]
    pub fn peers(&self) -> Vec<(String, bool)> {
        let peers = self.ua.settings.peers.iter().zip(&self.ua.presence);
        peers
            .map(|(peer, presence)| (peer.name.as_str().to_owned(), presence.is_there()))
            .collect()
    }
}

impl Ua {
    /// Where we are, as this peer is told.
    fn home(&self, peer: &Peer) -> Home {
        let listener = self.settings.listener(peer.transport);
        let address = listener.map_or(peer.address, |listener| listener.advertise);
        Home {
            transport: peer.transport.into(),
            host: address.into(),
        }
    }
}

/// Opens the listeners, and answers what each peer is sent messages by.
async fn doors(
    settings: &SipSettings,
    screen: &Arc<Screen>,
    layer: &TransportLayer,
    stop: &CancellationToken,
) -> Result<Vec<SipConnection>, SipError> {
    let mut datagrams = None;
    let mut streams = HashMap::new();
    for listener in &settings.listeners {
        let address = listener.address;
        let bind = |cause| SipError::Bind { address, cause };
        let transport = listener.transport;
        if transport == SipTransport::Udp {
            let socket = UdpSocket::bind(address).await.map_err(bind)?;
            let socket = screen::Datagrams::new(socket, Arc::clone(screen), transport);
            let (told, stop) = (Some(listener.advertise), Some(stop.child_token()));
            let connection = UdpConnection::from_socket(Arc::new(socket), told, stop).await?;
            let connection = SipConnection::Udp(connection);
            layer.add_transport(connection.clone());
            datagrams = Some(connection);
            continue;
        }
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let tls = listener.tls.as_ref().map(Tls::new).transpose()?;
        // One queue for all that connections bring; nothing is ever sent to it.
        let (sender, incoming) = unbounded_channel();
        let (nowhere, _) = unbounded_channel();
        let name = SipAddr::new(transport.into(), address.into());
        let queue = ChannelConnection::create_connection(incoming, nowhere, name, None).await?;
        layer.add_connection(SipConnection::Channel(queue));
        let of_transport = Streams::new(transport, tls, Arc::clone(screen), sender);
        let of_transport = Arc::new(of_transport);
        tokio::spawn(Arc::clone(&of_transport).take_all(socket));
        streams.insert(transport, of_transport);
    }
    let mut connections = Vec::new();
    for peer in &settings.peers {
        connections.push(match (peer.transport, streams.get(&peer.transport)) {
            (_, Some(streams)) => Arc::clone(streams).to(peer).await?,
            (transport, None) => {
                let datagrams = datagrams.clone().filter(|_| transport == SipTransport::Udp);
                datagrams.ok_or(SipError::NoListener(transport))?
            }
        });
    }
    Ok(connections)
}

/// Gives each request to its call, or begins one.
async fn dispatch(ua: Arc<Ua>, mut incoming: TransactionReceiver) {
    while let Some(transaction) = incoming.recv().await {
        let request = &transaction.original;
        let to = rsipstack::sip::HeadersExt::to_header(request);
        let tagged = to.ok().and_then(|to| to.tag().ok().flatten()).is_some();
        let call_id = value(&request.headers, "Call-ID")
            .unwrap_or_default()
            .to_owned();
        if tagged {
            let peer = source_of(&transaction)
                .and_then(|(transport, source)| ua.settings.peer_at(transport, source.ip()));
            let entry = ua.dialogs.find(&call_id);
            let Some(entry) = entry.filter(|entry| Some(entry.peer) == peer) else {
                answer(transaction, StatusCode::CallTransactionDoesNotExist, &[]);
                continue;
            };
            let event = bridge::Event::Request {
                leg: entry.leg,
                transaction: Box::new(transaction),
            };
            if let Err(error) = entry.events.try_send(event)
                && let bridge::Event::Request { transaction, .. } = error.into_inner()
            {
                answer(
                    *transaction,
                    StatusCode::ServiceUnavailable,
                    &[("Retry-After", RETRY_AFTER)],
                );
            }
            continue;
        }
        match request.method {
            Method::Invite => begin(&ua, transaction, call_id),
            Method::Options => {
                let (status, fields) = match (understood(request), (ua.may_serve)()) {
                    (Err(problem), _) => problem,
                    (Ok(()), Ok(())) => (StatusCode::OK, Vec::new()),
                    (Ok(()), Err(_)) => (StatusCode::ServiceUnavailable, Vec::new()),
                };
                let mut all = vec![("Allow", ALLOW), ("Accept", "application/sdp")];
                all.extend(fields.iter().map(|(n, v)| (*n, v.as_str())));
                answer(transaction, status, &all);
            }
            _ => {
                ua.counts.method.fetch_add(1, Ordering::Relaxed);
                answer(
                    transaction,
                    StatusCode::MethodNotAllowed,
                    &[("Allow", ALLOW)],
                );
            }
        }
    }
}

/// From where a request came.
fn source_of(transaction: &Transaction) -> Option<(SipTransport, SocketAddr)> {
    let address = transaction.connection.as_ref()?.get_remote_addr()?;
    Some((SipTransport::of(address)?, address.get_socketaddr().ok()?))
}

fn begin(ua: &Arc<Ua>, transaction: Transaction, call_id: String) {
    let Some((source, peer)) = source_of(&transaction).and_then(|(transport, source)| {
        let peer = ua.settings.peer_at(transport, source.ip())?;
        Some((source, peer))
    }) else {
        answer(transaction, StatusCode::Forbidden, &[]);
        return;
    };
    let ua = Arc::clone(ua);
    tokio::spawn(async move {
        if let Some(bridge) = Bridge::begin(ua, transaction, call_id, peer, source).await {
            bridge.run().await;
        }
    });
}

/// A 2xx that comes again asks for its ACK again (RFC 3261 section 13.2.2.4); its transaction is over.
struct AcksAgain(Dialogs);

#[async_trait::async_trait]
impl TransportEventInspector for AcksAgain {
    async fn handle(&self, event: TransportEvent) -> Option<TransportEvent> {
        let TransportEvent::Incoming(SipMessage::Response(response), ..) = &event else {
            return Some(event);
        };
        let code = response.status_code.code();
        let of_invite =
            value(&response.headers, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        if !(200..300).contains(&code) || !of_invite {
            return Some(event);
        }
        let call_id = value(&response.headers, "Call-ID").unwrap_or_default();
        let Some(entry) = self.0.find(call_id) else {
            return Some(event);
        };
        let to = rsipstack::sip::HeadersExt::to_header(response).ok()?;
        let tag = to.tag().ok().flatten().map(|tag| tag.value().to_owned());
        let cseq = number(&response.headers).ok()?;
        let (again, answered) = {
            let acks = entry.acks.lock().unwrap_or_else(PoisonError::into_inner);
            let of_invite = |sent: &&SentAck| sent.cseq == cseq;
            let again = acks
                .iter()
                .filter(of_invite)
                .find(|sent| tag.as_deref() == Some(&sent.remote_tag))
                .map(|sent| {
                    (
                        sent.ack.clone(),
                        sent.connection.clone(),
                        sent.destination.clone(),
                    )
                });
            (again, acks.iter().any(|sent| of_invite(&sent)))
        };
        let Some((ack, connection, destination)) = again else {
            if !answered {
                return Some(event);
            }
            // A proxy has forked, and this one took the call too late. A call that is that busy hears
            // of it again.
            let response = Box::new(response.clone());
            let leg = entry.leg;
            let _ = entry
                .events
                .try_send(bridge::Event::Outrun { leg, response });
            return None;
        };
        if let Err(error) = connection.send(ack.into(), Some(&destination)).await {
            debug!(%error, "an ACK could not be sent again");
        }
        None
    }
}

#[cfg(test)]
mod tests;
