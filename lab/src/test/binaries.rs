//! Test binaries, built and not run, and where cargo put them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::host::paths::workspace;
use crate::host::privilege::cargo_for;
use crate::host::stream;

/// A test binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    /// Its target's name.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub(super) folder: PathBuf,
}

/// Builds all integration test binaries, as the person. Of the whole workspace, like the unit stage: with fewer
/// packages cargo unites fewer features, and compiles half of the dependencies once more.
///
/// # Errors
/// The compiler's last lines.
pub(super) fn build(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Result<Vec<Binary>> {
    let mut command = cargo_for(bench.person);
    command.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    command.current_dir(workspace());
    let mut binaries = Vec::new();
    let finished = stream::run(command, |line| match read(line) {
        Message::Test(binary) => binaries.push(binary),
        Message::Other => {}
        Message::Text => show(line),
    })
    .context("run cargo")?;
    if !finished.status.success() {
        bail!("the tests do not compile:\n{}", finished.tail.indented(4));
    }
    Ok(binaries)
}

/// One line of cargo's.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Test(Binary),
    Other,
    /// Not for machines.
    Text,
}

fn read(line: &str) -> Message {
    if !line.starts_with('{') {
        return Message::Text;
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else {
        return Message::Text;
    };
    let kinds = value["target"]["kind"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = kinds.iter().any(|kind| kind == "test").then(|| {
        Some(Binary {
            name: value["target"]["name"].as_str()?.to_owned(),
            path: value["executable"].as_str()?.into(),
            folder: Path::new(value["manifest_path"].as_str()?)
                .parent()?
                .to_owned(),
        })
    });
    found.flatten().map_or(Message::Other, Message::Test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integration_tests_are_told_from_libraries_and_from_text() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/w/ipvs/Cargo.toml","target":{"kind":["test"],"name":"kernel"},"executable":"/t/deps/kernel-1"}"#;
        let binary = Binary {
            name: "kernel".into(),
            path: "/t/deps/kernel-1".into(),
            folder: "/w/ipvs".into(),
        };
        assert_eq!(read(test), Message::Test(binary));
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"kind":["lib"],"name":"ipvs"},"executable":"/t/deps/ipvs-1"}"#;
        assert_eq!(read(library), Message::Other);
        assert_eq!(
            read(r#"{"reason":"build-finished","success":true}"#),
            Message::Other
        );
        assert_eq!(read("   Compiling ipvs v0.2.0"), Message::Text);
        assert_eq!(read("{ this is not JSON"), Message::Text);
    }
}
