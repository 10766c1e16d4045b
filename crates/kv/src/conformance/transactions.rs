//! Compares, branches, transactions inside transactions.

use futures::FutureExt as _;

use super::{Case, Subject};
use crate::{Compare, Op, OpResponse, RangeRequest, Txn, TxnResponse};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case { name: "a compare holds for exactly what it names", run: |s| compares(s).boxed() },
        Case {
            name: "a failed compare takes the other branch and nothing of the first",
            run: |s| branches(s).boxed(),
        },
        Case {
            name: "each child has its own compares and its own verdict",
            run: |s| children(s).boxed(),
        },
        Case {
            name: "a child's compares do not see what its siblings and its parent write",
            run: |s| siblings(s).boxed(),
        },
        Case {
            name: "a read inside sees the writes before it and not those after",
            run: |s| reads(s).boxed(),
        },
        Case {
            name: "all writes of all children share one revision",
            run: |s| one_revision(s).boxed(),
        },
        Case { name: "deleting a range says how many keys went", run: |s| deletes(s).boxed() },
    ]
}

async fn compares(s: Subject) {
    let created = s.put("a", "1").await;
    let changed = s.put("a", "2").await;
    let key = s.key("a");
    let absent = s.key("absent");
    let table = [
        (Compare::CreateRevision(key.clone(), created), true),
        (Compare::CreateRevision(key.clone(), changed), false),
        (Compare::ModRevision(key.clone(), changed), true),
        (Compare::ModRevision(key.clone(), created), false),
        (Compare::Value(key.clone(), "2".into()), true),
        (Compare::Value(key.clone(), "1".into()), false),
        (Compare::absent(key), false),
        (Compare::absent(absent.clone()), true),
        (Compare::ModRevision(absent.clone(), 0), true),
        (Compare::ModRevision(absent.clone(), 1), false),
        (Compare::Value(absent, "".into()), false),
    ];
    for (compare, holds) in table {
        let text = format!("{compare:?}");
        assert_eq!(s.txn(vec![compare], Vec::new()).await.succeeded, holds, "{text}");
    }
}

async fn branches(s: Subject) {
    let before = s.put("a", "1").await;
    let txn = Txn {
        compares: vec![Compare::absent(s.key("b")), Compare::absent(s.key("a"))],
        success: vec![s.put_op("b", "success")],
        failure: vec![s.put_op("c", "failure")],
    };
    let answer = s.kv.txn(txn).await.expect("it is legal");
    assert!(!answer.succeeded);
    assert_eq!(answer.responses, [OpResponse::Put]);
    assert_eq!(answer.header.revision, before + 1);
    assert_eq!(s.value("b").await, None);
    assert_eq!(s.value("c").await, Some("failure".into()));
}

async fn children(s: Subject) {
    s.put("taken", "1").await;
    let child = |name: &str| {
        let compares = vec![Compare::absent(s.key(name))];
        let success = vec![s.put_op(name, "new")];
        Op::Txn(Txn { compares, success, failure: Vec::new() }.into())
    };
    let answer = s.txn(Vec::new(), vec![child("free"), child("taken"), child("other")]).await;
    let verdicts: Vec<_> = answer.responses.iter().map(verdict).collect();
    assert_eq!(verdicts, [true, false, true]);
    assert_eq!(s.value("taken").await, Some("1".into()));
    assert_eq!(s.value("other").await, Some("new".into()));
    let fenced = s.txn(vec![Compare::absent(s.key("taken"))], vec![child("last")]).await;
    assert!(!fenced.succeeded && fenced.responses.is_empty());
    assert_eq!(s.value("last").await, None);
}

fn verdict(response: &OpResponse) -> bool {
    matches!(response, OpResponse::Txn(TxnResponse { succeeded: true, .. }))
}

async fn siblings(s: Subject) {
    let sees = |name: &str| {
        let compares = vec![Compare::absent(s.key(name))];
        Op::Txn(Txn { compares, ..Txn::default() }.into())
    };
    let answer = s
        .txn(
            Vec::new(),
            vec![
                s.put_op("parent", "1"),
                Subject::child(vec![s.put_op("sibling", "1")]),
                sees("sibling"),
                sees("parent"),
            ],
        )
        .await;
    assert!(verdict(&answer.responses[2]), "a sibling's write is not seen");
    assert!(verdict(&answer.responses[3]), "the parent's write is not seen");
}

async fn reads(s: Subject) {
    s.put("a", "old").await;
    let read = || Op::Range(RangeRequest::key(s.key("a")));
    let write = s.put_op("a", "new");
    let answer = s.txn(Vec::new(), vec![read(), write, read(), Subject::child(vec![read()])]).await;
    let value = |response: &OpResponse| {
        let OpResponse::Range(range) = response else { panic!("not a read: {response:?}") };
        assert_eq!(range.header, answer.header);
        range.kvs[0].value.clone()
    };
    assert_eq!(value(&answer.responses[0]), "old");
    assert_eq!(value(&answer.responses[2]), "new");
    let OpResponse::Txn(child) = &answer.responses[3] else { panic!("not a child") };
    assert_eq!(value(&child.responses[0]), "new");
}

async fn one_revision(s: Subject) {
    let writes = vec![
        s.put_op("a", "1"),
        Subject::child(vec![s.put_op("b", "1"), Subject::child(vec![s.put_op("c", "1")])]),
    ];
    let revision = s.write(writes).await;
    let kvs = s.all().await.kvs;
    assert_eq!(kvs.len(), 3);
    assert!(kvs.iter().all(|kv| kv.mod_revision == revision), "{kvs:?}");
}

async fn deletes(s: Subject) {
    for name in ["a/1", "a/2", "b"] {
        s.put(name, "v").await;
    }
    let prefix = s.key("a/");
    let end = crate::prefix_end(&prefix);
    let answer = s.txn(Vec::new(), vec![Op::Delete { key: prefix, end }]).await;
    assert_eq!(answer.responses, [OpResponse::Delete(2)]);
    assert_eq!(s.all().await.kvs.len(), 1);
}
