//! A real etcd as a child process, for tests: on free ports of the loopback, in a directory of its own, gone on drop.
//!
//! Every call blocks until it is done, and panics with the log of etcd when it cannot be: tests want nothing else.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::EtcdConfig;

/// Other processes may take a free port before etcd does.
const ATTEMPTS: usize = 5;
/// How often etcd's log is read for the word that it is ready, and how many times.
const READY_POLL: Duration = Duration::from_millis(10);
const READY_POLLS: usize = 3_000;
/// What every version of etcd says once it serves.
const READY: &str = "ready to serve client requests";

/// One running, paused or stopped member of etcd.
pub struct EtcdProcess {
    child: Option<Child>,
    member: Member,
    binary: PathBuf,
}

/// What a member keeps over its restarts.
struct Member {
    directory: TempDir,
    endpoint: String,
    flags: Vec<String>,
}

/// How etcd is started.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// Flags besides those for its name, addresses and directory.
    pub flags: Vec<String>,
    /// Serve clients by TLS; the flags say with which certificates.
    pub encrypted: bool,
}

impl EtcdProcess {
    /// One member.
    pub fn start() -> Self {
        Self::start_with(&EtcdOptions::default())
    }

    /// One member with flags of its own.
    pub fn start_with(options: &EtcdOptions) -> Self {
        start_members(1, options).remove(0)
    }

    /// A cluster of so many members.
    pub fn start_cluster(members: usize) -> Vec<Self> {
        start_members(members, &EtcdOptions::default())
    }

    /// Where clients reach it.
    pub fn endpoint(&self) -> &str {
        &self.member.endpoint
    }

    /// A configuration that reaches this member alone.
    pub fn config(&self) -> EtcdConfig {
        EtcdConfig { endpoints: vec![self.member.endpoint.clone()], ..EtcdConfig::default() }
    }

    /// Its process; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where its data lies.
    pub fn data_dir(&self) -> PathBuf {
        self.member.data_dir()
    }

    /// The value of one of the flags that it is started with.
    pub fn flag(&self, name: &str) -> String {
        let value = |flag: &String| Some(flag.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        self.member.flags.iter().find_map(value).expect("it is started with that flag")
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        self.member.log()
    }

    /// Ends it as an administrator would, by SIGTERM.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.reap();
    }

    /// Ends it as a crash would, by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _already_gone = child.kill();
        }
        self.reap();
    }

    /// Stops it from running without ending it, by SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts it again on the same ports and data; ends it first if it runs.
    pub fn restart(&mut self) {
        self.kill();
        let mut child = self.member.spawn(&self.binary);
        assert!(
            self.member.becomes_ready(&mut child),
            "etcd did not come back:\n{}",
            self.member.log()
        );
        self.child = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid() else { return };
        let pid = Pid::from_raw(i32::try_from(pid).expect("a process id fits"));
        kill(pid, signal).expect("the process is our child and not yet waited for");
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it is our child");
        }
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Member {
    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn spawn(&self, binary: &Path) -> Child {
        let log = File::create(self.log_path()).expect("the directory is ours");
        Command::new(binary)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd can be started")
    }

    /// The log is what tells our etcd from another one that took the port.
    fn becomes_ready(&self, child: &mut Child) -> bool {
        for _ in 0..READY_POLLS {
            if self.log().contains(READY) {
                return true;
            }
            if child.try_wait().expect("it is our child").is_some() {
                return false;
            }
            std::thread::sleep(READY_POLL);
        }
        false
    }
}

fn start_members(count: usize, options: &EtcdOptions) -> Vec<EtcdProcess> {
    let binary = find_binary();
    let mut log = String::new();
    for _ in 0..ATTEMPTS {
        let mut processes: Vec<_> = plan_members(count, options)
            .into_iter()
            .map(|member| EtcdProcess {
                child: Some(member.spawn(&binary)),
                member,
                binary: binary.clone(),
            })
            .collect();
        // Members of a cluster become ready together, so each is waited for only when all have been started.
        let unready = processes.iter_mut().find_map(|process| {
            let child = process.child.as_mut()?;
            (!process.member.becomes_ready(child)).then(|| process.member.log())
        });
        match unready {
            None => return processes,
            Some(text) => log = text,
        }
    }
    panic!("etcd does not start, tried {ATTEMPTS} times; its last log:\n{log}");
}

fn plan_members(count: usize, options: &EtcdOptions) -> Vec<Member> {
    let ports = free_ports(2 * count);
    let peer = |index: usize| format!("http://127.0.0.1:{}", ports[2 * index + 1]);
    let cluster: Vec<_> = (0..count).map(|index| format!("m{index}={}", peer(index))).collect();
    let scheme = if options.encrypted { "https" } else { "http" };
    let plan = |index: usize| {
        let directory = TempDir::with_prefix("lochness-etcd-").expect("a directory can be made");
        let endpoint = format!("{scheme}://127.0.0.1:{}", ports[2 * index]);
        let mut flags = vec![
            format!("--name=m{index}"),
            format!("--data-dir={}", directory.path().join("data").display()),
            format!("--listen-client-urls={endpoint}"),
            format!("--advertise-client-urls={endpoint}"),
            format!("--listen-peer-urls={}", peer(index)),
            format!("--initial-advertise-peer-urls={}", peer(index)),
            format!("--initial-cluster={}", cluster.join(",")),
            "--unsafe-no-fsync".to_owned(),
        ];
        flags.extend(options.flags.iter().cloned());
        Member { directory, endpoint, flags }
    };
    (0..count).map(plan).collect()
}

/// Ports that were free a moment ago; all are held together, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    let listeners: Vec<_> = (0..count).map(bind).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    listeners.iter().map(port).collect()
}

fn find_binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("etcd"))
        .find(|candidate| candidate.is_file())
        .expect("etcd is installed (Debian: etcd-server), in PATH or /usr/sbin")
}
