//! The moment at which something is decided. Nothing under `proto/` reads a clock: it is told.

use std::time::{Duration, Instant};

/// One reading of both clocks, taken together by the caller.
///
/// Deadlines are measured on `instant` only, which a correction of the wall clock cannot move;
/// `utc` is what people and auditors read (PCI DSS 10.2.2, 10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock, for deadlines and intervals.
    pub instant: Instant,
    /// Coordinated universal time, for records.
    pub utc: jiff::Timestamp,
}

impl Now {
    /// The same moment `later` on: both clocks advance alike. Simulated time is made of this.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self {
            instant: self.instant + later,
            utc: self.utc.checked_add(later).unwrap_or(self.utc),
        }
    }
}
