//! The nodes' engines, asked by Docker's own program.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::host::command;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// A container, as far as the lab reads it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    config: Config,
    state: State,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    env: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: i32,
}

impl Container {
    /// What its environment has, by name.
    pub fn env(&self) -> BTreeMap<&str, &str> {
        let pairs = self.config.env.iter().flatten();
        pairs.filter_map(|pair| pair.split_once('=')).collect()
    }

    /// Its first process; `None` where it does not run.
    pub fn pid(&self) -> Option<i32> {
        (self.state.pid > 0).then_some(self.state.pid)
    }
}

/// Runs the docker program against a node's engine.
pub fn docker(lab: &Lab, node: Node, args: &[&str]) -> Result<String> {
    let host = lab.docker_host_of(node);
    let mut all = vec!["--host", host.as_str()];
    all.extend(args);
    command::run("docker", &all)
}

/// All that the engine says of a container.
pub fn inspect(lab: &Lab, node: Node, id: &str) -> Result<Container> {
    let text = docker(lab, node, &["inspect", "--type=container", id])?;
    of(&text)
}

fn of(text: &str) -> Result<Container> {
    let mut containers: Vec<Container> = serde_json::from_str(text).context("docker inspect")?;
    ensure!(containers.len() == 1, "docker inspect: not one container");
    Ok(containers.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_does_not_run_has_no_process() {
        let ended = r#"[{ "Config": { "Env": null }, "State": { "Pid": 0 } }]"#;
        let ended = of(ended).unwrap();
        assert_eq!((ended.pid(), ended.env().len()), (None, 0));
        let running = r#"[{ "Config": { "Env": ["A=b=c", "odd"] }, "State": { "Pid": 7 } }]"#;
        let running = of(running).unwrap();
        assert_eq!((running.pid(), running.env()["A"]), (Some(7), "b=c"));
        assert!(of("[]").is_err());
    }
}
