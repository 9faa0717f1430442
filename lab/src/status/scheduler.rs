//! Nomad's view: every port of every allocation that is, or should be, there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::compare::{Allocation, Allocations};
use crate::context::Lab;

/// How long the answer may take.
const ANSWERING: Duration = Duration::from_secs(3);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stub {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "JobID")]
    job: String,
    task_group: String,
    desired_status: String,
    client_status: String,
    allocated_resources: Option<Resources>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resources {
    shared: Shared,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shared {
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    label: String,
    value: u16,
    #[serde(rename = "HostIP")]
    host: IpAddr,
}

/// By host address and port.
pub(super) fn read(lab: &Lab) -> Result<Allocations> {
    let path = "allocations?namespace=*&resources=true";
    let answer = lab.nomad().get_json(path, ANSWERING).context("ask Nomad")?;
    let stubs: Vec<Value> = serde_json::from_value(answer).context("read Nomad's allocations")?;
    let mut found = Allocations::new();
    // One that is not as expected costs no other.
    let stubs = stubs
        .into_iter()
        .filter_map(|stub| serde_json::from_value::<Stub>(stub).ok());
    for (at, allocation) in stubs.filter(is_there).flat_map(ports) {
        found.entry(at).or_default().push(allocation);
    }
    Ok(found)
}

/// Ended allocations stay in Nomad's list for hours.
fn is_there(stub: &Stub) -> bool {
    !matches!(stub.client_status.as_str(), "complete" | "failed" | "lost")
}

fn ports(stub: Stub) -> Vec<(SocketAddr, Allocation)> {
    let stopping = stub.desired_status != "run";
    let state = if stopping {
        "stopping".to_owned()
    } else {
        stub.client_status
    };
    let ports = stub
        .allocated_resources
        .and_then(|resources| resources.shared.ports)
        .unwrap_or_default();
    ports
        .into_iter()
        .map(|port| {
            let allocation = Allocation {
                id: stub.id.clone(),
                job: stub.job.clone(),
                group: stub.task_group.clone(),
                label: port.label,
                state: state.clone(),
            };
            (SocketAddr::new(port.host, port.value), allocation)
        })
        .collect()
}
