//! SNAT by nftables: one table of our own, a set for each address family and protocol, one rule for each set.
//!
//! A rule matches the connection's original tuple, which stays client → VIP, so it knows nothing of real servers. The
//! whole table is replaced in one transaction.

use std::fmt::Write;
use std::net::SocketAddr;

use ipvs::{Family, Protocol, ServiceId};
use serde_json::Value;

use super::{Later, Snat};
use crate::director::command::run;
use crate::plan::SnatSet;

const TABLE: &str = "nomad_ipvs";
const KINDS: [(Family, Protocol); 6] = [
    (Family::V4, Protocol::Tcp),
    (Family::V4, Protocol::Udp),
    (Family::V4, Protocol::Sctp),
    (Family::V6, Protocol::Tcp),
    (Family::V6, Protocol::Udp),
    (Family::V6, Protocol::Sctp),
];

/// The backend.
#[derive(Debug, Clone, Copy)]
pub struct Nftables;

impl Snat for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn probe(&self) -> Later<'_, ()> {
        Box::pin(async {
            // `--check` alone does not ask the kernel for its nat chains; a table that comes and goes does.
            let script = script("nomad_ipvs_probe", &SnatSet::new())
                + "delete table inet nomad_ipvs_probe\n";
            run("nft", &["-f", "-"], Some(&script)).await.map(drop)
        })
    }

    fn is_in_use(&self) -> Later<'_, bool> {
        Box::pin(async {
            let listed = run("nft", &["list", "tables"], None).await?;
            let ours = format!("table inet {TABLE}");
            Ok(listed.lines().any(|line| line.trim() == ours))
        })
    }

    fn read(&self) -> Later<'_, Option<SnatSet>> {
        Box::pin(async {
            let listed = run("nft", &["--json", "list", "table", "inet", TABLE], None).await;
            Ok(listed.ok().and_then(|listed| parse(&listed)))
        })
    }

    fn set<'a>(&'a self, services: &'a SnatSet) -> Later<'a, ()> {
        Box::pin(async {
            run("nft", &["-f", "-"], Some(&script(TABLE, services)))
                .await
                .map(drop)
        })
    }
}

fn set_name((family, protocol): (Family, Protocol)) -> String {
    let family = if family == Family::V4 { 4 } else { 6 };
    format!("vips{family}_{protocol}")
}

/// Adding before deleting makes the script work whether the table is there or not; all of it is one transaction.
fn script(table: &str, services: &SnatSet) -> String {
    let mut sets = String::new();
    let mut rules = String::new();
    for kind in KINDS {
        let (family, protocol) = kind;
        let name = set_name(kind);
        let (word, version) = if family == Family::V4 {
            ("ip", 4)
        } else {
            ("ip6", 6)
        };
        let elements: Vec<String> = services.iter().filter_map(|id| element(id, kind)).collect();
        let elements = if elements.is_empty() {
            String::new()
        } else {
            format!(" elements = {{ {} }};", elements.join(", "))
        };
        // Writing into a String does not fail.
        let _ = writeln!(
            sets,
            "  set {name} {{ type ipv{version}_addr . inet_service;{elements} }}"
        );
        let _ = writeln!(
            rules,
            "    meta l4proto {protocol} ct original {word} daddr . ct original proto-dst @{name} masquerade fully-random"
        );
    }
    format!(
        "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{sets}  chain post {{\n    type nat hook postrouting priority srcnat; policy accept;\n{rules}  }}\n}}\n"
    )
}

fn element(id: &ServiceId, kind: (Family, Protocol)) -> Option<String> {
    let ServiceId::Address { protocol, address } = id else {
        return None;
    };
    (kind == (id.family(), *protocol)).then(|| format!("{} . {}", address.ip(), address.port()))
}

/// Our services in `nft --json list table`; `None` if the rules are not all there.
fn parse(listed: &str) -> Option<SnatSet> {
    let listed: Value = serde_json::from_str(listed).ok()?;
    let objects = listed.get("nftables")?.as_array()?;
    let rules = objects
        .iter()
        .filter(|object| object.get("rule").is_some())
        .count();
    if rules != KINDS.len() {
        return None;
    }
    let mut services = SnatSet::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        let name = set.get("name")?.as_str()?;
        let (_, protocol) = *KINDS.iter().find(|kind| set_name(**kind) == name)?;
        for element in set
            .get("elem")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let parts = element.get("concat")?.as_array()?;
            let vip = parts.first()?.as_str()?.parse().ok()?;
            let port = u16::try_from(parts.get(1)?.as_u64()?).ok()?;
            services.insert(ServiceId::Address {
                protocol,
                address: SocketAddr::new(vip, port),
            });
        }
    }
    Some(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_each_service_in_the_set_of_its_kind() {
        let services: SnatSet = ["198.18.0.29:80", "udp://[2001:db8::5]:53"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let script = script(TABLE, &services);
        assert!(script.contains(
            "set vips4_tcp { type ipv4_addr . inet_service; elements = { 198.18.0.29 . 80 }; }"
        ));
        assert!(script.contains(
            "set vips6_udp { type ipv6_addr . inet_service; elements = { 2001:db8::5 . 53 }; }"
        ));
        assert_eq!(script.matches("masquerade").count(), 6);
    }

    #[test]
    fn a_listing_without_its_rules_is_damaged() {
        let set = r#"{"set":{"name":"vips4_tcp","elem":[{"concat":["198.18.0.29",80]}]}}"#;
        let rule = r#"{"rule":{}}"#;
        let whole = format!(r#"{{"nftables":[{set},{rule},{rule},{rule},{rule},{rule},{rule}]}}"#);
        assert_eq!(
            parse(&whole),
            Some(["198.18.0.29:80".parse().unwrap()].into())
        );
        assert_eq!(parse(&format!(r#"{{"nftables":[{set},{rule}]}}"#)), None);
    }
}
