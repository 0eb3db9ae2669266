//! How long a session lives without a sign of life (RFC 4028), leg by leg.

use std::time::{Duration, Instant};

/// The least that we take (RFC 4028 section 4).
pub const MIN_SE: u32 = 90;

/// Which end of a leg refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The gateway.
    Us,
    /// The far end.
    Them,
}

/// What a `Session-Expires` field tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub seconds: u32,
    /// `refresher`: true for `uac`.
    pub by_client: Option<bool>,
}

impl SessionExpires {
    /// Reads a field's value.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let seconds = parts.next()?.parse().ok()?;
        let mut by_client = None;
        for part in parts {
            if let Some((name, value)) = part.split_once('=')
                && name.trim().eq_ignore_ascii_case("refresher")
            {
                let value = value.trim();
                by_client = Some(value.eq_ignore_ascii_case("uac"));
            }
        }
        Some(Self { seconds, by_client })
    }
}

/// One leg's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    interval: Duration,
    /// Seconds that our refresh asks for.
    asks: u32,
    refresher: Refresher,
    since: Instant,
    /// When we refresh, unless a refresh is on its way.
    refresh: Option<Instant>,
}

impl SessionTimer {
    /// A timer that begins (again) now.
    #[must_use]
    pub fn new(seconds: u32, refresher: Refresher, now: Instant) -> Self {
        let interval = Duration::from_secs(u64::from(seconds));
        Self {
            interval,
            asks: seconds,
            refresher,
            since: now,
            // Half of the interval before its end (RFC 4028 section 10).
            refresh: (refresher == Refresher::Us).then(|| now + interval / 2),
        }
    }

    /// A refresh of ours is on its way.
    pub const fn asked(&mut self) {
        self.refresh = None;
    }

    /// The far end wants no less than this; what is over when stays as it was told.
    pub fn lengthen(&mut self, seconds: u32) {
        self.asks = self.asks.max(seconds);
    }

    /// A refresh of ours came to nothing; the next is sent then.
    pub const fn again_at(&mut self, at: Instant) {
        self.refresh = Some(at);
    }

    /// Whether the gateway has to refresh.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self.refresher, Refresher::Us)
    }

    /// Seconds that the next refresh asks for.
    #[must_use]
    pub const fn seconds(&self) -> u32 {
        self.asks
    }

    /// When we refresh next.
    #[must_use]
    pub const fn refresh_at(&self) -> Option<Instant> {
        self.refresh
    }

    /// When a leg that was not refreshed is over: the lesser of 32 s and a third of the interval
    /// before its end (RFC 4028 section 10).
    #[must_use]
    pub fn over_at(&self) -> Instant {
        self.since + self.interval - (self.interval / 3).min(Duration::from_secs(32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_read_with_and_without_a_refresher() {
        let read = |text| SessionExpires::parse(text).map(|se| (se.seconds, se.by_client));
        assert_eq!(read("1800"), Some((1800, None)));
        assert_eq!(read(" 90 ; Refresher = UAC ;x"), Some((90, Some(true))));
        assert_eq!(read("90;refresher=uas"), Some((90, Some(false))));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn we_refresh_at_half_time_and_end_before_the_far_end_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ours = SessionTimer::new(1800, Refresher::Us, start);
        assert_eq!(ours.refresh_at(), Some(at(900)));
        assert_eq!(ours.over_at(), at(1768));
        let theirs = SessionTimer::new(90, Refresher::Them, start);
        assert_eq!((theirs.refresh_at(), theirs.over_at()), (None, at(60)));
    }

    #[test]
    fn a_refresh_is_asked_for_once_unless_it_came_to_nothing() {
        let start = Instant::now();
        let mut ours = SessionTimer::new(1800, Refresher::Us, start);
        ours.asked();
        assert_eq!(ours.refresh_at(), None);
        ours.again_at(start + Duration::from_secs(901));
        assert_eq!(ours.refresh_at(), Some(start + Duration::from_secs(901)));
        assert_eq!(ours.over_at(), start + Duration::from_secs(1768));
    }
}
