//! A file that the caller of the lab has left open is not handed down to what the lab starts.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

#[test]
fn a_callers_lock_is_free_once_the_caller_lets_go_of_it() {
    let state = tempfile::tempdir().unwrap();
    let logs = state.path().join("locks/logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("part.log"), "").unwrap();
    let path = state.path().join("callers.lock");
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    // As a shell hands it down: `exec 9>callers.lock; flock 9`.
    fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    // It becomes a program that stays.
    let mut lives_on = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["--profile", "locks", "logs", "--follow", "part"])
        .env("NOMAD_IPVS_STATE", state.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let name = format!("/proc/{}/comm", lives_on.id());
    let until = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&name).unwrap().trim() != "tail" {
        assert!(lives_on.try_wait().unwrap().is_none(), "it has ended");
        assert!(
            Instant::now() < until,
            "it has not become a program that stays"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(lock);
    let free = File::open(&path).unwrap().try_lock();
    lives_on.kill().unwrap();
    lives_on.wait().unwrap();
    assert!(
        free.is_ok(),
        "the lock is held by a program that the lab has become"
    );
}
