//! Nomad's view: every port of every allocation that is, or should be, there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::compare::Allocation;
use crate::context::Lab;
use crate::http;

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
pub(super) fn read(lab: &Lab) -> Result<BTreeMap<SocketAddr, Allocation>> {
    let url = format!(
        "{}/v1/allocations?namespace=*&resources=true",
        lab.topology.nomad_url()
    );
    let answer = http::get_json(&url, Duration::from_secs(3)).context("ask Nomad")?;
    let stubs: Vec<Stub> = serde_json::from_value(answer).context("read Nomad's allocations")?;
    Ok(stubs.into_iter().filter(is_there).flat_map(ports).collect())
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
