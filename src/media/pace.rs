//! Whether a worker naps between two wake-ups, so that more packets wait for each.
//!
//! A wake-up costs as much as a packet or two. On a busy machine, where packets come evenly, a nap
//! of a millisecond shares it among many; on a quiet one, or where packets come in bursts, the nap
//! costs more than it saves. So the worker measures what a packet costs it either way, and naps
//! while that is cheaper. An idle worker never naps: it waits. Nor does one that has fallen behind.

use std::time::{Duration, Instant};

/// How long what a packet costs is measured at a time.
const WINDOW: Duration = Duration::from_millis(250);
/// Packets a window from which on there is something to save: 20,000 a second, which is 200 calls.
/// With fewer a worker has time to spare, and a packet's delay counts for more.
const BUSY_PACKETS: u64 = 5_000;
/// So many packets at one wake-up share its cost well enough: what came meanwhile goes first.
const ENOUGH: u32 = 64;
/// Windows that go by before the other way is tried for one: 10 s.
const STAY: u32 = 40;
/// Share of a packet's cost that the other way has to save.
const WORTH: f32 = 0.95;

/// One measurement under way.
struct Window {
    began: Instant,
    cpu: Duration,
    packets: u64,
}

/// Decides on naps. Reads no clock: it is told both.
pub(super) struct Pace {
    nap: Duration,
    napping: bool,
    window: Option<Window>,
    /// CPU a packet of the way that was taken before, in nanoseconds, while the other is tried.
    before: Option<f32>,
    /// Windows since the other way was tried.
    stayed: u32,
}

impl Pace {
    /// Naps of this length, or none where it is zero.
    pub(super) const fn new(nap: Duration) -> Self {
        Self {
            nap,
            napping: false,
            window: None,
            before: None,
            // A busy worker tries soon what a nap saves.
            stayed: STAY,
        }
    }

    /// A wake-up has worked off so many packets. How long to nap before the next; `cpu` is what
    /// this thread has used so far, and is asked four times a second.
    pub(super) fn after(
        &mut self,
        packets: u32,
        now: Instant,
        cpu: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        if self.nap.is_zero() {
            return None;
        }
        let Some(window) = &mut self.window else {
            self.begin(now, cpu());
            return None;
        };
        window.packets += u64::from(packets);
        let passed = now.duration_since(window.began);
        if passed >= WINDOW {
            let (packets, used) = (window.packets, cpu());
            let spent = used.saturating_sub(window.cpu);
            self.begin(now, used);
            // A worker that slept through its window was idle, however many packets woke it.
            let busy = packets >= BUSY_PACKETS && passed < 2 * WINDOW;
            self.decide(busy.then(|| spent.as_nanos() as f32 / packets as f32));
        }
        (self.napping && (1..ENOUGH).contains(&packets)).then_some(self.nap)
    }

    const fn begin(&mut self, now: Instant, cpu: Duration) {
        self.window = Some(Window {
            began: now,
            cpu,
            packets: 0,
        });
    }

    /// What a packet of the last window cost; nothing where it was idle.
    fn decide(&mut self, cost: Option<f32>) {
        let Some(cost) = cost else {
            (self.napping, self.before, self.stayed) = (false, None, STAY);
            return;
        };
        match self.before.take() {
            Some(before) => {
                self.stayed = 0;
                // Back, unless it was worth it.
                self.napping ^= cost > before * WORTH;
            }
            None if self.stayed >= STAY => {
                self.before = Some(cost);
                self.napping = !self.napping;
            }
            None => self.stayed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAP: Duration = Duration::from_millis(1);

    /// A worker in simulated time.
    struct Sim {
        pace: Pace,
        now: Instant,
        cpu: Duration,
    }

    impl Sim {
        fn new(nap: Duration) -> Self {
            Self {
                pace: Pace::new(nap),
                now: Instant::now(),
                cpu: Duration::ZERO,
            }
        }

        /// Works for a minute, with so many packets a second; each costs so many microseconds by
        /// itself, and a wake-up so many more. The share of the time that it napped.
        fn napped(&mut self, rate: u64, packet_us: u64, wake_us: u64) -> f64 {
            let end = self.now + Duration::from_secs(60);
            let each = Duration::from_micros(1_000_000 / rate);
            let (mut nap, mut napped) = (None, Duration::ZERO);
            while self.now < end {
                let passed = nap.unwrap_or(each).max(each);
                self.now += passed;
                let packets = passed.as_micros() as u64 * rate / 1_000_000;
                self.cpu += Duration::from_micros(wake_us + packets * packet_us);
                nap = self.pace.after(packets as u32, self.now, || self.cpu);
                napped += nap.unwrap_or_default();
            }
            napped.as_secs_f64() / 60.0
        }
    }

    #[test]
    fn a_worker_naps_where_that_makes_a_packet_cheaper() {
        assert!(Sim::new(NAP).napped(40_000, 3, 2) > 0.9);
    }

    #[test]
    fn it_does_not_where_a_wake_up_costs_next_to_nothing() {
        let share = Sim::new(NAP).napped(40_000, 20, 0);
        assert!(share < 0.05, "{share}: it tries now and then");
    }

    #[test]
    fn an_idle_worker_never_naps() {
        let mut sim = Sim::new(NAP);
        assert!(sim.napped(10_000, 3, 50) == 0.0);
        assert!(sim.napped(40_000, 3, 2) > 0.9);
        let share = sim.napped(10_000, 3, 50);
        assert!(share < 0.01, "{share}: also after a busy hour");
    }

    #[test]
    fn a_worker_that_has_fallen_behind_never_naps() {
        let mut sim = Sim::new(NAP);
        sim.napped(40_000, 3, 2);
        let mut after = |packets| sim.pace.after(packets, sim.now, || sim.cpu);
        assert_eq!(after(10), Some(NAP));
        assert_eq!(after(64), None);
        assert_eq!(after(0), None, "nor one that found nothing");
    }

    #[test]
    fn without_a_length_there_is_no_nap() {
        assert!(Sim::new(Duration::ZERO).napped(40_000, 3, 2) == 0.0);
    }
}
