//! The few sysctls that a director owns: read with everything else, and set by steps of a plan. What was there before is
//! logged.

use std::path::PathBuf;
use std::time::Duration;

use syncer_core::plan::{Need, Sysctl, Sysctls};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// Between two looks at the settings.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A sysctl that can't be set.
#[derive(Debug, thiserror::Error)]
#[error("sysctl {name}: {doing}")]
pub struct SysctlError {
    name: String,
    doing: &'static str,
    source: std::io::Error,
}

/// All that a virtual service may need: to forward, to let go of connections whose real server is gone, and not to tell
/// clients of the same link about a shorter way; with SNAT, that its rules see the packets.
fn all(interface: &str) -> Vec<Sysctl> {
    let sysctl = |name: &str, value, need| Sysctl {
        name: name.into(),
        value,
        need,
    };
    let redirects = format!("net/ipv4/conf/{interface}/send_redirects");
    vec![
        sysctl("net/ipv4/ip_forward", "1", Need::Always),
        sysctl("net/ipv4/vs/expire_nodest_conn", "1", Need::Always),
        sysctl("net/ipv4/vs/expire_quiescent_template", "1", Need::Always),
        sysctl("net/ipv4/conf/all/send_redirects", "0", Need::Always),
        sysctl(&redirects, "0", Need::Always),
        of_snat(),
        of_ipv6(),
    ]
}

/// Without it IPVS marks its packets as untracked, and no SNAT rule ever sees them.
pub(super) fn of_snat() -> Sysctl {
    Sysctl {
        name: "net/ipv4/vs/conntrack".into(),
        value: "1",
        need: Need::Snat,
    }
}

/// The setting that IPv6 VIPs need.
pub fn of_ipv6() -> Sysctl {
    Sysctl {
        name: "net/ipv6/conf/all/forwarding".into(),
        value: "1",
        need: Need::Ipv6,
    }
}

/// All settings, as they were read last.
///
/// The kernel tells nobody that one was set, and with SNAT each packet counts from then on: they are looked at each second.
#[derive(Debug)]
pub struct Settings {
    interface: String,
    deviations: Sysctls,
    look_at: Instant,
}

impl Settings {
    /// The settings of a director with that interface.
    pub fn of(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            deviations: Sysctls::new(),
            look_at: Instant::now(),
        }
    }

    /// Reads the settings that are not as they have to be, with what they are.
    pub fn read(&mut self) -> Sysctls {
        self.deviations = deviations(&self.interface);
        self.deviations.clone()
    }

    /// Waits until one is not as it has to be that was, or was otherwise, when they were read. Cancel-safe.
    pub async fn differ(&mut self) {
        loop {
            sleep_until(self.look_at).await;
            self.look_at = Instant::now() + LOOK_INTERVAL;
            let before = std::mem::replace(&mut self.deviations, deviations(&self.interface));
            let mut now = self.deviations.iter();
            if now.any(|(sysctl, value)| before.get(sysctl) != Some(value)) {
                return;
            }
        }
    }
}

fn deviations(interface: &str) -> Sysctls {
    let deviation = |sysctl: Sysctl| {
        let value = match std::fs::read_to_string(path(&sysctl)) {
            Ok(value) => value.trim().to_owned(),
            Err(error) => format!("not readable ({error})"),
        };
        (value != sysctl.value).then_some((sysctl, value))
    };
    all(interface).into_iter().filter_map(deviation).collect()
}

fn path(sysctl: &Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(&*sysctl.name)
}

/// Connections that a director with SNAT can track at least. Each keeps its entry for two minutes after its end, so a
/// small machine's default (4096 seen) drops new connections from some thirty a second on.
const TRACKED_MINIMUM: u64 = 262_144;

/// Raises the connection tracking table's limit; one that is larger stays. The limit is the whole machine's: inside a
/// namespace it can't be written, and then the machine's owner has to know.
pub(super) fn track_enough() {
    const NAME: &str = "net/netfilter/nf_conntrack_max";
    let path = PathBuf::from("/proc/sys").join(NAME);
    let current = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let Some(limit) = current.filter(|limit| *limit < TRACKED_MINIMUM) else {
        return;
    };
    match std::fs::write(&path, TRACKED_MINIMUM.to_string()) {
        Ok(()) => info!(
            sysctl = NAME,
            from = limit,
            to = TRACKED_MINIMUM,
            "sysctl set"
        ),
        Err(error) => warn!(
            sysctl = NAME,
            limit,
            %error,
            "few connections can be tracked, and new ones are dropped beyond: raise it on the machine"
        ),
    }
}

/// A machine that begins to forward forgets at once the routers that it knows by their advertisements, and hears none any more, except on
/// interfaces that are told to go on: its way out may be one of those.
fn go_on_with_advertised_routers() {
    let settings = std::fs::read_dir("/proc/sys/net/ipv6/conf");
    for folder in settings.into_iter().flatten().flatten() {
        let interface = folder.file_name();
        let path = folder.path().join("accept_ra");
        let is_one = !["all", "default", "lo"]
            .iter()
            .any(|other| interface == *other);
        let hears = is_one && std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1");
        if hears {
            let name = format!("net/ipv6/conf/{}/accept_ra", interface.display());
            match std::fs::write(&path, "2") {
                Ok(()) => info!(sysctl = name, from = "1", to = "2", "sysctl set"),
                Err(error) => warn!(
                    sysctl = name,
                    %error,
                    "not set: routers that this machine knows by their advertisements are forgotten"
                ),
            }
        }
    }
}

/// Sets one that has another value.
pub fn ensure(sysctl: &Sysctl) -> Result<(), SysctlError> {
    let path = path(sysctl);
    let failed = |doing| {
        let name = sysctl.name.to_string();
        move |source| SysctlError {
            name,
            doing,
            source,
        }
    };
    let current = std::fs::read_to_string(&path).map_err(failed("read"))?;
    if current.trim() != sysctl.value {
        if sysctl.need == Need::Ipv6 {
            go_on_with_advertised_routers();
        }
        std::fs::write(&path, sysctl.value).map_err(failed(
            "write (CAP_NET_ADMIN and a writable /proc/sys are needed)",
        ))?;
        let (name, to) = (&sysctl.name, sysctl.value);
        info!(sysctl = %name, from = current.trim(), to, "sysctl set");
    }
    Ok(())
}
