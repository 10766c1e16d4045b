//! The process: opens its hosts, serves and registers them, and ends when it is asked to.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use lochness_agent::server::{
    AgentServer, Durability, FirewallConfig, Host, HostConfig, MemoryDisk, Nft, Registrar, Storage,
    TlsFiles, WallClock, reset_fence as forget,
};
use lochness_api::{HypervisorId, Prefix};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{FirewallName, HostArguments, ResetFence, Run, StoreArguments};
use crate::setup::{id_of_name, plan};
use crate::store::{configuration, connect, first_line, password_of_environment};

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

/// Forgets the fence of one host.
pub(crate) fn reset_fence(arguments: &ResetFence) -> anyhow::Result<()> {
    let id = match (arguments.id, &arguments.name) {
        (Some(id), _) => id,
        (None, Some(name)) => id_of_name(name),
        (None, None) => bail!("--id or --name is needed"),
    };
    let _lock = lock(&arguments.state_dir)?;
    let directory = host_directory(&arguments.state_dir, id);
    if !directory.is_dir() {
        bail!("{} is not there: no such host in this state directory", directory.display());
    }
    let orders = forget(Storage::disk(directory, Durability::Disk))?;
    println!("host {id}: epoch, floor and the orders of {orders} guests are forgotten");
    Ok(())
}

async fn serve(arguments: &Run) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _lock = arguments.host.state_dir.as_deref().map(lock).transpose()?;
    if arguments.host.state_dir.is_none() {
        tracing::warn!("no --state-dir: everything is forgotten when this process ends");
    }
    let bearer = arguments.host.token_file.as_deref().map(first_line).transpose()?;
    let seed = arguments.simulated.seed.unwrap_or_else(rand::random);
    let clock: WallClock = Arc::new(jiff::Timestamp::now);
    let mut server = server(&arguments.host)?;
    let planned = plan(arguments, seed, bearer.as_deref())?;
    let firewall = firewall(&arguments.host).await;
    for planned in planned {
        let storage = storage(&arguments.host, planned.config.id);
        let name = planned.config.name.clone();
        let config = HostConfig { firewall: firewall.clone(), ..planned.config };
        let host = Host::open(config, storage, clock.clone())
            .with_context(|| format!("state of host {name}"))?;
        server
            .serve(host, planned.address)
            .await
            .with_context(|| format!("host {name} cannot listen at {}", planned.address))?;
    }
    tracing::info!(hosts = server.hosts().len(), seed, "serving");
    let outcome = tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = register(&server, &arguments.store) => error,
    };
    tracing::info!("ending");
    server.shutdown().await;
    outcome
}

/// Who puts rulesets in force. What a real host lacks for that is logged, and it goes on without.
async fn firewall(arguments: &HostArguments) -> FirewallConfig {
    match arguments.firewall {
        FirewallName::None => FirewallConfig::None,
        FirewallName::Simulated => FirewallConfig::Simulated,
        FirewallName::Nft => {
            FirewallConfig::Nft(Nft::open(arguments.firewall_netns.as_deref()).await)
        }
    }
}

/// A server with the certificates that the command line names.
fn server(arguments: &HostArguments) -> anyhow::Result<AgentServer> {
    let HostArguments { tls_cert, tls_key, tls_client_ca, token_file, address_base, .. } =
        arguments;
    let (Some(cert), Some(key)) = (tls_cert, tls_key) else {
        if !address_base.is_loopback() && token_file.is_none() {
            tracing::warn!(
                address = %address_base,
                "whoever reaches this address can start and delete guests: see --tls-cert and --token-file"
            );
        }
        return Ok(AgentServer::new());
    };
    let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: tls_client_ca.clone() };
    Ok(AgentServer::encrypted(files.load()?))
}

/// Registers the hosts as soon as etcd answers. Ends by an error alone.
async fn register(server: &AgentServer, arguments: &StoreArguments) -> anyhow::Result<()> {
    if !arguments.etcd.is_empty() {
        let config = configuration(arguments, password_of_environment())?;
        let kv = connect(&config).await.context("etcd")?;
        let prefix = Prefix::new(arguments.prefix.clone());
        server.register(&Arc::new(Registrar::new(Arc::new(kv), prefix, arguments.lease)));
    }
    std::future::pending().await
}

fn storage(arguments: &HostArguments, id: HypervisorId) -> Storage {
    let durability = if arguments.fsync { Durability::Disk } else { Durability::Kernel };
    match &arguments.state_dir {
        Some(directory) => Storage::disk(host_directory(directory, id), durability),
        None => Storage::memory(&MemoryDisk::default()),
    }
}

fn host_directory(state_dir: &Path, id: HypervisorId) -> std::path::PathBuf {
    state_dir.join(id.to_string())
}

/// Two processes must not write the same state. The lock ends with the process.
fn lock(state_dir: &Path) -> anyhow::Result<File> {
    let shown = state_dir.display();
    std::fs::create_dir_all(state_dir).with_context(|| format!("{shown} cannot be made"))?;
    let file = File::create(state_dir.join("lock")).with_context(|| format!("{shown}/lock"))?;
    file.try_lock().with_context(|| format!("{shown} is in use by another agent"))?;
    Ok(file)
}

/// As many open files as the system lets us have: a host needs a listener, its log and a few connections.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
