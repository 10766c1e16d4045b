//! What can be made to go wrong on a simulated host, at its start or while it runs.

use std::collections::BTreeSet;
use std::time::Duration;

use lochness_api::GuestId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A thousand: probabilities of faults are counted in thousandths.
pub(crate) const PERMILLE: u16 = 1000;

/// Faults that last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fault, independent of the others")]
pub struct Faults {
    /// Every request gets this instead of its answer.
    pub reply: Option<ReplyFault>,
    /// Of a thousand requests so many are carried out and never answered.
    pub lost_answers: u16,
    /// Of a thousand jobs so many fail.
    pub failing_jobs: u16,
    /// Every job of these guests fails.
    pub poisoned: BTreeSet<GuestId>,
    /// A job of these guests never ends.
    pub hanging: BTreeSet<GuestId>,
    /// No job ever ends.
    pub hang_jobs: bool,
    /// Accepted jobs are carried out, and 404 when asked for.
    pub forget_jobs: bool,
    /// Guests run on after a shutdown that is `Complete`.
    pub ignore_shutdown: bool,
    /// Every list of guests is empty.
    pub empty_list: bool,
    /// Images can be neither listed nor fetched.
    pub broken_images: bool,
    /// No ruleset can be put in force, for this reason.
    pub broken_firewall: Option<String>,
    /// A failed job ends the agent's process, as the original's does. It restarts after so many milliseconds.
    pub failed_job_kills_after_ms: Option<u64>,
}

/// What comes instead of an answer. The request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyFault {
    /// This status, with an empty body.
    Status(u16),
    /// Nothing, ever.
    Hang,
    /// The status 200 and JSON that ends in the middle.
    Truncated,
    /// A redirect to another host.
    Redirect,
}

/// Something that happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The guest dies.
    CrashGuest(GuestId),
    /// The guest powers itself off.
    StopGuest(GuestId),
    /// The guest and its record vanish.
    LoseGuest(GuestId),
    /// Somebody deletes the tables that were put in force, and nothing on the host puts them back.
    LoseRules,
    /// The host boots: its guests stop, its boot id is new, the agent comes back.
    Reboot,
    /// The host boots and comes back without guests.
    RebootEmpty,
    /// The agent's process ends, and comes back after so many milliseconds. Guests run on.
    KillAgent {
        /// How long it is away.
        down_ms: u64,
    },
    /// The agent's whole memory is lost, fences too. Guests are gone.
    Wipe,
}

/// The body of `POST /simulated/faults`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRequest {
    /// The faults from now on, in place of all before; absent leaves them.
    pub set: Option<Faults>,
    /// After so many milliseconds `set` ends and nothing goes wrong any more.
    pub for_ms: Option<u64>,
    /// What happens now, in this order.
    pub events: Vec<Event>,
}

/// The faults in force, and until when.
#[derive(Debug, Clone, Default)]
pub(crate) struct CurrentFaults {
    faults: Faults,
    until: Option<Instant>,
}

impl CurrentFaults {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, until: None }
    }

    pub(crate) fn set(&mut self, faults: Faults, lasting: Option<Duration>) {
        self.faults = faults;
        self.until = lasting.map(|lasting| Instant::now() + lasting);
    }

    /// What goes wrong now.
    pub(crate) fn now(&mut self) -> &Faults {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            *self = Self::default();
        }
        &self.faults
    }
}
