//! The driver's engine suite, which the fake passes on any machine, passes against the lab's real Docker.

use std::path::PathBuf;
use std::process::Command;

use crate::story;

#[test]
fn the_engine_suite_passes_against_the_labs_docker() {
    let lab = story::up();
    let output = Command::new(suite())
        .args(["--ignored", "--test-threads=1"])
        .env("DOCKER_HOST", lab.docker_host())
        .output()
        .unwrap();
    let said = story::said(&output);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("running 0 tests"), "{said}");
}

/// Built along with these stories: the newest of its name beside them.
fn suite() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = std::fs::read_dir(own.parent().unwrap()).unwrap();
    let built = beside.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let ours = name.starts_with("engine-") && !name.contains('.');
        ours.then(|| {
            (
                entry.metadata().and_then(|data| data.modified()).unwrap(),
                entry.path(),
            )
        })
    });
    built
        .max()
        .expect("the suite is not built: `cargo test --workspace --no-run`")
        .1
}
