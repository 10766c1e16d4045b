//! The firewall of a host: the ruleset in force, and what may replace it. Pure.
//!
//! ```text
//!   PUT, PATCH ─▶ change: refused, or wanted ─▶ enforcer: nobody, simulated, nft ─▶ stored
//!                                                  ▲
//!   start, foreign changes, every minute ─▶ guard ─┘
//! ```
//! Guarantees: a lower revision never replaces a higher one; a patch applies to the very ruleset that it was made for or
//! not at all; what is stored is the ruleset as it was put and how its sets differ now, so that it is bounded by what is
//! in force, however many patches came.

pub(crate) mod change;
pub(crate) mod enforcer;
pub(crate) mod guard;
mod reader;
pub(crate) mod ruleset;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lochness_mutant::Mutant;
use serde::{Deserialize, Serialize};

use self::ruleset::{Change, Declared, Ruleset, element};
use self::tokens::Invalid;
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
    /// How sets differ from that.
    pub(crate) sets: BTreeMap<String, Members>,
}

/// How the elements of a set differ from those in the ruleset's text: what was added is not in the text, what was removed
/// is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Members {
    pub(crate) added: BTreeSet<String>,
    pub(crate) removed: BTreeSet<String>,
}

/// A patch that is in force: the elements that it really changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Patched {
    hash: String,
    revision: Order,
    since: Timestamp,
    add: BTreeMap<String, Vec<String>>,
    remove: BTreeMap<String, Vec<String>>,
}

/// What a change asks for, with what it takes.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) applied: Applied,
    ruleset: Ruleset,
    /// The patch that leads there, if one does.
    pub(crate) patched: Option<Patched>,
}

/// Whether what is stored is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InForce {
    /// It is, or nothing is stored.
    Yes,
    /// It is being put in force, after a start.
    NotYet,
    /// It could not be put in force.
    No(String),
}

/// Drift that was put right since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repairs {
    pub(crate) count: u64,
    pub(crate) last: Option<Timestamp>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A higher revision is in force.
    #[error("revision is below {0}")]
    Older(Order),
    /// Another ruleset than the patch's base is in force.
    #[error("another ruleset is in force than the patch's base")]
    WrongBase(Option<String>),
    /// The ruleset has no such set or map, or one in each table.
    #[error("ruleset has no set {0}")]
    NoSuchSet(String),
    /// It is none, or concerns more than our tables.
    #[error("ruleset is refused: {0}")]
    Invalid(#[from] Invalid),
}

impl Firewall {
    pub(crate) fn revision(&self) -> Option<Order> {
        self.applied.as_ref().map(|applied| applied.revision)
    }

    pub(crate) fn to_wire(&self, in_force: &InForce, repairs: Repairs) -> FirewallState {
        let (applied, why) = match in_force {
            InForce::Yes => (self.applied.as_ref(), None),
            InForce::NotYet => (None, None),
            InForce::No(why) => (None, Some(why)),
        };
        FirewallState {
            hash: applied.map(|applied| applied.hash.clone()),
            revision: applied.map(|applied| applied.revision),
            applied_at: applied.map(|applied| applied.since),
            error: why.or(self.error.as_ref()).cloned(),
            repairs: repairs.count,
            repaired_at: repairs.last,
        }
    }

    /// The firewall that `put` asks for.
    pub(crate) fn replaced(&self, put: FirewallPut, now: Timestamp) -> Result<Wanted, Refusal> {
        self.check_revision(put.revision)?;
        let ruleset = Ruleset::parse(&put.ruleset)?;
        let applied = Applied {
            hash: put.hash,
            revision: put.revision,
            since: now,
            ruleset: put.ruleset,
            sets: BTreeMap::new(),
        };
        Ok(Wanted { applied, ruleset, patched: None })
    }

    /// The firewall that `patch` asks for.
    pub(crate) fn patched(&self, patch: &FirewallPatch, now: Timestamp) -> Result<Wanted, Refusal> {
        self.check_revision(patch.revision)?;
        let Some(base) = self.applied.as_ref().filter(|applied| applied.hash == patch.base) else {
            return Err(Refusal::WrongBase(self.applied.as_ref().map(|one| one.hash.clone())));
        };
        let ruleset = Ruleset::parse(&base.ruleset)?;
        let (mut add, mut remove) = (BTreeMap::new(), BTreeMap::new());
        let touched: BTreeSet<_> = patch.add.keys().chain(patch.remove.keys()).collect();
        for name in touched {
            let declared = ruleset.set(name).filter(|declared| !declared.is_ambiguous);
            let declared = declared.ok_or_else(|| Refusal::NoSuchSet(name.clone()))?;
            let before = elements(declared, base.sets.get(name));
            let mut after = before.clone();
            for removed in patch.remove.get(name).into_iter().flatten() {
                after.remove(declared.kind.key(&element(removed)?));
            }
            for added in patch.add.get(name).into_iter().flatten() {
                let added = element(added)?;
                after.insert(declared.kind.key(&added).to_owned(), added);
            }
            insert_unless_empty(&mut remove, name, missing(&before, &after));
            insert_unless_empty(&mut add, name, missing(&after, &before));
        }
        let (hash, revision) = (patch.hash.clone(), patch.revision);
        let patched = Patched { hash, revision, since: now, add, remove };
        let mut applied = base.clone();
        applied.take_in(patched.clone());
        Ok(Wanted { applied, ruleset, patched: Some(patched) })
    }

