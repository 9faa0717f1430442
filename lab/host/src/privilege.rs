//! Who does what: the lab works as root, for a person.
//!
//! Namespaces, mounts and engines need root; sources, builds and the cache are the person's. So the lab is
//! built and started as the person, and [`become_root`] runs the same program again through sudo with the
//! environment that matters (sudo drops it, PATH included). What then has to happen as the person, builds
//! above all, goes through [`command_for`]. Not for deciding which subcommand needs root.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::paths::Person;
use crate::programs;

/// Variables that root's run must see as the person set them.
const KEEP: [&str; 23] = [
    "PATH",
    "LANG",
    "TERM",
    "NO_COLOR",
    "CLICOLOR",
    "CARGO",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUST_BACKTRACE",
    "GOPATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
    "GOPRIVATE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Our own variables, all of which are kept.
const OURS: &str = "NOMAD_IPVS_";

/// What the person may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Root,
    /// Not root, but sudo is there to ask.
    Sudo,
    /// Neither.
    Plain,
}

pub fn standing() -> Standing {
    if Uid::effective().is_root() {
        Standing::Root
    } else if programs::find("sudo").is_some() {
        Standing::Sudo
    } else {
        Standing::Plain
    }
}

/// Returns as root, or not at all: as anybody else, this process becomes sudo running the same command.
///
/// # Errors
/// There is no sudo, or it can't be started.
pub fn become_root() -> Result<()> {
    match standing() {
        Standing::Root => Ok(()),
        Standing::Sudo => through_sudo().map(|never| match never {}),
        Standing::Plain => bail!(
            "this needs root, for network namespaces and a Docker engine of its own, and there is no sudo here: \
             install sudo, or run the same command as root"
        ),
    }
}

fn through_sudo() -> Result<Infallible> {
    let sudo = programs::find("sudo").context("no sudo")?;
    let me = std::env::current_exe().context("find the lab's own program")?;
    let arguments = sudo_arguments(
        std::env::vars_os(),
        me.as_os_str(),
        std::env::args_os().skip(1),
    );
    let error = Command::new(&sudo).args(arguments).exec();
    Err(error).with_context(|| format!("run {}", sudo.display()))
}

/// `-- env NAME=VALUE … program arguments`. Not `--preserve-env`, which sudoers may forbid.
fn sudo_arguments(
    environment: impl Iterator<Item = (OsString, OsString)>,
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
) -> Vec<OsString> {
    let kept = environment
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            pair
        });
    let mut all: Vec<OsString> = vec!["--".into(), "env".into()];
    all.extend(kept);
    all.push(program.to_owned());
    all.extend(arguments);
    all
}

fn is_kept(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| KEEP.contains(&name) || name.starts_with(OURS))
}

/// A command that runs as the person, with the person's home, wherever this process stands.
pub fn command_for(person: &Person, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if Uid::effective().is_root() && !person.uid.is_root() {
        // The standard library gives up root's supplementary groups along with the id.
        command.uid(person.uid.as_raw()).gid(person.gid.as_raw());
        command
            .env("HOME", &person.home)
            .env("USER", &person.name)
            .env("LOGNAME", &person.name);
        for name in [
            "SUDO_UID",
            "SUDO_GID",
            "SUDO_USER",
            "SUDO_COMMAND",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(name);
        }
    }
    command
}

/// The person's cargo: the one that runs us, else the first on PATH, else rustup's usual place.
///
/// `cargo run` describes the package that it runs to it in the environment. Build scripts watch those variables, and
/// would build their crates again for us, and once more for whoever runs cargo from a shell.
pub fn cargo_for(person: &Person) -> Command {
    let own = person.home.join(".cargo/bin/cargo");
    let program = std::env::var_os("CARGO")
        .filter(|path| programs::is_executable(Path::new(path)))
        .or_else(|| programs::find("cargo").map(Into::into))
        .unwrap_or_else(|| own.into_os_string());
    let mut command = command_for(person, program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| describes_a_package(name)) {
        command.env_remove(name);
    }
    command
}

fn describes_a_package(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_nothing_of_the_package_that_runs_it() {
        let of_a_package = |name: &str| describes_a_package(OsStr::new(name));
        assert!(of_a_package("CARGO_PKG_NAME") && of_a_package("CARGO_MANIFEST_DIR"));
        assert!(!of_a_package("CARGO_HOME") && !of_a_package("CARGO_TARGET_DIR"));
    }

    #[test]
    fn sudo_gets_the_kept_variables_the_program_and_the_arguments_as_they_were() {
        let environment = [
            ("PATH", "/a:/b c"),
            ("HOME", "/home/x"),
            ("NOMAD_IPVS_RELEASES", ""),
            ("NOMAD_TOKEN", "s"),
        ];
        let environment = environment
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter();
        let arguments = ["exec", "node1", "--", "sh -c"]
            .map(OsString::from)
            .into_iter();
        let all = sudo_arguments(environment, OsStr::new("/t/lab"), arguments);
        let expected = [
            "--",
            "env",
            "PATH=/a:/b c",
            "NOMAD_IPVS_RELEASES=",
            "/t/lab",
            "exec",
            "node1",
            "--",
            "sh -c",
        ];
        assert_eq!(all, expected);
    }
}
