//! What each option takes, and what does not go together.

use super::*;

fn options(all: &[(&str, &str)]) -> Result<Options, String> {
    let mut options = Options::default();
    for (key, text) in all {
        options
            .set(key, text)
            .map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(options)
}

fn policy_of(vip: &str, all: &[(&str, &str)]) -> Result<VipPolicy, String> {
    options(all)?.policy(vip.parse().unwrap())
}

const TCP: &str = "198.18.0.29:80";
const UDP: &str = "udp://198.18.0.29:53";
const SIX: &str = "[2001:db8::5]:80";

#[test]
fn an_option_that_is_not_there_has_its_default() {
    let id = TCP.parse().unwrap();
    assert_eq!(policy_of(TCP, &[]), Ok(VipPolicy::new(id)));
}

#[test]
fn every_key_of_the_table_is_read_and_no_other() {
    for (key, _) in OPTIONS {
        let why = Options::default().set(key, "\0").unwrap_err();
        assert_ne!(why, "unknown key", "{key}");
    }
    assert_eq!(
        Options::default().set("vip", TCP),
        Err("unknown key".to_owned())
    );
}

#[test]
fn each_option_reaches_the_policy() {
    let all = [
        ("scheduler", "mh"),
        ("scheduler_flags", "mh-port, mh-fallback"),
        ("persistence", "5m"),
        ("persistence_prefix", "24"),
        ("forward", "masq"),
        ("snat", "true"),
        ("drain_deadline", "250ms"),
        ("upper_threshold", "100"),
        ("lower_threshold", "80"),
        ("least_healthy", "0.5"),
        ("sorry_server", "198.18.0.11:8099"),
    ];
    let policy = policy_of(TCP, &all).unwrap();
    let settings = policy.settings;
    assert_eq!(settings.scheduler.as_str(), "mh");
    assert_eq!(settings.flags.bits(), 0x18);
    let persistence = Persistence {
        seconds: 300,
        prefix: 24,
    };
    assert_eq!(settings.persistence, Some(persistence));
    assert!(policy.snat);
    assert_eq!(policy.drain, Some(Duration::from_millis(250)));
    let expected = Safeguards {
        thresholds: Thresholds {
            upper: 100,
            lower: 80,
        },
        least_healthy: Percent::of_share(0.5).unwrap(),
        slow_start: None,
        sorry_server: Some("198.18.0.11:8099".parse().unwrap()),
    };
    assert_eq!(policy.safeguards, expected);
    let one_packet = [("one_packet", "true"), ("forward", "dr")];
    let one_packet = policy_of(UDP, &one_packet).unwrap();
    assert_eq!(one_packet.settings.flags, ServiceFlags::ONE_PACKET);
}

#[test]
fn weights_rise_in_steps_by_schedulers_that_share_out_by_them_alone() {
    let of = |scheduler| policy_of(TCP, &[("slow_start", "30s"), ("scheduler", scheduler)]);
    for scheduler in ["wrr", "wlc", "sed", "nq"] {
        let time = of(scheduler).unwrap().safeguards.slow_start;
        assert_eq!(time, Some(Duration::from_secs(30)), "{scheduler}");
    }
    for scheduler in ["rr", "lc", "sh", "mh", "dh", "ovf", "fo"] {
        let why = of(scheduler).unwrap_err();
        assert!(why.contains("share out by weight"), "{scheduler}: {why}");
    }
    assert!(policy_of(TCP, &[("slow_start", "30s")]).is_ok(), "wrr");
}

#[test]
fn a_prefix_alone_is_persistence_as_ipvsadm_has_it() {
    let of = |vip, prefix| {
        let policy = policy_of(vip, &[("persistence_prefix", prefix)])?;
        Ok(policy.settings.persistence.unwrap())
    };
    let six_minutes = |prefix| {
        Ok::<_, String>(Persistence {
            seconds: 360,
            prefix,
        })
    };
    assert_eq!(of(TCP, "32"), six_minutes(32));
    assert_eq!(of(SIX, "64"), six_minutes(64));
    assert!(of(TCP, "33").unwrap_err().contains("from 1 to 32"));
    assert!(of(SIX, "129").unwrap_err().contains("from 1 to 128"));
    assert!(of(TCP, "300").unwrap_err().contains("from 1 to 32"));
    let host = policy_of(SIX, &[("persistence", "1s")]).unwrap();
    assert_eq!(host.settings.persistence.unwrap().prefix, 128);
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    for (vip, all, why) in [
        (
            TCP,
            [("scheduler", "rr"), ("scheduler_flags", "sh-port")],
            "flag of scheduler sh, not of rr",
        ),
        (
            UDP,
            [("one_packet", "true"), ("snat", "false")],
            "one_packet needs dr",
        ),
        (
            TCP,
            [("one_packet", "true"), ("forward", "dr")],
            "one_packet is for UDP",
        ),
        (
            TCP,
            [("slow_start", "30s"), ("forward", "dr")],
            "slow_start needs masq",
        ),
        (
            TCP,
            [("forward", "dr"), ("sorry_server", "198.18.0.9:1")],
            "needs masq",
        ),
        (
            TCP,
            [("forward", "dr"), ("snat", "true")],
            "dr and snat exclude",
        ),
        (SIX, [("forward", "dr"), ("snat", "false")], "IPv4"),
        (
            "fwmark:7",
            [("forward", "dr"), ("snat", "false")],
            "needs a VIP",
        ),
        (
            SIX,
            [("snat", "false"), ("sorry_server", "198.18.0.9:1")],
            "address family",
        ),
        (
            TCP,
            [("upper_threshold", "9"), ("lower_threshold", "10")],
            "lower_threshold needs",
        ),
    ] {
        let error = policy_of(vip, &all).unwrap_err();
        assert!(error.contains(why), "{vip} {all:?}: {error}");
    }
    // A switch that is off asks for nothing.
    assert!(policy_of(TCP, &[("one_packet", "false")]).is_ok());
    let exclusive = [
        ("forward", "dr"),
        ("one_packet", "true"),
        ("persistence", "60s"),
    ];
    let why = policy_of(UDP, &exclusive).unwrap_err();
    assert!(why.contains("exclude each other"), "{why}");
    let equal = [("upper_threshold", "9"), ("lower_threshold", "9")];
    assert!(policy_of(TCP, &equal).is_ok());
}

#[test]
fn a_value_that_can_not_be_used_is_refused_with_what_was_expected() {
    for (key, text, why) in [
        (
            "scheduler_flags",
            "sh-prot",
            "known are sh-fallback, sh-port",
        ),
        ("one_packet", "yes", "true or false"),
        ("persistence", "0s", "whole seconds"),
        ("persistence", "1500ms", "whole seconds"),
        ("persistence", "25h", "from 1s to 24h"),
        ("upper_threshold", "2147483648", "number of connections"),
        ("persistence_prefix", "0", "from 1 on"),
        ("upper_threshold", "-1", "number of connections"),
        ("least_healthy", "50", "from 0.0 to 1.0"),
        ("least_healthy", "NaN", "from 0.0 to 1.0"),
        ("slow_start", "0s", "from 1s to 1h"),
        ("slow_start", "2h", "from 1s to 1h"),
        ("sorry_server", "198.18.0.9", "IP:PORT"),
        ("sorry_server", "198.18.0.9:0", "IP:PORT"),
        ("sorry_server", "127.0.0.1:80", "of another machine"),
        ("sorry_server", "0.0.0.0:80", "of another machine"),
        ("sorry_server", "224.0.0.1:80", "of another machine"),
    ] {
        let error = options(&[(key, text)]).unwrap_err();
        assert!(error.contains(why), "{key}={text}: {error}");
    }
}

#[test]
fn a_second_value_has_to_be_the_first() {
    assert!(options(&[("scheduler", "rr"), ("scheduler", "rr")]).is_ok());
    let twice = [("slow_start", "1s"), ("slow_start", "2s")];
    assert!(options(&twice).unwrap_err().contains("contradicts"));
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(duration("60s"), Ok(Duration::from_mins(1)));
    assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
    assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
    for wrong in ["", "5", "s", "-1s", "1d", "99999999999999999999h"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}
