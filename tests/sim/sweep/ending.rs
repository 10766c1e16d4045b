//! How a run ended, in words that do not depend on chance: which host and which address a guest got, and when, is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lochness_api::Key;
use lochness_api::job::Job;
use serde_json::Value;

use super::stage::Stage;
use crate::checker::{Checker, runs};

/// The end of a run: what is in the store and what is on the hosts.
pub(crate) fn ending(stage: &Stage) -> String {
    let mut text = stage.judge.look(stored);
    let mut there: BTreeMap<String, u32> = BTreeMap::new();
    for machine in &stage.machines {
        let history = machine.host.history();
        for guest in stage.judge.look(Checker::guests) {
            if history.iter().any(|effect| effect.guest == Some(guest)) && runs(&history, guest) {
                *there.entry(guest.to_string()).or_default() += 1;
            }
        }
    }
    for (guest, hosts) in there {
        let _ = writeln!(text, "{guest} runs on {hosts}");
    }
    text
}

fn stored(checker: &Checker) -> String {
    let mut lines: Vec<String> =
        checker.keys().filter_map(|(key, value)| told(key, value)).collect();
    lines.sort();
    let open = checker.keys().filter(|(key, value)| is_open(key, value)).count();
    lines.push(format!("{open} jobs are open\n"));
    lines.join("\n")
}

fn is_open(key: &Key, value: &[u8]) -> bool {
    matches!(key, Key::Job(_)) && Job::parse(value).is_ok_and(|job| !job.status.is_finished())
}

fn told(key: &Key, value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    match key {
        Key::Placement(_, guest) => Some(format!("index of {guest}")),
        Key::Address(..) => Some(format!("address of {text}")),
        Key::Stale(_, guest) => Some(format!("stale {guest}")),
        Key::GuestStatus(_)
        | Key::HypervisorStatus(_)
        | Key::SubnetStatus(_)
        | Key::FwGroupStatus(_)
        | Key::KindStatus(..)
        | Key::ClusterStatus => Some(format!("{key:?} {}", answers(key, &text))),
        _ => None,
    }
}

/// The phase and the answers of a status: types, statuses and reasons of its conditions.
fn answers(key: &Key, text: &str) -> String {
    let status: Value = serde_json::from_str(text).unwrap_or_default();
    let mut told = status["phase"].as_str().unwrap_or_default().to_owned();
    for condition in status["conditions"].as_array().into_iter().flatten() {
        // How full a host is depends on which guests chance put there.
        if matches!(key, Key::HypervisorStatus(_)) && condition["type"] == "Capacity" {
            continue;
        }
        let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let _ = write!(told, " {}={}({})", word("type"), word("status"), word("reason"));
    }
    told
}
