//! What to do next about one job, before anything is asked of its agent. Pure.
//!
//! A job moves only while its guest's status names it: one job a guest. What closes a gate is a [`Waiting`], a closed set
//! that reaches the guest's status unchanged.

use lochness_agent::wire::{AgentGuest, Order};
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{GuestStatus, Placement, Reason};
use lochness_api::{FwGroupId, GuestId, HypervisorId, ImageId, JobId};
use lochness_mutant::Mutant;

use super::build::agent_guest;
use crate::agents::{Numbers, target};
use crate::firewall::plan::{is_wanted, keeps_groups};
use crate::reports::{self, Contact, HostReport, ImageState};
use crate::world::{GuestEntry, World};

/// Why a job is given up that was written before the store's present numbers began. Its agent may have done it in what a
/// restore lost, and could not tell it from a new one, since its order would be another: what follows is planned anew, from
/// what the agent lists.
const FROM_BEFORE: &str = "it is from before the store was accepted: planned anew";

/// What a job waits for before it is handed to its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody paused the cluster.
    ClusterPaused,
    /// Somebody paused the host.
    HostPaused(HypervisorId),
    /// Somebody paused the guest.
    GuestPaused,
    /// A create needs the guest's document, which is gone or was never understood.
    DocumentMissing,
    /// Nothing says where the host's agent listens.
    NoAddress(HypervisorId),
    /// The host's agent has not answered yet, or not the newest request.
    HostUnreachable(HypervisorId, String),
    /// Another host answers at this host's address.
    WrongHost(HypervisorId, HypervisorId),
    /// The host's images were not read yet.
    ImagesUnread(HypervisorId),
    /// The image is on its way to the host.
    ImageFetching(ImageId),
    /// The host could not fetch the image.
    ImageFailed(ImageId, String),
    /// The host has not acknowledged a ruleset that covers the placement.
    FirewallPending(HypervisorId),
    /// The host refused the newest ruleset, and the one in force does not cover the placement.
    FirewallFailed(HypervisorId, String),
    /// The guest has a firewall group, and nobody keeps groups on the host.
    NoFirewall(HypervisorId, FwGroupId),
    /// The index has no key of the placement, so nobody can say which ruleset covers it.
    NotIndexed(HypervisorId),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// It ended, or it is gone.
    Settled,
    /// Its key cannot be understood.
    Unreadable,
    /// No status names it: it is closed without a word to any agent.
    Supersede(Box<Job>, i64),
    /// How it ended is known and waits to be written by the guest loop.
    Ended(GuestId),
    /// Something is not ready.
    Wait(Waiting),
    /// It can never be done.
    Fail(Box<Task>, String),
    /// Hand it to its agent.
    Submit(Box<Task>),
    /// Ask its agent how far it is.
    Follow(Box<Task>, String),
}

/// A job with all that its agent needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Task {
    pub(super) job: Job,
    /// Mod revision of its key: what a transaction compares.
    pub(super) revision: i64,
    /// Where the agent listens; `None` only where nothing is to be asked.
    pub(super) target: Option<String>,
    /// Its number, for an agent that refuses what is old; `None` for the original.
    pub(super) order: Option<Order>,
    /// What the ruleset in force must at least be of before the guest may begin to run; `None` where nobody waits for one.
    pub(super) ruleset: Option<Order>,
    /// What is to be made, for a create.
    pub(super) guest: Option<AgentGuest>,
}

/// Plans the next step of a job. `ended` says that its end is known and not yet written.
pub(super) fn plan(world: &World, reports: &reports::Inner, id: JobId, ended: bool) -> Step {
    let Some(stored) = world.job(id) else { return Step::Settled };
    let Some(job) = stored.value.as_deref() else { return Step::Unreadable };
    if job.status.is_finished() {
        return Step::Settled;
    }
    let guest = world.guest(job.guest);
    let status = guest.and_then(|entry| entry.status()).filter(|status| status.job == Some(id));
    let Some(status) = status else {
        return Step::Supersede(Box::new(job.clone()), stored.mod_revision);
    };
    if ended {
        return Step::Ended(job.guest);
    }
    let report = reports.host(job.hypervisor);
    let revision = u64::try_from(stored.create_revision).unwrap_or(0);
    let order = Order::new(world.incarnation().unwrap_or(0), revision);
    let mut task = Task {
        job: job.clone(),
        revision: stored.mod_revision,
        target: world.host(job.hypervisor).and_then(target),
        order: report.is_some_and(HostReport::has_order).then_some(order),
        ruleset: None,
        guest: None,
    };
    let Some(placement) = placement_of(status, job.hypervisor) else {
        let message = format!("the guest is not placed on hypervisor {}", job.hypervisor);
        return Step::Fail(Box::new(task), message);
    };
    if let (JobStatus::Working, Some(remote)) = (job.status, &job.remote) {
        return match contact(world, report, job.hypervisor) {
            Ok(_) => Step::Follow(Box::new(task), remote.clone()),
            Err(waiting) => Step::Wait(waiting),
        };
    }
    if stored.mod_revision < world.incarnation_at() {
        return Step::Fail(Box::new(task), FROM_BEFORE.to_owned());
    }
    if let Err(waiting) = gate(world, reports, status, job.action) {
        return Step::Wait(waiting);
    }
    if let Some(report) = report.filter(|_| begins_to_run(job.action)) {
        let placed = guest.map_or(0, GuestEntry::placement_revision);
        task.ruleset = needed_ruleset(world, report, job.hypervisor, placed).unwrap_or(None);
    }
    if job.action == JobAction::Create {
        let document = guest.and_then(|entry| entry.understood());
        task.guest = document.map(|document| agent_guest(document, placement));
    }
    Step::Submit(Box::new(task))
}

