//! Configuration that is in force at once: one key a value, as text.

use std::fmt::Display;
use std::str::FromStr;

use super::FieldError;
use super::metadata::{FLAG_WANTED, parse_flag};
use crate::text::quote;

/// Whether a key of the configuration is one that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is in force.
    Known,
    /// Nobody knows it: ignored and counted.
    Unknown,
}

/// Factors by which more may be promised than there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overcommit {
    /// Of cores.
    pub cpu: f64,
    /// Of memory.
    pub memory: f64,
    /// Of disk.
    pub disk: f64,
}

/// `config/<key>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// No mutation of any agent.
    pub pause: bool,
    /// The revision up to which a person confirmed deletions.
    pub confirm_deletion: Option<i64>,
    /// A person accepted the store as it is now; the text says which one.
    pub accept_store: Option<String>,
    /// Where a host says nothing else.
    pub overcommit: Overcommit,
    /// How long an address waits after its guest went.
    pub quarantine_seconds: u64,
    /// Deletions that never need to be confirmed.
    pub deletion_budget_min: u64,
    /// Percent of the placed guests whose deletion needs no confirmation.
    pub deletion_budget_percent: u64,
    /// Guests a minute that leave draining hosts; the operator's own choice when not given.
    pub evacuation_rate: Option<u32>,
}

/// `hypervisors/<id>/config/<key>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HypervisorConfig {
    /// No mutation of its agent.
    pub pause: bool,
    /// No new guests.
    pub cordon: bool,
    /// No new guests, and those that may move do.
    pub drain: bool,
    /// A person or a script says that its guests cannot run any more.
    pub fenced: Option<String>,
    /// Who keeps its guests' firewall.
    pub firewall: FirewallBy,
    /// Instead of the cluster's.
    pub overcommit_cpu: Option<f64>,
    /// Instead of the cluster's.
    pub overcommit_memory: Option<f64>,
    /// Instead of the cluster's.
    pub overcommit_disk: Option<f64>,
    /// MB that are kept for the host itself.
    pub reserve_memory: Option<u64>,
    /// Where its agent listens, unless its heartbeat says otherwise.
    pub agent_port: Option<u16>,
    /// Whether its agent speaks TLS.
    pub agent_tls: Option<bool>,
}

/// Who keeps the firewall of a host's guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FirewallBy {
    /// Its agent, with rulesets of ours.
    #[default]
    Agent,
    /// Somebody else, who sees to it that groups hold; no ruleset is sent.
    External,
}

impl FirewallBy {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::External => "external",
        }
    }

    /// `on` and `off` are older words for the two.
    fn parse(key: &str, text: &str) -> Result<Self, FieldError> {
        match text.to_ascii_lowercase().as_str() {
            "agent" | "on" => Ok(Self::Agent),
            "external" | "off" => Ok(Self::External),
            _ => Err(refuse(key, format!("must be agent or external, is {}", quote(text)))),
        }
    }
}

/// The largest overcommit factor: beyond it a typing error is likelier than a wish.
const OVERCOMMIT_LIMIT: f64 = 1_000.0;

/// The largest quarantine, a week: leases of etcd are not made for more.
const QUARANTINE_LIMIT_SECONDS: u64 = 7 * 24 * 3600;

/// The largest reserve, an exbibyte in MB.
const RESERVE_LIMIT_MB: u64 = 1 << 40;

impl Default for Overcommit {
    fn default() -> Self {
        Self { cpu: 4.0, memory: 1.0, disk: 1.0 }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            pause: false,
            confirm_deletion: None,
            accept_store: None,
            overcommit: Overcommit::default(),
            quarantine_seconds: 300,
            deletion_budget_min: 10,
            deletion_budget_percent: 20,
            evacuation_rate: None,
        }
    }
}

impl ClusterConfig {
    /// Takes a key's new value; `None` (deleted) and an empty one mean its default.
    ///
    /// # Errors
    /// When the value cannot be understood; then the former one stays.
    pub fn apply(&mut self, key: &str, value: Option<&[u8]>) -> Result<Applied, FieldError> {
        let text = decode(key, value)?;
        let default = Self::default();
        match key {
            "pause" => self.pause = flag(key, text)?.unwrap_or(default.pause),
            "confirm_deletion" => self.confirm_deletion = number(key, text, 0..=i64::MAX)?,
            "accept_store" => self.accept_store = text.map(str::to_owned),
            "overcommit_cpu" => {
                self.overcommit.cpu = factor(key, text)?.unwrap_or(default.overcommit.cpu);
            }
            "overcommit_memory" => {
                self.overcommit.memory = factor(key, text)?.unwrap_or(default.overcommit.memory);
            }
            "overcommit_disk" => {
                self.overcommit.disk = factor(key, text)?.unwrap_or(default.overcommit.disk);
            }
            "quarantine_seconds" => {
                self.quarantine_seconds = number(key, text, 0..=QUARANTINE_LIMIT_SECONDS)?
                    .unwrap_or(default.quarantine_seconds);
            }
            "deletion_budget_min" => {
                self.deletion_budget_min =
                    number(key, text, 0..=u64::MAX)?.unwrap_or(default.deletion_budget_min);
            }
            "deletion_budget_percent" => {
                self.deletion_budget_percent =
                    number(key, text, 0..=100)?.unwrap_or(default.deletion_budget_percent);
            }
            "evacuation_rate" => self.evacuation_rate = number(key, text, 0..=u32::MAX)?,
            _ => return Ok(Applied::Unknown),
        }
        Ok(Applied::Known)
    }
}

