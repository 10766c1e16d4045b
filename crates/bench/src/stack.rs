//! What is measured: etcd, operators and hosts, each a process of its own, gone when dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use lochness_agent::client::{HttpOptions, HttpTransport, Transport as _};
use lochness_api::Prefix;
use lochness_kv::test_support::{EtcdOptions, EtcdProcess};
use lochness_kv::{EtcdKv, Kv as _, RangeRequest};
use tempfile::TempDir;

use crate::documents::HOST_PATTERN;
use crate::machine::processor_time;

/// How often something outside is looked at while waiting.
const POLL: Duration = Duration::from_millis(5);
/// A page of an operator comes within this time, also while it is busy.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Every process is up within this time.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// One etcd as its users run it: default flags, its disk confirming what it is told, room for a large fleet.
pub(crate) fn etcd() -> EtcdProcess {
    let flags =
        vec!["--unsafe-no-fsync=false".to_owned(), "--quota-backend-bytes=8589934592".to_owned()];
    EtcdProcess::start_with(&EtcdOptions { flags, ..EtcdOptions::default() })
}

/// A client of it.
pub(crate) async fn connect(etcd: &EtcdProcess) -> anyhow::Result<Arc<EtcdKv>> {
    Ok(Arc::new(EtcdKv::connect(etcd.config()).await?))
}

/// A program of ours.
pub(crate) struct Program {
    child: Child,
    directory: TempDir,
    name: &'static str,
}

impl Program {
    fn start(programs: &Path, name: &'static str, arguments: &[String]) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("lochness-bench-")?;
        let path = programs.join(name);
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new(&path)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started; build it first", path.display()))?;
        Ok(Self { child, directory, name })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits for a word in its log.
    async fn says(&mut self, word: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(word)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended, {status}:\n{log}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} did not say {word:?}:\n{log}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An operator.
pub(crate) struct Operator {
    pub(crate) program: Program,
    address: SocketAddr,
    /// One for all pages: who waits for a page takes as little of the processors as can be.
    transport: HttpTransport,
}

impl Operator {
    /// Starts one; returns when it serves its pages.
    pub(crate) async fn start(
        programs: &Path,
        etcd: &EtcdProcess,
        lease: &str,
    ) -> anyhow::Result<Self> {
        let arguments = [
            "--etcd".to_owned(),
            etcd.endpoint().to_owned(),
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--lease".to_owned(),
            lease.to_owned(),
            "--log".to_owned(),
            "warn,lochness_operator=info".to_owned(),
        ];
        let mut program = Program::start(programs, "lochness-operator", &arguments)?;
        let line = program.says("serving metrics").await?;
        let address = line
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .context("an address in the log")?
            .parse()?;
        let transport = HttpTransport::new(HttpOptions::default())?;
        Ok(Self { program, address, transport })
    }

    /// One of its pages.
    pub(crate) async fn page(&self, path: &str) -> anyhow::Result<(bool, String)> {
        let request = http::Request::get(format!("http://{}{path}", self.address));
        let request = request.body(Bytes::new())?;
        let answer = self.transport.round_trip(request, PAGE_TIMEOUT).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().is_success(), text))
    }

    /// When `/readyz` is good and says this word.
    pub(crate) async fn until_ready(&self, word: &str) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            let (good, text) = self.page("/readyz").await?;
            if good && text.contains(word) {
                return Ok(Instant::now());
            }
            if Instant::now() > deadline {
                bail!("not ready: {text}\n{}", self.program.log());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// So many simulated hosts in one process, which answer as fast as they can.
pub(crate) async fn hosts(
    programs: &Path,
    etcd: &EtcdProcess,
    kv: &EtcdKv,
    count: u32,
    flags: &[&str],
) -> anyhow::Result<Program> {
    let port = free_port()?;
    let own = [
        "--hosts".to_owned(),
        count.to_string(),
        "--name-pattern".to_owned(),
        HOST_PATTERN.to_owned(),
        "--address-base".to_owned(),
        "127.64.0.1".to_owned(),
        "--port".to_owned(),
        port.to_string(),
        "--memory".to_owned(),
        "1048576".to_owned(),
        "--lease".to_owned(),
        "60s".to_owned(),
        "--etcd".to_owned(),
        etcd.endpoint().to_owned(),
    ];
    let more = flags.iter().map(|flag| (*flag).to_owned());
    let arguments: Vec<_> = own.into_iter().chain(more).collect();
    let mut program = Program::start(programs, "lochness-agent", &arguments)?;
    program.says("serving").await?;
    let deadline = Instant::now() + STARTS_WITHIN;
    while heartbeats(kv).await? < i64::from(count) {
        if Instant::now() > deadline {
            bail!("hosts do not register:\n{}", program.log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(program)
}

/// How many hosts have a heartbeat.
async fn heartbeats(kv: &EtcdKv) -> anyhow::Result<i64> {
    let prefix = Prefix::default();
    let request = RangeRequest {
        keys_only: true,
        ..RangeRequest::prefix(format!("{}hypervisors/", prefix.as_str()))
    };
    let keys = kv.range(request).await?.kvs;
    let beats = keys.iter().filter(|kv| kv.key.ends_with(b"/heartbeat")).count();
    Ok(i64::try_from(beats)?)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.64.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// Processor time of etcd and of each program, from one moment to another.
pub(crate) struct Meter {
    began: Vec<(&'static str, u32, Duration)>,
}

impl Meter {
    pub(crate) fn start(
        etcd: &EtcdProcess,
        programs: &[(&'static str, u32)],
    ) -> anyhow::Result<Self> {
        let etcd = etcd.pid().map(|pid| ("etcd", pid));
        let began = etcd
            .into_iter()
            .chain(programs.iter().copied())
            .map(|(name, pid)| Ok((name, pid, processor_time(pid)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { began })
    }

    /// What each has had since.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let since = |(name, pid, before): &(&'static str, u32, Duration)| {
            Ok((*name, processor_time(*pid)?.saturating_sub(*before)))
        };
        self.began.iter().map(since).collect()
    }

    /// The same in words.
    pub(crate) fn words(&self) -> anyhow::Result<String> {
        let parts: Vec<_> = self
            .read()?
            .into_iter()
            .map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()))
            .collect();
        Ok(format!("cpu: {}", parts.join(", ")))
    }
}
