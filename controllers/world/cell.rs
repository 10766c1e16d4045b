//! The one place where the world is written and from where it is read.

use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use lochness_api::status::Reason;
use lochness_kv::{Event, Header};
use lochness_mutant::Mutant;
use lochness_runtime::watcher::{PageReader, StoreChange, ViewSink};
use tokio::sync::watch;
use tracing::{error, warn};

use super::awaited::Awaited;
use super::intake::Page;
use super::server::Server;
use super::{Change, World};

/// How the view stands to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Nothing was read yet.
    Starting,
    /// The view follows the store.
    Live,
    /// The view may be old; says why.
    Interrupted(String),
    /// Another store answers than before, or the same rolled back. Stays until a person accepts it.
    Replaced(Replacement),
}

/// Why this store is not believed to be the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The kind of proof.
    pub reason: Reason,
    /// What was seen.
    pub what: String,
}

/// Where the view is: what tasks wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The complete revision that the world shows; 0 before the first list.
    pub revision: i64,
    /// How the view stands to the store.
    pub connection: Connection,
}

/// The world behind its lock. Readers hold it for one plan, never across an await; the writer for one batch of events.
pub struct WorldCell {
    world: RwLock<World>,
    position: watch::Sender<Position>,
    /// Told when hosts may have come, gone or moved.
    fleet: watch::Sender<()>,
    awaited: Awaited,
    server: watch::Sender<Server>,
    doubt: Mutex<Doubt>,
    /// How the stream stands, whatever is thought of the store.
    link: Mutex<Connection>,
    suspicion: AtomicU8,
    lives: AtomicU64,
}

/// Nobody has told anything that needs to be looked into.
const TRUSTED: u8 = 0;
/// What an agent has told is being looked into.
const SUSPECTED: u8 = 1;
/// And somebody was put off meanwhile, and must be woken when nothing comes of it.
const SUSPECTED_AND_FELT: u8 = 2;

impl WorldCell {
    /// A cell that holds an empty world.
    pub fn new(world: World) -> Arc<Self> {
        let position = Position { revision: 0, connection: Connection::Starting };
        let (position, server) = (watch::Sender::new(position), watch::Sender::default());
        let doubt = Mutex::new(Doubt::None);
        let (awaited, link) = (Awaited::default(), Mutex::new(Connection::Starting));
        let (world, suspicion) = (RwLock::new(world), AtomicU8::new(TRUSTED));
        let (lives, fleet) = (AtomicU64::new(0), watch::Sender::default());
        Arc::new(Self { world, position, fleet, awaited, server, doubt, link, suspicion, lives })
    }

    /// What the store's servers last said of themselves.
    pub fn server(&self) -> Server {
        self.server.borrow().clone()
    }

    /// Takes down what they say now.
    pub fn set_server(&self, server: Server) {
        self.server.send_replace(server);
    }

    /// The world as it is now. Keep the guard for one decision only.
    pub fn read(&self) -> RwLockReadGuard<'_, World> {
        // A panic while writing would leave a half-applied revision; applying is total, so the lock is never poisoned
        // by it, and a reader's panic changes nothing.
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
        if !world.is_swollen() {
            return world;
        }
        // What earlier readers had unpacked is let go here, for the writer may have nothing to do for long. Whoever reads
        // at this moment keeps it for now, and is not waited for.
        drop(world);
        if let Ok(mut world) = self.world.try_write() {
            world.shrink();
        }
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the view is, and every later change of it.
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Every change after which hosts may have come, gone or moved.
    pub fn fleet(&self) -> watch::Receiver<()> {
        self.fleet.subscribe()
    }

    /// Where the view is now.
    pub fn connection(&self) -> Connection {
        self.position.borrow().connection.clone()
    }

    /// Whether nothing may be changed, for this store is not believed to be the one that was there before, or has been
    /// accepted and does not count anew yet.
    pub fn is_held(&self) -> bool {
        let is_replaced = || matches!(self.position.borrow().connection, Connection::Replaced(_));
        (is_replaced() || self.puts_off() || self.read().wants_new_incarnation())
            && !lochness_mutant::is(Mutant::HoldIgnored)
    }

