//! What the engine promises, on paused time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;

use super::*;

type Answer = Result<Outcome, ReconcileError>;

/// A reconciler out of a closure.
struct Fake<F>(F);

#[async_trait]
impl<F> Reconciler for Fake<F>
where
    F: Fn(u32) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
{
    type Key = u32;

    fn name(&self) -> &'static str {
        "fake"
    }

    async fn reconcile(&self, key: &u32) -> Answer {
        self.0(*key).await
    }
}

/// A controller at work on keys, with what it was called with and when.
struct Bench {
    metrics: Metrics,
    queue: Arc<Queue<u32>>,
    token: CancellationToken,
    tasks: crate::tasks::Tasks,
    calls: Arc<Mutex<Vec<(u32, Duration)>>>,
}

impl Bench {
    /// Starts a controller whose reconciles do `work` with the key and the number of calls before.
    fn start<Fut>(
        options: ControllerOptions,
        work: impl Fn(u32, usize) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let (metrics, began) = (Metrics::new(), Instant::now());
        let calls = Arc::<Mutex<Vec<(u32, Duration)>>>::default();
        let seen = Arc::clone(&calls);
        let reconciler = Fake(move |key| -> BoxFuture<'static, Answer> {
            let mut seen = seen.lock().unwrap();
            let before = seen.iter().filter(|(other, _)| *other == key).count();
            seen.push((key, began.elapsed()));
            work(key, before).boxed()
        });
        let controller = Controller::new(Arc::new(reconciler), options, &metrics);
        let (queue, tasks) = (controller.queue(), crate::tasks::Tasks::new());
        let token = tasks.token().child_token();
        tasks.spawn("controller", controller.run(token.clone()));
        Self { metrics, queue, token, tasks, calls }
    }

    /// Lets `time` pass; the answer is the calls so far.
    async fn pass(&self, time: Duration) -> Vec<(u32, Duration)> {
        tokio::time::sleep(time).await;
        self.calls.lock().unwrap().clone()
    }

    fn assert_counts(&self, expected: &[(&str, u64)]) {
        let text = self.metrics.gather_text();
        for (series, count) in expected {
            let line = format!("{series} {count}");
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
    }
}

const SUCCESS: &str = r#"controller_runtime_reconcile_total{controller="fake",result="success"}"#;
const ERROR: &str = r#"controller_runtime_reconcile_total{controller="fake",result="error"}"#;
const REQUEUE: &str = r#"controller_runtime_reconcile_total{controller="fake",result="requeue"}"#;
const AFTER: &str =
    r#"controller_runtime_reconcile_total{controller="fake",result="requeue_after"}"#;
