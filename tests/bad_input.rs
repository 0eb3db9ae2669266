//! What is malformed gets a clear error or is dropped and counted, and harms no other call.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use common::{Ends, Gateway, Options, call_sdp, play};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout},
};
use tonewall::proto::rtp::write_header;

/// Two calls that are up all the while: one as it came, one armed.
struct Healthy {
    plain: Ends,
    armed: Ends,
    since: Instant,
}

impl Healthy {
    async fn start(gateway: &Gateway) -> Self {
        let plain = play(gateway, "healthy-plain").await;
        let armed = play(gateway, "healthy-armed").await;
        let since = Instant::now();
        gateway.payment(&armed.id).await;
        Self {
            plain,
            armed,
            since,
        }
    }

    /// Every packet of every direction came once, in order, until now.
    async fn check(&self, gateway: &Gateway) {
        // What is on its way arrives.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let expected = self.since.elapsed().as_millis() as usize / 20;
        for (call, ends) in [("plain", &self.plain), ("armed", &self.armed)] {
            for (end, got) in [("agent", &ends.agent_got), ("caller", &ends.caller_got)] {
                let got = got.lock().await;
                let sequences: Vec<u16> = got
                    .iter()
                    .filter(|packet| packet[1] & 0x7f == 0)
                    .map(|packet| u16::from_be_bytes([packet[2], packet[3]]))
                    .collect();
                for pair in sequences.windows(2) {
                    assert_eq!(
                        pair[1],
                        pair[0].wrapping_add(1),
                        "{call} call, {end}: lost or out of order"
                    );
                }
                // The call may be muted for a moment while it is being armed.
                let missing = expected.saturating_sub(sequences.len());
                assert!(
                    missing <= 25,
                    "{call} call, {end}: {} of {expected} packets",
                    sequences.len()
                );
            }
            let view = gateway.get(&format!("/v1/calls/{}", ends.id)).await;
            assert_eq!(view["armed"], call == "armed", "{view}");
        }
    }
}

/// A counter's value; 0 where it has not been counted yet.
async fn counted(gateway: &Gateway, series: &str) -> u64 {
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

async fn until_counted(gateway: &Gateway, series: &str, expected: u64, what: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let found = counted(gateway, series).await;
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < until,
            "{what}: {series} is {found}, expected {expected}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

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
            format!("{}a=rtcp:{}\r\n", call_sdp(port(rtp)), port(rtcp))
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

    /// What an end gets within 300 ms.
    async fn gets(socket: &UdpSocket) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 10_000];
        let (length, _) = timeout(Duration::from_millis(300), socket.recv_from(&mut buffer))
            .await
            .ok()?
            .ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

async fn media_is_dropped_and_counted(gateway: &Gateway) {
    let victim = Victim::start(gateway).await;
    let series = |reason: &str| format!("tonewall_media_refused_total{{reason=\"{reason}\"}}");
    for (name, reason, datagram) in bad_rtp() {
        for from in ["caller", "agent"] {
            let before = counted(gateway, &series(reason)).await;
            victim.send(from, 0, &datagram).await;
            until_counted(
                gateway,
                &series(reason),
                before + 1,
                &format!("{from}: {name}"),
            )
            .await;
        }
    }
    assert_eq!(
        Victim::gets(&victim.agent[0]).await,
        None,
        "malformed RTP reached the agent"
    );
    assert_eq!(
        Victim::gets(&victim.caller[0]).await,
        None,
        "malformed RTP reached the caller"
    );
    // RTCP is opaque until the call is armed; then only what was understood leaves, rebuilt.
    gateway.payment("victim").await;
    for (name, reason, datagram) in bad_rtcp() {
        let before = counted(gateway, &series(reason)).await;
        victim.send("caller", 1, &datagram).await;
        until_counted(gateway, &series(reason), before + 1, name).await;
    }
    assert_eq!(
        Victim::gets(&victim.agent[1]).await,
        None,
        "malformed RTCP reached the agent"
    );
    // Strangers, also with good packets.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for port in [
        victim.ports.0,
        victim.ports.0 + 1,
        victim.ports.1,
        victim.ports.1 + 1,
    ] {
        let before = counted(gateway, &series("source")).await;
        let to: SocketAddr = ([127, 0, 0, 1], port).into();
        stranger.send_to(&rtp(7), to).await.unwrap();
        // A connected socket's kernel drops strangers before anybody could count them.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(counted(gateway, &series("source")).await <= before + 1);
    }
    assert_eq!(
        Victim::gets(&victim.agent[0]).await,
        None,
        "a stranger reached the agent"
    );
    // The call itself still works.
    victim.send("agent", 0, &rtp(2)).await;
    assert_eq!(
        Victim::gets(&victim.caller[0]).await,
        Some(rtp(2)),
        "the victim is dead"
    );
}

