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
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
};

use super::{
    LegSockets,
    wire::{Port, Received, To, Wire},
};
use crate::proto::{call::Channel, leg::Leg, mask::Cleared};

/// Sockets of one call.
const SOCKETS: usize = 4;
/// Sockets that one wake-up tells of.
const READY: usize = 1_024;
/// What epoll says of the eventfd that wakes the worker.
const WAKER: u64 = u64::MAX;

/// Wakes a worker that waits; cheap to clone.
#[derive(Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Ends the worker's wait, or its next one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            // It counts as far as it can: it will wake.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sockets of a worker's calls, and what is known to be ready of them.
pub(super) struct Sockets {
    epoll: OwnedFd,
    waker: Waker,
    places: Vec<Option<[UdpSocket; SOCKETS]>>,
    /// Tokens, in the order in which epoll told them.
    ready: Vec<u64>,
    /// How far `ready` was worked off.
    next: usize,
}

impl Sockets {
    /// None yet.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let data = epoll::EventData::new_u64(WAKER);
        epoll::add(&epoll, &wake, data, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            waker: Waker(Arc::new(wake)),
            places: Vec::new(),
            ready: Vec::with_capacity(READY),
            next: 0,
        })
    }

    /// What ends a wait.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn socket(&self, at: Port) -> Option<&UdpSocket> {
        self.places.get(at.place)?.as_ref()?.get(number(at))
    }

    fn send(&self, at: Port, to: To, datagram: &[u8]) -> io::Result<()> {
        let socket = self.socket(at).ok_or(io::ErrorKind::NotConnected)?;
        match to {
            To::Peer => socket.send(datagram),
            To::Address(address) => socket.send_to(datagram, address),
        }
        .map(drop)
    }
}

/// Which of the four sockets of its call a port is.
const fn number(at: Port) -> usize {
    match (at.leg, at.channel) {
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

    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        self.ready.clear();
        self.next = 0;
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut events = [const { MaybeUninit::uninit() }; READY];
        match epoll::wait(&self.epoll, &mut events, Some(&limit)) {
            Ok((events, _)) => {
                self.ready
                    .extend(events.iter().map(|event| event.data.u64()));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<Received> {
        while let Some(&token) = self.ready.get(self.next) {
            self.next += 1;
            if token == WAKER {
                // Its count does not matter.
                let _ = rustix::io::read(&self.waker.0, &mut [0; 8]);
                continue;
            }
            let at = port_of(usize::try_from(token).unwrap_or(usize::MAX));
            let Some(socket) = self.socket(at) else {
                continue;
            };
            // An error is what an ICMP message left on a connected socket; the datagram behind it is
            // found by the next wait.
            if let Ok((length, source)) = socket.recv_from(buffer) {
                return Some(Received { at, source, length });
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
