//! A table of ours in nftables: replaced in one transaction, and listed to see whether somebody has changed it.
//!
//! Which rules it has is for whoever keeps it to know.

use serde_json::Value;

use crate::command::{CommandError, run};

/// Why a table is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the role of a real server needs nftables")]
    Unusable(#[source] CommandError),
    #[error("the table {0}")]
    Failed(&'static str, #[source] CommandError),
}

/// A table by its name, and how it was set last.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    set: Option<Set>,
}

/// What was set, and what the kernel listed of it.
#[derive(Debug)]
struct Set {
    body: String,
    listed: String,
}

/// Whether a table is still as it was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    AsSet,
    /// Somebody else has changed it, or removed it.
    Changed,
}

impl Table {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, set: None }
    }

    /// Whether this is what was set last.
    pub(super) fn is(&self, body: &str) -> bool {
        self.set.as_ref().is_some_and(|set| set.body == body)
    }

    /// Compares what the kernel has with what was set, if anything was.
    pub(super) async fn look(&self) -> Result<Found, TableError> {
        let Some(set) = &self.set else {
            return Ok(Found::AsSet);
        };
        let listed = self.list().await?;
        Ok(if listed.as_ref() == Some(&set.listed) {
            Found::AsSet
        } else {
            Found::Changed
        })
    }

    /// Replaces the kernel's table by one with this between its braces.
    pub(super) async fn replace(&mut self, body: String) -> Result<(), TableError> {
        self.set = None;
        let script = script(self.name, &body);
        let done = run("nft", &["-f", "-"], Some(&script)).await;
        done.map_err(|error| TableError::Failed(self.name, error))?;
        let listed = self.list().await?.unwrap_or_default();
        self.set = Some(Set { body, listed });
        Ok(())
    }

    /// What the kernel has of it, in a form that stays the same as long as it does; `None`: it is not there.
    async fn list(&self) -> Result<Option<String>, TableError> {
        match run("nft", &["--json", "list", "table", "ip", self.name], None).await {
            Ok(listed) => Ok(Some(lasting(&listed))),
            Err(CommandError::Failed { complaint, .. })
                if complaint.contains("No such file or directory") =>
            {
                Ok(None)
            }
            Err(error) => Err(TableError::Failed(self.name, error)),
        }
    }
}

/// Asks the kernel for all that a table needs, by one that comes and goes.
pub(super) async fn probe(name: &str, body: &str) -> Result<(), TableError> {
    let script = script(name, body) + &format!("delete table ip {name}\n");
    let tried = run("nft", &["-f", "-"], Some(&script)).await;
    tried.map(drop).map_err(TableError::Unusable)
}

/// Takes a table away, if it is there.
pub(super) async fn remove(name: &'static str) -> Result<(), TableError> {
    let script = format!("add table ip {name}\ndelete table ip {name}\n");
    let done = run("nft", &["-f", "-"], Some(&script)).await;
    done.map(drop)
        .map_err(|error| TableError::Failed(name, error))
}

/// Adding before deleting makes the script work whether the table is there or not.
fn script(name: &str, body: &str) -> String {
    format!("add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n{body}}}\n")
}

/// Without what changes by itself: handles count up with each transaction, leases run out, and elements have no order.
fn lasting(listed: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("handle");
                fields.remove("expires");
                fields.values_mut().for_each(strip);
                if let Some(Value::Array(elements)) = fields.get_mut("elem") {
                    elements.sort_by_cached_key(Value::to_string);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(listed) else {
        return listed.to_owned();
    };
    strip(&mut value);
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listings_of_one_table_are_the_same_whatever_their_handles_and_however_old() {
        let listed = |number: u32, elements: &str| {
            format!(
                r#"{{"nftables":[{{"table":{{"name":"t","handle":{number}}}}},{{"map":{{"expires":{number},"elem":[{elements}]}}}}]}}"#
            )
        };
        assert_eq!(lasting(&listed(1, "1,2")), lasting(&listed(2, "2,1")));
        assert_ne!(lasting(&listed(1, "1,2")), lasting(&listed(1, "1,3")));
        assert!(lasting(&listed(1, "1")).contains("\"t\""));
    }
}
