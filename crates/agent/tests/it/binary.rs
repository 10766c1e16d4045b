//! The program itself.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lochness_agent::client::{AgentClient, GuestLookup, HttpOptions, HttpTransport};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{guest, guest_id, ticket};

/// A process that ends with the test.
struct Agent(Child);

impl Agent {
    /// Starts the program and waits until it serves.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lochness-agent"))
            .args(arguments)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = log.by_ref().any(|line| line.is_ok_and(|line| line.contains("serving")));
        assert!(serving, "the agent did not start");
        // Whoever writes to a closed pipe fails, so somebody must read on.
        std::thread::spawn(move || log.for_each(drop));
        Self(child)
    }

    fn signal(&mut self, signal: Signal) -> std::process::ExitStatus {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, or must.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.77.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_killed_process_comes_back_with_its_guests_and_fences_and_term_ends_it_well() {
    let directory = tempfile::tempdir().unwrap();
    let (port, state) = (free_port().to_string(), directory.path().to_str().unwrap());
    let base = ["--hosts", "3", "--address-base", "127.77.0.1", "--port", &port];
    let arguments = [&base[..], &["--state-dir", state]].concat();
    let transport = Arc::new(HttpTransport::new(HttpOptions::default()).unwrap());
    let client = AgentClient::new(transport, format!("127.77.0.3:{port}"), None);

    let mut agent = Agent::start(&arguments);
    client.create(&guest(1), &ticket(5)).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while client.guest(guest_id(1)).await.unwrap() == GuestLookup::Absent {
        assert!(tokio::time::Instant::now() < deadline);
    }
    let second = Command::new(env!("CARGO_BIN_EXE_lochness-agent")).args(&arguments).output();
    let message = String::from_utf8(second.unwrap().stderr).unwrap();
    assert!(message.contains("in use by another agent"), "{message}");
    agent.signal(Signal::SIGKILL);

    let mut agent = Agent::start(&arguments);
    // The first request may meet the connection that died with the process.
    client.metadata().await.ok();
    let GuestLookup::Found(found) = client.guest(guest_id(1)).await.unwrap() else {
        panic!("the guest is gone")
    };
    assert_eq!(found.nics, guest(1).nics);
    assert!(client.create(&guest(1), &ticket(4)).await.is_err(), "an old order is refused");
    assert!(agent.signal(Signal::SIGTERM).success());

    let reset = Command::new(env!("CARGO_BIN_EXE_lochness-agent"))
        .args(["reset-fence", "--state-dir", state, "--name", "host-03"])
        .output()
        .unwrap();
    let message = String::from_utf8(reset.stdout).unwrap();
    assert!(message.contains("the orders of 1 guests are forgotten"), "{message}");
    let _agent = Agent::start(&arguments);
    client.metadata().await.ok();
    client.create(&guest(1), &ticket(4)).await.unwrap();
}

/// Nothing listens at the port of etcd here; that a registration follows a connection is tested elsewhere.
#[tokio::test]
async fn an_etcd_that_is_away_at_the_start_is_waited_for() {
    let port = free_port();
    let etcd_port = free_port();
    let endpoint = format!("http://127.0.0.1:{etcd_port}");
    let port = port.to_string();
    let base = ["--address-base", "127.77.0.1", "--port", &port, "--etcd", &endpoint];
    let mut child = Command::new(env!("CARGO_BIN_EXE_lochness-agent"))
        .args(base)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut agent = Agent(child);
    let waits = log.by_ref().any(|line| line.is_ok_and(|line| line.contains("cannot reach etcd")));
    assert!(waits, "the agent ended, or waits without a word");
    std::thread::spawn(move || log.for_each(drop));
    let transport = Arc::new(HttpTransport::new(HttpOptions::default()).unwrap());
    let client = AgentClient::new(transport, format!("127.77.0.1:{port}"), None);
    client.metadata().await.expect("it serves all the same");
    assert!(agent.signal(Signal::SIGTERM).success());
}
