//! Encrypted connections: the certificate that the agent shows, and whose certificates it asks for.
//!
//! Guarantees: with an authority for clients, nobody without a certificate of its gets a single request through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Where the certificates are, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The agent's certificate, with those that lead to its authority.
    pub cert: PathBuf,
    /// The private key of it.
    pub key: PathBuf,
    /// Clients must show a certificate of this authority; without it, none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not what it should be.
    #[error("{} has no {what} in PEM: {why}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What it should have.
        what: &'static str,
        /// What was wrong.
        why: String,
    },
    /// The files do not fit each other.
    #[error("{} and {} do not fit: {why}", cert.display(), key.display())]
    Misfit {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// The library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Settings(String),
}

impl TlsFiles {
    /// What a listener needs.
    ///
    /// # Errors
    /// Which file is missing or wrong.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let settings = |error: &dyn std::fmt::Display| TlsError::Settings(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| settings(&error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(|error| fault(ca, "authority", &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| settings(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| fault(&self.key, "private key", &error))?;
        let mut config =
            builder.with_single_cert(certificates(&self.cert)?, key).map_err(|error| {
                TlsError::Misfit {
                    cert: self.cert.clone(),
                    key: self.key.clone(),
                    why: error.to_string(),
                }
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error: &dyn std::fmt::Display| fault(file, "certificate", error);
    let found = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    if found.is_empty() {
        return Err(wrong(&"it is empty of them"));
    }
    Ok(found)
}

fn fault(file: &Path, what: &'static str, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), what, why: why.to_string() }
}
