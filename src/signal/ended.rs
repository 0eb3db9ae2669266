//! Calls that are over: what is still told of them, and what is still waited for.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

use super::{record::CallRecord, statistics};
use crate::{
    media::{CallStats, ports::PortPair},
    proto::{id::CallId, ng::Dict},
};

/// Most records that linger: 50 MB of them. Beyond, the oldest are forgotten early.
pub(super) const MOST: usize = if cfg!(test) { 5 } else { 50_000 };

/// The calls that were deleted a moment ago.
#[derive(Default)]
pub(super) struct Ended {
    lingering: HashMap<Arc<str>, Lingering>,
    /// Oldest first.
    order: VecDeque<(Instant, u64, Arc<str>)>,
    serial: u64,
    closing: HashMap<CallId, Closing>,
}

/// What `delete` and `query` still tell.
struct Lingering {
    serial: u64,
    record: Box<CallRecord>,
    stats: CallStats,
    at: Timestamp,
}

/// Until the media plane has closed the sockets.
struct Closing {
    _ports: Option<(PortPair, PortPair)>,
    until: Instant,
}

impl Ended {
    /// A call that ends now and is remembered until `until`. Its place is free at once, its ports when
    /// [`Self::closed`] is told.
    pub(super) fn enter(
        &mut self,
        mut record: Box<CallRecord>,
        stats: CallStats,
        until: Instant,
        at: Timestamp,
    ) {
        let closing = Closing {
            _ports: record.let_go(),
            until,
        };
        self.closing.insert(record.id.clone(), closing);
        self.serial += 1;
        let (serial, signalling_id) = (self.serial, Arc::clone(&record.signalling_id));
        self.order
            .push_back((until, serial, Arc::clone(&signalling_id)));
        let lingering = Lingering {
            serial,
            record,
            stats,
            at,
        };
        self.lingering.insert(signalling_id, lingering);
        if self.order.len() > MOST {
            self.forget_oldest();
        }
    }

    /// The body that answers `delete` and `query`.
    pub(super) fn body(&self, signalling_id: &str) -> Option<Dict> {
        let Lingering {
            record, stats, at, ..
        } = self.lingering.get(signalling_id)?;
        Some(statistics::body(record, stats, *at))
    }

    /// The media plane has closed the call's sockets: its ports may rest. Whether it was waited for.
    pub(super) fn closed(&mut self, id: &CallId) -> bool {
        self.closing.remove(id).is_some()
    }

    /// The calls whose sockets are not closed yet.
    pub(super) fn closing(&self) -> impl ExactSizeIterator<Item = &CallId> {
        self.closing.keys()
    }

    /// Forgets what is old. Returns the calls that the media plane never said were over.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<CallId> {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.forget_oldest();
        }
        let lost = self
            .closing
            .extract_if(|_, closing| closing.until <= now)
            .map(|(id, _)| id);
        lost.collect()
    }

    fn forget_oldest(&mut self) {
        let Some((_, serial, signalling_id)) = self.order.pop_front() else {
            return;
        };
        // A later call of the same Call-ID has its own turn.
        if self
            .lingering
            .get(&signalling_id)
            .is_some_and(|lingering| lingering.serial == serial)
        {
            self.lingering.remove(&signalling_id);
        }
    }
}
