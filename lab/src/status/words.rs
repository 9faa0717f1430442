//! What the director's syncer says of its real servers: the reasons, never the facts.

use std::time::Duration;

use super::compare::{Syncer, Words};
use crate::context::Lab;
use crate::http;
use crate::topology::Node;

/// `None` when it doesn't answer; then nothing is explained.
pub(super) fn read(lab: &Lab) -> Option<Syncer> {
    let url = format!("{}/v1/status", lab.topology.syncer_url(Node::Director));
    let status = http::get_json(&url, Duration::from_secs(2)).ok()?;
    let mut syncer = Syncer::default();
    for service in status["services"].as_array()? {
        let name = service["name"].as_str()?.to_owned();
        for real in service["real_servers"].as_array().into_iter().flatten() {
            let text = |field: &str| real[field].as_str().unwrap_or_default().to_owned();
            let Ok(address) = text("address").parse() else {
                continue;
            };
            let words = Words {
                service: name.clone(),
                state: text("state"),
                why: text("why"),
            };
            syncer.words.insert(address, words);
        }
        syncer.services.insert(name);
    }
    Some(syncer)
}
