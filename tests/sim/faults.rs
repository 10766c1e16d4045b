//! The faults that a history can have, each in its row of the table of faults under which everything must hold, and how
//! often each one happened.

use std::fmt;
use std::time::Duration;

/// A row of the table of faults, as far as a history can make it; the rest is for real processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Crash,
    OldViews,
    StreamTrouble,
    PausedLeader,
    StoreLost,
    LostCommit,
    NoSpace,
    StoreReplaced,
    StoreRestored,
    AgentAnswers,
    LostRequest,
    LateRequest,
    HostForgets,
    CutOff,
    ClockJump,
    BadDocuments,
    MassDeletion,
    OrderlyEnd,
}

/// Something that goes wrong, or that nobody should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Crash,
    StaleRead,
    EventsDoubled,
    EventsCoalesced,
    DeletedAndBack,
    WatchesCut,
    Compaction,
    StoreCut,
    StoreDeaf,
    Frozen,
    FrozenAtAgent,
    AgentsCut,
    LeaseRevoked,
    KeepaliveLies,
    StoreDown,
    StoreSlow,
    FailBefore,
    FailAfter,
    Lose,
    LandLate,
    NoSpace,
    OtherCluster,
    StoreRestored,
    AgentHangs,
    AnswerSlow,
    ServerError,
    Truncated,
    Nested,
    Enormous,
    Redirect,
    RequestLost,
    AnswerLost,
    JobForgotten,
    JobHangs,
    JobFails,
    GuestPoisoned,
    JobKillsAgent,
    CompleteButAbsent,
    ShutdownIgnored,
    ImagesBroken,
    FirewallBroken,
    Late,
    Twice,
    AgentKilled,
    HostReboot,
    RebootEmpty,
    Wiped,
    GuestsLost,
    RulesLost,
    EmptyList,
    AnotherMachine,
    HostEdited,
    SharedAddress,
    GuestDies,
    HostDark,
    HostDeaf,
    HeartbeatCut,
    ClockForward,
    ClockBack,
    Garbage,
    Contradiction,
    Exhausted,
    ReferenceGone,
    MassDeletion,
    ToldToStop,
}

impl Row {
    /// Every row that a history can make.
    pub(crate) const ALL: [Self; 18] = [
        Self::Crash,
        Self::OldViews,
        Self::StreamTrouble,
        Self::PausedLeader,
        Self::StoreLost,
        Self::LostCommit,
        Self::NoSpace,
        Self::StoreReplaced,
        Self::StoreRestored,
        Self::AgentAnswers,
        Self::LostRequest,
        Self::LateRequest,
        Self::HostForgets,
        Self::CutOff,
        Self::ClockJump,
        Self::BadDocuments,
        Self::MassDeletion,
        Self::OrderlyEnd,
    ];

    /// The row's words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Crash => "crash before and after every store operation and agent call",
            Self::OldViews => "old views: stale reads, events doubled or coalesced",
            Self::StreamTrouble => "compaction, streams cut, half-open connections",
            Self::PausedLeader => "leader paused past its lease; keepalives of a lost lease",
            Self::StoreLost => "the store lost and back, or slow",
            Self::LostCommit => "a commit whose answer is lost",
            Self::NoSpace => "no space",
            Self::StoreReplaced => "another cluster behind the same address",
            Self::StoreRestored => "the store restored from an older snapshot",
            Self::AgentAnswers => "agent slow, hanging, 5xx, truncated, enormous, redirect",
            Self::LostRequest => "request or answer lost; job unknown, endless, failed",
            Self::LateRequest => "request late (up to 60 s) or twice",
            Self::HostForgets => "host reboots, forgets, lists nothing, is another machine",
            Self::CutOff => "host cut off, or in one direction",
            Self::ClockJump => "clock jumps a day",
            Self::BadDocuments => "malformed documents, contradictory wishes",
            Self::MassDeletion => "mass deletion",
            Self::OrderlyEnd => "told to stop in the middle",
        }
    }
}

impl Fault {
    /// Every fault, in the order of the rows.
    pub(crate) const ALL: [Self; 65] = [
        Self::Crash,
        Self::StaleRead,
        Self::EventsDoubled,
        Self::EventsCoalesced,
        Self::DeletedAndBack,
        Self::WatchesCut,
        Self::Compaction,
        Self::StoreCut,
        Self::StoreDeaf,
        Self::Frozen,
        Self::FrozenAtAgent,
        Self::AgentsCut,
        Self::LeaseRevoked,
        Self::KeepaliveLies,
        Self::StoreDown,
        Self::StoreSlow,
        Self::FailBefore,
        Self::FailAfter,
        Self::Lose,
        Self::LandLate,
        Self::NoSpace,
        Self::OtherCluster,
        Self::StoreRestored,
        Self::AgentHangs,
        Self::AnswerSlow,
        Self::ServerError,
        Self::Truncated,
        Self::Nested,
        Self::Enormous,
        Self::Redirect,
        Self::RequestLost,
        Self::AnswerLost,
        Self::JobForgotten,
        Self::JobHangs,
        Self::JobFails,
        Self::GuestPoisoned,
        Self::JobKillsAgent,
        Self::CompleteButAbsent,
        Self::ShutdownIgnored,
        Self::ImagesBroken,
        Self::FirewallBroken,
        Self::Late,
        Self::Twice,
        Self::AgentKilled,
        Self::HostReboot,
        Self::RebootEmpty,
        Self::Wiped,
        Self::GuestsLost,
        Self::RulesLost,
        Self::EmptyList,
        Self::AnotherMachine,
        Self::HostEdited,
        Self::SharedAddress,
        Self::GuestDies,
        Self::HostDark,
        Self::HostDeaf,
        Self::HeartbeatCut,
        Self::ClockForward,
        Self::ClockBack,
        Self::Garbage,
        Self::Contradiction,
        Self::Exhausted,
        Self::ReferenceGone,
        Self::MassDeletion,
        Self::ToldToStop,
    ];

