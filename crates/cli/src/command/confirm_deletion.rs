//! `lochnessctl confirm-deletion`: a person says that a held mass deletion is meant.

use clap::Args;
use lochness_api::Key;

use crate::config_write::{Wish, set};
use crate::console::Consent;
use crate::object::cluster_status;
use crate::{Console, Failure, Session};

/// The flags of `confirm-deletion`.
#[derive(Debug, Args)]
pub(crate) struct ConfirmDeletion {
    /// Confirm this revision instead of the one that the operator shows.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmDeletion {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let status = cluster_status(session).await?;
        let Some(revision) = self.revision.or(status.confirm_revision) else {
            writeln!(console.out, "no deletion is held")?;
            return Ok(());
        };
        let question = format!(
            "{} guests whose documents are gone will be deleted with their disks (deletions up to \
             revision {revision}). Is it meant?",
            status.deletions_waiting
        );
        console.confirm(&question, Consent::from(self.yes))?;
        let key = Key::Config("confirm_deletion".to_owned());
        set(session, &[(key, Wish::Text(revision.to_string()))]).await?;
        writeln!(console.out, "deletion confirmed up to revision {revision}")?;
        Ok(())
    }
}
