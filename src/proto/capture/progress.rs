//! When the agent is told how many keys there are.

use std::time::{Duration, Instant};

use crate::proto::card::Brand;

/// Keys are told on this grid, counted from the opening of the field: their exact moments are a
/// rhythm by which a person may be known, and which narrows down neighbouring keys.
pub(super) const GRID: Duration = Duration::from_millis(250);

/// What is to be told at the next point of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// The point.
    pub(super) at: Instant,
    /// Digits by then.
    pub(super) count: u8,
    /// The brand by then.
    pub(super) brand: Option<Brand>,
}

/// The first point of the grid after `now`, of a field opened at `opened`.
pub(super) fn next_point(opened: Instant, now: Instant) -> Instant {
    let elapsed = now.saturating_duration_since(opened).as_nanos();
    let points = elapsed / GRID.as_nanos() + 1;
    opened + GRID.saturating_mul(u32::try_from(points).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_counts_from_the_opening_and_its_next_point_is_always_ahead() {
        let opened = Instant::now();
        let at = |ms| opened + Duration::from_millis(ms);
        assert_eq!(next_point(opened, opened), at(250));
        assert_eq!(next_point(opened, at(249)), at(250));
        assert_eq!(next_point(opened, at(250)), at(500));
        assert_eq!(next_point(opened, at(1001)), at(1250));
    }
}