/// SDP that cannot be used: what to change in a good one, and words of the error.
const BAD_SDP: [(&str, &str, &str); 18] = [
    ("v=0", "v=1", "line 1 is no version; expected v=0"),
    ("v=0\r\n", "", "Failed to parse SDP"),
    ("o=- 1 1", "hello\r\no=- 1 1", "Failed to parse SDP"),
    ("m=audio PORT", "m=audio port", "Failed to parse SDP"),
    ("m=audio PORT", "m=audio 99999", "Failed to parse SDP"),
    (
        "m=audio PORT RTP/AVP 0 101",
        "m=audio",
        "Failed to parse SDP",
    ),
    (
        "m=audio",
        "m=video",
        "no m=audio line; this gateway relays audio only",
    ),
    (
        "RTP/AVP",
        "RTP/SAVP",
        "asks for RTP/SAVP; this gateway relays plain RTP",
    ),
    (
        "RTP/AVP",
        "UDP/TLS/RTP/SAVPF",
        "asks for UDP/TLS/RTP/SAVPF; this gateway relays plain RTP",
    ),
    (
        "RTP/AVP",
        "TCP",
        "not over RTP; expected RTP/AVP or RTP/AVPF",
    ),
    ("c=IN IP4 127.0.0.1\r\n", "", "names no address (c=)"),
    (
        "c=IN IP4 127.0.0.1",
        "c=IN IP4 pbx.example",
        "no IP address; a host name cannot be used here",
    ),
    (
        "c=IN IP4 127.0.0.1",
        "c=IN IP4 224.2.1.1/127",
        "no IP address",
    ),
    (
        "c=IN IP4 127.0.0.1",
        "c=IN IP6 2001:db8::1",
        "address is IPv6; this gateway's media address is IPv4",
    ),
    (
        "audio PORT",
        "audio 65535",
        "port is 65535; RTCP needs the next one",
    ),
    ("a=sendrecv", "a=rtcp:x", "a=rtcp line names no port"),
    ("a=sendrecv", "a=rtcp:5 IN IP4 host", "no IP address"),
    ("s=-", "s=LONG", "it has 40"),
];

