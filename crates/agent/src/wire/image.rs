//! Images on a host.

use lochness_api::ImageId;
use serde::{Deserialize, Serialize};

use super::null_as_empty;

/// One image that a host has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentImage {
    /// Its id as text: hosts may have images that nobody here named.
    pub id: String,
    /// Which sub-agent uses it, such as `kvm`.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "null_as_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub image_type: String,
    /// Where it came from.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What its content was checked against, in hex; our agent only.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

impl AgentImage {
    /// The id, when it is one of ours.
    pub fn image_id(&self) -> Option<ImageId> {
        self.id.parse().ok()
    }
}

/// The body of `POST /images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFetch {
    /// Which image.
    pub id: ImageId,
    /// Which sub-agent is to use it, such as `kvm`.
    #[serde(rename = "type", default, deserialize_with = "null_as_empty")]
    pub image_type: String,
    /// Where to fetch it: a URL.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub source: String,
    /// What its content must hash to, in hex; the original ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
