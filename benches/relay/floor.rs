//! The floor: what relaying costs at least. A process of its own that answers enough NG to be set up
//! like any daemon, and then does nothing but `epoll_wait`, `recv`, `send` on connected sockets.
//!
//! It can also do its work badly on purpose, so that a run shows that it would notice.

use std::{
    collections::{HashMap, VecDeque},
    hint, io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use serde_json::{Value, json};

use crate::{ng, speech::FRAME};

/// The first argument of the process.
pub(crate) const ARGUMENT: &str = "--floor";
/// Sockets told of by one `epoll_wait`.
const READY: usize = 256;
const CONTROL: u64 = u64::MAX;
/// Samples that [`Fault::Reframe`] lags behind: 12 ms.
pub(crate) const LAG: usize = 96;
const HEADER: usize = 12;

/// What it does badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Drops one packet of a hundred.
    Drop,
    /// Holds every packet for 5 ms.
    Delay,
    /// Computes for 20 microseconds on every packet.
    Spin,
    /// Keeps 64 KiB for every call.
    Fat,
    /// Puts the audio into packets anew, 12 ms later than it came.
    Reframe,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::Drop,
        Self::Delay,
        Self::Spin,
        Self::Fat,
        Self::Reframe,
    ];
    /// What [`Fault::Drop`] drops one of.
    pub(crate) const DROP_ONE_OF: u64 = 100;
    pub(crate) const DELAY: Duration = Duration::from_millis(5);
    pub(crate) const SPIN: Duration = Duration::from_micros(20);
    pub(crate) const FAT_KIB: usize = 64;

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay => "delay",
            Self::Spin => "spin",
            Self::Fat => "fat",
            Self::Reframe => "reframe",
        }
    }
}

/// Serves on an address until it is killed.
pub(crate) fn run(address: &str, fault: Option<&str>) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let fault = Fault::ALL
        .into_iter()
        .find(|known| Some(known.name()) == fault);
    let control = UdpSocket::bind(address)?;
    control.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&control, EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
    let mut floor = Floor {
        epoll,
        address,
        calls: HashMap::new(),
        sockets: Vec::new(),
        fat: Vec::new(),
    };
    let mut bad = fault.map(Bad::new);
    let mut ready = [EpollEvent::empty(); READY];
    let mut buffer = [0; 2_048];
    loop {
        let patience = match &bad {
            Some(bad) if !bad.held.is_empty() => EpollTimeout::from(1_u8),
            _ => EpollTimeout::NONE,
        };
        let count = match floor.epoll.wait(&mut ready, patience) {
            // It was stopped and goes on.
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        for event in &ready[..count] {
            if event.data() == CONTROL {
                floor.control(&control, fault)?;
                continue;
            }
            // Level-triggered: a second datagram is told of again, which costs less than asking for
            // one that is not there.
            let from = event.data() as usize;
            let Ok(length) = floor.sockets[from].recv(&mut buffer) else {
                continue;
            };
            let to = from ^ 1;
            match &mut bad {
                None => drop(floor.sockets[to].send(&buffer[..length])),
                Some(bad) => bad.relay(&floor.sockets, to, &mut buffer[..length]),
            }
        }
        if let Some(bad) = &mut bad {
            bad.release(&floor.sockets);
        }
    }
}

struct Floor {
    epoll: Epoll,
    address: SocketAddr,
    /// Place of the caller's socket; the agent's is the next.
    calls: HashMap<String, usize>,
    sockets: Vec<UdpSocket>,
    fat: Vec<Vec<u8>>,
}

impl Floor {
    fn control(&mut self, control: &UdpSocket, fault: Option<Fault>) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        let Ok((length, peer)) = control.recv_from(&mut buffer) else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((cookie, body)) = text.split_once(' ') else {
            return Ok(());
        };
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        let answer = match request["command"].as_str() {
            Some("ping") => json!({"result": "pong"}),
            Some("offer") => self.describe(&request, 0, fault)?,
            Some("answer") => self.describe(&request, 1, fault)?,
            _ => json!({"result": "error", "error-reason": "the floor relays, and no more"}),
        };
        control.send_to(format!("{cookie} {answer}").as_bytes(), peer)?;
        Ok(())
    }

    /// Connects the side that is described, and tells the other where to send.
    fn describe(
        &mut self,
        request: &Value,
        side: usize,
        fault: Option<Fault>,
    ) -> io::Result<Value> {
        let id = request["call-id"].as_str().unwrap_or_default().to_owned();
        let sdp = request["sdp"].as_str().unwrap_or_default();
        let port = ng::port_of(sdp).unwrap_or_default();
        let first = match self.calls.get(&id) {
            Some(first) => *first,
            None => self.open(id, fault)?,
        };
        self.sockets[first + side].connect(("127.0.0.1", port))?;
        let other = self.sockets[first + (side ^ 1)].local_addr()?;
        Ok(json!({"result": "ok", "sdp": ng::sdp(other)}))
    }

    fn open(&mut self, id: String, fault: Option<Fault>) -> io::Result<usize> {
        let first = self.sockets.len();
        for place in [first, first + 1] {
            let socket = UdpSocket::bind((self.address.ip(), 0))?;
            socket.set_nonblocking(true)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
            self.epoll.add(socket.as_fd(), event)?;
            self.sockets.push(socket);
        }
        if fault == Some(Fault::Fat) {
            self.fat.push(vec![1; Fault::FAT_KIB * 1_024]);
        }
        self.calls.insert(id, first);
        Ok(first)
    }
}

/// How a floor with a fault relays.
struct Bad {
    fault: Fault,
    packets: u64,
    held: VecDeque<(Instant, usize, Vec<u8>)>,
    /// The last samples of each stream.
    tails: HashMap<usize, Vec<u8>>,
}

impl Bad {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            packets: 0,
            held: VecDeque::new(),
            tails: HashMap::new(),
        }
    }

    fn relay(&mut self, sockets: &[UdpSocket], to: usize, datagram: &mut [u8]) {
        self.packets += 1;
        match self.fault {
            Fault::Drop if self.packets.is_multiple_of(Fault::DROP_ONE_OF) => return,
            Fault::Drop | Fault::Fat => {}
            Fault::Delay => {
                let until = Instant::now() + Fault::DELAY;
                self.held.push_back((until, to, datagram.to_vec()));
                return;
            }
            Fault::Spin => {
                let until = Instant::now() + Fault::SPIN;
                while Instant::now() < until {
                    hint::spin_loop();
                }
            }
            Fault::Reframe => {
                if let Some(audio) = datagram.get_mut(HEADER..HEADER + FRAME) {
                    let tail = audio[FRAME - LAG..].to_vec();
                    audio.copy_within(..FRAME - LAG, LAG);
                    let earlier = self.tails.insert(to, tail);
                    audio[..LAG].copy_from_slice(&earlier.unwrap_or_else(|| vec![0xFF; LAG]));
                }
            }
        }
        let _ = sockets[to].send(datagram);
    }

    fn release(&mut self, sockets: &[UdpSocket]) {
        let now = Instant::now();
        while self.held.front().is_some_and(|(until, _, _)| *until <= now) {
            if let Some((_, to, datagram)) = self.held.pop_front() {
                let _ = sockets[to].send(&datagram);
            }
        }
    }
}
