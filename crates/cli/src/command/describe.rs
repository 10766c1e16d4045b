//! `lochnessctl describe`: everything about one object. Why it is not as declared comes first.

use clap::Args;
use lochness_api::job::Job;
use lochness_api::{JobId, Key, Kind};
use serde_json::Value;

use crate::command::get::events_under;
use crate::kind_word::Subject;
use crate::object::{Object, cluster_status, find};
use crate::page::Page;
use crate::why::{is_problem, why};
use crate::{Console, Failure, Session, owned};

/// Metadata that may be secret or long; only its length is shown. `get -o json` has it.
const HIDDEN: [&str; 2] = ["user_data", "ssh_keys"];

/// The flags of `describe`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// A kind, or cluster.
    subject: Subject,

    /// Names or ids.
    names: Vec<String>,
}

impl Describe {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        match self.subject {
            Subject::Kind(_) if self.names.is_empty() => Err(Failure::usage(
                "describe needs a name",
                "lochnessctl get lists the objects of a kind",
            )),
            Subject::Kind(kind) => {
                for (index, name) in self.names.iter().enumerate() {
                    if index > 0 {
                        writeln!(console.out)?;
                    }
                    let object = find(session, kind, name).await?;
                    let text = describe(session, &object).await?;
                    console.out.write_all(text.as_bytes())?;
                }
                Ok(())
            }
            Subject::Cluster => {
                let text = describe_cluster(session).await?;
                Ok(console.out.write_all(text.as_bytes())?)
            }
            Subject::Jobs | Subject::Events => Err(Failure::usage(
                "jobs and events are described with the object that they belong to",
                "lochnessctl get jobs, lochnessctl get events",
            )),
        }
    }
}

async fn describe(session: &Session, object: &Object) -> Result<String, Failure> {
    let mut page = Page::default();
    if let Some(why) = why(object) {
        page.line(0, "Why", &why.sentence());
    }
    page.line(0, "Kind", object.kind.name());
    page.line(0, "Name", &object.name().unwrap_or_default());
    page.line(0, "Id", &object.id);
    if let Some(document) = &object.document {
        page.heading(&format!("Document (revision {})", document.mod_revision));
        let json = object.json();
        if json.is_null() {
            page.line(1, "not JSON", &format!("{} bytes", document.value.len()));
        } else {
            page.value(1, &without_secrets(json));
        }
    }
    let beside = owned::read(session, object.kind, &object.id).await?;
    let beside: Vec<_> = beside.iter().filter(|(key, _)| key.as_document().is_none()).collect();
    if !beside.is_empty() {
        page.heading("Beside it");
        for (key, kv) in beside {
            let path = key.to_string();
            let short = path.splitn(3, '/').last().unwrap_or(&path);
            page.line(1, short, String::from_utf8_lossy(&kv.value).trim());
        }
    }
    let mut status = object.status_json();
    if let Some(fields) = status.as_object_mut() {
        fields.remove("conditions");
        page.heading("Status");
        page.value(1, &status);
    }
    page.conditions(session.now(), &object.conditions());
    if let Some(job) = current_job(session, object).await? {
        page.heading("Job");
        page.value(1, &serde_json::json!(job));
    }
    let path = format!("events/{}/{}/", object.kind.plural(), object.id);
    page.events(session.now(), &events_under(session, &path).await?);
    Ok(page.into_text())
}

async fn describe_cluster(session: &Session) -> Result<String, Failure> {
    let status = cluster_status(session).await?;
    let mut page = Page::default();
    for problem in status.conditions.iter().filter(|condition| is_problem(condition)) {
        page.line(0, "Why", &format!("{}: {}", problem.reason, problem.message));
    }
    let mut json = serde_json::json!(status);
    if let Some(fields) = json.as_object_mut() {
        fields.remove("conditions");
    }
    page.heading("Cluster");
    page.value(1, &json);
    page.conditions(session.now(), &status.conditions);
    let (_, config) = session.list("config/").await?;
    if !config.is_empty() {
        page.heading("Configuration");
    }
    for kv in config {
        if let Ok(Key::Config(name)) = session.prefix().parse(&kv.key) {
            page.line(1, &name, String::from_utf8_lossy(&kv.value).trim());
        }
    }
    page.events(session.now(), &events_under(session, "events/cluster/").await?);
    Ok(page.into_text())
}

async fn current_job(session: &Session, object: &Object) -> Result<Option<Job>, Failure> {
    if object.kind != Kind::Guest {
        return Ok(None);
    }
    let Some(id): Option<JobId> = object.guest_status().and_then(|status| status.job) else {
        return Ok(None);
    };
    let kv = session.read_one(&Key::Job(id)).await?;
    Ok(kv.and_then(|kv| Job::parse(&kv.value).ok()))
}

fn without_secrets(mut document: Value) -> Value {
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        for name in HIDDEN {
            if let Some(Value::String(text)) = metadata.get_mut(name) {
                *text = format!("({} bytes)", text.len());
            }
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_shown_by_their_length_only() {
        let document = json!({"metadata": {"name": "w", "user_data": "password: x"}});
        let mut page = Page::default();
        page.value(1, &without_secrets(document));
        assert_eq!(page.into_text(), "  metadata:\n    name: w\n    user_data: (11 bytes)\n");
    }
}
