//! Real TLS on loopback against a peer that misbehaves as told.

use tokio::{net::TcpListener, sync::oneshot};

use super::*;
use crate::processor::{
    Processor as _, Submitted, Trust,
    sandbox::{Identity, Sandbox, SandboxAddress},
    testing::{Memory, TestCard, charge, peer, recorded, request_memory},
};

const APPROVED: &str =
    r#"{"reference":"att","status":"approved","code":"approved","id":"sbx_abc"}"#;

/// For those that wait for a time-out; everybody else has time, for tests share the machine.
fn quick() -> Deadlines {
    Deadlines {
        handshake: Duration::from_millis(300),
        first_byte: Duration::from_millis(300),
        whole: Duration::from_millis(900),
        ..Deadlines::default()
    }
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

async fn submit_with(address: &SandboxAddress, memory: &Memory, deadlines: Deadlines) -> Outcome {
    let adapter = Sandbox::new(address, deadlines).unwrap();
    let mut card = TestCard::new("4242424242424242", "1230", Some("123"));
    let outcome = adapter
        .submit(recorded(), card.view(memory), &charge(1))
        .await;
    assert_eq!(memory.taken(), 0, "a request was left in memory");
    match outcome {
        Submitted::Ended(outcome) => outcome,
        Submitted::Tokenised(_) => panic!("the sandbox has no tokens"),
    }
}

async fn submit(address: &SandboxAddress) -> Outcome {
    submit_with(address, &request_memory(), Deadlines::default()).await
}

async fn submit_quickly(address: &SandboxAddress) -> Outcome {
    submit_with(address, &request_memory(), quick()).await
}

/// What becomes of a charge that is answered with these bytes and the end of the connection.
async fn answered_with(bytes: Vec<u8>) -> Outcome {
    let (address, peer) = peer(async move |mut stream| {
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let outcome = submit(&address).await;
    peer.await.unwrap();
    outcome
}

fn unknown(outcome: &Outcome, why: &str) {
    match outcome {
        Outcome::Unknown { reason } => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

fn nothing_sent(outcome: &Outcome, why: &str) {
    match outcome {
        Outcome::Failed {
            reason,
            retryable: true,
        } => assert!(
            reason.starts_with("nothing was sent") && reason.contains(why),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_reaches_the_processor_is_the_expected_request_byte_for_byte() {
    let (address, peer) = peer(async |mut stream| {
        stream.write_all(&ok(APPROVED)).await.unwrap();
    })
    .await;
    let outcome = submit(&address).await;
    assert_eq!(
        outcome,
        Outcome::Approved {
            processor_reference: "sbx_abc".to_owned(),
            code: "approved".to_owned(),
        }
    );
    let charge = charge(1);
    let body = format!(
        "{{\"amount\":1250,\"capture\":true,\"channel\":\"moto\",\"currency\":\"EUR\",\
         \"reference\":\"{}\",\"card\":{{\"number\":\"4242424242424242\",\"expiry_month\":\"12\",\
         \"expiry_year\":\"2030\",\"security_code\":\"123\"}}}}",
        charge.attempt
    );
    let expected = format!(
        "POST /v1/charges HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        address.port,
        body.len()
    );
    assert_eq!(String::from_utf8(peer.await.unwrap()).unwrap(), expected);
}

#[test]
fn a_request_line_has_a_path_whatever_the_site_has() {
    for (site, path, line) in [
        ("https://pay.invalid", "", "POST / HTTP/1.1\r\n"),
        (
            "https://pay.invalid/charge",
            "",
            "POST /charge HTTP/1.1\r\n",
        ),
        ("https://pay.invalid/v1/", "/c", "POST /v1/c HTTP/1.1\r\n"),
    ] {
        let tls = Trust::default().with_roots([]).unwrap();
        let endpoint = Endpoint::new(site.parse().unwrap(), tls, quick()).unwrap();
        let heading = Heading {
            media: JSON,
            fields: &[("X-Key", "k")],
        };
        let head = endpoint.head(path, heading, 7);
        assert!(head.starts_with(line), "{}", *head);
        assert!(head.contains("\r\nHost: pay.invalid\r\n"), "{}", *head);
        assert!(head.contains("\r\nX-Key: k\r\n"), "{}", *head);
        assert!(head.contains("\r\nContent-Length: 7\r\n"), "{}", *head);
    }
}

#[tokio::test]
async fn while_the_answer_is_waited_for_the_request_is_wiped_already() {
    let memory = request_memory();
    let (seen, at_request) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let (address, _peer) = peer(async move |mut stream| {
        seen.send(()).unwrap();
        gone.await.unwrap();
        stream.write_all(&ok(APPROVED)).await.unwrap();
    })
    .await;
    let watch = async {
        at_request.await.unwrap();
        // The client's task has run since: it is on this thread and waits for the answer.
        tokio::task::yield_now().await;
        let taken = memory.taken();
        go.send(()).unwrap();
        taken
    };
    let (outcome, taken) =
        tokio::join!(submit_with(&address, &memory, Deadlines::default()), watch);
    assert_eq!(taken, 0);
    assert!(matches!(outcome, Outcome::Approved { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_server_under_another_ca_gets_nothing() {
    let (address, peer) = peer(async |_| ()).await;
    let stranger = SandboxAddress {
        port: address.port,
        ca_pem: Identity::fresh().unwrap().ca_pem,
    };
    nothing_sent(&submit(&stranger).await, "TLS handshake failed");
    assert_eq!(peer.await.unwrap(), b"");
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = SandboxAddress {
        port: listener.local_addr().unwrap().port(),
        ca_pem: Identity::fresh().unwrap().ca_pem,
    };
    drop(listener);
    nothing_sent(&submit(&address).await, "no connection");
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_gets_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = SandboxAddress {
        port: listener.local_addr().unwrap().port(),
        ca_pem: Identity::fresh().unwrap().ca_pem,
    };
    let silent = tokio::spawn(async move { listener.accept().await });
    nothing_sent(
        &submit_quickly(&address).await,
        "no TLS handshake within 300ms",
    );
    silent.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_request_memory_nothing_is_sent() {
    let (address, peer) = peer(async |_| ()).await;
    let outcome = submit_with(&address, &Memory::none(), Deadlines::default()).await;
    nothing_sent(&outcome, "no slot of secret memory is free");
    drop(peer);
}

#[tokio::test]
async fn a_reset_after_the_request_is_unknown() {
    let (address, _peer) = peer(async |stream| {
        stream.get_ref().0.set_zero_linger().unwrap();
    })
    .await;
    unknown(&submit(&address).await, "broke before the answer");
}

#[tokio::test]
async fn silence_after_the_request_is_unknown() {
    let (address, _peer) = peer(async |stream| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    })
    .await;
    unknown(
        &submit_quickly(&address).await,
        "no answer came within 300ms",
    );
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_off_at_the_whole_time() {
    let (address, _peer) = peer(async |mut stream| {
        for byte in ok(APPROVED) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            let _ = stream.flush().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    unknown(&submit_quickly(&address).await, "not complete within 900ms");
}

#[tokio::test]
async fn an_answer_in_two_parts_is_read() {
    let (address, _peer) = peer(async |mut stream| {
        let bytes = ok(APPROVED);
        let (first, second) = bytes.split_at(30);
        stream.write_all(first).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(second).await.unwrap();
    })
    .await;
    let outcome = submit(&address).await;
    assert!(matches!(outcome, Outcome::Approved { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_unknown() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(MAX_RESPONSE_BYTES + 1, b'x');
    unknown(&answered_with(endless).await, "longer than 65536 bytes");
    let boast = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    unknown(&answered_with(boast).await, "longer than 65536 bytes");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unknown() {
    for (bytes, why) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no HTTP/1.1"),
        (b"".to_vec(), "ended in the middle"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"status\"".to_vec(),
            "ended in the middle",
        ),
        (ok("<html>"), "not the JSON of a charge"),
        (ok("{}"), "not the JSON of a charge"),
        (
            ok(r#"{"status":"approved","code":"approved"}"#),
            "neither approved",
        ),
        (
            ok(r#"{"status":"maybe","code":"approved"}"#),
            "neither approved",
        ),
        (
            b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "HTTP 502",
        ),
    ] {
        unknown(&answered_with(bytes).await, why);
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_card_is_not_passed_on() {
    for body in [
        r#"{"status":"declined","code":"4242424242424242"}"#,
        r#"{"status":"approved","code":"approved","id":"sbx_4242424242424242"}"#,
        r#"{"status":4242424242424242,"code":"approved"}"#,
    ] {
        let outcome = answered_with(ok(body)).await;
        unknown(&outcome, "the answer");
        assert!(!format!("{outcome:?}").contains("4242"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_look_up_that_fails_is_unknown_and_never_failed() {
    for answer in [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 429 No\r\nContent-Length: 30\r\n\r\n{\"error\":{\"code\":\"slow_down\"}}"
            .to_vec(),
        // A 404 that is not the processor's own word for an unknown charge.
        b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nnot found".to_vec(),
        b"HTTP/1.1 404 No\r\nContent-Length: 30\r\n\r\n{\"error\":{\"code\":\"not_found\"}}"
            .to_vec(),
        Vec::new(),
    ] {
        let (address, _peer) = peer(async move |mut stream| {
            let _ = stream.write_all(&answer).await;
        })
        .await;
        let adapter = Sandbox::new(&address, Deadlines::default()).unwrap();
        let outcome = adapter.look_up(&charge(1), None).await;
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    }
    let nobody = SandboxAddress {
        port: 1,
        ca_pem: Identity::fresh().unwrap().ca_pem,
    };
    let adapter = Sandbox::new(&nobody, Deadlines::default()).unwrap();
    unknown(
        &adapter.look_up(&charge(1), None).await,
        "could not be looked up",
    );
}
