//! The mistakes that the simulation must catch: who finds none of them proves nothing.
//!
//! Code that keeps a rule of INVARIANTS.md asks [`is`] whether it shall break it. Without the feature `switch` the answer
//! is a constant `false`, and the compiler drops the question; programs are built so. With it the answer is a matter of
//! the thread: `turn_on` makes one mistake on the calling thread until its guard is dropped, so that other tests of the
//! same process are not disturbed.
//!
//! Deliberately not here: environment variables, files, anything by which a running program could be told to be wrong.

/// One mistake, with the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mutant {
    /// S1: a guest whose status is lost is placed without a look at what hosts and index say.
    PlacesWithoutLook,
    /// S1: what a host may run that was not asked since the store was restored is not thought of.
    UnaskedHostsForgotten,
    /// S1: a list that could not be read is an empty one.
    FailedListIsEmpty,
    /// S2: addresses of open commits count as free, and the reservation is put without a compare.
    AddressUnchecked,
    /// S3: the address is freed when the teardown begins.
    AddressFreedFirst,
    /// S3: the address is freed when the delete was asked for, not when it is done.
    FreedUnconfirmed,
    /// S4: the agent is told another job than the one that etcd knows.
    JobUnknown,
    /// S4: the job is written for a guest whose status does not name it.
    JobUnnamed,
    /// S5: the agent carries out the same order again.
    OrderRunsTwice,
    /// S6: what open commits will use counts as free.
    CapacityClaimsIgnored,
    /// S6: memory is not looked at.
    MemoryIgnored,
    /// S7: transactions do not compare the leader's key.
    FenceDropped,
    /// S7: the agent takes requests of any epoch.
    EpochIgnored,
    /// S7: nobody looks how long the lease still lasts.
    LeaseUncounted,
    /// S8: the agent takes requests of any order.
    OrderIgnored,
    /// S9: a document that does not parse is one that is gone.
    UnparsedIsGone,
    /// S9: a teardown begins without comparing that the document is absent.
    TeardownUnchecked,
    /// S10: nobody counts deletions.
    BudgetIgnored,
    /// S11: one document that is invalid makes all of its kind so.
    MalformedSpreads,
    /// S12: the operator writes back into the user's document, as the original did.
    DocumentWrittenBack,
    /// S13: a guest is created before its host has acknowledged a ruleset.
    FirewallNotAwaited,
    /// S13: the agent takes a ruleset that is older than the one in force.
    OldRulesetTaken,
    /// S14: guests of a silent host lose their place.
    SilentHostFreed,
    /// S15: what a user keeps in a document is logged.
    SecretLogged,
    /// S15: what a user keeps in a document is written into its status.
    SecretInStatus,
    /// S16: what failed is tried again at once, and again.
    RetriesAtOnce,
    /// S2: a placement does not compare its address absent.
    AddressUncompared,
    /// S13: a placement does not compare its index key absent.
    IndexUncompared,
    /// S5: the next attempt is made by the job of the former one.
    JobReused,
    /// S15: what a user keeps in a document is the label of a metric.
    SecretInMetric,
    /// S16: a key is handed to a second worker while the first one has it.
    TwoWorkers,
    /// The store went back in time, and nothing waits for a person.
    HoldIgnored,
    /// L4: a candidate waits a minute before it stands.
    StandsLate,
    /// L5: nobody is placed while a document is invalid.
    PoisonDelays,
    /// L6: a guest that stopped by itself stays so.
    DriftIgnored,
    /// Who stands by is not ready: while nobody leads, nobody is.
    StandbyUnready,
    /// Who has lost the store is as ready as before.
    ReadyWithoutStore,
    /// L6: nobody looks when a host says that its rules are not in force any more.
    RulesDriftIgnored,
}

/// Every mistake.
pub const ALL: [Mutant; 38] = [
    Mutant::PlacesWithoutLook,
    Mutant::UnaskedHostsForgotten,
    Mutant::FailedListIsEmpty,
    Mutant::AddressUnchecked,
    Mutant::AddressFreedFirst,
    Mutant::FreedUnconfirmed,
    Mutant::JobUnknown,
    Mutant::JobUnnamed,
    Mutant::OrderRunsTwice,
    Mutant::CapacityClaimsIgnored,
    Mutant::MemoryIgnored,
    Mutant::FenceDropped,
    Mutant::EpochIgnored,
    Mutant::LeaseUncounted,
    Mutant::OrderIgnored,
    Mutant::UnparsedIsGone,
    Mutant::TeardownUnchecked,
    Mutant::BudgetIgnored,
    Mutant::MalformedSpreads,
    Mutant::DocumentWrittenBack,
    Mutant::FirewallNotAwaited,
    Mutant::OldRulesetTaken,
    Mutant::SilentHostFreed,
    Mutant::SecretLogged,
    Mutant::SecretInStatus,
    Mutant::RetriesAtOnce,
    Mutant::AddressUncompared,
    Mutant::IndexUncompared,
    Mutant::JobReused,
    Mutant::SecretInMetric,
    Mutant::TwoWorkers,
    Mutant::HoldIgnored,
    Mutant::StandsLate,
    Mutant::PoisonDelays,
    Mutant::DriftIgnored,
    Mutant::StandbyUnready,
    Mutant::ReadyWithoutStore,
    Mutant::RulesDriftIgnored,
];

#[cfg(not(feature = "switch"))]
mod switch {
    use super::Mutant;

    /// Whether this mistake is to be made: never.
    #[inline]
    pub const fn is(_: Mutant) -> bool {
        false
    }
}

#[cfg(feature = "switch")]
mod switch {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Mutant;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this mistake is to be made on this thread.
    #[inline]
    pub fn is(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Makes the mistake on this thread until the guard is dropped.
    pub fn turn_on(mutant: Mutant) -> Guard {
        ON.set(Some(mutant));
        Guard(PhantomData)
    }

    /// While it lives, one mistake is made on the thread that made it.
    #[derive(Debug)]
    pub struct Guard(PhantomData<*const ()>);

    impl Drop for Guard {
        fn drop(&mut self) {
            ON.set(None);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_mistake_is_made_on_its_own_thread_until_the_guard_is_dropped() {
            let guard = turn_on(Mutant::FenceDropped);
            assert!(is(Mutant::FenceDropped) && !is(Mutant::EpochIgnored));
            let elsewhere = std::thread::spawn(|| is(Mutant::FenceDropped));
            assert!(!elsewhere.join().expect("it does not panic"));
            drop(guard);
            assert!(!is(Mutant::FenceDropped));
        }
    }
}

pub use switch::is;
#[cfg(feature = "switch")]
pub use switch::{Guard, turn_on};
