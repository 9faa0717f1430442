//! What the kernel has otherwise than it was left: somebody else's hand, in words. Pure.
//!
//! The words stand in the status until a whole pass has put it right. What nobody needs now is not told of.

use crate::desired::Desired;
use crate::reading::Reading;

/// Says how `found` differs from `left`, in one sentence for each difference.
pub(super) fn drift(left: &Reading, found: &Reading, desired: &Desired) -> Vec<String> {
    let mut all = Vec::new();
    if found.table != left.table {
        all.push("the table is not as it was left".to_owned());
    }
    if found.snat != left.snat {
        all.push("the SNAT rules are not as they were left".to_owned());
    }
    let needed = found
        .sysctls
        .iter()
        .filter(|(sysctl, _)| sysctl.is_needed(desired, left.snat.as_ref()));
    all.extend(needed.map(|(sysctl, value)| {
        let name = sysctl.name.replace('/', ".");
        format!("{name} is {value} and has to be {}", sysctl.value)
    }));
    let gone = left.addresses.ours.difference(&found.addresses.present);
    all.extend(gone.map(|vip| format!("VIP {vip} is not on the interface any more")));
    all
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipvs::{Scheduler, ServiceSettings, VirtualService};

    use super::*;
    use crate::plan::{Need, Sysctl};

    fn vip() -> IpAddr {
        "198.18.0.29".parse().unwrap()
    }

    /// A data plane with one VIP of ours, as a director leaves it.
    fn left() -> Reading {
        let mut reading = Reading {
            snat: Some([].into()),
            ..Reading::default()
        };
        reading.addresses.ours.insert(vip());
        reading.addresses.present.insert(vip());
        reading
    }

    #[test]
    fn what_is_as_it_was_left_is_no_drift_and_neither_is_what_came_beside_it() {
        let mut found = left();
        assert!(drift(&left(), &found, &Desired::default()).is_empty());
        let another = "192.0.2.1".parse().unwrap();
        found.addresses.present.insert(another);
        assert!(drift(&left(), &found, &Desired::default()).is_empty());
    }

    #[test]
    fn each_hand_of_somebody_else_s_has_its_sentence() {
        let mut found = left();
        let service = VirtualService::new(ServiceSettings::new(Scheduler::WRR), Vec::new());
        found.table.insert("192.0.2.1:80".parse().unwrap(), service);
        found.snat = None;
        found.addresses.present.clear();
        let sysctl = |name: &str, need| Sysctl {
            name: name.into(),
            value: "1",
            need,
        };
        let forwarding = sysctl("net/ipv4/ip_forward", Need::Always);
        found.sysctls.insert(forwarding, "0".to_owned());
        let six = sysctl("net/ipv6/conf/all/forwarding", Need::Ipv6);
        found.sysctls.insert(six, "0".to_owned());
        assert_eq!(
            drift(&left(), &found, &Desired::default()),
            [
                "the table is not as it was left",
                "the SNAT rules are not as they were left",
                "net.ipv4.ip_forward is 0 and has to be 1",
                "VIP 198.18.0.29 is not on the interface any more",
            ],
            "and nothing of what no service of today needs"
        );
    }

    #[test]
    fn tracking_that_was_switched_off_is_drift_while_rules_need_it_though_no_service_asks_for_them()
    {
        let conntrack = Sysctl {
            name: "net/ipv4/vs/conntrack".into(),
            value: "1",
            need: Need::Snat,
        };
        let mut left = left();
        left.snat = Some(["198.18.0.29:80".parse().unwrap()].into());
        let mut found = left.clone();
        found.sysctls.insert(conntrack, "0".to_owned());
        let sentence = "net.ipv4.vs.conntrack is 0 and has to be 1";
        assert_eq!(drift(&left, &found, &Desired::default()), [sentence]);
        left.snat = Some([].into());
        found.snat = left.snat.clone();
        assert!(drift(&left, &found, &Desired::default()).is_empty());
    }
}