    /// The row that it belongs to.
    pub(crate) fn row(self) -> Row {
        match self {
            Self::Crash => Row::Crash,
            Self::StaleRead
            | Self::EventsDoubled
            | Self::EventsCoalesced
            | Self::DeletedAndBack => Row::OldViews,
            Self::WatchesCut | Self::Compaction | Self::StoreCut | Self::StoreDeaf => {
                Row::StreamTrouble
            }
            Self::Frozen
            | Self::FrozenAtAgent
            | Self::AgentsCut
            | Self::LeaseRevoked
            | Self::KeepaliveLies => Row::PausedLeader,
            Self::StoreDown | Self::StoreSlow => Row::StoreLost,
            Self::FailBefore | Self::FailAfter | Self::Lose | Self::LandLate => Row::LostCommit,
            Self::NoSpace => Row::NoSpace,
            Self::OtherCluster => Row::StoreReplaced,
            Self::StoreRestored => Row::StoreRestored,
            Self::AgentHangs
            | Self::AnswerSlow
            | Self::ServerError
            | Self::Truncated
            | Self::Nested
            | Self::Enormous
            | Self::Redirect => Row::AgentAnswers,
            Self::RequestLost
            | Self::AnswerLost
            | Self::JobForgotten
            | Self::JobHangs
            | Self::JobFails
            | Self::GuestPoisoned
            | Self::JobKillsAgent
            | Self::CompleteButAbsent
            | Self::ShutdownIgnored
            | Self::ImagesBroken
            | Self::FirewallBroken => Row::LostRequest,
            Self::Late | Self::Twice => Row::LateRequest,
            Self::AgentKilled
            | Self::HostReboot
            | Self::RebootEmpty
            | Self::Wiped
            | Self::GuestsLost
            | Self::RulesLost
            | Self::EmptyList
            | Self::AnotherMachine
            | Self::HostEdited
            | Self::SharedAddress
            | Self::GuestDies => Row::HostForgets,
            Self::HostDark | Self::HostDeaf | Self::HeartbeatCut => Row::CutOff,
            Self::ClockForward | Self::ClockBack => Row::ClockJump,
            Self::Garbage | Self::Contradiction | Self::Exhausted | Self::ReferenceGone => {
                Row::BadDocuments
            }
            Self::MassDeletion => Row::MassDeletion,
            Self::ToldToStop => Row::OrderlyEnd,
        }
    }
}

/// What is cut, stopped or down is so for no longer than this.
const LONGEST: Duration = Duration::from_secs(41);
/// An operation that fails is over, and tried again, within this time.
const RETRIED: Duration = Duration::from_secs(20);

impl Fault {
    /// For how long it may keep a process from leading; `None` if it does not.
    pub(crate) fn disturbs_processes(self) -> Option<Duration> {
        match self {
            Self::Frozen | Self::FrozenAtAgent => Some(LONGEST),
            _ => match self.row() {
                Row::Crash
                | Row::StreamTrouble
                | Row::StoreLost
                | Row::NoSpace
                | Row::OrderlyEnd => Some(LONGEST),
                Row::OldViews
                | Row::PausedLeader
                | Row::LostCommit
                | Row::StoreReplaced
                | Row::StoreRestored => Some(RETRIED),
                Row::AgentAnswers
                | Row::LostRequest
                | Row::LateRequest
                | Row::HostForgets
                | Row::CutOff
                | Row::ClockJump
                | Row::BadDocuments
                | Row::MassDeletion => None,
            },
        }
    }
}

/// How often each fault happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally([u64; Fault::ALL.len()]);

impl Tally {
    pub(crate) fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Takes another one's counts in.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The faults that never happened.
    pub(crate) fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.0[*fault as usize] == 0).collect()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in Row::ALL {
            let of_row = Fault::ALL.into_iter().filter(|fault| fault.row() == row);
            let counts: Vec<_> = of_row.map(|fault| (fault, self.0[fault as usize])).collect();
            let sum: u64 = counts.iter().map(|(_, times)| times).sum();
            let told: Vec<_> =
                counts.iter().map(|(fault, times)| format!("{fault:?} {times}")).collect();
            writeln!(f, "  {sum:>9}  {}\n             {}", row.words(), told.join(", "))?;
        }
        Ok(())
    }
}

#[test]
fn every_fault_is_counted_under_its_own_number() {
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, number, "{fault:?}");
    }
}
