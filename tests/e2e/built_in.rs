//! Our driver and Nomad's own take each other's tasks over.

use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::task::{COUNTING, Life, Recipe, Task, counted};
use crate::{blow, story};

#[test]
fn switching_to_the_built_in_driver_and_back_restarts_no_task() {
    let lab = story::up();
    let _whole = blow::Whole;
    let ours = Task::run(&lab, Recipe::service("under-ours", COUNTING));
    let ours_before = ours.life();
    ours.caught_up(10);

    blow::mend_with("built-in");
    assert!(lab::part::nomad::plugins(&lab, Node::Node1).is_empty());
    // Its log stands still: the built-in driver's new log reader opens the FIFO before the agent's log monitor opens it anew, and
    // writes to nobody. A task of its own fares the same when its log reader dies while the agent is away. What it has is there.
    undisturbed(&lab, &ours, &ours_before);
    let theirs = Task::run(&lab, Recipe::service("under-built-in", COUNTING));
    let theirs_before = theirs.life();
    assert!(!log_readers(&lab).is_empty());
    fares_well(&lab, &theirs, &theirs_before);

    blow::mend();
    fares_well(&lab, &ours, &ours_before);
    fares_well(&lab, &theirs, &theirs_before);
    // Each would write every line once more.
    story::eventually("no log reader is left", 10, || {
        let left = log_readers(&lab);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    let (lines, total) = theirs.total();
    let whole = counted(lines.iter().map(String::as_str), 0);
    assert_eq!(
        whole,
        Ok(total),
        "of the task that the built-in driver started"
    );
    // The built-in driver, taking a task over, reads its log from the beginning once more. What came after counts.
    let (lines, total) = ours.total();
    let last = total.saturating_sub(100);
    let tail = lines[lines.len() - (total - last)..]
        .iter()
        .map(String::as_str);
    assert_eq!(
        counted(tail, last),
        Ok(total),
        "of the task that went there and back"
    );
}

/// Undisturbed, and its log goes on.
fn fares_well(lab: &Lab, task: &Task<'_>, before: &Life) {
    task.caught_up(20);
    undisturbed(lab, task, before);
}

/// The same container, never restarted; commands run inside, and its log can be read.
fn undisturbed(lab: &Lab, task: &Task<'_>, before: &Life) {
    // An agent that was just started needs a moment for its tasks.
    story::eventually("a command inside", 20, || {
        let output = task.exec_output(&["sh", "-c", "echo inside; exit 7"]);
        let text = story::text(&output);
        if output.status.code() == Some(7) && text.contains("inside") {
            Ok(())
        } else {
            Err(text)
        }
    });
    assert_eq!(&task.life(), before);
    let log = story::nomad_ok(lab, &["alloc", "logs", &task.alloc]);
    assert!(log.lines().any(|line| line.parse::<u64>().is_ok()), "{log}");
}

/// The built-in driver's processes that read logs.
fn log_readers(lab: &Lab) -> Vec<i32> {
    let mut pids = lab::host::netns::pids(&lab.topology.netns(Node::Node1.name()));
    pids.retain(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|command| command.contains("docker_logger"))
    });
    pids
}
