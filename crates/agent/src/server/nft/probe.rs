//! What a host needs for a firewall of ours, and what it lacks.

use std::time::Duration;

use crate::server::program::{ProgramError, Runner};

/// For each look.
const LIMIT: Duration = Duration::from_secs(10);
/// Bridged packets pass the rules of tables of the family inet only with these; those with a VLAN tag, with the third.
const SWITCHES: [&str; 3] = [
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "/proc/sys/net/bridge/bridge-nf-filter-vlan-tagged",
];
/// The kernel is asked whether it knows what our rulesets are made of. Nothing comes in force by it.
const KNOWN: &str = "table inet lochness_probe {
  chain a { type filter hook forward priority 0; ct state established,related accept; reject with icmpx admin-prohibited; }
}
table bridge lochness_probe {
  chain a { type filter hook prerouting priority -300; ether saddr . ip saddr { 02:00:00:00:00:01 . 192.0.2.1 } drop; }
}
";

/// What is missing, in words for people, after what may be switched on was switched on.
pub(super) async fn missing(runner: &Runner) -> Vec<String> {
    let mut missing = Vec::new();
    let asked = runner.run("nft", &["-c", "-f", "-"], KNOWN, LIMIT).await;
    match asked {
        Ok(_) => {}
        Err(ProgramError::Failed(words)) if words.contains("Operation not permitted") => {
            missing.push(format!("no permission to change the firewall (CAP_NET_ADMIN): {words}"));
        }
        Err(error) => missing.push(format!("nft cannot be used: {error}")),
    }
    for switch in SWITCHES {
        if let Err(error) = switch_on(runner, switch).await {
            missing.push(error);
        }
    }
    missing
}

async fn switch_on(runner: &Runner, switch: &str) -> Result<(), String> {
    // Through programs, because a switch belongs to the network namespace of whoever reads it.
    let read = runner.run("cat", &[switch], "", LIMIT).await;
    match read {
        Ok(ran) if ran.output.trim() == "1" => return Ok(()),
        Ok(_) => {}
        Err(ProgramError::Failed(words)) if words.contains("No such file") => {
            return Err(format!("{switch} is not there: load the kernel module br_netfilter"));
        }
        Err(error) => return Err(format!("{switch} cannot be read: {error}")),
    }
    match runner.run("tee", &[switch], "1\n", LIMIT).await {
        Ok(_) => {
            tracing::info!(switch, "switched on: bridged packets pass the firewall from now on");
            Ok(())
        }
        Err(error) => Err(format!("{switch} is 0 and cannot be set: {error}")),
    }
}
