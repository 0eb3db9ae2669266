//! Tells a worker that orders wait for it, by a system call only where it sleeps.
//!
//! Both sides first say what they have done and then look at what the other has: the worker says that
//! it will sleep, and looks for orders once more; whoever gives an order puts it into the queue, and
//! looks whether the worker sleeps. With a barrier between the two steps on either side, at least one
//! sees the other, so no order waits for longer than it takes to look.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering, fence},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};

/// One worker's. It is waited for by epoll, edge-triggered: its count is never read.
pub(super) struct Doorbell {
    /// The worker sleeps, or is about to. Whoever clears it has to wake it.
    sleeps: AtomicBool,
    wake: OwnedFd,
}

impl Doorbell {
    /// Of a worker that is awake.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            sleeps: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// What becomes readable, as an edge, whenever the worker is woken.
    pub(super) const fn descriptor(&self) -> &OwnedFd {
        &self.wake
    }

    /// The worker is about to sleep, and looks for orders once more. It must not sleep where it
    /// finds one.
    pub(super) fn will_sleep<T>(&self, look: impl FnOnce() -> Option<T>) -> Option<T> {
        self.sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        look()
    }

    /// The worker is awake, and will look for orders after this.
    pub(super) fn is_awake(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
    }

    /// An order stands in the queue: ends the worker's wait, or the one that it is about to begin.
    /// Of many who ring at the same time one makes the system call.
    ///
    /// # Errors
    /// What the system says; the worker finds its orders at its next packet all the same.
    pub(super) fn ring(&self) -> io::Result<()> {
        fence(Ordering::SeqCst);
        if !self.sleeps.load(Ordering::Relaxed) || !self.sleeps.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            Ok(_) => Ok(()),
            // So many are not counted in the life of a process.
            Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicU64, mpsc::sync_channel},
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::media::{sockets::Sockets, wire::Wire};

    /// Longer than anything takes here: who waited so long was not woken.
    const LONG: Duration = Duration::from_secs(20);

    fn bell() -> (Arc<Doorbell>, Sockets) {
        let bell = Arc::new(Doorbell::new().unwrap());
        let wire = Sockets::new(&bell, None).unwrap();
        (bell, wire)
    }

    /// How long a wait lasts, of at most a quarter of a second.
    fn waits(wire: &mut Sockets) -> Duration {
        let since = Instant::now();
        wire.wait(Duration::from_millis(250)).unwrap();
        since.elapsed()
    }

    #[test]
    fn who_sleeps_or_will_is_woken_once() {
        let (bell, mut wire) = bell();
        for _ in 0..3 {
            assert_eq!(bell.will_sleep(|| None::<()>), None);
            bell.ring().unwrap();
            bell.ring().unwrap();
            wire.wait(LONG).unwrap();
            bell.is_awake();
            assert!(waits(&mut wire) >= Duration::from_millis(200), "not twice");
        }
    }

    #[test]
    fn who_is_awake_is_not_woken() {
        let (bell, mut wire) = bell();
        bell.ring().unwrap();
        assert_eq!(bell.will_sleep(|| None::<()>), None);
        bell.is_awake();
        bell.ring().unwrap();
        assert!(waits(&mut wire) >= Duration::from_millis(200));
    }

    #[test]
    fn no_order_is_overlooked_however_it_meets_the_going_to_sleep() {
        const ORDERS: u64 = 100_000;
        let (bell, mut wire) = bell();
        let (orders, taken) = sync_channel(64);
        let done = Arc::new(AtomicU64::new(0));
        let giver = {
            let (bell, done) = (Arc::clone(&bell), Arc::clone(&done));
            thread::spawn(move || {
                for n in 0..ORDERS {
                    orders.send(n).unwrap();
                    bell.ring().unwrap();
                    // Nothing else wakes the worker before it has done this one.
                    while done.load(Ordering::Acquire) <= n {
                        thread::yield_now();
                    }
                    for _ in 0..n % 211 {
                        std::hint::spin_loop();
                    }
                }
            })
        };
        let mut did = 0;
        while did < ORDERS {
            let look = || {
                let found = taken.try_recv().ok();
                // Orders come while it goes to sleep, too.
                for _ in 0..did % 307 {
                    std::hint::spin_loop();
                }
                found
            };
            let found = bell.will_sleep(look).is_some();
            let since = Instant::now();
            if !found {
                wire.wait(LONG).unwrap();
            }
            assert!(
                since.elapsed() < LONG / 2,
                "order {did} waits, and the worker sleeps"
            );
            bell.is_awake();
            let more = std::iter::from_fn(|| taken.try_recv().ok()).count();
            did += u64::from(found) + more as u64;
            done.store(did, Ordering::Release);
        }
        giver.join().unwrap();
    }
}
