//! What the operator says of each object, under `status/`.
//!
//! Written by the operator alone and read by everybody, so these types read leniently: unknown fields are ignored, absent
//! ones are their default, and a word that only a newer operator knows does not spoil the rest. Fields are only ever added.

mod condition;
mod guest;
mod object;
mod reason;

pub use condition::{Condition, ConditionStatus, ConditionType, set_condition};
pub use guest::{GuestStatus, Phase, Placement};
pub use object::{
    AcceptedRules, ClusterStatus, HypervisorStatus, ObjectStatus, SubnetStatus, UnplacedGuest,
};
pub use reason::Reason;
