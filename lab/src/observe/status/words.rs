//! What the director's syncer says of its real servers: the reasons, never the facts.

use std::time::Duration;

use serde_json::Value;

use super::compare::{Syncer, Words};
use crate::client::http;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// `None` when it doesn't answer; then nothing is explained.
pub(super) fn read(lab: &Lab) -> Option<Syncer> {
    let url = format!("{}/v1/status", lab.topology.syncer_url(Node::Director));
    let status = http::get_json(&url, Duration::from_secs(2)).ok()?;
    Some(of(&status))
}

/// A part that is not as expected is left out.
fn of(status: &Value) -> Syncer {
    let mut syncer = Syncer::default();
    for service in status["services"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, vip) = (text(&service["name"]), text(&service["vip"]));
        for real in service["real_servers"].as_array().into_iter().flatten() {
            let Ok(address) = text(&real["address"]).parse() else {
                continue;
            };
            let words = Words {
                service: name.clone(),
                state: text(&real["state"]),
                why: text(&real["why"]),
            };
            syncer.words.insert((address, vip.clone()), words);
        }
        match service["declared"].as_str() {
            Some("tags") => syncer.of_tagged.insert((name, vip)),
            Some("config" | "disk") => syncer.of_all.insert((name, vip)),
            _ => false,
        };
    }
    syncer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_real_server_behind_two_vips_has_words_for_each() {
        let real =
            |state: &str| json!([{ "address": "198.18.0.11:25000", "state": state, "why": "w" }]);
        let service = |name: &str, vip: &str, declared: &str, reals: Value| json!({ "name": name, "vip": vip, "declared": declared, "real_servers": reals });
        let syncer = of(&json!({ "services": [
            service("a", "198.18.0.29:80", "config", real("serving")),
            service("b", "198.18.0.30:80", "tags", real("draining")),
            service("c", "198.18.0.31:80", "gone", json!([{ "address": "?" }])),
            7,
        ]}));
        let state = |vip: &str| {
            let at = "198.18.0.11:25000".parse().unwrap();
            syncer.words[&(at, vip.to_owned())].state.as_str()
        };
        assert_eq!(state("198.18.0.29:80"), "serving");
        assert_eq!(state("198.18.0.30:80"), "draining");
        let pair = |name: &str, vip: &str| [(name.to_owned(), vip.to_owned())].into();
        assert_eq!(syncer.of_all, pair("a", "198.18.0.29:80"));
        assert_eq!(syncer.of_tagged, pair("b", "198.18.0.30:80"));
    }
}
