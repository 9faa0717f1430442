//! The seccomp profile that a job names by a path of the host, which the engine wants by its content.
//!
//! The path is the job's, so whatever it may lead to is looked at before it is opened, and no more is read than a profile
//! can be. Reading blocks: it is done as [file work](crate::file_work), before the pure rest.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::SpecError;
use crate::small_file;

/// Docker's own has 13 kB.
const PROFILE_SIZE_MAX: u64 = 1024 * 1024;
const OPTION: &str = "security_opt";

/// The one profile among a job's options, if there is one.
pub fn path(options: &[String]) -> Result<Option<PathBuf>, SpecError> {
    let mut paths = options.iter().filter_map(|option| match split(option) {
        Some(("seccomp", value)) if !is_word(value) => Some(value),
        _ => None,
    });
    let Some(first) = paths.next() else {
        return Ok(None);
    };
    if paths.next().is_some() {
        return Err(refusal("more than one seccomp profile is named".to_owned()));
    }
    if !first.starts_with('/') {
        return Err(refusal(format!(
            "the seccomp profile {first:?} has to be named by an absolute path"
        )));
    }
    Ok(Some(PathBuf::from(first)))
}

/// The profile as the engine takes it. Blocks no longer than the file system does.
pub fn read(path: &Path) -> Result<String, SpecError> {
    let failure = |reason: String| {
        refusal(format!(
            "opening seccomp profile ({}) failed: {reason}",
            path.display()
        ))
    };
    let bytes =
        small_file::read(path, PROFILE_SIZE_MAX).map_err(|error| failure(error.to_string()))?;
    let profile: Value =
        serde_json::from_slice(&bytes).map_err(|error| failure(error.to_string()))?;
    Ok(profile.to_string())
}

/// `unconfined` and the engine's own profile are no files.
pub(super) fn is_word(value: &str) -> bool {
    ["unconfined", "builtin"].contains(&value)
}

/// Docker takes both signs.
pub(super) fn split(option: &str) -> Option<(&str, &str)> {
    option.split_once(['=', ':'])
}

fn refusal(reason: String) -> SpecError {
    SpecError::Option {
        option: OPTION,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use nix::sys::stat;
    use nix::unistd::mkfifo;

    use super::*;

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_an_absolute_path_and_only_one_is_a_profile() {
        let result = |words| path(&list(words));
        assert_eq!(result("no-new-privileges seccomp=unconfined"), Ok(None));
        assert_eq!(
            result("seccomp=/etc/p.json label=disable"),
            Ok(Some("/etc/p.json".into()))
        );
        for bad in [
            "seccomp=/proc/kmsg seccomp=/proc/kmsg",
            "seccomp=/a seccomp:/a",
            "seccomp=profile.json",
            "seccomp=",
        ] {
            assert!(result(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_never_ends_or_never_answers_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, stat::Mode::S_IRWXU).unwrap();
        let big = dir.path().join("big");
        File::create(&big)
            .unwrap()
            .set_len(PROFILE_SIZE_MAX + 1)
            .unwrap();
        let fifo = fifo.to_str().unwrap();
        let big = big.to_str().unwrap();
        for path in ["/dev/zero", "/proc/kmsg", "/proc/self/mem", "/", fifo, big] {
            let reason = read(Path::new(path)).unwrap_err().to_string();
            assert!(reason.contains(path), "{reason}");
        }
    }

    #[test]
    fn a_profile_is_handed_on_as_compact_json_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("profile.json");
        fs::write(&file, "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }\n").unwrap();
        assert_eq!(
            read(&file).as_deref(),
            Ok(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#)
        );
        fs::write(&file, "root:$6$secret:19000\n").unwrap();
        let reason = read(&file).unwrap_err().to_string();
        assert!(!reason.contains("secret"), "{reason}");
    }
}
