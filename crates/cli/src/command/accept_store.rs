//! `lochnessctl accept-store`: a person says that the store, as it is now, is the one to go on with.

use clap::Args;
use lochness_api::Key;
use lochness_api::status::{ConditionStatus, ConditionType};

use crate::config_write::{Wish, set};
use crate::console::Consent;
use crate::object::cluster_status;
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
