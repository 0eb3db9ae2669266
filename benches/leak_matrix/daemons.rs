//! The two daemons as processes: the gateway itself, and Debian's rtpengine.

use std::{
    collections::BTreeSet,
    fs::File,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    ng,
    product::{Gateway, Options},
};

/// Media ports of all rtpengines, below those that the kernel gives away, and below tonewall's.
const MEDIA_PORTS: std::ops::Range<u16> = 20_000..24_000;
/// Of one: 50 calls. Two would share a port without a word, and one of them get what comes.
const MEDIA_RANGE: u16 = 200;
/// Where a port for NG is looked for.
const CONTROL_PORTS: std::ops::Range<u16> = 10_000..20_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tonewall,
    Rtpengine,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tonewall => "tonewall",
            Self::Rtpengine => "rtpengine",
        }
    }
}

/// A running daemon.
pub(crate) enum Daemon {
    Tonewall(Box<(Gateway, Runtime)>),
    Rtpengine {
        child: Child,
        folder: TempDir,
        ng: SocketAddr,
        ports: Ports,
    },
}

/// rtpengine's version; `None` when it is not installed.
pub(crate) fn rtpengine_version() -> Option<String> {
    let output = Command::new("rtpengine").arg("--version").output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(text.lines().next().unwrap_or("rtpengine").trim().to_owned())
}

impl Daemon {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Tonewall => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let gateway = runtime.block_on(Gateway::start(Options::default()));
                Self::Tonewall(Box::new((gateway, runtime)))
            }
            Kind::Rtpengine => {
                let folder = TempDir::new().expect("a folder");
                let (ng, ports) = (free(), Ports::take());
                let child = serve(&folder, ng, &ports);
                Self::Rtpengine {
                    child,
                    folder,
                    ng,
                    ports,
                }
            }
        }
    }

    pub(crate) fn ng(&self) -> SocketAddr {
        match self {
            Self::Tonewall(both) => both.0.ng,
            Self::Rtpengine { ng, .. } => *ng,
        }
    }

    /// SIGKILL, and a start on the same files and ports.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Tonewall(both) => {
                let (gateway, runtime) = &mut **both;
                gateway.kill();
                runtime.block_on(gateway.restart());
            }
            Self::Rtpengine {
                child,
                folder,
                ng,
                ports,
            } => {
                // Dead already when it crashed.
                let _ = child.kill();
                let _ = child.wait();
                *child = serve(folder, *ng, ports);
            }
        }
    }

    /// Where it keeps recordings; `None` where it makes none.
    pub(crate) fn recordings(&self) -> Option<&Path> {
        match self {
            Self::Tonewall(_) => None,
            Self::Rtpengine { folder, .. } => Some(folder.path()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Self::Rtpengine { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The first of a range of media ports that is nobody else's while this lives.
pub(crate) struct Ports(u16);

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl Ports {
    fn take() -> Self {
        loop {
            let ranges = 0..(MEDIA_PORTS.end - MEDIA_PORTS.start) / MEDIA_RANGE;
            let first = MEDIA_PORTS.start + MEDIA_RANGE * rand::random_range(ranges);
            let is_free = |port| UdpSocket::bind(("127.0.0.1", port)).is_ok();
            let mut taken = TAKEN.lock().expect("nobody panics with it");
            if (first..first + MEDIA_RANGE).all(is_free) && taken.insert(first) {
                return Self(first);
            }
            drop(taken);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        if let Ok(mut taken) = TAKEN.lock() {
            taken.remove(&self.0);
        }
    }
}

fn free() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(CONTROL_PORTS)));
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// In userspace, as an unprivileged user could: no kernel module is used.
fn serve(folder: &TempDir, ng: SocketAddr, ports: &Ports) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .expect("a file");
    let child = Command::new("rtpengine")
        .args(["--config-file=none", "--foreground", "--table=-1"])
        .args(["--interface=127.0.0.1", "--log-stderr", "--log-level=3"])
        .args(["--delete-delay=0", "--timeout=600"])
        .args(["--recording-method=pcap", "--recording-format=raw"])
        .arg(format!("--recording-dir={}", folder.path().display()))
        .arg(format!("--listen-ng={ng}"))
        .arg(format!("--port-min={}", ports.0))
        .arg(format!("--port-max={}", ports.0 + MEDIA_RANGE - 1))
        // Where it crashes, its core goes with the folder.
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("rtpengine was found before");
    let until = Instant::now() + PATIENCE;
    while !ng::is_alive(ng) {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(Instant::now() < until, "rtpengine does not answer:\n{log}");
        thread::sleep(Duration::from_millis(50));
    }
    child
}
