//! Trunks over TCP and TLS.

use std::{path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{listen::TlsFiles, proto::digit::KeyClass};

/// An end of a connection.
struct Line<S> {
    stream: S,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    async fn send(&mut self, message: &str) {
        let message = message.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        self.stream.write_all(message.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// What comes next; nothing when the other end has closed.
    async fn next(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8(self.bytes.clone()).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length: usize = header(&format!("{head}\r\n"), "Content-Length")
                    .parse()
                    .unwrap();
                if body.len() >= length {
                    let whole = head.len() + 4 + length;
                    self.bytes.drain(..whole);
                    return Some(text[..whole].to_owned());
                }
            }
            let mut chunk = [0; 4_096];
            let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await;
            let length = read
                .expect("nothing came")
                .ok()
                .filter(|length| *length > 0)?;
            self.bytes.extend_from_slice(&chunk[..length]);
        }
    }

    async fn hear(&mut self, begin: &str) -> String {
        loop {
            let heard = self.next().await.expect("the other end has closed");
            if !heard.starts_with("SIP/2.0 100 ") {
                assert!(heard.starts_with(begin), "expected {begin}, found {heard}");
                return heard;
            }
        }
    }
}

fn tls_of(folder: &Path) -> TlsSettings {
    TlsSettings {
        files: TlsFiles {
            certificate: folder.join("gateway.pem"),
            key: folder.join("gateway.key"),
            clients: None,
        },
        authorities: folder.join("ca.pem"),
    }
}

impl World {
    /// The trunk by connections, the PBX by datagrams.
    async fn by(
        transport: SipTransport,
        tls: Option<TlsSettings>,
        ports: std::ops::RangeInclusive<u16>,
    ) -> Self {
        Self::limited(transport, tls, ports, 1_000).await
    }

    /// With so many new requests a second.
    async fn limited(
        transport: SipTransport,
        tls: Option<TlsSettings>,
        ports: std::ops::RangeInclusive<u16>,
        per_second: u32,
    ) -> Self {
        // None that the system would give to a connection of another test.
        let port = *ports.start();
        Self::with(ports, |settings| {
            let mut listener = settings.listeners[0].clone();
            (listener.transport, listener.tls) = (transport, tls);
            listener.address.set_port(port);
            listener.advertise = listener.address;
            settings.listeners.push(listener);
            settings.peers[0].transport = transport;
            settings.peers[0].address.set_port(port);
            (settings.requests_per_second, settings.burst) = (per_second, per_second);
        })
        .await
    }

    /// Where the trunk connects to.
    fn door(&self) -> SocketAddr {
        self.server.ua.settings.listeners[1].address
    }

    /// Where the trunk is called.
    async fn trunk_listens(&self) -> TcpListener {
        let address = self.server.ua.settings.peers[0].address;
        TcpListener::bind(address).await.unwrap()
    }

    async fn dial_from(&self, ip: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((ip, 0))).unwrap();
        socket.connect(self.door()).await.unwrap()
    }

    async fn dial(&self) -> Line<TcpStream> {
        Line::new(self.dial_from([127, 0, 0, 2]).await)
    }
}

