//! Pairs of UDP ports: RTP on an even one, RTCP on the next.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::LegSockets;

/// How long a pair rests before it is used again, so that late packets of the old call do not
/// reach a new one.
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(5);
/// How many pairs are tried before a bind error is believed: other programs may hold a few ports.
const BIND_TRIES: usize = 32;

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The range holds no pair at all.
    #[error("the ports {0} to {1} hold no even port with an odd one after it; widen the range")]
    Range(u16, u16),
    /// All pairs are in use or resting. The words are those on which NG clients try another node.
    #[error("Ran out of ports")]
    Empty,
    /// The operating system refuses.
    #[error("no socket can be bound on {address}: {source}")]
    Bind {
        /// Our media address.
        address: IpAddr,
        /// What the operating system said last.
        source: io::Error,
    },
}

/// What media sockets ask of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Differentiated services code point of what is sent (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Bytes that may wait in each direction, or as many as the system gives. It doubles them for its
    /// own use, and grants no more than `net.core.rmem_max` and `wmem_max`.
    pub buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            // Expedited forwarding, telephony's (RFC 3246, RFC 4594 section 4.1).
            dscp: 46,
            buffer_bytes: None,
        }
    }
}

impl SocketOptions {
    fn apply(self, socket: &UdpSocket, address: IpAddr) -> io::Result<()> {
        // The code point is the upper six bits of the field.
        let field = self.dscp << 2;
        match address {
            IpAddr::V4(_) => sockopt::set_ip_tos(socket, field)?,
            IpAddr::V6(_) => sockopt::set_ipv6_tclass(socket, field.into())?,
        }
        if let Some(bytes) = self.buffer_bytes {
            sockopt::set_socket_recv_buffer_size(socket, bytes)?;
            sockopt::set_socket_send_buffer_size(socket, bytes)?;
        }
        Ok(())
    }
}

/// The pairs of one media address; cheap to clone. Taking and returning one is O(1).
#[derive(Clone)]
pub struct PortPool {
    shared: Arc<Shared>,
}

struct Shared {
    address: IpAddr,
    quarantine: Duration,
    options: SocketOptions,
    pairs: Mutex<Pairs>,
}

struct Pairs {
    /// Even ports, in no order.
    free: Vec<u16>,
    /// Even ports that rest, oldest first.
    resting: VecDeque<(Instant, u16)>,
}

impl PortPool {
    /// All pairs within `range`. `quarantine` is how long one rests after use.
    pub fn new(
        address: IpAddr,
        range: RangeInclusive<u16>,
        quarantine: Duration,
        options: SocketOptions,
    ) -> Result<Self, PortError> {
        let even = |port: &u16| port.is_multiple_of(2) && *port > 0 && port < range.end();
        let free: Vec<u16> = range.clone().filter(even).collect();
        if free.is_empty() {
            return Err(PortError::Range(*range.start(), *range.end()));
        }
        Ok(Self {
            shared: Arc::new(Shared {
                address,
                quarantine,
                options,
                pairs: Mutex::new(Pairs {
                    resting: VecDeque::with_capacity(free.len()),
                    free,
                }),
            }),
        })
    }

    /// A random free pair, bound and non-blocking.
    pub fn allocate(&self) -> Result<(PortPair, LegSockets), PortError> {
        for _ in 0..BIND_TRIES {
            let Some(rtp_port) = self.shared.take(Instant::now()) else {
                break;
            };
            // From here on the guard returns the pair, whatever happens.
            let pair = PortPair {
                rtp_port,
                shared: Arc::clone(&self.shared),
            };
            match bind(self.shared.address, rtp_port, self.shared.options) {
                Ok(sockets) => return Ok((pair, sockets)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // No more descriptors, say: with another pair it would be the same.
                Err(source) => {
                    return Err(PortError::Bind {
                        address: self.shared.address,
                        source,
                    });
                }
            }
        }
        Err(PortError::Empty)
    }

    /// How many pairs are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        let mut pairs = self.shared.lock();
        pairs.wake(Instant::now());
        pairs.free.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, now: Instant) -> Option<u16> {
        let mut pairs = self.lock();
        pairs.wake(now);
        if pairs.free.is_empty() {
            return None;
        }
        // Random, so that a stranger cannot guess where the next call's media goes.
        let index = rand::rng().random_range(0..pairs.free.len());
        Some(pairs.free.swap_remove(index))
    }
}

impl Pairs {
    fn wake(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.free
                .extend(self.resting.pop_front().map(|(_, port)| port));
        }
    }
}

/// A pair in use. Dropped once the sockets are closed, it rests and then returns to its pool.
pub struct PortPair {
    rtp_port: u16,
    shared: Arc<Shared>,
}

impl PortPair {
    /// The RTP port; RTCP is the next.
    #[must_use]
    pub const fn rtp_port(&self) -> u16 {
        self.rtp_port
    }
}

