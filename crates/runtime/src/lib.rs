//! Machinery that runs reconcile loops, and that knows no resource by name.
//!
//! A *watcher* keeps a view of one prefix, a *queue* says which key is due, a *controller* runs a *reconciler* on it, a
//! *committer* sends its writes in groups, and a *leader* term fences them. All of it is measured by *metrics*.
//!
//! Guarantees: durations and deadlines are read from `tokio::time` and the wall clock from [`clock::Clock`] alone, and
//! randomness comes from seeds in options, so that a simulation on paused time replays exactly. Every queue, retry and
//! number of requests in flight is bounded.
//!
//! Deliberately not here: any key, document or agent of Loch Ness.

pub mod backoff;
pub mod clock;
pub mod committer;
pub mod controller;
pub mod freeze;
pub mod leader;
pub mod metrics;
pub mod queue;
pub mod tasks;
pub mod trouble;
pub mod watcher;

#[cfg(test)]
mod tap;

pub use backoff::{Backoff, BackoffOptions};
pub use clock::{Clock, PausedClock, SystemClock};
pub use controller::{Controller, ControllerOptions, Outcome, ReconcileError, Reconciler, rescan};
pub use metrics::Metrics;
pub use queue::Queue;
pub use tasks::Tasks;
pub use trouble::Trouble;
