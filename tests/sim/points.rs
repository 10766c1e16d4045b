//! The occasions on which something can go wrong, numbered as they come, and a plan that says at which of them it does.
//!
//! The random histories draw their faults by chance; a sweep runs one history again and again, and strikes at the first
//! occasion, the second, the third. The same plan strikes at the same places: up to its first strike every run is the
//! same as the one without.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// An operator that does more than this within a minute of virtual time is out of bounds: in a sweep, in which little is
/// to do, and in a random history.
const STEPS_A_MINUTE_OF_A_SWEEP: u64 = 3_000;
const STEPS_A_MINUTE: u64 = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

/// What goes wrong, and at which occasion of its kind. The first has the number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strike {
    /// The process dies at this step: before or after an operation of the store or a request to an agent.
    Crash(u64),
    /// The process loses its way to the store at this step, for longer than its lease, and goes on.
    Cut(u64),
    /// The process is stopped at this step, for longer than its lease, and goes on: as by SIGSTOP.
    Freeze(u64),
    /// The process stands still at this step until the user has done the next thing.
    Act(u64),
    /// This read is answered from so many revisions back.
    Stale(u64, i64),
    /// This message of a watch is lost, and its stream ends there.
    Drop(u64),
    /// This message of a watch comes twice.
    Double(u64),
    /// This transaction gets no answer, and lands much later.
    LandLate(u64),
    /// This request for a change reaches its agent a second time, much later.
    Twice(u64),
}

/// What can be struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    Step,
    Read,
    Message,
    Write,
    Request,
}

/// How many occasions of each kind there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts([u64; 5]);

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    GoesOn,
    Dies,
    /// The user acts first.
    Waits,
    /// Without the store.
    IsCut,
    /// Much later.
    IsFrozen,
    /// So many steps are no accident.
    Floods,
}

/// Counts occasions, and knows which are struck.
#[derive(Default)]
pub(crate) struct Points {
    inner: Mutex<Inner>,
    /// The step has come at which the user acts.
    act: Notify,
    /// The user has acted.
    acted: Notify,
}

#[derive(Default)]
struct Inner {
    /// Occasions before the scenario begins do not count.
    counting: bool,
    plan: Vec<Strike>,
    counts: Counts,
    /// When the consequences of what was struck are over.
    over: Option<Instant>,
    minute: Option<Instant>,
    in_minute: u64,
}

impl Counts {
    pub(crate) fn of(self, occasion: Occasion) -> u64 {
        self.0[occasion as usize]
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(step) => write!(f, "crash at step {step}"),
            Self::Cut(step) => write!(f, "cut from the store at step {step}"),
            Self::Freeze(step) => write!(f, "stopped at step {step}, and continued"),
            Self::Act(step) => write!(f, "user acts at step {step}"),
            Self::Stale(read, back) => write!(f, "read {read} is {back} revisions late"),
            Self::Drop(message) => write!(f, "message {message} is dropped"),
            Self::Double(message) => write!(f, "message {message} comes twice"),
            Self::LandLate(write) => write!(f, "write {write} lands late"),
            Self::Twice(request) => write!(f, "request {request} comes twice"),
        }
    }
}

/// As Rust prints it, so that a failure can be run again: `Crash(17)`, `Stale(3,10)`.
impl FromStr for Strike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no strike");
        let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
        let mut numbers = rest.trim_end_matches(')').split(',').map(str::parse::<i64>);
        let mut number = || numbers.next().and_then(Result::ok).ok_or_else(wrong);
        let at = number()?.unsigned_abs();
        Ok(match name {
            "Crash" => Self::Crash(at),
            "Cut" => Self::Cut(at),
            "Freeze" => Self::Freeze(at),
            "Act" => Self::Act(at),
            "Stale" => Self::Stale(at, number()?),
            "Drop" => Self::Drop(at),
            "Double" => Self::Double(at),
            "LandLate" => Self::LandLate(at),
            "Twice" => Self::Twice(at),
            _ => return Err(wrong()),
        })
    }
}

impl Points {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from now on, and strikes as planned.
    pub(crate) fn begin(&self, plan: &[Strike]) {
        let mut inner = self.lock();
        inner.counting = true;
        inner.plan = plan.to_vec();
    }

    /// Counts and strikes no more; how many occasions there were.
    pub(crate) fn end(&self) -> Counts {
        let mut inner = self.lock();
        inner.counting = false;
        inner.counts
    }