impl Drop for PortPair {
    fn drop(&mut self) {
        let until = Instant::now() + self.shared.quarantine;
        self.shared.lock().resting.push_back((until, self.rtp_port));
    }
}

fn bind(address: IpAddr, rtp_port: u16, options: SocketOptions) -> io::Result<LegSockets> {
    let open = |port| {
        let family = match address {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        // One system call for what the standard library takes two.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::DGRAM, flags, None)?;
        let socket = UdpSocket::from(socket);
        net::bind(&socket, &SocketAddr::new(address, port))?;
        options.apply(&socket, address)?;
        Ok::<_, io::Error>(socket)
    };
    Ok(LegSockets {
        rtp: open(rtp_port)?,
        rtcp: open(rtp_port + 1)?,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::Ipv4Addr, thread::sleep};

    use super::*;

    // Each test has a range of its own: they run at the same time.
    fn pool(range: RangeInclusive<u16>, quarantine: Duration) -> PortPool {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        PortPool::new(address, range, quarantine, SocketOptions::default()).unwrap()
    }

    #[test]
    fn a_pair_is_even_and_odd_and_bound() {
        let (pair, sockets) = pool(21_001..=21_020, Duration::ZERO).allocate().unwrap();
        assert!(pair.rtp_port().is_multiple_of(2));
        assert_eq!(sockets.rtp.local_addr().unwrap().port(), pair.rtp_port());
        assert_eq!(
            sockets.rtcp.local_addr().unwrap().port(),
            pair.rtp_port() + 1
        );
        let error = sockets.rtp.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn every_pair_is_given_once_and_then_none() {
        let pool = pool(21_100..=21_119, Duration::from_secs(60));
        let held: Vec<_> = (0..10).map(|_| pool.allocate().unwrap()).collect();
        let ports: HashSet<u16> = held.iter().map(|(pair, _)| pair.rtp_port()).collect();
        assert_eq!(ports.len(), 10);
        assert_eq!(
            pool.allocate().err().unwrap().to_string(),
            "Ran out of ports"
        );
    }

    #[test]
    fn a_returned_pair_rests_before_it_is_used_again() {
        let rest = Duration::from_millis(500);
        let pool = pool(21_200..=21_201, rest);
        drop(pool.allocate().unwrap());
        let returned = Instant::now();
        // On a host that stopped this thread meanwhile nothing is to be seen.
        assert!(pool.allocate().is_err() || returned.elapsed() >= rest);
        // A time that has to pass.
        sleep(rest);
        assert!(pool.free() == 1 && pool.allocate().is_ok());
    }

    #[test]
    fn a_port_that_another_program_holds_is_passed_over() {
        let _other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 21_300)).unwrap();
        let pool = pool(21_300..=21_303, Duration::from_secs(60));
        let (pair, _sockets) = pool.allocate().unwrap();
        assert_eq!(pair.rtp_port(), 21_302);
        assert!(matches!(pool.allocate(), Err(PortError::Empty)));
    }

    #[test]
    fn a_range_without_a_pair_is_refused() {
        for range in [21_401..=21_402, 65_535..=65_535, 0..=1] {
            let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let options = SocketOptions::default();
            assert!(PortPool::new(address, range, Duration::ZERO, options).is_err());
        }
    }

    #[test]
    fn an_address_that_is_not_ours_is_told_apart_from_a_full_pool() {
        let address = "192.0.2.1".parse().unwrap();
        let options = SocketOptions::default();
        let pool = PortPool::new(address, 21_500..=21_503, Duration::ZERO, options).unwrap();
        assert!(matches!(pool.allocate(), Err(PortError::Bind { .. })));
    }

    #[test]
    fn media_leaves_with_the_code_point_and_the_buffers_that_were_asked_for() {
        for (address, range) in [("127.0.0.1", 21_600..=21_603), ("::1", 21_604..=21_607)] {
            let address: IpAddr = address.parse().unwrap();
            let options = SocketOptions {
                dscp: 34,
                buffer_bytes: Some(16_384),
            };
            let pool = PortPool::new(address, range, Duration::ZERO, options).unwrap();
            let Ok((_pair, sockets)) = pool.allocate() else {
                println!("SKIPPED: this host has no {address}");
                assert!(address.is_ipv6());
                continue;
            };
            for socket in [&sockets.rtp, &sockets.rtcp] {
                let field = if address.is_ipv4() {
                    sockopt::ip_tos(socket).unwrap().into()
                } else {
                    sockopt::ipv6_tclass(socket).unwrap()
                };
                assert_eq!(field, 34 << 2);
                let sizes = [
                    sockopt::socket_recv_buffer_size(socket).unwrap(),
                    sockopt::socket_send_buffer_size(socket).unwrap(),
                ];
                assert_eq!(sizes, [2 * 16_384; 2], "doubled by the system");
            }
        }
    }
}
