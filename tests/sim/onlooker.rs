//! Somebody who looks at every process once a second, as a probe does: what its `/readyz` says, and how long its queues are.
//!
//! A process is ready whose view follows the store, and says so whether anybody leads or not; it is not ready any more soon
//! after the store was taken from it. It says that it leads no longer than its lease after the leader's key was another's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lochness_api::Key;
use lochness_controllers::readiness::Readiness;
use tokio::time::{Instant, sleep};

use crate::judge::Judge;
use crate::replica::{Life, Replica};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A process whose view follows the store says so by then: what was open is noticed at once.
const READY_BY: Duration = Duration::from_secs(1);
/// One that has lost the store says so by then: a silent watch is asked after five seconds, believed to be dead after five
/// more; and what was ended by the other side is opened again once, which takes five.
const UNREADY_BY: Duration = Duration::from_secs(11);
/// Nothing has disturbed any process for so long: then all of them follow the store. An attempt that was given up is made again
/// within five seconds, and takes five.
const CALM: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
/// All loops of a process try again so often at most.
const RETRIES_A_MINUTE: f64 = 1_000.0;
/// A leader that has lost its key knows it when its lease must be over.
const LEASE: Duration = Duration::from_secs(15);

/// What was seen of one process.
#[derive(Default)]
struct Seen {
    /// Since when it has gone on, without being stopped: what is stopped notices nothing.
    began: Option<Instant>,
    /// Since when it has said that it leads although the store says otherwise.
    leads_wrongly: Option<Instant>,
    is_told: bool,
    /// How often it had tried something again, and when that was looked at.
    retries: Option<(f64, Instant)>,
}

/// What a process is like at a look.
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
struct Shown {
    /// Whether it hears of the store, and for how long it has, or has not.
    follows: bool,
    lasts: Duration,
    /// Whether nothing is in the way of it.
    is_calm: bool,
    holds: bool,
    /// Whether the leader's key is its own.
    has_key: bool,
    readiness: Readiness,
}

/// Looks for ever.
pub(crate) async fn look_at(replicas: Vec<Arc<Replica>>, judge: Arc<Judge>) {
    let mut seen: BTreeMap<&'static str, Seen> = BTreeMap::new();
    loop {
        sleep(LOOK).await;
        for replica in &replicas {
            let life = replica.life().filter(|life| !life.is_stopped());
            let Some((life, readiness)) = life.and_then(|it| Some((it.clone(), it.readiness()?)))
            else {
                // Who is not there or stopped answers nobody, and begins anew.
                seen.remove(replica.name);
                continue;
            };
            let seen = seen.entry(replica.name).or_default();
            for (queue, length) in life.queued() {
                judge.queued(replica.name, queue, length);
            }
            if let Some(wrong) = seen.tries_again(|| life.retries()) {
                judge.wrong(format!("S16: {} {wrong}", replica.name));
            }
            let shown = shown(&life, readiness, &judge);
            if let Some(wrong) = seen.take(&shown, judge.lies_to_leaders()) {
                judge.wrong(format!("READY: {} {wrong}", replica.name));
            }
        }
    }
}

fn shown(life: &Life, readiness: Readiness, judge: &Judge) -> Shown {
    let has_key = |key: Option<&[u8]>| key == Some(life.name.as_bytes());
    let (follows, lasts) = life.follows_store();
    Shown {
        follows,
        lasts,
        is_calm: life.is_undisturbed_for(CALM),
        holds: life.holds(),
        has_key: judge.look(|checker| has_key(checker.value(&Key::Leader))),
        readiness,
    }
}

impl Seen {
    /// Takes a look in; what is wrong, told once.
    fn take(&mut self, shown: &Shown, is_lied_to: bool) -> Option<String> {
        let now = Instant::now();
        let lasts = shown.lasts.min(now - *self.began.get_or_insert(now));
        let leads_wrongly = shown.readiness == Readiness::Ready("leading") && !shown.has_key;
        self.leads_wrongly = leads_wrongly.then(|| self.leads_wrongly.unwrap_or(now));
        let wrong = match &shown.readiness {
            Readiness::Ready(_) if shown.holds => Some("holds, and is ready".to_owned()),
            Readiness::Ready(what) if !shown.follows && lasts > UNREADY_BY => {
                Some(format!("is ready ({what}) after {lasts:?} without the store"))
            }
            Readiness::NotReady(why) if shown.follows && !shown.holds && lasts > READY_BY => {
                Some(format!("follows the store for {lasts:?}, and is not ready: {why}"))
            }
            Readiness::NotReady(why) if shown.is_calm && !shown.holds => {
                Some(format!("is not ready, and nothing is in the way: {why}"))
            }
            Readiness::NotReady(why) if why.is_empty() => Some("does not say why".to_owned()),
            _ => {
                // Whoever is told that a lease lives that is gone believes it until its next write.
                let wrongly = self.leads_wrongly.filter(|_| !is_lied_to).map(|since| now - since);
                let wrongly = wrongly.filter(|lasts| *lasts > LEASE);
                wrongly.map(|lasts| format!("says for {lasts:?} that it leads, and does not"))
            }
        };
        let news = wrong.filter(|_| !self.is_told);
        self.is_told |= news.is_some();
        news
    }
}

impl Seen {
    /// Looks once a minute how often the process has tried something again; what is wrong with that.
    fn tries_again(&mut self, so_far: impl Fn() -> f64) -> Option<String> {
        let now = Instant::now();
        let (before, since) = *self.retries.get_or_insert_with(|| (so_far(), now));
        if now - since < MINUTE {
            return None;
        }
        let so_far = so_far();
        self.retries = Some((so_far, now));
        // A process that has begun anew counts from nothing.
        let more = so_far - before;
        (more > RETRIES_A_MINUTE).then(|| format!("tried something again {more} times in a minute"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERWISE: &str = "the store is not to be reached";

    /// What is found after looking so long at a process that stays as it is.
    async fn found(seconds: u64, mut shown: Shown) -> Option<String> {
        let mut seen = Seen::default();
        let mut found = None;
        for second in 0..=seconds {
            shown.lasts = Duration::from_secs(second);
            found = found.or(seen.take(&shown, false));
            sleep(LOOK).await;
        }
        found
    }

    fn ready(what: &'static str) -> Shown {
        let readiness = Readiness::Ready(what);
        let lasts = Duration::ZERO;
        Shown {
            follows: true,
            lasts,
            is_calm: false,
            holds: false,
            has_key: what == "leading",
            readiness,
        }
    }

    fn not_ready() -> Shown {
        Shown { readiness: Readiness::NotReady(OTHERWISE.to_owned()), ..ready("leading") }
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_the_store_is_ready_and_nobody_else() {
        assert_eq!(found(60, ready("leading")).await, None);
        assert_eq!(found(60, ready("standing by")).await, None);
        assert_eq!(found(60, Shown { follows: false, ..not_ready() }).await, None);
        assert!(found(3, not_ready()).await.is_some());
        assert!(found(20, Shown { follows: false, ..ready("standing by") }).await.is_some());
        let unready = Shown { follows: false, ..not_ready() };
        assert!(found(1, Shown { is_calm: true, ..unready }).await.is_some());
        assert!(found(1, Shown { holds: true, ..ready("leading") }).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_lost_the_key_says_so_within_a_lease() {
        assert_eq!(found(14, Shown { has_key: false, ..ready("leading") }).await, None);
        assert!(found(20, Shown { has_key: false, ..ready("leading") }).await.is_some());
    }
}
