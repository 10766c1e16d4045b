//! Who waits for which revision. Each is woken once, when that is shown, and in a fixed order: hundreds of commits are open
//! at once, and a `watch` or one call to all would wake every one of them at each revision.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A revision, and a number that tells apart those who wait for it.
type Place = (i64, u64);

/// All who wait.
#[derive(Default)]
pub(super) struct Awaited(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<Place, oneshot::Sender<()>>,
    next: u64,
}

/// A place among those who wait, given back when dropped.
struct Waiting<'a> {
    awaited: &'a Awaited,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.awaited.lock().waiting.remove(&self.place);
    }
}

impl Awaited {
    /// Waits until somebody wakes those who wait for `revision`, unless it is shown already.
    pub(super) async fn wait(&self, revision: i64, is_shown: impl Fn() -> bool) {
        let (shown, waiting) = {
            let mut awaited = self.lock();
            // Under the lock: what is shown after this look wakes who is in the map.
            if is_shown() {
                return;
            }
            let (show, shown) = oneshot::channel();
            let place = (revision, awaited.next);
            awaited.next += 1;
            awaited.waiting.insert(place, show);
            (shown, Waiting { awaited: self, place })
        };
        let _ = shown.await;
        drop(waiting);
    }

    /// Wakes those who wait for `revision` or an earlier one: the earliest first, and in the order in which they came.
    pub(super) fn wake_up_to(&self, revision: i64) {
        let mut awaited = self.lock();
        while let Some(first) = awaited.waiting.first_entry()
            && first.key().0 <= revision
        {
            // Whoever gave up in this moment does not need it.
            let _ = first.remove().send(());
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
