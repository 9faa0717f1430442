//! The person's own shell speaks to the lab, and `exec` passes everything through.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::story;

#[test]
fn plain_nomad_consul_and_docker_work_after_eval_of_env() {
    let lab = story::up();
    let program = story::program();
    let script = format!(
        r#"eval "$({} --profile {} env)" && nomad node status && consul members && docker ps"#,
        program.display(),
        story::profile()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("ready") && text.contains("alive") && text.contains("busybox:1"),
        "{text}"
    );
    drop(lab);
}

#[test]
fn exec_passes_input_and_exit_code_on_every_node() {
    story::up();
    let input = "x".repeat(200_000);
    for node in ["client", "node1", "director"] {
        let mut child = Command::new(story::program())
            .args([
                "--profile",
                story::profile(),
                "exec",
                node,
                "--",
                "sh",
                "-c",
                "wc -c; exit 7",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "on {node}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "200000",
            "on {node}"
        );
    }
}

#[test]
fn exec_passes_signals_to_the_command_in_the_guest() {
    story::up();
    let mut child = Command::new(story::program())
        .args([
            "--profile",
            story::profile(),
            "exec",
            "director",
            "--",
            "sh",
            "-c",
        ])
        .arg("trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(9));
}