impl HypervisorConfig {
    /// Takes a key's new value; `None` (deleted) and an empty one mean its default.
    ///
    /// # Errors
    /// When the value cannot be understood; then the former one stays.
    pub fn apply(&mut self, key: &str, value: Option<&[u8]>) -> Result<Applied, FieldError> {
        let text = decode(key, value)?;
        match key {
            "pause" => self.pause = flag(key, text)?.unwrap_or(false),
            "cordon" => self.cordon = flag(key, text)?.unwrap_or(false),
            "drain" => self.drain = flag(key, text)?.unwrap_or(false),
            "fenced" => self.fenced = text.map(str::to_owned),
            "firewall" => {
                let parsed = text.map(|text| FirewallBy::parse(key, text)).transpose()?;
                self.firewall = parsed.unwrap_or_default();
            }
            "overcommit_cpu" => self.overcommit_cpu = factor(key, text)?,
            "overcommit_memory" => self.overcommit_memory = factor(key, text)?,
            "overcommit_disk" => self.overcommit_disk = factor(key, text)?,
            "reserve_memory" => self.reserve_memory = number(key, text, 0..=RESERVE_LIMIT_MB)?,
            "agent_port" => self.agent_port = number(key, text, 1..=u16::MAX)?,
            "agent_tls" => self.agent_tls = flag(key, text)?,
            _ => return Ok(Applied::Unknown),
        }
        Ok(Applied::Known)
    }
}

/// The value as text without white space around it; `None` when nothing is given.
fn decode<'a>(key: &str, value: Option<&'a [u8]>) -> Result<Option<&'a str>, FieldError> {
    let text = std::str::from_utf8(value.unwrap_or_default())
        .map_err(|_| refuse(key, "not UTF-8".into()))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn flag(key: &str, text: Option<&str>) -> Result<Option<bool>, FieldError> {
    let parse = |text| {
        parse_flag(text).map_err(|()| refuse(key, format!("{FLAG_WANTED}, is {}", quote(text))))
    };
    text.map(parse).transpose()
}

fn number<N: FromStr + PartialOrd + Display + Copy>(
    key: &str,
    text: Option<&str>,
    range: std::ops::RangeInclusive<N>,
) -> Result<Option<N>, FieldError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let (low, high) = (range.start(), range.end());
            let reason = format!("must be a whole number from {low} to {high}, is {}", quote(text));
            Err(refuse(key, reason))
        }
    }
}

fn factor(key: &str, text: Option<&str>) -> Result<Option<f64>, FieldError> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= OVERCOMMIT_LIMIT => Ok(Some(factor)),
        _ => {
            let reason = format!(
                "must be a number above 0 and at most {OVERCOMMIT_LIMIT}, is {}",
                quote(text)
            );
            Err(refuse(key, reason))
        }
    }
}

fn refuse(key: &str, reason: String) -> FieldError {
    FieldError { field: key.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_force_and_its_deletion_brings_the_default_back() {
        let mut config = ClusterConfig::default();
        assert_eq!(config.apply("overcommit_cpu", Some(b" 2.5\n")), Ok(Applied::Known));
        assert_eq!(config.apply("pause", Some(b"Yes")), Ok(Applied::Known));
        assert_eq!((config.overcommit.cpu, config.pause), (2.5, true));
        config.apply("overcommit_cpu", None).unwrap();
        config.apply("pause", Some(b"")).unwrap();
        assert_eq!(config, ClusterConfig::default());
    }

    #[test]
    fn the_former_value_stays_when_the_new_one_cannot_be_understood() {
        let mut config = ClusterConfig::default();
        config.apply("quarantine_seconds", Some(b"7")).unwrap();
        for value in ["-1", "many", "1e3", "\u{0}", "99999999999"] {
            let error = config.apply("quarantine_seconds", Some(value.as_bytes())).unwrap_err();
            assert_eq!(error.field, "quarantine_seconds");
        }
        assert!(config.apply("quarantine_seconds", Some(b"\xff")).is_err());
        assert_eq!(config.quarantine_seconds, 7);
        for value in ["NaN", "inf", "-1", "0", "1e400"] {
            assert!(config.apply("overcommit_disk", Some(value.as_bytes())).is_err(), "{value}");
        }
    }

    #[test]
    fn an_unknown_key_is_no_error() {
        assert_eq!(ClusterConfig::default().apply("cordon", Some(b"1")), Ok(Applied::Unknown));
        assert_eq!(HypervisorConfig::default().apply("x", None), Ok(Applied::Unknown));
    }

    #[test]
    fn who_keeps_the_firewall_is_one_of_two_and_another_word_changes_nothing() {
        let mut config = HypervisorConfig::default();
        for (text, wanted) in [
            ("external", FirewallBy::External),
            ("Agent", FirewallBy::Agent),
            (" off\n", FirewallBy::External),
        ] {
            config.apply("firewall", Some(text.as_bytes())).unwrap();
            assert_eq!(config.firewall, wanted, "{text}");
        }
        assert!(config.apply("firewall", Some(b"none")).is_err());
        assert_eq!(config.firewall, FirewallBy::External);
        config.apply("firewall", None).unwrap();
        assert_eq!(config.firewall, FirewallBy::Agent);
    }

    #[test]
    fn every_word_for_yes_and_no_is_read() {
        let mut config = HypervisorConfig::default();
        for (text, wanted) in
            [("true", true), ("OFF", false), ("1", true), ("no", false), ("on", true), ("0", false)]
        {
            config.apply("cordon", Some(text.as_bytes())).unwrap();
            assert_eq!(config.cordon, wanted, "{text}");
        }
        assert!(config.apply("cordon", Some(b"maybe")).is_err());
    }
}
