//! A job as an agent reports it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::null_as_empty;

/// The `GuestID` of jobs that belong to no guest: image jobs.
pub const AGENT_QUEUE: &str = "agent";

/// How Go writes "no time".
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// One job of the agent's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentJob {
    /// The agent's own id of it: any text.
    #[serde(rename = "ID")]
    pub id: String,
    /// The guest's id as text, or [`AGENT_QUEUE`].
    #[serde(rename = "GuestID", default, deserialize_with = "null_as_empty")]
    pub guest_id: String,
    /// What it does: an action's name, or `fetchImage`, `deleteImage`.
    #[serde(rename = "Action", default, deserialize_with = "null_as_empty")]
    pub action: String,
    /// When it was accepted.
    #[serde(rename = "QueuedAt", default, with = "go_time")]
    pub queued_at: Option<Timestamp>,
    /// When it began; none while queued.
    #[serde(rename = "StartedAt", default, with = "go_time")]
    pub started_at: Option<Timestamp>,
    /// When it last changed.
    #[serde(rename = "UpdatedAt", default, with = "go_time")]
    pub updated_at: Option<Timestamp>,
    /// How far it is.
    #[serde(rename = "Status")]
    pub status: AgentJobStatus,
    /// Why it failed.
    #[serde(rename = "Message", default, deserialize_with = "null_as_empty")]
    pub message: String,
}

/// `Queued` → `Running` → `Complete` | `Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentJobStatus {
    /// It waits.
    Queued,
    /// It is being done.
    Running,
    /// It is done. A delete of the original may still show its record for a second.
    Complete,
    /// It failed.
    Error,
}

impl AgentJobStatus {
    /// Whether it stays as it is.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Complete | Self::Error => true,
        }
    }
}

/// Times are for people: one that does not parse is no reason to lose the job that carries it.
mod go_time {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, ZERO_TIME};

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_str(ZERO_TIME),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.filter(|text| text != ZERO_TIME).and_then(|text| text.parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_job_has_gos_zero_time_as_its_start() {
        let text = r#"{"ID":"j1","GuestID":"agent","Action":"fetchImage","QueuedAt":"2016-03-01T10:00:00.5+01:00",
            "StartedAt":"0001-01-01T00:00:00Z","UpdatedAt":"nonsense","Status":"Queued","Message":null}"#;
        let job: AgentJob = serde_json::from_str(text).unwrap();
        assert_eq!(job.queued_at, Some("2016-03-01T09:00:00.5Z".parse().unwrap()));
        assert_eq!((job.started_at, job.updated_at), (None, None));
        let sent = serde_json::to_value(&job).unwrap();
        assert_eq!(sent["StartedAt"], "0001-01-01T00:00:00Z");
        assert_eq!(sent["Status"], "Queued");
    }

    #[test]
    fn an_unknown_status_is_not_of_the_protocol() {
        assert!(serde_json::from_str::<AgentJob>(r#"{"ID":"j1","Status":"Paused"}"#).is_err());
    }
}
