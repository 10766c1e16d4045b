//! The one place where the world is written and from where it is read.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use lochness_kv::{Event, Header, KeyValue};
use lochness_runtime::watcher::{StoreChange, ViewSink};
use tokio::sync::watch;

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
    /// Another store answers than before, or the same rolled back; says what was seen. Stays until a person accepts it.
    Replaced(String),
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
}

impl WorldCell {
    /// A cell that holds an empty world.
    pub fn new(world: World) -> Arc<Self> {
        let position = Position { revision: 0, connection: Connection::Starting };
        Arc::new(Self { world: RwLock::new(world), position: watch::Sender::new(position) })
    }

    /// The world as it is now. Keep the guard for one decision only.
    pub fn read(&self) -> RwLockReadGuard<'_, World> {
        // A panic while writing would leave a half-applied revision; applying is total, so the lock is never poisoned
        // by it, and a reader's panic changes nothing.
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the view is, and every later change of it.
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Where the view is now.
    pub fn connection(&self) -> Connection {
        self.position.borrow().connection.clone()
    }

    /// Waits until the world shows `revision` or a later one.
    pub async fn wait_for(&self, revision: i64) {
        let mut position = self.position.subscribe();
        // The sender lives in `self`, so waiting ends by the condition only.
        let _reached = position.wait_for(|position| position.revision >= revision).await;
    }
}

/// The watcher's end of the cell: applies what it delivers and announces what changed.
pub struct WorldSink<F> {
    cell: Arc<WorldCell>,
    announce: F,
    changes: Vec<Change>,
}

impl<F: FnMut(&World, &[Change]) + Send + 'static> WorldSink<F> {
    /// `announce` is called after every batch with the world that shows it and the changes in order; it must not block.
    pub fn new(cell: Arc<WorldCell>, announce: F) -> Self {
        Self { cell, announce, changes: Vec::new() }
    }

    fn publish(&mut self, revision: i64) {
        (self.announce)(&self.cell.read(), &self.changes);
        self.changes.clear();
        self.cell.position.send_modify(|position| position.revision = revision);
    }
}

impl<F: FnMut(&World, &[Change]) + Send + 'static> ViewSink for WorldSink<F> {
    fn replace(&mut self, kvs: Vec<KeyValue>, header: Header) {
        let listed = World::from_list(&self.cell.read(), &kvs, header);
        let former = {
            let mut world = self.cell.world.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *world, listed)
        };
        drop(former);
        self.changes.push(Change::Everything);
        self.publish(header.revision);
    }

    fn apply(&mut self, events: Vec<Event>, revision: i64) {
        {
            let mut world = self.cell.world.write().unwrap_or_else(PoisonError::into_inner);
            world.apply(&events, revision, &mut self.changes);
        }
        self.publish(revision);
    }

    fn interrupted(&mut self, reason: &str) {
        self.cell.position.send_modify(|position| {
            if !matches!(position.connection, Connection::Replaced(_)) {
                position.connection = Connection::Interrupted(reason.to_owned());
            }
        });
    }

    fn live(&mut self) {
        self.cell.position.send_modify(|position| {
            if !matches!(position.connection, Connection::Replaced(_)) {
                position.connection = Connection::Live;
            }
        });
    }

    fn store_changed(&mut self, what: StoreChange) {
        let what = what.to_string();
        tracing::error!(what, "the store is not the one that was there before: holding");
        self.cell.position.send_modify(|position| {
            position.connection = Connection::Replaced(what);
        });
    }
}
