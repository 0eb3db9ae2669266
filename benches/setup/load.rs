//! The load: a proxy that offers, answers and deletes, on one thread and one socket, in bencode as
//! Kamailio's rtpengine module writes it.

use std::{
    array,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, IoSliceMut, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    sys::{
        prctl::set_timerslack,
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt,
            sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns, RxqOvfl},
        },
        time::TimeSpec,
    },
};

use crate::{
    common::tones::Dice,
    live::{histogram::Histogram, load::now_ns, ng},
};

/// Replies of one `recvmmsg`.
const RECEIVE: usize = 32;
/// Longest reply that is read.
const LONGEST: usize = 8_192;
/// What its socket holds of replies: what it does not hold is not the daemon's fault.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the load sleeps at most.
const SLEEP: Duration = Duration::from_micros(50);
/// A command that has no reply for so long has none.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ports of the ends: nothing is sent to them.
const ENDS: (u16, u16) = (20_000, 50_000);

/// The commands of a cycle, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Offer,
    Answer,
    Delete,
}

impl Step {
    pub(crate) const ALL: [Self; 3] = [Self::Offer, Self::Answer, Self::Delete];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Self::Offer => Some(Self::Answer),
            Self::Answer => Some(Self::Delete),
            Self::Delete => None,
        }
    }
}

/// When cycles begin and how they go on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many at a time, each command as soon as the one before is answered.
    Closed(usize),
    /// So many a second, at random moments whoever is still busy; each command so long after the one
    /// before was due. One whose turn has come before that was answered waits for it, and is late from
    /// when it was due.
    Open(f64, Duration),
}

/// What came of it.
#[derive(Clone, Default)]
pub(crate) struct Replies {
    /// From when each command was due (or sent, where cycles follow each other) to when the kernel
    /// had its reply; of the measured time.
    pub(crate) times: [Histogram; 3],
    /// Cycles that ended in the measured time.
    pub(crate) cycles: u64,
    /// Commands that got no reply, or a refusal, at any time.
    pub(crate) unanswered: u64,
    pub(crate) refused: u64,
    /// The first refusal.
    pub(crate) refusal: Option<String>,
    /// How late the load itself was with what was due.
    pub(crate) late: Histogram,
}

/// A command that is to be sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    /// When it can be: not before the reply to the one before.
    ready_ns: u64,
    /// When its turn was.
    since_ns: u64,
    call: u64,
    step: Step,
}

/// A command under way.
struct UnderWay {
    since_ns: u64,
    call: u64,
    step: Step,
}

pub(crate) struct Proxy {
    socket: UdpSocket,
    name: String,
    cookies: u64,
    calls: u64,
    incoming: Vec<[u8; LONGEST]>,
    /// Replies that the socket had no room for since it was opened.
    drops: u32,
}

impl Proxy {
    pub(crate) fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        // Without privilege as much as there may be.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
        }
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        // What the kernel tells of all sockets takes seconds to read where there are 70,000.
        setsockopt(&socket, RxqOvfl, &1)?;
        // Its sleeps end when they should.
        set_timerslack(1)?;
        Ok(Self {
            socket,
            name: format!("{}", std::process::id()),
            cookies: 0,
            calls: 0,
            incoming: vec![[0; LONGEST]; RECEIVE],
            drops: 0,
        })
    }

    /// Has room for a reply or two from here on.
    pub(crate) fn have_little_room(&self) -> io::Result<()> {
        Ok(setsockopt(&self.socket, RcvBuf, &0)?)
    }

    /// Replies that the socket had no room for since it was opened.
    pub(crate) const fn drops(&self) -> u32 {
        self.drops
    }

    /// Offers and answers calls that stay.
    pub(crate) fn stand(&mut self, calls: usize) -> Result<(), String> {
        let pace = Pace::Closed(8);
        let mut run = Run::new(self, pace, Some(calls as u64), Step::Answer, 0);
        run.go(Duration::ZERO, Duration::MAX, |_| {});
        let replies = run.replies;
        match (replies.refusal, replies.unanswered) {
            (Some(refusal), _) => Err(refusal),
            (None, 0) => Ok(()),
            (None, unanswered) => Err(format!("{unanswered} commands were not answered")),
        }
    }

    /// Cycles for as long as `warm` and `measured`, and until the last of them has ended; `at` is told
    /// when the measured time begins (0) and when it ends (1).
    pub(crate) fn cycle(
        &mut self,
        pace: Pace,
        (warm, measured): (Duration, Duration),
        seed: u64,
        at: impl FnMut(usize),
    ) -> Replies {
        let mut run = Run::new(self, pace, None, Step::Delete, seed);
        run.go(warm, measured, at);
        run.replies
    }

    fn send(&mut self, call: u64, step: Step) -> u64 {
        self.cookies += 1;
        let datagram = message(&self.name, self.cookies, call, step);
        // What cannot be sent is not answered.
        let _ = self.socket.send(&datagram);
        self.cookies
    }

    /// Takes all that has come: when, of which cookie, and what.
    fn receive(&mut self, mut take: impl FnMut(u64, u64, &[u8])) {
        loop {
            let mut buffers = self.incoming.iter_mut();
            let mut slices: [[IoSliceMut<'_>; 1]; RECEIVE] = array::from_fn(|_| {
                let buffer = buffers.next().expect("there are as many");
                [IoSliceMut::new(buffer)]
            });
            // Anew each time: a call leaves the length of what the kernel said in them, and from the
            // first lost reply on the kernel says more, for which there would be no room.
            let room = cmsg_space!(TimeSpec, u32);
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(RECEIVE, Some(room));
            let received = recvmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                &mut slices,
                MsgFlags::empty(),
                None,
            );
            // Nothing more, or an ICMP message that is passed over.
            let Ok(messages) = received else {
                return;
            };
            let mut count = 0;
            for message in messages {
                count += 1;
                let mut stamp = None;
                for said in message.cmsgs().into_iter().flatten() {
                    match said {
                        ControlMessageOwned::ScmTimestampns(at) => stamp = Some(at),
                        ControlMessageOwned::RxqOvfl(drops) => self.drops = drops,
                        _ => {}
                    }
                }
                let datagram = message.iovs().next().unwrap_or_default();
                if let Some(at) = stamp
                    && let Some((cookie, body)) = split(datagram)
                {
                    let at = at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64;
                    take(at, cookie, body);
                }
            }
            if count < RECEIVE {
                return;
            }
        }
    }
}

