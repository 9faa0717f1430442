//! What the kernel can do, found out by doing it.
//!
//! Devices, NAT and overlayfs are tried in a throw-away namespace ([`features`]); IPVS is asked for over
//! its own netlink family ([`ipvs`]), because a list of modules says nothing of what is built in. Not for IPVS itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Uid;

use super::finding::{Finding, State};
use crate::host::programs;
use crate::host::stream;
use crate::world::kernel::Choice as Kernel;

const AS_ROOT: &str = "as root the same command can tell";
const PROBE: &str = include_str!("probe.sh");

/// Where IPVS will run, given the person's wish.
pub(super) fn ipvs(wish: Option<Kernel>) -> (Option<Kernel>, Finding) {
    choose(wish, ipvs::Client::open().map(drop), std::env::consts::ARCH)
}

fn choose(
    wish: Option<Kernel>,
    host: Result<(), ipvs::Error>,
    arch: &str,
) -> (Option<Kernel>, Finding) {
    const NAME: &str = "ipvs";
    let lack = match &host {
        Ok(()) => "this kernel has it",
        Err(ipvs::Error::FamilyMissing) => "this kernel has no ip_vs",
        Err(_) => "this kernel could not be asked for ip_vs",
    };
    let uml = arch == "x86_64";
    match (wish, host) {
        (Some(Kernel::Host) | None, Ok(())) => (Some(Kernel::Host), Finding::ok(NAME, lack)),
        (Some(Kernel::Host), Err(_)) => {
            let remedy = "load it (modprobe ip_vs), or leave --kernel out";
            (None, Finding::missing(NAME, lack, remedy))
        }
        (Some(Kernel::Uml) | None, _) if uml => (
            Some(Kernel::Uml),
            Finding::ok(NAME, format!("{lack}; a User-mode Linux will run it")),
        ),
        (Some(Kernel::Uml) | None, _) => {
            let remedy = format!(
                "load it (modprobe ip_vs): User-mode Linux runs on amd64 only, this is {arch}"
            );
            (None, Finding::missing(NAME, lack, remedy))
        }
    }
}

