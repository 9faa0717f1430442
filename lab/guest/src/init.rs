//! First process of the guest: mounts, address, then a server for commands; reaps orphans until the server ends.
//!
//! Its settings arrive in one environment variable, since the kernel hands unknown `key=value` words of its
//! command line to init. It powers the guest off when the server's console is closed: no keeper, no guest.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, wait};
use serde::{Deserialize, Serialize};

use lab_host::{address, command};

/// Name of the variable that holds [`Settings`] as JSON.
pub const VARIABLE: &str = "NOMAD_IPVS_GUEST";

/// Where module loaders look.
const MODULES: &str = "/lib/modules";

/// What the keeper tells the guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// `198.18.0.28/24` and such; a guest without a network has none.
    pub addresses: Vec<String>,
    /// The guest's own folder on the machine, the only one it can write to.
    pub folder: String,
}

/// Never returns to the kernel in good health: the guest is off before that. `complain` gets what went wrong.
pub fn run(settings: &str, complain: impl FnOnce(&anyhow::Error)) {
    if let Err(error) = live(settings) {
        complain(&error);
    }
    power_off();
}

fn live(settings: &str) -> Result<()> {
    let settings: Settings =
        serde_json::from_str(settings).with_context(|| format!("read {VARIABLE}"))?;
    mounts(&settings.folder)?;
    if !settings.addresses.is_empty() {
        network(&settings.addresses)?;
    }
    let program = std::env::current_exe().context("find the own program")?;
    let server = Command::new(program)
        .args(["internal", "guest-server"])
        .spawn()
        .context("start the server")?;
    let server = i32::try_from(server.id()).context("a pid beyond pid_t")?;
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _))
                if pid.as_raw() == server =>
            {
                return Ok(());
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for children"),
        }
    }
}

fn mounts(folder: &str) -> Result<()> {
    let plain = |kind: &'static str, target: &str| {
        mount(
            Some(kind),
            target,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mount {kind} on {target}"))
    };
    // The folder first: a tmpfs on /run or /tmp may hide where it is.
    mount(
        Some("none"),
        folder,
        Some("hostfs"),
        MsFlags::empty(),
        Some(folder),
    )
    .with_context(|| format!("mount {folder} writable"))?;
    plain("proc", "/proc")?;
    plain("sysfs", "/sys")?;
    plain("tmpfs", "/run")?;
    modules()
}

/// Debian keeps the guest kernel's modules aside, where no module loader looks.
fn modules() -> Result<()> {
    if !Path::new(MODULES).is_dir() {
        // Machines without modules of their own have no such folder, and the root can't be written: a layer can.
        let layer = "/run/nomad-ipvs-modules";
        for folder in ["upper", "work"] {
            std::fs::create_dir_all(Path::new(layer).join(folder))
                .with_context(|| format!("make {layer}"))?;
        }
        // By its path, for the loader can't find it yet; one that is built in needs no loading.
        let release = nix::sys::utsname::uname().context("ask for the kernel's release")?;
        let release = release.release().to_string_lossy().into_owned();
        let _ = command::run(
            "insmod",
            &[&format!(
                "/usr/lib/uml/modules/{release}/kernel/fs/overlayfs/overlay.ko"
            )],
        );
        let options = format!("lowerdir=/usr/lib,upperdir={layer}/upper,workdir={layer}/work");
        mount(
            Some("overlay"),
            "/usr/lib",
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("lay a writable layer over /usr/lib")?;
        std::fs::create_dir(MODULES).with_context(|| format!("make {MODULES}"))?;
    }
    mount(
        Some("/usr/lib/uml/modules"),
        MODULES,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .context("put the guest kernel's modules in place (package user-mode-linux)")
}

fn network(addresses: &[String]) -> Result<()> {
    // IPv6 is a module of its own in Debian's; a kernel without it has the other family.
    let _ = command::run("modprobe", &["ipv6"]);
    command::run("ip", &["link", "set", "lo", "up"])?;
    command::run("ip", &["link", "set", "vec0", "name", "eth0"])?;
    // Without these the guest drops every segmented frame, and each answer of more than one segment waits 200 ms.
    command::run("ethtool", &["-K", "eth0", "gro", "on", "tso", "on"])?;
    for address in addresses {
        address::add("eth0", address)?;
    }
    command::run("ip", &["link", "set", "eth0", "up"]).map(drop)
}

fn power_off() {
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
}
