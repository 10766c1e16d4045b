//! The course of one history: its chance, its faults so far, and its trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use crate::profile::Profile;

/// Shared by all parts of one history. Whoever draws, draws from here: the order of draws is part of the history.
pub(crate) struct Course {
    pub(crate) profile: Profile,
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    chance: SmallRng,
    stormy: bool,
    faults: BTreeMap<&'static str, u64>,
    trace: String,
}

impl Course {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut chance = SmallRng::seed_from_u64(seed);
        let profile = Profile::draw(&mut chance);
        let mut trace = String::new();
        let _ = writeln!(trace, "seed {seed} {profile:?}");
        let inner = Inner { chance, stormy: true, faults: BTreeMap::new(), trace };
        Arc::new(Self { profile, began: Instant::now(), inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: &str) {
        let at = self.began.elapsed();
        let _ = writeln!(self.lock().trace, "{:9.3} {what}", at.as_secs_f64());
    }

    /// A fault of this class happens.
    pub(crate) fn fault(&self, class: &'static str, what: &str) {
        *self.lock().faults.entry(class).or_default() += 1;
        self.note(&format!("FAULT {class}: {what}"));
    }

    /// Whether faults still happen.
    pub(crate) fn is_stormy(&self) -> bool {
        self.lock().stormy
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&self) {
        self.lock().stormy = false;
        self.note("CALM");
    }

    /// Whether something happens that does so `permille` times of a thousand, while faults happen.
    pub(crate) fn strikes(&self, permille: u32) -> bool {
        let mut inner = self.lock();
        inner.stormy && permille > 0 && inner.chance.random_range(0..1000) < permille
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.lock().chance.random_range(0..end)
    }

    /// A time between these two, in whole milliseconds.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        let range = millis(least)..=millis(most);
        Duration::from_millis(self.lock().chance.random_range(range))
    }

    /// The faults by class, and the trace.
    pub(crate) fn end(&self) -> (BTreeMap<&'static str, u64>, String) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.faults), std::mem::take(&mut inner.trace))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("histories are short")
}
