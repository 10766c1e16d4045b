//! Programs of the host that do what the kernel offers to programs alone: nft, ip, bridge.
//!
//! Guarantees: a program runs in the host's network namespace, has a time after which it is killed, cannot fill our
//! memory, and speaks English; its failure is its own words on one line of bounded length.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The most that is read of what a program says: the list of a ruleset of 16 MiB.
const OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;
/// The most that is kept of its complaints.
const COMPLAINT_LIMIT: u64 = 16 * 1024;
/// The most characters of them that are passed on.
const WORDS_LIMIT: usize = 500;
/// Where `ip netns` keeps namespaces by name.
const NAMESPACES: &str = "/run/netns";
/// Programs of the administrator, which are not in everybody's path.
const ADMIN_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Runs programs in one network namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runner {
    /// None: that of this process.
    namespace: Option<PathBuf>,
}

/// What becomes of a program that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Kill,
    /// It ends by itself.
    Leave,
}

/// What a program that ended well said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) pid: Option<u32>,
    pub(crate) output: String,
}

/// Why a program did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    /// There is no such program.
    #[error("{0} is not installed")]
    NotThere(String),
    /// Its own words.
    #[error("{0}")]
    Failed(String),
    /// It was killed; what it did by then is not known.
    #[error("{program} took longer than {limit:?}")]
    Late {
        /// Which program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// It could not be run, or not be talked to.
    #[error("{program} cannot be run: {why}")]
    Broken {
        /// Which program.
        program: String,
        /// What the system said.
        why: String,
    },
}

impl Runner {
    /// In the namespace of this name or path, or in our own.
    pub(crate) fn new(namespace: Option<&str>) -> Self {
        let path = namespace.map(|given| {
            if given.contains('/') {
                PathBuf::from(given)
            } else {
                Path::new(NAMESPACES).join(given)
            }
        });
        Self { namespace: path }
    }

    /// Runs it to its end, with `input`.
    pub(crate) async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
        limit: Duration,
    ) -> Result<Ran, ProgramError> {
        let late = || ProgramError::Late { program: program.to_owned(), limit };
        // The child is killed when it is dropped, as it is at the end of the time.
        timeout(limit, self.run_to_its_end(program, arguments, input))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Starts one that talks for ever. It ends when its input does, so that it outlives neither the answer nor this process,
    /// however that ends.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Result<Child, ProgramError> {
        // The shell waits for the end of the input. Its own output is closed, so that the program's end is seen as one.
        const LEASH: &str = "\"$@\" & exec >&-; cat >/dev/null; kill $!";
        let mut all = vec!["-c", LEASH, "sh", program];
        all.extend(arguments);
        self.spawn("sh", &all, OnDrop::Leave)
    }

    fn spawn(
        &self,
        program: &str,
        arguments: &[&str],
        on_drop: OnDrop,
    ) -> Result<Child, ProgramError> {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                let mut flag = std::ffi::OsString::from("--net=");
                flag.push(namespace);
                command.arg(flag).arg("--").arg(program);
                command
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let path = if path.is_empty() { "/usr/bin:/bin".to_owned() } else { path };
        let spawned = command
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{path}:{ADMIN_PATH}"))
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(on_drop == OnDrop::Kill)
            .spawn();
        spawned.map_err(|error| match (error.kind(), &self.namespace) {
            (std::io::ErrorKind::NotFound, None) => ProgramError::NotThere(program.to_owned()),
            (std::io::ErrorKind::NotFound, Some(_)) => ProgramError::NotThere("nsenter".to_owned()),
            _ => broken(program, &error),
        })
    }

    async fn run_to_its_end(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Ran, ProgramError> {
        let mut child = self.spawn(program, arguments, OnDrop::Kill)?;
        let pid = child.id();
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that ends before it has read everything says why in other ways.
                stdin.write_all(input.as_bytes()).await.ok();
            }
        };
        let ((), output, complaint) =
            tokio::join!(write, read(stdout, OUTPUT_LIMIT), read(stderr, COMPLAINT_LIMIT));
        let status = child.wait().await.map_err(|error| broken(program, &error))?;
        if status.success() {
            return Ok(Ran { pid, output });
        }
        let words = one_line(&complaint);
        if self.namespace.is_some() && words.contains("failed to execute") {
            return Err(ProgramError::NotThere(program.to_owned()));
        }
        Err(ProgramError::Failed(if words.is_empty() {
            format!("{program}: {status}")
        } else {
            words
        }))
    }
}

/// Reads to the end, and keeps so many bytes.
async fn read(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> String {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        // What cannot be read is as good as not said.
        (&mut stream).take(limit).read_to_end(&mut kept).await.ok();
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn broken(program: &str, error: &std::io::Error) -> ProgramError {
    ProgramError::Broken { program: program.to_owned(), why: error.to_string() }
}

/// A program's words on one line: without the lines that only point at something, and not too many.
pub(crate) fn one_line(text: &str) -> String {
    let is_pointer = |line: &&str| line.chars().all(|c| matches!(c, '^' | '~' | ' ' | '-'));
    let lines = text.lines().map(str::trim).filter(|line| !is_pointer(line));
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let joined = lines.collect::<Vec<_>>().join(" | ");
    let mut words: String = joined.chars().map(clean).take(WORDS_LIMIT).collect();
    if joined.chars().count() > WORDS_LIMIT {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_complaint_is_one_line_of_bounded_length() {
        let text = "/dev/stdin:1:2-3: Error: No such file\nadd element x\n    ^^~~\n\n";
        assert_eq!(one_line(text), "/dev/stdin:1:2-3: Error: No such file | add element x");
        assert_eq!(one_line(&"x".repeat(9_000)).chars().count(), WORDS_LIMIT + 1);
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_a_failure_has_the_programs_words() {
        let runner = Runner::new(None);
        let big = "line\n".repeat(100_000);
        assert_eq!(runner.run("cat", &[], &big, LIMIT).await.unwrap().output, big);
        let failed = runner.run("sh", &["-c", "echo why >&2; exit 1"], "", LIMIT).await;
        assert_eq!(failed.unwrap_err(), ProgramError::Failed("why".to_owned()));
        let missing = runner.run("no-such-program", &[], "", LIMIT).await;
        assert_eq!(missing.unwrap_err(), ProgramError::NotThere("no-such-program".to_owned()));
    }

    #[tokio::test]
    async fn a_program_that_talks_for_ever_ends_with_its_input_and_its_end_is_seen() {
        let mut child = Runner::new(None).start("sleep", &["1000"]).unwrap();
        drop(child.stdin.take());
        timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
        let mut child = Runner::new(None).start("echo", &["word"]).unwrap();
        assert_eq!(timeout(LIMIT, read(child.stdout.take(), 100)).await.unwrap(), "word\n");
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let limit = Duration::from_millis(50);
        let late = Runner::new(None).run("sleep", &["1000"], "", limit).await.unwrap_err();
        assert!(matches!(late, ProgramError::Late { .. }), "{late}");
    }
}