const ERRORS: &str = r#"controller_runtime_reconcile_errors_total{controller="fake"}"#;
const PANICS: &str = r#"controller_runtime_reconcile_panics_total{controller="fake"}"#;
const FOUND: &str = r#"lochness_rescan_found_work_total{controller="fake"}"#;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn workers(workers: usize) -> ControllerOptions {
    ControllerOptions { workers, ..ControllerOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn no_more_keys_are_reconciled_at_once_than_there_are_workers() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_once, peak) = (Arc::clone(&now), Arc::clone(&most));
    let bench = Bench::start(workers(3), move |_, _| {
        let (at_once, peak) = (Arc::clone(&at_once), Arc::clone(&peak));
        async move {
            peak.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(seconds(1)).await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(Outcome::unchanged())
        }
    });
    for key in 0..10 {
        bench.queue.add(key);
    }
    let calls = bench.pass(Duration::from_millis(500)).await;
    assert_eq!(calls.len(), 3);
    bench.assert_counts(&[
        (r#"controller_runtime_active_workers{controller="fake"}"#, 3),
        (r#"controller_runtime_max_concurrent_reconciles{controller="fake"}"#, 3),
        (r#"workqueue_depth{controller="fake",name="fake"}"#, 7),
    ]);
    let calls = bench.pass(seconds(4)).await;
    assert_eq!(calls.len(), 10);
    assert_eq!(most.load(Ordering::SeqCst), 3);
    bench.assert_counts(&[(SUCCESS, 10), (ERROR, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_never_reconciled_by_two_workers() {
    let bench = Bench::start(workers(4), |_, _| async {
        tokio::time::sleep(seconds(1)).await;
        Ok(Outcome::unchanged())
    });
    bench.queue.add(1);
    let calls = bench.pass(Duration::from_millis(100)).await;
    assert_eq!(calls.len(), 1);
    bench.queue.add(1);
    bench.queue.add(1);
    let calls = bench.pass(seconds(5)).await;
    assert_eq!(calls, [(1, Duration::ZERO), (1, seconds(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_key_alone_and_is_retried_with_backoff() {
    let bench = Bench::start(workers(1), |key, before| async move {
        assert!(key != 1 || before > 1, "on purpose");
        Ok(Outcome::changed())
    });
    for key in [1, 2, 3] {
        bench.queue.add(key);
    }
    let calls = bench.pass(seconds(5)).await;
    let keys = calls.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    assert_eq!(keys, [1, 2, 3, 1, 1]);
    let BackoffOptions { min, .. } = BackoffOptions::default();
    assert!(calls[3].1 >= min / 2 && calls[4].1 >= calls[3].1 + min, "{calls:?}");
    bench.assert_counts(&[(PANICS, 2), (ERRORS, 2), (ERROR, 2), (SUCCESS, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_is_ended_by_the_time_limit_and_retried() {
    let options = ControllerOptions { timeout: Some(seconds(10)), ..workers(1) };
    let bench = Bench::start(options, |_, before| async move {
        if before == 0 {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::unchanged())
    });
    bench.queue.add(1);
    bench.queue.add(2);
    let calls = bench.pass(seconds(9)).await;
    assert_eq!(calls.len(), 1);
    let calls = bench.pass(seconds(15)).await;
    assert_eq!(calls.len(), 4, "{calls:?}");
    bench.assert_counts(&[(ERROR, 2), (ERRORS, 2), (PANICS, 0), (SUCCESS, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_retried_with_growing_delays_until_it_succeeds() {
    let bench = Bench::start(workers(1), |_, before| async move {
        if before < 5 {
            return Err(ReconcileError::failed("Refused", "the agent of host a refuses"));
        }
        Ok(Outcome::unchanged())
    });
    bench.queue.add(1);
    let calls = bench.pass(seconds(60)).await;
    let times = calls.iter().map(|(_, time)| *time).collect::<Vec<_>>();
    let delays = times.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect::<Vec<_>>();
    assert_eq!(delays.len(), 5);
    assert!(delays.is_sorted(), "{delays:?}");
    bench.assert_counts(&[(ERROR, 5), (ERRORS, 5), (SUCCESS, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_planned_again_soon_and_is_no_error() {
    let bench = Bench::start(workers(1), |_, before| async move {
        if before == 0 { Err(ReconcileError::Conflict) } else { Ok(Outcome::changed()) }
    });
    bench.queue.add(1);
    let calls = bench.pass(Duration::from_millis(20)).await;
    assert_eq!(calls.len(), 2, "{calls:?}");
    bench.assert_counts(&[(REQUEUE, 1), (ERROR, 0), (ERRORS, 0), (SUCCESS, 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_asks_for_it_is_called_again_after_its_delay() {
    let bench = Bench::start(workers(1), |_, before| async move {
        let outcome = Outcome::unchanged();
        Ok(if before < 2 { outcome.after(seconds(30)).after(seconds(10)) } else { outcome })
    });
    bench.queue.add(1);
    let calls = bench.pass(seconds(100)).await;
    let times = calls.iter().map(|(_, time)| time.as_secs()).collect::<Vec<_>>();
    assert_eq!(times, [0, 10, 20]);
    bench.assert_counts(&[(AFTER, 2), (SUCCESS, 1)]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_drops_what_is_under_way_and_closes_the_queue() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let drops = Arc::clone(&dropped);
    let bench = Bench::start(workers(2), move |_, _| {
        let drops = Arc::clone(&drops);
        async move {
            let _count = CountDrop(drops);
            std::future::pending().await
        }
    });
    for key in 0..3 {
        bench.queue.add(key);
    }
    bench.pass(seconds(1)).await;
    bench.token.cancel();
    bench.tasks.shutdown().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    bench.queue.add(7);
    assert_eq!(bench.queue.next().await, None);
    assert_eq!(bench.calls.lock().unwrap().len(), 2);
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_only_a_rescan_found_is_counted_and_other_work_is_not() {
    let bench = Bench::start(workers(1), |key, before| async move {
        // Key 1 changes something at every event, key 2 whenever it is called, key 3 never.
        let changed = (key == 1 && before == 0) || key == 2;
        Ok(if changed { Outcome::changed() } else { Outcome::unchanged() })
    });
    bench.queue.add(1);
    let keys = || vec![1, 2, 3];
    let token = bench.token.clone();
    bench.tasks.spawn("rescan", rescan(Arc::clone(&bench.queue), seconds(300), keys, token));
    bench.pass(seconds(299)).await;
    bench.assert_counts(&[(FOUND, 0), (SUCCESS, 1)]);
    bench.pass(seconds(2)).await;
    bench.assert_counts(&[(FOUND, 1), (SUCCESS, 4)]);
    bench.pass(seconds(300)).await;
    bench.assert_counts(&[(FOUND, 2), (SUCCESS, 7)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_reaches_a_rescanned_key_before_its_worker_clears_the_rescan() {
    let bench = Bench::start(workers(1), |_, _| async { Ok(Outcome::changed()) });
    bench.queue.rescan(1);
    bench.queue.add(1);
    bench.pass(seconds(1)).await;
    bench.assert_counts(&[(FOUND, 0), (SUCCESS, 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_controller_does_not_run_at_all() {
    let reconciler = Fake(|_| -> BoxFuture<'static, Answer> {
        async { Ok(Outcome::unchanged().after(seconds(3600))) }.boxed()
    });
    let controller =
        Controller::new(Arc::new(reconciler), ControllerOptions::default(), &Metrics::new());
    let queue = controller.queue();
    queue.add(1);
    let mut run = Box::pin(controller.run(CancellationToken::new()));
    let mut polls = 0;
    let counted = std::future::poll_fn(|context| {
        polls += 1;
        run.as_mut().poll(context)
    });
    // Just under ten hours: one reconcile at the start, and one each further hour.
    let ended = tokio::time::timeout(seconds(35_999), counted).await;
    assert!(ended.is_err());
    assert!(polls <= 10 * 3, "{polls} polls for 10 reconciles");
}

#[tokio::test(start_paused = true)]
async fn a_controller_with_much_to_do_gives_way_every_few_steps() {
    const KEYS: u32 = 1_000;
    let bench = Bench::start(workers(512), |_, _| async { Ok(Outcome::unchanged()) });
    bench.queue.add_all(0..KEYS);
    let mut begun = 0;
    while begun < 1_000 {
        tokio::task::yield_now().await;
        let now = bench.calls.lock().unwrap().len();
        assert!(now - begun <= 16, "{} plans in a row", now - begun);
        begun = now;
    }
}
