//! An `up` that is killed half-way leaves nothing that `down` doesn't find.

use std::process::{Command, Stdio};
use std::time::Duration;

use lab::context::Lab;

use crate::story;

#[test]
fn down_after_a_killed_up_leaves_nothing() {
    let profile = "half";
    let mut child = Command::new(story::program())
        .args(["--profile", profile, "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    child.kill().unwrap();
    child.wait().unwrap();
    let output = story::lab(profile, &["down"]);
    assert!(output.status.success(), "{}", story::said(&output));
    nothing_is_left(profile);
    let again = story::lab(profile, &["down"]);
    assert!(
        again.status.success() && story::said(&again).contains("nothing is there"),
        "{}",
        story::said(&again)
    );
}

/// No process, namespace, link, mount or folder of the profile.
pub(crate) fn nothing_is_left(profile: &str) {
    let lab = Lab::open(profile, None).unwrap();
    assert!(
        lab.cgroup.pids().is_empty(),
        "processes: {:?}",
        lab.cgroup.pids()
    );
    for node in ["fabric", "client", "node1", "director"] {
        assert!(
            !lab::netns::exists(&lab.topology.netns(node)),
            "namespace of {node}"
        );
    }
    let links = lab::command::run("ip", &["-oneline", "link"]).unwrap();
    assert!(
        !links.contains(&format!("{}@", lab.topology.host_link())),
        "{links}"
    );
    assert!(!lab.paths.state.exists() && !lab.paths.run.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(&lab.paths.state.display().to_string()),
        "{mounts}"
    );
}
