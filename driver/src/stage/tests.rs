use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

const CREATE: Kind = Kind::Job {
    absence: Absence::Create,
};

/// An allocation of two tasks, beside something of the host.
fn allocation() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let alloc = dir.path().join("alloc/a1");
    for folder in ["alloc/logs", "web/local", "web/secrets", "other/local"] {
        fs::create_dir_all(alloc.join(folder)).unwrap();
    }
    fs::create_dir_all(dir.path().join("host")).unwrap();
    fs::write(dir.path().join("host/shadow"), "root").unwrap();
    (dir, alloc)
}

fn source(path: &str, kind: Kind) -> BindSource {
    BindSource {
        path: path.into(),
        kind,
    }
}

fn mount(dir: &Path, alloc: &Path, sources: &[BindSource]) -> Result<(Stage, Place), StageError> {
    let place = Stages::at(&dir.join("stages")).place()?;
    Stage::mount(&place, alloc, sources).map(|stage| (stage, place))
}

fn refusal(dir: &Path, alloc: &Path, path: &str, kind: Kind) -> String {
    mount(dir, alloc, &[source(path, kind)])
        .map(drop)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_default_folder_that_was_replaced_by_a_link_is_refused() {
    let (dir, alloc) = allocation();
    fs::remove_dir(alloc.join("web/local")).unwrap();
    symlink("/", alloc.join("web/local")).unwrap();
    let reason = refusal(dir.path(), &alloc, "web/local", Kind::Driver);
    assert!(reason.contains("symbolic link"), "{reason}");
    // Nor by one that stays within the allocation.
    fs::remove_file(alloc.join("web/local")).unwrap();
    symlink("../other/local", alloc.join("web/local")).unwrap();
    let reason = refusal(dir.path(), &alloc, "web/local", Kind::Driver);
    assert!(reason.contains("symbolic link"), "{reason}");
}

#[test]
fn a_jobs_path_that_leads_out_by_a_link_is_refused_at_every_depth() {
    let (dir, alloc) = allocation();
    symlink(dir.path().join("host"), alloc.join("web/local/out")).unwrap();
    symlink("../../../../host", alloc.join("web/local/up")).unwrap();
    for path in [
        "web/local/out",
        "web/local/out/shadow",
        "web/local/out/new/deep",
        "web/local/up",
        "web/local/up/shadow",
    ] {
        let reason = refusal(dir.path(), &alloc, path, CREATE);
        assert!(
            reason.contains("leads out of the allocation"),
            "{path}: {reason}"
        );
    }
    assert!(!dir.path().join("host/new").exists());
}

#[test]
fn nobody_gets_the_directory_of_the_allocation_or_of_a_task() {
    let (dir, alloc) = allocation();
    symlink("..", alloc.join("web/local/parent")).unwrap();
    symlink("../..", alloc.join("web/local/root")).unwrap();
    for path in [".", "web", "other", "web/local/parent", "web/local/root"] {
        let reason = refusal(dir.path(), &alloc, path, CREATE);
        assert!(
            reason.contains("directory of the allocation or of a task"),
            "{path}: {reason}"
        );
    }
}

#[test]
fn what_is_missing_is_made_for_volumes_and_refused_for_mounts() {
    let (dir, alloc) = allocation();
    let absence = Kind::Job {
        absence: Absence::Refuse,
    };
    let reason = refusal(dir.path(), &alloc, "web/local/a/b", absence);
    assert!(reason.contains("web/local/a/b"), "{reason}");
    assert!(!alloc.join("web/local/a").exists());
    mount(dir.path(), &alloc, &[source("web/local/a/b", CREATE)]).unwrap();
    assert!(alloc.join("web/local/a/b").is_dir());
}

/// Without the right to mount there is nothing to flip under.
#[test]
fn a_link_flipped_after_the_check_changes_nothing_that_is_mounted() {
    let (dir, alloc) = allocation();
    fs::create_dir(alloc.join("alloc/data")).unwrap();
    fs::write(alloc.join("alloc/data/mine"), "").unwrap();
    fs::write(alloc.join("web/local/file"), "text").unwrap();
    let sources = [
        source("alloc/data", CREATE),
        source("web/local/file", CREATE),
    ];
    if !mounts::may_mount() {
        let reason = refusal(dir.path(), &alloc, "alloc/data", CREATE);
        assert!(reason.contains("run the Nomad agent as root"), "{reason}");
        return;
    }
    let (stage, place) = mount(dir.path(), &alloc, &sources).unwrap();
    fs::rename(alloc.join("alloc/data"), alloc.join("alloc/away")).unwrap();
    symlink(dir.path().join("host"), alloc.join("alloc/data")).unwrap();
    let [folder, file] = [0, 1].map(|number| place.path(number, &alloc, &sources[number].path));
    assert!(folder.join("mine").exists() && !folder.join("shadow").exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");
    assert_eq!(
        fs::metadata(&file).unwrap().ino(),
        fs::metadata(alloc.join("web/local/file")).unwrap().ino()
    );
    drop(stage);
    assert!(!folder.exists() && !file.exists());
}

#[test]
fn the_mounts_of_a_process_that_is_gone_are_removed_by_the_next() {
    if !mounts::may_mount() {
        return;
    }
    let (dir, alloc) = allocation();
    let root = dir.path().join("stages");
    let stages = Stages::at(&root);
    let place = stages.place().unwrap();
    let stage = Stage::mount(&place, &alloc, &[source("web/local", Kind::Driver)]).unwrap();
    let folder = place.path(0, &alloc, Path::new("web/local"));
    // A process that lives is left alone.
    Stages::at(&root).place().unwrap();
    assert!(folder.exists());
    std::mem::forget(stage);
    drop(stages);
    Stages::at(&root).place().unwrap();
    assert!(!folder.exists());
    let mounts_text = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts_text.contains(root.to_str().unwrap()),
        "{mounts_text}"
    );
}

#[test]
fn a_folder_that_a_cleaner_removed_is_made_again() {
    if !mounts::may_mount() {
        return;
    }
    let (dir, alloc) = allocation();
    let root = dir.path().join("stages");
    let stages = Stages::at(&root);
    stages.place().unwrap();
    fs::remove_dir_all(&root).unwrap();
    let place = stages.place().unwrap();
    Stage::mount(&place, &alloc, &[source("web/local", Kind::Driver)]).unwrap();
}
