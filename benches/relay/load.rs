//! The load: timed RTP to every call of a daemon, and what comes back, on one thread.
//!
//! All callers share a socket and all agents another, for the daemon's ports tell the calls apart: so
//! packets go out and come in by the batch, and nobody has to be woken for what a daemon sends. When a
//! packet came is the kernel's word, so that it does not matter when it is read.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        prctl::set_timerslack,
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg,
            setsockopt,
            sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns},
        },
        time::TimeSpec,
    },
};

use crate::{
    calls::{Arrivals, Calls, LONGEST},
    common::tones::Dice,
    daemons::Daemon,
    histogram::Histogram,
    ng::Ends,
    process::{self, Cores, Cpu},
};

/// Time between two packets of a stream.
const PACKET: Duration = Duration::from_millis(20);
/// Packets of a stream in a second.
const PER_SECOND: u32 = 50;
/// The streams are spread over so many moments of it: every 250 microseconds.
const SLOTS: u32 = 80;
/// Packets of one `sendmmsg`: few, so that it is known when each was sent.
const SEND: usize = 16;
/// Packets of one `recvmmsg`.
const RECEIVE: usize = 64;
/// A `sendmmsg` that takes longer was interrupted: when its packets went is not known.
const LONGEST_SEND: Duration = Duration::from_micros(500);
/// A slot that is later than this makes a burst of it and of those behind it.
const LATE: Duration = Duration::from_millis(1);
/// How long a daemon may still suffer from such a burst.
const AFTERMATH: Duration = Duration::from_millis(5);
/// What a socket may hold: 20 ms of 4,000 calls.
const RECEIVE_BUFFER: usize = 32 << 20;
/// How long what was sent may take to come.
const DRAIN: Duration = Duration::from_millis(300);

/// How long a slice is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
}

/// What a slice has shown.
pub(crate) struct Slice {
    pub(crate) arrivals: Arrivals,
    pub(crate) cpu: Cpu,
    /// Datagrams that came while that time was taken.
    pub(crate) delivered: u64,
    pub(crate) wall: Duration,
    /// Time of the load's own thread on its core.
    pub(crate) own_cpu: Duration,
    /// How late each slot was.
    pub(crate) late: Histogram,
    /// Datagrams that the load's own sockets had no room for.
    pub(crate) own_drops: u64,
    /// Datagrams that the daemon's sockets had no room for.
    pub(crate) daemon_drops: u64,
    /// Share of the daemon's and of the load's core that other programs took.
    pub(crate) foreign: [f64; 2],
    /// How far the wall clock was set meanwhile.
    pub(crate) clock_step: Duration,
    pub(crate) resident_kib: u64,
}

/// The two ends of all calls.
pub(crate) struct Load {
    /// Callers', agents'.
    sockets: [UdpSocket; 2],
    cores: Cores,
    outgoing: Box<[[u8; LONGEST]; SEND]>,
    send_headers: MultiHeaders<SockaddrIn>,
    incoming: Vec<[u8; 2_048]>,
    receive_headers: MultiHeaders<SockaddrIn>,
    /// Stands still for so long now and then: a control.
    pub(crate) stall: Option<Duration>,
}

