//! The durations and limits of the loops, as configuration. Meant for tests, demos and emergencies.

use lochness_controllers::settings::Settings;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::span::Span;

/// The table `[tuning]`: what [`Settings`] says about each of them holds. The defaults suit production.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "every field is the field of the same name in Settings")]
pub struct Tuning {
    pub list_wait: Span,
    pub list_interval: Span,
    pub list_interval_busy: Span,
    pub reachable_window: Span,
    pub read_timeout: Span,
    pub startup_grace: Span,
    pub vanish_confirmation: Span,
    pub rescan: Span,
    pub shutdown_grace: Span,
    pub create_deadline: Span,
    pub action_deadline: Span,
    pub retry_min: Span,
    pub retry_max: Span,
    pub stable_after: Span,
    pub status_interval: Span,
    pub message_interval: Span,
    pub job_retention: Span,
    pub placement_rush: usize,
    pub requests_per_agent: usize,
    /// Another one a process, unless it is given here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Tuning {
    /// What the loops are started with.
    pub fn settings(&self) -> Settings {
        let Self {
            list_wait,
            list_interval,
            list_interval_busy,
            reachable_window,
            read_timeout,
            startup_grace,
            vanish_confirmation,
            rescan,
            shutdown_grace,
            create_deadline,
            action_deadline,
            retry_min,
            retry_max,
            stable_after,
            status_interval,
            message_interval,
            job_retention,
            placement_rush,
            requests_per_agent,
            seed,
        } = self.clone();
        Settings {
            list_wait: list_wait.0,
            list_interval: list_interval.0,
            list_interval_busy: list_interval_busy.0,
            reachable_window: reachable_window.0,
            read_timeout: read_timeout.0,
            startup_grace: startup_grace.0,
            vanish_confirmation: vanish_confirmation.0,
            rescan: rescan.0,
            shutdown_grace: shutdown_grace.0,
            create_deadline: create_deadline.0,
            action_deadline: action_deadline.0,
            retry_min: retry_min.0,
            retry_max: retry_max.0,
            stable_after: stable_after.0,
            status_interval: status_interval.0,
            message_interval: message_interval.0,
            job_retention: job_retention.0,
            placement_rush,
            requests_per_agent,
            seed: seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().1),
        }
    }

    /// What cannot work, in words.
    pub(super) fn fault(&self) -> Option<String> {
        let positive = [
            ("list_wait", self.list_wait),
            ("list_interval", self.list_interval),
            ("list_interval_busy", self.list_interval_busy),
            ("reachable_window", self.reachable_window),
            ("read_timeout", self.read_timeout),
            ("rescan", self.rescan),
            ("create_deadline", self.create_deadline),
            ("action_deadline", self.action_deadline),
            ("retry_min", self.retry_min),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, span)| span.0.is_zero()) {
            return Some(format!("tuning.{name} must be longer than nothing"));
        }
        if self.retry_max.0 < self.retry_min.0 {
            return Some("tuning.retry_max is shorter than tuning.retry_min".to_owned());
        }
        (self.requests_per_agent == 0)
            .then(|| "tuning.requests_per_agent must be at least 1".to_owned())
    }
}

impl Default for Tuning {
    fn default() -> Self {
        let Settings {
            list_wait,
            list_interval,
            list_interval_busy,
            reachable_window,
            read_timeout,
            startup_grace,
            vanish_confirmation,
            rescan,
            shutdown_grace,
            create_deadline,
            action_deadline,
            retry_min,
            retry_max,
            stable_after,
            status_interval,
            message_interval,
            job_retention,
            placement_rush,
            requests_per_agent,
            seed: _,
        } = Settings::default();
        Self {
            list_wait: list_wait.into(),
            list_interval: list_interval.into(),
            list_interval_busy: list_interval_busy.into(),
            reachable_window: reachable_window.into(),
            read_timeout: read_timeout.into(),
            startup_grace: startup_grace.into(),
            vanish_confirmation: vanish_confirmation.into(),
            rescan: rescan.into(),
            shutdown_grace: shutdown_grace.into(),
            create_deadline: create_deadline.into(),
            action_deadline: action_deadline.into(),
            retry_min: retry_min.into(),
            retry_max: retry_max.into(),
            stable_after: stable_after.into(),
            status_interval: status_interval.into(),
            message_interval: message_interval.into(),
            job_retention: job_retention.into(),
            placement_rush,
            requests_per_agent,
            seed: None,
        }
    }
}
