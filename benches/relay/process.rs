//! What the kernel says of processes, cores and sockets.

use std::{fs, io, net::Ipv4Addr, time::Duration};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};

/// The two cores of a run: one for the load, one for whatever is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) load: usize,
    pub(crate) daemon: usize,
}

impl Cores {
    /// The first and the last that this process may use; `None` where there is only one.
    pub(crate) fn of_this_host() -> Option<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let daemon = cores.next()?;
        let load = cores.next_back()?;
        Some(Self { load, daemon })
    }
}

/// Keeps this thread, and what it starts, on one core.
pub(crate) fn stay_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .expect("a core that was allowed before");
}

/// Lets this process and what it starts have as many descriptors as they may: a call takes four.
pub(crate) fn raise_descriptors() {
    // Where there are too few, the row says which daemon ran out.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Time on a core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Of all threads, as the scheduler counts it.
    pub(crate) ns: u64,
    /// Of that, as sampled by the timer tick: only their ratio is used.
    user_ticks: u64,
    system_ticks: u64,
}

impl Cpu {
    /// Of a process: every thread that lives.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut ns = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that ends meanwhile had nothing to do with the media.
            if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
                ns += first_number(&text);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse().ok());
        Ok(Self {
            ns,
            user_ticks: ticks().unwrap_or(0),
            system_ticks: ticks().unwrap_or(0),
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(earlier.ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// Share of the time that was the program's own, not the kernel's.
    pub(crate) fn user_share(self) -> f64 {
        self.user_ticks as f64 / (self.user_ticks + self.system_ticks).max(1) as f64
    }
}

/// Whether all threads of a process are stopped, or gone.
pub(crate) fn stands_still(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state follows the name, which stands in parentheses and may hold anything.
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        state.starts_with(['T', 'Z', 'X']) || state.is_empty()
    })
}

/// Time on a core of the thread that asks, ns.
pub(crate) fn own_cpu_ns() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").map_or(0, |text| first_number(&text))
}

fn first_number(text: &str) -> u64 {
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// How long each core was busy, with whatever.
pub(crate) fn busy(cores: Cores) -> [Duration; 2] {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    [cores.daemon, cores.load].map(|core| {
        let name = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name));
        let ticks: Vec<u64> = line
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal
        let busy = [0, 1, 2, 5, 6, 7].map(|field| ticks.get(field).copied().unwrap_or(0));
        // Linux counts hundredths of a second here on every machine.
        Duration::from_millis(10 * busy.iter().sum::<u64>())
    })
}

/// Resident memory, KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    first_number(line.unwrap_or_default())
}

/// Datagrams that sockets had no room for since they were opened: those of an address, or of some of
/// its ports.
pub(crate) fn dropped(address: Ipv4Addr, ports: Option<[u16; 2]>) -> u64 {
    // The kernel prints the address as it lies in memory.
    let address = format!("{:08X}", u32::from_ne_bytes(address.octets()));
    let is_ours = |local: &str| {
        local.split_once(':').is_some_and(|(ip, port)| {
            let port = u16::from_str_radix(port, 16).unwrap_or(0);
            ip == address && ports.is_none_or(|ports| ports.contains(&port))
        })
    };
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let lines = table.lines().filter_map(|line| {
        let local = line.split_whitespace().nth(1)?;
        is_ours(local).then(|| line.split_whitespace().last())?
    });
    lines.filter_map(|drops| drops.parse::<u64>().ok()).sum()
}
