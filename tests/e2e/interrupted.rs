//! An `up` that is killed half-way leaves nothing that `down` doesn't find.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::world::context::Lab;
use lab::world::kernel::Choice;
use lab::world::topology::Node;
use nix::sys::signal::Signal;

use crate::story;

#[test]
fn down_after_a_killed_up_leaves_nothing() {
    let profile = "half";
    // An earlier run that failed half-way.
    story::lab(profile, &["down"]);
    let mut child = Command::new(story::program())
        .args(["--profile", profile, "up", "--no-build"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Half-way on a fast machine as on a slow one: all but the job, the syncers and what waits for Nomad.
    story::eventually("Nomad was started", 60, || {
        let lab = Lab::open(profile, None).map_err(|error| error.to_string())?;
        let nomad = lab.records.living("nomad").map(drop);
        nomad.ok_or_else(|| "not yet".to_owned())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    a_port_that_somebody_took_is_named_with_its_process(profile);
    let output = story::lab(profile, &["down"]);
    assert!(output.status.success(), "{}", story::text(&output));
    nothing_is_left(profile);
    let again = story::lab(profile, &["down"]);
    assert!(
        again.status.success() && story::text(&again).contains("nothing is there"),
        "{}",
        story::text(&again)
    );
}

/// The registrar comes last, so its port is still free; the next `up` says whose it is now, before it does anything.
fn a_port_that_somebody_took_is_named_with_its_process(profile: &str) {
    let node1 = Lab::open(profile, None).unwrap().topology.netns("node1");
    let thief =
        lab::host::netns::within(&node1, || TcpListener::bind("0.0.0.0:9180").unwrap()).unwrap();
    let output = story::lab(profile, &["up", "--no-build"]);
    drop(thief);
    let text = story::text(&output);
    let named = format!(
        "syncer-registrar's port 9180 is in use by {} (pid {})",
        std::fs::read_to_string("/proc/self/comm").unwrap().trim(),
        std::process::id()
    );
    assert!(!output.status.success() && text.contains(&named), "{text}");
    assert!(
        !text.contains("agents"),
        "more than the doctor's step was run: {text}"
    );
}

#[test]
fn a_director_whose_guest_was_killed_comes_up_again() {
    let lab = guest_director();
    kill_guest(&lab);
    let profile = lab.topology.profile();
    let output = story::lab(profile, &["up", "--no-build"]);
    assert!(output.status.success(), "{}", story::text(&output));
    story::agreement(&lab, 10);
    leave_guest(&lab);
}

/// Ends the director's kernel as a power cut does.
pub(crate) fn kill_guest(lab: &Lab) {
    let keeper = lab.records.living("director").unwrap();
    let guests = lab::host::process::children(keeper.pid);
    assert!(!guests.is_empty());
    for guest in guests {
        lab::host::command::run("kill", &["-KILL", &guest.pid.to_string()]).unwrap();
    }
    assert!(keeper.gone_within(Duration::from_secs(5)));
}

/// Takes down a lab that was brought up for its director.
pub(crate) fn leave_guest(lab: &Lab) {
    let profile = lab.topology.profile();
    if profile != story::profile() {
        let output = story::lab(profile, &["down"]);
        assert!(output.status.success(), "{}", story::text(&output));
    }
}

/// The shared lab where its director is a guest, else one of its own whose director is.
pub(crate) fn guest_director() -> Lab {
    let lab = story::up();
    if lab.kernel.choice() == Choice::Uml {
        return lab;
    }
    let output = story::lab("withguest", &["up", "--no-build", "--kernel", "uml"]);
    assert!(output.status.success(), "{}", story::text(&output));
    Lab::open("withguest", None).unwrap()
}

#[test]
fn what_was_stopped_or_unplugged_goes_on_with_the_next_up() {
    let lab = story::up();
    for part in ["consul", "director"] {
        // A machine with IPVS of its own has no guest.
        let Some(process) = lab.records.living(part) else {
            continue;
        };
        for child in lab::host::process::children(process.pid) {
            child.signal(Signal::SIGSTOP);
        }
        process.signal(Signal::SIGSTOP);
    }
    lab::world::fabric::cut(&lab.topology, Node::Node1).unwrap();
    let output = story::lab(story::profile(), &["up", "--no-build"]);
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("stopped processes that go on"), "{text}");
    story::agreement(&lab, 20);
}

#[test]
fn down_after_a_reboot_removes_what_is_on_disk_and_ends_nobody() {
    let profile = "rebooted";
    let lab = Lab::open(profile, None).unwrap();
    // The pid that Nomad had before the reboot belongs to somebody else now.
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    let parts = lab.paths.state.join("parts");
    std::fs::create_dir_all(&parts).unwrap();
    std::fs::create_dir_all(lab.paths.state.join("node1/nomad/data")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
    let record = format!(
        r#"{{"pid": {}, "start": {}, "boot": "00000000-0000-4000-8000-000000000000"}}"#,
        stranger.id(),
        start.unwrap()
    );
    std::fs::write(parts.join("nomad.json"), record).unwrap();
    let output = story::lab(profile, &["down"]);
    assert!(output.status.success(), "{}", story::text(&output));
    nothing_is_left(profile);
    let lives = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(lives, "somebody else's process was ended");
}

/// No process, namespace, link, mount or folder of the profile.
pub(crate) fn nothing_is_left(profile: &str) {
    let lab = Lab::open(profile, None).unwrap();
    assert!(
        lab.cgroup.pids().is_empty(),
        "processes: {:?}",
        lab.cgroup.pids()
    );
    for netns in lab.topology.all_netns() {
        assert!(!lab::host::netns::exists(&netns), "namespace {netns}");
    }
    let links = lab::host::command::run("ip", &["-oneline", "link"]).unwrap();
    assert!(
        !links.contains(&format!("{}@", lab.topology.host_link())),
        "{links}"
    );
    assert!(!lab.paths.state.exists() && !lab.paths.run.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    // By whole names: another profile's may begin with this one's.
    let inside = |point: &str| Path::new(point).starts_with(&lab.paths.state);
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    assert!(!points.any(inside), "{mounts}");
}
