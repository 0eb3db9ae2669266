//! Events of payments and calls: kept for replay, and told live.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use tokio::sync::broadcast;

use super::{PaymentEvent, PaymentView, Subscription};
use crate::proto::id::{CallId, Tenant};

/// Events kept per tenant, a view of 2 to 3 kB in each: enough for a watcher that comes back within
/// seconds. Whoever missed more is told to ask for the state anew.
const KEPT: usize = 512;
/// Events that a slow watcher may fall behind before it has to start anew.
const BEHIND: usize = 1024;

pub(super) struct Hub {
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// The first id of this process: what is older was told by an earlier one.
    first: u64,
    tenants: BTreeMap<Tenant, Channel>,
}

struct Channel {
    kept: VecDeque<PaymentEvent>,
    /// Everything after this id is kept.
    complete_after: u64,
    live: broadcast::Sender<PaymentEvent>,
}

impl Hub {
    /// Ids begin at `first`. The caller takes microseconds of UTC, so that an id of an earlier
    /// process is smaller than any of this one and is never taken for one of its own.
    pub(super) fn new(first: u64) -> Self {
        Self {
            state: Mutex::new(State {
                next: first,
                first,
                tenants: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn publish(&self, name: &str, call: &CallId, payment: Option<PaymentView>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let event = PaymentEvent {
            id: state.next,
            name: name.to_owned(),
            tenant: call.tenant().clone(),
            call: call.clone(),
            payment,
        };
        state.next += 1;
        let channel = state.channel(call.tenant());
        if channel.kept.len() == KEPT
            && let Some(oldest) = channel.kept.pop_front()
        {
            channel.complete_after = oldest.id;
        }
        channel.kept.push_back(event.clone());
        // An error only says that nobody is watching.
        let _ = channel.live.send(event);
    }

    /// What came after `last`, and what will come, with nothing lost or doubled between the two.
    pub(super) fn subscribe(&self, tenant: &Tenant, last: Option<u64>) -> Subscription {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.next;
        let channel = state.channel(tenant);
        let replay = match last {
            None => Some(Vec::new()),
            Some(last) if last < channel.complete_after || last >= next => None,
            Some(last) => Some(
                channel
                    .kept
                    .iter()
                    .filter(|event| event.id > last)
                    .cloned()
                    .collect(),
            ),
        };
        Subscription {
            replay,
            live: channel.live.subscribe(),
        }
    }
}

impl State {
    fn channel(&mut self, tenant: &Tenant) -> &mut Channel {
        let complete_after = self.first;
        self.tenants
            .entry(tenant.clone())
            .or_insert_with(|| Channel {
                kept: VecDeque::new(),
                complete_after,
                live: broadcast::channel(BEHIND).0,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallId {
        CallId::new(
            "acme".parse().unwrap(),
            "n1".parse().unwrap(),
            ulid::Ulid::from_parts(1, 1),
        )
    }

    #[test]
    fn a_watcher_that_comes_back_gets_what_it_missed_once() {
        let hub = Hub::new(100);
        let call = call();
        for _ in 0..3 {
            hub.publish("call.started", &call, None);
        }
        let mut watched = hub.subscribe(call.tenant(), Some(100));
        let ids: Vec<u64> = watched.replay.unwrap().iter().map(|e| e.id).collect();
        assert_eq!(ids, [101, 102]);
        hub.publish("call.ended", &call, None);
        assert_eq!(watched.live.try_recv().unwrap().id, 103);
        assert!(watched.live.try_recv().is_err());
    }

    #[test]
    fn what_is_no_longer_kept_is_not_half_replayed() {
        let hub = Hub::new(100);
        let call = call();
        for _ in 0..=KEPT {
            hub.publish("call.started", &call, None);
        }
        assert!(hub.subscribe(call.tenant(), Some(99)).replay.is_none());
        assert_eq!(
            hub.subscribe(call.tenant(), Some(100))
                .replay
                .unwrap()
                .len(),
            KEPT
        );
        assert!(
            hub.subscribe(call.tenant(), Some(u64::MAX))
                .replay
                .is_none()
        );
    }

    #[test]
    fn a_tenant_sees_nothing_of_another() {
        let hub = Hub::new(0);
        let call = call();
        let mut other = hub.subscribe(&"other".parse().unwrap(), None);
        hub.publish("call.started", &call, None);
        assert!(other.live.try_recv().is_err());
    }
}
