//! SNAT by iptables: a chain of our own in `nat`, one `-m ipvs` rule for each virtual service.
//!
//! The chain is replaced as a whole by `iptables-restore --noflush`; `POSTROUTING` gets one jump, once. IPv6 services
//! have the same in `ip6tables`, which is left alone as long as there is none.

use std::path::Path;

use ipvs::{Family, Protocol, ServiceId};

use super::{Later, Snat};
use crate::director::command::{CommandError, run};
use crate::plan::SnatSet;

const CHAIN: &str = "NOMAD-IPVS-SNAT";

/// Which of the two iptables there is. The legacy one is asked for by name: where nf_tables is missing, the other one
/// installs and then fails.
#[derive(Debug, Clone, Copy)]
pub struct Iptables {
    suffix: &'static str,
}

impl Iptables {
    /// The legacy programs where the kernel has them in use or nothing else would work, else the default ones.
    pub fn new() -> Self {
        let legacy = ["/usr/sbin/iptables-legacy", "/sbin/iptables-legacy"]
            .iter()
            .any(|path| Path::new(path).exists());
        Self {
            suffix: if legacy { "-legacy" } else { "" },
        }
    }

    fn program(self, family: Family) -> String {
        let name = if family == Family::V4 {
            "iptables"
        } else {
            "ip6tables"
        };
        format!("{name}{}", self.suffix)
    }

    async fn set_family(self, family: Family, services: &SnatSet) -> Result<(), CommandError> {
        let program = self.program(family);
        let rules: Vec<String> = services
            .iter()
            .filter(|id| id.family() == family)
            .filter_map(rule)
            .collect();
        if family == Family::V6
            && rules.is_empty()
            && run(&program, &["-w", "-t", "nat", "-S", CHAIN], None)
                .await
                .is_err()
        {
            return Ok(());
        }
        let restore = format!("*nat\n:{CHAIN} - [0:0]\n{}COMMIT\n", rules.concat());
        run(
            &format!("{program}-restore"),
            &["-w", "--noflush"],
            Some(&restore),
        )
        .await?;
        let jump = [
            "-w",
            "-t",
            "nat",
            "-C",
            "POSTROUTING",
            "-m",
            "ipvs",
            "--ipvs",
            "-j",
            CHAIN,
        ];
        if run(&program, &jump, None).await.is_err() {
            let add = jump.map(|word| if word == "-C" { "-A" } else { word });
            run(&program, &add, None).await?;
        }
        Ok(())
    }

    async fn read_family(self, family: Family) -> Result<Option<SnatSet>, CommandError> {
        let program = self.program(family);
        let chain = run(&program, &["-w", "-t", "nat", "-S", CHAIN], None).await;
        let jumps = run(&program, &["-w", "-t", "nat", "-S", "POSTROUTING"], None).await;
        let (Ok(chain), Ok(jumps)) = (chain, jumps) else {
            // Without a single IPv6 service there is no chain, and none is needed.
            return Ok((family == Family::V6).then(SnatSet::new));
        };
        let jump = format!("-A POSTROUTING -m ipvs --ipvs -j {CHAIN}");
        Ok(jumps
            .lines()
            .any(|line| line == jump)
            .then(|| chain.lines().filter_map(parse).collect()))
    }
}

impl Default for Iptables {
    fn default() -> Self {
        Self::new()
    }
}

impl Snat for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn probe(&self) -> Later<'_, ()> {
        Box::pin(async {
            let program = self.program(Family::V4);
            let probe = "NOMAD-IPVS-PROBE";
            let rules = format!(
                "*nat\n:{probe} - [0:0]\n-A {probe} -p tcp -m ipvs --ipvs --vdir ORIGINAL -j MASQUERADE\nCOMMIT\n"
            );
            let tried = run(
                &format!("{program}-restore"),
                &["-w", "--noflush"],
                Some(&rules),
            )
            .await;
            let _ = run(&program, &["-w", "-t", "nat", "-F", probe], None).await;
            let _ = run(&program, &["-w", "-t", "nat", "-X", probe], None).await;
            tried.map(drop)
        })
    }

    fn read(&self) -> Later<'_, Option<SnatSet>> {
        Box::pin(async {
            let four = self.read_family(Family::V4).await?;
            let six = self.read_family(Family::V6).await?;
            Ok(four
                .zip(six)
                .map(|(four, six)| four.union(&six).copied().collect()))
        })
    }

    fn set<'a>(&'a self, services: &'a SnatSet) -> Later<'a, ()> {
        Box::pin(async {
            self.set_family(Family::V4, services).await?;
            self.set_family(Family::V6, services).await
        })
    }
}

/// One rule, a line for `iptables-restore`; nothing for a firewall mark, which has no address to match.
fn rule(id: &ServiceId) -> Option<String> {
    let ServiceId::Address { protocol, address } = id else {
        return None;
    };
    let (vip, prefix) = (address.ip(), id.family().host_prefix());
    Some(format!(
        "-A {CHAIN} -p {protocol} -m ipvs --vproto {} --vaddr {vip}/{prefix} --vport {} --vdir ORIGINAL --vmethod MASQ -j MASQUERADE\n",
        protocol.number(),
        address.port(),
    ))
}

/// A line of `iptables -S`, if it is a rule of ours.
fn parse(line: &str) -> Option<ServiceId> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    if after("-j") != Some("MASQUERADE") || after("--vmethod") != Some("MASQ") {
        return None;
    }
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|known| after("-p") == Some(known.as_str()))?;
    let vip = after("--vaddr")?.split('/').next()?.parse().ok()?;
    let port = after("--vport")?.parse().ok()?;
    Some(ServiceId::Address {
        protocol,
        address: std::net::SocketAddr::new(vip, port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_its_service() {
        for text in ["tcp://198.18.0.29:80", "udp://[2001:db8::5]:53"] {
            let id: ServiceId = text.parse().unwrap();
            assert_eq!(parse(&rule(&id).unwrap()), Some(id));
        }
        // iptables-legacy -t nat -S NOMAD-IPVS-SNAT
        let listed = "-A NOMAD-IPVS-SNAT -p tcp -m ipvs --vproto 6 --vaddr 198.18.0.29/32 --vport 80 --vdir ORIGINAL --vmethod MASQ -j MASQUERADE";
        assert_eq!(parse(listed), Some("198.18.0.29:80".parse().unwrap()));
        assert_eq!(parse("-N NOMAD-IPVS-SNAT"), None);
        assert_eq!(parse("-A NOMAD-IPVS-SNAT -j ACCEPT"), None);
    }
}
