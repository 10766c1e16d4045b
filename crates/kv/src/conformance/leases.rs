//! Leases and the keys that hang on them.

use std::time::Duration;

use futures::FutureExt as _;

use super::{Case, Subject, events};
use crate::{Event, KvError};

/// Long enough that it does not end by itself in a test.
const LONG: Duration = Duration::from_secs(600);
/// The shortest that etcd grants.
const SHORT: Duration = Duration::from_secs(2);

pub(super) fn all() -> Vec<Case> {
    vec![
        Case {
            name: "a lease is granted in whole seconds and never too short",
            run: |s| grants(s).boxed(),
        },
        Case {
            name: "revoking a lease deletes its keys in one revision",
            run: |s| revoke(s).boxed(),
        },
        Case {
            name: "a put without a lease frees the key from the one it had",
            run: |s| rebind(s).boxed(),
        },
        Case {
            name: "a lease that is not renewed ends, and a watch hears of it",
            run: |s| expiry(s).boxed(),
        },
        Case {
            name: "an unknown lease can be neither renewed nor revoked",
            run: |s| unknown(s).boxed(),
        },
    ]
}

async fn grants(s: Subject) {
    let (_, ttl) = s.kv.lease_grant(Duration::from_millis(10_100)).await.expect("granted");
    assert_eq!(ttl, Duration::from_secs(11));
    let (lease, ttl) = s.kv.lease_grant(Duration::from_millis(1)).await.expect("granted");
    assert_eq!(ttl, SHORT);
    assert_eq!(s.kv.lease_keepalive(lease).await, Ok(SHORT));
    let (other, _) = s.kv.lease_grant(LONG).await.expect("granted");
    assert_ne!(lease, other);
}

async fn revoke(s: Subject) {
    let (lease, _) = s.kv.lease_grant(LONG).await.expect("granted");
    s.put_leased("b", lease).await;
    let last = s.put_leased("a", lease).await;
    s.put("c", "stays").await;
    assert_eq!(s.all().await.kvs[0].lease, Some(lease));
    let mut watch = s.watch(last + 2).await;
    s.kv.lease_revoke(lease).await.expect("it is there");
    let events = events(watch.as_mut(), 2).await;
    let deleted = |name| Event::Delete { key: s.key(name), mod_revision: last + 2 };
    assert_eq!(events, [deleted("a"), deleted("b")]);
    assert_eq!(s.all().await.kvs.len(), 1);
}

async fn rebind(s: Subject) {
    let (first, _) = s.kv.lease_grant(LONG).await.expect("granted");
    let (second, _) = s.kv.lease_grant(LONG).await.expect("granted");
    for name in ["freed", "moved", "deleted", "kept"] {
        s.put_leased(name, first).await;
    }
    s.put("freed", "v").await;
    s.put_leased("moved", second).await;
    s.delete("deleted").await;
    s.put("deleted", "again").await;
    s.kv.lease_revoke(first).await.expect("it is there");
    let left: Vec<_> = s.all().await.kvs.into_iter().map(|kv| (kv.key, kv.lease)).collect();
    let expected =
        [(s.key("deleted"), None), (s.key("freed"), None), (s.key("moved"), Some(second))];
    assert_eq!(left, expected);
}

async fn expiry(s: Subject) {
    let (lease, _) = s.kv.lease_grant(SHORT).await.expect("granted");
    let put = s.put_leased("a", lease).await;
    let mut watch = s.watch(put + 1).await;
    let events = events(watch.as_mut(), 1).await;
    assert!(matches!(&events[0], Event::Delete { key, .. } if *key == s.key("a")), "{events:?}");
    assert_eq!(s.kv.lease_keepalive(lease).await, Err(KvError::LeaseNotFound));
    assert!(s.all().await.kvs.is_empty());
}

async fn unknown(s: Subject) {
    let (lease, _) = s.kv.lease_grant(LONG).await.expect("granted");
    s.kv.lease_revoke(lease).await.expect("it is there");
    assert_eq!(s.kv.lease_revoke(lease).await, Err(KvError::LeaseNotFound));
    assert_eq!(s.kv.lease_keepalive(lease).await, Err(KvError::LeaseNotFound));
}
