//! When to leave an agent alone for a while. Pure: the time comes in.
//!
//! ```text
//!            `threshold` failures in a row                     its time is over
//!   closed ─────────────────────────────────▶ open (refuses) ───────────────────▶ half open
//!     ▲                                         ▲                                  │ one call
//!     │ success                                 │ it failed: twice as long         │ goes through
//!     └─────────────────────────────────────────┴──────────────────────────────────┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// A call that was let through half open and whose end nobody told is forgotten after so long: it was dropped.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// How a breaker opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BreakerOptions {
    /// So many failures in a row open it.
    pub(super) threshold: u32,
    /// How long it stays open at first; doubles with each failure after that.
    pub(super) min: Duration,
    /// The longest it stays open.
    pub(super) max: Duration,
}

/// Refuses calls after repeated failures, and lets one through now and then.
#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { since: Instant },
}

impl Breaker {
    /// A closed breaker.
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self { options, failures: 0, state: State::Closed }
    }

    /// How long no call goes through, if so. Changes nothing.
    pub(super) fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::HalfOpen { since } if now < since + PROBE_LIMIT => Some(self.options.min),
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Lets a call through, if one may go now.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.refuses(now) {
            return Err(wait);
        }
        if self.state != State::Closed {
            self.state = State::HalfOpen { since: now };
        }
        Ok(())
    }

    /// A call went well.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Closed;
    }

    /// A call failed. Calls that were under way when the breaker opened do not open it further.
    pub(super) fn failed(&mut self, now: Instant) {
        if let State::Open { until } = self.state
            && now < until
        {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(beyond) = self.failures.checked_sub(self.options.threshold) else { return };
        let open_for = self.options.min.saturating_mul(1 << beyond.min(16)).min(self.options.max);
        self.state = State::Open { until: now + open_for };
    }

    /// A call that was let through told nothing: the next one may try.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// Whether it refuses calls, or lets through but one.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions { threshold: 3, min: SECOND, max: 5 * SECOND })
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_and_not_before() {
        let now = Instant::now();
        let mut breaker = breaker();
        breaker.failed(now);
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Err(SECOND));
    }

    #[test]
    fn lets_one_call_through_when_its_time_is_over() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + SECOND), Ok(()));
        assert!(breaker.admit(now + SECOND).is_err(), "a second one waits for the first");
        breaker.succeeded();
        assert_eq!(breaker.admit(now + SECOND), Ok(()));
        assert!(!breaker.is_open());
    }

    #[test]
    fn stays_open_twice_as_long_after_each_failed_probe_up_to_its_cap() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [1, 2, 4, 5, 5] {
            assert_eq!(breaker.admit(now), Err(seconds * SECOND));
            now += seconds * SECOND;
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
        }
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_open_it_further() {
        let now = Instant::now();
        let mut breaker = opened(now);
        for _ in 0..10 {
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now), Err(SECOND));
    }

    #[test]
    fn a_probe_that_told_nothing_leaves_its_turn_to_the_next() {
        let now = Instant::now() + SECOND;
        let mut breaker = opened(now - SECOND);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.abandoned(now);
        assert_eq!(breaker.admit(now), Ok(()));
        assert!(breaker.is_open());
    }

    #[test]
    fn a_probe_that_was_dropped_does_not_keep_it_shut_for_ever() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + SECOND), Ok(()));
        assert_eq!(breaker.admit(now + SECOND + PROBE_LIMIT), Ok(()));
    }
}
