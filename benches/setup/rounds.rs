//! The daemons, each with its standing calls, and the stretches of cycles that they get in turns.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use crate::{
    common::jobs,
    live::{
        daemons::{Daemon, Kind},
        histogram::Histogram,
        load::now_ns,
        process::{self, Cores, Cpu},
    },
    load::{Pace, Proxy, Replies, Step},
};

/// How long a daemon may take to close what was deleted.
const CLOSING: Duration = Duration::from_millis(100);

/// What a stretch of cycles has shown.
pub(crate) struct Slice {
    pub(crate) replies: Replies,
    pub(crate) wall: Duration,
    pub(crate) cpu: Cpu,
    pub(crate) own_cpu: Duration,
    /// Share of the daemon's and of the load's core that other programs took.
    pub(crate) foreign: [f64; 2],
    /// How far the wall clock was set meanwhile.
    pub(crate) clock_step: Duration,
    /// Replies that the load's own socket had no room for.
    pub(crate) own_drops: u32,
}

/// A daemon with its standing calls.
pub(crate) struct Contestant {
    pub(crate) kind: Kind,
    pub(crate) daemon: Daemon,
    proxy: Proxy,
    /// With all standing calls up, before the first cycle.
    pub(crate) before: Held,
}

/// What a daemon holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

impl Contestant {
    /// A daemon of its own with `standing` calls; it stands still.
    pub(crate) fn start(kind: &Kind, cores: Cores, standing: usize) -> Result<Self, String> {
        let daemon = Daemon::start(kind, cores.daemon);
        let mut proxy = Proxy::new(daemon.ng()).map_err(|error| error.to_string())?;
        proxy.stand(standing)?;
        let one = Self {
            kind: kind.clone(),
            before: held(&daemon),
            daemon,
            proxy,
        };
        one.daemon.pause();
        Ok(one)
    }

    /// Replies that come close together are lost from here on.
    pub(crate) fn lose_replies(&self) -> io::Result<()> {
        self.proxy.have_little_room()
    }

    /// A stretch of cycles; the daemon stands still before and after.
    pub(crate) fn play(
        &mut self,
        pace: Pace,
        (warm, measured): (Duration, Duration),
        cores: Cores,
        seed: u64,
    ) -> io::Result<Slice> {
        self.daemon.go_on();
        let clocks = (Instant::now(), now_ns());
        let drops_before = self.proxy.drops();
        let pid = self.daemon.pid();
        let mut read = Vec::with_capacity(2);
        let replies = self.proxy.cycle(pace, (warm, measured), seed, |_| {
            read.push(Snapshot::take(pid, cores));
        });
        self.daemon.pause();
        let mut read = read.into_iter();
        let (Some(before), Some(after)) = (read.next(), read.next()) else {
            return Err(io::Error::other("the stretch had no end"));
        };
        let (before, after) = (before?, after?);
        let wall = after.at - before.at;
        let cpu = after.cpu.since(before.cpu);
        let own_cpu = Duration::from_nanos(after.own_ns - before.own_ns);
        let ours = [Duration::from_nanos(cpu.ns), own_cpu];
        let foreign = [0, 1].map(|core: usize| {
            let busy = after.busy[core].saturating_sub(before.busy[core]);
            busy.saturating_sub(ours[core]).as_secs_f64() / wall.as_secs_f64()
        });
        let wall_clock = Duration::from_nanos(now_ns().saturating_sub(clocks.1));
        Ok(Slice {
            replies,
            wall,
            cpu,
            own_cpu,
            foreign,
            clock_step: clocks.0.elapsed().abs_diff(wall_clock),
            own_drops: self.proxy.drops() - drops_before,
        })
    }

    /// What it holds once its cycles are over, and had so long to close their sockets as it may take.
    pub(crate) fn held(&self) -> Held {
        self.daemon.go_on();
        thread::sleep(CLOSING);
        let held = held(&self.daemon);
        self.daemon.pause();
        held
    }
}

fn held(daemon: &Daemon) -> Held {
    Held {
        descriptors: process::descriptors(daemon.pid()),
        resident_kib: process::resident_kib(daemon.pid()),
    }
}

/// What is read at both ends of the measured time.
struct Snapshot {
    at: Instant,
    cpu: Cpu,
    own_ns: u64,
    busy: [Duration; 2],
}

impl Snapshot {
    fn take(pid: u32, cores: Cores) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: Cpu::of(pid)?,
            own_ns: process::own_cpu_ns(),
            busy: process::busy(cores),
        })
    }
}

/// Stretches of all daemons in turns: A B C C B A A B C ...
pub(crate) fn in_turns(
    contestants: &mut [Contestant],
    paces: &[Option<Pace>],
    times: (Duration, Duration),
    rounds: usize,
    cores: Cores,
    seed: u64,
) -> Vec<Vec<Slice>> {
    let mut slices: Vec<Vec<Slice>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let seed = jobs::seed_of(seed, round as u64);
        for turn in 0..contestants.len() {
            let place = match round % 2 {
                0 => turn,
                _ => contestants.len() - 1 - turn,
            };
            let (one, Some(pace)) = (&mut contestants[place], paces[place]) else {
                continue;
            };
            match one.play(pace, times, cores, seed) {
                Ok(slice) => {
                    progress(&one.kind, &slice);
                    slices[place].push(slice);
                }
                Err(error) => eprintln!("  {}: {error}", one.kind.name()),
            }
        }
    }
    slices
}

fn progress(kind: &Kind, slice: &Slice) {
    let p99 = |times: &Histogram| times.quantile_us(0.99).unwrap_or_default();
    let [offer, answer, delete] = Step::ALL.map(|step| p99(&slice.replies.times[step as usize]));
    let refusal = slice.replies.refusal.as_deref().unwrap_or_default();
    eprintln!(
        "  {:<20} {:6.0} cycles/s, {:6.1} us each, p99 {offer:.0} {answer:.0} {delete:.0} us, {} \
         refused, {} unanswered {refusal}",
        kind.name(),
        slice.replies.cycles as f64 / slice.wall.as_secs_f64(),
        slice.cpu.ns as f64 / 1e3 / slice.replies.cycles.max(1) as f64,
        slice.replies.refused,
        slice.replies.unanswered,
    );
    let _ = io::stderr().flush();
}
