//! Refusals: counted, audited at a bounded rate, and limited per source.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::service::Service;
use crate::{
    listen::source,
    proto::{
        audit::{Actor, Event, Record, Success},
        id::Tenant,
    },
};

/// Secrets remembered at once that have opened a door.
const OPENED: usize = 4096;
/// Sources remembered at once; beyond it those that have behaved longest are forgotten.
const SOURCES: usize = 4096;

/// What kind of secret a source tries. Sessions run out by themselves, and an office behind one
/// address must not be locked out by a tab that was left open: they are limited apart and wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Door {
    Key,
    Session,
}

impl Door {
    const fn bucket(self, now: Instant) -> Bucket {
        match self {
            Self::Key => Bucket::full(10.0, Duration::from_secs(6), now),
            Self::Session => Bucket::full(60.0, Duration::from_secs(1), now),
        }
    }
}

/// How often something was refused since the start; for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalCounts {
    /// Unknown, expired or revoked keys, sessions and links.
    pub sign_in: u64,
    /// Known keys that tried what their role may not do, and forged requests.
    pub access: u64,
    /// Attempts turned away unread because their source had failed too often.
    pub throttled: u64,
    /// Refusals that the audit log holds only as a count.
    pub summarised: u64,
}

/// Keeps the counts and the limits.
#[derive(Debug)]
pub struct Refusals {
    sign_in: AtomicU64,
    access: AtomicU64,
    throttled: AtomicU64,
    summarised: AtomicU64,
    unrecorded: AtomicU64,
    records: Mutex<Bucket>,
    sources: Mutex<HashMap<(IpAddr, Door), Bucket>>,
    /// Hashes of secrets that were good when they were last seen.
    opened: Mutex<HashSet<[u8; 32]>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            sign_in: AtomicU64::new(0),
            access: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            summarised: AtomicU64::new(0),
            unrecorded: AtomicU64::new(0),
            // Each record costs an fsync: strangers must not be able to ask for them at will.
            records: Mutex::new(Bucket::full(20.0, Duration::from_secs(1), Instant::now())),
            sources: Mutex::new(HashMap::new()),
            opened: Mutex::new(HashSet::new()),
        }
    }
}

impl Refusals {
    /// How often something was refused.
    #[must_use]
    pub fn counts(&self) -> RefusalCounts {
        RefusalCounts {
            sign_in: self.sign_in.load(Ordering::Relaxed),
            access: self.access.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            summarised: self.summarised.load(Ordering::Relaxed),
        }
    }

    /// Whether a source may try now; otherwise in how many seconds.
    pub(super) fn may_try(&self, from: SocketAddr, door: Door, now: Instant) -> Result<(), u64> {
        let mut sources = lock(&self.sources);
        let Some(bucket) = sources.get_mut(&(source(from), door)) else {
            return Ok(());
        };
        bucket.fill(now);
        if bucket.tokens >= 1.0 {
            return Ok(());
        }
        self.throttled.fetch_add(1, Ordering::Relaxed);
        Err(bucket.refill.as_secs().max(1))
    }

    /// Whether a secret was good when it was last seen: such a one may be looked up whatever its
    /// source has done.
    pub(super) fn has_opened(&self, hash: &[u8; 32]) -> bool {
        lock(&self.opened).contains(hash)
    }

    /// A secret was good.
    pub(super) fn opened(&self, hash: [u8; 32]) {
        let mut opened = lock(&self.opened);
        if opened.len() >= OPENED && !opened.contains(&hash) {
            opened.clear();
        }
        opened.insert(hash);
    }

    /// A secret that may have been good is not any more.
    pub(super) fn opens_no_more(&self, hash: &[u8; 32]) {
        lock(&self.opened).remove(hash);
    }

    /// A source tried a secret that opens nothing.
    pub(super) fn failed(&self, from: SocketAddr, door: Door, now: Instant) {
        let mut sources = lock(&self.sources);
        if sources.len() >= SOURCES {
            sources.retain(|_, bucket| {
                bucket.fill(now);
                bucket.tokens < bucket.most
            });
            if sources.len() >= SOURCES {
                sources.clear();
            }
        }
        let bucket = sources
            .entry((source(from), door))
            .or_insert_with(|| door.bucket(now));
        bucket.fill(now);
        bucket.tokens = (bucket.tokens - 1.0).max(0.0);
    }

    /// Counts and audits a sign-in that was refused. Whose it was meant to be is not known, so it
    /// stands in the node's log.
    pub(super) async fn sign_in_refused(
        &self,
        service: &dyn Service,
        from: SocketAddr,
        reason: &str,
    ) {
        self.sign_in.fetch_add(1, Ordering::Relaxed);
        self.record(service, None, Actor::Anonymous, from, |more| {
            Event::SignInRefused {
                reason: format!("{reason}{more}"),
            }
        })
        .await;
    }

    /// Counts and audits that a known key was refused.
    pub(super) async fn access_refused(
        &self,
        service: &dyn Service,
        tenant: &Tenant,
        actor: Actor,
        from: SocketAddr,
        action: &str,
        reason: &str,
    ) {
        self.access.fetch_add(1, Ordering::Relaxed);
        self.record(service, Some(tenant), actor, from, |more| {
            Event::AccessRefused {
                action: action.to_owned(),
                reason: format!("{reason}{more}"),
            }
        })
        .await;
    }

    async fn record(
        &self,
        service: &dyn Service,
        tenant: Option<&Tenant>,
        actor: Actor,
        from: SocketAddr,
        event: impl FnOnce(String) -> Event + Send,
    ) {
        if !lock(&self.records).take(Instant::now()) {
            self.summarised.fetch_add(1, Ordering::Relaxed);
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let more = match self.unrecorded.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            before => format!(" (and {before} refusals before it that were only counted)"),
        };
        let record = Record {
            actor,
            origin: from.to_string(),
            success: Success::Failure,
            event: event(more),
        };
        if let Err(error) = service.record(tenant, record).await {
            tracing::error!(%error, "a refusal could not be audited; it stands refused");
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    most: f64,
    /// How long until one more.
    refill: Duration,
    filled: Instant,
}

impl Bucket {
    const fn full(most: f64, refill: Duration, now: Instant) -> Self {
        Self {
            tokens: most,
            most,
            refill,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.tokens =
            (self.tokens + passed.as_secs_f64() / self.refill.as_secs_f64()).min(self.most);
    }

    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_too_often_waits_and_others_do_not() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let (bad, good) = (
            "192.0.2.1:9".parse().unwrap(),
            "192.0.2.2:9".parse().unwrap(),
        );
        for _ in 0..10 {
            assert!(refusals.may_try(bad, Door::Key, now).is_ok());
            refusals.failed(bad, Door::Key, now);
        }
        assert!(refusals.may_try(bad, Door::Key, now).is_err());
        assert!(refusals.may_try(bad, Door::Session, now).is_ok());
        assert!(refusals.may_try(good, Door::Key, now).is_ok());
        assert!(
            refusals
                .may_try(bad, Door::Key, now + Duration::from_secs(6))
                .is_ok()
        );
        assert_eq!(refusals.counts().throttled, 1);
    }

    #[test]
    fn the_memory_of_sources_is_bounded() {
        let refusals = Refusals::default();
        let now = Instant::now();
        for n in 0..10_000_u32 {
            refusals.failed(
                SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1),
                Door::Key,
                now,
            );
        }
        assert!(lock(&refusals.sources).len() <= SOURCES);
    }
}
