//! A test in namespaces of its own: network, mounts and processes, and, where it is not root, a user namespace in which it
//! is. All of them end with it.

use std::any::type_name;
use std::process::{Command, Stdio};

/// Set in the sandbox.
const INSIDE: &str = "LOCHNESS_IT_SANDBOX";
/// Set by whoever cannot have these tests.
const WITHOUT: &str = "LOCHNESS_WITHOUT_NETNS";
/// What these tests run, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 6] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
];

/// Runs `body`, which is that of the test function `test`, in a sandbox: this very test binary again, told to run this
/// test alone.
pub(super) fn sandboxed<F: Fn() + Copy>(_test: F, body: impl Future<Output = ()>) {
    if std::env::var_os(WITHOUT).is_some() {
        eprintln!("skipped: {WITHOUT} is set");
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be made").block_on(body);
        return;
    }
    drop(body);
    let (_crate, name) = type_name::<F>().split_once("::").expect("a test lies in a crate");
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .env("PATH", admin_path())
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{}", cannot(&error.to_string())));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!complained.contains("unshare: "), "{}", cannot(complained.trim()));
    assert!(output.status.success(), "in the sandbox:\n{said}\n{complained}");
    assert!(said.contains("1 passed"), "the sandbox ran another test than {name}:\n{said}");
}

/// The loopback works, and namespaces have a place for their names.
fn prepare() {
    for (program, arguments) in
        [("mount", &["-t", "tmpfs", "tmpfs", "/run"][..]), ("ip", &["link", "set", "lo", "up"])]
    {
        let ran = Command::new(program).args(arguments).output();
        let ran = ran.unwrap_or_else(|error| panic!("{}", cannot(&format!("{program}: {error}"))));
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{}", cannot(&format!("{program}: {complaint}")));
    }
}

fn cannot(why: &str) -> String {
    let has = |program: &str| {
        admin_path().split(':').any(|folder| std::path::Path::new(folder).join(program).exists())
    };
    let missing = PROGRAMS.iter().filter(|(program, _)| !has(program));
    let missing: Vec<_> =
        missing.map(|(program, package)| format!("{program} (package {package})")).collect();
    let lacks = if missing.is_empty() {
        "the right to make namespaces: run as root, or allow unprivileged user namespaces"
            .to_owned()
    } else {
        missing.join(", ")
    };
    format!("no sandbox for real packets: {why}. Missing: {lacks}. To do without: {WITHOUT}=1")
}

fn admin_path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
