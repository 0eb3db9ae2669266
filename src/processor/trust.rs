//! By which certificates a server is known, and we to it.

use std::{path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};
use rustls_platform_verifier::Verifier;
use thiserror::Error;

use crate::listen::{TlsError, TlsFiles, certificates};

/// What belongs into the file of a server's authorities.
const ROOTS: &str = "certificates of the server's authorities";

/// By which certificates a server is known (a processor, an endpoint for callbacks), and we to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM file with the only authorities that the server's certificate may come from; those of
    /// the operating system where there is none.
    pub roots: Option<PathBuf>,
    /// PEM files with our certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] TlsError),
    /// rustls did not take what it was given.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// TLS 1.2 or 1.3 with these certificates.
    pub(crate) fn client(&self) -> Result<ClientConfig, TrustError> {
        match &self.roots {
            Some(path) => self.with_roots(certificates(path, ROOTS)?),
            None => {
                let provider = Arc::new(aws_lc_rs::default_provider());
                let verifier = Arc::new(Verifier::new(Arc::clone(&provider))?);
                let builder = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .dangerous()
                    .with_custom_certificate_verifier(verifier);
                self.with_identity(builder)
            }
        }
    }

    /// The same, known by these authorities alone.
    pub(super) fn with_roots(
        &self,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<ClientConfig, TrustError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        self.with_identity(builder)
    }

    fn with_identity(
        &self,
        builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    ) -> Result<ClientConfig, TrustError> {
        let Some((certificate, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let files = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            clients: None,
        };
        let (chain, key) = files.read()?;
        Ok(builder.with_client_auth_cert(chain, key)?)
    }
}
