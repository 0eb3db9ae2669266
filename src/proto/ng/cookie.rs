//! Cookies: a repeated request is answered with the first reply, and carried out once.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long one generation collects; a reply is kept for one to two of them.
const GENERATION: Duration = Duration::from_secs(30);
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

/// Replies by cookie, in two generations of 30 s and at most `max_bytes` in each.
pub struct CookieCache {
    young: HashMap<Vec<u8>, Arc<[u8]>>,
    old: HashMap<Vec<u8>, Arc<[u8]>>,
    turned: Instant,
    young_bytes: usize,
    max_bytes: usize,
}

impl CookieCache {
    /// An empty cache whose first generation starts now.
    #[must_use]
    pub fn new(max_bytes: usize, now: Instant) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            turned: now,
            young_bytes: 0,
            max_bytes,
        }
    }

    /// The reply that this key already got.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Arc<[u8]>> {
        self.turn(now);
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    /// Keeps the reply to this key. A full generation is retired early: what is lost then is the
    /// oldest, which nobody repeats any more unless clients send faster than the cache was sized for.
    pub fn put(&mut self, key: &[u8], reply: Arc<[u8]>, now: Instant) {
        self.turn(now);
        let bytes = key.len() + reply.len();
        if self.young_bytes + bytes > self.max_bytes {
            self.retire(now);
        }
        if bytes <= self.max_bytes {
            self.young_bytes += bytes;
            self.young.insert(key.to_vec(), reply);
        }
    }

    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age >= 2 * GENERATION {
            self.young.clear();
        }
        if age >= GENERATION {
            self.retire(now);
        }
    }

    fn retire(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.young_bytes = 0;
        self.turned = now;
    }
}
