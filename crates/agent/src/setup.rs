//! From the command line to hosts. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use lochness_agent::server::{Compat, Delays, Faults, HostConfig, StateWords};
use lochness_api::HypervisorId;
use lochness_api::document::{Kind, Resources};
use tokio::time::Duration;

use crate::args::{
    CompatName, FirewallName, HostArguments, Run, SimulatedArguments, StateWordsName,
};

/// One host to be.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) config: HostConfig,
    pub(crate) address: SocketAddr,
}

/// The hosts that the command line asks for.
pub(crate) fn plan(run: &Run, seed: u64, bearer: Option<&str>) -> anyhow::Result<Vec<Planned>> {
    let host = &run.host;
    ensure!(host.hosts == 1 || host.id.is_none(), "--id is for one host, not for {}", host.hosts);
    ensure!(
        host.hosts == 1 || host.name.is_none(),
        "--name is for one host, not for {}: use --name-pattern",
        host.hosts
    );
    let is_real = host.firewall == FirewallName::Nft;
    ensure!(
        host.hosts == 1 || !is_real,
        "--firewall nft is for one host, not for {}: they would share its tables",
        host.hosts
    );
    ensure!(
        is_real || host.firewall_netns.is_none(),
        "--firewall-netns is for --firewall nft alone"
    );
    (0..host.hosts).map(|index| plan_one(run, index, seed, bearer)).collect()
}

/// The id that manifests give a hypervisor of this name.
pub(crate) fn id_of_name(name: &str) -> HypervisorId {
    HypervisorId::new(lochness_api::manifest::id_of(Kind::Hypervisor, name))
}

fn plan_one(run: &Run, index: u32, seed: u64, bearer: Option<&str>) -> anyhow::Result<Planned> {
    let HostArguments { id, address_base, port, memory, disk, cpu, self_fence, .. } = &run.host;
    let name = match &run.host.name {
        Some(name) => name.clone(),
        None => name_of(&run.host.name_pattern, index + 1, run.host.hosts)?,
    };
    let id = id.unwrap_or_else(|| id_of_name(&name));
    let address = SocketAddr::new(nth_address(*address_base, index)?, *port);
    let simulated = &run.simulated;
    let config = HostConfig {
        total_resources: Resources { memory: *memory, disk: *disk, cpu: *cpu },
        compat: match simulated.compat {
            CompatName::Lochness => Compat::Lochness,
            CompatName::Mistify => Compat::Mistify,
        },
        state_words: match simulated.state_words {
            StateWordsName::Libvirt => StateWords::Libvirt,
            StateWordsName::Docker => StateWords::Docker,
            StateWordsName::Echo => StateWords::Echo,
        },
        delays: delays(simulated),
        faults: Faults {
            failing_jobs: simulated.failing_jobs,
            lost_answers: simulated.lost_answers,
            failed_job_kills_after_ms: simulated.failed_job_kills,
            ..Faults::default()
        },
        self_fence_seconds: *self_fence,
        bearer: bearer.map(str::to_owned),
        seed: seed.wrapping_add(u64::from(index)),
        ..HostConfig::new(id, name)
    };
    Ok(Planned { config, address })
}

fn delays(arguments: &SimulatedArguments) -> Delays {
    Delays {
        create: Duration::from_millis(arguments.create_delay),
        start: Duration::from_millis(arguments.start_delay),
        shutdown: Duration::from_millis(arguments.shutdown_delay),
        delete: Duration::from_millis(arguments.delete_delay),
        image: Duration::from_millis(arguments.image_delay),
        firewall: Duration::from_millis(arguments.firewall_delay),
        reply: Duration::from_millis(arguments.reply_delay),
        jitter: Duration::from_millis(arguments.jitter),
    }
}

/// `%d` and `%0Nd` in `pattern` become `number`.
fn name_of(pattern: &str, number: u32, hosts: u32) -> anyhow::Result<String> {
    let Some((before, rest)) = pattern.split_once('%') else {
        ensure!(hosts == 1, "--name-pattern {pattern} gives {hosts} hosts the same name");
        return Ok(pattern.to_owned());
    };
    let (format, after) = rest.split_once('d').context("--name-pattern has % without d")?;
    let width = match format {
        "" => 0,
        digits => {
            digits.parse::<usize>().ok().filter(|width| *width <= 9).with_context(|| {
                format!("--name-pattern has %{format}d, which is not %d or %0Nd")
            })?
        }
    };
    Ok(format!("{before}{number:0width$}{after}"))
}

fn nth_address(base: IpAddr, index: u32) -> anyhow::Result<IpAddr> {
    let address = match base {
        IpAddr::V4(base) => {
            base.to_bits().checked_add(index).map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(base) => base
            .to_bits()
            .checked_add(u128::from(index))
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    match address {
        Some(address) => Ok(address),
        None => bail!("there is no address {index} after {base}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;

    fn planned(flags: &[&str]) -> anyhow::Result<Vec<Planned>> {
        let line = ["lochness-agent"].iter().chain(flags);
        plan(&Arguments::parse_from(line).run, 7, None)
    }

    #[test]
    fn each_host_has_its_own_name_id_address_and_seed() {
        let hosts = planned(&["--hosts", "300", "--address-base", "127.10.0.1", "--port", "9"]);
        let hosts = hosts.unwrap();
        assert_eq!(hosts[0].config.name, "host-01");
        assert_eq!(hosts[299].config.name, "host-300");
        assert_eq!(hosts[0].address.to_string(), "127.10.0.1:9");
        assert_eq!(hosts[299].address.to_string(), "127.10.1.44:9");
        assert_eq!(hosts[4].config.id, id_of_name("host-05"));
        assert_ne!(hosts[0].config.seed, hosts[1].config.seed);
    }

    #[test]
    fn what_would_make_two_hosts_alike_is_refused() {
        for flags in [
            &["--hosts", "2", "--name", "a"][..],
            &["--hosts", "2", "--name-pattern", "a"],
            &["--hosts", "2", "--id", "2b28c3a1-5f0e-4b9e-8d5c-0a3f1f0f6c11"],
            &["--hosts", "2", "--name-pattern", "a-%s"],
            &["--hosts", "2", "--address-base", "255.255.255.255"],
            &["--hosts", "2", "--firewall", "nft"],
            &["--firewall-netns", "host-1"],
        ] {
            assert!(planned(flags).is_err(), "{flags:?}");
        }
    }
}
