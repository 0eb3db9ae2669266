//! `COOKIE SP DICT` in one datagram, and the reply in another.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, sync::Semaphore};
use tracing::{debug, warn};

use super::NgServer;
use crate::proto::ng::split_cookie;

/// Largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_535;
/// How many requests are in work at once; what comes beyond waits in the socket's buffer.
const MAX_IN_WORK: usize = 512;
/// Rest after a failed read, so that a broken socket does not take a whole core.
const READ_PAUSE: Duration = Duration::from_millis(10);

impl NgServer {
    /// Serves this socket until its task is ended.
    pub async fn serve_udp(&self, socket: UdpSocket) -> io::Result<()> {
        let socket = Arc::new(socket);
        let places = Arc::new(Semaphore::new(MAX_IN_WORK));
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.map_err(|_| io::Error::other("the NG server's places are closed"))?;
            let (length, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error of an earlier reply, for one.
                    debug!(%error, "NG socket");
                    tokio::time::sleep(READ_PAUSE).await;
                    continue;
                }
            };
            if !self.allows(peer) {
                continue;
            }
            let Some((cookie, message)) = split_cookie(&buffer[..length]) else {
                self.drop_without_cookie(peer, length);
                continue;
            };
            let (cookie, message) = (cookie.to_vec(), message.to_vec());
            let (server, socket) = (self.clone(), Arc::clone(&socket));
            tokio::spawn(async move {
                server.reply(&socket, &cookie, &message, peer).await;
                drop(place);
            });
        }
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
