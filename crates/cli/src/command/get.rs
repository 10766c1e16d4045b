//! `lochnessctl get`: lists, as tables for people and as JSON, YAML or names for programs.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use lochness_api::job::Job;
use lochness_api::manifest::Manifest;
use lochness_api::{Key, Kind};
use serde_json::{Value, json};

use crate::follow::{Change, Follow};
use crate::kind_word::Subject;
use crate::object::{Names, Object, cluster_status, find, list};
use crate::rows::{self, View, Width};
use crate::selector::Selector;
use crate::table::{self, Cell};
use crate::waiting::{identity, object_of, ranges_of};
use crate::{Console, Failure, Session, owned};

/// The flags of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// guests, hypervisors (hv), networks (net), subnets (sn), flavors, images, fwgroups (fw), vlans, vlangroups, jobs,
    /// events or cluster.
    subject: Subject,

    /// Names or ids; all when none is given.
    names: Vec<String>,

    /// How to print: json has documents and statuses, yaml manifests that can be applied again.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,

    /// Only objects with these labels: label=value, label!=value, label.
    #[arg(long = "selector", short = 'l', value_name = "LABELS")]
    selectors: Vec<Selector>,

    /// Then print every object again when it changes, until interrupted.
    #[arg(long, short)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

impl Get {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        if let Subject::Kind(kind) = self.subject {
            let mut objects = self.objects(session, kind).await?;
            objects.sort_by_cached_key(|object| (object.name(), object.id.clone()));
            self.print(session, console, kind, &objects).await?;
            if self.watch {
                return self.follow(session, console, kind, &objects).await;
            }
            return Ok(());
        }
        if self.watch || !self.selectors.is_empty() || !self.names.is_empty() {
            return Err(Failure::usage(
                "jobs, events and the cluster take no names, no --selector and no --watch",
                "lochnessctl describe shows the job and the events of one object",
            ));
        }
        match self.subject {
            Subject::Jobs => self.jobs(session, console).await,
            Subject::Events => self.events(session, console).await,
            Subject::Cluster | Subject::Kind(_) => self.cluster(session, console).await,
        }
    }

    async fn objects(&self, session: &Session, kind: Kind) -> Result<Vec<Object>, Failure> {
        let mut objects = Vec::new();
        if self.names.is_empty() {
            objects = list(session, kind).await?;
        }
        for name in &self.names {
            objects.push(find(session, kind, name).await?);
        }
        if !self.selectors.is_empty() {
            let selector = Selector::all(&self.selectors);
            objects.retain(|object| selector.matches(&object.json()));
        }
        Ok(objects)
    }

    async fn print(
        &self,
        session: &Session,
        console: &mut Console<'_>,
        kind: Kind,
        objects: &[Object],
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table | Format::Wide => {
                if objects.is_empty() {
                    return console.note(&format!("no {} found", kind.plural()));
                }
                let rows = self.rows(session, objects).await?;
                let text = table::render(&rows::header(kind, self.width()), &rows, console.paint);
                console.out.write_all(text.as_bytes())?;
            }
            Format::Json => {
                let items: Vec<Value> = objects.iter().map(to_json).collect();
                match (items.as_slice(), self.names.len()) {
                    ([item], 1) => writeln!(console.out, "{item:#}")?,
                    _ => writeln!(console.out, "{:#}", json!({"kind": "List", "items": items}))?,
                }
            }
            Format::Yaml => {
                for object in objects {
                    print_yaml(session, console, object).await?;
                }
            }
            Format::Name => {
                for object in objects {
                    writeln!(console.out, "{}", plain_name(object))?;
                }
            }
        }
        console.out.flush()?;
        Ok(())
    }

    async fn rows(&self, session: &Session, objects: &[Object]) -> Result<Vec<Vec<Cell>>, Failure> {
        let names = Names::read(session, objects.iter().flat_map(rows::references)).await?;
        let view = View { names: &names, now: session.now(), width: self.width() };
        Ok(objects.iter().map(|object| rows::row(object, &view)).collect())
    }

    fn width(&self) -> Width {
        if self.output == Format::Wide { Width::Wide } else { Width::Normal }
    }

    /// Prints objects again as they change, each only when it looks different from the last time.
    async fn follow(
        &self,
        session: &Session,
        console: &mut Console<'_>,
        kind: Kind,
        objects: &[Object],
    ) -> Result<(), Failure> {
        let named: BTreeSet<&String> = objects.iter().map(|object| &object.id).collect();
        let selector = Selector::all(&self.selectors);
        let mut shown: BTreeMap<String, Object> =
            objects.iter().map(|object| (object.id.clone(), object.clone())).collect();
        let mut follow = Follow::open(session.kv(), ranges_of(session, kind).to_vec()).await?;
        let mut change = Change::All;
        loop {
            let mut changed = Vec::new();
            for id in due(session, &follow, kind, &change, &shown) {
                let wanted = self.names.is_empty() || named.contains(&id);
                let object = object_of(session, &follow, kind, &id);
                let object = object.filter(|object| wanted && selector.matches(&object.json()));
                match object {
                    Some(object) if shown.get(&id) != Some(&object) => {
                        shown.insert(id, object.clone());
                        changed.push(object);
                    }
                    None if shown.remove(&id).is_some() => {
                        console.note(&format!("{id} is gone"))?;
                    }
                    Some(_) | None => {}
                }
            }
            self.print_changed(session, console, &changed).await?;
            change = follow.changed(None).await?;
        }
    }

    async fn print_changed(
        &self,
        session: &Session,
        console: &mut Console<'_>,
        objects: &[Object],
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table | Format::Wide => {
                for row in self.rows(session, objects).await? {
                    let texts: Vec<_> = row.iter().map(Cell::text).collect();
                    writeln!(console.out, "{}", texts.join("   "))?;
                }
            }
            Format::Json => {
                for object in objects {
                    writeln!(console.out, "{}", to_json(object))?;
                }
            }
            Format::Yaml => {
                for object in objects {
                    print_yaml(session, console, object).await?;
                }
            }
            Format::Name => {
                for object in objects {
                    writeln!(console.out, "{}", plain_name(object))?;
                }
            }
        }
        console.out.flush()?;
        Ok(())
    }

    async fn jobs(&self, session: &Session, console: &mut Console<'_>) -> Result<(), Failure> {
        let (_, kvs) = session.list("jobs/").await?;
        let jobs: Vec<Job> = kvs.iter().filter_map(|kv| Job::parse(&kv.value).ok()).collect();
        let references = jobs.iter().flat_map(|job| {
            [(Kind::Guest, job.guest.to_string()), (Kind::Hypervisor, job.hypervisor.to_string())]
        });
        let names = Names::read(session, references).await?;
        let (header, rows) = rows::job_table(&jobs, &names, session.now());
        let items: Vec<_> = jobs.iter().map(|job| json!(job)).collect();
        self.print_table(console, &header, &rows, &items)
    }

    async fn events(&self, session: &Session, console: &mut Console<'_>) -> Result<(), Failure> {
        let events = events_under(session, "events/").await?;
        let names = Names::read(session, events.iter().filter_map(|(key, _)| subject(key))).await?;
        let (header, rows) = rows::event_table(&events, &names, session.now());
        let items: Vec<_> = events
            .iter()
            .map(|(key, value)| json!({"key": key.to_string(), "event": value}))
            .collect();
        self.print_table(console, &header, &rows, &items)
    }

    async fn cluster(&self, session: &Session, console: &mut Console<'_>) -> Result<(), Failure> {
        let status = cluster_status(session).await?;
        let (header, rows) = rows::cluster_table(&status);
        self.print_table(console, &header, &rows, &[json!(status)])
    }

    fn print_table(
        &self,
        console: &mut Console<'_>,
        header: &[&str],
        rows: &[Vec<Cell>],
        items: &[Value],
    ) -> Result<(), Failure> {
        match self.output {
            Format::Table | Format::Wide if rows.is_empty() => console.note("none found"),
            Format::Table | Format::Wide => {
                let text = table::render(header, rows, console.paint);
                Ok(console.out.write_all(text.as_bytes())?)
            }
            Format::Json => {
                writeln!(console.out, "{:#}", json!({"kind": "List", "items": items}))?;
                Ok(())
            }
            Format::Yaml | Format::Name => Err(Failure::usage(
                "jobs, events and the cluster have neither manifests nor names",
                "use -o json",
            )),
        }
    }
}

