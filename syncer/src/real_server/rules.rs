//! From the directors' offers, where packets to each VIP go on this node. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use ipvs::{Family, ServiceId};

use crate::offer::NodeOffer;

/// Where packets go, by virtual service; nowhere where nothing new is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rules {
    /// Places with their shares, which are above zero, in order of address.
    pub(super) services: BTreeMap<ServiceId, Vec<(SocketAddr, u32)>>,
}

/// A virtual service that this node does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) id: ServiceId,
    pub(super) reason: String,
}

/// The largest share that is written down: what counts is how they compare.
const SHARE_LIMIT: u32 = 1 << 16;

/// What all directors want together. An instance with an address of its own gets packets there, past the port that the engine
/// publishes, so that it sees its client's address.
pub(super) fn rules<'a>(
    offers: impl Iterator<Item = &'a NodeOffer>,
    containers: &BTreeMap<SocketAddr, SocketAddr>,
    own: &[IpNet],
) -> (Rules, Vec<Refusal>) {
    let mut shares: BTreeMap<ServiceId, BTreeMap<SocketAddr, u32>> = BTreeMap::new();
    for (id, instances) in offers.flatten() {
        let of_service = shares.entry(*id).or_default();
        for instance in instances {
            let share = of_service.entry(instance.address).or_default();
            // Two directors that differ for a moment: the one that knows of more is ahead.
            *share = (*share).max(instance.weight.get());
        }
    }
    let mut rules = Rules::default();
    let mut refused = Vec::new();
    for (id, instances) in shares {
        if let Err(reason) = permitted(&id, own) {
            refused.push(Refusal { id, reason });
            continue;
        }
        let largest = instances.values().copied().max().unwrap_or_default();
        let divisor = largest.div_ceil(SHARE_LIMIT).max(1);
        let serving = instances.into_iter().filter(|(_, share)| *share > 0);
        let place = |(address, share): (SocketAddr, u32)| {
            let place = containers.get(&address).copied().unwrap_or(address);
            (place, (share / divisor).max(1))
        };
        rules.services.insert(id, serving.map(place).collect());
    }
    (rules, refused)
}

fn permitted(id: &ServiceId, own: &[IpNet]) -> Result<(), String> {
    let Some(vip) = id.vip() else {
        return Err("a firewall mark is no address that packets come to".to_owned());
    };
    if id.family() != Family::V4 {
        return Err("direct routing is for IPv4".to_owned());
    }
    if own.iter().any(|range| range.contains(&vip)) {
        Ok(())
    } else {
        Err(format!("{vip} is outside the ranges in real_server.own"))
    }
}

#[cfg(test)]
mod tests {
    use ipvs::Weight;

    use super::*;
    use crate::offer::Instance;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn offer(id: &str, instances: &[(&str, u32)]) -> NodeOffer {
        let instance = |(at, weight): &(&str, u32)| Instance {
            address: address(at),
            weight: Weight::saturating(*weight),
        };
        let instances = instances.iter().map(instance).collect();
        [(id.parse().unwrap(), instances)].into()
    }

    fn own() -> Vec<IpNet> {
        vec!["198.18.0.0/24".parse().unwrap()]
    }

    #[test]
    fn packets_go_to_the_containers_own_address_where_it_is_known() {
        let offer = offer(
            "198.18.0.31:80",
            &[("198.18.0.11:20000", 3), ("198.18.0.11:20001", 1)],
        );
        let containers = [(address("198.18.0.11:20000"), address("172.17.0.2:8001"))].into();
        let (rules, refused) = rules([&offer].into_iter(), &containers, &own());
        let expected = vec![
            (address("172.17.0.2:8001"), 3),
            (address("198.18.0.11:20001"), 1),
        ];
        assert_eq!(rules.services.into_values().collect::<Vec<_>>(), [expected]);
        assert!(refused.is_empty());
    }

    #[test]
    fn one_that_takes_nothing_new_is_left_out_and_its_vip_stays() {
        let offer = offer("198.18.0.31:80", &[("198.18.0.11:20000", 0)]);
        let (rules, _) = rules([&offer].into_iter(), &BTreeMap::new(), &own());
        assert_eq!(rules.services.into_values().collect::<Vec<_>>(), [vec![]]);
    }

    #[test]
    fn directors_that_differ_want_what_either_wants() {
        let ahead = offer("198.18.0.31:80", &[("198.18.0.11:20000", 1)]);
        let behind = offer("198.18.0.31:80", &[("198.18.0.11:20000", 0)]);
        let third = offer("198.18.0.32:80", &[("198.18.0.11:20002", u32::MAX)]);
        let (rules, _) = rules(
            [&ahead, &behind, &third].into_iter(),
            &BTreeMap::new(),
            &own(),
        );
        let all: Vec<_> = rules.services.into_values().flatten().collect();
        assert_eq!(all[0], (address("198.18.0.11:20000"), 1));
        assert_eq!(all[1].0, address("198.18.0.11:20002"));
        assert!(all[1].1 <= SHARE_LIMIT);
    }

    #[test]
    fn what_a_node_may_not_or_cannot_take_is_refused_with_the_reason() {
        for (id, why) in [
            ("198.18.1.31:80", "outside the ranges"),
            ("[2001:db8::5]:80", "IPv4"),
        ] {
            let offer = offer(id, &[("198.18.0.11:20000", 1)]);
            let (rules, refused) = rules([&offer].into_iter(), &BTreeMap::new(), &own());
            assert!(rules.services.is_empty());
            assert!(refused[0].reason.contains(why), "{refused:?}");
        }
    }
}
