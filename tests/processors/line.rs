//! TLS connections, requests and answers, and what goes wrong with them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Asked, DRIP, Fault, Handled, Kind, Reply, Stage, State, adyen, authorize_net, braintree,
    checkout, connector, cybersource, stripe, worldpay,
};

/// A fatal alert, handshake_failure (RFC 8446 §6).
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// An authority, and certificates of it: one that is right, and two that are not.
pub(super) struct Identities {
    pub(super) ca_pem: String,
    right: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
}

impl Identities {
    pub(super) fn fresh() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            ca_pem: ca.pem(),
            right: leaf(&issuer, "localhost", false),
            wrong_name: leaf(&issuer, "somebody.else.invalid", false),
            expired: leaf(&issuer, "localhost", true),
        }
    }
}

fn leaf(issuer: &Issuer<'_, KeyPair>, name: &str, expired: bool) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key);
    Arc::new(config.unwrap())
}

/// A request as it came.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Listens on a port of the system's choice.
pub(super) async fn serve(kind: Kind, tls: Identities, state: Arc<Mutex<State>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Arc::new(tls);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(connection(kind, stream, tls.clone(), state.clone()));
        }
    });
    port
}

async fn connection(kind: Kind, stream: TcpStream, tls: Arc<Identities>, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let door = {
        let mut state = state.lock().unwrap();
        let door = state.door;
        // What is meant for one request meets it once; what is meant for cards stays, for they are
        // connected for ahead.
        if state.door_is_for_one {
            state.door = None;
            state.door_is_for_one = false;
        }
        door
    };
    let identity = match door {
        Some(Fault::Refuse) => {
            let _ = stream.set_zero_linger();
            return;
        }
        Some(Fault::TlsAlert) => {
            let mut stream = stream;
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(&ALERT).await;
            let _ = stream.shutdown().await;
            return;
        }
        Some(Fault::WrongName) => &tls.wrong_name,
        Some(Fault::Expired) => &tls.expired,
        _ => &tls.right,
    };
    let Ok(mut stream) = TlsAcceptor::from(identity.clone()).accept(stream).await else {
        return;
    };
    while let Some(request) = read(&mut stream).await {
        let close = request.header("connection").eq_ignore_ascii_case("close");
        let goes_on = answer(kind, &mut stream, &request, &state).await;
        if close || !goes_on {
            break;
        }
    }
    let _ = stream.shutdown().await;
}

/// False where the connection is over.
async fn answer(
    kind: Kind,
    stream: &mut TlsStream<TcpStream>,
    request: &Request,
    state: &Mutex<State>,
) -> bool {
    let stage = match kind {
        Kind::Stripe => stripe::stage(request),
        Kind::Adyen => adyen::stage(request),
        Kind::Checkout => checkout::stage(request),
        Kind::Worldpay => worldpay::stage(request),
        Kind::CyberSource => cybersource::stage(request),
        Kind::Braintree => braintree::stage(request),
        Kind::AuthorizeNet => authorize_net::stage(request),
        Kind::Connector => connector::stage(request),
    };
    let (fault, clock) = {
        let mut state = state.lock().unwrap();
        (state.next_fault(stage), state.clock)
    };
    let now = Timestamp::now() + clock;
    let message = |status, body: &str| message(status, body, now);
    let busy = |status| {
        Some(Reply {
        status,
        body: r#"{"error":{"type":"api_error","code":"busy"},"errorCode":"busy","error_code":"busy"}"#
            .to_owned(),
    })
    };
    let refusal = match fault {
        Some(Fault::ResetBefore) => return cut(stream),
        Some(Fault::Busy429) => busy(429),
        Some(Fault::Busy503) => busy(503),
        _ => None,
    };
    let reply = match refusal {
        Some(reply) => reply,
        None => {
            let mut state = state.lock().unwrap();
            state.requests += 1;
            state.asked.push(Asked {
                method: request.method.clone(),
                path: request.path.clone(),
                body: request.body.clone(),
            });
            let Handled { stage, reply } = match kind {
                Kind::Stripe => stripe::handle(&mut state, request, fault),
                Kind::Adyen => adyen::handle(&mut state, request),
                Kind::Checkout => checkout::handle(&mut state, request),
                Kind::Worldpay => worldpay::handle(&mut state, request),
                Kind::CyberSource => cybersource::handle(&mut state, request),
                Kind::Braintree => braintree::handle(&mut state, request),
                Kind::AuthorizeNet => authorize_net::handle(&mut state, request),
                Kind::Connector => connector::handle(&mut state, request),
            };
            // A fault of the next request that is met at the door waits there.
            if stage == Stage::Card
                && let Some(next) = state.peek(Stage::Token)
                && next.is_at_the_door()
            {
                state.door = state.next_fault(Stage::Token);
                state.door_is_for_one = true;
            }
            reply
        }
    };
    match fault {
        Some(Fault::ResetAfter) => cut(stream),
        Some(Fault::Hang) => {
            sleep(Duration::from_secs(20)).await;
            false
        }
        Some(Fault::Error500) => {
            let body = r#"{"error":{"type":"api_error"},"errorCode":"905","errorType":"internal"}"#;
            write(stream, &message(500, body)).await
        }
        Some(Fault::HalfBody) => {
            let whole = message(reply.status, &reply.body);
            let _ = stream
                .write_all(&whole[..whole.len() - reply.body.len() / 2])
                .await;
            let _ = stream.flush().await;
            false
        }
        Some(Fault::Drip) => {
            for byte in message(reply.status, &reply.body) {
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return false;
                }
                sleep(DRIP).await;
            }
            true
        }
        Some(Fault::BadJson) => write(stream, &message(reply.status, "{\"id\": <html>")).await,
        _ => write(stream, &message(reply.status, &reply.body)).await,
    }
}

fn cut(stream: &mut TlsStream<TcpStream>) -> bool {
    let _ = stream.get_ref().0.set_zero_linger();
    false
}

fn message(status: u16, body: &str, now: Timestamp) -> Vec<u8> {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    format!(
        "HTTP/1.1 {status} X\r\nDate: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        date.unwrap(),
        body.len()
    )
    .into_bytes()
}

async fn write(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> bool {
    stream.write_all(message).await.is_ok() && stream.flush().await.is_ok()
}

async fn read(stream: &mut TlsStream<TcpStream>) -> Option<Request> {
    let mut received = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(start)) = head.parse(&received) {
            let headers: BTreeMap<String, String> = head
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8(header.value.to_vec()).unwrap();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect();
            let length = headers
                .get("content-length")
                .map_or(0, |l| l.parse().unwrap());
            if let Some(body) = received.get(start..start + length) {
                return Some(Request {
                    method: head.method.unwrap().to_owned(),
                    path: head.path.unwrap().to_owned(),
                    headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                });
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(length @ 1..) => received.extend_from_slice(&buffer[..length]),
            _ => return None,
        }
    }
}