#[tokio::test]
async fn a_trunk_by_connections_is_screened_message_by_message() {
    let world = World::by(SipTransport::Tcp, None, 26_100..=26_119).await;
    let mut line = world.dial().await;
    let invite = world.trunk.invite("tcp", "", &sdp(4_000));
    for piece in [
        &invite[..30],
        &invite[30..invite.len() - 9],
        &invite[invite.len() - 9..],
    ] {
        line.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ours = world.pbx.hear("INVITE ").await;
    assert!(!ours.contains("TCP"), "each leg has its own: {ours}");
    world.pbx.answers(&ours, "200 OK", &sdp(6_000)).await;
    let taken = line.hear("SIP/2.0 200").await;
    assert!(
        header(&taken, "Contact").contains("transport=tcp"),
        "{taken}"
    );
    world.pbx.hear("ACK ").await;
    let caller = Dialog2::of_answer(&taken);
    let agent = Dialog2::of_invite(&ours);
    let ack = world.trunk.within("ACK", 1, &caller, "", ("", ""));
    world.arm("tcp").await;
    // Three messages at once, the last of them cut within its body.
    let relay = "application/dtmf-relay";
    let keys: String = (2..4)
        .map(|n| {
            world
                .trunk
                .within("INFO", n, &caller, "", (relay, "Signal=5\r\n"))
        })
        .collect();
    let all = ack + &keys;
    line.send(&all[..all.len() - 3]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    line.send(&all[all.len() - 3..]).await;
    line.hear("SIP/2.0 200").await;
    line.hear("SIP/2.0 200").await;
    world.pbx.hears_nothing().await;
    let pressed = world.house.media.pressed.lock().unwrap().clone();
    assert_eq!(pressed, [KeyClass::Digit, KeyClass::Digit]);
    // Nor does the same trunk by datagrams: it could be anybody.
    world
        .trunk
        .send(&world.trunk.invite("udp", "", &sdp(4_000)))
        .await;
    world.trunk.hears_nothing().await;
    // What is sent to the caller goes where the caller is.
    let bye = world.pbx.within("BYE", 1, &agent, "", ("", ""));
    world.pbx.send(&bye).await;
    let bye = line.hear("BYE ").await;
    assert!(header(&bye, "Via").starts_with("SIP/2.0/TCP "), "{bye}");
    line.send(&world.trunk.answer(&bye, "200 OK", "", "")).await;
    world.pbx.hear("SIP/2.0 200").await;
    world.is_empty().await;
}

#[tokio::test]
async fn a_trunk_is_called_by_a_connection_of_ours_which_is_made_again() {
    let world = World::by(SipTransport::Tcp, None, 26_120..=26_139).await;
    // Nobody is there yet.
    world
        .pbx
        .send(&world.pbx.invite("away", "", &sdp(4_000)))
        .await;
    world.pbx.hear("SIP/2.0 503").await;
    world.is_empty().await;
    let listener = world.trunk_listens().await;
    for call_id in ["first", "second"] {
        world
            .pbx
            .send(&world.pbx.invite(call_id, "", &sdp(4_000)))
            .await;
        let (stream, _) = listener.accept().await.unwrap();
        let mut line = Line::new(stream);
        let ours = line.hear("INVITE ").await;
        line.send(&world.trunk.answer(&ours, "200 OK", "", &sdp(6_000)))
            .await;
        line.hear("ACK ").await;
        loop {
            let heard = world.pbx.hear_within(PATIENCE).await.unwrap();
            if heard.starts_with("SIP/2.0 200") && heard.contains(call_id) {
                break;
            }
        }
        // A request of it by the same connection is of that call.
        let dialog = Dialog2::of_invite(&ours);
        line.send(&world.trunk.within("OPTIONS", 1, &dialog, "", ("", "")))
            .await;
        line.hear("SIP/2.0 200").await;
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_read_is_told_and_closed() {
    let world = World::by(SipTransport::Tcp, None, 26_140..=26_159).await;
    let invite = world.trunk.invite("bad", "", &sdp(4_000));
    let length = format!("Content-Length: {}\r\n", sdp(4_000).len());
    for (bad, status) in [
        (invite.replace(&length, ""), 400),
        (invite.replace(&length, "Content-Length: 99999\r\n"), 513),
        (invite.replace(&length, &format!("{length}l: 0\r\n")), 400),
    ] {
        let mut line = world.dial().await;
        line.send(&bad).await;
        line.hear(&format!("SIP/2.0 {status} ")).await;
        assert_eq!(line.next().await, None, "it is closed");
    }
    let mut line = world.dial().await;
    line.send(&"x".repeat(20_000)).await;
    assert_eq!(line.next().await, None, "without an end of its header");
    // A ping, and what stands before a message, is no message.
    let mut line = world.dial().await;
    line.send("\r\n\r\n").await;
    let mut pong = [0; 2];
    line.stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    line.send("\r\n").await;
    line.send(&invite).await;
    world.pbx.hear("INVITE ").await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_stranger_none() {
    let world = World::by(SipTransport::Tcp, None, 26_160..=26_179).await;
    let mut lines = Vec::new();
    for _ in 0..16 {
        lines.push(world.dial().await);
    }
    let options = world.trunk.invite("o", "", "").replace("INVITE", "OPTIONS");
    for line in &mut lines {
        line.send(&options).await;
        line.hear("SIP/2.0 200").await;
    }
    assert_eq!(world.dial().await.next().await, None);
    assert_eq!(world.server.refused()[2], ("limited", 1));
    drop(lines.pop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut line = world.dial().await;
    line.send(&options).await;
    line.hear("SIP/2.0 200").await;
    let mut stranger = Line::new(world.dial_from([127, 0, 0, 4]).await);
    assert_eq!(stranger.next().await, None);
}

#[tokio::test]
async fn a_flood_by_a_connection_is_slowed_and_nothing_of_it_lost() {
    let world = World::limited(SipTransport::Tcp, None, 26_230..=26_239, 1).await;
    let mut line = world.dial().await;
    line.send(&world.trunk.invite("slow", "", &sdp(4_000)))
        .await;
    let ours = world.pbx.hear("INVITE ").await;
    world.pbx.answers(&ours, "200 OK", &sdp(6_000)).await;
    let taken = line.hear("SIP/2.0 200").await;
    let caller = Dialog2::of_answer(&taken);
    line.send(&world.trunk.within("ACK", 1, &caller, "", ("", "")))
        .await;
    let many: String = (2..102)
        .map(|n| world.trunk.within("OPTIONS", n, &caller, "", ("", "")))
        .collect();
    let began = std::time::Instant::now();
    line.send(&many).await;
    for _ in 2..102 {
        line.hear("SIP/2.0 200").await;
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(300), "{took:?}");
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_closed_and_holds_nobody_up() {
    let world = World::limited(SipTransport::Tcp, None, 26_240..=26_249, 1_000_000).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let deaf = socket.connect(world.door()).await.unwrap();
    let (_unread, mut writer) = deaf.into_split();
    let options = world
        .trunk
        .invite("deaf", "", "")
        .replace("INVITE", "OPTIONS");
    let options = options.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let long = format!("{};x={}", header(&options, "Via"), "y".repeat(4_000));
    let begin = std::time::Instant::now();
    let flood = tokio::spawn(async move {
        for n in 0.. {
            let one = options.replace(header(&options, "Via"), &long);
            let one = one.replace("z9hG4bK-deaf", &format!("z9hG4bK-deaf{n}"));
            if writer.write_all(one.as_bytes()).await.is_err() {
                return n;
            }
        }
        0
    });
    let mut line = world.dial().await;
    let other = world
        .trunk
        .invite("other", "", "")
        .replace("INVITE", "OPTIONS");
    while !flood.is_finished() {
        line.send(&other.replace("z9hG4bK-", &format!("z9hG4bK-{}", rand::random::<u32>())))
            .await;
        let began = std::time::Instant::now();
        line.hear("SIP/2.0 200").await;
        assert!(began.elapsed() < Duration::from_secs(3), "held up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(flood.await.unwrap() > 256);
    let took = begin.elapsed();
    assert!(
        took < Duration::from_secs(8),
        "it fills memory for {took:?}"
    );
}

/// An authority, and what it says of others.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.1.as_bytes()).unwrap())
            .unwrap();
        Arc::new(roots)
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own((certificate, key): &(String, String)) -> Own {
    (
        vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
    )
}

async fn tls_world(ports: std::ops::RangeInclusive<u16>) -> (World, Authority) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("127.0.0.1");
    std::fs::write(folder.path().join("gateway.pem"), certificate).unwrap();
    std::fs::write(folder.path().join("gateway.key"), key).unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.1).unwrap();
    let world = World::by(SipTransport::Tls, Some(tls_of(folder.path())), ports).await;
    (world, authority)
}

#[tokio::test]
async fn a_trunk_by_tls_shows_a_certificate_that_names_it() {
    let (world, authority) = tls_world(26_180..=26_199).await;
    let other = Authority::new();
    let options = world
        .trunk
        .invite("tls", "", "")
        .replace("INVITE", "OPTIONS");
    for (shown, taken) in [
        (Some(authority.issue("127.0.0.2")), true),
        (None, false),
        // Somebody else of the same authority, and the right name by another.
        (Some(authority.issue("127.0.0.3")), false),
        (Some(other.issue("127.0.0.2")), false),
    ] {
        let config = ClientConfig::builder().with_root_certificates(authority.roots());
        let config = match &shown {
            Some(shown) => {
                let (chain, key) = own(shown);
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let stream = world.dial_from([127, 0, 0, 2]).await;
        let name = ServerName::from(world.trunk.gateway.ip());
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.unwrap();
        let mut line = Line::new(stream);
        if taken {
            line.send(&options).await;
            line.hear("SIP/2.0 200").await;
        } else {
            let _ = line.stream.write_all(options.as_bytes()).await;
            assert_eq!(line.next().await, None, "{}", shown.is_some());
        }
    }
}

#[tokio::test]
async fn a_trunk_that_is_called_by_tls_has_to_be_the_one_that_is_meant() {
    let (world, authority) = tls_world(26_200..=26_219).await;
    let listener = world.trunk_listens().await;
    for (name, taken) in [("127.0.0.3", false), ("127.0.0.2", true)] {
        let (chain, key) = own(&authority.issue(name));
        let verifier = WebPkiClientVerifier::builder(authority.roots())
            .build()
            .unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        world
            .pbx
            .send(&world.pbx.invite(name, "", &sdp(4_000)))
            .await;
        let (stream, _) = listener.accept().await.unwrap();
        let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        if taken {
            let mut line = Line::new(accepted.unwrap());
            let ours = line.hear("INVITE ").await;
            assert!(header(&ours, "Via").starts_with("SIP/2.0/TLS "), "{ours}");
        } else {
            let refused = world.pbx.hear("SIP/2.0 503").await;
            let ack = world.pbx.invite(name, "", "").replace("INVITE", "ACK");
            let ack = ack.replace(header(&ack, "To"), header(&refused, "To"));
            world.pbx.send(&ack).await;
        }
    }
}
