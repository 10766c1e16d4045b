//! Tasks that shutdown can wait for.
//!
//! Guarantees: every task that was spawned here has ended, or has been aborted after [`GRACE`], when
//! [`Tasks::shutdown`] returns. A task that panics cancels all the tasks of its group: nothing runs on half of its
//! parts. Tasks are not aborted at the cancellation: they watch the token, and end by themselves.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::freeze::Gate;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::{error, warn};

/// How long shutdown waits for tasks to end by themselves.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long shutdown waits for aborted tasks to be dropped. One that blocks its thread never is.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// A group of tasks that are cancelled and waited for together. Cloning gives the same group.
#[derive(Clone)]
pub struct Tasks {
    group: Arc<Group>,
}

struct Group {
    parent: Option<Arc<Group>>,
    /// One for a group and all groups inside it.
    gate: Gate,
    token: CancellationToken,
    running: Mutex<Running>,
    /// Tells that `running` has become empty.
    idle: Notify,
    panicked: OnceLock<&'static str>,
}

#[derive(Default)]
struct Running {
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
}

struct Task {
    name: &'static str,
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::with(None, Gate::default(), CancellationToken::new())
    }

    /// A group inside this one: cancelled with it and waited for with it, but also by itself.
    #[must_use = "the group does nothing until tasks are spawned in it"]
    pub fn child(&self) -> Self {
        let token = self.group.token.child_token();
        Self::with(Some(Arc::clone(&self.group)), self.group.gate.clone(), token)
    }

    fn with(parent: Option<Arc<Group>>, gate: Gate, token: CancellationToken) -> Self {
        let running = Mutex::default();
        let (idle, panicked) = (Notify::new(), OnceLock::new());
        let group = Group { parent, gate, token, running, idle, panicked };
        Self { group: Arc::new(group) }
    }

    /// Runs `task` until it ends. It is expected to end soon once [`Self::token`] is cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let entries = Entries::insert(name, &self.group);
        let watched = AssertUnwindSafe(self.group.gate.guard(task)).catch_unwind();
        let group = Arc::clone(&self.group);
        let handle = Arc::clone(&entries);
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let task = tokio::spawn(async move {
            let _entries = entries;
            if let Err(panic) = watched.await {
                error!(task = name, panic = panic_message(&*panic), "task panicked");
                let _ = group.panicked.set(name);
                group.token.cancel();
            }
        });
        handle.set_abort(&task.abort_handle());
    }

    /// The token that tells the tasks of this group to end.
    pub fn token(&self) -> &CancellationToken {
        &self.group.token
    }

    /// Waits until the group is told to end.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.group.token.cancelled()
    }

    /// The first task of this group that panicked, if one did.
    pub fn panicked(&self) -> Option<&'static str> {
        self.group.panicked.get().copied()
    }

    /// The gate that stops all tasks of this group, of the groups inside it and around it, as one process. For tests.
    pub fn gate(&self) -> &Gate {
        &self.group.gate
    }

    /// Drops every task at once, those of child groups too, as if the process had died: none of them runs another step.
    /// For tests that let a process crash, and for what is left of a group that nobody waits for any more; whoever can
    /// wait uses [`Self::shutdown`].
    pub fn abort(&self) {
        self.group.abort_all();
    }

    /// Tells all tasks to end and waits for them, those of child groups included. After [`GRACE`] the rest is named in
    /// the log and aborted. Not to be called from a task of the group, which would wait for itself.
    pub async fn shutdown(&self) {
        self.group.token.cancel();
        if tokio::time::timeout(GRACE, self.group.wait_idle()).await.is_ok() {
            return;
        }
        let left = self.group.abort_all();
        warn!(?left, "tasks did not end in time and are aborted");
        if tokio::time::timeout(ABORT_GRACE, self.group.wait_idle()).await.is_err() {
            error!(left = ?self.group.names(), "tasks block their thread and are left behind");
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running().tasks.is_empty() {
                return;
            }
            idle.await;
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.running().tasks.values().map(|task| task.name).collect()
    }

    fn abort_all(&self) -> Vec<&'static str> {
        let running = self.running();
        for abort in running.tasks.values().filter_map(|task| task.abort.as_ref()) {
            abort.abort();
        }
        running.tasks.values().map(|task| task.name).collect()
    }
}

