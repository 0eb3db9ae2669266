//! Calls between two telephones of text, over sockets of this machine.

mod calls;
mod dialled;
mod guarded;
mod links;
mod logs;
mod orders;
mod races;
mod redirected;
mod screened;
mod shapes;
mod streams;
mod torture;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::*;
use crate::{
    media::MediaCommand,
    proto::{
        call::Holder,
        secret::{KeySlot, plain},
    },
    signal::{
        CallView, Networks,
        fakes::{self, House},
    },
};

const PATIENCE: Duration = Duration::from_secs(3);
/// Long enough for what comes at once on a loaded machine.
const QUIET: Duration = Duration::from_millis(300);

struct PlainSlots;

impl SlotSource for PlainSlots {
    fn acquire(&self) -> Option<KeySlot> {
        Some(plain::slot())
    }
}

/// The gateway among fakes, with a trunk at 127.0.0.2 and a PBX at 127.0.0.3.
struct World {
    house: House,
    server: SipServer,
    trunk: Phone,
    pbx: Phone,
    serves: Arc<AtomicBool>,
    payments: Arc<orders::FakePayments>,
}

/// One end: what it sends is written out, what it hears is text.
struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    gateway: SocketAddr,
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let found = message.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    });
    found.unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn has(message: &str, name: &str) -> bool {
    let prefix = format!("{}:", name.to_ascii_lowercase());
    message
        .lines()
        .any(|line| line.to_ascii_lowercase().starts_with(&prefix))
}

fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn tag(value: &str) -> &str {
    value.split(";tag=").nth(1).unwrap_or_default()
}

fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn with_body(fields: &str, kind: &str, body: &str) -> String {
    let kind = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {kind}\r\n")
    };
    format!("{fields}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Phone {
    async fn new(ip: [u8; 4], gateway: SocketAddr) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).await.unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            socket,
            gateway,
        }
    }

    async fn send(&self, message: &str) {
        let sent = self.socket.send_to(message.as_bytes(), self.gateway).await;
        sent.unwrap();
    }

    async fn hear_within(&self, patience: Duration) -> Option<String> {
        let mut buffer = vec![0; 65_535];
        let heard = timeout(patience, self.socket.recv_from(&mut buffer)).await;
        let (length, _) = heard.ok()?.ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The next that is no `100 Trying`; it begins like this.
    async fn hear(&self, begin: &str) -> String {
        loop {
            let heard = self.hear_within(PATIENCE).await;
            let heard = heard.unwrap_or_else(|| panic!("nothing came; expected {begin}"));
            if heard.starts_with("SIP/2.0 100 ") && !begin.starts_with("SIP/2.0 100") {
                continue;
            }
            assert!(heard.starts_with(begin), "expected {begin}, found {heard}");
            return heard;
        }
    }

    async fn hears_nothing(&self) {
        while let Some(heard) = self.hear_within(QUIET).await {
            assert!(
                heard.starts_with("SIP/2.0 100 "),
                "expected nothing, found {heard}"
            );
        }
    }

    fn invite(&self, call_id: &str, fields: &str, sdp: &str) -> String {
        let at = self.address;
        with_body(
            &format!(
                "INVITE sip:100@{} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{call_id};rport\r\n\
                 From: \"Caller\" <sip:4930123@{at}>;tag=from-{call_id}\r\nTo: <sip:100@{}>\r\n\
                 Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:4930123@{at}>\r\n\
                 Max-Forwards: 70\r\n{fields}",
                self.gateway, self.gateway
            ),
            "application/sdp",
            sdp,
        )
    }

    /// An answer to a request, with a tag and a contact.
    fn answer(&self, request: &str, status: &str, fields: &str, sdp: &str) -> String {
        let mut copied = String::new();
        for line in request.split("\r\n\r\n").next().unwrap().lines().skip(1) {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            if ["via", "from", "call-id", "cseq", "record-route"].contains(&name.as_str()) {
                copied += &format!("{line}\r\n");
            }
            if name == "to" {
                let tagged = if line.contains(";tag=") {
                    ""
                } else {
                    ";tag=answered"
                };
                copied += &format!("{line}{tagged}\r\n");
            }
        }
        with_body(
            &format!(
                "SIP/2.0 {status}\r\n{copied}Contact: <sip:100@{}>\r\n{fields}",
                self.address
            ),
            "application/sdp",
            sdp,
        )
    }

    async fn answers(&self, request: &str, status: &str, sdp: &str) {
        self.send(&self.answer(request, status, "", sdp)).await;
    }

    /// A request within the dialog that `local` (our From) and `remote` (our To) make.
    fn within(
        &self,
        method: &str,
        number: u32,
        dialog: &Dialog2,
        fields: &str,
        body: (&str, &str),
    ) -> String {
        let at = self.address;
        with_body(
            &format!(
                "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{method}{number}{};rport\r\n\
                 From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
                 Contact: <sip:x@{at}>\r\nMax-Forwards: 70\r\n{fields}",
                dialog.target,
                dialog.call_id.len(),
                dialog.local,
                dialog.remote,
                dialog.call_id,
            ),
            body.0,
            body.1,
        )
    }
}

