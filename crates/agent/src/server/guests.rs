//! Guests as a host keeps them, and what actions do to them. Pure.
//!
//! ```text
//!            create          shutdown, poweroff
//!   (none) ────────▶ Running ──────────────────▶ Shutoff ─┐
//!      │                │ ▲ │                       ▲     │ start, restart, create
//!      │ POST           │ │ └ dies ──▶ Crashed ─────┼─────┤
//!      ▼        suspend │ │ resume                  │     ▼
//!     New ──┐           ▼ │        shutdown         │  Running
//!           │         Paused ───────────────────────┘
//!           └ create, start ──▶ Running          delete: from any to (none)
//! ```

use lochness_api::GuestId;
use lochness_api::job::JobAction;
use serde::{Deserialize, Serialize};

use super::config::{Compat, StateWords};
use super::history::EffectKind;
use crate::wire::{AgentGuest, Nic};

/// A guest's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestRecord {
    /// As it was sent; its `state` is empty here.
    pub(crate) guest: AgentGuest,
    pub(crate) power: PowerState,
    /// Whether no job has ended since the last POST; the original then says `create`, whatever the guest does.
    #[serde(default)]
    pub(crate) fresh: bool,
    /// What is wrong with it; the original only.
    #[serde(default)]
    pub(crate) trouble: Trouble,
}

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PowerState {
    /// It has a record, and nothing was made yet.
    New,
    Running,
    Paused,
    Shutoff,
    Crashed,
}

/// What the original's races leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// Its delete is `Complete`, and its record is about to go.
    Vanishing,
    /// Nothing works off its jobs any more.
    Stuck,
    /// It is listed, and answers every request with 500.
    Damaged,
}

/// What an action makes of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    /// What it does then; none: it is gone.
    pub(crate) power: Option<PowerState>,
    pub(crate) effects: &'static [EffectKind],
}

impl GuestRecord {
    pub(crate) fn new(mut guest: AgentGuest) -> Self {
        guest.state = String::new();
        Self { guest, power: PowerState::New, fresh: true, trouble: Trouble::None }
    }

    pub(crate) fn id(&self) -> GuestId {
        self.guest.id
    }

    /// The guest as it is answered.
    pub(crate) fn to_wire(&self, compat: Compat, words: StateWords) -> AgentGuest {
        let word = match (compat, words) {
            (Compat::Mistify, StateWords::Echo) => "create",
            (Compat::Mistify, _) if self.fresh => "create",
            (Compat::Mistify, StateWords::Docker) => self.power.docker_word(),
            (Compat::Mistify, StateWords::Libvirt) | (Compat::Lochness, _) => self.power.word(),
        };
        AgentGuest { state: word.to_owned(), ..self.guest.clone() }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        let nics = self.guest.nics.iter().filter(|nic| !nic.address.is_empty());
        nics.map(|nic| nic.address.clone()).collect()
    }

    /// Whether there is more of it than a record.
    pub(crate) fn is_made(&self) -> bool {
        self.power != PowerState::New
    }

    /// Whether its interfaces are those of `other`: what nobody can change while it is there.
    pub(crate) fn has_interfaces_of(&self, other: &AgentGuest) -> bool {
        let (ours, theirs) = (&self.guest.nics, &other.nics);
        let is_same = |(one, two): (&Nic, &Nic)| {
            one.mac.eq_ignore_ascii_case(&two.mac) && one.address == two.address
        };
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(is_same)
    }

    /// Whether a host that lost its lease must stop it, because it may be placed anew.
    pub(crate) fn is_evacuated(&self) -> bool {
        self.guest.metadata.get("evacuate").is_some_and(|value| value == "recreate")
    }

    /// Whether it holds its address and its memory.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.power, PowerState::Running | PowerState::Paused)
    }
}

impl PowerState {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            // A guest that is about to be made does not run.
            Self::New | Self::Shutoff => "shutoff",
            Self::Crashed => "crashed",
        }
    }

    fn docker_word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::New | Self::Shutoff | Self::Crashed => "stopped",
        }
    }
}

/// What `action` makes of a guest that does `power`, or why it cannot be done. What is already so is no error. Only the
/// original makes again what was made: its creates carry no number that would tell a second one from a late one.
pub(crate) fn transition(
    compat: Compat,
    action: JobAction,
    power: PowerState,
) -> Result<Transition, String> {
    use EffectKind as E;
    use JobAction as A;
    use PowerState as P;
    let (power, effects): (PowerState, &'static [EffectKind]) = match (action, power) {
        (A::Create | A::Start | A::Restart, P::New) => (P::Running, &[E::Created, E::Started]),
        (A::Create, P::Running | P::Paused) => match compat {
            Compat::Mistify => (power, &[E::Redefined]),
            Compat::Lochness => (power, &[]),
        },
        (A::Create, P::Shutoff | P::Crashed) => match compat {
            Compat::Mistify => (P::Running, &[E::Redefined, E::Started]),
            Compat::Lochness => (P::Running, &[E::Started]),
        },
        (A::Start | A::Restart, P::Shutoff | P::Crashed) => (P::Running, &[E::Started]),
        (A::Start | A::Resume, P::Running) => (P::Running, &[]),
        (A::Shutdown | A::Poweroff, P::Running | P::Paused) => (P::Shutoff, &[E::Stopped]),
        (A::Shutdown | A::Poweroff, P::New | P::Shutoff | P::Crashed) => (power, &[]),
        (A::Reboot, P::Running) => (P::Running, &[E::Rebooted]),
        (A::Restart, P::Running | P::Paused) => (P::Running, &[E::Stopped, E::Started]),
        (A::Suspend, P::Running) => (P::Paused, &[E::Paused]),
        (A::Suspend, P::Paused) => (P::Paused, &[]),
        (A::Resume, P::Paused) => (P::Running, &[E::Resumed]),
        (A::Start, P::Paused) => return Err("guest is paused: resume it".to_owned()),
        (A::Reboot, P::Paused) => return Err("guest is paused".to_owned()),
        (A::Reboot | A::Suspend | A::Resume, P::New | P::Shutoff | P::Crashed) => {
            return Err("guest does not run".to_owned());
        }
        (A::Delete, P::Running | P::Paused) => {
            return Ok(Transition { power: None, effects: &[E::Stopped, E::Deleted] });
        }
        (A::Delete, P::New | P::Shutoff | P::Crashed) => {
            return Ok(Transition { power: None, effects: &[E::Deleted] });
        }
    };
    Ok(Transition { power: Some(power), effects })
}
