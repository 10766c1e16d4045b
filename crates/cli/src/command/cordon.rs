//! `lochnessctl cordon`, `uncordon` and `drain`: whether a hypervisor takes guests.

use clap::Args;
use lochness_api::{HypervisorId, Key, Kind};

use crate::config_write::{Wish, Written, set};
use crate::object::find;
use crate::{Console, Failure, Session};

/// The flags of `cordon`.
#[derive(Debug, Args)]
pub(crate) struct Cordon {
    /// Name or id.
    hypervisor: String,
}

/// The flags of `uncordon`.
#[derive(Debug, Args)]
pub(crate) struct Uncordon {
    /// Name or id.
    hypervisor: String,
}

/// The flags of `drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Name or id.
    hypervisor: String,
}

impl Cordon {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let wishes = [("cordon", yes())];
        set_on(session, console, &self.hypervisor, &wishes, "cordoned").await
    }
}

impl Uncordon {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let wishes = [("cordon", Wish::Absent), ("drain", Wish::Absent)];
        set_on(session, console, &self.hypervisor, &wishes, "uncordoned").await
    }
}

impl Drain {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let wishes = [("cordon", yes()), ("drain", yes())];
        set_on(session, console, &self.hypervisor, &wishes, "draining").await
    }
}

fn yes() -> Wish {
    Wish::Text("true".to_owned())
}

/// Sets values under a hypervisor's `config/` and says what became of it.
pub(crate) async fn set_on(
    session: &Session,
    console: &mut Console<'_>,
    word: &str,
    wishes: &[(&str, Wish)],
    done: &str,
) -> Result<(), Failure> {
    let host = find(session, Kind::Hypervisor, word).await?;
    let id: HypervisorId = host.id.parse().map_err(|_| {
        Failure::failed(format!("the id {:?} is no UUID", host.id), "name it by its id")
    })?;
    let wishes: Vec<_> = wishes
        .iter()
        .map(|(name, wish)| (Key::HypervisorConfig(id, (*name).to_owned()), wish.clone()))
        .collect();
    let word = match set(session, &wishes).await? {
        Written::Changed => done,
        Written::Unchanged => "unchanged",
    };
    writeln!(console.out, "{} {word}", host.title())?;
    Ok(())
}
