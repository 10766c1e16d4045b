//! Network namespaces, and what connects them.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// A network namespace, by its name. It ends with the sandbox.
#[derive(Debug, Clone)]
pub(super) struct Namespace(String);

impl Namespace {
    /// A new one, with a loopback that works.
    pub(super) fn new(name: &str) -> Self {
        run("ip", &["netns", "add", name]);
        let namespace = Self(name.to_owned());
        namespace.ip("link set lo up");
        namespace
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// `ip` with these words, in it.
    pub(super) fn ip(&self, words: &str) {
        let words = ["-n", &self.0].into_iter().chain(words.split(' ')).collect::<Vec<_>>();
        run("ip", &words);
    }

    /// `nft` with these words, in it; what it says.
    pub(super) fn nft(&self, words: &str) -> Result<String, String> {
        let flag = format!("--net={}", self.path());
        let words = [&flag, "nft"].into_iter().chain(words.split(' '));
        try_run("nsenter", &words.collect::<Vec<_>>())
    }

    /// Does something in it. What was made there, such as a socket, stays there.
    pub(super) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new(&self.path())).expect("the namespace has its name");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

/// A cable: two ends, `(namespace, interface)`.
pub(super) fn cable(one: (&Namespace, &str), other: (&Namespace, &str)) {
    let (Namespace(there), name) = other;
    one.0.ip(&format!("link add {} type veth peer name {name} netns {there}", one.1));
}

fn run(program: &str, arguments: &[&str]) {
    try_run(program, arguments).unwrap_or_else(|why| panic!("{program} {arguments:?}: {why}"));
}

fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&ran.stderr).into_owned())
}
