//! Whether rules can be made with nftables on this machine: by the program, and by the kernel.

use std::process::Command;
use std::time::Duration;

use crate::host::stream;

/// For a table that comes and goes in a namespace of its own.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

pub fn works() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--net", "nft", "add", "table", "inet", "nomad_ipvs_lab"]);
    stream::answer(&mut command, PROBE_TIMEOUT).is_some()
}
