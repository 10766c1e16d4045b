//! A wall clock that can be set: one for every process and every host.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use lochness_runtime::clock::{Clock, PausedClock};

/// Goes on with the history's time, and jumps when it is told to. Clones are one clock.
#[derive(Debug, Clone)]
pub(crate) struct WallClock {
    base: PausedClock,
    offset_millis: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock that is right.
    pub(crate) fn new(base: PausedClock) -> Self {
        Self { base, offset_millis: Arc::default() }
    }

    /// From now on it is wrong by so much more.
    pub(crate) fn jump(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// From now on it is right.
    pub(crate) fn correct(&self) {
        self.offset_millis.store(0, Ordering::Relaxed);
    }

    /// The time that it shows.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.unix_millis()).expect("it is a time of this century")
    }

    /// The true time when it shows `shown`.
    pub(crate) fn truth(&self, shown: Timestamp) -> Timestamp {
        let offset = self.offset_millis.load(Ordering::Relaxed);
        Timestamp::from_millisecond(shown.as_millisecond() - offset).expect("it is a time")
    }
}

impl Clock for WallClock {
    fn unix_millis(&self) -> i64 {
        self.base.unix_millis() + self.offset_millis.load(Ordering::Relaxed)
    }
}
