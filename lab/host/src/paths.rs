//! Where the lab keeps things, and for whom.
//!
//! Three places: the *cache* (agents and tools that are slow to build, shared by all clones), the *state*
//! of a profile (logs, configurations, records of what was made) and the *run* folder (sockets, which need
//! short paths). Cache and state belong to the person who typed the command, also when the lab runs as root
//! through sudo. Not for deciding what goes there.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, User};

/// The person for whom the lab works.
#[derive(Debug, Clone)]
pub struct Person {
    pub uid: Uid,
    pub gid: Gid,
    pub name: String,
    pub home: PathBuf,
}

impl Person {
    /// Whoever called sudo, else whoever runs this process.
    pub fn find() -> Result<Self> {
        let uid = match std::env::var("SUDO_UID") {
            Ok(text) if Uid::current().is_root() => Uid::from_raw(
                text.parse()
                    .with_context(|| format!("SUDO_UID={text} is not a number"))?,
            ),
            _ => Uid::current(),
        };
        let user = User::from_uid(uid)
            .with_context(|| format!("look up user {uid}"))?
            .with_context(|| format!("user {uid} has no entry in the user database"))?;
        Ok(Self {
            uid,
            gid: user.gid,
            name: user.name,
            home: user.dir,
        })
    }

    /// Hands a file or folder that root made to the person.
    pub fn give(&self, path: &Path) -> Result<()> {
        if Uid::current().is_root() {
            nix::unistd::chown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("give {} to {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// Makes a folder, and those above it that are missing, the person's own.
    pub fn make_dir(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_dir(parent)?;
        }
        match std::fs::create_dir(path) {
            Ok(()) => self.give(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error).with_context(|| format!("make folder {}", path.display())),
        }
    }

    /// Makes a folder that nobody else can look into or go through, whatever it was before.
    pub fn make_private_dir(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.make_dir(parent)?;
        }
        let made = std::fs::DirBuilder::new().mode(0o700).create(path);
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("make folder {}", path.display()));
            }
            _ => {}
        }
        self.give(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("close folder {} to others", path.display()))
    }

    /// Writes a file of the person's, whole or not at all.
    pub fn write(&self, path: &Path, content: &str) -> Result<()> {
        self.write_as(path, content, 0o666)
    }

    /// The same, closed to everybody else from its first moment on.
    pub fn write_secret(&self, path: &Path, content: &str) -> Result<()> {
        self.write_as(path, content, 0o600)
    }

    fn write_as(&self, path: &Path, content: &str, mode: u32) -> Result<()> {
        let part = path.with_extension("part");
        let written = || {
            // One that is left over may have another mode.
            match std::fs::remove_file(&part) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&part)?;
            file.write_all(content.as_bytes())
        };
        written().with_context(|| format!("write {}", part.display()))?;
        self.give(&part)?;
        std::fs::rename(&part, path).with_context(|| format!("write {}", path.display()))
    }
}

/// Folders of one profile.
#[derive(Debug, Clone)]
pub struct Paths {
    pub cache: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
}

impl Paths {
    pub fn of(person: &Person, profile: &str) -> Self {
        Self {
            cache: cache_of(person),
            state: state_of(person).join(profile),
            run: Path::new("/run/nomad-ipvs-lab").join(profile),
        }
    }

    /// Makes state and run folder, closed to everybody else: sockets, tokens, keys and logs are in them.
    pub fn make(&self, person: &Person) -> Result<()> {
        person.make_private_dir(&self.state)?;
        person.make_private_dir(&self.run)
    }

    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The log of one part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }
}

/// The person's cache, outside every clone: `NOMAD_IPVS_CACHE` moves it.
pub fn cache_of(person: &Person) -> PathBuf {
    std::env::var_os("NOMAD_IPVS_CACHE")
        .map_or_else(|| person.home.join(".cache/nomad-ipvs"), PathBuf::from)
}

/// Where profiles keep what they are: `NOMAD_IPVS_STATE` moves it.
fn state_of(person: &Person) -> PathBuf {
    std::env::var_os("NOMAD_IPVS_STATE").map_or_else(
        || person.home.join(".local/state/nomad-ipvs"),
        PathBuf::from,
    )
}

/// The clone that this program was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_closed_to_others_also_where_it_was_open_before() {
        let outer = tempfile::tempdir().unwrap();
        let person = Person::find().unwrap();
        let folder = outer.path().join("state/profile");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        person.make_private_dir(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        person.make_private_dir(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }
}
