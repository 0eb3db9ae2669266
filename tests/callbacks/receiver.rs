//! A merchant's server: TLS, a script of what goes wrong, and a book of what came.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is reset before anything is read.
    Refuse,
    /// It is read, and no answer comes.
    Hang,
    /// It is read, and the connection is reset.
    Reset,
    /// An answer without end comes, which nobody waits for: its head says 500.
    Endless,
    /// A status, with `Location` of another address of this server.
    Status(u16),
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Refuse,
        Self::Hang,
        Self::Reset,
        Self::Endless,
        Self::Status(500),
        Self::Status(307),
        Self::Status(429),
        Self::Status(401),
    ];
}

/// A request that was read.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) path: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Whether it was answered with 2xx.
    pub(crate) taken: bool,
}

impl Came {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Book {
    /// What meets the next requests, in turn.
    pub(crate) script: VecDeque<Fault>,
    /// What meets all requests while there is one.
    pub(crate) always: Option<Fault>,
    pub(crate) came: Vec<Came>,
    pub(crate) connections: usize,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    book: Arc<Mutex<Book>>,
    folder: Arc<TempDir>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (authority, tls) = identity();
        std::fs::write(folder.path().join("roots.pem"), authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let book = Arc::<Mutex<Book>>::default();
        let shared = Arc::clone(&book);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, tls.clone(), shared.clone()));
            }
        });
        Self {
            port,
            book,
            folder: Arc::new(folder),
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A file of this name beside the authority's certificate.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hooks", self.port)
    }

    /// What was answered with 2xx so far.
    pub(crate) fn taken(&self) -> Vec<Came> {
        let book = self.book();
        book.came
            .iter()
            .filter(|came| came.taken)
            .cloned()
            .collect()
    }

    /// Waits until the book is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Book) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.book()) {
            let came = self.book().came.len();
            assert!(Instant::now() < until, "{what}: not yet, {came} came");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn identity() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, book: Arc<Mutex<Book>>) {
    {
        let mut book = book.lock().unwrap();
        book.connections += 1;
        if book.script.front() == Some(&Fault::Refuse) {
            book.script.pop_front();
            let _ = stream.set_zero_linger();
            return;
        }
        if book.always == Some(Fault::Refuse) {
            let _ = stream.set_zero_linger();
            return;
        }
    }
    let Ok(mut stream) = tls.accept(stream).await else {
        return;
    };
    while let Some(came) = read(&mut stream).await {
        let fault = {
            let mut book = book.lock().unwrap();
            let mut fault = book.always;
            if fault.is_none() {
                // One that meets connections waits for the next of them.
                let at = book.script.iter().position(|fault| *fault != Fault::Refuse);
                fault = at.and_then(|at| book.script.remove(at));
            }
            let taken = fault.is_none();
            book.came.push(Came { taken, ..came });
            fault
        };
        let answer = match fault {
            None => "HTTP/1.1 204 OK\r\n\r\n".to_owned(),
            Some(Fault::Status(status)) => format!(
                "HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 3\r\n\r\nno!"
            ),
            Some(Fault::Reset | Fault::Refuse) => {
                let _ = stream.get_ref().0.set_zero_linger();
                return;
            }
            Some(Fault::Hang) => {
                let mut rest = [0; 64];
                // Until the other side gives up.
                let _ = timeout(PATIENCE, stream.read(&mut rest)).await;
                return;
            }
            Some(Fault::Endless) => {
                let head = "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut chunk = head.as_bytes().to_vec();
                while stream.write_all(&chunk).await.is_ok() && stream.flush().await.is_ok() {
                    chunk = b"400\r\n".iter().copied().chain([b'x'; 1024]).collect();
                    chunk.extend_from_slice(b"\r\n");
                }
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TlsStream<TcpStream>) -> Option<Came> {
    let mut received = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        if let Ok(httparse::Status::Complete(start)) = head.parse(&received) {
            assert_eq!(head.method, Some("POST"));
            let headers: BTreeMap<String, String> = head
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8(header.value.to_vec()).unwrap();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect();
            let length: usize = headers["content-length"].parse().unwrap();
            if let Some(body) = received.get(start..start + length) {
                return Some(Came {
                    path: head.path.unwrap().to_owned(),
                    headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    taken: false,
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
