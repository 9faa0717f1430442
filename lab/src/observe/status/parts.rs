//! Is each part of the lab there? One line a part, with what is wrong in words.

use serde::Serialize;

use crate::part;
use crate::world::context::Lab;
use crate::world::fabric;
use crate::world::topology::Node;

/// A part and, if it isn't well, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub name: String,
    pub pid: Option<i32>,
    pub trouble: Option<String>,
}

/// The parts that `up` starts, whether or not they ever were.
const PARTS: [&str; 4] = ["consul", "docker", "nomad", "syncer-registrar"];

pub(super) fn look(lab: &Lab) -> Vec<Part> {
    let mut parts = vec![Part {
        name: "fabric".to_owned(),
        pid: None,
        trouble: (!fabric::is_up(&lab.topology)).then(|| "not there".to_owned()),
    }];
    let of = |node: &Node| PARTS.map(|part| lab.part_name(*node, part));
    // Not every machine lets a node have a way out; where it had one, it is missed.
    let outlets = lab.records.all().into_iter().map(|(part, _)| part);
    let outlets = outlets.filter(|part| part.starts_with("outlet"));
    let all = lab
        .topology
        .nodes()
        .all()
        .iter()
        .flat_map(of)
        .chain(outlets);
    parts.extend(all.map(|name| {
        let living = lab.records.living(&name);
        Part {
            name,
            pid: living.as_ref().map(|identity| identity.pid),
            trouble: living.is_none().then(|| "not running".to_owned()),
        }
    }));
    let director = lab.kernel.is_up();
    let pid = lab.records.living("director").map(|identity| identity.pid);
    let trouble = if pid.is_some() {
        "doesn't answer"
    } else {
        "not running"
    };
    parts.push(Part {
        name: format!("director ({})", lab.kernel.choice()),
        pid,
        trouble: (!director).then(|| trouble.to_owned()),
    });
    let syncer = director && part::syncer::director_runs(lab);
    parts.push(Part {
        name: "syncer-director".to_owned(),
        pid: None,
        trouble: (!syncer).then(|| "not running".to_owned()),
    });
    parts
}
