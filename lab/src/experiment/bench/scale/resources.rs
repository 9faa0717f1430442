//! What the director's syncer uses, as the director's kernel counts it, and what it holds of Consul.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::netns;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// Processor time so far.
pub(super) fn processor(lab: &Lab, pid: i32) -> Result<Duration> {
    let stat = read(lab, &format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).context("the syncer's processor time")?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}

/// User and system time, in hundredths of a second (proc(5), fields 14 and 15).
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

/// Proportional share of memory, in KiB.
pub(super) fn memory(lab: &Lab, pid: i32) -> Result<u64> {
    let rollup = read(lab, &format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kib.context("the syncer's share of memory")
}

/// Lines of the director's log so far.
pub(super) fn log_lines(lab: &Lab) -> Result<usize> {
    let log = lab.paths.state.join("director/syncer.log");
    let text = std::fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    Ok(text.split(|byte| *byte == b'\n').count())
}

/// Connections of the director's to Consul.
pub(super) fn connections(lab: &Lab) -> Result<usize> {
    let consul = SocketAddrV4::new(lab.topology.node_address(Node::Node1), 8500);
    let director = lab.topology.node_address(Node::Director);
    let table = netns::within(&lab.topology.netns(Node::Node1.name()), || {
        ["tcp", "tcp6"].map(|table| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default()
        })
    })?;
    let found = table.iter().flat_map(|table| table.lines());
    Ok(found
        .filter(|line| is_established(line, consul, director.octets()))
        .count())
}

/// Whether a line of /proc/net/tcp is an established connection of these two.
fn is_established(line: &str, local: SocketAddrV4, remote: [u8; 4]) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, at, from, "01", ..] = fields[..] else {
        return false;
    };
    // Addresses are in the machine's own order; in IPv6's table the last eight digits are the IPv4 one's.
    let ends = |field: &str, address: [u8; 4]| {
        let hex = format!("{:08X}", u32::from_ne_bytes(address));
        field
            .split(':')
            .next()
            .is_some_and(|part| part.ends_with(&hex))
    };
    let port = format!(":{:04X}", local.port());
    at.ends_with(&port) && ends(at, local.ip().octets()) && ends(from, remote)
}

/// The syncer's passes so far.
pub(super) struct Passes {
    pub(super) total: Duration,
    pub(super) longest: Duration,
}

/// How long they took, by the syncer's own clock.
pub(super) fn passes(lab: &Lab) -> Result<Passes> {
    let metrics = lab.syncer(Node::Director).metrics()?;
    Ok(Passes {
        total: metrics.seconds("passes_seconds_total")?,
        longest: metrics.seconds("pass_longest_seconds")?,
    })
}

fn read(lab: &Lab, file: &str) -> Result<String> {
    let output = lab.kernel.capture(&["cat", file])?;
    ensure!(output.code == 0, "{}", output.stderr.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_programs_name() {
        let stat = "77 (a) S 1) S 1 77 77 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 5 0 99";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("77 (a) S 1"), None);
    }

    #[test]
    fn only_established_connections_between_the_two_count() {
        let consul = "198.18.0.11:8500".parse().unwrap();
        let of = |line: &str| is_established(line, consul, [198, 18, 0, 28]);
        assert!(of("  0: 0B0012C6:2134 1C0012C6:9C40 01 00000000:00000000"));
        assert!(of(
            "  0: 0000000000000000FFFF00000B0012C6:2134 0000000000000000FFFF00001C0012C6:9C40 01 x"
        ));
        assert!(!of("  0: 0B0012C6:2134 1C0012C6:9C40 06 00000000:00000000"));
        assert!(!of("  0: 0B0012C6:2134 010012C6:9C40 01 00000000:00000000"));
        assert!(!of("  0: 0B0012C6:2135 1C0012C6:9C40 01 00000000:00000000"));
        assert!(!of("sl local_address rem_address st"));
    }
}
