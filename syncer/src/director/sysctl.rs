//! The few sysctls that a director owns. What was there before is logged once; drift is put right and told.

use std::path::PathBuf;

use tracing::{info, warn};

/// A sysctl that can't be set.
#[derive(Debug, thiserror::Error)]
#[error("sysctl {name}: {doing}")]
pub struct SysctlError {
    name: String,
    doing: &'static str,
    source: std::io::Error,
}

/// What every director needs: to forward, to let go of connections whose real server is gone, and not to tell clients
/// of the same link about a shorter way.
pub(super) fn of_every_director(interface: &str) -> Vec<(String, &'static str)> {
    vec![
        ("net/ipv4/ip_forward".to_owned(), "1"),
        ("net/ipv4/vs/expire_nodest_conn".to_owned(), "1"),
        ("net/ipv4/vs/expire_quiescent_template".to_owned(), "1"),
        ("net/ipv4/conf/all/send_redirects".to_owned(), "0"),
        (format!("net/ipv4/conf/{interface}/send_redirects"), "0"),
    ]
}

/// Without it IPVS marks its packets as untracked, and no SNAT rule ever sees them.
pub(super) fn of_snat() -> (String, &'static str) {
    ("net/ipv4/vs/conntrack".to_owned(), "1")
}

/// For IPv6 VIPs.
pub(super) fn of_ipv6() -> (String, &'static str) {
    ("net/ipv6/conf/all/forwarding".to_owned(), "1")
}

/// Connections that a director with SNAT can track at least. Each keeps its entry for two minutes after its end, so a
/// small machine's default (4096 seen) drops new connections from some thirty a second on.
const TRACKED: u64 = 262_144;

/// Raises the connection tracking table's limit; one that is larger stays. The limit is the whole machine's: inside a
/// namespace it can't be written, and then the machine's owner has to know.
pub(super) fn track_enough() {
    const NAME: &str = "net/netfilter/nf_conntrack_max";
    let path = PathBuf::from("/proc/sys").join(NAME);
    let there = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let Some(limit) = there.filter(|limit| *limit < TRACKED) else {
        return;
    };
    match std::fs::write(&path, TRACKED.to_string()) {
        Ok(()) => info!(sysctl = NAME, from = limit, to = TRACKED, "sysctl set"),
        Err(error) => warn!(
            sysctl = NAME,
            limit,
            %error,
            "few connections can be tracked, and new ones are dropped beyond: raise it on the machine"
        ),
    }
}

/// Sets one that has another value.
pub(super) fn ensure((name, value): &(String, &'static str)) -> Result<(), SysctlError> {
    let path = PathBuf::from("/proc/sys").join(name);
    let failed = |doing| {
        let name = name.clone();
        move |source| SysctlError {
            name,
            doing,
            source,
        }
    };
    let there = std::fs::read_to_string(&path).map_err(failed("read"))?;
    if there.trim() != *value {
        std::fs::write(&path, value).map_err(failed(
            "write (CAP_NET_ADMIN and a writable /proc/sys are needed)",
        ))?;
        info!(sysctl = name, from = there.trim(), to = value, "sysctl set");
    }
    Ok(())
}
