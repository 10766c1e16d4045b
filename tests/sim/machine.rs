//! One hypervisor: its agent, its wall clock, its address, and its way to the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lochness_agent::server::{
    Compat, Delays, Event, Faults, Host, HostConfig, MemoryDisk, Registrar, Storage, register,
    router,
};
use lochness_agent::wire::AgentJob;
use lochness_api::document::Resources;
use lochness_api::{GuestId, Prefix};
use lochness_runtime::clock::PausedClock;
use lochness_runtime::tasks::Tasks;
use tokio::time::Instant;

use crate::client::{Client, Shop, Who};
use crate::clock::WallClock;
use crate::course::Course;
use crate::faults::Fault;
use crate::network::Network;
use crate::wishes::host_id;

/// How long a host lives without a keepalive.
const LEASE: Duration = Duration::from_secs(15);

/// One hypervisor.
pub(crate) struct Machine {
    pub(crate) number: u64,
    pub(crate) host: Host,
    pub(crate) clock: WallClock,
    faults: Faults,
    shop: Arc<Shop>,
    tasks: Tasks,
    state: Mutex<State>,
}

struct State {
    authority: String,
    registration: Tasks,
    /// How often it became another machine.
    moved: u64,
    /// It has no connection to the store until then.
    cut: Option<Instant>,
}

/// Where a host listens at first.
pub(crate) fn authority(number: u64) -> String {
    format!("192.0.2.{number}:8080")
}

impl Machine {
    /// Starts a host: it listens and registers.
    pub(crate) fn start(
        number: u64,
        shop: &Arc<Shop>,
        network: &Network,
        base: PausedClock,
        tasks: &Tasks,
    ) -> Arc<Self> {
        Self::start_as(config(&shop.course, number), number, shop, network, base, tasks)
    }

