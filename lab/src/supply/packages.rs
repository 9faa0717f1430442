//! Programs of the distribution that the lab needs, and how the missing ones come onto the machine.
//!
//! What is found on PATH is used, whoever put it there. What is missing is installed with apt, removing
//! nothing, starting nothing and leaving nothing enabled ([`install`]); elsewhere than on Debian's family it
//! is only named. Not for Nomad, Consul or Go: those are [`crate::supply::agents`].

use std::path::Path;
use std::time::Duration;

use crate::host::programs;
use crate::host::stream;

mod busybox;
mod install;
mod units;

pub use busybox::static_busybox;
pub use install::install;

/// Something the lab can't do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub thing: Thing,
    /// The Debian package that has it.
    pub package: &'static str,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    Program(&'static str),
    /// A file or folder that no PATH leads to.
    Path(&'static str),
}

impl Thing {
    fn is_there(self) -> bool {
        match self {
            Self::Program(name) => programs::find(name).is_some(),
            Self::Path(path) => Path::new(path).exists(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    /// The kernel with IPVS is a User-mode Linux.
    Uml,
    /// Nomad is to be compiled here.
    Build,
    /// Only tests use it.
    Tests,
}

/// What this run of the lab is going to do, as far as programs are concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plans {
    pub boots_uml: bool,
    pub builds_agents: bool,
    pub runs_tests: bool,
}

const fn program(name: &'static str, package: &'static str, need: Need) -> Wanted {
    Wanted {
        thing: Thing::Program(name),
        package,
        need,
    }
}

const fn path(path: &'static str, package: &'static str, need: Need) -> Wanted {
    Wanted {
        thing: Thing::Path(path),
        package,
        need,
    }
}

const WANTED: [Wanted; 25] = [
    program("ip", "iproute2", Need::Always),
    program("bridge", "iproute2", Need::Always),
    program("nsenter", "util-linux", Need::Always),
    program("unshare", "util-linux", Need::Always),
    program("setpriv", "util-linux", Need::Always),
    program("dockerd", "docker.io", Need::Always),
    program("docker-proxy", "docker.io", Need::Always),
    program("containerd", "containerd", Need::Always),
    program("runc", "runc", Need::Always),
    program("docker", DOCKER_CLI, Need::Always),
    program("iptables", "iptables", Need::Always),
    program("nft", "nftables", Need::Always),
    program("ipvsadm", "ipvsadm", Need::Always),
    program("conntrack", "conntrack", Need::Always),
    program("ethtool", "ethtool", Need::Always),
    program("slirp4netns", "slirp4netns", Need::Always),
    program("curl", "curl", Need::Always),
    program("linux.uml", "user-mode-linux", Need::Uml),
    path("/usr/lib/uml/modules", "user-mode-linux", Need::Uml),
    program("modprobe", "kmod", Need::Uml),
    program("insmod", "kmod", Need::Uml),
    program("iptables-legacy", "iptables", Need::Uml),
    program("gcc", "gcc", Need::Build),
    path("/usr/include/stdlib.h", "libc6-dev", Need::Build),
    program("docker-registry", "docker-registry", Need::Tests),
];

/// Part of docker.io up to Debian 12, a package of its own since.
const DOCKER_CLI: &str = "docker-cli";

/// What is wanted and not there, in the order of the table.
pub fn missing(plans: Plans) -> Vec<Wanted> {
    wanted(plans)
        .filter(|wanted| !wanted.thing.is_there())
        .collect()
}

fn wanted(plans: Plans) -> impl Iterator<Item = Wanted> {
    WANTED.into_iter().filter(move |wanted| match wanted.need {
        Need::Always => true,
        Need::Uml => plans.boots_uml,
        Need::Build => plans.builds_agents,
        Need::Tests => plans.runs_tests,
    })
}

/// How packages are had here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu and their kin.
    Apt,
    Other,
}

pub fn distribution() -> Distribution {
    if programs::find("apt-get").is_some() && programs::find("dpkg-query").is_some() {
        Distribution::Apt
    } else {
        Distribution::Other
    }
}

/// The packages that have what is missing, each once.
pub fn packages_of(missing: &[Wanted]) -> Vec<&'static str> {
    let cli = missing.iter().any(|wanted| wanted.package == DOCKER_CLI);
    distinct(
        missing,
        if cli && !is_known(DOCKER_CLI) {
            "docker.io"
        } else {
            DOCKER_CLI
        },
    )
}

fn distinct(missing: &[Wanted], cli: &'static str) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for wanted in missing {
        let package = if wanted.package == DOCKER_CLI {
            cli
        } else {
            wanted.package
        };
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

/// Whether apt could install a package of that name.
fn is_known(package: &str) -> bool {
    let mut show = std::process::Command::new("apt-cache");
    stream::answer(
        show.args(["show", "--no-all-versions", package]),
        Duration::from_secs(20),
    )
    .is_some_and(|text| text.contains("Package: "))
}

/// What the person can type instead of letting the lab do it.
pub fn command_line(packages: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// The missing things by name: `dockerd, runc`.
pub fn names(missing: &[Wanted]) -> String {
    let names: Vec<&str> = missing
        .iter()
        .map(|wanted| match wanted.thing {
            Thing::Program(name) | Thing::Path(name) => name,
        })
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Wanted> {
        WANTED
            .into_iter()
            .filter(|wanted| matches!(wanted.thing, Thing::Program(name) if names.contains(&name)))
            .collect()
    }

    #[test]
    fn each_package_is_named_once() {
        let missing = named(&["ip", "bridge", "dockerd", "docker-proxy", "docker"]);
        assert_eq!(
            distinct(&missing, "docker-cli"),
            ["iproute2", "docker.io", "docker-cli"]
        );
        assert_eq!(distinct(&missing, "docker.io"), ["iproute2", "docker.io"]);
        assert_eq!(names(&missing), "ip, bridge, dockerd, docker-proxy, docker");
    }

    #[test]
    fn a_guest_a_compiler_and_a_registry_are_wanted_only_where_they_are_used() {
        let special = |boots_uml, builds_agents, runs_tests| {
            let plans = Plans {
                boots_uml,
                builds_agents,
                runs_tests,
            };
            let packages = distinct(&wanted(plans).collect::<Vec<_>>(), "docker.io");
            ["user-mode-linux", "gcc", "docker-registry"].map(|name| packages.contains(&name))
        };
        for (uml, build, tests) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (false, false, true),
        ] {
            assert_eq!(special(uml, build, tests), [uml, build, tests]);
        }
    }

    #[test]
    fn the_command_is_one_that_can_be_typed() {
        assert_eq!(
            command_line(&["runc", "ethtool"]),
            "apt-get install --no-install-recommends runc ethtool"
        );
    }
}
