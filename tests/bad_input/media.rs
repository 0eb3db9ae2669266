//! RTP and RTCP that is none, and strangers.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::timeout};
use tonewall::proto::rtp::write_header;

use super::common::{Gateway, PATIENCE, call_sdp};

/// That nothing comes can only be waited for. All before it was counted by the gateway already.
const SILENCE: Duration = Duration::from_millis(300);

fn rtp(sequence: u16) -> Vec<u8> {
    let header = write_header(0, false, sequence, u32::from(sequence) * 160, 0xbad);
    [&header[..], &[0xff; 160]].concat()
}

/// RTP that is none, with the label under which it is counted.
fn bad_rtp() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let with = |first: u8, rest: &[u8]| {
        let mut packet = rtp(1)[..12].to_vec();
        packet[0] = first;
        packet.extend_from_slice(rest);
        packet
    };
    vec![
        ("nothing at all", "not-media", vec![]),
        ("one byte", "not-media", vec![0x80]),
        ("version 0", "not-media", with(0x00, &[0; 160])),
        ("version 1", "not-media", with(0x40, &[0; 160])),
        ("version 3", "not-media", with(0xc0, &[0; 160])),
        (
            "a STUN request",
            "not-media",
            [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat(),
        ),
        (
            "a DTLS hello",
            "not-media",
            [&[22, 254, 253][..], &[0; 60]].concat(),
        ),
        (
            "text",
            "not-media",
            b"INVITE sip:a@b SIP/2.0\r\n\r\n".to_vec(),
        ),
        ("two bytes", "malformed", vec![0x80, 0]),
        ("half a header", "malformed", rtp(1)[..11].to_vec()),
        (
            "fifteen sources and no room",
            "malformed",
            with(0x8f, &[1, 2, 3]),
        ),
        ("an extension and no room", "malformed", with(0x90, &[])),
        (
            "an extension longer than the packet",
            "malformed",
            with(0x90, &[0xbe, 0xde, 0xff, 0xff, 1, 2]),
        ),
        (
            "more padding than payload",
            "malformed",
            with(0xa0, &[1, 2, 3, 255]),
        ),
        (
            "a packet too long",
            "malformed",
            [rtp(1), vec![0; 1_400]].concat(),
        ),
        ("a packet far too long", "malformed", vec![0x80; 9_000]),
    ]
}

/// RTCP that is none.
fn bad_rtcp() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("nothing at all", "not-media", vec![]),
        ("RTP on the port of RTCP", "not-media", rtp(1)),
        ("text", "not-media", b"hello".to_vec()),
        ("half a header", "malformed", vec![0x80, 200]),
        (
            "a report that ends too early",
            "malformed",
            vec![0x80, 200, 0, 6, 1, 2, 3, 4],
        ),
        (
            "a length of 65535",
            "malformed",
            vec![0x9f, 201, 0xff, 0xff, 1, 2, 3, 4],
        ),
        (
            "a packet and a half",
            "malformed",
            vec![0x80, 201, 0, 1, 1, 2, 3, 4, 0x81, 202, 0, 9, 1],
        ),
        (
            "a packet of another version behind",
            "malformed",
            vec![0x80, 201, 0, 1, 1, 2, 3, 4, 0x01, 202, 0, 0],
        ),
    ]
}

/// Payload types that the victim's SDP names.
const EVENT: u8 = 101;
const RED: u8 = 121;
const TONE: u8 = 122;
/// A key, which must not be seen again.
const KEY: [u8; 4] = [5, 0x8a, 0x03, 0x20];

/// Payloads that do not hold what they announce, with a key in each, and then noise.
fn odd_payloads() -> Vec<(u8, Vec<u8>)> {
    let red = [&[0x80 | EVENT, 0x02, 0x80, 4, EVENT][..], &KEY, &KEY].concat();
    let mut all = vec![
        (RED, vec![]),
        (RED, vec![0x80]),
        (RED, red[..red.len() - 5].to_vec()),
        (RED, [0x80 | RED, 0xff, 0xff, 0xff].repeat(300)),
        (RED, [&[RED][..], &red].concat()),
        (RED, [&[99][..], &KEY].concat()),
        (TONE, KEY.to_vec()),
        (TONE, [&KEY[..], &[0xff; 1_401]].concat()),
        (TONE, vec![0]),
        (EVENT, KEY[..3].to_vec()),
        (EVENT, KEY.repeat(360)),
        (99, KEY.repeat(40)),
        (13, KEY.to_vec()),
    ];
    let seed: u64 = 20_261_122;
    println!("odd payloads: seed {seed}");
    let mut state = seed;
    let mut next = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..300 {
        let number = [RED, TONE, EVENT, 99][next(4)];
        let length = next(1_200);
        all.push((number, (0..length).map(|_| next(256) as u8).collect()));
    }
    all
}

/// A call whose ends send what they like.
struct Victim {
    caller: [UdpSocket; 2],
    agent: [UdpSocket; 2],
    /// The gateway's ports: (towards the caller, towards the agent).
    ports: (u16, u16),
}

