//! What happened to one guest, in order, for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use lochness_api::job::Job;
use lochness_api::status::GuestStatus;
use lochness_api::{GuestId, Key};

use super::HostHistory;
use super::record::Record;
use super::view::{Change, Stored};

/// A value is cut to so many characters.
const SHOWN: usize = 160;

/// The timeline of a guest: every revision and every effect that names it.
pub(super) fn of_guest(record: &Record, histories: &[HostHistory], guest: GuestId) -> String {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for step in &record.steps {
        for change in step.changes.iter().filter(|change| concerns(change, guest)) {
            lines.push((step.seen, format!("r{:<6} {}", step.revision, told(change))));
        }
    }
    for history in histories {
        for effect in history.effects.iter().filter(|effect| effect.guest == Some(guest)) {
            let job = effect.job.map(|job| job.to_string());
            let line = format!(
                "        {:?} on {} job {} order {} firewall {} {}",
                effect.kind,
                history.host,
                job.as_deref().or(effect.remote.as_deref()).unwrap_or("none"),
                effect.order.map_or("none".to_owned(), |order| order.to_string()),
                effect.firewall.map_or("none".to_owned(), |order| order.to_string()),
                effect.detail.as_deref().unwrap_or("")
            );
            lines.push((effect.at, line));
        }
    }
    lines.sort();
    let mut text = format!("timeline of guest {guest}:\n");
    for (at, line) in lines {
        let _ = writeln!(text, "  {at:.3} {line}");
    }
    text
}

fn concerns(change: &Change, guest: GuestId) -> bool {
    let id = guest.to_string();
    let names = |stored: &Option<Stored>| {
        stored.as_ref().is_some_and(|it| String::from_utf8_lossy(&it.value).contains(&id))
    };
    change.text.contains(&id) || names(&change.after) || names(&change.before)
}

fn told(change: &Change) -> String {
    let Some(after) = &change.after else { return format!("del {}", change.text) };
    let value = match change.key {
        Some(Key::GuestStatus(_)) => GuestStatus::parse(&after.value).ok().map(|it| status(&it)),
        Some(Key::Job(_)) => Job::parse(&after.value).ok().map(|it| job(&it)),
        _ => None,
    };
    let value = value.unwrap_or_else(|| String::from_utf8_lossy(&after.value).into_owned());
    let value: String = value.chars().take(SHOWN).collect();
    format!("put {} {value}", change.text)
}

fn status(status: &GuestStatus) -> String {
    let ip = status.placement.as_ref().map(|placement| placement.ip.to_string());
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|it| format!("{}={}({})", it.kind, it.status, it.reason))
        .collect();
    format!(
        "{:?} ip {} job {} order {} {}",
        status.phase,
        ip.as_deref().unwrap_or("none"),
        status.job.map_or("none".to_owned(), |job| job.to_string()[..8].to_owned()),
        status.order.as_deref().unwrap_or("none"),
        conditions.join(" ")
    )
}

fn job(job: &Job) -> String {
    format!(
        "{} {} attempt {} remote {:?} error {:?}",
        job.action, job.status, job.attempt, job.remote, job.error
    )
}
