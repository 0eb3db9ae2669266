//! What every listener for connections needs: places that are limited, and certificates.

mod shares;
mod tls;

use std::{
    future::{Ready, ready},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Extension;
use axum_server::accept::Accept;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Layer;

pub(crate) use shares::{Share, Shares};
pub(crate) use tls::certificates;
pub use tls::{Reload, TlsError, TlsFiles};

/// Keeps strangers from taking all of the process's sockets, which calls need, and one of them from
/// keeping all others out.
#[derive(Clone)]
pub(crate) struct Limit {
    all: Arc<Semaphore>,
    sources: Shares<IpAddr>,
    stall_timeout: Duration,
}

/// A connection's place; its end gives it back.
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_source: Option<Share<IpAddr>>,
}

impl Limit {
    /// So many at once, half of them from one source (this machine excepted); each is given up when
    /// its other end takes nothing for so long.
    pub(crate) fn new(connections: usize, stall_timeout: Duration) -> Self {
        Self {
            all: Arc::new(Semaphore::new(connections)),
            sources: Shares::new(connections / 2),
            stall_timeout,
        }
    }

    /// A place for a connection, if there is one.
    pub(crate) fn admit(&self, stream: &TcpStream) -> io::Result<Place> {
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        let from = source(stream.peer_addr()?);
        // Behind a proxy on this machine everybody has its address.
        let of_source = (!from.is_loopback()).then(|| self.sources.take(from));
        let place = Place {
            _of_all: of_all.map_err(io::Error::other)?,
            _of_source: of_source
                .transpose()
                .map_err(|_| io::Error::other("a source has its share of connections"))?,
        };
        // Keys arrive one by one: what tells of them should not wait for company.
        stream.set_nodelay(true)?;
        // Nobody keeps a connection by not reading from it, or by being gone.
        SockRef::from(stream).set_tcp_user_timeout(Some(self.stall_timeout))?;
        Ok(place)
    }
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = TcpStream;
    type Service = axum::middleware::AddExtension<S, Arc<Place>>;
    type Future = Ready<io::Result<(TcpStream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = self.admit(&stream);
        // The connection's service holds the place.
        ready(admitted.map(|place| (stream, Extension(Arc::new(place)).layer(service))))
    }
}

/// One customer of an IPv6 provider holds a /64.
pub(crate) fn source(from: SocketAddr) -> IpAddr {
    match from.ip().to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let a = source("[2001:db8::1]:1".parse().unwrap());
        assert_eq!(a, source("[2001:db8::ffff:2]:2".parse().unwrap()));
        assert_ne!(a, source("[2001:db8:0:1::1]:1".parse().unwrap()));
    }
}
