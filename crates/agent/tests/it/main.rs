//! The agent from outside: its client against its server, in process and over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else than it expects ends there"
)]

mod binary;
mod blocking;
mod fencing;
mod firewall;
mod fixture;
mod hostile;
mod http;
mod mistify;
mod protocol;
mod registration;
mod restart;
mod tls;
