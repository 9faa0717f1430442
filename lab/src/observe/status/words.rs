//! What the director's syncer says of its real servers: the reasons, never the facts.

use super::compare::{Syncer, Words};
use crate::client::syncer::Service;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// `None` when it doesn't answer; then nothing is explained.
pub(super) fn read(lab: &Lab) -> Option<Syncer> {
    let services = lab.syncer(Node::Director).services().ok()?;
    Some(of(services))
}

fn of(services: Vec<Service>) -> Syncer {
    let mut syncer = Syncer::default();
    for service in services {
        let (name, vip) = (service.name, service.vip);
        for real in service.real_servers {
            let words = Words {
                service: name.clone(),
                state: real.state,
                why: real.why,
            };
            syncer.words.insert((real.address, vip.clone()), words);
        }
        match service.declared.as_str() {
            "tags" => syncer.of_tagged.insert((name, vip)),
            "config" | "disk" => syncer.of_all.insert((name, vip)),
            _ => false,
        };
    }
    syncer
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_real_server_behind_two_vips_has_words_for_each() {
        let real =
            |state: &str| json!([{ "address": "198.18.0.11:25000", "state": state, "why": "w" }]);
        let service = |name: &str, vip: &str, declared: &str, reals: Value| {
            serde_json::from_value(
                json!({ "name": name, "vip": vip, "declared": declared, "real_servers": reals }),
            )
            .unwrap()
        };
        let syncer = of(vec![
            service("a", "198.18.0.29:80", "config", real("serving")),
            service("b", "198.18.0.30:80", "tags", real("draining")),
            service("c", "198.18.0.31:80", "gone", json!([{ "address": "?" }])),
        ]);
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
