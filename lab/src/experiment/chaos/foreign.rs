//! Somebody else's rules in the director: put there once, and looked for after every episode.
//!
//! A virtual service outside the syncer's ranges and a packet rule of no effect. The director's kernel forgets both when
//! it ends; whoever ended it puts them back.

use anyhow::{Result, ensure};

use crate::world::context::Lab;

/// From the second half of the benchmarking range, which no profile uses.
const SERVICE: &str = "198.19.255.77:80";
const REAL: &str = "198.19.255.78:80";

/// In a chain that packets pass, on an address that none has.
const RULE: &str = "PREROUTING -d 198.19.255.77/32 -m comment --comment foreign -j ACCEPT";

/// Whether the kernel's name of a virtual service is the foreign one.
pub(super) fn is_foreign(vip: &str) -> bool {
    vip.ends_with(SERVICE)
}

/// Puts in place what is missing.
pub(super) fn put(lab: &Lab) -> Result<()> {
    let script = format!(
        "(ipvsadm -Sn | grep -q '{SERVICE}' || (ipvsadm -A -t {SERVICE} -s rr && ipvsadm -a -t {SERVICE} -r {REAL} -m)) && \
         (iptables-legacy -t mangle -C {RULE} 2>/dev/null || iptables-legacy -t mangle -A {RULE})"
    );
    let output = lab.kernel.capture(&["sh", "-c", &script])?;
    ensure!(output.code == 0, "foreign rules: {}", output.stderr.trim());
    Ok(())
}

/// What of it is no longer there, in words.
pub(super) fn missing(lab: &Lab) -> Result<Vec<String>> {
    let table = lab.kernel.capture(&["ipvsadm", "-Sn"])?;
    ensure!(table.code == 0, "ipvsadm: {}", table.stderr.trim());
    let mut missing = Vec::new();
    for wanted in [
        format!("-A -t {SERVICE} -s rr"),
        format!("-a -t {SERVICE} -r {REAL} -m -w 1"),
    ] {
        if !table.stdout.contains(&wanted) {
            missing.push(format!("ipvsadm {wanted}"));
        }
    }
    let check = format!("iptables-legacy -t mangle -C {RULE}");
    if lab.kernel.capture(&["sh", "-c", &check])?.code != 0 {
        missing.push(format!("iptables -t mangle -A {RULE}"));
    }
    Ok(missing)
}