/// Everything else that the fabric is made of.
pub(super) fn features(kernel: Option<Kernel>) -> Vec<Finding> {
    const NAME: &str = "kernel";
    let tools = ["unshare", "ip", "iptables"];
    if let Some(tool) = tools
        .into_iter()
        .find(|tool| programs::find(tool).is_none())
    {
        let finding = format!("not looked at: there is no {tool} to try it with yet");
        return vec![Finding::warn(
            NAME,
            finding,
            "`lab doctor` again once the packages are there",
        )];
    }
    let mut command = Command::new("unshare");
    if !Uid::effective().is_root() {
        // A namespace of one's own users: root enough for everything below, where it is allowed at all.
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--net", "--mount", "sh", "-c", PROBE])
        .env("PATH", programs::search_path());
    let root = Uid::effective().is_root();
    match stream::answer(&mut command, Duration::from_secs(20)) {
        Some(report) if root => findings_of(&report, kernel),
        Some(report) => findings_of(&report, kernel)
            .into_iter()
            .map(seen_without_root)
            .collect(),
        None if root => vec![Finding::missing(
            NAME,
            "no network namespace can be made",
            "run on a kernel with CONFIG_NET_NS, and in a container only with --privileged",
        )],
        None => vec![Finding::warn(
            NAME,
            "not looked at: that takes root here",
            AS_ROOT,
        )],
    }
}

/// What a plain user may not do, root often may.
fn seen_without_root(finding: Finding) -> Finding {
    match finding.state {
        State::Missing => Finding::warn(
            finding.name,
            format!("{} (tried without root)", finding.finding),
            AS_ROOT,
        ),
        State::Ok | State::Warn => finding,
    }
}

fn findings_of(report: &str, kernel: Option<Kernel>) -> Vec<Finding> {
    let lines = || report.lines().filter_map(|line| line.split_once(' '));
    let is_ok = |name: &str| lines().any(|(other, result)| other == name && result == "ok");
    let why = |name: &str| {
        let line = lines()
            .find(|(other, _)| *other == name)
            .map(|(_, result)| result);
        line.map_or("no answer", |result| result.trim_start_matches("no "))
            .to_owned()
    };
    let needed = [
        ("namespaces", "network namespaces", "CONFIG_NET_NS"),
        ("veth", "veth pairs", "CONFIG_VETH (modprobe veth)"),
        ("bridge", "bridges", "CONFIG_BRIDGE (modprobe bridge)"),
        (
            "tap",
            "tap devices",
            "CONFIG_TUN (modprobe tun) and /dev/net/tun",
        ),
        (
            "overlayfs",
            "overlayfs",
            "CONFIG_OVERLAY_FS (modprobe overlay)",
        ),
    ];
    let mut findings = Vec::new();
    let mut fine = Vec::new();
    for (name, title, option) in needed {
        // Only a guest hangs on a tap; overlayfs has a slower stand-in.
        let state = match name {
            "tap" if kernel == Some(Kernel::Host) => Finding::warn,
            "overlayfs" => Finding::warn,
            _ => Finding::missing,
        };
        if is_ok(name) {
            fine.push(title.to_owned());
        } else {
            findings.push(state(
                "kernel",
                format!("no {title}: {}", why(name)),
                format!("needs {option}"),
            ));
        }
    }
    match (is_ok("nat"), is_ok("nat-legacy")) {
        (true, _) => fine.push("NAT (iptables)".to_owned()),
        (false, true) => fine.push("NAT (iptables-legacy)".to_owned()),
        (false, false) => findings.push(Finding::missing(
            "kernel",
            format!("no NAT: {}", why("nat")),
            "needs nf_tables with nat, or CONFIG_IP_NF_NAT (modprobe nft_chain_nat, modprobe iptable_nat)",
        )),
    }
    if !fine.is_empty() {
        findings.insert(
            0,
            Finding::ok("kernel", format!("{}: {}", release(), fine.join(", "))),
        );
    }
    findings
}

fn release() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent() -> Result<(), ipvs::Error> {
        Err(ipvs::Error::FamilyMissing)
    }

    #[test]
    fn the_machines_own_kernel_is_taken_where_it_has_ipvs() {
        assert_eq!(choose(None, Ok(()), "x86_64").0, Some(Kernel::Host));
        assert_eq!(choose(None, Ok(()), "aarch64").0, Some(Kernel::Host));
        assert_eq!(
            choose(Some(Kernel::Uml), Ok(()), "x86_64").0,
            Some(Kernel::Uml)
        );
    }

    #[test]
    fn elsewhere_a_guest_is_taken_where_one_can_run() {
        assert_eq!(choose(None, absent(), "x86_64").0, Some(Kernel::Uml));
        let (kernel, finding) = choose(None, absent(), "aarch64");
        assert_eq!((kernel, finding.state), (None, State::Missing));
        let (kernel, finding) = choose(Some(Kernel::Host), absent(), "x86_64");
        assert_eq!((kernel, finding.state), (None, State::Missing));
    }

    #[test]
    fn what_works_is_one_line_and_each_lack_is_one_with_its_reason() {
        let report = "namespaces ok\nveth ok\nbridge no Error: Unknown device type.\ntap ok\nnat no x\nnat-legacy ok\noverlayfs ok\n";
        let findings = findings_of(report, Some(Kernel::Uml));
        assert_eq!(findings.len(), 2);
        assert!(findings[0].finding.ends_with(
            "network namespaces, veth pairs, tap devices, overlayfs, NAT (iptables-legacy)"
        ));
        assert_eq!(findings[1].state, State::Missing);
        assert_eq!(
            findings[1].finding,
            "no bridges: Error: Unknown device type."
        );
    }

    #[test]
    fn a_probe_that_broke_off_is_no_good_news() {
        let findings = findings_of("namespaces ok\n", Some(Kernel::Uml));
        assert!(
            findings
                .iter()
                .any(|it| it.finding == "no veth pairs: no answer" && it.state == State::Missing)
        );
        assert!(findings.iter().any(|it| it.finding == "no NAT: no answer"));
    }
}
