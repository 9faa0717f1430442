//! The rules of direct routing, as nftables takes them. Pure but for the question whether the kernel has what they need.
//!
//! - `pre`, `out`: the first packet of a connection to a VIP chooses an instance by weight; the tracker keeps the choice for the
//!   packets after it, also once the instance takes nothing new. Before the engine's own rules, which know the published port only.
//! - `post`: who is on this node itself, in a container, gets its answers back the way it came.
//! - `rest`: what a director sent here and nobody takes is dropped: forwarded, it would come back from the director for ever.

use std::fmt::Write;
use std::net::SocketAddr;

use ipvs::{Protocol, ServiceId};

use super::nft::{TableError, probe};
use super::rules::Rules;

pub(super) const TABLE: &str = "nomad_ipvs_direct";

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Asks the kernel for all that the table needs.
pub(super) async fn is_possible() -> Result<(), TableError> {
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
    probe("nomad_ipvs_direct_probe", &body(&rules, "lo")).await
}

/// What is between the table's braces.
pub(super) fn body(rules: &Rules, interface: &str) -> String {
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
        "{sets}\
         \x20 chain pre {{\n    type nat hook prerouting priority dstnat - 1; policy accept;\n{choices}  }}\n\
         \x20 chain out {{\n    type nat hook output priority -101; policy accept;\n{choices}  }}\n\
         \x20 chain post {{\n    type nat hook postrouting priority srcnat - 1; policy accept;\n{masquerade}  }}\n\
         \x20 chain rest {{\n    type filter hook prerouting priority dstnat + 1; policy accept;\n{drops}  }}\n"
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
        let body = body(&rules, "eth0");
        let choice = "ip daddr 198.18.0.31 tcp dport 80 dnat to numgen random mod 4 map { 0-2 : 172.17.0.2 . 8001, 3 : 198.18.0.11 . 24001 }";
        assert_eq!(body.matches(choice).count(), 2, "{body}");
        assert!(body.contains(
            "set vips_udp { type ipv4_addr . inet_service; elements = { 198.18.0.32 . 53 }; }"
        ));
        assert!(!body.contains("ip daddr 198.18.0.32"), "{body}");
        assert!(body.contains("iifname \"eth0\" ip daddr . udp dport @vips_udp drop"));
    }
}
