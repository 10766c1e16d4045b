//! The hypervisor agent: its protocol as types, the client that the operator uses, and the agent itself.
//!
//! Guarantees: [`wire`] and [`client`] speak with the original agent and with ours; [`server`] is ours, with the
//! simulated driver, and can also play the original with its traps.

pub mod client;
pub mod server;
pub mod wire;

pub use client::{
    AgentClient, AgentError, GuestList, GuestLookup, HttpOptions, HttpTransport, RouterTransport,
    Ticket, Transport, TransportError, Wait,
};