/// Whether the job that `status` names may be handed to its agent, an `action`; or what it waits for.
///
/// # Errors
/// The first gate that is closed.
pub fn gate(
    world: &World,
    reports: &reports::Inner,
    status: &GuestStatus,
    action: JobAction,
) -> Result<(), Waiting> {
    let Some(placement) = &status.placement else { return Ok(()) };
    let host = placement.hypervisor;
    let guest = status.job.and_then(|job| Some(world.job(job)?.value.as_ref()?.guest));
    pauses(world, guest, host)?;
    if action == JobAction::Create && guest.and_then(|guest| world.understood(guest)).is_none() {
        return Err(Waiting::DocumentMissing);
    }
    let report = contact(world, reports.host(host), host)?;
    if action == JobAction::Create
        && let Some(image) = placement.image
    {
        image_is_there(world, report, host, image)?;
    }
    if begins_to_run(action) {
        let index = guest.and_then(|guest| world.guest(guest));
        let revision = index.map_or(0, GuestEntry::placement_revision);
        return firewall_covers(world, report, placement, revision);
    }
    Ok(())
}

/// Whether the guest may run afterwards and did not before.
fn begins_to_run(action: JobAction) -> bool {
    match action {
        JobAction::Create
        | JobAction::Start
        | JobAction::Resume
        | JobAction::Reboot
        | JobAction::Restart => true,
        JobAction::Shutdown | JobAction::Poweroff | JobAction::Suspend | JobAction::Delete => false,
    }
}

fn pauses(world: &World, guest: Option<GuestId>, host: HypervisorId) -> Result<(), Waiting> {
    if world.config().pause {
        return Err(Waiting::ClusterPaused);
    }
    if world.host(host).is_some_and(|entry| entry.config.pause) {
        return Err(Waiting::HostPaused(host));
    }
    match guest.and_then(|guest| world.understood(guest)) {
        Some(document) if document.metadata.is_paused() => Err(Waiting::GuestPaused),
        Some(_) | None => Ok(()),
    }
}

/// The report of a host whose agent can be asked: it answered the newest request, and is the right one.
fn contact<'a>(
    world: &World,
    report: Option<&'a HostReport>,
    host: HypervisorId,
) -> Result<&'a HostReport, Waiting> {
    let Some(target) = world.host(host).and_then(target) else {
        return Err(Waiting::NoAddress(host));
    };
    let never = || Waiting::HostUnreachable(host, "it has not answered yet".to_owned());
    let report = report.ok_or_else(never)?;
    match &report.contact {
        // At a new address another host may listen: this one has to say first who it is.
        Contact::Answered(_) if report.protocol.is_some() && report.is_from(&target) => Ok(report),
        Contact::Answered(_) | Contact::Never => Err(never()),
        Contact::Silent { error, .. } => Err(Waiting::HostUnreachable(host, error.clone())),
        Contact::WrongHost { found } => Err(Waiting::WrongHost(host, *found)),
    }
}

/// An image without a document is nobody's to fetch: then the agent has it, fetches it by its id, or says why not.
fn image_is_there(
    world: &World,
    report: &HostReport,
    host: HypervisorId,
    image: ImageId,
) -> Result<(), Waiting> {
    if world.image(image).is_none() {
        return Ok(());
    }
    let images = report.images.as_ref().ok_or(Waiting::ImagesUnread(host))?;
    match images.get(&image) {
        Some(ImageState::Present) => Ok(()),
        Some(ImageState::Failed(why)) => Err(Waiting::ImageFailed(image, why.clone())),
        Some(ImageState::Fetching(_)) | None => Err(Waiting::ImageFetching(image)),
    }
}

/// Whether the ruleset in force was compiled at or after the placement (INVARIANTS.md, S13). A host without a firewall of
/// ours has nothing to acknowledge; a guest with a group waits there until somebody keeps it.
fn firewall_covers(
    world: &World,
    report: &HostReport,
    placement: &Placement,
    placement_revision: i64,
) -> Result<(), Waiting> {
    let host = placement.hypervisor;
    let Some(entry) = world.host(host) else { return Err(Waiting::NotIndexed(host)) };
    if let Some(group) = placement.fwgroup
        && !keeps_groups(entry, Some(report))
    {
        return Err(Waiting::NoFirewall(host, group));
    }
    let Some(wanted) = needed_ruleset(world, report, host, placement_revision)? else {
        return Ok(());
    };
    match &report.firewall {
        Some(applied) if applied.revision >= wanted => Ok(()),
        Some(reports::FirewallReport { error: Some(why), .. }) => {
            Err(Waiting::FirewallFailed(host, why.clone()))
        }
        Some(_) | None => Err(Waiting::FirewallPending(host)),
    }
}

