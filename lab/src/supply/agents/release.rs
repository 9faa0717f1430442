//! An agent from its maker's releases: a zip, and the sums that it must match.
//!
//! Goes through curl, which knows the person's proxies and certificates. Everything that goes wrong is a
//! sentence for the person and no more, because Go modules are the next way. `NOMAD_IPVS_RELEASES` names
//! another server of the same layout; empty, it switches this way off.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Agent, settle};
use crate::host::paths::Person;
use crate::host::privilege::command_for;
use crate::host::programs;

const OFFICIAL: &str = "https://releases.hashicorp.com";

/// Puts the agent into the cache.
///
/// # Errors
/// Why there is none, as the middle of a sentence.
pub(super) fn download(
    agent: Agent,
    person: &Person,
    agents: &Path,
    note: &dyn Fn(&str),
) -> Result<(), String> {
    let archive = archive_name(agent, std::env::consts::ARCH)?;
    note("looking for the official release");
    let (url, sums) = sums_of(agent, person)?;
    let wanted =
        sum_of(&sums, &archive).ok_or_else(|| format!("its SHA256SUMS do not name {archive}"))?;

    note(&format!("downloading {archive}"));
    let zip = agents.join(format!("{archive}.part"));
    let part = agents.join(format!("{}.part", agent.folder()));
    let done = take(person, &format!("{url}/{archive}"), &zip, wanted)
        .and_then(|()| {
            unpack(&zip, agent.name(), &part).map_err(|error| format!("{archive}: {error}"))
        })
        .and_then(|()| settle(agent, person, agents, &part).map_err(|error| format!("{error:#}")));
    let _ = std::fs::remove_file(&zip);
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// Whether releases could be downloaded.
///
/// # Errors
/// Why not, as the middle of a sentence.
pub fn releases_answer(person: &Person) -> Result<(), String> {
    sums_of(Agent::Nomad, person).map(drop)
}

/// Where the agent's files are, and the text of its sums.
fn sums_of(agent: Agent, person: &Person) -> Result<(String, String), String> {
    if agent == Agent::Traefik {
        return Err("its maker publishes them elsewhere".to_owned());
    }
    let base = std::env::var("NOMAD_IPVS_RELEASES").unwrap_or_else(|_| OFFICIAL.to_owned());
    if base.is_empty() {
        return Err("NOMAD_IPVS_RELEASES is empty".to_owned());
    }
    let url = format!(
        "{}/{}/{}",
        base.trim_end_matches('/'),
        agent.name(),
        agent.version()
    );
    let sums = fetch(
        person,
        &format!("{url}/{}_{}_SHA256SUMS", agent.name(), agent.version()),
        &["--max-time", "20"],
    )?;
    Ok((url, String::from_utf8_lossy(&sums).into_owned()))
}

fn archive_name(agent: Agent, arch: &str) -> Result<String, String> {
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => return Err(format!("none for {other}")),
    };
    Ok(format!(
        "{}_{}_linux_{arch}.zip",
        agent.name(),
        agent.version()
    ))
}

/// The file behind `url`, checked against its sum.
fn take(person: &Person, url: &str, file: &Path, wanted: &str) -> Result<(), String> {
    let file_text = file.display().to_string();
    // A link that crawls is given up on; one that is merely slow is not.
    fetch(
        person,
        url,
        &[
            "--output",
            &file_text,
            "--speed-limit",
            "20000",
            "--speed-time",
            "30",
        ],
    )?;
    let found = sum_of_file(file).map_err(|error| format!("{file_text}: {error}"))?;
    if found == wanted {
        Ok(())
    } else {
        Err(format!(
            "{url} has SHA-256 {found}, but its SHA256SUMS say {wanted}: not used"
        ))
    }
}

/// What curl wrote to its standard output.
fn fetch(person: &Person, url: &str, more: &[&str]) -> Result<Vec<u8>, String> {
    let curl = programs::find("curl").ok_or("there is no curl to download it with")?;
    let output = command_for(person, curl)
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--proto",
            "=http,https",
            "--connect-timeout",
            "4",
        ])
        .args(more)
        .arg(url)
        .output()
        .map_err(|error| format!("curl: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{url}: {}",
        stderr
            .lines()
            .last()
            .unwrap_or("curl failed without a word")
    ))
}

/// The sum of one file in the text of a `SHA256SUMS`.
fn sum_of<'a>(sums: &'a str, file: &str) -> Option<&'a str> {
    sums.lines()
        .filter_map(|line| line.split_once("  "))
        .find(|(_, name)| name.trim() == file)
        .map(|(sum, _)| sum)
}

fn sum_of_file(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    let mut hex = String::new();
    for byte in sum.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// Writes the program that an archive holds under `name`.
fn unpack(archive: &Path, name: &str, to: &Path) -> Result<(), String> {
    let open = File::open(archive).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(open).map_err(|error| error.to_string())?;
    let mut entry = archive
        .by_name(name)
        .map_err(|error| format!("{name}: {error}"))?;
    let write = |entry: &mut dyn Read| {
        let mut file = File::create(to)?;
        io::copy(entry, &mut file)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))
    };
    write(&mut entry).map_err(|error| format!("unpack {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_exactly_that_file_is_found() {
        let sums = "aa11  nomad_1.6.1_linux_arm64.zip\nbb22  nomad_1.6.1_linux_amd64.zip\n";
        assert_eq!(sum_of(sums, "nomad_1.6.1_linux_amd64.zip"), Some("bb22"));
        assert_eq!(sum_of(sums, "nomad_1.6.1_linux_amd64"), None);
        assert_eq!(
            sum_of("<html>not found</html>", "nomad_1.6.1_linux_amd64.zip"),
            None
        );
    }

    #[test]
    fn archives_are_named_after_the_machine() {
        assert_eq!(
            archive_name(Agent::Consul, "x86_64").unwrap(),
            "consul_1.14.11_linux_amd64.zip"
        );
        assert_eq!(
            archive_name(Agent::Nomad, "aarch64").unwrap(),
            "nomad_1.6.1_linux_arm64.zip"
        );
        assert_eq!(
            archive_name(Agent::Nomad, "riscv64").unwrap_err(),
            "none for riscv64"
        );
    }

    #[test]
    fn a_file_has_the_sum_that_everybody_knows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(
            sum_of_file(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.zip");
        std::fs::write(&file, "PK\x03\x04 but no more").unwrap();
        assert!(unpack(&file, "nomad", &folder.path().join("out")).is_err());
        assert!(!folder.path().join("out").exists());
    }
}
