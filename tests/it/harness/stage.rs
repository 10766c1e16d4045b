//! One test's world: a store, hosts, operators, and the checker over them.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_api::status::{GuestStatus, Phase};
use lochness_api::{GuestId, HypervisorId, Key, Prefix};
use lochness_kv::test_support::EtcdOptions;
use serde_json::{Value, json};

use super::checker::{Checker, HostHistory};
use super::{
    AgentProcess, FLAVOR, HostOptions, IMAGE, Members, NETWORK, Operator, OperatorOptions,
    RealNetwork, SUBNET, SimulatedHost, Store, eventually, flavor, guest, guest_id, host_id, image,
    network, subnet,
};

/// Lines of an operator's log that a failed test prints.
const LOG_LINES: usize = 60;

/// One test's world. Ends with [`Stage::finish`]; one that is dropped without it fails the test.
pub(crate) struct Stage {
    // In the order in which they must go: who writes first, the store last.
    pub(crate) operators: Vec<Operator>,
    pub(crate) hosts: Vec<SimulatedHost>,
    pub(crate) agents: Vec<AgentProcess>,
    pub(crate) checker: Checker,
    pub(crate) store: Store,
    pub(crate) etcd: Members,
    finished: bool,
}

impl Stage {
    /// An empty store, and nobody else.
    pub(crate) async fn empty() -> Self {
        Self::on(Members::one(&EtcdOptions::default()), Prefix::default()).await
    }

    /// Nobody, on such an etcd, under such a prefix.
    pub(crate) async fn on(etcd: Members, prefix: Prefix) -> Self {
        let mut store = Store::connect_at(etcd.config(), prefix).await;
        if !etcd.is_own() {
            store = store.beside_others();
        }
        Self {
            operators: Vec::new(),
            hosts: Vec::new(),
            agents: Vec::new(),
            checker: Checker::start(&store),
            store,
            etcd,
            finished: false,
        }
    }

    /// So many hosts that reach the subnet, the network's documents, and one operator that leads.
    pub(crate) async fn with_hosts(hosts: usize) -> Self {
        let mut stage = Self::empty().await;
        stage.put_network().await;
        for number in 1..=hosts {
            stage.host(&HostOptions::new(&format!("host-{number}"))).await;
        }
        stage.operator("one").await;
        stage
    }

    /// Flavor, image, network and subnet.
    pub(crate) async fn put_network(&self) {
        let entries = [
            (Key::Image(IMAGE), image()),
            (Key::Flavor(FLAVOR), flavor()),
            (Key::Network(NETWORK), network()),
            (Key::Subnet(SUBNET), subnet()),
        ];
        self.store.put_all(entries).await;
    }

