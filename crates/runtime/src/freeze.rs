//! Processes that are stopped and go on, as by SIGSTOP and SIGCONT: for tests in paused time.
//!
//! Guarantees: while a gate is closed, no task behind it takes another step, whatever wakes it and however much time
//! passes; then each goes on where it stood, and finds the time that it is. A gate that nobody closes costs one atomic
//! load a poll.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

tokio::task_local! {
    static GATE: Gate;
}

/// What the tasks of one process stand behind. Clones are one gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    /// The gate of the task that asks, or one that nobody closes.
    pub(crate) fn current() -> Self {
        GATE.try_with(Self::clone).unwrap_or_default()
    }

    /// From now on no task behind it takes a step. The one that closes it stands at its next await.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    /// All go on.
    pub fn open(&self) {
        self.0.closed.store(false, Ordering::SeqCst);
        for waker in self.waiting().drain(..) {
            waker.wake();
        }
    }

    /// Whether the tasks stand still.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stands(&self, context: &Context<'_>) -> bool {
        if !self.is_closed() {
            return false;
        }
        let mut waiting = self.waiting();
        // Opened meanwhile, it would not be woken any more.
        let closed = self.is_closed();
        if closed && !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        closed
    }

    /// The task behind the gate.
    pub(crate) fn guard<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        let gate = self.clone();
        GATE.scope(self.clone(), async move {
            let mut task = pin!(task);
            let step = |context: &mut Context<'_>| {
                if gate.stands(context) { Poll::Pending } else { task.as_mut().poll(context) }
            };
            poll_fn(step).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use crate::tasks::Tasks;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_takes_no_step_and_then_finds_the_time_that_it_is() {
        let tasks = Tasks::new();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let (began, child) = (Instant::now(), tasks.child());
        child.spawn("walk", async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                counted.store(began.elapsed().as_secs(), Ordering::SeqCst);
            }
        });
        sleep(Duration::from_millis(2_500)).await;
        tasks.gate().close();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(steps.load(Ordering::SeqCst), 2);
        tasks.gate().open();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(steps.load(Ordering::SeqCst), 62);
        tasks.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_knows_the_gate_that_it_stands_behind() {
        let tasks = Tasks::new();
        let (told, gate) = tokio::sync::oneshot::channel();
        tasks.spawn("ask", async move {
            let _gone = told.send(Gate::current());
        });
        let gate = gate.await.expect("it answers");
        tasks.gate().close();
        assert!(gate.is_closed());
    }
}
