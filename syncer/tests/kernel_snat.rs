//! SNAT by iptables, in a kernel with IPVS: its rules match by it.
//!
//! Run as root: `cargo test -p ipvs-syncer --test kernel_snat -- --ignored --test-threads=1`.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::process::Command;
use std::time::Duration;

use ipvs_syncer::config::SnatBackend;
use ipvs_syncer::dataplane::rules::Rules;
use ipvs_syncer::dataplane::snat;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use syncer_core::plan::SnatSet;

use trip::{set, takes};

#[path = "trip/mod.rs"]
mod trip;

/// Runs a test in a new namespace, with all that the runtime starts.
fn inside<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // Whoever asks for the family has the kernel load it, and with it the settings: a director's first act.
        ipvs::Client::open().unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(test());
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

fn legacy(words: &[&str]) -> String {
    let output = Command::new("iptables-legacy")
        .args(["-w", "-t", "nat"])
        .args(words)
        .output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// A rule of somebody else's.
fn another() {
    legacy(&[
        "-A",
        "POSTROUTING",
        "-d",
        "192.0.2.0/24",
        "-j",
        "MASQUERADE",
    ]);
}

/// All without ours.
fn foreign() -> String {
    let all = legacy(&["-S"]);
    let others = all.lines().filter(|line| !line.contains("NOMAD-IPVS-SNAT"));
    others.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs root, ip_vs and the legacy iptables"]
fn rules_are_set_read_back_changed_and_removed_and_no_others_are_touched() {
    inside(|| async {
        another();
        let chosen = snat::choose(SnatBackend::Iptables, &[]).await.unwrap();
        assert_eq!(chosen.name(), "iptables-legacy");
        takes(&*chosen, foreign).await;
    });
}

#[test]
#[ignore = "needs root, ip_vs and the legacy iptables"]
fn rules_that_somebody_meddled_with_are_to_be_set_anew() {
    inside(|| async {
        another();
        let chosen = snat::choose(SnatBackend::Iptables, &[]).await.unwrap();
        let services = set(&["198.18.0.29:80"]);
        for hand in [
            &["-F"][..],
            &["-F", "POSTROUTING"],
            &["-I", "NOMAD-IPVS-SNAT", "-j", "ACCEPT"],
        ] {
            chosen.set(&services).await.unwrap();
            legacy(hand);
            let read = chosen.read().await.unwrap();
            assert_ne!(read, Some(services.clone()), "{hand:?}");
            chosen.set(&services).await.unwrap();
            assert_eq!(chosen.read().await.unwrap(), Some(services.clone()));
        }
    });
}

#[test]
#[ignore = "needs root, ip_vs and the legacy iptables"]
fn what_a_later_process_does_with_the_rules_of_an_earlier_one() {
    inside(|| async {
        another();
        let before = foreign();
        let services = set(&["198.18.0.29:80", "[2001:db8::29]:80"]);
        let mut earlier = Rules::new(SnatBackend::Iptables);
        earlier.set(&services).await.unwrap();
        // It takes them over as they are.
        let mut later = Rules::new(SnatBackend::Auto);
        later.set(&services).await.unwrap();
        let names: Vec<&str> = snat::in_use().await.iter().map(|one| one.name()).collect();
        assert_eq!(names, ["iptables-legacy"]);
        // A hand is found without another reading.
        assert_eq!(later.read().await, Some(services.clone()));
        legacy(&["-F"]);
        later.read().await;
        let noticed = tokio::time::timeout(Duration::from_secs(20), later.differ()).await;
        noticed.unwrap();
        assert_ne!(later.read().await, Some(services));
        another();
        // And the last one has nothing to rewrite.
        let mut last = Rules::new(SnatBackend::Auto);
        last.set(&SnatSet::new()).await.unwrap();
        assert!(snat::in_use().await.is_empty());
        assert_eq!(foreign(), before);
    });
}

/// Hides programs with such names from this thread and from what it starts.
fn without(prefix: &str) {
    const PROGRAMS: &str = "/usr/sbin";
    let folder = std::path::Path::new("/run").join(format!("without-{prefix}"));
    std::fs::create_dir_all(&folder).unwrap();
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).unwrap();
    mount(Some("none"), &folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let [all, some] = ["all", "some"].map(|name| folder.join(name));
    std::fs::create_dir(&all).unwrap();
    std::fs::create_dir(&some).unwrap();
    mount(Some(PROGRAMS), &all, none, MsFlags::MS_BIND, none).unwrap();
    for program in std::fs::read_dir(&all).unwrap().flatten() {
        let name = program.file_name();
        if !name.to_string_lossy().starts_with(prefix) {
            std::os::unix::fs::symlink(program.path(), some.join(name)).unwrap();
        }
    }
    mount(Some(&some), PROGRAMS, none, MsFlags::MS_BIND, none).unwrap();
}

#[test]
#[ignore = "needs root, ip_vs and the legacy iptables"]
fn a_machine_that_rewrites_no_ipv6_has_the_rules_of_ipv4_all_the_same() {
    inside(|| async {
        without("ip6tables");
        let mut rules = Rules::new(SnatBackend::Iptables);
        let both = set(&["198.18.0.29:80", "[2001:db8::29]:80"]);
        rules.set(&both).await.unwrap_err();
        assert_eq!(rules.read().await, Some(set(&["198.18.0.29:80"])));
        // Nor does a check say that it is otherwise: each failure would lead to the next at once.
        let noticed = tokio::time::timeout(Duration::from_secs(5), rules.differ()).await;
        assert!(noticed.is_err());
        assert_eq!(rules.read().await, Some(set(&["198.18.0.29:80"])));
    });
}
