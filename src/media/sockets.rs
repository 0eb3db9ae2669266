//! Four UDP sockets a call, waited for with epoll.
//!
//! Level-triggered, and one datagram is read of each socket that is ready: at a packet every 20 ms
//! there is rarely a second one, and to look for it would cost a system call a packet. What is left
//! is found by the next wait, which does not sleep then, so that a socket that is flooded never
//! keeps others waiting for more than its share.

use std::{
    io,
    mem::MaybeUninit,
    net::{SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::connect_unspec,
};

use super::{
    LegSockets,
    arrival::Arrivals,
    doorbell::Doorbell,
    wire::{Port, Received, To, Wire},
};
use crate::proto::{call::Channel, leg::Leg, mask::Cleared};

/// Sockets of one call.
const SOCKETS: usize = 4;
/// Sockets that one wake-up tells of. Orders and timers have their turn after as many packets.
const READY: usize = 256;
/// What epoll says of the worker's doorbell.
const BELL: u64 = u64::MAX;

/// The sockets of a worker's calls, and what is known to be ready of them.
pub(super) struct Sockets {
    epoll: OwnedFd,
    /// For as long as epoll has it.
    _bell: Arc<Doorbell>,
    places: Vec<Option<[UdpSocket; SOCKETS]>>,
    /// Tokens, in the order in which epoll told them.
    ready: Vec<u64>,
    /// How far `ready` was worked off.
    next: usize,
    /// What measures how long datagrams wait, where that is wanted.
    arrivals: Option<Arrivals>,
}

impl Sockets {
    /// None yet. The doorbell ends waits; `arrivals` measures how long datagrams wait.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(super) fn new(bell: &Arc<Doorbell>, arrivals: Option<Arrivals>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(BELL);
        // Edge-triggered: each ringing ends a wait, and nothing has to be read for it.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, bell.descriptor(), data, edges)?;
        Ok(Self {
            epoll,
            _bell: Arc::clone(bell),
            places: Vec::new(),
            ready: Vec::with_capacity(READY),
            next: 0,
            arrivals,
        })
    }

    fn socket(&self, at: Port) -> Option<&UdpSocket> {
        self.places.get(at.place)?.as_ref()?.get(number(at))
    }

    fn send(&self, at: Port, to: To, datagram: &[u8]) -> io::Result<()> {
        let socket = self.socket(at).ok_or(io::ErrorKind::NotConnected)?;
        let send = || match to {
            To::Peer => socket.send(datagram),
            To::Address(address) => socket.send_to(datagram, address),
        };
        match send() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // What an ICMP message left on a connected socket is told instead of sending, once.
            Err(_) => send().map(drop),
        }
    }
}

/// Which of the four sockets of its call a port is.
const fn number(at: Port) -> usize {
    number_of(at.leg, at.channel)
}

const fn number_of(leg: Leg, channel: Channel) -> usize {
    match (leg, channel) {
        (Leg::Caller, Channel::Rtp) => 0,
        (Leg::Caller, Channel::Rtcp) => 1,
        (Leg::Agent, Channel::Rtp) => 2,
        (Leg::Agent, Channel::Rtcp) => 3,
    }
}

/// The port that epoll speaks of by `token`.
const fn port_of(token: usize) -> Port {
    let (leg, channel) = match token % SOCKETS {
        0 => (Leg::Caller, Channel::Rtp),
        1 => (Leg::Caller, Channel::Rtcp),
        2 => (Leg::Agent, Channel::Rtp),
        _ => (Leg::Agent, Channel::Rtcp),
    };
    Port {
        place: token / SOCKETS,
        leg,
        channel,
    }
}

impl Wire for Sockets {
    fn open(&mut self, place: usize, caller: LegSockets, agent: LegSockets) -> io::Result<()> {
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        let sockets = [caller.rtp, caller.rtcp, agent.rtp, agent.rtcp];
        let sockets = self.places[place].insert(sockets);
        for (number, socket) in sockets.iter().enumerate() {
            let data = epoll::EventData::new_u64((place * SOCKETS + number) as u64);
            epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?;
        }
        if let Some(arrivals) = &self.arrivals
            && Arrivals::are_measured(place)
        {
            arrivals.measure(&sockets[number_of(Leg::Caller, Channel::Rtp)]);
            arrivals.measure(&sockets[number_of(Leg::Agent, Channel::Rtp)]);
        }
        Ok(())
    }

    fn close(&mut self, place: usize) {
        // Closing a descriptor takes it out of epoll, for nobody else has it.
        if let Some(sockets) = self.places.get_mut(place) {
            *sockets = None;
        }
    }

    fn connect(&mut self, at: Port, peer: SocketAddr) -> io::Result<()> {
        self.socket(at)
            .map_or(Ok(()), |socket| socket.connect(peer))
    }