/// Events whose keys begin so.
pub(crate) async fn events_under(
    session: &Session,
    path: &str,
) -> Result<Vec<(Key, Value)>, Failure> {
    let (_, kvs) = session.list(path).await?;
    let event = |kv: &lochness_kv::KeyValue| {
        let key = session.prefix().parse(&kv.key).ok()?;
        Some((key, serde_json::from_slice(&kv.value).ok()?))
    };
    Ok(kvs.iter().filter_map(event).collect())
}

fn subject(key: &Key) -> Option<(Kind, String)> {
    if let Key::Event { kind, id, .. } = key { Some((*kind, id.clone())) } else { None }
}

/// Which objects to look at again: after a new list also those that it may have lost.
fn due(
    session: &Session,
    follow: &Follow<'_>,
    kind: Kind,
    change: &Change,
    shown: &BTreeMap<String, Object>,
) -> BTreeSet<String> {
    let id = |key: &[u8]| {
        let (found, id) = identity(session, key)?;
        (found == kind).then_some(id)
    };
    match change {
        Change::Keys(keys) => keys.iter().filter_map(|key| id(key)).collect(),
        Change::All => {
            let listed = follow.all().filter_map(|kv| id(&kv.key));
            listed.chain(shown.keys().cloned()).collect()
        }
        Change::Nothing => BTreeSet::new(),
    }
}

fn plain_name(object: &Object) -> String {
    let name = if object.kind == Kind::Vlan { None } else { object.name() };
    name.unwrap_or_else(|| object.id.clone())
}

/// One object for programs: the contract's own documents, and what is needed to write it back safely.
pub(crate) fn to_json(object: &Object) -> Value {
    json!({
        "kind": object.kind.name(),
        "id": object.id,
        "name": object.name(),
        "mod_revision": object.document.as_ref().map(|kv| kv.mod_revision),
        "document": object.json(),
        "status": object.status_json(),
    })
}

/// The manifest of an object, with what lies beside its document.
async fn print_yaml(
    session: &Session,
    console: &mut Console<'_>,
    object: &Object,
) -> Result<(), Failure> {
    let mut manifest = match Manifest::from_document(object.kind, &object.id, &object.json()) {
        Ok(manifest) => manifest,
        Err(invalid) => {
            return console.note(&format!("note: {} has no manifest: {invalid}", object.title()));
        }
    };
    if matches!(object.kind, Kind::Hypervisor | Kind::VlanGroup) {
        let owned = owned::read(session, object.kind, &object.id).await?;
        manifest.extra = owned
            .into_iter()
            .filter(|(key, _)| key.as_document().is_none())
            .map(|(key, kv)| (key, String::from_utf8_lossy(&kv.value).into_owned()))
            .collect();
    }
    console.out.write_all(manifest.to_yaml().as_bytes())?;
    Ok(())
}