/// The least revision of a ruleset that covers a placement, where rulesets are sent. It goes along with the request: a
/// host that lost its memory after it was looked at has no ruleset any more.
fn needed_ruleset(
    world: &World,
    report: &HostReport,
    host: HypervisorId,
    placement_revision: i64,
) -> Result<Option<Order>, Waiting> {
    let Some(entry) = world.host(host) else { return Err(Waiting::NotIndexed(host)) };
    if !is_wanted(entry, report) || lochness_mutant::is(Mutant::FirewallNotAwaited) {
        return Ok(None);
    }
    let revision = u64::try_from(placement_revision).ok().filter(|revision| *revision > 0);
    let revision = revision.ok_or(Waiting::NotIndexed(host))?;
    Ok(Some(Order::new(world.incarnation().unwrap_or(0), revision)))
}

fn placement_of(status: &GuestStatus, host: HypervisorId) -> Option<&Placement> {
    status.placement.as_ref().filter(|placement| placement.hypervisor == host)
}

impl Waiting {
    /// The word for conditions.
    pub fn reason(&self) -> Reason {
        match self {
            Self::ClusterPaused | Self::HostPaused(_) | Self::GuestPaused => Reason::Paused,
            Self::DocumentMissing => Reason::NotGiven,
            Self::NoAddress(_) => Reason::NoAddress,
            Self::HostUnreachable(..) => Reason::HostUnreachable,
            Self::WrongHost(..) => Reason::WrongHost,
            Self::ImagesUnread(_) | Self::ImageFetching(_) => Reason::ImageFetching,
            Self::ImageFailed(..) => Reason::ImageFetchFailed,
            Self::FirewallPending(_) | Self::NotIndexed(_) => Reason::FirewallPending,
            Self::FirewallFailed(..) => Reason::FirewallFailed,
            Self::NoFirewall(..) => Reason::Unsupported,
        }
    }

    /// The same for people.
    pub fn message(&self) -> String {
        match self {
            Self::ClusterPaused => "the cluster is paused".to_owned(),
            Self::HostPaused(host) => format!("hypervisor {host} is paused"),
            Self::GuestPaused => "the guest is paused".to_owned(),
            Self::DocumentMissing => "its document is not there to make it from".to_owned(),
            Self::NoAddress(host) => {
                format!("nothing says where the agent of hypervisor {host} listens")
            }
            Self::HostUnreachable(host, why) => {
                format!("the agent of hypervisor {host} cannot be asked: {why}")
            }
            Self::WrongHost(host, found) => {
                format!("hypervisor {found} answers at the address of hypervisor {host}")
            }
            Self::ImagesUnread(host) => format!("the images of hypervisor {host} are not read yet"),
            Self::ImageFetching(image) => format!("image {image} is on its way to the hypervisor"),
            Self::ImageFailed(image, why) => format!("image {image} could not be fetched: {why}"),
            Self::FirewallPending(host) => {
                format!("hypervisor {host} has not yet acknowledged a ruleset that covers it")
            }
            Self::FirewallFailed(host, why) => {
                format!("the ruleset that covers it is not in force on hypervisor {host}: {why}")
            }
            Self::NoFirewall(host, group) => format!(
                "it is of firewall group {group}, and the agent of hypervisor {host} has no firewall: if another program \
                 keeps the groups there, set its config/firewall to external"
            ),
            Self::NotIndexed(host) => {
                format!("the index of hypervisor {host} has no key of this guest")
            }
        }
    }

    /// Whether the agent's protocol is not known yet, or its answers are missing: the report wakes the job.
    pub(super) fn ends_by_report(&self) -> bool {
        match self {
            Self::HostUnreachable(..)
            | Self::WrongHost(..)
            | Self::NoAddress(_)
            | Self::ClusterPaused
            | Self::HostPaused(_)
            | Self::GuestPaused
            | Self::DocumentMissing => true,
            Self::ImagesUnread(_)
            | Self::ImageFetching(_)
            | Self::ImageFailed(..)
            | Self::FirewallPending(_)
            | Self::FirewallFailed(..)
            | Self::NoFirewall(..)
            | Self::NotIndexed(_) => false,
        }
    }
}

impl Task {
    /// What goes along with its request.
    pub(super) fn numbers(&self) -> Numbers {
        Numbers { order: self.order, ruleset: self.ruleset }
    }

    /// Whether the agent refuses what is old.
    pub(super) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }
}

#[cfg(test)]
mod tests;
