//! The commands as a person gives them: in this process on a store in memory, and as the real binary on a real etcd.
//! Statuses are written by hand, as the operator would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod applying;
mod binary;
mod deleting;
mod hosts;
mod showing;
mod stage;
mod waiting;
