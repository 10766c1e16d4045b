//! An operator as a process of its own: started, stopped, killed, frozen.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::eventually;
use super::http::get;

/// How an operator is started.
#[derive(Debug, Clone)]
pub(crate) struct OperatorOptions {
    /// How long it leads without a sign of life.
    pub(crate) lease: Duration,
    /// Lines of `[tuning]` besides the harness's own.
    pub(crate) tuning: String,
    /// Where its keys lie.
    pub(crate) prefix: String,
}

/// An operator.
pub(crate) struct Operator {
    name: String,
    child: Option<Child>,
    directory: TempDir,
    address: Option<SocketAddr>,
}

/// Everything that waits, waits less: what it says in production is in the settings' own file.
const TUNING: &str = r#"rescan = "1s"
startup_grace = "5s"
shutdown_grace = "2s"
list_interval = "500ms"
list_interval_busy = "100ms"
reachable_window = "5s"
read_timeout = "3s"
vanish_confirmation = "2s"
create_deadline = "20s"
action_deadline = "15s"
retry_min = "100ms"
retry_max = "2s"
status_interval = "200ms"
message_interval = "1s"
"#;

impl Default for OperatorOptions {
    fn default() -> Self {
        let prefix = lochness_api::Prefix::default().to_string();
        Self { lease: Duration::from_secs(3), tuning: String::new(), prefix }
    }
}

impl Operator {
    /// Starts it on these endpoints, separated by commas, and returns when it serves its pages.
    pub(crate) async fn start(name: &str, etcd: &str, options: &OperatorOptions) -> Self {
        let directory =
            TempDir::with_prefix("lochness-it-operator-").expect("a directory can be made");
        let endpoints: Vec<_> = etcd.split(',').map(|it| format!("\"{it}\"")).collect();
        let config = format!(
            "identity = \"{name}\"\nlisten = \"127.0.0.1:0\"\nlease = \"{}ms\"\n\
             prefix = \"{}\"\n[etcd]\nendpoints = [{}]\n\
             [log]\nfilter = \"info,lochness_controllers=debug\"\n\
             [tuning]\n{}{}\n",
            options.lease.as_millis(),
            options.prefix,
            endpoints.join(", "),
            usual_tuning(&options.tuning),
            options.tuning
        );
        let file = directory.path().join("operator.toml");
        std::fs::write(&file, config).expect("the directory is ours");
        let log = File::create(directory.path().join("log")).expect("the directory is ours");
        let child = Command::new(env!("CARGO_BIN_EXE_lochness-operator"))
            .arg("--config")
            .arg(file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("the operator can be started");
        let mut operator =
            Self { name: name.to_owned(), child: Some(child), directory, address: None };
        let address = eventually("the operator serves", async || operator.address_in_log()).await;
        operator.address = Some(address);
        operator
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// One of its pages: status code and body.
    pub(crate) async fn page(&self, path: &str) -> Result<(u16, String), String> {
        let address = self.address.ok_or("it does not serve")?;
        let (code, body) = get(&format!("http://{address}{path}")).await?;
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Whether it leads, by its own word.
    pub(crate) async fn leads(&self) -> Result<(), String> {
        match self.page("/readyz").await? {
            (200, body) if body.contains("leading") => Ok(()),
            (code, body) => Err(format!("{code}: {body}")),
        }
    }

    /// Whether it would take over at once, by its own word.
    pub(crate) async fn is_ready(&self) -> Result<(), String> {
        match self.page("/readyz").await? {
            (200, _) => Ok(()),
            (code, body) => Err(format!("{code}: {body}")),
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            child.wait().expect("it is our child");
        }
    }

    /// SIGSTOP: it freezes with everything that it was about to do.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM. Returns when the process has ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().expect("it runs");
        let ended = async || {
            child.try_wait().expect("it is our child").ok_or_else(|| "it still runs".to_owned())
        };
        eventually("the operator ends", ended).await
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"));
        kill(pid, signal).expect("the process is our child and not yet waited for");
    }

    fn address_in_log(&mut self) -> Result<SocketAddr, String> {
        let log = self.log();
        let serving = log.lines().find(|line| line.contains("serving metrics"));
        let address = serving.and_then(|line| line.split("address=").nth(1));
        let address = address.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        if let Some(child) = &mut self.child {
            let ended = child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the operator ended: {ended:?}\n{log}");
        }
        address.ok_or(log)
    }
}

/// The harness's own tuning without what the test says itself: a key stands once in a table.
fn usual_tuning(own: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let said: Vec<_> = own.lines().map(key).collect();
    let kept: Vec<_> = TUNING.lines().filter(|line| !said.contains(&key(line))).collect();
    kept.join("\n") + "\n"
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}
