//! What is done with nftables, in a kernel that has it: here SNAT.

mod methods;
mod ports;

use std::time::Duration;

use ipvs_syncer::config::SnatBackend;
use ipvs_syncer::dataplane::rules::Rules;
use ipvs_syncer::dataplane::snat::{self, Snat, nftables::Nftables};
use syncer_core::plan::SnatSet;

use super::namespace::{inside, run};
use super::trip::{set, takes};

const TABLE: &str = "inet nomad_ipvs";

fn nft(words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    run("nft", &words);
}

/// The ruleset without ours.
fn foreign() -> String {
    let all = run("nft", &["list", "tables"]);
    let others = all.lines().filter(|line| !line.ends_with(TABLE));
    let listed = |line: &str| {
        let words: Vec<&str> = ["list"].into_iter().chain(line.split(' ')).collect();
        run("nft", &words)
    };
    others.map(listed).collect()
}

/// A table of somebody else's that rewrites, too, and one with the name of ours in another family.
fn others() {
    nft("add table ip nat");
    nft("add chain ip nat POSTROUTING { type nat hook postrouting priority 100 ; }");
    nft("add rule ip nat POSTROUTING ip daddr 192.0.2.0/24 masquerade");
    nft("add table ip nomad_ipvs");
}

#[test]
#[ignore = "needs root and nf_tables"]
fn rules_are_set_read_back_changed_and_removed_and_no_others_are_touched() {
    inside(|| async {
        others();
        takes(&Nftables, foreign).await;
    });
}

#[test]
#[ignore = "needs root and nf_tables"]
fn rules_that_somebody_meddled_with_are_to_be_set_anew() {
    inside(|| async {
        let services = set(&["198.18.0.29:80"]);
        for hand in [
            "flush ruleset",
            "flush chain inet nomad_ipvs post",
            "insert rule inet nomad_ipvs post accept",
            "add rule inet nomad_ipvs post ip daddr 192.0.2.1 accept",
        ] {
            Nftables.set(&services).await.unwrap();
            nft(hand);
            assert_eq!(Nftables.read().await.unwrap(), None, "{hand}");
        }
        Nftables.set(&services).await.unwrap();
        nft("delete element inet nomad_ipvs vips4_tcp { 198.18.0.29 . 80 }");
        assert_eq!(Nftables.read().await.unwrap(), Some(SnatSet::new()));
    });
}

#[test]
#[ignore = "needs root and nf_tables"]
fn what_an_earlier_process_left_is_removed_where_nothing_wants_snat() {
    inside(|| async {
        others();
        let before = foreign();
        Nftables.set(&set(&["198.18.0.29:80"])).await.unwrap();
        let mut rules = Rules::new(SnatBackend::Auto);
        assert_eq!(rules.read().await, None, "nothing is known yet");
        rules.set(&SnatSet::new()).await.unwrap();
        assert_eq!(rules.read().await, Some(SnatSet::new()));
        assert!(!Nftables.is_in_use().await.unwrap());
        assert_eq!(foreign(), before);
        let settled = tokio::time::timeout(Duration::from_millis(1), rules.differ());
        assert!(settled.await.is_err(), "no check has begun");
    });
}

#[test]
#[ignore = "needs root, nf_tables and the legacy iptables"]
fn a_chain_of_the_other_backend_is_found_and_removed_as_well() {
    inside(|| async {
        let legacy = |words: &[&str]| run("iptables-legacy", &[&["-t", "nat"], words].concat());
        legacy(&[
            "-A",
            "POSTROUTING",
            "-d",
            "192.0.2.0/24",
            "-j",
            "MASQUERADE",
        ]);
        let before = legacy(&["-S"]);
        legacy(&["-N", "NOMAD-IPVS-SNAT"]);
        let names: Vec<&str> = snat::in_use().await.iter().map(|one| one.name()).collect();
        assert_eq!(names, ["iptables-legacy"]);
        let mut rules = Rules::new(SnatBackend::Auto);
        rules.set(&SnatSet::new()).await.unwrap();
        assert_eq!(legacy(&["-S"]), before);
        assert!(snat::in_use().await.is_empty());
    });
}

#[test]
#[ignore = "needs root and nf_tables"]
fn nftables_is_chosen_where_it_works_and_no_legacy_table_is_made_by_asking() {
    inside(|| async {
        let in_use = snat::in_use().await;
        assert!(in_use.is_empty(), "{in_use:?}");
        let chosen = snat::choose(SnatBackend::Auto, &in_use).await.unwrap();
        assert_eq!(chosen.name(), "nftables");
        let legacy = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        assert_eq!(legacy.unwrap_or_default(), "");
    });
}
