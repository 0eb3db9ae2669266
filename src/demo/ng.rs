//! The part of a telephony platform: offers and answers by the NG protocol, JSON over UDP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::timeout};

/// How often and how long a request is repeated; the cookie makes repeats harmless.
const TRIES: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(700);

/// The agent's own address; the panel finds the call by it.
pub(super) const AGENT: &str = "sip:alice@northwind.invalid";

/// A call as the platform knows it.
#[derive(Debug, Clone)]
pub(super) struct Dialog {
    /// The SIP Call-ID.
    pub(super) call_id: String,
}

impl Dialog {
    const CALLER_TAG: &'static str = "caller-tag";
    const AGENT_TAG: &'static str = "agent-tag";

    fn offer(&self, sdp: &str) -> Value {
        json!({
            "command": "offer",
            "call-id": self.call_id,
            "from-tag": Self::CALLER_TAG,
            "replace": ["origin", "session-connection"],
            "ICE": "remove",
            "tonewall-agent": AGENT,
            "sdp": sdp,
        })
    }

    fn answer(&self, sdp: &str) -> Value {
        let mut request = self.offer(sdp);
        request["command"] = "answer".into();
        request["to-tag"] = Self::AGENT_TAG.into();
        request
    }

    fn delete(&self) -> Value {
        json!({
            "command": "delete",
            "call-id": self.call_id,
            "from-tag": Self::CALLER_TAG,
        })
    }
}

/// A client of the gateway's NG server.
pub(super) struct NgClient {
    socket: UdpSocket,
    requests: u32,
}

impl NgClient {
    pub(super) async fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(server).await?;
        Ok(Self {
            socket,
            requests: 0,
        })
    }

    /// Offers the caller's media; returns where the agent has to send.
    pub(super) async fn offer(&mut self, dialog: &Dialog, caller_port: u16) -> Result<SocketAddr> {
        let answer = self.request(&dialog.offer(&session(caller_port))).await?;
        media_address(answer["sdp"].as_str().unwrap_or_default())
    }

    /// Answers with the agent's media; returns where the caller has to send.
    pub(super) async fn answer(&mut self, dialog: &Dialog, agent_port: u16) -> Result<SocketAddr> {
        let answer = self.request(&dialog.answer(&session(agent_port))).await?;
        media_address(answer["sdp"].as_str().unwrap_or_default())
    }

    /// Ends the call.
    pub(super) async fn delete(&mut self, dialog: &Dialog) -> Result<()> {
        self.request(&dialog.delete()).await.map(drop)
    }

    async fn request(&mut self, request: &Value) -> Result<Value> {
        self.requests += 1;
        let cookie = format!("demo_{}_{}", std::process::id(), self.requests);
        let datagram = format!("{cookie} {request}");
        let command = request["command"].as_str().unwrap_or_default();
        let mut buffer = vec![0; 65_536];
        for _ in 0..TRIES {
            // A refusal by the kernel (nobody there yet) is no answer, like silence.
            drop(self.socket.send(datagram.as_bytes()).await);
            let Ok(Ok(length)) = timeout(PATIENCE, self.socket.recv(&mut buffer)).await else {
                continue;
            };
            if let Some(answer) = read_answer(&cookie, &buffer[..length])? {
                if answer["result"] == "ok" {
                    return Ok(answer);
                }
                bail!("NG {command} was refused: {answer}");
            }
        }
        bail!("no answer to NG {command} within {:?}", PATIENCE * TRIES)
    }
}

/// The answer to `cookie`; `None` when the datagram answers another request.
fn read_answer(cookie: &str, datagram: &[u8]) -> Result<Option<Value>> {
    let text = std::str::from_utf8(datagram).context("an NG answer that is not UTF-8")?;
    let Some((theirs, body)) = text.split_once(' ') else {
        bail!("found an NG answer without a cookie");
    };
    if theirs != cookie {
        return Ok(None);
    }
    serde_json::from_str(body)
        .map(Some)
        .context("an NG answer that is not JSON")
}

/// The session description of an end: G.711 mu-law and telephone-event.
fn session(port: u16) -> String {
    [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=tonewall demo",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        &format!("m=audio {port} RTP/AVP 0 101"),
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
        "",
    ]
    .join("\r\n")
}

/// Where a session description wants its audio.
fn media_address(sdp: &str) -> Result<SocketAddr> {
    let after = |prefix: &str| {
        sdp.lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .next_back()
    };
    let address = after("c=IN IP4 ").and_then(|address| address.trim().parse::<Ipv4Addr>().ok());
    let port = after("m=audio ").and_then(|media| media.split(' ').next()?.parse::<u16>().ok());
    match (address, port) {
        (Some(address), Some(port)) if port != 0 => Ok((address, port).into()),
        _ => bail!("found no audio address in the gateway's SDP: {sdp:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_session_is_read_back() {
        let expected: SocketAddr = "127.0.0.1:4002".parse().unwrap();
        assert_eq!(media_address(&session(4002)).unwrap(), expected);
        assert!(media_address("v=0\r\nm=audio 0 RTP/AVP 0\r\n").is_err());
        assert!(media_address("").is_err());
    }

    #[test]
    fn only_the_answer_with_our_cookie_is_taken() {
        let answer = read_answer("a_1", b"a_1 {\"result\":\"ok\"}")
            .unwrap()
            .unwrap();
        assert_eq!(answer["result"], "ok");
        assert!(
            read_answer("a_1", b"a_2 {\"result\":\"ok\"}")
                .unwrap()
                .is_none()
        );
        assert!(read_answer("a_1", b"a_1 d6:result2:oke").is_err());
    }

    #[tokio::test]
    async fn a_lost_request_is_repeated_with_the_same_cookie() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = NgClient::new(server.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            let (first, _) = server.recv_from(&mut buffer).await.unwrap();
            let first = buffer[..first].to_vec();
            let (second, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(buffer[..second], first);
            let text = String::from_utf8(first).unwrap();
            let (cookie, body) = text.split_once(' ').unwrap();
            let request: Value = serde_json::from_str(body).unwrap();
            let answer = json!({"result": "ok", "sdp": request["sdp"]});
            let answer = format!("{cookie} {answer}");
            server.send_to(answer.as_bytes(), from).await.unwrap();
        });
        let dialog = Dialog {
            call_id: "c@demo".into(),
        };
        let at = client.offer(&dialog, 4004).await.unwrap();
        assert_eq!(at.port(), 4004);
        serving.await.unwrap();
    }
}
