//! Host ports lead to containers whatever becomes of the engine.

use lab::world::topology::Node;

use crate::{blow, story};

/// The node's rules.
const TABLE: &str = "nomad_ipvs_ports";

#[test]
fn an_engine_that_stops_dies_and_comes_back_costs_no_request() {
    let lab = story::up();
    let _whole = blow::Whole;
    let vip = lab.topology.vip();
    story::real_servers(&lab, &vip.to_string(), 1, 60);
    let netns = lab.topology.netns(Node::Node1.name());
    let rules = || lab::host::command::run("nft", &["list", "table", "ip", TABLE]);
    let listed = lab::host::netns::within(&netns, rules).unwrap().unwrap();
    assert!(listed.contains("expires"), "{listed}");
    let load = story::load(&lab, vip);
    for round in 0..4 {
        if round % 2 == 0 {
            blow::stop(&lab, "docker");
        } else {
            blow::kill(&blow::process(&lab, "docker"));
        }
        // Away for longer than the interval of Consul's checks.
        std::thread::sleep(std::time::Duration::from_secs(4));
        blow::mend();
    }
    let outcome = load.stop().unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    story::agreement(&lab, 30);
}
