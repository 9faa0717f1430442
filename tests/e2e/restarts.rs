//! Restarts of the agent, one after the other, under tasks that count: no line is lost, doubled or out of order.

use crate::task::{Recipe, Task, counted};
use crate::{blow, story};

/// How often the agent is ended and started again.
const RESTARTS: usize = 20;

/// Counts, and after the story's sign to stop and another one writes four megabytes.
const SCRIPT: &str = "i=0; while [ ! -e /alloc/stop ]; do echo $i; i=$((i+1)); usleep 5000; done; echo total $i; while [ ! -e /alloc/burst ]; do usleep 100000; done; yes $(printf %099d 7) | head -n 40000; echo end; exec sleep 100000";
const MAX_FILES: usize = 3;
const MAX_FILE_SIZE: u64 = 1024 * 1024;

#[test]
fn twenty_restarts_of_the_agent_lose_no_line_of_five_counting_tasks_and_keep_the_jobs_limits() {
    let lab = story::up();
    let _whole = blow::Whole;
    blow::forget_ended(&lab);
    let jobs = ["count-1", "count-2", "count-3", "count-4", "count-5"];
    let tasks = jobs.map(|job| {
        let blocks = "logs {
        max_files     = 3
        max_file_size = 1
      }";
        let recipe = Recipe::service(job, SCRIPT);
        Task::submit(&lab, Recipe { blocks, ..recipe })
    });
    for task in &tasks {
        task.reaches("running", 60);
    }
    let before = tasks.each_ref().map(Task::life);
    let mut wrong = Vec::new();
    for round in 1..=RESTARTS {
        blow::interrupt(&lab, "nomad");
        blow::start_agent(&lab);
        for (task, job) in tasks.iter().zip(jobs) {
            let log = task.caught_up(30);
            if let Err(what) = counted(log.lines(), 0) {
                wrong.push(format!("restart {round}, {job}: {what}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    blow::mend();
    assert_eq!(tasks.each_ref().map(Task::life), before);
    for task in &tasks {
        let (lines, total) = task.total();
        assert_eq!(counted(lines.iter().map(String::as_str), 0), Ok(total));
    }
    for task in &tasks {
        std::fs::write(task.folder().join("burst"), "").unwrap();
    }
    for (task, job) in tasks.iter().zip(jobs) {
        limits_hold(task, job);
    }
}

/// The collector deletes what is too old a moment after it has begun a new file.
fn limits_hold(task: &Task<'_>, job: &str) {
    let what = format!("the last line of {job}, in {MAX_FILES} files of its size");
    story::eventually(&what, 60, || {
        let files = task.log_files("stdout");
        let sizes: Vec<u64> = files
            .iter()
            .filter_map(|(_, path)| path.metadata().ok())
            .map(|file| file.len())
            .collect();
        let last = files.last().map(|(_, path)| std::fs::read_to_string(path));
        let whole = matches!(&last, Some(Ok(text)) if text.ends_with("7\nend\n"));
        if whole && sizes.len() <= MAX_FILES && sizes.iter().all(|size| *size <= MAX_FILE_SIZE) {
            Ok(())
        } else {
            Err(format!("the last line there: {whole}, sizes {sizes:?}"))
        }
    });
}
