//! The agent's server, with the simulated driver and a firewall that is simulated or real.
//!
//! ```text
//!             HTTP                          one lock a host
//!   operator ──────▶ listener ─▶ routes ─▶ ┌──────────────────────────────────────┐
//!                                          │ core: accept ─▶ fence ─▶ job, queue  │──▶ storage: one batch,
//!                    worker a busy queue ─▶│ core: begin, finish ─▶ guest, effect │    stored before it is
//!                       │       ▲          └──────────────────────────────────────┘    true, and before
//!                       ▼       │                            │                         anyone is answered
//!                    driver: begin, run                      └──▶ changes: blocking lists wake
//!
//!   etcd ◀── registration: host document once, heartbeat under a lease ──▶ self-fencing
//! ```
//!
//! Guarantees: a request that arrives late or twice does nothing (the `fence` module); an answer of 202 is stored; jobs
//! of a guest run one at a time; an idle host costs a listener and nothing else. Time comes from tokio and from an
//! injected wall clock, and chance from the host's seed, so that a run can be repeated.
//!
//! Deliberately not here: real guests. They belong behind the `driver` module, as real firewalls are behind
//! `firewall::enforcer`.

mod accept;
mod changes;
mod config;
mod core;
mod driver;
mod events;
mod faults;
mod fence;
mod firewall;
mod fleet;
mod guests;
mod history;
mod host;
mod jobs;
mod listener;
mod nft;
mod perform;
mod ports;
mod program;
mod record;
mod registration;
mod routes;
mod state;
mod stats;
mod storage;
mod tls;

pub use self::core::WallClock;
pub use config::{Compat, Delays, FirewallConfig, HostConfig, StateWords};
pub use faults::{Event, FaultRequest, Faults, ReplyFault};
pub use fleet::AgentServer;
pub use history::{Effect, EffectKind};
pub use host::Host;
pub use nft::Nft;
pub use registration::{Registrar, register};
pub use routes::router;
pub use stats::Stats;
/// The same as [`Durability`], by its former name.
pub use storage::Durability as Sync;
pub use storage::{Durability, MemoryDisk, Storage, StorageError, reset_fence};
pub use tls::{TlsError, TlsFiles};
