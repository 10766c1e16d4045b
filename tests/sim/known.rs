//! S16: a loop's queue has no more keys than the loop can know: one for each object that the store named, or a host has. A
//! job is forgotten a while after its key has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lochness_api::{GuestId, JobId, Key, Kind, Prefix};
use lochness_kv::Event;
use tokio::time::Instant;

use crate::checker::Checker;

/// What waits to be tried again comes within this time, is found to be gone, and leaves its queue: the longest pause is 30 s.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What loops can know.
#[derive(Default)]
pub(crate) struct Known {
    named: BTreeSet<(Loop, String)>,
    /// Jobs, with the time at which their keys went.
    jobs: BTreeMap<JobId, Option<Instant>>,
}

/// By what a loop calls the objects that it looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Loop {
    Guest,
    Host,
    Subnet,
    Object,
}

impl Known {
    /// A host has a guest.
    pub(crate) fn has(&mut self, guest: GuestId) {
        self.named.insert((Loop::Guest, guest.to_string()));
    }

    /// Takes a revision in.
    pub(crate) fn take(&mut self, events: &[Event]) {
        for event in events {
            let Ok(key) = Prefix::default().parse(event.key()) else { continue };
            match (key, event) {
                (Key::Job(job), Event::Put(_)) => drop(self.jobs.insert(job, None)),
                (Key::Job(job), Event::Delete { .. }) => {
                    self.jobs.insert(job, Some(Instant::now()));
                }
                (key, _) => self.named.extend(named(&key)),
            }
        }
    }

    /// The store went back, and has the keys that it had.
    pub(crate) fn goes_back(&mut self, checker: &Checker) {
        for gone in self.jobs.values_mut() {
            gone.get_or_insert_with(Instant::now);
        }
        for (key, _) in checker.keys() {
            if let Key::Job(job) = key {
                self.jobs.insert(*job, None);
            }
        }
    }

    /// What is wrong with a queue that is so long.
    pub(crate) fn judge(&self, queue: &str, length: usize) -> Option<String> {
        let most = match queue {
            "placement" | "guest" => self.count(Loop::Guest),
            "host" | "firewall" => self.count(Loop::Host),
            "subnet" => self.count(Loop::Subnet),
            "object" => self.count(Loop::Object),
            "job" => {
                let is_known =
                    |gone: &&Option<Instant>| gone.is_none_or(|gone| gone.elapsed() <= FORGOTTEN);
                self.jobs.values().filter(is_known).count()
            }
            // The cluster is one.
            _ => 1,
        };
        (length > most)
            .then(|| format!("S16: the queue {queue} has {length} keys, and {most} are known"))
    }

    fn count(&self, of: Loop) -> usize {
        self.named.iter().filter(|(it, _)| *it == of).count()
    }
}

/// Whom a key concerns. A name that is none of the contract concerns nobody.
fn named(key: &Key) -> Vec<(Loop, String)> {
    let one = |of, name: String| vec![(of, name)];
    let object = |kind: Kind, id: &str| one(Loop::Object, format!("{kind:?} {id}"));
    match key {
        Key::Guest(guest) | Key::GuestStatus(guest) => one(Loop::Guest, guest.to_string()),
        Key::Placement(host, guest) | Key::Stale(host, guest) => {
            vec![(Loop::Guest, guest.to_string()), (Loop::Host, host.to_string())]
        }
        Key::HypervisorSubnet(host, subnet) => {
            vec![(Loop::Host, host.to_string()), (Loop::Subnet, subnet.to_string())]
        }
        Key::Hypervisor(host)
        | Key::Heartbeat(host)
        | Key::HypervisorStatus(host)
        | Key::HypervisorConfig(host, _) => one(Loop::Host, host.to_string()),
        Key::Subnet(subnet) | Key::SubnetStatus(subnet) | Key::Address(subnet, _) => {
            let object = (Loop::Object, format!("Subnet {subnet}"));
            vec![(Loop::Subnet, subnet.to_string()), object]
        }
        Key::Flavor(id) => object(Kind::Flavor, &id.to_string()),
        Key::Image(id) => object(Kind::Image, &id.to_string()),
        Key::Network(id) => object(Kind::Network, &id.to_string()),
        Key::FwGroup(id) | Key::FwGroupStatus(id) => object(Kind::FwGroup, &id.to_string()),
        Key::Vlan(id) => object(Kind::Vlan, &id.to_string()),
        Key::VlanGroup(id) | Key::VlanGroupMember(id, _) => {
            object(Kind::VlanGroup, &id.to_string())
        }
        Key::KindStatus(kind, id) => object(*kind, id),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::KeyValue;

    use super::*;
    use crate::wishes::{guest_id, host_id};

    fn put(key: &Key) -> Event {
        Event::Put(KeyValue {
            key: Prefix::default().key(key).into(),
            value: "".into(),
            create_revision: 7,
            mod_revision: 7,
            version: 1,
            lease: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_has_no_more_keys_than_there_are_objects() {
        let mut known = Known::default();
        known.take(&[put(&Key::Placement(host_id(1), guest_id(1)))]);
        for queue in ["placement", "guest", "host", "firewall", "cluster"] {
            assert_eq!(known.judge(queue, 1), None);
            assert!(known.judge(queue, 2).is_some_and(|what| what.starts_with("S16: ")));
        }
        assert!(known.judge("subnet", 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_has_gone_is_forgotten() {
        let mut known = Known::default();
        let job = Key::Job("00000000-0000-4000-8000-000000000001".parse().expect("it is an id"));
        known.take(&[put(&job)]);
        tokio::time::advance(FORGOTTEN * 2).await;
        assert_eq!(known.judge("job", 1), None);
        known.take(&[Event::Delete { key: Prefix::default().key(&job).into(), mod_revision: 8 }]);
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(known.judge("job", 1), None);
        tokio::time::advance(FORGOTTEN).await;
        assert!(known.judge("job", 1).is_some());
    }
}
