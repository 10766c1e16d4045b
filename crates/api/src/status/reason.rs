//! Reasons of conditions: one closed set for all kinds, so that a dashboard or a script can rely on the words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a condition is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    // Validity of a document.
    /// The document is understood.
    Accepted,
    /// The document does not parse or validate; the message names field and reason.
    Invalid,
    /// Another object of the kind has this name and had it first.
    NameTaken,
    /// Another guest has this hardware address.
    MacTaken,
    /// There is no document.
    NotGiven,
    // Placement.
    /// Host, subnet and address are reserved.
    Placed,
    /// Found placed, in the index, on an agent or in the document, and taken over.
    Adopted,
    /// What was found belongs to another guest.
    AdoptionConflict,
    /// Not yet planned.
    Waiting,
    /// A host may have it and has not been asked, since the store was restored or since it was last heard of.
    HostNotAsked,
    /// No host has passed all filters; the message counts them.
    NoHostFits,
    /// No subnet that it may use has a free address.
    NoAddressFree,
    /// The address that it asks for is another's.
    AddressTaken,
    /// The address that it asks for lies in no subnet that it may use.
    AddressNotUsable,
    /// Its flavor does not exist or is invalid.
    FlavorMissing,
    /// Its flavor's image does not exist or is invalid.
    ImageMissing,
    /// Its network does not exist or is invalid.
    NetworkMissing,
    /// Its subnet does not exist or is invalid.
    SubnetMissing,
    /// Its subnet belongs to another network than the one it names.
    SubnetNotInNetwork,
    /// Its firewall group does not exist or is invalid.
    FwGroupMissing,
    /// Its VLAN group does not exist or is invalid.
    VlanGroupMissing,
    /// The host that it is pinned to does not exist.
    HypervisorMissing,
    /// It has no place.
    NotPlaced,
    // Life of a guest.
    /// Its agent has it.
    Created,
    /// The create job is on its way.
    Creating,
    /// The last create job failed; it is tried again.
    CreateFailed,
    /// Its host fetches the image.
    ImageFetching,
    /// Its host could not fetch the image; it is tried again.
    ImageFetchFailed,
    /// Its host has not yet acknowledged a ruleset that covers it.
    FirewallPending,
    /// It runs, as wanted.
    Running,
    /// It is shut down, as wanted.
    Stopped,
    /// It is paused in memory, as wanted.
    Suspended,
    /// A start is on its way.
    Starting,
    /// A shutdown is on its way.
    Stopping,
    /// It did not shut down in time; its power is being cut.
    PoweringOff,
    /// A suspend is on its way.
    Suspending,
    /// A resume is on its way.
    Resuming,
    /// A reboot is on its way.
    Rebooting,
    /// Its document is gone; teardown has begun.
    Deleting,
    /// A complete answer of its agent does not list it.
    Vanished,
    /// It ended by itself, badly.
    Crashed,
    /// It ended by itself, cleanly.
    Exited,
    /// It ended by itself and `restart` leaves it so.
    RestartNotWanted,
    /// Nothing to do.
    Converged,
    /// The last job failed; it is tried again.
    JobFailed,
    /// The last job passed its deadline; its outcome is being looked up.
    JobTimedOut,
    /// Waiting before the next attempt.
    BackingOff,
    /// Its agent cannot do what is wanted.
    Unsupported,
    /// Held by the cluster: budget of deletions, or a store to be confirmed.
    Held,
    /// Somebody paused it, its host or the cluster.
    Paused,
    /// Its host has no heartbeat; what it runs is not known.
    HostSilent,
    /// Its host's agent does not answer.
    HostUnreachable,
    /// Its host's document is gone.
    HostMissing,
    /// Freed from a fenced host, to be placed anew.
    Evacuated,
    // Hosts.
    /// Its heartbeat is there.
    HeartbeatSeen,
    /// Its heartbeat expired.
    HeartbeatLost,
    /// Its agent answers.
    Answering,
    /// Its agent has not answered within 30 s.
    NotAnswering,
    /// Neither heartbeat nor document says where its agent listens.
    NoAddress,
    /// An agent answered that says it is another host.
    WrongHost,
    /// Another host has the same agent address.
    AddressShared,
    /// It takes new guests.
    Schedulable,
    /// Somebody cordoned it.
    Cordoned,
    /// It is being emptied.
    Draining,
    /// It is empty.
    Drained,
    /// Guests that were freed by a fence must be deleted there first.
    StaleGuests,
    /// More is used than may be allocated.
    Overcommitted,
    /// Neither heartbeat nor document says what it has.
    NoResources,
    /// There is room.
    Available,
    /// There is no room.
    Full,
    /// Its agent promised to stop its guests by itself, and the time is over.
    FencedByAgent,
    /// `config/fenced` says so, written after the loss.
    FencedByPerson,
    /// It may still run its guests.
    NotFenced,
    /// It runs guests that nobody declared.
    Undeclared,
    /// It runs only what was declared.
    AllDeclared,
    /// The compiled ruleset is in force.
    FirewallApplied,
    /// The compiled ruleset is on its way.
    FirewallApplying,
    /// The agent refused the ruleset; the former one stays.
    FirewallFailed,
    /// Its `config/firewall` or its agent leaves the firewall to somebody else.
    FirewallOff,
    // Subnets, networks and other objects.
    /// There are free addresses.
    AddressesFree,
    /// Few addresses are free: a tenth of them, or less.
    NearlyExhausted,
    /// There is no free address.
    Exhausted,
    /// Another subnet of the network has some of its addresses.
    SubnetsOverlap,
    /// Guests were placed when the subnet's range or gateway was another one, and keep what they have.
    RangeChanged,
    /// Something refers to it.
    InUse,
    /// Nothing refers to it.
    Unused,
    /// Something that it names does not exist.
    ReferenceMissing,
    // The cluster.
    /// The store is the one that this operator knows.
    StoreContinuous,
    /// The store's revision is below one that was seen.
    RevisionWentBack,
    /// The store has another cluster id.
    ClusterIdChanged,
    /// An agent has seen a higher epoch than the leader's.
    EpochFromTheFuture,
    /// The hosts run guests and the store has no status at all.
    StatusesMissing,
    /// No more deletions wait than the budget allows.
    WithinBudget,
    /// More guests would be deleted than the budget allows; a person must confirm.
    BudgetExceeded,
    /// Nobody paused it.
    NotPaused,
    /// Every value parses.
    ConfigAccepted,
    /// A value does not parse; the former one stays.
    ConfigRejected,
    /// A word of a newer operator; its text is lost when written again.
    #[serde(other)]
    Other,
}

