//! Which faults a history has, and how often. Each class is left out of some histories, since one fault can hide another.

use rand::RngExt;
use rand::rngs::SmallRng;

use lochness_agent::server::StateWords;

/// How often each fault strikes, in thousandths of the operations, or moments of the weather, that it can strike. 0 leaves
/// it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Profile {
    pub(crate) store: StoreFaults,
    pub(crate) network: NetworkFaults,
    pub(crate) process: ProcessFaults,
    pub(crate) host: HostFaults,
    pub(crate) user: Wildness,
    /// So many replicas of the operator.
    pub(crate) replicas: usize,
    /// These hosts speak the original's protocol, with these words: bit n is host n.
    pub(crate) originals: u64,
    pub(crate) words: StateWords,
    /// One agent gets one request at a time.
    pub(crate) is_narrow: bool,
}

/// What the store and the way to it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StoreFaults {
    pub(crate) fail_before: u32,
    pub(crate) fail_after: u32,
    pub(crate) lose: u32,
    pub(crate) land_late: u32,
    pub(crate) stale_read: u32,
    pub(crate) slow: u32,
    pub(crate) events_doubled: u32,
    pub(crate) events_coalesced: u32,
    pub(crate) keepalive_lies: u32,
    pub(crate) cut_watches: u32,
    pub(crate) compact: u32,
    pub(crate) down: u32,
    pub(crate) no_space: u32,
    /// Messages of a watch are cut into pieces of so many bytes; 0 is not at all.
    pub(crate) fragment_bytes: u32,
    /// In the middle the store goes back to an earlier snapshot, until a person accepts it.
    pub(crate) is_restored: bool,
    /// In the middle another cluster with the same contents answers, until a person accepts it.
    pub(crate) is_replaced: bool,
}

/// What becomes of requests to agents and their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NetworkFaults {
    pub(crate) request_lost: u32,
    pub(crate) answer_lost: u32,
    pub(crate) late: u32,
    pub(crate) twice: u32,
    pub(crate) slow: u32,
    pub(crate) server_error: u32,
    pub(crate) truncated: u32,
    pub(crate) nested: u32,
    pub(crate) enormous: u32,
    pub(crate) redirect: u32,
    pub(crate) complete_but_absent: u32,
}

/// What happens to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProcessFaults {
    /// It crashes within so many steps of its start; 0 is never.
    pub(crate) crash_within: u64,
    /// It is stopped right before an agent call.
    pub(crate) frozen_at_agent: u32,
    pub(crate) frozen: u32,
    pub(crate) store_cut: u32,
    pub(crate) store_deaf: u32,
    pub(crate) agents_cut: u32,
    pub(crate) lease_revoked: u32,
    pub(crate) resigned: u32,
    pub(crate) clock_jump: u32,
}

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostFaults {
    pub(crate) failing_jobs: u16,
    pub(crate) dark: u32,
    pub(crate) deaf: u32,
    pub(crate) heartbeat_cut: u32,
    pub(crate) agent_killed: u32,
    pub(crate) reboot: u32,
    pub(crate) reboot_empty: u32,
    pub(crate) wiped: u32,
    pub(crate) guests_lost: u32,
    /// Drawn apart: so a history without it is the one that it always was.
    pub(crate) rules_lost: u32,
    pub(crate) another_machine: u32,
    pub(crate) edited: u32,
    pub(crate) guest_dies: u32,
    pub(crate) clock_jump: u32,
    /// A fault of the agent that lasts a while.
    pub(crate) lasting: u32,
}

/// What the user does that is not sensible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one habit, independent of the others")]
pub(crate) struct Wildness {
    pub(crate) garbage: bool,
    pub(crate) contradictions: bool,
    pub(crate) several_subnets: bool,
    pub(crate) references_gone: bool,
    pub(crate) mass_deletion: bool,
}

/// Draws how often a fault strikes: not at all in half of the histories.
fn sometimes(chance: &mut SmallRng, most: u32) -> u32 {
    if chance.random_bool(0.5) { chance.random_range(1..=most) } else { 0 }
}

/// The same for what can hide much else: in a quarter of the histories.
fn seldom(chance: &mut SmallRng, most: u32) -> u32 {
    if chance.random_bool(0.25) { chance.random_range(1..=most) } else { 0 }
}

impl Profile {
    pub(crate) fn draw(chance: &mut SmallRng) -> Self {
        let store = StoreFaults::draw(chance);
        let network = NetworkFaults::draw(chance);
        let process = ProcessFaults::draw(chance);
        let host = HostFaults::draw(chance);
        let originals = if chance.random_bool(0.3) { chance.random_range(1..16) } else { 0 };
        let words = [StateWords::Libvirt, StateWords::Docker, StateWords::Echo];
        Self {
            store,
            network,
            process,
            host,
            user: Wildness::draw(chance),
            replicas: chance.random_range(2..=3),
            originals,
            words: words[chance.random_range(0..words.len())],
            is_narrow: false,
        }
    }

