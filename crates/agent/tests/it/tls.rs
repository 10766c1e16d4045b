//! Encrypted connections, and certificates on both sides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lochness_agent::client::{AgentClient, AgentError, HttpOptions, HttpTransport};
use lochness_agent::server::{AgentServer, Host, MemoryDisk, Storage, TlsFiles};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::fixture::{clock, config};

/// The certificates that the tests of etcd's encrypted connections use.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kv/tests/it/tls").join(name)
}

fn files(client_ca: Option<&str>) -> TlsFiles {
    TlsFiles { cert: file("server.pem"), key: file("server.key"), client_ca: client_ca.map(file) }
}

async fn serve(client_ca: Option<&str>) -> (AgentServer, SocketAddr) {
    let mut server = AgentServer::encrypted(files(client_ca).load().unwrap());
    let storage = Storage::memory(&MemoryDisk::default());
    let host = Host::open(config(), storage, clock()).unwrap();
    let address = server.serve(host, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    (server, address)
}

/// A client that trusts this authority, with a certificate of its own or without.
fn client(address: SocketAddr, authority: &str, own: bool) -> AgentClient {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(authority)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let tls = if own {
        let chain = vec![CertificateDer::from_pem_file(file("client.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    let options = HttpOptions { tls: Some(tls), ..HttpOptions::default() };
    let transport = Arc::new(HttpTransport::new(options).unwrap());
    AgentClient::new(transport, format!("https://{address}"), None)
}

#[tokio::test]
async fn an_encrypted_agent_answers_those_who_trust_its_authority() {
    let (server, address) = serve(None).await;
    client(address, "ca.pem", false).metadata().await.unwrap();
    let refused = client(address, "other-ca.pem", false).metadata().await;
    assert!(matches!(refused, Err(AgentError::NotSent(_))), "{refused:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_asks_for_certificates_answers_nobody_without_one() {
    let (server, address) = serve(Some("ca.pem")).await;
    client(address, "ca.pem", true).metadata().await.unwrap();
    let refused = client(address, "ca.pem", false).metadata().await;
    assert!(refused.is_err(), "{refused:?}");
    let plain = HttpTransport::new(HttpOptions::default()).unwrap();
    let plain = AgentClient::new(Arc::new(plain), address.to_string(), None).metadata().await;
    assert!(plain.is_err(), "{plain:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_delays_nobody() {
    let (server, address) = serve(None).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let client = client(address, "ca.pem", false);
    tokio::time::timeout(std::time::Duration::from_secs(4), client.metadata())
        .await
        .expect("the handshakes that hang end after 5 s, and nobody waits for them")
        .unwrap();
    drop(silent);
    server.shutdown().await;
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_its_file() {
    let missing = TlsFiles { key: file("client.pem"), ..files(None) };
    let error = missing.load().unwrap_err().to_string();
    assert!(error.contains("client.pem") && error.contains("private key"), "{error}");
    let misfit = TlsFiles { key: file("client.key"), ..files(None) };
    let error = misfit.load().unwrap_err().to_string();
    assert!(error.contains("do not fit"), "{error}");
}
