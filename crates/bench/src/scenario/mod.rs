//! One file a scenario: what is set up, what is measured, what it is held against.

pub(crate) mod cache;
pub(crate) mod failover;
pub(crate) mod firewall;
pub(crate) mod growth;
pub(crate) mod half_load;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod life;
pub(crate) mod overload;
pub(crate) mod placement;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lochness_kv::EtcdKv;
use lochness_kv::test_support::EtcdProcess;

use crate::Size;
use crate::documents::{basics, put_all};
use crate::stack::{Operator, Program, connect, etcd, hosts};

/// Nothing that is waited for takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
/// A short lease: what is measured is not how long a dead leader is waited for.
pub(crate) const LEASE: &str = "3s";

/// How large the scenarios are, and where the programs lie.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) size: Size,
    pub(crate) rounds: u32,
    pub(crate) programs: PathBuf,
}

impl Scale {
    /// One of three numbers.
    pub(crate) fn pick<T>(&self, tiny: T, usual: T, full: T) -> T {
        match self.size {
            Size::Tiny => tiny,
            Size::Usual => usual,
            Size::Full => full,
        }
    }
}

/// etcd, hosts, a leader and a standby.
pub(crate) struct Fleet {
    pub(crate) leader: Operator,
    pub(crate) standby: Operator,
    pub(crate) hosts: Program,
    pub(crate) kv: Arc<EtcdKv>,
    // Dropped last: the others need it to the end.
    pub(crate) etcd: EtcdProcess,
}

impl Fleet {
    /// Starts all, with everything but the subnet and the guests in the store.
    pub(crate) async fn start(scale: &Scale, host_count: u32) -> anyhow::Result<Self> {
        Self::start_with(scale, host_count, &[]).await
    }

    /// The same, with flags for the hosts.
    pub(crate) async fn start_with(
        scale: &Scale,
        host_count: u32,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let etcd = etcd();
        let kv = connect(&etcd).await?;
        put_all(&kv, basics(host_count)).await?;
        let hosts = hosts(&scale.programs, &etcd, &kv, host_count, flags).await?;
        let leader = Operator::start(&scale.programs, &etcd, LEASE).await?;
        leader.until_ready("leading").await?;
        let standby = Operator::start(&scale.programs, &etcd, LEASE).await?;
        standby.until_ready("").await?;
        Ok(Self { leader, standby, hosts, kv, etcd })
    }

    /// Names and processes of the programs, this one among them.
    pub(crate) fn pids(&self) -> [(&'static str, u32); 4] {
        [
            ("bench", std::process::id()),
            ("leader", self.leader.program.pid()),
            ("standby", self.standby.program.pid()),
            ("hosts", self.hosts.pid()),
        ]
    }
}
