//! The driver's name is the file name of its executable, so that the label in the agent's configuration, the file and
//! the name in job files can't disagree. It also decides which labels the containers carry.

use std::env;
use std::fmt::{self, Display};
use std::path::Path;

/// Under this name we stand in for the agent's own driver.
const BUILT_IN_NAME: &str = "docker";
/// Labels that only this driver reads; the agent's own driver does not know them.
const OWN_PREFIX: &str = "nomad-ipvs";
/// Labels that the agent's own driver writes and reads.
const NOMAD_PREFIX: &str = "com.hashicorp.nomad";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverName(String);

#[derive(Debug, thiserror::Error)]
#[error("the name of this executable can't be used as a driver's name: {0}")]
pub struct NameError(String);

impl DriverName {
    /// From the path this process was started by; the agent always uses the file's own path.
    pub fn from_executable() -> Result<Self, NameError> {
        let path = env::args_os()
            .next()
            .ok_or_else(|| NameError("there is no argument 0".to_owned()))?;
        Self::from_path(Path::new(&path))
    }

    pub fn from_path(path: &Path) -> Result<Self, NameError> {
        let stem = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| NameError(path.display().to_string()))?;
        let name = stem.strip_suffix(".exe").unwrap_or(stem);
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(usable) {
            return Err(NameError(format!(
                "{name:?} has characters other than letters, digits, '-', '_' and '.'"
            )));
        }
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Prefix of the labels that carry the task's identity. Under another name than `docker` it is our own: the
    /// agent's driver, running beside us, kills containers with *its* labels that it does not know.
    pub fn label_prefix(&self) -> &'static str {
        if self.0 == BUILT_IN_NAME {
            NOMAD_PREFIX
        } else {
            OWN_PREFIX
        }
    }

    /// Whether a label's name is this driver's or the agent's own driver's: no job sets such.
    pub fn is_reserved_label(name: &str) -> bool {
        [OWN_PREFIX, NOMAD_PREFIX].into_iter().any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('.'))
        })
    }

    /// The labels with a container's allocation, of this driver under any name and of the agent's own.
    pub fn allocation_labels() -> [String; 2] {
        [OWN_PREFIX, NOMAD_PREFIX].map(|prefix| format!("{prefix}.alloc_id"))
    }

    /// The label that marks a container as this driver's.
    pub fn owner_label() -> String {
        format!("{OWN_PREFIX}.driver")
    }

    /// The label with the node the container was started by.
    pub fn node_label() -> String {
        format!("{OWN_PREFIX}.node")
    }
}

impl Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_is_the_drivers_name() {
        let name = DriverName::from_path(Path::new("/opt/nomad/plugins/docker-ipvs")).unwrap();
        assert_eq!(name.as_str(), "docker-ipvs");
        assert_eq!(name.label_prefix(), "nomad-ipvs");
        assert_eq!(
            DriverName::from_path(Path::new("docker"))
                .unwrap()
                .label_prefix(),
            "com.hashicorp.nomad"
        );
    }

    #[test]
    fn names_that_attributes_could_not_carry_are_refused() {
        for path in ["/", "a b", "dock/er\n", ".."] {
            let refusal = DriverName::from_path(Path::new(path));
            assert!(refusal.is_err(), "{path:?} {refusal:?}");
        }
    }
}
