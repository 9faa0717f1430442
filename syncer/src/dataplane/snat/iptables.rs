//! SNAT by iptables: a chain of our own in `nat`, one `-m ipvs` rule for each virtual service.
//!
//! The chain is replaced as a whole by `iptables-restore --noflush`; `POSTROUTING` gets one jump, once. IPv6 services
//! have the same in `ip6tables`, which is left alone as long as there is none.

use std::sync::atomic::{AtomicBool, Ordering};

use ipvs::{Family, Protocol, ServiceId};
use syncer_core::plan::SnatSet;

use super::{Later, Snat};
use crate::command::{CommandError, run};

const CHAIN: &str = "NOMAD-IPVS-SNAT";

/// How many jumps to it are removed at most; ours is one.
const JUMPS_LIMIT: usize = 16;

/// Tables that somebody uses the legacy programs for.
const LEGACY_TABLES: [(Family, &str); 2] = [
    (Family::V4, "/proc/thread-self/net/ip_tables_names"),
    (Family::V6, "/proc/thread-self/net/ip6_tables_names"),
];

/// One of the two iptables that there are: the machine's default, which may speak to nf_tables, and the legacy one.
#[derive(Debug)]
pub struct Iptables {
    suffix: &'static str,
    /// The jump was seen or added; a reading that misses it takes that back.
    jump_four: AtomicBool,
    jump_six: AtomicBool,
    /// There were rules for an IPv6 service once.
    six: AtomicBool,
}

impl Iptables {
    /// Both, the one first whose rules the kernel has in use already: rules of both in one kernel are a riddle to whoever
    /// looks for them. Whether one works is found out by its probe, not by a file that exists.
    pub fn kinds() -> [Self; 2] {
        let (first, second) = if LEGACY_TABLES
            .iter()
            .any(|(family, _)| has_legacy_nat(*family))
        {
            ("-legacy", "")
        } else {
            ("", "-legacy")
        };
        [first, second].map(Self::with_suffix)
    }

    fn with_suffix(suffix: &'static str) -> Self {
        let [jump_four, jump_six, six] = std::array::from_fn(|_| AtomicBool::new(false));
        Self {
            suffix,
            jump_four,
            jump_six,
            six,
        }
    }

    fn program(&self, family: Family) -> String {
        let name = if family == Family::V4 {
            "iptables"
        } else {
            "ip6tables"
        };
        format!("{name}{}", self.suffix)
    }

    async fn set_family(&self, family: Family, services: &SnatSet) -> Result<(), CommandError> {
        let program = self.program(family);
        let rules: Vec<String> = services
            .iter()
            .filter(|id| id.family() == family)
            .filter_map(rule)
            .collect();
        if family == Family::V6 && rules.is_empty() && !self.six.load(Ordering::Relaxed) {
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
        let jumps = self.jump_of(family);
        if !jumps.load(Ordering::Relaxed) {
            if run(&program, &jump, None).await.is_err() {
                let add = jump.map(|word| if word == "-C" { "-A" } else { word });
                run(&program, &add, None).await?;
            }
            jumps.store(true, Ordering::Relaxed);
        }
        // Not before: on a machine that can't do it, what is said of IPv4 would never be read.
        if family == Family::V6 {
            self.six.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn read_family(&self, family: Family) -> Result<Option<SnatSet>, CommandError> {
        if family == Family::V6 && !self.six.load(Ordering::Relaxed) {
            return Ok(Some(SnatSet::new()));
        }
        let program = self.program(family);
        let listed = run(&program, &["-w", "-t", "nat", "-S"], None).await?;
        let jump = format!("-A POSTROUTING -m ipvs --ipvs -j {CHAIN}");
        if !listed.lines().any(|line| line == jump) {
            self.jump_of(family).store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let ours = format!("-A {CHAIN} ");
        let rules = listed.lines().filter(|line| line.starts_with(&ours));
        // A rule in our chain that is not ours may let packets pass as they are.
        Ok(rules.map(parse).collect())
    }

    /// Jump and chain. A program that fails has found none.
    async fn remove_family(&self, family: Family) {
        let program = self.program(family);
        let jump = "-D POSTROUTING -m ipvs --ipvs -j";
        for _ in 0..JUMPS_LIMIT {
            if !nat(&program, jump).await {
                break;
            }
        }
        nat(&program, "-F").await;
        nat(&program, "-X").await;
        self.jump_of(family).store(false, Ordering::Relaxed);
    }

    /// Whether there is a chain of ours. A legacy program that is asked about a kernel without such tables makes them.
    async fn has_chain(&self, family: Family) -> bool {
        let program = self.program(family);
        if is_legacy(&program).await == Some(true) {
            // It is the other of the two under its general name; what it has is that one's.
            let doubled =
                self.suffix.is_empty() && is_legacy(&format!("{program}-legacy")).await.is_some();
            if doubled || !has_legacy_nat(family) {
                return false;
            }
        }
        let list = ["-w", "-t", "nat", "-S", CHAIN];
        run(&program, &list, None).await.is_ok()
    }

    fn jump_of(&self, family: Family) -> &AtomicBool {
        match family {
            Family::V4 => &self.jump_four,
            Family::V6 => &self.jump_six,
        }
    }
}

impl Snat for Iptables {
    fn name(&self) -> &'static str {
        if self.suffix.is_empty() {
            "iptables"
        } else {
            "iptables-legacy"
        }
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

    fn is_in_use(&self) -> Later<'_, bool> {
        Box::pin(async {
            let four = self.has_chain(Family::V4).await;
            let six = self.has_chain(Family::V6).await;
            self.six.fetch_or(six, Ordering::Relaxed);
            Ok(four || six)
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

    fn remove(&self) -> Later<'_, ()> {
        Box::pin(async {
            self.remove_family(Family::V4).await;
            if self.six.load(Ordering::Relaxed) {
                self.remove_family(Family::V6).await;
            }
            if self.is_in_use().await? {
                let command = format!("{} -t nat -X {CHAIN}", self.program(Family::V4));
                let complaint = "the chain is still there".to_owned();
                return Err(CommandError::Failed { command, complaint });
            }
            Ok(())
        })
    }
}

/// Does something to our chain, or with it; says whether it could.
async fn nat(program: &str, words: &str) -> bool {
    let words = ["-w", "-t", "nat"].into_iter().chain(words.split(' '));
    let words: Vec<&str> = words.chain([CHAIN]).collect();
    run(program, &words, None).await.is_ok()
}

/// `None`: there is no such program.
async fn is_legacy(program: &str) -> Option<bool> {
    let version = run(program, &["-V"], None).await.ok()?;
    Some(!version.contains("nf_tables"))
}

fn has_legacy_nat(family: Family) -> bool {
    let file = LEGACY_TABLES.iter().find(|(of, _)| *of == family);
    let tables = file.and_then(|(_, file)| std::fs::read_to_string(file).ok());
    tables.is_some_and(|tables| tables.lines().any(|table| table == "nat"))
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
