//! `lochnessctl fence` and `unfence`: a person vouches that a lost hypervisor runs nothing any more, and takes that back
//! once the machine is repaired.

use clap::Args;
use lochness_api::{HypervisorId, Key, Kind};

use crate::command::cordon::set_on;
use crate::config_write::Wish;
use crate::console::Consent;
use crate::object::find;
use crate::{Console, Failure, Session};

/// The flags of `fence`.
#[derive(Debug, Args)]
pub(crate) struct Fence {
    /// Name or id.
    hypervisor: String,

    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// The flags of `unfence`.
#[derive(Debug, Args)]
pub(crate) struct Unfence {
    /// Name or id.
    hypervisor: String,
}

impl Unfence {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let wishes = [("fenced", Wish::Absent)];
        set_on(session, console, &self.hypervisor, &wishes, "unfenced").await
    }
}

impl Fence {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let host = find(session, Kind::Hypervisor, &self.hypervisor).await?;
        if is_alive(session, &host.id).await? {
            return Err(Failure::failed(
                format!(
                    "{} still has a heartbeat; a fence counts only after its loss",
                    host.title()
                ),
                "switch the machine off, wait until its heartbeat has expired, then fence it",
            ));
        }
        let question = format!(
            "From now on {} counts as switched off: it takes no guests, and after accept-store nobody waits \
             to hear what it runs. If it is not really off, guests may then run twice on the same address. Is it off?",
            host.title()
        );
        console.confirm(&question, Consent::from(self.yes))?;
        let wishes = [("fenced", Wish::Text(session.now().to_string()))];
        set_on(session, console, &host.id, &wishes, "fenced").await
    }
}

async fn is_alive(session: &Session, id: &str) -> Result<bool, Failure> {
    let Ok(id) = id.parse::<HypervisorId>() else { return Ok(false) };
    Ok(session.read_one(&Key::Heartbeat(id)).await?.is_some())
}
