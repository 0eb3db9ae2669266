//! Nobody reads the memory of a running gateway or of its sandbox, not even their own user.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Root may read everything, so where this test runs as root all that it starts runs as nobody.
const NOBODY: u32 = 65_534;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("procfs").uid() == 0
}

fn unprivileged(command: &mut Command) -> &mut Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Runs a program with as large a core limit as may be had.
fn with_cores(program: &Path) -> Command {
    let mut shell = Command::new("sh");
    let script = "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"";
    shell.args(["-c", script, "sh"]).arg(program);
    shell
}

fn free_tcp() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// A gateway that is ready for calls, in a folder and from a program that nobody may use.
fn gateway(folder: &Path) -> Ended {
    let (api, metrics) = (free_tcp(), free_tcp());
    let ng = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let config = format!(
        "data_dir = {:?}\n[api]\nlisten = \"{api}\"\n[metrics]\nlisten = \"{metrics}\"\n\
         [ng]\nudp = \"{}\"\n[media]\nport_min = 47000\nport_max = 47099\n\
         [processor]\nkind = \"sandbox\"\n",
        folder.join("data"),
        ng.expect("a free port"),
    );
    let (file, program, log) = (
        folder.join("tonewall.toml"),
        folder.join("tonewall"),
        folder.join("log"),
    );
    fs::write(&file, config).expect("written");
    fs::copy(env!("CARGO_BIN_EXE_tonewall"), &program).expect("a copy");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("open to all");
    if is_root() {
        for path in [folder, &file, &program] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
    let mut command = with_cores(&program);
    command
        .args(["serve", "--log-format", "json", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"));
    let child = Ended(unprivileged(&mut command).spawn().expect("it starts"));
    let started = Instant::now();
    while !fs::read_to_string(&log).is_ok_and(|log| log.contains("ready for calls")) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "not ready: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        sleep(Duration::from_millis(20));
    }
    child
}

fn children(of: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{of}");
    let is_child = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/status"))
            .is_ok_and(|status| status.lines().any(|line| line == parent))
    };
    fs::read_dir("/proc")
        .expect("procfs")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// Whether a process of the same user may look into this one.
fn can_be_read(process: u32) -> bool {
    let mut cat = Command::new("cat");
    cat.arg(format!("/proc/{process}/environ"))
        .stderr(Stdio::null());
    let read = unprivileged(&mut cat).output().expect("cat runs");
    read.status.success()
}

fn core_limit(process: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max core"));
    let words: Vec<&str> = line.expect("a limit").split_whitespace().collect();
    words[words.len() - 3..words.len() - 1].join(" ")
}

#[test]
fn gateway_and_sandbox_leave_no_core_and_cannot_be_read_by_their_own_user() {
    let folder = TempDir::new().expect("a folder");
    let gateway = gateway(folder.path());
    let sandbox = children(gateway.0.id());
    assert_eq!(sandbox.len(), 1, "the sandbox is the only child");
    for process in [gateway.0.id(), sandbox[0]] {
        assert_eq!(core_limit(process), "0 0");
        assert!(!can_be_read(process));
    }

    // Control: another process of that user can be read, and has a limit of its own.
    let mut sleeper = with_cores(Path::new("sh"));
    sleeper.args(["-c", "read -r _"]).stdin(Stdio::piped());
    let sleeper = Ended(unprivileged(&mut sleeper).spawn().expect("a shell"));
    assert!(
        can_be_read(sleeper.0.id()),
        "void: nobody can read anything"
    );
    if core_limit(sleeper.0.id()) == "0 0" {
        eprintln!("core dumps are forbidden here anyway: that half shows nothing");
    }
}