impl Load {
    pub(crate) fn new(cores: Cores) -> io::Result<Self> {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            // Without privilege as much as there may be.
            if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
                setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
            }
            setsockopt(&socket, ReceiveTimestampns, &true)?;
            Ok::<_, io::Error>(socket)
        };
        // Its sleeps end when they should.
        set_timerslack(1)?;
        Ok(Self {
            sockets: [open()?, open()?],
            cores,
            outgoing: Box::new([[0; LONGEST]; SEND]),
            send_headers: MultiHeaders::preallocate(SEND, None),
            incoming: vec![[0; 2_048]; RECEIVE],
            receive_headers: MultiHeaders::preallocate(RECEIVE, Some(cmsg_space!(TimeSpec))),
            stall: None,
        })
    }

    pub(crate) fn ends(&self) -> Ends {
        let [caller, agent] = [0, 1].map(|side: usize| {
            let address = self.sockets[side].local_addr();
            address.expect("a bound socket has an address")
        });
        Ends { caller, agent }
    }

    /// Plays a slice to a daemon. The seed decides when within 20 ms each stream has its turn.
    pub(crate) fn play(
        &mut self,
        calls: &mut Calls<'_>,
        daemon: &Daemon,
        length: Length,
        seed: u64,
    ) -> io::Result<Slice> {
        let frames = |time: Duration| (time.as_secs_f64() * f64::from(PER_SECOND)).round() as u32;
        let (warm, all) = (
            frames(length.warm),
            frames(length.warm) + frames(length.measured),
        );
        let slots = slots(calls.streams(), seed);
        let ends = self.ends();
        let ports = [ends.caller, ends.agent].map(|end| end.port());
        let drops = || {
            [
                process::dropped(Ipv4Addr::LOCALHOST, Some(ports)),
                process::dropped(daemon.address, None),
            ]
        };
        let drops_before = drops();
        // What came too late for the slice before.
        self.receive(calls, daemon.address);
        let clocks = (Instant::now(), now_ns());
        calls.begin(all, warm, clocks.1);
        let mut dice = Dice::new(seed);
        let mut moment = || dice.between(0.0, 1.0);
        let mut late = Histogram::default();
        let mut disturbed_until = Instant::now();
        let mut before = None;
        for tick in 0..all * SLOTS {
            let (frame, slot) = (tick / SLOTS, tick % SLOTS);
            if tick == warm * SLOTS {
                before = Some(Snapshot::take(daemon, self.cores, calls)?);
            }
            // Anywhere within its slot: in step with the timer tick, what the tick samples of a daemon
            // would always be the same moment of its work.
            let due =
                clocks.0 + PACKET * frame + (PACKET / SLOTS).mul_f64(f64::from(slot) + moment());
            self.receive(calls, daemon.address);
            let left = due.saturating_duration_since(Instant::now());
            if left > Duration::ZERO {
                thread::sleep(left);
            }
            if let Some(stall) = self.stall.filter(|_| slot == 0) {
                thread::sleep(stall);
            }
            let lateness = Instant::now().saturating_duration_since(due);
            if frame >= warm {
                late.add(lateness.as_nanos() as u64);
            }
            if lateness > LATE {
                disturbed_until = Instant::now() + AFTERMATH;
            }
            let disturbed = Instant::now() < disturbed_until;
            for side in [0, 1] {
                for some in slots[slot as usize][side].chunks(SEND) {
                    self.send(calls, daemon, side, some, frame, disturbed)?;
                }
            }
        }
        self.receive(calls, daemon.address);
        let after = Snapshot::take(daemon, self.cores, calls)?;
        let until = Instant::now() + DRAIN;
        while Instant::now() < until {
            self.receive(calls, daemon.address);
            thread::sleep(Duration::from_millis(1));
        }
        calls.end();
        let before = before.unwrap_or(after);
        let [own_drops, daemon_drops] = drops();
        let monotonic = clocks.0.elapsed();
        let wall_clock = Duration::from_nanos(now_ns().saturating_sub(clocks.1));
        let cpu = after.cpu.since(before.cpu);
        let own_cpu = Duration::from_nanos(after.own_ns - before.own_ns);
        let wall = after.at - before.at;
        let ours = [Duration::from_nanos(cpu.ns), own_cpu];
        let foreign = [0, 1].map(|core: usize| {
            let busy = after.busy[core].saturating_sub(before.busy[core]);
            busy.saturating_sub(ours[core]).as_secs_f64() / wall.as_secs_f64()
        });
        Ok(Slice {
            arrivals: calls.arrivals.clone(),
            cpu,
            delivered: after.delivered - before.delivered,
            wall,
            own_cpu,
            late,
            own_drops: own_drops.saturating_sub(drops_before[0]),
            daemon_drops: daemon_drops.saturating_sub(drops_before[1]),
            foreign,
            clock_step: monotonic.abs_diff(wall_clock),
            resident_kib: process::resident_kib(daemon.pid()),
        })
    }

    /// Packet `frame` of at most [`SEND`] streams.
    fn send(
        &mut self,
        calls: &mut Calls<'_>,
        daemon: &Daemon,
        side: usize,
        streams: &[u32],
        frame: u32,
        disturbed: bool,
    ) -> io::Result<()> {
        let mut lengths = [0; SEND];
        let mut addresses = [None; SEND];
        for (n, stream) in streams.iter().enumerate() {
            lengths[n] = calls.write(*stream, frame, &mut self.outgoing[n]);
            let to = SocketAddrV4::new(daemon.address, calls.to(*stream));
            addresses[n] = Some(SockaddrIn::from(to));
        }
        let slices: [[IoSlice<'_>; 1]; SEND] =
            array::from_fn(|n| [IoSlice::new(&self.outgoing[n][..lengths[n]])]);
        let mut gone = 0;
        while gone < streams.len() {
            let began = now_ns();
            let sent = sendmmsg(
                self.sockets[side].as_raw_fd(),
                &mut self.send_headers,
                &slices[gone..streams.len()],
                &addresses[gone..],
                [],
                MsgFlags::empty(),
            );
            let count = match sent {
                Ok(sent) => sent.count(),
                // What an ICMP message left, or no room: it is late then, and says so.
                Err(Errno::ECONNREFUSED | Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let took = now_ns().saturating_sub(began);
            let unsure = disturbed || u128::from(took) > LONGEST_SEND.as_nanos();
            for (n, stream) in streams[gone..gone + count].iter().enumerate() {
                let at = began + took * (2 * n as u64 + 1) / (2 * count as u64);
                calls.sent(*stream, frame, at, unsure);
            }
            gone += count;
        }
        Ok(())
    }

    /// Takes all that has come; what another daemon still had to say is nothing.
    fn receive(&mut self, calls: &mut Calls<'_>, daemon: Ipv4Addr) {
        for socket in &self.sockets {
            loop {
                let mut buffers = self.incoming.iter_mut();
                let mut slices: [[IoSliceMut<'_>; 1]; RECEIVE] = array::from_fn(|_| {
                    let buffer = buffers.next().expect("there are as many");
                    [IoSliceMut::new(buffer)]
                });
                let received = recvmmsg(
                    socket.as_raw_fd(),
                    &mut self.receive_headers,
                    &mut slices,
                    MsgFlags::empty(),
                    None,
                );
                // Nothing more, or an ICMP message that is passed over.
                let Ok(messages) = received else {
                    break;
                };
                let mut count = 0;
                for message in messages {
                    count += 1;
                    let Some(from) = message.address.filter(|from| from.ip() == daemon) else {
                        continue;
                    };
                    let stamp = message.cmsgs().ok().and_then(|mut said| said.next());
                    let datagram = message.iovs().next().unwrap_or_default();
                    match stamp {
                        Some(ControlMessageOwned::ScmTimestampns(at)) => {
                            let at = at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64;
                            calls.arrived(from.port(), datagram, at);
                        }
                        _ => calls.arrivals.strange += 1,
                    }
                }
                if count < RECEIVE {
                    break;
                }
            }
        }
    }
}

/// What is read at both ends of the measured time.
#[derive(Clone, Copy)]
struct Snapshot {
    at: Instant,
    cpu: Cpu,
    own_ns: u64,
    busy: [Duration; 2],
    delivered: u64,
}

impl Snapshot {
    fn take(daemon: &Daemon, cores: Cores, calls: &Calls<'_>) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: Cpu::of(daemon.pid())?,
            own_ns: process::own_cpu_ns(),
            busy: process::busy(cores),
            delivered: calls.arrivals.all,
        })
    }
}

/// The streams of each slot, callers' and agents': all at random, but evenly many a slot.
fn slots(streams: usize, seed: u64) -> Vec<[Vec<u32>; 2]> {
    let mut dice = Dice::new(seed);
    let mut order: Vec<u32> = (0..streams as u32).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, dice.below(n + 1));
    }
    let mut slots = vec![[Vec::new(), Vec::new()]; SLOTS as usize];
    for (place, stream) in order.into_iter().enumerate() {
        let slot = place * SLOTS as usize / streams;
        slots[slot][stream as usize % 2].push(stream);
    }
    slots
}

/// The wall clock, which is what the kernel stamps datagrams with.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
