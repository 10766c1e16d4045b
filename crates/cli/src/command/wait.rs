//! `lochnessctl wait`: until an object is as wanted.

use clap::Args;
use lochness_api::Kind;
use lochness_api::manifest::id_of;

use crate::goal::Goal;
use crate::kind_word::{KindWord, singular};
use crate::object::{by_id, find};
use crate::waiting::{Target, wait_for};
use crate::{Console, Failure, Session};

/// The flags of `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Kind of the objects; phases are a guest's.
    kind: KindWord,

    /// Names or ids.
    #[arg(required = true)]
    names: Vec<String>,

    /// running, stopped, suspended, declared, deleted, phase=PHASE or condition=TYPE[=STATUS].
    #[arg(long = "for", value_name = "WHAT")]
    goal: Goal,
}

impl Wait {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let kind = self.kind.0;
        if kind != Kind::Guest && matches!(self.goal, Goal::Declared | Goal::Phase(_)) {
            return Err(Failure::usage(
                format!("a {} has no phase", singular(kind)),
                "wait for condition=TYPE or for deleted",
            ));
        }
        let mut targets = Vec::with_capacity(self.names.len());
        for name in &self.names {
            targets.push(target(session, kind, name, self.goal).await?);
        }
        wait_for(session, console, targets).await
    }
}

async fn target(session: &Session, kind: Kind, name: &str, goal: Goal) -> Result<Target, Failure> {
    match find(session, kind, name).await {
        Ok(object) => Ok(Target { kind, title: object.title(), id: object.id, goal }),
        // With its document its name is gone too: what was declared by name still has the name's id.
        Err(Failure::Failed(_)) if goal == Goal::Deleted && kind != Kind::Vlan => {
            let id = match by_id(session, kind, name).await? {
                Some(object) => object.id,
                None => id_of(kind, name).to_string(),
            };
            Ok(Target { kind, title: format!("{}/{name}", singular(kind)), id, goal })
        }
        Err(failure) => Err(failure),
    }
}
