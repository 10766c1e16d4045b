//! What a test stands on: a [`Stage`] with its store, hosts, operators and the checker that watches them all.

mod agent_process;
mod agents;
mod checker;
mod documents;
mod http;
mod members;
mod operator;
mod proxy;
mod stage;
mod store;
mod waiting;

pub(crate) use agent_process::{AgentProcess, RealNetwork};
pub(crate) use agents::{HostOptions, SimulatedHost};
pub(crate) use documents::{
    FLAVOR, IMAGE, NETWORK, SUBNET, flavor, guest, guest_id, host_id, image, network, subnet,
};
pub(crate) use members::Members;
pub(crate) use operator::{Operator, OperatorOptions};
pub(crate) use proxy::{Proxy, Weather};
pub(crate) use stage::Stage;
pub(crate) use store::{Store, condition};
pub(crate) use waiting::{eventually, eventually_within, stays};
