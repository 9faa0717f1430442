//! Would the fabric's addresses and names get in somebody's way?
//!
//! What can clash is the subnet, which becomes one route of the machine's, and the names of devices and namespaces.
//! Ports are inside namespaces of ours: `ports` looks there.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;

use super::finding::Finding;
use crate::host::programs;
use crate::host::stream;

/// What the fabric takes of the machine's own network.
#[derive(Debug, Clone)]
pub struct Claims {
    pub subnets: Vec<IpNet>,
    /// Devices in the machine's own namespace.
    pub links: Vec<String>,
    /// Named network namespaces.
    pub namespaces: Vec<String>,
    /// Those of the names that a lab of ours made and still knows.
    pub made: Vec<String>,
}

pub(super) fn clashes(claims: &Claims) -> Vec<Finding> {
    vec![subnets(claims), names(claims), six()]
}

/// A lab goes without, and what needs it has nowhere to run.
fn six() -> Finding {
    const NAME: &str = "IPv6";
    if Path::new("/proc/sys/net/ipv6").is_dir() {
        Finding::ok(NAME, "the machine's kernel has it")
    } else {
        Finding::warn(
            NAME,
            "not in the machine's kernel: the lab has IPv4 alone",
            "boot without ipv6.disable=1, or load the module ipv6",
        )
    }
}

fn subnets(claims: &Claims) -> Finding {
    const NAME: &str = "subnet";
    let all = claims.subnets.iter().map(IpNet::to_string);
    let all = all.collect::<Vec<_>>().join(" ");
    let mut command = Command::new(programs::find("ip").unwrap_or_else(|| "ip".into()));
    command.args(["-json", "route", "show", "table", "all"]);
    let Some(routes) = stream::answer(&mut command, Duration::from_secs(10)) else {
        return Finding::warn(
            NAME,
            "not looked at: there is no ip to ask for routes yet",
            "`lab doctor` again later",
        );
    };
    let overlaps = overlapping(&routes, claims);
    let Some(Route {
        net,
        device,
        subnet,
    }) = overlaps.first()
    else {
        return Finding::ok(NAME, format!("{all}: free"));
    };
    let finding = format!("{subnet} is routed to {device} ({net})");
    if net.prefix_len() < subnet.prefix_len() {
        // Ours is the narrower one and wins: the lab works, the other network loses that part meanwhile.
        Finding::warn(
            NAME,
            finding,
            "while the lab is up, that part of the network is out of reach",
        )
    } else {
        Finding::missing(
            NAME,
            finding,
            format!("remove that route (ip route del {net} dev {device}) or end what made it"),
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    net: IpNet,
    device: String,
    /// Which of ours it shares addresses with.
    subnet: IpNet,
}

/// Routes of others that share addresses with a subnet of ours, the narrowest first. Default routes share all
/// addresses and hurt nobody.
fn overlapping(json: &str, claims: &Claims) -> Vec<Route> {
    let all: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let mut routes: Vec<Route> = all
        .iter()
        .filter_map(|route| {
            let text = route["dst"].as_str()?;
            let net = text
                .parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
            let device = route["dev"].as_str().unwrap_or("no device").to_owned();
            let shares = |subnet: &&IpNet| net.contains(*subnet) || subnet.contains(&net);
            let subnet = *claims.subnets.iter().find(shares)?;
            (net.prefix_len() > 0 && !claims.made.contains(&device)).then_some(Route {
                net,
                device,
                subnet,
            })
        })
        .collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.net.prefix_len()));
    routes
}

fn names(claims: &Claims) -> Finding {
    const NAME: &str = "names";
    let taken = |names: &[String], folder: &str| {
        let taken = names
            .iter()
            .filter(|name| !claims.made.contains(name) && Path::new(folder).join(name).exists());
        taken.cloned().collect::<Vec<_>>()
    };
    let links = taken(&claims.links, "/sys/class/net");
    let namespaces = taken(&claims.namespaces, "/run/netns");
    let mut found = Vec::new();
    let mut remedies = vec!["`lab down` removes what a lab left".to_owned()];
    if !links.is_empty() {
        found.push(format!("device {}", links.join(", ")));
        remedies.extend(links.iter().map(|name| format!("ip link delete {name}")));
    }
    if !namespaces.is_empty() {
        found.push(format!("network namespace {}", namespaces.join(", ")));
        remedies.extend(
            namespaces
                .iter()
                .map(|name| format!("ip netns delete {name}")),
        );
    }
    if found.is_empty() {
        return Finding::ok(NAME, "devices and namespaces are free");
    }
    Finding::missing(
        NAME,
        format!("taken by something that no lab knows: {}", found.join("; ")),
        remedies.join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            subnets: ["198.18.0.0/24", "fd00::/64"]
                .map(|net| net.parse().unwrap())
                .to_vec(),
            links: vec!["lo".into()],
            namespaces: vec![],
            made: vec!["ours0".into()],
        }
    }

    fn devices(json: &str) -> Vec<String> {
        overlapping(json, &claims())
            .into_iter()
            .map(|route| route.device)
            .collect()
    }

    #[test]
    fn routes_of_others_inside_and_around_the_subnet_are_found_narrowest_first() {
        let json = r#"[{"dst": "default", "dev": "eth0"}, {"dst": "198.18.0.0/15", "dev": "tun0"}, {"dst": "198.18.1.0/24", "dev": "x"},
                       {"dst": "198.18.0.0/24", "dev": "ours0"}, {"dst": "198.18.0.9", "dev": "tun1"}, {"dst": "fe80::/64", "dev": "y"},
                       {"dst": "fd00::/48", "dev": "wg0"}]"#;
        assert_eq!(devices(json), ["wg0", "tun1", "tun0"]);
    }

    #[test]
    fn what_is_no_list_of_routes_has_no_overlap() {
        assert!(
            devices("").is_empty()
                && devices("{}").is_empty()
                && devices(r#"[{"dst": 7}]"#).is_empty()
        );
    }

    #[test]
    fn a_name_in_use_is_told_with_the_command_that_frees_it() {
        let finding = names(&claims());
        assert_eq!(
            finding.finding,
            "taken by something that no lab knows: device lo"
        );
        assert!(finding.remedy.unwrap().ends_with("ip link delete lo"));
        let known = Claims {
            made: vec!["lo".into()],
            ..claims()
        };
        assert_eq!(names(&known).finding, "devices and namespaces are free");
    }
}
