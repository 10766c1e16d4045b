//! Why a request to an agent failed, by what may be true on the host now.

/// Longest text of an agent that is kept in an error, in bytes: it goes into statuses and logs.
const MESSAGE_LIMIT: usize = 256;

/// A failed request to an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The request did not arrive: no connection could be made.
    #[error("agent is not reachable: {0}")]
    NotSent(String),
    /// No answer. The request may have arrived, and may still be carried out.
    #[error("agent gave no answer: {0}")]
    Unknown(String),
    /// The agent says no (3xx, 4xx); it did not happen.
    #[error("agent refuses with {code}{}", explained(message))]
    Refused {
        /// The HTTP status.
        code: u16,
        /// Its reason, cut.
        message: String,
    },
    /// The request is older than one that the agent has seen: epoch, order or revision (409); it did not happen.
    #[error("agent has seen a newer request: {0}")]
    Fenced(String),
    /// The agent failed (5xx); it may have happened.
    #[error("agent failed with {code}{}", explained(message))]
    Failed {
        /// The HTTP status.
        code: u16,
        /// Its reason, cut.
        message: String,
    },
    /// The answer is not of the protocol: not JSON, cut off, the wrong object. It may have happened.
    #[error("agent's answer makes no sense: {0}")]
    Garbled(String),
}

impl AgentError {
    /// Whether the request may have been carried out, now or later, although it failed. Such a one is never simply
    /// repeated: read the agent's state and adopt what is found.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Refused { .. } | Self::Fenced(_) => false,
            Self::Unknown(_) | Self::Failed { .. } | Self::Garbled(_) => true,
        }
    }

    /// A short, fixed word for metrics and reasons.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "NotSent",
            Self::Unknown(_) => "NoAnswer",
            Self::Refused { .. } => "Refused",
            Self::Fenced(_) => "Fenced",
            Self::Failed { .. } => "AgentFailed",
            Self::Garbled(_) => "Garbled",
        }
    }
}

/// The agent's reason, if it gave one.
fn explained(message: &str) -> String {
    if message.is_empty() { " and no reason".to_owned() } else { format!(": {message}") }
}

/// Cuts `text` to what an error may carry, at a character's end, on one line.
pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_gives_no_reason_leaves_no_loose_end() {
        let failed = |message: &str| AgentError::Failed { code: 500, message: message.to_owned() };
        assert_eq!(failed("").to_string(), "agent failed with 500 and no reason");
        assert_eq!(failed("no disk").to_string(), "agent failed with 500: no disk");
    }

    #[test]
    fn an_agents_message_is_cut_at_a_characters_end_and_kept_on_one_line() {
        let cut = cut(&format!("a\n{}", "é".repeat(1000)));
        assert_eq!(cut.len(), MESSAGE_LIMIT);
        assert!(cut.starts_with("a é"), "{cut}");
    }
}
