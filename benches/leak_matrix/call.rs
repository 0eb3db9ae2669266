//! One call through a daemon, in real time, over loopback UDP.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    caller::{Script, time_of},
    daemons::Daemon,
    ng::{self, Dialog},
    rows::{Happening, Row},
};

/// How long is listened after the last packet, beyond the delay that was asked for.
const LINGER: Duration = Duration::from_millis(800);

/// A datagram that came, and when, from the beginning of the caller's stream.
pub(crate) struct Received {
    pub(crate) at: Duration,
    pub(crate) datagram: Vec<u8>,
}

/// What became of a call.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) received: Vec<Received>,
    /// What the daemon refused, in its words.
    pub(crate) refused: Option<String>,
    /// Whether the daemon was gone in the end.
    pub(crate) crashed: bool,
}

/// Plays `script` through `daemon` and returns what the row is judged by.
pub(crate) fn play(row: &Row, script: &Script, daemon: &Mutex<Daemon>, call_id: &str) -> Taken {
    let server = lock(daemon).ng();
    let mut taken = Taken::default();
    if let Err(refusal) = through(row, script, daemon, call_id, &mut taken) {
        taken.refused = Some(refusal);
    }
    taken.crashed = !ng::is_alive(server);
    taken
}

fn lock(daemon: &Mutex<Daemon>) -> std::sync::MutexGuard<'_, Daemon> {
    daemon.lock().expect("no call panicked with it")
}

fn through(
    row: &Row,
    script: &Script,
    daemon: &Mutex<Daemon>,
    call_id: &str,
    taken: &mut Taken,
) -> Result<(), String> {
    let socket = || UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string());
    let (caller, agent) = (socket()?, socket()?);
    let port = |socket: &UdpSocket| socket.local_addr().map_or(0, |address| address.port());
    let dialog = Dialog {
        call_id: call_id.to_owned(),
        caller_port: port(&caller),
        agent_port: port(&agent),
    };
    let (server, recordings) = {
        let daemon = lock(daemon);
        (daemon.ng(), daemon.recordings().map(Path::to_owned))
    };
    let target = Mutex::new(dialog.agree(server, row.session, false)?);
    if let Some(block) = row.block
        && row.happening != Happening::BlockInMidKey
    {
        dialog.block(server, row, block)?;
    }
    let recorder = recordings.filter(|_| row.happening == Happening::Recording);
    if recorder.is_some() {
        dialog.start_recording(server)?;
    }
    let delay = row.block.and_then(|block| block.delay_ms).unwrap_or(0);
    let linger = LINGER + 2 * Duration::from_millis(u64::from(delay));
    let done = AtomicBool::new(false);
    let began = Instant::now() + Duration::from_millis(20);
    thread::scope(|scope| {
        let listening = scope.spawn(|| listen(&agent, began, &done));
        let acting = scope.spawn(|| act(row, script, daemon, &dialog, &target, began));
        for packet in &script.packets {
            sleep_until(began + packet.due);
            let to = *target.lock().expect("nobody panicked with it");
            // Nobody is there while a daemon restarts.
            let _ = caller.send_to(&packet.datagram, to);
        }
        thread::sleep(linger);
        done.store(true, Ordering::Relaxed);
        taken.received = listening.join().expect("listening does not panic");
        acting.join().expect("acting does not panic")
    })?;
    // A daemon that has crashed has no call either.
    let deleted = dialog.delete(server);
    if let Some(folder) = recorder {
        deleted?;
        // Its files are closed with the call, a little later.
        thread::sleep(Duration::from_millis(500));
        taken.received = recorded(&folder, call_id)?;
    }
    Ok(())
}

fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

fn listen(agent: &UdpSocket, began: Instant, done: &AtomicBool) -> Vec<Received> {
    let mut received = Vec::new();
    let mut buffer = [0; 2_048];
    agent
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a time-out can be set");
    while !done.load(Ordering::Relaxed) {
        if let Ok(length) = agent.recv(&mut buffer) {
            received.push(Received {
                at: Instant::now().saturating_duration_since(began),
                datagram: buffer[..length].to_vec(),
            });
        }
    }
    received
}

/// Does what happens in mid call.
fn act(
    row: &Row,
    script: &Script,
    daemon: &Mutex<Daemon>,
    dialog: &Dialog,
    target: &Mutex<SocketAddr>,
    began: Instant,
) -> Result<(), String> {
    let mut session = row.session;
    sleep_until(began + time_of(script.happens_at));
    let server = lock(daemon).ng();
    match row.happening {
        Happening::Nothing | Happening::NewSource | Happening::Trigger | Happening::Recording => {
            return Ok(());
        }
        Happening::BlockInMidKey => {
            return row
                .block
                .map_or(Ok(()), |block| dialog.block(server, row, block));
        }
        Happening::Reoffer => {}
        Happening::ReofferWithEvents => {
            (session.caller_events, session.agent_events) = (Some(101), Some(101));
        }
        Happening::Restart => lock(daemon).restart(),
    }
    let to = dialog.agree(server, session, true)?;
    *target.lock().expect("nobody panicked with it") = to;
    Ok(())
}

/// The RTP of a call from rtpengine's capture: files of libpcap, raw IPv4.
fn recorded(folder: &Path, call_id: &str) -> Result<Vec<Received>, String> {
    const FILE_HEADER: usize = 24;
    const PACKET_HEADER: usize = 16;
    let entries = fs::read_dir(folder.join("pcaps")).map_err(|error| error.to_string())?;
    let file = entries
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().contains(call_id))
        .ok_or("start recording: no file of this call")?;
    let bytes = fs::read(file.path()).map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    let mut rest = bytes.get(FILE_HEADER..).unwrap_or_default();
    let mut first = None;
    while let Some((header, after)) = rest.split_first_chunk::<PACKET_HEADER>() {
        let field = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_ne_bytes(bytes)
        };
        let at = Duration::from_secs(field(0).into()) + Duration::from_micros(field(4).into());
        let length = (field(8) as usize).min(after.len());
        let (packet, next) = after.split_at(length);
        let ip_header = packet
            .first()
            .map_or(0, |byte| usize::from(byte & 0x0f) * 4);
        if let Some(datagram) = packet.get(ip_header + 8..) {
            let first = *first.get_or_insert(at);
            received.push(Received {
                at: at.saturating_sub(first),
                datagram: datagram.to_vec(),
            });
        }
        rest = next;
    }
    Ok(received)
}
