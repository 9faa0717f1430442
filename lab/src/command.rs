//! One-shot commands whose failure must say what was run and what it answered.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::programs;

/// Runs a program to its end and returns its standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(&mut command)
}

/// Same, for a command that needs more than arguments.
pub fn run_command(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    command.env("PATH", programs::search_path());
    let output = command.output().with_context(|| format!("run `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
