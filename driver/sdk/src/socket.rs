//! The unix socket: where it lives, who may open it, and that it goes away.
//!
//! It sits in a directory of its own (`nomad-driver-<pid>-<nanoseconds>`, mode 0700). A killed plugin leaves its directory
//! behind, so each start sweeps those whose process is gone. A socket of a live process is never touched: an agent
//! that was restarted dials it again.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{Gid, Group, chown, geteuid};
use tokio::net::UnixListener;

use crate::handshake::Handshake;

const DIRECTORY_PREFIX: &str = "nomad-driver-";

/// A bound socket; dropping it removes the file and its directory.
#[derive(Debug)]
pub(crate) struct Socket {
    directory: PathBuf,
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot make the socket directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot listen on {}", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("cannot give the socket to group {group:?}: {reason}")]
    Group { group: String, reason: String },
}

impl Socket {
    pub(crate) fn bind(handshake: &Handshake) -> Result<(Self, UnixListener), SocketError> {
        sweep(&handshake.socket_dir);
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos());
        let directory = handshake
            .socket_dir
            .join(format!("{DIRECTORY_PREFIX}{}-{nanos}", process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|source| SocketError::Directory {
                path: directory.clone(),
                source,
            })?;
        let path = directory.join("s");
        let socket = Self { directory, path };
        let listener = UnixListener::bind(&socket.path).map_err(|source| SocketError::Bind {
            path: socket.path.clone(),
            source,
        })?;
        if let Some(group) = &handshake.socket_group {
            socket.set_group(group)?;
        }
        Ok((socket, listener))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn set_group(&self, group: &str) -> Result<(), SocketError> {
        let refusal = |reason: String| SocketError::Group {
            group: group.to_owned(),
            reason,
        };
        let gid = if let Ok(number) = group.parse() {
            Gid::from_raw(number)
        } else {
            let entry = Group::from_name(group).map_err(|errno| refusal(errno.to_string()))?;
            entry
                .ok_or_else(|| refusal("no such group".to_owned()))?
                .gid
        };
        for (path, mode) in [(&self.directory, 0o750), (&self.path, 0o660)] {
            chown(path, None, Some(gid)).map_err(|errno| refusal(errno.to_string()))?;
            fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(|error| refusal(error.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody is left to tell, and the next start sweeps what stays.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Removes the socket directories of processes of this user that no longer live.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else {
            continue;
        };
        let is_own = entry
            .metadata()
            .is_ok_and(|entry| entry.is_dir() && entry.uid() == geteuid().as_raw());
        if is_own && !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = fs::remove_file(entry.path().join("s"));
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(DIRECTORY_PREFIX)?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_make_are_swept() {
        assert_eq!(owner("nomad-driver-4711-99"), Some(4711));
        for other in ["nomad-driver-4711", "nomad-driver-x-1", "plugin4711-1", ""] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
