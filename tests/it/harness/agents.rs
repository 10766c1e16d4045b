//! Hosts that live in the test's process: the agent's real server on a real port, and the truth about it at hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lochness_agent::server::{
    AgentServer, Compat, Delays, Effect, Event, Faults, Host, HostConfig, MemoryDisk, Registrar,
    StateWords, Stats, Storage,
};
use lochness_api::document::Resources;
use lochness_api::{GuestId, HypervisorId};

use super::checker::{self, HostHistory};
use super::host_id;
use super::store::Store;

/// How long a heartbeat outlives its agent.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);

/// What a host is like.
#[derive(Debug, Clone)]
pub(crate) struct HostOptions {
    pub(crate) name: String,
    pub(crate) resources: Resources,
    pub(crate) compat: Compat,
    pub(crate) words: StateWords,
    pub(crate) delays: Delays,
}

/// A host in this process.
pub(crate) struct SimulatedHost {
    host: Host,
    address: SocketAddr,
    /// Held, because it serves.
    _server: AgentServer,
}

impl HostOptions {
    /// Room for a hundred guests, and no delays.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            resources: Resources { memory: 65_536, disk: 1_048_576, cpu: 32 },
            compat: Compat::Lochness,
            words: StateWords::Libvirt,
            delays: Delays { create: Duration::from_millis(20), ..Delays::default() },
        }
    }

    /// The original's agent.
    pub(crate) fn mistify(name: &str) -> Self {
        Self { compat: Compat::Mistify, ..Self::new(name) }
    }
}

impl SimulatedHost {
    /// Serves and registers it.
    pub(crate) async fn start(options: &HostOptions, store: &Store) -> Self {
        let config = HostConfig {
            total_resources: options.resources,
            compat: options.compat,
            state_words: options.words,
            delays: options.delays,
            ..HostConfig::new(host_id(&options.name), options.name.clone())
        };
        let storage = Storage::memory(&MemoryDisk::default());
        let host = Host::open(config, storage, Arc::new(jiff::Timestamp::now))
            .expect("there is nothing stored that could be wrong");
        let mut server = AgentServer::new();
        let address = SocketAddr::new(own_address(), 0);
        let address = server.serve(host.clone(), address).await.expect("the loopback has room");
        let registrar = Registrar::new(store.kv(), store.prefix().clone(), HEARTBEAT);
        server.register(&Arc::new(registrar));
        Self { host, address, _server: server }
    }

    pub(crate) fn id(&self) -> HypervisorId {
        self.host.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn history(&self) -> Vec<Effect> {
        self.host.history()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.host.stats()
    }

    /// These go wrong until something else is said.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.host.set_faults(faults, None);
    }

    pub(crate) fn happen(&self, event: Event) {
        self.host.happen(event).expect("memory can always be written");
    }

    /// What the checker wants to know of it.
    pub(crate) fn told(&self) -> HostHistory {
        let ordered = self.host.compat() == Compat::Lochness;
        HostHistory { host: self.id(), ordered, effects: self.history(), wiped: Vec::new() }
    }

    /// Whether the guest runs there, by the truth.
    pub(crate) fn runs(&self, guest: GuestId) -> bool {
        checker::runs(&self.history(), guest)
    }
}

/// An address of the loopback that no other host of this process has: two hosts with one address are a fault that the
/// operator reports.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = number.to_be_bytes();
    let [process, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 64 + process % 128, high, low).into()
}