    /// A host in this process, which reaches the subnet. Answers its place in `hosts`.
    pub(crate) async fn host(&mut self, options: &HostOptions) -> usize {
        let host = SimulatedHost::start(options, &self.store).await;
        self.connect(host.id()).await;
        if options.compat == lochness_agent::server::Compat::Mistify {
            // The original's heartbeat does not say its port.
            let key = Key::HypervisorConfig(host.id(), "agent_port".to_owned());
            self.store.put(&key, &json!(host.address().port())).await;
        }
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// A host whose agent is a process that takes so long to create a guest. Answers its place in `agents`.
    pub(crate) async fn agent(&mut self, name: &str, create: Duration) -> usize {
        self.connect(host_id(name)).await;
        let agent = AgentProcess::start(name, &self.store, self.etcd.endpoint(), create).await;
        self.agents.push(agent);
        self.agents.len() - 1
    }

    /// A host whose agent is a process with a real firewall. Answers its place in `agents`.
    pub(crate) async fn real_agent(&mut self, name: &str, network: RealNetwork) -> usize {
        self.connect(host_id(name)).await;
        let agent =
            AgentProcess::start_real(name, &self.store, self.etcd.endpoint(), network).await;
        self.agents.push(agent);
        self.agents.len() - 1
    }

    async fn connect(&self, host: HypervisorId) {
        self.store.put(&Key::HypervisorSubnet(host, SUBNET), &json!("br0")).await;
    }

    /// One more operator, which leads or stands by. Answers its place in `operators`.
    pub(crate) async fn operator(&mut self, name: &str) -> usize {
        self.operator_with(name, &OperatorOptions::default()).await
    }

    pub(crate) async fn operator_with(&mut self, name: &str, options: &OperatorOptions) -> usize {
        let endpoint = self.etcd.endpoint().to_owned();
        self.operator_at(name, &endpoint, options).await
    }

    /// One that reaches etcd at this endpoint.
    pub(crate) async fn operator_at(
        &mut self,
        name: &str,
        endpoint: &str,
        options: &OperatorOptions,
    ) -> usize {
        let place = self.begin_operator(name, endpoint, options).await;
        let operator = &self.operators[place];
        eventually("the operator is ready", async || operator.is_ready().await).await;
        place
    }

    /// One that finds what it must hold, and is ready for no more than a moment. Answers its place in `operators`.
    pub(crate) async fn holding_operator(&mut self, name: &str) -> usize {
        let endpoint = self.etcd.endpoint().to_owned();
        self.begin_operator(name, &endpoint, &OperatorOptions::default()).await
    }

    async fn begin_operator(
        &mut self,
        name: &str,
        endpoint: &str,
        options: &OperatorOptions,
    ) -> usize {
        let options =
            OperatorOptions { prefix: self.store.prefix().to_string(), ..options.clone() };
        self.operators.push(Operator::start(name, endpoint, &options).await);
        self.operators.len() - 1
    }

    /// Puts guests numbered so; each alone, as users do.
    pub(crate) async fn put_guests(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<GuestId> {
        let mut ids = Vec::new();
        for number in numbers {
            self.put_guest(number, json!({})).await;
            ids.push(guest_id(number));
        }
        ids
    }

    /// Puts a guest with these fields over the usual ones.
    pub(crate) async fn put_guest(&self, number: u32, fields: Value) -> GuestId {
        let id = guest_id(number);
        self.store.put(&Key::Guest(id), &guest_with(fields)).await;
        id
    }

    /// Waits until all of them are in this phase, by their statuses.
    pub(crate) async fn reach(&self, guests: &[GuestId], phase: Phase) {
        let all = async || {
            let statuses = self.store.guests().await;
            let behind: Vec<_> = guests
                .iter()
                .filter(|id| statuses.get(*id).is_none_or(|status| status.phase != phase))
                .collect();
            match behind.first() {
                None => Ok(()),
                Some(first) => Err(format!(
                    "{} of {} are not, such as {first}: {}",
                    behind.len(),
                    guests.len(),
                    told(statuses.get(*first))
                )),
            }
        };
        eventually(&format!("all guests are {phase:?}"), all).await;
    }

    /// Waits until all of them run, by their statuses and by the truth.
    pub(crate) async fn all_run(&self, guests: &[GuestId]) -> BTreeMap<GuestId, GuestStatus> {
        self.reach(guests, Phase::Running).await;
        let mut statuses = self.store.guests().await;
        statuses.retain(|id, _| guests.contains(id));
        let histories = self.histories().await;
        for id in guests {
            let placed = statuses[id].placement.as_ref().map(|placement| placement.hypervisor);
            let there = histories.iter().find(|history| Some(history.host) == placed);
            let there = there.expect("a guest is placed on a host of the stage");
            assert!(
                super::checker::runs(&there.effects, *id),
                "{id} is said to run and does not:\n{}",
                self.checker.timeline(&histories, *id)
            );
        }
        statuses
    }

    /// The same, and each of them is on this host.
    pub(crate) async fn all_run_on(
        &self,
        guests: &[GuestId],
        host: HypervisorId,
    ) -> BTreeMap<GuestId, GuestStatus> {
        let statuses = self.all_run(guests).await;
        for id in guests {
            let placed = statuses[id].placement.as_ref().map(|placement| placement.hypervisor);
            assert_eq!(placed, Some(host), "{id} is elsewhere");
        }
        statuses
    }

    /// Waits until a guest's status is as `look` wants it.
    pub(crate) async fn status<T>(
        &self,
        guest: GuestId,
        what: &str,
        look: impl Fn(&GuestStatus) -> Option<T>,
    ) -> T {
        eventually(what, async || {
            let status = self.store.guest(guest).await;
            status.as_ref().and_then(&look).ok_or_else(|| told(status.as_ref()))
        })
        .await
    }

    /// Waits until nothing is left of a guest but, perhaps, a quarantined address.
    pub(crate) async fn gone(&self, guests: &[GuestId]) {
        eventually("nothing is left of the guests", async || {
            let statuses = self.store.guests().await;
            match guests.iter().find(|id| statuses.contains_key(id)) {
                Some(id) => Err(told(statuses.get(id))),
                None => Ok(()),
            }
        })
        .await;
    }

    /// The one operator that leads.
    pub(crate) async fn leader(&self) -> usize {
        eventually("an operator leads", async || {
            for (place, operator) in self.operators.iter().enumerate() {
                if operator.leads().await.is_ok() {
                    return Ok(place);
                }
            }
            Err("none does".to_owned())
        })
        .await
    }

    /// How many changes the hosts were asked for.
    pub(crate) fn mutations(&self) -> u64 {
        self.hosts.iter().map(|host| host.stats().mutations).sum()
    }

    /// What truly happened on every host.
    pub(crate) async fn histories(&self) -> Vec<HostHistory> {
        let mut all: Vec<_> = self.hosts.iter().map(SimulatedHost::told).collect();
        for agent in self.agents.iter().filter(|agent| agent.is_up()) {
            let effects = agent.history().await;
            all.push(HostHistory { host: agent.id(), ordered: true, effects, wiped: Vec::new() });
        }
        all
    }

    /// Whether the guest runs on any host, by the truth.
    pub(crate) async fn runs(&self, guest: GuestId) -> bool {
        let histories = self.histories().await;
        histories.iter().any(|history| super::checker::runs(&history.effects, guest))
    }

    /// Judges everything that happened.
    pub(crate) async fn finish(mut self) {
        assert!(self.agents.iter().all(AgentProcess::is_up), "the dead tell no history");
        let histories = self.histories().await;
        self.checker.judge(&histories).await;
        for operator in &self.operators {
            let log = operator.log();
            assert!(!log.contains("panicked at"), "an operator panicked:\n{log}");
        }
        self.finished = true;
    }

    /// Ends a test that took the store back in time, which no checker can follow.
    pub(crate) fn end_unjudged(mut self) {
        self.finished = true;
    }

    fn explain(&self) {
        for operator in &self.operators {
            let log = operator.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!(
                "--- the end of the log of operator {}:\n{}",
                operator.name(),
                last.join("\n")
            );
        }
        for agent in &self.agents {
            eprintln!("--- the log of agent {}:\n{}", agent.id(), agent.log());
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        } else {
            assert!(self.finished, "a test ends with Stage::finish");
        }
    }
}

/// A guest's document with these fields over the usual ones; null takes one away.
fn guest_with(fields: Value) -> Value {
    let mut document = guest();
    if let (Value::Object(document), Value::Object(fields)) = (&mut document, fields) {
        document.extend(fields);
    }
    document
}

fn told(status: Option<&GuestStatus>) -> String {
    status.map_or("it has no status".to_owned(), |status| {
        serde_json::to_string(status).expect("a status can be written")
    })
}
