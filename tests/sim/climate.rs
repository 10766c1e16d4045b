//! What happens to hosts.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::Event;
use lochness_api::Key;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::Shop;
use crate::faults::Fault;
use crate::history::GUESTS;
use crate::machine::Machine;
use crate::script::put;
use crate::weather::{LONGEST_CUT, SHORTEST_CUT, Weather, jump};
use crate::wishes::guest_id;

/// A person needs up to so long to write down where a host is now.
const LONGEST_EDIT: Duration = Duration::from_secs(20);

impl Weather {
    pub(crate) fn strike_host(&self, machine: &Arc<Machine>) {
        let course = &self.network.course;
        if course.is_truce() {
            return;
        }
        let profile = &course.profile.host;
        let name = || machine.host.name().to_owned();
        let lasting = || course.between(SHORTEST_CUT, LONGEST_CUT);
        if course.faults(Fault::HostDark, profile.dark, name) {
            self.network.darken(&machine.authority(), lasting());
        }
        if course.faults(Fault::HostDeaf, profile.deaf, name) {
            self.network.deafen(&machine.authority(), lasting());
        }
        if course.faults(Fault::HeartbeatCut, profile.heartbeat_cut, name) {
            machine.cut_store(lasting());
        }
        if course.faults(Fault::AgentKilled, profile.agent_killed, name) {
            machine.happen(Event::KillAgent { down_ms: course.below(20_000) });
        }
        if course.faults(Fault::HostReboot, profile.reboot, name) {
            machine.happen(Event::Reboot);
        }
        if course.strikes(profile.guest_dies) {
            let guest = guest_id(course.below(GUESTS));
            course.fault(Fault::GuestDies, || format!("{guest} on {}", machine.host.name()));
            let event = course.pick(&[Event::CrashGuest(guest), Event::StopGuest(guest)]);
            machine.happen(event);
        }
        if course.strikes(profile.lasting) {
            let guest = guest_id(course.below(GUESTS));
            machine.is_struck(course, guest, lasting());
        }
        if course.strikes(profile.clock_jump) {
            jump(&self.network, &machine.clock, machine.host.name());
        }
        self.forget(machine);
        self.move_or_edit(machine);
        self.network.judge.catch_up();
    }

    /// The host loses guests, or says that it has none.
    fn forget(&self, machine: &Arc<Machine>) {
        let course = &self.network.course;
        let profile = &course.profile.host;
        let name = || machine.host.name().to_owned();
        if course.faults(Fault::RebootEmpty, profile.reboot_empty, name) {
            machine.happen(Event::RebootEmpty);
        }
        if course.faults(Fault::Wiped, profile.wiped, name) {
            machine.wipe(&self.network);
        }
        if course.faults(Fault::GuestsLost, profile.guests_lost, name) {
            machine.loses_guests((0..GUESTS).map(guest_id));
        }
        if machine.is_ordered() && course.loses_rules() {
            course.fault(Fault::RulesLost, name);
            machine.happen(Event::LoseRules);
        }
        if course.faults(Fault::EmptyList, profile.guests_lost, name) {
            machine.fails(
                |faults| faults.empty_list = true,
                course.between(SHORTEST_CUT, LONGEST_CUT),
            );
        }
    }

    /// The host's id comes back on another machine; or somebody writes a wrong address into its document. After a while
    /// somebody puts it right.
    fn move_or_edit(&self, machine: &Arc<Machine>) {
        let course = &self.network.course;
        let profile = &course.profile.host;
        if course.strikes(profile.another_machine) {
            let now_at = machine.becomes_another(&self.network);
            course.fault(Fault::AnotherMachine, || format!("{} at {now_at}", machine.host.name()));
            self.put_right(machine, course.between(Duration::ZERO, LONGEST_EDIT));
        } else if course.strikes(profile.edited) {
            let others: Vec<_> = self
                .machines
                .iter()
                .filter(|other| other.number != machine.number && other.is_ordered())
                .map(|other| other.authority())
                .collect();
            // The original's agent does not say whose it is: what is sent to it, it does.
            let shared = course.below(2) == 0 && !others.is_empty();
            let wrong = if shared {
                others[usize::try_from(course.below(others.len() as u64)).unwrap_or(0)].clone()
            } else {
                "192.0.2.250:8080".to_owned()
            };
            let class = if shared { Fault::SharedAddress } else { Fault::HostEdited };
            course.fault(class, || format!("{} at {wrong}", machine.host.name()));
            self.write_address(machine, &wrong);
            self.put_right(machine, course.between(SHORTEST_CUT, LONGEST_CUT));
        }
    }

    fn write_address(&self, machine: &Arc<Machine>, authority: &str) {
        let shop = Arc::clone(&self.replicas[0].shop);
        let (machine, authority) = (Arc::clone(machine), authority.to_owned());
        self.tasks.spawn("edit", async move { edit(&shop, &machine, &authority).await });
    }

    fn put_right(&self, machine: &Arc<Machine>, after: Duration) {
        let (shop, machine) = (Arc::clone(&self.replicas[0].shop), Arc::clone(machine));
        self.tasks.spawn("edit", async move {
            sleep(after).await;
            edit(&shop, &machine, &machine.authority()).await;
        });
    }
}

/// Somebody writes down that the host is at this address.
async fn edit(shop: &Shop, machine: &Machine, authority: &str) {
    let (key, value) = document(machine, authority);
    put(shop, &key, &value).await;
    // A store without space may have kept it waiting for long: it may be the last of all wishes, and the host elsewhere.
    if !shop.course.is_stormy() {
        let (key, value) = document(machine, &machine.authority());
        put(shop, &key, &value).await;
    }
}

/// A host's document with this address.
pub(crate) fn document(machine: &Machine, authority: &str) -> (Key, Value) {
    let ip = authority.split(':').next().unwrap_or_default();
    let id = machine.host.id();
    let value = json!({
        "id": id,
        "metadata": { "name": machine.host.name() },
        "ip": ip,
        "total_resources": { "memory": 4096, "disk": 100_000, "cpu": 8 },
    });
    (Key::Hypervisor(id), value)
}
