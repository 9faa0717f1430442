//! Finds programs, the person's own first.
//!
//! Looks along PATH and then in the folders for administrators, which a plain user's PATH often lacks.
//! Not for getting programs that are missing: that is the lab's `supply::packages`.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SYSTEM: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The first executable file of that name.
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(name, std::env::var_os("PATH").as_deref())
}

/// A PATH along which a script finds what [`find`] finds.
pub fn search_path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(SYSTEM.iter().map(PathBuf::from));
    // Only a folder with a colon in its name can't be joined, and splitting leaves none.
    std::env::join_paths(folders).unwrap_or(own)
}

fn find_in(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let own = path.into_iter().flat_map(std::env::split_paths);
    // An empty entry means the current folder to a shell; nothing is run from there by accident.
    own.filter(|folder| folder.is_absolute())
        .chain(SYSTEM.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

/// Whether this is a file that somebody may run.
pub fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path, name: &str, mode: u32) {
        let file = folder.join(name);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_folder_of_the_path_wins_and_files_that_cannot_run_are_passed_over() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        place(first.path(), "tool", 0o644);
        place(second.path(), "tool", 0o755);
        std::fs::create_dir(first.path().join("folder")).unwrap();
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(
            find_in("tool", Some(&path)),
            Some(second.path().join("tool"))
        );
        assert_eq!(find_in("folder", Some(&path)), None);
    }

    #[test]
    fn folders_for_administrators_are_searched_without_any_path() {
        assert!(find_in("sh", None).is_some());
        assert_eq!(find_in("no-such-program-anywhere", None), None);
    }
}
