//! The firewall of a host: the ruleset in force, and what may replace it. Pure.
//!
//! Guarantees: a lower revision never replaces a higher one; a patch applies to the very ruleset that it was made for or
//! not at all.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{FirewallPatch, FirewallPut, FirewallState, Order};

/// What is stored of the firewall: enough to put it in force again after a boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Firewall {
    /// What is in force.
    pub(crate) applied: Option<Applied>,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
}

/// A ruleset in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub(crate) hash: String,
    pub(crate) revision: Order,
    pub(crate) since: Timestamp,
    /// As it was put.
    pub(crate) ruleset: String,
    /// What patches have changed since, by set.
    pub(crate) sets: BTreeMap<String, Members>,
}

/// How the members of a set differ from those in the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) added: BTreeSet<String>,
    pub(crate) removed: BTreeSet<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A higher revision is in force.
    Older(Order),
    /// Another ruleset than the patch's base is in force.
    WrongBase(Option<String>),
    /// The ruleset has no such set.
    NoSuchSet(String),
}

impl Firewall {
    pub(crate) fn revision(&self) -> Option<Order> {
        self.applied.as_ref().map(|applied| applied.revision)
    }

    pub(crate) fn to_wire(&self) -> FirewallState {
        let applied = self.applied.as_ref();
        FirewallState {
            hash: applied.map(|applied| applied.hash.clone()),
            revision: self.revision(),
            applied_at: applied.map(|applied| applied.since),
            error: self.error.clone(),
        }
    }

    /// The firewall that `put` asks for.
    pub(crate) fn replaced(&self, put: FirewallPut, now: Timestamp) -> Result<Applied, Refusal> {
        self.check_revision(put.revision)?;
        Ok(Applied {
            hash: put.hash,
            revision: put.revision,
            since: now,
            ruleset: put.ruleset,
            sets: BTreeMap::new(),
        })
    }

    /// The firewall that `patch` asks for.
    pub(crate) fn patched(&self, patch: FirewallPatch, now: Timestamp) -> Result<Applied, Refusal> {
        self.check_revision(patch.revision)?;
        let Some(base) = self.applied.as_ref().filter(|applied| applied.hash == patch.base) else {
            return Err(Refusal::WrongBase(self.applied.as_ref().map(|one| one.hash.clone())));
        };
        let touched: BTreeSet<_> = patch.add.keys().chain(patch.remove.keys()).collect();
        if let Some(missing) = touched.into_iter().find(|set| !has_set(&base.ruleset, set)) {
            return Err(Refusal::NoSuchSet(missing.clone()));
        }
        let mut sets = base.sets.clone();
        for (set, members) in patch.remove {
            sets.entry(set).or_default().remove(members);
        }
        for (set, members) in patch.add {
            sets.entry(set).or_default().add(members);
        }
        Ok(Applied {
            hash: patch.hash,
            revision: patch.revision,
            since: now,
            ruleset: base.ruleset.clone(),
            sets,
        })
    }

    fn check_revision(&self, given: Order) -> Result<(), Refusal> {
        match self.revision() {
            Some(seen) if given < seen => Err(Refusal::Older(seen)),
            _ => Ok(()),
        }
    }
}

impl Members {
    fn add(&mut self, members: Vec<String>) {
        for member in members {
            self.removed.remove(&member);
            self.added.insert(member);
        }
    }

    fn remove(&mut self, members: Vec<String>) {
        for member in members {
            self.added.remove(&member);
            self.removed.insert(member);
        }
    }
}

/// Whether the ruleset declares `set NAME`.
fn has_set(ruleset: &str, name: &str) -> bool {
    let words: Vec<_> = ruleset.split_whitespace().collect();
    words.windows(2).any(|pair| pair == ["set", name])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(revision: u64) -> FirewallPut {
        FirewallPut {
            hash: format!("h{revision}"),
            revision: Order::new(1, revision),
            ruleset: "table inet lochness { set web { type ipv4_addr; } }".into(),
        }
    }

    fn patch(base: u64, revision: u64, set: &str) -> FirewallPatch {
        FirewallPatch {
            base: format!("h{base}"),
            hash: format!("h{revision}"),
            revision: Order::new(1, revision),
            add: BTreeMap::from([(set.to_owned(), vec!["10.0.0.1".to_owned()])]),
            remove: BTreeMap::from([(set.to_owned(), vec!["10.0.0.2".to_owned()])]),
        }
    }

    fn at(revision: u64) -> Firewall {
        let applied = Firewall::default().replaced(put(revision), Timestamp::UNIX_EPOCH).unwrap();
        Firewall { applied: Some(applied), error: None }
    }

    #[test]
    fn a_lower_revision_is_refused_and_an_equal_one_is_not() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(at(5).replaced(put(4), now), Err(Refusal::Older(Order::new(1, 5))));
        assert!(at(5).replaced(put(5), now).is_ok());
        assert_eq!(at(5).patched(patch(5, 4, "web"), now), Err(Refusal::Older(Order::new(1, 5))));
    }

    #[test]
    fn a_patch_needs_its_very_base() {
        let now = Timestamp::UNIX_EPOCH;
        let wrong = Err(Refusal::WrongBase(Some("h5".into())));
        assert_eq!(at(5).patched(patch(4, 6, "web"), now), wrong);
        let none = Err(Refusal::WrongBase(None));
        assert_eq!(Firewall::default().patched(patch(4, 6, "web"), now), none);
    }

    #[test]
    fn a_patch_of_an_unknown_set_changes_nothing() {
        let now = Timestamp::UNIX_EPOCH;
        let refusal = Err(Refusal::NoSuchSet("db".into()));
        assert_eq!(at(5).patched(patch(5, 6, "db"), now), refusal);
    }

    #[test]
    fn the_last_patch_of_a_member_wins() {
        let now = Timestamp::UNIX_EPOCH;
        let once = at(5).patched(patch(5, 6, "web"), now).unwrap();
        let back = FirewallPatch {
            add: BTreeMap::from([("web".to_owned(), vec!["10.0.0.2".to_owned()])]),
            remove: BTreeMap::from([("web".to_owned(), vec!["10.0.0.1".to_owned()])]),
            ..patch(6, 7, "web")
        };
        let twice = Firewall { applied: Some(once), error: None }.patched(back, now).unwrap();
        let members = &twice.sets["web"];
        assert_eq!(members.added, BTreeSet::from(["10.0.0.2".to_owned()]));
        assert_eq!(members.removed, BTreeSet::from(["10.0.0.1".to_owned()]));
    }
}
