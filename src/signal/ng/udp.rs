//! `COOKIE SP DICT` in one datagram, and the reply in another.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tokio::{
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{unconstrained, yield_now},
    time::{sleep, timeout},
};
use tracing::{debug, error, warn};

use super::NgServer;
use crate::{proto::ng::split_cookie, signal::BoxFuture};

/// Largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_535;
/// What may wait in the socket: a second at thousands of calls a second. What the system gives by
/// itself holds some 200 requests, which is 15 ms of that, and a delete that is lost costs a call's
/// sockets until its client sends it again.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// How many requests may wait for something at once; what comes beyond waits in the socket's buffer.
const MAX_IN_WORK: usize = 512;
/// Requests that are taken before others on this thread have their turn, and before the media plane
/// is woken for what they led to: half a millisecond.
const AT_ONCE: usize = 16;
/// Without a request for so long, replies are let go that would wait for the next one to go.
const QUIET: Duration = Duration::from_secs(10);
/// Rest after a failed read, so that a broken socket does not take a whole core.
const READ_PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether media workers have caught up, and for how long. Beyond, requests
/// are taken all the same, and refused where a queue is full.
const CATCH_UP_STEP: Duration = Duration::from_millis(1);
const CATCH_UP: Duration = Duration::from_millis(250);

/// Why no more requests were taken at once.
enum Taken {
    /// There are none, or none may be begun.
    All,
    /// Others have their turn.
    Enough,
}

impl NgServer {
    /// Serves this socket until its task is ended.
    pub async fn serve_udp(&self, socket: UdpSocket) -> io::Result<()> {
        make_room(&socket);
        let socket = Arc::new(socket);
        let places = Arc::new(Semaphore::new(MAX_IN_WORK));
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let place = places.acquire().await;
            drop(place.map_err(|_| io::Error::other("the NG server's places are closed"))?);
            self.let_media_catch_up().await;
            let taken = match timeout(QUIET, socket.readable()).await {
                Ok(Ok(())) => self.take_some(&socket, &places, &mut buffer),
                Ok(Err(error)) => Err(error),
                Err(_) => {
                    self.cookies().cache.expire(Instant::now());
                    continue;
                }
            };
            match taken {
                Ok(Taken::All) => {}
                Ok(Taken::Enough) => yield_now().await,
                Err(error) => {
                    // An ICMP error of an earlier reply, for one.
                    debug!(%error, "NG socket");
                    sleep(READ_PAUSE).await;
                }
            }
        }
    }

    /// Requests wait in the socket's buffer while a media worker has more to do than it gets done:
    /// late is better than refused, and a thread that waits lets the worker run.
    async fn let_media_catch_up(&self) {
        let since = Instant::now();
        while self.shared.calls.is_media_behind() && since.elapsed() < CATCH_UP {
            sleep(CATCH_UP_STEP).await;
        }
    }

    /// Takes what has come. The media plane is woken once for all of it.
    fn take_some(
        &self,
        socket: &Arc<UdpSocket>,
        places: &Arc<Semaphore>,
        buffer: &mut [u8],
    ) -> io::Result<Taken> {
        let _gathered = self.shared.calls.gather();
        for _ in 0..AT_ONCE {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else {
                return Ok(Taken::All);
            };
            match socket.try_recv_from(buffer) {
                Ok((length, peer)) => self.take(socket, place, &buffer[..length], peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Taken::All),
                Err(error) => return Err(error),
            }
        }
        Ok(Taken::Enough)
    }

    fn take(
        &self,
        socket: &Arc<UdpSocket>,
        place: OwnedSemaphorePermit,
        datagram: &[u8],
        peer: SocketAddr,
    ) {
        if !self.allows(peer) {
            return;
        }
        let Some((cookie, message)) = split_cookie(datagram) else {
            self.drop_without_cookie(peer, datagram.len());
            return;
        };
        let (cookie, message) = (cookie.to_vec(), message.to_vec());
        let (server, socket) = (self.clone(), Arc::clone(socket));
        // In place: it has some kilobytes, which would be copied at each hand-over.
        begin(Box::pin(async move {
            server.reply(&socket, &cookie, &message, peer).await;
            drop(place);
        }));
    }

    async fn reply(&self, socket: &UdpSocket, cookie: &[u8], message: &[u8], peer: SocketAddr) {
        let Some(reply) = self.answer_once(cookie, message, peer).await else {
            return;
        };
        if let Err(error) = socket.send_to(&reply, peer).await {
            warn!(%peer, %error, bytes = reply.len(), "NG reply could not be sent");
        }
    }
}

/// As much of [`RECEIVE_BUFFER_BYTES`] as this process may have.
fn make_room(socket: &UdpSocket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER_BYTES).is_err()
        && let Err(error) = sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER_BYTES)
    {
        debug!(%error, "the NG socket keeps the receive buffer that it has");
    }
}

/// Does what can be done at once; what has to wait for something goes on as a task of its own. Most
/// commands wait for nothing, and a task costs as much as they do.
fn begin(work: BoxFuture<'static, ()>) {
    // It is one of many that share this task's turn, which would end in the midst of them.
    let mut work = unconstrained(work);
    // A task polls it anew, and is woken from then on.
    let mut nobody = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut work).poll(&mut nobody))) {
        Ok(Poll::Ready(())) => {}
        Ok(Poll::Pending) => {
            tokio::spawn(work);
        }
        // As of a task that panics: this request has no reply, and the others have theirs.
        Err(_) => error!("an error in this program ended an NG request; please report it"),
    }
}
