//! TCP, HTTP and WebSocket over real sockets.

use std::net::TcpStream as BlockingStream;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tungstenite::{
    Message,
    client::IntoClientRequest,
    error::Error as WebSocketError,
    http::{HeaderValue, Response},
};

use super::*;

/// Long for this machine, and short for a test.
const SOON: Duration = Duration::from_secs(3);
/// When a limit of 200 ms has surely passed.
const PASSED: Duration = Duration::from_secs(2);

fn tight() -> Limits {
    Limits {
        connections: 4,
        in_work: 8,
        pipelined: 4,
        idle: Duration::from_millis(200),
        message: Duration::from_millis(200),
        stall: Duration::from_millis(500),
    }
}

pub(super) struct Doors {
    pub(super) house: House,
    pub(super) server: NgServer,
    tcp: SocketAddr,
    http: SocketAddr,
    udp: UdpSocket,
}

impl Doors {
    async fn with(ports: RangeInclusive<u16>, limits: Limits, allowed: Networks) -> Self {
        let house = House::new(ports);
        let server = NgServer::with_limits(house.calls.clone(), allowed, limits);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(udp.local_addr().unwrap()).await.unwrap();
        let at = (tcp.local_addr().unwrap(), http.local_addr().unwrap());
        let (a, b, c) = (server.clone(), server.clone(), server.clone());
        tokio::spawn(async move { a.serve_tcp(tcp).await });
        tokio::spawn(async move { b.serve_http(http, None).await });
        tokio::spawn(async move { c.serve_udp(udp).await });
        Self {
            house,
            server,
            tcp: at.0,
            http: at.1,
            udp: client,
        }
    }

    async fn open(ports: RangeInclusive<u16>) -> Self {
        Self::with(ports, Limits::default(), Networks::loopback()).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    fn refused(&self, reason: &str) -> u64 {
        let all = self.server.refused();
        all.iter().find(|(name, _)| *name == reason).unwrap().1
    }
}

/// What comes until nothing more is wanted.
async fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    let read = timeout(SOON, stream.read_exact(&mut buffer)).await;
    read.expect("a reply in time").unwrap();
    buffer
}

/// Whether the other end closes, without another byte.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(
        timeout(PASSED, stream.read(&mut [0; 64])).await,
        Ok(Ok(0) | Err(_))
    )
}

