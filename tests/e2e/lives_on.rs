//! A task, and every line it writes, lives through the end of all that stands between it and its log.

use lab::client::docker::docker;
use lab::world::topology::Node;

use crate::task::{COUNTING, Recipe, Task, counted};
use crate::{blow, story};

#[test]
fn no_line_is_lost_or_doubled_by_the_end_of_plugin_agent_or_engine() {
    let lab = story::up();
    let _whole = blow::Whole;
    let task = Task::run(&lab, Recipe::service("counting", COUNTING));
    let before = task.life();
    assert_eq!((before.restarts, before.state.as_str()), (0, "running"));
    task.caught_up(10);
    let blows: [(&str, &dyn Fn()); 4] = [
        ("the plugin is killed", &|| blow::kill_plugin(&lab)),
        ("the agent is stopped", &|| blow::stop(&lab, "nomad")),
        ("the agent is killed", &|| {
            blow::kill(&blow::process(&lab, "nomad"));
        }),
        ("the engine is stopped", &|| blow::stop(&lab, "docker")),
    ];
    for (what, blow) in blows {
        blow();
        blow::mend();
        let log = task.caught_up(20);
        assert_eq!(task.life(), before, "after {what}");
        if let Err(wrong) = counted(log.lines(), 0) {
            panic!("after {what}: {wrong}");
        }
    }
    let (lines, total) = task.total();
    let counted = counted(lines.iter().map(String::as_str), 0);
    assert_eq!(counted, Ok(total));
}

const TWO_SMALL_FILES: &str = r#"logging {
          type = "json-file"
          config {
            max-size = "4k"
            max-file = "2"
          }
        }"#;

/// The engine keeps two files of 4 kB: seconds of this task, or an instant of it while there is a file `burst`.
const FLOOD: Recipe = Recipe {
    job: "flood",
    script: "i=0; while [ ! -e /alloc/stop ]; do echo $i; i=$((i+1)); [ -e /alloc/burst ] || usleep 50000; done; echo total $i; exec sleep 100000",
    kind: "service",
    config: TWO_SMALL_FILES,
    blocks: "",
};

/// Nothing until there is a file `go`, and then more than the engine keeps.
const SILENT: Recipe = Recipe {
    job: "silent",
    script: "while [ ! -e /alloc/go ]; do usleep 100000; done; seq 1 2000; exec sleep 100000",
    kind: "service",
    config: TWO_SMALL_FILES,
    blocks: "",
};

#[test]
fn lines_that_the_engine_threw_away_while_no_driver_ran_are_told_in_one_event() {
    let lab = story::up();
    let _whole = blow::Whole;
    let silent = Task::run(&lab, SILENT);
    let task = Task::run(&lab, FLOOD);
    task.caught_up(10);
    let before = task.life();
    blow::stop(&lab, "nomad");
    let arrived: usize = task.log("stdout").lines().last().unwrap().parse().unwrap();
    let burst = task.folder().join("burst");
    std::fs::write(&burst, "").unwrap();
    std::fs::write(silent.folder().join("go"), "").unwrap();
    story::eventually("the engine has thrown lines away", 20, || {
        let stored = docker(&lab, Node::Node1, &["logs", &before.container]).unwrap();
        match stored.lines().next().and_then(|line| line.parse().ok()) {
            Some(first) if arrived + 10 < first => Ok(()),
            first => Err(format!("{first:?} is stored, {arrived} has arrived")),
        }
    });
    std::fs::remove_file(&burst).unwrap();
    blow::mend();
    let log = task.caught_up(20);
    assert_eq!(task.life(), before);
    let events = || {
        let events = task.events().into_iter();
        events
            .filter(|event| event.contains("s of log lines are gone"))
            .collect::<Vec<_>>()
    };
    // The agent has it at once; the server learns it once the node has registered again, which its ACLs hold up.
    story::eventually("the event", 60, || match events().as_slice() {
        [_] => Ok(()),
        other => Err(format!("{other:?} of {:?}", task.events())),
    });
    // Where none had arrived, nobody knows which is the first.
    story::eventually("the event of the silent task", 20, || {
        let events = silent.events();
        let is_loss = |event: &String| event.contains("may be missing: none had been read yet");
        events
            .iter()
            .any(is_loss)
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    });
    // Nothing else is wrong: the lines go on from where the engine's do.
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    let gaps = numbers.windows(2).filter(|two| two[0] + 1 != two[1]);
    assert_eq!(gaps.count(), 1, "{numbers:?}");
    task.total();
    assert_eq!(events().len(), 1);
}
