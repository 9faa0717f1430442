//! The suite against the kernel itself; each case has a network namespace of its own.
//!
//! Run as root on a kernel with `ip_vs`: `cargo test -p ipvs --test kernel -- --ignored --test-threads=1`.

use ipvs::conformance::CASES;
use ipvs::{Client, Error, Kernel};
use nix::sched::{CloneFlags, unshare};

#[test]
#[ignore = "needs root and ip_vs"]
fn the_real_kernel_passes_the_suite() {
    for (sentence, case) in CASES {
        println!("{sentence}");
        // A thread's namespace is its own: the next case starts in the one that the process was born in.
        let done = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            // Without any address the namespace has no local table, and every real server would be EINVAL.
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.expect("ip runs").success());
            case(&mut Client::open().expect("the family IPVS"));
        });
        done.join().unwrap_or_else(|_| panic!("{sentence}"));
    }
}

/// Set in the child that asks from within a user namespace.
const UNPRIVILEGED: &str = "IPVS_TEST_UNPRIVILEGED";

#[test]
#[ignore = "needs root and ip_vs"]
fn whoever_lacks_the_capability_is_told_its_name() {
    let asked = Client::open().and_then(|mut client| client.services());
    if std::env::var_os(UNPRIVILEGED).is_some() {
        let error = asked.expect_err("a user namespace's root has no say here");
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        return;
    }
    asked.expect("root may");
    // A user namespace wants a process with one thread, so a child asks.
    let output = std::process::Command::new("unshare")
        .args(["-Urn"])
        .arg(std::env::current_exe().expect("our own path"))
        .args([
            "--exact",
            "whoever_lacks_the_capability_is_told_its_name",
            "--ignored",
        ])
        .env(UNPRIVILEGED, "1")
        .output()
        .expect("unshare runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
