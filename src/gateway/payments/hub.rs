//! Events of payments and calls: kept for replay, and told live.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

use super::{PaymentEvent, PaymentState, PaymentView, Subscription};
use crate::proto::id::{CallId, PaymentId, Tenant};

/// Bytes of events kept per tenant, some 500 to 1,000 events: enough for a watcher that comes back
/// within seconds. Whoever missed more is told to ask for the state anew.
const KEPT_BYTES: usize = 512 * 1024;
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
    kept: Kept,
    /// Everything after this id is kept.
    complete_after: u64,
    live: broadcast::Sender<Arc<PaymentEvent>>,
}

/// The last events, in one piece of memory: thousands of small ones, each allocated amid what is
/// short-lived and freed long after it, would keep the pages of all of that.
struct Kept {
    data: VecDeque<u8>,
    events: VecDeque<Index>,
}

/// An event without its data.
struct Index {
    id: u64,
    name: &'static str,
    payment: Option<(PaymentId, PaymentState)>,
    length: usize,
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

    pub(super) fn publish(&self, name: &'static str, call: &CallId, payment: Option<&PaymentView>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let event = match PaymentEvent::new(state.next, name, call, payment) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%call, name, %error, "an event has no JSON form and is not told");
                return;
            }
        };
        state.next += 1;
        let channel = state.channel(call.tenant());
        if let Some(forgotten) = channel.kept.push(&event) {
            channel.complete_after = forgotten;
        }
        // An error only says that nobody is watching.
        let _ = channel.live.send(Arc::new(event));
    }

    /// What came after `last`, and what will come, with nothing lost or doubled between the two.
    pub(super) fn subscribe(&self, tenant: &Tenant, last: Option<u64>) -> Subscription {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.next;
        let channel = state.channel(tenant);
        let replay = match last {
            None => Some(Vec::new()),
            Some(last) if last < channel.complete_after || last >= next => None,
            Some(last) => Some(channel.kept.after(last, tenant)),
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
                kept: Kept {
                    data: VecDeque::with_capacity(KEPT_BYTES),
                    events: VecDeque::new(),
                },
                complete_after,
                live: broadcast::channel(BEHIND).0,
            })
    }
}

impl Kept {
    /// Keeps the event; answers the last one that had to go for it.
    fn push(&mut self, event: &PaymentEvent) -> Option<u64> {
        let mut forgotten = None;
        while self.data.len() + event.data.len() > KEPT_BYTES
            && let Some(oldest) = self.events.pop_front()
        {
            self.data.drain(..oldest.length);
            forgotten = Some(oldest.id);
        }
        self.data.extend(event.data.as_bytes());
        self.events.push_back(Index {
            id: event.id,
            name: event.name,
            payment: event.payment.clone(),
            length: event.data.len(),
        });
        forgotten
    }

    fn after(&self, last: u64, tenant: &Tenant) -> Vec<Arc<PaymentEvent>> {
        let mut end = 0;
        let mut found = Vec::new();
        for event in &self.events {
            let start = end;
            end += event.length;
            if event.id <= last {
                continue;
            }
            let data: Vec<u8> = self.data.range(start..end).copied().collect();
            found.push(Arc::new(PaymentEvent {
                id: event.id,
                name: event.name,
                tenant: tenant.clone(),
                payment: event.payment.clone(),
                data: String::from_utf8_lossy(&data).into_owned(),
            }));
        }
        found
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
    fn a_watcher_that_comes_back_gets_what_it_missed_once_and_as_it_was_told() {
        let hub = Hub::new(100);
        let call = call();
        let mut told = hub.subscribe(call.tenant(), None);
        for _ in 0..3 {
            hub.publish("call.started", &call, None);
        }
        let mut watched = hub.subscribe(call.tenant(), Some(100));
        let replay = watched.replay.unwrap();
        let ids: Vec<u64> = replay.iter().map(|e| e.id).collect();
        assert_eq!(ids, [101, 102]);
        assert_eq!(told.live.try_recv().unwrap().id, 100);
        assert_eq!(told.live.try_recv().unwrap(), replay[0]);
        assert_eq!(told.live.try_recv().unwrap(), replay[1]);
        hub.publish("call.ended", &call, None);
        assert_eq!(watched.live.try_recv().unwrap().id, 103);
        assert!(watched.live.try_recv().is_err());
    }

    #[test]
    fn what_is_no_longer_kept_is_not_half_replayed() {
        let hub = Hub::new(100);
        let call = call();
        let replayed = |last| hub.subscribe(call.tenant(), Some(last)).replay;
        hub.publish("call.started", &call, None);
        let mut published = 1;
        while replayed(100).is_some() {
            hub.publish("call.started", &call, None);
            published += 1;
        }
        assert!(published > 1_000, "{published}");
        let newest = 99 + published;
        let kept = (100..newest).find_map(replayed).unwrap();
        assert_eq!(kept.last().unwrap().id, newest);
        assert!(
            kept.iter()
                .zip(kept[0].id..)
                .all(|(event, id)| event.id == id && event.data.ends_with('}')),
        );
        assert!(kept.len() > 1_000, "{}", kept.len());
        assert!(replayed(u64::MAX).is_none());
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
