//! The process: its parts, in the order in which they start and end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lochness_api::Key;
use lochness_controllers::loops::Operator;
use lochness_kv::Kv;
use lochness_runtime::{Metrics, SystemClock, Tasks};
use tokio::net::TcpListener;
use tracing::{error, info};
use uuid::Uuid;

use crate::config::Config;
use crate::http::{Shown, router};
use crate::lease_thread::LeaseThread;
use crate::process_metrics::ProcessMetrics;
use crate::readiness::Progress;
use crate::store::connect;
use crate::store_probe::probe;
use crate::transport::transport;

/// Listens where the configuration says and serves until `shutdown` is done.
///
/// # Errors
/// What [`serve`] says, and an address that cannot be listened on.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {} (--listen): is another operator running there?", config.listen)
    })?;
    serve(config, listener, shutdown).await
}

/// Runs a whole operator until `shutdown` is done, then gives the leadership back and ends every task.
///
/// The pages are there before etcd is: a process that waits for its store says so.
///
/// # Errors
/// A configuration that can never work, or a task that panicked: half a process does not go on.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    config.check()?;
    // A second installation is refused, which is what a process with several operators (a test) wants.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let tasks = Tasks::new();
    let metrics = Metrics::new();
    ProcessMetrics::register(&metrics)?;
    let progress = Progress::new();
    let address = listener.local_addr()?;
    let shown =
        Shown { metrics: metrics.clone(), tasks: tasks.clone(), progress: progress.clone() };
    spawn_server(listener, shown, &tasks);
    info!(%address, version = env!("CARGO_PKG_VERSION"), "serving metrics, health and readiness");

    // It outlives the tasks, which give the term back.
    let lease_thread = LeaseThread::start()?;
    let outcome = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        () = tasks.cancelled() => Ok(()),
        // Ends by its error alone.
        error = Box::pin(operate(&config, metrics, &progress, &tasks, &lease_thread, address)) => error,
    };
    tasks.shutdown().await;
    if let Some(task) = tasks.panicked() {
        bail!("task {task} panicked");
    }
    info!("stopped");
    outcome
}

/// Connects and starts the operator, whose tasks then run by themselves.
async fn operate(
    config: &Config,
    metrics: Metrics,
    progress: &Progress,
    tasks: &Tasks,
    lease_thread: &LeaseThread,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let transport = transport(&config.agents)?;
    let connection = config.etcd.connection()?;
    let kv = connect(&connection, progress).await?;
    let keeper = lease_thread.keeper(connection, progress.clone()).await?;
    let identity = identity(config, address);
    info!(identity, prefix = config.prefix, lease = %config.lease, "starting");
    let kv: Arc<dyn Kv> = Arc::new(kv);
    let leader = config.key_prefix().key(&Key::Leader);
    let operator = Operator {
        kv: Arc::clone(&kv),
        keeper: Some(keeper),
        transport: Arc::new(transport),
        clock: Arc::new(SystemClock),
        prefix: config.key_prefix(),
        identity,
        lease: config.lease.0,
        settings: Arc::new(config.tuning.settings()),
        metrics,
    };
    let health = operator.start(tasks);
    progress.running(health.clone());
    // Ends with the process alone.
    probe(&*kv, leader, health).await;
    Ok(())
}

fn spawn_server(listener: TcpListener, shown: Shown, tasks: &Tasks) {
    let token = tasks.token().clone();
    tasks.spawn("http", async move {
        let serving =
            axum::serve(listener, router(shown)).with_graceful_shutdown(token.cancelled_owned());
        if let Err(error) = serving.await {
            error!(%error, "the metrics are no longer served");
        }
    });
}

/// The configured identity, or one that nobody else has and that leads a person to this process.
fn identity(config: &Config, address: SocketAddr) -> String {
    if !config.identity.is_empty() {
        return config.identity.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { address.ip().to_string() } else { host };
    let random = Uuid::new_v4().simple().to_string();
    format!("{}-{}-{}", host.trim(), std::process::id(), &random[..8])
}
