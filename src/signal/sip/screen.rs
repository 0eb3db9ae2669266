//! What stands between the network and the stack: every message is read here first.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use rsipstack::{
    platform::net::UdpSocket as StackSocket,
    sip::SipMessage,
    transaction::key::{TransactionKey, TransactionRole},
};
use rustls::pki_types::ServerName;
use tokio::net::UdpSocket;
use tracing::debug;
use zeroize::Zeroize;

use super::{Counts, DialogEntry, Dialogs, RETRY_AFTER, SipSettings, SipTransport, keys::Keys};
use crate::{
    media::SlotSource,
    proto::sip::{ALLOW, Buckets, Edit, Head, read_head, refusal},
    signal::Calls,
};

/// Largest datagram that the stack takes.
const STACK_BYTES: usize = 8_192;
/// Messages of all kinds that an address may send for each new request that it may.
const OF_CALL: u32 = 50;
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
    /// Of all messages.
    turns: Mutex<Buckets>,
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
            turns: Mutex::new(Buckets::new(
                settings.requests_per_second.saturating_mul(OF_CALL),
                settings.burst.saturating_mul(OF_CALL),
            )),
        }
    }

    /// What was turned away.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether an address may send a message of any kind now: the stack takes what it gets without
    /// saying when it has too much.
    pub(super) fn has_turn(&self, source: SocketAddr) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.admit(source.ip(), Instant::now())
    }

    /// What a certificate of the peer that an address belongs to names.
    pub(super) fn name_at(
        &self,
        transport: SipTransport,
        address: IpAddr,
    ) -> Option<ServerName<'static>> {
        let peer = self.settings.peer_at(transport, address)?;
        let peer = self.settings.peers.get(peer)?;
        Some(peer.certificate_name.clone())
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
                return refused(message, status, reason, "");
            }
        };
        let of_another = |entry: Arc<DialogEntry>| entry.peer != peer;
        if self.dialogs.find(head.call_id).is_some_and(of_another) {
            // The stack would take a repeated request for what it answered, whoever repeats it, and
            // a response for that of the far end, whoever guesses its branch.
            let (status, reason) = match (head.status, head.to_tag) {
                (Some(_), _) => return Judgement::Drop,
                (None, Some(_)) => (481, "Call/Transaction Does Not Exist"),
                (None, None) => (482, "Loop Detected"),
            };
            return refused(message, status, reason, "");
        }
        if !self.admits(&head, source) {
            self.counts.limited.fetch_add(1, Ordering::Relaxed);
            let after = format!("Retry-After: {RETRY_AFTER}\r\n");
            return refused(message, 503, "Service Unavailable", &after);
        }
        if head.status.is_none() && !is_allowed(head.method) {
            self.counts.method.fetch_add(1, Ordering::Relaxed);
            let allow = format!("Allow: {ALLOW}\r\n");
            return refused(message, 405, "Method Not Allowed", &allow);
        }
        let edit = Edit::of(message, &head);
        let cover = self.keys.take(message, &head, &edit, peer).await;
        edit.carry_out(message, cover);
        // What the stack cannot read it would drop without a word.
        match SipMessage::try_from(message.as_slice()) {
            Ok(parsed) if can_be_placed(&parsed) => Judgement::Pass,
            _ => {
                self.counts.malformed.fetch_add(1, Ordering::Relaxed);
                refused(message, 400, "Bad Request", "")
            }
        }
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

fn refused(message: &[u8], status: u16, reason: &str, fields: &str) -> Judgement {
    refusal(message, status, reason, fields).map_or(Judgement::Drop, Judgement::Answer)
}

/// Methods are told apart by case (RFC 3261 section 7.1), which the stack does not do.
fn is_allowed(method: &str) -> bool {
    ALLOW.split(", ").any(|allowed| allowed == method)
}

/// Whether the stack can tell of which transaction a message is.
fn can_be_placed(message: &SipMessage) -> bool {
    let key = match message {
        SipMessage::Request(request) => {
            TransactionKey::from_request(request, TransactionRole::Server)
        }
        SipMessage::Response(response) => {
            TransactionKey::from_response(response, TransactionRole::Client)
        }
    };
    key.is_ok()
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
            if !self.screen.has_turn(source) {
                // It is sent again, if it matters.
                self.screen.counts.limited.fetch_add(1, Ordering::Relaxed);
                message.zeroize();
                continue;
            }
            // RFC 3261 section 7.5.
            while message.starts_with(b"\r\n") {
                message.drain(..2);
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
