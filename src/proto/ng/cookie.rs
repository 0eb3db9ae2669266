//! Cookies: a repeated request is answered with the first reply, and carried out once.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a reply is kept: clients give up after seconds.
const KEPT: Duration = Duration::from_secs(60);
/// What a reply takes beside its own bytes and its cookie's: two allocations with their counts, a place
/// in the map and one in the order, with the room that both grow ahead by.
const HELD_BYTES: usize = 256;
/// Longest cookie; clients send about 20 bytes.
const MAX_COOKIE_BYTES: usize = 255;

/// Splits a datagram into its cookie and its message. `None` where there is no cookie.
#[must_use]
pub fn split_cookie(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = datagram
        .iter()
        .take(MAX_COOKIE_BYTES + 1)
        .position(|byte| *byte == b' ')?;
    let (cookie, message) = (&datagram[..space], &datagram[space + 1..]);
    // A bare JSON message has a space too, but no cookie starts with a brace.
    let plausible = !cookie.is_empty() && !cookie.starts_with(b"{") && cookie.is_ascii();
    plausible.then_some((cookie, message))
}

/// Replies by cookie: for as long as one may be repeated, and at most so many bytes of them.
pub struct CookieCache {
    replies: HashMap<Arc<[u8]>, Arc<[u8]>>,
    /// Oldest first: one goes whenever one comes, so that no request waits for thousands to be freed.
    order: VecDeque<(Instant, Arc<[u8]>)>,
    bytes: usize,
    max_bytes: usize,
}

impl CookieCache {
    /// An empty cache. `max_bytes` counts keys, replies and what holds them.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            replies: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// The reply that this key already got.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Arc<[u8]>> {
        self.forget(0, now);
        self.replies.get(key).cloned()
    }

    /// Keeps the reply to this key. Where there is no room the oldest go, which nobody repeats any
    /// more unless clients send faster than the cache was sized for.
    pub fn put(&mut self, key: Arc<[u8]>, reply: Arc<[u8]>, now: Instant) {
        let size = size(&key, &reply);
        self.forget(size, now);
        if size > self.max_bytes {
            return;
        }
        match self.replies.entry(Arc::clone(&key)) {
            // One cookie is carried out once; a second reply would be another request's.
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(reply);
                self.bytes += size;
                self.order.push_back((now, key));
            }
        }
    }

    /// Lets go what nobody repeats any more; to be called now and then where no request comes.
    pub fn expire(&mut self, now: Instant) {
        self.forget(0, now);
    }

    /// Bytes that are kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go what is too old, and the oldest until there is room for so many bytes.
    fn forget(&mut self, room: usize, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            let old = now.saturating_duration_since(*since) >= KEPT;
            if !old && self.bytes + room <= self.max_bytes {
                return;
            }
            if let Some((_, key)) = self.order.pop_front()
                && let Some(reply) = self.replies.remove(&key)
            {
                self.bytes -= size(&key, &reply);
            }
        }
    }
}

fn size(key: &[u8], reply: &[u8]) -> usize {
    key.len() + reply.len() + HELD_BYTES
}
