//! How often a host has changed, and a wait for the next time.
//!
//! Guarantees: who waits is woken in the order in which it came, so that a run can be repeated: a `watch` channel wakes in
//! an order of its own chance. No change is missed that is counted after the count that the waiter names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A count that only grows. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Changes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicU64,
    counted: Notify,
}

impl Changes {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::SeqCst)
    }

    /// There is one more.
    pub(crate) fn add(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.counted.notify_waiters();
    }

    /// Waits until there are more than `known`.
    pub(crate) async fn after(&self, known: u64) {
        loop {
            // Made before the look: it hears of what is counted after the look, and before it is waited for, too.
            let counted = self.0.counted.notified();
            if self.count() > known {
                return;
            }
            counted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_change_is_woken_in_the_order_in_which_it_came() {
        // Fewer than tokio polls before it looks at the test again: all of them wait when the change comes.
        const WAITING: u64 = 32;
        let (changes, woken) = (Changes::default(), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..WAITING)
            .map(|number| {
                let (changes, woken) = (changes.clone(), Arc::clone(&woken));
                async move {
                    changes.after(0).await;
                    woken.lock().unwrap().push(number);
                }
            })
            .collect();
        let mut running = tokio::task::JoinSet::new();
        for waits in waiting {
            running.spawn(waits);
        }
        tokio::task::yield_now().await;
        changes.add();
        running.join_all().await;
        assert_eq!(*woken.lock().unwrap(), (0..WAITING).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_before_the_wait_ends_it_at_once() {
        let changes = Changes::default();
        changes.add();
        changes.after(0).await;
        let next = changes.after(changes.count());
        assert!(tokio::time::timeout(std::time::Duration::from_secs(1), next).await.is_err());
    }
}
