use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::stat::{Mode as Bits, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::*;

/// An allocation's directory, and one that is somebody else's.
struct World {
    _folder: tempfile::TempDir,
    alloc: PathBuf,
    logs: PathBuf,
    elsewhere: PathBuf,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let alloc = folder.path().join("a1");
    let logs = alloc.join("alloc/logs");
    let elsewhere = folder.path().join("others");
    fs::create_dir_all(&logs).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    World {
        alloc,
        logs,
        elsewhere,
        _folder: folder,
    }
}

fn fifo(path: &Path) {
    mkfifo(path, Bits::S_IRUSR | Bits::S_IWUSR).unwrap();
}

#[test]
fn a_log_directory_that_a_job_replaced_by_a_link_is_refused_wherever_the_link_is() {
    let world = world();
    let (alloc, logs, elsewhere) = (&world.alloc, &world.logs, &world.elsewhere);
    assert!(Directory::open(alloc, logs).is_ok());
    fs::remove_dir(logs).unwrap();
    symlink(elsewhere, logs).unwrap();
    assert!(Directory::open(alloc, logs).is_err());
    fs::remove_dir_all(alloc.join("alloc")).unwrap();
    fs::create_dir(elsewhere.join("logs")).unwrap();
    symlink("../others", alloc.join("alloc")).unwrap();
    assert!(Directory::open(alloc, logs).is_err());
    let root = |path: &Path| Directory::open(Path::new(""), path).unwrap().0;
    let by_steps = |below: &str| step_by_step(root(alloc), Path::new(below));
    assert!(by_steps("alloc/logs").is_err());
    assert!(by_steps("../others").is_err());
    fs::create_dir_all(alloc.join("x/y")).unwrap();
    assert!(by_steps("x/y").is_ok());
}

#[test]
fn a_directory_that_is_replaced_later_is_still_the_one_that_was_opened() {
    let world = world();
    let (alloc, logs, elsewhere) = (&world.alloc, &world.logs, &world.elsewhere);
    let directory = Directory::open(alloc, logs).unwrap();
    let old_logs = alloc.join("moved");
    fs::rename(logs, &old_logs).unwrap();
    symlink(elsewhere, logs).unwrap();
    directory.create("web.stdout.0").unwrap();
    assert!(old_logs.join("web.stdout.0").is_file());
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[test]
fn only_a_regular_file_with_one_name_is_opened_for_a_log() {
    let world = world();
    let (alloc, logs, elsewhere) = (&world.alloc, &world.logs, &world.elsewhere);
    let directory = Directory::open(alloc, logs).unwrap();
    let victim = elsewhere.join("victim");
    fs::write(&victim, "whole").unwrap();
    symlink(&victim, logs.join("link")).unwrap();
    symlink(elsewhere.join("new"), logs.join("dangling")).unwrap();
    fs::hard_link(&victim, logs.join("hard")).unwrap();
    fifo(&logs.join("fifo"));
    fs::create_dir(logs.join("folder")).unwrap();
    let _socket = UnixListener::bind(logs.join("socket")).unwrap();
    let mut names = vec!["link", "dangling", "hard", "fifo", "folder", "socket"];
    // Who may not make one can't be hurt by one.
    let device = mknod(
        &logs.join("device"),
        SFlag::S_IFCHR,
        Bits::S_IRUSR | Bits::S_IWUSR,
        makedev(1, 5),
    );
    names.extend(device.is_ok().then_some("device"));
    for name in names {
        for outcome in [
            directory.create(name),
            directory.file(name, Access::Read),
            directory.file(name, Access::Append),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{name}: {error}");
        }
        assert!(directory.stat(name).is_err(), "{name}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    assert!(!elsewhere.join("new").exists());
}

#[test]
fn a_name_never_leads_out_of_the_directory() {
    let world = world();
    let (alloc, logs) = (&world.alloc, &world.logs);
    let directory = Directory::open(alloc, logs).unwrap();
    for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"] {
        assert!(directory.create(name).is_err(), "{name:?}");
        assert!(directory.remove(name).is_err(), "{name:?}");
        assert!(directory.fifo(name).is_err(), "{name:?}");
    }
}

#[test]
fn only_a_fifo_with_one_name_is_the_agents() {
    let world = world();
    let (alloc, logs) = (&world.alloc, &world.logs);
    let directory = Directory::open(alloc, logs).unwrap();
    fifo(&logs.join("true"));
    let true_fifo = directory.fifo("true").unwrap();
    let no_reader = true_fifo.open(Access::Append).unwrap_err();
    assert_eq!(no_reader.raw_os_error(), Some(nix::libc::ENXIO));
    symlink(logs.join("true"), logs.join("link")).unwrap();
    symlink("/dev/zero", logs.join("zero")).unwrap();
    fs::write(logs.join("file"), "").unwrap();
    fifo(&logs.join("twice"));
    fs::hard_link(logs.join("twice"), logs.join("again")).unwrap();
    for name in ["link", "zero", "file", "twice"] {
        assert!(directory.fifo(name).is_err(), "{name}");
    }
    // What was looked at is what is opened, whatever has its name by now.
    fs::remove_file(logs.join("true")).unwrap();
    symlink("/dev/zero", logs.join("true")).unwrap();
    let outcome = true_fifo.open(Access::Read).unwrap();
    let mode = fstat(&outcome).unwrap().st_mode;
    assert_eq!(FileType::from_raw_mode(mode), FileType::Fifo);
}

#[test]
fn a_file_that_changes_into_a_link_and_back_never_leads_anywhere() {
    let world = world();
    let (alloc, logs, elsewhere) = (&world.alloc, &world.logs, &world.elsewhere);
    let directory = Directory::open(alloc, logs).unwrap();
    let victim = elsewhere.join("victim");
    fs::write(&victim, "").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (name, file, link) = (logs.join("log"), logs.join("file"), logs.join("link"));
            while !over.load(Ordering::Relaxed) {
                fs::write(&file, "").unwrap();
                fs::rename(&file, &name).unwrap();
                symlink(&victim, &link).unwrap();
                fs::rename(&link, &name).unwrap();
            }
        });
        let mut count = 0;
        while count < 2000 {
            if let Ok(mut file) = directory.create("log") {
                io::Write::write_all(&mut file, b"x").unwrap();
                count += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "");
}

#[test]
fn a_listing_is_given_up_where_nobody_has_so_many_logs() {
    let world = world();
    let (alloc, logs) = (&world.alloc, &world.logs);
    let directory = Directory::open(alloc, logs).unwrap();
    let names = || directory.names(|name| name.parse::<usize>().ok());
    for number in 0..ENTRIES_MAX - 2 {
        fs::write(logs.join(number.to_string()), "").unwrap();
    }
    assert_eq!(names().unwrap().len(), ENTRIES_MAX - 2);
    for more in ["a", "b", "c"] {
        fs::write(logs.join(more), "").unwrap();
    }
    assert_eq!(names().unwrap_err().kind(), ErrorKind::PermissionDenied);
}
