//! L4: when nothing keeps the processes from it, somebody leads five seconds after the former leader's key has gone.
//!
//! The key itself goes with its lease, so that a leader that dies is followed within lease + 5 s. Faults that touch the
//! store or a process count as long as their consequences last ([`Course::undisturbed_since`]).
//!
//! [`Course::undisturbed_since`]: crate::course::Course::undisturbed_since

use std::time::Duration;

use lochness_api::{Key, Prefix};
use lochness_kv::Event;
use tokio::time::Instant;

/// Nobody leads for so long at most.
const LONGEST_VACANCY: Duration = Duration::from_secs(5);

/// Who leads, and if nobody does, since when.
pub(crate) struct Election {
    key: String,
    vacant_since: Option<Instant>,
    /// This vacancy was found to be too long.
    is_told: bool,
}

impl Election {
    /// Nobody leads yet.
    pub(crate) fn new() -> Self {
        let key = Prefix::default().key(&Key::Leader);
        Self { key, vacant_since: Some(Instant::now()), is_told: false }
    }

    /// Takes a revision in; what is wrong, when nothing disturbed the processes since `undisturbed`.
    pub(crate) fn take(&mut self, events: &[Event], undisturbed: Instant) -> Option<String> {
        let of_leader = events.iter().rfind(|event| event.key() == self.key.as_bytes())?;
        match of_leader {
            Event::Put(_) => {
                let overdue = self.overdue(undisturbed);
                self.vacant_since = None;
                self.is_told = false;
                overdue
            }
            Event::Delete { .. } => {
                self.vacant_since = Some(Instant::now());
                None
            }
        }
    }

    /// The store was exchanged: whether somebody leads in it.
    pub(crate) fn begins_anew(&mut self, is_led: bool) {
        self.vacant_since = (!is_led).then(Instant::now);
    }

    /// Whether nobody leads although somebody should by now; told once.
    pub(crate) fn overdue(&mut self, undisturbed: Instant) -> Option<String> {
        let since = self.vacant_since?.max(undisturbed);
        let vacant = Instant::now().checked_duration_since(since)?;
        if vacant <= LONGEST_VACANCY || self.is_told {
            return None;
        }
        self.is_told = true;
        Some(format!("L4: nobody leads for {vacant:?}, and nothing is in the way"))
    }
}
