//! The operator process: configuration in, one [`run`] until it is told to stop.
//!
//! Guarantees: everything that the process needs is an argument of [`run`] or [`serve`], so that a test starts the real
//! thing; a store that does not answer is waited for and never ends the process; when `run` returns, every task has ended
//! and the leadership has been given back.
//!
//! Deliberately not here: decisions. Those are made in `lochness_controllers`; this crate wires and reports.

mod args;
mod config;
mod http;
mod lease_thread;
mod logging;
mod process;
mod process_metrics;
mod readiness;
mod signals;
mod span;
mod store;
mod store_probe;
mod transport;

pub use args::Args;
pub use config::{Agents, Config, ConfigError, Etcd, Log, LogFormat, Tuning};
pub use logging::init as init_logging;
pub use process::{run, serve};
pub use signals::terminated;
pub use span::Span;
