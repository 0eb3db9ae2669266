//! NG messages and SDP that cannot be used.

use serde_json::json;
use tokio::{net::UdpSocket, time::timeout};

use super::common::{Gateway, PATIENCE, call_sdp};

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
        "No media address of the family IPv6 in the network",
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
            "none of \"offerer\", \"answerer\" and \"unknown\"",
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
    let (length, _) = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .ok()?
        .unwrap();
    buffer.truncate(length);
    Some(buffer)
}

pub(crate) async fn is_refused_in_words(gateway: &Gateway) {
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
        let before = gateway.counted(series).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(datagram, gateway.ng).await.unwrap();
        gateway
            .until_counted(series, before + 1, &format!("{datagram:?}"))
            .await;
    }
    let malformed = "tonewall_control_refused_total{door=\"ng\",reason=\"malformed\"}";
    assert!(gateway.counted(malformed).await >= 40);
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
