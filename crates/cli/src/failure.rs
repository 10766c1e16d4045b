//! Why a command did not do what was asked, for people (what, where, what to do) and for scripts (the exit code).

use std::fmt;
use std::io;
use std::process::ExitCode;

use lochness_kv::KvError;

/// What the exit code says. Documented in `docs/lochnessctl.md`; scripts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something failed, or was refused.
    Failed,
    /// The command line or a manifest is wrong; nothing was changed.
    Usage,
    /// The time was over before what was waited for came.
    TimedOut,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TimedOut => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was not possible, or was refused.
    Failed(Report),
    /// The command line or its input is wrong.
    Usage(Report),
    /// The time was over.
    TimedOut(Report),
    /// The store failed.
    Store(KvError),
    /// The output could not be written.
    Output(io::Error),
}

/// What, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    what: String,
    place: String,
    advice: String,
}

impl Report {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), place: String::new(), advice: advice.into() }
    }
}

impl Failure {
    /// It was not possible; the advice says what to do, and may be empty.
    pub fn failed(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Failed(Report::new(what, advice))
    }

    /// The command line or its input is wrong.
    pub fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Usage(Report::new(what, advice))
    }

    /// The time was over before what was waited for came.
    pub fn timed_out(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::TimedOut(Report::new(what, advice))
    }

    /// Adds the endpoints of the store to a failure of the store, where it is known which they are.
    #[must_use]
    pub fn at(self, endpoints: &str) -> Self {
        match self {
            Self::Store(error) => Self::Failed(Report {
                what: error.to_string(),
                place: format!("etcd at {endpoints}"),
                advice: store_advice(&error).to_owned(),
            }),
            Self::Failed(_) | Self::Usage(_) | Self::TimedOut(_) | Self::Output(_) => self,
        }
    }

    /// The exit code that belongs to it. A reader that closed our output early (`head`) had enough: that is no failure.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Failed(_) | Self::Store(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

fn store_advice(error: &KvError) -> &'static str {
    match error {
        KvError::Unknown(_) => {
            "check that etcd runs there and has a leader (etcdctl endpoint health); the same command can safely be \
             repeated, since every write compares what it was based on"
        }
        KvError::Unavailable(_) => {
            "start etcd there, or name another with --etcd or LOCHNESS_ETCD; one at https:// needs --cacert"
        }
        KvError::PermissionDenied(_) => {
            "give --user and a password (LOCHNESS_ETCD_PASSWORD or --password-file) that may use the prefix"
        }
        KvError::NoSpace => "nothing was written; make room first",
        KvError::TooLarge(_) => "make the document smaller: etcd takes 1.5 MiB a request",
        KvError::Compacted(_) | KvError::LeaseNotFound | KvError::Invalid(_) => {
            "this is a fault of lochnessctl; please report it with the command that you gave"
        }
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(report) | Self::Usage(report) | Self::TimedOut(report) => report.fmt(f),
            Self::Store(error) => write!(f, "{error}\n  do: {}", store_advice(error)),
            Self::Output(error) => write!(f, "output cannot be written: {error}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.place.is_empty() {
            write!(f, "\n  at: {}", self.place)?;
        }
        if !self.advice.is_empty() {
            write!(f, "\n  do: {}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_there_is_reported_with_its_address_and_what_to_check() {
        let failure = Failure::from(KvError::Unavailable("connection refused".into()));
        let text = failure.at("http://127.0.0.1:1").to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "etcd is not available: connection refused");
        assert_eq!(lines[1], "  at: etcd at http://127.0.0.1:1");
        assert!(lines[2].starts_with("  do: start etcd there"), "{text}");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        assert_eq!(Failure::failed("x", "").exit().code(), 1);
        assert_eq!(Failure::usage("x", "").exit().code(), 2);
        assert_eq!(Failure::timed_out("x", "").exit().code(), 3);
    }

    #[test]
    fn a_reader_that_had_enough_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Done);
    }
}
