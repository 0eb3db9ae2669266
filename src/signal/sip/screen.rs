//! What stands between the network and the stack: every message is read here first.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use rsipstack::platform::net::UdpSocket as StackSocket;
use tokio::net::UdpSocket;
use tracing::debug;
use zeroize::Zeroize;

use super::{Counts, DialogEntry, Dialogs, RETRY_AFTER, SipSettings, SipTransport, keys::Keys};
use crate::{
    media::SlotSource,
    proto::sip::{Buckets, Head, read_head, refusal},
    signal::Calls,
};

/// Largest datagram that the stack takes.
const STACK_BYTES: usize = 8_192;
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// What is to be done with a message.
pub(super) enum Judgement {
    /// The stack may have it.
    Pass,
    /// It goes no further.
    Drop,
    /// It is answered with this and goes no further.
    Answer(Vec<u8>),
}

/// Reads each message before the stack does.
pub(super) struct Screen {
    settings: SipSettings,
    dialogs: Dialogs,
    counts: Arc<Counts>,
    keys: Keys,
    buckets: Mutex<Buckets>,
}

impl Screen {
    pub(super) fn new(
        settings: &SipSettings,
        dialogs: Dialogs,
        counts: Arc<Counts>,
        calls: Calls,
        slots: Arc<dyn SlotSource>,
    ) -> Self {
        let buckets = Buckets::new(settings.requests_per_second, settings.burst);
        Self {
            settings: settings.clone(),
            keys: Keys::new(dialogs.clone(), calls, slots),
            dialogs,
            counts,
            buckets: Mutex::new(buckets),
        }
    }

    /// Judges a whole message. Where it told a key that the call keeps, its body is overwritten.
    pub(super) async fn judge(
        &self,
        message: &mut Vec<u8>,
        transport: SipTransport,
        source: SocketAddr,
    ) -> Judgement {
        let Some(peer) = self.settings.peer_at(transport, source.ip()) else {
            // Not even told that somebody is here.
            self.counts.source.fetch_add(1, Ordering::Relaxed);
            debug!(%source, "SIP of a stranger dropped");
            return Judgement::Drop;
        };
        let head = match read_head(message) {
            Ok(head) => head,
            Err(error) => {
                self.counts.malformed.fetch_add(1, Ordering::Relaxed);
                debug!(%source, %error, "SIP message refused");
                let (status, reason) = error.status();
                return refusal(message, status, reason, "")
                    .map_or(Judgement::Drop, Judgement::Answer);
            }
        };
        let of_another = |entry: Arc<DialogEntry>| entry.peer != peer;
        if head.status.is_none() && self.dialogs.find(head.call_id).is_some_and(of_another) {
            // The stack would take a repeated request for what it answered, whoever repeats it.
            let (status, reason) = if head.in_dialog {
                (481, "Call/Transaction Does Not Exist")
            } else {
                (482, "Loop Detected")
            };
            return refusal(message, status, reason, "").map_or(Judgement::Drop, Judgement::Answer);
        }
        if !self.admits(&head, source) {
            self.counts.limited.fetch_add(1, Ordering::Relaxed);
            let after = format!("Retry-After: {RETRY_AFTER}\r\n");
            return refusal(message, 503, "Service Unavailable", &after)
                .map_or(Judgement::Drop, Judgement::Answer);
        }
        let (body, told) = (head.body.clone(), head.length_told);
        let keep = self.keys.take(message, &head_of(&head), peer).await;
        if keep && let Some(body) = message.get_mut(body.clone()) {
            body.zeroize();
        }
        // What a datagram holds beyond its body belongs to nobody.
        message[body.end..].zeroize();
        message.truncate(body.end);
        if !told && !body.is_empty() {
            // The stack takes a datagram without it for one without a body.
            let field = format!("\r\nContent-Length: {}", body.len());
            let place = body.start - 4;
            message.splice(place..place, field.into_bytes());
        }
        Judgement::Pass
    }

    /// New requests are limited; those of calls that are up are not.
    fn admits(&self, head: &Head<'_>, source: SocketAddr) -> bool {
        if head.status.is_some()
            || matches!(head.method, "ACK" | "CANCEL")
            || self.dialogs.find(head.call_id).is_some()
        {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.admit(source.ip(), Instant::now())
    }
}

/// What of a head outlives the borrow of its message.
pub(super) struct OwnedHead {
    pub(super) is_request: bool,
    pub(super) method: String,
    pub(super) cseq: u32,
    pub(super) call_id: String,
    pub(super) content_type: Option<String>,
    pub(super) body: std::ops::Range<usize>,
}

fn head_of(head: &Head<'_>) -> OwnedHead {
    OwnedHead {
        is_request: head.status.is_none(),
        method: head.method.to_owned(),
        cseq: head.cseq,
        call_id: head.call_id.to_owned(),
        content_type: head.content_type.map(str::to_owned),
        body: head.body.clone(),
    }
}

/// A socket whose datagrams the stack gets only once they have been judged.
pub(super) struct Datagrams {
    socket: UdpSocket,
    screen: Arc<Screen>,
    transport: SipTransport,
}

impl Datagrams {
    pub(super) const fn new(
        socket: UdpSocket,
        screen: Arc<Screen>,
        transport: SipTransport,
    ) -> Self {
        Self {
            socket,
            screen,
            transport,
        }
    }
}

#[async_trait::async_trait]
impl StackSocket for Datagrams {
    async fn recv_from(&self, buffer: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        let mut message = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            message.resize(MAX_DATAGRAM_BYTES, 0);
            let (length, source) = self.socket.recv_from(&mut message).await?;
            message.truncate(length);
            // An empty line keeps a NAT's mapping alive.
            if message.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match self
                .screen
                .judge(&mut message, self.transport, source)
                .await
            {
                Judgement::Pass if message.len() <= buffer.len().min(STACK_BYTES) => {
                    buffer[..message.len()].copy_from_slice(&message);
                    let length = message.len();
                    message.zeroize();
                    return Ok((length, source));
                }
                Judgement::Pass => {
                    if let Some(answer) = refusal(&message, 513, "Message Too Large", "") {
                        // A peer that does not hear it asks again.
                        let _ = self.socket.send_to(&answer, source).await;
                    }
                }
                Judgement::Answer(answer) => {
                    let _ = self.socket.send_to(&answer, source).await;
                }
                Judgement::Drop => {}
            }
            message.zeroize();
        }
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.socket.send_to(bytes, to).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}
