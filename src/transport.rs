//! From the configuration to the one pool of connections to all agents.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use lochness_agent::client::{HttpOptions, HttpTransport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Agents;

/// A pool without connections yet.
pub(crate) fn transport(agents: &Agents) -> anyhow::Result<HttpTransport> {
    let tls = match &agents.ca_file {
        Some(ca) => Some(tls(ca, agents)?),
        None => None,
    };
    let bearer = agents.token()?.map(|token| token.reveal().to_owned());
    Ok(HttpTransport::new(HttpOptions { tls, bearer })?)
}

/// TLS that trusts this authority alone, and shows our certificate if there is one.
fn tls(ca: &Path, agents: &Agents) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("{} is no authority", ca.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&agents.cert_file, &agents.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{} has no private key in PEM", key.display()))?;
    builder
        .with_client_auth_cert(certificates(cert)?, private)
        .with_context(|| format!("{} and {} do not fit", cert.display(), key.display()))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let wrong = || format!("{} has no certificate in PEM", file.display());
    let found = CertificateDer::pem_file_iter(file).with_context(wrong)?;
    let certificates = found.collect::<Result<Vec<_>, _>>().with_context(wrong)?;
    anyhow::ensure!(!certificates.is_empty(), wrong());
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let agents = Agents { ca_file: Some(empty.path().to_owned()), ..Agents::default() };
        let error = format!("{:#}", transport(&agents).unwrap_err());
        assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn plain_agents_need_no_configuration() {
        assert!(transport(&Agents::default()).is_ok());
    }
}
