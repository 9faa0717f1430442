//! VIPs on an interface, as the kernel and `ip` see them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipvs_syncer::dataplane::address::{AddressError, Change, Departures, Interface, Outcome};
use ipvs_syncer::dataplane::sysctl::Settings;
use tokio::time::timeout;

use super::namespace::{inside, run};

const SOON: Duration = Duration::from_secs(3);

fn ips<const N: usize>(texts: [&str; N]) -> [IpAddr; N] {
    texts.map(|text| text.parse().unwrap())
}

/// An interface, and nobody at the other end.
fn cable(name: &str) {
    run(
        "ip",
        &["link", "add", name, "type", "veth", "peer", "name", "peer"],
    );
    run("ip", &["link", "set", name, "up"]);
    run("ip", &["link", "set", "peer", "up"]);
}

async fn change(interface: &Interface, changes: &[Change]) -> Vec<Outcome> {
    let outcomes = interface.change(changes.to_vec()).await.unwrap();
    outcomes.into_iter().map(Result::unwrap).collect()
}

#[test]
#[ignore = "needs root"]
fn a_vip_is_a_host_s_address_with_our_label_and_answers_at_once() {
    inside(|| async {
        cable("eth0");
        let interface = Interface::open("eth0").unwrap();
        let [four, six] = ips(["198.18.0.29", "2001:db8::29"]);
        let added = change(&interface, &[Change::Add(four), Change::Add(six)]).await;
        assert_eq!(added, [Outcome::Done, Outcome::Done]);
        let listed = run("ip", &["-oneline", "address", "show", "dev", "eth0"]);
        assert!(
            listed.contains("inet 198.18.0.29/32 scope global eth0:ipvs"),
            "{listed}"
        );
        let of_six = listed.lines().find(|line| line.contains("2001:db8::29"));
        let of_six = of_six.unwrap();
        assert!(
            of_six.contains("/128 scope global nodad deprecated")
                && of_six.contains("valid_lft forever preferred_lft 0sec"),
            "{of_six}"
        );
        let present = interface.addresses().await.unwrap();
        let find = |ip: IpAddr| present.iter().find(|one| one.address == ip).unwrap();
        for ip in [four, six] {
            let one = find(ip);
            assert!(
                one.is_host() && one.here && &*one.interface == "eth0",
                "{one:?}"
            );
            assert_eq!(one.labelled, ip.is_ipv4());
        }
        let loopback = find("127.0.0.1".parse().unwrap());
        assert!(!loopback.here && loopback.prefix == 8 && &*loopback.interface == "lo");
        let removed = change(&interface, &[Change::Remove(four), Change::Remove(six)]).await;
        assert_eq!(removed, [Outcome::Done, Outcome::Done]);
        let removed = change(&interface, &[Change::Remove(four), Change::Remove(six)]).await;
        assert_eq!(removed, [Outcome::AsBefore, Outcome::AsBefore]);
    });
}

