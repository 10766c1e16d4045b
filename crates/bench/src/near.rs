//! Hosts in this process: what happens on them is known to the moment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::server::{
    AgentServer, Host, HostConfig, MemoryDisk, Registrar, Storage, WallClock,
};
use lochness_api::Prefix;
use lochness_api::document::Resources;
use lochness_kv::EtcdKv;

use crate::documents::host_id;

/// So many hosts that answer over HTTP as fast as they can, and have a heartbeat.
pub(crate) async fn serve(kv: Arc<EtcdKv>, count: u32) -> anyhow::Result<AgentServer> {
    let clock: WallClock = Arc::new(Timestamp::now);
    let mut server = AgentServer::new();
    for number in 1..=count {
        let config = HostConfig {
            total_resources: Resources { memory: 1 << 20, disk: 1 << 20, cpu: 16 },
            ..HostConfig::new(host_id(number), format!("host-{number:05}"))
        };
        let storage = Storage::memory(&MemoryDisk::default());
        let host = Host::open(config, storage, Arc::clone(&clock))?;
        server.serve(host, "127.0.0.1:0".parse()?).await?;
    }
    let registrar = Registrar::new(kv, Prefix::default(), Duration::from_secs(60));
    server.register(&Arc::new(registrar));
    Ok(server)
}
