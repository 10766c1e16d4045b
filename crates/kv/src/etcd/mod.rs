//! The store in etcd.
//!
//! `client` decides which member is asked and what silence means, `endpoint` connects to one, `refusal` what an error says about the operation,
//! `watch` opens and reads watches, `wire` translates to and from the client library.

mod client;
mod config;
mod endpoint;
mod refusal;
mod watch;
mod wire;

pub use client::EtcdKv;
pub use config::{EtcdConfig, Pem, Secret, TlsConfig};
