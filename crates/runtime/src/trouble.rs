//! Trouble that lasts is told once, and again only now and then: a log that repeats itself hides what is new in it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// What is still wrong is told again after so long.
const REMIND: Duration = Duration::from_secs(60);
/// Of many keys that fail for the same reason, so many are told in [`REMIND`].
const KEYS_TOLD: u32 = 5;

/// One thing that may be wrong.
#[derive(Debug, Default)]
pub struct Trouble {
    told: Option<Instant>,
}

impl Trouble {
    /// It is wrong. Whether people should be told: the first time, and then once a minute.
    pub fn is_news(&mut self) -> bool {
        let now = Instant::now();
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < REMIND) {
            return false;
        }
        self.told = Some(now);
        true
    }

    /// It is right. Whether people were told otherwise.
    pub fn is_over(&mut self) -> bool {
        self.told.take().is_some()
    }
}

/// Keys that fail, each for one out of a few reasons.
#[derive(Debug)]
pub(crate) struct Failures<K> {
    keys: BTreeMap<K, Trouble>,
    reasons: BTreeMap<&'static str, Told>,
}

/// How many keys were told with one reason.
#[derive(Debug)]
struct Told {
    since: Instant,
    keys: u32,
}

/// How loud a failure is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loudness {
    /// It is news.
    Tell,
    /// It is news, and the last of its kind for a while.
    TellLast,
    /// It was told already, or so many others were that one more says nothing.
    Quiet,
}

impl<K: Ord + Clone> Failures<K> {
    /// Nothing has failed yet.
    pub(crate) fn new() -> Self {
        Self { keys: BTreeMap::new(), reasons: BTreeMap::new() }
    }

    /// A key failed.
    pub(crate) fn failed(&mut self, key: &K, reason: &'static str) -> Loudness {
        if !self.keys.entry(key.clone()).or_default().is_news() {
            return Loudness::Quiet;
        }
        let now = Instant::now();
        let told = self.reasons.entry(reason).or_insert(Told { since: now, keys: 0 });
        if now.saturating_duration_since(told.since) >= REMIND {
            *told = Told { since: now, keys: 0 };
        }
        told.keys = told.keys.saturating_add(1);
        match told.keys.cmp(&KEYS_TOLD) {
            std::cmp::Ordering::Less => Loudness::Tell,
            std::cmp::Ordering::Equal => Loudness::TellLast,
            std::cmp::Ordering::Greater => Loudness::Quiet,
        }
    }

    /// A key went well.
    pub(crate) fn succeeded(&mut self, key: &K) {
        self.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_stays_wrong_is_told_once_a_minute_and_its_end_once() {
        let mut trouble = Trouble::default();
        assert!(!trouble.is_over(), "nothing was wrong");
        assert!(trouble.is_news());
        assert!(!trouble.is_news());
        tokio::time::advance(REMIND).await;
        assert!(trouble.is_news());
        assert!(trouble.is_over());
        assert!(!trouble.is_over());
        assert!(trouble.is_news(), "after it was right, it is news again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_keys_that_fail_alike_are_told_by_a_few() {
        let mut failures = Failures::new();
        let told: Vec<_> = (0..1000).map(|key| failures.failed(&key, "StoreUnavailable")).collect();
        assert_eq!(told[..5], [[Loudness::Tell; 4].as_slice(), &[Loudness::TellLast]].concat());
        assert!(told[5..].iter().all(|it| *it == Loudness::Quiet));
        assert_eq!(failures.failed(&1000, "Refused"), Loudness::Tell, "another reason is news");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_fails_again_and_again_is_told_once_until_it_went_well() {
        let mut failures = Failures::new();
        assert_eq!(failures.failed(&1, "Refused"), Loudness::Tell);
        assert_eq!(failures.failed(&1, "Refused"), Loudness::Quiet);
        failures.succeeded(&1);
        assert_eq!(failures.failed(&1, "Refused"), Loudness::Tell);
    }
}
