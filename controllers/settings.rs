//! Every duration and limit of the loops, in one place, with its reason. Tests and the demo shorten them.

use std::time::Duration;

/// Durations and limits of the loops.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long an agent may hold a blocking list open.
    pub list_wait: Duration,
    /// How often the guests of an agent without a blocking list are read while nothing is under way there.
    pub list_interval: Duration,
    /// The same while a job is under way there.
    pub list_interval_busy: Duration,
    /// A host counts as reachable while its agent answered within this time.
    pub reachable_window: Duration,
    /// How long an agent may take for a read.
    pub read_timeout: Duration,
    /// How long a new leader waits for the first list of every host that has a heartbeat, or had one when somebody last led,
    /// before it places anything.
    pub startup_grace: Duration,
    /// When more than half of a host's guests vanish at once, only a second list this much later is believed.
    pub vanish_confirmation: Duration,
    /// How often every key is queued although nothing announced a change.
    pub rescan: Duration,
    /// How long a shutdown may take before the guest's power is cut.
    pub shutdown_grace: Duration,
    /// How long a create may take.
    pub create_deadline: Duration,
    /// How long any other action may take.
    pub action_deadline: Duration,
    /// First and longest wait between two attempts at one guest.
    pub retry_min: Duration,
    /// See [`Self::retry_min`].
    pub retry_max: Duration,
    /// A guest that ran this long since its last job starts again with the first attempt.
    pub stable_after: Duration,
    /// How often the statuses of hosts, subnets and groups are written at most; and how long a guest's job is under way
    /// before the guest's status says how far it is.
    pub status_interval: Duration,
    /// How often a message whose reason stayed is written at most.
    pub message_interval: Duration,
    /// How long a job's document stays after its end.
    pub job_retention: Duration,
    /// While more guests than these are due to be placed or being placed, they go first: what follows from their
    /// placements waits for them, for some seconds at most.
    pub placement_rush: usize,
    /// How many guests' requests one agent gets at once.
    pub requests_per_agent: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            list_wait: Duration::from_secs(30),
            list_interval: Duration::from_secs(5),
            list_interval_busy: Duration::from_millis(500),
            reachable_window: Duration::from_secs(30),
            read_timeout: Duration::from_secs(10),
            startup_grace: Duration::from_secs(15),
            vanish_confirmation: Duration::from_secs(60),
            rescan: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(60),
            create_deadline: Duration::from_secs(600),
            action_deadline: Duration::from_secs(180),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(600),
            status_interval: Duration::from_secs(1),
            message_interval: Duration::from_secs(60),
            job_retention: Duration::from_secs(24 * 3600),
            placement_rush: 256,
            requests_per_agent: 16,
            seed: 0,
        }
    }
}

impl Settings {
    /// The wait before attempt number `attempt` (0 is the first, which does not wait).
    pub fn retry_delay(&self, attempt: u32) -> Duration {
        match attempt.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                self.retry_min.saturating_mul(1 << doublings.min(16)).min(self.retry_max)
            }
        }
    }
}
