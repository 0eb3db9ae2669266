//! How often a card may be tried: a telephone is a way to find out which stolen numbers still work.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::proto::id::{CallId, KeyId};

/// What an agent's tries are counted over.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The most that is tried; no bound where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VelocityLimits {
    /// Charges on one call, whatever payments they are of.
    pub per_call: Option<u32>,
    /// Charges within an hour by one API key, or by those who entered the panel by one link.
    pub per_key_hour: Option<u32>,
}

/// Why a charge is not tried. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TooMany {
    /// Of this call.
    #[error(
        "{0} charges were tried on this call, and no more are; the caller has to call again, or `limits.attempts_per_call` has to be raised"
    )]
    OnCall(u32),
    /// Of this key.
    #[error(
        "{limit} charges were tried within an hour with this key; the next one may be tried in {} s", .wait.as_secs()
    )]
    ByKey {
        /// How many are.
        limit: u32,
        /// Until the next one.
        wait: Duration,
    },
}

/// What was tried. In memory: a restart forgets it, and ends the calls.
#[derive(Debug, Default)]
pub struct Velocity {
    limits: VelocityLimits,
    calls: HashMap<CallId, u32>,
    keys: HashMap<KeyId, VecDeque<Instant>>,
}

impl Velocity {
    /// Nothing was tried yet.
    #[must_use]
    pub fn new(limits: VelocityLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Counts a charge that is about to be tried.
    ///
    /// # Errors
    /// [`TooMany`]: it is not counted, and must not be tried.
    pub fn count(
        &mut self,
        call: &CallId,
        key: Option<&KeyId>,
        now: Instant,
    ) -> Result<(), TooMany> {
        let on_call = self.calls.get(call).copied().unwrap_or(0);
        if let Some(limit) = self.limits.per_call.filter(|limit| on_call >= *limit) {
            return Err(TooMany::OnCall(limit));
        }
        self.forget_old(now);
        if let (Some(key), Some(limit)) = (key, self.limits.per_key_hour) {
            let tried = self.keys.entry(key.clone()).or_default();
            let first_that_counts = tried.len().checked_sub(limit as usize);
            if let Some(at) = first_that_counts.and_then(|first| tried.get(first)) {
                let wait = (*at + HOUR).saturating_duration_since(now);
                return Err(TooMany::ByKey { limit, wait });
            }
            tried.push_back(now);
        }
        self.calls.insert(call.clone(), on_call.saturating_add(1));
        Ok(())
    }

    /// What was counted was not tried after all.
    pub fn take_back(&mut self, call: &CallId, key: Option<&KeyId>) {
        match self.calls.get_mut(call) {
            Some(on_call) if *on_call > 1 => *on_call -= 1,
            Some(_) => self.forget(call),
            None => {}
        }
        if let Some(tried) = key.and_then(|key| self.keys.get_mut(key)) {
            tried.pop_back();
        }
    }

    /// The call is over.
    pub fn forget(&mut self, call: &CallId) {
        self.calls.remove(call);
    }

    fn forget_old(&mut self, now: Instant) {
        self.keys.retain(|_, tried| {
            while tried
                .front()
                .is_some_and(|at| now.saturating_duration_since(*at) >= HOUR)
            {
                tried.pop_front();
            }
            !tried.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn call(number: u128) -> CallId {
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        CallId::new(tenant, node, Ulid::from_parts(0, number))
    }

    fn key(number: u128) -> KeyId {
        let (tenant, node) = ("acme".parse().unwrap(), "n1".parse().unwrap());
        KeyId::new(tenant, node, Ulid::from_parts(0, number))
    }

    fn velocity(per_call: Option<u32>, per_key_hour: Option<u32>) -> Velocity {
        Velocity::new(VelocityLimits {
            per_call,
            per_key_hour,
        })
    }

    #[test]
    fn a_call_has_so_many_tries_and_what_was_not_tried_is_none_of_them() {
        let mut velocity = velocity(Some(2), None);
        let now = Instant::now();
        assert_eq!(velocity.count(&call(1), None, now), Ok(()));
        assert_eq!(velocity.count(&call(1), None, now), Ok(()));
        assert_eq!(velocity.count(&call(1), None, now), Err(TooMany::OnCall(2)));
        assert_eq!(velocity.count(&call(2), None, now), Ok(()), "another call");
        velocity.take_back(&call(1), None);
        assert_eq!(velocity.count(&call(1), None, now), Ok(()));
        assert_eq!(velocity.count(&call(1), None, now), Err(TooMany::OnCall(2)));
        velocity.forget(&call(1));
        assert!(!velocity.calls.contains_key(&call(1)));
    }

    #[test]
    fn a_key_has_so_many_tries_in_any_hour_on_whatever_call() {
        let mut velocity = velocity(None, Some(2));
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut tried =
            |number, of, minutes| velocity.count(&call(number), Some(&key(of)), at(minutes));
        assert_eq!(tried(1, 1, 0), Ok(()));
        assert_eq!(tried(2, 1, 30), Ok(()));
        let wait = Duration::from_secs(60 * 25);
        assert_eq!(tried(3, 1, 35), Err(TooMany::ByKey { limit: 2, wait }));
        assert_eq!(tried(3, 2, 35), Ok(()), "another key");
        assert_eq!(tried(3, 1, 60), Ok(()));
        let wait = Duration::from_secs(60 * 29);
        assert_eq!(tried(3, 1, 61), Err(TooMany::ByKey { limit: 2, wait }));
        velocity.take_back(&call(3), Some(&key(1)));
        assert_eq!(velocity.count(&call(3), Some(&key(1)), at(62)), Ok(()));
        // Whoever has not tried for an hour takes no memory.
        assert_eq!(velocity.count(&call(4), Some(&key(3)), at(200)), Ok(()));
        assert_eq!(velocity.keys.len(), 1);
    }

    #[test]
    fn a_try_that_one_limit_refuses_does_not_count_for_the_other() {
        let mut velocity = velocity(Some(1), Some(1));
        let now = Instant::now();
        assert_eq!(velocity.count(&call(1), Some(&key(1)), now), Ok(()));
        let refused = velocity.count(&call(2), Some(&key(1)), now);
        assert!(matches!(refused, Err(TooMany::ByKey { .. })));
        assert!(!velocity.calls.contains_key(&call(2)));
        let refused = velocity.count(&call(1), Some(&key(2)), now);
        assert_eq!(refused, Err(TooMany::OnCall(1)));
        assert!(!velocity.keys.contains_key(&key(2)));
    }
}