impl Reason {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::NameTaken => "NameTaken",
            Self::MacTaken => "MacTaken",
            Self::NotGiven => "NotGiven",
            Self::Placed => "Placed",
            Self::Adopted => "Adopted",
            Self::AdoptionConflict => "AdoptionConflict",
            Self::Waiting => "Waiting",
            Self::HostNotAsked => "HostNotAsked",
            Self::NoHostFits => "NoHostFits",
            Self::NoAddressFree => "NoAddressFree",
            Self::AddressTaken => "AddressTaken",
            Self::AddressNotUsable => "AddressNotUsable",
            Self::FlavorMissing => "FlavorMissing",
            Self::ImageMissing => "ImageMissing",
            Self::NetworkMissing => "NetworkMissing",
            Self::SubnetMissing => "SubnetMissing",
            Self::SubnetNotInNetwork => "SubnetNotInNetwork",
            Self::FwGroupMissing => "FwGroupMissing",
            Self::VlanGroupMissing => "VlanGroupMissing",
            Self::HypervisorMissing => "HypervisorMissing",
            Self::NotPlaced => "NotPlaced",
            Self::Created => "Created",
            Self::Creating => "Creating",
            Self::CreateFailed => "CreateFailed",
            Self::ImageFetching => "ImageFetching",
            Self::ImageFetchFailed => "ImageFetchFailed",
            Self::FirewallPending => "FirewallPending",
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Suspended => "Suspended",
            Self::Starting => "Starting",
            Self::Stopping => "Stopping",
            Self::PoweringOff => "PoweringOff",
            Self::Suspending => "Suspending",
            Self::Resuming => "Resuming",
            Self::Rebooting => "Rebooting",
            Self::Deleting => "Deleting",
            Self::Vanished => "Vanished",
            Self::Crashed => "Crashed",
            Self::Exited => "Exited",
            Self::RestartNotWanted => "RestartNotWanted",
            Self::Converged => "Converged",
            Self::JobFailed => "JobFailed",
            Self::JobTimedOut => "JobTimedOut",
            Self::BackingOff => "BackingOff",
            Self::Unsupported => "Unsupported",
            Self::Held => "Held",
            Self::Paused => "Paused",
            Self::HostSilent => "HostSilent",
            Self::HostUnreachable => "HostUnreachable",
            Self::HostMissing => "HostMissing",
            Self::Evacuated => "Evacuated",
            Self::HeartbeatSeen => "HeartbeatSeen",
            Self::HeartbeatLost => "HeartbeatLost",
            Self::Answering => "Answering",
            Self::NotAnswering => "NotAnswering",
            Self::NoAddress => "NoAddress",
            Self::WrongHost => "WrongHost",
            Self::AddressShared => "AddressShared",
            Self::Schedulable => "Schedulable",
            Self::Cordoned => "Cordoned",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::StaleGuests => "StaleGuests",
            Self::Overcommitted => "Overcommitted",
            Self::NoResources => "NoResources",
            Self::Available => "Available",
            Self::Full => "Full",
            Self::FencedByAgent => "FencedByAgent",
            Self::FencedByPerson => "FencedByPerson",
            Self::NotFenced => "NotFenced",
            Self::Undeclared => "Undeclared",
            Self::AllDeclared => "AllDeclared",
            Self::FirewallApplied => "FirewallApplied",
            Self::FirewallApplying => "FirewallApplying",
            Self::FirewallFailed => "FirewallFailed",
            Self::FirewallOff => "FirewallOff",
            Self::AddressesFree => "AddressesFree",
            Self::NearlyExhausted => "NearlyExhausted",
            Self::Exhausted => "Exhausted",
            Self::SubnetsOverlap => "SubnetsOverlap",
            Self::RangeChanged => "RangeChanged",
            Self::InUse => "InUse",
            Self::Unused => "Unused",
            Self::ReferenceMissing => "ReferenceMissing",
            Self::StoreContinuous => "StoreContinuous",
            Self::RevisionWentBack => "RevisionWentBack",
            Self::ClusterIdChanged => "ClusterIdChanged",
            Self::EpochFromTheFuture => "EpochFromTheFuture",
            Self::StatusesMissing => "StatusesMissing",
            Self::WithinBudget => "WithinBudget",
            Self::BudgetExceeded => "BudgetExceeded",
            Self::NotPaused => "NotPaused",
            Self::ConfigAccepted => "ConfigAccepted",
            Self::ConfigRejected => "ConfigRejected",
            Self::Other => "Other",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
