//! Commands inside a task, what a task uses, and a million lines at once.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lab::world::context::Lab;
use serde_json::Value;

use crate::story;
use crate::task::{Recipe, Task, counted};

/// Busy enough to be measured.
const BUSY: &str = "while :; do :; done & exec sleep 100000";

#[test]
fn a_command_inside_a_task_has_its_exit_code_input_output_and_terminal() {
    let lab = story::up();
    let task = Task::run(&lab, Recipe::service("entered", BUSY));
    exit_codes(&task);
    input_comes_back_whole(&task);
    much_output_arrives_whole(&task);
    a_terminal(&task);
    a_terminals_output_may_begin_with_any_byte(&task);
    usage(&lab, &task);
}

fn exit_codes(task: &Task<'_>) {
    let output = task.exec_output(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let words = (utf8(&output.stdout), utf8(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{words:?}");
    assert_eq!(words, ("out\n".to_owned(), "err\n".to_owned()));
    let output = task.exec_output(&["no-such-program"]);
    let text = story::text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("no-such-program") && text.contains("not found"),
        "{text}"
    );
}

fn input_comes_back_whole(task: &Task<'_>) {
    let sent: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect();
    let output = fed(task, &["cat"], sent.clone());
    assert!(output.status.success(), "{}", utf8(&output.stderr));
    assert!(
        output.stdout == sent,
        "{} of {} bytes came back",
        output.stdout.len(),
        sent.len()
    );
    let output = fed(task, &["sh", "-c", "wc -c; exit 3"], sent);
    assert_eq!(
        (utf8(&output.stdout).trim(), output.status.code()),
        ("1048576", Some(3))
    );
}

fn much_output_arrives_whole(task: &Task<'_>) {
    let output = task.exec_output(&["head", "-c", "6000000", "/dev/zero"]);
    assert!(output.status.success(), "{}", utf8(&output.stderr));
    assert_eq!(output.stdout.len(), 6_000_000);
}

/// Runs a command inside from a terminal.
fn in_terminal(task: &Task<'_>, flags: &[&str], command: &[&str]) -> Output {
    let inside = task.exec(flags, command);
    let words: Vec<_> = std::iter::once(inside.get_program())
        .chain(inside.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    for (key, value) in inside.get_envs() {
        script.env(key, value.unwrap());
    }
    // It passes the end of its input on to the terminal, in the middle of what is written there: its input does not end.
    let mut running = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _input = running.stdin.take();
    running.wait_with_output().unwrap()
}

fn a_terminal(task: &Task<'_>) {
    let output = in_terminal(task, &["-t"], &["sh", "-c", "tty && exit 9"]);
    let text = story::text(&output);
    assert!(
        text.contains("/dev/pts/") || text.contains("/dev/console"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(9), "{text}");
    let without = task.exec_output(&["tty"]);
    assert!(utf8(&without.stdout).contains("not a tty"));
}

/// The byte that begins a frame's header where there is no terminal, and much behind it.
fn a_terminals_output_may_begin_with_any_byte(task: &Task<'_>) {
    let script = "printf '\\001abcdefgh\\n'; seq 0 1999; exit 5";
    let output = in_terminal(task, &["-i", "-t"], &["sh", "-c", script]);
    let text = story::text(&output);
    assert_eq!(output.status.code(), Some(5), "{text:?}");
    let (_, written) = text
        .split_once('\u{1}')
        .unwrap_or_else(|| panic!("{text:?}"));
    let lines: Vec<_> = written
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    assert_eq!(lines.first(), Some(&"abcdefgh"), "{text:?}");
    assert_eq!(counted(lines.into_iter().skip(1), 0), Ok(2000), "{text:?}");
}

fn usage(lab: &Lab, task: &Task<'_>) {
    let path = format!("client/allocation/{}/stats", task.alloc);
    story::eventually("CPU and memory of the task", 20, || {
        let found = lab.nomad().get_json(&path, Duration::from_secs(2));
        let found = found.map_err(|error| format!("{error:#}"))?;
        let used = &found["Tasks"]["t"]["ResourceUsage"];
        let (cpu, memory) = (&used["CpuStats"], &used["MemoryStats"]);
        let some = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
        if some(&cpu["Percent"])
            && some(&cpu["TotalTicks"])
            && some(&memory["Usage"])
            && some(&memory["RSS"])
        {
            Ok(())
        } else {
            Err(found.to_string())
        }
    });
    let text = story::nomad_ok(lab, &["alloc", "status", "-stats", &task.alloc]);
    assert!(
        text.contains("Memory Stats") && text.contains("CPU Stats"),
        "{text}"
    );
}

/// Runs a command inside with this input.
fn fed(task: &Task<'_>, command: &[&str], input: Vec<u8>) -> Output {
    let mut exec = task.exec(&["-i", "-t=false"], command);
    exec.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = exec.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    output
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Almost seven megabytes, over several files.
const MILLION: Recipe = Recipe {
    job: "million",
    script: "seq 0 999999",
    kind: "batch",
    config: "",
    blocks: "logs {
        max_files     = 5
        max_file_size = 2
      }",
};

#[test]
fn a_million_lines_written_at_once_by_a_task_that_ends_are_in_its_log_in_order() {
    let lab = story::up();
    let task = Task::submit(&lab, MILLION);
    task.reaches("dead", 60);
    let state = task.state().unwrap();
    assert!(
        state["Failed"] == false && state["Restarts"] == 0,
        "{state}"
    );
    // What Nomad's collector has read it writes a moment later.
    let log = story::eventually("the last line", 10, || {
        let log = task.log("stdout");
        if log.ends_with("999999\n") {
            Ok(log)
        } else {
            Err(format!("{:?} of {} bytes", log.lines().last(), log.len()))
        }
    });
    assert_eq!(counted(log.lines(), 0), Ok(1_000_000));
}

#[test]
fn a_terminals_log_may_begin_with_the_byte_that_begins_a_header_elsewhere() {
    let lab = story::up();
    let recipe = Recipe {
        kind: "batch",
        config: "tty = true",
        ..Recipe::service("terminal", "printf '\\001abcdefgh\\n'; seq 0 1999")
    };
    let task = Task::submit(&lab, recipe);
    task.reaches("dead", 60);
    let expected: String = std::iter::once("\u{1}abcdefgh\r\n".to_owned())
        .chain((0..2000).map(|number| format!("{number}\r\n")))
        .collect();
    // What Nomad's collector has read it writes a moment later.
    story::eventually("the whole log", 10, || {
        let log = task.log("stdout");
        if log == expected {
            Ok(())
        } else {
            Err(format!("{} of {} bytes", log.len(), expected.len()))
        }
    });
}