/// A task's entries in its group and in all groups around it; they go when the task ends, however it ends.
struct Entries {
    entries: Vec<(Arc<Group>, u64)>,
}

impl Entries {
    fn insert(name: &'static str, group: &Arc<Group>) -> Arc<Self> {
        let groups = std::iter::successors(Some(group), |group| group.parent.as_ref());
        let insert = |group: &Arc<Group>| {
            let mut running = group.running();
            let id = running.next_id;
            running.next_id += 1;
            running.tasks.insert(id, Task { name, abort: None });
            (Arc::clone(group), id)
        };
        Arc::new(Self { entries: groups.map(insert).collect() })
    }

    fn set_abort(&self, abort: &AbortHandle) {
        for (group, id) in &self.entries {
            if let Some(task) = group.running().tasks.get_mut(id) {
                task.abort = Some(abort.clone());
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        for (group, id) in &self.entries {
            let mut running = group.running();
            running.tasks.remove(id);
            if running.tasks.is_empty() {
                group.idle.notify_waiters();
            }
        }
    }
}

/// What a panic said, where it said it in words.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::Instant;

    use super::*;

    /// Becomes true when it is dropped.
    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_tasks_that_end_by_themselves() {
        let tasks = Tasks::new();
        let tidied = Arc::new(AtomicBool::new(false));
        let (token, done) = (tasks.token().clone(), Arc::clone(&tidied));
        tasks.spawn("tidy", async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            done.store(true, Ordering::SeqCst);
        });
        let began = Instant::now();
        tasks.shutdown().await;
        assert!(tidied.load(Ordering::SeqCst));
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_aborts_a_task_that_ignores_its_token() {
        let tasks = Tasks::new();
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = Dropped(Arc::clone(&dropped));
        tasks.spawn("deaf", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        let began = Instant::now();
        tasks.shutdown().await;
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(began.elapsed().as_secs(), GRACE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn abort_drops_the_tasks_of_inner_groups_too_without_another_step() {
        let parent = Tasks::new();
        let stepped = Arc::new(AtomicBool::new(false));
        let (child, done) = (parent.child(), Arc::clone(&stepped));
        child.spawn("inner", async move {
            tokio::task::yield_now().await;
            done.store(true, Ordering::SeqCst);
        });
        parent.abort();
        parent.shutdown().await;
        assert!(!stepped.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_cancels_its_group_and_not_the_one_around_it() {
        let parent = Tasks::new();
        let child = parent.child();
        child.spawn("fine", child.token().clone().cancelled_owned());
        child.spawn("broken", async { panic!("on purpose") });
        tokio::time::timeout(GRACE, child.cancelled()).await.expect("the panic cancels its group");
        child.shutdown().await;
        assert_eq!(child.panicked(), Some("broken"));
        assert!(!parent.token().is_cancelled());
        assert_eq!(parent.panicked(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_of_a_group_ends_the_groups_inside_it_and_waits_for_them() {
        let parent = Tasks::new();
        let ended = Arc::new(AtomicBool::new(false));
        let child = parent.child();
        let (token, done) = (child.token().clone(), Arc::clone(&ended));
        child.spawn("inner", async move {
            token.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            done.store(true, Ordering::SeqCst);
        });
        drop(child);
        parent.shutdown().await;
        assert!(ended.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_of_an_inner_group_leaves_the_one_around_it_running() {
        let parent = Tasks::new();
        let child = parent.child();
        child.shutdown().await;
        assert!(child.token().is_cancelled());
        assert!(!parent.token().is_cancelled());
    }
}
