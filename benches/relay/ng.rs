//! The NG protocol from the platform's side.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Requests that are under way at a time.
const AT_ONCE: usize = 8;
/// How often and how long a request is repeated; the cookie makes repeats harmless.
const TRIES: usize = 20;
const PATIENCE: Duration = Duration::from_millis(500);

/// What is masked of an armed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    /// What the caller says.
    One,
    /// The call as a whole is blocked.
    Both,
}

/// Where the two ends of every call are.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) caller: SocketAddr,
    pub(crate) agent: SocketAddr,
}

/// Where a daemon takes the two sides of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// From the caller.
    pub(crate) caller: u16,
    /// From the agent.
    pub(crate) agent: u16,
}

/// Whether a daemon answers.
pub(crate) fn is_alive(server: SocketAddr) -> bool {
    Client::new(server).is_ok_and(|mut client| client.ask(&json!({"command": "ping"})).is_ok())
}

/// Sets up `calls` calls; blocks DTMF on those of `armed`.
pub(crate) fn set_up(
    server: SocketAddr,
    ends: Ends,
    calls: usize,
    armed: impl Fn(usize) -> Option<Ways> + Sync,
) -> Result<Vec<Ports>, String> {
    let armed = &armed;
    let some = |first: usize| {
        let mut client = Client::new(server).map_err(|error| error.to_string())?;
        let mut ports = Vec::new();
        for number in (first..calls).step_by(AT_ONCE) {
            let agent = client.describe("offer", number, ends.caller)?;
            let caller = client.describe("answer", number, ends.agent)?;
            if let Some(ways) = armed(number) {
                client.block(number, ways)?;
            }
            ports.push((number, Ports { caller, agent }));
        }
        Ok::<_, String>(ports)
    };
    let mut all = thread::scope(|scope| {
        let parts: Vec<_> = (0..AT_ONCE)
            .map(|first| scope.spawn(move || some(first)))
            .collect();
        let mut all = Vec::with_capacity(calls);
        for part in parts {
            all.extend(part.join().expect("setting up does not panic")?);
        }
        Ok::<_, String>(all)
    })?;
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, ports)| ports).collect())
}

struct Client {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Client {
    fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            buffer: vec![0; 65_536],
        })
    }

    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        static COOKIE: AtomicU64 = AtomicU64::new(0);
        let number = COOKIE.fetch_add(1, Ordering::Relaxed);
        let cookie = format!("r{}_{number} ", std::process::id());
        let command = request["command"].as_str().unwrap_or_default();
        for _ in 0..TRIES {
            // A refusal by the kernel (nobody there) is no answer, like silence.
            let sent = self.socket.send(format!("{cookie}{request}").as_bytes());
            while let Ok(length) = sent
                .as_ref()
                .and(self.socket.recv(&mut self.buffer).as_ref())
            {
                // What answers an earlier try is passed over.
                let text = String::from_utf8_lossy(&self.buffer[..*length]);
                let Some(body) = text.strip_prefix(&cookie) else {
                    continue;
                };
                let answer: Value = serde_json::from_str(body)
                    .map_err(|error| format!("{command}: {error} in {body}"))?;
                let result = answer["result"].as_str().unwrap_or_default();
                return match result {
                    "ok" | "pong" => Ok(answer),
                    _ => Err(format!("{command}: {answer}")),
                };
            }
            thread::sleep(PATIENCE / 20);
        }
        Err(format!("{command}: no answer"))
    }

    /// Offer or answer; returns where the other side has to send.
    fn describe(&mut self, command: &str, call: usize, end: SocketAddr) -> Result<u16, String> {
        let mut message = json!({
            "command": command,
            "call-id": call_id(call),
            "from-tag": "caller",
            "replace": ["origin", "session-connection"],
            "ICE": "remove",
            "sdp": sdp(end),
        });
        if command == "answer" {
            message["to-tag"] = "agent".into();
        }
        let answer = self.ask(&message)?;
        let sdp = answer["sdp"].as_str().unwrap_or_default();
        port_of(sdp).ok_or_else(|| format!("{command}: no port of audio in the SDP"))
    }

    fn block(&mut self, call: usize, ways: Ways) -> Result<(), String> {
        let mut message = json!({
            "command": "block DTMF",
            "call-id": call_id(call),
            "flags": ["detect-DTMF"],
            "DTMF-security": "tone",
            // Less lets rtpengine's listeners hear digits; see docs/benches.md, leak_matrix.
            "delay-buffer": 100,
        });
        if ways == Ways::One {
            message["from-tag"] = "caller".into();
            message["flags"] = json!(["detect-DTMF", "directional"]);
        }
        self.ask(&message).map(drop)
    }
}

fn call_id(call: usize) -> String {
    format!("relay-{call}")
}

/// The port of the audio in a session description.
pub(crate) fn port_of(sdp: &str) -> Option<u16> {
    let mut lines = sdp.lines();
    let rest = lines.find_map(|line| line.strip_prefix("m=audio "))?;
    rest.split(' ')
        .next()?
        .parse()
        .ok()
        .filter(|port| *port > 0)
}

/// A side that offers mu-law and telephone-events.
pub(crate) fn sdp(end: SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
        ip = end.ip(),
        port = end.port(),
    )
}
