//! A host whose agent is a process of its own, so that it can be killed and come back with what it stored.
//!
//! The process is this very test binary, told by its environment to run [`agent_when_told_to_be_one`]: the agent's real
//! server and storage, without a second build of another package. Its command line is tested where it lives.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::{
    AgentServer, Delays, Durability, Effect, FirewallConfig, Host, HostConfig, Nft, Registrar,
    Storage,
};
use lochness_agent::wire::FirewallState;
use lochness_api::{HypervisorId, Prefix};
use lochness_kv::EtcdConfig;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::agents::{HEARTBEAT, HostOptions, own_address};
use super::http::get;
use super::store::Store;
use super::{eventually, host_id};

/// Tells the test binary to be an agent.
const ROLE: &str = "LOCHNESS_IT_AGENT";

/// A host with a state directory.
pub(crate) struct AgentProcess {
    role: Role,
    directory: TempDir,
    child: Option<Child>,
}

/// What the process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Role {
    name: String,
    etcd: String,
    prefix: String,
    address: SocketAddr,
    state: PathBuf,
    create: Duration,
    network: Option<RealNetwork>,
}

/// The network of a host whose firewall is real.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RealNetwork {
    /// The name of its namespace.
    pub(crate) namespace: String,
    /// Programs there are found before those of the system.
    pub(crate) programs: PathBuf,
}

impl AgentProcess {
    /// Starts one that takes so long to create a guest; returns when it answers.
    pub(crate) async fn start(name: &str, store: &Store, etcd: &str, create: Duration) -> Self {
        let directory =
            TempDir::with_prefix("lochness-it-agent-").expect("a directory can be made");
        let role = Role {
            name: name.to_owned(),
            etcd: etcd.to_owned(),
            prefix: store.prefix().to_string(),
            address: free_address(),
            state: directory.path().join("state"),
            create,
            network: None,
        };
        Self::begin(role, directory).await
    }

    /// Starts one whose firewall is real; returns when it answers.
    pub(crate) async fn start_real(
        name: &str,
        store: &Store,
        etcd: &str,
        network: RealNetwork,
    ) -> Self {
        let directory =
            TempDir::with_prefix("lochness-it-agent-").expect("a directory can be made");
        let role = Role {
            name: name.to_owned(),
            etcd: etcd.to_owned(),
            prefix: store.prefix().to_string(),
            address: free_address(),
            state: directory.path().join("state"),
            create: Duration::ZERO,
            network: Some(network),
        };
        Self::begin(role, directory).await
    }

    async fn begin(role: Role, directory: TempDir) -> Self {
        let mut agent = Self { role, directory, child: None };
        agent.restart().await;
        agent
    }

    /// What it says of its firewall.
    pub(crate) async fn firewall(&self) -> Result<FirewallState, String> {
        let (_, body) = get(&format!("http://{}/firewall", self.role.address)).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    pub(crate) fn id(&self) -> HypervisorId {
        host_id(&self.role.name)
    }

    /// Whether its process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it as a crash would. What it stored stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            child.wait().expect("it is our child");
        }
    }

    /// Starts it again with what it stored, and returns when it answers.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("the directory is ours");
        let role = serde_json::to_string(&self.role).expect("a role can be written");
        let child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "harness::agent_process::agent_when_told_to_be_one", "--nocapture"])
            .env(ROLE, role)
            .env("PATH", self.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("the agent can be started");
        self.child = Some(child);
        eventually("the agent answers", async || self.try_history().await.map(drop)).await;
    }

    /// What truly happened on the host, before the agent's last start too.
    pub(crate) async fn history(&self) -> Vec<Effect> {
        eventually("the agent tells its history", async || self.try_history().await).await
    }

    async fn try_history(&self) -> Result<Vec<Effect>, String> {
        let url = format!("http://{}/simulated/history", self.role.address);
        let (_, body) = get(&url).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// What it logged, for a test that failed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where it looks for programs.
    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        match &self.role.network {
            Some(network) => format!("{}:{path}", network.programs.display()),
            None => path,
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address and a port that nobody else has; the port must be the same after a restart.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).expect("the loopback has a free port");
    listener.local_addr().expect("it is bound")
}

/// Not a test: what the process of [`AgentProcess`] runs, for ever. Without its role it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_when_told_to_be_one() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Role = serde_json::from_str(&role).expect("the role is as AgentProcess wrote it");
    tracing_subscriber::fmt().with_env_filter("info").with_ansi(false).init();
    let config = HostConfig {
        total_resources: HostOptions::new(&role.name).resources,
        delays: Delays { create: role.create, ..Delays::default() },
        firewall: match &role.network {
            Some(network) => FirewallConfig::Nft(Nft::open(Some(&network.namespace)).await),
            None => FirewallConfig::Simulated,
        },
        ..HostConfig::new(host_id(&role.name), role.name.clone())
    };
    let storage = Storage::disk(role.state, Durability::Kernel);
    let host = Host::open(config, storage, Arc::new(jiff::Timestamp::now)).expect("state is whole");
    let mut server = AgentServer::new();
    server.serve(host, role.address).await.expect("the address is ours");
    let endpoints = role.etcd.split(',').map(str::to_owned).collect();
    let config = EtcdConfig { endpoints, ..EtcdConfig::default() };
    let store = Store::connect_at(config, Prefix::new(role.prefix)).await;
    let registrar = Registrar::new(store.kv(), store.prefix().clone(), HEARTBEAT);
    server.register(&Arc::new(registrar));
    std::future::pending::<()>().await;
}
