//! The NG server: requests in, replies out, over UDP and HTTP.
//!
//! The protocol has no authentication, so it is taken from listed addresses only, this machine
//! unless told otherwise.

mod http;
mod udp;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::warn;

use super::{
    calls::{By, Calls},
    networks::Networks,
};
use crate::proto::{
    audit::{Event, Success},
    ng::{CookieCache, Encoding, Reply, Request, decode, reason},
};

/// Bytes that are kept to answer a repeated cookie with: those of seconds at thousands of calls a second.
const COOKIE_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// How often refused sources are recorded; those in between are counted.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(10);

/// The server; cheap to clone.
#[derive(Clone)]
pub struct NgServer {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Calls,
    allowed: Networks,
    cookies: Mutex<Cookies>,
    refusals: Mutex<Refusals>,
    counts: Counts,
}

/// What was turned away since the start.
#[derive(Default)]
struct Counts {
    source: AtomicU64,
    no_cookie: AtomicU64,
    malformed: AtomicU64,
}

struct Cookies {
    cache: CookieCache,
    /// With those who wait for the reply too.
    in_work: HashMap<Key, Vec<oneshot::Sender<Arc<[u8]>>>>,
}

#[derive(Default)]
struct Refusals {
    recorded: Option<Instant>,
    unrecorded: u64,
}

/// Source address and cookie: two clients may use the same cookies.
type Key = Arc<[u8]>;

/// Who carries out a request.
enum Role {
    /// It was answered before.
    Repeat(Arc<[u8]>),
    /// Somebody else is at it.
    Wait(oneshot::Receiver<Arc<[u8]>>),
    /// We.
    Work,
}

impl NgServer {
    /// A server for these calls that listens to these addresses.
    #[must_use]
    pub fn new(calls: Calls, allowed: Networks) -> Self {
        Self {
            shared: Arc::new(Shared {
                calls,
                allowed,
                cookies: Mutex::new(Cookies {
                    cache: CookieCache::new(COOKIE_CACHE_BYTES),
                    in_work: HashMap::new(),
                }),
                refusals: Mutex::new(Refusals::default()),
                counts: Counts::default(),
            }),
        }
    }

