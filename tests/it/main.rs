//! End to end: real etcd, real operator processes, real agents, real HTTP; one binary, so that it links once.
//!
//! Every test has a store, hosts and operators of its own, on free ports, and leaves nothing behind. A checker follows
//! every revision of its store and the true history of every host; a test that does not ask it at its end fails.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]

mod harness;
mod structure;

mod addresses;
mod adoption;
mod agent_faults;
mod audit;
mod capacity;
mod chaos;
mod converging;
mod deletion;
mod documents;
mod firewall;
mod frozen;
mod full_store;
mod hosts;
mod leadership;
mod mass_deletion;
mod mistify;
mod observability;
mod packets;
mod pause;
mod power;
mod quorum;
mod reboots;
mod silence;
mod soak;
mod statuses;
mod store_outage;
mod store_restored;
mod ways;