/// NG messages that cannot be used, and words of the error.
fn bad_ng() -> Vec<(Vec<u8>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut bad = vec![
        (text("hello"), "neither 'd' (bencode) nor '{' (JSON)"),
        (text("<xml/>"), "neither 'd' (bencode) nor '{' (JSON)"),
        (vec![0xff, 0xfe, 0], "neither 'd' (bencode) nor '{' (JSON)"),
        (text("d7:command99:ping"), "promises 99 bytes, 4 are left"),
        (
            text("d7:commandx"),
            "begins no value; expected a digit, 'i', 'l' or 'd'",
        ),
        (
            text("di1e4:pinge"),
            "the dictionary's key at byte 1 is no string",
        ),
        (
            text("d7:command4:ping3:key"),
            "the last key of a dictionary has no value",
        ),
        (
            text("d1:ai99999999999999999999ee"),
            "no number between -2^63 and 2^63-1",
        ),
        (
            text("d99999999999999999999:ae"),
            "no number between -2^63 and 2^63-1",
        ),
        (
            [text("d1:a"), vec![b'l'; 5_000]].concat(),
            "nests deeper than",
        ),
        (text("d7:command4:jumpe"), "Unrecognized command"),
        (text("d3:key5:valuee"), "no key \"command\""),
        (text("{"), "JSON: line 1, column 1 cannot be read"),
        (
            text("{\"command\": ping}"),
            "JSON: line 1, column 13 cannot be read",
        ),
        (text("{\"command\": \"ping\",}"), "JSON: line 1"),
        (text("{\"command\": 7}"), "command"),
        (text("{\"command\": \"jump\"}"), "Unrecognized command"),
        (
            text("{\"command\": \"play media\", \"call-id\": \"x\"}"),
            "\"play media\" is not supported",
        ),
        (text("{\"command\": \"offer\"}"), "No call-id in message"),
        (
            text("{\"command\": \"offer\", \"call-id\": \"x\"}"),
            "No from-tag in message",
        ),
        (
            text("{\"command\": \"offer\", \"call-id\": \"x\", \"from-tag\": \"y\"}"),
            "No SDP body in message",
        ),
        (
            text(
                "{\"command\": \"answer\", \"call-id\": \"x\", \"from-tag\": \"y\", \"sdp\": \"v=0\"}",
            ),
            "No to-tag in message",
        ),
        (
            text(
                "{\"command\": \"offer\", \"call-id\": \"x\", \"from-tag\": \"y\", \"sdp\": \"v=0\", \"tonewall-caller\": \"me\"}",
            ),
            "neither \"offerer\" nor \"answerer\"",
        ),
        (
            text("{\"command\": \"query\", \"call-id\": \"nobody\"}"),
            "Unknown call-id",
        ),
        (
            text("{\"command\": \"block DTMF\", \"call-id\": \"nobody\"}"),
            "Unknown call-ID",
        ),
    ];
    let long = format!(
        "{{\"command\": \"query\", \"call-id\": \"{}\"}}",
        "x".repeat(600)
    );
    bad.push((text(&long), "has 600 bytes; expected at most 512"));
    let deep = format!("{{\"a\": {}", "[".repeat(5_000));
    bad.push((text(&deep), ""));
    for (from, to, words) in BAD_SDP {
        let sdp = call_sdp(4_000).replace("4000", "PORT").replace(from, to);
        let sdp = sdp
            .replace("PORT", "4000")
            .replace("LONG", &"x".repeat(40_000));
        let offer = json!({"command": "offer", "call-id": "bad", "from-tag": "y", "sdp": sdp});
        bad.push((text(&offer.to_string()), words));
    }
    bad
}

async fn udp_reply(gateway: &Gateway, datagram: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(datagram, gateway.ng).await.unwrap();
    let mut buffer = vec![0; 65_536];
    let (length, _) = timeout(Duration::from_secs(3), socket.recv_from(&mut buffer))
        .await
        .ok()?
        .unwrap();
    buffer.truncate(length);
    Some(buffer)
}

async fn ng_is_refused_in_words(gateway: &Gateway) {
    for (number, (message, words)) in bad_ng().into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&message[..message.len().min(100)]).into_owned();
        let cookie = format!("bad{number} ");
        let reply = udp_reply(gateway, &[cookie.as_bytes(), &message].concat()).await;
        let over_http = gateway
            .http
            .post(format!("http://{}/ng-plain", gateway.ng_http))
            .body(message);
        let over_http = over_http.send().await.unwrap().bytes().await.unwrap();
        let reply = reply.unwrap_or_else(|| panic!("no reply to {shown}"));
        let reply = reply
            .strip_prefix(cookie.as_bytes())
            .expect("its own cookie");
        for (how, reply) in [("UDP", reply), ("HTTP", &over_http)] {
            // JSON escapes quotes.
            let reply = String::from_utf8_lossy(reply).replace("\\\"", "\"");
            assert!(
                reply.contains("error") && reply.contains(words),
                "{how}: {shown}: {reply}"
            );
        }
    }
    let series = "tonewall_control_refused_total{door=\"ng\",reason=\"no-cookie\"}";
    let silent: [&[u8]; 4] = [
        b"",
        b"d7:command4:pinge",
        b"{\"command\": \"ping\"}",
        &[0xff; 300],
    ];
    for datagram in silent {
        let before = counted(gateway, series).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(datagram, gateway.ng).await.unwrap();
        until_counted(gateway, series, before + 1, &format!("{datagram:?}")).await;
    }
    let malformed = "tonewall_control_refused_total{door=\"ng\",reason=\"malformed\"}";
    assert!(counted(gateway, malformed).await >= 40);
    // Over HTTP only.
    let base = format!("http://{}", gateway.ng_http);
    let post = |path: &str| gateway.http.post(format!("{base}{path}"));
    let ping = "{\"command\": \"ping\"}";
    for (request, status, words) in [
        (post("/ng").body(ping), 400, "expected COOKIE SPACE MESSAGE"),
        (
            post("/ng-plain")
                .body(ping)
                .header("Origin", "https://evil.example"),
            403,
            "not for pages in a browser",
        ),
        (post("/ng-plain").body("x".repeat(70_000)), 413, ""),
        (gateway.http.get(format!("{base}/ng-plain")), 405, ""),
        (post("/elsewhere"), 404, ""),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{words}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(words), "{body}");
    }
}