    /// How many messages were turned away since the start, by reason; for the metrics.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); 3] {
        let counts = &self.shared.counts;
        [
            ("source", &counts.source),
            ("no-cookie", &counts.no_cookie),
            ("malformed", &counts.malformed),
        ]
        .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Carries out a message without cookie.
    async fn answer(&self, message: &[u8], peer: SocketAddr) -> (Encoding, Reply) {
        let (encoding, message) = match decode(message) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.shared.counts.malformed.fetch_add(1, Ordering::Relaxed);
                warn!(%peer, %error, "NG message refused");
                let encoding = if message.starts_with(b"{") {
                    Encoding::Json
                } else {
                    Encoding::Bencode
                };
                let reply = Reply::error(reason::INVALID_FORMAT).with("detail", error.to_string());
                return (encoding, reply);
            }
        };
        let reply = match Request::parse(&message) {
            Ok(request) => self.shared.calls.handle(request, peer).await,
            Err(error) => {
                self.shared.counts.malformed.fetch_add(1, Ordering::Relaxed);
                warn!(%peer, %error, "NG request refused");
                error.into()
            }
        };
        (encoding, reply)
    }

    /// Carries out a message once, however often it comes; answers `COOKIE SP DICT`. `None` when
    /// whoever was at it gave up.
    async fn answer_once(
        &self,
        cookie: &[u8],
        message: &[u8],
        peer: SocketAddr,
    ) -> Option<Arc<[u8]>> {
        let key = key(peer.ip(), cookie);
        match self.role(&key) {
            Role::Repeat(reply) => return Some(reply),
            Role::Wait(reply) => return reply.await.ok(),
            Role::Work => {}
        }
        let in_work = InWork {
            server: self,
            key: Some(key),
        };
        let (encoding, reply) = self.answer(message, peer).await;
        let mut bytes = Vec::with_capacity(cookie.len() + 512);
        bytes.extend_from_slice(cookie);
        bytes.push(b' ');
        bytes.extend_from_slice(&reply.encode(encoding));
        let bytes: Arc<[u8]> = bytes.into();
        in_work.done(&bytes);
        Some(bytes)
    }

    fn role(&self, key: &Key) -> Role {
        let mut cookies = self.cookies();
        if let Some(reply) = cookies.cache.get(key, Instant::now()) {
            return Role::Repeat(reply);
        }
        if let Some(waiting) = cookies.in_work.get_mut(key) {
            let (sender, reply) = oneshot::channel();
            waiting.push(sender);
            return Role::Wait(reply);
        }
        cookies.in_work.insert(Arc::clone(key), Vec::new());
        Role::Work
    }

    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        let cookies = &self.shared.cookies;
        cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody knows whom to answer: the message is dropped.
    fn drop_without_cookie(&self, peer: SocketAddr, bytes: usize) {
        self.shared.counts.no_cookie.fetch_add(1, Ordering::Relaxed);
        warn!(%peer, bytes, "NG message without cookie dropped");
    }

    /// Whether this source may control calls; a refusal is recorded at a bounded rate.
    fn allows(&self, peer: SocketAddr) -> bool {
        let allowed = self.shared.allowed.contains(peer.ip());
        if !allowed {
            self.refuse(peer, "the address is not in the list of NG clients");
        }
        allowed
    }

    fn refuse(&self, peer: SocketAddr, reason: &'static str) {
        self.shared.counts.source.fetch_add(1, Ordering::Relaxed);
        let Some(unrecorded) = self.count_refusal(Instant::now()) else {
            return;
        };
        warn!(%peer, reason, unrecorded, "NG control refused");
        let event = Event::AccessRefused {
            action: "ng control".to_owned(),
            reason: format!("{reason}; {unrecorded} more refused since the last such entry"),
        };
        let calls = self.shared.calls.clone();
        tokio::spawn(async move {
            calls
                .record_for_node(By::Peer(peer), Success::Failure, event)
                .await
        });
    }

    /// How many refusals were not recorded before this one, if this one is.
    fn count_refusal(&self, now: Instant) -> Option<u64> {
        let refusals = &self.shared.refusals;
        let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: Instant| now.saturating_duration_since(at) < REFUSAL_INTERVAL;
        if refusals.recorded.is_some_and(recent) {
            refusals.unrecorded += 1;
            return None;
        }
        refusals.recorded = Some(now);
        Some(std::mem::take(&mut refusals.unrecorded))
    }
}

/// That a request is being carried out; also a panic or a client that left ends it.
struct InWork<'a> {
    server: &'a NgServer,
    /// Until it is done.
    key: Option<Key>,
}

impl InWork<'_> {
    /// It was answered: whoever repeats it finds the reply in one place or the other.
    fn done(mut self, reply: &Arc<[u8]>) {
        let Some(key) = self.key.take() else { return };
        let waiting = {
            let mut cookies = self.server.cookies();
            let waiting = cookies.in_work.remove(&key);
            cookies.cache.put(key, Arc::clone(reply), Instant::now());
            waiting
        };
        for sender in waiting.into_iter().flatten() {
            // Whoever has gone needs no reply.
            let _ = sender.send(Arc::clone(reply));
        }
    }
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            // Who waits is told that there is no reply.
            self.server.cookies().in_work.remove(key);
        }
    }
}

fn key(source: IpAddr, cookie: &[u8]) -> Key {
    // The family first, so that no address can be mistaken for another with a part of a cookie.
    match source.to_canonical() {
        IpAddr::V4(address) => [&b"4"[..], &address.octets(), cookie].concat(),
        IpAddr::V6(address) => [&b"6"[..], &address.octets(), cookie].concat(),
    }
    .into()
}

#[cfg(test)]
mod tests;
