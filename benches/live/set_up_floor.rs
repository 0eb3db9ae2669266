//! The floor of setting up: what a call's sockets cost at least. A process of its own that answers
//! the three commands of a cycle with the system calls that nobody can do without, and nothing else:
//! it parses no more than it needs to tell the calls apart.

use std::{
    collections::{HashMap, VecDeque},
    hint, io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{daemons::MEDIA_PORTS, ng};

/// The first argument of the process.
pub(crate) const ARGUMENT: &str = "--set-up-floor";
/// RTP and RTCP of both legs.
const SOCKETS: usize = 4;

/// What it does badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Sleeps before each reply.
    Slow,
    /// Does not reply to one delete of [`Fault::ONE_OF`].
    Deaf,
    /// Keeps the sockets of one call of [`Fault::ONE_OF`].
    Leak,
    /// Computes before each reply.
    Spin,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Slow, Self::Deaf, Self::Leak, Self::Spin];
    pub(crate) const SLOW: Duration = Duration::from_micros(300);
    pub(crate) const SPIN: Duration = Duration::from_micros(50);
    pub(crate) const ONE_OF: u64 = 100;

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Deaf => "deaf",
            Self::Leak => "leak",
            Self::Spin => "spin",
        }
    }
}

struct Call {
    /// The agent's two sockets, then the caller's.
    sockets: [UdpSocket; SOCKETS],
    /// Their first ports.
    ports: [u16; 2],
}

/// Serves on an address until it is killed.
pub(crate) fn run(address: &str, fault: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let fault = Fault::ALL.into_iter().find(|known| known.name() == fault);
    let control = UdpSocket::bind(address)?;
    let mut floor = Floor {
        address,
        epoll: Epoll::new(EpollCreateFlags::empty())?,
        ports: (MEDIA_PORTS.0..MEDIA_PORTS.1).step_by(2).collect(),
        calls: HashMap::new(),
        leaked: Vec::new(),
        deletes: 0,
        fault,
    };
    let mut buffer = [0; 65_536];
    loop {
        let Ok((length, peer)) = control.recv_from(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((cookie, body)) = text.split_once(' ') else {
            continue;
        };
        let Some(reply) = floor.answer(body)? else {
            continue;
        };
        match fault {
            Some(Fault::Slow) => thread::sleep(Fault::SLOW),
            Some(Fault::Spin) => {
                let until = Instant::now() + Fault::SPIN;
                while Instant::now() < until {
                    hint::spin_loop();
                }
            }
            Some(Fault::Deaf | Fault::Leak) | None => {}
        }
        // Whoever does not get it says so.
        let _ = control.send_to(format!("{cookie} {reply}").as_bytes(), peer);
    }
}

struct Floor {
    address: SocketAddr,
    epoll: Epoll,
    ports: VecDeque<u16>,
    calls: HashMap<String, Call>,
    leaked: Vec<Call>,
    deletes: u64,
    fault: Option<Fault>,
}

impl Floor {
    fn answer(&mut self, body: &str) -> io::Result<Option<String>> {
        if body.starts_with('{') {
            return Ok(Some(r#"{"result":"pong"}"#.to_owned()));
        }
        let id = after(body, "7:call-id").split_once(':');
        let id = id.and_then(|(length, rest)| rest.get(..length.parse().ok()?));
        let id = id.unwrap_or_default();
        let is = |command: &str| body.ends_with(command);
        if is("5:offere") {
            let call = self.open()?;
            connect(&call.sockets[2..], body)?;
            let reply = self.describe(call.ports[0]);
            self.calls.insert(id.to_owned(), call);
            Ok(Some(reply))
        } else if is("6:answere") {
            let Some(call) = self.calls.get(id) else {
                return Ok(Some("d6:result5:errore".to_owned()));
            };
            connect(&call.sockets[..2], body)?;
            Ok(Some(self.describe(call.ports[1])))
        } else if is("6:deletee") {
            Ok(self.delete(id).then(|| "d6:result2:oke".to_owned()))
        } else {
            Ok(Some("d6:result5:errore".to_owned()))
        }
    }

    /// Whether it is told.
    fn delete(&mut self, id: &str) -> bool {
        self.deletes += 1;
        let bad = self.deletes.is_multiple_of(Fault::ONE_OF);
        if let Some(call) = self.calls.remove(id) {
            if bad && self.fault == Some(Fault::Leak) {
                self.leaked.push(call);
            } else {
                self.ports.extend(call.ports);
            }
        }
        !(bad && self.fault == Some(Fault::Deaf))
    }

    fn open(&mut self) -> io::Result<Call> {
        let mut pair = || {
            let port = self.ports.pop_front();
            port.ok_or_else(|| io::Error::other("the floor is out of ports"))
        };
        let ports = [pair()?, pair()?];
        let open = |port: u16| {
            let socket = UdpSocket::bind((self.address.ip(), port))?;
            socket.set_nonblocking(true)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, port.into());
            self.epoll.add(&socket, event)?;
            Ok::<_, io::Error>(socket)
        };
        let [agent, caller] = ports;
        let sockets = [
            open(agent)?,
            open(agent + 1)?,
            open(caller)?,
            open(caller + 1)?,
        ];
        Ok(Call { sockets, ports })
    }

    fn describe(&self, port: u16) -> String {
        let sdp = ng::sdp(SocketAddr::new(self.address.ip(), port));
        format!("d3:sdp{}:{sdp}6:result2:oke", sdp.len())
    }
}

/// What follows a word.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    text.split_once(word).map_or("", |(_, rest)| rest)
}

/// Lets the kernel filter by the end that a message describes.
fn connect(sockets: &[UdpSocket], body: &str) -> io::Result<()> {
    let port = ng::port_of(body).unwrap_or(9);
    for (socket, port) in sockets.iter().zip([port, port + 1]) {
        socket.connect(("127.0.0.1", port))?;
    }
    Ok(())
}
