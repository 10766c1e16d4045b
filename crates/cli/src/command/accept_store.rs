//! `lochnessctl accept-store`: a person says that the store, as it is now, is the one to go on with.

use clap::Args;
use lochness_api::status::{ConditionStatus, ConditionType};
use lochness_api::{HypervisorId, Key, Kind};

use crate::config_write::{Wish, set};
use crate::console::Consent;
use crate::object::{cluster_status, list};
use crate::{Console, Failure, Session};

/// The flags of `accept-store`.
#[derive(Debug, Args)]
pub(crate) struct AcceptStore {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl AcceptStore {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let status = cluster_status(session).await?;
        let held = status.conditions.iter().find(|condition| {
            condition.kind == ConditionType::StoreRestored
                && condition.status == ConditionStatus::True
        });
        let reason = held.map_or_else(
            || "No operator says that it holds because of the store.".to_owned(),
            |condition| format!("The operator holds: {}.", condition.message.trim_end_matches('.')),
        );
        let silent = silent_hosts(session).await?;
        if !silent.is_empty() {
            console.note(&format!(
                "Hypervisors without a heartbeat: {}. What they run is not known: until each was heard, or is fenced \
                 (lochnessctl fence), no guest is placed or made again.",
                silent.join(", ")
            ))?;
        }
        let question = format!(
            "{reason} If you go on, guests are placed, started and deleted by what this store says, \
             after what the hosts list has been adopted. Is it the right store?"
        );
        console.confirm(&question, Consent::from(self.yes))?;
        let wish = Wish::Text(session.now().to_string());
        set(session, &[(Key::Config("accept_store".to_owned()), wish)]).await?;
        writeln!(console.out, "store accepted")?;
        Ok(())
    }
}

/// The hypervisors that are not heard now and that nobody vouches for: they are waited for.
async fn silent_hosts(session: &Session) -> Result<Vec<String>, Failure> {
    let mut silent = Vec::new();
    for host in list(session, Kind::Hypervisor).await? {
        let Ok(id) = host.id.parse::<HypervisorId>() else { continue };
        let keys = [Key::Heartbeat(id), Key::HypervisorConfig(id, "fenced".to_owned())];
        let found = session.read(&keys.map(|key| session.key(&key))).await?;
        if host.document.is_some() && found.iter().all(Option::is_none) {
            silent.push(host.title());
        }
    }
    Ok(silent)
}
