//! What the doctor has to find possible for a profile: its kernel, its names and addresses, the ports of its parts.

use crate::world::context::Lab;
use crate::world::topology::Node;
use crate::{doctor, part};

/// What the doctor has to find possible for this profile.
pub fn intent(lab: &Lab, installing: doctor::Installing) -> doctor::Intent<'_> {
    let namespaces = lab.topology.all_netns();
    let links = vec![lab.topology.host_link()];
    // The records are what tells ours from another's of the same name.
    let made = if lab.paths.run.exists() {
        [links.clone(), namespaces.clone()].concat()
    } else {
        Vec::new()
    };
    doctor::Intent {
        person: &lab.person,
        paths: &lab.paths,
        kernel: Some(lab.kernel.choice()),
        installing,
        engine: doctor::Engine::Own,
        claims: doctor::Claims {
            subnets: lab.topology.networks().to_vec(),
            links,
            namespaces,
            made,
        },
        needs: needs(lab),
    }
}

/// Where parts that don't run are going to listen.
fn needs(lab: &Lab) -> Vec<doctor::Need> {
    let parts = [
        part::consul::LISTENS,
        part::nomad::LISTENS,
        part::syncer::LISTENS,
    ];
    let of = |node: Node| {
        parts.into_iter().map(move |(part, ports)| doctor::Need {
            part: lab.part_name(node, part),
            ports,
            netns: lab.topology.netns(node.name()),
        })
    };
    let needs = lab.topology.nodes().all().iter().flat_map(|node| of(*node));
    needs
        .filter(|need| lab.records.living(&need.part).is_none())
        .collect()
}
