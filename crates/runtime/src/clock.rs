//! The wall clock, for times that people read in documents.
//!
//! Nothing is decided by it: durations and deadlines inside the process use [`tokio::time::Instant`], which does not
//! jump, and which tests pause.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where the time of day comes from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970, UTC.
    fn unix_millis(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn unix_millis(&self) -> i64 {
        // A clock set before 1970 counts as 1970: it is wrong anyway, and must not stop the process.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that begins at a given time and goes on with tokio's, which tests pause and turn.
#[derive(Debug, Clone, Copy)]
pub struct PausedClock {
    start_millis: i64,
    started: Instant,
}

impl PausedClock {
    /// A clock that shows `start_millis`, in milliseconds since 1970, now.
    pub fn new(start_millis: i64) -> Self {
        Self { start_millis, started: Instant::now() }
    }
}

impl Clock for PausedClock {
    fn unix_millis(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.start_millis.saturating_add(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_with_tokio_time_alone() {
        let clock = PausedClock::new(1_000_000);
        assert_eq!(clock.unix_millis(), 1_000_000);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!(clock.unix_millis(), 1_001_500);
    }

    #[test]
    fn the_system_clock_shows_a_time_of_this_century() {
        let year_2020 = 1_577_836_800_000;
        let year_2100 = 4_102_444_800_000;
        let now = SystemClock.unix_millis();
        assert!((year_2020..year_2100).contains(&now), "{now}");
    }
}
