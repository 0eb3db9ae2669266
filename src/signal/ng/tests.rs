use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use tokio::net::UdpSocket;
use tower::ServiceExt;

use super::*;
use crate::signal::fakes::{Arming, House, PEER, answer, message, offer};
use crate::{
    media::MediaCommand,
    proto::ng::{Dict, encode},
};

async fn over_udp(ports: RangeInclusive<u16>) -> (House, UdpSocket) {
    let house = House::new(ports);
    let server = NgServer::new(house.calls.clone(), Networks::loopback());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(socket.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move { server.serve_udp(socket).await });
    (house, client)
}

async fn receive(client: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let received = tokio::time::timeout(Duration::from_millis(300), client.recv(&mut buffer)).await;
    let length = received.ok()?.unwrap();
    buffer.truncate(length);
    Some(buffer)
}

async fn ask(client: &UdpSocket, datagram: &[u8]) -> Option<Vec<u8>> {
    client.send(datagram).await.unwrap();
    receive(client).await
}

fn datagram(cookie: &str, message: &Dict) -> Vec<u8> {
    [cookie.as_bytes(), b" ", &encode(message, Encoding::Bencode)].concat()
}

#[tokio::test]
async fn a_ping_over_udp_is_answered_as_clients_expect() {
    let (_house, client) = over_udp(22_600..=22_609).await;
    let reply = ask(&client, b"0_4214_0 d7:command4:pinge").await.unwrap();
    assert_eq!(reply, b"0_4214_0 d6:result4:ponge");
    let reply = ask(&client, b"1_2 {\"command\":\"ping\"}").await.unwrap();
    assert_eq!(reply, br#"1_2 {"result":"pong"}"#);
}

#[tokio::test]
async fn a_datagram_without_cookie_is_dropped_and_nonsense_is_an_error() {
    let (_house, client) = over_udp(22_610..=22_619).await;
    assert_eq!(ask(&client, b"d7:command4:pinge").await, None);
    let reply = ask(&client, b"7_7 nonsense").await.unwrap();
    let text = String::from_utf8(reply).unwrap();
    assert!(
        text.starts_with("7_7 d") && text.contains("Invalid NG data format"),
        "{text}"
    );
    assert!(
        ask(&client, b"8_8 d7:command4:pinge").await.is_some(),
        "still there"
    );
}

#[tokio::test]
async fn a_repeated_cookie_gets_the_same_reply_and_is_carried_out_once() {
    let (house, client) = over_udp(22_620..=22_639).await;
    let request = datagram("5_1", &offer("c1"));
    let first = ask(&client, &request).await.unwrap();
    let again = ask(&client, &request).await.unwrap();
    assert_eq!(first, again);
    ask(&client, &datagram("5_2", &message("delete", "c1")))
        .await
        .unwrap();
    assert_eq!(
        ask(&client, &request).await.unwrap(),
        first,
        "the reply, not a new call"
    );
    assert_eq!(house.calls.count(), 0);
}

#[tokio::test]
async fn a_duplicate_waits_for_the_first_and_others_do_not() {
    let (house, client) = over_udp(22_640..=22_659).await;
    ask(&client, &datagram("6_1", &offer("c1"))).await.unwrap();
    ask(&client, &datagram("6_2", &answer("c1"))).await.unwrap();
    *house.media.arming.lock().unwrap() = Arming::IsSilent;
    let block = datagram("6_3", &message("block DTMF", "c1"));
    client.send(&block).await.unwrap();
    client.send(&block).await.unwrap();
    let other = ask(&client, b"6_4 d7:command4:pinge").await.unwrap();
    assert_eq!(
        other, b"6_4 d6:result4:ponge",
        "answered while the block is in work"
    );
    let (first, second) = (
        receive(&client).await.unwrap(),
        receive(&client).await.unwrap(),
    );
    assert!(first.starts_with(b"6_3 "));
    assert_eq!(first, second);
    let arms = |command: &MediaCommand| matches!(command, MediaCommand::Arm(_));
    assert_eq!(house.media.commands().into_iter().filter(arms).count(), 1);
}

#[tokio::test]
async fn bad_datagrams_are_answered_and_harm_no_call() {
    let (house, client) = over_udp(22_690..=22_709).await;
    ask(&client, &datagram("9_1", &offer("c1"))).await.unwrap();
    ask(&client, &datagram("9_2", &answer("c1"))).await.unwrap();
    let deep = "l".repeat(5000);
    let wide = format!("d1:kl{}", "0:".repeat(30_000));
    let sdp = offer("c2").with("sdp", "v=0");
    let bodies: [&[u8]; 10] = [
        b"",
        b"d",
        b"{",
        b"d7:command",
        b"d3:sdp999999999:v=0",
        b"\xff\xfe\x00",
        deep.as_bytes(),
        wide.as_bytes(),
        br#"{"command":{"command":"ping"}}"#,
        &encode(&sdp, Encoding::Json),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let cookie = format!("bad_{n}");
        let reply = ask(&client, &[cookie.as_bytes(), b" ", body].concat())
            .await
            .unwrap();
        let text = String::from_utf8(reply).unwrap();
        assert!(
            text.starts_with(&cookie) && text.contains("error"),
            "{n}: {text}"
        );
    }
    let query = ask(&client, &datagram("9_3", &message("query", "c1")))
        .await
        .unwrap();
    assert!(String::from_utf8(query).unwrap().contains("6:result2:ok"));
    assert_eq!(house.calls.count(), 1);
}

#[tokio::test]
async fn a_source_that_is_not_listed_is_refused_and_recorded_at_a_bounded_rate() {
    let house = House::new(22_660..=22_669);
    let server = NgServer::new(house.calls.clone(), Networks::parse(["192.0.2.1"]).unwrap());
    for _ in 0..100 {
        assert!(!server.allows(PEER));
    }
    assert!(server.allows("192.0.2.1:9".parse().unwrap()));
    // Recorded by a task of its own.
    tokio::time::timeout(Duration::from_secs(30), async {
        while house.audit.events().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let events = house.audit.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(matches!(&events[0], Event::AccessRefused { action, .. } if action == "ng control"));
    let later = Instant::now() + REFUSAL_INTERVAL;
    assert_eq!(server.count_refusal(later), Some(99));
}

async fn post(
    house: &House,
    peer: &str,
    path: &str,
    body: &[u8],
    origin: bool,
) -> (StatusCode, Vec<u8>) {
    let server = NgServer::new(house.calls.clone(), Networks::loopback());
    let mut request = Request::post(path);
    if origin {
        request = request.header("Origin", "https://example.org");
    }
    let mut request = request.body(Body::from(body.to_vec())).unwrap();
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = server.router().oneshot(request).await.unwrap();
    let status = response.status();
    (
        status,
        to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap()
            .to_vec(),
    )
}

#[tokio::test]
async fn http_takes_both_encodings_with_and_without_cookie() {
    let house = House::new(22_670..=22_679);
    let local = "127.0.0.1:4000";
    for (path, body, expected) in [
        (
            "/ng-plain",
            &b"d7:command4:pinge"[..],
            &b"d6:result4:ponge"[..],
        ),
        (
            "/ng-plain",
            br#"{"command":"ping"}"#,
            br#"{"result":"pong"}"#,
        ),
        (
            "/ng",
            b"c00kie d7:command4:pinge",
            b"c00kie d6:result4:ponge",
        ),
    ] {
        let (status, reply) = post(&house, local, path, body, false).await;
        assert_eq!((status, reply.as_slice()), (StatusCode::OK, expected));
    }
    let (status, _) = post(&house, local, "/ng", b"d7:command4:pinge", false).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, reply) = post(&house, local, "/ng-plain", b"{\"command\"", false).await;
    assert!(reply.starts_with(br#"{"result":"error","error-reason":"Invalid NG data format""#));
    let big = vec![b'd'; 70_000];
    let (status, _) = post(&house, local, "/ng-plain", &big, false).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn http_is_refused_to_strangers_and_to_pages_in_a_browser() {
    let house = House::new(22_680..=22_689);
    let ping = br#"{"command":"ping"}"#;
    let (status, _) = post(&house, "192.0.2.9:4000", "/ng-plain", ping, false).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = post(&house, "127.0.0.1:4000", "/ng-plain", ping, true).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let server = NgServer::new(house.calls.clone(), Networks::loopback());
    let without_peer = Request::get("/ping").body(Body::empty()).unwrap();
    let response = server.router().oneshot(without_peer).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn while_the_media_plane_is_behind_requests_wait_but_not_for_ever() {
    let (house, client) = over_udp(23_660..=23_679).await;
    *house.media.behind.lock().unwrap() = true;
    // It looks before it waits for a request, and has already: that one is taken.
    ask(&client, b"0_1 d7:command4:pinge").await.unwrap();
    client.send(b"0_2 d7:command4:pinge").await.unwrap();
    let soon = tokio::time::timeout(Duration::from_millis(100), receive(&client)).await;
    assert!(soon.is_err(), "answered while the workers are behind");
    *house.media.behind.lock().unwrap() = false;
    assert_eq!(receive(&client).await.unwrap(), b"0_2 d6:result4:ponge");
    *house.media.behind.lock().unwrap() = true;
    ask(&client, b"0_3 d7:command4:pinge").await.unwrap();
    client.send(b"0_4 d7:command4:pinge").await.unwrap();
    let late = receive(&client).await;
    let late = match late {
        Some(reply) => reply,
        None => receive(&client).await.unwrap(),
    };
    assert_eq!(late, b"0_4 d6:result4:ponge", "a worker that hangs");
}
