//! Many hosts in one process: one address each, all on one runtime.
//!
//! Guarantees: while a host is down nobody listens at its address; when it is back, it is at the same one. Shutdown ends
//! every connection and waits for all work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::host::Host;
use super::listener::LifeListener;
use super::registration::{Registrar, register};
use super::routes::router;

/// An address that somebody else took while the host was down is tried again so often.
const BIND_RETRY: Duration = Duration::from_millis(200);

/// Hosts that listen.
#[derive(Default)]
pub struct AgentServer {
    hosts: Vec<(Host, SocketAddr)>,
    tasks: TaskTracker,
    stop: CancellationToken,
    tls: Option<Arc<ServerConfig>>,
}

impl AgentServer {
    /// No hosts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No hosts yet, and encrypted connections alone.
    pub fn encrypted(tls: Arc<ServerConfig>) -> Self {
        Self { tls: Some(tls), ..Self::default() }
    }

    /// Binds `address` and serves `host` there. The answer is the address, with the port that was found for port 0.
    pub async fn serve(&mut self, host: Host, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (served, stop, tls) = (host.clone(), self.stop.clone(), self.tls.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(serve_lives(&served, listener, address, tls)).await;
        });
        self.hosts.push((host, address));
        Ok(address)
    }

    /// Keeps every host that is served by now registered in the store.
    pub fn register(&self, registrar: &Arc<Registrar>) {
        for (host, address) in &self.hosts {
            let (registrar, host) = (registrar.clone(), host.clone());
            let (address, stop) = (*address, self.stop.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(register(&registrar, &host, address)).await;
            });
        }
    }

    /// The hosts and their addresses, in the order in which they came.
    pub fn hosts(&self) -> &[(Host, SocketAddr)] {
        &self.hosts
    }

    /// Stops listening, ends the hosts and waits for them. Leases are left to end by themselves: an agent that restarts
    /// within its lease was never away.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        for (host, _) in &self.hosts {
            host.shutdown().await;
        }
        self.tasks.wait().await;
    }
}

async fn serve_lives(
    host: &Host,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
) {
    let mut lives = host.lives();
    let mut bound = Some(listener);
    loop {
        let life = lives.borrow_and_update().clone();
        if life.up {
            let listener = match bound.take() {
                Some(listener) => listener,
                None => bind_again(host, address).await,
            };
            let listener = LifeListener::new(listener, life.end.clone(), tls.clone());
            let end = life.end.clone().cancelled_owned();
            let served =
                axum::serve(listener, router(host.clone())).with_graceful_shutdown(end).await;
            if let Err(error) = served {
                tracing::warn!(host = host.name(), %error, "listener ended");
            }
        }
        if lives.changed().await.is_err() {
            return;
        }
    }
}

async fn bind_again(host: &Host, address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => tracing::warn!(host = host.name(), %address, %error, "cannot listen"),
        }
        tokio::time::sleep(BIND_RETRY).await;
    }
}
