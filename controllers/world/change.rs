//! What changed in the world, by the names of the contract's keys. Says where to look, never what to do.

use std::net::IpAddr;

use lochness_api::{FwGroupId, GuestId, HypervisorId, JobId, Kind, SubnetId};

/// One change of the world, in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The world was listed anew: anything may have changed.
    Everything,
    /// A guest's document.
    Guest(GuestId),
    /// A guest's status, which says of its place and of its teardown what the former said.
    GuestStatus(GuestId),
    /// A guest's status that gives it another place than the former one, takes it away, or begins its teardown.
    GuestPlaced(GuestId),
    /// The document of a kind that has no loop of its own, or of a subnet, network or firewall group.
    Object(Kind, String),
    /// The status of such an object.
    ObjectStatus(Kind, String),
    /// A hypervisor's document, one of its bridges or its configuration.
    Hypervisor(HypervisorId),
    /// A hypervisor's heartbeat appeared, changed or went away.
    Heartbeat(HypervisorId),
    /// A hypervisor's status.
    HypervisorStatus(HypervisorId),
    /// A key of the index of placements.
    Placement(HypervisorId, GuestId),
    /// Guests joined or left this firewall group, or have another address.
    Members(FwGroupId),
    /// An address was reserved or freed.
    Address(SubnetId, IpAddr),
    /// A job.
    Job(JobId),
    /// A record that a fenced host still has to delete a guest.
    Stale(HypervisorId, GuestId),
    /// The cluster's configuration.
    Config,
    /// The cluster's status.
    ClusterStatus,
}