    /// The same, of this kind.
    pub(crate) fn start_as(
        config: HostConfig,
        number: u64,
        shop: &Arc<Shop>,
        network: &Network,
        base: PausedClock,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let clock = WallClock::new(base);
        let faults = config.faults.clone();
        let shown = clock.clone();
        let storage = Storage::memory(&MemoryDisk::default());
        let host = Host::open(config, storage, Arc::new(move || shown.now()))
            .expect("memory does not fail");
        shop.judge.watch(host.clone(), clock.clone());
        let state = State {
            authority: authority(number),
            registration: tasks.child(),
            moved: 0,
            cut: None,
        };
        let (shop, tasks, state) = (Arc::clone(shop), tasks.clone(), Mutex::new(state));
        let machine = Arc::new(Self { number, host, clock, faults, shop, tasks, state });
        machine.listen(network);
        machine
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens now.
    pub(crate) fn authority(&self) -> String {
        self.state().authority.clone()
    }

    /// Whether its agent knows orders.
    pub(crate) fn is_ordered(&self) -> bool {
        self.host.compat() == Compat::Lochness
    }

    fn listen(self: &Arc<Self>, network: &Network) {
        let authority = self.authority();
        network.hosts.insert(authority.clone(), router(self.host.clone()));
        network.stands_at(self, &authority);
        let (shop, machine) = (Arc::clone(&self.shop), Some(Arc::clone(self)));
        let kv = Client { shop, who: Who::Agents, life: None, machine };
        let registrar = Registrar::new(Arc::new(kv), Prefix::default(), LEASE);
        let (host, address) = (self.host.clone(), authority.parse().expect("it is an address"));
        self.state().registration.spawn("registration", async move {
            register(&registrar, &host, address).await;
        });
    }

    /// Another machine takes the host's id over, elsewhere, with nothing of what the former knew.
    pub(crate) fn becomes_another(self: &Arc<Self>, network: &Network) -> String {
        let former = self.authority();
        network.replace(&former);
        network.hosts.remove(&former);
        let authority = {
            let mut state = self.state();
            state.registration.abort();
            state.registration = self.tasks.child();
            state.moved += 1;
            state.authority = format!("192.0.2.{}:8080", self.number + 20 * state.moved);
            state.authority.clone()
        };
        self.shop.judge.forgets(self.host.id());
        self.happen(Event::Wipe);
        self.listen(network);
        authority
    }

    /// Everything that its agent knew is lost, fences too, and the guests with it.
    pub(crate) fn wipe(&self, network: &Network) {
        network.replace(&self.authority());
        self.shop.judge.forgets(self.host.id());
        self.happen(Event::Wipe);
    }

    /// Lets something happen to it.
    pub(crate) fn happen(&self, event: Event) {
        self.host.happen(event).expect("memory does not fail");
    }

    /// Every guest that it has vanishes, with nothing that would tell.
    pub(crate) fn loses_guests(&self, guests: impl IntoIterator<Item = GuestId>) {
        for guest in guests {
            self.happen(Event::LoseGuest(guest));
        }
    }

    /// This goes wrong for so long, besides what always may.
    pub(crate) fn fails(&self, change: impl FnOnce(&mut Faults), lasting: Duration) {
        let mut faults = self.faults.clone();
        change(&mut faults);
        self.host.set_faults(faults, Some(lasting));
    }

    /// Nothing goes wrong any more, and what would never end is ended.
    pub(crate) fn recovers(&self) {
        self.host.set_faults(Faults::default(), None);
        self.state().cut = None;
        self.shop.judge.catch_up();
        self.clock.correct();
        self.happen(Event::KillAgent { down_ms: 0 });
    }

    /// It has no connection to the store for so long.
    pub(crate) fn cut_store(&self, lasting: Duration) {
        self.state().cut = Some(Instant::now() + lasting);
    }

    /// Until when it has no connection to the store.
    pub(crate) fn store_is_cut_until(&self) -> Option<Instant> {
        self.state().cut.filter(|until| *until > Instant::now())
    }

    /// Sometimes a guest whose create the agent has just called complete is not there.
    pub(crate) fn loses_what_is_complete(&self, course: &Course, path: &str, body: &[u8]) {
        let permille = course.profile.network.complete_but_absent;
        if permille == 0 || course.is_truce() || !path.contains("/jobs/") {
            return;
        }
        let Ok(job) = serde_json::from_slice::<AgentJob>(body) else { return };
        let Ok(guest) = job.guest_id.parse::<GuestId>() else { return };
        let complete = job.status == lochness_agent::wire::AgentJobStatus::Complete;
        if complete
            && job.action == "create"
            && course.faults(Fault::CompleteButAbsent, permille, || guest.to_string())
        {
            self.loses_guests([guest]);
        }
    }

    /// One fault of the agent that lasts a while, drawn.
    pub(crate) fn is_struck(&self, course: &Course, guest: GuestId, lasting: Duration) {
        const LASTING: [Fault; 9] = [
            Fault::JobForgotten,
            Fault::JobHangs,
            Fault::JobFails,
            Fault::GuestPoisoned,
            Fault::JobKillsAgent,
            Fault::ShutdownIgnored,
            Fault::ImagesBroken,
            Fault::FirewallBroken,
            Fault::AgentHangs,
        ];
        let fault = course.pick(&LASTING);
        course.fault(fault, || format!("{} for {lasting:?}", self.host.name()));
        let one = BTreeSet::from([guest]);
        let set = move |faults: &mut Faults| match fault {
            Fault::JobForgotten => faults.forget_jobs = true,
            Fault::JobHangs => faults.hanging = one,
            Fault::JobFails => faults.failing_jobs = 900,
            Fault::GuestPoisoned => faults.poisoned = one,
            Fault::JobKillsAgent => {
                faults.failing_jobs = 300;
                faults.failed_job_kills_after_ms = Some(2_000);
            }
            Fault::ShutdownIgnored => faults.ignore_shutdown = true,
            Fault::ImagesBroken => faults.broken_images = true,
            Fault::FirewallBroken => faults.broken_firewall = Some("no room".to_owned()),
            _ => faults.reply = Some(lochness_agent::server::ReplyFault::Hang),
        };
        self.fails(set, lasting);
    }
}

fn config(course: &Course, number: u64) -> HostConfig {
    let delays = Delays {
        create: Duration::from_millis(800),
        start: Duration::from_millis(300),
        shutdown: Duration::from_secs(2),
        delete: Duration::from_millis(500),
        image: Duration::from_secs(1),
        firewall: Duration::from_millis(50),
        reply: Duration::from_millis(2),
        jitter: Duration::from_millis(700),
    };
    let profile = &course.profile;
    let faults = Faults { failing_jobs: profile.host.failing_jobs, ..Faults::default() };
    let original = profile.originals >> (number - 1) & 1 == 1;
    HostConfig {
        total_resources: Resources { memory: 4096, disk: 100_000, cpu: 8 },
        compat: if original { Compat::Mistify } else { Compat::Lochness },
        state_words: profile.words,
        delays,
        faults,
        seed: course.below(u64::MAX),
        ..HostConfig::new(host_id(number), format!("host-{number}"))
    }
}