async fn api_json_is_refused_in_words(gateway: &Gateway, healthy: &Healthy) {
    let good =
        json!({"call": healthy.plain.id, "amount": 1250, "currency": "EUR", "reference": "R"});
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body.to_string()
    };
    let without = |member: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(member);
        body.to_string()
    };
    let pan = common::APPROVED;
    let create: Vec<(String, u16, &str)> = vec![
        (
            String::new(),
            400,
            "the body is empty; expected an object with call, amount",
        ),
        ("{".into(), 400, "ends too early, at line 1, column 1"),
        (
            "{\"call\": call}".into(),
            400,
            "cannot be read at line 1, column 10",
        ),
        ("[".repeat(5_000), 400, "JSON"),
        ("\u{feff}{}".into(), 400, "line 1"),
        ("[]".into(), 422, "the body is an array; expected an object"),
        ("null".into(), 422, "the body is null; expected an object"),
        ("x".repeat(20_000), 413, "larger than 16384 bytes"),
        (
            without("call"),
            422,
            "`call` is missing; expected the id of a call",
        ),
        (
            without("amount"),
            422,
            "`amount` is missing; expected an integer of minor units",
        ),
        (
            without("currency"),
            422,
            "`currency` is missing; expected three letters",
        ),
        (
            without("reference"),
            422,
            "`reference` is missing; expected your own reference",
        ),
        (
            with("call", json!(7)),
            422,
            "`call` is a number; expected text",
        ),
        (
            with("call", json!("nobody")),
            404,
            "GET /v1/calls lists those that are",
        ),
        (with("amount", json!(-1)), 422, "`amount` is negative"),
        (
            with("amount", json!(12.5)),
            422,
            "has a fraction; expected an integer",
        ),
        (with("amount", json!(0)), 422, "expected 1 to"),
        (
            with("amount", json!("12,50")),
            422,
            "text but not digits only",
        ),
        (with("amount", json!([])), 422, "`amount` is an array"),
        (with("amount", json!(99_999_999_999_u64)), 422, "amount"),
        (
            with("currency", json!("euro")),
            422,
            "not a currency code; expected three letters",
        ),
        (
            with("currency", json!("ZZZ")),
            422,
            "expected an ISO 4217 code",
        ),
        (
            with("reference", json!("")),
            422,
            "`reference` is empty; fill it",
        ),
        (
            with("reference", json!("a\u{0}b")),
            422,
            "control characters",
        ),
        (
            with("reference", json!(format!("INV {pan}"))),
            422,
            "could be a card number",
        ),
        (
            with("description", json!({})),
            422,
            "`description` is an object; expected text",
        ),
        (
            with("fields", json!("all")),
            422,
            "`fields` is text; expected an array",
        ),
        (
            with("fields", json!(["pin"])),
            422,
            "names no field; expected payment-card-number",
        ),
        (
            with("leg", json!(1)),
            422,
            "`leg` is a number; expected text",
        ),
        (
            with("ammount", json!(1)),
            422,
            "`ammount` is not known here; expected only call, amount",
        ),
    ];
    let post = |path: &str, body: String| {
        let request = gateway
            .http
            .post(format!("{}{path}", gateway.base))
            .bearer_auth(&gateway.secret);
        request
            .header("Content-Type", "application/json")
            .body(body)
    };
    let payments = gateway
        .get(&format!("/v1/payments?call={}", healthy.armed.id))
        .await;
    let payment = payments["payments"][0]["id"].as_str().unwrap().to_owned();
    let mut requests = Vec::new();
    for (number, (body, status, words)) in create.into_iter().enumerate() {
        let request = post("/v1/payments", body).header("Idempotency-Key", format!("bad-{number}"));
        requests.push((request, status, words));
    }
    let capture = format!("/v1/payments/{payment}/capture");
    let url = |path: &str| format!("{}{path}", gateway.base);
    let get = |path: &str| gateway.http.get(url(path)).bearer_auth(&gateway.secret);
    requests.extend([
        (
            post("/v1/payments", good.to_string()),
            400,
            "Idempotency-Key is missing",
        ),
        (
            post("/v1/payments", good.to_string()).header("Idempotency-Key", "a b"),
            400,
            "without spaces",
        ),
        (post(&capture, "{}".into()), 422, "`field` is missing"),
        (
            post(&capture, "{\"field\": \"pin\"}".into()),
            422,
            "names no field; expected payment-card-number",
        ),
        (
            post("/v1/payments/nonsense/capture", "{}".into()),
            404,
            "GET /v1/payments lists them",
        ),
        (
            post(&format!("/v1/payments/{payment}/complete"), String::new()),
            409,
            "still missing: payment-card-number",
        ),
        (get("/v1/payments/pay_x"), 404, "no id of a payment"),
        (get("/v1/calls/%ff%fe"), 404, "no such call is up"),
        (
            get("/v1/payments?call=a&call=b"),
            400,
            "the query cannot be read; expected",
        ),
        (get("/v1/elsewhere"), 404, ""),
        (
            gateway
                .http
                .delete(url("/v1/payments"))
                .bearer_auth(&gateway.secret),
            405,
            "",
        ),
        (
            gateway.http.get(url("/v1/calls")),
            401,
            "Authorization: Bearer",
        ),
        (
            gateway.http.get(url("/v1/calls")).bearer_auth("tw_wrong"),
            401,
            "tonewall keys",
        ),
        (
            gateway
                .http
                .post(url("/v1/payments"))
                .bearer_auth(&gateway.secret)
                .header("Idempotency-Key", "t")
                .body("a=b"),
            415,
            "send `Content-Type: application/json`",
        ),
    ]);
    for (request, status, words) in requests {
        let answer = request.send().await.unwrap();
        let found = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let body = answer.text().await.unwrap();
        assert_eq!(found, status, "expected {words:?}: {body}");
        assert_eq!(kind.unwrap(), "application/problem+json", "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "expected {words:?}: {body}"
        );
        assert!(!body.contains(pan), "the card number is repeated");
    }
    // What is no HTTP at all.
    let address = gateway.base.strip_prefix("http://").unwrap();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("the connection is ended").unwrap();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_refused_or_counted_and_harms_no_call() {
    let gateway = Gateway::start(Options {
        ports: 21_000,
        ..Options::default()
    })
    .await;
    let healthy = Healthy::start(&gateway).await;
    media_is_dropped_and_counted(&gateway).await;
    healthy.check(&gateway).await;
    ng_is_refused_in_words(&gateway).await;
    healthy.check(&gateway).await;
    api_json_is_refused_in_words(&gateway, &healthy).await;
    healthy.check(&gateway).await;
    let ready = gateway
        .http
        .get(format!("{}/readyz", gateway.base))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(counted(&gateway, "tonewall_calls_failed_total").await, 0);
    assert_eq!(counted(&gateway, "tonewall_incidents_total").await, 0);
    let log = gateway.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        !log.contains(common::APPROVED),
        "the card number is in the log"
    );
}