    /// Takes in a patch that is in force.
    pub(crate) fn take_in(&mut self, patched: Patched) {
        if let Some(applied) = &mut self.applied {
            applied.take_in(patched);
            self.error = None;
        }
    }

    /// What is stored, as it is wanted again after a start or a change by somebody else.
    pub(crate) fn again(&self) -> Option<Result<Wanted, Refusal>> {
        let applied = self.applied.clone()?;
        let ruleset = Ruleset::parse(&applied.ruleset).map_err(Refusal::Invalid);
        Some(ruleset.map(|ruleset| Wanted { applied, ruleset, patched: None }))
    }

    fn check_revision(&self, given: Order) -> Result<(), Refusal> {
        match self.revision() {
            Some(_) if lochness_mutant::is(Mutant::OldRulesetTaken) => Ok(()),
            Some(seen) if given < seen => Err(Refusal::Older(seen)),
            _ => Ok(()),
        }
    }
}

impl Applied {
    fn take_in(&mut self, patched: Patched) {
        let Patched { hash, revision, since, add, remove } = patched;
        (self.hash, self.revision, self.since) = (hash, revision, since);
        for (set, elements) in remove {
            let members = self.sets.entry(set).or_default();
            for element in elements {
                // What a patch brought goes without a trace; what is in the text is noted as gone.
                if !members.added.remove(&element) {
                    members.removed.insert(element);
                }
            }
        }
        for (set, elements) in add {
            let members = self.sets.entry(set).or_default();
            for element in elements {
                if !members.removed.remove(&element) {
                    members.added.insert(element);
                }
            }
        }
        self.sets.retain(|_, members| !(members.added.is_empty() && members.removed.is_empty()));
    }
}

impl Wanted {
    /// What nft is given to have it, whatever is there now.
    pub(crate) fn whole(&self) -> String {
        let changed = self.applied.sets.iter().filter_map(|(name, members)| {
            let declared = self.ruleset.set(name)?;
            Some((name.clone(), elements(declared, Some(members)).into_values().collect()))
        });
        self.ruleset.whole(&changed.collect())
    }

    /// What nft is given to come there from what was in force before; none when only the whole will do.
    pub(crate) fn transaction(&self) -> Option<String> {
        let patched = self.patched.as_ref()?;
        let mut text = String::new();
        for (change, sets) in [(Change::Delete, &patched.remove), (Change::Add, &patched.add)] {
            for (name, elements) in sets {
                self.ruleset.set(name)?.write(&mut text, change, name, elements);
            }
        }
        Some(text)
    }
}

/// The elements of a set now, by their keys.
fn elements(declared: &Declared, members: Option<&Members>) -> BTreeMap<String, String> {
    let mut elements = declared.elements.clone();
    if let Some(members) = members {
        elements.retain(|_, element| !members.removed.contains(element));
        let added = members.added.iter();
        elements.extend(added.map(|it| (declared.kind.key(it).to_owned(), it.clone())));
    }
    elements
}

/// What is in `one` and not in `other`.
fn missing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    one.iter().filter(|(key, it)| other.get(*key) != Some(it)).map(|(_, it)| it.clone()).collect()
}

