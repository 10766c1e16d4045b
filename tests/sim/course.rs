//! The course of one history: its chance, its faults so far, and its trace.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::faults::{Fault, Tally};
use crate::history::Plan;
use crate::profile::Profile;

/// What a history has in seldom cases is drawn from its seed and this.
const APART: u64 = 0x6170_6172_7400_0000;
/// And whether and when hosts lose their rules from its seed and this: a history without that is the one that it was. Three of
/// the seeds in `regress.rs` have it.
const RULES: u64 = 0x7275_6c65_7300_0000;

/// Shared by all parts of one history. Whoever draws, draws from here: the order of draws is part of the history.
pub(crate) struct Course {
    pub(crate) profile: Profile,
    began: Instant,
    /// Whether anybody reads what is noted.
    traced: bool,
    /// After so many events nothing happens any more.
    cut: Option<u64>,
    inner: Mutex<Inner>,
}

struct Inner {
    chance: SmallRng,
    of_rules: SmallRng,
    stormy: bool,
    /// Hosts and the way to them are well from now on.
    truce: bool,
    /// Nobody writes documents.
    awaited: bool,
    /// When the consequences of what struck the store or a process are over.
    disturbed_until: Instant,
    faults: Tally,
    /// Faults and wishes so far.
    events: u64,
    trace: String,
}

impl Course {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let mut chance = SmallRng::seed_from_u64(plan.seed);
        let mut of_rules = SmallRng::seed_from_u64(plan.seed ^ RULES);
        let profile = plan.profile.unwrap_or_else(|| {
            let mut apart = SmallRng::seed_from_u64(plan.seed ^ APART);
            Profile::draw(&mut chance).drawn_apart(&mut apart).with_rules_lost(&mut of_rules)
        });
        let trace =
            if plan.traced { format!("seed {} {profile:?}\n", plan.seed) } else { String::new() };
        let stormy = plan.cut != Some(0);
        let inner = Inner {
            chance,
            of_rules,
            stormy,
            truce: false,
            awaited: false,
            disturbed_until: Instant::now(),
            faults: Tally::default(),
            events: 0,
            trace,
        };
        let inner = Mutex::new(inner);
        Arc::new(Self { profile, began: Instant::now(), traced: plan.traced, cut: plan.cut, inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.traced {
            let at = self.began.elapsed();
            let what = what();
            let _infallible = writeln!(self.lock().trace, "{:9.3} {what}", at.as_secs_f64());
        }
    }

    /// A fault of this class happens.
    pub(crate) fn fault(&self, class: Fault, what: impl FnOnce() -> String) {
        if let Some(aftermath) = class.disturbs_processes() {
            self.disturb(aftermath);
        }
        self.lock().faults.count(class);
        self.note(|| format!("FAULT {class:?}: {}", what()));
        self.event();
    }

    /// One more of the things that a shortened history has fewer of. Whether it was the last one.
    pub(crate) fn event(&self) {
        let mut inner = self.lock();
        inner.events += 1;
        if self.cut == Some(inner.events) {
            inner.stormy = false;
        }
    }

    /// Whether faults still happen.
    pub(crate) fn is_stormy(&self) -> bool {
        self.lock().stormy
    }

    /// Processes may be without the store, or away, for so long.
    pub(crate) fn disturb(&self, lasting: Duration) {
        let mut inner = self.lock();
        inner.disturbed_until = inner.disturbed_until.max(Instant::now() + lasting);
    }

    /// Since when no process was kept from the store, nor was away: it may lie in the future.
    pub(crate) fn undisturbed_since(&self) -> Instant {
        self.lock().disturbed_until
    }

    /// From now on nothing is wrong with hosts and the way to them.
    pub(crate) fn truce(&self) {
        self.lock().truce = true;
        self.note(|| "TRUCE".to_owned());
    }

    /// The user waits until this is taken back.
    pub(crate) fn awaits(&self, awaited: bool) {
        self.lock().awaited = awaited;
    }

    /// Whether the user waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.lock().awaited
    }

    /// Whether hosts and the way to them are well.
    pub(crate) fn is_truce(&self) -> bool {
        self.lock().truce
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&self) {
        self.lock().stormy = false;
        self.note(|| "CALM".to_owned());
    }

    /// Whether a host loses its rules now.
    pub(crate) fn loses_rules(&self) -> bool {
        let permille = self.profile.host.rules_lost;
        let mut inner = self.lock();
        inner.stormy && permille > 0 && inner.of_rules.random_range(0..1000) < permille
    }

    /// Whether something happens that does so `permille` times of a thousand, while faults happen.
    pub(crate) fn strikes(&self, permille: u32) -> bool {
        let mut inner = self.lock();
        inner.stormy && permille > 0 && inner.chance.random_range(0..1000) < permille
    }

    /// The same, and the fault is counted if it happens.
    pub(crate) fn faults(
        &self,
        class: Fault,
        permille: u32,
        what: impl FnOnce() -> String,
    ) -> bool {
        let struck = self.strikes(permille);
        if struck {
            self.fault(class, what);
        }
        struck
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.lock().chance.random_range(0..end)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[self.lock().chance.random_range(0..among.len())]
    }

    /// A time between these two, in whole milliseconds.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        let range = millis(least)..=millis(most);
        Duration::from_millis(self.lock().chance.random_range(range))
    }

    /// How many faults and wishes there were.
    pub(crate) fn events(&self) -> u64 {
        self.lock().events
    }

    /// The faults by class, and the trace.
    pub(crate) fn end(&self) -> (Tally, String) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.faults), std::mem::take(&mut inner.trace))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("histories are short")
}
