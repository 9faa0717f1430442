//! The rules as one nftables table of our own, replaced in one transaction.
//!
//! - `pre`, `out`: the first packet of a connection to a VIP chooses an instance by weight; the tracker keeps the choice for the
//!   packets after it, also once the instance takes nothing new. Before the engine's own rules, which know the published port only.
//! - `post`: who is on this node itself, in a container, gets its answers back the way it came.
//! - `rest`: what a director sent here and nobody takes is dropped: forwarded, it would come back from the director for ever.

use std::fmt::Write;
use std::net::SocketAddr;

use ipvs::{Protocol, ServiceId};
use serde_json::Value;

use super::rules::Rules;
use crate::command::{CommandError, run};

const TABLE: &str = "nomad_ipvs_direct";

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Why the table is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("direct routing needs nftables on the real server")]
    Unusable(#[source] CommandError),
    #[error("the table {TABLE}")]
    Failed(#[source] CommandError),
}

/// Asks the kernel for all that the table needs, by one that comes and goes.
pub(super) async fn probe() -> Result<(), TableError> {
    let name = format!("{TABLE}_probe");
    // Addresses for documentation: nobody has them.
    let vip = SocketAddr::from(([192, 0, 2, 1], 9));
    let places = [2, 3].map(|host| (SocketAddr::from(([192, 0, 2, host], 9)), 1));
    let id = ServiceId::Address {
        protocol: Protocol::Tcp,
        address: vip,
    };
    let rules = Rules {
        services: [(id, places.to_vec())].into(),
    };
    let script = script(&name, &rules, "lo") + &format!("delete table ip {name}\n");
    let tried = run("nft", &["-f", "-"], Some(&script)).await;
    tried.map(drop).map_err(TableError::Unusable)
}

pub(super) async fn set(rules: &Rules, interface: &str) -> Result<(), TableError> {
    let script = script(TABLE, rules, interface);
    let done = run("nft", &["-f", "-"], Some(&script)).await;
    done.map(drop).map_err(TableError::Failed)
}

/// Takes the table away, if it is there.
pub(super) async fn remove() -> Result<(), TableError> {
    let script = format!("add table ip {TABLE}\ndelete table ip {TABLE}\n");
    let done = run("nft", &["-f", "-"], Some(&script)).await;
    done.map(drop).map_err(TableError::Failed)
}

/// What the kernel has of the table, in a form that is the same as long as it is; `None`: it is not there.
pub(super) async fn list() -> Result<Option<String>, TableError> {
    match run("nft", &["--json", "list", "table", "ip", TABLE], None).await {
        Ok(listed) => Ok(Some(without_handles(&listed))),
        Err(CommandError::Failed { complaint, .. })
            if complaint.contains("No such file or directory") =>
        {
            Ok(None)
        }
        Err(error) => Err(TableError::Failed(error)),
    }
}

/// Handles count up with each transaction.
fn without_handles(listed: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("handle");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(listed) else {
        return listed.to_owned();
    };
    strip(&mut value);
    value.to_string()
}

/// Adding before deleting makes the script work whether the table is there or not.
fn script(table: &str, rules: &Rules, interface: &str) -> String {
    let (mut sets, mut choices) = (String::new(), String::new());
    let (mut masquerade, mut drops) = (String::new(), String::new());
    for protocol in PROTOCOLS {
        add_sets(&mut sets, protocol, rules);
        // Writing into a String does not fail.
        let _ = writeln!(
            masquerade,
            "    iifname != \"{interface}\" meta l4proto {protocol} ct status dnat ct original ip daddr . ct original proto-dst @vips_{protocol} masquerade"
        );
        let _ = writeln!(
            drops,
            "    iifname \"{interface}\" ip daddr . {protocol} dport @vips_{protocol} drop"
        );
    }
    for (id, places) in &rules.services {
        add_choice(&mut choices, id, places);
    }
    format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n{sets}\
         \x20 chain pre {{\n    type nat hook prerouting priority dstnat - 1; policy accept;\n{choices}  }}\n\
         \x20 chain out {{\n    type nat hook output priority -101; policy accept;\n{choices}  }}\n\
         \x20 chain post {{\n    type nat hook postrouting priority srcnat - 1; policy accept;\n{masquerade}  }}\n\
         \x20 chain rest {{\n    type filter hook prerouting priority dstnat + 1; policy accept;\n{drops}  }}\n}}\n"
    )
}

fn add_sets(sets: &mut String, protocol: Protocol, rules: &Rules) {
    let ids = rules.services.keys();
    let elements: Vec<String> = ids
        .filter_map(|id| match id {
            ServiceId::Address {
                protocol: own,
                address,
            } if *own == protocol => Some(format!("{} . {}", address.ip(), address.port())),
            _ => None,
        })
        .collect();
    let elements = match elements.as_slice() {
        [] => String::new(),
        elements => format!(" elements = {{ {} }};", elements.join(", ")),
    };
    let _ = writeln!(
        sets,
        "  set vips_{protocol} {{ type ipv4_addr . inet_service;{elements} }}"
    );
}

fn add_choice(choices: &mut String, id: &ServiceId, places: &[(SocketAddr, u32)]) {
    let ServiceId::Address { protocol, address } = id else {
        return;
    };
    let mut total: u64 = 0;
    let mut shares = Vec::with_capacity(places.len());
    for (place, share) in places {
        let last = total + u64::from(*share) - 1;
        let range = if last == total {
            total.to_string()
        } else {
            format!("{total}-{last}")
        };
        shares.push(format!("{range} : {} . {}", place.ip(), place.port()));
        total = last + 1;
    }
    if total > 0 {
        let _ = writeln!(
            choices,
            "    ip daddr {} {protocol} dport {} dnat to numgen random mod {total} map {{ {} }}",
            address.ip(),
            address.port(),
            shares.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instance_has_its_share_and_a_vip_without_one_is_dropped() {
        let at = |text: &str| text.parse().unwrap();
        let mut rules = Rules::default();
        rules.services.insert(
            "198.18.0.31:80".parse().unwrap(),
            vec![(at("172.17.0.2:8001"), 3), (at("198.18.0.11:24001"), 1)],
        );
        rules
            .services
            .insert("udp://198.18.0.32:53".parse().unwrap(), Vec::new());
        let script = script(TABLE, &rules, "eth0");
        let choice = "ip daddr 198.18.0.31 tcp dport 80 dnat to numgen random mod 4 map { 0-2 : 172.17.0.2 . 8001, 3 : 198.18.0.11 . 24001 }";
        assert_eq!(script.matches(choice).count(), 2, "{script}");
        assert!(script.contains(
            "set vips_udp { type ipv4_addr . inet_service; elements = { 198.18.0.32 . 53 }; }"
        ));
        assert!(!script.contains("ip daddr 198.18.0.32"), "{script}");
        assert!(script.contains("iifname \"eth0\" ip daddr . udp dport @vips_udp drop"));
    }

    #[test]
    fn two_listings_of_one_table_are_the_same_whatever_their_handles() {
        let listed = |handle: u32| {
            format!(r#"{{"nftables":[{{"table":{{"name":"t","handle":{handle}}}}}]}}"#)
        };
        assert_eq!(without_handles(&listed(1)), without_handles(&listed(2)));
        assert!(without_handles(&listed(1)).contains("\"t\""));
    }
}
