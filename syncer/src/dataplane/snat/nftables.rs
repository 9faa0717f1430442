//! SNAT by nftables: one table of our own, a set for each address family and protocol, one rule for each set.
//!
//! A rule matches the connection's original tuple, which stays client → VIP, so it knows nothing of real servers. The
//! whole table is replaced in one transaction.

use std::fmt::Write;
use std::net::SocketAddr;

use ipvs::{Family, Protocol, ServiceId};
use serde_json::Value;
use syncer_core::plan::SnatSet;

use super::{Later, Snat};
use crate::command::{CommandError, run};

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
            match run("nft", &["--json", "list", "table", "inet", TABLE], None).await {
                Ok(listed) => Ok(parse(&listed)),
                Err(CommandError::Failed { complaint, .. })
                    if complaint.contains("No such file or directory") =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn set<'a>(&'a self, services: &'a SnatSet) -> Later<'a, ()> {
        Box::pin(async {
            run("nft", &["-f", "-"], Some(&script(TABLE, services)))
                .await
                .map(drop)
        })
    }

    fn remove(&self) -> Later<'_, ()> {
        Box::pin(async {
            let script = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
            run("nft", &["-f", "-"], Some(&script)).await.map(drop)
        })
    }
}

fn set_name((family, protocol): (Family, Protocol)) -> String {
    let family = if family == Family::V4 { 4 } else { 6 };
    format!("vips{family}_{protocol}")
}

/// Adding before deleting makes the script work whether the table is there or not; all of it is one transaction. A packet whose destination is
/// still the VIP goes by another method, and its answer past this machine: it keeps its source.
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
            "    meta l4proto {protocol} ct original {word} daddr . ct original proto-dst @{name} {word} daddr . {protocol} dport != @{name} masquerade fully-random"
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

/// Our services in `nft --json list table`; `None` if it is not as we set it: a rule is missing, another is there, or none
/// of them is asked.
fn parse(listed: &str) -> Option<SnatSet> {
    let listed: Value = serde_json::from_str(listed).ok()?;
    let objects = listed.get("nftables")?.as_array()?;
    let all = |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind));
    let dormant = all("table").any(|table| table.get("flags").is_some());
    let chains: Vec<&Value> = all("chain").collect();
    if dormant || chains.len() != 1 || !chains.iter().all(|chain| is_ours(chain)) {
        return None;
    }
    let rules: Vec<&Value> = all("rule").collect();
    let as_set = rules.len() == KINDS.len()
        && rules
            .iter()
            .zip(KINDS)
            .all(|(rule, kind)| is_of(rule, kind));
    if !as_set {
        return None;
    }
    let mut services = SnatSet::new();
    for set in all("set") {
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

/// Whether packets come to a chain that rewrites.
fn is_ours(chain: &Value) -> bool {
    let says = |key: &str, value: &str| chain.get(key).and_then(Value::as_str) == Some(value);
    says("type", "nat") && says("hook", "postrouting")
}

/// Whether a rule looks into the set of that kind and then rewrites, and does nothing else. How a listing writes down what
/// is compared differs from release to release; what it is compared with does not. The protocol, which the second
/// comparison implies, may be left out.
fn is_of(rule: &Value, (family, protocol): (Family, Protocol)) -> bool {
    let parts = rule.get("expr").and_then(Value::as_array);
    let compares = |part: &&Value, op: &str, with: &str| {
        let of = |key: &str| part.pointer(key).and_then(Value::as_str);
        of("/match/op") == Some(op) && of("/match/right") == Some(with)
    };
    let parts = parts.into_iter().flatten();
    let parts: Vec<&Value> = parts
        .filter(|part| !compares(part, "==", protocol.as_str()))
        .collect();
    let set = format!("@{}", set_name((family, protocol)));
    let [of_origin, of_packet, verdict] = &parts[..] else {
        return false;
    };
    compares(of_origin, "==", &set)
        && compares(of_packet, "!=", &set)
        && verdict.get("masquerade").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    /// As `nft --json list table inet nomad_ipvs` lists it, with these rules.
    fn listing(rules: &[Value]) -> String {
        let mut objects = vec![
            json!({ "table": { "family": "inet", "name": TABLE, "handle": 2 } }),
            json!({ "set": { "name": "vips4_tcp", "elem": [{ "concat": ["198.18.0.29", 80] }] } }),
            json!({ "chain": { "name": "post", "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept" } }),
        ];
        objects.extend(rules.iter().map(|rule| json!({ "rule": { "expr": rule } })));
        json!({ "nftables": objects }).to_string()
    }

    fn rules() -> Vec<Value> {
        let rule = |kind: (Family, Protocol)| {
            let set = format!("@{}", set_name(kind));
            json!([{ "match": { "op": "==", "left": {}, "right": set } },
                   { "match": { "op": "!=", "left": {}, "right": set } },
                   { "masquerade": { "flags": "fully-random" } }])
        };
        KINDS.into_iter().map(rule).collect()
    }

    #[test]
    fn a_listing_is_ours_if_all_its_rules_are_there_as_they_were_set_and_no_others() {
        let whole = rules();
        assert_eq!(
            parse(&listing(&whole)),
            Some(["198.18.0.29:80".parse().unwrap()].into())
        );
        assert_eq!(parse(&listing(&whole[..5])), None, "one is missing");
        let mut other = whole.clone();
        other[0][2] = json!({ "accept": null });
        assert_eq!(parse(&listing(&other)), None, "one does something else");
        let mut direct = whole.clone();
        direct[0].as_array_mut().unwrap().remove(1);
        assert_eq!(parse(&listing(&direct)), None, "one rewrites all methods");
        let mut named = whole.clone();
        let protocol = json!({ "match": { "op": "==", "left": {}, "right": KINDS[0].1.as_str() } });
        named[0].as_array_mut().unwrap().insert(0, protocol);
        assert!(parse(&listing(&named)).is_some());
        let mut more = whole.clone();
        more.push(whole[0].clone());
        assert_eq!(parse(&listing(&more)), None, "one is more");
        let asleep = listing(&whole).replace("\"handle\":2", "\"flags\":[\"dormant\"]");
        assert_eq!(parse(&asleep), None, "none of them is asked");
        let elsewhere = listing(&whole).replace("postrouting", "input");
        assert_eq!(parse(&elsewhere), None, "they are asked elsewhere");
    }
}