/// Configuration files that cannot be used, and words of the error.
const BAD_CONFIG: [(&str, &[&str]); 22] = [
    ("", &["data_dir"]),
    ("data_dir = ", &["line 1"]),
    (
        "data_dir = \"D\"\ndata_dir = \"D\"",
        &["line 2", "data_dir"],
    ),
    (
        "data_dir = \"D\"\n[media]\nadress = \"127.0.0.1\"",
        &["line 3", "adress", "expected", "address"],
    ),
    (
        "data_dir = \"D\"\n[medai]",
        &["line 2", "medai", "expected", "media"],
    ),
    ("data_dir = 7", &["line 1", "integer `7`", "expected"]),
    (
        "data_dir = \"D\"\ndrain_timeout = \"20\"",
        &["line 2", "found \"20\"", "expected a length of time"],
    ),
    (
        "data_dir = \"D\"\ndrain_timeout = \"-5s\"",
        &["line 2", "found \"-5s\"", "expected a length of time"],
    ),
    (
        "data_dir = \"D\"\ntenant = \"A B\"",
        &["line 2", "found \"A B\"", "1 to 32 characters"],
    ),
    (
        "data_dir = \"D\"\n[api]\nlisten = \"localhost\"",
        &["line 3", "listen", "invalid socket address"],
    ),
    (
        "data_dir = \"D\"\n[api]\nlisten = \"0.0.0.0:443\"",
        &["api.listen", "found 0.0.0.0:443", "set api.tls_certificate"],
    ),
    (
        "data_dir = \"D\"\n[api]\ntls_key = \"k.pem\"",
        &["api.tls_key", "found one of", "both are needed"],
    ),
    (
        "data_dir = \"D\"\n[api]\ntls_key = \"/nowhere/k.pem\"\ntls_certificate = \"/nowhere/c.pem\"",
        &[
            "api.tls_certificate",
            "/nowhere/c.pem",
            "expected a certificate chain",
        ],
    ),
    (
        "data_dir = \"D\"\n[ng]\nudp = \"10.0.0.1:2223\"",
        &["ng.allow", "10.0.0.1:2223", "name the addresses"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_min = 30001",
        &["media.port_min", "found 30001", "even ports"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_max = 70000",
        &["line 3", "port_max", "70000"],
    ),
    (
        "data_dir = \"D\"\n[media]\nport_max = 30001",
        &["media.port_max", "found 30001", "four ports"],
    ),
    (
        "data_dir = \"D\"\n[media]\nsource = \"anyone\"",
        &["line 3", "anyone", "expected", "exact"],
    ),
    (
        "data_dir = \"D\"\n[capture]\nattempts = 0",
        &["capture.attempts", "found 0", "expected 1 to 10"],
    ),
    (
        "data_dir = \"D\"\n[capture]\naccepted_brands = [\"vissa\"]",
        &["line 3", "vissa", "expected", "visa"],
    ),
    (
        "data_dir = \"D\"\n[processor]\nkind = \"stripe\"",
        &["line 3", "stripe", "sandbox"],
    ),
    (
        "data_dir = \"D\"\n[processor]\ndigest_key = \"abc\"",
        &["processor.digest_key", "expected 64 hexadecimal digits"],
    ),
];

#[test]
fn a_bad_configuration_is_refused_with_key_and_line_by_check_and_by_serve() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tonewall.toml");
    let data = folder.path().join("data");
    for (text, words) in BAD_CONFIG {
        let text = text.replace("\"D\"", &format!("{data:?}"));
        fs::write(&file, &text).unwrap();
        for command in ["check", "serve"] {
            let mut tonewall = Command::new(env!("CARGO_BIN_EXE_tonewall"));
            let output = tonewall
                .arg(command)
                .arg("--config")
                .arg(&file)
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{command} of:\n{text}\n{error}"
            );
            assert_eq!(output.stdout, b"", "{command} of:\n{text}");
            if command == "serve" && text.contains("nowhere") {
                // Told in the log's form, after its first lines.
                assert!(error.contains("/nowhere/c.pem"), "{error}");
                continue;
            }
            for word in words.iter().chain(&["tonewall.toml"]) {
                assert!(
                    error.contains(word),
                    "{command} of:\n{text}\nexpected {word:?}:\n{error}"
                );
            }
        }
    }
}
