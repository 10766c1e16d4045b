//! One history, from its seed to its verdict.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::Event;
use lochness_api::GuestId;
use lochness_controllers::settings::Settings;
use lochness_kv::MemoryKv;
use lochness_runtime::clock::PausedClock;
use lochness_runtime::tasks::Tasks;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Shop;
use crate::climate::document;
use crate::clock::WallClock;
use crate::course::Course;
use crate::faults::Tally;
use crate::judge::Judge;
use crate::machine::Machine;
use crate::network::{LATEST, Network};
use crate::onlooker::look_at;
use crate::profile::Profile;
use crate::replica::{LONGEST_DOWN, Replica};
use crate::script::{User, confirm_what_is_shown, put};
use crate::weather::Weather;

/// Guests that the user thinks of.
pub(crate) const GUESTS: u64 = 7;
/// Hosts.
const HOSTS: u64 = 3;
/// After the last fault the world is as the documents say within this time: what is late arrives (60 s), a breaker or a
/// job's retries wait (30 s), a guest is asked to shut down before its power is cut (60 s), and a minute more.
pub(crate) const BOUND: Duration = Duration::from_secs(LATEST.as_secs() + 30 + 60 + 60);
/// How long faults happen.
const STORM: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(150));
/// After all replicas were started anew, nothing happens for so long.
const COLD_START: Duration = Duration::from_secs(90);
/// How often every key is looked at in most histories.
const RESCAN: Duration = Duration::from_secs(40);
/// One history of so many has the rescans of production.
const RARE: u64 = 5;
/// So often somebody looks whether the world has settled. The bound is a multiple of it.
const LOOK: Duration = Duration::from_secs(5);
/// The wall clock at the beginning: some day in 2027.
const BEGINNING_MILLIS: i64 = 1_800_000_000_000;
/// The replicas' names, as many as there may be.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Which history it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// After so many faults and wishes nothing happens any more.
    pub(crate) cut: Option<u64>,
    /// Whether a trace is written.
    pub(crate) traced: bool,
    /// Which faults; drawn if it is not given.
    pub(crate) profile: Option<Profile>,
}

impl Plan {
    /// The whole history of a seed, untraced.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, cut: None, traced: false, profile: None }
    }
}

/// What a history came to.
pub(crate) struct Ended {
    /// Empty unless it was asked for.
    pub(crate) trace: String,
    pub(crate) faults: Tally,
    /// How many faults and wishes there were.
    pub(crate) events: u64,
    /// What was wrong, if anything was.
    pub(crate) wrong: Option<String>,
}

/// Runs the history of a plan.
pub(crate) fn simulate(plan: &Plan) -> Ended {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(run(plan))
}

