//! Delays between retries: exponential, with jitter, never above a cap.
//!
//! The delay of the n-th failure lies in the upper half of `min * factor^n`, at random, so that many keys which failed
//! together do not come back together. The random numbers come from a seed: equal seeds give equal delays.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use lochness_mutant::Mutant;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Steps after which a delay grows no more even when its cap is not reached; keeps the table small whatever the options.
const MAX_STEPS: usize = 256;

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffOptions {
    /// Delay after the first failure, before jitter.
    pub min: Duration,
    /// No delay is longer, jitter included.
    pub max: Duration,
    /// What each further failure multiplies the delay by; below 1 counts as 1.
    pub factor: f32,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for BackoffOptions {
    /// For retries against etcd: from 50 ms, doubling, to 5 s.
    fn default() -> Self {
        Self { min: Duration::from_millis(50), max: Duration::from_secs(5), factor: 2.0, seed: 0 }
    }
}

/// The delays of one kind of retry. Counting the failures is the caller's, so that one `Backoff` serves many keys.
#[derive(Debug)]
pub struct Backoff {
    steps: Vec<Duration>,
    jitter: SmallRng,
}

impl Backoff {
    /// Delays as `options` say.
    pub fn new(options: BackoffOptions) -> Self {
        let BackoffOptions { min, max, factor, seed } = options;
        let delays = ExponentialBuilder::new()
            .with_min_delay(min.min(max))
            .with_max_delay(max)
            .with_factor(factor.max(1.0))
            .without_max_times()
            .build();
        let mut steps = Vec::new();
        for delay in delays.take(MAX_STEPS) {
            if steps.last() == Some(&delay) {
                break;
            }
            steps.push(delay);
        }
        Self { steps, jitter: SmallRng::seed_from_u64(seed) }
    }

    /// How long to wait after this many failures before the present one: 0 for the first.
    pub fn delay(&mut self, failures: u32) -> Duration {
        if lochness_mutant::is(Mutant::RetriesAtOnce) {
            return Duration::from_millis(1);
        }
        let last = self.steps.len() - 1;
        let step = usize::try_from(failures).map_or(last, |failures| failures.min(last));
        let full = self.steps[step];
        full / 2 + (full / 2).mul_f64(self.jitter.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(5));
        Backoff::new(BackoffOptions { min, max, factor: 2.0, seed })
    }

    #[test]
    fn delays_double_up_to_the_cap_and_stay_within_the_upper_half() {
        let mut backoff = backoff(7);
        let full = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000];
        for (failures, full) in full.into_iter().enumerate() {
            let full = Duration::from_millis(full);
            for _ in 0..50 {
                let delay = backoff.delay(u32::try_from(failures).unwrap());
                assert!(delay >= full / 2 && delay <= full, "after {failures}: {delay:?}");
            }
        }
        assert!(backoff.delay(u32::MAX) <= Duration::from_secs(5));
    }

    #[test]
    fn equal_seeds_give_equal_delays_and_others_do_not() {
        let run = |seed| {
            let mut backoff = backoff(seed);
            (0..8).map(|failures| backoff.delay(failures)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn odd_options_still_give_bounded_delays() {
        let (min, max) = (Duration::from_secs(9), Duration::from_secs(1));
        for factor in [0.0, 1.0, 1.000_01, f32::MAX, f32::NAN] {
            let mut backoff = Backoff::new(BackoffOptions { min, max, factor, seed: 0 });
            assert!(backoff.delay(1_000) <= max, "factor {factor}");
        }
        let zero =
            BackoffOptions { min: Duration::ZERO, max: Duration::ZERO, factor: 2.0, seed: 0 };
        assert_eq!(Backoff::new(zero).delay(3), Duration::ZERO);
    }
}
