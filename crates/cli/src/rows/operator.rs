//! What the operator keeps: jobs, events, and the whole.

use jiff::Timestamp;
use lochness_api::job::{Job, JobStatus};
use lochness_api::status::ClusterStatus;
use lochness_api::{Key, Kind};
use serde_json::Value;

use crate::kind_word::singular;
use crate::object::Names;
use crate::span;
use crate::table::{Cell, Mood, one_line};
use crate::why::is_problem;

/// Header and rows of a table.
pub(crate) type TableText = (Vec<&'static str>, Vec<Vec<Cell>>);

/// Jobs, the unfinished first, then the newest first.
pub(crate) fn job_table(jobs: &[Job], names: &Names, now: Timestamp) -> TableText {
    let mut jobs: Vec<&Job> = jobs.iter().collect();
    let newest = |job: &Job| std::cmp::Reverse(job.started_at.or(job.finished_at));
    jobs.sort_by_key(|job| (job.status.is_finished(), newest(job), job.id));
    let header = vec!["ID", "ACTION", "STATUS", "GUEST", "HYPERVISOR", "ATTEMPT", "AGE", "ERROR"];
    let rows = jobs
        .into_iter()
        .map(|job| {
            let since = job.finished_at.or(job.started_at);
            vec![
                job.id.to_string().into(),
                job.action.as_str().into(),
                Cell::with(job.status.as_str(), mood(job.status)),
                names.show(Kind::Guest, &job.guest.to_string()).into(),
                names.show(Kind::Hypervisor, &job.hypervisor.to_string()).into(),
                job.attempt.to_string().into(),
                since.map(|since| span::ago(now, since)).unwrap_or_default().into(),
                job.error.clone().unwrap_or_default().into(),
            ]
        })
        .collect();
    (header, rows)
}

fn mood(status: JobStatus) -> Mood {
    match status {
        JobStatus::New | JobStatus::Working => Mood::Busy,
        JobStatus::Done => Mood::Good,
        JobStatus::Error => Mood::Bad,
    }
}

/// Events: the keys say to what and which, the values how often and in words.
pub(crate) fn event_table(events: &[(Key, Value)], names: &Names, now: Timestamp) -> TableText {
    let header = vec!["OBJECT", "REASON", "COUNT", "AGE", "MESSAGE"];
    let rows = events
        .iter()
        .filter_map(|(key, value)| {
            let (object, reason) = event_subject(key, names)?;
            let last = event_time(value).map(|last| span::ago(now, last));
            Some(vec![
                object.into(),
                reason.into(),
                event_count(value).to_string().into(),
                last.unwrap_or_default().into(),
                event_message(value).into(),
            ])
        })
        .collect();
    (header, rows)
}

/// One event of an object that is being described.
pub(crate) fn event_line(key: &Key, value: &Value, now: Timestamp) -> Option<String> {
    let (_, reason) = event_subject(key, &Names::default())?;
    let age = event_time(value).map(|last| format!(", {} ago", span::ago(now, last)));
    let (count, age) = (event_count(value), age.unwrap_or_default());
    Some(format!("{reason} ({count}x{age}): {}", one_line(&event_message(value))))
}

fn event_subject<'a>(key: &'a Key, names: &Names) -> Option<(String, &'a str)> {
    if let Key::Event { kind, id, reason } = key {
        return Some((format!("{}/{}", singular(*kind), names.show(*kind, id)), reason));
    }
    if let Key::ClusterEvent(reason) = key {
        return Some(("cluster".to_owned(), reason));
    }
    None
}

fn event_time(value: &Value) -> Option<Timestamp> {
    value.get("last")?.as_str()?.parse().ok()
}

fn event_count(value: &Value) -> u64 {
    value.get("count").and_then(Value::as_u64).unwrap_or(1)
}

fn event_message(value: &Value) -> String {
    value.get("message").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The cluster in one row.
pub(crate) fn cluster_table(status: &ClusterStatus) -> TableText {
    let header =
        vec!["LEADER", "ETCD", "GUESTS", "PLACED", "HYPERVISORS", "ALIVE", "INVALID", "REASON"];
    let problems: Vec<_> = status
        .conditions
        .iter()
        .filter(|condition| is_problem(condition))
        .map(|condition| condition.reason.as_str())
        .collect();
    let mood = if problems.is_empty() { Mood::Plain } else { Mood::Bad };
    let row = vec![
        status.leader.clone().unwrap_or_default().into(),
        status.etcd_version.clone().unwrap_or_default().into(),
        status.guests.to_string().into(),
        status.placed.to_string().into(),
        status.hypervisors.to_string().into(),
        status.alive.to_string().into(),
        status.invalid.to_string().into(),
        Cell::with(problems.join(","), mood),
    ];
    (header, vec![row])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_shown_with_count_age_and_message() {
        let id = crate::sample::guest_id();
        let key = Key::Event { kind: Kind::Guest, id: id.into(), reason: "NoHostFits".into() };
        let value = json!({"count": 4, "last": "1970-01-01T00:01:00Z", "message": "0 of 3 fit"});
        let names = Names::default().with(Kind::Guest, id, "web-1");
        let now = Timestamp::from_second(70).unwrap();
        let (_, rows) = event_table(&[(key, value)], &names, now);
        let texts: Vec<_> = rows[0].iter().map(Cell::text).collect();
        assert_eq!(texts, ["guest/web-1", "NoHostFits", "4", "10s", "0 of 3 fit"]);
    }
}
