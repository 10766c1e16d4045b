//! A store in memory, and commands given to it.

use std::io::{BufRead, Cursor, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use jiff::Timestamp;
use lochness_api::document::Guest;
use lochness_api::manifest::id_of;
use lochness_api::{Digest, Document as _, Key, Kind, Prefix};
use lochness_cli::{Audience, Cli, Console, Failure, Paint, Session};
use lochness_kv::{Kv as _, MemoryKv, Op, RangeRequest, Txn};
use serde_json::{Value, json};

/// Two guests and what they stand on.
pub(crate) const FLEET: &str = r"
apiVersion: lochness/v1
kind: Image
metadata: {name: debian}
spec: {source: 'http://images.example/debian.img'}
---
apiVersion: lochness/v1
kind: Flavor
metadata: {name: small}
spec: {image: debian, memory: 512, disk: 1024, cpu: 1}
---
apiVersion: lochness/v1
kind: Network
metadata: {name: prod}
---
apiVersion: lochness/v1
kind: Guest
metadata: {name: web-1, labels: {app: web}}
spec: {flavor: small, network: prod}
---
apiVersion: lochness/v1
kind: Guest
metadata: {name: db-1, labels: {app: db}}
spec: {flavor: small, network: prod}
";

pub(crate) struct Stage {
    pub(crate) kv: MemoryKv,
    session: Session,
    directory: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: u8,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn noon() -> Timestamp {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

impl Stage {
    pub(crate) fn new() -> Self {
        let kv = MemoryKv::new();
        let session = Session::new(Arc::new(kv.clone()), Prefix::default(), "memory")
            .with_clock(noon)
            .with_limit(Some(Duration::from_secs(60)));
        Self { kv, session, directory: tempfile::tempdir().unwrap() }
    }

    /// A store with [`FLEET`] applied.
    pub(crate) async fn with_fleet() -> Self {
        let stage = Self::new();
        let fleet = stage.file("fleet.yaml", FLEET);
        let said = stage.run(&["apply", "-f", &fleet]).await;
        assert_eq!(said.code, 0, "{said:?}");
        stage
    }

    /// A file with a manifest.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Gives a command, with nobody there to answer questions.
    pub(crate) async fn run(&self, words: &[&str]) -> Said {
        self.run_with(words, "", Audience::Script).await
    }

    /// Gives a command; `input` is what is typed.
    pub(crate) async fn run_with(&self, words: &[&str], input: &str, audience: Audience) -> Said {
        self.run_console(words, Box::new(Cursor::new(input.to_owned())), audience).await
    }

    /// Gives a command to a person whose answers come from `input`.
    pub(crate) async fn run_from(
        &self,
        words: &[&str],
        input: Box<dyn BufRead + Send + '_>,
    ) -> Said {
        self.run_console(words, input, Audience::Person).await
    }

    async fn run_console(
        &self,
        words: &[&str],
        input: Box<dyn BufRead + Send + '_>,
        audience: Audience,
    ) -> Said {
        let cli = Cli::parse_from(std::iter::once(&"lochnessctl").chain(words));
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut console = Console {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input,
            audience,
            paint: Paint::Plain,
        };
        let result = lochness_cli::run(cli, &self.session, &mut console).await;
        if let Err(failure) = &result {
            console.report(failure);
        }
        let code = result.as_ref().err().map_or(0, |failure: &Failure| failure.exit().code());
        Said { out: out.text(), err: err.text(), code }
    }

    /// Gives a command that does not end, does `then` once it has printed something, and ends it when that made it
    /// print more. What it printed then.
    pub(crate) async fn watch(&self, words: &[&str], then: impl Future<Output = ()>) -> String {
        let cli = Cli::parse_from(std::iter::once(&"lochnessctl").chain(words));
        let out = Buffer::default();
        let mut console = Console {
            out: Box::new(out.clone()),
            err: Box::new(Buffer::default()),
            input: Box::new(Cursor::new("")),
            audience: Audience::Script,
            paint: Paint::Plain,
        };
        let longer_than = |length: usize| {
            let out = out.clone();
            async move {
                while out.text().len() <= length {
                    tokio::task::yield_now().await;
                }
                out.text().len()
            }
        };
        let rest = async {
            let first = longer_than(0).await;
            then.await;
            longer_than(first).await;
            out.text().split_off(first)
        };
        tokio::select! {
            ended = lochness_cli::run(cli, &self.session, &mut console) => panic!("{ended:?}"),
            rest = rest => rest,
        }
    }

    pub(crate) async fn put(&self, key: &Key, value: impl Into<String>) {
        let op = Op::put(Prefix::default().key(key), value.into());
        let txn = Txn { success: vec![op], ..Txn::default() };
        assert!(self.kv.txn(txn).await.unwrap().succeeded);
    }

    pub(crate) async fn delete(&self, key: &Key) {
        let txn = Txn { success: vec![Op::delete(Prefix::default().key(key))], ..Txn::default() };
        assert!(self.kv.txn(txn).await.unwrap().succeeded);
    }

    pub(crate) async fn value(&self, key: &Key) -> Option<String> {
        let request = RangeRequest::key(Prefix::default().key(key));
        let found = self.kv.range(request).await.unwrap().kvs.into_iter().next()?;
        Some(String::from_utf8(found.value.to_vec()).unwrap())
    }

    pub(crate) async fn revision(&self) -> i64 {
        self.kv.range(RangeRequest::key("x")).await.unwrap().header.revision
    }

    /// Writes the status that the operator would give the guest as its document is now.
    pub(crate) async fn answer(&self, name: &str, phase: &str, conditions: Value) {
        let key = guest(name);
        let id = id_of(Kind::Guest, name).to_string();
        let document = self.value(&key).await.unwrap();
        let observed = Digest::of_guest(&Guest::parse(&id, document.as_bytes()).unwrap());
        let status = json!({"phase": phase, "observed": observed, "conditions": conditions});
        self.put(&Key::status(Kind::Guest, &id).unwrap(), status.to_string()).await;
    }
}

/// The key of a guest that was declared by name.
pub(crate) fn guest(name: &str) -> Key {
    Key::document(Kind::Guest, &id_of(Kind::Guest, name).to_string()).unwrap()
}

/// The key of a guest's status.
pub(crate) fn guest_status(name: &str) -> Key {
    Key::status(Kind::Guest, &id_of(Kind::Guest, name).to_string()).unwrap()
}

/// One condition, since a minute before noon.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!([{"type": kind, "status": status, "reason": reason, "message": message,
        "last_transition": "2026-01-02T11:59:00Z"}])
}
