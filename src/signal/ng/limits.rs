//! What connections may take. None of it is taken from the datagrams, which have limits of their own.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, warn};

use super::NgServer;
use crate::listen::{Limit, Place};

/// Rest after a connection could not be accepted: out of descriptors or the like passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that are read at once.
pub(super) const READ_BYTES: usize = 8192;
/// Largest message: as large as a datagram may be.
pub(super) const MAX_MESSAGE_BYTES: usize = 65_535;

/// Limits of the transports that have connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of a listener at once, half of them from one source (this machine excepted).
    pub connections: usize,
    /// Requests of all connections that may be in work; what comes beyond waits in its connection.
    pub in_work: usize,
    /// Requests of one connection that may be in work.
    pub pipelined: usize,
    /// A connection without a request for so long is closed.
    pub idle: Duration,
    /// How long a message may take from its first byte to its last.
    pub message: Duration,
    /// How long a client may take nothing of what it is sent.
    pub stall: Duration,
}

impl Default for Limits {
    /// Clients ping about once a minute.
    fn default() -> Self {
        Self {
            connections: 256,
            in_work: 256,
            pipelined: 8,
            idle: Duration::from_mins(5),
            message: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// That a request is one of those in work.
pub(super) type Work = Option<OwnedSemaphorePermit>;

impl NgServer {
    /// A place for one more request in work, once media workers have caught up.
    pub(super) async fn work(&self) -> Work {
        let place = Arc::clone(&self.shared.places).acquire_owned().await;
        self.let_media_catch_up().await;
        // It is never closed.
        place.ok()
    }

    /// Takes connections and has each served by a task of its own until this one is ended.
    pub(super) async fn accept<F>(
        &self,
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr, Place) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let limits = self.shared.limits;
        let limit = Limit::new(limits.connections, limits.stall);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = self.admit(&limit, &stream, peer) {
                        connections.spawn(serve(stream, peer, place));
                    }
                }
                Err(error) => {
                    warn!(%error, "NG connections cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Whether this connection is taken: its source may control calls, and there is a place.
    fn admit(&self, limit: &Limit, stream: &TcpStream, peer: SocketAddr) -> Option<Place> {
        if !self.allows(peer) {
            return None;
        }
        match limit.admit(stream) {
            Ok(place) => Some(place),
            Err(error) => {
                self.count_crowded();
                debug!(%peer, %error, "NG connection closed");
                None
            }
        }
    }
}

pub(super) fn places(limits: Limits) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limits.in_work))
}