/// A stretch of cycles.
struct Run<'a> {
    proxy: &'a mut Proxy,
    pace: Pace,
    /// How many calls there are to be at most.
    most: Option<u64>,
    /// The command after which a call is left alone.
    last: Step,
    begun: u64,
    /// Calls that are not over.
    open: usize,
    dice: Dice,
    /// When the next cycle of an open loop begins.
    next_ns: u64,
    due: BinaryHeap<Reverse<Due>>,
    /// By cookie.
    under_way: HashMap<u64, UnderWay>,
    measured: bool,
    replies: Replies,
}

impl<'a> Run<'a> {
    fn new(proxy: &'a mut Proxy, pace: Pace, most: Option<u64>, last: Step, seed: u64) -> Self {
        Self {
            proxy,
            pace,
            most,
            last,
            begun: 0,
            open: 0,
            dice: Dice::new(seed),
            next_ns: now_ns(),
            due: BinaryHeap::new(),
            under_way: HashMap::new(),
            measured: false,
            replies: Replies::default(),
        }
    }

    fn go(&mut self, warm: Duration, measured: Duration, mut at: impl FnMut(usize)) {
        let began = Instant::now();
        let mut looked = began;
        let mut over = false;
        loop {
            self.receive();
            let passed = began.elapsed();
            if !self.measured && !over && passed >= warm {
                at(0);
                self.measured = true;
            }
            if self.measured && passed.saturating_sub(warm) >= measured {
                at(1);
                self.measured = false;
                over = true;
            }
            over |= self.most == Some(self.begun);
            if !over {
                self.begin();
            }
            self.send_due();
            if looked.elapsed() > PATIENCE / 10 {
                looked = Instant::now();
                self.give_up();
            }
            if over && self.open == 0 {
                return;
            }
            thread::sleep(self.idle());
        }
    }

    /// How long nothing is due.
    fn idle(&self) -> Duration {
        let now = now_ns();
        let next = self.due.peek().map_or(u64::MAX, |due| due.0.ready_ns);
        let next = match self.pace {
            Pace::Open(..) => next.min(self.next_ns),
            Pace::Closed(_) => next,
        };
        Duration::from_nanos(next.saturating_sub(now)).min(SLEEP)
    }

    /// Calls whose time has come.
    fn begin(&mut self) {
        let now = now_ns();
        match self.pace {
            Pace::Closed(at_once) => {
                while self.open < at_once && self.most != Some(self.begun) {
                    self.begin_at(now);
                }
            }
            Pace::Open(rate, _) => {
                while self.next_ns <= now {
                    self.begin_at(self.next_ns);
                    let gap = -self.dice.between(1e-12, 1.0).ln() / rate;
                    self.next_ns += (gap * 1e9) as u64;
                }
            }
        }
    }

    fn begin_at(&mut self, at_ns: u64) {
        self.begun += 1;
        self.open += 1;
        self.proxy.calls += 1;
        self.due.push(Reverse(Due {
            ready_ns: at_ns,
            since_ns: at_ns,
            call: self.proxy.calls,
            step: Step::Offer,
        }));
    }

