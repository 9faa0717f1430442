//! VIPs on the director's interface, by `ip`. An address that was there before we came is not ours to remove.
//!
//! IPv4 addresses of ours carry a label, so that they are known whatever became of the state on disk.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use ipvs::Table;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};

use super::DirectorError;
use super::command::{CommandError, run};
use crate::desired::{Holder, Occupied};
use crate::model::policy::Ownership;

/// A label's last part; the kernel wants the interface's name before it, and 15 bytes at most.
const LABEL: &str = ":ipvs";
const LABEL_LIMIT: usize = 15;

/// An address of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) address: IpAddr,
    /// It is a host's alone, as VIPs are.
    pub(super) host: bool,
    /// It has our label.
    pub(super) labelled: bool,
}

/// All addresses of the interface. Asked of the kernel itself: it is part of every audit, and a program takes long.
pub(super) fn list(interface: &str) -> Result<Vec<Present>, DirectorError> {
    let failed = |source| DirectorError::Addresses {
        interface: interface.to_owned(),
        source,
    };
    match nix::net::if_::if_nametoindex(interface) {
        Ok(_) => {}
        Err(nix::errno::Errno::ENODEV) => {
            return Err(DirectorError::NoInterface {
                interface: interface.to_owned(),
            });
        }
        // It takes a file to ask: there may be none left.
        Err(errno) => return Err(failed(errno)),
    }
    let label = label(interface);
    let addresses = getifaddrs().map_err(failed)?;
    // Where an IPv4 address has a label, that is the name it is listed by.
    let of_interface = addresses.filter(|one| {
        let labelled = one.interface_name.strip_prefix(interface);
        labelled.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    let present = |one: InterfaceAddress| {
        let address = ip(one.address.as_ref()?)?;
        let mask = one.netmask.as_ref().and_then(ip);
        Some(Present {
            address,
            host: mask.is_some_and(is_all_ones),
            labelled: label.as_ref() == Some(&one.interface_name),
        })
    };
    Ok(of_interface.filter_map(present).collect())
}

/// Those that an earlier process of ours has put there, where it can't tell any more: host addresses in our ranges that
/// are VIPs of a table, the kernel's or the one on disk. Never all that the interface has: the machine's own is among them.
pub(super) fn adopted(
    present: &[Present],
    table: &Table,
    saved: &BTreeSet<IpAddr>,
    ownership: &Ownership,
) -> BTreeSet<IpAddr> {
    let in_kernel: BTreeSet<IpAddr> = table.iter().filter_map(|(id, _)| id.vip()).collect();
    let is_vip = |one: &&Present| {
        one.host
            && ownership.contains(one.address)
            && (in_kernel.contains(&one.address) || saved.contains(&one.address))
    };
    let adopted: BTreeSet<IpAddr> = present
        .iter()
        .filter(is_vip)
        .map(|one| one.address)
        .collect();
    let keeps_another = |vip: &IpAddr| {
        let mut others = present.iter().map(|one| one.address);
        others.any(|other| other.is_ipv4() == vip.is_ipv4() && !adopted.contains(&other))
    };
    adopted.iter().copied().filter(keeps_another).collect()
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let four = address
        .as_sockaddr_in()
        .map(|address| IpAddr::V4(address.ip()));
    four.or(address
        .as_sockaddr_in6()
        .map(|address| IpAddr::V6(address.ip())))
}

fn is_all_ones(mask: IpAddr) -> bool {
    match mask {
        IpAddr::V4(mask) => mask.to_bits() == u32::MAX,
        IpAddr::V6(mask) => mask.to_bits() == u128::MAX,
    }
}

/// `None` where the interface's name leaves no room for it.
fn label(interface: &str) -> Option<String> {
    let label = format!("{interface}{LABEL}");
    (label.len() <= LABEL_LIMIT).then_some(label)
}

/// All addresses of this machine, and the ends of their networks, where no host can be.
pub(super) fn occupied(interface: &str) -> Result<Occupied, DirectorError> {
    let mut all = Occupied::new();
    let addresses = getifaddrs().map_err(|source| DirectorError::Addresses {
        interface: interface.to_owned(),
        source,
    })?;
    for one in addresses {
        let Some(address) = one.address.as_ref().and_then(ip) else {
            continue;
        };
        let mask = one.netmask.as_ref().and_then(ip);
        occupy(&mut all, &one.interface_name, address, mask);
    }
    Ok(all)
}

fn occupy(all: &mut Occupied, name: &str, ip: IpAddr, mask: Option<IpAddr>) {
    let network = mask.and_then(|mask| IpNet::with_netmask(ip, mask).ok());
    if let Some(network) = network.map(|network| network.trunc())
        && network
            .max_prefix_len()
            .saturating_sub(network.prefix_len())
            > 1
    {
        let (first, last) = (network.network(), network.broadcast());
        all.entry(first).or_insert(Holder::Network { network });
        if last.is_ipv4() {
            all.entry(last).or_insert(Holder::Broadcast { network });
        }
    }
    // A label stands behind a colon.
    let name = name.split(':').next().unwrap_or(name);
    let interface = name.into();
    all.insert(ip, Holder::Machine { interface });
}

/// Adds a host address. `nodad`: it was looked for another holder already, and a VIP answers at once.
pub(super) async fn add(interface: &str, vip: IpAddr) -> Result<(), CommandError> {
    let prefix = format!("{vip}/{}", host_prefix(vip));
    let mut arguments = vec!["address", "replace", &prefix, "dev", interface];
    let label = label(interface);
    if vip.is_ipv6() {
        arguments.push("nodad");
    } else if let Some(label) = &label {
        arguments.extend(["label", label]);
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

#[cfg(test)]
mod tests {
    use ipvs::{Scheduler, ServiceSettings, VirtualService};

    use super::*;

    fn present(address: &str, host: bool) -> Present {
        let address = address.parse().unwrap();
        Present {
            address,
            host,
            labelled: false,
        }
    }

    fn table(vips: &[&str]) -> Table {
        let service = || VirtualService::new(ServiceSettings::new(Scheduler::WRR), Vec::new());
        let id = |vip: &&str| (format!("{vip}:80").parse().unwrap(), service());
        vips.iter().map(id).collect()
    }

    fn addresses(addresses: &[&str]) -> BTreeSet<IpAddr> {
        let parsed = addresses.iter().map(|address| address.parse().unwrap());
        parsed.collect()
    }

    fn own() -> Ownership {
        Ownership {
            ranges: vec![
                "198.18.0.0/24".parse().unwrap(),
                "fd00::/64".parse().unwrap(),
            ],
        }
    }

    #[test]
    fn vips_of_a_table_are_found_again_and_the_machine_s_own_addresses_are_not_taken_for_ours() {
        let there = [
            present("198.18.0.28", false),
            present("198.18.0.29", true),
            present("198.18.0.30", true),
            present("198.18.0.31", true),
            present("192.0.2.1", true),
            present("fd00::28", false),
            present("fd00::29", true),
        ];
        let table = table(&["198.18.0.28", "198.18.0.29", "192.0.2.1", "[fd00::29]"]);
        let saved = addresses(&["198.18.0.30", "198.18.0.99"]);
        let ours = adopted(&there, &table, &saved, &own());
        let expected = addresses(&["198.18.0.29", "198.18.0.30", "fd00::29"]);
        assert_eq!(
            ours, expected,
            "on it, a host's, in our ranges, and in a table"
        );
    }

    #[test]
    fn the_last_address_of_the_interface_is_never_taken_for_ours() {
        let only = [present("198.18.0.28", true), present("fd00::28", false)];
        let table = table(&["198.18.0.28"]);
        assert!(adopted(&only, &table, &BTreeSet::new(), &own()).is_empty());
    }

    #[test]
    fn a_label_has_its_place_beside_the_interface_s_name_or_there_is_none() {
        assert_eq!(label("eth0").as_deref(), Some("eth0:ipvs"));
        assert_eq!(label("enp65s0f1n").as_deref(), Some("enp65s0f1n:ipvs"));
        assert_eq!(label("enp65s0f1np"), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_from_one_that_can_t_be_asked_for() {
        let error = list("none0").unwrap_err();
        assert!(
            matches!(error, DirectorError::NoInterface { .. }),
            "{error}"
        );
        let loopback = list("lo").unwrap();
        let first = loopback.iter().find(|one| one.address.is_ipv4());
        assert!(first.is_some_and(|one| !one.host && !one.labelled));
    }

    #[test]
    fn an_address_its_network_and_its_broadcast_address_are_occupied() {
        let mut all = Occupied::new();
        let net = |a, b| (a, Some(IpAddr::from([255, 255, 255, b])));
        for (name, (ip, mask)) in [
            ("eth0", net(IpAddr::from([198, 18, 0, 2]), 0)),
            ("eth0:ipvs", net(IpAddr::from([198, 18, 0, 29]), 255)),
            ("eth1", net(IpAddr::from([10, 0, 0, 1]), 254)),
            (
                "eth1",
                (
                    "fe80::1".parse().unwrap(),
                    Some("ffff:ffff:ffff:ffff::".parse().unwrap()),
                ),
            ),
        ] {
            occupy(&mut all, name, ip, mask);
        }
        let told: Vec<String> = all
            .iter()
            .map(|(ip, holder)| format!("{ip} is {holder}"))
            .collect();
        let expected = [
            "10.0.0.1 is this machine's own address on eth1",
            "198.18.0.0 is the network address of 198.18.0.0/24",
            "198.18.0.2 is this machine's own address on eth0",
            "198.18.0.29 is this machine's own address on eth0",
            "198.18.0.255 is the broadcast address of 198.18.0.0/24",
            "fe80:: is the network address of fe80::/64",
            "fe80::1 is this machine's own address on eth1",
        ];
        assert_eq!(told, expected);
    }
}
