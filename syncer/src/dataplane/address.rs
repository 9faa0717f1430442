//! VIPs on the director's interface, by route netlink. An address that was there before we came is not ours to remove.
//!
//! IPv4 addresses of ours carry a label, so that they are known whatever became of the state on disk. [`Interface`] is
//! whom the director asks; the socket is in `route`, the bytes are in `message`. Whether an address should be there is
//! decided elsewhere.

mod departure;
mod interface;
mod message;
mod route;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ipvs::Table;
use ipvs::socket::SocketError;
use netlink_packet_core::DecodeError;

pub use departure::Departures;
pub use interface::Interface;

use syncer_core::desired::{Holder, Holders};
use syncer_core::model::policy::Ownership;

use super::thread::ThreadError;

/// A label's last part; the kernel wants the interface's name before it, and 15 bytes at most.
const LABEL: &str = ":ipvs";
const LABEL_LIMIT: usize = 15;

/// A change of an interface: a host address comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add(IpAddr),
    Remove(IpAddr),
}

impl Change {
    pub fn vip(self) -> IpAddr {
        match self {
            Self::Add(vip) | Self::Remove(vip) => vip,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vip = self.vip();
        let prefix = host_prefix(vip);
        match self {
            Self::Add(_) => write!(f, "add {vip}/{prefix} to"),
            Self::Remove(_) => write!(f, "remove {vip}/{prefix} from"),
        }
    }
}

/// What a change came to, where it was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was so already, by whoever's doing.
    AsBefore,
}

/// Addresses can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("route netlink: {operation}")]
    Socket {
        operation: &'static str,
        source: io::Error,
    },
    #[error("route netlink: {operation}: an answer that can't be read")]
    Malformed {
        operation: &'static str,
        source: DecodeError,
    },
    #[error("there is no network interface {interface} here (director.interface)")]
    NoInterface { interface: Arc<str> },
    #[error("{change} interface {interface} (CAP_NET_ADMIN is needed)")]
    Refused {
        change: Change,
        interface: Arc<str>,
        source: io::Error,
    },
    #[error("interface {interface}: the kernel has not answered within {seconds}s")]
    Stalled { interface: Arc<str>, seconds: u64 },
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

impl From<SocketError> for AddressError {
    fn from(SocketError { operation, source }: SocketError) -> Self {
        Self::Socket { operation, source }
    }
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub address: IpAddr,
    pub prefix: u8,
    /// The interface that has it.
    pub interface: Arc<str>,
    /// It is on the director's interface.
    pub here: bool,
    /// It has our label.
    pub labelled: bool,
}

impl Present {
    /// It is a host's alone, as VIPs are.
    pub fn is_host(&self) -> bool {
        self.prefix == host_prefix(self.address)
    }
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
    let is_vip = |entry: &&Present| {
        entry.here
            && entry.is_host()
            && ownership.contains(entry.address)
            && (in_kernel.contains(&entry.address) || saved.contains(&entry.address))
    };
    let adopted: BTreeSet<IpAddr> = present
        .iter()
        .filter(is_vip)
        .map(|entry| entry.address)
        .collect();
    let keeps_another = |vip: &IpAddr| {
        let mut others = present
            .iter()
            .filter(|entry| entry.here)
            .map(|entry| entry.address);
        others.any(|other| other.is_ipv4() == vip.is_ipv4() && !adopted.contains(&other))
    };
    adopted.iter().copied().filter(keeps_another).collect()
}

/// `None` where the interface's name leaves no room for it.
fn label(interface: &str) -> Option<String> {
    let label = format!("{interface}{LABEL}");
    (label.len() <= LABEL_LIMIT).then_some(label)
}

/// Lists all addresses of this machine, and the ends of their networks, where no host can be.
pub(super) fn occupied(present: &[Present]) -> Holders {
    let mut all = Holders::new();
    for entry in present {
        occupy(&mut all, entry);
    }
    all
}

fn occupy(all: &mut Holders, entry: &Present) {
    let network = IpNet::new(entry.address, entry.prefix).ok();
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
    let interface = Arc::clone(&entry.interface);
    all.insert(entry.address, Holder::Machine { interface });
}

fn host_prefix(vip: IpAddr) -> u8 {
    if vip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use ipvs::{Scheduler, ServiceSettings, VirtualService};

    use super::*;

    fn present(address: &str, host: bool) -> Present {
        let address: IpAddr = address.parse().unwrap();
        Present {
            address,
            prefix: if host { host_prefix(address) } else { 24 },
            interface: "eth0".into(),
            here: true,
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
        Ownership::of(vec![
            "198.18.0.0/24".parse().unwrap(),
            "fd00::/64".parse().unwrap(),
        ])
    }

    #[test]
    fn vips_of_a_table_are_found_again_and_the_machine_s_own_addresses_are_not_taken_for_ours() {
        let present = [
            present("198.18.0.28", false),
            present("198.18.0.29", true),
            present("198.18.0.30", true),
            present("198.18.0.31", true),
            present("192.0.2.1", true),
            present("fd00::28", false),
            present("fd00::29", true),
            Present {
                here: false,
                ..present("198.18.0.32", true)
            },
        ];
        let table = table(&[
            "198.18.0.28",
            "198.18.0.29",
            "192.0.2.1",
            "198.18.0.32",
            "[fd00::29]",
        ]);
        let saved = addresses(&["198.18.0.30", "198.18.0.99"]);
        let ours = adopted(&present, &table, &saved, &own());
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
    fn an_address_its_network_and_its_broadcast_address_are_occupied() {
        let at = |interface: &str, address: &str, prefix| Present {
            prefix,
            interface: interface.into(),
            ..present(address, false)
        };
        let all = occupied(&[
            at("eth0", "198.18.0.2", 24),
            at("eth0", "198.18.0.29", 32),
            at("eth1", "10.0.0.1", 31),
            at("eth1", "fe80::1", 64),
        ]);
        let texts: Vec<String> = all
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
        assert_eq!(texts, expected);
    }
}