#[tokio::test]
async fn tcp_takes_messages_of_both_encodings_however_they_are_cut() {
    let doors = Doors::open(25_000..=25_019).await;
    let mut stream = doors.connect().await;
    let requests = b"0_1 d7:command4:pinge0_2 {\"command\":\"ping\"}0_3 d7:command4:pinge";
    for part in requests.chunks(5) {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let expected = b"0_1 d6:result4:ponge0_2 {\"result\":\"pong\"}0_3 d6:result4:ponge";
    assert_eq!(read(&mut stream, expected.len()).await, expected);
    // Who closes its half is answered all the same.
    stream.write_all(b"0_4 d7:command4:pinge").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read(&mut stream, 20).await, b"0_4 d6:result4:ponge");
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_cookie_is_carried_out_once_whatever_it_comes_by() {
    let doors = Doors::open(25_020..=25_039).await;
    let request = datagram("5_1", &offer("c1"));
    let first = ask(&doors.udp, &request).await.unwrap();
    let mut stream = doors.connect().await;
    stream.write_all(&request).await.unwrap();
    assert_eq!(read(&mut stream, first.len()).await, first);
    assert_eq!(doors.house.calls.count(), 1);
}

#[tokio::test]
async fn a_broken_stream_is_closed_and_others_go_on() {
    let doors = Doors::open(25_040..=25_049).await;
    let mut other = doors.connect().await;
    for broken in [&b"c x"[..], b"c d99999:", &[b'c'; 300], b"c di1x"] {
        let mut stream = doors.connect().await;
        stream.write_all(broken).await.unwrap();
        assert!(is_closed(&mut stream).await, "{broken:?}");
    }
    assert_eq!(doors.refused("malformed"), 4);
    // What can be followed and means nothing is answered.
    other.write_all(b"c1 dee").await.unwrap();
    let mut reply = vec![0; 200];
    let length = timeout(SOON, other.read(&mut reply))
        .await
        .unwrap()
        .unwrap();
    let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
    assert!(reply.starts_with("c1 d6:result5:error"), "{reply}");
}

#[tokio::test]
async fn idle_connections_and_half_messages_end() {
    let doors = Doors::with(25_050..=25_059, tight(), Networks::loopback()).await;
    let mut idle = doors.connect().await;
    assert!(is_closed(&mut idle).await);
    let mut slow = doors.connect().await;
    slow.write_all(b"c d7:command900:").await.unwrap();
    let dripping = async {
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PASSED, dripping)
        .await
        .expect("closed, however it drips");
    let http = doors.http;
    apart(move || {
        let mut silent = BlockingClient::http(http);
        assert_eq!(silent.reply().0, 0, "closed before its first byte");
        let mut slow = BlockingClient::http(http);
        slow.send(b"POST /ng-plain HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nd7:c");
        let (status, _) = slow.reply();
        assert!(matches!(status, 400 | 408 | 413), "{status}");
    })
    .await;
}

#[tokio::test]
async fn connections_have_a_limit_and_give_their_places_back() {
    let limits = Limits {
        idle: SOON * 4,
        ..tight()
    };
    let doors = Doors::with(25_060..=25_069, limits, Networks::loopback()).await;
    let mut all = Vec::new();
    for n in 0..4 {
        let mut stream = doors.connect().await;
        let ping = format!("c{n} d7:command4:pinge");
        stream.write_all(ping.as_bytes()).await.unwrap();
        read(&mut stream, 19).await;
        all.push(stream);
    }
    assert!(is_closed(&mut doors.connect().await).await);
    assert_eq!(doors.refused("crowded"), 1);
    let answers = ask(&doors.udp, b"0_1 d7:command4:pinge").await;
    assert!(answers.is_some(), "datagrams need no place");
    all.pop();
    let again = async {
        loop {
            let mut stream = doors.connect().await;
            let _ = stream.write_all(b"again d7:command4:pinge").await;
            let mut reply = [0; 22];
            if stream.read_exact(&mut reply).await.is_ok() {
                return;
            }
        }
    };
    timeout(SOON, again).await.expect("a place that came back");
}

#[tokio::test]
async fn datagrams_are_answered_while_all_connections_have_too_much_to_do() {
    let doors = Doors::with(25_070..=25_099, tight(), Networks::loopback()).await;
    doors.house.call("c1").await;
    *doors.house.media.arming.lock().unwrap() = Arming::IsSilent;
    let mut all = Vec::new();
    for n in 0..4 {
        let mut stream = doors.connect().await;
        for m in 0..20 {
            let block = datagram(&format!("b{n}_{m}"), &message("block DTMF", "c1"));
            stream.write_all(&block).await.unwrap();
        }
        all.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for n in 0..20 {
        let since = Instant::now();
        let ping = format!("u{n} d7:command4:pinge");
        assert!(ask(&doors.udp, ping.as_bytes()).await.is_some());
        assert!(since.elapsed() < Duration::from_millis(200));
    }
    // They have their replies, and in the end their places.
    let mut reply = [0; 5];
    all[0].read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply[..3], b"b0_");
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_its_request() {
    let doors = Doors::open(25_100..=25_119).await;
    let mut stream = doors.connect().await;
    let request = datagram("c1", &offer("left"));
    stream.write_all(&request).await.unwrap();
    drop(stream);
    let made = async {
        while doors.house.calls.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, made).await.expect("the call");
    // It asks again elsewhere, and finds what it did.
    assert!(ask(&doors.udp, &request).await.is_some());
    assert_eq!(doors.house.calls.count(), 1);
}

#[tokio::test]
async fn strangers_are_not_even_read() {
    let elsewhere = Networks::parse(["192.0.2.1"]).unwrap();
    let doors = Doors::with(25_120..=25_129, Limits::default(), elsewhere).await;
    for address in [doors.tcp, doors.http] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert!(is_closed(&mut stream).await);
    }
    assert_eq!(doors.refused("source"), 2);
}

/// HTTP as bytes.
struct BlockingClient(BlockingStream);

impl BlockingClient {
    fn http(address: SocketAddr) -> Self {
        let stream = BlockingStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.0, bytes).unwrap();
    }

    fn reply(&mut self) -> (u16, String) {
        let mut text = Vec::new();
        let mut byte = [0; 1024];
        while !text.windows(4).any(|four| four == b"\r\n\r\n") {
            match std::io::Read::read(&mut self.0, &mut byte) {
                Ok(0) | Err(_) => break,
                Ok(read) => text.extend_from_slice(&byte[..read]),
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        (status.unwrap_or(0), text)
    }
}

type Socket = tungstenite::WebSocket<BlockingStream>;

/// A WebSocket of this subprotocol; the status where it is refused.
fn websocket(
    address: SocketAddr,
    protocol: Option<&'static str>,
    origin: Option<&str>,
) -> Result<Socket, u16> {
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(protocol) = protocol {
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    }
    if let Some(origin) = origin {
        headers.insert("Origin", HeaderValue::from_str(origin).unwrap());
    }
    let stream = BlockingStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            assert_eq!(of(&response), protocol);
            Ok(socket)
        }
        Err(tungstenite::HandshakeError::Failure(WebSocketError::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(_) => Err(0),
    }
}

fn of<T>(response: &Response<T>) -> Option<&str> {
    let chosen = response.headers().get("Sec-WebSocket-Protocol")?;
    chosen.to_str().ok()
}

/// What a blocking client says, beside the server.
async fn apart<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(client).await.unwrap()
}

const COOKIES: Option<&str> = Some("ng.rtpengine.com");
const PLAIN: Option<&str> = Some("ng-plain.rtpengine.com");

#[tokio::test]
async fn websocket_takes_both_subprotocols_and_both_encodings() {
    let doors = Doors::open(25_130..=25_139).await;
    let http = doors.http;
    let offered = datagram("7_1", &offer("over-websocket"));
    apart(move || {
        let mut socket = websocket(http, COOKIES, None).unwrap();
        socket.send(Message::text("5_1 d7:command4:pinge")).unwrap();
        let reply = socket.read().unwrap();
        assert_eq!(reply, Message::binary(&b"5_1 d6:result4:ponge"[..]));
        let json = Message::binary(&br#"5_2 {"command":"ping"}"#[..]);
        socket.send(json).unwrap();
        let reply = socket.read().unwrap().into_data();
        assert_eq!(&reply[..], br#"5_2 {"result":"pong"}"#);
        socket.send(Message::binary(offered)).unwrap();
        let reply = socket.read().unwrap().into_data();
        assert!(reply.starts_with(b"7_1 d3:sdp"), "{reply:?}");

        let mut socket = websocket(http, PLAIN, None).unwrap();
        for (request, reply) in [
            ("d7:command4:pinge", "d6:result4:ponge"),
            (r#"{"command":"ping"}"#, r#"{"result":"pong"}"#),
        ] {
            socket.send(Message::text(request)).unwrap();
            assert_eq!(&socket.read().unwrap().into_data()[..], reply.as_bytes());
        }
        // In the order of the requests, however many are sent at once.
        let calls: Vec<String> = (0..50).map(|n| format!("unknown-{n}")).collect();
        for call in &calls {
            let query = format!(r#"{{"command":"query","call-id":"{call}","n":1}}"#);
            socket.send(Message::text(query)).unwrap();
            socket.send(Message::text("d7:command4:pinge")).unwrap();
        }
        for _ in &calls {
            assert!(socket.read().unwrap().into_data().starts_with(b"{"));
            assert!(socket.read().unwrap().into_data().starts_with(b"d6:"));
        }
    })
    .await;
    assert_eq!(doors.house.calls.count(), 1);
}

#[tokio::test]
async fn websocket_is_for_clients_of_ng_and_not_for_pages() {
    let doors = Doors::open(25_140..=25_149).await;
    let http = doors.http;
    apart(move || {
        for (protocol, origin, refusal) in [
            (None, None, 400),
            (Some("cli.rtpengine.com"), None, 400),
            (PLAIN, Some("https://example.org"), 403),
            (PLAIN, Some("http://localhost"), 403),
            (PLAIN, Some("http://127.0.0.1:8080"), 403),
            (PLAIN, Some("http://127.0.0.2"), 403),
            (PLAIN, Some("null"), 403),
        ] {
            let refused = websocket(http, protocol, origin).err();
            assert_eq!(refused, Some(refusal), "{protocol:?} {origin:?}");
        }
        // As the client that Kamailio has for it says it.
        assert!(websocket(http, COOKIES, Some("http://127.0.0.1")).is_ok());
    })
    .await;
    assert_eq!(doors.refused("source"), 5);
}

#[tokio::test]
async fn websockets_have_the_limits_of_connections() {
    let doors = Doors::with(25_150..=25_159, tight(), Networks::loopback()).await;
    let http = doors.http;
    apart(move || {
        let mut all: Vec<Socket> = (0..4)
            .map(|_| websocket(http, PLAIN, None).unwrap())
            .collect();
        // A place is held for as long as the socket is, not as the request for it.
        assert_eq!(websocket(http, PLAIN, None).err(), Some(0));
        let large = "x".repeat(70_000);
        let _ = all[0].send(Message::text(large));
        let closed = std::iter::repeat_with(|| all[0].read()).find(Result::is_err);
        assert!(closed.is_some());
        assert!(
            all[1].read().is_err_and(|error| !is_timeout(&error)),
            "idle"
        );
    })
    .await;
    assert_eq!(doors.refused("crowded"), 1);
}

fn is_timeout(error: &WebSocketError) -> bool {
    matches!(error, WebSocketError::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn http_answers_over_a_socket_as_it_does_by_itself() {
    let doors = Doors::open(25_160..=25_169).await;
    let http = doors.http;
    apart(move || {
        for (head, expected, end) in [
            ("GET /ping HTTP/1.1", 200, "pong"),
            ("POST /ng-plain HTTP/1.1", 200, "d6:result4:ponge"),
            ("GET /nothing HTTP/1.1", 404, ""),
            ("GET /ng HTTP/1.1", 405, ""),
        ] {
            let body = if head.starts_with("POST") {
                "d7:command4:pinge"
            } else {
                ""
            };
            let mut client = BlockingClient::http(http);
            let request = format!(
                "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.send(request.as_bytes());
            let (status, text) = client.reply();
            assert_eq!(status, expected, "{head}: {text}");
            assert!(text.ends_with(end), "{text}");
        }
    })
    .await;
}
