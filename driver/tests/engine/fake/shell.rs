//! The shell of the fake's containers and commands: `echo`, `printf`, `sleep`, `exit`, and `hold` for a child that keeps the
//! output open.

use std::time::Duration;

use bytes::Bytes;
use docker_ipvs::engine::Source;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Write(Source, Bytes),
    Sleep(Duration),
    Hold,
    Exit(i64),
}

pub(super) fn steps(script: &str, tty: bool) -> Vec<Step> {
    script
        .split(';')
        .map(|step| read(step.trim(), tty))
        .collect()
}

fn read(step: &str, tty: bool) -> Step {
    match step.split_once(' ') {
        Some(("sleep", seconds)) => Step::Sleep(Duration::from_secs_f64(seconds.parse().unwrap())),
        Some(("exit", code)) => Step::Exit(code.parse().unwrap()),
        Some(("echo", words)) => {
            let (source, words) = words
                .strip_suffix(" >&2")
                .map_or((Source::Stdout, words), |words| (Source::Stderr, words));
            Step::Write(source, bytes(&format!("{words}\n"), tty))
        }
        Some(("printf", words)) => {
            let text = words
                .trim_matches('\'')
                .replace("\\001", "\u{1}")
                .replace("\\n", "\n");
            Step::Write(Source::Stdout, bytes(&text, tty))
        }
        None if step == "hold" => Step::Hold,
        _ => panic!("the fake's shell does not know {step:?}"),
    }
}

fn bytes(text: &str, tty: bool) -> Bytes {
    Bytes::from(if tty {
        text.replace('\n', "\r\n")
    } else {
        text.to_owned()
    })
}