    /// A term begins: what hosts told in a former one is asked anew, for another leader may have put it right.
    pub fn begin_term(&self) {
        self.trust();
        let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*doubt, Doubt::Told(_)) {
            *doubt = Doubt::None;
            self.believe();
        }
    }

    /// Nothing is held any more.
    fn believe(&self) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.position.send_modify(|position| position.connection = link);
    }

    /// How the stream stands now, which is told unless everything is held.
    fn link(&self, now: Connection) {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&now);
        self.position.send_modify(|position| {
            if !matches!(position.connection, Connection::Replaced(_)) {
                position.connection = now;
            }
        });
    }

    /// What an agent has told may prove that this is another store: until that is known nothing is changed.
    pub fn suspect(&self) {
        let (from, to) = (TRUSTED, SUSPECTED);
        let _already = self.suspicion.compare_exchange(from, to, AcqRel, Acquire);
    }

    /// Nothing came of it, or it is proved now. Whether somebody was put off meanwhile.
    pub fn trust(&self) -> bool {
        self.suspicion.swap(TRUSTED, AcqRel) == SUSPECTED_AND_FELT
    }

    /// Whether it is being looked into; whoever asks is put off then.
    pub fn puts_off(&self) -> bool {
        if self.suspicion.load(Acquire) == TRUSTED {
            return false;
        }
        let (from, to) = (SUSPECTED, SUSPECTED_AND_FELT);
        self.suspicion.compare_exchange(from, to, AcqRel, Acquire) != Err(TRUSTED)
    }

    /// Holds everything, for this store proves not to be the one that was there before, until somebody accepts it anew.
    pub fn doubt(&self, replacement: Replacement) {
        let word = self.read().config().accept_store.clone();
        let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*doubt, Doubt::None) {
            error!(
                what = replacement.what,
                "the store is not the one that was there before: holding"
            );
            *doubt = Doubt::Told(word);
            self.position
                .send_modify(|position| position.connection = Connection::Replaced(replacement));
        }
    }

    /// Counts the stores that were seen: another one may never come to a revision of the former.
    pub fn life(&self) -> u64 {
        self.lives.load(Acquire)
    }

    /// Waits until the world shows `revision` or a later one, or another store.
    pub async fn wait_for(&self, revision: i64) {
        self.awaited.wait(revision, || self.position.borrow().revision >= revision).await;
    }
}

/// The watcher's end of the cell: applies what it delivers and announces what changed.
pub struct WorldSink<F> {
    cell: Arc<WorldCell>,
    announce: F,
    changes: Vec<Change>,
    /// What was taken in of a list that is under way.
    draft: World,
}

/// Whether this is the store that was there before, as far as people have said.
enum Doubt {
    /// It is, or somebody accepted it.
    None,
    /// Another one answers; its contents are not known yet. When it is an earlier life of the same, this was its
    /// incarnation: a higher one in it is that of a leader that a person has let go on.
    Unread(Option<u64>),
    /// Another one answers, and when it was first read, `config/accept_store` said this: a word from its own past.
    Unaccepted(Option<String>),
    /// Hosts told so, when that said this.
    Told(Option<String>),
}

impl<F: FnMut(&World, &[Change]) + Send + 'static> WorldSink<F> {
    /// `announce` is called after every batch with the world that shows it and the changes in order; it must not block.
    pub fn new(cell: Arc<WorldCell>, announce: F) -> Self {
        Self { cell, announce, changes: Vec::new(), draft: World::default() }
    }

    /// Ends the hold when somebody has written `config/accept_store` since the other store was first read.
    fn hear_acceptance(&mut self) {
        let word = self.cell.read().config().accept_store.clone();
        {
            let mut doubt = self.cell.doubt.lock().unwrap_or_else(PoisonError::into_inner);
            let (Doubt::Unaccepted(before) | Doubt::Told(before)) = &*doubt else { return };
            if word.is_none() || word == *before {
                return;
            }
            *doubt = Doubt::None;
        }
        warn!(word, "somebody accepted the store as it is: going on");
        self.changes.push(Change::Everything);
        self.cell.believe();
    }

    fn publish(&mut self, revision: i64) {
        (self.announce)(&self.cell.read(), &self.changes);
        let is_of_hosts = |change: &Change| {
            matches!(change, Change::Everything | Change::Hypervisor(_) | Change::Heartbeat(_))
        };
        if self.changes.iter().any(is_of_hosts) {
            self.cell.fleet.send_replace(());
        }
        self.changes.clear();
        self.cell.position.send_modify(|position| position.revision = revision);
        self.cell.awaited.wake_up_to(revision);
    }
}

