//! Encrypted connections, and certificates on both sides.

use std::path::{Path, PathBuf};

use lochness_kv::test_support::{EtcdOptions, EtcdProcess};
use lochness_kv::{EtcdConfig, EtcdKv, Kv, KvError, Pem, RangeRequest, TlsConfig};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

/// etcd that serves by TLS and asks its clients for a certificate.
fn encrypted() -> EtcdProcess {
    let flag = |flag: &str, name: &str| format!("--{flag}={}", file(name).display());
    let flags = vec![
        flag("cert-file", "server.pem"),
        flag("key-file", "server.key"),
        flag("trusted-ca-file", "ca.pem"),
        "--client-cert-auth".to_owned(),
    ];
    EtcdProcess::start_with(&EtcdOptions { flags, encrypted: true })
}

fn tls(ca: &str) -> TlsConfig {
    TlsConfig {
        ca: Some(Pem::Path(file(ca))),
        cert: Some(Pem::Path(file("client.pem"))),
        key: Some(Pem::Path(file("client.key"))),
        domain: None,
    }
}

async fn connect(etcd: &EtcdProcess, tls: TlsConfig) -> Result<EtcdKv, KvError> {
    EtcdKv::connect(EtcdConfig { tls: Some(tls), ..etcd.config() }).await
}

#[tokio::test]
async fn certificates_on_both_sides_let_each_other_in() {
    let etcd = encrypted();
    let kv = connect(&etcd, tls("ca.pem")).await.expect("both certificates are good");
    kv.range(RangeRequest::prefix("")).await.expect("etcd runs");
    let by_name = TlsConfig { domain: Some("etcd.test".into()), ..tls("ca.pem") };
    connect(&etcd, by_name).await.expect("the certificate has this name too");
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_and_the_error_says_why() {
    let etcd = encrypted();
    let unknown = connect(&etcd, tls("other-ca.pem")).await.err();
    let Some(KvError::Unavailable(text)) = unknown else { panic!("{unknown:?}") };
    assert!(text.contains("UnknownIssuer"), "{text}");
    let misnamed = TlsConfig { domain: Some("other.test".into()), ..tls("ca.pem") };
    let misnamed = connect(&etcd, misnamed).await.err();
    assert!(matches!(misnamed, Some(KvError::Unavailable(_))), "{misnamed:?}");
    let without_own = TlsConfig { cert: None, key: None, ..tls("ca.pem") };
    assert!(connect(&etcd, without_own).await.is_err());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let etcd = encrypted();
    let Some(KvError::Invalid(text)) = connect(&etcd, tls("absent.pem")).await.err() else {
        panic!("there is no such file");
    };
    assert!(text.contains("absent.pem"), "{text}");
}