impl Victim {
    async fn start(gateway: &Gateway) -> Self {
        let bind = || async { UdpSocket::bind("127.0.0.1:0").await.unwrap() };
        let caller = [bind().await, bind().await];
        let agent = [bind().await, bind().await];
        let sdp = |[rtp, rtcp]: &[UdpSocket; 2]| {
            let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
            let sdp = call_sdp(port(rtp)).replace("AVP 0 101", "AVP 0 101 121 122");
            let maps = "a=rtpmap:121 red/8000\r\na=rtpmap:122 tone/8000";
            format!("{sdp}{maps}\r\na=rtcp:{}\r\n", port(rtcp))
        };
        let port = |answer: &Value| -> u16 {
            let sdp = answer["sdp"].as_str().unwrap_or_else(|| panic!("{answer}"));
            let line = sdp
                .lines()
                .find(|line| line.starts_with("m=audio"))
                .unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let offer =
            json!({"command": "offer", "call-id": "victim", "from-tag": "c", "sdp": sdp(&caller)});
        let towards_agent = port(&gateway.ng(&offer).await);
        let answer = json!({"command": "answer", "call-id": "victim", "from-tag": "c", "to-tag": "a",
            "sdp": sdp(&agent)});
        let towards_caller = port(&gateway.ng(&answer).await);
        Self {
            caller,
            agent,
            ports: (towards_caller, towards_agent),
        }
    }

    async fn send(&self, from: &str, channel: usize, datagram: &[u8]) {
        let (sockets, port) = match from {
            "caller" => (&self.caller, self.ports.0),
            _ => (&self.agent, self.ports.1),
        };
        let to: SocketAddr = ([127, 0, 0, 1], port + channel as u16).into();
        sockets[channel].send_to(datagram, to).await.unwrap();
    }

    /// What an end gets within `patience`.
    async fn gets(socket: &UdpSocket, patience: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 10_000];
        let (length, _) = timeout(patience, socket.recv_from(&mut buffer))
            .await
            .ok()?
            .ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

pub(crate) async fn is_dropped_and_counted(gateway: &Gateway) {
    let victim = Victim::start(gateway).await;
    let series = |reason: &str| format!("tonewall_media_refused_total{{reason=\"{reason}\"}}");
    for (name, reason, datagram) in bad_rtp() {
        for from in ["caller", "agent"] {
            let before = gateway.counted(&series(reason)).await;
            victim.send(from, 0, &datagram).await;
            gateway
                .until_counted(&series(reason), before + 1, &format!("{from}: {name}"))
                .await;
        }
    }
    assert_eq!(
        Victim::gets(&victim.agent[0], SILENCE).await,
        None,
        "malformed RTP reached the agent"
    );
    assert_eq!(
        Victim::gets(&victim.caller[0], SILENCE).await,
        None,
        "malformed RTP reached the caller"
    );
    // RTCP is opaque until the call is armed; then only what was understood leaves, rebuilt.
    gateway.payment("victim").await;
    for (name, reason, datagram) in bad_rtcp() {
        let before = gateway.counted(&series(reason)).await;
        victim.send("caller", 1, &datagram).await;
        gateway
            .until_counted(&series(reason), before + 1, name)
            .await;
    }
    assert_eq!(
        Victim::gets(&victim.agent[1], SILENCE).await,
        None,
        "malformed RTCP reached the agent"
    );
    odd_payloads_show_nothing(gateway, &victim).await;
    // Strangers, also with good packets.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let before = gateway.counted(&series("source")).await;
    let ports = [
        victim.ports.0,
        victim.ports.0 + 1,
        victim.ports.1,
        victim.ports.1 + 1,
    ];
    for port in ports {
        let to: SocketAddr = ([127, 0, 0, 1], port).into();
        stranger.send_to(&rtp(7), to).await.unwrap();
    }
    assert_eq!(
        Victim::gets(&victim.agent[0], SILENCE).await,
        None,
        "a stranger reached the agent"
    );
    // A connected socket's kernel drops strangers before anybody could count them.
    let counted = gateway.counted(&series("source")).await - before;
    assert!(counted <= ports.len() as u64, "{counted}");
    // The call itself still works.
    victim.send("agent", 0, &rtp(2)).await;
    assert_eq!(
        Victim::gets(&victim.caller[0], PATIENCE).await,
        Some(rtp(2)),
        "the victim is dead"
    );
}

/// On an armed call: whatever the caller's payloads hold, the agent gets audio and no key.
async fn odd_payloads_show_nothing(gateway: &Gateway, victim: &Victim) {
    let refused = "tonewall_media_refused_total{reason=\"not-media\"}";
    for (number, (payload_type, payload)) in (1_u16..).zip(odd_payloads()) {
        let at = u32::from(number) * 160;
        let header = write_header(payload_type, false, number, at, 0xbad);
        let datagram = [&header[..], &payload].concat();
        victim.send("caller", 0, &datagram).await;
        // No faster than the gateway reads.
        if number % 16 == 0 {
            let before = gateway.counted(refused).await;
            victim.send("caller", 0, &[0]).await;
            gateway
                .until_counted(refused, before + 1, "a byte behind odd payloads")
                .await;
        }
    }
    let mut got = 0;
    while let Some(datagram) = Victim::gets(&victim.agent[0], SILENCE).await {
        got += 1;
        assert_eq!(datagram[1] & 0x7f, 0, "a payload type other than PCMU");
        let shown = datagram[12..].windows(4).any(|four| four == KEY);
        assert!(!shown, "a key reached the agent");
    }
    assert!(got > 0, "the armed stream stopped");
}
