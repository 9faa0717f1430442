//! VIPs on the director's interface, by `ip`. An address that was there before we came is not ours to remove.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::DirectorError;
use super::command::{CommandError, run};

/// All addresses of the interface. Asked of the kernel itself: it is part of every audit, and a program takes long.
pub(super) fn list(interface: &str) -> Result<BTreeSet<IpAddr>, DirectorError> {
    let failed = |source| DirectorError::Addresses {
        interface: interface.to_owned(),
        source,
    };
    if nix::net::if_::if_nametoindex(interface).is_err() {
        return Err(DirectorError::NoInterface {
            interface: interface.to_owned(),
        });
    }
    let addresses = getifaddrs()
        .map_err(failed)?
        .filter(|one| one.interface_name == interface);
    let ip = |one: nix::ifaddrs::InterfaceAddress| {
        let address = one.address?;
        let four = address
            .as_sockaddr_in()
            .map(|address| IpAddr::V4(address.ip()));
        four.or(address
            .as_sockaddr_in6()
            .map(|address| IpAddr::V6(address.ip())))
    };
    Ok(addresses.filter_map(ip).collect())
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
