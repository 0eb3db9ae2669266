//! The NG protocol from the platform's side, and the session descriptions it carries.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tonewall::proto::codec::Law;

use crate::{
    caller::TRIGGER,
    rows::{Block, Happening, Row, Session},
};

/// How often and how long a request is repeated; the cookie makes repeats harmless.
const TRIES: usize = 10;
const PATIENCE: Duration = Duration::from_millis(500);

/// One request. The error is what a table can say of it.
pub(crate) fn request(server: SocketAddr, request: &Value) -> Result<Value, String> {
    static COOKIE: AtomicU64 = AtomicU64::new(0);
    let number = COOKIE.fetch_add(1, Ordering::Relaxed);
    let command = request["command"].as_str().unwrap_or_default();
    let ask = || -> io::Result<Option<Value>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let cookie = format!("m{}_{number}", std::process::id());
        let mut buffer = vec![0; 65_536];
        for _ in 0..TRIES {
            // A refusal by the kernel (nobody there) is no answer, like silence.
            if socket
                .send(format!("{cookie} {request}").as_bytes())
                .is_err()
            {
                std::thread::sleep(PATIENCE / 10);
                continue;
            }
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let body = text.strip_prefix(&format!("{cookie} "));
                    return Ok(body.and_then(|body| serde_json::from_str(body).ok()));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::thread::sleep(PATIENCE / 10);
                }
                Err(_) => {}
            }
        }
        Ok(None)
    };
    match ask() {
        Ok(Some(answer)) if answer["result"] == "ok" || answer["result"] == "pong" => Ok(answer),
        Ok(Some(answer)) => Err(format!("{command}: {}", answer["error-reason"])),
        Ok(None) => Err(format!("{command}: no answer")),
        Err(error) => Err(format!("{command}: {error}")),
    }
}

/// Whether a daemon answers.
pub(crate) fn is_alive(server: SocketAddr) -> bool {
    request(server, &json!({"command": "ping"})).is_ok()
}

/// A call as the platform knows it.
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) caller_port: u16,
    pub(crate) agent_port: u16,
}

impl Dialog {
    /// Offer and answer; returns where the caller has to send. `within` a dialog both tags are known.
    pub(crate) fn agree(
        &self,
        server: SocketAddr,
        session: Session,
        within: bool,
    ) -> Result<SocketAddr, String> {
        let message = |command: &str, port, events| {
            let mut message = json!({
                "command": command,
                "call-id": self.call_id,
                "from-tag": "caller",
                "replace": ["origin", "session-connection"],
                "ICE": "remove",
                "sdp": sdp(port, session.law, events),
            });
            if within || command == "answer" {
                message["to-tag"] = "agent".into();
            }
            message
        };
        request(
            server,
            &message("offer", self.caller_port, session.caller_events),
        )?;
        let answer = request(
            server,
            &message("answer", self.agent_port, session.agent_events),
        )?;
        let sdp = answer["sdp"].as_str().unwrap_or_default();
        let port = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("m=audio "))
            .find_map(|rest| rest.split(' ').next()?.parse::<u16>().ok());
        match port {
            Some(port) if port > 0 => Ok(([127, 0, 0, 1], port).into()),
            _ => Err("answer: no port of audio in the SDP".to_owned()),
        }
    }

    /// `block DTMF` of the caller's leg as the row wants it.
    pub(crate) fn block(&self, server: SocketAddr, row: &Row, block: Block) -> Result<(), String> {
        let mut flags = vec!["directional"];
        if block.detect {
            flags.push("detect-DTMF");
        }
        let mut message = json!({
            "command": "block DTMF",
            "call-id": self.call_id,
            "from-tag": "caller",
            "flags": flags,
            "DTMF-security": block.security,
        });
        if let Some(ms) = block.delay_ms {
            message["delay-buffer"] = ms.into();
        }
        if row.happening == Happening::Trigger {
            message["DTMF-security"] = "off".into();
            message["DTMF-security-trigger"] = block.security.into();
            message["trigger"] = TRIGGER.into();
        }
        request(server, &message).map(drop)
    }

    pub(crate) fn start_recording(&self, server: SocketAddr) -> Result<(), String> {
        let message = json!({"command": "start recording", "call-id": self.call_id});
        request(server, &message).map(drop)
    }

    pub(crate) fn delete(&self, server: SocketAddr) -> Result<(), String> {
        let message = json!({"command": "delete", "call-id": self.call_id, "from-tag": "caller"});
        request(server, &message).map(drop)
    }
}

fn sdp(port: u16, law: Law, events: Option<u8>) -> String {
    let (kind, name) = match law {
        Law::Mu => (0, "PCMU"),
        Law::A => (8, "PCMA"),
    };
    let events_type = events.map(|kind| format!(" {kind}")).unwrap_or_default();
    let events = events.map_or_else(String::new, |kind| {
        format!("a=rtpmap:{kind} telephone-event/8000\r\na=fmtp:{kind} 0-15\r\n")
    });
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {kind}{events_type}\r\na=rtpmap:{kind} {name}/8000\r\n{events}\
         a=ptime:20\r\na=sendrecv\r\n"
    )
}