/// A dialog as a telephone knows it.
#[derive(Clone)]
struct Dialog2 {
    call_id: String,
    local: String,
    remote: String,
    target: String,
}

impl Dialog2 {
    /// Of the end that called, by the answer.
    fn of_answer(answer: &str) -> Self {
        Self {
            call_id: header(answer, "Call-ID").to_owned(),
            local: header(answer, "From").to_owned(),
            remote: header(answer, "To").to_owned(),
            target: header(answer, "Contact")
                .trim_matches(['<', '>'])
                .to_owned(),
        }
    }

    /// Of the end that was called, by the INVITE.
    fn of_invite(invite: &str) -> Self {
        Self {
            call_id: header(invite, "Call-ID").to_owned(),
            local: format!("{};tag=answered", header(invite, "To")),
            remote: header(invite, "From").to_owned(),
            target: header(invite, "Contact")
                .trim_matches(['<', '>'])
                .to_owned(),
        }
    }
}

impl World {
    async fn new(ports: std::ops::RangeInclusive<u16>) -> Self {
        Self::with(ports, |_| {}).await
    }

    async fn with(
        ports: std::ops::RangeInclusive<u16>,
        change: impl FnOnce(&mut SipSettings),
    ) -> Self {
        Self::of(House::new(ports), PlainSlots, change).await
    }

    /// With room for so many calls.
    async fn full(ports: std::ops::RangeInclusive<u16>, max_calls: usize) -> Self {
        let mut settings = fakes::settings();
        settings.max_calls = max_calls;
        Self::of(House::with(settings, ports), PlainSlots, |_| {}).await
    }

    async fn of(
        house: House,
        slots: impl SlotSource + 'static,
        change: impl FnOnce(&mut SipSettings),
    ) -> Self {
        // A free port, for the stack wants to know it before it is bound.
        let address = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let trunk = Phone::new([127, 0, 0, 2], address).await;
        let pbx = Phone::new([127, 0, 0, 3], address).await;
        let peer = |name: &str, leg, address: SocketAddr, to| Peer {
            name: name.parse().unwrap(),
            leg,
            transport: SipTransport::Udp,
            address,
            sources: Networks::parse([address.ip().to_string().as_str()]).unwrap(),
            certificate_name: address.ip().into(),
            to,
            bypass: None,
            redirects: 0,
            pass_headers: Vec::new(),
            keepalive: Duration::ZERO,
            secret: None,
        };
        let mut settings = SipSettings {
            listeners: vec![Listener {
                transport: SipTransport::Udp,
                address,
                advertise: address,
                tls: None,
            }],
            peers: vec![
                peer("carrier", Leg::Caller, trunk.address, 1),
                peer("pbx", Leg::Agent, pbx.address, 0),
            ],
            requests_per_second: 1_000,
            burst: 1_000,
            session_expires: 1_800,
            payment_header: Some("Tonewall-Payment".to_owned()),
            link_header: Some("X-Interaction-ID".to_owned()),
        };
        change(&mut settings);
        let serves = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&serves);
        let may_serve: MayServe = Arc::new(move || {
            let serves = asked.load(Ordering::Relaxed);
            serves.then_some(()).ok_or_else(|| "draining".to_owned())
        });
        let payments = Arc::new(orders::FakePayments::default());
        let (calls, slots, port) = (house.calls.clone(), Arc::new(slots), payments.clone());
        let server = SipServer::start(settings, calls, slots, Some(port), may_serve);
        let server = server.await.unwrap();
        Self {
            house,
            server,
            trunk,
            pbx,
            serves,
            payments,
        }
    }

    /// A call from the trunk that the PBX has taken: the trunk's dialog and the PBX's.
    async fn call(&self, call_id: &str) -> (Dialog2, Dialog2) {
        self.trunk
            .send(&self.trunk.invite(call_id, "", &sdp(4_000)))
            .await;
        let invite = self.pbx.hear("INVITE ").await;
        self.pbx.answers(&invite, "180 Ringing", "").await;
        self.trunk.hear("SIP/2.0 180").await;
        self.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
        let taken = self.trunk.hear("SIP/2.0 200").await;
        self.pbx.hear("ACK ").await;
        let dialog = Dialog2::of_answer(&taken);
        let ack = self.trunk.within("ACK", 1, &dialog, "", ("", ""));
        self.trunk.send(&ack).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        (dialog, Dialog2::of_invite(&invite))
    }

    fn view(&self, call_id: &str) -> Option<CallView> {
        self.house.calls.find(&"acme".parse().unwrap(), call_id)
    }

    async fn arm(&self, call_id: &str) {
        let id = self.view(call_id).unwrap().id;
        self.house.calls.arm_for(&id, Holder::Ng).await.unwrap();
    }

    /// Nothing of a call is left, once the last of its messages were heard.
    async fn is_empty(&self) {
        for _ in 0..100 {
            if self.house.calls.count() == 0 && self.server.ua.dialogs.lock().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "{} calls and {} dialogs are left",
            self.house.calls.count(),
            self.server.ua.dialogs.lock().len()
        );
    }
}
