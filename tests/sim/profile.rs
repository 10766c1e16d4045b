//! Which faults a history has, and how often. Each class is left out of some histories, since one fault can hide another.

use rand::RngExt;
use rand::rngs::SmallRng;

/// How often each fault strikes, in thousandths of the operations that it can strike. 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The store fails before the operation.
    pub(crate) fail_before: u32,
    /// The store fails after the operation.
    pub(crate) fail_after: u32,
    /// The outcome is unknown; it never happens.
    pub(crate) lose: u32,
    /// The outcome is unknown; it happens later.
    pub(crate) land_late: u32,
    /// A read is old.
    pub(crate) stale_read: u32,
    /// The store takes up to some seconds.
    pub(crate) slow_store: u32,
    /// A request to an agent never arrives.
    pub(crate) request_lost: u32,
    /// An agent's answer never arrives.
    pub(crate) answer_lost: u32,
    /// A request arrives up to a minute late.
    pub(crate) late: u32,
    /// A request arrives twice, the second time up to a minute late.
    pub(crate) twice: u32,
    /// An agent's job fails.
    pub(crate) failing_jobs: u16,
    /// A replica crashes within so many steps of its start; 0 is never.
    pub(crate) crash_within: u64,
    /// Of a thousand moments of the weather, so many bring each of these.
    pub(crate) cut_watches: u32,
    pub(crate) compact: u32,
    pub(crate) store_cut: u32,
    pub(crate) leader_paused: u32,
    pub(crate) host_dark: u32,
    pub(crate) agent_killed: u32,
    pub(crate) host_reboot: u32,
    pub(crate) guest_crash: u32,
    pub(crate) resigned: u32,
}

impl Profile {
    pub(crate) fn draw(chance: &mut SmallRng) -> Self {
        let mut sometimes = |most: u32| {
            if chance.random_bool(0.5) { chance.random_range(1..=most) } else { 0 }
        };
        Self {
            fail_before: sometimes(40),
            fail_after: sometimes(40),
            lose: sometimes(30),
            land_late: sometimes(30),
            stale_read: sometimes(200),
            slow_store: sometimes(40),
            request_lost: sometimes(100),
            answer_lost: sometimes(100),
            late: sometimes(100),
            twice: sometimes(150),
            failing_jobs: u16::try_from(sometimes(200)).unwrap_or(0),
            crash_within: u64::from(sometimes(1_500)),
            cut_watches: sometimes(60),
            compact: sometimes(60),
            store_cut: sometimes(40),
            leader_paused: sometimes(40),
            host_dark: sometimes(40),
            agent_killed: sometimes(60),
            host_reboot: sometimes(30),
            guest_crash: sometimes(60),
            resigned: sometimes(30),
        }
    }
}
