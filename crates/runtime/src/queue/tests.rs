//! What the queue promises, on paused time; its state alone against a model in `model`.

mod model;

use super::*;

fn queue() -> Arc<Queue<u32>> {
    Queue::new("test", BackoffOptions::default(), &Metrics::new())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Waits at most a day, which passes at once on paused time.
async fn within_a_day<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(seconds(24 * 3600), wait).await.expect("nobody was woken")
}

#[tokio::test(start_paused = true)]
async fn due_keys_come_in_the_order_in_which_they_became_due() {
    let queue = queue();
    queue.add_after(1, seconds(2));
    queue.add_after(2, seconds(1));
    tokio::time::advance(seconds(3)).await;
    queue.add(3);
    queue.add(4);
    queue.add(3);
    let order = std::iter::from_fn(|| queue.try_next()).collect::<Vec<_>>();
    assert_eq!(order, [2, 1, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_key_is_handed_out_when_it_is_due() {
    let queue = queue();
    let began = Instant::now();
    queue.add_after(1, seconds(5));
    assert_eq!(queue.try_next(), None);
    assert_eq!(queue.next().await, Some(1));
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_late_key_is_woken_by_an_earlier_one() {
    let queue = queue();
    let began = Instant::now();
    queue.add_after(1, seconds(60));
    let add = async {
        tokio::time::sleep(seconds(1)).await;
        queue.add_after(2, seconds(2));
        queue.add_after(1, seconds(3));
        queue.add_after(1, seconds(90));
    };
    let (next, ()) = tokio::join!(queue.next(), add);
    assert_eq!((next, began.elapsed().as_secs()), (Some(2), 3));
    assert_eq!((queue.next().await, began.elapsed().as_secs()), (Some(1), 4));
}

#[tokio::test(start_paused = true)]
async fn a_key_added_while_it_is_worked_on_comes_again_only_when_that_is_done() {
    let queue = queue();
    queue.add(1);
    assert_eq!(queue.next().await, Some(1));
    queue.add(1);
    queue.add(1);
    assert_eq!(queue.try_next(), None);
    queue.done(&1);
    assert_eq!(queue.try_next(), Some(1));
    queue.done(&1);
    assert_eq!(queue.try_next(), None);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn repeated_failures_back_off_to_the_cap_and_a_change_of_the_object_resets_that() {
    let queue = queue();
    let BackoffOptions { min, max, .. } = BackoffOptions::default();
    let fail = || {
        let delay = queue.retry(1);
        queue.done(&1);
        delay
    };
    queue.add(1);
    let mut last = Duration::ZERO;
    for _ in 0..12 {
        assert_eq!(queue.next().await, Some(1));
        last = fail();
    }
    assert!(last >= max / 2 && last <= max, "{last:?}");
    queue.add(1);
    assert_eq!(queue.try_next(), Some(1), "an add does not wait for the backoff");
    assert!(fail() <= min);
}

#[tokio::test(start_paused = true)]
async fn success_forgets_the_failures() {
    let queue = queue();
    queue.add(1);
    for _ in 0..5 {
        assert_eq!(queue.next().await, Some(1));
        queue.retry(1);
        queue.done(&1);
    }
    assert_eq!(queue.next().await, Some(1));
    queue.add_after(1, seconds(1));
    queue.done(&1);
    assert_eq!(queue.next().await, Some(1));
    assert!(queue.retry(1) <= BackoffOptions::default().min);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_retried_sooner_than_a_failure() {
    let queue = queue();
    queue.add(1);
    assert_eq!(queue.next().await, Some(1));
    assert!(queue.retry_soon(1) <= CONFLICT_MIN);
}

#[tokio::test(start_paused = true)]
async fn every_waiting_worker_gets_a_key() {
    let queue = queue();
    let add = async {
        tokio::task::yield_now().await;
        queue.add(1);
        queue.add(2);
    };
    let both = async { tokio::join!(queue.next(), queue.next(), add) };
    let (first, second, ()) = within_a_day(both).await;
    assert_eq!((first, second), (Some(1), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_releases_those_who_wait_and_takes_nothing_more() {
    let queue = queue();
    queue.add_after(1, seconds(5));
    let close = async {
        tokio::task::yield_now().await;
        queue.close();
    };
    let next = async { tokio::join!(queue.next(), close).0 };
    assert_eq!(within_a_day(next).await, None);
    queue.add(2);
    assert_eq!((queue.next().await, queue.len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rescan_neither_cuts_a_backoff_short_nor_repeats_work_under_way() {
    let queue = queue();
    queue.add(1);
    queue.add(2);
    assert_eq!((queue.try_next(), queue.try_next()), (Some(1), Some(2)));
    queue.retry(1);
    queue.done(&1);
    queue.rescan(1);
    queue.rescan(2);
    queue.done(&2);
    queue.rescan(3);
    assert_eq!(queue.next_with_cause().await, Some((3, Cause::Rescan)));
    assert_eq!(queue.try_next(), None);
    assert_eq!(queue.next_with_cause().await, Some((1, Cause::Announced)));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_keys_come_out_in_order_and_leave_nothing_behind() {
    let queue = queue();
    for key in 0..100_000 {
        queue.add(key);
        queue.add_after(key, seconds(1));
    }
    assert_eq!(queue.len(), 100_000);
    for key in 0..100_000 {
        assert_eq!(queue.next().await, Some(key));
        queue.done(&key);
    }
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_longest_delay_does_not_overflow() {
    let queue = queue();
    queue.add_after(1, Duration::MAX);
    assert_eq!((queue.len(), queue.try_next()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn conflicts_back_off_to_the_cap_for_etcd_however_long_failures_wait() {
    let backoff = BackoffOptions { max: seconds(30), ..BackoffOptions::default() };
    let queue = Queue::new("test", backoff, &Metrics::new());
    let longest = |retry: fn(&Queue<u32>, u32) -> Duration, key| {
        (0..20).map(|_| retry(&queue, key)).max().unwrap()
    };
    assert!(longest(Queue::retry_soon, 1) <= seconds(5));
    assert!(longest(Queue::retry, 2) > seconds(5));
}

#[tokio::test(start_paused = true)]
async fn many_keys_that_are_added_at_once_come_in_their_order_and_those_under_work_again() {
    let queue = queue();
    queue.add(2);
    queue.add_after(4, seconds(60));
    assert_eq!(queue.try_next(), Some(2));
    queue.add_all([1, 2, 3, 4]);
    queue.add_all([1, 2, 3, 4]);
    queue.done(&2);
    assert_eq!(std::iter::from_fn(|| queue.try_next()).collect::<Vec<_>>(), [1, 3, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_out_is_told_once_and_what_merely_waits_is_not() {
    let queue = queue();
    queue.add_all([1, 2]);
    assert_eq!(queue.take_handed_out(), None, "nobody had asked to remember");
    assert_eq!(queue.try_next(), Some(1));
    queue.done(&1);
    queue.add(1);
    assert_eq!(queue.take_handed_out(), Some(vec![1]));
    assert_eq!(queue.take_handed_out(), Some(vec![]));
}
