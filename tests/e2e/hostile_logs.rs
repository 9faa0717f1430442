//! Jobs whose author wants the host, or the node's plugin, by way of the log directory. None of them gets either, and
//! the neighbours do not notice.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};

use lab::part::nomad;
use lab::world::context::Lab;
use lab::world::topology::Node;

use crate::task::{COUNTING, Recipe, Task, counted};
use crate::{blow, story};

/// The shared directory once more, where `logs` is not mounted read-only. (Nobody gets the allocation's own directory.)
const SHARED_AGAIN: &str = r#"volumes = ["../alloc:/a/alloc"]"#;
/// The plugin at rest has about ten; what a job makes it read would be thousands.
const PLUGIN_LIMIT: u64 = 60 * 1024 * 1024;

#[test]
fn a_job_can_read_its_logs_inside_and_change_none_of_them() {
    let lab = story::up();
    let task = Task::run(&lab, Recipe::service("reader", COUNTING));
    task.caught_up(10);
    let inside = task.exec_output(&["sh", "-c", "head -n 1 /alloc/logs/t.stdout.0"]);
    assert_eq!(story::text(&inside), "0\n");
    for attempt in [
        "touch /alloc/logs/x",
        "echo forged > /alloc/logs/t.stdout.0",
        "rm /alloc/logs/t.stdout.0",
        "mv /alloc/logs /alloc/gone",
    ] {
        let output = task.exec_output(&["sh", "-c", attempt]);
        assert!(!output.status.success(), "{attempt}");
    }
    assert!(task.exec_output(&["touch", "/alloc/x"]).status.success());
    task.caught_up(10);
}

const FORGED: &str = "touch /alloc/done; while :; do echo forged; usleep 20000; done";
const HOST_FOLDER: &str = "/tmp/nomad-ipvs-hostile-logs";

/// Not by the job itself, which has no way to it: `/alloc/logs` is a mount in each container, and such can't be renamed.
#[test]
fn a_log_directory_that_became_a_link_leads_nobody_to_the_host() {
    let lab = story::up();
    let _whole = blow::Whole;
    fs::create_dir_all(HOST_FOLDER).unwrap();
    let neighbour = Task::run(&lab, Recipe::service("neighbour", COUNTING));
    let task = hostile(&lab, "link", FORGED);
    let renamed = task.exec_output(&["mv", "/a/alloc/logs", "/a/alloc/moved"]);
    assert!(!renamed.status.success());
    let logs = task.folder().join("logs");
    fs::rename(&logs, task.folder().join("moved")).unwrap();
    symlink(HOST_FOLDER, &logs).unwrap();
    blow::kill_plugin(&lab);
    goes_on(&neighbour);
    story::eventually("the event", 20, || {
        let events = task.events();
        let has_both = events
            .iter()
            .any(|event| event.contains("log is not collected"));
        has_both.then_some(()).ok_or_else(|| format!("{events:?}"))
    });
    let left: Vec<_> = fs::read_dir(HOST_FOLDER).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    drop(task);
    fs::remove_dir(HOST_FOLDER).unwrap();
}

/// Once the plugin has been killed nobody reads the FIFO, so the next one writes the files: here into a FIFO, and there
/// into a device. The device's lines come last: what the plugin finds is the engine's stored log, which keeps two files of 2 MB.
const FIFO_AS_FILE: &str = "mkfifo /a/alloc/logs/t.stdout.1; mknod /a/alloc/logs/t.stderr.1 c 1 3; touch /alloc/done; while [ ! -e /alloc/go ]; do usleep 100000; done; line=$(printf %099d 7); yes $line | head -c 3000000; yes $line | head -c 300000 >&2; exec sleep 100000";

#[test]
fn a_job_that_puts_a_fifo_or_a_device_in_place_of_a_log_file_freezes_nobody() {
    let lab = story::up();
    let _whole = blow::Whole;
    let neighbour = Task::run(&lab, Recipe::service("neighbour", COUNTING));
    let task = hostile(&lab, "fifo", FIFO_AS_FILE);
    blow::kill_plugin(&lab);
    fs::write(task.folder().join("go"), "").unwrap();
    story::eventually("the event", 60, || {
        let events = task.events();
        let log = |file: &str| {
            let words = format!("log lines are lost: {file:?}");
            events.iter().any(|event| event.contains(&words))
        };
        let both = log("t.stdout.1") && log("t.stderr.1");
        both.then_some(()).ok_or_else(|| format!("{events:?}"))
    });
    goes_on(&neighbour);
    let fifo = fs::symlink_metadata(task.folder().join("logs/t.stdout.1")).unwrap();
    assert!(fifo.file_type().is_fifo());
}

const ZERO_AS_FIFO: &str = "cd /a/alloc/logs; rm .t.stdout.fifo .t.stderr.fifo; mknod .t.stdout.fifo c 1 5; mknod .t.stderr.fifo c 1 5; touch /alloc/done; while :; do echo zero; usleep 20000; done";

#[test]
fn a_job_that_puts_an_endless_device_in_place_of_the_fifo_costs_no_memory() {
    let lab = story::up();
    let _whole = blow::Whole;
    let neighbour = Task::run(&lab, Recipe::service("neighbour", COUNTING));
    let task = hostile(&lab, "zero", ZERO_AS_FIFO);
    let zero = fs::symlink_metadata(task.folder().join("logs/.t.stdout.fifo")).unwrap();
    assert!(zero.file_type().is_char_device());
    blow::kill_plugin(&lab);
    goes_on(&neighbour);
    // What the job writes arrives all the same, so the plugin has dealt with the device.
    task.caught_up(20);
    let sizes = plugin_memory(&lab);
    assert!(sizes.iter().all(|size| *size < PLUGIN_LIMIT), "{sizes:?}");
}

fn hostile<'a>(lab: &'a Lab, job: &'static str, script: &'static str) -> Task<'a> {
    let config = SHARED_AGAIN;
    let recipe = Recipe::service(job, script);
    let task = Task::run(lab, Recipe { config, ..recipe });
    story::eventually("the job has done its worst", 20, || {
        let done = task.folder().join("done").exists();
        done.then_some(()).ok_or_else(|| "not yet".to_owned())
    });
    task
}

/// The task's log has all its lines, and commands run in it.
fn goes_on(task: &Task<'_>) {
    let log = task.caught_up(20);
    if let Err(wrong) = counted(log.lines(), 0) {
        panic!("{wrong}");
    }
    let output = task.exec_output(&["echo", "alive"]);
    assert_eq!(story::text(&output), "alive\n");
}

/// Resident bytes of each.
fn plugin_memory(lab: &Lab) -> Vec<u64> {
    let resident = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib * 1024)
    };
    let plugins = nomad::plugins(lab, Node::Node1).into_iter();
    plugins.filter_map(|plugin| resident(plugin.pid)).collect()
}