async fn run(plan: &Plan) -> Ended {
    let course = Course::new(plan);
    let settings = settings(plan);
    let clock = PausedClock::new(BEGINNING_MILLIS);
    let kv = MemoryKv::new();
    let judge = Judge::new(kv.clone(), Arc::clone(&course), clock);
    let shop = Shop::new(kv, Arc::clone(&course), Arc::clone(&judge));
    let tasks = Tasks::new();
    let network = Network::new(Arc::clone(&course), Arc::clone(&judge), &tasks);
    let user = User::new(Arc::clone(&shop), HOSTS);
    user.begin().await;
    let machines: Vec<_> =
        (1..=HOSTS).map(|number| Machine::start(number, &shop, &network, clock, &tasks)).collect();
    let turns = if course.profile.is_narrow { 1 } else { Settings::default().requests_per_agent };
    let replicas: Vec<_> = NAMES[..course.profile.replicas]
        .iter()
        .map(|name| {
            let (shop, network) = (Arc::clone(&shop), Arc::clone(&network));
            let settings = Settings { requests_per_agent: turns, ..settings.clone() };
            Replica::new(name, shop, network, WallClock::new(clock), settings)
        })
        .collect();
    for replica in &replicas {
        tasks.spawn("replica", Arc::clone(replica).run());
    }
    tasks.spawn("onlooker", look_at(replicas.clone(), Arc::clone(&judge)));
    let weather = || Weather {
        network: Arc::clone(&network),
        replicas: replicas.clone(),
        machines: machines.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn("weather", weather().blow());
    if course.profile.store.is_replaced {
        tasks.spawn("replacement", weather().replace_store());
    }
    if course.profile.store.is_restored {
        tasks.spawn("restoration", weather().restore_store());
    }
    if course.profile.originals > 0 {
        tasks.spawn("caretaker", weather().remove_damaged());
    }
    user.wish(course.between(STORM.0, STORM.1)).await;
    course.calm();
    for machine in &machines {
        machine.recovers();
        let (key, value) = document(machine, &machine.authority());
        put(&shop, &key, &value).await;
    }
    if course.profile.user.mass_deletion {
        tasks.spawn("person", confirm_what_is_shown(Arc::clone(&shop), replicas.len()));
    }
    let mut unmet = until_silent(&course, &judge, &settings).await;
    unmet.extend(start_cold(&course, &judge, &replicas).await);
    unmet.extend(lose_rules(&course, &judge, &machines, settings.rescan).await);
    tasks.abort();
    for machine in &machines {
        machine.host.shutdown().await;
    }
    let wrong = judge.verdict(unmet);
    let events = course.events();
    let (faults, trace) = course.end();
    Ended { trace, faults, events, wrong }
}

/// Most histories do not wait for rescans as rare as they are in production, which is most of their time. The others do:
/// in them no rescan repairs within the bound what an event should have woken.
fn settings(plan: &Plan) -> Settings {
    let settings = Settings::default();
    let rescan = if plan.seed.is_multiple_of(RARE) { settings.rescan } else { RESCAN };
    // A fleet this small never sees a rush of placements; some histories take every placement for one.
    let is_rush = plan.seed % 4 == 1;
    let placement_rush = if is_rush { 0 } else { settings.placement_rush };
    Settings { rescan, placement_rush, ..settings }
}

/// Waits until the world is as the documents say, within [`BOUND`], and then until nothing was done for three rescans,
/// which begin at the latest a message's interval later; what is not as it should be then.
async fn until_silent(
    course: &Course,
    judge: &Judge,
    settings: &Settings,
) -> Vec<(Option<GuestId>, String)> {
    let mut now = Instant::now();
    let deadline = now + BOUND;
    // A message whose reason stayed is written once in so long.
    let latest = deadline + settings.message_interval;
    let (mut since, mut asked) = (now, judge.stir().1);
    let mut unmet = None;
    loop {
        now += LOOK;
        sleep_until(now).await;
        judge.catch_up();
        let (written, asked_now) = judge.stir();
        if unmet.is_none() && now >= deadline {
            course.note(|| "BOUND".to_owned());
            unmet = Some(judge.amiss());
        }
        since = if asked_now > asked { now } else { since.max(written) };
        if since > latest {
            let (late, more, last) = (since - deadline, asked_now - asked, judge.last_write());
            let what = format!(
                "L1: {late:?} after the bound the store was still written ({last}), or agents got requests for changes ({more})"
            );
            unmet.get_or_insert_default().push((None, what));
            break;
        }
        asked = asked_now;
        let is_silent = now - since >= settings.rescan * 3 + settings.message_interval;
        if is_silent && (now >= deadline || judge.amiss().is_empty()) {
            break;
        }
    }
    let mut unmet = unmet.unwrap_or_default();
    for later in judge.amiss().into_iter().chain(judge.left_over()) {
        if !unmet.contains(&later) {
            unmet.push(later);
        }
    }
    unmet
}

/// L6: somebody deletes the rules of every host when nothing else is to do: within one rescan they are in force again.
async fn lose_rules(
    course: &Course,
    judge: &Judge,
    machines: &[Arc<Machine>],
    rescan: Duration,
) -> Vec<(Option<GuestId>, String)> {
    course.note(|| "RULES LOST".to_owned());
    for machine in machines.iter().filter(|machine| machine.is_ordered()) {
        machine.happen(Event::LoseRules);
    }
    sleep(rescan).await;
    judge.catch_up();
    judge.unruled()
}

/// L7: all processes are killed, and start again: nothing is to do.
async fn start_cold(
    course: &Course,
    judge: &Judge,
    replicas: &[Arc<Replica>],
) -> Vec<(Option<GuestId>, String)> {
    course.note(|| "COLD START".to_owned());
    let before = judge.effects();
    course.disturb(LONGEST_DOWN);
    for life in replicas.iter().filter_map(|replica| replica.life()) {
        life.kill();
    }
    sleep(COLD_START).await;
    judge.catch_up();
    let more = judge.effects() - before;
    let mut unmet = judge.amiss();
    if more > 0 {
        unmet.push((None, format!("L7: a cold start did {more} things on the hosts")));
    }
    unmet
}