    /// Whether what was struck may still have consequences: a lease that ends, a message that is late.
    pub(crate) fn has_aftermath(&self) -> bool {
        self.lock().over.is_some_and(|over| over > Instant::now())
    }

    /// Whether a plan is under way.
    pub(crate) fn is_planned(&self) -> bool {
        self.lock().counting
    }

    /// Whether the user is to act at some step.
    pub(crate) fn has_act(&self) -> bool {
        self.lock().plan.iter().any(|strike| matches!(strike, Strike::Act(_)))
    }

    /// Waits for the step at which the user acts.
    pub(crate) async fn act(&self) {
        self.act.notified().await;
    }

    /// The user has acted, and will not again: a process that waits goes on.
    pub(crate) fn acted(&self) {
        self.lock().plan.retain(|strike| !matches!(strike, Strike::Act(_)));
        self.acted.notify_one();
    }

    /// A step comes.
    pub(crate) fn step(&self) -> Fate {
        let (number, floods, plan) = {
            let mut inner = self.lock();
            let floods = inner.floods();
            let Some(number) = inner.next(Occasion::Step) else {
                return if floods { Fate::Floods } else { Fate::GoesOn };
            };
            (number, floods, inner.plan.clone())
        };
        let struck = plan.iter().find_map(|strike| match strike {
            Strike::Crash(step) if *step == number => Some(Fate::Dies),
            Strike::Act(step) if *step == number => Some(Fate::Waits),
            Strike::Cut(step) if *step == number => Some(Fate::IsCut),
            Strike::Freeze(step) if *step == number => Some(Fate::IsFrozen),
            _ => None,
        });
        match struck {
            Some(fate) => {
                self.lock().strikes(fate.aftermath());
                fate
            }
            None if floods => Fate::Floods,
            None => Fate::GoesOn,
        }
    }

    /// Lets the user act, while the process stands still.
    pub(crate) async fn wait(&self) {
        self.act.notify_one();
        self.acted.notified().await;
    }

    /// Another occasion than a step comes: what strikes it.
    pub(crate) fn meets(&self, occasion: Occasion) -> Option<Strike> {
        let mut inner = self.lock();
        let number = inner.next(occasion)?;
        let strike = inner.plan.iter().copied().find(|strike| match strike {
            Strike::Stale(at, _) => occasion == Occasion::Read && *at == number,
            Strike::Drop(at) | Strike::Double(at) => occasion == Occasion::Message && *at == number,
            Strike::LandLate(at) => occasion == Occasion::Write && *at == number,
            Strike::Twice(at) => occasion == Occasion::Request && *at == number,
            Strike::Crash(_) | Strike::Act(_) | Strike::Cut(_) | Strike::Freeze(_) => false,
        })?;
        inner.strikes(strike.aftermath());
        Some(strike)
    }
}

impl Strike {
    fn aftermath(self) -> Duration {
        let seconds = match self {
            Self::Stale(..) | Self::Drop(_) | Self::Double(_) => 5,
            Self::Crash(_) | Self::Cut(_) | Self::Freeze(_) | Self::Act(_) => 0,
            Self::LandLate(_) => 25,
            Self::Twice(_) => 35,
        };
        Duration::from_secs(seconds)
    }
}

impl Fate {
    fn aftermath(self) -> Duration {
        let seconds = match self {
            // The lease ends, another is elected, and the one that died is back.
            Self::Dies => 25,
            Self::IsCut | Self::IsFrozen => 50,
            Self::GoesOn | Self::Waits | Self::Floods => 0,
        };
        Duration::from_secs(seconds)
    }
}

impl Inner {
    fn strikes(&mut self, aftermath: Duration) {
        self.over = self.over.max(Some(Instant::now() + aftermath));
    }

    fn next(&mut self, occasion: Occasion) -> Option<u64> {
        if !self.counting {
            return None;
        }
        let count = &mut self.counts.0[occasion as usize];
        *count += 1;
        Some(*count)
    }

    /// S16: what is done in a minute is bounded.
    fn floods(&mut self) -> bool {
        let now = Instant::now();
        if self.minute.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            self.minute = Some(now);
            self.in_minute = 0;
        }
        self.in_minute += 1;
        let most = if self.counting { STEPS_A_MINUTE_OF_A_SWEEP } else { STEPS_A_MINUTE };
        self.in_minute > most
    }
}
