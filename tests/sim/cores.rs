//! Runs have nothing to do with one another, so each core does one at a time.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

use tokio::time::Instant;

/// Does one thing after the other on all cores, until all are done or it is time; how many were done.
pub(crate) fn on_all_cores<T: Sync>(
    things: &[T],
    until: Option<Instant>,
    act: impl Fn(&T) + Sync,
) -> usize {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while until.is_none_or(|until| Instant::now() < until)
            && let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed))
        {
            act(thing);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let threads = available_parallelism().map_or(1, NonZero::get);
    scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    done.into_inner()
}
