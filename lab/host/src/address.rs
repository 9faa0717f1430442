//! Addresses of a network device in the calling thread's namespace.

use anyhow::Result;

use crate::command;

/// Gives the device an address, `198.18.0.11/24`. One of IPv6 is there at once, for nobody else is looked for who has it, and is left
/// out where the kernel has no IPv6, or somebody has switched it off.
pub fn add(device: &str, address: &str) -> Result<()> {
    let mut words = vec!["address", "add", address, "dev", device];
    if address.contains(':') {
        if !may_have_six(device) {
            return Ok(());
        }
        words.push("nodad");
    }
    command::run("ip", &words).map(drop)
}

/// Switches IPv6 on for the device, where the kernel has it.
pub fn let_have_six(device: &str) {
    let _ = std::fs::write(switch(device), "0");
}

fn may_have_six(device: &str) -> bool {
    std::fs::read_to_string(switch(device)).is_ok_and(|off| off.trim() == "0")
}

fn switch(device: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6")
}
