//! HTTPS and WSS with real certificates: nobody without one of the clients' authority is served.

use std::{net::TcpStream as BlockingStream, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use reqwest::{Certificate, Client, Identity};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

use super::*;
use crate::listen::{Reload, TlsFiles};

/// An authority, made now.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn fresh(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// A certificate and its key.
    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (pem, key.serialize_pem())
    }
}

struct Guarded {
    house: House,
    server: NgServer,
    address: SocketAddr,
    reload: Reload,
    authority: Authority,
    folder: tempfile::TempDir,
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn guarded(ports: RangeInclusive<u16>) -> Guarded {
    let authority = Authority::fresh("clients of NG");
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let files = TlsFiles {
        certificate: write(folder.path(), "c.pem", &certificate),
        key: write(folder.path(), "k.pem", &key),
        clients: Some(write(folder.path(), "ca.pem", &authority.pem)),
    };
    let reload = Reload::load(files).unwrap();
    let house = House::new(ports);
    let server = NgServer::new(house.calls.clone(), Networks::loopback());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (serving, tls) = (server.clone(), reload.clone());
    tokio::spawn(async move { serving.serve_http(listener, Some(tls)).await });
    Guarded {
        house,
        server,
        address,
        reload,
        authority,
        folder,
    }
}

impl Guarded {
    /// The reply to a ping of a client that shows this, if anything.
    async fn ping(&self, shows: Option<&(String, String)>) -> Result<String, reqwest::Error> {
        // As `main` does it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = Certificate::from_pem(self.authority.pem.as_bytes()).unwrap();
        let mut client = Client::builder().tls_certs_only([root]).no_proxy();
        if let Some((certificate, key)) = shows {
            let identity = format!("{certificate}{key}");
            client = client.identity(Identity::from_pem(identity.as_bytes()).unwrap());
        }
        let url = format!("https://{}/ng-plain", self.address);
        let ping = client.build()?.post(url).body(r#"{"command":"ping"}"#);
        ping.send().await?.text().await
    }

    fn uncertified(&self) -> u64 {
        let all = self.server.refused();
        all.iter()
            .find(|(name, _)| *name == "certificate")
            .unwrap()
            .1
    }
}

#[tokio::test]
async fn only_a_client_with_a_certificate_of_the_authority_is_served() {
    let guarded = guarded(25_200..=25_209).await;
    let good = guarded.authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let pong = guarded.ping(Some(&good)).await.unwrap();
    assert_eq!(pong, r#"{"result":"pong"}"#);

    let other = Authority::fresh("clients of NG");
    let forged = other.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let of_a_server = guarded.authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    for (what, shows) in [
        ("none", None),
        ("of another authority", Some(&forged)),
        ("for another purpose", Some(&of_a_server)),
    ] {
        assert!(guarded.ping(shows).await.is_err(), "{what}");
    }
    let recorded = async {
        while guarded.uncertified() < 3 || guarded.house.audit.events().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recorded)
        .await
        .expect("counted and recorded");
    assert!(guarded.house.audit.has(
        |event| matches!(event, Event::AccessRefused { reason, .. } if reason.contains("certificate"))
    ));
    // Nor is anybody served who does not speak TLS.
    let plain = Client::builder().no_proxy().build().unwrap();
    let plain = plain.get(format!("http://{}/ping", guarded.address));
    assert!(plain.send().await.is_err());
}

#[tokio::test]
async fn an_authority_that_is_replaced_serves_its_clients_no_more() {
    let guarded = guarded(25_210..=25_219).await;
    let old = guarded.authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    assert!(guarded.ping(Some(&old)).await.is_ok());
    let new = Authority::fresh("the next one");
    write(guarded.folder.path(), "ca.pem", &new.pem);
    guarded.reload.reload().unwrap();
    assert!(guarded.ping(Some(&old)).await.is_err());
    let renewed = new.issue(ExtendedKeyUsagePurpose::ClientAuth);
    assert!(guarded.ping(Some(&renewed)).await.is_ok());
    write(guarded.folder.path(), "ca.pem", "nothing");
    let refused = guarded.reload.reload().unwrap_err().to_string();
    assert!(
        refused.contains("ca.pem") && refused.contains("authorities"),
        "{refused}"
    );
    assert!(guarded.ping(Some(&renewed)).await.is_ok(), "as before");
}

/// A WebSocket over TLS whose ping is answered.
fn wss(address: SocketAddr, ca: &str, shows: Option<&(String, String)>) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let name = address.ip().into();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = BlockingStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut request = format!("wss://{address}/").into_client_request().unwrap();
    let protocol = HeaderValue::from_static("ng.rtpengine.com");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let stream = StreamOwned::new(connection, stream);
    let (mut socket, _) = tungstenite::client(request, stream).ok()?;
    socket.send(Message::text("1 d7:command4:pinge")).ok()?;
    Some(socket.read().ok()?.into_data().to_vec())
}

#[tokio::test]
async fn websocket_over_tls_needs_the_same_certificate() {
    let guarded = guarded(25_220..=25_229).await;
    let good = guarded.authority.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let forged = Authority::fresh("clients of NG").issue(ExtendedKeyUsagePurpose::ClientAuth);
    let (address, ca) = (guarded.address, guarded.authority.pem.clone());
    let replies = tokio::task::spawn_blocking(move || {
        [Some(&good), None, Some(&forged)].map(|shows| wss(address, &ca, shows))
    });
    let expected = [Some(b"1 d6:result4:ponge".to_vec()), None, None];
    assert_eq!(replies.await.unwrap(), expected);
}
