//! One host in this process, on paused time, and a client of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lochness_agent::client::{AgentClient, GuestLookup, RouterTransport, Ticket, Transport};
use lochness_agent::server::{
    EffectKind, Host, HostConfig, MemoryDisk, Storage, WallClock, router,
};
use lochness_agent::wire::{AgentGuest, AgentJob, Nic, Order};
use lochness_api::job::JobAction;
use lochness_api::{GuestId, HypervisorId, JobId};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const AUTHORITY: &str = "10.0.0.1:8080";

/// A host and what stands around it.
pub(crate) struct Fixture {
    pub(crate) host: Host,
    pub(crate) client: AgentClient,
    pub(crate) network: RouterTransport,
    pub(crate) disk: MemoryDisk,
}

pub(crate) fn guest_id(number: u128) -> GuestId {
    GuestId::new(Uuid::from_u128(0xa000 + number))
}

pub(crate) fn job_id(number: u64) -> JobId {
    JobId::new(Uuid::from_u128(0xb000 + u128::from(number)))
}

pub(crate) fn host_id() -> HypervisorId {
    HypervisorId::new(Uuid::from_u128(0xc001))
}

pub(crate) fn config() -> HostConfig {
    HostConfig::new(host_id(), "host-01")
}

pub(crate) fn guest(number: u128) -> AgentGuest {
    let nic = Nic { name: "eth0".into(), address: format!("10.1.0.{number}"), ..Nic::default() };
    AgentGuest { memory: 512, cpu: 1, nics: vec![nic], ..AgentGuest::new(guest_id(number)) }
}

/// The ticket of the job with this number, which is its order too.
pub(crate) fn ticket(number: u64) -> Ticket {
    let order = Some(Order::new(1, number));
    Ticket { job: job_id(number), order, ruleset: None, budget: Duration::from_secs(5) }
}

/// A ticket for agents without order.
pub(crate) fn bare_ticket(number: u64) -> Ticket {
    Ticket { order: None, ..ticket(number) }
}

/// A clock that goes with tokio's.
pub(crate) fn clock() -> WallClock {
    let started = Instant::now();
    let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Arc::new(move || epoch + SignedDuration::try_from(started.elapsed()).unwrap())
}

impl Fixture {
    pub(crate) fn new(config: HostConfig) -> Self {
        Self::on(config, MemoryDisk::default())
    }

    /// A host whose former life left `disk`.
    pub(crate) fn on(config: HostConfig, disk: MemoryDisk) -> Self {
        let host = Host::open(config, Storage::memory(&disk), clock()).unwrap();
        let network = RouterTransport::new();
        network.insert(AUTHORITY, router(host.clone()));
        let client = AgentClient::new(Arc::new(network.clone()), AUTHORITY.into(), None);
        Self { host, client, network, disk }
    }

    /// A client that speaks for the leader with this number.
    pub(crate) fn client_of(&self, epoch: u64) -> AgentClient {
        let network = Arc::new(self.network.clone());
        AgentClient::new(network, AUTHORITY.into(), Some(Order::new(1, epoch)))
    }

    pub(crate) async fn create(&self, number: u128, job: u64) -> AgentJob {
        let remote = self.client.create(&guest(number), &ticket(job)).await.unwrap();
        self.ended(&remote).await
    }

    pub(crate) async fn act(&self, number: u128, action: JobAction, job: u64) -> AgentJob {
        let remote = self.client.act(guest_id(number), action, &ticket(job)).await.unwrap();
        self.ended(&remote).await
    }

    /// The job, once it has ended.
    pub(crate) async fn ended(&self, remote: &str) -> AgentJob {
        let poll = async {
            loop {
                let job = self.client.job(remote).await.unwrap().expect("the agent knows the job");
                if job.status.is_final() {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), poll).await.expect("the job ends")
    }

    /// The guest's state, none when it is absent.
    pub(crate) async fn state(&self, number: u128) -> Option<String> {
        match self.client.guest(guest_id(number)).await.unwrap() {
            GuestLookup::Found(guest) => Some(guest.state),
            GuestLookup::Absent => None,
            GuestLookup::Damaged => Some("damaged".to_owned()),
        }
    }

    pub(crate) fn effects(&self) -> Vec<EffectKind> {
        self.host.history().iter().map(|effect| effect.kind).collect()
    }

    /// Waits until `condition` holds of the host.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Host) -> bool) {
        until(what, || condition(&self.host)).await;
    }

    /// Sends a request as it stands.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> http::Response<Bytes> {
        let mut request =
            http::Request::builder().method(method).uri(format!("http://{AUTHORITY}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
        self.network.round_trip(request, Duration::from_secs(60)).await.unwrap()
    }
}

/// Waits until `condition` holds, at most a minute.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true in a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
