//! The reconcile loops of Loch Ness and the world that they read.
//!
//! One folder a loop: `plan.rs` decides (pure: no async, no store, no HTTP, no clock), `mod.rs` acts. What they share
//! lies beside them, each under its noun. [`loops`] wires them for one term of leadership; [`wake`] says which
//! change wakes which loop, in one table.

mod afterwards;
pub mod agents;
pub mod cluster;
pub mod commits;
pub mod context;
mod dependents;
pub mod firewall;
pub mod guest;
pub mod host;
pub mod job;
mod knowledge;
pub mod leases;
pub mod loops;
pub mod object;
pub mod observe;
pub mod outcomes;
pub mod pace;
pub mod placement;
pub mod queues;
pub mod readiness;
pub mod reports;
mod rollback;
pub mod settings;
mod statuses;
pub mod subnet;
mod suspects;
#[cfg(test)]
mod term_tests;
#[cfg(test)]
mod test_world;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod upkeep_tests;
pub mod wake;
pub mod world;
