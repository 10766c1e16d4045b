//! `lochnessctl apply`: puts what manifests say, one transaction an object, and nothing where nothing differs.

use std::path::PathBuf;

use clap::Args;
use futures::StreamExt as _;
use lochness_api::Kind;
use lochness_api::manifest::Manifest;
use lochness_kv::KvError;

use crate::apply_plan::{Outcome, plan};
use crate::goal::Goal;
use crate::kind_word::singular;
use crate::owned::{self, Landed};
use crate::references::check_references;
use crate::waiting::{Target, wait_for};
use crate::{Console, Failure, Session, files};

/// Objects written at the same time; etcd's own work is what limits, not waiting for it.
const AT_ONCE: usize = 16;

/// How often an object is read and compared again when somebody else writes it at the same time.
const ATTEMPTS: usize = 4;

/// The flags of `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// A file, a directory (searched for .yaml, .yml and .json), or - for standard input. Many are read together.
    #[arg(long = "file", short = 'f', value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Wait until all guests of the manifests are as declared.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Pretend,
}

impl Apply {
    /// Reads the manifests alone: what is wrong in them is told whether or not a store answers. Standard input can be read
    /// but once, and is left for later.
    pub(crate) fn check(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        if self.files.iter().any(|file| file.as_os_str() == "-") {
            return Ok(());
        }
        files::read_manifests(&self.files, console).map(drop)
    }

    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let mut manifests = files::read_manifests(&self.files, console)?;
        // What others refer to comes first, so that fewer of them wait for a moment.
        manifests.sort_by_key(|manifest| rank(manifest.kind));
        check_references(session, console, &manifests).await?;
        let mode = if self.dry_run { Mode::Pretend } else { Mode::Write };
        apply_all(session, console, &manifests, mode).await?;
        if !self.wait {
            return Ok(());
        }
        let guests = manifests.iter().filter(|manifest| manifest.kind == Kind::Guest);
        let targets = guests.map(|manifest| Target {
            kind: Kind::Guest,
            id: manifest.id.to_string(),
            title: title(manifest),
            goal: Goal::Declared,
        });
        wait_for(session, console, targets.collect()).await
    }
}

async fn apply_all(
    session: &Session,
    console: &mut Console<'_>,
    manifests: &[Manifest],
    mode: Mode,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let mut outcomes = futures::stream::iter(manifests)
        .map(|manifest| async move { (manifest, apply_one(session, manifest, mode).await) })
        .buffered(AT_ONCE);
    while let Some((manifest, outcome)) = outcomes.next().await {
        match outcome {
            Ok(outcome) => {
                let note = if mode == Mode::Pretend { " (dry run)" } else { "" };
                writeln!(console.out, "{} {}{note}", title(manifest), outcome.as_str())?;
            }
            // The next object would fare no better.
            Err(Failure::Store(error)) if !matches!(error, KvError::TooLarge(_)) => {
                return Err(error.into());
            }
            Err(failure) => failures.push(format!("\n  {}: {failure}", title(manifest))),
        }
    }
    console.out.flush()?;
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{} of {} not applied:{}", failures.len(), manifests.len(), failures.concat()),
        "",
    ))
}

async fn apply_one(session: &Session, manifest: &Manifest, mode: Mode) -> Result<Outcome, Failure> {
    let wanted = manifest.entries();
    let mut unsure: Option<(Outcome, KvError)> = None;
    for _ in 0..ATTEMPTS {
        let present = owned::read(session, manifest.kind, &manifest.id.to_string()).await?;
        let (outcome, steps) = plan(&wanted, &present, |key| session.key(key));
        if outcome == Outcome::Unchanged || mode == Mode::Pretend {
            // An answer that was lost may have belonged to a write that landed.
            return Ok(unsure.map_or(outcome, |(meant, _)| meant));
        }
        match owned::write(session, &steps).await {
            Ok(Landed::At(_)) => return Ok(outcome),
            Ok(Landed::Conflict) => {}
            Err(Failure::Store(error)) if error.is_unknown_outcome() => {
                unsure = Some((outcome, error));
            }
            Err(failure) => return Err(failure),
        }
    }
    match unsure {
        Some((_, error)) => Err(error.into()),
        None => Err(Failure::failed("somebody else keeps changing it", "find out who does")),
    }
}

fn title(manifest: &Manifest) -> String {
    let id = manifest.id.to_string();
    format!("{}/{}", singular(manifest.kind), manifest.name.as_ref().unwrap_or(&id))
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Image | Kind::Network | Kind::Vlan | Kind::FwGroup => 0,
        Kind::Flavor | Kind::Subnet | Kind::VlanGroup => 1,
        Kind::Hypervisor => 2,
        Kind::Guest => 3,
    }
}
