//! TLS with peers: each end shows a certificate, and that of a peer names it.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{SipError, TlsSettings};

/// Both directions.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl TlsSettings {
    /// Whether TLS can be done with it.
    ///
    /// # Errors
    /// [`SipError`], which names the file and what is wrong with it.
    pub fn check(&self) -> Result<(), SipError> {
        Tls::new(self).map(|_| ())
    }
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, SipError> {
        let (chain, key) = settings.files.read()?;
        let roots = Arc::new(roots(&settings.authorities)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| SipError::Authorities {
                path: settings.authorities.clone(),
                found: error.to_string(),
            })?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Of a peer that connects.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        let stream = self.acceptor.accept(stream).await?;
        // That an authority of ours knows it does not say who it is.
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(|chain| chain.first());
        let shown = shown.ok_or_else(|| io::Error::other("no certificate"))?;
        let shown = ParsedCertificate::try_from(shown).map_err(io::Error::other)?;
        verify_server_name(&shown, name).map_err(io::Error::other)?;
        Ok(stream)
    }

    /// To a peer.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        self.connector.connect(name.clone(), stream).await
    }
}

fn roots(path: &Path) -> Result<RootCertStore, SipError> {
    let found = |found: String| SipError::Authorities {
        path: path.to_owned(),
        found,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| found(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| found(error.to_string()))?;
        roots.add(certificate).map_err(|e| found(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(found("no certificate".to_owned()));
    }
    Ok(roots)
}
