//! `lab env`: what makes plain `nomad`, `consul` and `docker` speak to the lab from the person's own shell.

use std::path::Path;

use anyhow::{Context, Result};

use crate::world::access::Access;
use crate::world::context::Lab;

/// Shell lines for `eval "$(cargo lab env)"`.
pub fn lines(lab: &Lab) -> Result<String> {
    lab.decisions()
        .context("the lab isn't up; `cargo lab up` brings it up")?;
    let lines: Vec<String> = variables(lab)
        .into_iter()
        .map(|(key, value)| format!("export {key}={}", quoted(&value)))
        .collect();
    Ok(lines.join("\n"))
}

/// What the programs `nomad` and `consul` need to find the lab's agents and to be let in.
pub fn agents(lab: &Lab) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("NOMAD_ADDR", lab.topology.nomad_address()),
        ("CONSUL_HTTP_ADDR", lab.topology.consul_address()),
    ];
    if let Ok(access) = Access::of(lab) {
        variables.push(("NOMAD_TOKEN", access.nomad.reveal().to_owned()));
        variables.push(("CONSUL_HTTP_TOKEN", access.consul.reveal().to_owned()));
    }
    variables
}

/// Names and values; the agents' folders go first on PATH.
pub fn variables(lab: &Lab) -> Vec<(&'static str, String)> {
    let mut variables = agents(lab);
    variables.push(("DOCKER_HOST", lab.docker_host()));
    if let Some(found) = lab.decisions() {
        let old = std::env::var("PATH").unwrap_or_default();
        let mut folders: Vec<String> = [&found.nomad, &found.consul]
            .iter()
            .filter_map(|program| program.parent().map(Path::display))
            .map(|folder| folder.to_string())
            .collect();
        folders.retain(|folder| !old.split(':').any(|part| part == folder));
        folders.push(old);
        variables.push(("PATH", folders.join(":")));
    }
    variables
}

/// Safe in any POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_value_with_a_quote_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
