//! Consul's view: every instance in the catalogue, with the worst of its checks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use consulrs::client::{ConsulClient, ConsulClientSettingsBuilder};

use super::compare::Instance;
use crate::http;

/// Consul's and Nomad's own services say nothing about jobs.
const THEIRS: [&str; 3] = ["consul", "nomad", "nomad-client"];

/// By service address and port.
pub(super) fn read(address: &str) -> Result<BTreeMap<SocketAddr, Instance>> {
    // consulrs has no time-out of its own, and this one also keeps its panics on odd addresses away.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let worst = checks(address)?;
    runtime
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(3), instances(address, &worst)).await
        })
        .context("ask Consul: no answer in 3 s")?
}

async fn instances(
    address: &str,
    worst: &BTreeMap<String, String>,
) -> Result<BTreeMap<SocketAddr, Instance>> {
    let settings = ConsulClientSettingsBuilder::default()
        .address(address)
        .build()
        .context("consulrs settings")?;
    let client = ConsulClient::new(settings).map_err(|error| anyhow!("consulrs: {error}"))?;
    let services = consulrs::catalog::services(&client, None)
        .await
        .map_err(|error| anyhow!("ask Consul: {error}"))?;
    let mut found = BTreeMap::new();
    for name in services
        .response
        .keys()
        .filter(|name| !THEIRS.contains(&name.as_str()))
    {
        let instances = consulrs::catalog::nodes_with_service(&client, name, None)
            .await
            .map_err(|error| anyhow!("ask Consul for {name}: {error}"))?;
        for instance in instances.response {
            let Some(at) = place(&instance) else { continue };
            let id = instance.service_id.unwrap_or_default();
            let health = worst
                .get(&id)
                .cloned()
                .unwrap_or_else(|| "passing".to_owned());
            found.insert(
                at,
                Instance {
                    service: name.clone(),
                    health,
                },
            );
        }
    }
    Ok(found)
}

/// The service's own address, else its node's.
fn place(instance: &consulrs::api::catalog::common::CatalogService) -> Option<SocketAddr> {
    let own = instance
        .service_address
        .as_ref()
        .filter(|address| !address.is_empty());
    let address = own.or(instance.address.as_ref())?;
    Some(SocketAddr::new(
        address.parse().ok()?,
        u16::try_from(instance.service_port?).ok()?,
    ))
}

/// The worst check of each service id. consulrs knows no health endpoints.
fn checks(address: &str) -> Result<BTreeMap<String, String>> {
    let url = format!("{address}/v1/health/state/any");
    let checks = http::get_json(&url, Duration::from_secs(3)).context("ask Consul")?;
    let mut worst: BTreeMap<String, String> = BTreeMap::new();
    for check in checks.as_array().into_iter().flatten() {
        let (Some(id), Some(state)) = (check["ServiceID"].as_str(), check["Status"].as_str())
        else {
            continue;
        };
        let known = worst
            .entry(id.to_owned())
            .or_insert_with(|| state.to_owned());
        if severity(state) > severity(known) {
            state.clone_into(known);
        }
    }
    Ok(worst)
}

fn severity(state: &str) -> u8 {
    match state {
        "passing" => 0,
        "warning" => 1,
        _ => 2,
    }
}