    /// What is drawn by a chance of its own: so a history without it is the one that it always was.
    pub(crate) fn drawn_apart(self, chance: &mut SmallRng) -> Self {
        let profile = if chance.random_bool(0.07) { self.restored() } else { self };
        Self { is_narrow: chance.random_bool(0.1), ..profile }
    }

    /// Somebody deletes rules on hosts, in a quarter of the histories.
    pub(crate) fn with_rules_lost(self, chance: &mut SmallRng) -> Self {
        Self { host: HostFaults { rules_lost: seldom(chance, 40), ..self.host }, ..self }
    }

    /// The store goes back. What is on its way to a host for long could not be told from what was never written down, and
    /// the original's agents cannot say that they know better: neither is then.
    pub(crate) fn restored(self) -> Self {
        Self {
            store: StoreFaults { is_restored: true, is_replaced: false, ..self.store },
            network: NetworkFaults { late: 0, twice: 0, ..self.network },
            process: ProcessFaults { frozen: 0, frozen_at_agent: 0, agents_cut: 0, ..self.process },
            user: Wildness { mass_deletion: false, ..self.user },
            originals: 0,
            ..self
        }
    }
}

impl StoreFaults {
    fn draw(chance: &mut SmallRng) -> Self {
        Self {
            fail_before: sometimes(chance, 40),
            fail_after: sometimes(chance, 40),
            lose: sometimes(chance, 30),
            land_late: sometimes(chance, 30),
            stale_read: sometimes(chance, 200),
            slow: sometimes(chance, 40),
            events_doubled: sometimes(chance, 200),
            events_coalesced: sometimes(chance, 200),
            keepalive_lies: sometimes(chance, 800),
            cut_watches: sometimes(chance, 60),
            compact: sometimes(chance, 60),
            down: seldom(chance, 30),
            no_space: seldom(chance, 30),
            fragment_bytes: seldom(chance, 4_000),
            is_restored: false,
            is_replaced: chance.random_bool(0.06),
        }
    }
}

impl NetworkFaults {
    fn draw(chance: &mut SmallRng) -> Self {
        Self {
            request_lost: sometimes(chance, 100),
            answer_lost: sometimes(chance, 100),
            late: sometimes(chance, 100),
            twice: sometimes(chance, 150),
            slow: sometimes(chance, 60),
            server_error: sometimes(chance, 60),
            truncated: sometimes(chance, 40),
            nested: seldom(chance, 30),
            enormous: seldom(chance, 30),
            redirect: sometimes(chance, 30),
            complete_but_absent: seldom(chance, 60),
        }
    }
}

impl ProcessFaults {
    fn draw(chance: &mut SmallRng) -> Self {
        Self {
            crash_within: u64::from(sometimes(chance, 1_500)),
            frozen_at_agent: sometimes(chance, 10),
            frozen: sometimes(chance, 30),
            store_cut: sometimes(chance, 40),
            store_deaf: sometimes(chance, 30),
            agents_cut: sometimes(chance, 40),
            lease_revoked: sometimes(chance, 30),
            resigned: sometimes(chance, 30),
            clock_jump: sometimes(chance, 20),
        }
    }
}

impl HostFaults {
    fn draw(chance: &mut SmallRng) -> Self {
        Self {
            failing_jobs: u16::try_from(sometimes(chance, 200)).unwrap_or(0),
            dark: sometimes(chance, 40),
            deaf: sometimes(chance, 30),
            heartbeat_cut: sometimes(chance, 30),
            agent_killed: sometimes(chance, 60),
            reboot: sometimes(chance, 30),
            reboot_empty: seldom(chance, 15),
            wiped: seldom(chance, 15),
            guests_lost: seldom(chance, 20),
            rules_lost: 0,
            another_machine: seldom(chance, 15),
            edited: seldom(chance, 20),
            guest_dies: sometimes(chance, 60),
            clock_jump: sometimes(chance, 15),
            lasting: sometimes(chance, 50),
        }
    }
}

impl Wildness {
    fn draw(chance: &mut SmallRng) -> Self {
        Self {
            garbage: chance.random_bool(0.5),
            contradictions: chance.random_bool(0.5),
            several_subnets: chance.random_bool(0.5),
            references_gone: chance.random_bool(0.5),
            mass_deletion: chance.random_bool(0.25),
        }
    }
}
