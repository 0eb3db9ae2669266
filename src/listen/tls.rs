//! Certificates from files: a server's own, and those that clients of it must come with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that clients' certificates come from: nobody is served without one of theirs.
    /// Clients need none where there is no such file.
    pub clients: Option<PathBuf>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be used.
    #[error("{path}: {found}; expected {expected} in PEM")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Certificate and key do not make a server.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
    /// The clients' authorities do not make a check.
    #[error("the authorities of clients' certificates cannot be used: {0}")]
    Clients(#[from] VerifierBuilderError),
}

impl TlsFiles {
    /// Whether a server can be made of them.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what is wrong with it.
    pub fn check(&self) -> Result<(), TlsError> {
        self.server_config().map(|_| ())
    }

    /// The certificate chain and its key.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what is wrong with it.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.certificate, "a certificate chain")?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key, "one private key")?)
            .map_err(|error| pem(&self.key, error, "one private key"))?;
        Ok((chain, key))
    }

    fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = self.read()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let expected = "certificates of authorities";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, expected)? {
                    roots
                        .add(certificate)
                        .map_err(|error| pem(path, error, expected))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Loads certificates anew; cheap to clone, for the SIGHUP handler.
#[derive(Clone)]
pub struct Reload {
    files: TlsFiles,
    config: RustlsConfig,
}

impl Reload {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = RustlsConfig::from_config(files.server_config()?);
        Ok(Self { files, config })
    }

    /// What an acceptor takes: it follows each reload.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reads the files again. On an error the old certificate goes on being used; connections that
    /// stand keep theirs.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.reload_from_config(self.files.server_config()?);
        Ok(())
    }
}

/// The certificates of a PEM file, of which there is one at least; `expected` is for messages.
pub(crate) fn certificates(
    path: &Path,
    expected: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path, expected)?)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(path, error, expected))?;
    if found.is_empty() {
        return Err(pem(path, "no certificate", expected));
    }
    Ok(found)
}

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| pem(path, error, expected))
}

fn pem(path: &Path, found: impl ToString, expected: &'static str) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        found: found.to_string(),
        expected,
    }
}