    fn send_due(&mut self) {
        let now = now_ns();
        while self.due.peek().is_some_and(|due| due.0.ready_ns <= now) {
            let Some(Reverse(due)) = self.due.pop() else {
                return;
            };
            let at = now_ns();
            if self.measured {
                self.replies.late.add(at.saturating_sub(due.ready_ns));
            }
            let since_ns = match self.pace {
                Pace::Closed(_) => at,
                Pace::Open(..) => due.since_ns,
            };
            let Due { call, step, .. } = due;
            let cookie = self.proxy.send(call, step);
            let under_way = UnderWay {
                since_ns,
                call,
                step,
            };
            self.under_way.insert(cookie, under_way);
        }
    }

    fn receive(&mut self) {
        let Self {
            proxy,
            pace,
            last,
            open,
            due,
            under_way,
            measured,
            replies,
            ..
        } = self;
        proxy.receive(|at_ns, cookie, body| {
            // One that had been given up.
            let Some(UnderWay {
                since_ns,
                call,
                step,
            }) = under_way.remove(&cookie)
            else {
                return;
            };
            if !body.ends_with(b"6:result2:oke") && find(body, b"6:result2:ok").is_none() {
                replies.refused += 1;
                *open -= 1;
                replies.refusal.get_or_insert_with(|| {
                    format!("{}: {}", step.name(), String::from_utf8_lossy(body))
                });
                return;
            }
            if *measured {
                replies.times[step as usize].add(at_ns.saturating_sub(since_ns));
            }
            let next = step.next().filter(|_| step != *last);
            let Some(step) = next else {
                *open -= 1;
                replies.cycles += u64::from(*measured);
                return;
            };
            let since_ns = match *pace {
                Pace::Closed(_) => at_ns,
                Pace::Open(_, gap) => since_ns + gap.as_nanos() as u64,
            };
            due.push(Reverse(Due {
                ready_ns: since_ns.max(at_ns),
                since_ns,
                call,
                step,
            }));
        });
    }

    fn give_up(&mut self) {
        let now = now_ns();
        let patience = PATIENCE.as_nanos() as u64;
        // From when it was due: it was sent later, if anything.
        let given_up = self
            .under_way
            .extract_if(|_, one| now.saturating_sub(one.since_ns) >= patience);
        for (_, UnderWay { call, .. }) in given_up {
            self.open -= 1;
            self.replies.unanswered += 1;
            // As a proxy does whose call failed. Without it each such call would be up for good, until
            // there are no descriptors left for others.
            self.proxy.send(call, Step::Delete);
        }
    }
}

/// A command as Kamailio's module writes it.
fn message(name: &str, cookie: u64, call: u64, step: Step) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        // Writing into a vector does not fail.
        let _ = write!(out, "{}:{text}", text.len());
    };
    let mut out = Vec::with_capacity(1_024);
    let _ = write!(out, "{name}_{}_{cookie} d", call % 8);
    let list = |out: &mut Vec<u8>, key: &str, words: &[&str]| {
        text(out, key);
        out.push(b'l');
        for word in words {
            text(out, word);
        }
        out.push(b'e');
    };
    let id = format!("{call:08x}-{name}@192.0.2.10");
    list(&mut out, "supports", &["load limit"]);
    if step != Step::Delete {
        let end = match step {
            Step::Offer => ENDS.0,
            _ => ENDS.1,
        };
        let end = SocketAddr::from((Ipv4Addr::LOCALHOST, end + (call % 5_000) as u16 * 2));
        text(&mut out, "sdp");
        text(&mut out, &ng::sdp(end));
        text(&mut out, "ICE");
        text(&mut out, "remove");
        list(&mut out, "replace", &["origin", "session-connection"]);
    }
    if step == Step::Offer {
        text(&mut out, "transport-protocol");
        text(&mut out, "RTP/AVP");
    }
    text(&mut out, "call-id");
    text(&mut out, &id);
    if step != Step::Delete {
        text(&mut out, "via-branch");
        text(&mut out, &format!("z9hG4bK{call:x}0"));
    }
    list(&mut out, "received-from", &["IP4", "127.0.0.1"]);
    text(&mut out, "from-tag");
    text(&mut out, &format!("a{call:x}"));
    if step == Step::Answer {
        text(&mut out, "to-tag");
        text(&mut out, &format!("b{call:x}"));
    }
    text(&mut out, "command");
    text(&mut out, step.name());
    out.push(b'e');
    out
}

/// The number at the end of a reply's cookie, and what follows the cookie.
fn split(datagram: &[u8]) -> Option<(u64, &[u8])> {
    let space = datagram.iter().position(|byte| *byte == b' ')?;
    let cookie = std::str::from_utf8(&datagram[..space]).ok()?;
    let number = cookie.rsplit('_').next()?.parse().ok()?;
    Some((number, &datagram[space + 1..]))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|some| some == wanted)
}
