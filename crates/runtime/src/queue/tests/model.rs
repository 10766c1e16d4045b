//! The queue's state against the most obvious model: a list of keys, searched from end to end.

use proptest::prelude::*;

use super::*;

/// Delay of the n-th retry in this test; the state leaves delays to its caller.
fn retry_delay(failures: u32) -> u64 {
    10 << failures.min(5)
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    AddAfter(u8, u64),
    Retry(u8),
    Rescan(u8),
    Next,
    Done(u8),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..5_u8;
    prop_oneof![
        3 => key.clone().prop_map(Step::Add),
        2 => (key.clone(), 0..50_u64).prop_map(|(key, delay)| Step::AddAfter(key, delay)),
        2 => key.clone().prop_map(Step::Retry),
        1 => key.clone().prop_map(Step::Rescan),
        5 => Just(Step::Next),
        4 => key.prop_map(Step::Done),
        3 => (0..40_u64).prop_map(Step::Advance),
    ]
}

/// One key, as the model sees it. Times in milliseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: u8,
    /// When it is due next, and its place among those that are due then.
    due: Option<(u64, usize)>,
    working: bool,
    failures: u32,
    failed_now: bool,
    by_rescan: bool,
}

#[derive(Debug)]
struct Model {
    now: u64,
    place: usize,
    entries: Vec<Entry>,
}

impl Model {
    fn new() -> Self {
        let entry = |key| Entry {
            key,
            due: None,
            working: false,
            failures: 0,
            failed_now: false,
            by_rescan: false,
        };
        Self { now: 0, place: 0, entries: (0..5).map(entry).collect() }
    }

    fn entry(&mut self, key: u8) -> &mut Entry {
        &mut self.entries[usize::from(key)]
    }

    /// The earlier of two due times wins, and keeps its place.
    fn due(&mut self, key: u8, due: u64) {
        self.place += 1;
        let place = self.place;
        let entry = self.entry(key);
        if entry.due.is_none_or(|(before, _)| due < before) {
            entry.due = Some((due, place));
            entry.by_rescan = false;
        }
    }

    fn add(&mut self, key: u8) {
        self.entry(key).failures = 0;
        self.due(key, self.now);
        self.entry(key).by_rescan = false;
    }

    fn retry(&mut self, key: u8) -> u32 {
        let now = self.now;
        let entry = self.entry(key);
        let failures = entry.failures;
        entry.failures += 1;
        entry.failed_now = true;
        self.due(key, now + retry_delay(failures));
        failures
    }

    fn rescan(&mut self, key: u8) {
        let entry = *self.entry(key);
        if !entry.working && entry.failures == 0 {
            self.due(key, self.now);
            self.entry(key).by_rescan = entry.due.is_none() || entry.by_rescan;
        }
    }

    /// The key, why it was added, and since when it has been due.
    fn next(&mut self) -> Option<(u8, Cause, u64)> {
        let now = self.now;
        let due = self.entries.iter_mut().filter(|entry| !entry.working);
        let due = due.filter(|entry| entry.due.is_some_and(|(due, _)| due <= now));
        let entry = due.min_by_key(|entry| entry.due)?;
        let (since, _) = entry.due?;
        (entry.due, entry.working, entry.failed_now) = (None, true, false);
        let cause = if entry.by_rescan { Cause::Rescan } else { Cause::Announced };
        entry.by_rescan = false;
        Some((entry.key, cause, since))
    }

    fn done(&mut self, key: u8) {
        self.place += 1;
        let (now, place) = (self.now, self.place);
        let entry = self.entry(key);
        if !entry.working {
            return;
        }
        entry.working = false;
        if !entry.failed_now {
            entry.failures = 0;
        }
        // It waits in line from now on, behind those that already do.
        entry.due = entry.due.map(|(due, _)| (due.max(now), place));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_hands_out_what_the_model_hands_out(steps in prop::collection::vec(step(), 1..80)) {
        let start = Instant::now();
        let at = |now: u64| start + Duration::from_millis(now);
        let handed = |(key, cause, since)| Handed { key, cause, due_since: at(since) };
        let mut model = Model::new();
        let mut state = State::<u8>::new();
        let mut out = Vec::new();
        for step in steps {
            let now = at(model.now);
            match step {
                Step::Add(key) => {
                    model.add(key);
                    state.add(key, now);
                }
                Step::AddAfter(key, delay) => {
                    model.due(key, model.now + delay);
                    state.add_at(key, at(model.now + delay), now);
                }
                Step::Retry(key) => {
                    let failures = state.count_failure(&key);
                    prop_assert_eq!(failures, model.retry(key));
                    state.add_at(key, at(model.now + retry_delay(failures)), now);
                }
                Step::Rescan(key) => {
                    model.rescan(key);
                    state.rescan(key, now);
                }
                Step::Next => {
                    let next = state.next(now);
                    prop_assert_eq!(&next, &model.next().map(handed));
                    if let Some(Handed { key, .. }) = next {
                        prop_assert!(!out.contains(&key), "{} is handed out twice", key);
                        out.push(key);
                    }
                }
                Step::Done(key) => {
                    model.done(key);
                    prop_assert_eq!(state.done(&key, now).is_some(), out.contains(&key));
                    out.retain(|other| *other != key);
                }
                Step::Advance(by) => model.now += by,
            }
            let waiting = model.entries.iter().filter(|entry| entry.due.is_some() || entry.working);
            prop_assert_eq!(state.len(), waiting.count());
        }
        // Nothing is lost: when all work ends and time passes, all that was asked for comes out, in order.
        for key in out {
            model.done(key);
            state.done(&key, at(model.now));
        }
        model.now += 1_000;
        while let Some(next) = model.next() {
            prop_assert_eq!(state.next(at(model.now)), Some(handed(next)));
        }
        prop_assert_eq!(state.next(at(model.now)), None);
        prop_assert_eq!(state.next_due(), None);
    }
}