fn insert_unless_empty(map: &mut BTreeMap<String, Vec<String>>, name: &str, elements: Vec<String>) {
    if !elements.is_empty() {
        map.insert(name.to_owned(), elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str =
        "table inet lochness { set web { type ipv4_addr; elements = { 10.0.0.2 } }
        map guests { type ipv4_addr : verdict; elements = { 10.0.0.9 : goto a } } }";

    fn put(revision: u64) -> FirewallPut {
        FirewallPut {
            hash: format!("h{revision}"),
            revision: Order::new(1, revision),
            ruleset: RULESET.into(),
        }
    }

    fn members(set: &str, members: &[&str]) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([(set.to_owned(), members.iter().map(|it| (*it).to_owned()).collect())])
    }

    fn patch(base: u64, revision: u64, set: &str) -> FirewallPatch {
        changing(base, revision, set, &["10.0.0.1"], &["10.0.0.2"])
    }

    fn changing(
        base: u64,
        revision: u64,
        set: &str,
        add: &[&str],
        remove: &[&str],
    ) -> FirewallPatch {
        FirewallPatch {
            base: format!("h{base}"),
            hash: format!("h{revision}"),
            revision: Order::new(1, revision),
            add: members(set, add),
            remove: members(set, remove),
        }
    }

    fn at(revision: u64) -> Firewall {
        let wanted = Firewall::default().replaced(put(revision), Timestamp::UNIX_EPOCH).unwrap();
        Firewall { applied: Some(wanted.applied), error: None }
    }

    /// The firewall after the patch, and what nft is given for it.
    fn after(firewall: &Firewall, patch: &FirewallPatch) -> (Firewall, String) {
        let wanted = firewall.patched(patch, Timestamp::UNIX_EPOCH).unwrap();
        let mut stored = firewall.clone();
        stored.take_in(wanted.patched.clone().unwrap());
        assert_eq!(stored.applied.as_ref(), Some(&wanted.applied), "stored as it was wanted");
        (stored, wanted.transaction().unwrap())
    }

    fn refusal(firewall: &Firewall, patch: &FirewallPatch) -> Refusal {
        firewall.patched(patch, Timestamp::UNIX_EPOCH).map(|wanted| wanted.applied).unwrap_err()
    }

    #[test]
    fn a_lower_revision_is_refused_and_an_equal_one_is_not() {
        let now = Timestamp::UNIX_EPOCH;
        let older = Refusal::Older(Order::new(1, 5));
        assert_eq!(at(5).replaced(put(4), now).map(|it| it.applied), Err(older.clone()));
        assert!(at(5).replaced(put(5), now).is_ok());
        assert_eq!(refusal(&at(5), &patch(5, 4, "web")), older);
    }

    #[test]
    fn a_patch_needs_its_very_base() {
        let wrong = Refusal::WrongBase(Some("h5".into()));
        assert_eq!(refusal(&at(5), &patch(4, 6, "web")), wrong);
        let none = Refusal::WrongBase(None);
        assert_eq!(refusal(&Firewall::default(), &patch(4, 6, "web")), none);
    }

    #[test]
    fn a_patch_of_an_unknown_set_or_with_more_than_elements_is_refused() {
        assert_eq!(refusal(&at(5), &patch(5, 6, "db")), Refusal::NoSuchSet("db".into()));
        let hostile = changing(5, 6, "web", &["10.0.0.1 } ; flush ruleset"], &[]);
        assert!(matches!(refusal(&at(5), &hostile), Refusal::Invalid(_)));
        let foreign = FirewallPut { ruleset: "flush ruleset".into(), ..put(6) };
        let refused = at(5).replaced(foreign, Timestamp::UNIX_EPOCH).map(|it| it.applied);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn a_patch_becomes_one_transaction_of_what_it_really_changes() {
        let all = changing(5, 6, "web", &["10.0.0.1", "10.0.0.2"], &["10.0.0.7"]);
        let (_, transaction) = after(&at(5), &all);
        assert_eq!(transaction, "add element inet lochness web { 10.0.0.1 }\n");
        let swap = changing(5, 6, "web", &["10.0.0.3", "10.0.0.4"], &["10.0.0.2"]);
        let (_, transaction) = after(&at(5), &swap);
        assert_eq!(
            transaction,
            "delete element inet lochness web { 10.0.0.2 }\n\
             add element inet lochness web { 10.0.0.3, 10.0.0.4 }\n"
        );
    }

    #[test]
    fn an_element_of_a_map_is_known_by_its_key() {
        let moved = changing(5, 6, "guests", &["10.0.0.9 : goto b"], &[]);
        let (stored, transaction) = after(&at(5), &moved);
        assert_eq!(
            transaction,
            "delete element inet lochness guests { 10.0.0.9 : goto a }\n\
             add element inet lochness guests { 10.0.0.9 : goto b }\n"
        );
        let (stored, _) = after(&stored, &changing(6, 7, "guests", &[], &["10.0.0.9"]));
        let whole = stored.again().unwrap().unwrap().whole();
        assert!(!whole.contains("10.0.0.9"), "{whole}");
    }

    #[test]
    fn the_whole_says_what_the_patches_made_of_it() {
        let (stored, _) = after(&at(5), &patch(5, 6, "web"));
        let whole = stored.again().unwrap().unwrap().whole();
        assert!(whole.contains("add element inet lochness web { 10.0.0.1 }"), "{whole}");
        assert!(!whole.contains("10.0.0.2"), "{whole}");
        assert!(whole.contains("10.0.0.9 : goto a"), "{whole}");
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_behind() {
        let mut firewall = at(0);
        for round in 0..100 {
            let other = format!("10.1.0.{round}");
            let come = changing(2 * round, 2 * round + 1, "web", &[&other], &["10.0.0.2"]);
            firewall = after(&firewall, &come).0;
            let go = changing(2 * round + 1, 2 * round + 2, "web", &["10.0.0.2"], &[&other]);
            firewall = after(&firewall, &go).0;
        }
        let applied = firewall.applied.unwrap();
        assert_eq!((applied.hash.as_str(), &applied.sets), ("h200", &BTreeMap::new()));
    }

    #[test]
    fn what_is_not_in_force_is_not_said_to_be() {
        let told = at(5).to_wire(&InForce::No("no nft".into()), Repairs::default());
        assert_eq!((told.hash, told.revision), (None, None));
        assert_eq!(told.error.as_deref(), Some("no nft"));
    }
}
