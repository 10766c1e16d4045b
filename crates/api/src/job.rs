//! Jobs: what an agent is to do to one guest, and how far it is.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{GuestId, HypervisorId, JobId};

/// The document under `jobs/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The key's id.
    pub id: JobId,
    /// The agent's own id of the job, once it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// What is to be done.
    pub action: JobAction,
    /// To which guest.
    pub guest: GuestId,
    /// By which host's agent.
    pub hypervisor: HypervisorId,
    /// `<incarnation>.<create revision>`, by which the agent refuses what is old; known once the key exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// How often this was tried before; 0 at first.
    #[serde(default)]
    pub attempt: u32,
    /// When the job counts as failed, whatever the agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Why it failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far it is.
    pub status: JobStatus,
    /// When it was handed to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl Job {
    /// Reads the value of a job's key. Unknown fields are ignored.
    ///
    /// # Errors
    /// Says what is not as the operator writes it.
    pub fn parse(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// What an agent can be asked to do to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobAction {
    /// Make disk and nic, define and start the guest.
    Create,
    /// Start a stopped guest.
    Start,
    /// Ask the guest to shut down.
    Shutdown,
    /// Cut its power.
    Poweroff,
    /// Ask the guest to boot again.
    Reboot,
    /// Cut its power and start it.
    Restart,
    /// Pause it in memory.
    Suspend,
    /// Let a paused guest go on.
    Resume,
    /// Remove guest and disk.
    Delete,
}

impl JobAction {
    /// The word in documents and in the agent's paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Shutdown => "shutdown",
            Self::Poweroff => "poweroff",
            Self::Reboot => "reboot",
            Self::Restart => "restart",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for JobAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Written, not yet accepted by the agent.
    New,
    /// The agent has it.
    Working,
    /// Ended well.
    Done,
    /// Ended badly; `error` says why.
    Error,
}

impl JobStatus {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Working => "working",
            Self::Done => "done",
            Self::Error => "error",
        }
    }

    /// Whether the job moves no more.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Error)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_written_with_the_keys_of_the_contract() {
        let job = Job {
            id: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            remote: Some("7".into()),
            action: JobAction::Poweroff,
            guest: "00000000-0000-4000-8000-000000000002".parse().unwrap(),
            hypervisor: "00000000-0000-4000-8000-000000000003".parse().unwrap(),
            order: Some("17.42".into()),
            attempt: 2,
            deadline: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            error: Some("no".into()),
            status: JobStatus::Working,
            started_at: Some("2026-01-02T03:04:06Z".parse().unwrap()),
            finished_at: Some("2026-01-02T03:04:07Z".parse().unwrap()),
        };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"id":"00000000-0000-4000-8000-000000000001","remote":"7","action":"poweroff","#,
                r#""guest":"00000000-0000-4000-8000-000000000002","hypervisor":"00000000-0000-4000-8000-000000000003","#,
                r#""order":"17.42","attempt":2,"deadline":"2026-01-02T03:04:05Z","error":"no","status":"working","#,
                r#""started_at":"2026-01-02T03:04:06Z","finished_at":"2026-01-02T03:04:07Z"}"#
            )
        );
        assert_eq!(Job::parse(text.as_bytes()).unwrap(), job);
    }

    #[test]
    fn every_action_is_written_as_it_is_displayed() {
        for action in [JobAction::Create, JobAction::Poweroff, JobAction::Resume] {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }
}