#[test]
#[ignore = "needs root"]
fn nothing_goes_out_by_a_vip_although_it_is_nearer_to_the_destination_than_the_machines_own_address()
 {
    inside(|| async {
        cable("eth0");
        for own in ["198.18.0.28/24", "2001:db8::28/64"] {
            run("ip", &["address", "add", own, "dev", "eth0", "nodad"]);
        }
        let interface = Interface::open("eth0").unwrap();
        let changes = ips(["198.18.0.29", "2001:db8::1:29"]).map(Change::Add);
        change(&interface, &changes).await;
        for (destination, own) in [
            ("198.18.0.30", "src 198.18.0.28 "),
            ("2001:db8::1:30", "src 2001:db8::28 "),
        ] {
            let route = run("ip", &["route", "get", destination]);
            assert!(route.contains(own), "{route}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn an_address_that_somebody_has_put_there_is_left_as_it_is() {
    inside(|| async {
        cable("eth0");
        let lasting = ["valid_lft", "3000", "preferred_lft", "3000"];
        for address in ["198.18.0.29/32", "2001:db8::29/128"] {
            let add = ["address", "add", address, "dev", "eth0"];
            run("ip", &[&add[..], &lasting].concat());
        }
        let interface = Interface::open("eth0").unwrap();
        let changes = ips(["198.18.0.29", "198.18.0.30", "2001:db8::29"]).map(Change::Add);
        assert_eq!(
            change(&interface, &changes).await,
            [Outcome::AsBefore, Outcome::Done, Outcome::AsBefore]
        );
        let listed = run("ip", &["-oneline", "address", "show", "dev", "eth0"]);
        for theirs in ["198.18.0.29/32", "2001:db8::29/128"] {
            let line = listed.lines().find(|line| line.contains(theirs)).unwrap();
            let is_theirs = !line.contains(":ipvs") && !line.contains("valid_lft forever");
            assert!(is_theirs, "{line}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn one_that_is_refused_stops_none_behind_it_and_says_why() {
    inside(|| async {
        cable("eth0");
        let interface = Interface::open("eth0").unwrap();
        let changes = ips(["198.18.0.29", "ff02::1", "198.18.0.30"]).map(Change::Add);
        let outcomes = interface.change(changes.to_vec()).await.unwrap();
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        let error = outcomes[1].as_ref().unwrap_err();
        assert!(matches!(error, AddressError::Refused { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "add ff02::1/128 to interface eth0 (CAP_NET_ADMIN is needed)"
        );
    });
}

#[test]
#[ignore = "needs root"]
fn a_thousand_come_and_go_in_the_order_they_are_told() {
    inside(|| async {
        cable("eth0");
        let interface = Interface::open("eth0").unwrap();
        let all: Vec<IpAddr> = (0..1_000_u16)
            .map(|n| {
                let [high, low] = n.to_be_bytes();
                IpAddr::from([198, 18, high, low])
            })
            .collect();
        let add: Vec<Change> = all.iter().copied().map(Change::Add).collect();
        let remove: Vec<Change> = all.iter().copied().map(Change::Remove).collect();
        let both = [add, remove].concat();
        assert_eq!(change(&interface, &both).await, vec![Outcome::Done; 2_000]);
        let add: Vec<Change> = all.iter().copied().map(Change::Add).collect();
        change(&interface, &add).await;
        let present = interface.addresses().await.unwrap();
        assert_eq!(present.iter().filter(|one| one.labelled).count(), 1_000);
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_is_not_there_is_named_and_found_once_it_is() {
    inside(|| async {
        let interface = Interface::open("eth0").unwrap();
        let error = interface.addresses().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network interface eth0 here (director.interface)"
        );
        let vip = Change::Add("198.18.0.29".parse().unwrap());
        let error = interface.change(vec![vip]).await.unwrap_err();
        assert!(matches!(error, AddressError::NoInterface { .. }));
        let long = Interface::open("a-name-that-is-too-long-for-any").unwrap();
        let error = long.addresses().await.unwrap_err();
        assert!(matches!(error, AddressError::NoInterface { .. }), "{error}");
        cable("eth0");
        assert_eq!(change(&interface, &[vip]).await, [Outcome::Done]);
    });
}

#[test]
#[ignore = "needs root"]
fn who_takes_a_vip_off_is_noticed_at_once_and_whoever_takes_another_is_not() {
    inside(|| async {
        cable("eth0");
        let vips = ips(["198.18.0.29", "2001:db8::29"]);
        let ours: BTreeSet<IpAddr> = vips.into();
        let add = |ip: &str| run("ip", &["address", "add", ip, "dev", "eth0"]);
        let remove = |ip: &str| run("ip", &["address", "del", ip, "dev", "eth0"]);
        let mut departures = Departures::open().unwrap();
        for (vip, prefix) in [("198.18.0.29", "32"), ("2001:db8::29", "128")] {
            let vip = format!("{vip}/{prefix}");
            add(&vip);
            add("192.0.2.7/24");
            remove("192.0.2.7/24");
            let quiet = timeout(Duration::from_millis(200), departures.of(&ours)).await;
            assert!(quiet.is_err(), "what came, and what is not ours");
            remove(&vip);
            timeout(SOON, departures.of(&ours)).await.unwrap();
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_setting_that_somebody_changes_is_noticed_within_a_second_or_two_and_told_once() {
    inside(|| async {
        cable("eth0");
        let set = |value: &str| std::fs::write("/proc/sys/net/ipv4/ip_forward", value).unwrap();
        set("1");
        let mut settings = Settings::of("eth0");
        let forwards = |settings: &mut Settings| {
            let deviations = settings.read();
            !deviations
                .keys()
                .any(|it| &*it.name == "net/ipv4/ip_forward")
        };
        assert!(forwards(&mut settings));
        let quiet = timeout(SOON, settings.differ()).await;
        assert!(quiet.is_err(), "what was so when it was read is no news");
        set("0");
        timeout(SOON, settings.differ()).await.unwrap();
        assert!(!forwards(&mut settings));
        let again = timeout(SOON, settings.differ()).await;
        assert!(again.is_err(), "whoever can't set it is not woken for ever");
    });
}
