//! `lochnessctl pause` and `unpause`: no changes on agents, for the cluster, a hypervisor or a guest.

use clap::{Args, Subcommand};
use lochness_api::{Key, Kind};
use lochness_kv::{Compare, Op};
use serde_json::Value;

use crate::command::cordon::set_on;
use crate::config_write::{Wish, Written, set};
use crate::object::find;
use crate::{Console, Failure, Session};

/// The flags of `pause`.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(subcommand)]
    what: What,
}

/// The flags of `unpause`.
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Everything.
    Cluster,
    /// One host and what runs there.
    Hypervisor {
        /// Name or id.
        name: String,
    },
    /// One guest; written into its document, so the next apply of its manifest decides again.
    Guest {
        /// Name or id.
        name: String,
    },
}

impl Pause {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        set_pause(session, console, &self.what, &Wish::Text("true".to_owned()), "paused").await
    }
}

impl Unpause {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        set_pause(session, console, &self.what, &Wish::Absent, "unpaused").await
    }
}

async fn set_pause(
    session: &Session,
    console: &mut Console<'_>,
    what: &What,
    wish: &Wish,
    done: &str,
) -> Result<(), Failure> {
    match what {
        What::Cluster => {
            let key = Key::Config("pause".to_owned());
            let word = match set(session, &[(key, wish.clone())]).await? {
                Written::Changed => done,
                Written::Unchanged => "unchanged",
            };
            writeln!(console.out, "cluster {word}")?;
            Ok(())
        }
        What::Hypervisor { name } => {
            set_on(session, console, name, &[("pause", wish.clone())], done).await
        }
        What::Guest { name } => pause_guest(session, console, name, wish, done).await,
    }
}

async fn pause_guest(
    session: &Session,
    console: &mut Console<'_>,
    name: &str,
    wish: &Wish,
    done: &str,
) -> Result<(), Failure> {
    let guest = find(session, Kind::Guest, name).await?;
    let title = guest.title();
    let (Some(stored), Some(key)) = (&guest.document, Key::document(guest.kind, &guest.id)) else {
        return Err(Failure::failed(format!("{title} is being deleted"), ""));
    };
    let Some(edited) = with_pause(guest.json(), wish) else {
        return Err(Failure::failed(
            format!("the document of {title} is no JSON object"),
            "put it anew with lochnessctl apply",
        ));
    };
    if edited == guest.json() {
        writeln!(console.out, "{title} unchanged")?;
        return Ok(());
    }
    let key = session.key(&key);
    let compare = Compare::ModRevision(key.clone(), stored.mod_revision);
    if !session.write(vec![compare], vec![Op::put(key, edited.to_string())]).await?.succeeded {
        return Err(Failure::failed(
            format!("somebody else changed {title} at the same moment"),
            "give the command again",
        ));
    }
    writeln!(console.out, "{title} {done}")?;
    Ok(())
}

/// The document with its `metadata.pause` as wished; `None` when it has no place for it.
fn with_pause(mut document: Value, wish: &Wish) -> Option<Value> {
    let fields = document.as_object_mut()?;
    let metadata = fields.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(serde_json::Map::new());
    }
    let metadata = metadata.as_object_mut()?;
    match wish {
        Wish::Text(text) => {
            metadata.insert("pause".to_owned(), Value::from(text.clone()));
        }
        Wish::Absent => {
            metadata.remove("pause");
        }
    }
    Some(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pause_touches_nothing_else_in_the_document() {
        let document = json!({"flavor": "x", "metadata": null, "strange": [1]});
        let paused = with_pause(document.clone(), &Wish::Text("true".into())).unwrap();
        assert_eq!(paused, json!({"flavor": "x", "metadata": {"pause": "true"}, "strange": [1]}));
        let ended = with_pause(paused, &Wish::Absent).unwrap();
        assert_eq!(ended, json!({"flavor": "x", "metadata": {}, "strange": [1]}));
    }
}
