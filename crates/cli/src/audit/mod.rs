//! What is wrong in a store and on the hosts, by the invariants' numbers: read from the store at one revision and from
//! every agent's own list.
//!
//! Guarantees: looking changes nothing. Work under way looks wrong for a moment, so what is found is looked for a second
//! time, and only what was there both times is told. A repair is one transaction that compares everything it was based on;
//! none touches a key that users own, a running guest, or what a host that did not answer could contradict.
//!
//! Deliberately not here: repairs on agents. What runs and should not is a person's decision.

mod finding;
mod hosts;
mod placements;
mod store;

pub(crate) use finding::{Finding, Repair};
pub(crate) use hosts::{Lists, ask_all};
pub(crate) use store::Store;

/// Everything that is wrong, sorted.
pub(crate) fn findings(store: &Store, lists: &Lists) -> Vec<Finding> {
    let mut found = store.misread();
    found.extend(placements::check(store, lists));
    found.extend(hosts::check(store, lists));
    found.sort();
    found.dedup();
    found
}

/// Of `later`, what was found before, too.
pub(crate) fn lasting(earlier: &[Finding], later: Vec<Finding>) -> Vec<Finding> {
    later.into_iter().filter(|found| earlier.iter().any(|it| it.is_same(found))).collect()
}
