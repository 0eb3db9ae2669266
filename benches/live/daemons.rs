//! What is measured, as processes: tonewall, Debian's rtpengine in two settings, and the floor.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    floor::{self, Fault},
    ng,
    process::{self, stay_on},
    set_up_floor,
};
use crate::common::{options::Options, report::Report};

/// Each daemon has an address of its own and on it every port: 4,000 calls take 16,000.
pub(crate) const MEDIA_PORTS: (u16, u16) = (10_000, 64_999);
const NG_PORT: u16 = 2_223;
const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Relays.
    Floor(Option<Fault>),
    /// Sets up and deletes.
    SetUpFloor(Option<set_up_floor::Fault>),
    Tonewall,
    /// Another build of the gateway, beside this one.
    Beside(PathBuf),
    /// With as many threads as it takes by itself.
    Rtpengine,
    /// With one thread for the media.
    RtpengineOneThread,
}

impl Kind {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) | Self::SetUpFloor(_) => "floor",
            Self::Tonewall => "tonewall",
            Self::Beside(_) => "beside",
            Self::Rtpengine => "rtpengine",
            Self::RtpengineOneThread => "rtpengine, 1 thread",
        }
    }

    pub(crate) const fn is_rtpengine(&self) -> bool {
        matches!(self, Self::Rtpengine | Self::RtpengineOneThread)
    }
}

/// Whether rtpengine can be measured too; says which, or loudly that it is not there.
pub(crate) fn is_rtpengine_there(options: &Options, report: &mut Report) -> bool {
    if let Some(version) = rtpengine_version() {
        report.say(&format!("rtpengine: {version}."));
        return true;
    }
    println!(
        "!!! RTPENGINE IS NOT THERE: nothing is said of it. Install rtpengine-daemon and run again."
    );
    if options.allow_missing {
        report.say("**rtpengine was missing.**");
    } else {
        report.goal(false, "rtpengine is there".to_owned());
    }
    false
}

/// Its version; `None` when it is not installed.
fn rtpengine_version() -> Option<String> {
    let output = Command::new("rtpengine").arg("--version").output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(text.lines().next().unwrap_or("rtpengine").trim().to_owned())
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
    pub(crate) address: Ipv4Addr,
}

impl Daemon {
    /// Starts one that stays on `core`.
    pub(crate) fn start(kind: &Kind, core: usize) -> Self {
        let folder = TempDir::with_prefix("relay-").expect("a folder");
        // Nobody else's, on a host where several things are tested at once.
        let address = Ipv4Addr::new(
            127,
            rand::random_range(32..=223),
            rand::random(),
            rand::random_range(1..=254),
        );
        let mut command = command(kind, address, &folder);
        let log = File::create(folder.path().join("log")).expect("a file");
        command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // What a thread starts stays on the thread's core.
        let child = thread::scope(|scope| {
            let start = || {
                stay_on(core);
                command.spawn()
            };
            scope.spawn(start).join().expect("starting does not panic")
        });
        let mut daemon = Self {
            child: child.expect("the program is there"),
            folder,
            address,
        };
        let until = Instant::now() + PATIENCE;
        while !ng::is_alive(daemon.ng()) {
            let ended = daemon.child.try_wait().expect("its status").is_some();
            let log = fs::read_to_string(daemon.folder.path().join("log")).unwrap_or_default();
            assert!(
                !ended && Instant::now() < until,
                "{} does not answer:\n{log}",
                kind.name()
            );
        }
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ng(&self) -> SocketAddr {
        (self.address, NG_PORT).into()
    }

    /// Stands still while another is measured: returns once it does.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        let until = Instant::now() + PATIENCE;
        while !process::stands_still(self.pid()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        // One that has died shows by what it does not relay.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(kind: &Kind, address: Ipv4Addr, folder: &TempDir) -> Command {
    let ng = SocketAddr::from((address, NG_PORT));
    match kind {
        Kind::Floor(fault) => {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.arg(floor::ARGUMENT).arg(ng.to_string());
            command.args(fault.map(Fault::name));
            command
        }
        Kind::SetUpFloor(fault) => {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.arg(set_up_floor::ARGUMENT).arg(ng.to_string());
            command.args(fault.map(set_up_floor::Fault::name));
            command
        }
        Kind::Tonewall => tonewall(
            &PathBuf::from(env!("CARGO_BIN_EXE_tonewall")),
            address,
            folder,
        ),
        Kind::Beside(program) => tonewall(program, address, folder),
        Kind::Rtpengine | Kind::RtpengineOneThread => {
            // In userspace, as an unprivileged user could: no kernel module is used.
            let mut command = Command::new("rtpengine");
            command
                .args(["--config-file=none", "--foreground", "--table=-1"])
                .args(["--log-stderr", "--log-level=3"])
                .args(["--delete-delay=0", "--timeout=3600"])
                .arg(format!("--interface={address}"))
                .arg(format!("--listen-ng={ng}"))
                .arg(format!("--port-min={}", MEDIA_PORTS.0))
                .arg(format!("--port-max={}", MEDIA_PORTS.1));
            if *kind == Kind::RtpengineOneThread {
                command.arg("--num-threads=1");
            }
            command
        }
    }
}

fn tonewall(program: &PathBuf, address: Ipv4Addr, folder: &TempDir) -> Command {
    let config = format!(
        "data_dir = {:?}\ndrain_timeout = \"1s\"\n\
         [api]\nlisten = \"{address}:8080\"\n[metrics]\nlisten = \"{address}:9464\"\n\
         [ng]\nudp = \"{address}:{NG_PORT}\"\nidle_timeout = \"60m\"\n\
         [media]\naddress = \"{address}\"\nport_min = {}\nport_max = {}\n\
         port_quarantine = \"1s\"\ncaller = \"offerer\"\n\
         [processor]\nkind = \"sandbox\"\n",
        folder.path().join("data"),
        MEDIA_PORTS.0,
        MEDIA_PORTS.1,
    );
    let file = folder.path().join("tonewall.toml");
    fs::write(&file, config).expect("the configuration is written");
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(file);
    command
}
