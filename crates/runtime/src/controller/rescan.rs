//! The rescan: a second way to find work, which should never find any.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::queue::Queue;

/// Puts all `keys` into the queue every `period`, until `token` is cancelled.
///
/// Keys that wait for their retry or are being worked on are left as they are. A reconcile that nothing else had woken
/// and that changes something is counted in `lochness_rescan_found_work_total`: somewhere an event is missing. One that
/// arrives just between the rescan and the reconcile is blamed wrongly; a count that keeps growing is not.
pub async fn rescan<K: Clone + Ord + Hash + Send + Sync + 'static>(
    queue: Arc<Queue<K>>,
    period: Duration,
    keys: impl Fn() -> Vec<K> + Send,
    token: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        for key in keys() {
            queue.rescan(key);
        }
    }
}
