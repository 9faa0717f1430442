//! Another account holds the name by which directors of one network namespace know each other.

use std::io::{BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ipvs_syncer::lock::lock;

/// Set for the child of another account: the name that it holds until its input ends.
const HELD: &str = "NOMAD_IPVS_TEST_HELD_NAME";

const NOBODY: u32 = 65534;

#[expect(clippy::print_stdout, reason = "whoever waits for it reads it there")]
fn hold(name: &str) {
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let _held = UnixListener::bind_addr(&address).unwrap();
    println!("held");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
#[ignore = "needs root"]
fn a_name_that_another_account_holds_keeps_nobody_from_starting() {
    if let Ok(name) = std::env::var(HELD) {
        return hold(&name);
    }
    let name = format!("nomad-ipvs/test-thief-{}", std::process::id());
    let run_dir = tempfile::tempdir().unwrap();
    // Where the account may read it.
    let program = tempfile::Builder::new()
        .prefix("nomad-ipvs-test-")
        .tempfile_in("/tmp");
    let program = program.unwrap().into_temp_path();
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut thief = Command::new(&program)
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("lock::a_name_that_another_account_holds_keeps_nobody_from_starting")
        .env(HELD, &name)
        .uid(NOBODY)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(thief.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));
    let first = lock(run_dir.path(), &name).unwrap();
    let error = lock(run_dir.path(), &name).unwrap_err().to_string();
    let us = format!("process {}", std::process::id());
    assert!(error.contains(&us), "by the file: {error}");
    drop((first, thief.stdin.take()));
    assert!(thief.wait().unwrap().success());
}