impl<F: FnMut(&World, &[Change]) + Send + 'static> ViewSink for WorldSink<F> {
    type Page = Page;

    fn reader(&self) -> PageReader<Page> {
        let prefix = self.cell.read().prefix().clone();
        Arc::new(move |kvs| Page::read(&prefix, kvs))
    }

    fn begin(&mut self) {
        self.draft = World::new(self.cell.read().prefix().clone());
    }

    fn page(&mut self, page: Page) {
        self.draft.take_in(page, &self.cell.read());
    }

    fn replace(&mut self, header: Header) {
        let mut listed = std::mem::take(&mut self.draft);
        listed.complete(&self.cell.read(), header);
        let former = {
            let mut world = self.cell.world.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *world, listed)
        };
        drop(former);
        self.changes.push(Change::Everything);
        let word = self.cell.read().config().accept_store.clone();
        let is_another = {
            let mut doubt = self.cell.doubt.lock().unwrap_or_else(PoisonError::into_inner);
            let is_another = matches!(*doubt, Doubt::Unread(_));
            if let Doubt::Unread(former) = *doubt {
                let begun_anew = former.is_some() && self.cell.read().incarnation() > former;
                *doubt = if begun_anew { Doubt::None } else { Doubt::Unaccepted(word) };
                if begun_anew {
                    warn!(
                        "a leader has begun anew with the store, which somebody has accepted: going on"
                    );
                    self.cell.believe();
                }
            }
            is_another
        };
        self.hear_acceptance();
        self.publish(header.revision);
        if is_another {
            self.cell.lives.fetch_add(1, AcqRel);
            self.cell.awaited.wake_up_to(i64::MAX);
        }
    }

    fn apply(&mut self, events: Vec<Event>, revision: i64) {
        {
            let mut world = self.cell.world.write().unwrap_or_else(PoisonError::into_inner);
            world.apply(&events, revision, &mut self.changes);
        }
        self.hear_acceptance();
        self.publish(revision);
    }

    fn interrupted(&mut self, reason: &str) {
        self.cell.link(Connection::Interrupted(reason.to_owned()));
    }

    fn live(&mut self) {
        self.cell.link(Connection::Live);
    }

    fn store_changed(&mut self, what: StoreChange) {
        let (reason, former) = match what {
            StoreChange::Cluster { .. } => (Reason::ClusterIdChanged, None),
            StoreChange::RolledBack { .. } | StoreChange::Rewritten { .. } => {
                (Reason::RevisionWentBack, self.cell.read().incarnation())
            }
        };
        let what = what.to_string();
        error!(what, "the store is not the one that was there before: holding");
        *self.cell.doubt.lock().unwrap_or_else(PoisonError::into_inner) = Doubt::Unread(former);
        self.cell.position.send_modify(|position| {
            position.connection = Connection::Replaced(Replacement { reason, what });
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use lochness_api::Prefix;
    use lochness_kv::KeyValue;

    use super::*;

    fn list(sink: &mut impl ViewSink, kvs: Vec<KeyValue>, header: Header) {
        let page = sink.reader()(kvs);
        sink.begin();
        sink.page(page);
        sink.replace(header);
    }

    fn put(name: &str, value: &str, revision: i64) -> KeyValue {
        KeyValue {
            key: format!("lochness/{name}").into(),
            value: value.to_owned().into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: None,
        }
    }

    #[test]
    fn an_earlier_life_with_which_a_leader_has_begun_anew_is_not_held_again() {
        let found = |incarnation: &str, change| {
            let cell = WorldCell::new(World::new(Prefix::default()));
            let mut sink = WorldSink::new(Arc::clone(&cell), |_: &World, _: &[Change]| {});
            let header = |revision| Header { cluster_id: 1, revision };
            list(&mut sink, vec![put("operator/incarnation", "70", 3)], header(9));
            sink.live();
            sink.store_changed(change);
            list(&mut sink, vec![put("operator/incarnation", incarnation, 7)], header(12));
            cell.connection()
        };
        let rewritten = StoreChange::Rewritten { at: 9 };
        assert_eq!(found("71", rewritten), Connection::Live);
        assert!(matches!(found("70", rewritten), Connection::Replaced(_)));
        let other = StoreChange::Cluster { was: 1, now: 2 };
        assert!(
            matches!(found("71", other), Connection::Replaced(_)),
            "another's numbers say nothing"
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_revision_of_a_store_that_is_no_more() {
        let cell = WorldCell::new(World::new(Prefix::default()));
        let mut sink = WorldSink::new(Arc::clone(&cell), |_: &World, _: &[Change]| {});
        list(&mut sink, vec![], Header { cluster_id: 1, revision: 9 });
        let waiting = cell.wait_for(12);
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        sink.store_changed(StoreChange::RolledBack { seen: 9, now: 5 });
        list(&mut sink, vec![], Header { cluster_id: 1, revision: 5 });
        assert!(futures::poll!(&mut waiting).is_ready());
        assert_eq!(cell.life(), 1);
    }

    #[test]
    fn what_hosts_told_in_a_former_term_is_asked_anew() {
        let cell = WorldCell::new(World::new(Prefix::default()));
        let mut sink = WorldSink::new(Arc::clone(&cell), |_: &World, _: &[Change]| {});
        list(&mut sink, vec![], Header { cluster_id: 1, revision: 9 });
        sink.live();
        cell.doubt(Replacement { reason: Reason::StatusesMissing, what: "so".to_owned() });
        sink.interrupted("for a while");
        assert!(cell.is_held());
        cell.begin_term();
        assert_eq!(cell.connection(), Connection::Interrupted("for a while".to_owned()));
        sink.store_changed(StoreChange::RolledBack { seen: 9, now: 5 });
        cell.begin_term();
        assert!(cell.is_held(), "what this process has seen itself stays");
    }

    #[test]
    fn another_store_is_held_until_somebody_accepts_it_anew() {
        let cell = WorldCell::new(World::new(Prefix::default()));
        let mut sink = WorldSink::new(Arc::clone(&cell), |_: &World, _: &[Change]| {});
        let header = |revision| Header { cluster_id: 1, revision };
        list(&mut sink, vec![], header(9));
        sink.live();
        sink.store_changed(StoreChange::RolledBack { seen: 9, now: 5 });
        list(&mut sink, vec![put("config/accept_store", "last year", 3)], header(5));
        sink.live();
        assert!(matches!(cell.connection(), Connection::Replaced(_)), "an old word does not count");
        sink.apply(vec![Event::Put(put("config/pause", "false", 6))], 6);
        assert!(matches!(cell.connection(), Connection::Replaced(_)));
        sink.apply(vec![Event::Put(put("config/accept_store", "today", 7))], 7);
        assert_eq!(cell.connection(), Connection::Live);
    }

    #[tokio::test]
    async fn who_waits_for_a_revision_goes_on_when_it_is_shown_and_the_others_wait() {
        let cell = WorldCell::new(World::new(Prefix::default()));
        let mut sink = WorldSink::new(Arc::clone(&cell), |_: &World, _: &[Change]| {});
        let mut waits = [6, 5, 9].map(|revision| Box::pin(cell.wait_for(revision)));
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        sink.apply(vec![Event::Put(put("config/pause", "false", 7))], 7);
        let shown = waits.each_mut().map(|wait| wait.now_or_never().is_some());
        assert_eq!(shown, [true, true, false]);
        drop(waits);
        assert!(cell.awaited.is_empty(), "nothing is left of who gave up");
        cell.wait_for(7).await;
    }
}
