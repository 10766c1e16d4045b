//! `lochnessctl delete`: deletes documents, each only as it was read. Teardown is the operator's work.
//!
//! Deleting several guests confirms itself, because a person or a script named them here: the revision of the deletion is
//! written as `config/confirm_deletion`. Not so while other guests wait to be torn down, held or not, since those would be
//! confirmed along with them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use lochness_api::status::{GuestStatus, Phase};
use lochness_api::{GuestId, Key, Kind};
use lochness_kv::KeyValue;

use crate::config_write::{Wish, set};
use crate::console::Consent;
use crate::goal::Goal;
use crate::kind_word::KindWord;
use crate::object::{Object, by_id, cluster_status, documents, find};
use crate::owned::{self, Landed, Step};
use crate::selector::Selector;
use crate::waiting::{Target, wait_for};
use crate::{Console, Failure, Session, files};

/// More objects than this are asked about.
const UNASKED: usize = 3;

/// Names that a question lists.
const NAMES_SHOWN: usize = 10;

/// Steps that go together; one more object may come on top.
const STEPS_TOGETHER: usize = 64;

/// The flags of `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Kind of the objects.
    #[arg(required_unless_present = "files")]
    kind: Option<KindWord>,

    /// Names or ids.
    #[arg(required_unless_present_any = ["files", "selectors"])]
    names: Vec<String>,

    /// Delete what the manifests of a file, a directory or standard input (-) declare.
    #[arg(long = "file", short = 'f', value_name = "PATH", conflicts_with_all = ["kind", "names"])]
    files: Vec<PathBuf>,

    /// Only objects with these labels: label=value, label!=value, label.
    #[arg(long = "selector", short = 'l', value_name = "LABELS",
          conflicts_with_all = ["names", "files"])]
    selectors: Vec<Selector>,

    /// Do not ask, however many they are.
    #[arg(long, short)]
    yes: bool,

    /// Wait until the operator has torn down everything.
    #[arg(long)]
    wait: bool,
}

impl Delete {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let objects = self.objects(session, console).await?;
        if objects.is_empty() {
            writeln!(console.out, "nothing to delete")?;
            return Ok(());
        }
        if objects.len() > UNASKED {
            console.confirm(&question(&objects), Consent::from(self.yes))?;
        }
        let confirming = confirming(session, console, &objects).await?;
        for batch in batches(session, &objects).await? {
            delete_batch(session, console, &batch, confirming).await?;
        }
        console.out.flush()?;
        if !self.wait {
            return Ok(());
        }
        let targets = objects.into_iter().map(|object| Target {
            kind: object.kind,
            title: object.title(),
            id: object.id,
            goal: Goal::Deleted,
        });
        wait_for(session, console, targets.collect()).await
    }

    /// What is to be deleted, each object once.
    async fn objects(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<Vec<Object>, Failure> {
        let mut objects = Vec::new();
        if let Some(KindWord(kind)) = self.kind {
            if self.names.is_empty() {
                let selector = Selector::all(&self.selectors);
                let all = documents(session, kind).await?.into_values();
                objects.extend(all.filter(|object| selector.matches(&object.json())));
            }
            for name in &self.names {
                objects.push(find(session, kind, name).await?);
            }
        } else {
            // Guests first, so that nothing loses what it stands on before it goes.
            let mut manifests = files::read_manifests(&self.files, console)?;
            manifests.sort_by_key(|manifest| manifest.kind != Kind::Guest);
            for manifest in manifests {
                objects.extend(by_id(session, manifest.kind, &manifest.id.to_string()).await?);
            }
        }
        let mut seen = BTreeSet::new();
        objects.retain(|object| {
            object.document.is_some() && seen.insert((object.kind, object.id.clone()))
        });
        Ok(objects)
    }
}

fn question(objects: &[Object]) -> String {
    let names: Vec<_> = objects.iter().take(NAMES_SHOWN).map(Object::title).collect();
    let more = match objects.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} objects will be deleted: {}{more}. Is it meant?", objects.len(), names.join(", "))
}

/// Whether a deletion of guests writes its own confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirming {
    Itself,
    Nothing,
}

async fn confirming(
    session: &Session,
    console: &mut Console<'_>,
    objects: &[Object],
) -> Result<Confirming, Failure> {
    if objects.iter().filter(|object| object.kind == Kind::Guest).count() < 2 {
        return Ok(Confirming::Nothing);
    }
    if cluster_status(session).await?.confirm_revision.is_some() {
        console.note(
            "note: another mass deletion is held; these guests wait with it, and lochnessctl \
             confirm-deletion lets all of them go",
        )?;
        return Ok(Confirming::Nothing);
    }
    let others = awaiting_teardown(session).await?;
    if others == 0 {
        return Ok(Confirming::Itself);
    }
    console.note(&format!(
        "note: {others} other guests without a document wait to be torn down, and a confirmation would let them go too; \
         should the operator hold all of them, lochnessctl confirm-deletion lets all of them go"
    ))?;
    Ok(Confirming::Nothing)
}

