//! The engine is away or hangs: what ended meanwhile is told, what lives is left alone, nobody waits for ever.

use std::time::{Duration, Instant};

use lab::client::docker::docker;
use lab::host::process::Identity;
use lab::part::docker;
use lab::world::context::Lab;
use lab::world::topology::Node;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::task::{Life, Recipe, Task};
use crate::{blow, story};

/// More than any call to the engine but a stop may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn a_container_that_died_while_the_engine_was_away_is_told_and_started_again() {
    let lab = story::up();
    let _whole = blow::Whole;
    let task = Task::run(&lab, Recipe::service("dies-unseen", "sleep 100000"));
    let before = task.life();
    let format = ["inspect", "--format", "{{.State.Pid}}", &before.container];
    let pid = docker(&lab, Node::Node1, &format)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let process = Identity::of(pid).unwrap();
    blow::stop(&lab, "docker");
    blow::kill(&process);
    blow::mend();
    let ended = started_again(&task, &before);
    assert_eq!(ended["Details"]["exit_code"], "137", "{ended}");
    let words = ended["DisplayMessage"].as_str().unwrap();
    assert!(
        words.contains("exited with non-zero exit code: 137"),
        "{words}"
    );
}

#[test]
fn a_container_that_its_engine_took_along_is_told_and_started_again() {
    let lab = story::up();
    let _whole = blow::Whole;
    let script = "trap 'exit 3' TERM; while :; do sleep 0.1; done";
    let task = Task::run(&lab, Recipe::service("goes-along", script));
    let before = task.life();
    let file = docker::configuration(&lab, Node::Node1);
    std::fs::write(file, r#"{"live-restore": false}"#).unwrap();
    blow::process(&lab, "docker").signal(Signal::SIGHUP);
    story::eventually("live-restore is off", 10, || {
        let on = docker(
            &lab,
            Node::Node1,
            &["info", "--format", "{{.LiveRestoreEnabled}}"],
        );
        match on {
            Ok(on) if on.trim() == "false" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    blow::stop(&lab, "docker");
    blow::mend();
    let ended = started_again(&task, &before);
    assert_eq!(ended["Details"]["exit_code"], "3", "{ended}");
}

#[test]
fn an_engine_that_hangs_makes_the_node_unhealthy_and_harms_no_task() {
    let lab = story::up();
    let _whole = blow::Whole;
    let task = Task::run(&lab, Recipe::service("unharmed", "sleep 100000"));
    let ending = Task::run(&lab, Recipe::service("ends-late", "sleep 100000"));
    let before = task.life();
    driver_health(&lab, true, 20);

    let hung = blow::Hung::new(&lab, "docker");
    let since = Instant::now();
    story::nomad_ok(&lab, &["job", "stop", "-detach", "ends-late"]);
    let mut exec = task.exec(&["-i=false"], &["true"]);
    let exec = std::thread::spawn(move || exec.output().unwrap());
    let signal = story::nomad(&lab, &["alloc", "signal", "-s", "SIGCONT", &task.alloc]);
    let exec = exec.join().unwrap();
    assert!(since.elapsed() < CALL_TIMEOUT, "{:?}", since.elapsed());
    for output in [signal, exec] {
        let text = story::text(&output);
        assert!(
            !output.status.success() && text.contains("did not answer"),
            "{text}"
        );
    }
    let words = driver_health(&lab, false, 20);
    assert!(
        words.contains("docker daemon") && words.contains("did not answer"),
        "{words}"
    );
    // Not an exit, and Nomad does not think so.
    assert_eq!(task.state().unwrap()["State"], "running");

    drop(hung);
    driver_health(&lab, true, 20);
    assert_eq!(task.life(), before);
    // A stop that was asked for meanwhile is not forgotten.
    ending.reaches("dead", 20);
    assert_eq!(ending.container(), "");
}

/// Waits until the task runs in another container, after the one restart that is due, and returns the event that told
/// its end.
fn started_again(task: &Task<'_>, before: &Life) -> Value {
    let state = story::eventually("the task runs again", 30, || {
        let state = task.state()?;
        if state["State"] == "running" && state["Restarts"] == 1 {
            Ok(state)
        } else {
            Err(state.to_string())
        }
    });
    let after = task.life();
    assert!(!after.container.is_empty() && after.container != before.container);
    let events = state["Events"].as_array().unwrap();
    let ended = events.iter().find(|event| event["Type"] == "Terminated");
    ended.unwrap_or_else(|| panic!("{events:?}")).clone()
}

/// Waits until the node's driver is healthy, or not, and returns its description.
fn driver_health(lab: &Lab, healthy: bool, seconds: u64) -> String {
    let nomad = lab.nomad();
    let get = |path: &str| {
        let found = nomad.get_json(path, Duration::from_secs(2));
        found.map_err(|error| format!("{error:#}"))
    };
    story::eventually(&format!("healthy is {healthy}"), seconds, || {
        let nodes = get("nodes")?;
        let id = nodes[0]["ID"].as_str().ok_or("no node")?;
        let driver = get(&format!("node/{id}"))?["Drivers"]["docker"].clone();
        if driver["Healthy"] == healthy {
            Ok(driver["HealthDescription"]
                .as_str()
                .unwrap_or_default()
                .to_owned())
        } else {
            Err(driver.to_string())
        }
    })
}
