//! The same over TCP: `COOKIE SP DICT` after `COOKIE SP DICT`, replies in the order in which they are
//! ready.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    NgServer,
    limits::{READ_BYTES, Work},
};
use crate::{
    listen::Place,
    proto::ng::{Framer, FramingError, split_cookie},
};

/// A reply, and that its request was one of those in work.
type Done = (Option<Arc<[u8]>>, Work);

impl NgServer {
    /// Serves this listener until its task is ended; connections end with it.
    pub async fn serve_tcp(&self, listener: TcpListener) {
        self.accept(listener, |stream, peer, place| {
            let server = self.clone();
            async move {
                if let Err(error) = server.serve_stream(stream, peer, place).await {
                    debug!(%peer, %error, "NG connection ended");
                }
            }
        })
        .await;
    }

    async fn serve_stream(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        _place: Place,
    ) -> io::Result<()> {
        let limits = self.shared.limits;
        let (mut reader, mut writer) = stream.split();
        let (done, mut replies) = mpsc::channel::<Done>(limits.pipelined);
        let (mut framer, mut buffer) = (Framer::default(), Vec::new());
        let (mut in_work, mut open) = (0, true);
        let mut since = tokio::time::Instant::now();
        loop {
            while in_work < limits.pipelined {
                let length = match framer.whole(&buffer) {
                    Ok(Some(length)) => length,
                    Ok(None) => break,
                    Err(error) => {
                        self.refuse_stream(peer, error);
                        return Ok(());
                    }
                };
                let message: Vec<u8> = buffer.drain(..length).collect();
                since = tokio::time::Instant::now();
                in_work += 1;
                self.begin_one(message, peer, done.clone()).await;
            }
            if !open && in_work == 0 {
                return Ok(());
            }
            // Half a message may take less time than the next one may take to begin.
            let patience = match buffer.is_empty() {
                true => limits.idle,
                false => limits.message,
            };
            let readable = open && in_work < limits.pipelined;
            tokio::select! {
                Some((reply, _work)) = replies.recv() => {
                    in_work -= 1;
                    since = tokio::time::Instant::now();
                    if let Some(reply) = reply {
                        timeout(limits.stall, writer.write_all(&reply)).await??;
                    }
                }
                read = tokio::time::timeout_at(since + patience, read_some(&mut reader, &mut buffer)), if readable => {
                    match read {
                        Ok(read) => open = read? > 0,
                        // Its requests have their replies first.
                        Err(_) if in_work > 0 => since = tokio::time::Instant::now(),
                        Err(_) => return Ok(()),
                    }
                }
            }
        }
    }

    /// Has a task of its own carry a message out: a client that leaves must not stop a request half way.
    async fn begin_one(&self, message: Vec<u8>, peer: SocketAddr, done: mpsc::Sender<Done>) {
        let work = self.work().await;
        let server = self.clone();
        tokio::spawn(async move {
            // Whoever follows the stream has found a cookie.
            let reply = match split_cookie(&message) {
                Some((cookie, message)) => server.answer_once(cookie, message, peer).await,
                None => {
                    server.drop_without_cookie(peer, message.len());
                    None
                }
            };
            // Where the client has left, nobody waits.
            let _ = done.send((reply, work)).await;
        });
    }

    fn refuse_stream(&self, peer: SocketAddr, error: FramingError) {
        self.count_malformed();
        warn!(%peer, %error, "NG connection closed: nothing tells where its next message begins");
    }
}

async fn read_some(
    reader: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    buffer.reserve(READ_BYTES);
    reader.take(READ_BYTES as u64).read_buf(buffer).await
}