/// How many guests are placed, without a document and not yet being torn down.
async fn awaiting_teardown(session: &Session) -> Result<usize, Failure> {
    let prefix = session.prefix();
    let id = |kv: &KeyValue| match prefix.parse(&kv.key) {
        Ok(Key::Guest(id) | Key::GuestStatus(id)) => Some(id),
        Ok(_) | Err(_) => None,
    };
    let (_, statuses) = session.list("status/guests/").await?;
    let placed = statuses.iter().filter(|kv| {
        let status = GuestStatus::parse(&kv.value).ok();
        status.is_some_and(|it| it.placement.is_some() && it.phase != Phase::Deleting)
    });
    let placed: BTreeSet<GuestId> = placed.filter_map(id).collect();
    let (_, documents) = session.list("guests/").await?;
    let declared: BTreeSet<GuestId> = documents.iter().filter_map(id).collect();
    Ok(placed.difference(&declared).count())
}

/// One object with the steps that delete what belongs to it.
struct Removal<'a> {
    object: &'a Object,
    steps: Vec<Step>,
}

/// Removals that go in one transaction each.
async fn batches<'a>(
    session: &Session,
    objects: &'a [Object],
) -> Result<Vec<Vec<Removal<'a>>>, Failure> {
    let mut batches: Vec<Vec<Removal<'_>>> = Vec::new();
    let mut room = 0;
    for object in objects {
        let steps = removal(session, object).await?;
        let count = steps.len();
        let removal = Removal { object, steps };
        match batches.last_mut() {
            Some(batch) if count <= room => batch.push(removal),
            _ => {
                batches.push(vec![removal]);
                room = STEPS_TOGETHER;
            }
        }
        room = room.saturating_sub(count);
    }
    Ok(batches)
}

/// Deletes the document as it was when it was chosen; what lies beside it, as it is now.
async fn removal(session: &Session, object: &Object) -> Result<Vec<Step>, Failure> {
    let mut steps: Vec<Step> = object.document.iter().map(Step::delete).collect();
    if matches!(object.kind, Kind::Hypervisor | Kind::VlanGroup) {
        let owned = owned::read(session, object.kind, &object.id).await?;
        let beside = owned.iter().filter(|(key, _)| key.as_document().is_none());
        steps.extend(beside.map(|(_, kv)| Step::delete(kv)));
    }
    Ok(steps)
}

async fn delete_batch(
    session: &Session,
    console: &mut Console<'_>,
    batch: &[Removal<'_>],
    confirming: Confirming,
) -> Result<(), Failure> {
    let steps: Vec<Step> = batch.iter().flat_map(|removal| removal.steps.clone()).collect();
    match owned::write(session, &steps).await? {
        Landed::At(revision) => {
            for removal in batch {
                writeln!(console.out, "{} deleted", removal.object.title())?;
            }
            confirm(session, confirming, revision).await
        }
        Landed::Conflict if batch.len() > 1 => {
            for removal in batch {
                let alone = owned::write(session, &removal.steps).await?;
                deleted_alone(session, console, removal.object, alone, confirming).await?;
            }
            Ok(())
        }
        Landed::Conflict => {
            deleted_alone(session, console, batch[0].object, Landed::Conflict, confirming).await
        }
    }
}

async fn deleted_alone(
    session: &Session,
    console: &mut Console<'_>,
    object: &Object,
    landed: Landed,
    confirming: Confirming,
) -> Result<(), Failure> {
    match landed {
        Landed::At(revision) => {
            writeln!(console.out, "{} deleted", object.title())?;
            confirm(session, confirming, revision).await
        }
        Landed::Conflict => {
            let now = by_id(session, object.kind, &object.id).await?;
            if now.is_some_and(|now| now.document.is_some()) {
                return Err(Failure::failed(
                    format!("{} was changed meanwhile and is not deleted", object.title()),
                    "look at it, then delete it again",
                ));
            }
            writeln!(console.out, "{} deleted by somebody else", object.title())?;
            Ok(())
        }
    }
}

/// Confirms the deletions up to a revision; one that is confirmed further already stays so.
async fn confirm(session: &Session, confirming: Confirming, revision: i64) -> Result<(), Failure> {
    if confirming == Confirming::Nothing {
        return Ok(());
    }
    let key = Key::Config("confirm_deletion".to_owned());
    let stored = session.read_one(&key).await?;
    let confirmed = stored
        .and_then(|kv| std::str::from_utf8(&kv.value).ok()?.trim().parse::<i64>().ok())
        .unwrap_or_default();
    if confirmed < revision {
        set(session, &[(key, Wish::Text(revision.to_string()))]).await?;
    }
    Ok(())
}
