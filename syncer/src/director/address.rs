//! VIPs on the director's interface, by `ip`. An address that was there before we came is not ours to remove.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;

use super::DirectorError;
use super::command::{CommandError, run};

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    addr_info: Vec<Info>,
}

#[derive(Deserialize)]
struct Info {
    local: Option<IpAddr>,
}

/// All addresses of the interface.
pub(super) async fn list(interface: &str) -> Result<BTreeSet<IpAddr>, DirectorError> {
    let listed = run("ip", &["-json", "address", "show", "dev", interface], None).await?;
    let links: Vec<Link> = serde_json::from_str(&listed).map_err(|_| DirectorError::Addresses {
        interface: interface.to_owned(),
    })?;
    Ok(links
        .into_iter()
        .flat_map(|link| link.addr_info)
        .filter_map(|info| info.local)
        .collect())
}

/// Adds a host address. `nodad`: a VIP answers at once, there is no other holder to look for.
pub(super) async fn add(interface: &str, vip: IpAddr) -> Result<(), CommandError> {
    let prefix = format!("{vip}/{}", host_prefix(vip));
    let mut arguments = vec!["address", "replace", &prefix, "dev", interface];
    if vip.is_ipv6() {
        arguments.push("nodad");
    }
    run("ip", &arguments, None).await.map(drop)
}

/// Removes it; that it is gone already is as good.
pub(super) async fn remove(interface: &str, vip: IpAddr) -> Result<(), CommandError> {
    let prefix = format!("{vip}/{}", host_prefix(vip));
    match run(
        "ip",
        &["address", "delete", &prefix, "dev", interface],
        None,
    )
    .await
    {
        Err(CommandError::Failed { complaint, .. })
            if complaint.contains("Cannot assign requested address") =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

fn host_prefix(vip: IpAddr) -> u8 {
    if vip.is_ipv4() { 32 } else { 128 }
}