    fn disconnect(&mut self, at: Port) -> io::Result<()> {
        self.socket(at)
            .map_or(Ok(()), |socket| Ok(connect_unspec(socket)?))
    }

    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        self.ready.clear();
        self.next = 0;
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut events = [const { MaybeUninit::uninit() }; READY];
        match epoll::wait(&self.epoll, &mut events, Some(&limit)) {
            Ok((events, _)) => {
                let tokens = events.iter().map(|event| event.data.u64());
                self.ready.extend(tokens.filter(|token| *token != BELL));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        while let Some(&token) = self.ready.get(self.next) {
            self.next += 1;
            let at = port_of(usize::try_from(token).unwrap_or(usize::MAX));
            let Self {
                places, arrivals, ..
            } = self;
            let Some(Some(sockets)) = places.get(at.place) else {
                continue;
            };
            let socket = &sockets[number(at)];
            let received = match arrivals {
                Some(arrivals) if Arrivals::are_measured(at.place) => {
                    arrivals.receive(socket, buffer)
                }
                _ => socket
                    .recv_from(buffer)
                    .map(|(length, source)| (length, source, None)),
            };
            // An error is what an ICMP message left on a connected socket; the datagram behind it is
            // found by the next wait.
            if let Ok((length, source, waited)) = received {
                return Some(Received {
                    at,
                    source,
                    length,
                    waited,
                });
            }
        }
        None
    }

    fn send_to_caller(
        &self,
        place: usize,
        channel: Channel,
        to: To,
        datagram: &[u8],
    ) -> io::Result<()> {
        let leg = Leg::Caller;
        let at = Port {
            place,
            leg,
            channel,
        };
        self.send(at, to, datagram)
    }

    fn send_to_agent(
        &self,
        place: usize,
        channel: Channel,
        to: To,
        cleared: &Cleared<'_>,
    ) -> io::Result<()> {
        let leg = Leg::Agent;
        let at = Port {
            place,
            leg,
            channel,
        };
        self.send(at, to, cleared.datagram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wire with one call, and the caller's end of it, which it is connected to.
    fn wire() -> (Sockets, UdpSocket, SocketAddr) {
        // Asked for by number, as media ports are: any other is lost when its peer is taken back.
        let socket = || {
            let any = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = any.local_addr().unwrap();
            drop(any);
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let [caller, agent] = [(); 2].map(|()| LegSockets {
            rtp: socket(),
            rtcp: socket(),
        });
        let ours = caller.rtp.local_addr().unwrap();
        let end = socket();
        let mut wire = Sockets::new(&Arc::new(Doorbell::new().unwrap()), None).unwrap();
        wire.open(0, caller, agent).unwrap();
        wire.connect(CALLER, end.local_addr().unwrap()).unwrap();
        (wire, end, ours)
    }

    const CALLER: Port = Port {
        place: 0,
        leg: Leg::Caller,
        channel: Channel::Rtp,
    };

    /// Lengths of what one wait finds.
    fn found(wire: &mut Sockets) -> Vec<usize> {
        wire.wait(Duration::from_millis(20)).unwrap();
        let mut buffer = [0; 100];
        std::iter::from_fn(|| wire.receive(&mut buffer))
            .map(|received| received.length)
            .collect()
    }

    #[test]
    fn each_socket_gives_one_datagram_a_wait_and_keeps_the_rest_for_the_next() {
        let (mut wire, end, ours) = wire();
        for length in 1..=3 {
            end.send_to(&[7; 3][..length], ours).unwrap();
        }
        let lengths = [(); 4].map(|()| found(&mut wire));
        assert_eq!(lengths, [vec![1], vec![2], vec![3], vec![]]);
    }

    #[test]
    fn a_connected_socket_hears_no_stranger_until_it_is_let_go() {
        let (mut wire, _end, ours) = wire();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&[1], ours).unwrap();
        assert!(found(&mut wire).is_empty());
        wire.disconnect(CALLER).unwrap();
        stranger.send_to(&[1, 2], ours).unwrap();
        assert_eq!(found(&mut wire), [2], "at the same port");
        wire.connect(CALLER, stranger.local_addr().unwrap())
            .unwrap();
        stranger.send_to(&[1, 2, 3], ours).unwrap();
        assert_eq!(found(&mut wire), [3]);
    }

    #[test]
    fn a_port_that_was_closed_for_a_while_costs_no_packet_after_it() {
        let (mut wire, end, _) = wire();
        let address = end.local_addr().unwrap();
        let send = |wire: &Sockets| wire.send_to_caller(0, Channel::Rtp, To::Peer, &[1, 2]);
        drop(end);
        send(&wire).unwrap();
        // The answer, ICMP port unreachable, stands on the socket.
        let end = UdpSocket::bind(address).unwrap();
        send(&wire).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(end.recv(&mut [0; 10]).unwrap(), 2);
        // The same while it waits: told once, no datagram, and it waits again.
        drop(end);
        send(&wire).unwrap();
        assert!(found(&mut wire).is_empty());
        let end = UdpSocket::bind(address).unwrap();
        end.send_to(&[1], wire.socket(CALLER).unwrap().local_addr().unwrap())
            .unwrap();
        assert_eq!(found(&mut wire), [1]);
        assert!(found(&mut wire).is_empty());
    }
}
