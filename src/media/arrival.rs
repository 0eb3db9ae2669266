//! How long datagrams wait in the system before a worker takes them: what an overloaded gateway adds
//! to a call, which nobody else could tell.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::{
    cmsg_space,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
            sockopt::ReceiveTimestampns,
        },
        time::TimeSpec,
    },
};
use prometheus::{Histogram, HistogramOpts};
use rustix::time::{ClockId, clock_gettime};

/// One call in so many is measured: its packets cost a look at the clock each.
const ONE_IN: usize = 16;
/// Upper bounds, seconds: what a wake-up takes, a nap, and from there to what a call suffers from.
const BOUNDS: [f64; 10] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
];

/// The times of all workers together.
///
/// # Errors
/// Only when the bounds above do not rise.
pub(super) fn histogram() -> prometheus::Result<Histogram> {
    Histogram::with_opts(
        HistogramOpts::new(
            "tonewall_media_wait_seconds",
            "How long an RTP packet waited in the system before it was taken, of one call in sixteen.",
        )
        .buckets(BOUNDS.to_vec()),
    )
}

/// Asks the system for times of arrival, and reads them.
pub(super) struct Arrivals {
    /// Room for what the system says of a datagram.
    said: Vec<u8>,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            said: cmsg_space!(TimeSpec),
        }
    }

    /// Whether the call at this place is one that is measured.
    pub(super) const fn are_measured(place: usize) -> bool {
        place.is_multiple_of(ONE_IN)
    }

    /// From here on the system notes when a datagram came.
    pub(super) fn measure(&self, socket: &UdpSocket) {
        if let Err(error) = setsockopt(socket, ReceiveTimestampns, &true) {
            tracing::debug!(%error, "the system does not tell when datagrams come");
        }
    }

    /// As [`UdpSocket::recv_from`], and how long the datagram waited.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.said),
            MsgFlags::empty(),
        )?;
        let source = received.address.as_ref().and_then(address_of);
        let source = source.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let came = received.cmsgs()?.find_map(|said| match said {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let waited = came.map(|came| {
            // The same clock; where it was set meanwhile the wait is none.
            let now = Duration::try_from(clock_gettime(ClockId::Realtime)).unwrap_or_default();
            now.saturating_sub(came)
        });
        Ok((received.bytes, source, waited))
    }
}

fn address_of(said: &SockaddrStorage) -> Option<SocketAddr> {
    match (said.as_sockaddr_in(), said.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
        (None, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        (None, None) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{thread::sleep, time::Instant};

    use super::*;

    /// A socket for whose sake the system notes when datagrams come. The first that asks for it does
    /// not have it at once: what has no time of arrival is told to have come when it is read.
    pub(in crate::media) fn measured() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut arrivals = Arrivals::new();
        arrivals.measure(&socket);
        let waits = || {
            socket.send_to(&[0], socket.local_addr().unwrap()).unwrap();
            sleep(Duration::from_millis(5));
            arrivals.receive(&socket, &mut [0]).unwrap().2.unwrap()
        };
        let mut waited = std::iter::repeat_with(waits).take(100);
        assert!(waited.any(|waited| waited.as_millis() >= 5));
        socket
    }

    #[test]
    fn what_waits_for_20_ms_is_told_to_have_and_where_it_came_from() {
        let _on = measured();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let end = UdpSocket::bind(address).unwrap();
            let mut arrivals = Arrivals::new();
            arrivals.measure(&socket);
            let mut buffer = [0; 10];
            for bytes in [3, 5] {
                let since = Instant::now();
                end.send_to(&[7; 5][..bytes], socket.local_addr().unwrap())
                    .unwrap();
                sleep(Duration::from_millis(20));
                let (length, source, waited) = arrivals.receive(&socket, &mut buffer).unwrap();
                assert_eq!((length, source), (bytes, end.local_addr().unwrap()));
                assert_eq!(buffer[..bytes], [7; 5][..bytes]);
                let waited = waited.unwrap();
                assert!(waited >= Duration::from_millis(19), "{waited:?}");
                assert!(waited <= since.elapsed());
            }
        }
    }
}
